//! Who sits idle for too long, by two kinds of evidence, and the ladder that follows.
//!
//! First evidence: no work on the screen and a live region that does not move, for `stall_idle`. Second:
//! the pane's processes used no CPU in that time. Then a nudge is typed; without work after it the
//! agent is restarted with its conversation, then with a new one, each step at twice the patience of
//! the last, up to an hour. Work resets the ladder. None of this feeds the crash breaker.
//!
//! Surprise: the boot clock runs while the machine sleeps and while nobody watches. Time counts as
//! idle only when it was seen to pass: a gap between two ticks moves everything by its length.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::action::{Action, What};
use super::agent;
use super::outbox::{self, Draft, Origin};
use super::state::{Care, Fleet, Known, Life, Sight, Then, Unit, UnitKind};
use crate::base::human;
use crate::base::now::{Mono, Now};
use crate::screen::marker::Marker;
use crate::screen::{PaneState, Reading};

/// The longest patience that doubling leads to.
const PATIENCE_MAX: Duration = Duration::from_secs(3_600);
/// A screen that says "working" and stands still needs this many times the patience.
const FROZEN_FACTOR: u32 = 3;
/// And at least this long: a quiet tool may take its time.
const FROZEN_LEAST: Duration = Duration::from_secs(900);
/// Two ticks further apart than this: the machine slept, or nobody watched.
const GAP: Duration = Duration::from_secs(180);
/// How often the passing of time is written down.
const AWAKE_EVERY: Duration = Duration::from_secs(60);
/// After a restart work counts from here on.
const FIRST_TURN: Duration = Duration::from_secs(120);
/// CPU below this share of the time is a CLI that draws its cursor, not work: one part in so many.
const IDLE_CPU_SHARE: u64 = 40;

/// What is remembered of one unit's idleness.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StallClock {
    pub cpu: Option<Cpu>,
    pub rung: Rung,
    /// Steps without work in between.
    pub doublings: u32,
    /// When the last step was taken; idleness counts from there.
    pub stepped_at: Option<Mono>,
    /// Its own word that it will be quiet until then.
    pub waits_until: Option<DateTime<Utc>>,
    /// The marker that people were told is not believed.
    pub refused: Option<String>,
}

/// What the pane's process tree used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cpu {
    /// Milliseconds of CPU of all its processes so far.
    pub ms: u64,
    pub at: Mono,
    /// It has used next to nothing since then.
    pub quiet_since: Option<Mono>,
    /// When its pane last printed anything.
    pub printed_at: Option<Mono>,
}

/// The last step taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rung {
    #[default]
    Calm,
    Nudged,
    Resumed,
    Fresh,
}

/// How a unit stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Not judged, and why.
    Spared(&'static str),
    /// Its own marker counts until then.
    Deferred(DateTime<Utc>),
    /// Idle for so long of so long.
    Patient {
        idle: Duration,
        patience: Duration,
        at: Mono,
    },
    /// Long enough by its screen, but its processes work or were not looked at yet.
    Unproven {
        idle: Duration,
    },
    Stalled {
        idle: Duration,
    },
}

/// A screen was read: work ends a stall, a marker defers it.
pub fn read(unit: &mut Unit, reading: &Reading, now: Now, out: &mut Vec<Action>) {
    // A nudge that still waits is about a stall that is over.
    let spared = reading.state == PaneState::Working && drop_nudge(unit);
    if reading.state == PaneState::Working && proven(unit, now) {
        let step = match unit.stall.rung {
            Rung::Nudged if spared => "a while, without the nudge",
            Rung::Nudged => "the nudge",
            Rung::Calm | Rung::Resumed | Rung::Fresh => "its restart",
        };
        unit.stall.rung = Rung::Calm;
        unit.stall.doublings = 0;
        unit.stall.stepped_at = None;
        agent::note(unit, now, What::Stall, &format!("it works again after {step}"), false, out);
    }
    let refused = match &reading.marker {
        Some(Marker::Until(until)) => {
            unit.stall.waits_until = Some(*until);
            None
        }
        Some(Marker::Past(at)) => Some(format!("its WAITING-UNTIL has passed ({at})")),
        Some(Marker::TooFar(at)) => Some(format!("its WAITING-UNTIL is too far ahead ({at})")),
        Some(Marker::Unreadable(text)) => Some(format!("its WAITING-UNTIL is no time: {text}")),
        None => None,
    };
    if !matches!(reading.marker, Some(Marker::Until(_))) {
        unit.stall.waits_until = None;
    }
    if refused != unit.stall.refused {
        unit.stall.refused.clone_from(&refused);
        if let Some(why) = refused.filter(|_| unit.spec.care == Care::HealStall) {
            agent::note(unit, now, What::Stall, &why, false, out);
        }
    }
}

/// Takes an untyped nudge back; whether there was one.
fn drop_nudge(unit: &mut Unit) -> bool {
    let before = unit.outbox.len();
    unit.outbox.retain(|message| {
        message.draft.origin != Origin::Nudge || message.stage != outbox::Stage::Queued
    });
    unit.outbox.len() < before
}

/// Whether work that is seen now shows that the last step helped. Every start works for a while, on its
/// first prompt; only what goes on after that counts.
fn proven(unit: &Unit, now: Now) -> bool {
    match unit.stall.rung {
        Rung::Calm => false,
        Rung::Nudged => true,
        Rung::Resumed | Rung::Fresh => {
            unit.stall.stepped_at.is_none_or(|at| now.mono.since(at) >= FIRST_TURN)
        }
    }
}

/// A deep look: the CPU of its processes so far, and how long its pane has printed nothing.
pub fn sampled(unit: &mut Unit, cpu_ms: u64, silent_ms: Option<u64>, now: Now) {
    let printed_at = silent_ms.map(|silent| Mono(now.mono.0.saturating_sub(silent)));
    let quiet_since = match &unit.stall.cpu {
        Some(last) if now.mono > last.at => {
            let elapsed = now.mono.0 - last.at.0;
            // Less than before: processes of it have ended, so something was done.
            let used = cpu_ms.checked_sub(last.ms);
            let quiet = used.is_some_and(|used| used.saturating_mul(IDLE_CPU_SHARE) <= elapsed);
            if quiet { Some(last.quiet_since.unwrap_or(last.at)) } else { None }
        }
        Some(last) => last.quiet_since,
        None => None,
    };
    unit.stall.cpu = Some(Cpu { ms: cpu_ms, at: now.mono, quiet_since, printed_at });
}

/// A process that was begun anew has its own CPU; the ladder goes on.
pub fn begun(unit: &mut Unit) {
    drop_nudge(unit);
    unit.stall.cpu = None;
    unit.stall.waits_until = None;
}

/// Whether CPU figures are worth their price now: somebody sits still.
pub fn suspects(fleet: &Fleet) -> bool {
    fleet.units.values().any(|unit| {
        unit.spec.care == Care::HealStall
            && unit.spec.kind != UnitKind::Service
            && unit.healed()
            && unit.is_running()
            && !unit.is_limited()
    })
}

/// How long it may sit idle now.
pub fn patience(unit: &Unit) -> Duration {
    let base = unit.spec.stall_idle;
    let factor = 1_u32.checked_shl(unit.stall.doublings).unwrap_or(u32::MAX);
    base.saturating_mul(factor).min(PATIENCE_MAX.max(base))
}

/// How the unit stands now.
pub fn verdict(unit: &Unit, grace: Duration, now: Now) -> Verdict {
    if unit.spec.care != Care::HealStall || !unit.healed() {
        return Verdict::Spared("its watch policy does not look for stalls");
    }
    if unit.spec.kind == UnitKind::Service || !unit.is_running() || unit.foreign {
        return Verdict::Spared("it does not run");
    }
    if unit.is_limited() {
        return Verdict::Spared("it is limited");
    }
    if unit.spec.habits.remote_turns {
        return Verdict::Spared("its turns live in another process, whose work cannot be seen");
    }
    let Some(known) = &unit.reading else { return Verdict::Spared("its screen was not read yet") };
    let frozen = match known.state {
        PaneState::Idle | PaneState::Unknown => false,
        PaneState::Working => true,
        PaneState::Waiting => return Verdict::Spared("it waits for a person"),
        PaneState::Limited => return Verdict::Spared("its screen shows a usage limit"),
        PaneState::Overloaded => return Verdict::Spared("its provider is overloaded"),
        PaneState::Starting => return Verdict::Spared("it is starting"),
        PaneState::Fatal => return Verdict::Spared("its conversation cannot go on"),
        PaneState::Dead | PaneState::Done => return Verdict::Spared("it has ended"),
    };
    if !unit.outbox.is_empty() {
        return Verdict::Spared("a message waits for it");
    }
    if let Some(until) = unit.stall.waits_until {
        let end = until + TimeDelta::from_std(grace).unwrap_or(TimeDelta::MAX);
        if now.wall < end {
            return Verdict::Deferred(end);
        }
    }
    by_clock(unit, known, frozen, now)
}

fn by_clock(unit: &Unit, known: &Known, frozen: bool, now: Now) -> Verdict {
    let base = patience(unit);
    let patience = if frozen { base.saturating_mul(FROZEN_FACTOR).max(FROZEN_LEAST) } else { base };
    let from = known.active_at.max(unit.stall.stepped_at.unwrap_or(Mono(0)));
    let idle = now.mono.since(from);
    if idle < patience {
        return Verdict::Patient { idle, patience, at: from.plus(patience) };
    }
    let Some(cpu) = &unit.stall.cpu else { return Verdict::Unproven { idle } };
    let recent = now.mono.since(cpu.at) <= unit.spec.stall_idle.max(Duration::from_secs(60));
    let quiet = cpu.quiet_since.is_some_and(|since| cpu.at.since(since) >= unit.spec.stall_idle);
    // A pane that printed since then moved, whether its screen could be read or not.
    let grace =
        if frozen { patience } else { Duration::from_millis(unit.spec.habits.log_grace_ms) };
    let printed = cpu.printed_at.is_some_and(|at| now.mono.since(at) < grace);
    if recent && quiet && !printed { Verdict::Stalled { idle } } else { Verdict::Unproven { idle } }
}

/// Everything that time alone brings about; ticks come after the newest readings.
pub fn due(fleet: &mut Fleet, now: Now, out: &mut Vec<Action>) {
    if fleet.sight != Sight::Clear {
        return;
    }
    pass(fleet, now);
    let grace = fleet.settings.stall_grace;
    for unit in fleet.units.values_mut() {
        let Verdict::Stalled { idle } = verdict(unit, grace, now) else { continue };
        let text = fleet.settings.nudge_text.clone();
        climb(unit, idle, text, &mut fleet.newest_message, now, out);
    }
}

/// Time that nobody saw pass is not idle time.
fn pass(fleet: &mut Fleet, now: Now) {
    let Some(awake_at) = fleet.awake_at else {
        fleet.awake_at = Some(now.mono);
        return;
    };
    let gap = now.mono.since(awake_at);
    if gap >= GAP {
        for unit in fleet.units.values_mut() {
            let moved = |at: &mut Mono| *at = at.plus(gap).min(now.mono);
            unit.reading.iter_mut().for_each(|known| moved(&mut known.active_at));
            unit.stall.stepped_at.iter_mut().for_each(moved);
            // What the processes did meanwhile is unknown.
            unit.stall.cpu = None;
        }
    }
    if gap >= AWAKE_EVERY || now.mono < awake_at {
        fleet.awake_at = Some(now.mono);
    }
}

/// The next step of the ladder.
fn climb(
    unit: &mut Unit,
    idle: Duration,
    text: String,
    newest: &mut outbox::MessageId,
    now: Now,
    out: &mut Vec<Action>,
) {
    let frozen = unit.reading.as_ref().is_some_and(|known| known.state == PaneState::Working);
    let patience = patience(unit);
    let saw = format!(
        "{} for {} without CPU",
        if frozen { "its screen has stood still" } else { "idle" },
        human::duration(idle)
    );
    unit.stall.stepped_at = Some(now.mono);
    unit.stall.doublings = (unit.stall.doublings + 1).min(30);
    match unit.stall.rung {
        Rung::Calm if !frozen => {
            unit.stall.rung = Rung::Nudged;
            agent::note(unit, now, What::Stall, &format!("{saw}: it is nudged"), false, out);
            let draft = Draft {
                text,
                origin: Origin::Nudge,
                key: Some("nudge".to_owned()),
                expires_at: TimeDelta::from_std(patience).ok().map(|after| now.wall + after),
                busy_input: false,
                command: false,
            };
            outbox::push(unit, newest, draft, None, now, out);
        }
        Rung::Calm | Rung::Nudged => {
            unit.stall.rung = Rung::Resumed;
            reboot(unit, &format!("{saw}: restarted with its conversation"), now, out);
        }
        Rung::Resumed | Rung::Fresh => {
            unit.stall.rung = Rung::Fresh;
            unit.fresh_next = true;
            reboot(unit, &format!("{saw}: restarted with a new conversation"), now, out);
        }
    }
}

fn reboot(unit: &mut Unit, cause: &str, now: Now, out: &mut Vec<Action>) {
    agent::note(unit, now, What::Stall, cause, true, out);
    unit.restarts_total += 1;
    agent::stop(unit, Then::Restart, cause, now, out);
}

/// When patience ends, as far as that lies ahead.
pub fn wakes(fleet: &Fleet, now: Now) -> impl Iterator<Item = Mono> {
    let grace = fleet.settings.stall_grace;
    fleet.units.values().filter_map(move |unit| {
        if !matches!(unit.life, Life::Running { .. }) {
            return None;
        }
        match verdict(unit, grace, now) {
            Verdict::Patient { at, .. } => Some(at).filter(|at| *at > now.mono),
            Verdict::Deferred(until) => Some(super::limit::mono(until, now)),
            Verdict::Spared(_) | Verdict::Unproven { .. } | Verdict::Stalled { .. } => None,
        }
    })
}
