//! Reads the mirror: which commits are new, and what the watched files hold at the branch.

use std::path::Path;

use git2::{ErrorCode, Oid, Repository, Sort};

use super::fetch::Fetched;
use super::{FILE_BYTES_MAX, FileText, GitError, Look, Source, work_tree};
use crate::handoff::commit::{Commit, Tip};
use crate::handoff::inbox::Place;

/// More new commits than this in one look are cut to the newest.
const COMMITS_MAX: usize = 2_000;

pub(super) fn read(
    mirror: &Path,
    source: &Source,
    fetched: &Fetched,
    since: Option<&Tip>,
    begun: bool,
) -> Result<Look, GitError> {
    let mut look =
        Look { texts: work_tree(&source.repo, &source.subdir, &source.files), ..Look::default() };
    let Some(tip) = fetched.tip else { return Ok(look) };
    let repository = Repository::open_bare(mirror)
        .map_err(|cause| GitError::Mirror { path: mirror.to_owned(), cause })?;
    read_branch(&repository, source, fetched, tip, since, begun, &mut look)
        .map_err(GitError::Read)?;
    Ok(look)
}

fn read_branch(
    repository: &Repository,
    source: &Source,
    fetched: &Fetched,
    tip: Oid,
    since: Option<&Tip>,
    begun: bool,
    look: &mut Look,
) -> Result<(), git2::Error> {
    let newest = repository.find_commit(tip)?;
    look.tip = Some(Tip { id: tip.to_string(), at: newest.time().seconds() });
    let ids = if begun { new_ids(repository, tip, since, look)? } else { Vec::new() };
    for id in &ids {
        let commit = repository.find_commit(*id)?;
        let author = commit.author();
        let subject = commit.summary_bytes().unwrap_or_default();
        look.commits.push(Commit {
            id: id.to_string(),
            subject: String::from_utf8_lossy(subject).into_owned(),
            author: String::from_utf8_lossy(author.name_bytes()).into_owned(),
            authored_at: author.when().seconds(),
        });
    }
    for file in &source.files {
        let paths = [format!("{}/{file}", source.subdir), file.clone()];
        let tree = newest.tree()?;
        let found = paths.iter().find_map(|path| {
            let path = Path::new(path);
            tree.get_path(path).ok().map(|entry| (path, entry.id()))
        });
        let (shown, text, writer) = match found {
            Some((path, blob)) => (
                format!("{} at {}", path.display(), fetched.shown),
                text(repository, blob),
                writer(repository, &ids, path)?,
            ),
            None => (file.clone(), String::new(), None),
        };
        look.texts.push(FileText { file: file.clone(), place: Place::Branch, shown, text, writer });
    }
    Ok(())
}

/// The commits of the branch that were not there at the last look, oldest first.
fn new_ids(
    repository: &Repository,
    tip: Oid,
    since: Option<&Tip>,
    look: &mut Look,
) -> Result<Vec<Oid>, git2::Error> {
    let known = since.and_then(|since| Oid::from_str(&since.id).ok());
    if known == Some(tip) {
        return Ok(Vec::new());
    }
    let mut walk = repository.revwalk()?;
    walk.set_sorting(Sort::TOPOLOGICAL | Sort::TIME)?;
    walk.push(tip)?;
    let mut not_before = None;
    if let (Some(since), Some(known)) = (since, known) {
        if repository.find_commit(known).is_ok() {
            walk.hide(known)?;
            let base = match repository.merge_base(known, tip) {
                Ok(base) => Some(base),
                Err(error) if error.code() == ErrorCode::NotFound => None,
                Err(error) => return Err(error),
            };
            if base != Some(known) {
                let from = base.map_or_else(|| "its beginning".to_owned(), short);
                look.notes.push(format!("the branch was rewritten: read on from {from}"));
            }
        } else {
            // Gone with the mirror and from the branch: what is younger counts as new.
            not_before = Some(since.at);
            look.notes.push(format!("{} is gone: later commits count as new", &since.id[..7]));
        }
    }
    let mut ids = Vec::new();
    for id in walk {
        let id = id?;
        if not_before.is_some_and(|at| {
            repository.find_commit(id).is_ok_and(|commit| commit.time().seconds() <= at)
        }) {
            continue;
        }
        ids.push(id);
        if ids.len() == COMMITS_MAX {
            look.notes.push(format!("only the newest {COMMITS_MAX} new commits are read"));
            break;
        }
    }
    ids.reverse();
    Ok(ids)
}

fn short(id: Oid) -> String {
    id.to_string().chars().take(7).collect()
}

fn text(repository: &Repository, blob: Oid) -> String {
    let Ok(blob) = repository.find_blob(blob) else { return String::new() };
    let length = blob.content().len().min(usize::try_from(FILE_BYTES_MAX).unwrap_or(usize::MAX));
    String::from_utf8_lossy(&blob.content()[..length]).into_owned()
}

/// Who brought the file's content: the author of the newest new commit that changed it.
fn writer(
    repository: &Repository,
    new: &[Oid],
    path: &Path,
) -> Result<Option<String>, git2::Error> {
    let blob_at =
        |commit: &git2::Commit<'_>| commit.tree().ok()?.get_path(path).ok().map(|entry| entry.id());
    for id in new.iter().rev() {
        let commit = repository.find_commit(*id)?;
        let here = blob_at(&commit);
        // A merge that takes one side's content brought nothing itself.
        let brought = commit.parents().all(|parent| blob_at(&parent) != here);
        if brought {
            return Ok(Some(String::from_utf8_lossy(commit.author().name_bytes()).into_owned()));
        }
    }
    Ok(None)
}
