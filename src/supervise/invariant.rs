//! What must be true of the fleet after every event, whatever happened.

use super::sequence::FollowUp;
use super::state::{Fleet, Life};

/// Every broken rule, in words. Empty when all is well.
pub fn broken(fleet: &Fleet) -> Vec<String> {
    let mut found = Vec::new();
    let mut panes = std::collections::BTreeMap::new();
    for (name, unit) in &fleet.units {
        if unit.spec.name != *name {
            found.push(format!("`{name}` is filed under another unit's name"));
        }
        if let Life::Running { pane, .. } = &unit.life
            && let Some(other) = panes.insert(pane, name)
        {
            found.push(format!("`{name}` and `{other}` both claim pane {pane}"));
        }
        if unit.attempt == 0 && matches!(unit.life, Life::Starting { .. }) {
            found.push(format!("`{name}` is starting without an attempt"));
        }
        if !unit.is_running() && unit.reading.is_some() {
            found.push(format!("`{name}` does not run but has a reading"));
        }
    }
    if fleet.phases.finished.is_none() && fleet.phases.follow_up != FollowUp::None {
        found.push("the last task is due though the sequence is not complete".to_owned());
    }
    for debt in &fleet.owed {
        if debt.outcomes.values().all(Option::is_some) {
            found.push(format!("request {} is settled but not answered", debt.request.0));
        }
    }
    found
}
