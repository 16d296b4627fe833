//! Messages through the real tmux into demo agents that misbehave in every way we know.
//!
//! The agents write down what they truly received; the verdicts of the deliveries are held against
//! that. `AO_MESSAGES` sets the number of messages (200 unless set).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ao::backend::detect_preset;
use ao::base::name::PaneId;
use ao::kickoff::deliver::{Delivery, Opening, Plan, safe_text};
use ao::run::deliver::{Deliverer, Outcome};
use ao::screen::capture::Screen;
use ao::screen::detect::{Detector, PaneHints};
use ao::screen::{PaneState, Reading};
use ao::sys::clock;
use ao::sys::tmux::{Commands, SessionSpec};

use crate::support::tmux::{TestTmux, eventually};

/// What each agent does, in a loop, so that a trick meets many texts.
const SCENARIOS: [(&str, &str); 8] = [
    ("plain", "ready\nwait_submit\nloop"),
    ("swallows", "ready\nswallow_enters 2\nwait_submit\nloop"),
    ("popup", "ready\npopup\nwait_submit\nwork 100ms\nloop"),
    ("dialogs", "ready\nask_on_paste 400ms \"Do you want to proceed?\"\nwait_submit\nloop"),
    (
        "drafts",
        "ready\ndraft \"half typed by a person\"\nidle 400ms\ndraft \"\"\nwait_submit\nloop",
    ),
    ("redraws", "ready\nredraw 30\nchange_while_pasted\nwait_submit\nloop"),
    ("works", "ready\nwait_submit\nwork 300ms\nask 300ms \"Do you want to proceed?\"\nloop"),
    // More Enter keys are lost than we ever press: what is not delivered must be said.
    ("deaf", "ready\nswallow_enters 100000"),
];

/// Texts that broke somebody's typing once; `{n}` makes each one unlike all others.
const TEXTS: [&str; 12] = [
    "message {n}",
    "message {n} ends in a semicolon;",
    "/message {n} looks like a command",
    "!echo message {n}",
    "# message {n}",
    "$HOME message {n}",
    "message {n} für Jürgen: ✓ 日本語 🦀 e\u{301}",
    "message {n} line one\nline two",
    "message {n}\n\twith a tab\nand\nmany\nlines",
    "message {n} is for @somebody",
    "message {n} \"quotes\" 'and' `ticks` #{pane_id} %1 \\",
    "message {n} \u{1b}[201~ \u{3} tries to leave the paste",
];

fn text(number: usize) -> String {
    let text = TEXTS[number % TEXTS.len()].replace("{n}", &number.to_string());
    // Now and then one far over what the box shows.
    if number % 17 == 5 { format!("{text}{}", " and so on".repeat(1_000)) } else { text }
}

/// One line of a truth file.
#[derive(Debug, serde::Deserialize)]
struct Fact {
    event: String,
    text: String,
}

fn truth(path: &Path) -> Vec<Fact> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A demo agent in its own session.
struct Agent {
    name: String,
    pane: PaneId,
    truth: PathBuf,
    tmux: Commands,
    /// Compiled once: in a debug build that costs more than many deliveries.
    detector: Detector,
}

fn spec(tmux: &TestTmux, name: &str, scenario: &str) -> (SessionSpec, PathBuf) {
    let (script, truth) =
        (tmux.path(&format!("{name}.scenario")), tmux.path(&format!("{name}.truth")));
    std::fs::write(&script, scenario).unwrap();
    let mut spec = tmux.spec(name, "");
    let argument = |path: &Path| path.to_str().unwrap().to_owned();
    spec.argv =
        [env!("CARGO_BIN_EXE_ao"), "demo-agent", "--name", name].map(str::to_owned).to_vec();
    spec.argv.extend(["--scenario".to_owned(), argument(&script)]);
    spec.argv.extend(["--truth".to_owned(), argument(&truth)]);
    spec.env.insert("TERM".to_owned(), "screen-256color".to_owned());
    (spec, truth)
}

impl Agent {
    fn start(tmux: &mut TestTmux, name: &str, scenario: &str) -> Self {
        let (spec, truth_file) = spec(tmux, name, scenario);
        let pane = tmux.open(&spec);
        eventually("the agent is ready", || {
            truth(&truth_file).iter().any(|fact| fact.event == "ready").then_some(())
        });
        // A folder of its own: two connections in one process must not share the files of their texts.
        let state = tmux.path(&format!("state-{name}"));
        let tmux = Commands::new(tmux.socket.clone(), state, None);
        Self { name: name.to_owned(), pane, truth: truth_file, tmux, detector: detector() }
    }

    fn deliver(&mut self, text: &str, plan: Plan) -> Outcome {
        let detector = &self.detector;
        let mut deliverer = Deliverer {
            tmux: &mut self.tmux,
            pane: &self.pane,
            seen: None,
            reader: &mut |capture| read(detector, &capture.text),
            before_typing: &mut |_| {},
            now: &mut clock::now,
            sleep: &mut std::thread::sleep,
        };
        deliverer.run(&mut Delivery::new(text, plan))
    }

    fn facts(&self, event: &str) -> Vec<String> {
        truth(&self.truth)
            .into_iter()
            .filter(|fact| fact.event == event)
            .map(|fact| fact.text)
            .collect()
    }
}

fn detector() -> Detector {
    let preset = detect_preset::by_name("demo").unwrap();
    Detector::new("demo", &preset.detect, Some(&preset.layout), 40).unwrap()
}

fn read(detector: &Detector, text: &str) -> Reading {
    detector.read(&Screen::parse(text), &PaneHints::default())
}

/// Impatient where the test would only wait; the waits between keys stay short as the agents are quick.
fn plan() -> Plan {
    Plan {
        submit_delay: Duration::from_millis(20),
        submit_again_after: Duration::from_millis(150),
        submits_max: 4,
        obstacle_max: Duration::from_secs(8),
        hold_max: Duration::from_secs(15),
        ..Plan::default()
    }
}

#[test]
fn no_message_is_lost_doubled_or_typed_where_it_must_not() {
    let messages =
        std::env::var("AO_MESSAGES").ok().and_then(|count| count.parse().ok()).unwrap_or(200);
    let mut tmux = TestTmux::start();
    let agents: Vec<Agent> =
        SCENARIOS.iter().map(|(name, scenario)| Agent::start(&mut tmux, name, scenario)).collect();
    let verdicts: Vec<(Agent, BTreeMap<String, Outcome>)> = std::thread::scope(|scope| {
        let lanes = agents.len();
        let threads: Vec<_> = agents
            .into_iter()
            .enumerate()
            .map(|(lane, agent)| {
                scope.spawn(move || send_all(agent, (lane..messages).step_by(lanes)))
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let told: usize = verdicts.iter().map(|(_, outcomes)| outcomes.len()).sum();
    assert_eq!(told, messages, "every message has a verdict");
    for (agent, outcomes) in &verdicts {
        hold_against_truth(agent, outcomes);
    }
}

fn send_all(
    mut agent: Agent,
    numbers: impl Iterator<Item = usize>,
) -> (Agent, BTreeMap<String, Outcome>) {
    let mut outcomes = BTreeMap::new();
    for number in numbers {
        let text = safe_text(&text(number), Opening::Speech);
        // What stands in a deaf agent's box is our own: the next message is held by it, at once.
        let hold_max = if agent.name == "deaf" { Duration::ZERO } else { plan().hold_max };
        let outcome = agent.deliver(&text, Plan { hold_max, ..plan() });
        outcomes.insert(text, outcome);
    }
    (agent, outcomes)
}

#[track_caller]
fn hold_against_truth(agent: &Agent, outcomes: &BTreeMap<String, Outcome>) {
    let name = &agent.name;
    let (paste_facts, submit_facts) = (agent.facts("paste"), agent.facts("submit"));
    assert_eq!(agent.facts("dialog_key"), [""; 0], "{name}: nothing goes into a dialog");
    for (text, outcome) in outcomes {
        let count = |facts: &[String]| facts.iter().filter(|fact| *fact == text).count();
        let (pasted, submitted) = (count(&paste_facts), count(&submit_facts));
        let expected = match outcome {
            Outcome::Delivered { .. } => (1, 1),
            Outcome::Held { .. } => (0, 0),
            Outcome::NotDelivered { .. } => (1, 0),
            Outcome::Unknown { why } => panic!("{name}: fate of {text:?} unknown: {why}"),
        };
        assert_eq!((pasted, submitted), expected, "{name}: {outcome:?} for {text:?}");
    }
    for submit in &submit_facts {
        assert!(outcomes.contains_key(submit), "{name}: received what nobody sent: {submit:?}");
    }
    let delivered =
        outcomes.values().filter(|outcome| matches!(outcome, Outcome::Delivered { .. })).count();
    let expected = if name == "deaf" { 0 } else { outcomes.len() };
    assert_eq!(delivered, expected, "{name}: {outcomes:#?}");
}

#[test]
fn a_dead_agent_gets_nothing_and_the_server_lives() {
    let mut tmux = TestTmux::start();
    let mut agent = Agent::start(&mut tmux, "dies", "ready\nidle 100ms\nexit 3");
    let pane = agent.pane.clone();
    eventually("the agent is dead", || tmux.pane(&pane).dead.then_some(()));
    let outcome = agent.deliver("hello ", plan());
    assert_eq!(outcome, Outcome::NotDelivered { why: "the pane is dead".to_owned() });
    assert!(tmux.pane(&pane).dead, "the server still answers");
}

#[test]
fn a_person_in_copy_mode_is_left_alone() {
    let mut tmux = TestTmux::start();
    let mut agent = Agent::start(&mut tmux, "read", "ready\nwait_submit\nloop");
    let pane = agent.pane.clone();
    tmux.raw(&["copy-mode", "-t", pane.as_str()]);
    let outcome = agent.deliver("hello ", Plan { hold_max: Duration::ZERO, ..plan() });
    assert_eq!(outcome, Outcome::Held { why: "a person is in copy mode".to_owned() });
    assert!(tmux.pane(&pane).in_mode);
    tmux.raw(&["send-keys", "-t", pane.as_str(), "-X", "cancel"]);
    assert_eq!(agent.deliver("hello ", plan()), Outcome::Delivered { attempts: 1 });
}

#[test]
fn a_person_who_typed_a_moment_ago_is_not_typed_over() {
    let mut tmux = TestTmux::start();
    let mut agent = Agent::start(&mut tmux, "used", "ready\nwait_submit\nloop");
    let pane = agent.pane.clone();
    // A terminal of its own for the person: a second server whose pane attaches to the first.
    let mut desk = TestTmux::start();
    let attach = format!("exec tmux -S {} attach -t =used", tmux.socket.display());
    let mut spec = desk.spec("desk", &attach);
    spec.env.insert("TERM".to_owned(), "screen-256color".to_owned());
    let seat = desk.open(&spec);
    eventually("the person is attached", || (tmux.pane(&pane).attached > 0).then_some(()));
    desk.raw(&["send-keys", "-t", seat.as_str(), "Left"]);
    eventually("the key is seen", || {
        let ago = clock::now().wall.timestamp() - tmux.pane(&pane).person_at;
        (ago <= 2).then_some(())
    });
    let held = agent.deliver("hello ", Plan { hold_max: Duration::ZERO, ..plan() });
    let why = "a person typed in this terminal a moment ago".to_owned();
    assert_eq!(held, Outcome::Held { why });
    assert_eq!(agent.facts("paste"), [""; 0]);
    desk.kill_server();
    eventually("the person is gone", || (tmux.pane(&pane).attached == 0).then_some(()));
    assert_eq!(agent.deliver("hello ", plan()), Outcome::Delivered { attempts: 1 });
}

#[test]
fn the_demo_agent_is_read_as_what_it_plays() {
    let cases = [
        ("idle", "ready", PaneState::Idle),
        ("work", "ready\nwork 1m", PaneState::Working),
        ("retry", "ready\nretry 10 1m", PaneState::Working),
        ("ask", "ready\nask \"Do you want to proceed?\"", PaneState::Waiting),
        ("limit", "ready\nlimit \"3pm (UTC)\"", PaneState::Limited),
        ("fatal", "ready\nfatal \"Please run /login · API Error: 403 denied\"", PaneState::Fatal),
        ("trust", "startup_dialog \"Do you trust this folder?\"", PaneState::Waiting),
    ];
    let (mut tmux, detector) = (TestTmux::start(), detector());
    for (name, scenario, expected) in cases {
        let (spec, _) = spec(&tmux, name, scenario);
        let pane = tmux.open(&spec);
        eventually(&format!("{name} is read as {}", expected.word()), || {
            (read(&detector, &tmux.screen(&pane)).state == expected).then_some(())
        });
    }
}
