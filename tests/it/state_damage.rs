//! Every file below the state folder, cut at every byte and filled with garbage, one after the other.
//!
//! The real engine over a tmux in memory goes on from each: nothing crashes, what cannot be read is set
//! aside and told of, wishes and running agents stay, and what others of its files remember is not
//! lost with it. Here each file is damaged alone; `state_files.rs` damages all at once on a real fleet.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use ao::base::name::UnitName;
use ao::config;
use ao::handoff::commit::{Commit, Tip};
use ao::handoff::judge::Observation;
use ao::run::engine::{COMPLETE, Engine, Parts, Spools};
use ao::run::prepare::Overrides;
use ao::run::project::Project;
use ao::run::request;
use ao::run::store::Snapshot;
use ao::screen::{Composer, Evidence, PaneState, Reading};
use ao::supervise::event::{Event, Request, RequestId};
use ao::supervise::outbox::{Draft, Origin};
use ao::supervise::pinging::Looked;
use ao::supervise::sequence::Heard;
use ao::supervise::state::Life;
use ao::sys::tmux::fake::FakeTmux;

/// What a cut leaves, and what nobody wrote.
const GARBAGE: [&[u8]; 6] =
    [b"\0\0\0\0", b"\xff\xfe\x80", b"{}", b"[1,2]\n", b"null", b"garbage that is long enough\n"];

struct World {
    dir: tempfile::TempDir,
    project: Project,
    tmux: FakeTmux,
}

fn name(text: &str) -> UnitName {
    UnitName::new(text).unwrap()
}

impl World {
    /// Three agents, two of which work through eleven phases and hand over to each other.
    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("ao-damage").tempdir_in(fast_folder()).unwrap();
        let phases: Vec<String> = (0..12)
            .map(|number| {
                format!("{{ id = \"p{number}\", plan = \"x\", status = \"S{number}.md\" }}")
            })
            .collect();
        let agent = |name: &str, more: &str| format!("[[agent]]\nname = \"{name}\"\n{more}\n");
        let text = format!(
            "[defaults]\nsession_prefix = \"p-\"\nlog_dir = \".ao-state\"\nbackend = \"demo\"\n\n\
             [backend.claude]\npreset = \"claude\"\nbin = \"/bin/true\"\n\n{}{}{}\
             [loop]\nphases = [\n{}]\n\
             handoff = {{ claim_pings = \"two\", review_pings = \"one\", inboxes = [] }}\n",
            agent("one", "kind = \"loop\"\nrole = \"one\""),
            agent("two", "kind = \"loop\"\nrole = \"two\""),
            agent("three", "prompt = \"go on\"\nbackend = \"claude\"\nresume = true"),
            phases.join(",\n"),
        );
        let path = |name: &str| dir.path().join(name);
        std::fs::create_dir(path("prompts")).unwrap();
        std::fs::write(path("agents.toml"), &text).unwrap();
        for file in ["kickoff.md", "one.md", "two.md"] {
            std::fs::write(path("prompts").join(file), "Work on {phase_id}.\n").unwrap();
        }
        let (config, problems) = config::parse(&text, &path("agents.toml"), &|_| true, &|_| {
            Some("{phase_id}".to_owned())
        });
        let project = Project::peek(config.unwrap_or_else(|| panic!("{problems:?}")));
        project.store.prepare().unwrap();
        Self { dir, project, tmux: FakeTmux::new() }
    }

    fn engine(&self) -> Engine {
        Engine::new(Parts {
            project: self.project.clone(),
            tmux: Box::new(self.tmux.clone()),
            ao: PathBuf::from("/bin/true"),
            environment: BTreeMap::from([(
                "HOME".to_owned(),
                self.dir.path().display().to_string(),
            )]),
            overrides: Overrides::default(),
            heartbeat: None,
            dry_run: false,
        })
        .unwrap()
    }

    /// On its last phase, with everybody at work and one message in each queue that one can be in.
    fn busy(&self) {
        let mut engine = self.engine();
        let index = Request::Phase { index: 11 };
        engine.feed(Event::Requested { id: RequestId("p".to_owned()), request: index });
        engine.read_sequence_files();
        let up = Request::Up { units: Self::all(), by_name: false };
        engine.look();
        engine.feed(Event::Requested { id: RequestId("u".to_owned()), request: up });
        for _ in 0..20 {
            engine.feed(Event::Tick);
            engine.look();
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        for (number, subject) in [(1, "begin"), (2, "claim: the parser")] {
            engine.feed(Event::Handoff {
                look: Looked::Seen { observation: look(&engine, number, subject) },
            });
        }
        let draft = Draft {
            text: "look at line 3".to_owned(),
            origin: Origin::Person,
            key: None,
            expires_at: None,
            busy_input: false,
            command: false,
        };
        let send = Request::Send { unit: name("three"), draft, wait: false };
        engine.feed(Event::Requested { id: RequestId("s".to_owned()), request: send });
        let attempt = engine.fleet.units[&name("one")].attempt;
        engine.feed(Event::Read { unit: name("one"), attempt, reading: limited() });
        engine.feed(Event::ConfigBroken { problem: "line 3".to_owned() });
        engine.save(ao::sys::clock::now());
        let running = engine.fleet.units.values().filter(|unit| unit.is_running()).count();
        assert_eq!(running, 3, "{:#?}", engine.fleet.units);
        Self::whole(&engine);
    }

    fn all() -> BTreeSet<UnitName> {
        ["one", "two", "three"].map(name).into_iter().collect()
    }

    fn state(&self, file: &str) -> PathBuf {
        self.project.store.state().join(file)
    }

    /// Nothing of what counts is lost.
    #[track_caller]
    fn whole(engine: &Engine) {
        let units = &engine.fleet.units;
        let wanted = units.values().filter(|unit| unit.wanted).map(|unit| unit.spec.name.clone());
        assert_eq!(wanted.collect::<BTreeSet<_>>(), Self::all());
        assert_eq!(engine.fleet.phases.current, Some(11));
        assert_eq!(engine.fleet.handoff.seen.tip.as_ref().map(|tip| tip.at), Some(2));
        for (unit, text) in [("two", "claim: the parser"), ("three", "line 3")] {
            let waiting = &units[&name(unit)].outbox;
            assert_eq!(waiting.len(), 1, "{unit}: {waiting:?}");
            assert!(waiting[0].draft.text.contains(text), "{waiting:?}");
        }
        assert!(units[&name("one")].is_limited(), "its limit is known");
    }

    fn events(&self) -> String {
        std::fs::read_to_string(self.project.store.events()).unwrap_or_default()
    }

    /// What was set aside of that file; it is removed.
    fn aside(of: &Path) -> usize {
        let folder = of.parent().unwrap();
        let start = format!("{}.corrupt-", of.file_name().unwrap().to_string_lossy());
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let found: Vec<PathBuf> = entries
            .filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(&start))
            .collect();
        for path in &found {
            if path.is_dir() {
                std::fs::remove_dir_all(path).unwrap();
            } else {
                std::fs::remove_file(path).unwrap();
            }
        }
        found.len()
    }

    /// Every file below the log folder, to be put back as it was.
    fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let folders = [self.project.store.log_dir().to_owned(), self.project.store.state()];
        let entries = folders.into_iter().flat_map(|folder| std::fs::read_dir(folder).unwrap());
        entries
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_file())
            .map(|path| (path.clone(), std::fs::read(&path).unwrap()))
            .collect()
    }

    /// Damages one file in every way; `after` judges what an engine makes of it. `forgotten`: the
    /// memory is lost as well. Damages that `is_whole` takes for whole need not be set aside.
    #[track_caller]
    fn damage(
        &self,
        file: &Path,
        forgotten: bool,
        is_whole: impl Fn(&[u8]) -> bool,
        after: impl Fn(&mut Engine),
    ) {
        let kept = self.files();
        let whole = std::fs::read(file).unwrap();
        let cuts = (0..whole.len()).map(|cut| whole[..cut].to_vec());
        let garbage = GARBAGE.iter().map(|bytes| bytes.to_vec());
        for bytes in cuts.chain(garbage).filter(|bytes| !is_whole(bytes)) {
            for (path, text) in &kept {
                std::fs::write(path, text).unwrap();
            }
            if forgotten {
                std::fs::remove_file(self.state("supervisor.json")).unwrap();
            }
            std::fs::write(self.project.store.events(), "").unwrap();
            std::fs::write(file, &bytes).unwrap();
            let shown = || format!("{} as {:?}", file.display(), String::from_utf8_lossy(&bytes));
            let mut engine = self.engine();
            after(&mut engine);
            assert_eq!(Self::aside(file), 1, "{}", shown());
            let said = self.events().contains(&*file.file_name().unwrap().to_string_lossy());
            assert!(said, "nobody is told of {}:\n{}", shown(), self.events());
        }
        for (path, text) in &kept {
            std::fs::write(path, text).unwrap();
        }
        Self::aside(file);
    }
}

/// Nothing here is about the disk.
fn fast_folder() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() }
}

fn look(engine: &Engine, number: i64, subject: &str) -> Observation {
    let watch = engine.fleet.settings.handoff.as_ref().unwrap();
    let id = format!("{number:040x}");
    let commit = Commit {
        id: id.clone(),
        subject: subject.to_owned(),
        author: "Ann".to_owned(),
        authored_at: number,
    };
    Observation {
        source: watch.source.clone(),
        tip: Some(Tip { id, at: number }),
        commits: vec![commit],
        ..Observation::default()
    }
}

fn limited() -> Reading {
    let until = ao::sys::clock::now().wall + chrono::TimeDelta::hours(4);
    let text =
        format!("You've hit your 5-hour limit · resets {}", until.format("%Y-%m-%dT%H:%M:%SZ"));
    let evidence = Evidence { rule: "r".to_owned(), region: "live".to_owned(), text };
    Reading {
        state: PaneState::Limited,
        evidence: vec![evidence],
        cure: None,
        composer: Composer::Empty,
        live_hash: 1,
        marker: None,
    }
}

fn trimmed(whole: &[u8]) -> impl Fn(&[u8]) -> bool {
    let whole = whole.trim_ascii_end().to_vec();
    move |bytes: &[u8]| bytes.trim_ascii_end() == whole
}

#[test]
fn a_damaged_copy_is_told_of_and_written_again_while_the_memory_is_there() {
    let world = World::new();
    world.busy();
    for file in ["handoff.json", "queue.json"].map(|file| world.state(file)) {
        let whole = std::fs::read(&file).unwrap();
        world.damage(&file, false, trimmed(&whole), |engine| {
            World::whole(engine);
            assert_eq!(std::fs::read(&file).unwrap(), whole);
        });
    }
}

#[test]
fn a_lost_memory_is_made_up_from_the_other_files() {
    let world = World::new();
    world.busy();
    let file = world.state("supervisor.json");
    let whole = std::fs::read(&file).unwrap();
    let every = 211;
    let skipped = |bytes: &[u8]| {
        !GARBAGE.contains(&bytes) && (!bytes.len().is_multiple_of(every) || trimmed(&whole)(bytes))
    };
    world.damage(&file, false, skipped, |engine| {
        World::whole(engine);
        let newest = engine.fleet.newest_message;
        assert!(newest.0 >= 2, "no number is used twice: {newest:?}");
    });
    // Every byte, for the reading alone.
    for cut in 0..whole.trim_ascii_end().len() {
        assert!(serde_json::from_slice::<Snapshot>(&whole[..cut]).is_err(), "cut at {cut}");
    }
}

#[test]
fn with_the_memory_lost_as_well_a_damaged_copy_repeats_nothing() {
    let world = World::new();
    world.busy();
    for file in ["handoff.json", "queue.json"] {
        let path = world.state(file);
        let whole = std::fs::read(&path).unwrap();
        world.damage(&path, true, trimmed(&whole), |engine| {
            assert_eq!(engine.fleet.phases.current, Some(11));
            let again = look(engine, 2, "claim: the parser");
            engine.feed(Event::Handoff { look: Looked::Seen { observation: again } });
            let waiting = engine.fleet.units[&name("two")].outbox.len();
            assert_eq!(waiting, usize::from(file == "handoff.json"), "{file}");
        });
    }
}

#[test]
fn a_damaged_limit_or_launch_record_costs_only_what_it_alone_knew() {
    let world = World::new();
    world.busy();
    let limit = world.state("limited-p-one.json");
    let whole = std::fs::read(&limit).unwrap();
    world.damage(&limit, true, trimmed(&whole), |engine| {
        assert_eq!(engine.fleet.phases.current, Some(11));
        assert!(!engine.fleet.units[&name("one")].is_limited(), "the banner is read anew");
    });
    for session in ["one", "three"] {
        let launch = world.state(&format!("launch-p-{session}.json"));
        let whole = std::fs::read(&launch).unwrap();
        world.damage(&launch, false, trimmed(&whole), |engine| {
            engine.hear(&Spools::All);
            World::whole(engine);
            let life = &engine.fleet.units[&name(session)].life;
            assert!(matches!(life, Life::Running { .. }), "{life:?}");
        });
    }
}

#[test]
fn a_damaged_index_is_written_again_and_without_memory_the_agents_phase_tells() {
    let world = World::new();
    world.busy();
    let index = world.state("phase-idx");
    assert_eq!(std::fs::read_to_string(&index).unwrap(), "11\n");
    let is_eleven = |bytes: &[u8]| bytes == b"11";
    world.damage(&index, false, is_eleven, |engine| {
        World::whole(engine);
        assert!(engine.fleet.phases.moving.is_none());
        assert_eq!(std::fs::read_to_string(&index).unwrap(), "11\n");
    });
    let number = |bytes: &[u8]| bytes == b"11" || bytes == b"1";
    world.damage(&index, true, number, |engine| {
        World::whole(engine);
        assert!(engine.fleet.phases.moving.is_none());
    });
}

#[test]
fn damaged_notices_are_told_of_and_begun_anew() {
    let world = World::new();
    world.busy();
    let notices = world.project.store.notices();
    let whole = std::fs::read(&notices).unwrap();
    let told = |bytes: &[u8]| trimmed(&whole)(bytes);
    world.damage(&notices, false, told, |engine| World::whole(engine));
}

#[test]
fn a_damaged_end_of_the_sequence_neither_repeats_a_phase_nor_its_last_task() {
    let world = World::new();
    let mut engine = world.engine();
    engine.read_sequence_files();
    engine.look();
    for phase in 0..12 {
        let done = ao::handoff::done::Done { place: "S".into(), line: 1, text: "## DONE".into() };
        let heard = Heard::Status { phase: format!("p{phase}"), done: Some(done) };
        engine.feed(Event::Sequence { heard });
    }
    assert!(engine.fleet.phases.finished.is_some());
    engine.save(ao::sys::clock::now());
    let marker = world.project.store.log_dir().join(COMPLETE);
    let whole = std::fs::read(&marker).unwrap();
    let lines = |bytes: &[u8]| bytes.ends_with(b"\n") && whole.starts_with(bytes);
    let long = b"garbage that is long enough\n";
    for forgotten in [false, true] {
        // Whole lines are what somebody may have written.
        let skipped = |bytes: &[u8]| lines(bytes) || bytes == long || bytes == b"[1,2]\n";
        world.damage(&marker, forgotten, skipped, |engine| {
            engine.look();
            let phases = &engine.fleet.phases;
            assert_eq!(phases.finished.as_ref().map(Vec::len), Some(12), "{phases:?}");
            assert!(phases.moving.is_none(), "{phases:?}");
            engine.read_sequence_files();
            engine.read_sequence_files();
            if !forgotten {
                assert_eq!(std::fs::read(&marker).unwrap(), whole);
            }
        });
    }
    for bytes in [&whole[..6], long] {
        std::fs::write(&marker, bytes).unwrap();
        drop(world.engine());
        assert_eq!(std::fs::read(&marker).unwrap(), whole, "the memory wins");
    }
}

#[test]
fn a_damaged_conversation_id_begins_a_new_conversation_and_says_so() {
    let world = World::new();
    world.busy();
    let path = world.state("three.id");
    let whole = std::fs::read_to_string(&path).unwrap();
    assert!(whole.ends_with('\n'), "{whole:?}");
    let pane = world.tmux.pane_of("p-three").unwrap();
    assert!(world.tmux.end(&pane, Some(1), None));
    let conversations = |engine: &mut Engine| {
        engine.look();
        let up = Request::Up { units: World::all(), by_name: false };
        engine.feed(Event::Requested { id: RequestId("u".to_owned()), request: up });
        let pane = world.tmux.pane_of("p-three").unwrap();
        let words = world.tmux.spec(&pane).unwrap().argv.join(" ");
        let id = std::fs::read_to_string(&path).unwrap();
        assert!(words.contains(id.trim()), "{words}");
        assert!(world.tmux.end(&pane, Some(1), None));
        (words.contains("--resume"), id)
    };
    for cut in (0..whole.len()).chain([usize::MAX]) {
        let damaged = whole.as_bytes().get(..cut).unwrap_or(b"\xff\xfe\n");
        std::fs::write(&path, damaged).unwrap();
        std::fs::write(world.project.store.events(), "").unwrap();
        let (resumed, id) = conversations(&mut world.engine());
        assert!(!resumed && id != whole, "cut at {cut}");
        assert_eq!(World::aside(&path), 1, "cut at {cut}");
        assert!(world.events().contains("names no conversation"), "{}", world.events());
    }
    std::fs::write(&path, &whole).unwrap();
    assert_eq!(conversations(&mut world.engine()), (true, whole));
}

#[test]
fn a_damaged_request_is_set_aside_and_the_next_one_is_heard() {
    let world = World::new();
    let folder = world.project.store.requests();
    let asked = |id: &str| request::Asked {
        version: 1,
        id: RequestId(id.to_owned()),
        request: Request::Up { units: World::all(), by_name: false },
        environment: BTreeMap::new(),
        models: BTreeMap::new(),
        backends: BTreeMap::new(),
    };
    let whole = serde_json::to_vec(&asked("damaged")).unwrap();
    let cuts = (0..whole.len()).map(|cut| &whole[..cut]);
    for bytes in cuts.chain(GARBAGE) {
        std::fs::write(folder.join("damaged.json"), bytes).unwrap();
        std::fs::write(folder.join("good.json"), serde_json::to_vec(&asked("good")).unwrap())
            .unwrap();
        let (taken, problems) = request::take(&folder, ao::sys::clock::now());
        assert_eq!(taken.iter().map(|asked| asked.id.0.as_str()).collect::<Vec<_>>(), ["good"]);
        assert!(problems.len() == 1 && problems[0].contains("damaged.json"), "{problems:?}");
        assert_eq!(World::aside(&folder.join("damaged.json")), 1);
    }
}

#[test]
fn what_hooks_wrote_is_heard_around_any_damage() {
    use ao::sense::{Cli, Fact, Kind, spool};
    let now = ao::sys::clock::now();
    let fact = |kind: Kind| Fact {
        at: now,
        cli: Cli::Claude,
        session_id: None,
        subagent: None,
        transcript: None,
        order: None,
        kind,
    };
    let begun = spool::write("s", fact(Kind::PermissionAnswered)).unwrap();
    let ended = spool::write("s", fact(Kind::PermissionAnswered)).unwrap();
    for cut in 0..begun.len() {
        let text = format!("{}\n{ended}", &begun[..cut]);
        let heard = spool::read(&text, "s").len();
        assert_eq!(heard, if cut + 1 == begun.len() { 2 } else { 1 }, "cut at {cut}");
    }
    for bytes in GARBAGE {
        let text = format!("{}\n{ended}", String::from_utf8_lossy(bytes));
        assert_eq!(spool::read(&text, "s").len(), 1);
    }
}

#[test]
fn a_message_that_begins_to_wait_asks_for_one_look_at_the_screens() {
    let world = World::new();
    world.busy();
    let mut engine = world.engine();
    assert!(engine.is_behind());
    engine.glance();
    let waits = engine.fleet.units.values().any(|unit| !unit.outbox.is_empty());
    assert!(waits && !engine.is_behind(), "one look, though it still waits");
}
