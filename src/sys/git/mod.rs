//! Reading a branch that agents push to: fetched into a bare mirror of our own, then walked.
//!
//! The agents' repository is only a source. It is read for where its remote is; nothing is written
//! there, none of its hooks or configured programs run. What libgit2 cannot do (ssh and https with the
//! user's own set-up, reference tables) is done by the `git` program with prompts off.
//!
//! Surprise: libgit2's own fetch cannot be interrupted while a local disk hangs, so callers run a look
//! beside their loop and go on without it.

mod fetch;
mod walk;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::handoff::commit::{Commit, Tip};
use crate::handoff::inbox::Place;

/// Longest status or inbox file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// What is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    pub repo: PathBuf,
    pub remote: String,
    pub branch: String,
    /// Where status and inbox files are looked for first.
    pub subdir: String,
    /// Read at each look.
    pub files: Vec<String>,
}

/// What one look found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Look {
    pub tip: Option<Tip>,
    /// Since the last look, oldest first.
    pub commits: Vec<Commit>,
    /// What was unusual, for people.
    pub notes: Vec<String>,
    pub texts: Vec<FileText>,
}

/// A file as it stands at one place; `text` is empty where it is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileText {
    pub file: String,
    pub place: Place,
    /// For people: a path, or a path at a branch.
    pub shown: String,
    pub text: String,
    pub writer: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum GitError {
    #[error("cannot open the mirror `{path}`")]
    Mirror {
        path: PathBuf,
        #[source]
        cause: git2::Error,
    },
    #[error("cannot open the repository `{repo}`")]
    Repository {
        repo: PathBuf,
        #[source]
        cause: git2::Error,
    },
    #[error("cannot fetch `{branch}` from {url}: {why}")]
    Fetch { url: String, branch: String, why: String },
    #[error("cannot run git")]
    Program(#[from] crate::sys::process::ProcessError),
    #[error("cannot read the fetched branch")]
    Read(#[source] git2::Error),
}

/// Fetches and reads what is new since `since`. Files of the work tree are read in any case.
///
/// A mirror that cannot be read is thrown away and made again, once.
pub fn look(
    mirror: &Path,
    source: &Source,
    since: Option<&Tip>,
    begun: bool,
    limit: Duration,
) -> Result<Look, GitError> {
    let tried = fetch::fetch(mirror, source, limit)
        .and_then(|fetched| walk::read(mirror, source, &fetched, since, begun));
    match tried {
        Err(GitError::Mirror { .. } | GitError::Read(_)) if mirror.exists() => {
            drop(std::fs::remove_dir_all(mirror));
            let fetched = fetch::fetch(mirror, source, limit)?;
            let mut look = walk::read(mirror, source, &fetched, since, begun)?;
            look.notes.push("the mirror was damaged and was made anew".to_owned());
            Ok(look)
        }
        other => other,
    }
}

/// The status and inbox files of the work tree: in the subfolder, else at the root.
pub fn work_tree(root: &Path, subdir: &str, files: &[String]) -> Vec<FileText> {
    let of_file = |file: &String| {
        let places = [Path::new(subdir).join(file), PathBuf::from(file)];
        let found = places.iter().find_map(|path| Some((path, read(&root.join(path))?)));
        let (shown, text) = found.map_or_else(
            || (file.clone(), String::new()),
            |(path, text)| (path.display().to_string(), text),
        );
        FileText { file: file.clone(), place: Place::WorkTree, shown, text, writer: None }
    };
    files.iter().map(of_file).collect()
}

fn read(path: &Path) -> Option<String> {
    use std::io::Read as _;
    let file = std::fs::File::open(path).ok().filter(|file| {
        // A fifo would hang, a folder cannot be read.
        file.metadata().is_ok_and(|facts| facts.is_file())
    })?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The folders whose changes may mean that the branch moved: of the repository and of a remote that
/// is a folder of this machine. With each, whether all below it counts.
pub fn watched(source: &Source) -> Vec<(PathBuf, bool)> {
    let mut found = Vec::new();
    let mut add = |git_dir: &Path| {
        found.push((git_dir.to_owned(), false));
        for below in ["refs", "reftable"] {
            let folder = git_dir.join(below);
            if folder.is_dir() {
                found.push((folder, true));
            }
        }
    };
    if let Ok(repository) = git2::Repository::open(&source.repo) {
        add(repository.commondir());
    } else if source.repo.join(".git").is_dir() {
        add(&source.repo.join(".git"));
    }
    if let Ok(origin) = fetch::origin(source)
        && let Some(path) = fetch::local_path(&origin.url, &source.repo)
    {
        let git_dir = path.join(".git");
        add(if git_dir.is_dir() { &git_dir } else { &path });
    }
    found
}
