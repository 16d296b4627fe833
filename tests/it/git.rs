//! Real repositories, read as the watchdog reads them: through a mirror of its own.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use ao::handoff::commit::Tip;
use ao::handoff::inbox::Place;
use ao::sys::git::{self, GitError, Look, Source};

const LIMIT: Duration = Duration::from_secs(20);

/// A bare remote, a clone that is watched, and what was seen of them.
struct Repositories {
    dir: tempfile::TempDir,
    seen: Option<Tip>,
    begun: bool,
}

impl Repositories {
    fn new() -> Self {
        Self::of(&["--initial-branch=main"])
    }

    fn of(options: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let this = Self { dir, seen: None, begun: false };
        let init: Vec<&str> = [&["init", "-q", "--bare", "remote.git"], options].concat();
        this.git("", &init);
        this.git("", &["clone", "-q", "remote.git", "work"]);
        this.commit("begin");
        this.push();
        this
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    #[track_caller]
    fn git(&self, dir: &str, arguments: &[&str]) {
        assert!(self.try_git(dir, arguments), "git {arguments:?}");
    }

    fn try_git(&self, dir: &str, arguments: &[&str]) -> bool {
        let mut command = Command::new("git");
        command
            .current_dir(self.path(dir))
            .args(["-c", "commit.gpgsign=false"])
            .args(arguments)
            .env("HOME", self.dir.path())
            .env("GIT_CONFIG_NOSYSTEM", "1");
        for who in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{who}_NAME"), "Ann");
            command.env(format!("GIT_{who}_EMAIL"), "ann@example.org");
        }
        command.output().unwrap().status.success()
    }

    fn commit(&self, subject: &str) {
        self.git("work", &["commit", "-q", "--allow-empty", "-m", subject]);
    }

    fn push(&self) {
        self.git("work", &["push", "-q", "--force", "origin", "HEAD:main"]);
    }

    fn source(&self) -> Source {
        Source {
            repo: self.path("work"),
            remote: "origin".to_owned(),
            branch: "main".to_owned(),
            subdir: "docs".to_owned(),
            files: vec!["INBOX.md".to_owned()],
        }
    }

    fn try_look(&mut self, source: &Source) -> Result<Look, GitError> {
        let mirror = self.path("mirror.git");
        let look = git::look(&mirror, source, self.seen.as_ref(), self.begun, LIMIT)?;
        self.seen.clone_from(&look.tip);
        self.begun = true;
        Ok(look)
    }

    /// The subjects that are new since the last look.
    #[track_caller]
    fn news(&mut self) -> Vec<String> {
        let look = self.try_look(&self.source()).unwrap();
        look.commits.into_iter().map(|commit| commit.subject).collect()
    }
}

#[test]
fn the_first_look_records_and_later_ones_tell_what_is_new_oldest_first() {
    let mut of = Repositories::new();
    assert_eq!(of.news(), [""; 0]);
    of.commit("one");
    assert_eq!(of.news(), [""; 0], "not pushed yet");
    of.commit("two");
    of.push();
    assert_eq!(of.news(), ["one", "two"]);
    assert_eq!(of.news(), [""; 0]);
}

#[test]
fn a_merge_brings_the_commits_of_both_sides_once() {
    let mut of = Repositories::new();
    of.news();
    of.git("work", &["checkout", "-q", "-b", "side"]);
    of.commit("on the side");
    of.git("work", &["checkout", "-q", "-"]);
    of.commit("on main");
    of.git("work", &["merge", "-q", "--no-ff", "-m", "merge it", "side"]);
    of.push();
    let mut news = of.news();
    assert_eq!(news.pop().as_deref(), Some("merge it"));
    news.sort();
    assert_eq!(news, ["on main", "on the side"]);
    assert_eq!(of.news(), [""; 0]);
}

#[test]
fn a_rewritten_branch_is_read_on_from_the_merge_base_and_one_that_goes_back_tells_nothing() {
    let mut of = Repositories::new();
    of.commit("kept");
    of.push();
    of.news();
    of.commit("dropped");
    of.push();
    assert_eq!(of.news(), ["dropped"]);
    of.git("work", &["reset", "-q", "--hard", "HEAD~1"]);
    of.commit("instead");
    of.push();
    let look = of.try_look(&of.source()).unwrap();
    assert_eq!(look.commits.len(), 1);
    assert_eq!(look.commits[0].subject, "instead");
    assert!(look.notes[0].contains("rewritten"), "{:?}", look.notes);
    of.git("work", &["reset", "-q", "--hard", "HEAD~1"]);
    of.push();
    assert_eq!(of.news(), [""; 0]);
}

#[test]
fn a_branch_that_comes_later_is_new_as_a_whole() {
    let mut of = Repositories::new();
    let source = Source { branch: "later".to_owned(), ..of.source() };
    assert_eq!(of.try_look(&source).unwrap().tip, None);
    of.git("work", &["push", "-q", "origin", "HEAD:later"]);
    assert_eq!(of.try_look(&source).unwrap().commits.len(), 1);
}

#[test]
fn without_the_remote_the_local_branch_is_watched_also_from_a_worktree() {
    let mut of = Repositories::new();
    of.git("work", &["remote", "remove", "origin"]);
    of.git("work", &["branch", "-q", "-M", "main"]);
    of.git("work", &["worktree", "add", "-q", "../tree", "-b", "other"]);
    let source = Source { repo: of.path("tree"), ..of.source() };
    of.try_look(&source).unwrap();
    of.commit("in the first tree");
    assert_eq!(of.try_look(&source).unwrap().commits.len(), 1);
    let watched = git::watched(&source);
    let refs = of.path("work").canonicalize().unwrap().join(".git/refs");
    assert!(watched.iter().any(|(path, all)| *all && path.canonicalize().unwrap() == refs));
}

#[test]
fn a_damaged_mirror_is_made_anew_and_nothing_is_told_twice() {
    let mut of = Repositories::new();
    of.news();
    of.commit("one");
    of.push();
    assert_eq!(of.news(), ["one"]);
    std::fs::write(of.path("mirror.git/HEAD"), "garbage").unwrap();
    std::fs::remove_dir_all(of.path("mirror.git/objects")).unwrap();
    of.commit("two");
    of.push();
    assert_eq!(of.news(), ["two"]);
}

#[test]
fn files_are_read_from_the_work_tree_and_the_branch_with_who_brought_them() {
    let mut of = Repositories::new();
    of.news();
    std::fs::create_dir(of.path("work/docs")).unwrap();
    std::fs::write(of.path("work/docs/INBOX.md"), "hello\n").unwrap();
    of.git("work", &["add", "-A"]);
    of.commit("note");
    of.push();
    std::fs::write(of.path("work/docs/INBOX.md"), "hello\nagain\n").unwrap();
    let look = of.try_look(&of.source()).unwrap();
    let at = |place| look.texts.iter().find(|text| text.place == place).unwrap();
    assert_eq!(at(Place::WorkTree).text, "hello\nagain\n");
    let branch = at(Place::Branch);
    assert_eq!((branch.text.as_str(), branch.writer.as_deref()), ("hello\n", Some("Ann")));
    assert_eq!(branch.shown, "docs/INBOX.md at origin/main");
}

#[test]
#[expect(clippy::print_stderr, reason = "says why it is skipped")]
fn reference_tables_are_read_by_the_git_program() {
    let probe = tempfile::tempdir().unwrap();
    let made = Command::new("git")
        .args(["init", "-q", "--bare", "--ref-format=reftable"])
        .arg(probe.path())
        .output();
    if !made.is_ok_and(|made| made.status.success()) {
        eprintln!("skipped: this git knows no reference tables");
        return;
    }
    let mut of = Repositories::of(&["--initial-branch=main", "--ref-format=reftable"]);
    of.news();
    of.commit("one");
    of.push();
    assert_eq!(of.news(), ["one"]);
}

#[test]
fn a_remote_that_does_not_answer_is_an_error_that_names_it_without_its_secret() {
    let mut of = Repositories::new();
    of.git("work", &["remote", "set-url", "origin", "http://user:secret@127.0.0.1:9/x.git"]);
    let error = of.try_look(&of.source()).expect_err("nobody listens there");
    let text = ao::base::chain::text(&error);
    assert!(text.contains("127.0.0.1:9") && !text.contains("secret"), "{text}");
}
