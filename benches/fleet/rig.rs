//! A fleet of demo agents on a tmux server of its own, and what is done to it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

use crate::proc::{
    child_faults, children, cpu_ms, eventually, family_cpu_ms, is_alive, kill, memory_mb, wakeups,
};

/// At most; an agent is killed once, so that no backoff is measured.
pub(crate) const KILLS: usize = 40;
/// Messages sent one after the other.
const MESSAGES: usize = 20;
/// Looks for the same as the watchdog in the plainest way: every tick a process an agent.
const BASELINE: &str = r#"while :; do
  for session in $(tmux -L bench list-sessions -F '#{session_name}'); do
    tmux -L bench capture-pane -p -t "=$session:" | tail -n 12 | grep -q 'esc to interrupt'
  done
  sleep 30
done"#;

pub(crate) const AO: &str = env!("CARGO_BIN_EXE_ao");
/// Who is in a fleet. The first ones stay quiet: they get the messages.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Crew {
    pub(crate) agents: usize,
    /// The last so many redraw a spinner at 8 Hz.
    pub(crate) busy: usize,
    /// So many before them reach a usage limit of a minute, again and again.
    pub(crate) limited: usize,
    /// Each agent writes down what it received, in `truth-NAME`.
    pub(crate) truth: bool,
}

impl Crew {
    pub(crate) fn quiet(self) -> usize {
        self.agents.saturating_sub(self.busy + self.limited)
    }

    fn backend(self, index: usize) -> &'static str {
        match index {
            index if index < self.quiet() => "quiet",
            index if index + self.busy < self.agents => "limited",
            _ => "spinner",
        }
    }
}

/// A fleet of demo agents, ended and removed on drop.
pub(crate) struct Fleet {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) agents: usize,
}

pub(crate) struct IdleCosts {
    pub(crate) watchdog: f64,
    pub(crate) client: f64,
    pub(crate) server: f64,
    pub(crate) rss_mb: f64,
    pub(crate) child_faults: f64,
    pub(crate) new_children: f64,
    pub(crate) wakeups: f64,
}

impl Fleet {
    pub(crate) fn new(crew: Crew) -> Self {
        // A short path: a socket's may have at most 107 bytes.
        let folder = tempfile::Builder::new().prefix("ao-bench").tempdir_in("/tmp").unwrap();
        let mut config = String::from(
            "[defaults]\nsession_prefix = \"b-\"\nlog_dir = \"log\"\nbackend = \"quiet\"\n\
             watch = \"heal\"\n[tmux]\nsocket = \"bench\"\n",
        );
        let truth = if crew.truth { " --truth truth-{name}" } else { "" };
        for (backend, scenario) in [
            ("quiet", ""),
            ("spinner", "ready\nredraw 8\nwork 36000s\n"),
            (
                "limited",
                "ready\nwork 5s\nlimit \"in 1 minute\"\nwait_submit\nwork 3s\nidle 60s\nloop\n",
            ),
        ] {
            write!(
                config,
                "[backend.{backend}]\npreset = \"demo\"\nbin = \"{{ao}} demo-agent --name {{name}} \
                 --kickoff {{kickoff}}{truth}"
            )
            .unwrap();
            if !scenario.is_empty() {
                std::fs::write(folder.path().join(backend), scenario).unwrap();
                write!(config, " --scenario {backend}").unwrap();
            }
            config += "\"\n";
        }
        for index in 0..crew.agents {
            let backend = crew.backend(index);
            let name = name(index);
            writeln!(
                config,
                "[[agent]]\nname = \"{name}\"\nbackend = \"{backend}\"\nprompt = \"Say hello.\""
            )
            .unwrap();
        }
        std::fs::write(folder.path().join("agents.toml"), config).unwrap();
        Self { folder, agents: crew.agents }
    }

    pub(crate) fn clean(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.folder.path())
            .env("LANG", "C.UTF-8")
            .env("TMUX_TMPDIR", self.folder.path())
            .stdin(Stdio::null());
        command
    }

    /// Wall time in ms.
    pub(crate) fn timed(&self, args: &[&str]) -> f64 {
        let begun = Instant::now();
        let output = self.clean(AO).args(args).output().unwrap();
        let taken = begun.elapsed();
        assert!(output.status.success(), "ao {}: {}", args.join(" "), text(&output));
        taken.as_secs_f64() * 1e3
    }

    pub(crate) fn tmux(&self, args: &[&str]) -> Option<String> {
        let output = self.clean("tmux").args(["-L", "bench"]).args(args).output().unwrap();
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
    }

    /// Session → pid of its pane.
    pub(crate) fn panes(&self) -> BTreeMap<String, u32> {
        let text = self.tmux(&["list-panes", "-a", "-F", "#{session_name} #{pane_pid}"]);
        let text = text.unwrap_or_default();
        let pair = |line: &str| {
            let (session, pid) = line.split_once(' ')?;
            Some((session.to_owned(), pid.parse().ok()?))
        };
        text.lines().filter_map(pair).collect()
    }

    pub(crate) fn server(&self) -> Option<u32> {
        self.tmux(&["display-message", "-p", "#{pid}"])?.trim().parse().ok()
    }

    pub(crate) fn watchdog(&self) -> u32 {
        let note = self.folder.path().join("log/state/watchdog.lock");
        std::fs::read_to_string(note).unwrap().trim().parse().unwrap()
    }

    pub(crate) fn events(&self) -> PathBuf {
        self.folder.path().join("log/events.jsonl")
    }

    /// What the parts take while nothing happens.
    pub(crate) fn idle(&self, window: Duration) -> IdleCosts {
        let (watchdog, server) = (self.watchdog(), self.server().unwrap());
        let client = children(watchdog);
        let read = || {
            let clients: f64 = client.iter().map(|pid| cpu_ms(*pid)).sum();
            (cpu_ms(watchdog), clients, cpu_ms(server), child_faults(watchdog), wakeups(watchdog))
        };
        let before = read();
        let begun = Instant::now();
        std::thread::sleep(window);
        let after = read();
        let wall_ms = begun.elapsed().as_secs_f64() * 1e3;
        let share = |before: f64, after: f64| (after - before) / wall_ms * 100.0;
        IdleCosts {
            watchdog: share(before.0, after.0),
            client: share(before.1, after.1),
            server: share(before.2, after.2),
            rss_mb: memory_mb(watchdog, "VmRSS:"),
            // One look a second.
            child_faults: (after.3 - before.3) / (wall_ms / 1e3),
            new_children: children(watchdog).difference(&client).count() as f64,
            wakeups: (after.4 - before.4) / (wall_ms / 1e3),
        }
    }

    /// Sends messages to agents that are idle; ms of the whole `ao send`, verified submit included.
    pub(crate) fn messages(&self) -> Vec<f64> {
        let quiet = self.agents.clamp(1, MESSAGES / 4);
        (0..MESSAGES).map(|index| self.timed(&["send", &name(index % quiet), "go on"])).collect()
    }

    /// What polling the same panes costs: the share of its processes, and of the server meanwhile
    /// beyond nothing at all. The watchdog goes on beside it; its own share was measured before.
    pub(crate) fn baseline(&self, window: Duration) -> (f64, f64) {
        let server = self.server().unwrap();
        let before = cpu_ms(server);
        let begun = Instant::now();
        let mut poller = self.clean("sh").args(["-c", BASELINE]).spawn().unwrap();
        std::thread::sleep(window);
        let own = family_cpu_ms(poller.id());
        poller.kill().unwrap();
        poller.wait().unwrap();
        let wall_ms = begun.elapsed().as_secs_f64() * 1e3;
        (own / wall_ms * 100.0, (cpu_ms(server) - before) / wall_ms * 100.0)
    }

    /// Kills one agent after another; ms from the signal to the line that tells of the new process.
    pub(crate) fn heals(&self, kills: usize) -> Vec<f64> {
        let mut panes = self.panes();
        (0..kills)
            .map(|sample| {
                // Spread over the fleet, and over the phases of the watchdog's second.
                let agent = name(sample * self.agents / kills);
                let pause = 300 + (sample * 137) % 500;
                std::thread::sleep(Duration::from_millis(pause as u64));
                let session = format!("b-{agent}");
                let old = panes[&session];
                let seen = std::fs::metadata(self.events()).unwrap().len();
                let killed = Utc::now();
                kill(old);
                let started =
                    eventually("the agent is started again", || self.started_since(seen, &agent));
                panes = self.panes();
                assert!(panes[&session] != old && is_alive(panes[&session]), "{agent} runs anew");
                (started - killed).num_microseconds().unwrap() as f64 / 1e3
            })
            .collect()
    }

    /// When the agent was started, by the event log from that byte on.
    pub(crate) fn started_since(&self, from: u64, agent: &str) -> Option<DateTime<Utc>> {
        let bytes = std::fs::read(self.events()).unwrap();
        let text = String::from_utf8_lossy(bytes.get(usize::try_from(from).unwrap()..)?);
        text.lines().find_map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).ok()?;
            let ours = line["event"] == "started" && line["unit"] == agent;
            ours.then(|| line["at"].as_str().unwrap().parse().unwrap())
        })
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if let Some(server) = self.server() {
            drop(self.clean(AO).arg("down").output());
            if is_alive(server) && self.server() == Some(server) {
                kill(server);
            }
        }
    }
}

pub(crate) fn name(index: usize) -> String {
    format!("a{index:03}")
}

pub(crate) fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}
