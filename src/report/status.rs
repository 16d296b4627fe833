//! The document behind `ao status`: who there is, what each does and since when.

use chrono::{DateTime, NaiveDate, SecondsFormat, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use super::usage::{Summary, UnitUsage};
use crate::base::now::Now;
use crate::config::{Agent, Config, Kind, Watch};
use crate::supervise::outbox::Origin;
use crate::supervise::sequence::{Move, Target};
use crate::supervise::state::{Care, Fleet, Life, Pause, Sight, Unit, UnitKind};

/// `ao status --json`. Fields are only ever added within a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Status {
    pub version: u32,
    pub at: String,
    /// When the sessions were looked at: a few seconds ago by the watchdog, or just now.
    pub looked_at: String,
    pub project: ProjectStatus,
    pub watchdog: WatchdogStatus,
    pub phase: Option<PhaseStatus>,
    pub handoff: Option<HandoffStatus>,
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
    /// Every phase is done.
    pub complete: bool,
    /// Where the loop agents are being moved, and why.
    pub moving: Option<String>,
    /// The line of its status file that says it is done.
    pub done: Option<String>,
}

/// The branch and the inboxes that agents hand work over with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct HandoffStatus {
    /// Repository, remote and branch.
    pub source: String,
    /// The last look that succeeded.
    pub looked_at: Option<String>,
    /// The hash of the branch at that look.
    pub tip: Option<String>,
    /// Why looking fails.
    pub problem: Option<String>,
    /// Pings that wait until their agent can read them.
    pub pings_held: usize,
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
    /// running (a service), not started, finished, failed, disabled.
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
    /// A usage limit is waited out until then; not probed before.
    pub limited_until: Option<String>,
    /// It runs on its `on_limit` for as long as the limit of its own backend lasts.
    pub on_fallback: bool,
    /// Messages that wait until it can read them.
    pub queued: usize,
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
    pub looked_at: DateTime<Utc>,
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
        looked_at: time(found.looked_at),
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
                complete: fleet.phases.finished.is_some(),
                moving: fleet.phases.moving.as_ref().map(moving),
                done: fleet
                    .phases
                    .done
                    .as_ref()
                    .map(|done| format!("line {} of {}: {}", done.line, done.place, done.text)),
            }
        }),
        handoff: fleet.settings.handoff.as_ref().map(|watch| handoff(fleet, &watch.source)),
        agents,
        services,
        unknown: match &fleet.sight {
            Sight::Blind { error, .. } => Some(error.clone()),
            Sight::Never | Sight::Clear => None,
        },
    }
}

fn handoff(fleet: &Fleet, source: &str) -> HandoffStatus {
    let known = &fleet.handoff;
    let messages = fleet.units.values().flat_map(|unit| &unit.outbox);
    HandoffStatus {
        source: source.to_owned(),
        looked_at: known.looked_at.map(time),
        tip: known.seen.tip.as_ref().map(|tip| tip.id.clone()),
        problem: known.problem.clone(),
        pings_held: messages.filter(|message| message.draft.origin == Origin::Handoff).count(),
    }
}

fn moving(moving: &Move) -> String {
    let to = match &moving.to {
        Target::Phase { id, .. } => format!("to `{id}`"),
        Target::Complete { .. } => "to the end of the sequence".to_owned(),
    };
    match &moving.problem {
        Some(problem) => format!("{to}: {}; waits: {problem}", moving.cause),
        None => format!("{to}: {}", moving.cause),
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
    let fallback = match of {
        Of::Agent(agent) if unit.is_some_and(|unit| unit.away.is_some()) => agent.on_fallback(),
        Of::Agent(agent) => agent.clone(),
        Of::Service(..) | Of::Removed(_) => return unit_of(unit, of, None, now),
    };
    unit_of(unit, of, Some(&fallback), now)
}

/// `runs`: the agent as it runs now.
fn unit_of(unit: Option<&Unit>, of: Of<'_>, runs: Option<&Agent>, now: Now) -> UnitStatus {
    let (name, session, kind, backend, model, watch, enabled) = match of {
        Of::Agent(agent) => (
            agent.name.to_string(),
            agent.session.to_string(),
            match agent.kind {
                Kind::Loop => "loop",
                Kind::Persistent => "persistent",
                Kind::Task => "task",
            },
            runs.map(|agent| agent.backend.clone()),
            runs.and_then(|agent| agent.model.clone()),
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
    let away = unit.is_some_and(|unit| unit.away.is_some());
    let window = unit.and_then(|unit| unit.away.as_ref().or(unit.window.as_ref()));
    let window = window.filter(|window| window.is_open());
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
        limited_until: window.map(|window| time(window.until)),
        on_fallback: away,
        queued: unit.map_or(0, |unit| unit.outbox.len()),
        last_event: last.map(|note| note.what.to_string()),
        last_event_at: last.map(|note| time(note.at)),
        usage: None,
    }
}

/// The one word for what a unit does, and since when.
pub fn state(unit: &Unit) -> (&'static str, Option<DateTime<Utc>>) {
    match &unit.life {
        Life::NotStarted if unit.pause == Some(Pause::Finished) => ("finished", None),
        Life::NotStarted => ("not started", None),
        Life::Starting { .. } => ("starting", None),
        Life::Running { since_wall, .. } => match (&unit.reading, unit.spec.kind) {
            (Some(known), _) => (known.state.word(), Some(known.since)),
            (None, UnitKind::Service) => ("running", Some(*since_wall)),
            (None, UnitKind::Agent | UnitKind::Task) => ("starting", Some(*since_wall)),
        },
        Life::Stopping { .. } => ("stopping", None),
        Life::Dead { since, .. } if unit.is_limited() => ("limited", Some(*since)),
        Life::Dead { since, .. } => ("dead", Some(*since)),
        Life::Failed { since, .. } => ("failed", Some(*since)),
        Life::Done { since } => ("done", Some(*since)),
    }
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}
