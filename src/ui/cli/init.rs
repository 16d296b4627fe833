//! `ao init`: write a starter agents.toml and prompts/, never overwriting.
//!
//! What it writes are the repository's own example files, put into the binary; only the session
//! prefix differs. It asks for no config and no tmux, and it does not make a git repository.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::Globals;
use crate::ui::failure::Failure;
use crate::ui::{exit, print};

const EXAMPLE: &str = include_str!("../../../agents.example.toml");
/// The one line of the example that depends on the project.
const EXAMPLE_PREFIX: &str = "session_prefix = \"example-\"";
const PROMPTS: [(&str, &str); 4] = [
    ("prompts/builder.md", include_str!("../../../prompts/builder.md")),
    ("prompts/adversary.md", include_str!("../../../prompts/adversary.md")),
    ("prompts/kickoff.md", include_str!("../../../prompts/kickoff.md")),
    ("prompts/supervise.md", include_str!("../../../prompts/supervise.md")),
];
const LOG_DIR_IGNORED: &str = ".ao-state/";

/// Write a starter agents.toml and prompts/, never overwriting.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The project's folder; made if it is not there.
    #[arg(value_name = "DIR", default_value = ".")]
    dir: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Wrote,
    Kept,
}

impl Outcome {
    const fn word(self) -> &'static str {
        match self {
            Self::Wrote => "wrote",
            Self::Kept => "kept",
        }
    }
}

pub(crate) fn run(args: Args, globals: &Globals) -> Result<u8, Failure> {
    let failed = |what: &str, path: &Path, cause: &io::Error| {
        Failure::failed(format!("cannot {what} {}", path.display())).caused_by(cause)
    };
    let Args { dir } = args;
    let dir = dir.as_path();
    fs::create_dir_all(dir).map_err(|cause| failed("make the folder", dir, &cause))?;
    let absolute = fs::canonicalize(dir).map_err(|cause| failed("find", dir, &cause))?;
    let folder = absolute.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let config = EXAMPLE
        .replace(EXAMPLE_PREFIX, &format!("session_prefix = \"{}\"", session_prefix(folder)));

    let mut files = vec![("agents.toml", config.as_str())];
    files.extend(PROMPTS);
    let mut done = Vec::new();
    for (name, text) in files {
        let path = dir.join(name);
        let outcome = write_new(&path, text).map_err(|cause| failed("write", &path, &cause))?;
        done.push((path, outcome));
    }
    let path = dir.join(".gitignore");
    let outcome = ignore(&path).map_err(|cause| failed("write", &path, &cause))?;
    done.push((path, outcome));
    report(&done, dir, globals);
    Ok(exit::DONE)
}

/// Creates the file; one that exists is left as it is, also a dangling link.
fn write_new(path: &Path, text: &str) -> io::Result<Outcome> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(mut file) => file.write_all(text.as_bytes()).map(|()| Outcome::Wrote),
        Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => Ok(Outcome::Kept),
        Err(cause) => Err(cause),
    }
}

/// Adds our line to the ignore file unless one that means the same is there.
fn ignore(path: &Path) -> io::Result<Outcome> {
    let before = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => String::new(),
        Err(cause) => return Err(cause),
    };
    let name = LOG_DIR_IGNORED.trim_matches('/');
    if before.lines().any(|line| line.trim().trim_matches('/') == name) {
        return Ok(Outcome::Kept);
    }
    let gap = if before.is_empty() || before.ends_with('\n') { "" } else { "\n" };
    let mut file = OpenOptions::new().append(true).create(true).open(path)?;
    file.write_all(format!("{gap}{LOG_DIR_IGNORED}\n").as_bytes())?;
    Ok(Outcome::Wrote)
}

/// The folder's name as a tmux session prefix.
fn session_prefix(folder: &str) -> String {
    let safe: String = folder
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '-' })
        .collect();
    let trimmed = safe.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    if trimmed.is_empty() { "project-".to_owned() } else { format!("{trimmed}-") }
}

fn report(done: &[(PathBuf, Outcome)], dir: &Path, globals: &Globals) {
    if globals.json {
        let files: Vec<_> = done
            .iter()
            .map(|(path, outcome)| {
                serde_json::json!({ "path": path.to_string_lossy(), "outcome": outcome.word() })
            })
            .collect();
        print::out(&serde_json::json!({ "version": 1, "files": files }).to_string());
        return;
    }
    if globals.quiet {
        return;
    }
    for (path, outcome) in done {
        print::out(&format!("{:<5}  {}", outcome.word(), path.display()));
    }
    let enter = if dir == Path::new(".") {
        String::new()
    } else {
        format!("cd {} && ", crate::base::quote::shell_word(&dir.to_string_lossy()))
    };
    print::err(&format!("next: {enter}ao check && ao up"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_name_becomes_a_prefix_that_tmux_does_not_rewrite() {
        let made = ["my.app", "-x-", "ünï", "", "a b"].map(session_prefix);
        assert_eq!(made, ["my-app-", "x-", "n-", "project-", "a-b-"]);
    }

    #[test]
    fn the_example_has_exactly_one_prefix_to_replace() {
        assert_eq!(EXAMPLE.matches(EXAMPLE_PREFIX).count(), 1);
    }
}
