//! The document behind `ao explain NAME`: the last decision, its evidence, and what comes next.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;

use super::status;
use crate::base::human;
use crate::base::now::Now;
use crate::screen::Evidence;
use crate::supervise::state::{Care, Fleet, Life, Pause, Sight, Unit, UnitKind};

/// `ao explain NAME --json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    pub version: u32,
    pub name: String,
    pub state: String,
    pub since: Option<String>,
    /// The last event, with its cause.
    pub last_event: Option<String>,
    pub last_event_at: Option<String>,
    /// What the screen showed, rule by rule.
    pub evidence: Vec<Evidence>,
    /// Since it was last seen working or its screen moved.
    pub idle_for_s: Option<u64>,
    pub restarts: u32,
    pub restarts_last_hour: u32,
    pub restarts_allowed_per_hour: u32,
    /// What follows, and when.
    pub next: String,
    /// The phase it was started on, where it is a loop agent.
    pub phase: Option<String>,
    /// Messages that wait for it, each with what it waits for.
    pub held: Vec<String>,
    /// The newest lines of the event log about it, oldest first.
    pub history: Vec<String>,
}

/// Explains one unit.
pub fn explain(fleet: &Fleet, unit: &Unit, history: Vec<String>, now: Now) -> Explanation {
    let (state, since) = status::state(unit);
    Explanation {
        version: 1,
        name: unit.spec.name.to_string(),
        state: state.to_owned(),
        since: since.map(time),
        last_event: unit.last.as_ref().map(|note| note.what.clone()),
        last_event_at: unit.last.as_ref().map(|note| time(note.at)),
        evidence: unit.reading.as_ref().map(|known| known.evidence.clone()).unwrap_or_default(),
        idle_for_s: unit.reading.as_ref().map(|known| now.mono.since(known.active_at).as_secs()),
        restarts: unit.restarts_total,
        restarts_last_hour: unit.restarts.count(now.mono),
        restarts_allowed_per_hour: unit.spec.max_restarts,
        next: next(fleet, unit, now),
        held: super::queue::waiting(fleet, now)
            .into_iter()
            .filter(|waiting| waiting.agent == unit.spec.name.as_str())
            .map(|waiting| format!("{} {}: {}", waiting.origin, waiting.id, waiting.waits_for))
            .collect(),
        phase: fleet.phases.given.get(&unit.spec.name).cloned(),
        history,
    }
}

fn next(fleet: &Fleet, unit: &Unit, now: Now) -> String {
    if let Sight::Blind { error, .. } = &fleet.sight {
        return format!("nothing until tmux answers again: {error}");
    }
    if unit.foreign {
        return "nothing: another session has its name; close that one, then `ao up`".to_owned();
    }
    let name = &unit.spec.name;
    match &unit.life {
        Life::NotStarted if unit.pause == Some(Pause::Finished) => {
            "nothing: every phase is done; a phase added to the config resumes it".to_owned()
        }
        Life::NotStarted if unit.wanted && unit.pause == Some(Pause::Moving) => {
            "it is started once all loop agents are down and the phase is written".to_owned()
        }
        Life::NotStarted if unit.wanted => "it is started at the next look".to_owned(),
        Life::NotStarted => format!("nothing: nobody asked for it; `ao up {name}` starts it"),
        Life::Starting { .. } => "its session is being opened".to_owned(),
        Life::Stopping { .. } => "its processes are being ended".to_owned(),
        Life::Failed { .. } => format!("nothing, until `ao restart {name}`"),
        Life::Done { .. } => format!("nothing: its task is done; `ao up {name}` runs it again"),
        Life::Dead { restart_at: Some(at), .. } => {
            let left = at.since(now.mono);
            if left.is_zero() {
                "it is started again now".to_owned()
            } else {
                format!("it is started again in {}", human::duration(left))
            }
        }
        Life::Dead { restart_at: None, .. } => {
            format!("nothing: it is not healed; `ao up {name}` starts it")
        }
        Life::Running { .. } => running(unit),
    }
}

fn running(unit: &Unit) -> String {
    if !unit.healed() {
        return "nothing: it runs unsupervised".to_owned();
    }
    match (unit.spec.kind, unit.spec.care) {
        (UnitKind::Task, _) => "when it exits with status 0 its task is done".to_owned(),
        (UnitKind::Service | UnitKind::Agent, Care::None) => {
            "nothing: it is only watched".to_owned()
        }
        (UnitKind::Service | UnitKind::Agent, Care::Heal | Care::HealStall) => {
            "if it dies it is started again".to_owned()
        }
    }
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}
