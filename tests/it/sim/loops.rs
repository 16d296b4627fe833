//! Two of the agents work through phases and hand over to each other; a task runs at the end.
//!
//! The files and the branch are here; who is told what and when is the core's. A commit is known by the
//! number of its part, which a rebase keeps. Surprise: the phase of a start is the one of its decision,
//! as the real engine opens the session in the same step.

use std::collections::{BTreeMap, BTreeSet};

use ao::base::name::UnitName;
use ao::handoff::commit::{Commit, Tip};
use ao::handoff::done::Done;
use ao::handoff::inbox::{Content, Place};
use ao::handoff::judge::{Inbox, Observation, Rule, Watch};
use ao::supervise::event::{Event, Request};
use ao::supervise::outbox::{Message, Origin, Typed};
use ao::supervise::pinging::Looked;
use ao::supervise::sequence::{Heard, Step};
use ao::supervise::settings::{SequenceSettings, Settings};

use super::{Happening, Sim};

pub(crate) const REPORTER: &str = "reporter";
/// Between two looks at files and branch that nothing called for.
pub(crate) const SIGNAL_EVERY: u64 = 15 * super::MINUTE;
const INBOX: &str = "INBOX.md";

pub(crate) fn builder() -> UnitName {
    UnitName::new("unit0").expect("plain")
}

pub(crate) fn adversary() -> UnitName {
    UnitName::new("unit1").expect("plain")
}

pub(crate) fn reporter() -> UnitName {
    UnitName::new(REPORTER).expect("plain")
}

/// What is on disk and in the repository, and what became of it.
#[derive(Debug, Default)]
pub(crate) struct Loops {
    phases: Vec<String>,
    index: Option<usize>,
    marker: Option<Vec<String>>,
    trigger: bool,
    taken: bool,
    disk_full_until: u64,
    /// Whose status file says so, and whose ever did.
    done: BTreeSet<String>,
    was_done: BTreeSet<String>,
    /// Where a person sent the loop agents; the next written index may be it.
    asked: BTreeSet<usize>,
    branch: Vec<Commit>,
    /// Commits that were rewritten, with the length of what stayed before them.
    gone: BTreeMap<String, usize>,
    /// Commits ever made, and how often each was told.
    parts: u64,
    told: BTreeMap<u64, u32>,
    given_up: BTreeSet<u64>,
    notes: u64,
    inbox_pings: u64,
    /// The phase of each start, and of each process by its pid.
    pub(crate) decided: BTreeMap<(UnitName, u64), String>,
    on: BTreeMap<UnitName, (u32, String)>,
    /// Ends of the sequence, each written down for the first time.
    ends: u64,
    /// Triggers taken, runs of the reporter, and runs that may have been lost without a trace.
    takes: u64,
    runs: u64,
    pub(crate) lost_runs: u64,
}

impl Loops {
    pub(crate) fn new() -> Self {
        let phases = (0..4).map(|number| format!("p{number}")).collect();
        Self { phases, ..Self::default() }
    }

    pub(crate) fn settings(&self) -> Settings {
        let members = [builder(), adversary()].map(|unit| (unit, None));
        let rule = |kind: &str, pings: UnitName| {
            let (pattern, text) = (format!("^{kind}"), format!("a {kind}"));
            Some(Rule { pings, pattern, text })
        };
        let sequence = SequenceSettings {
            phases: self.phases.clone(),
            resume_phase: true,
            auto_advance: true,
            on_complete: Some(reporter()),
            members: members.into(),
        };
        let inbox = Inbox {
            file: INBOX.to_owned(),
            reader: builder(),
            reader_names: vec!["unit0".to_owned()],
            text: "your inbox".to_owned(),
        };
        let watch = Watch {
            source: "branch".to_owned(),
            claims: rule("claim", adversary()),
            reviews: rule("review", builder()),
            inboxes: vec![inbox],
        };
        Settings {
            sequence: Some(Box::new(sequence)),
            handoff: Some(Box::new(watch)),
            ..Settings::default()
        }
    }

    pub(crate) fn calm(&mut self) {
        self.disk_full_until = 0;
    }

    fn commit(&mut self) {
        self.parts += 1;
        let number = self.parts;
        let subject = match number % 3 {
            0 => format!("note {number}."),
            1 => format!("claim: part {number}."),
            _ => format!("review: part {number}."),
        };
        let authored_at = i64::try_from(number).expect("small");
        let id = self.id(number);
        self.branch.push(Commit { id, subject, author: "Ann".to_owned(), authored_at });
    }

    fn id(&self, number: u64) -> String {
        format!("{number:07x}{:033x}", self.gone.len())
    }

    /// The newest commits are made anew, as a rebase does.
    fn rebase(&mut self, many: usize) {
        let from = self.branch.len().saturating_sub(many);
        for known in self.gone.values_mut() {
            *known = (*known).min(from);
        }
        for commit in &self.branch[from..] {
            self.gone.insert(commit.id.clone(), from);
        }
        let count = self.gone.len();
        for commit in &mut self.branch[from..] {
            commit.id = format!("{:07x}{count:033x}", commit.authored_at);
        }
    }

    /// What a fetch finds that is new since this tip.
    fn since(&self, tip: Option<&Tip>) -> Vec<Commit> {
        let Some(tip) = tip else { return self.branch.clone() };
        let at = self.branch.iter().position(|commit| commit.id == tip.id);
        let from = at.map_or_else(|| self.gone.get(&tip.id).copied().unwrap_or(0), |at| at + 1);
        self.branch[from..].to_vec()
    }

    fn is_told_of(number: u64) -> bool {
        !number.is_multiple_of(3)
    }
}

/// The numbers of the parts that a message lists.
fn parts(text: &str) -> Vec<u64> {
    let of_line = |line: &str| line.split("part ").nth(1)?.split('.').next()?.parse().ok();
    text.lines().filter_map(of_line).collect()
}

/// The numbers of the parts that a message does not list, as it only says how many they are.
fn only_counted(text: &str) -> Vec<u64> {
    let first = parts(text).first().copied().filter(|_| text.contains(" earlier one"));
    let first = first.unwrap_or(0);
    (1..first).filter(|part| part % 3 == first % 3).collect()
}

impl Sim {
    /// Something happens to files or branch.
    pub(crate) fn loop_fault(&mut self, long: u64) {
        match self.world.random.within(0, 12) {
            0..=3 => self.loops.commit(),
            4 => {
                let many = self.world.random.within(1, 4);
                self.loops.rebase(usize::try_from(many).expect("small"));
            }
            5 => self.loops.notes += 1,
            6..=8 => {
                let current = self.fleet.phases.id.clone();
                self.loops.done.insert(current.clone());
                self.loops.was_done.insert(current);
            }
            9 => self.loops.trigger = true,
            10 => self.loops.disk_full_until = self.world.mono + long,
            _ => {
                if self.loops.marker.is_some() && self.loops.phases.len() < 60 {
                    let next = format!("p{}", self.loops.phases.len());
                    self.loops.phases.push(next);
                    self.configure();
                } else {
                    let last = self.loops.phases.len() as u64;
                    let index = usize::try_from(self.world.random.within(0, last)).expect("small");
                    self.loops.asked.insert(index);
                    // Whatever was done before is to be done again.
                    self.loops.done.clear();
                    self.ask(Request::Phase { index });
                }
            }
        }
        let soon = self.world.mono + self.world.random.within(10, 3_000);
        self.push(soon, Happening::SignalNow(self.epoch));
    }

    /// Reads files and branch, as the loop does now and then and when it hears of a change.
    pub(crate) fn signal(&mut self) {
        self.read_files();
        let id = self.fleet.phases.id.clone();
        let line = || Done { place: "S.md".to_owned(), line: 1, text: "## DONE".to_owned() };
        let done = self.loops.done.contains(&id).then(line);
        if done.is_some() || self.fleet.phases.done.is_some() {
            let heard = Heard::Status { phase: id, done };
            self.tell(Event::Sequence { heard });
        }
        self.look_at_branch();
    }

    pub(crate) fn read_files(&mut self) {
        let (index, finished) = (self.loops.index, self.loops.marker.clone());
        self.deliver(Event::Sequence { heard: Heard::Files { index, finished } });
    }

    fn look_at_branch(&mut self) {
        let seen = &self.fleet.handoff.seen;
        let newest = self.loops.branch.last();
        let tip = newest.map(|commit| Tip { id: commit.id.clone(), at: commit.authored_at });
        let notes: Vec<String> =
            (0..=self.loops.notes).map(|note| format!("note {note}")).collect();
        let text = notes.join("\n");
        let inbox = Content::new(INBOX, Place::Branch, &text, Some("unit1".to_owned()));
        let known = seen.inboxes.get(INBOX).is_some_and(|known| known.is_last(&inbox));
        if seen.begun && seen.tip == tip && known {
            return;
        }
        let commits = if seen.begun { self.loops.since(seen.tip.as_ref()) } else { Vec::new() };
        let observation = Observation {
            source: "branch".to_owned(),
            tip,
            commits,
            notes: Vec::new(),
            contents: if known { Vec::new() } else { vec![inbox] },
        };
        self.tell(Event::Handoff { look: Looked::Seen { observation } });
    }

    /// Puts down what the core asks for; what came of it is told at once.
    pub(crate) fn put_down(&mut self, step: &Step) {
        let full = self.world.mono < self.loops.disk_full_until;
        let heard = match step {
            Step::SetPhase { .. } | Step::Complete { .. } if full => {
                Heard::Written { problem: Some("the disk is full".to_owned()) }
            }
            Step::SetPhase { index } => {
                self.check_phase(*index);
                self.loops.index = Some(*index);
                self.loops.marker = None;
                Heard::Written { problem: None }
            }
            Step::Complete { index, finished } => {
                let again = self.loops.marker.is_some();
                self.loops.ends += u64::from(!again);
                let open = finished.last().filter(|last| !self.loops.was_done.contains(*last));
                self.ensure(again || open.is_none(), || {
                    format!("complete, but {open:?} is not done")
                });
                self.loops.index = Some(*index);
                self.loops.marker = Some(finished.clone());
                Heard::Written { problem: None }
            }
            Step::TakeTrigger => {
                self.loops.takes += u64::from(self.loops.trigger);
                self.loops.taken |= std::mem::take(&mut self.loops.trigger);
                Heard::Trigger { found: self.loops.taken }
            }
            Step::DropTrigger => {
                self.loops.taken = false;
                return;
            }
        };
        let answer = Event::Sequence { heard };
        if matches!(step, Step::TakeTrigger) && self.world.random.one_in(3) {
            // It was asked twice, and the second answer was long on its way.
            let late = self.world.mono + self.world.random.within(1_000, 20 * super::MINUTE);
            self.push(late, Happening::Told(self.epoch, answer.clone()));
        }
        self.push(self.world.mono + 1, Happening::Told(self.epoch, answer));
    }

    /// From one phase only to the next, and only when it is done; a person may go anywhere.
    fn check_phase(&mut self, to: usize) {
        let from = self.loops.index;
        let asked = self.loops.asked.contains(&to);
        let done = |at: usize| {
            self.loops.phases.get(at).is_some_and(|id| self.loops.was_done.contains(id))
        };
        let resumed = |marker: &Vec<String>| {
            let first = self.loops.phases.iter().position(|id| !marker.contains(id));
            first == Some(to)
        };
        let fits = match from {
            None => to == 0 || (to == 1 && done(0)),
            Some(from) => {
                from == to
                    || (to == from + 1 && done(from))
                    || self.loops.marker.as_ref().is_some_and(resumed)
            }
        };
        self.ensure(fits || asked, || format!("from phase {from:?} to {to}"));
        self.loops.asked.remove(&to);
    }

    pub(crate) fn is_member(unit: &UnitName) -> bool {
        matches!(unit.as_str(), "unit0" | "unit1")
    }

    /// A session of it was opened.
    pub(crate) fn opened(&mut self, unit: &UnitName, attempt: u64, pid: u32) {
        if self.loops.on.get(unit).is_some_and(|(known, _)| *known == pid) {
            return;
        }
        if let Some(process) = self.world.process_mut(unit).filter(|process| process.attempt == 0) {
            process.attempt = attempt;
        }
        if unit.as_str() == REPORTER {
            let ends = self.world.mono + self.world.random.within(1_000, 90_000);
            self.push(ends, Happening::Crash(unit.clone(), pid));
            self.loops.on.insert(unit.clone(), (pid, String::new()));
            self.loops.runs += 1;
            let Loops { runs, takes, ends, lost_runs: lost, .. } = self.loops;
            self.ensure(runs <= takes.min(ends) + lost, || {
                format!("the last task ran {runs} times for {takes} triggers and {ends} ends ({lost} lost)")
            });
        }
        if let Some(phase) = self.loops.decided.get(&(unit.clone(), attempt)) {
            self.loops.on.insert(unit.clone(), (pid, phase.clone()));
        }
    }

    /// A message reached its agent, or may have.
    pub(crate) fn reached(&mut self, unit: &UnitName, text: &str) {
        for part in parts(text) {
            let times = self.loops.told.entry(part).or_default();
            *times += 1;
            let once = *times == 1;
            self.ensure(once, || format!("{unit} is told of part {part} twice"));
        }
        if text.starts_with("your inbox") {
            self.loops.inbox_pings += 1;
            let (pings, notes) = (self.loops.inbox_pings, self.loops.notes);
            self.ensure(pings <= notes, || format!("{pings} inbox pings for {notes} changes"));
        }
        self.loops.given_up.extend(only_counted(text));
    }

    /// It was proven again and again not to reach it, and people were told so.
    pub(crate) fn given_up(&mut self, message: &Message, outcome: &Typed) {
        if matches!(outcome, Typed::NotDelivered { .. }) && message.draft.origin == Origin::Handoff
        {
            self.loops.given_up.extend(parts(&message.draft.text));
            self.loops.given_up.extend(only_counted(&message.draft.text));
        }
    }

    /// A queue was full, and people were told so.
    pub(crate) fn dropped(&mut self) {
        self.loops.given_up.extend(1..=self.loops.parts);
    }

    /// At rest every commit was told or waits, and everybody works on the one phase.
    pub(crate) fn check_loop(&self) {
        let phases = &self.fleet.phases;
        self.ensure(phases.moving.is_none(), || format!("still moving: {:?}", phases.moving));
        self.ensure(phases.current == self.loops.index, || {
            format!("it is at {:?}, its file says {:?}", phases.current, self.loops.index)
        });
        self.ensure(phases.finished == self.loops.marker, || "its end marker differs".to_owned());
        for unit in [builder(), adversary()] {
            let Some(process) = self.world.process(&unit).filter(|_| self.world.lives(&unit))
            else {
                continue;
            };
            let on = self.loops.on.get(&unit).filter(|(pid, _)| *pid == process.pid);
            let fits = on.is_some_and(|(_, phase)| *phase == phases.id);
            self.ensure(fits && phases.finished.is_none(), || {
                format!("{unit} works on {on:?}, the phase is `{}`", phases.id)
            });
        }
        let waiting: BTreeSet<u64> = self
            .fleet
            .units
            .values()
            .flat_map(|unit| &unit.outbox)
            .map(|message| &message.draft.text)
            .flat_map(|text| parts(text).into_iter().chain(only_counted(text)))
            .chain(self.fleet.handoff.seen.pending.values().flatten().flat_map(|line| parts(line)))
            .collect();
        for part in (1..=self.loops.parts).filter(|part| Loops::is_told_of(*part)) {
            let known = waiting.contains(&part)
                || self.loops.told.contains_key(&part)
                || self.loops.given_up.contains(&part);
            self.ensure(known, || format!("part {part} is lost"));
        }
    }
}
