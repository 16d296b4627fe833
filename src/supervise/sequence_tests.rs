//! The sequence played on a small world of agents and files, killed between any two steps.
//!
//! The world does what the actions say, the core's memory is what was saved before each deed, and a
//! crash loses everything else. Whatever the crashes, the end must be the same.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use chrono::DateTime;
use proptest::prelude::*;

use super::action::Action;
use super::decide::decide;
use super::event::{Event, Outcome, Request, RequestId, Seen, Sighting, StartOutcome, StopOutcome};
use super::sequence::{Heard, Step, Target};
use super::settings::{SequenceSettings, Settings};
use super::state::{Care, Death, Fleet, ServerId, Sight, UnitKind, UnitSpec, outcomes_lost};
use super::{invariant, wake};
use crate::base::name::{PaneId, SessionName, UnitName};
use crate::base::now::{Mono, Now};
use crate::handoff::done::Done;

fn name(text: &str) -> UnitName {
    UnitName::new(text).expect("plain")
}

fn done() -> Done {
    Done { place: "STATUS.md".to_owned(), line: 3, text: "## DONE".to_owned() }
}

/// Who works on what, what is on disk, and what the core would remember after a crash.
struct Played {
    settings: SequenceSettings,
    fleet: Fleet,
    saved: Fleet,
    clock: u64,
    /// The phase each running agent was started on, as its prompt says.
    running: BTreeMap<UnitName, (u32, String)>,
    wanted: BTreeSet<UnitName>,
    index: Option<usize>,
    marker: Option<Vec<String>>,
    trigger: bool,
    taken: bool,
    disk_full: bool,
    stops_fail: bool,
    /// Every start in order: who, on what, in a fresh conversation.
    starts: Vec<(String, String, bool)>,
    answers: BTreeMap<String, BTreeMap<UnitName, Outcome>>,
    reports: Vec<String>,
    next_pid: u32,
    /// Deeds left before the next crash.
    fuse: Option<u32>,
}

impl Played {
    fn new(phases: &[&str]) -> Self {
        let agents = ["adversary", "builder"];
        let mut played = Self {
            settings: SequenceSettings {
                phases: phases.iter().map(|id| (*id).to_owned()).collect(),
                resume_phase: true,
                auto_advance: true,
                on_complete: Some(name("reporter")),
                members: agents.map(|agent| (name(agent), Some(agent.to_owned()))).into(),
            },
            fleet: Fleet::default(),
            saved: Fleet::default(),
            clock: 100_000,
            running: BTreeMap::new(),
            wanted: BTreeSet::new(),
            index: None,
            marker: None,
            trigger: false,
            taken: false,
            disk_full: false,
            stops_fail: false,
            starts: Vec::new(),
            answers: BTreeMap::new(),
            reports: Vec::new(),
            next_pid: 10,
            fuse: None,
        };
        played.boot();
        played
    }

    fn now(&self) -> Now {
        let wall = DateTime::from_timestamp(1_795_000_000, 0).expect("in range");
        Now { wall, mono: Mono(self.clock) }
    }

    /// A watchdog begins with what was saved.
    fn boot(&mut self) {
        self.fleet = self.saved.clone();
        self.fleet.sight = Sight::Never;
        self.fleet.owed.clear();
        outcomes_lost(&mut self.fleet);
        self.configure();
        self.read_files();
        self.look();
    }

    fn configure(&mut self) {
        let spec = |unit: &str, kind, enabled| UnitSpec {
            name: name(unit),
            session: SessionName::new(unit).expect("plain"),
            kind,
            care: Care::Heal,
            enabled,
            process_names: Vec::new(),
            max_restarts: 100,
            stall_idle: Duration::from_secs(600),
            launch_digest: 1,
            habits: super::state::Habits::default(),
        };
        let mut units: Vec<UnitSpec> = self
            .settings
            .members
            .keys()
            .map(|member| spec(member.as_str(), UnitKind::Agent, true))
            .collect();
        units.push(spec("reporter", UnitKind::Task, false));
        let settings =
            Settings { sequence: Some(Box::new(self.settings.clone())), ..Settings::default() };
        self.feed(Event::Configured { units, wanted: self.wanted.clone(), settings });
    }

    fn read_files(&mut self) {
        let heard = Heard::Files { index: self.index, finished: self.marker.clone() };
        self.feed(Event::Sequence { heard });
    }

    fn look(&mut self) {
        let seen = |pid: &u32| Seen::Alive {
            pane: PaneId::new(format!("%{pid}")),
            pid: *pid,
            programs: None,
            cpu_ms: None,
            silent_ms: None,
        };
        let panes = self
            .running
            .iter()
            .map(|(unit, (pid, _))| Sighting { unit: unit.clone(), seen: seen(pid) })
            .collect();
        self.feed(Event::Looked { server: ServerId { pid: 1, started: 1 }, panes });
    }

    /// One event and all that follows; a crash in between begins a new life.
    fn feed(&mut self, event: Event) {
        let mut queue = VecDeque::from([event]);
        while let Some(event) = queue.pop_front() {
            let now = self.now();
            let actions = decide(&mut self.fleet, &event, now);
            assert_eq!(invariant::broken(&self.fleet), Vec::<String>::new());
            if !actions.is_empty() {
                self.saved = self.fleet.clone();
            }
            // Stops run beside the loop, so they are done before what follows them.
            for action in actions {
                if self.crashes() {
                    return self.boot();
                }
                queue.extend(self.perform(action));
                if self.crashes() {
                    return self.boot();
                }
            }
        }
    }

    fn crashes(&mut self) -> bool {
        let Some(fuse) = &mut self.fuse else { return false };
        *fuse = fuse.saturating_sub(1);
        let burnt = *fuse == 0;
        if burnt {
            self.fuse = None;
        }
        burnt
    }

    fn perform(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Start { unit, attempt, fresh, .. } => {
                let on = if unit.as_str() == "reporter" {
                    String::new()
                } else {
                    self.settings.phases[self.fleet.phases.current.expect("known")].clone()
                };
                assert!(!self.running.contains_key(&unit), "{unit} runs already");
                self.starts.push((unit.to_string(), on.clone(), fresh));
                self.next_pid += 1;
                let pid = self.next_pid;
                self.running.insert(unit.clone(), (pid, on));
                let outcome = StartOutcome::Opened { pane: PaneId::new(format!("%{pid}")), pid };
                Some(Event::Started { unit, attempt, outcome })
            }
            Action::Stop { unit, attempt, .. } if self.stops_fail => {
                let outcome = StopOutcome::Failed { why: "tmux did not answer".to_owned() };
                Some(Event::Stopped { unit, attempt, outcome })
            }
            Action::Stop { unit, attempt, .. } => {
                self.running.remove(&unit);
                let outcome = StopOutcome::Gone { cut: false };
                Some(Event::Stopped { unit, attempt, outcome })
            }
            Action::Sequence { step } => self.put_down(&step),
            Action::SaveWanted => {
                let wanted = self.fleet.units.iter().filter(|(_, unit)| unit.wanted);
                self.wanted = wanted.map(|(name, _)| name.clone()).collect();
                None
            }
            Action::Answer { id, outcomes } => {
                assert!(self.answers.insert(id.0, outcomes).is_none(), "answered twice");
                None
            }
            Action::Report(report) => {
                self.reports.push(report.why);
                None
            }
            Action::Look
            | Action::SaveHandoff
            | Action::SaveLimit { .. }
            | Action::ReadWake { .. }
            | Action::Type { .. } => None,
        }
    }

    fn put_down(&mut self, step: &Step) -> Option<Event> {
        let heard = match step {
            Step::SetPhase { .. } | Step::Complete { .. } if self.disk_full => {
                Heard::Written { problem: Some("no space".to_owned()) }
            }
            Step::SetPhase { index } => {
                let older = self
                    .running
                    .values()
                    .any(|(_, on)| !on.is_empty() && self.settings.phases.get(*index) != Some(on));
                assert!(!older, "the index moved while somebody worked on another phase");
                self.index = Some(*index);
                self.marker = None;
                Heard::Written { problem: None }
            }
            Step::Complete { index, finished } => {
                self.index = Some(*index);
                self.marker = Some(finished.clone());
                Heard::Written { problem: None }
            }
            Step::TakeTrigger => {
                self.taken |= std::mem::take(&mut self.trigger);
                Heard::Trigger { found: self.taken }
            }
            Step::DropTrigger => {
                self.taken = false;
                return None;
            }
        };
        Some(Event::Sequence { heard })
    }

    fn ask(&mut self, id: &str, request: Request) {
        self.feed(Event::Requested { id: RequestId(id.to_owned()), request });
    }

    fn up(&mut self) {
        let mut units: BTreeSet<UnitName> = self.settings.members.keys().cloned().collect();
        units.insert(name("reporter"));
        let id = format!("up{}", self.answers.len());
        self.ask(&id, Request::Up { units, by_name: false });
    }

    /// The status file of this phase says that it is done.
    fn says_done(&mut self, phase: &str) {
        self.feed(Event::Sequence {
            heard: Heard::Status { phase: phase.to_owned(), done: Some(done()) },
        });
    }

    /// Time for whatever is still due.
    fn settle(&mut self) {
        for _ in 0..12 {
            self.clock += 31_000;
            self.read_files();
            self.look();
            self.feed(Event::Tick);
        }
    }

    fn on(&self) -> Vec<String> {
        self.running.iter().map(|(unit, (_, on))| format!("{unit} {on}")).collect()
    }

    fn starts_of(&self, unit: &str) -> Vec<String> {
        let of_unit = self.starts.iter().filter(|(name, ..)| name == unit);
        of_unit
            .map(|(_, on, fresh)| format!("{on}{}", if *fresh { " fresh" } else { "" }))
            .collect()
    }
}

#[test]
fn a_move_waits_for_whom_it_cannot_stop_and_asks_again() {
    let mut played = Played::new(&["p1", "p2"]);
    played.up();
    played.stops_fail = true;
    played.says_done("p1");
    played.settle();
    assert_eq!(played.on(), ["adversary p1", "builder p1"]);
    assert_eq!(played.fleet.phases.current, Some(0));
    played.stops_fail = false;
    played.settle();
    assert_eq!(played.on(), ["adversary p2", "builder p2"]);
}

#[test]
fn one_that_was_put_down_but_could_not_be_stopped_is_not_started_on_the_next_phase() {
    let mut played = Played::new(&["p1", "p2"]);
    played.up();
    played.stops_fail = true;
    played.ask("d", Request::Down { units: BTreeSet::from([name("builder")]) });
    played.settle();
    assert_eq!(played.on(), ["adversary p1", "builder p1"]);
    played.stops_fail = false;
    played.says_done("p1");
    played.settle();
    assert_eq!(played.on(), ["adversary p2"]);
}

#[test]
fn who_asks_for_an_agent_while_the_last_phase_ends_hears_that_it_is_finished() {
    let mut played = Played::new(&["p1"]);
    played.up();
    played.stops_fail = true;
    played.says_done("p1");
    let units = BTreeSet::from([name("builder")]);
    played.ask("u", Request::Up { units, by_name: true });
    played.stops_fail = false;
    played.settle();
    assert_eq!(played.answers["u"][&name("builder")], Outcome::Finished);
}

#[test]
fn a_done_phase_moves_all_to_the_next_and_the_last_one_completes_and_fires_once() {
    let mut played = Played::new(&["p1", "p2"]);
    played.trigger = true;
    played.up();
    assert_eq!(played.on(), ["adversary p1", "builder p1"]);
    played.says_done("p1");
    assert_eq!(played.on(), ["adversary p2", "builder p2"]);
    assert_eq!((played.index, &played.marker), (Some(1), &None));
    played.says_done("p1");
    assert_eq!(played.index, Some(1), "the old phase's file says nothing about this one");
    played.says_done("p2");
    assert_eq!(played.on(), ["reporter "]);
    let finished = Some(vec!["p1".to_owned(), "p2".to_owned()]);
    assert_eq!((played.index, &played.marker), (Some(1), &finished));
    assert_eq!(played.starts_of("builder"), ["p1", "p2 fresh"]);
    assert!(!played.trigger && !played.taken);
    played.says_done("p2");
    played.settle();
    played.up();
    played.settle();
    assert_eq!(played.starts_of("reporter").len(), 1);
    let last = played.answers.values().last().expect("asked");
    assert_eq!(last[&name("builder")], Outcome::Finished);
    assert_eq!(played.starts_of("builder").len(), 2, "nothing is started while it is complete");
}

#[test]
fn its_last_task_runs_once_though_its_trigger_is_answered_twice() {
    let mut played = Played::new(&["p1"]);
    played.trigger = true;
    played.up();
    played.says_done("p1");
    played.running.remove(&name("reporter"));
    let seen = Seen::Dead { death: Death::Exited { status: 0 }, of: None };
    let panes = vec![Sighting { unit: name("reporter"), seen }];
    played.feed(Event::Looked { server: ServerId { pid: 1, started: 1 }, panes });
    played.feed(Event::Sequence { heard: Heard::Trigger { found: true } });
    played.settle();
    assert_eq!(played.starts_of("reporter").len(), 1);
}

#[test]
fn a_trigger_that_comes_after_the_end_waits_for_the_next_one() {
    let mut played = Played::new(&["p1"]);
    played.up();
    played.says_done("p1");
    played.trigger = true;
    played.settle();
    // One that could not be ended is found at work, so that the end is written once more.
    played.running.insert(name("builder"), (77, "p1".to_owned()));
    played.settle();
    assert_eq!(played.on(), [""; 0]);
    assert!(played.trigger && !played.taken);
    played.settings.phases.push("p2".to_owned());
    played.configure();
    played.says_done("p2");
    assert_eq!(played.starts_of("reporter").len(), 1);
}

#[test]
fn a_phase_added_to_a_complete_sequence_resumes_it_there() {
    let mut played = Played::new(&["p1", "p2"]);
    played.up();
    played.says_done("p1");
    played.says_done("p2");
    assert_eq!(played.on(), [""; 0]);
    assert_eq!(played.starts_of("reporter"), [""; 0], "without a trigger file nothing runs");
    played.settings.phases.push("p3".to_owned());
    played.configure();
    assert_eq!(played.on(), ["adversary p3", "builder p3"]);
    assert_eq!((played.index, &played.marker), (Some(2), &None));
    played.trigger = true;
    played.says_done("p3");
    assert_eq!(played.starts_of("reporter").len(), 1);
    // One put in before the others is not finished either.
    played.settings.phases.insert(0, "p0".to_owned());
    played.configure();
    assert_eq!(played.index, Some(0));
}

#[test]
fn a_wish_for_a_phase_is_answered_when_its_agents_work_on_it() {
    let mut played = Played::new(&["p1", "p2", "p3"]);
    played.up();
    played.ask("set", Request::Phase { index: 2 });
    assert_eq!(played.on(), ["adversary p3", "builder p3"]);
    let started = |agent: &str| (name(agent), Outcome::Started);
    assert_eq!(played.answers["set"], [started("adversary"), started("builder")].into());
    played.ask("again", Request::Phase { index: 2 });
    assert_eq!(played.starts_of("builder"), ["p1", "p3 fresh", "p3 fresh"]);
    played.ask("out", Request::Phase { index: 3 });
    let why = "there is no phase 3; phases: 0 `p1`, 1 `p2`, 2 `p3`".to_owned();
    assert_eq!(played.answers["out"][&name("builder")], Outcome::Failed { why });
    played.ask("down", Request::Down { units: [name("builder")].into() });
    played.ask("back", Request::Phase { index: 0 });
    assert_eq!(played.answers["back"], [started("adversary")].into());
    assert_eq!(played.on(), ["adversary p1"]);
}

#[test]
fn without_auto_advance_the_marker_is_only_reported_once() {
    let mut played = Played::new(&["p1", "p2"]);
    played.settings.auto_advance = false;
    played.configure();
    played.up();
    played.says_done("p1");
    played.says_done("p1");
    let told = played.reports.iter().filter(|why| why.contains("`ao phase next`")).count();
    assert_eq!((told, played.index.unwrap_or(0)), (1, 0));
}

#[test]
fn a_bare_up_begins_anew_only_when_asked_to_and_nobody_works() {
    let mut played = Played::new(&["p1", "p2"]);
    played.settings.resume_phase = false;
    played.configure();
    played.up();
    played.says_done("p1");
    played.up();
    assert_eq!(played.on(), ["adversary p2", "builder p2"], "they work: nothing is reset");
    let members: BTreeSet<UnitName> = played.settings.members.keys().cloned().collect();
    played.ask("down", Request::Down { units: members.clone() });
    played.ask("named", Request::Up { units: [name("builder")].into(), by_name: true });
    assert_eq!(played.on(), ["builder p2"], "by name is not a bare `up`");
    played.ask("down2", Request::Down { units: members });
    played.up();
    assert_eq!(played.on(), ["adversary p1", "builder p1"]);
    assert_eq!(played.index, Some(0));
}

#[test]
fn a_list_that_changes_around_the_current_phase_moves_nobody() {
    let mut played = Played::new(&["p1", "p2"]);
    played.up();
    played.says_done("p1");
    played.settings.phases = ["p0", "p1", "p1b", "p2"].map(str::to_owned).into();
    played.configure();
    assert_eq!((played.index, played.on().len()), (Some(3), 2));
    assert_eq!(played.starts_of("builder").len(), 2);
    // The current one is taken out: the work goes on at its place.
    played.settings.phases = ["p0", "p1"].map(str::to_owned).into();
    played.configure();
    assert_eq!(played.on(), ["adversary p1", "builder p1"]);
}

#[test]
fn an_index_written_by_hand_is_a_wish_and_nonsense_is_put_right() {
    let mut played = Played::new(&["p1", "p2"]);
    played.up();
    played.index = Some(1);
    played.read_files();
    played.look();
    assert_eq!(played.on(), ["adversary p2", "builder p2"]);
    for index in [Some(7), None] {
        played.index = index;
        played.read_files();
        assert_eq!(played.index, Some(1));
    }
    assert_eq!(played.starts_of("builder").len(), 2);
}

#[test]
fn a_full_disk_holds_the_move_until_it_can_be_written() {
    let mut played = Played::new(&["p1", "p2"]);
    played.up();
    played.disk_full = true;
    played.says_done("p1");
    assert_eq!(played.on(), [""; 0]);
    assert_eq!(wake::next(&played.fleet, played.now()), Some(Mono(played.clock + 5_000)));
    played.settle();
    let told = played.reports.iter().filter(|why| why.contains("no space")).count();
    assert_eq!(told, 1, "said once");
    played.disk_full = false;
    played.settle();
    assert_eq!(played.on(), ["adversary p2", "builder p2"]);
}

#[test]
fn agents_of_an_older_phase_are_moved_when_the_memory_was_lost() {
    let mut played = Played::new(&["p1", "p2"]);
    played.up();
    played.index = Some(1);
    // What the launch records tell.
    let given = played.fleet.phases.given.clone();
    played.saved = Fleet::default();
    played.saved.phases.given = given;
    played.boot();
    played.settle();
    assert_eq!(played.on(), ["adversary p2", "builder p2"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_crash_between_any_two_steps_comes_to_the_same_end(
        fuses in prop::collection::vec(1_u32..24, 6),
        trigger: bool,
    ) {
        let mut played = Played::new(&["p1", "p2"]);
        played.up();
        played.settle();
        played.trigger = trigger;
        for (step, fuse) in fuses.into_iter().enumerate() {
            played.fuse = Some(fuse);
            match step {
                0 | 1 => played.says_done("p1"),
                2 | 3 => played.says_done("p2"),
                4 => {
                    played.settings.phases.push("p3".to_owned());
                    played.configure();
                }
                _ => played.says_done("p3"),
            }
            played.settle();
            played.fuse = None;
            played.settle();
            // A marker that still stands is read again.
            let phase = played.fleet.phases.id.clone();
            let due = ["p1", "p2", "p2", "p2", "p3", "p3"][step];
            if phase.as_str() < due || (step == 3 || step == 5) {
                played.says_done(&phase);
                played.settle();
            }
        }
        let all = ["p1", "p2", "p3"].map(str::to_owned).to_vec();
        prop_assert_eq!(&played.marker, &Some(all));
        prop_assert_eq!(played.index, Some(2));
        prop_assert!(played.running.keys().all(|unit| unit.as_str() == "reporter"));
        prop_assert_eq!(played.starts_of("reporter").len(), usize::from(trigger));
        prop_assert!(!played.trigger && !played.taken);
        let phases: Vec<String> = played.starts_of("builder");
        let mut order: Vec<&str> = phases.iter().map(|on| &on[..2]).collect();
        order.dedup();
        prop_assert_eq!(order, ["p1", "p2", "p3"], "no phase skipped, none worked on twice");
        prop_assert!(played.fleet.phases.moving.is_none());
    }
}

#[test]
fn the_memory_of_a_move_survives_its_json() {
    let mut played = Played::new(&["p1", "p2"]);
    played.up();
    played.disk_full = true;
    played.says_done("p1");
    let text = serde_json::to_string(&played.fleet).expect("plain data");
    let back: Fleet = serde_json::from_str(&text).expect("own text");
    assert_eq!(back, played.fleet);
    let moving = back.phases.moving.expect("it waits for the disk");
    assert_eq!(moving.to, Target::Phase { index: 1, id: "p2".to_owned() });
}
