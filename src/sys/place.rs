//! Where the config file is.
//!
//! Only names candidates and looks whether they are there; reading is `load`'s business.

use std::path::{Path, PathBuf};

/// Set by the `ao` launcher script to its own folder, symbolic links resolved.
pub const LAUNCHER_ROOT: &str = "AO_LAUNCHER_ROOT";
/// Names the config when no `--config` does.
pub const CONFIG: &str = "AO_CONFIG";

const FILE_NAME: &str = "agents.toml";

/// Where a config was looked for, in order, when none was there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no agents.toml: looked for {}", .looked_for.iter().map(|path| format!("`{}`", path.display())).collect::<Vec<_>>().join(", "))]
pub struct NoConfig {
    pub looked_for: Vec<PathBuf>,
}

/// The config file: `explicit`, else `$AO_CONFIG`, else the first that is there of `./agents.toml`,
/// `<root>/agents.toml` and `<root>/../agents.toml`. The first two are taken at their word.
pub fn config(explicit: Option<&Path>) -> Result<PathBuf, NoConfig> {
    let named = std::env::var_os(CONFIG).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(path) = explicit.map(Path::to_path_buf).or(named) {
        return Ok(path);
    }
    let candidates = candidates(launcher_root().as_deref());
    match candidates.iter().find(|path| path.is_file()) {
        Some(found) => Ok(found.clone()),
        None => Err(NoConfig { looked_for: candidates }),
    }
}

/// The folder of the `ao` launcher, or that of the program itself when it was started without one.
fn launcher_root() -> Option<PathBuf> {
    if let Some(root) = std::env::var_os(LAUNCHER_ROOT).filter(|value| !value.is_empty()) {
        return Some(PathBuf::from(root));
    }
    let program = std::env::current_exe().ok()?.canonicalize().ok()?;
    program.parent().map(Path::to_path_buf)
}

fn candidates(root: Option<&Path>) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::from(FILE_NAME)];
    if let Some(root) = root {
        found.push(root.join(FILE_NAME));
        found.extend(root.parent().map(|above| above.join(FILE_NAME)));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_that_holds_this_one_as_a_submodule_is_found_from_the_launcher() {
        let found = candidates(Some(Path::new("/project/engine")));
        assert_eq!(
            found,
            ["agents.toml", "/project/engine/agents.toml", "/project/agents.toml"]
                .map(PathBuf::from)
        );
    }

    #[test]
    fn an_explicit_path_is_taken_at_its_word() {
        let path = Path::new("/nowhere/at/all.toml");
        assert_eq!(config(Some(path)), Ok(path.to_path_buf()));
    }
}
