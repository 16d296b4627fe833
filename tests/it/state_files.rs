//! State files that are cut short, overwritten or replaced: set aside and reported, and the rest goes on.
//!
//! Two ways: the real engine over a tmux in memory meets every cut of every file of its own; the built
//! program meets one damage of each kind on a running fleet.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use ao::base::name::UnitName;
use ao::config;
use ao::run::engine::{Engine, Parts};
use ao::run::prepare::Overrides;
use ao::run::project::Project;
use ao::supervise::outbox::{self, Draft, MessageId, Origin, Stage};
use ao::sys::tmux::fake::FakeTmux;

use crate::support::fleet::{Fleet, kill};

const TWO: &str = "[[agent]]\nname = \"one\"\nkind = \"persistent\"\nprompt = \"count to three\"\n\n\
                   [[agent]]\nname = \"two\"\nkind = \"persistent\"\nprompt = \"count to four\"\n\n";

/// Files directly in `state/` that hold one JSON document.
fn documents(state: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(state)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    found.sort();
    found
}

fn set_aside(state: &Path, of: &Path) -> usize {
    let name = format!("{}.corrupt-", of.file_name().unwrap().to_string_lossy());
    let names = std::fs::read_dir(state).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|found| found.to_string_lossy().starts_with(&name)).count()
}

fn engine(project: &Project) -> Engine {
    Engine::new(Parts {
        project: project.clone(),
        tmux: Box::new(FakeTmux::new()),
        ao: PathBuf::from("/bin/true"),
        environment: BTreeMap::new(),
        overrides: Overrides::default(),
        heartbeat: None,
        dry_run: false,
    })
    .unwrap()
}

/// A project whose agents `one` and `two` are wanted.
fn project(dir: &Path) -> Project {
    let text = format!(
        "[defaults]\nsession_prefix = \"p-\"\nlog_dir = \".ao-state\"\nbackend = \"demo\"\n\n{TWO}"
    );
    std::fs::write(dir.join("agents.toml"), &text).unwrap();
    let (config, problems) =
        config::parse(&text, &dir.join("agents.toml"), &|_| true, &|_| Some(String::new()));
    let project = Project::peek(config.unwrap_or_else(|| panic!("{problems:?}")));
    project.store.prepare().unwrap();
    project.store.save_wanted(&both()).unwrap();
    project
}

fn both() -> BTreeSet<UnitName> {
    ["one", "two"].map(|name| UnitName::new(name).unwrap()).into_iter().collect()
}

fn wanted_of(engine: &Engine) -> BTreeSet<UnitName> {
    let units = engine.fleet.units.values().filter(|unit| unit.wanted);
    units.map(|unit| unit.spec.name.clone()).collect()
}

#[test]
fn a_file_cut_at_any_byte_is_set_aside_and_the_wishes_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let project = project(dir.path());
    let state = project.store.state();
    let mut first = engine(&project);
    first.save(ao::sys::clock::now());
    drop(first);
    let files = ["wanted.json", "supervisor.json"].map(|name| state.join(name));
    for file in &files {
        let whole = std::fs::read(file).unwrap();
        let end = whole.trim_ascii_end().len();
        for cut in (0..end).step_by(if end > 1_000 { 97 } else { 1 }) {
            std::fs::write(file, &whole[..cut]).unwrap();
            let engine = engine(&project);
            assert_eq!(wanted_of(&engine), both(), "{} cut at {cut}", file.display());
            assert_eq!(set_aside(&state, file), 1, "{} cut at {cut}", file.display());
            drop(engine);
            tidy(&state);
            std::fs::write(file, &whole).unwrap();
        }
    }
}

#[test]
fn a_file_of_garbage_or_another_version_or_a_folder_is_set_aside_and_the_wishes_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let project = project(dir.path());
    let state = project.store.state();
    let mut first = engine(&project);
    first.save(ao::sys::clock::now());
    drop(first);
    for file in ["wanted.json", "supervisor.json"].map(|name| state.join(name)) {
        let whole = std::fs::read_to_string(&file).unwrap();
        let other = whole.replacen("\"version\":1", "\"version\":99", 1);
        assert_ne!(other, whole, "{} names its version", file.display());
        for bytes in [b"\0\0\0\0".to_vec(), vec![0xff, 0xfe, 0x80], other.into_bytes()] {
            std::fs::write(&file, &bytes).unwrap();
            assert_eq!(wanted_of(&engine(&project)), both(), "{}", file.display());
            assert_eq!(set_aside(&state, &file), 1, "{}: {:?}", file.display(), bytes.first());
            tidy(&state);
        }
        std::fs::remove_file(&file).ok();
        std::fs::create_dir(&file).unwrap();
        let mut after = engine(&project);
        assert_eq!(wanted_of(&after), both());
        assert_eq!(set_aside(&state, &file), 1);
        after.save(ao::sys::clock::now());
        drop(after);
        tidy(&state);
        std::fs::write(&file, &whole).unwrap();
    }
}

fn tidy(state: &Path) {
    for entry in std::fs::read_dir(state).unwrap() {
        let path = entry.unwrap().path();
        if path.to_string_lossy().contains(".corrupt-") {
            if path.is_dir() {
                std::fs::remove_dir_all(&path).unwrap();
            } else {
                std::fs::remove_file(&path).unwrap();
            }
        }
    }
}

/// A message that is being typed, and what its witness says: is it typed again?
#[test]
fn a_message_is_typed_again_only_where_nothing_says_that_it_was_begun() {
    let dir = tempfile::tempdir().unwrap();
    let project = project(dir.path());
    let one = UnitName::new("one").unwrap();
    let mut first = engine(&project);
    let unit = first.fleet.units.get_mut(&one).unwrap();
    let draft = Draft {
        text: "go on".to_owned(),
        origin: Origin::Handoff,
        key: None,
        expires_at: None,
        busy_input: false,
        command: false,
    };
    let (now, mut newest) = (ao::sys::clock::now(), MessageId::default());
    outbox::push(unit, &mut newest, draft, None, now, &mut Vec::new()).unwrap();
    unit.outbox[0].stage = Stage::Typing { attempt: 0 };
    first.save(now);
    let snapshot = std::fs::read(project.store.state().join("supervisor.json")).unwrap();
    let waits = |witness: Option<&str>| {
        let state = project.store.state();
        std::fs::write(state.join("supervisor.json"), &snapshot).unwrap();
        let file = state.join("typing-p-one.json");
        match witness {
            Some(text) => std::fs::write(&file, text).unwrap(),
            None => std::fs::remove_file(&file).unwrap_or_default(),
        }
        let queued = engine(&project).fleet.units[&one].outbox.len() == 1;
        tidy(&state);
        queued
    };
    assert!(waits(None), "nothing was begun");
    let begun = r#"{"version":1,"message":1,"outcome":null}"#;
    for cut in 0..=begun.len() {
        assert!(!waits(Some(&begun[..cut])), "cut at {cut}");
    }
    assert!(waits(Some(&begun.replace("\"message\":1", "\"message\":7"))), "of another message");
}

#[test]
fn agents_run_on_whatever_befalls_the_state_files_while_nobody_watches() {
    let fleet = Fleet::new(TWO);
    fleet.well(&["up"]);
    let pids = fleet.pids(["one", "two"]);
    let state = fleet.path(".ao-state/state");
    for bytes in [&b"{\"version\":1,"[..], &[0; 64], &[0xff, 0x80, 0x00, 0x7f]] {
        // Gone first: a living one writes some of its files anew.
        let watchdog = fleet.status().watchdog().unwrap();
        kill(watchdog);
        fleet.until("nobody watches", |status| status.watchdog().is_none().then_some(()));
        for file in documents(&state) {
            // The server file is what leads to the sessions; damaged with the rest, all the same.
            std::fs::write(&file, bytes).unwrap();
        }
        fleet.well(&["status"]);
        fleet.well(&["up"]);
        assert_eq!(fleet.pids(["one", "two"]), pids, "no agent was touched");
        fleet.until("the watchdog is back", crate::support::fleet::Status::watchdog);
    }
    for file in ["server.json", "supervisor.json", "wanted.json"] {
        let said = format!("{file}` is not what ao wrote");
        assert!(fleet.events_text().contains(&said), "{file} is reported");
    }
}

#[test]
fn verbs_that_only_show_leave_a_damaged_file_where_it_is() {
    let fleet = Fleet::new(TWO);
    fleet.well(&["up"]);
    fleet.well(&["down"]);
    let files = documents(&fleet.path(".ao-state/state"));
    assert!(files.len() >= 4, "{files:?}");
    for file in &files {
        std::fs::write(file, "{").unwrap();
    }
    for verb in [&["status"][..], &["queue"], &["explain", "one"], &["doctor"]] {
        fleet.ao(verb);
        for file in &files {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            assert_eq!(text, "{", "{} after {verb:?}", file.display());
        }
    }
}
