//! How fast a kill bites: a tree of 100 demo agents in tmux, killed over HTTP while they ask.
//!
//! Two figures, both from the moment the command was sent: when the last act of the tree was
//! allowed, and when the last of its processes was dead. The tmux server is the bench's own, in a
//! folder under `/tmp`; everything is ended by pid or by `ao down` and removed. `AO_BENCH_AO` names
//! another build. Linux only, because of `/proc`.
//!
//! `cargo bench --bench kill -- [--agents 100] [--callers 16]`

#![expect(clippy::disallowed_methods, reason = "a bench measures real time and starts programs")]
#![expect(clippy::print_stdout, reason = "the table is the bench's output")]
#![expect(clippy::unwrap_used, reason = "a bench that cannot go on stops")]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

const AO: &str = env!("CARGO_BIN_EXE_ao");
/// Of asking before the kill.
const BEFORE: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(1);
const PATIENCE: Duration = Duration::from_secs(60);

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --all-targets` runs this too, without `--bench`: nothing to test here.
    if !words.iter().any(|word| word == "--bench") {
        return;
    }
    let number = |name: &str, default: usize| {
        let at = words.iter().position(|word| word == name);
        at.map_or(default, |at| words[at + 1].parse().unwrap())
    };
    measure(number("--agents", 100), number("--callers", 16));
}

fn measure(agents: usize, callers: usize) {
    let fleet = Fleet::new(agents);
    let ao = |words: &[&str]| fleet.ao(words);
    ao(&["org", "trust", "local", "L3"]);
    let (agent, admin) = (ao(&["key", "create"]), ao(&["key", "create", "--scope", "admin"]));
    ao(&["up"]);
    let panes = fleet.panes();
    assert_eq!(panes.len(), agents, "every agent has a pane");
    let serving = fleet.serve();
    let url = serving.url.as_str();
    for below in 1..agents {
        // Three levels: the first has ten below it, and each of those has its share.
        let above = if below <= 10 { 0 } else { (below - 11) % 10 + 1 };
        let edge =
            json!({ "orchestrator_agent_id": name(above), "worker_agent_ids": [name(below)] });
        let said = ask(url, &admin, "/api/v1/orchestration/topology", &edge);
        assert!(said["success"].as_bool().unwrap_or(false), "{said}");
    }
    let ending = AtomicBool::new(false);
    let (sent, answered, dead, last) = std::thread::scope(|scope| {
        let asking: Vec<_> = (0..callers)
            .map(|caller| {
                let (agent, ending) = (&agent, &ending);
                scope.spawn(move || keep_asking(url, agent, caller, agents, ending))
            })
            .collect();
        std::thread::sleep(BEFORE);
        let sent = Instant::now();
        let kill = scope.spawn(|| {
            let body = json!({
                "orchestrator_agent_id": name(0), "reason": "a drill", "confirm": true,
            });
            let said = ask(url, &admin, "/api/v1/orchestration/topology/kill-cascade", &body);
            assert_eq!(said["total"], agents, "{said}");
            Instant::now()
        });
        while panes.iter().any(|pid| is_alive(*pid)) {
            assert!(sent.elapsed() < PATIENCE, "some processes live on");
            std::thread::sleep(POLL);
        }
        let dead = Instant::now();
        let answered = kill.join().unwrap();
        ending.store(true, Ordering::Release);
        let last = asking.into_iter().filter_map(|one| one.join().unwrap()).max();
        (sent, answered, dead, last.expect("something was allowed before the kill"))
    });
    let load = std::fs::read_to_string("/proc/loadavg").unwrap();
    let since = |at: Instant| at.saturating_duration_since(sent).as_secs_f64() * 1e3;
    println!("{agents} agents, {callers} callers, load average {}", &load[..4]);
    println!("  last act allowed    {:8.1} ms after the command (bar 100)", since(last));
    println!("  last process dead   {:8.1} ms after the command (bar 2000)", since(dead));
    println!("  the kill's answer   {:8.1} ms after the command", since(answered));
}

/// Submits acts of one agent after the other; when the last was allowed.
fn keep_asking(
    url: &str,
    key: &str,
    caller: usize,
    agents: usize,
    ending: &AtomicBool,
) -> Option<Instant> {
    let (mut last, mut turn) = (None, caller);
    while !ending.load(Ordering::Acquire) {
        turn += 1;
        let resource = format!("orders/{turn}");
        let body = json!({
            "agent_id": name(turn % agents), "action_type": "database.write", "resource": resource,
        });
        if ask(url, key, "/api/v1/actions/submit", &body)["decision"] == "allowed" {
            last = Some(Instant::now());
        }
    }
    last
}

fn ask(url: &str, key: &str, path: &str, body: &Value) -> Value {
    let mut stream = TcpStream::connect(url.trim_start_matches("http://")).unwrap();
    let body = body.to_string();
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: bench\r\nconnection: close\r\nx-api-key: {key}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    serde_json::from_str(said.split_once("\r\n\r\n").unwrap().1).unwrap()
}

fn name(index: usize) -> String {
    format!("a{index:03}")
}

fn is_alive(pid: u32) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    // Dead and not yet fetched by its parent is dead.
    state.is_ok_and(|text| !text.rsplit(')').next().unwrap_or_default().starts_with(" Z"))
}

/// A fleet of demo agents, ended and removed on drop.
struct Fleet {
    folder: tempfile::TempDir,
}

/// Killed and waited for when this is dropped.
struct Serving {
    child: Child,
    url: String,
}

impl Drop for Serving {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Fleet {
    fn new(agents: usize) -> Self {
        // A short path: a socket's may have at most 107 bytes.
        let folder = tempfile::Builder::new().prefix("ao-bench").tempdir_in("/tmp").unwrap();
        let mut config = "[defaults]\nsession_prefix = \"b-\"\nlog_dir = \"log\"\n\
                          backend = \"demo\"\nwatch = \"heal\"\n[tmux]\nsocket = \"bench\"\n\
                          [governance]\noperator = \"operator\"\n"
            .to_owned();
        for index in 0..agents {
            let agent = format!("[[agent]]\nname = \"{}\"\nprompt = \"Say hello.\"\n", name(index));
            config.push_str(&agent);
        }
        std::fs::write(folder.path().join("agents.toml"), config).unwrap();
        Self { folder }
    }

    fn clean(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let folder: &Path = self.folder.path();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let fixed = BTreeMap::from([("LANG", "C.UTF-8")]);
        command.current_dir(folder).env_clear().envs(fixed).env("PATH", path);
        command.env("HOME", folder).env("TMUX_TMPDIR", folder).stdin(Stdio::null());
        command
    }

    fn program(&self) -> Command {
        self.clean(&std::env::var("AO_BENCH_AO").unwrap_or_else(|_| AO.to_owned()))
    }

    /// What it says; it must end well.
    fn ao(&self, words: &[&str]) -> String {
        let output = self.program().args(words).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn serve(&self) -> Serving {
        let words = ["--json", "serve", "--listen", "127.0.0.1:0"];
        let mut child = self.program().args(words).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap();
        Serving { child, url: said["url"].as_str().unwrap().to_owned() }
    }

    fn tmux(&self, words: &[&str]) -> Option<String> {
        let output = self.clean("tmux").args(["-L", "bench"]).args(words).output().unwrap();
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
    }

    /// The agents' processes.
    fn panes(&self) -> Vec<u32> {
        let words = ["list-panes", "-a", "-F", "#{session_name} #{pane_pid}"];
        let text = self.tmux(&words).unwrap_or_default();
        let agent = |line: &str| line.strip_prefix("b-a")?.split(' ').nth(1)?.parse().ok();
        text.lines().filter_map(agent).collect()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        drop(self.program().arg("down").output());
        let server = self.tmux(&["display-message", "-p", "#{pid}"]);
        if let Some(pid) = server.and_then(|text| text.trim().parse().ok())
            && let Some(pid) = rustix::process::Pid::from_raw(pid)
        {
            // It may be gone already.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
    }
}
