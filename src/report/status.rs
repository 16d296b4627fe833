//! The document behind `ao status`: who there is, what each does and since when.

use chrono::{DateTime, NaiveDate, SecondsFormat, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use super::usage::{Summary, UnitUsage};
use crate::base::now::Now;
use crate::config::{Agent, Config, Kind, Watch};
use crate::supervise::state::{Care, Fleet, Life, Sight, Unit, UnitKind};

/// `ao status --json`. Fields are only ever added within a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Status {
    pub version: u32,
    pub at: String,
    pub project: ProjectStatus,
    pub watchdog: WatchdogStatus,
    pub phase: Option<PhaseStatus>,
    pub agents: Vec<UnitStatus>,
    pub services: Vec<UnitStatus>,
    /// Why what is shown may be wrong: tmux did not answer.
    pub unknown: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ProjectStatus {
    pub config: String,
    pub session_prefix: String,
    pub log_dir: String,
    /// The tmux socket, for `tmux -S`.
    pub socket: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct WatchdogStatus {
    pub running: bool,
    pub pid: Option<u32>,
    pub since: Option<String>,
    /// Of what it last wrote down.
    pub age_s: Option<u64>,
    /// The version of `ao` it runs.
    pub ao: Option<String>,
    /// Why the newest config is not in force.
    pub config_problem: Option<String>,
    /// Why people could not be told of the last thing they should know.
    pub notify_problem: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PhaseStatus {
    pub index: usize,
    pub count: usize,
    pub id: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct UnitStatus {
    pub name: String,
    pub session: String,
    /// `loop`, `persistent`, `task` or `service`; `removed` when the config does not name it any more.
    pub kind: String,
    pub backend: Option<String>,
    pub model: Option<String>,
    pub watch: String,
    /// One of starting, working, idle, waiting, limited, overloaded, fatal, dead, done, unknown,
    /// running (a service), not started, failed, disabled.
    pub state: String,
    pub since: Option<String>,
    pub pid: Option<u32>,
    pub pane: Option<String>,
    pub wanted: bool,
    /// Since the project's state began.
    pub restarts: u32,
    /// The running process was started from another config.
    pub config_changed: bool,
    /// Something only a person can do.
    pub needs_person: bool,
    pub last_event: Option<String>,
    pub last_event_at: Option<String>,
    /// What the agent's transcript says; `null`: it has none that is known.
    pub usage: Option<UnitUsage>,
}

/// What the caller found out beside the fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub socket: String,
    pub watchdog_pid: Option<u32>,
    pub notify_problem: Option<String>,
    pub watchdog_since: Option<DateTime<Utc>>,
    pub snapshot_age_s: Option<u64>,
    pub ao: Option<String>,
    pub phase_index: usize,
}

/// Puts the document together.
pub fn status(fleet: &Fleet, config: &Config, found: &Found, now: Now) -> Status {
    let mut agents = Vec::new();
    let mut services = Vec::new();
    for agent in &config.agents {
        agents.push(unit(fleet.units.get(&agent.name), Of::Agent(agent), now));
    }
    for service in &config.services {
        let of = Of::Service(service.name.as_str(), service.session.as_str(), service.enabled);
        services.push(unit(fleet.units.get(&service.name), of, now));
    }
    for (name, left) in &fleet.units {
        if config.agent(name.as_str()).is_none() && config.service(name.as_str()).is_none() {
            let list =
                if left.spec.kind == UnitKind::Service { &mut services } else { &mut agents };
            list.push(unit(Some(left), Of::Removed(left), now));
        }
    }
    Status {
        version: 1,
        at: time(now.wall),
        project: ProjectStatus {
            config: config.file.display().to_string(),
            session_prefix: config.session_prefix.clone(),
            log_dir: config.log_dir.display().to_string(),
            socket: found.socket.clone(),
        },
        watchdog: WatchdogStatus {
            running: found.watchdog_pid.is_some(),
            pid: found.watchdog_pid,
            since: found.watchdog_since.map(time),
            age_s: found.snapshot_age_s,
            ao: found.ao.clone(),
            config_problem: fleet.config_problem.clone(),
            notify_problem: found.notify_problem.clone(),
        },
        phase: config.sequence.as_ref().map(|sequence| {
            let index = found.phase_index.min(sequence.phases.len().saturating_sub(1));
            PhaseStatus {
                index,
                count: sequence.phases.len(),
                id: sequence.phases.get(index).map_or_else(String::new, |phase| phase.id.clone()),
            }
        }),
        agents,
        services,
        unknown: match &fleet.sight {
            Sight::Blind { error, .. } => Some(error.clone()),
            Sight::Never | Sight::Clear => None,
        },
    }
}

/// Adds what the transcripts say, as far as it holds on `today`.
pub fn add_usage(status: &mut Status, summary: &Summary, today: NaiveDate) {
    for unit in &mut status.agents {
        unit.usage = summary.of(&unit.name, today);
    }
}

#[derive(Clone, Copy)]
enum Of<'a> {
    Agent(&'a Agent),
    Service(&'a str, &'a str, bool),
    Removed(&'a Unit),
}

fn unit(unit: Option<&Unit>, of: Of<'_>, now: Now) -> UnitStatus {
    let (name, session, kind, backend, model, watch, enabled) = match of {
        Of::Agent(agent) => (
            agent.name.to_string(),
            agent.session.to_string(),
            match agent.kind {
                Kind::Loop => "loop",
                Kind::Persistent => "persistent",
                Kind::Task => "task",
            },
            Some(agent.backend.clone()),
            agent.model.clone(),
            match agent.watch {
                Watch::None => "none",
                Watch::Heal => "heal",
                Watch::HealStall => "heal+stall",
            },
            agent.enabled,
        ),
        Of::Service(name, session, enabled) => {
            (name.to_owned(), session.to_owned(), "service", None, None, "heal", enabled)
        }
        Of::Removed(unit) => (
            unit.spec.name.to_string(),
            unit.spec.session.to_string(),
            "removed",
            None,
            None,
            match unit.spec.care {
                Care::None => "none",
                Care::Heal => "heal",
                Care::HealStall => "heal+stall",
            },
            true,
        ),
    };
    let (state, since) = unit.map_or(("not started", None), state);
    let state = if state == "not started" && !enabled { "disabled" } else { state };
    let (pid, pane) = match unit.map(|unit| &unit.life) {
        Some(Life::Running { pid, pane, .. }) => (Some(*pid), Some(pane.to_string())),
        Some(
            Life::NotStarted
            | Life::Starting { .. }
            | Life::Stopping { .. }
            | Life::Dead { .. }
            | Life::Failed { .. }
            | Life::Done { .. },
        )
        | None => (None, None),
    };
    let last = unit.and_then(|unit| unit.last.as_ref());
    let foreign = unit.is_some_and(|unit| unit.foreign);
    UnitStatus {
        name,
        session,
        kind: kind.to_owned(),
        backend,
        model,
        watch: watch.to_owned(),
        state: state.to_owned(),
        since: since.map(|since| time(since.min(now.wall))),
        pid,
        pane,
        wanted: unit.is_some_and(|unit| unit.wanted),
        restarts: unit.map_or(0, |unit| unit.restarts_total),
        config_changed: unit.is_some_and(Unit::config_changed),
        needs_person: foreign || matches!(state, "waiting" | "failed" | "fatal"),
        last_event: last.map(|note| note.what.clone()),
        last_event_at: last.map(|note| time(note.at)),
        usage: None,
    }
}

/// The one word for what a unit does, and since when.
pub fn state(unit: &Unit) -> (&'static str, Option<DateTime<Utc>>) {
    match &unit.life {
        Life::NotStarted => ("not started", None),
        Life::Starting { .. } => ("starting", None),
        Life::Running { since_wall, .. } => match (&unit.reading, unit.spec.kind) {
            (Some(known), _) => (known.state.word(), Some(known.since)),
            (None, UnitKind::Service) => ("running", Some(*since_wall)),
            (None, UnitKind::Agent | UnitKind::Task) => ("starting", Some(*since_wall)),
        },
        Life::Stopping { .. } => ("stopping", None),
        Life::Dead { since, .. } => ("dead", Some(*since)),
        Life::Failed { since, .. } => ("failed", Some(*since)),
        Life::Done { since } => ("done", Some(*since)),
    }
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}
