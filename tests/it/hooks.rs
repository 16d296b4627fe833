//! The hook process by itself, and whole fleets whose CLIs tell what they do.
//!
//! The CLIs are shell scripts that call `ao hook` as the real ones would.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::fleet::{Fleet, kill};
use crate::support::tmux::{eventually, file_when};

const STOP: &str = r#"{"session_id":"s-1","transcript_path":"/t.jsonl","hook_event_name":"Stop"}"#;

/// A state folder and an agent in it.
struct Called {
    dir: tempfile::TempDir,
}

impl Called {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("spool")).unwrap();
        Self { dir }
    }

    fn spool(&self) -> std::path::PathBuf {
        self.dir.path().join("spool/agent.jsonl")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ao"));
        command
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.dir.path())
            .env("AO_STATE", self.dir.path())
            .env("AO_START", "start-1")
            .env("AO_AGENT", "agent")
            .current_dir(self.dir.path());
        command
    }

    fn hook(&self, input: &[u8]) -> Output {
        feed(&mut self.command(&["hook", "claude"]), input)
    }
}

fn feed(command: &mut Command, input: &[u8]) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // The whole input is taken, or this fails with a broken pipe.
    stdin.write_all(input).unwrap();
    drop(stdin);
    child.wait_with_output().unwrap()
}

/// No opinion: silence and exit code 0.
#[track_caller]
fn neutral(output: &Output) {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{output:?}");
}

#[test]
fn every_recorded_payload_is_answered_neutrally_and_leaves_one_line() {
    let called = Called::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/hooks");
    let mut count = 0;
    for cli in ["claude", "codex", "gemini"] {
        for entry in std::fs::read_dir(root.join(cli)).unwrap() {
            let payload = std::fs::read(entry.unwrap().path()).unwrap();
            neutral(&feed(&mut called.command(&["hook", cli]), &payload));
            count += 1;
        }
    }
    let text = std::fs::read_to_string(called.spool()).unwrap();
    assert_eq!((text.lines().count(), count), (count, 56), "{text}");
    let first: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(first["start"], "start-1");
}

#[test]
fn whatever_is_wrong_the_hook_answers() {
    let called = Called::new();
    let huge = format!(
        r#"{{"hook_event_name":"PreToolUse","tool_input":{{"content":"{}"}},"tool_name":"Write"}}"#,
        "x".repeat(10 << 20)
    );
    neutral(&called.hook(huge.as_bytes()));
    assert!(std::fs::read_to_string(called.spool()).unwrap().contains("tool_started"));
    let unbounded = vec![b'x'; 20 << 20];
    for garbage in [&b""[..], b"{", b"null", b"\xff\xfe\x00", &unbounded] {
        neutral(&called.hook(garbage));
    }
    // Nobody made a spool; somebody put a file in its place; no variable is set; a name climbs.
    std::fs::remove_dir_all(called.dir.path().join("spool")).unwrap();
    neutral(&called.hook(STOP.as_bytes()));
    std::fs::write(called.dir.path().join("spool"), "in the way").unwrap();
    neutral(&called.hook(STOP.as_bytes()));
    let mut bare = called.command(&["hook", "claude"]);
    neutral(&feed(bare.env_remove("AO_STATE"), STOP.as_bytes()));
    let mut climbing = called.command(&["hook", "claude"]);
    neutral(&feed(climbing.env("AO_AGENT", "../../agent"), STOP.as_bytes()));
    let mut closed = called.command(&["hook", "claude"]);
    neutral(&closed.stdin(Stdio::null()).output().unwrap());
}

#[test]
fn a_spool_that_nobody_reads_stays_bounded_and_keeps_the_newest() {
    let called = Called::new();
    let full = "x".repeat(1 << 20);
    std::fs::write(called.spool(), full).unwrap();
    neutral(&called.hook(STOP.as_bytes()));
    let text = std::fs::read_to_string(called.spool()).unwrap();
    assert!(text.lines().count() == 1 && text.contains("turn_ended"), "{} bytes", text.len());
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_no_reason_not_to_answer() {
    let called = Called::new();
    std::os::unix::fs::symlink("/dev/full", called.spool()).unwrap();
    neutral(&called.hook(STOP.as_bytes()));
}

#[test]
fn the_status_line_is_stored_and_the_users_own_is_shown() {
    let called = Called::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let input = std::fs::read(root.join("tests/corpus/hooks/statusline.json")).unwrap();
    neutral(&feed(&mut called.command(&["statusline"]), &input));
    let stored = std::fs::read(called.dir.path().join("statusline-agent.json")).unwrap();
    assert_eq!(stored, input);
    assert!(std::fs::read_to_string(called.spool()).unwrap().contains("claude-sonnet-5-5"));
    std::fs::create_dir(called.dir.path().join(".claude")).unwrap();
    let own = r#"{"statusLine":{"type":"command","command":"wc -c; echo mine >&2"}}"#;
    std::fs::write(called.dir.path().join(".claude/settings.json"), own).unwrap();
    let output = feed(&mut called.command(&["statusline"]), &input);
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), input.len().to_string());
    // One that calls us back ends there.
    let again =
        format!(r#"{{"statusLine":{{"command":"{} statusline"}}}}"#, env!("CARGO_BIN_EXE_ao"));
    std::fs::write(called.dir.path().join(".claude/settings.json"), again).unwrap();
    neutral(&feed(&mut called.command(&["statusline"]), &input));
}

/// Does what it is told by files: `say-N` is a payload, and `said-N` the moment after it was told.
const CLI: &str = r#"
ao=$1; shift
echo "$*" > ROOT/arguments
[ -n "$CLAUDE_CONFIG_DIR" ] && mkdir -p "$CLAUDE_CONFIG_DIR/sessions"
echo "READY $$"
n=1
while :; do
  if [ -f ROOT/status ]; then
    printf '{"pid":%s,"sessionId":"s-file","status":"%s"}' $$ "$(cat ROOT/status)" > ROOT/part
    mv ROOT/part "$CLAUDE_CONFIG_DIR/sessions/$$.json"
    rm ROOT/status
  fi
  if [ -f ROOT/say-$n ]; then
    "$ao" hook claude < ROOT/say-$n
    date +%s%3N > ROOT/part; mv ROOT/part ROOT/said-$n
    n=$((n+1))
  fi
  sleep 0.02
done
"#;

fn cli(fleet: &Fleet, more: &str) -> String {
    let script = CLI.replace("ROOT/", &fleet.path("").to_string_lossy());
    fleet.write("cli.sh", script);
    format!(
        "[backend.fake]\npreset = \"claude\"\nbin = \"sh DIR/cli.sh {{ao}} {{settings_flag}}\"\n\
         prompt_delivery = \"exec\"\nprocess_name = \"sh\"\nidle_re = \"^READY\"\nquit_keys = []\n\n\
         [[agent]]\nname = \"one\"\nbackend = \"fake\"\nresume = true\nprompt = \"go\"\n\
         env = {{ \"CLAUDE_CONFIG_\\u0044IR\" = \"DIR/claude\" }}\n{more}\n"
    )
}

fn hooked(more: &str) -> Fleet {
    let fleet = Fleet::new("");
    let blocks = cli(&fleet, more);
    fleet.configure(&blocks);
    fleet.well(&["up"]);
    fleet.until("it is idle on the screen", |status| (status.state("one") == "idle").then_some(()));
    fleet
}

/// A file that the script finds whole or not at all.
fn put(fleet: &Fleet, name: &str, text: &str) {
    fleet.write("being-put", text);
    std::fs::rename(fleet.path("being-put"), fleet.path(name)).unwrap();
}

/// Has the CLI call its hook, and answers the moment after, in epoch milliseconds.
fn say(fleet: &Fleet, number: u32, payload: &str) -> i64 {
    put(fleet, &format!("say-{number}"), payload);
    let told = file_when(&fleet.path(&format!("said-{number}")), |text| text.ends_with('\n'));
    told.trim().parse().unwrap()
}

fn payload(event: &str, session: &str) -> String {
    format!(r#"{{"hook_event_name":"{event}","session_id":"{session}","source":"clear"}}"#)
}

/// When the state was noted, in epoch milliseconds, for each time it was.
fn noted(fleet: &Fleet, state: &str) -> Vec<i64> {
    let text = fleet.events_text();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect(line));
    let states = lines.filter(|line| {
        line["unit"] == "one"
            && line["event"] == "state"
            && line["why"].as_str().unwrap().starts_with(state)
    });
    states
        .map(|line| {
            let time = line["at"].as_str().expect("a time");
            chrono::DateTime::parse_from_rfc3339(time).unwrap().timestamp_millis()
        })
        .collect()
}

#[test]
fn a_turn_is_known_within_a_tenth_of_a_second_although_the_screen_says_idle() {
    let fleet = hooked("");
    let mut delays = Vec::new();
    for turn in 0..5 {
        let told = say(&fleet, 2 * turn + 1, &payload("UserPromptSubmit", "s-1"));
        let count = usize::try_from(turn).unwrap() + 1;
        let seen = eventually("it works", || {
            let working = noted(&fleet, "working");
            (working.len() >= count).then(|| *working.last().unwrap())
        });
        delays.push(seen - told);
        say(&fleet, 2 * turn + 2, &payload("Stop", "s-1"));
        fleet.until("it is idle", |status| (status.state("one") == "idle").then_some(()));
    }
    delays.sort_unstable();
    assert!(delays[0] < 100 && delays[2] < 500, "milliseconds: {delays:?}");
    let told = say(&fleet, 11, &payload("PermissionRequest", "s-1"));
    fleet.until("it waits", |status| (status.state("one") == "waiting").then_some(()));
    assert!(told > 0);
    let explained = fleet.well(&["explain", "one"]).out;
    assert!(explained.contains("hook") && explained.contains("permission asked"), "{explained}");
}

#[test]
fn a_killed_cli_resumes_the_conversation_it_was_in_last() {
    let fleet = hooked("");
    let id = fleet.path(".ao-state/state/one.id");
    let first = std::fs::read_to_string(&id).unwrap();
    say(&fleet, 1, &payload("SessionStart", "s-cleared"));
    assert_eq!(file_when(&id, |text| text != first), "s-cleared\n");
    let [pid] = fleet.pids(["one"]);
    for name in ["say-1", "said-1", "arguments"] {
        std::fs::remove_file(fleet.path(name)).unwrap();
    }
    kill(pid);
    fleet.pid_after("one", pid);
    assert_eq!(std::fs::read_to_string(&id).unwrap(), "s-cleared\n");
    // Words of the former start mean nothing to this one.
    let spool = fleet.path(".ao-state/state/spool/one.jsonl");
    let line = r#"{"version":1,"start":"former","fact":{}}"#;
    std::fs::write(&spool, format!("{line}\n")).unwrap();
    say(&fleet, 1, &payload("UserPromptSubmit", "s-cleared"));
    fleet.until("it works", |status| (status.state("one") == "working").then_some(()));
}

#[test]
fn the_session_file_of_a_living_process_is_believed() {
    let fleet = hooked("");
    put(&fleet, "status", "busy");
    fleet.until("it works", |status| (status.state("one") == "working").then_some(()));
    let id = fleet.path(".ao-state/state/one.id");
    assert_eq!(file_when(&id, |text| text.starts_with("s-")), "s-file\n");
    put(&fleet, "status", "waiting");
    fleet.until("it waits", |status| (status.state("one") == "waiting").then_some(()));
    put(&fleet, "status", "idle");
    fleet.until("it is idle", |status| (status.state("one") == "idle").then_some(()));
}

#[test]
fn the_settings_are_ours_private_and_gone_when_the_agent_is_down() {
    let fleet = hooked("");
    let settings = fleet.path(".ao-state/state/settings-fleet-one.json");
    let arguments = std::fs::read_to_string(fleet.path("arguments")).unwrap();
    assert_eq!(arguments.trim(), format!("--settings {}", settings.display()));
    assert_eq!(settings.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let value: Value = serde_json::from_slice(&std::fs::read(&settings).unwrap()).unwrap();
    let command = value["hooks"]["Stop"][0]["hooks"][0]["command"].as_str().unwrap();
    let program = Path::new(command.split(' ').next().unwrap());
    assert!(program.starts_with(fleet.path(".ao-state/state/bin")) && program.is_file());
    say(&fleet, 1, &payload("Stop", "s-1"));
    fleet.well(&["down"]);
    assert!(!settings.exists());
    assert!(!fleet.path(".ao-state/state/spool/one.jsonl").exists());
    assert!(std::fs::read_dir(fleet.path("home")).unwrap().next().is_none(), "nothing at home");
}

#[test]
fn hooks_can_be_switched_off_for_one_agent_or_for_all() {
    let fleet = hooked("hooks = false\n");
    assert_eq!(std::fs::read_to_string(fleet.path("arguments")).unwrap(), "\n");
    assert!(!fleet.path(".ao-state/state/settings-fleet-one.json").exists());
}

#[test]
fn what_was_told_while_no_watchdog_ran_is_heard_by_the_next() {
    let fleet = hooked("");
    let watchdog = fleet.status().watchdog().unwrap();
    let begun = Instant::now();
    kill(watchdog);
    say(&fleet, 1, &payload("UserPromptSubmit", "s-1"));
    fleet.until("a watchdog is back and knows", |status| {
        let back = status.watchdog().is_some_and(|pid| pid != watchdog);
        (back && status.state("one") == "working").then_some(())
    });
    assert!(begun.elapsed() < Duration::from_secs(30));
}
