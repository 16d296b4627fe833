//! A fleet kept for hours while its agents die, reach limits and get messages: what leaks shows.
//!
//! Every few seconds a seeded choice: an agent's process is killed, or a message is sent, whose fate by
//! `ao send` is held against what the agent itself wrote down. Every minute memory, open files and threads
//! of the watchdog are read. Flat means: of the last quarter no more than of the second, the first being
//! the fleet's start.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::proc::{cpu_ms, is_alive, kill, memory_mb, open_files, quantile, threads};
use crate::rig::{Crew, Fleet, name};
use crate::{Figure, figure};

/// Between two acts.
const PAUSE: Duration = Duration::from_secs(2);
const SAMPLE_EVERY: Duration = Duration::from_secs(60);
/// An agent rests so long after its death: ten an hour are its breaker's.
const DEATHS_APART: Duration = Duration::from_secs(900);
const SEED: u64 = 0x5eed_0a0a;
/// Growth of the watchdog's memory that is no leak yet: what a cache takes on top.
const GROWTH_MB_MAX: f64 = 1.5;
/// Until everybody is back after the last act: one that died at its limit waits for its end.
const CALM: Duration = Duration::from_secs(300);

struct Sample {
    rss_mb: f64,
    files: f64,
    threads: f64,
}

struct Soak {
    fleet: Fleet,
    crew: Crew,
    random: u64,
    died: BTreeMap<usize, Instant>,
    kills: u32,
    /// Text of each message, to whom, and the verdict on it.
    messages: Vec<(String, usize, String)>,
    samples: Vec<Sample>,
}

pub(crate) fn soak(agents: usize, length: Duration, json: bool) -> Vec<Figure> {
    let crew = Crew { agents, busy: agents / 10, limited: agents / 10, truth: true };
    let (died, messages, samples) = (BTreeMap::new(), Vec::new(), Vec::new());
    let fleet = Fleet::new(crew);
    let mut soak = Soak { fleet, crew, random: SEED, died, kills: 0, messages, samples };
    soak.fleet.timed(&["up"]);
    let watchdog = soak.fleet.watchdog();
    let (begun, cpu) = (Instant::now(), cpu_ms(watchdog));
    let mut last_sample = begun;
    while begun.elapsed() < length {
        std::thread::sleep(PAUSE);
        soak.act();
        if last_sample.elapsed() >= SAMPLE_EVERY {
            last_sample = Instant::now();
            soak.sample(watchdog);
        }
    }
    let calm = Instant::now();
    while !soak.absent().is_empty() && calm.elapsed() < CALM {
        std::thread::sleep(PAUSE);
    }
    soak.sample(watchdog);
    let share = (cpu_ms(watchdog) - cpu) / begun.elapsed().as_secs_f64() / 10.0;
    let same = f64::from(u8::from(soak.fleet.watchdog() == watchdog));
    let mut figures = soak.figures();
    figures.push(figure("watchdog CPU", share, "% core", None));
    figures.push(figure("watchdogs that ended", 1.0 - same, "", Some(0.0)));
    if json {
        println!("{}", crate::json(&[(agents, figures.clone())], length));
    } else {
        println!("\n{agents} agents for {} min, seed {SEED:#x}", length.as_secs() / 60);
        for figure in &figures {
            println!("{}", figure.row());
        }
    }
    figures
}

impl Soak {
    /// A number below `end`, by xorshift.
    fn below(&mut self, end: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        usize::try_from(self.random % end as u64).unwrap()
    }

    fn act(&mut self) {
        let anybody = self.below(self.crew.agents);
        let rested = self.died.get(&anybody).is_none_or(|at| at.elapsed() > DEATHS_APART);
        if self.below(3) == 0 && rested {
            let panes = self.fleet.panes();
            let pid = panes.get(&format!("b-{}", name(anybody))).filter(|pid| is_alive(**pid));
            if let Some(pid) = pid {
                self.died.insert(anybody, Instant::now());
                kill(*pid);
                self.kills += 1;
            }
            return;
        }
        let reader = self.below(self.crew.quiet());
        let text = format!("message {} of the soak", self.messages.len());
        let args = ["--json", "send", &name(reader), &text];
        let output = self.fleet.clean(crate::AO).args(args).output().unwrap();
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let verdict = answer["outcome"].as_str().unwrap_or("refused").to_owned();
        self.messages.push((text, reader, verdict));
    }

    fn sample(&mut self, watchdog: u32) {
        self.samples.push(Sample {
            rss_mb: memory_mb(watchdog, "VmRSS:"),
            files: open_files(watchdog) as f64,
            threads: threads(watchdog) as f64,
        });
    }

    /// How often the agent itself saw this text submitted.
    fn received(&self, text: &str, reader: usize) -> usize {
        let path = self.fleet.folder.path().join(format!("truth-{}", name(reader)));
        let lines = std::fs::read_to_string(path).unwrap_or_default();
        let lines = lines.lines().filter_map(|line| serde_json::from_str(line).ok());
        lines
            .filter(|line: &serde_json::Value| {
                // A blank ends what is typed, so that no popup of a word stays open.
                let submitted = line["text"].as_str().unwrap_or_default().trim_end();
                line["event"] == "submit" && submitted == text
            })
            .count()
    }

    /// The agents without a process, with what is known of them.
    fn absent(&self) -> Vec<String> {
        let output = self.fleet.clean(crate::AO).args(["status", "--json"]).output().unwrap();
        let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let agents = status["agents"].as_array().unwrap();
        let absent = agents.iter().filter(|agent| agent["pid"].as_u64().is_none());
        let told = |agent: &serde_json::Value| {
            format!("{} does not run: {}, {}", agent["name"], agent["state"], agent["last_event"])
        };
        absent.map(told).collect()
    }

    fn figures(&self) -> Vec<Figure> {
        let quarter = self.samples.len() / 4;
        let of = |from: usize, to: usize, what: fn(&Sample) -> f64| -> Vec<f64> {
            self.samples.get(from..to).unwrap_or_default().iter().map(what).collect()
        };
        // The least of a quarter: what is open for the moment of a message is no leak.
        let growth = |what: fn(&Sample) -> f64| {
            let last = of(self.samples.len() - quarter, self.samples.len(), what);
            quantile(&last, 0.0) - quantile(&of(quarter, 2 * quarter, what), 0.0)
        };
        let mut fates: BTreeMap<&str, usize> = BTreeMap::new();
        let (mut lost, mut doubled, mut denied) = (0, 0, 0);
        for (text, reader, verdict) in &self.messages {
            *fates.entry(verdict).or_default() += 1;
            let received = self.received(text, *reader);
            lost += u32::from(verdict == "delivered" && received == 0);
            doubled += u32::from(received > 1);
            denied += u32::from(verdict == "not delivered" && received > 0);
        }
        let absent = self.absent();
        for agent in &absent {
            println!("{agent}");
        }
        let fate = |word: &str| fates.get(word).copied().unwrap_or(0) as f64;
        vec![
            figure("processes killed", f64::from(self.kills), "", None),
            figure("agents that do not run at the end", absent.len() as f64, "", Some(0.0)),
            figure("messages", self.messages.len() as f64, "", None),
            figure("said to be delivered", fate("delivered"), "", None),
            figure("said not to be delivered", fate("not delivered"), "", None),
            figure("said to be unknown", fate("unknown"), "", None),
            figure("delivered, yet never received", f64::from(lost), "", Some(0.0)),
            figure("received more than once", f64::from(doubled), "", Some(0.0)),
            figure("not delivered, yet received", f64::from(denied), "", Some(0.0)),
            figure(
                "watchdog RSS at the end",
                self.samples.last().map_or(0.0, |last| last.rss_mb),
                "MB",
                None,
            ),
            figure("its growth", growth(|sample| sample.rss_mb), "MB", Some(GROWTH_MB_MAX)),
            figure("growth of open files", growth(|sample| sample.files), "", Some(0.0)),
            figure("growth of threads", growth(|sample| sample.threads), "", Some(0.0)),
        ]
    }
}
