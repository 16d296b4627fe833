//! Days of supervision against a world that misbehaves: one seed, virtual time, rules after every event.
//!
//! `AO_SIM_SEEDS` and `AO_SIM_DAYS` raise the effort. A failing seed is printed with its last events,
//! `AO_SIM_STORY` of them.
//! Surprise: the wanted set is written before the fleet is stored, and the fleet before any other
//! action is carried out; a supervisor killed between any two of these goes on without harm.

mod acts;
mod faults;
mod loops;
mod rules;
mod world;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};

use ao::base::name::UnitName;
use ao::base::now::{Mono, Now};
use ao::screen::PaneState;
use ao::supervise::action::Action;
use ao::supervise::decide::decide;
use ao::supervise::event::{Event, Request, RequestId};
use ao::supervise::outbox::{Message, MessageId, Typed};
use ao::supervise::state::{Fleet, Life, Sight, Then, Unit, UnitSpec};
use ao::supervise::wake;

use chrono::{DateTime, Utc};
use loops::{Loops, REPORTER, SIGNAL_EVERY};
use world::{Random, Session, World, specs};

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
/// A look every so often even if nothing calls for one.
const LOOK_EVERY: u64 = 10 * MINUTE;
/// A look soon while anything is unsettled.
const LOOK_SOON: u64 = 20_000;
const TICK_EVERY: u64 = 150_000;
/// A screen that keeps moving is read this often; the real loop does it every second.
const MOVING_READ_EVERY: u64 = 4 * MINUTE;
/// Looks at a fatal screen that nobody cured, until another one tells nothing new.
const FATAL_LOOKS: u32 = 5;

#[derive(Debug, Clone)]
enum Happening {
    Fault,
    LookNow(u64),
    /// Files and branch are read: now and then, or since something changed.
    Signal(u64),
    SignalNow(u64),
    StaleLook(Event),
    /// An action takes effect now; the number is the supervisor's incarnation.
    Perform(u64, Action),
    /// What came of an action, or was read, and was long on its way.
    Told(u64, Event),
    Tick(u64),
    Crash(UnitName, u32),
}

/// One line of the story that is told when a rule breaks; put into words only then.
#[derive(Debug)]
enum Line {
    Words(String),
    Heard(Box<Event>, Vec<Action>),
}

/// What the rules need to know of a unit as it was before the event.
#[derive(Debug, Clone, Copy)]
struct Before {
    stopping: bool,
    /// A person waits for the start that follows its stop.
    asked: bool,
    starting: bool,
    foreign: bool,
    healed: bool,
    /// A usage limit is waited out.
    limited: bool,
    state: Option<PaneState>,
}

/// Restarts of the last hour, and who was asked to stay down.
type Memory = (BTreeMap<UnitName, Vec<u64>>, BTreeSet<UnitName>);

struct Sim {
    world: World,
    loops: Loops,
    fleet: Fleet,
    heap: BinaryHeap<Reverse<(u64, u64)>>,
    happenings: BTreeMap<u64, Happening>,
    sequence: u64,
    epoch: u64,
    /// Each unit's actions are carried out one after the other.
    busy_until: BTreeMap<UnitName, u64>,
    /// The supervisor is killed right after that many more decisions, before it acts.
    kill_next_in: Option<u64>,
    faulty: bool,
    tick_at: u64,
    look_at: u64,
    removed: Vec<UnitSpec>,
    requests: u64,
    pending: BTreeMap<RequestId, u64>,
    /// Looks that lie excuse starts until then.
    misled_until: u64,
    /// Whom the newest look found in need of a restart: of what changed since nobody can know.
    bad_when_looked: BTreeSet<UnitName>,
    down: BTreeSet<UnitName>,
    /// How each unit was before the event; kept so that its names are copied once.
    before: BTreeMap<UnitName, Before>,
    /// The next tick and look are to be planned: whether a tick came, and whether it asked for a look.
    unplanned: Option<(bool, bool)>,
    /// What came of each message that was typed.
    typed: BTreeMap<MessageId, Typed>,
    /// The window each probe is for, and the windows that had theirs.
    probes: BTreeMap<MessageId, (UnitName, Option<DateTime<Utc>>)>,
    probed: BTreeSet<(UnitName, Option<DateTime<Utc>>)>,
    restarts: BTreeMap<UnitName, Vec<u64>>,
    told: VecDeque<(u64, Line)>,
    story_lines: usize,
    events: u64,
    actions: u64,
    trace: u64,
    seed: u64,
}

impl Sim {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed ^ 0x5eed);
        let mut sim = Self {
            world: World::new(seed, specs(&mut random)),
            loops: Loops::new(),
            fleet: Fleet::default(),
            heap: BinaryHeap::new(),
            happenings: BTreeMap::new(),
            sequence: 0,
            epoch: 0,
            busy_until: BTreeMap::new(),
            kill_next_in: None,
            faulty: true,
            tick_at: u64::MAX,
            look_at: u64::MAX,
            removed: Vec::new(),
            requests: 0,
            pending: BTreeMap::new(),
            misled_until: 0,
            bad_when_looked: BTreeSet::new(),
            down: BTreeSet::new(),
            before: BTreeMap::new(),
            unplanned: None,
            typed: BTreeMap::new(),
            probes: BTreeMap::new(),
            probed: BTreeSet::new(),
            restarts: BTreeMap::new(),
            told: VecDeque::new(),
            story_lines: usize::try_from(effort("AO_SIM_STORY", 40)).expect("small"),
            events: 0,
            actions: 0,
            trace: 0,
            seed,
        };
        sim.configure();
        sim.signal();
        sim.look();
        let units = sim.world.people().collect();
        sim.ask(Request::Up { units, by_name: false });
        sim.push(sim.world.mono + 5 * MINUTE, Happening::Fault);
        sim.push(sim.world.mono + SIGNAL_EVERY, Happening::Signal(sim.epoch));
        sim
    }

    fn log(&mut self, line: Line) {
        if self.told.len() == self.story_lines {
            self.told.pop_front();
        }
        self.told.push_back((self.world.mono, line));
    }

    fn story(&self) -> String {
        let mut story = Vec::new();
        for (at, line) in &self.told {
            match line {
                Line::Words(words) => story.push(format!("{at:>10} {words}\n")),
                Line::Heard(event, actions) => {
                    let event: String = format!("{event:?}").chars().take(300).collect();
                    story.push(format!("{at:>10} {event}\n"));
                    let done = actions.iter();
                    story.extend(done.map(|action| format!("{at:>10}     -> {action:?}\n")));
                }
            }
        }
        story.concat()
    }

    fn push(&mut self, at: u64, happening: Happening) {
        self.sequence += 1;
        self.happenings.insert(self.sequence, happening);
        self.heap.push(Reverse((at, self.sequence)));
    }

    fn now(&self) -> Now {
        let wall = i64::try_from(self.world.mono).expect("small") + self.world.wall_shift;
        let wall = chrono::DateTime::from_timestamp_millis(wall).expect("in range");
        Now { wall, mono: Mono(self.world.mono) }
    }

    #[track_caller]
    fn ensure(&self, holds: bool, rule: impl FnOnce() -> String) {
        assert!(holds, "seed {}: {}\n{}{:#?}", self.seed, rule(), self.story(), self.fleet.units);
    }

    fn configure(&mut self) {
        let units = self.world.specs.clone();
        let wanted = self.world.wanted_file.clone();
        let settings = self.loops.settings();
        self.deliver(Event::Configured { units, wanted, settings });
    }

    fn look(&mut self) {
        self.world.go_on();
        let seen = self.world.look();
        self.deliver(seen);
        if self.fleet.brake.is_none() {
            self.world.all_known();
        }
        if self.world.tmux_fails() {
            return;
        }
        let names = self.fleet.units.keys();
        self.bad_when_looked = names.filter(|name| self.is_bad(name)).cloned().collect();
        for name in self.fleet.units.keys().cloned().collect::<Vec<_>>() {
            let Some(reading) = self.world.reading(&name) else { continue };
            let Some(unit) = self.fleet.units.get(&name) else { continue };
            let known = unit.reading.as_ref();
            // A screen that moves is read anew, as a real one is.
            let same = known.is_some_and(|known| {
                let moves = known.live_hash != reading.live_hash
                    && known.active_at.0 + MOVING_READ_EVERY <= self.world.mono;
                known.state == reading.state && !moves && *known.evidence == *reading.evidence
            });
            if unit.is_running() && (!same || reading.state == PaneState::Fatal) {
                let attempt = unit.attempt;
                let read = Event::Read { unit: name, attempt, reading };
                self.tell(read);
            }
        }
    }

    fn is_bad(&self, name: &UnitName) -> bool {
        self.world
            .process(name)
            .is_some_and(|process| process.wrong_program || process.state == PaneState::Fatal)
    }

    /// Most is told at once; some of it is long on its way, and others happen in between.
    fn tell(&mut self, event: Event) {
        if self.faulty && self.world.random.one_in(12) {
            let at = self.world.mono + self.world.random.within(100, 60_000);
            self.push(at, Happening::Told(self.epoch, event));
        } else {
            self.deliver(event);
        }
    }

    /// The core hears of one event; its rules are checked; what it asks for gets under way.
    fn deliver(&mut self, event: Event) {
        self.events += 1;
        let most = 200_000 + self.world.mono / 4_000;
        self.ensure(self.events < most, || "it goes in circles".to_owned());
        let dies = self.kill_next_in == Some(0);
        let kept = dies.then(|| (self.fleet.clone(), (self.restarts.clone(), self.down.clone())));
        let outdated = self.outdated(&event);
        let fate = self.at_stake(&event);
        let before = self.before();
        let now = self.now();
        let actions = decide(&mut self.fleet, &event, now);
        self.count(&actions);
        if let (Some(message), Event::Typed { unit, outcome, .. }) = (fate, &event)
            && !self.fleet.units[unit].outbox.iter().any(|other| other.id == message.id)
        {
            self.given_up(&message, outcome);
        }
        if let Some(unit) = outdated {
            let same = self.fleet.units.get(&unit.spec.name) == Some(&unit);
            self.log(Line::Words(format!("{event:?}")));
            self.ensure(same, || "what an older attempt says changed something".to_owned());
        }
        let looks = actions.contains(&Action::Look);
        let tick = matches!(event, Event::Tick);
        self.check(&before, &event, &actions);
        self.before = before;
        if let Event::Started { unit, .. } = &event
            && self.fleet.units.get(unit).is_some_and(Unit::is_running)
        {
            self.world.know(unit);
        }
        self.log(Line::Heard(Box::new(event), actions.clone()));
        if let Some((fleet, memory)) = kept {
            self.kill_next_in = None;
            self.killed(fleet, memory, &actions);
            return;
        }
        self.kill_next_in = self.kill_next_in.map(|left| left - 1);
        self.act(actions);
        self.unplanned = Some((tick, looks));
    }

    /// The message that the event tells the fate of.
    fn at_stake(&self, event: &Event) -> Option<Message> {
        let Event::Typed { unit, message, .. } = event else { return None };
        let outbox = &self.fleet.units.get(unit)?.outbox;
        outbox.iter().find(|waiting| waiting.id == *message).cloned()
    }

    /// The unit as the time that has passed makes it, if the event speaks of an attempt that is over.
    fn outdated(&self, event: &Event) -> Option<Unit> {
        let (Event::Read { unit, attempt, .. }
        | Event::Started { unit, attempt, .. }
        | Event::Stopped { unit, attempt, .. }) = event
        else {
            return None;
        };
        self.fleet.units.get(unit).filter(|unit| unit.attempt != *attempt)?;
        let nobody = UnitName::new("nobody").expect("plain");
        let outcome = Typed::Held { why: String::new() };
        let nothing = Event::Typed { unit: nobody, message: MessageId(0), outcome };
        let mut fleet = self.fleet.clone();
        decide(&mut fleet, &nothing, self.now());
        fleet.units.remove(unit)
    }

    fn before(&mut self) -> BTreeMap<UnitName, Before> {
        let facts = |unit: &Unit| Before {
            stopping: matches!(unit.life, Life::Stopping { .. }),
            asked: matches!(unit.life, Life::Stopping { then: Then::Restart, .. }),
            starting: matches!(unit.life, Life::Starting { .. }),
            foreign: unit.foreign,
            healed: unit.healed(),
            limited: unit.is_limited(),
            state: unit.reading.as_ref().map(|known| known.state),
        };
        let mut before = std::mem::take(&mut self.before);
        if before.keys().eq(self.fleet.units.keys()) {
            for (slot, unit) in before.values_mut().zip(self.fleet.units.values()) {
                *slot = facts(unit);
            }
            return before;
        }
        self.fleet.units.iter().map(|(name, unit)| (name.clone(), facts(unit))).collect()
    }

    /// A fingerprint of all that was ever asked for.
    fn count(&mut self, actions: &[Action]) {
        for action in actions {
            self.actions += 1;
            let (kind, unit, attempt) = match action {
                Action::Start { unit, attempt, .. } => (1, unit.as_str(), *attempt),
                Action::Stop { unit, attempt, .. } => (2, unit.as_str(), *attempt),
                Action::Look => (3, "", 0),
                Action::Report(report) => (4, report.why.as_str(), 0),
                Action::SaveWanted => (5, "", 0),
                Action::Answer { id, .. } => (6, id.0.as_str(), 0),
                Action::Type { unit, message, .. } => (7, unit.as_str(), message.0),
                Action::Sequence { .. } => (10, "", 0),
                Action::SaveHandoff => (11, "", 0),
                Action::SaveLimit { unit, window } => {
                    (8, unit.as_str(), u64::from(window.is_some()))
                }
                Action::ReadWake { unit } => (9, unit.as_str(), 0),
            };
            let bytes = unit.bytes().chain([kind]).chain(attempt.to_le_bytes());
            self.trace = bytes.fold(self.trace ^ self.world.mono, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
        }
    }

    fn save_wanted(&mut self) {
        self.world.wanted_file = self
            .fleet
            .units
            .iter()
            .filter(|(_, unit)| unit.wanted)
            .map(|(name, _)| name.clone())
            .collect();
    }

    /// Wakes the loop at the next deadline, and looks again soon while anything is unsettled.
    fn plan(&mut self) {
        let Some((tick, looks)) = self.unplanned.take() else { return };
        // The real loop ticks every second; a long gap is taken for sleep.
        let mut at = self.world.mono + TICK_EVERY;
        if let Some(Mono(next)) = wake::next(&self.fleet, self.now()) {
            let late = next <= self.world.mono;
            let spins = late && tick && !looks;
            self.ensure(!spins, || "a tick changed nothing and asks for another at once".into());
            at = at.min(if late { self.world.mono + 1_000 } else { next });
        }
        if at < self.tick_at || self.tick_at < self.world.mono {
            self.tick_at = at;
            self.push(at, Happening::Tick(self.epoch));
        }
        let settled = self.fleet.sight == Sight::Clear
            && self.fleet.units.values().all(|unit| match &unit.life {
                Life::Running { .. } => {
                    unit.mismatched_looks == 0
                        && unit.reading.as_ref().is_some_and(|known| {
                            known.state != PaneState::Fatal || known.looks > FATAL_LOOKS
                        })
                }
                Life::NotStarted => !unit.healed() || unit.foreign || unit.is_limited(),
                Life::Failed { .. } | Life::Done { .. } => true,
                Life::Starting { .. } | Life::Stopping { .. } => false,
                Life::Dead { restart_at, .. } => restart_at.is_none(),
            });
        let at = self.world.mono + if settled { LOOK_EVERY } else { LOOK_SOON };
        if at < self.look_at || self.look_at <= self.world.mono {
            self.look_at = at;
            self.push(at, Happening::LookNow(self.epoch));
        }
    }

    fn step(&mut self) -> bool {
        let Some(Reverse((at, sequence))) = self.heap.pop() else { return false };
        let happening = self.happenings.remove(&sequence).expect("pushed together");
        self.world.mono = self.world.mono.max(at);
        match happening {
            Happening::Fault => {
                if self.faulty {
                    self.fault();
                    let gap = self.world.random.within(1_000, 25 * MINUTE);
                    self.push(self.world.mono + gap, Happening::Fault);
                }
            }
            Happening::LookNow(epoch) => {
                if epoch == self.epoch {
                    self.look();
                }
            }
            Happening::Signal(epoch) => {
                if epoch == self.epoch {
                    self.push(self.world.mono + SIGNAL_EVERY, Happening::Signal(epoch));
                    self.signal();
                }
            }
            Happening::SignalNow(epoch) => {
                if epoch == self.epoch {
                    self.signal();
                }
            }
            Happening::StaleLook(event) => {
                self.misled_until = self.world.mono + 2 * MINUTE;
                self.deliver(event);
                self.world.nothing_known();
            }
            Happening::Tick(epoch) => {
                // One that another, earlier one took the place of is not heard.
                if epoch == self.epoch && at >= self.tick_at {
                    self.tick_at = u64::MAX;
                    self.deliver(Event::Tick);
                }
            }
            Happening::Crash(unit, pid) => {
                if self.world.process(&unit).is_some_and(|process| process.pid == pid) {
                    // The last task ends well.
                    let status = i32::from(unit.as_str() != REPORTER);
                    self.end(&unit, Some(ao::supervise::state::Death::Exited { status }));
                    self.push(self.world.mono + 20, Happening::LookNow(self.epoch));
                }
            }
            Happening::Told(epoch, event) => {
                if epoch == self.epoch {
                    self.deliver(event);
                }
            }
            Happening::Perform(epoch, action) => {
                if epoch == self.epoch {
                    self.perform(action);
                }
            }
        }
        true
    }

    fn run_until(&mut self, until: u64) {
        self.plan();
        while self.heap.peek().is_some_and(|Reverse((at, _))| *at <= until) {
            self.step();
            self.plan();
        }
        self.world.mono = self.world.mono.max(until);
    }

    /// Nothing goes wrong any more: all must come to rest, as it should be.
    fn calm(&mut self) {
        self.faulty = false;
        self.kill_next_in = None;
        self.world.tmux_fails_until = 0;
        self.world.crashes_until.clear();
        self.world.sessions.retain(|_, session| matches!(session, Session::Ours(_)));
        for session in self.world.sessions.values_mut() {
            if let Session::Ours(process) = session {
                process.wrong_program = false;
                process.state = PaneState::Working;
                process.limit = None;
            }
        }
        self.loops.calm();
        self.configure();
        self.signal();
        self.look();
        // Who is down for his limit would come back at its end only.
        let limited: BTreeSet<UnitName> = self
            .fleet
            .units
            .iter()
            .filter(|(name, unit)| unit.is_limited() && unit.healed() && !self.world.lives(name))
            .map(|(name, _)| name.clone())
            .collect();
        if !limited.is_empty() {
            self.ask(Request::Restart { units: limited, fresh: false });
        }
        self.run_until(self.world.mono + 25 * MINUTE);
        let owed = self.pending.keys().next();
        self.ensure(owed.is_none() && self.fleet.owed.is_empty(), || {
            format!("never answered: {:?} {:?}", self.pending, self.fleet.owed)
        });
        self.check_loop();
        for (name, unit) in &self.fleet.units {
            let ended = matches!(unit.life, Life::Failed { .. } | Life::Done { .. });
            // One whose start failed is started again at the end of its limit.
            let excused = ended || unit.is_limited();
            self.ensure(!unit.healed() || excused || unit.is_running(), || {
                format!("{name} is wanted but does not run")
            });
            self.ensure(unit.is_running() == self.world.lives(name), || {
                format!("{name}: what is remembered is not what is")
            });
        }
    }

    /// The world goes on misbehaving.
    fn storm(&mut self) {
        self.faulty = true;
        self.push(self.world.mono + MINUTE, Happening::Fault);
    }
}

fn run_seed(seed: u64, days: u64) -> (u64, u64, u64) {
    let mut sim = Sim::new(seed);
    for _ in 0..3 * days {
        sim.run_until(sim.world.mono + 7 * HOUR);
        sim.calm();
        let quiet_from = sim.actions;
        // Whose limit ends in that time is started then.
        let waits = sim.fleet.units.values().any(Unit::is_limited);
        sim.run_until(sim.world.mono + 30 * MINUTE);
        let stirs = sim.actions != quiet_from && !waits;
        sim.ensure(!stirs, || "something still happens though nothing is wrong".to_owned());
        sim.storm();
    }
    (sim.events, sim.actions, sim.trace)
}

fn effort(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

#[test]
fn fleet_stays_sane_for_a_day() {
    let (seeds, days) = (effort("AO_SIM_SEEDS", 1_000), effort("AO_SIM_DAYS", 1));
    let from = effort("AO_SIM_FROM", 0);
    let halves = [0, 1].map(|half| {
        std::thread::spawn(move || {
            (from..from + seeds)
                .filter(|seed| seed % 2 == half)
                .map(|seed| run_seed(seed, days).0)
                .sum::<u64>()
        })
    });
    let events: u64 = halves
        .into_iter()
        .map(|half| half.join().unwrap_or_else(|told| std::panic::resume_unwind(told)))
        .sum();
    assert!(events > 200 * seeds * days, "only {events} events: the world does too little");
}

#[test]
fn the_same_seed_gives_the_same_actions() {
    assert_eq!(run_seed(7, 1), run_seed(7, 1));
    assert_ne!(run_seed(7, 1).2, run_seed(8, 1).2);
}
