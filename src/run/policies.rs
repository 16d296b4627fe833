//! The policy set in force: read from its folder, kept compiled under `state/`, reloaded when files change.
//!
//! A set that does not load never takes effect: the last good one stays, and there is an alarm to
//! show. With no good one to fall back to, everything but looking is denied. A folder that vanished
//! is such a failure, not an empty set, as otherwise removing it would lift every rule; a project
//! that never had one has no policies.
//!
//! Once a person accepted something of the project, only the accepted policies are in force: others wait,
//! and what was accepted cannot be read closes the set.
//!
//! Compiled sets are named by the digest of their files, so a process that lives for milliseconds
//! reads one file and neither YAML nor conditions. Failures are kept too, or each hook would find
//! them anew.

use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use super::accepted::{AcceptedError, Head};
use crate::config::diagnostic;
use crate::govern::policy::{self, CaseResult, FileProblems, Known, Set};
use crate::sys::file;

/// Under the state folder.
const CACHE: &str = "policies";
/// In it: the digest of the set that loaded last.
const GOOD: &str = "good";
const WAITING: &str = "the policies are not those that a person accepted, which stay in force until `ao config accept`";
/// All policy files together.
const FOLDER_BYTES_MAX: u64 = 16 << 20;

/// Where policies come from and where they are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Holds `*.yaml` and `*.yml`.
    pub folder: PathBuf,
    /// The project's state folder.
    pub state: PathBuf,
    pub known: Known,
    /// What a person accepted, by its head; `None` as long as nobody accepted anything.
    pub accepted: Option<PathBuf>,
}

/// What holds now.
#[derive(Debug, Clone, PartialEq)]
pub struct InForce {
    pub set: Set,
    /// Why it is not what the files say; to be shown until they load again.
    pub alarm: Option<String>,
}

/// The files of a folder, checked, with what is needed to show what is wrong.
#[derive(Debug, Clone)]
pub struct Checked {
    /// Name and text, by name.
    pub files: Vec<(String, String)>,
    /// `None`: at least one problem is an error.
    pub set: Option<Set>,
    pub problems: Vec<FileProblems>,
    pub cases: Vec<CaseResult>,
}

#[derive(Debug, thiserror::Error)]
pub enum PoliciesError {
    #[error("there is no policy folder `{}`", path.display())]
    NoFolder { path: PathBuf },
    #[error("cannot read policies in `{}`", path.display())]
    Read {
        path: PathBuf,
        #[source]
        cause: std::io::Error,
    },
    #[error("the policy file `{}` is not UTF-8", path.display())]
    NotText { path: PathBuf },
    #[error("the policy files in `{}` have more than {FOLDER_BYTES_MAX} bytes together", path.display())]
    TooLarge { path: PathBuf },
}

/// Name and text of each policy file, by name. Hidden files and folders are passed over.
pub fn read(folder: &Path) -> Result<Vec<(String, String)>, PoliciesError> {
    let unread = |path: &Path| {
        let path = path.to_owned();
        move |cause| PoliciesError::Read { path, cause }
    };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(PoliciesError::NoFolder { path: folder.to_owned() });
        }
        Err(cause) => return Err(PoliciesError::Read { path: folder.to_owned(), cause }),
    };
    let (mut files, mut total) = (Vec::new(), 0);
    for entry in entries {
        let path = entry.map_err(unread(folder))?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let yaml = path.extension().is_some_and(|end| end == "yaml" || end == "yml");
        if !yaml || name.starts_with('.') {
            continue;
        }
        let bytes = std::fs::read(&path).map_err(unread(&path))?;
        total += bytes.len() as u64;
        if total > FOLDER_BYTES_MAX {
            return Err(PoliciesError::TooLarge { path: folder.to_owned() });
        }
        let name = name.to_owned();
        let text =
            String::from_utf8(bytes).map_err(|_| PoliciesError::NotText { path: path.clone() })?;
        files.push((name, text));
    }
    files.sort_unstable();
    Ok(files)
}

/// Reads and checks a folder, past any cache.
pub fn check(folder: &Path, known: &Known) -> Result<Checked, PoliciesError> {
    Ok(checked(read(folder)?, known))
}

/// What a person accepted, checked anew; `None` where it does not load.
pub fn accepted(path: &Path, known: &Known) -> Result<Option<Set>, AcceptedError> {
    let files = Head::read(path)?.policy_files(path)?;
    Ok(checked(files, known).set)
}

fn checked(files: Vec<(String, String)>, known: &Known) -> Checked {
    match Set::load(&borrowed(&files), known) {
        Ok(loaded) => {
            Checked { files, set: Some(loaded.set), problems: loaded.warnings, cases: loaded.cases }
        }
        Err(problems) => Checked { files, set: None, problems, cases: Vec::new() },
    }
}

fn borrowed(files: &[(String, String)]) -> Vec<(&str, &str)> {
    files.iter().map(|(name, text)| (&**name, &**text)).collect()
}

impl Checked {
    /// All problems laid out for people, one count a file.
    pub fn render(&self, folder: &Path, colored: bool) -> String {
        let mut out = String::new();
        for file in &self.problems {
            let text = self.files.iter().find(|(name, _)| *name == file.file);
            let source = text.map_or("", |(_, text)| text);
            let path = folder.join(&file.file);
            out.push_str(&diagnostic::render(&file.diagnostics, source, &path, colored));
        }
        out
    }

    /// The first error in one line.
    fn first_error(&self) -> Option<String> {
        self.problems.iter().find_map(|file| {
            let error = file.diagnostics.iter().find(|diagnostic| diagnostic.is_error())?;
            let label = error.labels.first().filter(|label| !label.text.is_empty());
            let label = label.map_or(String::new(), |label| format!(" ({})", label.text));
            Some(format!("{}: {}{label}", file.file, error.message))
        })
    }
}

/// What names a set: of the files' names and texts.
pub fn digest(files: &[(String, String)]) -> String {
    policy::digest(&borrowed(files))
}

/// The set in force, by the cache where it has the files' digest.
pub fn load(source: &Source) -> InForce {
    let cache = Cache { folder: source.state.join(CACHE) };
    let found = read(&source.folder);
    if let Some(path) = &source.accepted {
        let head = match Head::read(path) {
            Ok(head) => head,
            Err(error) => return closed(&error),
        };
        let written = match &found {
            Ok(files) => Some(digest(files)),
            Err(PoliciesError::NoFolder { .. }) => Some(digest(&[])),
            Err(_) => None,
        };
        if written.as_ref() != Some(&head.policies) {
            return cache.accepted(&head, path, &source.known);
        }
    }
    let files = match found {
        Ok(files) => files,
        Err(PoliciesError::NoFolder { .. })
            if cache.good().is_none() || source.accepted.is_some() =>
        {
            return InForce { set: Set::empty(), alarm: None };
        }
        Err(error) => return cache.fall_back(&crate::base::chain::text(&error)),
    };
    let digest = digest(&files);
    if let Some(set) = cache.set(&digest) {
        let alarm = cache.keep_good(&digest);
        return InForce { set, alarm };
    }
    if let Some(failure) = cache.failure(&digest) {
        return cache.fall_back(&failure);
    }
    let checked = checked(files, &source.known);
    if let Some(set) = checked.set {
        let alarm = cache.keep(&set);
        return InForce { set, alarm };
    }
    let failure = checked.first_error().unwrap_or_else(|| "unknown".to_owned());
    cache.keep_failure(&digest, &failure);
    cache.fall_back(&failure)
}

fn closed(error: &AcceptedError) -> InForce {
    let alarm = format!(
        "what a person accepted cannot be told, all but reading is denied: {}",
        crate::base::chain::text(error)
    );
    InForce { set: Set::closed(&*alarm), alarm: Some(alarm) }
}

struct Cache {
    folder: PathBuf,
}

impl Cache {
    fn path(&self, digest: &str, end: &str) -> PathBuf {
        self.folder.join(format!("{digest}.{end}"))
    }

    /// A torn file, or one of another version, is as good as none.
    fn set(&self, digest: &str) -> Option<Set> {
        let bytes = std::fs::read(self.path(digest, "set")).ok()?;
        Set::decode(&bytes).ok().filter(|set| set.digest == digest)
    }

    fn good(&self) -> Option<String> {
        let digest = std::fs::read_to_string(self.folder.join(GOOD)).ok()?;
        let digest = digest.trim();
        (!digest.is_empty() && digest.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .then(|| digest.to_owned())
    }

    fn failure(&self, digest: &str) -> Option<String> {
        let text = std::fs::read_to_string(self.path(digest, "failure")).ok()?;
        let (version, failure) = text.split_once('\n')?;
        (version == crate::VERSION).then(|| failure.to_owned())
    }

    /// What a person accepted, while the files say something else.
    fn accepted(&self, head: &Head, path: &Path, known: &Known) -> InForce {
        let alarm = Some(WAITING.to_owned());
        if let Some(set) = self.set(&head.policies) {
            return InForce { set, alarm };
        }
        let files = match head.policy_files(path) {
            Ok(files) => files,
            Err(error) => return closed(&error),
        };
        let checked = checked(files, known);
        let Some(set) = checked.set else {
            let failure = checked.first_error().unwrap_or_else(|| "unknown".to_owned());
            return self.fall_back(&failure);
        };
        let alarm = self.keep(&set).or(alarm);
        InForce { set, alarm }
    }

    fn fall_back(&self, failure: &str) -> InForce {
        let Some(set) = self.good().and_then(|digest| self.set(&digest)) else {
            let alarm = format!(
                "the policies do not load and there is no earlier set, all but reading is denied: {failure}"
            );
            return InForce { set: Set::closed(&*alarm), alarm: Some(alarm) };
        };
        let short = set.digest.get(..12).unwrap_or(&set.digest);
        let alarm = format!(
            "the policies do not load, the last good set ({short}) stays in force: {failure}"
        );
        InForce { set, alarm: Some(alarm) }
    }

    /// A set that cannot be kept is in force all the same, but there will be nothing to fall back to.
    fn keep(&self, set: &Set) -> Option<String> {
        let kept = self
            .prepare()
            .and_then(|()| file::replace(&self.path(&set.digest, "set"), &set.encode(), 0o600));
        match kept {
            Ok(()) => self.keep_good(&set.digest),
            Err(error) => Some(not_kept(&error)),
        }
    }

    fn prepare(&self) -> Result<(), file::FileError> {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder);
        made.map_err(|cause| file::FileError { act: "create", path: self.folder.clone(), cause })
    }

    fn keep_good(&self, digest: &str) -> Option<String> {
        let before = self.good();
        if before.as_deref() == Some(digest) {
            return None;
        }
        if let Err(error) = file::replace(&self.folder.join(GOOD), digest.as_bytes(), 0o600) {
            return Some(not_kept(&error));
        }
        self.prune(&[digest, before.as_deref().unwrap_or_default()]);
        None
    }

    fn keep_failure(&self, digest: &str, failure: &str) {
        let text = format!("{}\n{failure}", crate::VERSION);
        // Only saves the next process the work.
        drop(self.prepare().and_then(|()| {
            file::replace_volatile(&self.path(digest, "failure"), text.as_bytes(), 0o600)
        }));
    }

    /// Removes what belongs to neither digest; what stays is no harm.
    fn prune(&self, keep: &[&str]) {
        for entry in std::fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let ours = path.extension().is_some_and(|end| end == "set" || end == "failure");
            let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            if ours && !keep.contains(&stem) {
                drop(file::remove(&path));
            }
        }
    }
}

fn not_kept(error: &file::FileError) -> String {
    format!("the policies are in force but cannot be kept: {}", crate::base::chain::text(error))
}

/// The set in force in a process that lives long, reloaded when a file changed.
#[derive(Debug)]
pub struct Watched {
    source: Source,
    seen: Option<Vec<Stamp>>,
    in_force: InForce,
}

/// Tells one state of a file from another without reading it.
type Stamp = (PathBuf, u64, u64, i64, i64);

impl Watched {
    pub fn new(source: Source) -> Self {
        let seen = stamps(&source);
        let in_force = load(&source);
        Self { source, seen, in_force }
    }

    pub fn in_force(&self) -> &InForce {
        &self.in_force
    }

    /// Loads again when something changed; whether set or alarm are other ones now.
    pub fn refresh(&mut self) -> bool {
        let seen = stamps(&self.source);
        if seen == self.seen && seen.is_some() {
            return false;
        }
        self.seen = seen;
        let before = std::mem::replace(&mut self.in_force, load(&self.source));
        before.set.digest != self.in_force.set.digest || before.alarm != self.in_force.alarm
    }
}

fn stamps(source: &Source) -> Option<Vec<Stamp>> {
    let mut found = Vec::new();
    let files = std::fs::read_dir(&source.folder).ok()?.map(|entry| Some(entry.ok()?.path()));
    for path in files.chain(source.accepted.clone().map(Some)) {
        let path = path?;
        let data = std::fs::metadata(&path).ok()?;
        found.push((path, data.ino(), data.len(), data.ctime(), data.ctime_nsec()));
    }
    found.sort_unstable();
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DENY: &str = "policies: [{ name: a, effect: deny }]";
    const NOTIFY: &str = "policies: [{ name: b, effect: notify }]";

    struct Place {
        root: tempfile::TempDir,
    }

    impl Place {
        fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            std::fs::create_dir(root.path().join("policies")).unwrap();
            std::fs::create_dir(root.path().join("state")).unwrap();
            Self { root }
        }

        fn source(&self) -> Source {
            Source {
                folder: self.root.path().join("policies"),
                state: self.root.path().join("state"),
                known: Known::default(),
                accepted: None,
            }
        }

        fn write(&self, text: &str) {
            std::fs::write(self.root.path().join("policies/p.yaml"), text).unwrap();
        }

        /// The names of the rules in force, and whether there is an alarm.
        #[track_caller]
        fn check(&self, rules: &[&str], alarm: bool) {
            let in_force = load(&self.source());
            let found: Vec<_> = in_force.set.rules.iter().map(|rule| &*rule.name).collect();
            assert_eq!((&*found, in_force.alarm.is_some()), (rules, alarm), "{:?}", in_force.alarm);
        }

        fn kept(&self, end: &str) -> Vec<PathBuf> {
            let entries = std::fs::read_dir(self.root.path().join("state/policies")).unwrap();
            let paths = entries.map(|entry| entry.unwrap().path());
            paths.filter(|path| path.extension().is_some_and(|found| found == end)).collect()
        }
    }

    #[test]
    fn a_first_load_that_fails_closes_and_a_good_one_opens() {
        let place = Place::new();
        place.write("policies: [{ name: a, efect: deny }]");
        for _ in 0..2 {
            let in_force = load(&place.source());
            assert!(in_force.set.is_closed());
            let alarm = in_force.alarm.unwrap();
            assert!(alarm.contains("p.yaml: unknown field `efect`"), "{alarm}");
        }
        place.write(NOTIFY);
        place.check(&["b"], false);
    }

    #[test]
    fn the_last_good_set_outlives_a_broken_file_and_a_lost_folder() {
        let place = Place::new();
        place.write(DENY);
        place.check(&["a"], false);
        place.write("policies: [");
        place.check(&["a"], true);
        std::fs::remove_dir_all(place.root.path().join("policies")).unwrap();
        place.check(&["a"], true);
        std::fs::create_dir(place.root.path().join("policies")).unwrap();
        place.check(&[], false);
    }

    #[test]
    fn a_project_without_the_folder_has_no_policies() {
        let place = Place::new();
        std::fs::remove_dir_all(place.root.path().join("policies")).unwrap();
        place.check(&[], false);
        assert!(!load(&place.source()).set.is_closed());
    }

    #[test]
    fn a_torn_cache_is_made_anew_and_old_ones_go() {
        let place = Place::new();
        place.write(DENY);
        place.check(&["a"], false);
        let [cache] = &place.kept("set")[..] else { panic!() };
        let whole = std::fs::read(cache).unwrap();
        std::fs::write(cache, &whole[..whole.len() / 2]).unwrap();
        place.check(&["a"], false);
        assert_eq!(std::fs::read(cache).unwrap(), whole);
        for round in 0..4 {
            place.write(&DENY.replace("name: a", &format!("name: a{round}")));
            load(&place.source());
        }
        assert_eq!(place.kept("set").len(), 2);
    }

    #[test]
    fn a_long_lived_process_follows_the_files() {
        let place = Place::new();
        place.write(DENY);
        let mut watched = Watched::new(place.source());
        assert!(!watched.refresh());
        place.write(NOTIFY);
        assert!(watched.refresh());
        assert_eq!(watched.in_force().set.rules[0].name, "b");
        place.write("policies: 1");
        assert!(watched.refresh());
        assert_eq!(watched.in_force().set.rules[0].name, "b");
        assert!(watched.in_force().alarm.is_some());
        assert!(!watched.refresh());
    }
}
