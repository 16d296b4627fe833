//! What one hook call costs a CLI: from the start of the process to its end, the payload piped in.
//!
//! The spool is a real file in `/tmp`. Bars: p50 at most 5 ms, p99 at most 15 ms on a machine that
//! does nothing else; `/bin/true` beside it tells what starting any process costs there. The last row
//! is of governed agents: ten, each a call per 100 ms at a moment of its own, decisions written to one `SQLite` file
//! in `target/`, a real disk.

#![expect(clippy::disallowed_methods, reason = "a bench measures real time and starts programs")]
#![expect(clippy::print_stdout, reason = "the table is the bench's output")]
#![expect(clippy::unwrap_used, reason = "a bench that cannot go on stops")]
#![expect(clippy::cast_precision_loss, reason = "a thousandth of a slot is told exactly")]

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ao::run::governance::Governance;
use ao::run::governance::bounds::{begin, file};
use ao::run::store::Store;
use ao::sys::clock;

const AO: &str = env!("CARGO_BIN_EXE_ao");
const PAYLOAD: &[u8] = include_bytes!("../tests/corpus/hooks/claude/PreToolUse.Edit.json");
const WARM_UP: usize = 20;
const CALLS: usize = 500;
const AGENTS: usize = 10;
const GOVERNED_CALLS: usize = 100;
const EVERY: Duration = Duration::from_millis(100);
/// Of the moments at which agents call.
const SEED: u64 = 0x5eed_0a0a_0a0a_5eed;

fn main() {
    // `cargo test --all-targets` runs this too, without `--bench`: nothing to test here.
    if !std::env::args().any(|word| word == "--bench") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("spool")).unwrap();
    println!("{CALLS} calls each, whole process, milliseconds");
    row("/bin/true", &mut times(dir.path(), "/bin/true", &[], b""));
    row("ao hook", &mut times(dir.path(), AO, &["hook", "claude"], PAYLOAD));
    let huge =
        format!(r#"{{"hook_event_name":"PreToolUse","tool_input":"{}"}}"#, "x".repeat(1 << 20));
    row("ao hook, 1 MiB", &mut times(dir.path(), AO, &["hook", "claude"], huge.as_bytes()));
    std::fs::remove_dir_all(dir.path().join("spool")).unwrap();
    row("ao hook, no spool", &mut times(dir.path(), AO, &["hook", "claude"], PAYLOAD));
    row("ao hook, governed", &mut governed());
}

/// Ten governed agents that read files; each call is a process that opens the store anew.
fn governed() -> Vec<Duration> {
    let root = tempfile::Builder::new().prefix("ao-bench-").tempdir_in("target").unwrap();
    let mut text = "[defaults]\nsession_prefix = \"bench-\"\nlog_dir = \"logs\"\n\n\
                    [governance]\noperator = \"operator\"\n"
        .to_owned();
    for number in 0..AGENTS {
        let agent = format!(
            "\n[[agent]]\nname = \"a{number}\"\nkind = \"persistent\"\nbackend = \"claude\"\n\
             prompt = \"x\"\ngoverned = true\ntrust = \"L1\"\n"
        );
        text.push_str(&agent);
    }
    let path = root.path().canonicalize().unwrap().join("agents.toml");
    std::fs::write(&path, &text).unwrap();
    let (config, problems) = ao::config::parse(&text, &path, &|_| true, &|_| None);
    let config = config.unwrap_or_else(|| panic!("{problems:?}"));
    let store = Store::new(&config);
    store.prepare().unwrap();
    // As the watchdog holds it: alone with the file, each call would prove the whole log first.
    let held = Governance::open_for(&config, &store.state()).unwrap();
    let agents: Vec<_> = config
        .agents
        .iter()
        .zip(0..)
        .map(|(agent, number)| {
            begin(&config, &store, agent, "start-1", clock::now()).unwrap();
            let bounds = file(&store.state(), &agent.session);
            let mut random = SEED.wrapping_mul(2 * number + 1);
            std::thread::spawn(move || {
                (0..GOVERNED_CALLS).map(|call| asked(&bounds, call, &mut random)).collect()
            })
        })
        .collect();
    let times: Vec<Vec<Duration>> = agents.into_iter().map(|it| it.join().unwrap()).collect();
    drop(held);
    times.concat()
}

/// One call, somewhere in its tenth of a second: agents know nothing of each other's time.
fn asked(bounds: &Path, call: usize, random: &mut u64) -> Duration {
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    let slot = Instant::now();
    std::thread::sleep(EVERY.mul_f64((*random % 1_000) as f64 / 1_000.0));
    // Of no other agent: it is what tells a repeated call from a new one.
    let id = format!("{}-{call}", bounds.file_stem().unwrap().display());
    let payload = format!(
        r#"{{"hook_event_name":"PreToolUse","cwd":"/p","tool_name":"Read","tool_input":{{"file_path":"/p/{call}"}},"tool_use_id":"{id}"}}"#
    );
    let begun = Instant::now();
    let mut child = Command::new(AO)
        .args(["hook", "claude", "--governed"])
        .arg(bounds)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdin.take().unwrap().write_all(payload.as_bytes()));
    let output = child.wait_with_output().unwrap();
    let took = begun.elapsed();
    assert!(output.status.success() && output.stdout.is_empty(), "{output:?}");
    std::thread::sleep(EVERY.saturating_sub(slot.elapsed()));
    took
}

fn times(state: &Path, program: &str, arguments: &[&str], input: &[u8]) -> Vec<Duration> {
    let mut found = Vec::with_capacity(CALLS);
    for call in 0..WARM_UP + CALLS {
        let begun = Instant::now();
        let mut child = Command::new(program)
            .args(arguments)
            .env("AO_STATE", state)
            .env("AO_START", "0d0e3f6e-6a9b-4f6c-8d58-0d8f5d0b7e11")
            .env("AO_AGENT", "builder")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // A program that reads nothing may be gone already.
        drop(child.stdin.take().unwrap().write_all(input));
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        if call >= WARM_UP {
            found.push(begun.elapsed());
        }
    }
    found
}

fn row(what: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e3;
    println!("{what:<18} p50 {:6.2}  p99 {:6.2}  max {:6.2}", at(50), at(99), at(100));
}
