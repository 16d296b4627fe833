//! Wakes: a text typed again and again, one interval apart, once the agent can read it.
//!
//! The interval runs on the wall clock from the last wake, or from the start for the first one, so that
//! it survives every restart. The text is read when its time comes; the caller reads the file.

use chrono::{DateTime, TimeDelta, Utc};

use super::action::{Action, What};
use super::agent;
use super::outbox::{self, Draft, MessageId, Origin};
use super::state::{Care, Fleet, Life, Sight, Unit};
use crate::base::now::{Mono, Now};

/// When the unit's next wake is due; `None` when it has none.
pub fn next(unit: &Unit) -> Option<DateTime<Utc>> {
    let every = unit.spec.habits.wake_every_ms?;
    if unit.spec.care == Care::None || !unit.healed() {
        return None;
    }
    let Life::Running { since_wall, .. } = &unit.life else { return None };
    let every = TimeDelta::try_milliseconds(i64::try_from(every).ok()?)?;
    unit.woken_at.unwrap_or(*since_wall).checked_add_signed(every)
}

/// Asks for the texts whose time has come.
pub fn due(fleet: &mut Fleet, now: Now, out: &mut Vec<Action>) {
    if fleet.sight != Sight::Clear {
        return;
    }
    for unit in fleet.units.values_mut() {
        let Some(at) = next(unit) else { continue };
        // The clock was set back: without this the next wake would be that far away.
        if unit.woken_at.is_some_and(|woken| woken > now.wall) {
            unit.woken_at = Some(now.wall);
        } else if at <= now.wall {
            out.push(Action::ReadWake { unit: unit.spec.name.clone() });
        }
    }
}

/// The text was read, or could not be.
pub fn text(
    unit: &mut Unit,
    newest: &mut MessageId,
    text: &Result<String, String>,
    now: Now,
    out: &mut Vec<Action>,
) {
    if next(unit).is_none_or(|at| at > now.wall) {
        return;
    }
    unit.woken_at = Some(now.wall);
    match text {
        Ok(text) => {
            let draft = Draft {
                text: text.clone(),
                origin: Origin::Wake,
                key: Some("wake".to_owned()),
                expires_at: None,
                busy_input: false,
                command: false,
            };
            outbox::push(unit, newest, draft, None, now, out);
        }
        Err(why) => agent::note(unit, now, What::NotSent, &format!("a wake: {why}"), true, out),
    }
}

/// When wakes are due, as far as that lies ahead.
pub fn wakes(fleet: &Fleet, now: Now) -> impl Iterator<Item = Mono> {
    let due = fleet.units.values().filter_map(next).filter(move |at| *at > now.wall);
    due.map(move |at| super::limit::mono(at, now))
}
