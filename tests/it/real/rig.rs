//! One agent on one real CLI, started by `ao up`, and what its model was asked.

use std::fmt::Write as _;
use std::time::Duration;

use ao::backend::detect_preset;
use ao::base::now::Mono;
use ao::run::stub_model::home::{self, Setup};
use ao::run::stub_model::{Request, Script, StubModel};
use ao::screen::Reading;
use ao::screen::capture::Screen;
use ao::screen::detect::{Detector, PaneHints};
use ao::sys::clock;
use chrono::{DateTime, Utc};

use super::cli::{self, Cli};
use crate::support::fleet::Fleet;

/// The slowest start seen of a CLI on a loaded machine was 17 s.
const PATIENCE: Duration = Duration::from_secs(90);

/// How the agent differs from the plain one.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Wish<'a> {
    pub(super) setup: Setup,
    /// Instead of the preset's.
    pub(super) flags: Option<&'a str>,
    pub(super) env: &'a [(&'a str, &'a str)],
    pub(super) prompt: &'a str,
    /// Further lines of the agent.
    pub(super) agent: &'a str,
    /// Further sections.
    pub(super) blocks: &'a str,
}

/// The agent `one` of a fleet of its own.
pub(super) struct Rig {
    pub(super) fleet: Fleet,
    pub(super) stub: StubModel,
    detector: Detector,
    _cli: Cli,
}

impl Rig {
    /// Lays out the home and the config, starts nothing. `None`: the CLI is not to be had here.
    pub(super) fn new(preset: &'static str, wish: Wish<'_>) -> Option<Self> {
        let cli = cli::get(preset)?;
        let stub = StubModel::start(Script::default()).unwrap();
        let fleet = Fleet::new("");
        std::fs::create_dir(fleet.path("work")).unwrap();
        let work = fleet.path("work").canonicalize().unwrap();
        let env = home::lay(preset, &fleet.path("home"), &work, &stub.url(), wish.setup).unwrap();
        fleet.write("first.md", wish.prompt);
        let mut blocks = format!("[backend.{preset}]\npreset = \"{preset}\"\n");
        writeln!(blocks, "bin = {:?}", cli.program.to_str().unwrap()).unwrap();
        if let Some(flags) = wish.flags {
            writeln!(blocks, "flags = {flags:?}").unwrap();
        }
        write!(
            blocks,
            "\n[[agent]]\nname = \"one\"\nkind = \"persistent\"\nbackend = \"{preset}\"\ndir = \"work\"\n\
             resume = true\n"
        )
        .unwrap();
        if !wish.prompt.is_empty() {
            blocks.push_str("prompt_file = \"first.md\"\n");
        }
        writeln!(blocks, "{}\n\n[agent.env]", wish.agent).unwrap();
        let own = wish.env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        for (name, value) in env.into_iter().chain(own) {
            // The fleet's own templates would replace the word.
            let name = name.replace("DIR", r"\u0044IR");
            writeln!(blocks, "\"{name}\" = '{value}'").unwrap();
        }
        writeln!(blocks, "\n{}", wish.blocks).unwrap();
        fleet.configure(&blocks);
        let found = detect_preset::by_name(preset).unwrap();
        let detector =
            Detector::new(preset, &found.detect, Some(&found.layout), found.live_lines).unwrap();
        Some(Self { fleet, stub, detector, _cli: cli })
    }

    pub(super) fn up(&self) {
        self.fleet.well(&["up"]);
    }

    /// The visible screen, coloured.
    pub(super) fn screen(&self) -> String {
        self.fleet.tmux(&["capture-pane", "-e", "-p", "-t", "=fleet-one:"]).out
    }

    fn plain_screen(&self) -> String {
        Screen::parse(&self.screen()).text()
    }

    /// What the rules say of the screen right now.
    pub(super) fn reading(&self) -> Reading {
        let title =
            self.fleet.tmux(&["display-message", "-p", "-t", "=fleet-one:", "#{pane_title}"]).out;
        let hints = PaneHints { dead: false, exit_status: None, title: title.trim() };
        self.detector.read(&Screen::parse(&self.screen()), &hints)
    }

    /// Waits for an answer; a failure shows the screen, the events and how often the model was asked.
    #[track_caller]
    pub(super) fn until<T>(&self, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
        let end = clock::now().mono.plus(PATIENCE);
        loop {
            if let Some(answer) = ask() {
                return answer;
            }
            assert!(
                clock::now().mono < end,
                "never: {what}\n{}\n{}\nrequests: {:?}",
                self.plain_screen(),
                self.fleet.events_text(),
                self.stub.requests().iter().map(|request| &request.path).collect::<Vec<_>>(),
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until `ao` says that the agent is in this state.
    #[track_caller]
    pub(super) fn until_state(&self, state: &str) {
        self.until(&format!("ao says {state}"), || {
            (self.fleet.status().state("one") == state).then_some(())
        });
    }

    /// The newest evidence of the agent's state.
    pub(super) fn evidence(&self) -> serde_json::Value {
        let said = self.fleet.well(&["explain", "one", "--json"]);
        let found: serde_json::Value = serde_json::from_str(&said.out).expect(&said.out);
        found["evidence"][0].clone()
    }

    /// Where the newest evidence comes from, and what it says.
    pub(super) fn told_by(&self) -> (String, String) {
        let first = self.evidence();
        let word = |name: &str| first[name].as_str().unwrap_or_default().to_owned();
        (word("region"), word("rule"))
    }

    /// Waits until the model has answered so many turns in full.
    #[track_caller]
    pub(super) fn until_answered(&self, count: usize) -> Mono {
        self.until(&format!("{count} turns answered"), || {
            let turns = self.stub.turns();
            let answered: Vec<Mono> = turns.iter().filter_map(|turn| turn.answered).collect();
            (answered.len() >= count).then(|| answered[count - 1])
        })
    }

    /// The newest turn of the agent.
    #[track_caller]
    pub(super) fn last_turn(&self) -> Request {
        self.stub.turns().pop().expect("a turn came")
    }

    /// When `ao` first wrote of the agent that it is in this state, after this instant.
    #[track_caller]
    pub(super) fn seen(&self, state: &str, after: DateTime<Utc>) -> DateTime<Utc> {
        let begins = format!("{state}: ");
        self.until(&format!("an event says {state}"), || {
            let text = self.fleet.events_text();
            text.lines()
                .map(|line| serde_json::from_str::<serde_json::Value>(line).expect(line))
                .filter(|line| line["why"].as_str().is_some_and(|why| why.starts_with(&begins)))
                .map(|line| line["at"].as_str().unwrap().parse::<DateTime<Utc>>().unwrap())
                .find(|at| *at >= after)
        })
    }
}

/// The wall time of a monotonic instant.
pub(super) fn wall(at: Mono) -> DateTime<Utc> {
    let now = clock::now();
    now.wall - chrono::Duration::from_std(now.mono.since(at)).unwrap()
}

/// How often this text stands in the conversation that the model was given last.
pub(super) fn times_in(request: &Request, text: &str) -> usize {
    request.ask.user_texts.iter().map(|user| user.matches(text).count()).sum()
}

/// 10 kB of many lines, with what typing and shells stumble over.
pub(super) fn long_kickoff() -> String {
    let mut text = String::from("This is the beginning of a long task.\n");
    for number in 0.. {
        writeln!(
            text,
            "{number:03}: \"quotes\" 'and' `ticks` $HOME ${{X}} \\ %1 #{{pane_id}} <tag> & é ✓ 日本 — line {number}"
        )
        .unwrap();
        if text.len() >= 10_000 {
            break;
        }
    }
    text.push_str("This is the end of the long task.");
    text
}
