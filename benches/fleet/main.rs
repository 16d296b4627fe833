//! What a fleet costs: how fast it starts, stops, answers and heals, and what it takes while idle.
//!
//! Demo agents on a tmux server of the bench's own, in a folder under `/tmp`; everything is ended
//! by pid or by `ao down` and removed. `--busy N` makes so many of them redraw a spinner at 8 Hz.
//! `--baseline` measures beside it the obvious way to do the same: one tmux process an agent a tick.
//! Not here: real CLIs, the pure paths (`pure.rs`).
//! Surprise: CPU comes from `schedstat`, in nanoseconds; the clock ticks of `stat` (10 ms) are as
//! coarse as the whole bar of a small fleet. Linux only, because of `/proc`.

#![expect(clippy::disallowed_methods, reason = "a bench measures real time and starts programs")]
#![expect(clippy::print_stdout, reason = "the table is the bench's output")]
#![expect(clippy::unwrap_used, reason = "a bench that cannot go on stops")]
#![expect(clippy::cast_precision_loss, reason = "figures are shown with three digits")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

mod plot;

const AO: &str = env!("CARGO_BIN_EXE_ao");
const USAGE: &str = "cargo bench --bench fleet -- [--agents 5,100] [--busy 0] [--seconds 60] [--baseline] [--json] [--svg FILE]";
/// Times the fleet is started and stopped.
const CYCLES: usize = 3;
const STATUS_RUNS: usize = 25;
/// At most; an agent is killed once, so that no backoff is measured.
const KILLS: usize = 40;
/// Agents answer their first prompt, CLIs settle: not part of being idle.
const SETTLE: Duration = Duration::from_secs(12);
const PATIENCE: Duration = Duration::from_secs(60);
/// Messages sent one after the other.
const MESSAGES: usize = 20;
const VERSION_RUNS: usize = 50;
/// Looks for the same as the watchdog in the plainest way: every tick a process an agent.
const BASELINE: &str = r#"while :; do
  for session in $(tmux -L bench list-sessions -F '#{session_name}'); do
    tmux -L bench capture-pane -p -t "=$session:" | tail -n 12 | grep -q 'esc to interrupt'
  done
  sleep 30
done"#;

struct Options {
    agents: Vec<usize>,
    idle: Duration,
    busy: usize,
    baseline: bool,
    json: bool,
    svg: Option<PathBuf>,
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --all-targets` runs this too, without `--bench`: nothing to test here.
    if !words.iter().any(|word| word == "--bench") {
        return;
    }
    let options = match options(&words) {
        Ok(options) => options,
        Err(problem) => {
            println!("{problem}\n{USAGE}");
            std::process::exit(2);
        }
    };
    let mut results = Vec::new();
    for count in &options.agents {
        let figures = measure(*count, &options);
        if !options.json {
            let busy = options.busy.min(*count);
            println!("\n{count} agents, {busy} busy, for {} s", options.idle.as_secs());
            for figure in &figures {
                println!("{}", figure.row());
            }
        }
        results.push((*count, figures));
    }
    if options.json {
        println!("{}", json(&results, options.idle));
    }
    if let Some(path) = &options.svg {
        std::fs::write(path, plot::svg(&series(&results))).unwrap();
    }
}

fn options(words: &[String]) -> Result<Options, String> {
    let mut options = Options {
        agents: vec![5, 100],
        idle: Duration::from_secs(60),
        busy: 0,
        baseline: false,
        json: false,
        svg: None,
    };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("`{word}` needs a value"));
        match word.as_str() {
            "--bench" => {}
            "--json" => options.json = true,
            "--svg" => options.svg = Some(value()?.into()),
            "--baseline" => options.baseline = true,
            "--busy" => {
                options.busy = value()?.parse().map_err(|_| "`--busy` needs a number")?;
            }
            "--seconds" => {
                let seconds = value()?.parse().map_err(|_| "`--seconds` needs a number")?;
                options.idle = Duration::from_secs(seconds);
            }
            "--agents" => {
                let numbers = value()?.split(',').map(str::parse).collect::<Result<_, _>>();
                options.agents = numbers.map_err(|_| "`--agents` needs numbers, as in `5,100`")?;
            }
            other => return Err(format!("unknown option `{other}`")),
        }
    }
    Ok(options)
}

/// One measured number, and the bar it is held to.
struct Figure {
    name: &'static str,
    value: f64,
    unit: &'static str,
    bar: Option<f64>,
}

impl Figure {
    fn row(&self) -> String {
        let verdict = match self.bar {
            None => String::new(),
            Some(bar) if self.value <= bar => format!("≤ {bar}  ok"),
            Some(bar) => format!("≤ {bar}  MISSED"),
        };
        format!("  {:<34}{:>11.3} {:<7}{verdict}", self.name, self.value, self.unit)
    }
}

fn figure(name: &'static str, value: f64, unit: &'static str, bar: Option<f64>) -> Figure {
    Figure { name, value, unit, bar }
}

fn json(results: &[(usize, Vec<Figure>)], idle: Duration) -> String {
    let fleets: Vec<serde_json::Value> = results
        .iter()
        .map(|(agents, figures)| {
            let figures: Vec<serde_json::Value> = figures
                .iter()
                .map(|figure| {
                    serde_json::json!({ "name": figure.name, "value": figure.value,
                        "unit": figure.unit, "bar": figure.bar })
                })
                .collect();
            serde_json::json!({ "agents": agents, "figures": figures })
        })
        .collect();
    serde_json::json!({ "version": 1, "idle_s": idle.as_secs(), "fleets": fleets }).to_string()
}

/// What a plot shows, over the sizes of fleets.
fn series(results: &[(usize, Vec<Figure>)]) -> Vec<plot::Series> {
    let shown = ["watchdog CPU", "watchdog RSS, idle", "status --json, median", "up, median"];
    let of = |name: &str| {
        let found = |(agents, figures): &(usize, Vec<Figure>)| {
            let figure = figures.iter().find(|figure| figure.name == name)?;
            Some((*agents as f64, figure.value, figure.unit))
        };
        let found: Vec<(f64, f64, &str)> = results.iter().filter_map(found).collect();
        let unit = found.first().map_or("", |point| point.2);
        let points = found.iter().map(|point| (point.0, point.1)).collect();
        plot::Series { title: format!("{name}, {unit}, by agents"), points }
    };
    shown.map(of).into()
}

/// The bars for a fleet of this size: CPU of a core in %, RSS in MB, `up` and `status` in ms.
fn bars(agents: usize, busy: usize) -> (f64, f64, f64, f64) {
    match (agents, busy) {
        (..=5, 0) => (0.05, 15.0, 2_000.0, 15.0),
        (..=60, 0) => (0.2, 15.0, 2_000.0, 15.0),
        (..=100, 0) => (0.5, 15.0, 2_000.0, 15.0),
        (_, 0) => (1.0, 40.0, 20_000.0, 60.0),
        (..=100, _) => (2.0, 15.0, 2_000.0, 15.0),
        (..) => (2.0, 40.0, 20_000.0, 60.0),
    }
}

fn measure(agents: usize, options: &Options) -> Vec<Figure> {
    let fleet = Fleet::new(agents, options.busy);
    let (mut ups, mut downs) = (Vec::new(), Vec::new());
    for cycle in 0..CYCLES {
        ups.push(fleet.timed(&["up"]));
        assert_eq!(fleet.panes().len(), agents + 1, "every agent and the watchdog has a pane");
        if cycle + 1 < CYCLES {
            downs.push(fleet.timed(&["down"]));
            eventually("the server is gone", || fleet.server().is_none().then_some(()));
        }
    }
    std::thread::sleep(SETTLE);
    let costs = fleet.idle(options.idle);
    let statuses: Vec<f64> = (0..STATUS_RUNS).map(|_| fleet.timed(&["status", "--json"])).collect();
    let versions: Vec<f64> = (0..VERSION_RUNS).map(|_| fleet.timed(&["--version"])).collect();
    let messages = fleet.messages();
    let baseline = options.baseline.then(|| fleet.baseline(options.idle));
    let heals = fleet.heals(agents.min(KILLS));
    let watchdog = fleet.watchdog();
    let high_water = memory_mb(watchdog, "VmHWM:");
    downs.push(fleet.timed(&["down"]));

    let (cpu, rss, up, status) = bars(agents, options.busy);
    let mut figures = vec![
        figure("up, median", median(&ups), "ms", Some(up)),
        figure("down, median", median(&downs), "ms", (agents <= 100).then_some(2_000.0)),
        figure("status --json, median", median(&statuses), "ms", Some(status)),
        figure("killed → restarted, kills", heals.len() as f64, "", None),
        figure("killed → restarted, p50", quantile(&heals, 0.5), "ms", None),
        figure("killed → restarted, p99", quantile(&heals, 0.99), "ms", Some(1_000.0)),
        figure("killed → restarted, worst", quantile(&heals, 1.0), "ms", None),
        figure("ao send, whole process, p50", median(&messages), "ms", Some(300.0)),
        figure("ao send, whole process, p99", quantile(&messages, 0.99), "ms", None),
        figure("ao --version, median", median(&versions), "ms", Some(5.0)),
        figure("binary", binary_mb(), "MB", Some(20.0)),
    ];
    figures.extend([
        figure("watchdog CPU", costs.watchdog, "% core", Some(cpu)),
        figure("its control client CPU", costs.client, "% core", None),
        figure("tmux server CPU", costs.server, "% core", None),
        figure("watchdog RSS, idle", costs.rss_mb, "MB", Some(rss)),
        figure("watchdog RSS, highest", high_water, "MB", Some(rss)),
        figure("page faults of ended children", costs.child_faults, "/tick", Some(0.0)),
        figure("new children at the end", costs.new_children, "", Some(0.0)),
        figure("watchdog wake-ups", costs.wakeups, "/s", None),
    ]);
    if let Some((own, server)) = baseline {
        figures.push(figure("baseline: polling processes CPU", own, "% core", None));
        figures.push(figure("baseline: tmux server CPU", server, "% core", None));
    }
    figures
}

fn binary_mb() -> f64 {
    std::fs::metadata(AO).map_or(0.0, |found| found.len() as f64 / 1e6)
}

/// A fleet of demo agents, ended and removed on drop.
struct Fleet {
    folder: tempfile::TempDir,
    agents: usize,
}

struct IdleCosts {
    watchdog: f64,
    client: f64,
    server: f64,
    rss_mb: f64,
    child_faults: f64,
    new_children: f64,
    wakeups: f64,
}

impl Fleet {
    fn new(agents: usize, busy: usize) -> Self {
        // A short path: a socket's may have at most 107 bytes.
        let folder = tempfile::Builder::new().prefix("ao-bench").tempdir_in("/tmp").unwrap();
        let mut config = String::from(
            "[defaults]\nsession_prefix = \"b-\"\nlog_dir = \"log\"\nbackend = \"demo\"\n\
             watch = \"heal\"\n[tmux]\nsocket = \"bench\"\n\
             [backend.spinner]\npreset = \"demo\"\n\
             bin = \"{ao} demo-agent --name {name} --scenario spinner\"\n",
        );
        std::fs::write(folder.path().join("spinner"), "ready\nredraw 8\nwork 10h\n").unwrap();
        for index in 0..agents {
            let name = name(index);
            // The first ones stay quiet: they get the messages.
            let backend = if index + busy >= agents { "spinner" } else { "demo" };
            config += &[
                "[[agent]]
name = \"",
                &name,
                "\"
backend = \"",
                backend,
                "\"
prompt = \"Say hello.\"
",
            ]
            .concat();
        }
        std::fs::write(folder.path().join("agents.toml"), config).unwrap();
        Self { folder, agents }
    }

    fn clean(&self, program: &str) -> Command {
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
    fn timed(&self, args: &[&str]) -> f64 {
        let begun = Instant::now();
        let output = self.clean(AO).args(args).output().unwrap();
        let taken = begun.elapsed();
        assert!(output.status.success(), "ao {}: {}", args.join(" "), text(&output));
        taken.as_secs_f64() * 1e3
    }

    fn tmux(&self, args: &[&str]) -> Option<String> {
        let output = self.clean("tmux").args(["-L", "bench"]).args(args).output().unwrap();
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
    }

    /// Session → pid of its pane.
    fn panes(&self) -> BTreeMap<String, u32> {
        let text = self.tmux(&["list-panes", "-a", "-F", "#{session_name} #{pane_pid}"]);
        let text = text.unwrap_or_default();
        let pair = |line: &str| {
            let (session, pid) = line.split_once(' ')?;
            Some((session.to_owned(), pid.parse().ok()?))
        };
        text.lines().filter_map(pair).collect()
    }

    fn server(&self) -> Option<u32> {
        self.tmux(&["display-message", "-p", "#{pid}"])?.trim().parse().ok()
    }

    fn watchdog(&self) -> u32 {
        let note = self.folder.path().join("log/state/watchdog.lock");
        std::fs::read_to_string(note).unwrap().trim().parse().unwrap()
    }

    fn events(&self) -> PathBuf {
        self.folder.path().join("log/events.jsonl")
    }

    /// What the parts take while nothing happens.
    fn idle(&self, window: Duration) -> IdleCosts {
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
    fn messages(&self) -> Vec<f64> {
        let quiet = self.agents.clamp(1, MESSAGES / 4);
        (0..MESSAGES).map(|index| self.timed(&["send", &name(index % quiet), "go on"])).collect()
    }

    /// What polling the same panes costs: the share of its processes, and of the server meanwhile
    /// beyond nothing at all. The watchdog goes on beside it; its own share was measured before.
    fn baseline(&self, window: Duration) -> (f64, f64) {
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
    fn heals(&self, kills: usize) -> Vec<f64> {
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
    fn started_since(&self, from: u64, agent: &str) -> Option<DateTime<Utc>> {
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

fn name(index: usize) -> String {
    format!("a{index:03}")
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

/// The fields of `/proc/PID/stat` behind the name, the state first; `None` when the pid is gone.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(text.rsplit_once(')')?.1.split_whitespace().map(str::to_owned).collect())
}

fn is_alive(pid: u32) -> bool {
    stat(pid).is_some_and(|fields| fields[0] != "Z" && fields[0] != "X")
}

fn tasks(pid: u32) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    entries.flatten().map(|entry| entry.path()).collect()
}

fn first_number(path: &Path) -> f64 {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0.0)
}

/// CPU time of all threads so far.
fn cpu_ms(pid: u32) -> f64 {
    tasks(pid).iter().map(|task| first_number(&task.join("schedstat"))).sum::<f64>() / 1e6
}

/// Of a process and of its children that ended, by the clock ticks of `stat` (10 ms).
fn family_cpu_ms(pid: u32) -> f64 {
    let fields = stat(pid).unwrap();
    let ticks: f64 = fields[11..15].iter().map(|field| field.parse::<f64>().unwrap()).sum();
    ticks * 10.0
}

/// Page faults of children that ended and were waited for: no child, no fault.
fn child_faults(pid: u32) -> f64 {
    stat(pid).unwrap()[8].parse().unwrap()
}

fn children(pid: u32) -> BTreeSet<u32> {
    let lists = tasks(pid);
    let lists = lists.iter().filter_map(|task| std::fs::read_to_string(task.join("children")).ok());
    lists.flat_map(|text| numbers(&text)).collect()
}

fn numbers(text: &str) -> Vec<u32> {
    text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

fn field(path: &Path, key: &str) -> f64 {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0.0)
}

fn memory_mb(pid: u32, key: &str) -> f64 {
    field(Path::new(&format!("/proc/{pid}/status")), key) / 1024.0
}

/// Times any thread went to sleep so far.
fn wakeups(pid: u32) -> f64 {
    let tasks = tasks(pid);
    tasks.iter().map(|task| field(&task.join("status"), "voluntary_ctxt_switches:")).sum()
}

fn median(samples: &[f64]) -> f64 {
    quantile(samples, 0.5)
}

/// The smallest sample that so many of all do not exceed.
fn quantile(samples: &[f64], share: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let below = sorted.iter().enumerate();
    let found = below.map(|(index, sample)| ((index + 1) as f64, *sample));
    let rank = share * sorted.len() as f64;
    found.into_iter().find(|(count, _)| *count >= rank).map_or(0.0, |(_, sample)| sample)
}

#[track_caller]
fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "not within {} s: {what}", PATIENCE.as_secs());
        std::thread::sleep(Duration::from_millis(5));
    }
}
