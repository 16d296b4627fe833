//! A project of the test's own, run by the built program on a private tmux server.
//!
//! Every process of it has the project's own `HOME`, which is how the drop finds and ends them all.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

/// A loaded machine is slow; a healthy run takes a second or two.
const PATIENCE: Duration = Duration::from_secs(30);
/// Sessions of each fleet begin so.
pub(crate) const PREFIX: &str = "fleet-";

static FLEETS: AtomicU32 = AtomicU32::new(0);

pub(crate) struct Fleet {
    dir: tempfile::TempDir,
    socket_name: String,
}

/// What one call of `ao` said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Fleet {
    /// Blocks of agents, services and backends behind the usual quick settings.
    pub(crate) fn new(blocks: &str) -> Self {
        let fleet = Self::empty();
        fleet.configure(blocks);
        fleet
    }

    /// The example that the program brings along.
    pub(crate) fn example() -> Self {
        let fleet = Self::empty();
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let example = std::fs::read_to_string(root.join("agents.example.toml")).unwrap();
        let socket = &fleet.socket_name;
        fleet.write("agents.toml", format!("{example}\n[tmux]\nsocket = \"{socket}\"\n"));
        std::fs::create_dir(fleet.path("prompts")).unwrap();
        for entry in std::fs::read_dir(root.join("prompts")).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, fleet.path("prompts").join(path.file_name().unwrap())).unwrap();
        }
        fleet
    }

    fn empty() -> Self {
        // A short root: the socket's path may have at most 107 bytes.
        let dir = tempfile::Builder::new().prefix("ao-f").tempdir_in("/tmp").unwrap();
        std::fs::create_dir(dir.path().join("home")).unwrap();
        let number = FLEETS.fetch_add(1, Ordering::Relaxed);
        Self { dir, socket_name: format!("ao-t-{}-{number}", std::process::id()) }
    }

    pub(crate) fn configure(&self, blocks: &str) {
        self.write("agents.toml", self.config(blocks));
    }

    pub(crate) fn config(&self, blocks: &str) -> String {
        let socket = &self.socket_name;
        let blocks = blocks.replace("DIR", &self.dir.path().to_string_lossy());
        format!(
            "[defaults]\nsession_prefix = \"{PREFIX}\"\nlog_dir = \".ao-state\"\n\
             backend = \"demo\"\nwatch = \"heal\"\n\n[tmux]\nsocket = \"{socket}\"\n\n\
             [watchdog]\nsignal_interval = 1\nheavy_interval = 2\nstop_grace = 1\n\
             max_restarts = 2\n\n{blocks}"
        )
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn socket(&self) -> PathBuf {
        let user = rustix::process::getuid().as_raw();
        self.dir.path().canonicalize().unwrap().join(format!("tmux-{user}")).join(&self.socket_name)
    }

    fn home_mark(&self) -> String {
        format!("HOME={}", self.path("home").display())
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ao"));
        command
            .args(arguments)
            .current_dir(self.dir.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.path("home"))
            .env("TMUX_TMPDIR", self.dir.path())
            .env("TZ", "UTC")
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn ao(&self, arguments: &[&str]) -> Said {
        self.finish(&mut self.command(arguments))
    }

    pub(crate) fn finish(&self, command: &mut Command) -> Said {
        let output = command.output().unwrap();
        let text = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes).into_owned();
            text.replace(&*self.dir.path().to_string_lossy(), "DIR")
        };
        Said {
            code: output.status.code().unwrap_or(-1),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }

    pub(crate) fn spawn(&self, arguments: &[&str]) -> Child {
        self.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// `ao`, which must succeed.
    #[track_caller]
    pub(crate) fn well(&self, arguments: &[&str]) -> Said {
        let said = self.ao(arguments);
        assert_eq!(said.code, 0, "`ao {arguments:?}`: {said:?}\n{}", self.events_text());
        said
    }

    #[track_caller]
    pub(crate) fn status(&self) -> Status {
        let said = self.well(&["status", "--json"]);
        Status(serde_json::from_str(&said.out).expect(&said.out))
    }

    /// Asks the status until it has the answer.
    #[track_caller]
    pub(crate) fn until<T>(&self, what: &str, ask: impl Fn(&Status) -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        loop {
            let status = self.status();
            if let Some(answer) = ask(&status) {
                return answer;
            }
            let events = || self.events_text();
            assert!(Instant::now() < end, "never: {what}\n{:#}\n{}", status.0, events());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// All of them run; their pids in this order.
    #[track_caller]
    pub(crate) fn pids<const COUNT: usize>(&self, names: [&str; COUNT]) -> [u32; COUNT] {
        self.until(&format!("{names:?} run"), |status| {
            let pids: Option<Vec<u32>> = names.iter().map(|name| status.pid(name)).collect();
            pids.map(|pids| pids.try_into().expect("one pid a name"))
        })
    }

    /// It runs again, as another process.
    #[track_caller]
    pub(crate) fn pid_after(&self, name: &str, old: u32) -> u32 {
        self.until(&format!("{name} is back"), |status| status.pid(name).filter(|&pid| pid != old))
    }

    pub(crate) fn events_text(&self) -> String {
        std::fs::read_to_string(self.path(".ao-state/events.jsonl")).unwrap_or_default()
    }

    /// Why this happened to the unit, each time it did.
    pub(crate) fn whys(&self, unit: &str, event: &str) -> Vec<String> {
        let text = self.events_text();
        text.lines()
            .map(|line| serde_json::from_str::<Value>(line).expect(line))
            .filter(|line| line["event"] == event && (unit.is_empty() || line["unit"] == unit))
            .map(|line| line["why"].as_str().expect("a reason").to_owned())
            .collect()
    }

    /// A raw tmux command on the fleet's server.
    pub(crate) fn tmux(&self, arguments: &[&str]) -> Said {
        let mut command = Command::new("tmux");
        command.env_remove("TMUX").env("HOME", self.path("home"));
        self.finish(command.arg("-S").arg(self.socket()).args(arguments))
    }

    /// `session pid` of every pane, in order of the name.
    pub(crate) fn panes(&self) -> Vec<String> {
        let listed = self.tmux(&["list-panes", "-a", "-F", "#{session_name} #{pane_pid}"]);
        let mut panes: Vec<String> = listed.out.lines().map(str::to_owned).collect();
        panes.sort();
        panes
    }

    pub(crate) fn sessions(&self) -> Vec<String> {
        let name = |pane: &String| pane.split(' ').next().unwrap_or_default().to_owned();
        self.panes().iter().map(name).collect()
    }

    pub(crate) fn server_pid(&self) -> Option<u32> {
        self.tmux(&["display-message", "-p", "#{pid}"]).out.trim().parse().ok()
    }

    /// The start ids of this agent's living processes, each once.
    #[cfg(target_os = "linux")]
    pub(crate) fn starts_of(&self, agent: &str) -> std::collections::BTreeSet<String> {
        let mark = format!("AO_AGENT={agent}");
        let environments = self.processes().into_iter().map(|(_, environment)| environment);
        environments
            .filter(|environment| environment.contains(&mark))
            .filter_map(|environment| {
                environment.into_iter().find(|variable| variable.starts_with("AO_START="))
            })
            .collect()
    }

    /// Living processes that were started for an agent or service.
    pub(crate) fn started_processes(&self) -> Vec<u32> {
        let started = |environment: &[String]| {
            environment.iter().any(|variable| variable.starts_with("AO_START="))
        };
        let processes = self.processes().into_iter();
        processes.filter(|(_, environment)| started(environment)).map(|(pid, _)| pid).collect()
    }

    fn processes(&self) -> Vec<(u32, Vec<String>)> {
        let mark = self.home_mark();
        let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
        entries
            .flatten()
            .filter_map(|entry| {
                let pid = entry.file_name().to_str()?.parse().ok()?;
                let bytes = std::fs::read(entry.path().join("environ")).ok()?;
                let text = String::from_utf8_lossy(&bytes).into_owned();
                let variables: Vec<String> = text.split('\0').map(str::to_owned).collect();
                variables.contains(&mark).then_some((pid, variables))
            })
            .collect()
    }
}

impl Drop for Fleet {
    #[expect(clippy::print_stderr, reason = "what a failed test saw")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            let said = self.ao(&["status"]);
            eprintln!("{}\n{}{}", self.events_text(), said.out, said.err);
        }
        // The watchdog first: it would bring back what goes before it.
        let end = Instant::now() + Duration::from_secs(5);
        loop {
            let server = self.server_pid();
            let pids: Vec<u32> = self.processes().into_iter().map(|(pid, _)| pid).collect();
            if (pids.is_empty() && server.is_none()) || Instant::now() > end {
                return;
            }
            pids.into_iter().chain(server).for_each(kill);
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// SIGKILL.
pub(crate) fn kill(pid: u32) {
    signal(pid, rustix::process::Signal::KILL);
}

/// Halts a process of this fleet where it stands, so that it writes nothing more before it is killed.
pub(crate) fn halt(pid: u32) {
    signal(pid, rustix::process::Signal::STOP);
}

fn signal(pid: u32, signal: rustix::process::Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// `ao status --json`.
#[derive(Debug)]
pub(crate) struct Status(pub(crate) Value);

impl Status {
    pub(crate) fn unit(&self, name: &str) -> &Value {
        let lists = ["agents", "services"].map(|list| self.0[list].as_array().expect("a list"));
        let found = lists.into_iter().flatten().find(|unit| unit["name"] == name);
        found.unwrap_or_else(|| panic!("{name} is not in {:#}", self.0))
    }

    pub(crate) fn pid(&self, name: &str) -> Option<u32> {
        self.unit(name)["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok())
    }

    pub(crate) fn state(&self, name: &str) -> &str {
        self.unit(name)["state"].as_str().expect("a state")
    }

    pub(crate) fn watchdog_problem(&self) -> Option<&str> {
        self.0["watchdog"]["config_problem"].as_str()
    }

    pub(crate) fn watchdog(&self) -> Option<u32> {
        self.0["watchdog"]["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok())
    }
}
