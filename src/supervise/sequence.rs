//! The phases that all loop agents work on together: where they stand, and how they move.
//!
//! A move is stop the loop agents → write the index → start them. It is remembered whole, with its
//! stage, so a crash between any two steps resumes to the same end; and each agent is remembered with
//! the phase it was given, so one that works on another phase than the current is moved as well.
//!
//! The phase by hand, the next one by its done marker, the reset of a bare `up`, the end of the last
//! phase and the return from it are all the same move with another target.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::action::{Action, Report, What};
use super::agent;
use super::completion;
use super::decide::settle;
use super::event::Outcome;
use super::settings::SequenceSettings;
use super::state::{Fleet, Life, Pause, Then, Unit};
use crate::base::name::UnitName;
use crate::base::now::{Mono, Now};
use crate::handoff::done::Done;

/// A full disk may be mended at any time; trying is cheap.
const WRITE_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Where the sequence stands.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Phases {
    /// From 0; `None` until it was read from disk.
    pub current: Option<usize>,
    /// The id of the current phase, by which it is found again in a changed list.
    pub id: String,
    /// The phase each loop agent was started on.
    pub given: BTreeMap<UnitName, String>,
    pub moving: Option<Move>,
    /// The ids of all finished phases once the sequence is complete.
    pub finished: Option<Vec<String>>,
    pub follow_up: FollowUp,
    /// The line of the current phase's status file that says it is done.
    pub done: Option<Done>,
}

/// One move under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Move {
    pub to: Target,
    pub cause: String,
    /// Started at its end, beside those that are wanted.
    pub restart: BTreeSet<UnitName>,
    /// Agents that have this phase already start anew too.
    pub again: bool,
    pub stage: Stage,
    /// Why the files cannot be written, and when it is tried again.
    pub problem: Option<String>,
    pub retry_at: Option<Mono>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "target")]
pub enum Target {
    Phase {
        index: usize,
        id: String,
    },
    /// Every phase is done.
    Complete {
        finished: Vec<String>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    Stopping,
    Writing,
}

/// How far the task is that runs on completion.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "follow_up")]
pub enum FollowUp {
    #[default]
    None,
    /// Its trigger file is being looked for.
    Asked,
    Starting {
        attempt: u64,
        tries: u8,
    },
    Settled,
}

/// What was found out about the sequence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "heard")]
pub enum Heard {
    /// What is on disk: the index, and the ids of the completion marker.
    Files { index: Option<usize>, finished: Option<Vec<String>> },
    /// The status file of a phase was read.
    Status { phase: String, done: Option<Done> },
    /// The files of a move were written, or not.
    Written { problem: Option<String> },
    /// The trigger file of the completion task was there, and is taken.
    Trigger { found: bool },
}

/// What is to be done on disk. Each may be done twice without harm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "step")]
pub enum Step {
    /// Write the index and remove the completion marker. Answered by `Written`.
    SetPhase { index: usize },
    /// Write the index and the completion marker. Answered by `Written`.
    Complete { index: usize, finished: Vec<String> },
    /// Take the trigger file away. Answered by `Trigger`.
    TakeTrigger,
    /// The completion task runs: what is left of its trigger goes.
    DropTrigger,
}

/// Takes in what was found out.
pub fn heard(fleet: &mut Fleet, heard: &Heard, now: Now, out: &mut Vec<Action>) {
    let Some(settings) = fleet.settings.sequence.clone() else { return };
    match heard {
        Heard::Files { index, finished } => {
            files(fleet, &settings, *index, finished.as_ref(), out);
        }
        Heard::Status { phase, done } => status(fleet, &settings, phase, done.as_ref(), out),
        Heard::Written { problem: Some(problem) } => cannot_write(fleet, problem, now, out),
        Heard::Written { problem: None } => written(fleet, &settings, now, out),
        Heard::Trigger { found } => completion::trigger(fleet, &settings, *found, now, out),
    }
}

/// The list of phases may have changed.
pub fn configured(fleet: &mut Fleet, out: &mut Vec<Action>) {
    let Some(settings) = fleet.settings.sequence.clone() else {
        fleet.phases = Phases::default();
        fleet.units.values_mut().for_each(|unit| unit.pause = None);
        return;
    };
    for (name, unit) in &mut fleet.units {
        if !settings.members.contains_key(name) {
            unit.pause = None;
        }
    }
    relocate(fleet, &settings, out);
    resume_where_one_was_added(fleet, &settings, out);
    pause_members(fleet, &settings);
}

/// The current phase is found by its id in a list that was changed around it.
fn relocate(fleet: &mut Fleet, settings: &SequenceSettings, out: &mut Vec<Action>) {
    let phases = &mut fleet.phases;
    let last = settings.phases.len().saturating_sub(1);
    if let Some(Move { to: Target::Phase { index, id }, .. }) = &mut phases.moving {
        let place = settings.phases.iter().position(|known| known == id);
        *index = place.unwrap_or((*index).min(last));
        id.clone_from(&settings.phases[*index]);
    }
    let Some(current) = phases.current.filter(|_| phases.moving.is_none()) else { return };
    if settings.phases.get(current).is_some_and(|id| *id == phases.id) {
        return;
    }
    let found = settings.phases.iter().position(|id| *id == phases.id);
    let index = found.unwrap_or(current.min(last));
    if found.is_none() && phases.finished.is_none() {
        let cause = format!("`{}` is not in the list of phases any more", phases.id);
        begin(fleet, settings, phase(settings, index), &cause, false, out);
        return;
    }
    phases.current = Some(index);
    phases.id.clone_from(&settings.phases[index]);
    if phases.finished.is_none() {
        out.push(Action::Sequence { step: Step::SetPhase { index } });
    }
}

/// A phase that is not among the finished ones begins where everything was done.
fn resume_where_one_was_added(
    fleet: &mut Fleet,
    settings: &SequenceSettings,
    out: &mut Vec<Action>,
) {
    let Some(finished) = fleet.phases.finished.as_ref().filter(|_| fleet.phases.moving.is_none())
    else {
        return;
    };
    if let Some(index) = settings.phases.iter().position(|id| !finished.contains(id)) {
        let cause = format!("`{}` was added to the finished sequence", settings.phases[index]);
        begin(fleet, settings, phase(settings, index), &cause, false, out);
    }
}

fn files(
    fleet: &mut Fleet,
    settings: &SequenceSettings,
    index: Option<usize>,
    finished: Option<&Vec<String>>,
    out: &mut Vec<Action>,
) {
    let phases = &mut fleet.phases;
    let Some(current) = phases.current else {
        // Nothing is remembered: the files are all there is, and what agents were started on.
        let given = phases.given.values();
        let given = given.filter_map(|id| settings.phases.iter().position(|known| known == id));
        let index = index.or(given.max()).unwrap_or(0);
        let index = index.min(settings.phases.len().saturating_sub(1));
        phases.current = Some(index);
        phases.id.clone_from(&settings.phases[index]);
        phases.finished = finished.cloned();
        if phases.finished.is_some() {
            phases.follow_up = FollowUp::Settled;
        }
        resume_where_one_was_added(fleet, settings, out);
        pause_members(fleet, settings);
        return;
    };
    if let Some(moving) = &mut phases.moving {
        if moving.stage == Stage::Writing && moving.retry_at.is_none() {
            // The answer to the last write was lost with the process that waited for it.
            moving.stage = Stage::Stopping;
        }
        return;
    }
    if phases.follow_up == FollowUp::Asked {
        out.push(Action::Sequence { step: Step::TakeTrigger });
    }
    match index {
        Some(index) if index != current && index < settings.phases.len() => {
            let cause = "its index was written by hand";
            begin(fleet, settings, phase(settings, index), cause, false, out);
        }
        Some(index) if index == current && finished == phases.finished.as_ref() => {}
        Some(_) | None => out.push(Action::Sequence { step: restore(phases, current) }),
    }
}

/// The files as they ought to be.
fn restore(phases: &Phases, index: usize) -> Step {
    match &phases.finished {
        Some(finished) => Step::Complete { index, finished: finished.clone() },
        None => Step::SetPhase { index },
    }
}

fn status(
    fleet: &mut Fleet,
    settings: &SequenceSettings,
    id: &str,
    done: Option<&Done>,
    out: &mut Vec<Action>,
) {
    let phases = &mut fleet.phases;
    if phases.id != id || phases.moving.is_some() || phases.finished.is_some() {
        return;
    }
    let news = phases.done.is_none();
    phases.done = done.cloned();
    let (Some(done), Some(current)) = (done, phases.current) else { return };
    let evidence = format!("`{id}` is done: line {} of {}: {}", done.line, done.place, done.text);
    if !settings.auto_advance {
        if news {
            say(&format!("{evidence}; `ao phase next` moves on"), true, out);
        }
        return;
    }
    let target = if current + 1 < settings.phases.len() {
        phase(settings, current + 1)
    } else {
        Target::Complete { finished: settings.phases.clone() }
    };
    begin(fleet, settings, target, &evidence, false, out);
}

fn phase(settings: &SequenceSettings, index: usize) -> Target {
    Target::Phase { index, id: settings.phases[index].clone() }
}

/// A person moves the sequence: who is to answer for it.
pub fn asked(
    fleet: &mut Fleet,
    index: usize,
    out: &mut Vec<Action>,
) -> BTreeMap<UnitName, Option<Outcome>> {
    let Some(settings) = fleet.settings.sequence.clone() else { return BTreeMap::new() };
    let members: Vec<UnitName> = settings.members.keys().cloned().collect();
    if index >= settings.phases.len() {
        let why = format!("there is no phase {index}; phases: {}", listed(&settings.phases));
        let refused = |name| (name, Some(Outcome::Failed { why: why.clone() }));
        return members.into_iter().map(refused).collect();
    }
    begin(fleet, &settings, phase(&settings, index), "asked for by `ao phase`", true, out);
    let restart = fleet.phases.moving.as_ref().map(|moving| moving.restart.clone());
    let restart = restart.unwrap_or_default();
    let units = members.into_iter().filter_map(|name| {
        let unit = fleet.units.get(&name)?;
        match &unit.life {
            Life::Failed { why, .. } => Some((name, Some(Outcome::Failed { why: why.clone() }))),
            Life::NotStarted
            | Life::Starting { .. }
            | Life::Running { .. }
            | Life::Stopping { .. }
            | Life::Dead { .. }
            | Life::Done { .. } => restart.contains(&name).then_some((name, None)),
        }
    });
    units.collect()
}

fn listed(phases: &[String]) -> String {
    let steps: Vec<String> =
        phases.iter().enumerate().map(|(index, id)| format!("{index} `{id}`")).collect();
    steps.join(", ")
}

/// A bare `up` begins the sequence anew when the config says so and nobody works on it.
pub fn bare_up(fleet: &mut Fleet, out: &mut Vec<Action>) {
    let Some(settings) = fleet.settings.sequence.clone() else { return };
    let phases = &fleet.phases;
    let moved = phases.current.is_some_and(|current| current > 0) || phases.finished.is_some();
    let at_work = settings.members.keys().any(|name| fleet.units.get(name).is_some_and(is_active));
    if !settings.resume_phase && moved && !at_work && phases.moving.is_none() {
        let cause = "`resume_phase` is off and no loop agent runs";
        begin(fleet, &settings, phase(&settings, 0), cause, false, out);
    }
}

/// A wish about one unit while a move is under way: whether it starts at its end.
pub fn wished(fleet: &mut Fleet, name: &UnitName, runs: bool) {
    let Some(moving) = &mut fleet.phases.moving else { return };
    if runs {
        moving.restart.insert(name.clone());
    } else {
        moving.restart.remove(name);
    }
}

fn is_active(unit: &Unit) -> bool {
    match &unit.life {
        Life::Starting { .. } | Life::Running { .. } => true,
        Life::Stopping { then, .. } => match then {
            Then::Restart | Then::RestartAt { .. } | Then::Hold => true,
            Then::Rest | Then::Fail => false,
        },
        Life::NotStarted | Life::Dead { .. } | Life::Failed { .. } | Life::Done { .. } => false,
    }
}

fn begin(
    fleet: &mut Fleet,
    settings: &SequenceSettings,
    to: Target,
    cause: &str,
    again: bool,
    out: &mut Vec<Action>,
) {
    let earlier = fleet.phases.moving.take();
    let mut restart = earlier.map(|earlier| earlier.restart).unwrap_or_default();
    // One that was put down and could not be ended still runs, but nobody wants it back.
    let by_name = |unit: &Unit| is_active(unit) && !unit.spec.enabled;
    let members = fleet.units.iter().filter(|(name, unit)| {
        settings.members.contains_key(*name) && ((unit.wanted && unit.listed) || by_name(unit))
    });
    restart.extend(members.map(|(name, _)| name.clone()));
    let what = match &to {
        Target::Phase { index, id } => {
            format!("to {} of {}, `{id}`: {cause}", index + 1, settings.phases.len())
        }
        Target::Complete { .. } => format!("all phases are finished: {cause}"),
    };
    say(&what, matches!(to, Target::Complete { .. }), out);
    fleet.phases.moving = Some(Move {
        to,
        cause: cause.to_owned(),
        restart,
        again,
        stage: Stage::Stopping,
        problem: None,
        retry_at: None,
    });
    pause_members(fleet, settings);
}

/// Nobody of the sequence is started while it moves or when it is over.
fn pause_members(fleet: &mut Fleet, settings: &SequenceSettings) {
    let pause = match (&fleet.phases.moving, &fleet.phases.finished) {
        (Some(_), _) => Some(Pause::Moving),
        (None, Some(_)) => Some(Pause::Finished),
        (None, None) => None,
    };
    for name in settings.members.keys() {
        if let Some(unit) = fleet.units.get_mut(name) {
            unit.pause = pause;
        }
    }
}

/// The next step of a move, and whatever does not fit the phase. Only with sight.
pub fn due(fleet: &mut Fleet, now: Now, out: &mut Vec<Action>) {
    // Lent rather than copied: this runs with every event.
    let Some(settings) = fleet.settings.sequence.take() else { return };
    go_on(fleet, &settings, now, out);
    fleet.settings.sequence = Some(settings);
}

fn go_on(fleet: &mut Fleet, settings: &SequenceSettings, now: Now, out: &mut Vec<Action>) {
    completion::due(fleet, settings, now, out);
    if fleet.phases.moving.is_none() {
        strays(fleet, settings, now, out);
        return;
    }
    let Fleet { units, phases, .. } = fleet;
    let Some(moving) = &mut phases.moving else { return };
    let target = match &moving.to {
        Target::Phase { id, .. } => Some(id),
        Target::Complete { .. } => None,
    };
    let mut all_down = true;
    for name in settings.members.keys() {
        let Some(unit) = units.get_mut(name) else { continue };
        let has_it = !moving.again && target.is_some() && phases.given.get(name) == target;
        match &mut unit.life {
            Life::Running { .. } | Life::Starting { .. } if has_it => {}
            Life::Running { .. } | Life::Starting { .. } => {
                all_down = false;
                let cause = format!("its phase is over: {}", moving.cause);
                agent::stop(unit, Then::Hold, &cause, now, out);
            }
            Life::Stopping { then, .. } => {
                all_down = false;
                match then {
                    Then::Restart | Then::RestartAt { .. } => *then = Then::Hold,
                    Then::Rest | Then::Fail | Then::Hold => {}
                }
            }
            Life::NotStarted | Life::Dead { .. } | Life::Failed { .. } | Life::Done { .. } => {}
        }
    }
    let retry = moving.retry_at.is_some_and(|at| at <= now.mono);
    if !all_down || (moving.stage == Stage::Writing && !retry) {
        return;
    }
    // From here on nobody has an older phase, and who starts gets the new one.
    moving.stage = Stage::Writing;
    moving.retry_at = None;
    moving.again = false;
    let step = match &moving.to {
        Target::Phase { index, .. } => Step::SetPhase { index: *index },
        Target::Complete { finished } => Step::Complete {
            index: settings.phases.len().saturating_sub(1),
            finished: finished.clone(),
        },
    };
    out.push(Action::Sequence { step });
}

/// Who works on another phase than the current one is moved to it.
fn strays(fleet: &mut Fleet, settings: &SequenceSettings, now: Now, out: &mut Vec<Action>) {
    if fleet.phases.current.is_none() {
        return;
    }
    let over = fleet.phases.finished.is_some();
    let stray = settings.members.keys().find(|name| {
        let running = fleet.units.get(*name).is_some_and(Unit::is_running);
        let given = fleet.phases.given.get(*name);
        running && given.is_some_and(|given| over || *given != fleet.phases.id)
    });
    let Some(name) = stray else { return };
    let given = fleet.phases.given.get(name).cloned().unwrap_or_default();
    let (to, cause) = match (&fleet.phases.finished, fleet.phases.current) {
        (Some(finished), _) => (
            Target::Complete { finished: finished.clone() },
            format!("`{name}` still works on `{given}`"),
        ),
        (None, current) => (
            phase(settings, current.unwrap_or(0)),
            format!("`{name}` works on `{given}`, which is not the phase any more"),
        ),
    };
    begin(fleet, settings, to, &cause, false, out);
    go_on(fleet, settings, now, out);
}

/// Remembers which phase each start gets.
pub fn note_starts(fleet: &mut Fleet) {
    let Some(settings) = &fleet.settings.sequence else { return };
    let Fleet { units, phases, .. } = fleet;
    if phases.moving.is_some() || phases.current.is_none() {
        return;
    }
    for name in settings.members.keys() {
        let starting = |unit: &Unit| matches!(unit.life, Life::Starting { .. });
        if units.get(name).is_some_and(starting) && phases.given.get(name) != Some(&phases.id) {
            phases.given.insert(name.clone(), phases.id.clone());
        }
    }
}

fn cannot_write(fleet: &mut Fleet, problem: &str, now: Now, out: &mut Vec<Action>) {
    let Some(moving) = &mut fleet.phases.moving else {
        say(&format!("cannot write where it stands: {problem}"), true, out);
        return;
    };
    moving.retry_at = Some(now.mono.plus(WRITE_AGAIN_AFTER));
    if moving.problem.as_deref() != Some(problem) {
        moving.problem = Some(problem.to_owned());
        say(&format!("the move waits: {problem}"), true, out);
    }
}

fn written(fleet: &mut Fleet, settings: &SequenceSettings, now: Now, out: &mut Vec<Action>) {
    let stage = fleet.phases.moving.as_ref().map(|moving| moving.stage);
    if stage != Some(Stage::Writing) {
        return;
    }
    let Some(moving) = fleet.phases.moving.take() else { return };
    fleet.phases.done = None;
    match moving.to {
        Target::Phase { index, id } => {
            fleet.phases.current = Some(index);
            fleet.phases.id.clone_from(&id);
            fleet.phases.finished = None;
            fleet.phases.follow_up = FollowUp::None;
            pause_members(fleet, settings);
            let cause = format!("phase `{id}`");
            for name in settings.members.keys() {
                let Some(unit) = fleet.units.get_mut(name) else { continue };
                let down =
                    matches!(unit.life, Life::NotStarted | Life::Dead { .. } | Life::Done { .. });
                let meant = (unit.wanted && unit.listed) || moving.restart.contains(name);
                unit.fresh_next |= down;
                if down && meant && !unit.foreign {
                    agent::start(unit, &cause, now, out);
                } else {
                    // Whoever asked for the move is not left waiting for it.
                    let why = match &unit.life {
                        Life::Failed { why, .. } => why.clone(),
                        Life::NotStarted
                        | Life::Starting { .. }
                        | Life::Running { .. }
                        | Life::Stopping { .. }
                        | Life::Dead { .. }
                        | Life::Done { .. } => agent::taken(unit),
                    };
                    if unit.foreign || matches!(unit.life, Life::Failed { .. }) {
                        settle(&mut fleet.owed, name, &Outcome::Failed { why });
                    }
                }
            }
            say(&format!("{} of {}, `{id}`", index + 1, settings.phases.len()), false, out);
        }
        Target::Complete { finished } => {
            let again = fleet.phases.finished.is_some();
            let last = settings.phases.len().saturating_sub(1);
            fleet.phases.current = Some(last);
            fleet.phases.id.clone_from(&settings.phases[last]);
            fleet.phases.finished = Some(finished);
            pause_members(fleet, settings);
            for name in settings.members.keys() {
                // Asked for while the last phase ended.
                settle(&mut fleet.owed, name, &Outcome::Finished);
            }
            say("the sequence is complete; a phase added to the config resumes it", false, out);
            if settings.on_complete.is_some() && !again {
                fleet.phases.follow_up = FollowUp::Asked;
                out.push(Action::Sequence { step: Step::TakeTrigger });
            }
            resume_where_one_was_added(fleet, settings, out);
        }
    }
}

/// The moment at which the next write is tried.
pub fn wake(fleet: &Fleet) -> Option<Mono> {
    fleet.phases.moving.as_ref()?.retry_at
}

pub(super) fn say(why: &str, notify: bool, out: &mut Vec<Action>) {
    out.push(Action::Report(Report { unit: None, what: What::Phase, why: why.to_owned(), notify }));
}
