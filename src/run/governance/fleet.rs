//! What the watchdog knows of the fleet, as facts for rules: the phase at work, who works, which account is limited.
//!
//! The watchdog's own memory is the source, and only as long as it signs its looks: when it is gone, blind or
//! late, nothing is known, and a rule that asks denies. Read only for an act that a rule asks it about. Over
//! HTTP it is not offered: who acts there need not be of this fleet.

use std::path::Path;

use chrono::{DateTime, Utc};

use crate::base::now::Now;
use crate::config::Config;
use crate::govern::action::Ask;
use crate::govern::assess::Act;
use crate::govern::attribute::{Attribute, Attributes, Source, Value};
use crate::govern::policy::Set;
use crate::limits::window::Window;
use crate::report::status;
use crate::run::store::{Snapshot, Store};
use crate::run::watchdog::LOOK_HOLDS;
use crate::supervise::state::{FLEET_VERSION, Fleet, Sight, Unit, UnitKind};
use crate::sys::{lock, process};

use super::voices;

/// What this tells, by full name.
const NAMES: [&str; 4] =
    ["system.agents_working", "system.limited", "system.phase", "system.phase_index"];

/// Adds what the fleet has to say, when a rule that may speak about one of the acts asks for it.
pub(in crate::run) fn add(
    state: &Path,
    set: &Set,
    project: &str,
    ask: &Ask,
    acts: &[Act],
    now: Now,
    into: &mut Attributes,
) {
    let mut asked = false;
    for act in acts {
        set.asks(&voices::part(ask, act), project, &mut |reference| {
            asked |= NAMES.contains(&reference.name.as_str());
        });
    }
    if asked && let Some(fleet) = seen(state, now.wall) {
        into.extend(facts(&fleet, &ask.agent));
    }
}

/// All of it for people; empty when nothing is known.
pub fn known(config: &Config, agent: &str, now: Now) -> Attributes {
    let fleet = seen(&Store::new(config).state(), now.wall);
    fleet.map_or_else(Attributes::new, |fleet| facts(&fleet, agent))
}

/// The fleet as a watchdog at work saw it a moment ago.
fn seen(state: &Path, now: DateTime<Utc>) -> Option<Fleet> {
    // Before the memory is read: what is read later can only be newer.
    let signed = DateTime::<Utc>::from(lock::sign_of_life(&Store::watchdog_lock_in(state))?);
    let age = (now - signed).to_std().ok()?;
    let text = std::fs::read_to_string(Store::snapshot_in(state)).ok()?;
    let snapshot: Snapshot = serde_json::from_str(&text).ok()?;
    let current = age <= LOOK_HOLDS
        && snapshot.watchdog.is_some()
        && snapshot.boot == process::boot_id()
        && snapshot.fleet.version == FLEET_VERSION
        && snapshot.fleet.sight == Sight::Clear;
    current.then_some(snapshot.fleet)
}

fn facts(fleet: &Fleet, agent: &str) -> Attributes {
    let mut found = Attributes::new();
    let mut tell = |name: &str, value: Value| {
        found.insert(name.to_owned(), Attribute { value, source: Source::Server });
    };
    let agents = || fleet.units.values().filter(|unit| unit.spec.kind != UnitKind::Service);
    let working = agents().filter(|unit| status::state(unit).0 == "working").count();
    tell("system.agents_working", Value::Int(i64::try_from(working).unwrap_or(i64::MAX)));
    if let Some(own) = agents().find(|unit| unit.spec.name.as_str() == agent) {
        let account = accounts(own).0;
        let mut windows = agents().flat_map(windows);
        let limited = windows.any(|(of, window)| of == account && window.is_open());
        tell("system.limited", Value::Bool(limited || own.is_limited()));
    }
    // When all phases are done, none is at work.
    if let (Some(index), None) = (fleet.phases.current, &fleet.phases.finished) {
        tell("system.phase", Value::Text(fleet.phases.id.clone()));
        tell("system.phase_index", Value::Int(i64::try_from(index).unwrap_or(i64::MAX)));
    }
    found
}

/// The account an agent runs on now, and the one whose limit it waits out elsewhere.
fn accounts(unit: &Unit) -> (&str, Option<&str>) {
    let own = unit.spec.habits.account.as_str();
    match (&unit.away, &unit.spec.habits.fallback_account) {
        (Some(_), Some(fallback)) => (fallback, Some(own)),
        (None, _) | (Some(_), None) => (own, None),
    }
}

fn windows(unit: &Unit) -> impl Iterator<Item = (&str, &Window)> {
    let (here, away) = accounts(unit);
    let here = unit.window.as_ref().map(|window| (here, window));
    here.into_iter().chain(away.zip(unit.away.as_ref()))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::govern::policy::Known;
    use crate::run::store::Heartbeat;
    use crate::supervise::sequence::Phases;
    use crate::sys::clock;

    struct Place {
        root: tempfile::TempDir,
    }

    impl Place {
        /// A watchdog that saw phase `build`, signed so many seconds ago.
        fn new(fleet: Fleet, seconds: u64) -> Self {
            let root = tempfile::tempdir().unwrap();
            let now = clock::now();
            let snapshot = Snapshot {
                version: 1,
                ao: "0".to_owned(),
                boot: process::boot_id(),
                saved: now,
                watchdog: Some(Heartbeat { pid: std::process::id(), started: now.wall }),
                notify_problem: None,
                fleet,
            };
            let text = serde_json::to_string(&snapshot).unwrap();
            std::fs::write(Store::snapshot_in(root.path()), text).unwrap();
            let lock = std::fs::File::create(Store::watchdog_lock_in(root.path())).unwrap();
            let signed = SystemTime::from(now.wall) - Duration::from_secs(seconds);
            lock.set_modified(signed).unwrap();
            Self { root }
        }

        fn told(&self, rule: &str) -> Attributes {
            let text =
                format!("policies: [{{ name: a, effect: deny, when: {{ condition: '{rule}' }} }}]");
            let set = Set::load(&[("p.yaml", &text)], &Known::default()).unwrap().set;
            let ask = Ask {
                org: "local".into(),
                agent: "a".into(),
                action_type: "file.write".into(),
                resource: "x".into(),
                context: serde_json::Map::new(),
                cost: crate::govern::action::Micros(0),
                claimed_risk: None,
                session_id: None,
                parent_action_id: None,
                depth: 0,
                correlation_id: None,
            };
            let table = crate::govern::classes::Table::shipped();
            let bounds = crate::govern::bounds::Bounds::default();
            let assessment = crate::govern::assess::assess(table, &bounds, &ask);
            let mut found = Attributes::new();
            add(self.root.path(), &set, "p", &ask, assessment.acts(), clock::now(), &mut found);
            found
        }
    }

    fn building() -> Fleet {
        let phases = Phases { current: Some(2), id: "build".to_owned(), ..Phases::default() };
        Fleet { sight: Sight::Clear, phases, ..Fleet::default() }
    }

    #[test]
    fn the_phase_is_known_while_the_watchdog_signs_and_only_to_rules_that_ask() {
        let place = Place::new(building(), 1);
        let told = place.told(r#"system.phase == "build""#);
        assert_eq!(told["system.phase"].value, Value::Text("build".to_owned()));
        assert_eq!(told["system.phase"].source, Source::Server);
        assert_eq!(told["system.phase_index"].value, Value::Int(2));
        assert_eq!(told["system.agents_working"].value, Value::Int(0));
        // An agent that is not of the fleet has no account here.
        assert!(!told.contains_key("system.limited"));
        assert!(place.told("system.ci_green").is_empty());
    }

    #[test]
    fn a_late_watchdog_a_blind_one_and_one_of_another_boot_know_nothing() {
        let asks = "system.agents_working > 1";
        assert!(Place::new(building(), 30).told(asks).is_empty());
        let blind = Sight::Blind { since: clock::now().wall, error: "no".to_owned() };
        assert!(Place::new(Fleet { sight: blind, ..building() }, 1).told(asks).is_empty());
        let place = Place::new(building(), 1);
        let file = Store::snapshot_in(place.root.path());
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text.replace(&process::boot_id(), "other")).unwrap();
        assert!(place.told(asks).is_empty());
        let done = Phases { finished: Some(vec!["build".to_owned()]), ..building().phases };
        let over = Place::new(Fleet { phases: done, ..building() }, 1).told(asks);
        assert_eq!(over.keys().collect::<Vec<_>>(), ["system.agents_working"]);
    }
}
