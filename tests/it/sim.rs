//! Days of supervision against a world that misbehaves: one seed, virtual time, rules after every event.
//!
//! `AO_SIM_SEEDS` and `AO_SIM_DAYS` raise the effort. A failing seed is printed with its last events,
//! `AO_SIM_STORY` of them.
//! Surprise: the wanted set is written before the fleet is stored, and the fleet before any other
//! action is carried out; a supervisor killed between any two of these goes on without harm.

mod faults;
mod loops;
mod world;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::time::Duration;

use ao::base::name::{SessionName, UnitName};
use ao::base::now::{Mono, Now};
use ao::limits::window::{Phase, VERDICT};
use ao::screen::PaneState;
use ao::supervise::action::Action;
use ao::supervise::decide::decide;
use ao::supervise::event::{Event, Request, RequestId, StartOutcome};
use ao::supervise::outbox::{Message, MessageId, Origin, Stage, Typed};
use ao::supervise::state::{Care, Fleet, Habits, Life, Sight, Then, Unit, UnitKind, UnitSpec};
use ao::supervise::{invariant, wake};

use chrono::{DateTime, Utc};
use loops::{Loops, REPORTER, SIGNAL_EVERY};
use world::{Random, Session, World};

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

fn specs(random: &mut Random) -> Vec<UnitSpec> {
    let name = |index: u64| UnitName::new(&format!("unit{index}")).expect("plain");
    // Runs once after the last phase; nobody heals it and nobody asks for it.
    let reporter = UnitSpec {
        name: loops::reporter(),
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
                known.state == reading.state && !moves && known.evidence == reading.evidence
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

    /// Its session was opened, but nobody heard of it.
    fn lose_start(&mut self, unit: &UnitName, attempt: u64) {
        if let StartOutcome::Opened { pid, .. } = self.world.start(unit) {
            self.opened(unit, attempt, pid);
        }
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

    fn act(&mut self, actions: Vec<Action>) {
        for action in actions {
            if let Action::Start { unit, attempt, .. } = &action
                && Self::is_member(unit)
            {
                let phase = self.fleet.phases.id.clone();
                self.loops.decided.insert((unit.clone(), *attempt), phase);
            }
            match &action {
                Action::Start { unit, .. }
                | Action::Stop { unit, .. }
                | Action::ReadWake { unit }
                | Action::Type { unit, .. } => {
                    let random = &mut self.world.random;
                    let at_once = Self::is_member(unit) || unit.as_str() == REPORTER;
                    let slow = random.one_in(60) && !at_once;
                    let lasts = if slow { 40_000 } else { random.within(50, 4_000) };
                    let from = self.busy_until.get(unit).copied().unwrap_or(0);
                    let at = from.max(self.world.mono) + lasts;
                    self.busy_until.insert(unit.clone(), at);
                    self.push(at, Happening::Perform(self.epoch, action));
                }
                Action::Look => {
                    self.push(self.world.mono + 10, Happening::LookNow(self.epoch));
                }
                Action::Sequence { step } => self.put_down(step),
                Action::Report(_) | Action::SaveHandoff | Action::SaveLimit { .. } => {}
                Action::SaveWanted => self.save_wanted(),
                Action::Answer { id, .. } => {
                    let asked = self.pending.remove(id);
                    self.ensure(asked.is_some(), || format!("{} answered twice", id.0));
                }
            }
        }
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

    /// The supervisor is killed before it acted; another takes over from what was stored.
    fn killed(&mut self, before: Fleet, memory: Memory, actions: &[Action]) {
        let saves = actions.contains(&Action::SaveWanted);
        self.log(Line::Words("the supervisor is killed".to_owned()));
        self.world.nothing_known();
        if saves {
            self.save_wanted();
        }
        // A request may be lost with the connection it came by; nobody is left to be told.
        let got = self.world.random.within(0, 4);
        if got < 2 {
            self.fleet = before;
            let (restarts, down) = memory;
            self.restarts = restarts;
            if !saves {
                self.down = down;
            }
        } else if got == 2 {
            // It got as far as the files.
            for action in actions {
                if let Action::Sequence { step } = action {
                    self.put_down(step);
                }
            }
        }
        let text = serde_json::to_string(&self.fleet).expect("plain data");
        let mut fleet: Fleet = serde_json::from_str(&text).expect("own text");
        self.ensure(fleet == self.fleet, || "the fleet changed on disk".to_owned());
        fleet.sight = Sight::Never;
        self.fleet = fleet;
        let owed: BTreeSet<_> = self.fleet.owed.iter().map(|debt| debt.request.clone()).collect();
        self.pending.retain(|id, _| owed.contains(id));
        self.epoch += 1;
        let mut first = BTreeSet::new();
        let waiting: Vec<Happening> = self.happenings.values().cloned().collect();
        for happening in waiting {
            if let Happening::Perform(_, Action::Start { unit, attempt, .. }) = &happening
                && first.insert(unit.clone())
                && self.world.random.one_in(2)
            {
                self.lose_start(unit, *attempt);
            }
            if let Happening::Perform(_, Action::Stop { unit, .. }) = &happening
                && first.insert(unit.clone())
                && self.world.random.one_in(2)
            {
                let _outcome_lost = self.world.stop(unit);
            }
        }
        self.recover_messages();
        self.busy_until.clear();
        self.push(self.world.mono + MINUTE, Happening::Signal(self.epoch));
        self.tick_at = u64::MAX;
        self.look_at = u64::MAX;
        self.misled_until = self.world.mono + 2 * MINUTE;
        self.configure();
        self.read_files();
        self.look();
        if self.world.random.one_in(2) {
            self.signal();
        }
    }

    fn check(&mut self, before: &BTreeMap<UnitName, Before>, event: &Event, actions: &[Action]) {
        let broken = invariant::broken(&self.fleet);
        self.ensure(broken.is_empty(), || broken.join("; "));
        self.ensure(actions.len() <= 6 * self.fleet.units.len() + 6, || "too much at once".into());
        let asked = self.note_request(event);
        let sequence = matches!(event, Event::Sequence { .. });
        for action in actions {
            if let Action::Start { unit, .. }
            | Action::Stop { unit, .. }
            | Action::Type { unit, .. } = action
            {
                let alike = self.world.neighbours.contains(unit.as_str());
                self.ensure(!alike, || format!("{unit} only looks like one of ours"));
            }
            if let Action::Report(report) = action
                && report.why.contains("was dropped")
            {
                self.dropped();
            }
            match action {
                Action::Start { unit, .. } => {
                    let moved = sequence && (Self::is_member(unit) || unit.as_str() == REPORTER);
                    self.check_start(unit, before, moved || asked.contains(unit));
                }
                Action::Type { unit, message, .. } => self.check_type(unit, *message, before),
                Action::Stop { unit, .. } => self.check_stop(unit, before, &asked),
                Action::SaveLimit { .. }
                | Action::ReadWake { .. }
                | Action::Look
                | Action::Sequence { .. }
                | Action::SaveHandoff
                | Action::Report(_)
                | Action::SaveWanted
                | Action::Answer { .. } => {}
            }
        }
        let late = self.pending.values().find(|asked| **asked + 3 * HOUR < self.world.mono);
        self.ensure(late.is_none(), || "a request waits for hours".to_owned());
    }

    /// Who is asked for; a person's wish forgives earlier restarts and ends or begins a `down`.
    fn note_request(&mut self, event: &Event) -> BTreeSet<UnitName> {
        let Event::Requested { request, .. } = event else { return BTreeSet::new() };
        match request {
            Request::Down { units } => {
                self.down.extend(units.iter().cloned());
                units.clone()
            }
            Request::Up { units, .. } | Request::Restart { units, .. } => {
                for unit in units {
                    self.down.remove(unit);
                    self.restarts.remove(unit);
                }
                units.clone()
            }
            Request::Phase { .. } => {
                for unit in [loops::builder(), loops::adversary()] {
                    self.restarts.remove(&unit);
                }
                BTreeSet::new()
            }
            Request::Send { .. } => BTreeSet::new(),
        }
    }

    fn check_start(&mut self, name: &UnitName, before: &BTreeMap<UnitName, Before>, asked: bool) {
        let unit = &self.fleet.units[name];
        let foreign = unit.foreign || self.world.known_foreign(name);
        self.ensure(!foreign, || format!("{name} is started though its name is taken"));
        self.ensure(!self.down.contains(name), || format!("{name} is started after `down`"));
        let second = self.world.lives(name) && self.world.is_known(name);
        self.ensure(!second, || format!("{name} is started a second time"));
        let again = name.as_str() == REPORTER;
        let person = asked || again || before.get(name).is_some_and(|unit| unit.asked);
        if person {
            return;
        }
        self.ensure(unit.healed(), || format!("{name} is started though nobody wants it"));
        let clear = self.fleet.sight == Sight::Clear;
        self.ensure(clear, || format!("{name} is started blindly"));
        if before.get(name).is_some_and(|unit| unit.limited) {
            // It died while it was limited; this start stands for its probe.
            let probed = unit
                .window
                .as_ref()
                .is_some_and(|window| matches!(window.phase, Phase::Probed { .. }) && window.dead);
            self.ensure(probed, || format!("{name} is started within its limit"));
            return;
        }
        let max = unit.spec.max_restarts as usize;
        let now = self.world.mono;
        let restarts = self.restarts.entry(name.clone()).or_default();
        restarts.retain(|at| now - at <= HOUR);
        restarts.push(now);
        let count = restarts.len();
        self.ensure(count <= max, || format!("{name}: {count} restarts in an hour, {max} allowed"));
    }

    fn check_stop(
        &mut self,
        name: &UnitName,
        before: &BTreeMap<UnitName, Before>,
        asked: &BTreeSet<UnitName>,
    ) {
        let Some(unit) = before.get(name) else { return };
        // A stop under way is asked for again, and a start under way is taken back, whoever has the name.
        if unit.stopping {
            return;
        }
        let foreign = (unit.foreign || self.world.known_foreign(name)) && !unit.starting;
        self.ensure(!foreign, || format!("{name} is stopped though it is not ours"));
        // A move to another phase stops whoever works on it, on clear sight.
        let moved = Self::is_member(name)
            && (self.fleet.phases.moving.is_some() || self.fleet.phases.finished.is_some());
        if asked.contains(name) || moved {
            return;
        }
        self.ensure(unit.healed, || format!("{name} is stopped though it is not in our care"));
        let clear = self.fleet.sight == Sight::Clear;
        self.ensure(clear, || format!("{name} is stopped blindly"));
        let idle = self.fleet.units[name].spec.care == Care::HealStall
            && unit.state == Some(PaneState::Idle);
        let bad = self.is_bad(name) || self.bad_when_looked.contains(name);
        let evidence = bad || idle || self.world.mono <= self.misled_until;
        self.ensure(evidence, || format!("{name} is stopped though it is well"));
        let waits = unit.state == Some(PaneState::Waiting);
        self.ensure(!waits, || format!("{name} is stopped though it waits for a person"));
        let limited = unit.limited && unit.state != Some(PaneState::Fatal);
        self.ensure(!limited, || format!("{name} is stopped though it is limited"));
    }

    /// What is typed goes to an agent that can read it, and one probe to a window.
    fn check_type(&mut self, name: &UnitName, id: MessageId, before: &BTreeMap<UnitName, Before>) {
        let unit = &self.fleet.units[name];
        let state = unit.reading.as_ref().map(|known| known.state);
        let mut waiting = unit.outbox.iter();
        let origin = waiting.find(|message| message.id == id).map(|message| message.draft.origin);
        self.ensure(state != Some(PaneState::Waiting), || {
            format!("{name} is typed at in a dialog")
        });
        let probe = origin == Some(Origin::Probe);
        let limited = unit.is_limited();
        self.ensure(probe == limited, || {
            format!("{name} gets {origin:?} while limited: {limited}")
        });
        let works = state == Some(PaneState::Working);
        self.ensure(!works, || format!("{name} is typed at while it works"));
        let asked = before.get(name).is_some_and(|unit| unit.healed);
        self.ensure(!probe || asked, || format!("{name} is probed though nobody wants it"));
        if !probe {
            return;
        }
        let armed_at = unit.window.as_ref().and_then(|window| window.armed_at);
        let account = unit.spec.habits.account.clone();
        let now = self.now().wall;
        let opened = self.fleet.units.values().any(|other| {
            other.spec.habits.account == account
                && other.window.as_ref().is_some_and(|window| match window.phase {
                    Phase::Released { at, worked } => worked && Some(at) > armed_at,
                    Phase::Quiet | Phase::Probed { .. } => false,
                })
        });
        let rival = self.fleet.units.values().find(|other| {
            other.spec.name != *name
                && other.spec.habits.account == account
                && other.window.as_ref().is_some_and(|window| match window.phase {
                    Phase::Probed { at } => at <= now && now < at + VERDICT,
                    Phase::Quiet | Phase::Released { .. } => false,
                })
        });
        let alone = opened || rival.is_none();
        self.ensure(alone, || format!("{name} is probed beside another one of its account"));
        self.probes.insert(id, (name.clone(), armed_at));
    }

    /// What was written down tells what became of the messages under way.
    fn recover_messages(&mut self) {
        let mut found = Vec::new();
        for unit in self.fleet.units.values_mut() {
            for message in &mut unit.outbox {
                message.request = None;
                if message.stage != Stage::Queued {
                    found.push((unit.spec.name.clone(), message.id));
                }
            }
        }
        for (unit, message) in found {
            let held = Typed::Held { why: "it was not typed".to_owned() };
            let outcome = self.typed.get(&message).cloned().unwrap_or(held);
            self.deliver(Event::Typed { unit, message, outcome });
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

    fn perform(&mut self, action: Action) {
        match action {
            Action::Start { unit, attempt, .. } => {
                let outcome = self.world.start(&unit);
                if self.world.crashes_until.get(&unit).is_some_and(|at| *at > self.world.mono)
                    && let Some(process) = self.world.process(&unit)
                {
                    let pid = process.pid;
                    let at = self.world.mono + self.world.random.within(500, 20_000);
                    self.push(at, Happening::Crash(unit.clone(), pid));
                }
                if let StartOutcome::Opened { pid, .. } = outcome {
                    self.opened(&unit, attempt, pid);
                }
                if self.fleet.units.get(&unit).is_some_and(|known| known.attempt != attempt) {
                    // So slow that it was given up: the next attempt finds its session.
                    self.misled_until = self.world.mono + MINUTE;
                }
                self.tell(Event::Started { unit, attempt, outcome });
            }
            Action::Stop { unit, attempt, .. } => {
                let outcome = self.world.stop(&unit);
                self.tell(Event::Stopped { unit, attempt, outcome });
            }
            Action::Type { unit, message, past_banner, text, .. } => {
                let twice = self.typed.get(&message).cloned();
                self.ensure(twice.is_none(), || format!("message {} is typed twice", message.0));
                let outcome = self.world.type_to(&unit, past_banner);
                if !matches!(outcome, Typed::Held { .. } | Typed::NotDelivered { .. }) {
                    self.typed.insert(message, outcome.clone());
                    self.reached(&unit, &text);
                    if let Some(window) = self.probes.get(&message).cloned() {
                        let first = self.probed.insert(window.clone());
                        self.ensure(first, || format!("{unit}: two probes of one window"));
                    }
                }
                self.tell(Event::Typed { unit, message, outcome });
            }
            Action::ReadWake { unit } => {
                self.tell(Event::WakeText { unit, text: Ok("look around".to_owned()) });
            }
            Action::Look
            | Action::Report(_)
            | Action::SaveLimit { .. }
            | Action::Sequence { .. }
            | Action::SaveHandoff
            | Action::SaveWanted
            | Action::Answer { .. } => {
                unreachable!("only starts, stops and typing take time")
            }
        }
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
