//! The earliest moment at which time alone changes what is to be done.

use super::outbox;
use super::state::{Fleet, Life, Sight};
use crate::base::now::Mono;

/// The next deadline; `None` when only an event can change anything.
pub fn next(fleet: &Fleet) -> Option<Mono> {
    // Without sight only a look changes anything; a deadline that cannot be met would spin.
    if fleet.sight != Sight::Clear {
        return None;
    }
    let restarts =
        fleet.units.values().filter(|unit| unit.healed() && !unit.foreign).filter_map(|unit| {
            match &unit.life {
                Life::Dead { restart_at, .. } => *restart_at,
                Life::NotStarted
                | Life::Starting { .. }
                | Life::Running { .. }
                | Life::Stopping { .. }
                | Life::Failed { .. }
                | Life::Done { .. } => None,
            }
        });
    let brake = fleet.brake.as_ref().filter(|brake| !brake.asked).map(|brake| brake.look_again_at);
    let messages = fleet.units.values().filter(|unit| unit.is_running()).filter_map(outbox::wake);
    restarts.chain(brake).chain(messages).min()
}
