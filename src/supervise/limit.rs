//! Usage limits in the life of a unit: readings become events of its window, and windows become deeds.
//!
//! The window itself and the order within an account are decided in `limits`; here they meet
//! processes, queues and restarts. A limit never feeds the crash breaker: what dies while it is limited
//! stays down until its window's end and is then started again instead of probed.
//!
//! Surprises:
//! - Nothing is counted down. Every tick compares the wall clock anew, so that a suspended machine or
//!   a clock that was set needs no case of its own.
//! - A probe counts from when it was typed, not from when it was queued: a person's draft in the
//!   input box may hold it up, and a window must not be judged by a probe that nobody saw.
//! - On its fallback an agent is not limited; the window it waits out there is kept as `away`.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::action::{Action, What};
use super::agent;
use super::outbox::{self, Draft, MessageId, Origin, Stage, Typed};
use super::settings::Settings;
use super::state::{Fleet, Known, Life, Sight, Then, Unit, UnitKind};
use crate::base::human;
use crate::base::name::UnitName;
use crate::base::now::{Mono, Now, millis};
use crate::limits::Scope;
use crate::limits::account::{self, AgentWindow, Turn};
use crate::limits::window::{self, Phase, VERDICT, Window};
use crate::screen::PaneState;

/// Work must be seen this long before it ends a window: a CLI shows its spinner while it is refused.
pub const WORKS_AGAIN_AFTER: Duration = Duration::from_secs(10);
/// Between two agents of an account that go on.
const STAGGER: TimeDelta = TimeDelta::seconds(5);

/// What an agent's newest reading means for its window. `before` is the state it was in.
pub fn read(
    unit: &mut Unit,
    before: Option<PaneState>,
    settings: &Settings,
    now: Now,
    out: &mut Vec<Action>,
) {
    if unit.spec.kind == UnitKind::Service {
        return;
    }
    let Some(known) = unit.reading.clone() else { return };
    // It worked and stopped with a banner: the CLI printed it again, be it in the same words.
    if known.state == PaneState::Limited
        && before == Some(PaneState::Working)
        && !probe_waits(unit)
        && let Some(window) = &mut unit.window
        && matches!(window.phase, Phase::Probed { .. })
    {
        window.key.clear();
    }
    // What looked beyond a text's help shows something else again: a probe will do.
    if known.state != PaneState::Fatal
        && let Some(window) = &mut unit.window
    {
        window.dead = false;
    }
    observe(unit, &known, settings, now, out);
}

fn observe(unit: &mut Unit, known: &Known, settings: &Settings, now: Now, out: &mut Vec<Action>) {
    let event = match known.state {
        PaneState::Limited => {
            let text = crate::screen::evidence_text(&known.evidence);
            let (banner, reset) = crate::limits::read_judged(&text, now.wall, settings.tz());
            window::Event::Banner { text, banner, reset }
        }
        PaneState::Working if now.mono.since(known.since_mono) < WORKS_AGAIN_AFTER => return,
        PaneState::Working => window::Event::Working,
        PaneState::Fatal if unit.is_limited() && !agent::is_certain(known, now) => return,
        PaneState::Fatal if unit.is_limited() => {
            // No text mends it: at the end it is started anew instead of probed.
            unit.fresh_next = true;
            window::Event::Died
        }
        // A dialog for a person, or a server in trouble: the limit itself is not what holds it.
        PaneState::Idle | PaneState::Waiting | PaneState::Overloaded | PaneState::Fatal => {
            window::Event::Clear
        }
        PaneState::Starting | PaneState::Dead | PaneState::Done | PaneState::Unknown => return,
    };
    if probe_waits(unit) {
        unproven(unit, event, settings, now, out);
    } else {
        step(unit, event, settings, now, out);
    }
}

/// While the probe still waits to be typed only work or a new banner say anything.
fn unproven(
    unit: &mut Unit,
    event: window::Event,
    settings: &Settings,
    now: Now,
    out: &mut Vec<Action>,
) {
    let Some(Phase::Probed { at }) = unit.window.as_ref().map(|window| window.phase) else {
        step(unit, event, settings, now, out);
        return;
    };
    match event {
        window::Event::Working | window::Event::Died => {
            step(unit, event, settings, now, out);
        }
        window::Event::Banner { .. } => {
            if let Some(window) = &mut unit.window {
                window.phase = Phase::Probed { at: now.wall };
            }
            step(unit, event, settings, now, out);
            if let Some(window) = &mut unit.window
                && window.phase == (Phase::Probed { at: now.wall })
            {
                window.phase = Phase::Probed { at };
            }
        }
        window::Event::Clear
        | window::Event::Deadline
        | window::Event::AccountFreed
        | window::Event::Started
        | window::Event::ClockJump => {}
    }
}

/// Its process ended. Answers whether it is to stay down for its limit.
pub fn died(unit: &mut Unit, settings: &Settings, now: Now, out: &mut Vec<Action>) -> bool {
    if !shows_old(unit) {
        step(unit, window::Event::Died, settings, now, out);
    }
    unit.is_limited()
}

/// A new process runs.
pub fn started(unit: &mut Unit, settings: &Settings, now: Now, out: &mut Vec<Action>) {
    if !shows_old(unit) {
        step(unit, window::Event::Started, settings, now, out);
    }
}

/// A conversation taken up again ends with the banner that it ended with before.
fn shows_old(unit: &Unit) -> bool {
    unit.window
        .as_ref()
        .is_some_and(|window| matches!(window.phase, Phase::Released { worked: false, .. }))
}

/// A probe was typed, as far as anybody can know: its effect is judged from here.
pub fn probed(unit: &mut Unit, message: MessageId, outcome: &Typed, now: Now) -> bool {
    let of_probe =
        |waiting: &outbox::Message| waiting.id == message && waiting.draft.origin == Origin::Probe;
    let typed = match outcome {
        Typed::Submitted { .. } | Typed::NotDelivered { .. } | Typed::Unknown { .. } => true,
        Typed::Held { .. } => false,
    };
    let Some(window) = &mut unit.window else { return false };
    if !typed || !unit.outbox.iter().any(of_probe) {
        return false;
    }
    match window.phase {
        Phase::Probed { .. } => {
            window.phase = Phase::Probed { at: now.wall };
            true
        }
        Phase::Quiet | Phase::Released { .. } => false,
    }
}

/// The window as it was written down, where nothing else is remembered.
pub fn recalled(unit: &mut Unit, window: &Window) {
    if unit.window.is_none() && unit.away.is_none() {
        unit.window = Some(window.clone());
    }
}

fn probe_waits(unit: &Unit) -> bool {
    unit.outbox.iter().any(|message| message.draft.origin == Origin::Probe)
}

/// One step of the window, and what follows from it for the unit.
fn step(
    unit: &mut Unit,
    event: window::Event,
    settings: &Settings,
    now: Now,
    out: &mut Vec<Action>,
) -> Vec<window::Action> {
    let before = unit.window.take();
    let (after, deeds) = window::step(before.clone(), event, now.wall, &settings.window());
    unit.window = after;
    for deed in &deeds {
        carry_out(unit, deed, now, out);
    }
    if unit.window != before {
        save(unit, before.as_ref(), out);
    }
    deeds
}

/// The file holds open windows only.
fn save(unit: &Unit, before: Option<&Window>, out: &mut Vec<Action>) {
    let was_open = before.is_some_and(Window::is_open);
    let open = unit.window.as_ref().filter(|window| window.is_open());
    if was_open || open.is_some() {
        let window = open.cloned().map(Box::new);
        out.push(Action::SaveLimit { unit: unit.spec.name.clone(), window });
    }
}

fn carry_out(unit: &mut Unit, deed: &window::Action, now: Now, out: &mut Vec<Action>) {
    let words = unit.window.as_ref().map(|window| window.scope.words()).unwrap_or_default();
    let mut note = |why: &str, notify| agent::note(unit, now, What::Limit, why, notify, out);
    match deed {
        window::Action::Quiet => {
            let until = unit.window.as_ref().map(|window| end_words(window, now.wall));
            let why = format!("{words}, {}", until.unwrap_or_default());
            agent::note(unit, now, What::Limit, &why, true, out);
            unit.armed_told = false;
            drop_probes(unit);
        }
        window::Action::Rearm { until } => {
            note(&format!("{words} again, until {}", time(*until)), true);
            unit.armed_told = false;
            drop_probes(unit);
        }
        window::Action::Probe { attempt } => {
            note(&format!("probe {attempt} of the {words}"), false);
        }
        window::Action::Restart { .. } => {
            let cause = format!("its {words} is over as far as is known");
            again(unit, &cause, now, out);
        }
        window::Action::Release(cause) => {
            let why = match cause {
                window::Cause::WorksAgain => "it works again",
                window::Cause::ProbeAnswered => "the probe was answered",
                window::Cause::OnlyOldBanner => "only the old banner is left on its screen",
            };
            note(&format!("{words} over: {why}"), false);
            drop_probes(unit);
        }
        window::Action::ReportClamped { printed, until } => {
            let why = format!(
                "its banner names {}, which is not believed; {} is used",
                time(*printed),
                time(*until)
            );
            note(&why, true);
        }
        window::Action::ReportStillArmed => {
            let why = format!("{words} is over, and its CLI has not gone on by itself yet");
            note(&why, true);
            unit.armed_told = true;
        }
        // Deadlines are looked up in `wake`, and readings are always the newest.
        window::Action::WakeAt(_) | window::Action::Look => {}
    }
}

/// `resets at 06:36 UTC, in 2 h`, or that no time could be read.
pub fn end_words(window: &Window, now: DateTime<Utc>) -> String {
    let left = (window.until - now).to_std().unwrap_or_default();
    match window.armed_by {
        window::ArmedBy::Fallback => {
            format!("no time could be read: the probe goes in {}", human::duration(left))
        }
        window::ArmedBy::Past => "its time has passed already".to_owned(),
        window::ArmedBy::Minute | window::ArmedBy::Exact => {
            format!("until {} (in {})", time(window.until), human::duration(left))
        }
    }
}

fn time(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// Started again with its conversation, beside the count of crashes.
fn again(unit: &mut Unit, cause: &str, now: Now, out: &mut Vec<Action>) {
    unit.restarts_total += 1;
    match &unit.life {
        Life::Running { .. } => agent::stop(unit, Then::Restart, cause, now, out),
        // It returns when the name is free.
        Life::Dead { .. } | Life::NotStarted if unit.foreign => unit.life = Life::NotStarted,
        Life::Dead { .. } | Life::NotStarted => agent::start(unit, cause, now, out),
        Life::Starting { .. } | Life::Stopping { .. } | Life::Failed { .. } | Life::Done { .. } => {
        }
    }
}

/// A probe that came back untyped after its window was over has lost its purpose.
pub fn tidy(unit: &mut Unit) {
    if !unit.is_limited() {
        drop_probes(unit);
    }
}

fn drop_probes(unit: &mut Unit) {
    unit.outbox
        .retain(|message| message.draft.origin != Origin::Probe || message.stage != Stage::Queued);
}

/// Everything that time alone brings about.
pub fn due(fleet: &mut Fleet, now: Now, out: &mut Vec<Action>) {
    if fleet.sight != Sight::Clear {
        return;
    }
    let settings = fleet.settings.clone();
    for unit in fleet.units.values_mut() {
        settle(unit, &settings, now, out);
        switch(unit, &settings, now, out);
    }
    let leaves: Vec<(UnitName, DateTime<Utc>, bool)> =
        leaves(fleet, now.wall).into_iter().filter(|(_, at, _)| *at <= now.wall).collect();
    for (name, _, freed) in leaves {
        let Some(unit) = fleet.units.get_mut(&name) else { continue };
        let event = if freed { window::Event::AccountFreed } else { window::Event::Deadline };
        let deeds = step(unit, event, &settings, now, out);
        if deeds.iter().any(|deed| matches!(deed, window::Action::Probe { .. })) {
            probe(unit, &mut fleet.newest_message, &settings, now, out);
        }
    }
}

fn probe(
    unit: &mut Unit,
    newest: &mut MessageId,
    settings: &Settings,
    now: Now,
    out: &mut Vec<Action>,
) {
    let draft = Draft {
        text: settings.probe_text.clone(),
        origin: Origin::Probe,
        key: Some("probe".to_owned()),
        expires_at: None,
        busy_input: false,
        command: false,
    };
    outbox::push(unit, newest, draft, None, now, out);
}

/// One unit by itself: verdicts of probes, jumps of the clock, work that has lasted long enough.
fn settle(unit: &mut Unit, settings: &Settings, now: Now, out: &mut Vec<Action>) {
    let Some(window) = unit.window.clone().filter(Window::is_open) else { return };
    let down = matches!(unit.life, Life::NotStarted | Life::Dead { .. });
    if down && !window.dead {
        // The machine was restarted under it.
        step(unit, window::Event::Died, settings, now, out);
        return;
    }
    let latest = TimeDelta::from_std(settings.max_limit_window).unwrap_or(TimeDelta::MAX);
    if window.until - now.wall > latest {
        step(unit, window::Event::ClockJump, settings, now, out);
        return;
    }
    let known = unit.reading.clone();
    let works = known.as_ref().is_some_and(|known| known.state == PaneState::Working);
    match window.phase {
        Phase::Probed { at } if now.wall < at => {
            step(unit, window::Event::ClockJump, settings, now, out);
        }
        Phase::Probed { at } if now.wall >= at + VERDICT || works => {
            if let Some(known) = known {
                observe(unit, &known, settings, now, out);
            }
        }
        Phase::Quiet if works => {
            if let Some(known) = known {
                observe(unit, &known, settings, now, out);
            }
        }
        Phase::Quiet if told_late(unit, &window, settings, now.wall) => {
            step(unit, window::Event::Deadline, settings, now, out);
        }
        Phase::Quiet | Phase::Probed { .. } | Phase::Released { .. } => {}
    }
}

/// Its CLI should have gone on by itself by now, and nobody was told.
fn told_late(unit: &Unit, window: &Window, settings: &Settings, now: DateTime<Utc>) -> bool {
    let due = window.due(&settings.window());
    window.continues_itself
        && !window.dead
        && !unit.armed_told
        && now >= due
        && now < window.stuck_at()
}

/// To the fallback when the limit comes, and back after its end, never out of work.
fn switch(unit: &mut Unit, settings: &Settings, now: Now, out: &mut Vec<Action>) {
    if !unit.healed() || unit.spec.habits.fallback_account.is_none() {
        // The config may have taken the fallback away meanwhile.
        if unit.spec.habits.fallback_account.is_none() && unit.away.is_some() && unit.is_running() {
            unit.away = None;
        }
        return;
    }
    let free = match &unit.reading {
        Some(known) => match known.state {
            PaneState::Idle | PaneState::Limited | PaneState::Unknown | PaneState::Overloaded => {
                true
            }
            PaneState::Working
            | PaneState::Starting
            | PaneState::Waiting
            | PaneState::Fatal
            | PaneState::Dead
            | PaneState::Done => false,
        },
        None => false,
    };
    match (&unit.away, &unit.window) {
        (None, Some(window)) if window.phase == Phase::Quiet && unit.is_running() && free => {
            let cause = format!("{}: it goes on with its fallback", window.scope.words());
            let window = unit.window.take();
            save(unit, window.as_ref(), out);
            unit.away = window;
            drop_probes(unit);
            again(unit, &cause, now, out);
        }
        (Some(window), _) if now.wall >= window.due(&settings.window()) => {
            let down = matches!(unit.life, Life::Dead { .. });
            if (unit.is_running() && free) || down {
                let cause = format!("{} over: back from its fallback", window.scope.words());
                unit.away = None;
                let fallbacks_own = unit.window.take();
                save(unit, fallbacks_own.as_ref(), out);
                drop_probes(unit);
                again(unit, &cause, now, out);
            }
        }
        (None | Some(_), _) => {}
    }
}

/// The account whose limits the unit is under now.
pub(super) fn account(unit: &Unit) -> &str {
    match (&unit.away, &unit.spec.habits.fallback_account) {
        (Some(_), Some(fallback)) => fallback,
        (Some(_) | None, _) => &unit.spec.habits.account,
    }
}

/// Whether it could be probed or started at all now.
fn can_go(unit: &Unit) -> bool {
    if !unit.healed() || unit.foreign {
        return false;
    }
    match &unit.life {
        Life::Running { .. } => unit.reading.as_ref().is_some_and(|known| match known.state {
            PaneState::Idle
            | PaneState::Limited
            | PaneState::Unknown
            | PaneState::Overloaded
            | PaneState::Fatal => true,
            PaneState::Working
            | PaneState::Starting
            | PaneState::Waiting
            | PaneState::Dead
            | PaneState::Done => false,
        }),
        Life::Dead { .. } | Life::NotStarted => true,
        Life::Starting { .. } | Life::Stopping { .. } | Life::Failed { .. } | Life::Done { .. } => {
            false
        }
    }
}

/// Who may be probed and when: the unit, the earliest moment, and whether its account works again.
pub fn leaves(fleet: &Fleet, now: DateTime<Utc>) -> Vec<(UnitName, DateTime<Utc>, bool)> {
    let settings = fleet.settings.window();
    let mut accounts: BTreeMap<&str, Vec<(&Unit, &Window)>> = BTreeMap::new();
    for unit in fleet.units.values() {
        if let Some(window) = &unit.window {
            accounts.entry(account(unit)).or_default().push((unit, window));
        }
    }
    let mut found = Vec::new();
    for members in accounts.values() {
        let probed = members.iter().filter_map(|(_, window)| match window.phase {
            Phase::Probed { at } if at <= now => Some(at),
            Phase::Quiet | Phase::Probed { .. } | Phase::Released { .. } => None,
        });
        let last_probe = probed.max();
        for (unit, window) in members {
            if window.phase != Phase::Quiet || !can_go(unit) {
                continue;
            }
            let list: Vec<AgentWindow> = members
                .iter()
                .filter_map(|(other, its)| member(other, its, window, members, &settings, now))
                .collect();
            let own = account::next(&list, now);
            let Some(leave) = own.into_iter().find(|leave| leave.name == unit.spec.name.as_str())
            else {
                continue;
            };
            let mut at = leave.at;
            if let Some(last) = last_probe.filter(|_| leave.freed) {
                at = at.max(last + STAGGER);
            }
            found.push((unit.spec.name.clone(), at, leave.freed));
        }
    }
    found.sort_by(|a, b| (a.1, &a.0).cmp(&(b.1, &b.0)));
    // One an account and tick: the next one's moment depends on this one's.
    let mut gone: Vec<&str> = Vec::new();
    found.retain(|(name, _, _)| {
        let of = fleet.units.get(name).map_or("", account);
        let first = !gone.contains(&of);
        gone.push(of);
        first
    });
    found
}

/// How another agent of the account counts for the turn of `whose` window.
fn member(
    unit: &Unit,
    window: &Window,
    whose: &Window,
    members: &[(&Unit, &Window)],
    settings: &window::Settings,
    now: DateTime<Utc>,
) -> Option<AgentWindow> {
    let turn = match window.phase {
        Phase::Quiet if can_go(unit) => Turn::Waits,
        Phase::Probed { at } => Turn::Probed { at },
        // Only what worked after this window was armed says anything about it.
        Phase::Released { at, worked: true } if Some(at) > whose.armed_at => {
            Turn::Runs { since: at }
        }
        Phase::Quiet | Phase::Released { .. } => return None,
    };
    let itself = window.continues_itself && !window.dead;
    let due = if itself { window.stuck_at() } else { window.due(settings) };
    // A time that was set back must not hold anybody up for longer than it takes.
    let turn = match turn {
        Turn::Probed { at } => Turn::Probed { at: at.min(now) },
        Turn::Waits | Turn::Runs { .. } => turn,
    };
    let due = members.iter().fold(due, |due, (_, other)| due.max(follows(window, other, settings)));
    Some(AgentWindow {
        name: unit.spec.name.to_string(),
        scope: if same(window, whose) { whose.scope.clone() } else { window.scope.clone() },
        since: window.since,
        due,
        continues_itself: itself,
        turn,
    })
}

/// Whether both tell of one limit; a banner that does not say which is taken for the account's.
fn same(one: &Window, other: &Window) -> bool {
    one.scope == other.scope || [&one.scope, &other.scope].contains(&&Scope::Unknown)
}

/// The end that another agent's probe found for the same limit; else the distant past.
fn follows(window: &Window, other: &Window, settings: &window::Settings) -> DateTime<Utc> {
    let newer = other.armed_at > window.armed_at && other.probes > 0 && !other.dead;
    if newer && same(other, window) && other.phase == Phase::Quiet {
        other.due(settings)
    } else {
        DateTime::<Utc>::MIN_UTC
    }
}

/// The wall times at which time alone changes something, as far as they lie ahead.
pub fn wakes(fleet: &Fleet, now: Now) -> impl Iterator<Item = Mono> {
    let settings = fleet.settings.window();
    let mut found: Vec<DateTime<Utc>> =
        leaves(fleet, now.wall).into_iter().map(|(_, at, _)| at).collect();
    for unit in fleet.units.values() {
        found.extend(unit.away.as_ref().map(|window| window.due(&settings)));
        let Some(window) = unit.window.as_ref().filter(|window| window.is_open()) else { continue };
        match window.phase {
            Phase::Probed { at } => found.push(at + VERDICT),
            Phase::Quiet if window.continues_itself && !unit.armed_told => {
                found.push(window.due(&settings));
            }
            Phase::Quiet | Phase::Released { .. } => {}
        }
    }
    let works = fleet.units.values().filter(|unit| unit.is_limited()).filter_map(|unit| {
        let known = unit.reading.as_ref().filter(|known| known.state == PaneState::Working)?;
        Some(known.since_mono.plus(WORKS_AGAIN_AFTER)).filter(|at| *at > now.mono)
    });
    let works: Vec<Mono> = works.collect();
    let ahead = found.into_iter().filter(move |at| *at > now.wall);
    ahead.map(move |at| mono(at, now)).chain(works).collect::<Vec<_>>().into_iter()
}

/// The same moment on the boot clock, as far as anybody can say now.
pub fn mono(at: DateTime<Utc>, now: Now) -> Mono {
    let left = (at - now.wall).to_std().unwrap_or_default();
    // A millisecond more: rounding must not wake before the time has come.
    Mono(now.mono.0.saturating_add(millis(left)).saturating_add(1))
}
