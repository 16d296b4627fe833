//! The document behind `ao explain NAME`: the last decision, its evidence, and what comes next.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;

use super::status;
use crate::base::human;
use crate::base::now::Now;
use crate::limits::window::Phase;
use crate::screen::Evidence;
use crate::supervise::outbox::Origin;
use crate::supervise::stall::{self, Rung, Verdict};
use crate::supervise::state::{Care, Fleet, Life, Pause, Sight, Unit, UnitKind};
use crate::supervise::{limit, pacing, waking};

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
    /// The usage limit that is waited out, or the one that was over last.
    pub limit: Option<LimitView>,
    /// How it stands with a stall.
    pub stall: String,
    /// When its next wake is due.
    pub next_wake: Option<String>,
    /// Messages that wait for it; `ao queue` shows them.
    pub queued: usize,
    /// What follows, and when.
    pub next: String,
    /// The phase it was started on, where it is a loop agent.
    pub phase: Option<String>,
    /// Messages that wait for it, each with what it waits for.
    pub held: Vec<String>,
    /// The newest lines of the event log about it, oldest first.
    pub history: Vec<String>,
}

/// One usage-limit window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LimitView {
    pub what: String,
    /// `quiet`, `probed`, `over`, or `waited out on the fallback`.
    pub phase: String,
    pub since: String,
    pub until: String,
    pub probes: u32,
    /// What its screen said.
    pub banner: String,
}

/// Explains one unit.
pub fn explain(fleet: &Fleet, unit: &Unit, history: Vec<String>, now: Now) -> Explanation {
    let (state, since) = status::state(unit);
    Explanation {
        version: 1,
        name: unit.spec.name.to_string(),
        state: state.to_owned(),
        since: since.map(time),
        last_event: unit.last.as_ref().map(|note| note.what.to_string()),
        last_event_at: unit.last.as_ref().map(|note| time(note.at)),
        evidence: unit.reading.as_ref().map(|known| known.evidence.to_vec()).unwrap_or_default(),
        idle_for_s: unit.reading.as_ref().map(|known| now.mono.since(known.active_at).as_secs()),
        restarts: unit.restarts_total,
        restarts_last_hour: unit.restarts.count(now.mono),
        restarts_allowed_per_hour: unit.spec.max_restarts,
        limit: limit_view(unit),
        stall: stall_words(fleet, unit, now),
        next_wake: waking::next(unit).map(time),
        queued: unit.outbox.len(),
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
    if let Some(words) = of_limit(fleet, unit, now) {
        return words;
    }
    match &unit.life {
        Life::NotStarted if unit.pause == Some(Pause::Finished) => {
            "nothing: every phase is done; a phase added to the config resumes it".to_owned()
        }
        Life::NotStarted if unit.wanted && unit.pause == Some(Pause::Moving) => {
            "it is started once all loop agents are down and the phase is written".to_owned()
        }
        Life::NotStarted if unit.wanted => "it is started at the next look".to_owned(),
        Life::NotStarted => format!("nothing: nobody asked for it; `ao up {name}` starts it"),
        Life::Starting { .. } => pacing::why(fleet, unit, now)
            .unwrap_or_else(|| "its session is being opened".to_owned()),
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
        Life::Running { .. } => running(fleet, unit, now),
    }
}

/// What follows from its usage limit.
fn of_limit(fleet: &Fleet, unit: &Unit, now: Now) -> Option<String> {
    if let Some(window) = &unit.away {
        let at = window.due(&fleet.settings.window());
        return Some(format!(
            "back from its fallback once it is idle, not before {}",
            moment(at, now)
        ));
    }
    let window = unit.window.as_ref().filter(|window| window.is_open())?;
    if !unit.healed() {
        return Some("nothing: it is limited and runs unsupervised".to_owned());
    }
    let deed = if window.dead { "it is started again" } else { "one probe" };
    if let Phase::Probed { at } = window.phase {
        let waits = unit.outbox.iter().any(|message| message.draft.origin == Origin::Probe);
        return Some(if waits {
            "the probe is typed as soon as it can be; see `ao queue`".to_owned()
        } else {
            format!("the probe of {} is judged by what its screen shows", time(at))
        });
    }
    let leaves = limit::leaves(fleet, now.wall);
    Some(match leaves.iter().find(|(name, _, _)| *name == unit.spec.name) {
        Some((_, at, true)) => {
            format!("{deed} at {}, as its account works again", moment(*at, now))
        }
        Some((_, at, false)) => format!("{deed} at {}", moment(*at, now)),
        None => {
            let at = window.due(&fleet.settings.window());
            format!(
                "{deed} after the first of its account was probed, not before {}",
                moment(at, now)
            )
        }
    })
}

fn moment(at: DateTime<Utc>, now: Now) -> String {
    match (at - now.wall).to_std() {
        Ok(left) if !left.is_zero() => format!("{} (in {})", time(at), human::duration(left)),
        Ok(_) | Err(_) => format!("{} (now)", time(at)),
    }
}

fn limit_view(unit: &Unit) -> Option<LimitView> {
    let window = unit.away.as_ref().or(unit.window.as_ref())?;
    let phase = match window.phase {
        _ if unit.away.is_some() => "waited out on the fallback",
        Phase::Quiet => "quiet",
        Phase::Probed { .. } => "probed",
        Phase::Released { .. } => "over",
    };
    Some(LimitView {
        what: window.scope.words(),
        phase: phase.to_owned(),
        since: time(window.since),
        until: time(window.until),
        probes: window.probes,
        banner: window.source_line.clone(),
    })
}

fn stall_words(fleet: &Fleet, unit: &Unit, now: Now) -> String {
    match stall::verdict(unit, fleet.settings.stall_grace, now) {
        Verdict::Spared(why) => format!("not judged: {why}"),
        Verdict::Deferred(until) => {
            format!("deferred by its own word until {}", moment(until, now))
        }
        Verdict::Patient { idle, patience, .. } => {
            format!("idle for {} of {}", human::duration(idle), human::duration(patience))
        }
        Verdict::Unproven { idle } => format!(
            "idle for {}, but its processes work, printed lately, or were not looked at long enough",
            human::duration(idle)
        ),
        Verdict::Stalled { idle } => format!("stalled: idle for {}", human::duration(idle)),
    }
}

fn running(fleet: &Fleet, unit: &Unit, now: Now) -> String {
    if let Some(at) = unit.overload.retry_at.filter(|_| unit.healed()) {
        let left = human::duration(at.since(now.mono));
        return format!("its provider was overloaded: it is asked to go on in {left}");
    }
    if let Verdict::Patient { at, .. } = stall::verdict(unit, fleet.settings.stall_grace, now) {
        let deed = match unit.stall.rung {
            Rung::Calm => "it is nudged",
            Rung::Nudged => "it is restarted with its conversation",
            Rung::Resumed | Rung::Fresh => "it is restarted with a new conversation",
        };
        let left = human::duration(at.since(now.mono));
        return format!("if nothing moves, {deed} in {left}; if it dies it is started again");
    }
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
