//! Starts that wait for their turn: how many at once, how far apart, and not on a machine out of breath.
//!
//! A start that is held stays `starting`; nothing is opened for it yet. Nothing that runs is ever touched
//! for the machine's sake. With no bound set none of this does anything. Surprise: pressure that the fleet
//! makes by itself would hold its last starts forever, so one a minute goes all the same.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::action::Action;
use super::state::{Fleet, Life, Unit, UnitKind, duration_ms};
use crate::base::human;
use crate::base::name::UnitName;
use crate::base::now::{Mono, Now};
use crate::screen::PaneState;

/// An agent whose screen still says that it starts counts as starting no longer than this.
const STARTING_MAX: Duration = Duration::from_secs(60);
/// Between two starts under pressure.
const UNDER_PRESSURE: Duration = Duration::from_secs(60);
/// When a start is looked at again that waits for something without a moment of its own.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The bounds; all off by default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Bounds {
    /// Most that start at the same time.
    pub max_starting: Option<u32>,
    /// Between two starts.
    #[serde(with = "duration_ms")]
    pub stagger: Duration,
    /// Between two starts of one account.
    #[serde(with = "duration_ms")]
    pub account_spacing: Duration,
    /// Above this share of time in which something waited for CPU or memory, starts wait.
    pub pressure_max_percent: Option<u32>,
}

/// Share of the last ten seconds in which something waited, in whole percent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pressure {
    pub cpu_percent: u32,
    pub memory_percent: u32,
}

/// What is remembered of starts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pace {
    pub held: BTreeMap<UnitName, Held>,
    last: Option<Mono>,
    by_account: BTreeMap<String, Mono>,
    /// `None`: not known, and so no reason to wait.
    pub pressure: Option<Pressure>,
}

/// A start that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    asked: Mono,
    attempt: u64,
    fresh: bool,
    cause: String,
    fallback: bool,
}

/// What a start waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Wait {
    Others { starting: u32, max: u32 },
    Stagger { at: Mono },
    Account { account: String, at: Mono },
    Pressure { what: &'static str, percent: u32, max: u32, at: Mono },
}

impl Bounds {
    fn are_off(&self) -> bool {
        *self == Self::default()
    }
}

/// A held start is not one that was lost, however long it waits.
pub fn keep(fleet: &mut Fleet, now: Now) {
    for name in fleet.pacing.held.keys() {
        if let Some(Life::Starting { since }) = fleet.units.get_mut(name).map(|unit| &mut unit.life)
        {
            *since = now.mono;
        }
    }
}

/// Takes starts out that have to wait, and puts those in whose turn it is.
pub fn gate(fleet: &mut Fleet, now: Now, out: &mut Vec<Action>) {
    if fleet.settings.pacing.are_off() && fleet.pacing.held.is_empty() {
        return;
    }
    out.retain(|action| !hold(fleet, action, now));
    let Fleet { units, pacing, .. } = &mut *fleet;
    pacing.held.retain(|name, held| {
        units.get(name).is_some_and(|unit| {
            unit.attempt == held.attempt && matches!(unit.life, Life::Starting { .. })
        })
    });
    let mut waiting: Vec<(Mono, UnitName)> =
        fleet.pacing.held.iter().map(|(name, held)| (held.asked, name.clone())).collect();
    waiting.sort();
    let mut starting = starting(fleet, now);
    for (_, name) in waiting {
        if wait(fleet, &name, starting, now).is_some() {
            continue;
        }
        let Some(held) = fleet.pacing.held.remove(&name) else { continue };
        let account = fleet.units.get(&name).map(|unit| unit.spec.habits.account.clone());
        fleet.pacing.last = Some(now.mono);
        fleet.pacing.by_account.insert(account.unwrap_or_default(), now.mono);
        starting += 1;
        let Held { attempt, fresh, cause, fallback, .. } = held;
        out.push(Action::Start { unit: name, attempt, fresh, cause, fallback });
    }
}

fn hold(fleet: &mut Fleet, action: &Action, now: Now) -> bool {
    let Action::Start { unit, attempt, fresh, cause, fallback } = action else { return false };
    let held = Held {
        asked: now.mono,
        attempt: *attempt,
        fresh: *fresh,
        cause: cause.clone(),
        fallback: *fallback,
    };
    fleet.pacing.held.insert(unit.clone(), held);
    true
}

/// Those whose session is being opened or whose CLI is not up yet.
fn starting(fleet: &Fleet, now: Now) -> u32 {
    let counts = |(name, unit): &(&UnitName, &Unit)| match &unit.life {
        Life::Starting { .. } => !fleet.pacing.held.contains_key(*name),
        Life::Running { since, .. } => {
            let up = unit.reading.as_ref().map(|known| known.state != PaneState::Starting);
            unit.spec.kind != UnitKind::Service
                && !up.unwrap_or(false)
                && now.mono.since(*since) < STARTING_MAX
        }
        Life::NotStarted
        | Life::Stopping { .. }
        | Life::Dead { .. }
        | Life::Failed { .. }
        | Life::Done { .. } => false,
    };
    u32::try_from(fleet.units.iter().filter(counts).count()).unwrap_or(u32::MAX)
}

fn wait(fleet: &Fleet, name: &UnitName, starting: u32, now: Now) -> Option<Wait> {
    let (bounds, pace) = (&fleet.settings.pacing, &fleet.pacing);
    let held = pace.held.get(name)?;
    if let Some(max) = bounds.max_starting.filter(|max| starting >= *max) {
        return Some(Wait::Others { starting, max });
    }
    let ahead = |from: Mono, pause: Duration| Some(from.plus(pause)).filter(|at| *at > now.mono);
    if let Some(at) = pace.last.and_then(|last| ahead(last, bounds.stagger)) {
        return Some(Wait::Stagger { at });
    }
    let account = fleet.units.get(name).map(|unit| &unit.spec.habits.account)?;
    let last = pace.by_account.get(account).filter(|_| !account.is_empty());
    if let Some(at) = last.and_then(|last| ahead(*last, bounds.account_spacing)) {
        return Some(Wait::Account { account: account.clone(), at });
    }
    let (max, pressure) = (bounds.pressure_max_percent?, pace.pressure?);
    let (what, percent) = if pressure.memory_percent > max {
        ("memory", pressure.memory_percent)
    } else {
        ("CPU", pressure.cpu_percent)
    };
    let since = pace.last.map_or(held.asked, |last| last.max(held.asked));
    let at = ahead(since, UNDER_PRESSURE).filter(|_| percent > max)?;
    Some(Wait::Pressure { what, percent, max, at })
}

/// Why its start waits, for people; `None` when it does not.
pub fn why(fleet: &Fleet, unit: &Unit, now: Now) -> Option<String> {
    let name = &unit.spec.name;
    fleet.pacing.held.get(name)?;
    let left = |at: Mono| human::duration(at.since(now.mono));
    Some(match wait(fleet, name, starting(fleet, now), now) {
        Some(Wait::Others { starting, max }) => {
            format!("its start waits: {starting} are starting, `max_starting` is {max}")
        }
        Some(Wait::Stagger { at }) => {
            format!("its start waits for its turn, at least {} (`start_stagger`)", left(at))
        }
        Some(Wait::Account { account, at }) => format!(
            "its start waits at least {}: another of the account `{account}` was just started \
             (`account_start_spacing`)",
            left(at)
        ),
        Some(Wait::Pressure { what, percent, max, at }) => format!(
            "its start waits: in {percent} % of the last 10 s something waited for {what}, \
             `start_pressure_max` is {max}; one start a minute goes all the same, the next within {}",
            left(at)
        ),
        None => "its turn to start has come".to_owned(),
    })
}

/// When held starts are looked at again.
pub fn wake(fleet: &Fleet, now: Now) -> Option<Mono> {
    let starting = starting(fleet, now);
    let waits = fleet.pacing.held.keys().map(|name| match wait(fleet, name, starting, now) {
        Some(Wait::Stagger { at } | Wait::Account { at, .. }) => at,
        Some(Wait::Others { .. } | Wait::Pressure { .. }) | None => now.mono.plus(LOOK_AGAIN),
    });
    waits.min()
}

/// Whether the machine's pressure is to be told: it is asked about, and what follows may change.
pub fn listens(fleet: &Fleet, pressure: Option<Pressure>) -> bool {
    let Some(max) = fleet.settings.pacing.pressure_max_percent else { return false };
    let over = |pressure: Option<Pressure>| {
        pressure.is_some_and(|at| at.cpu_percent.max(at.memory_percent) > max)
    };
    let before = fleet.pacing.pressure;
    over(pressure) != over(before) || (!fleet.pacing.held.is_empty() && pressure != before)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use chrono::DateTime;

    use super::*;
    use crate::base::name::{PaneId, SessionName};
    use crate::supervise::decide::decide;
    use crate::supervise::event::{Event, Request, RequestId, StartOutcome};
    use crate::supervise::settings::Settings;
    use crate::supervise::state::{Care, Habits, ServerId, UnitSpec};

    fn now(seconds: u64) -> Now {
        let wall = DateTime::from_timestamp(i64::try_from(seconds).unwrap(), 0).unwrap();
        Now { wall, mono: Mono(seconds * 1_000) }
    }

    fn name(name: &str) -> UnitName {
        UnitName::new(name).unwrap()
    }

    fn spec(unit: &str, account: &str) -> UnitSpec {
        UnitSpec {
            name: name(unit),
            session: SessionName::new(unit).unwrap(),
            kind: UnitKind::Agent,
            care: Care::Heal,
            enabled: true,
            process_names: Vec::new(),
            max_restarts: 3,
            stall_idle: Duration::from_secs(600),
            launch_digest: 1,
            habits: Habits { account: account.to_owned(), ..Habits::default() },
        }
    }

    struct World {
        fleet: Fleet,
    }

    impl World {
        /// Agents with their accounts, all asked for at second 100; and who is started then.
        fn up(
            bounds: Bounds,
            agents: &[(&str, &str)],
            pressure: Option<Pressure>,
        ) -> (Self, String) {
            let mut world = Self { fleet: Fleet::default() };
            let units = agents.iter().map(|(unit, account)| spec(unit, account)).collect();
            let settings = Settings { pacing: bounds, ..Settings::default() };
            world.tell(&Event::Configured { units, wanted: BTreeSet::new(), settings }, 99);
            let server = ServerId { pid: 1, started: 1 };
            world.tell(&Event::Looked { server, panes: Vec::new() }, 99);
            world.tell(&Event::Pressure { pressure }, 99);
            let units = agents.iter().map(|(unit, _)| name(unit)).collect();
            let request = Request::Up { units, by_name: false };
            let started = world.tell(&Event::Requested { id: RequestId("1".into()), request }, 100);
            (world, started)
        }

        /// Who is started.
        fn tell(&mut self, event: &Event, seconds: u64) -> String {
            let actions = decide(&mut self.fleet, event, now(seconds));
            let starts = actions.iter().filter_map(|action| {
                if let Action::Start { unit, .. } = action { Some(unit.as_str()) } else { None }
            });
            starts.collect::<Vec<_>>().join(" ")
        }

        fn tick(&mut self, seconds: u64) -> String {
            self.tell(&Event::Tick, seconds)
        }

        fn opened(&mut self, unit: &str, seconds: u64) -> String {
            let pane = PaneId::new(format!("%{unit}"));
            let outcome = StartOutcome::Opened { pane, pid: 7 };
            let attempt = self.fleet.units[&name(unit)].attempt;
            self.tell(&Event::Started { unit: name(unit), attempt, outcome }, seconds)
        }

        fn why(&self, unit: &str, seconds: u64) -> Option<String> {
            why(&self.fleet, &self.fleet.units[&name(unit)], now(seconds))
        }
    }

    const THREE: [(&str, &str); 3] = [("a", "x"), ("b", "x"), ("c", "y")];

    #[test]
    fn without_bounds_all_start_at_once() {
        let (world, started) = World::up(Bounds::default(), &THREE, None);
        assert_eq!(started, "a b c");
        assert_eq!(world.fleet.pacing, Pace::default());
    }

    #[test]
    fn no_more_start_at_a_time_than_allowed() {
        let bounds = Bounds { max_starting: Some(2), ..Bounds::default() };
        let (mut world, started) = World::up(bounds, &THREE, None);
        assert_eq!(started, "a b");
        let why = world.why("c", 100).unwrap();
        assert_eq!(why, "its start waits: 2 are starting, `max_starting` is 2");
        assert_eq!(world.opened("a", 101), "", "its CLI is not up yet");
        assert_eq!(world.tick(140), "", "and a long wait is no lost start");
        assert_eq!(world.tick(162), "c", "nobody counts as starting for more than a minute");
        assert_eq!(world.why("c", 162), None);
    }

    #[test]
    fn starts_are_staggered_and_those_of_one_account_further_apart() {
        let bounds = Bounds {
            stagger: Duration::from_secs(2),
            account_spacing: Duration::from_secs(10),
            ..Bounds::default()
        };
        let (mut world, started) = World::up(bounds, &THREE, None);
        assert_eq!(started, "a");
        assert_eq!(wake(&world.fleet, now(100)), Some(Mono(102_000)));
        assert_eq!(world.tick(101), "");
        assert_eq!(world.tick(102), "c");
        assert!(world.why("b", 105).unwrap().contains("at least 5 s: another of the account `x`"));
        assert_eq!(world.tick(109), "");
        assert_eq!(world.tick(110), "b");
        assert_eq!(wake(&world.fleet, now(110)), None);
    }

    #[test]
    fn pressure_delays_starts_and_lets_one_go_each_minute() {
        let bounds = Bounds { pressure_max_percent: Some(60), ..Bounds::default() };
        let hot = Some(Pressure { cpu_percent: 10, memory_percent: 61 });
        let (mut world, started) = World::up(bounds, &THREE, hot);
        assert_eq!(started, "");
        assert!(world.why("a", 100).unwrap().contains("in 61 % of the last 10 s"));
        assert_eq!(world.tick(130), "");
        assert_eq!(world.tick(160), "a");
        assert!(listens(&world.fleet, None));
        let calm = Some(Pressure { cpu_percent: 60, memory_percent: 0 });
        assert_eq!(world.tell(&Event::Pressure { pressure: calm }, 170), "b c");
        assert!(!listens(&world.fleet, Some(Pressure::default())));
    }

    #[test]
    fn a_held_start_that_is_taken_back_never_happens() {
        let bounds = Bounds { stagger: Duration::from_secs(2), ..Bounds::default() };
        let (mut world, _) = World::up(bounds, &THREE, None);
        let request = Request::Down { units: BTreeSet::from([name("b")]) };
        world.tell(&Event::Requested { id: RequestId("2".into()), request }, 101);
        assert_eq!(world.tick(102), "c");
        assert_eq!(world.tick(110), "");
    }
}
