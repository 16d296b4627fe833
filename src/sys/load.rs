//! The config from the disk: found, read, checked.

use std::io;
use std::path::{Path, PathBuf};

use super::place;
use crate::config::diagnostic::{self, Diagnostic};
use crate::config::{self, Config};

#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(transparent)]
    NotFound(#[from] place::NoConfig),
    #[error("cannot read the config `{}`", .path.display())]
    Read {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    #[error("`{}` is not UTF-8: byte {offset} (line {line}) is the first that is not", .path.display())]
    NotText { path: PathBuf, offset: usize, line: usize },
    #[error("`{}` has problems", .problems.path.display())]
    Bad { problems: Box<Problems> },
}

/// Problems of one file, with what is needed to show them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    /// As the user knows it.
    pub path: PathBuf,
    pub source: String,
    pub diagnostics: Vec<Diagnostic>,
}

impl Problems {
    /// Laid out for people, ending with a count.
    pub fn render(&self, colored: bool) -> String {
        diagnostic::render(&self.diagnostics, &self.source, &self.path, colored)
    }
}

/// A config that holds, and the warnings about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    pub config: Config,
    /// Without diagnostics when there is nothing to say.
    pub warnings: Problems,
}

/// Finds, reads and checks the config; see [`place::config`] for where it is looked for.
pub fn load(explicit: Option<&Path>) -> Result<Config, LoadError> {
    load_with_warnings(explicit).map(|loaded| loaded.config)
}

/// As [`load`], keeping the warnings.
pub fn load_with_warnings(explicit: Option<&Path>) -> Result<Loaded, LoadError> {
    let path = place::config(explicit)?;
    let unread = |cause| LoadError::Read { path: path.clone(), cause };
    let bytes = std::fs::read(&path).map_err(unread)?;
    let file = std::path::absolute(&path).map_err(unread)?;
    let source = String::from_utf8(bytes).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..offset].split(|&byte| byte == b'\n').count();
        LoadError::NotText { path: path.clone(), offset, line }
    })?;
    let exists = |path: &Path| path.exists();
    let read = |path: &Path| std::fs::read_to_string(path).ok();
    let (config, diagnostics) = config::parse(&source, &file, &exists, &read);
    let problems = Problems { path, source, diagnostics };
    match config {
        Some(config) => Ok(Loaded { config, warnings: problems }),
        None => Err(LoadError::Bad { problems: Box::new(problems) }),
    }
}

/// The last config of this file that was in force, as the watchdog kept it.
///
/// The broken text itself tells where that is: its `log_dir` line is looked for as text, because a
/// file that does not parse has no fields.
pub fn last_good(explicit: Option<&Path>) -> Option<Config> {
    let path = place::config(explicit).ok()?;
    let text = String::from_utf8_lossy(&std::fs::read(&path).ok()?).into_owned();
    let folder = path.parent()?;
    let project_dir =
        line_value(&text, "project_dir").map_or(folder.to_owned(), |dir| folder.join(dir));
    let log_dir = project_dir.join(line_value(&text, "log_dir")?);
    let kept = std::fs::read_to_string(log_dir.join("state").join(LAST_GOOD)).ok()?;
    // Prompt files may be what is missing: the config was good when they were there.
    config::parse(&kept, &path, &|_| true, &|file| std::fs::read_to_string(file).ok()).0
}

/// Under `state/`: the text of the config in force.
pub const LAST_GOOD: &str = "agents.good.toml";

/// The quoted value of the first line `key = "…"`.
fn line_value(text: &str, key: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let rest = line.trim_start().strip_prefix(key)?.trim_start().strip_prefix('=')?;
        let quoted = rest.trim_start().strip_prefix('"')?;
        quoted.split_once('"').map(|(value, _)| value.to_owned())
    })
}
