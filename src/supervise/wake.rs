//! The earliest moment at which time alone changes what is to be done.

use super::state::{Fleet, Life, Sight, Unit};
use super::{limit, outbox, overload, pacing, sequence, stall, waking};
use crate::base::now::{Mono, Now};

/// The next deadline; `None` when only an event can change anything.
pub fn next(fleet: &Fleet, now: Now) -> Option<Mono> {
    // Without sight only a look changes anything; a deadline that cannot be met would spin.
    if fleet.sight != Sight::Clear {
        return None;
    }
    // Until the second look after a mass death came, no start and no move is made.
    let braked = fleet.brake.as_ref().is_some_and(|brake| brake.look_again_at <= now.mono);
    let healed = |unit: &&Unit| !braked && unit.healed() && !unit.foreign;
    let restarts = fleet.units.values().filter(healed).filter_map(|unit| match &unit.life {
        Life::Dead { restart_at, .. } => *restart_at,
        Life::NotStarted
        | Life::Starting { .. }
        | Life::Running { .. }
        | Life::Stopping { .. }
        | Life::Failed { .. }
        | Life::Done { .. } => None,
    });
    let brake = fleet.brake.as_ref().filter(|brake| !brake.asked).map(|brake| brake.look_again_at);
    let messages = fleet.units.values().filter(|unit| unit.is_running()).filter_map(outbox::wake);
    let waits = limit::wakes(fleet, now).chain(stall::wakes(fleet, now));
    let waits = waits.chain(overload::wakes(fleet, now)).chain(waking::wakes(fleet, now));
    restarts
        .chain(brake)
        .chain(messages)
        .chain(waits)
        .chain(sequence::wake(fleet).filter(|_| fleet.brake.is_none()))
        .chain(pacing::wake(fleet, now))
        .min()
}
