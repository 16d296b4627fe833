//! Brings the branch into the mirror, by libgit2 from local folders, else by the `git` program.

use std::path::{Path, PathBuf};
use std::time::Duration;

use git2::{AutotagOption, Direction, FetchOptions, Oid, Repository};

use super::{GitError, Source};
use crate::sys::process::{Call, Output};

/// Where the mirror keeps the branch.
pub(super) const TIP: &str = "refs/ao/tip";

/// Before every command: nothing that a repository's config names is run.
const SAFE: [&str; 10] = [
    "-c",
    "core.fsmonitor=false",
    "-c",
    "core.hooksPath=/dev/null",
    "-c",
    "protocol.ext.allow=never",
    "-c",
    "gc.auto=0",
    "-c",
    "maintenance.auto=false",
];

/// Where the branch comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    pub url: String,
    /// `origin/main`, or `main` of a repository without that remote.
    pub shown: String,
}

/// What the mirror has of the branch now; `None`: the branch is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fetched {
    pub tip: Option<Oid>,
    pub shown: String,
}

pub(super) fn fetch(mirror: &Path, source: &Source, limit: Duration) -> Result<Fetched, GitError> {
    let origin = origin(source)?;
    let repository = open_mirror(mirror)?;
    let local = local_path(&origin.url, &source.repo);
    let by_library = local.as_ref().map(|path| by_library(&repository, path, source));
    let tip = if let Some(Ok(tip)) = by_library {
        tip
    } else {
        // What the library refuses, git itself may know.
        let url = local.map_or(origin.url, |path| path.to_string_lossy().into_owned());
        by_program(mirror, &repository, &url, source, limit)?
    };
    Ok(Fetched { tip, shown: origin.shown })
}

fn open_mirror(path: &Path) -> Result<Repository, GitError> {
    let failed = |cause| GitError::Mirror { path: path.to_owned(), cause };
    if path.exists() {
        return Repository::open_bare(path).map_err(failed);
    }
    Repository::init_bare(path).map_err(failed)
}

/// The address of the remote; the repository itself where it has none of that name.
pub(super) fn origin(source: &Source) -> Result<Origin, GitError> {
    let of_remote =
        |url: String| Origin { url, shown: format!("{}/{}", source.remote, source.branch) };
    let own =
        || Origin { url: source.repo.to_string_lossy().into_owned(), shown: source.branch.clone() };
    match Repository::open(&source.repo) {
        Ok(repository) => match repository.find_remote(&source.remote) {
            Ok(remote) => Ok(of_remote(String::from_utf8_lossy(remote.url_bytes()).into_owned())),
            Err(_) => Ok(own()),
        },
        Err(cause) => {
            let asked = git()
                .arg("-C")
                .arg(&source.repo)
                .args(["config", "--get", &format!("remote.{}.url", source.remote)])
                .run()?;
            match asked.code {
                Some(0) => Ok(of_remote(asked.stdout_text().trim().to_owned())),
                Some(1) => Ok(own()),
                _ => Err(GitError::Repository { repo: source.repo.clone(), cause }),
            }
        }
    }
}

/// The folder, where the address is one of this machine.
pub(super) fn local_path(url: &str, repo: &Path) -> Option<PathBuf> {
    let path = url.strip_prefix("file://").unwrap_or(url);
    if path.contains("://") {
        return None;
    }
    let path = repo.join(path);
    path.is_dir().then_some(path)
}

fn by_library(
    mirror: &Repository,
    path: &Path,
    source: &Source,
) -> Result<Option<Oid>, git2::Error> {
    let mut remote = mirror.remote_anonymous(&path.to_string_lossy())?;
    remote.connect(Direction::Fetch)?;
    let name = format!("refs/heads/{}", source.branch);
    let tip = remote.list()?.iter().find(|head| head.name() == name).map(git2::RemoteHead::oid);
    let Some(tip) = tip else { return Ok(None) };
    if mirror.find_commit(tip).is_err() {
        let mut options = FetchOptions::new();
        options.download_tags(AutotagOption::None);
        remote.fetch(&[format!("+{name}:{TIP}")], Some(&mut options), None)?;
    }
    remote.disconnect()?;
    mirror.find_commit(tip)?;
    mirror.reference(TIP, tip, true, "fetched")?;
    Ok(Some(tip))
}

fn by_program(
    mirror: &Path,
    repository: &Repository,
    url: &str,
    source: &Source,
    limit: Duration,
) -> Result<Option<Oid>, GitError> {
    let refused = |said: &Output| GitError::Fetch {
        url: without_secret(url),
        branch: source.branch.clone(),
        why: without_secret(said.stderr_text().lines().last().unwrap_or("no reason given")),
    };
    let mut call = git();
    if !url.contains("://") || url.starts_with("ssh://") || url.starts_with("git+ssh://") {
        call = ssh_command(mirror)
            .into_iter()
            .fold(call, |call, ssh| call.env("GIT_SSH_COMMAND", ssh));
    }
    let said = call
        .arg("--git-dir")
        .arg(mirror)
        .args(["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--"])
        .arg(url)
        .arg(format!("+refs/heads/{}:{TIP}", source.branch))
        .timeout(limit)
        .run()?;
    if said.success() {
        return repository.refname_to_id(TIP).map(Some).map_err(GitError::Read);
    }
    if said.stderr_text().contains("couldn't find remote ref") {
        return Ok(None);
    }
    Err(refused(&said))
}

/// The program, with nothing that could ask, and none of what a caller's git environment says.
fn git() -> Call {
    let mut call = Call::new("git")
        .args(SAFE)
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_ASKPASS", "true")
        .env("SSH_ASKPASS", "true")
        .env("LC_ALL", "C");
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY"] {
        call = call.env_remove(name);
    }
    call
}

/// How this person reaches ssh, told never to ask: the watchdog's terminal has nobody before it.
fn ssh_command(mirror: &Path) -> Option<String> {
    if std::env::var_os("GIT_SSH").is_some() {
        return None;
    }
    let own = std::env::var("GIT_SSH_COMMAND").ok();
    // The mirror has no such setting, so this is the person's own, never one of the agents' repository.
    let configured = || {
        let asked = git().arg("--git-dir").arg(mirror).args(["config", "--get", "core.sshCommand"]);
        let said = asked.timeout(Duration::from_secs(5)).run().ok()?;
        Some(said.stdout_text().trim().to_owned()).filter(|_| said.success())
    };
    let command = own.or_else(configured).filter(|command| !command.is_empty());
    Some(format!("{} -oBatchMode=yes", command.as_deref().unwrap_or("ssh")))
}

/// `https://user:token@host` without what stands before the host.
fn without_secret(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let host_end = rest.find('/').unwrap_or(rest.len());
    match rest[..host_end].rfind('@') {
        Some(at) => format!("{scheme}://{}", &rest[at + 1..]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_its_secret() {
        assert_eq!(without_secret("https://u:t@host/r.git"), "https://host/r.git");
        assert_eq!(without_secret("git@host:r.git"), "git@host:r.git");
        assert_eq!(without_secret("https://host/a@b"), "https://host/a@b");
    }
}
