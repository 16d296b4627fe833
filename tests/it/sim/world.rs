//! A tmux server, its sessions and the people around it, in memory: what the core's actions act upon.
//!
//! Performing follows the contract of the real performers: a start finds a living session of ours
//! and answers it instead of opening a second one; neither start nor stop touches a foreign session.
//! That protects against what the core cannot know. What it was told is remembered as `known`, so that
//! asking for a second process or for the end of a foreign session is seen as what it is.

use std::collections::{BTreeMap, BTreeSet};

use ao::base::name::{PaneId, UnitName};
use ao::config::section::detect::Cure;
use ao::screen::{Composer, Evidence, PaneState, Reading};
use ao::supervise::event::{Event, Seen, Sighting, StartOutcome, StopOutcome};
use ao::supervise::state::{Death, ServerId, UnitSpec};

/// `SplitMix64`: one seed drives everything.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// Uniform in `low..high`.
    pub(crate) fn within(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low)
    }

    pub(crate) fn one_in(&mut self, many: u64) -> bool {
        self.next().is_multiple_of(many)
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Process {
    pub(crate) pane: PaneId,
    pub(crate) pid: u32,
    pub(crate) state: PaneState,
    pub(crate) cure: Option<Cure>,
    pub(crate) wrong_program: bool,
    /// The core was told that it lives, and nothing has misled it since.
    pub(crate) known: bool,
    /// `Some`: the process ended, its pane stands.
    pub(crate) death: Option<Death>,
}

#[derive(Debug, Clone)]
pub(crate) enum Session {
    Ours(Process),
    /// Not ours; the core was told so, or not yet.
    Foreign {
        known: bool,
    },
}

pub(crate) struct World {
    pub(crate) random: Random,
    /// Milliseconds of the boot clock.
    pub(crate) mono: u64,
    /// Added to the boot clock for wall time; jumps.
    pub(crate) wall_shift: i64,
    pub(crate) server: Option<ServerId>,
    pub(crate) sessions: BTreeMap<UnitName, Session>,
    /// A look-alike such as `<unit>-2`: nothing may ever happen to it.
    pub(crate) neighbours: BTreeSet<String>,
    pub(crate) tmux_fails_until: u64,
    pub(crate) specs: Vec<UnitSpec>,
    /// What `SaveWanted` wrote down.
    pub(crate) wanted_file: BTreeSet<UnitName>,
    /// Units whose process ends shortly after each start, until then.
    pub(crate) crashes_until: BTreeMap<UnitName, u64>,
    counter: u32,
}

impl World {
    pub(crate) fn new(seed: u64, specs: Vec<UnitSpec>) -> Self {
        Self {
            random: Random(seed),
            mono: 1_000_000,
            wall_shift: 1_760_000_000_000,
            server: None,
            sessions: BTreeMap::new(),
            neighbours: BTreeSet::new(),
            tmux_fails_until: 0,
            specs,
            wanted_file: BTreeSet::new(),
            crashes_until: BTreeMap::new(),
            counter: 100,
        }
    }

    pub(crate) fn tmux_fails(&self) -> bool {
        self.mono < self.tmux_fails_until
    }

    pub(crate) fn process(&self, unit: &UnitName) -> Option<&Process> {
        match self.sessions.get(unit) {
            Some(Session::Ours(process)) => Some(process),
            Some(Session::Foreign { .. }) | None => None,
        }
    }

    pub(crate) fn process_mut(&mut self, unit: &UnitName) -> Option<&mut Process> {
        match self.sessions.get_mut(unit) {
            Some(Session::Ours(process)) => Some(process),
            Some(Session::Foreign { .. }) | None => None,
        }
    }

    pub(crate) fn lives(&self, unit: &UnitName) -> bool {
        self.process(unit).is_some_and(|process| process.death.is_none())
    }

    /// What a look at tmux answers now.
    pub(crate) fn look(&self) -> Event {
        if self.tmux_fails() {
            return Event::LookFailed { error: "tmux: lost server".to_owned() };
        }
        let Some(server) = self.server else {
            return Event::ServerGone { evidence: "its pid is gone".to_owned() };
        };
        let panes = self.sessions.iter().map(|(unit, session)| {
            let seen = match session {
                Session::Foreign { .. } => Seen::Foreign,
                Session::Ours(Process { death: Some(death), .. }) => {
                    Seen::Dead { death: death.clone() }
                }
                Session::Ours(process) => {
                    let program = if process.wrong_program { "vim" } else { "agent" };
                    Seen::Alive {
                        pane: process.pane.clone(),
                        pid: process.pid,
                        programs: Some(vec!["sh".to_owned(), program.to_owned()]),
                        cpu_ms: None,
                        silent_ms: None,
                    }
                }
            };
            Sighting { unit: unit.clone(), seen }
        });
        Event::Looked { server, panes: panes.collect() }
    }

    pub(crate) fn reading(&self, unit: &UnitName) -> Option<Reading> {
        let process = self.process(unit).filter(|process| process.death.is_none())?;
        let text = process.state.word().to_owned();
        let evidence = Evidence { rule: "rule".to_owned(), region: "live".to_owned(), text };
        Some(Reading {
            state: process.state,
            evidence: vec![evidence],
            cure: process.cure,
            composer: Composer::Empty,
            live_hash: self.mono / 60_000,
            marker: None,
        })
    }

    /// The core has just seen everything as it is.
    pub(crate) fn all_known(&mut self) {
        let clear = !self.tmux_fails();
        for session in self.sessions.values_mut() {
            match session {
                Session::Ours(process) => process.known |= clear,
                Session::Foreign { known } => *known |= clear,
            }
        }
    }

    pub(crate) fn know(&mut self, unit: &UnitName) {
        if let Some(process) = self.process_mut(unit) {
            process.known = true;
        }
    }

    fn forget(&mut self, unit: &UnitName) {
        if let Some(process) = self.process_mut(unit) {
            process.known = false;
        }
    }

    pub(crate) fn is_known(&self, unit: &UnitName) -> bool {
        self.process(unit).is_some_and(|process| process.known)
    }

    /// Somebody else has the name, and the core was told.
    pub(crate) fn known_foreign(&self, unit: &UnitName) -> bool {
        matches!(self.sessions.get(unit), Some(Session::Foreign { known: true }))
    }

    /// The core was misled or replaced: until the next look it may be wrong about anything.
    pub(crate) fn nothing_known(&mut self) {
        for session in self.sessions.values_mut() {
            match session {
                Session::Ours(process) => process.known = false,
                Session::Foreign { known } => *known = false,
            }
        }
    }

    pub(crate) fn new_server(&mut self) {
        self.counter += 1;
        let started = i64::try_from(self.mono / 1_000).expect("small");
        self.server = Some(ServerId { pid: self.counter, started });
    }

    pub(crate) fn kill_server(&mut self) {
        self.server = None;
        self.sessions.clear();
        self.neighbours.clear();
    }

    pub(crate) fn start(&mut self, unit: &UnitName) -> StartOutcome {
        if self.tmux_fails() || self.random.one_in(25) {
            return StartOutcome::Failed { why: "tmux did not answer".to_owned() };
        }
        if self.random.one_in(200) {
            return StartOutcome::Refused { why: "its program is not there".to_owned() };
        }
        if self.server.is_none() {
            self.new_server();
        }
        match self.sessions.get(unit) {
            Some(Session::Foreign { .. }) => {
                return StartOutcome::Failed { why: "its session name is taken".to_owned() };
            }
            Some(Session::Ours(Process { death: None, pane, pid, .. })) => {
                return StartOutcome::Opened { pane: pane.clone(), pid: *pid };
            }
            Some(Session::Ours(_)) | None => {}
        }
        self.counter += 1;
        let (pid, pane) = (self.counter, PaneId(format!("%{}", self.counter)));
        let process = Process {
            pane: pane.clone(),
            pid,
            state: PaneState::Working,
            cure: None,
            wrong_program: false,
            known: false,
            death: None,
        };
        self.sessions.insert(unit.clone(), Session::Ours(process));
        StartOutcome::Opened { pane, pid }
    }

    pub(crate) fn stop(&mut self, unit: &UnitName) -> StopOutcome {
        if self.tmux_fails() || self.random.one_in(40) {
            self.forget(unit);
            return StopOutcome::Failed { why: "tmux did not answer".to_owned() };
        }
        if self.random.one_in(100)
            && let Some(process) = self.process(unit)
            && process.death.is_none()
        {
            let pids = vec![process.pid];
            self.forget(unit);
            return StopOutcome::Survived { pids };
        }
        if self.process(unit).is_some() {
            self.sessions.remove(unit);
        }
        StopOutcome::Gone { cut: self.random.one_in(4) }
    }

    pub(crate) fn any_unit(&mut self) -> UnitName {
        let index = self.random.next() % self.specs.len() as u64;
        self.specs[usize::try_from(index).expect("small")].name.clone()
    }
}
