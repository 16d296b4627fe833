//! A tmux server, its sessions and the people around it, in memory: what the core's actions act upon.
//!
//! Performing follows the contract of the real performers: a start finds a living session of ours
//! and answers it instead of opening a second one; neither start nor stop touches a foreign session.
//! That protects against what the core cannot know. What it was told is remembered as `known`, so that
//! asking for a second process or for the end of a foreign session is seen as what it is.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ao::base::name::{PaneId, SessionName, UnitName};
use ao::config::section::detect::Cure;
use ao::screen::{Composer, Evidence, PaneState, Reading};
use ao::supervise::event::{Event, Seen, Sighting, StartOutcome, StopOutcome};
use ao::supervise::outbox::Typed;
use ao::supervise::state::{Care, Death, Habits, ServerId, UnitKind, UnitSpec};

use super::loops::REPORTER;

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

/// A usage limit as its provider knows it.
#[derive(Debug, Clone)]
pub(crate) struct Limit {
    /// What its CLI prints.
    pub(crate) banner: String,
    /// Wall milliseconds; the banner may name an earlier time.
    pub(crate) ends: i64,
    /// Its CLI goes on by itself then.
    pub(crate) by_itself: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Process {
    pub(crate) pane: PaneId,
    pub(crate) pid: u32,
    pub(crate) state: PaneState,
    pub(crate) cure: Option<Cure>,
    pub(crate) wrong_program: bool,
    /// CPU used until it last stopped working.
    pub(crate) cpu_ms: u64,
    /// When its pane printed something last, while it does not work.
    pub(crate) printed_at: u64,
    pub(crate) limit: Option<Limit>,
    /// The start that opened it.
    pub(crate) attempt: u64,
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
                Session::Ours(Process { death: Some(death), attempt, .. }) => {
                    Seen::Dead { death: death.clone(), of: Some(*attempt) }
                }
                Session::Ours(process) => {
                    let program = if process.wrong_program { "vim" } else { "agent" };
                    Seen::Alive {
                        pane: process.pane.clone(),
                        pid: process.pid,
                        programs: Some(vec!["sh".to_owned(), program.to_owned()]),
                        cpu_ms: Some(if process.state == PaneState::Working {
                            self.mono / 2
                        } else {
                            process.cpu_ms
                        }),
                        silent_ms: Some(if process.state == PaneState::Working {
                            0
                        } else {
                            self.mono.saturating_sub(process.printed_at)
                        }),
                    }
                }
            };
            Sighting { unit: unit.clone(), seen }
        });
        Event::Looked { server, panes: panes.collect() }
    }

    pub(crate) fn reading(&self, unit: &UnitName) -> Option<Reading> {
        let process = self.process(unit).filter(|process| process.death.is_none())?;
        let text = match &process.limit {
            Some(limit) if process.state == PaneState::Limited => limit.banner.clone(),
            Some(_) | None => process.state.word().to_owned(),
        };
        let evidence = Evidence { rule: "rule".to_owned(), region: "live".to_owned(), text };
        Some(Reading {
            state: process.state,
            evidence: vec![evidence],
            cure: process.cure,
            composer: Composer::Empty,
            live_hash: if process.state == PaneState::Working { self.mono } else { 1 },
            marker: None,
        })
    }

    pub(crate) fn wall(&self) -> i64 {
        i64::try_from(self.mono).expect("small") + self.wall_shift
    }

    pub(crate) fn set_state(&mut self, unit: &UnitName, state: PaneState) {
        let (cpu_ms, mono) = (self.mono / 2, self.mono);
        let Some(process) = self.process_mut(unit) else { return };
        process.printed_at = mono;
        if process.state == PaneState::Working {
            process.cpu_ms = cpu_ms;
        }
        process.state = state;
        process.cure = None;
    }

    /// A banner is printed; the limit may last longer than it says.
    pub(crate) fn limit(&mut self, unit: &UnitName) {
        let lasts = i64::try_from(self.random.within(5, 300) * 60_000).expect("small");
        let says = self.wall() + lasts;
        let longer = if self.random.one_in(3) { 3_600_000 } else { 0 };
        let by_itself = self.random.one_in(4);
        self.set_state(unit, PaneState::Limited);
        let banner = banner(says, by_itself);
        let limit = Limit { banner, ends: says + longer, by_itself };
        if let Some(process) = self.process_mut(unit) {
            process.limit = Some(limit);
        }
    }

    /// CLIs that go on by themselves do so.
    pub(crate) fn go_on(&mut self) {
        let wall = self.wall();
        for unit in self.sessions.keys().cloned().collect::<Vec<_>>() {
            let due = self.process(&unit).is_some_and(|process| {
                process.state == PaneState::Limited
                    && process
                        .limit
                        .as_ref()
                        .is_some_and(|limit| limit.by_itself && wall >= limit.ends + 105_000)
            });
            if due {
                self.set_state(&unit, PaneState::Working);
            }
        }
    }

    /// A message is typed: what comes of it.
    pub(crate) fn type_to(&mut self, unit: &UnitName, past_banner: bool) -> Typed {
        let held = |why: &str| Typed::Held { why: why.to_owned() };
        let wall = self.wall();
        if self.tmux_fails() {
            return held("tmux did not answer");
        }
        let Some(process) = self.process(unit).filter(|process| process.death.is_none()) else {
            return Typed::NotDelivered { why: "its process has ended".to_owned() };
        };
        let (state, limit) = (process.state, process.limit.clone());
        match state {
            PaneState::Limited if !past_banner => return held("a limit"),
            PaneState::Limited => {
                let ends = limit.map_or(0, |limit| limit.ends);
                if wall >= ends {
                    self.set_state(unit, PaneState::Working);
                } else if let Some(process) = self.process_mut(unit) {
                    process.limit =
                        Some(Limit { banner: banner(ends, false), ends, by_itself: false });
                }
            }
            PaneState::Idle | PaneState::Overloaded | PaneState::Unknown => {
                if !self.random.one_in(3) {
                    self.set_state(unit, PaneState::Working);
                }
            }
            PaneState::Working
            | PaneState::Waiting
            | PaneState::Fatal
            | PaneState::Starting
            | PaneState::Dead
            | PaneState::Done => return held("it cannot read"),
        }
        if self.random.one_in(30) {
            return Typed::Unknown { why: "the screen changed".to_owned() };
        }
        Typed::Submitted { keys: 1 }
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
        let (pid, pane) = (self.counter, PaneId::new(format!("%{}", self.counter)));
        let process = Process {
            pane: pane.clone(),
            pid,
            state: PaneState::Working,
            cure: None,
            wrong_program: false,
            cpu_ms: 0,
            printed_at: self.mono,
            limit: None,
            attempt: 0,
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
        let index = self.random.next() % (self.specs.len() as u64 - 1);
        self.people().nth(usize::try_from(index).expect("small")).expect("counted")
    }

    /// The units that anything happens to and that people ask for.
    pub(crate) fn people(&self) -> impl Iterator<Item = UnitName> {
        let specs = self.specs.iter().filter(|spec| spec.name.as_str() != REPORTER);
        specs.map(|spec| spec.name.clone())
    }
}

fn banner(ends: i64, by_itself: bool) -> String {
    let at = chrono::DateTime::from_timestamp_millis(ends).expect("in range");
    let at = at.format("%Y-%m-%dT%H:%M:%SZ");
    if by_itself {
        format!("● Usage limit reached · continuing automatically at {at} · esc to cancel")
    } else {
        format!("You've hit your 5-hour limit · resets {at}")
    }
}

/// Eight units of all kinds, drawn from the seed, and the reporter.
pub(crate) fn specs(random: &mut Random) -> Vec<UnitSpec> {
    let name = |index: u64| UnitName::new(&format!("unit{index}")).expect("plain");
    // Runs once after the last phase; nobody heals it and nobody asks for it.
    let reporter = UnitSpec {
        name: super::loops::reporter(),
        session: SessionName::new("p-reporter").expect("plain"),
        kind: UnitKind::Task,
        care: Care::None,
        enabled: false,
        process_names: Vec::new(),
        max_restarts: 5,
        stall_idle: Duration::from_secs(600),
        launch_digest: 1,
        habits: Habits { account: "account2".to_owned(), ..Habits::default() },
    };
    (0..8)
        .map(|index| UnitSpec {
            name: name(index),
            session: SessionName::new(&format!("p-unit{index}")).expect("plain"),
            kind: match index {
                6 => UnitKind::Task,
                7 => UnitKind::Service,
                _ => UnitKind::Agent,
            },
            care: match random.within(0, 12) {
                0 if index > 1 => Care::None,
                1..=5 => Care::HealStall,
                _ => Care::Heal,
            },
            enabled: !random.one_in(12) || index < 2,
            process_names: if random.one_in(4) { Vec::new() } else { vec!["agent".to_owned()] },
            max_restarts: u32::try_from(random.within(2, 11)).expect("small"),
            stall_idle: Duration::from_secs(600),
            launch_digest: 1,
            habits: Habits { account: format!("account{}", index % 2), ..Habits::default() },
        })
        .chain([reporter])
        .collect()
}
