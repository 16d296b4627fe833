//! One unit: what each sighting, reading and wish means in each state of its life.
//!
//! The match statements are the table life × event. None has a wildcard over our own enums: a new
//! state does not compile until somebody has decided what everything means in it.

use std::time::Duration;

use super::action::{Action, Report, What};
use super::event::{Outcome, Seen};
use super::restart::Next;
use super::settings::Settings;
use super::state::{Care, Death, Known, Life, Note, Pause, Then, Unit, UnitKind};
use super::{limit, overload, stall};
use crate::base::human;
use crate::base::now::{Mono, Now};
use crate::config::section::detect::Cure;
use crate::screen::detect::QUESTION;
use crate::screen::{PaneState, Reading};

/// A start whose outcome did not come for this long is taken as lost (a killed `ao` in between).
pub const START_LOST_AFTER: Duration = Duration::from_secs(30);
/// A stop whose outcome did not come for this long is asked for again.
pub const STOP_AGAIN_AFTER: Duration = Duration::from_secs(30);
/// `cd` or reading the prompt failed: the launch line exits with this, and trying again would not help.
pub const EXIT_CANNOT_START: i32 = 78;
/// A fatal screen must stand this long and be read twice before anything is killed for it.
pub const FATAL_DWELL: Duration = Duration::from_secs(5);
/// A look that misses a process this young may have been made before its start.
pub const YOUNG: Duration = Duration::from_secs(5);

/// The circumstances of one decision.
#[derive(Debug, Clone, Copy)]
pub struct Ctx<'a> {
    pub now: Now,
    /// Added to a restart, so that many do not start in one instant.
    pub delay: Duration,
    pub settings: &'a Settings,
}

/// What a look says of a unit. Answers whether it was found dead just now.
pub fn seen(unit: &mut Unit, seen: Option<&Seen>, ctx: Ctx<'_>, out: &mut Vec<Action>) -> bool {
    if !matches!(seen, Some(Seen::Foreign)) {
        unit.foreign = false;
    }
    match seen {
        Some(Seen::Alive { pane, pid, programs, cpu_ms, silent_ms }) => {
            alive(unit, pane, *pid, programs.as_deref(), ctx, out);
            if let Some(cpu_ms) = cpu_ms {
                stall::sampled(unit, *cpu_ms, *silent_ms, ctx.now);
            }
            false
        }
        // It was started, and ended before anybody heard of that.
        Some(Seen::Dead { death, of: Some(attempt) })
            if *attempt == unit.attempt && matches!(unit.life, Life::Starting { .. }) =>
        {
            died(unit, death, ctx, out);
            true
        }
        Some(Seen::Dead { death, of: _ }) => gone(unit, death, ctx, out),
        None => gone(unit, &Death::SessionGone, ctx, out),
        Some(Seen::Foreign) => {
            if !unit.foreign {
                unit.foreign = true;
                let why = format!(
                    "a session named `{}` exists that ao did not start; it is left alone",
                    unit.spec.session
                );
                note(unit, ctx.now, What::Foreign, &why, true, out);
            }
            gone(unit, &Death::SessionGone, ctx, out)
        }
    }
}

fn alive(
    unit: &mut Unit,
    pane: &crate::base::name::PaneId,
    pid: u32,
    programs: Option<&[String]>,
    ctx: Ctx<'_>,
    out: &mut Vec<Action>,
) {
    let now = ctx.now;
    unit.missed = false;
    let running = |since, since_wall| Life::Running { pane: pane.clone(), pid, since, since_wall };
    match &unit.life {
        Life::Running { pane: known, pid: known_pid, since, .. } => {
            let since = *since;
            if known != pane || *known_pid != pid {
                unit.life = running(now.mono, now.wall);
                unit.reading = None;
                note(unit, now, What::Adopted, &format!("it runs as pid {pid} now"), false, out);
            } else {
                unit.restarts.healthy_since(since, now.mono);
                judge_programs(unit, programs, now, out);
            }
        }
        Life::Stopping { since, .. } => {
            if now.mono.since(*since) >= STOP_AGAIN_AFTER {
                again(unit, now, out);
            }
        }
        Life::NotStarted
        | Life::Starting { .. }
        | Life::Dead { .. }
        | Life::Failed { .. }
        | Life::Done { .. } => {
            unit.life = running(now.mono, now.wall);
            unit.reading = None;
            note(unit, now, What::Adopted, &format!("found running as pid {pid}"), false, out);
        }
    }
}

fn gone(unit: &mut Unit, death: &Death, ctx: Ctx<'_>, out: &mut Vec<Action>) -> bool {
    match &unit.life {
        Life::Running { since, .. } => {
            let young = ctx.now.mono.since(*since) < YOUNG;
            let unseen = matches!(death, Death::SessionGone | Death::ServerGone { .. });
            if unseen && young && !unit.missed {
                unit.missed = true;
                out.push(Action::Look);
                return false;
            }
            died(unit, death, ctx, out);
            true
        }
        Life::Starting { since } => {
            let lost = ctx.now.mono.since(*since) >= START_LOST_AFTER;
            if lost {
                died(unit, &Death::StartLost, ctx, out);
            }
            lost
        }
        Life::Stopping { since, .. } => {
            if ctx.now.mono.since(*since) >= STOP_AGAIN_AFTER {
                again(unit, ctx.now, out);
            }
            false
        }
        Life::NotStarted => {
            // Wanted but not there: an interrupted `up`, or the machine was restarted.
            if unit.healed() && !unit.foreign && !unit.is_limited() {
                plan_start(unit, death, ctx, out);
            }
            false
        }
        Life::Dead { restart_at: None, evidence, .. } if unit.healed() && !unit.is_limited() => {
            // It became wanted while it was down.
            let evidence = evidence.clone();
            plan_start(unit, &evidence, ctx, out);
            false
        }
        Life::Dead { .. } | Life::Failed { .. } | Life::Done { .. } => false,
    }
}

/// It is proven dead: what follows.
pub fn died(unit: &mut Unit, death: &Death, ctx: Ctx<'_>, out: &mut Vec<Action>) {
    let now = ctx.now;
    let lived = match &unit.life {
        Life::Running { since, .. } => Some(now.mono.since(*since)),
        Life::NotStarted
        | Life::Starting { .. }
        | Life::Stopping { .. }
        | Life::Dead { .. }
        | Life::Failed { .. }
        | Life::Done { .. } => None,
    };
    unit.reading = None;
    unit.mismatched_looks = 0;
    unit.missed = false;
    let why = match lived {
        Some(lived) => format!("{} after {}", death.words(), human::duration(lived)),
        None => death.words(),
    };
    note(unit, now, What::Died, &why, false, out);
    if unit.spec.kind == UnitKind::Task && *death == (Death::Exited { status: 0 }) {
        unit.life = Life::Done { since: now.wall };
        note(unit, now, What::Done, "the task exited with status 0", true, out);
        return;
    }
    if *death == (Death::Exited { status: EXIT_CANNOT_START }) {
        let why = "it could not enter its folder or read its prompt (exit status 78); \
                   see `ao logs`";
        fail(unit, why, now, out);
        return;
    }
    if limit::died(unit, ctx.settings, now, out) {
        unit.life = Life::Dead { evidence: death.clone(), since: now.wall, restart_at: None };
        return;
    }
    if !unit.healed() {
        unit.life = Life::Dead { evidence: death.clone(), since: now.wall, restart_at: None };
        return;
    }
    plan_start(unit, death, ctx, out);
}

/// It is down and wanted: when it starts again, if at all.
fn plan_start(unit: &mut Unit, death: &Death, ctx: Ctx<'_>, out: &mut Vec<Action>) {
    let now = ctx.now;
    match unit.restarts.next(now.mono, unit.spec.max_restarts, seed(unit)) {
        Next::At(at) => {
            let at = Mono(at.0.max(now.mono.plus(ctx.delay).0));
            unit.life =
                Life::Dead { evidence: death.clone(), since: now.wall, restart_at: Some(at) };
            if at > now.mono {
                let wait = human::duration(at.since(now.mono));
                let why = format!("{}; next start in {wait}", death.words());
                note(unit, now, What::RestartPlanned, &why, false, out);
            }
        }
        Next::Exhausted { count, .. } => {
            let why = format!(
                "restarted {count} times within an hour, last: {}; `ao restart {}` tries again",
                death.words(),
                unit.spec.name
            );
            fail(unit, &why, now, out);
        }
    }
}

/// Left alone from here on, until a person says `restart` or `up`.
pub fn fail(unit: &mut Unit, why: &str, now: Now, out: &mut Vec<Action>) {
    unit.life = Life::Failed { why: why.to_owned(), since: now.wall };
    note(unit, now, What::Failed, why, true, out);
}

/// Why it cannot start while its session's name is another's.
pub fn taken(unit: &Unit) -> String {
    format!("a session named `{}` exists that ao did not start", unit.spec.session)
}

/// Opens a new attempt.
pub fn start(unit: &mut Unit, cause: &str, now: Now, out: &mut Vec<Action>) {
    unit.attempt += 1;
    unit.life = Life::Starting { since: now.mono };
    unit.reading = None;
    unit.mismatched_looks = 0;
    unit.missed = false;
    stall::begun(unit);
    note(unit, now, What::Starting, cause, false, out);
    out.push(Action::Start {
        unit: unit.spec.name.clone(),
        attempt: unit.attempt,
        fresh: unit.fresh_next,
        cause: cause.to_owned(),
        fallback: unit.away.is_some(),
    });
}

/// Ends it; what follows is said with `then`.
pub fn stop(unit: &mut Unit, then: Then, cause: &str, now: Now, out: &mut Vec<Action>) {
    unit.life = Life::Stopping { since: now.mono, then, cause: cause.to_owned() };
    // What its screen says from here on is about its end.
    unit.reading = None;
    unit.mismatched_looks = 0;
    unit.missed = false;
    note(unit, now, What::Stopping, cause, false, out);
    push_stop(unit, cause, out);
}

/// Asks for a stop whose outcome never came.
fn again(unit: &mut Unit, now: Now, out: &mut Vec<Action>) {
    let Life::Stopping { since, cause, .. } = &mut unit.life else { return };
    *since = now.mono;
    let cause = cause.clone();
    push_stop(unit, &cause, out);
}

fn push_stop(unit: &Unit, cause: &str, out: &mut Vec<Action>) {
    out.push(Action::Stop {
        unit: unit.spec.name.clone(),
        attempt: unit.attempt,
        cause: cause.to_owned(),
    });
}

/// `up`: make it wanted and running. Answers at once where there is nothing to wait for.
pub fn up(unit: &mut Unit, by_name: bool, now: Now, out: &mut Vec<Action>) -> Option<Outcome> {
    if !unit.spec.enabled && !by_name {
        return Some(Outcome::Disabled);
    }
    if unit.foreign {
        return Some(Outcome::Failed { why: taken(unit) });
    }
    // A disabled agent started by name runs, but nobody heals it.
    unit.wanted = unit.spec.enabled;
    if let Some(pause) = unit.pause {
        return held_down(unit, pause);
    }
    match &mut unit.life {
        Life::Running { .. } => Some(Outcome::AlreadyRunning),
        Life::Starting { .. } => None,
        Life::Stopping { then, .. } => {
            *then = Then::Restart;
            None
        }
        Life::NotStarted | Life::Dead { .. } | Life::Failed { .. } | Life::Done { .. } => {
            unit.restarts.cleared();
            start(unit, "asked for by `ao up`", now, out);
            None
        }
    }
}

/// Its sequence decides when it starts, if it does.
fn held_down(unit: &mut Unit, pause: Pause) -> Option<Outcome> {
    match pause {
        Pause::Finished => Some(Outcome::Finished),
        Pause::Moving => {
            // The move's end starts it, also one that failed.
            if matches!(unit.life, Life::Failed { .. }) {
                unit.life = Life::NotStarted;
                unit.restarts.cleared();
            }
            None
        }
    }
}

/// `down`: unwanted first, then stopped.
pub fn down(unit: &mut Unit, now: Now, out: &mut Vec<Action>) -> Option<Outcome> {
    unit.wanted = false;
    unit.woken_at = None;
    if unit.foreign
        && matches!(unit.life, Life::Dead { .. } | Life::Failed { .. } | Life::Done { .. })
    {
        // Only the foreign session is left under that name, and that one is not ours to end.
        unit.life = Life::NotStarted;
    }
    match &mut unit.life {
        Life::Stopping { then, .. } => {
            *then = Then::Rest;
            None
        }
        // The last words of an ended one may still stand in a dead pane: that session goes too.
        Life::Running { .. }
        | Life::Starting { .. }
        | Life::Dead { .. }
        | Life::Failed { .. }
        | Life::Done { .. } => {
            stop(unit, Then::Rest, "asked for by `ao down`", now, out);
            None
        }
        Life::NotStarted => Some(Outcome::NotRunning),
    }
}

/// `restart`: stop, start, and forget that it failed.
pub fn restart(unit: &mut Unit, fresh: bool, now: Now, out: &mut Vec<Action>) -> Option<Outcome> {
    if unit.foreign {
        return Some(Outcome::Failed { why: taken(unit) });
    }
    unit.wanted = unit.spec.enabled;
    unit.fresh_next |= fresh;
    unit.restarts.cleared();
    if let Some(pause) = unit.pause {
        return held_down(unit, pause);
    }
    match &mut unit.life {
        Life::Running { .. } | Life::Starting { .. } => {
            stop(unit, Then::Restart, "asked for by `ao restart`", now, out);
        }
        Life::Stopping { then, .. } => *then = Then::Restart,
        Life::NotStarted | Life::Dead { .. } | Life::Failed { .. } | Life::Done { .. } => {
            start(unit, "asked for by `ao restart`", now, out);
        }
    }
    None
}

/// A screen was read.
pub fn read(
    unit: &mut Unit,
    reading: &Reading,
    settings: &Settings,
    now: Now,
    out: &mut Vec<Action>,
) {
    if !unit.is_running() {
        return;
    }
    let before = unit.reading.as_ref().map(|known| known.state);
    let moved = unit.reading.as_ref().is_none_or(|known| known.live_hash != reading.live_hash);
    let active = moved || reading.state == PaneState::Working;
    match &mut unit.reading {
        Some(known) if known.state == reading.state => {
            known.looks = known.looks.saturating_add(1);
            if *known.evidence != *reading.evidence {
                known.evidence = reading.evidence.as_slice().into();
            }
            known.live_hash = reading.live_hash;
            if active {
                known.active_at = now.mono;
            }
        }
        known => {
            let active_at = match known {
                Some(known) if !active => known.active_at,
                Some(_) | None => now.mono,
            };
            *known = Some(Known {
                state: reading.state,
                since: now.wall,
                since_mono: now.mono,
                looks: 1,
                evidence: reading.evidence.as_slice().into(),
                active_at,
                live_hash: reading.live_hash,
            });
            let notify = reading.state == PaneState::Waiting;
            let asked = reading.evidence.iter().find(|evidence| evidence.rule == QUESTION);
            let why = asked.or(reading.evidence.first()).map_or_else(
                || reading.state.word().to_owned(),
                |evidence| format!("{}: {}", reading.state.word(), first_line(&evidence.text)),
            );
            note(unit, now, What::State, &why, notify, out);
        }
    }
    limit::read(unit, before, settings, now, out);
    overload::read(unit, reading.state, now);
    stall::read(unit, reading, now, out);
    fatal(unit, reading, now, out);
}

/// A conversation that cannot go on is started anew, once that is certain.
fn fatal(unit: &mut Unit, reading: &Reading, now: Now, out: &mut Vec<Action>) {
    if reading.state != PaneState::Fatal || !unit.healed() || unit.is_limited() {
        return;
    }
    match reading.cure {
        Some(Cure::Fresh) | None => {}
        Some(Cure::Person | Cure::Wait) => return,
    }
    let Some(known) = &unit.reading else { return };
    if !is_certain(known, now) {
        return;
    }
    let text = known.evidence.first().map_or("", |evidence| first_line(&evidence.text));
    let cause = format!("its conversation cannot go on: {text}");
    unit.fresh_next = true;
    replace(unit, &cause, now, out);
}

/// Whether a fatal screen was read often and long enough to act on it.
pub fn is_certain(known: &Known, now: Now) -> bool {
    known.looks >= 2 && now.mono.since(known.since_mono) >= FATAL_DWELL
}

/// Ends a process that is of no use and starts another when the backoff allows.
fn replace(unit: &mut Unit, cause: &str, now: Now, out: &mut Vec<Action>) {
    match unit.restarts.next(now.mono, unit.spec.max_restarts, seed(unit)) {
        Next::At(at) => stop(unit, Then::RestartAt { at }, cause, now, out),
        Next::Exhausted { count, .. } => {
            let why = format!("restarted {count} times within an hour, last: {cause}");
            stop(unit, Then::Fail, &why, now, out);
        }
    }
}

/// The wrong program in the pane, in two looks, is healed by a restart.
fn judge_programs(unit: &mut Unit, programs: Option<&[String]>, now: Now, out: &mut Vec<Action>) {
    let Some(programs) = programs else { return };
    let names = &unit.spec.process_names;
    // Of its fallback the names are not known; a limited one is left alone.
    let right = names.is_empty()
        || unit.away.is_some()
        || unit.is_limited()
        || programs.iter().any(|program| names.contains(program));
    if right || programs.is_empty() {
        unit.mismatched_looks = 0;
        return;
    }
    unit.mismatched_looks = unit.mismatched_looks.saturating_add(1);
    let waiting = unit.reading.as_ref().is_some_and(|known| known.state == PaneState::Waiting);
    if unit.mismatched_looks < 2 || !unit.healed() || waiting {
        return;
    }
    let cause = format!(
        "no `{}` runs in its pane (found {}) in two looks",
        names.join("` or `"),
        programs.join(", ")
    );
    replace(unit, &cause, now, out);
}

/// Writes the last event down and reports it.
pub fn note(unit: &mut Unit, now: Now, what: What, why: &str, notify: bool, out: &mut Vec<Action>) {
    unit.last = Some(Note { at: now.wall, what: format!("{}: {why}", what.word()).into() });
    let notify = notify && unit.spec.care != Care::None;
    out.push(Action::Report(Report {
        unit: Some(unit.spec.name.clone()),
        what,
        why: why.to_owned(),
        notify,
    }));
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or("")
}

/// Spreads the jitter of units that die together: FNV-1a over name and attempt.
fn seed(unit: &Unit) -> u64 {
    let bytes = unit.spec.name.as_str().bytes().chain(unit.attempt.to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
