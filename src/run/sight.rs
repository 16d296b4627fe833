//! From what tmux shows to what the supervisor sees: which pane is whose, and how it ended.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::store::Store;
use super::units::Tag;
use crate::base::name::UnitName;
use crate::supervise::event::{Seen, Sighting};
use crate::supervise::state::{Death, Fleet, Life, Unit};
use crate::sys::process;
use crate::sys::tmux::{PaneFacts, World};

/// The panes that belong to units of this project, and sessions in their way.
pub fn sightings(
    fleet: &Fleet,
    project: &str,
    store: &Store,
    world: &World,
    programs: Option<&process::Snapshot>,
    wall: DateTime<Utc>,
) -> Vec<Sighting> {
    let mut by_session: BTreeMap<&str, Vec<&PaneFacts>> = BTreeMap::new();
    for pane in &world.panes {
        by_session.entry(pane.session.as_str()).or_default().push(pane);
    }
    let mut found = Vec::new();
    for (name, unit) in &fleet.units {
        let Some(panes) = by_session.get(unit.spec.session.as_str()) else { continue };
        let known = match &unit.life {
            Life::Running { pane, .. } => Some(pane),
            Life::NotStarted
            | Life::Starting { .. }
            | Life::Stopping { .. }
            | Life::Dead { .. }
            | Life::Failed { .. }
            | Life::Done { .. } => None,
        };
        // A person may have split the window: the pane we know, else the one with our mark.
        let ours: Vec<&&PaneFacts> =
            panes.iter().filter(|pane| is_ours(pane, project, name)).collect();
        let pane =
            ours.iter().find(|pane| Some(&pane.pane) == known).or_else(|| ours.first()).copied();
        let seen = match pane {
            None => Seen::Foreign,
            Some(pane) if pane.dead => {
                Seen::Dead { death: death(pane), of: attempt(store, unit, pane) }
            }
            Some(pane) => Seen::Alive {
                pane: pane.pane.clone(),
                pid: pane.pid,
                programs: programs.map(|snapshot| snapshot.tree_names(pane.pid)),
                cpu_ms: programs.map(|snapshot| snapshot.tree_cpu_ms(pane.pid)),
                silent_ms: programs.map(|_| {
                    let silent_s = wall.timestamp().saturating_sub(pane.activity);
                    u64::try_from(silent_s).unwrap_or(0).saturating_mul(1_000)
                }),
            },
        };
        found.push(Sighting { unit: name.clone(), seen });
    }
    found
}

/// Which start the pane is of; asked only where nobody has heard yet what came of one.
fn attempt(store: &Store, unit: &Unit, pane: &PaneFacts) -> Option<u64> {
    match unit.life {
        Life::Starting { .. } => {}
        Life::NotStarted
        | Life::Running { .. }
        | Life::Stopping { .. }
        | Life::Dead { .. }
        | Life::Failed { .. }
        | Life::Done { .. } => return None,
    }
    let tag = Tag::parse(&pane.tag)?;
    let record = store.launch_peek(&unit.spec.session)?;
    (record.start_id == tag.start_id).then_some(record.attempt)
}

fn is_ours(pane: &PaneFacts, project: &str, name: &UnitName) -> bool {
    Tag::parse(&pane.tag).is_some_and(|tag| tag.project == project && tag.unit == name.as_str())
}

fn death(pane: &PaneFacts) -> Death {
    match (pane.exit_signal, pane.exit_status) {
        (Some(signal), _) => Death::Signaled { signal },
        (None, Some(status)) => Death::Exited { status },
        (None, None) => Death::Unexplained,
    }
}
