//! How long it takes from the push of a claim to its ping, typed and submitted, in a local remote's case.
//!
//! Two demo agents on a tmux server of the bench's own, in a folder under `/tmp`; everything is ended by
//! `ao down` and removed. The moment of the submit is what the agent itself wrote down, by the same boot
//! clock. Surprise: the push is a whole `git` process, whose own end is counted too.

#![expect(clippy::disallowed_methods, reason = "a bench measures real time and starts programs")]
#![expect(clippy::print_stdout, reason = "the figures are the bench's output")]
#![expect(clippy::unwrap_used, reason = "a bench that cannot go on stops")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const AO: &str = env!("CARGO_BIN_EXE_ao");
const PATIENCE: Duration = Duration::from_secs(60);
/// The bar for the 99th percentile, in ms.
const BAR_MS: u64 = 1_000;

const CONFIG: &str = r#"[defaults]
session_prefix = "b-"
log_dir = "log"
backend = "demo"

[tmux]
socket = "bench"

[backend.demo]
preset = "demo"
bin = "{ao} demo-agent --name {name} --truth DIR/{name}.truth --scenario DIR/scenario --kickoff {kickoff}"

[[agent]]
name = "builder"
kind = "loop"
role = "builder"
dir = "builder"

[[agent]]
name = "adversary"
kind = "loop"
role = "adversary"

[loop]
handoff = { repo = "builder", claim_pings = "adversary" }
phases = [{ id = "p1", plan = "p1.md", status = "STATUS-p1.md" }]
"#;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --all-targets` runs this too, without `--bench`: nothing to test here.
    if !words.iter().any(|word| word == "--bench") {
        return;
    }
    let count = words.iter().find_map(|word| word.parse().ok()).unwrap_or(100);
    let fleet = Fleet::new();
    let mut waits: Vec<u64> = (0..count).map(|number| fleet.claim(number)).collect();
    waits.sort_unstable();
    let at = |share: usize| waits[(waits.len() - 1) * share / 100];
    let verdict = if at(99) <= BAR_MS { "ok" } else { "MISSED" };
    println!("push of a claim → its ping submitted, {count} claims, ms");
    println!("  p50 {}   p90 {}   p99 {}   worst {}", at(50), at(90), at(99), at(100));
    println!("  p99 ≤ {BAR_MS}  {verdict}");
}

/// The fleet and a clone of one bare remote, ended and removed on drop.
struct Fleet {
    folder: tempfile::TempDir,
}

impl Fleet {
    fn new() -> Self {
        // A short path: a socket's may have at most 107 bytes.
        let folder = tempfile::Builder::new().prefix("ao-ping").tempdir_in("/tmp").unwrap();
        let fleet = Self { folder };
        let write = |name: &str, text: &str| std::fs::write(fleet.path(name), text).unwrap();
        std::fs::create_dir(fleet.path("prompts")).unwrap();
        for name in ["kickoff", "builder", "adversary"] {
            write(&format!("prompts/{name}.md"), "Work on {phase_id}.\n");
        }
        write("scenario", "ready\nwait_submit\nwork 50ms\nloop\n");
        write("agents.toml", &CONFIG.replace("DIR", &fleet.folder.path().to_string_lossy()));
        let root = fleet.folder.path();
        fleet.git(root, &["init", "-q", "--bare", "-b", "main", "remote.git"]);
        fleet.git(root, &["clone", "-q", "remote.git", "builder"]);
        fleet.commit("begin");
        fleet.push();
        run(fleet.clean(AO).arg("up"));
        let looked = || fleet.path("log/state/handoff.json").is_file();
        eventually("the branch was looked at", || looked().then_some(()));
        fleet
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn clean(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.folder.path())
            .env("LANG", "C.UTF-8")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("TMUX_TMPDIR", self.folder.path())
            .stdin(Stdio::null());
        command
    }

    fn git(&self, folder: &Path, words: &[&str]) {
        let who = ["-c", "user.name=Ann", "-c", "user.email=ann@example.org"];
        run(self.clean("git").current_dir(folder).args(who).args(words));
    }

    fn commit(&self, subject: &str) {
        let clone = self.path("builder");
        self.git(&clone, &["commit", "-q", "--allow-empty", "-m", subject]);
    }

    fn push(&self) {
        self.git(&self.path("builder"), &["push", "-q", "origin", "HEAD:main"]);
    }

    /// One claim; ms from before its push to its submit.
    fn claim(&self, number: usize) -> u64 {
        self.until_idle();
        let subject = format!("claim: part {number}.");
        self.commit(&subject);
        let begun = ao::sys::clock::now().mono.0;
        self.push();
        let submitted = eventually("the adversary is told", || self.submitted(&subject));
        submitted.saturating_sub(begun)
    }

    fn until_idle(&self) {
        eventually("the adversary is idle", || {
            let output = self.clean(AO).args(["status", "--json"]).output().unwrap();
            let status: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
            let units = status["agents"].as_array()?;
            let adversary = units.iter().find(|unit| unit["name"] == "adversary")?;
            (adversary["state"] == "idle").then_some(())
        });
    }

    /// When the agent received it, by its own account, in ms of the boot clock.
    fn submitted(&self, subject: &str) -> Option<u64> {
        let text = std::fs::read_to_string(self.path("adversary.truth")).ok()?;
        text.lines().find_map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).ok()?;
            let it = line["event"] == "submit" && line["text"].as_str()?.contains(subject);
            if it { line["at_ms"].as_u64() } else { None }
        })
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        drop(self.clean(AO).arg("down").output());
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {said}");
}

fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "not within {} s: {what}", PATIENCE.as_secs());
        std::thread::sleep(Duration::from_millis(5));
    }
}
