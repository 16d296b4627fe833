//! The hook process of a governed agent: whatever fails, it denies, or the record tells the truth.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use ao::base::now::Now;
use ao::config;
use ao::govern::action::Ask;
use ao::govern::verdict::Effect;
use ao::run::governance::bounds::{Governed, begin, file};
use ao::run::governance::decide::{self, Answer};
use ao::run::governance::{Governance, audit, door};
use ao::run::store::Store;
use ao::sys::db::rows::{ActionQuery, AuditQuery};
use ao::sys::{clock, db};
use chrono::TimeDelta;
use serde_json::json;

use crate::support::fleet::Fleet;

struct Place {
    root: tempfile::TempDir,
    bounds: PathBuf,
}

impl Place {
    fn new(trust: &str, wait: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("policies")).unwrap();
        let text = format!(
            "[defaults]\nsession_prefix = \"t-\"\nlog_dir = \"logs\"\n\n[governance]\noperator = \"operator\"\n\
             hook_wait = \"{wait}\"\n\n[[agent]]\nname = \"writer\"\nkind = \"persistent\"\n\
             backend = \"claude\"\nprompt = \"x\"\ngoverned = true\ntrust = \"{trust}\"\n"
        );
        let path = root.path().canonicalize().unwrap().join("agents.toml");
        std::fs::write(&path, &text).unwrap();
        let (config, problems) = config::parse(&text, &path, &|_| true, &|_| None);
        let config = config.unwrap_or_else(|| panic!("{problems:?}"));
        let store = Store::new(&config);
        store.prepare().unwrap();
        begin(&config, &store, &config.agents[0], "start-1", clock::now()).unwrap();
        let bounds = file(&store.state(), &config.agents[0].session);
        Self { root, bounds }
    }

    fn governed(&self) -> Governed {
        Governed::read(&self.bounds).unwrap()
    }

    fn governance(&self) -> Governance {
        let governed = self.governed();
        Governance::open_at(&governed.database, &governed.operator, clock::now()).unwrap()
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ao"));
        command.args(["hook", "claude", "--governed"]).arg(&self.bounds);
        command
    }

    fn ask(&self, input: &[u8]) -> Output {
        feed(&mut self.command(), input).wait_with_output().unwrap()
    }
}

fn feed(command: &mut Command, input: &[u8]) -> Child {
    command.env_clear().stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    // One that fails early may not read to the end.
    drop(child.stdin.take().unwrap().write_all(input));
    child
}

fn read() -> Vec<u8> {
    payload("Read", &json!({ "file_path": "/p/a" }))
}

fn run(command: &str) -> Vec<u8> {
    payload("Bash", &json!({ "command": command }))
}

fn payload(tool: &str, input: &serde_json::Value) -> Vec<u8> {
    json!({
        "hook_event_name": "PreToolUse", "cwd": "/p", "tool_name": tool, "tool_input": input,
        "tool_use_id": clock::now().wall.to_rfc3339(),
    })
    .to_string()
    .into_bytes()
}

#[track_caller]
fn allowed(output: &Output) {
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), &b""[..]), "{output:?}");
}

/// By exit code 2 with words, or by a whole document.
#[track_caller]
fn denied(output: &Output) {
    if output.status.code() == Some(2) {
        assert!(output.stderr.starts_with(b"ao: "), "{output:?}");
        return;
    }
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(said["hookSpecificOutput"]["permissionDecision"], "deny", "{output:?}");
}

#[test]
fn a_governed_hook_answers_by_its_bounds_and_not_by_its_environment() {
    let place = Place::new("L0", "0s");
    allowed(&place.ask(&read()));
    denied(&place.ask(&run("touch x")));
    let mut other = place.command();
    other.env("AO_AGENT", "boss").env("AO_STATE", "/nowhere");
    denied(&feed(&mut other, &run("touch x")).wait_with_output().unwrap());
}

#[test]
fn nothing_that_cannot_be_read_is_let_through() {
    let place = Place::new("L4", "0s");
    let huge = vec![b'x'; 20 << 20];
    for input in [&b""[..], b"{", b"null", b"\xff\xfe", b"{}", &huge] {
        denied(&place.ask(input));
    }
    let whole = std::fs::read_to_string(&place.bounds).unwrap();
    for broken in ["", "{", "{}", &whole.replace("\"version\":1", "\"version\":9")] {
        std::fs::write(&place.bounds, broken).unwrap();
        denied(&place.ask(&read()));
    }
    std::fs::remove_file(&place.bounds).unwrap();
    denied(&place.ask(&read()));
}

#[test]
fn an_answer_that_nobody_can_take_whole_is_a_denial_by_exit_code() {
    let place = Place::new("L0", "0s");
    let mut command = place.command();
    command.env_clear().stdin(Stdio::piped()).stderr(Stdio::piped());
    command.stdout(std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(&run("touch x")).unwrap();
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(2));
}

#[test]
fn a_store_that_is_locked_replaced_or_gone_denies() {
    let place = Place::new("L4", "0s");
    let database = PathBuf::from(place.governed().database);
    let whole = std::fs::read(&database).unwrap();
    {
        let locker = rusqlite::Connection::open(&database).unwrap();
        locker.execute_batch("BEGIN IMMEDIATE").unwrap();
        denied(&place.ask(&read()));
    }
    allowed(&place.ask(&read()));
    let parts = || {
        let wal = |end: &str| PathBuf::from(format!("{}{end}", database.display()));
        for path in [wal("-wal"), wal("-shm")] {
            drop(std::fs::remove_file(path));
        }
    };
    // An older copy; another's store; garbage; none.
    parts();
    std::fs::write(&database, &whole).unwrap();
    denied(&place.ask(&read()));
    let other = Place::new("L4", "0s");
    parts();
    std::fs::copy(PathBuf::from(other.governed().database), &database).unwrap();
    denied(&place.ask(&read()));
    parts();
    std::fs::write(&database, "no database").unwrap();
    denied(&place.ask(&read()));
    parts();
    std::fs::remove_file(&database).unwrap();
    denied(&place.ask(&read()));
}

#[test]
fn a_full_disk_denies() {
    let place = Place::new("L4", "0s");
    let mut command = Command::new("sh");
    // An ignored signal makes the write fail instead.
    command.args(["-c", "trap '' XFSZ; ulimit -f 0; exec \"$0\" hook claude --governed \"$1\""]);
    command.arg(env!("CARGO_BIN_EXE_ao")).arg(&place.bounds);
    denied(&feed(&mut command, &read()).wait_with_output().unwrap());
    allowed(&place.ask(&read()));
}

#[test]
fn broken_policies_leave_the_last_good_ones_and_without_any_only_reading() {
    let place = Place::new("L4", "0s");
    let policy = place.root.path().join("policies/p.yaml");
    std::fs::write(&policy, "policies: [").unwrap();
    allowed(&place.ask(&read()));
    denied(&place.ask(&run("touch x")));
    std::fs::write(
        &policy,
        "policies: [{ name: a, effect: deny, scope: { actions: [file.read] } }]",
    )
    .unwrap();
    denied(&place.ask(&read()));
    std::fs::write(&policy, "policies: [").unwrap();
    denied(&place.ask(&read()));
}

#[test]
fn a_hook_that_is_killed_while_it_waits_leaves_the_truth_behind() {
    let place = Place::new("L1", "5m");
    let mut child = feed(&mut place.command(), &run("touch x"));
    let end = Instant::now() + Duration::from_secs(20);
    let approval = loop {
        let mut governance = place.governance();
        let open = decide::inbox(governance.store(), "local", clock::now()).unwrap();
        if let Some(found) = open.into_iter().next() {
            break found;
        }
        assert!(Instant::now() < end, "nothing is held");
        std::thread::sleep(Duration::from_millis(20));
    };
    child.kill().unwrap();
    child.wait().unwrap();
    place.governance().answer(approval.id, &Answer::Approve, "operator:me", clock::now()).unwrap();
    // The same act again, by the next hook: once.
    allowed(&place.ask(&run("touch x")));
    let child = feed(&mut place.command(), &run("touch x"));
    let end = Instant::now() + Duration::from_secs(20);
    let mut governance = place.governance();
    while decide::inbox(governance.store(), "local", clock::now()).unwrap().is_empty() {
        assert!(Instant::now() < end, "the second one was let through");
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut child = child;
    child.kill().unwrap();
    child.wait().unwrap();
}

const KILLS: u32 = 40;

/// At whatever moment a hook dies: what it wrote is whole, and the next one decides on it.
#[test]
fn a_hook_that_is_killed_at_any_moment_leaves_a_log_that_is_whole() {
    let place = Place::new("L4", "0s");
    let whole = {
        let begun = Instant::now();
        allowed(&place.ask(&read()));
        begun.elapsed()
    };
    for number in 0..KILLS {
        let mut child = feed(&mut place.command(), &run(&format!("touch {number}")));
        // Each at another moment of its life: the moment is what is tested.
        std::thread::sleep(whole * number / KILLS);
        child.kill().unwrap();
        child.wait().unwrap();
    }
    allowed(&place.ask(&read()));
    let mut governance = place.governance();
    let proof = audit::verify(governance.store(), "local").unwrap();
    assert!(proof.outcome.is_intact(), "{:?}", proof.outcome);
    let acts = db::read(governance.store(), "local", |tx| tx.actions(&ActionQuery::default()));
    let recorded = audit::records(governance.store(), "local", &AuditQuery::default()).unwrap();
    let decided = recorded.iter().filter(|record| record.kind == "decided");
    let ids: Vec<i64> = acts.unwrap().iter().map(|act| act.id).collect();
    assert_eq!(decided.map(|record| record.action_id).collect::<Vec<_>>(), ids);
}

/// The store's times lie ahead of the clock: leave given in that future does not count, what was used in it does.
#[test]
fn a_clock_that_was_set_back_lets_nothing_through() {
    let ahead = |minutes: u64| {
        let now = clock::now();
        Now { wall: now.wall + TimeDelta::minutes(minutes.cast_signed()), mono: now.mono }
    };
    let place = Place::new("L1", "0s");
    denied(&place.ask(&run("touch x")));
    let mut governance = place.governance();
    let open = decide::inbox(governance.store(), "local", clock::now()).unwrap();
    let ask = db::read(governance.store(), "local", |tx| tx.action(open[0].new.action_id));
    let ask = ask.unwrap().unwrap().new.ask;
    // The same act asked for and approved an hour ahead.
    governance
        .answer(open[0].id, &Answer::Deny { why: "no".to_owned() }, "operator:me", clock::now())
        .unwrap();
    let later = Ask { correlation_id: None, ..ask };
    let (_, held) = door::submit_act(&place.governed(), &later, ahead(90)).unwrap();
    assert_eq!(held.action.new.digest, open[0].new.digest);
    let id = held.approval_id.unwrap();
    governance.answer(id, &Answer::Approve, "operator:me", ahead(91)).unwrap();
    denied(&place.ask(&run("touch x")));

    let place = Place::new("L4", "0s");
    let policy = "policies: [{ name: once, scope: { actions: [file.read] }, \
                  constraints: { rate: { count: 1, per: 1h } } }]";
    std::fs::write(place.root.path().join("policies/p.yaml"), policy).unwrap();
    let read_ahead =
        Ask { action_type: "file.read".to_owned(), resource: "/p/a".to_owned(), ..later };
    let (_, first) = door::submit_act(&place.governed(), &read_ahead, ahead(90)).unwrap();
    assert_eq!(first.effect, Effect::Allow, "{first:?}");
    denied(&place.ask(&read()));
}

const ONE: &str = "[governance]\nhook_wait = \"0s\"\n\n[governance.budget.daily]\nlimit = 5.0\nwindow = \"day\"\n\n\
                   [[agent]]\nname = \"one\"\nkind = \"persistent\"\nprompt = \"count to three\"\n";

fn fleet(more: &str) -> Fleet {
    Fleet::new(&format!("{ONE}{more}\n"))
}

#[test]
fn a_governed_agent_whose_cli_cannot_be_asked_does_not_start() {
    let fleet = fleet("governed = true\ntrust = \"L1\"\n");
    let refused = fleet.ao(&["up"]);
    assert_ne!(refused.code, 0, "{refused:?}");
    assert!(refused.out.contains("it is governed, but"), "{refused:?}");
    assert_eq!(fleet.status().pid("one"), None);
}

#[test]
fn a_command_runs_in_the_name_of_an_agent_as_far_as_its_level_goes() {
    let fleet = fleet(
        "governed = true\ntrust = \"L1\"\ncapabilities = [\"file.*\", \"shell.*\", \"tool.*\"]\n",
    );
    let made = fleet.path("made");
    let touch = ["run", "--agent", "one", "--", "touch", made.to_str().unwrap()];
    let held = fleet.ao(&touch);
    assert_eq!(held.code, 4, "{held:?}");
    assert!(held.err.contains("ao approve 1"), "{held:?}");
    assert!(!made.exists());
    fleet.well(&["approve", "1"]);
    fleet.well(&touch);
    assert!(made.exists());
    // Its own exit code, when it was harmless enough to run at all.
    assert_eq!(fleet.ao(&["run", "--agent", "one", "--", "false"]).code, 1);
    // A type that is named is judged beside the command, not in its place.
    let claimed =
        fleet.ao(&["run", "--agent", "one", "--action", "file.read", "--", "rm", "-rf", "/x"]);
    assert_eq!(claimed.code, 4, "{claimed:?}");
    let beside = fleet.ao(&["run", "--agent", "one", "--action", "deploy.run", "--", "ls"]);
    assert!(beside.code == 4 && beside.err.contains("capabilities"), "{beside:?}");
    let listed = fleet.well(&["run", "--agent", "one", "--", "ls", made.to_str().unwrap()]);
    assert!(listed.out.contains("made"), "{listed:?}");
    let log = fleet.well(&["audit", "tail", "--json"]).out;
    assert!(log.contains("\"settled\"") && log.contains("exit_code"), "{log}");
    fleet.well(&["audit", "verify"]);
}

#[test]
fn an_ungoverned_agent_has_no_door_and_no_store() {
    let fleet = fleet("");
    assert_eq!(fleet.ao(&["run", "--agent", "one", "--", "true"]).code, 2);
    assert_eq!(fleet.ao(&["trust"]).code, 3);
    fleet.well(&["up"]);
    fleet.pids(["one"]);
    fleet.well(&["down"]);
    assert!(!fleet.path(".ao-state/state/ao.db").exists());
}

#[test]
fn a_level_is_earned_or_overridden_and_lost_at_once() {
    let fleet = fleet("governed = true\ntrust = \"L1\"\ntrust_max = \"L2\"\n");
    let refused = fleet.ao(&["trust", "promote", "one", "--why", "nice"]);
    assert_eq!(refused.code, 4, "{refused:?}");
    assert!(refused.err.contains("0 of 200 runs"), "{refused:?}");
    fleet.well(&["trust", "promote", "one", "--why", "nice", "--override"]);
    let level = || {
        let shown = fleet.well(&["trust", "show", "one", "--json"]).out;
        let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
        shown["agents"][0]["level"].as_str().unwrap().to_owned()
    };
    assert_eq!(level(), "L2");
    let most = fleet.ao(&["trust", "promote", "one", "--why", "more", "--override"]);
    assert!(most.code == 4 && most.err.contains("trust_max"), "{most:?}");
    fleet.well(&["trust", "demote", "one", "--why", "careless", "--to", "L0"]);
    assert_eq!(level(), "L0");
    let denied = fleet.ao(&["run", "--agent", "one", "--", "touch", "x"]);
    assert!(denied.code == 4 && denied.err.contains("trust L0"), "{denied:?}");
    assert!(fleet.well(&["audit", "tail"]).out.contains("careless"));
}

#[test]
fn the_budgets_are_shown_to_people_and_to_the_agent() {
    let fleet = fleet("governed = true\n");
    let shown = fleet.well(&["cost"]).out;
    assert!(shown.contains("daily") && shown.contains("$5"), "{shown}");
    let shown = fleet.well(&["cost", "one", "--json"]).out;
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["budgets"][0]["limit_micros"], 5_000_000);
    assert_eq!(fleet.ao(&["cost", "self"]).code, 2);
}
