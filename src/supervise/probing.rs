//! A probe that could not be typed for a while waits again while another agent of its account is on trial.
//!
//! Its turn passed to the next one, so that a draft in one input box does not hold up the others; once
//! the box is free both would ask at the same time. Left out: whose turn it is (`limits::account`).

use super::limit::{self, account};
use super::outbox::{Origin, Stage};
use super::state::{Fleet, Unit};
use crate::base::name::UnitName;
use crate::base::now::{Mono, Now};
use crate::limits::window::{Phase, VERDICT};

/// Puts off the queued probes of accounts that another agent is trying now.
pub(super) fn hold(fleet: &mut Fleet, now: Now) {
    let held: Vec<(UnitName, Mono)> = fleet
        .units
        .values()
        .filter(|unit| unit.outbox.iter().any(is_waiting))
        .filter_map(|unit| Some((unit.spec.name.clone(), trial_until(fleet, unit, now)?)))
        .collect();
    for (name, until) in held {
        let Some(unit) = fleet.units.get_mut(&name) else { continue };
        for message in unit.outbox.iter_mut().filter(|message| is_waiting(message)) {
            message.retry_at = message.retry_at.max(Some(until));
        }
    }
}

fn is_waiting(message: &super::outbox::Message) -> bool {
    message.draft.origin == Origin::Probe && message.stage == Stage::Queued
}

/// When the verdict about another agent's probe is due; `None` when nobody is on trial, or when one of
/// the account has worked since this one was limited.
fn trial_until(fleet: &Fleet, unit: &Unit, now: Now) -> Option<Mono> {
    let armed_at = unit.window.as_ref()?.armed_at;
    let windows = fleet
        .units
        .values()
        .filter(|other| other.spec.name != unit.spec.name && account(other) == account(unit));
    let mut until = None;
    for window in windows.filter_map(|other| other.window.as_ref()) {
        match window.phase {
            Phase::Released { at, worked: true } if Some(at) > armed_at => return None,
            Phase::Probed { at } if at <= now.wall && now.wall < at + VERDICT => {
                until = until.max(Some(at + VERDICT));
            }
            Phase::Quiet | Phase::Probed { .. } | Phase::Released { .. } => {}
        }
    }
    until.map(|at| limit::mono(at, now))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Scope;
    use crate::limits::window::{ArmedBy, Window};
    use crate::supervise::outbox::{self, Draft};
    use crate::supervise::story::{name, now, spec};
    use chrono::{DateTime, Utc};

    fn at(second: u64) -> DateTime<Utc> {
        now(second * 1_000).wall
    }

    /// `a` waits to be probed since second 10; `b` is in that phase; the time is second 100.
    fn check(b: Phase, expected: Option<u64>) {
        let mut fleet = Fleet::default();
        for (unit, phase) in [("a", Phase::Probed { at: at(10) }), ("b", b)] {
            let mut unit = Unit::new(spec(unit));
            unit.window = Some(Window {
                since: at(1),
                armed_at: Some(at(1)),
                until: at(9),
                source_line: String::new(),
                key: String::new(),
                scope: Scope::FiveHour,
                probes: 1,
                armed_by: ArmedBy::Exact,
                continues_itself: false,
                dead: false,
                phase,
            });
            fleet.units.insert(unit.spec.name.clone(), unit);
        }
        let draft = Draft {
            text: "go on".to_owned(),
            origin: Origin::Probe,
            key: None,
            expires_at: None,
            busy_input: false,
            command: false,
        };
        let mut newest = outbox::MessageId::default();
        let unit = fleet.units.get_mut(&name("a")).expect("put in");
        outbox::push(unit, &mut newest, draft, None, now(10_000), &mut Vec::new());
        hold(&mut fleet, now(100_000));
        let retry_at = fleet.units[&name("a")].outbox[0].retry_at;
        assert_eq!(retry_at.map(|Mono(at)| at / 1_000), expected, "{b:?}");
    }

    #[test]
    fn a_probe_that_was_held_up_waits_for_the_verdict_about_another_one() {
        check(Phase::Probed { at: at(95) }, Some(155));
        check(Phase::Probed { at: at(30) }, None);
        check(Phase::Quiet, None);
        check(Phase::Released { at: at(95), worked: true }, None);
    }
}
