//! What a fleet costs: how fast it starts, stops, answers and heals, and what it takes while idle.
//!
//! Demo agents on a tmux server of the bench's own, in a folder under `/tmp`; everything is ended
//! by pid or by `ao down` and removed. `--busy N` makes so many of them redraw a spinner at 8 Hz.
//! `--runs 5` does all of it so often and shows the median of each figure, and the least and the greatest.
//! `--soak 120` keeps a fleet for two hours instead, with deaths, limits and messages (`soak.rs`).
//! `--baseline` measures beside it the obvious way to do the same: one tmux process an agent a tick.
//! Not here: real CLIs, the pure paths (`pure.rs`).
//! Surprise: CPU comes from `schedstat`, in nanoseconds; the clock ticks of `stat` (10 ms) are as
//! coarse as the whole bar of a small fleet. Linux only, because of `/proc`.

#![expect(clippy::disallowed_methods, reason = "a bench measures real time and starts programs")]
#![expect(clippy::print_stdout, reason = "the table is the bench's output")]
#![expect(clippy::unwrap_used, reason = "a bench that cannot go on stops")]
#![expect(clippy::cast_precision_loss, reason = "figures are shown with three digits")]

use std::path::PathBuf;
use std::time::Duration;

mod plot;
mod proc;
mod rig;
mod soak;

use crate::proc::{eventually, is_alive, median, memory_mb, quantile};
use crate::rig::{AO, Crew, Fleet, KILLS};

const USAGE: &str = "cargo bench --bench fleet -- [--agents 5,100] [--busy 0] [--seconds 60] [--runs 1] [--baseline] [--json] [--svg FILE]
   or: cargo bench --bench fleet -- --soak MINUTES [--agents 250] [--json]";
/// Times the fleet is started and stopped in a single run; several runs are cycles themselves.
const CYCLES: usize = 3;
const STATUS_RUNS: usize = 25;
/// Agents answer their first prompt, CLIs settle: not part of being idle.
const SETTLE: Duration = Duration::from_secs(12);
const VERSION_RUNS: usize = 50;

struct Options {
    agents: Vec<usize>,
    agents_named: bool,
    idle: Duration,
    busy: usize,
    runs: usize,
    soak: Option<Duration>,
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
    if let Some(length) = options.soak {
        let agents = if options.agents_named { options.agents[0] } else { 250 };
        let figures = soak::soak(agents, length, options.json);
        if figures.iter().any(Figure::is_missed) {
            std::process::exit(1);
        }
        return;
    }
    let mut results = Vec::new();
    for count in &options.agents {
        let runs = (0..options.runs.max(1)).map(|_| measure(*count, &options)).collect();
        let figures = middle(runs);
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
        agents_named: false,
        idle: Duration::from_secs(60),
        busy: 0,
        runs: 1,
        soak: None,
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
            "--runs" => {
                options.runs = value()?.parse().map_err(|_| "`--runs` needs a number")?;
            }
            "--soak" => {
                let minutes: u64 = value()?.parse().map_err(|_| "`--soak` needs minutes")?;
                options.soak = Some(Duration::from_secs(minutes * 60));
            }
            "--seconds" => {
                let seconds = value()?.parse().map_err(|_| "`--seconds` needs a number")?;
                options.idle = Duration::from_secs(seconds);
            }
            "--agents" => {
                let numbers = value()?.split(',').map(str::parse).collect::<Result<_, _>>();
                options.agents = numbers.map_err(|_| "`--agents` needs numbers, as in `5,100`")?;
                options.agents_named = true;
            }
            other => return Err(format!("unknown option `{other}`")),
        }
    }
    Ok(options)
}

/// One measured number, and the bar it is held to.
#[derive(Debug, Clone)]
struct Figure {
    name: &'static str,
    /// The median of all runs.
    value: f64,
    /// The least and the greatest of all runs.
    range: (f64, f64),
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
        let (least, greatest) = self.range;
        let range =
            if least < greatest { format!("{least:.3} to {greatest:.3}") } else { String::new() };
        format!("  {:<34}{:>11.3} {:<7}{range:<22} {verdict}", self.name, self.value, self.unit)
    }

    fn is_missed(&self) -> bool {
        self.bar.is_some_and(|bar| self.value > bar)
    }
}

fn figure(name: &'static str, value: f64, unit: &'static str, bar: Option<f64>) -> Figure {
    Figure { name, value, range: (value, value), unit, bar }
}

/// One list of figures out of those of several runs.
fn middle(runs: Vec<Vec<Figure>>) -> Vec<Figure> {
    let mut samples: Vec<Vec<f64>> = Vec::new();
    for run in &runs {
        samples.resize(run.len(), Vec::new());
        for (all, figure) in samples.iter_mut().zip(run) {
            all.push(figure.value);
        }
    }
    let last = runs.into_iter().last().unwrap_or_default();
    let figures = last.into_iter().zip(samples);
    figures
        .map(|(figure, all)| Figure {
            value: median(&all),
            range: (quantile(&all, 0.0), quantile(&all, 1.0)),
            ..figure
        })
        .collect()
}

fn json(results: &[(usize, Vec<Figure>)], idle: Duration) -> String {
    let fleets: Vec<serde_json::Value> = results
        .iter()
        .map(|(agents, figures)| {
            let figures: Vec<serde_json::Value> = figures
                .iter()
                .map(|figure| {
                    serde_json::json!({ "name": figure.name, "value": figure.value,
                        "least": figure.range.0, "greatest": figure.range.1, "unit": figure.unit, "bar": figure.bar })
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
    let fleet = Fleet::new(Crew { agents, busy: options.busy, ..Crew::default() });
    let (mut ups, mut downs) = (Vec::new(), Vec::new());
    let cycles = if options.runs > 1 { 1 } else { CYCLES };
    for cycle in 0..cycles {
        ups.push(fleet.timed(&["up"]));
        assert_eq!(fleet.panes().len(), agents + 1, "every agent and the watchdog has a pane");
        if cycle + 1 < cycles {
            downs.push(fleet.timed(&["down"]));
            eventually("the server is gone", || fleet.server().is_none().then_some(()));
        }
    }
    std::thread::sleep(SETTLE);
    assert!(fleet.panes().values().all(|pid| is_alive(*pid)), "every agent still runs");
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
