//! The task that runs once when the sequence is complete (`on_complete`), and its trigger file.

use super::action::Action;
use super::agent;
use super::sequence::{FollowUp, Step, say};
use super::settings::SequenceSettings;
use super::state::{Death, Fleet, Life};
use crate::base::now::Now;

/// Starts of the completion task that were lost before it ran; more would hide that it cannot run.
const FOLLOW_UP_TRIES_MAX: u8 = 3;

/// The trigger file was looked for: the task runs if it was there.
pub(super) fn trigger(
    fleet: &mut Fleet,
    settings: &SequenceSettings,
    found: bool,
    now: Now,
    out: &mut Vec<Action>,
) {
    if fleet.phases.follow_up != FollowUp::Asked {
        return;
    }
    fleet.phases.follow_up = FollowUp::Settled;
    let Some(name) = settings.on_complete.as_ref() else { return };
    if !found {
        say(&format!("there is no trigger file: `{name}` is not run"), false, out);
        return;
    }
    let Some(unit) = fleet.units.get_mut(name) else { return };
    say(&format!("the trigger file is there: `{name}` runs"), false, out);
    drop(agent::up(unit, true, now, out));
    let attempt = unit.attempt;
    fleet.phases.follow_up = FollowUp::Starting { attempt, tries: 1 };
}

/// A start of the completion task that was lost with a crash is made again.
pub(super) fn due(fleet: &mut Fleet, settings: &SequenceSettings, now: Now, out: &mut Vec<Action>) {
    let FollowUp::Starting { attempt, tries } = fleet.phases.follow_up else { return };
    let unit = settings.on_complete.as_ref().and_then(|name| fleet.units.get_mut(name));
    let lost = match unit.as_ref().map(|unit| &unit.life) {
        Some(Life::Starting { .. }) => return,
        Some(
            Life::NotStarted | Life::Dead { evidence: Death::StartLost, restart_at: None, .. },
        ) => unit.as_ref().is_some_and(|unit| unit.attempt == attempt),
        Some(
            Life::Running { .. }
            | Life::Stopping { .. }
            | Life::Dead { .. }
            | Life::Failed { .. }
            | Life::Done { .. },
        )
        | None => false,
    };
    match unit {
        Some(unit) if lost && unit.foreign => {}
        Some(unit) if lost && tries < FOLLOW_UP_TRIES_MAX => {
            agent::start(unit, "its start on completion was lost", now, out);
            let attempt = unit.attempt;
            fleet.phases.follow_up = FollowUp::Starting { attempt, tries: tries + 1 };
        }
        Some(_) | None => {
            fleet.phases.follow_up = FollowUp::Settled;
            out.push(Action::Sequence { step: Step::DropTrigger });
        }
    }
}
