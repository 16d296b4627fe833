//! One event in, actions out: takes events apart and asks the other files.
//!
//! Deliberately absent: retries of actions (their outcome event says what came of them) and any
//! look at a clock (`now` is an argument).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::action::{Action, Report, What};
use super::agent::{self, Ctx};
use super::event::{Event, Outcome, Request, RequestId, Seen, Sighting, StartOutcome, StopOutcome};
use super::outbox::{self, Draft};
use super::settings::Settings;
use super::state::{
    Brake, Death, Fleet, Life, Owed, ServerId, Sight, Then, Unit, UnitKind, UnitSpec,
};
use super::{limit, overload, pacing, pinging, probing, sequence, stall, waking};
use crate::base::human::count;
use crate::base::name::UnitName;
use crate::base::now::Now;

/// Deaths in one look from which on we look twice before believing them.
pub const MASS_DEATH_LEAST: usize = 5;
/// How long to wait before the second look: long enough for a slow server, short against a restart.
pub const MASS_DEATH_PAUSE: Duration = Duration::from_secs(5);
/// Between the restarts after a mass death, so that they do not start in one instant.
pub const STAGGER: Duration = Duration::from_millis(200);

/// Changes the fleet by one event and answers what is to be done, in order.
pub fn decide(fleet: &mut Fleet, event: &Event, now: Now) -> Vec<Action> {
    let mut out = Vec::new();
    let kept = outbox::kept(&fleet.units);
    pacing::keep(fleet, now);
    match event {
        Event::Configured { units, wanted, settings } => {
            fleet.settings = settings.clone();
            configured(fleet, units, wanted, &mut out);
            sequence::configured(fleet, &mut out);
        }
        Event::ConfigBroken { problem } => config_broken(fleet, problem, &mut out),
        Event::Looked { server, panes } => looked(fleet, *server, panes, now, &mut out),
        Event::ServerGone { evidence } => server_gone(fleet, evidence, now, &mut out),
        Event::LookFailed { error } => look_failed(fleet, error, now, &mut out),
        Event::Read { unit, attempt, reading } => {
            if let Some(found) = fleet.units.get_mut(unit)
                && found.attempt == *attempt
                && fleet.sight == Sight::Clear
            {
                agent::read(found, reading, &fleet.settings, now, &mut out);
            }
        }
        Event::Started { unit, attempt, outcome } => {
            if let Some(found) = fleet.units.get_mut(unit)
                && found.attempt == *attempt
            {
                started(found, outcome, &mut fleet.owed, &fleet.settings, now, &mut out);
            }
        }
        Event::Stopped { unit, attempt, outcome } => {
            if let Some(found) = fleet.units.get_mut(unit)
                && found.attempt == *attempt
            {
                stopped(found, outcome, &mut fleet.owed, &fleet.settings, now, &mut out);
            }
        }
        Event::Typed { unit, message, outcome } => {
            if let Some(found) = fleet.units.get_mut(unit) {
                limit::probed(found, *message, outcome, now);
                outbox::typed(found, *message, outcome, now, &mut out);
                limit::tidy(found);
            }
        }
        Event::LimitRecalled { unit, window } => {
            if let Some(found) = fleet.units.get_mut(unit) {
                limit::recalled(found, window);
            }
        }
        Event::WakeText { unit, text } => {
            if let Some(found) = fleet.units.get_mut(unit) {
                waking::text(found, &mut fleet.newest_message, text, now, &mut out);
            }
        }
        Event::Requested { id, request: Request::Send { unit, draft, wait } } => {
            send(fleet, id, unit, draft, *wait, now, &mut out);
        }
        Event::Requested { id, request } => requested(fleet, id, request, now, &mut out),
        Event::Sequence { heard } => sequence::heard(fleet, heard, now, &mut out),
        Event::Handoff { look } => pinging::looked(fleet, look, now, &mut out),
        Event::Pressure { pressure } => fleet.pacing.pressure = *pressure,
        Event::Tick => {
            stall::due(fleet, now, &mut out);
            limit::due(fleet, now, &mut out);
            overload::due(fleet, now, &mut out);
            waking::due(fleet, now, &mut out);
        }
    }
    if fleet.sight == Sight::Clear && fleet.brake.is_none() {
        sequence::due(fleet, now, &mut out);
    }
    match &mut fleet.brake {
        Some(brake) if brake.look_again_at <= now.mono => {
            if matches!(event, Event::Tick) && !brake.asked {
                brake.asked = true;
                out.push(Action::Look);
            }
        }
        Some(_) | None => due(fleet, now, &mut out),
    }
    if fleet.sight == Sight::Clear {
        probing::hold(fleet, now);
        for unit in fleet.units.values_mut() {
            outbox::due(unit, now, &mut out);
        }
    }
    pacing::gate(fleet, now, &mut out);
    sequence::note_starts(fleet);
    answer(fleet, &mut out);
    if outbox::kept(&fleet.units) != kept && !out.contains(&Action::SaveHandoff) {
        // Before anything is typed: what is in the copy was never begun.
        out.insert(0, Action::SaveHandoff);
    }
    out
}

fn configured(
    fleet: &mut Fleet,
    units: &[UnitSpec],
    wanted: &BTreeSet<UnitName>,
    out: &mut Vec<Action>,
) {
    if fleet.config_problem.take().is_some() {
        out.push(report(None, What::ConfigLoaded, "the config loads again", false));
    }
    let listed: BTreeMap<&UnitName, &UnitSpec> =
        units.iter().map(|spec| (&spec.name, spec)).collect();
    for (name, unit) in &mut fleet.units {
        match listed.get(name) {
            Some(spec) => {
                if *unit.spec != **spec {
                    unit.spec = (*spec).clone().into();
                }
                unit.listed = spec.enabled;
            }
            None => unit.listed = false,
        }
        unit.wanted = wanted.contains(name);
    }
    for spec in units {
        fleet.units.entry(spec.name.clone()).or_insert_with(|| {
            let mut unit = Unit::new(spec.clone());
            unit.wanted = wanted.contains(&spec.name);
            unit
        });
    }
    // A removed unit that never ran leaves no trace; one that runs is shown until it is gone.
    fleet.units.retain(|name, unit| {
        listed.contains_key(name)
            || unit.wanted
            || matches!(
                unit.life,
                Life::Running { .. } | Life::Starting { .. } | Life::Stopping { .. }
            )
    });
}

fn config_broken(fleet: &mut Fleet, problem: &str, out: &mut Vec<Action>) {
    if fleet.config_problem.as_deref() != Some(problem) {
        fleet.config_problem = Some(problem.to_owned());
        out.push(report(None, What::ConfigBroken, problem, true));
    }
}

fn looked(
    fleet: &mut Fleet,
    server: ServerId,
    panes: &[Sighting],
    now: Now,
    out: &mut Vec<Action>,
) {
    if let Sight::Blind { .. } = fleet.sight {
        out.push(report(None, What::LookRecovered, "tmux answers again", false));
    }
    fleet.sight = Sight::Clear;
    let same_server = fleet.server == Some(server);
    let seen: BTreeMap<&UnitName, &Seen> =
        panes.iter().map(|sighting| (&sighting.unit, &sighting.seen)).collect();

    let running = fleet.units.values().filter(|unit| unit.is_running()).count();
    let dead = fleet
        .units
        .iter()
        .filter(|(name, unit)| {
            unit.is_running() && !matches!(seen.get(name), Some(Seen::Alive { .. }))
        })
        .count();
    let mass = same_server && dead >= MASS_DEATH_LEAST && dead * 2 > running;
    let mut stagger = Duration::ZERO;
    if mass {
        match &fleet.brake {
            None => {
                let look_again_at = now.mono.plus(MASS_DEATH_PAUSE);
                fleet.brake = Some(Brake { look_again_at, asked: false, dead, running });
                out.push(report(
                    None,
                    What::MassDeath,
                    &format!(
                        "{dead} of {} look dead at once on a living server: looking again in 5 s",
                        count(running, "unit")
                    ),
                    false,
                ));
                return;
            }
            Some(brake) if brake.look_again_at > now.mono => return,
            Some(_) => {
                stagger = STAGGER;
                out.push(report(
                    None,
                    What::MassDeath,
                    &format!(
                        "{dead} of {} are dead in two looks 5 s apart; the tmux server (pid {}) \
                         lives; restarting them one by one",
                        count(running, "unit"),
                        server.pid
                    ),
                    true,
                ));
            }
        }
    }
    fleet.brake = None;
    fleet.server = Some(server);
    let mut delay = Duration::ZERO;
    for (name, unit) in &mut fleet.units {
        let ctx = Ctx { now, delay, settings: &fleet.settings };
        let was_starting = matches!(unit.life, Life::Starting { .. });
        let died = agent::seen(unit, seen.get(name).copied(), ctx, out);
        if was_starting {
            settle_lost_start(unit, &mut fleet.owed);
        }
        if died {
            delay += stagger;
        }
    }
}

fn server_gone(fleet: &mut Fleet, evidence: &str, now: Now, out: &mut Vec<Action>) {
    if let Sight::Blind { .. } = fleet.sight {
        out.push(report(None, What::LookRecovered, "the look settled: no server", false));
    }
    fleet.sight = Sight::Clear;
    fleet.brake = None;
    let had = fleet.units.values().any(Unit::is_running);
    if fleet.server.take().is_some() && had {
        out.push(report(None, What::ServerGone, evidence, true));
    }
    let death = Death::ServerGone { evidence: evidence.to_owned() };
    let death = Seen::Dead { death, of: None };
    for unit in fleet.units.values_mut() {
        let seen = unit.is_running().then_some(&death);
        let was_starting = matches!(unit.life, Life::Starting { .. });
        agent::seen(unit, seen, Ctx { now, delay: Duration::ZERO, settings: &fleet.settings }, out);
        if was_starting {
            settle_lost_start(unit, &mut fleet.owed);
        }
    }
}

/// A look answers for a start whose own outcome is late or lost.
fn settle_lost_start(unit: &Unit, owed: &mut [Owed]) {
    match &unit.life {
        Life::Running { .. } => settle(owed, &unit.spec.name, &Outcome::Started),
        Life::Dead { evidence, .. } => {
            settle(owed, &unit.spec.name, &Outcome::Failed { why: evidence.words() });
        }
        Life::Failed { why, .. } => {
            settle(owed, &unit.spec.name, &Outcome::Failed { why: why.clone() });
        }
        Life::NotStarted | Life::Starting { .. } | Life::Stopping { .. } | Life::Done { .. } => {}
    }
}

fn look_failed(fleet: &mut Fleet, error: &str, now: Now, out: &mut Vec<Action>) {
    if !matches!(fleet.sight, Sight::Blind { .. }) {
        fleet.sight = Sight::Blind { since: now.wall, error: error.to_owned() };
        out.push(report(None, What::LookFailed, error, false));
    }
}

fn started(
    unit: &mut Unit,
    outcome: &StartOutcome,
    owed: &mut [Owed],
    settings: &Settings,
    now: Now,
    out: &mut Vec<Action>,
) {
    let late = matches!(unit.life, Life::Dead { evidence: Death::StartLost, .. })
        && matches!(outcome, StartOutcome::Opened { .. });
    if !matches!(unit.life, Life::Starting { .. }) && !late {
        return;
    }
    let name = unit.spec.name.clone();
    match outcome {
        StartOutcome::Opened { pane, pid } => {
            unit.life = Life::Running {
                pane: pane.clone(),
                pid: *pid,
                since: now.mono,
                since_wall: now.wall,
            };
            unit.launched_digest = Some(unit.spec.launch_digest);
            unit.fresh_next = false;
            unit.foreign = false;
            unit.reading = None;
            agent::note(unit, now, What::Started, &format!("pane {pane}, pid {pid}"), false, out);
            settle(owed, &name, &Outcome::Started);
            limit::started(unit, settings, now, out);
        }
        StartOutcome::Refused { why } => {
            agent::fail(unit, why, now, out);
            settle(owed, &name, &Outcome::Failed { why: why.clone() });
        }
        StartOutcome::Failed { why } => {
            agent::note(unit, now, What::StartFailed, why, false, out);
            agent::died(unit, &Death::StartLost, Ctx { now, delay: Duration::ZERO, settings }, out);
            settle(owed, &name, &Outcome::Failed { why: why.clone() });
        }
    }
}

fn stopped(
    unit: &mut Unit,
    outcome: &StopOutcome,
    owed: &mut [Owed],
    settings: &Settings,
    now: Now,
    out: &mut Vec<Action>,
) {
    let Life::Stopping { then, cause, .. } = &unit.life else {
        return;
    };
    let (then, cause) = (*then, cause.clone());
    let name = unit.spec.name.clone();
    match outcome {
        StopOutcome::Gone { cut } => {
            unit.reading = None;
            let how = if *cut { "it did not leave by itself and was killed" } else { "it left" };
            agent::note(unit, now, What::Stopped, &format!("{cause}; {how}"), false, out);
            match then {
                Then::Rest => {
                    unit.life = Life::NotStarted;
                    settle(owed, &name, &Outcome::Stopped { cut: *cut });
                }
                Then::Restart if unit.foreign => {
                    let death = Death::Ended { cause: "its session's name was taken".to_owned() };
                    agent::died(unit, &death, Ctx { now, delay: Duration::ZERO, settings }, out);
                    settle(owed, &name, &Outcome::Failed { why: agent::taken(unit) });
                }
                Then::Restart => agent::start(unit, &cause, now, out),
                Then::Hold => unit.life = Life::NotStarted,
                Then::RestartAt { at } => {
                    let evidence = Death::Ended { cause };
                    unit.life = Life::Dead { evidence, since: now.wall, restart_at: Some(at) };
                }
                Then::Fail => {
                    agent::fail(unit, &cause, now, out);
                    settle(owed, &name, &Outcome::Failed { why: cause });
                }
            }
        }
        StopOutcome::Survived { pids } => {
            let pids: Vec<String> = pids.iter().map(ToString::to_string).collect();
            let why = format!("still running after SIGKILL: {}", pids.join(", "));
            agent::fail(unit, &why, now, out);
            settle(owed, &name, &Outcome::Failed { why });
        }
        StopOutcome::Failed { why } => {
            agent::note(unit, now, What::StopFailed, why, true, out);
            // Nothing is proven: the next look tells whether it lives. A move of the sequence must
            // not take it for one that is down; it is asked to stop again.
            unit.life = match then {
                Then::Hold => Life::Stopping { since: now.mono, then, cause },
                Then::Rest | Then::Restart | Then::RestartAt { .. } | Then::Fail => {
                    Life::NotStarted
                }
            };
            settle(owed, &name, &Outcome::Failed { why: why.clone() });
            out.push(Action::Look);
        }
    }
}

fn requested(
    fleet: &mut Fleet,
    id: &RequestId,
    request: &Request,
    now: Now,
    out: &mut Vec<Action>,
) {
    let names = match request {
        Request::Up { units, .. } | Request::Down { units } | Request::Restart { units, .. } => {
            units
        }
        Request::Phase { index } => {
            let outcomes = sequence::asked(fleet, *index, out);
            fleet.owed.push(Owed { request: id.clone(), outcomes });
            return;
        }
        Request::Send { .. } => return,
    };
    match request {
        Request::Up { by_name: false, .. } => sequence::bare_up(fleet, out),
        Request::Up { .. }
        | Request::Down { .. }
        | Request::Restart { .. }
        | Request::Send { .. }
        | Request::Phase { .. } => {}
    }
    let mut outcomes: BTreeMap<UnitName, Option<Outcome>> = BTreeMap::new();
    let mut wanted_changed = false;
    for name in names {
        let Some(unit) = fleet.units.get_mut(name) else {
            let why = "it is neither in the config nor running".to_owned();
            outcomes.insert(name.clone(), Some(Outcome::Failed { why }));
            continue;
        };
        let wanted_before = unit.wanted;
        let outcome = match request {
            Request::Up { by_name, .. } => agent::up(unit, *by_name, now, out),
            Request::Down { .. } => agent::down(unit, now, out),
            Request::Restart { fresh, .. } => agent::restart(unit, *fresh, now, out),
            Request::Send { .. } | Request::Phase { .. } => None,
        };
        wanted_changed |= unit.wanted != wanted_before;
        let runs = unit.wanted || (outcome.is_none() && !matches!(request, Request::Down { .. }));
        outcomes.insert(name.clone(), outcome);
        sequence::wished(fleet, name, runs);
    }
    if wanted_changed {
        // Written down before the first signal is sent or the first session opened.
        out.insert(0, Action::SaveWanted);
    }
    fleet.owed.push(Owed { request: id.clone(), outcomes });
}

/// `ao send`: into the agent's queue. Whoever waits is answered when its fate is known.
fn send(
    fleet: &mut Fleet,
    id: &RequestId,
    unit: &UnitName,
    draft: &Draft,
    wait: bool,
    now: Now,
    out: &mut Vec<Action>,
) {
    let answered = |outcome| Action::Answer {
        id: id.clone(),
        outcomes: BTreeMap::from([(unit.clone(), outcome)]),
    };
    let Some(found) =
        fleet.units.get_mut(unit).filter(|found| found.spec.kind != UnitKind::Service)
    else {
        let why = "there is no agent of that name".to_owned();
        out.push(answered(Outcome::NotSubmitted { why }));
        return;
    };
    let waits = wait.then(|| id.clone());
    let message = outbox::push(found, &mut fleet.newest_message, draft.clone(), waits, now, out);
    match message {
        Some(message) if !wait => out.push(answered(Outcome::Queued { message })),
        None if !wait => {
            let why = "its queue is full; see `ao queue`".to_owned();
            out.push(answered(Outcome::NotSubmitted { why }));
        }
        Some(_) | None => {}
    }
}

/// Starts what is due.
fn due(fleet: &mut Fleet, now: Now, out: &mut Vec<Action>) {
    if fleet.sight != Sight::Clear {
        return;
    }
    for unit in fleet.units.values_mut() {
        if let Life::Dead { restart_at: Some(at), evidence, .. } = &unit.life
            && *at <= now.mono
            && unit.healed()
            && !unit.foreign
        {
            let cause = evidence.words();
            unit.restarts.record(now.mono);
            unit.restarts_total += 1;
            agent::start(unit, &cause, now, out);
        }
    }
}

pub(super) fn settle(owed: &mut [Owed], name: &UnitName, outcome: &Outcome) {
    for debt in owed {
        if let Some(slot @ None) = debt.outcomes.get_mut(name) {
            *slot = Some(outcome.clone());
        }
    }
}

fn answer(fleet: &mut Fleet, out: &mut Vec<Action>) {
    fleet.owed.retain(|debt| {
        let complete: Option<BTreeMap<UnitName, Outcome>> = debt
            .outcomes
            .iter()
            .map(|(name, outcome)| outcome.clone().map(|outcome| (name.clone(), outcome)))
            .collect();
        match complete {
            Some(outcomes) => {
                out.push(Action::Answer { id: debt.request.clone(), outcomes });
                false
            }
            None => true,
        }
    });
}

fn report(unit: Option<&UnitName>, what: What, why: &str, notify: bool) -> Action {
    Action::Report(Report { unit: unit.cloned(), what, why: why.to_owned(), notify })
}
