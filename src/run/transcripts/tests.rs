//! The follower on files that grow, tear, shrink, change and multiply.

use std::fs;

use super::*;
use crate::config;

const SESSION: &str = include_str!(
    "../../../tests/corpus/transcripts/claude-code/11111111-2222-4333-8444-555555555555.jsonl"
);
const SUB: &str = include_str!(
    "../../../tests/corpus/transcripts/claude-code/11111111-2222-4333-8444-555555555555/subagents/agent-a7497cc4ebcc9a0ce.jsonl"
);
const ROLLOUT: &str =
    include_str!("../../../tests/corpus/transcripts/codex/rollout-exec-tool-call.jsonl");
const ID: &str = "11111111-2222-4333-8444-555555555555";
/// Input and cache of the whole session with its sub-agent, and what its last line states as output.
const WHOLE: u64 = 39 + 175_645 + 1_560 + 257;

struct World {
    folder: tempfile::TempDir,
    config: Config,
    now: Now,
}

impl World {
    fn new(agents: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("ao-t").tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let homes = format!(
            "env = {{ CLAUDE_CONFIG_DIR = \"{0}/claude\", CODEX_HOME = \"{0}/codex\" }}",
            root.display()
        );
        let text =
            format!("[defaults]\nsession_prefix = \"t-\"\nlog_dir = \"logs\"\n{homes}\n\n{agents}");
        fs::create_dir_all(root.join("logs/state")).unwrap();
        let file = root.join("agents.toml");
        let (config, problems) = config::parse(&text, &file, &|_| true, &|_| None);
        let config = config.unwrap_or_else(|| panic!("{problems:?}"));
        Self { folder, config, now: clock::now() }
    }

    fn root(&self) -> PathBuf {
        self.folder.path().canonicalize().unwrap()
    }

    /// The file of a Claude session of the project's folder.
    fn claude(&self, session: &str) -> PathBuf {
        let name: String =
            self.root().to_string_lossy().replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        self.root().join("claude/projects").join(name).join(format!("{session}.jsonl"))
    }

    fn id(&self, agent: &str, id: &str) {
        self.write(&self.root().join(format!("logs/state/{agent}.id")), id);
    }

    fn write(&self, path: &Path, text: &str) {
        assert!(path.starts_with(self.root()));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn append(&self, path: &Path, bytes: &[u8]) {
        assert!(path.starts_with(self.root()));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut file = OpenOptions::new().append(true).create(true).open(path).unwrap();
        file.write_all(bytes).unwrap();
    }

    fn follower(&self, purpose: Purpose) -> Follower {
        Follower::new(&self.config, purpose)
    }

    /// A step ten seconds later, when everything is due.
    fn step(&mut self, follower: &mut Follower) {
        self.now.mono = self.now.mono.plus(Duration::from_secs(60));
        follower.step(self.now);
    }

    fn clean(&self, agent: &str) -> String {
        fs::read_to_string(self.root().join(format!("logs/clean/{agent}.log"))).unwrap_or_default()
    }
}

fn total(follower: &Follower, agent: &str) -> u64 {
    let ledger = follower.ledgers().find(|(name, _)| *name == agent).unwrap().1;
    ledger.cells().iter().map(|cell| cell.usage.total()).sum()
}

const ONE: &str = "[[agent]]\nname = \"one\"\nbackend = \"claude\"\nprompt = \"hello\"\n";

#[test]
fn a_session_known_by_its_id_is_summed_with_its_sub_agents_as_it_grows() {
    let mut world = World::new(ONE);
    world.id("one", ID);
    let mut follower = world.follower(Purpose::Usage);
    world.step(&mut follower);
    assert_eq!(total(&follower, "one"), 0);
    let main = world.claude(ID);
    // In two pieces, torn within a line.
    world.append(&main, &SESSION.as_bytes()[..40_000]);
    world.step(&mut follower);
    let part = total(&follower, "one");
    assert!(part > 0 && part < WHOLE);
    world.append(
        &find::sub_agents_folder(&main).join("agent-a7497cc4ebcc9a0ce.jsonl"),
        SUB.as_bytes(),
    );
    world.append(&main, &SESSION.as_bytes()[40_000..]);
    world.step(&mut follower);
    assert_eq!(total(&follower, "one"), WHOLE);
    let summary = read_summary(&follower.store).unwrap();
    assert_eq!(summary.agents["one"].model_in_use.as_deref(), Some("claude-sonnet-5-5"));
    assert_eq!(summary.agents["one"].context_window, Some(1_000_000));
}

#[test]
fn a_follower_that_was_killed_at_any_time_counts_and_writes_nothing_twice() {
    for saved_after in 0..6 {
        let mut world = World::new(ONE);
        world.id("one", ID);
        let main = world.claude(ID);
        let mut follower = world.follower(Purpose::Clean);
        for (index, piece) in SESSION.as_bytes().chunks(16_000).enumerate() {
            world.append(&main, piece);
            // Steps of the same moment: written down only at the one chosen.
            let Now { mono, .. } = world.now;
            world.now.mono = mono.plus(STEP_EVERY);
            follower.step(world.now);
            if index == saved_after {
                follower.save();
            }
        }
        drop(follower);
        let mut follower = world.follower(Purpose::Clean);
        world.step(&mut follower);
        world.step(&mut follower);
        // Without its sub-agent the session knows of less than its last line states.
        assert_eq!(total(&follower, "one"), WHOLE, "saved after piece {saved_after}");
        let clean = world.clean("one");
        assert_eq!(clean.lines().count(), 37, "saved after piece {saved_after}:\n{clean}");
        assert_eq!(clean.matches("You've hit your 5-hour limit").count(), 1);
    }
}

#[test]
fn a_file_that_was_emptied_or_replaced_is_read_from_its_beginning() {
    let mut world = World::new(ONE);
    world.id("one", ID);
    let main = world.claude(ID);
    world.write(&main, SESSION);
    let mut follower = world.follower(Purpose::Usage);
    world.step(&mut follower);
    let before = total(&follower, "one");
    world.write(&main, "");
    world.step(&mut follower);
    // The same answers again are not counted again; a new one is.
    let answers: Vec<&str> = SESSION.lines().filter(|line| !line.contains("cost-state")).collect();
    let again = answers.join("\n").replace("msg_stub_18eee833db044349", "msg_new");
    world.append(&main, (again + "\n").as_bytes());
    world.step(&mut follower);
    let counted = total(&follower, "one");
    assert!(counted >= before && counted < before + before / 5, "{before} → {counted}");
}

#[test]
fn a_new_session_is_followed_and_the_old_one_still_counts() {
    let mut world = World::new(ONE);
    world.id("one", ID);
    world.write(&world.claude(ID), SESSION);
    let mut follower = world.follower(Purpose::Usage);
    world.step(&mut follower);
    let first = total(&follower, "one");
    world.id("one", "next");
    world.write(&world.claude("next"), &SUB.replace(ID, "next"));
    world.step(&mut follower);
    assert_eq!(total(&follower, "one"), first + 6 + 28 + 15_232 + 240);
}

#[test]
fn without_an_id_the_only_agent_of_a_folder_gets_its_newest_session() {
    let mut world = World::new(ONE);
    world.write(&world.claude("some-session"), SESSION);
    let mut follower = world.follower(Purpose::Usage);
    world.step(&mut follower);
    assert_eq!(total(&follower, "one"), WHOLE);
}

#[test]
fn agents_that_share_a_folder_are_told_apart_by_their_signature_or_not_at_all() {
    let two = ONE.replace("\"one\"", "\"two\"");
    let mut world = World::new(&format!("{ONE}log_signature = \"thinkbash 2\"\n\n{two}"));
    world.write(&world.claude("a"), SESSION);
    let mut follower = world.follower(Purpose::Usage);
    world.step(&mut follower);
    assert_eq!((total(&follower, "one"), total(&follower, "two")), (WHOLE, 0));
}

#[test]
fn a_codex_rollout_is_found_by_id_and_by_folder() {
    let agent = ONE.replace("\"claude\"", "\"codex\"");
    for id in [Some("01a1fc3c-63e5-7eb1-8496-0a277d6200be"), None] {
        let mut world = World::new(&agent);
        let root = world.root();
        let text = ROLLOUT.replace("/home/dev/project", &root.to_string_lossy());
        let day = root.join("codex/sessions/2026/11/21");
        let name = "rollout-2026-11-21T03-52-58-01a1fc3c-63e5-7eb1-8496-0a277d6200be.jsonl";
        world.write(&day.join(name), &text);
        let other = "rollout-2026-11-21T09-00-00-01a1fc3c-0000-7eb1-8496-0a277d6200be.jsonl";
        world.write(&day.join(other), &ROLLOUT.replace("01a1fc3c-63e5", "01a1fc3c-0000"));
        if let Some(id) = id {
            world.id("one", id);
        }
        let mut follower = world.follower(Purpose::Usage);
        world.step(&mut follower);
        assert_eq!(total(&follower, "one"), 3_729, "by {id:?}");
        assert_eq!(follower.files().count(), 1);
    }
}

#[test]
fn an_id_that_is_a_path_is_none() {
    let world = World::new(ONE);
    world.id("one", "../../etc/passwd");
    let source = find::sources(&world.config, &Store::new(&world.config)).remove(0);
    assert_eq!(source.id(), None);
}

#[test]
fn a_step_over_many_quiet_files_reads_nothing() {
    let agents: String = (0..50)
        .map(|index| ONE.replace("\"one\"", &format!("\"a{index}\"")))
        .collect::<Vec<_>>()
        .join("\n");
    let mut world = World::new(&agents);
    for index in 0..50 {
        world.id(&format!("a{index}"), &format!("s{index}"));
        world.write(&world.claude(&format!("s{index}")), SUB);
    }
    let mut follower = world.follower(Purpose::Usage);
    world.step(&mut follower);
    assert_eq!(follower.files().count(), 50);
    assert_eq!(follower.step(world.now), Stepped::default());
    world.append(&world.claude("s7"), b"{}\n");
    assert_eq!(follower.step(world.now).bytes, 3);
}

#[test]
fn a_damaged_place_is_set_aside_and_what_was_written_before_is_kept() {
    let mut world = World::new(ONE);
    world.id("one", ID);
    world.append(&world.claude(ID), SESSION.as_bytes());
    for purpose in [Purpose::Usage, Purpose::Clean] {
        let mut follower = world.follower(purpose);
        world.step(&mut follower);
        follower.save();
    }
    let (sum, lines) = {
        let mut follower = world.follower(Purpose::Usage);
        world.step(&mut follower);
        (total(&follower, "one"), world.clean("one"))
    };
    assert!(sum > 0 && !lines.is_empty());
    for purpose in [Purpose::Usage, Purpose::Clean] {
        let folder = world.root().join("logs/state/transcripts");
        let place = folder.join(format!("{}-one.json", purpose.word()));
        let whole = fs::read(&place).unwrap();
        for cut in 0..whole.len() {
            assert!(serde_json::from_slice::<Stored>(&whole[..cut]).is_err(), "cut at {cut}");
        }
        for bytes in [&whole[..0], &whole[..whole.len() / 2], b"{}", b"\xff\x00"] {
            fs::write(&place, bytes).unwrap();
            let mut follower = world.follower(purpose);
            world.step(&mut follower);
            assert_eq!(total(&follower, "one"), sum);
            assert_eq!(world.clean("one"), lines);
            follower.save();
            let aside = |entry: &fs::DirEntry| {
                entry.file_name().to_string_lossy().contains(".corrupt-")
                    && fs::remove_file(entry.path()).is_ok()
            };
            let found =
                fs::read_dir(&folder).unwrap().filter(|entry| aside(entry.as_ref().unwrap()));
            assert_eq!(found.count(), 1);
        }
    }
    let older = fs::read_to_string(world.root().join("logs/clean/one.log.1")).unwrap();
    assert_eq!(older, lines, "sessions that are gone cannot be read again");
}
