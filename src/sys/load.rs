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
