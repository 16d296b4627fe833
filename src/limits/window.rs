//! One agent's usage-limit window: from the banner to the one probe that ends it.
//!
//! A pure state machine: [`step`] takes the window, what was seen and the time, and says what the
//! window is then and what to do. It does not know accounts ([`super::account`] says whose turn it
//! is), panes or files. All times are wall time, because that is what a banner prints; therefore
//! nothing is counted down, and every event compares with the clock anew.
//!
//! Surprises:
//! - The banner outlives the limit on screen. A window that ended is kept as `Released` so that its
//!   own old banner does not open it again: "resets 6:36am" read at 7:00 would mean tomorrow.
//! - A relative time ("in 12m") stays on screen while it ages. Only a new phrase moves a window.
//! - A banner without a time never changes. After an unanswered probe it means "still limited".
//!
//! # Invariants
//! - One probe per arming; no probe before `due`.
//! - A window never lies further ahead than `max_window`, however the clock jumps.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::banner::{Banner, Scope};
use super::reset::{GRACE, Precision, Reset};

/// A CLI that goes on by itself does so within two minutes of the reset; this leaves it room.
const SELF_CONTINUE: TimeDelta = TimeDelta::minutes(10);
/// A CLI that still says "continuing shortly" this long after its reset is stuck: probe after all.
const SELF_CONTINUE_MAX: TimeDelta = TimeDelta::hours(1);
/// A CLI that was probed answers or prints its banner within this time.
pub const VERDICT: TimeDelta = TimeDelta::seconds(60);
/// Two printed ends this near are one: countdowns are cut to the minute.
const SAME_END: TimeDelta = TimeDelta::seconds(90);
/// After this long the same words with the same time of day are a new limit.
const SAME_WORDS_MEAN_OLD: TimeDelta = TimeDelta::hours(12);
/// Characters of the banner kept for people.
const SOURCE_CHARS_MAX: usize = 300;

/// The configured bounds, all from `[watchdog]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// `limit_probe_fallback`: the wait when no time could be read.
    pub fallback: Duration,
    /// `limit_reset_slack`: added to a read time.
    pub slack: Duration,
    /// `max_limit_window`: nothing longer is believed.
    pub max_window: Duration,
}

/// The window of one agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// When the banner was first seen.
    pub since: DateTime<Utc>,
    /// When it got its present end; absent in files of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub armed_at: Option<DateTime<Utc>>,
    /// The printed end, or the end of the fallback wait.
    pub until: DateTime<Utc>,
    /// The banner, one line, cut.
    pub source_line: String,
    /// What identifies this banner: the phrase with its time, else the whole line.
    pub key: String,
    pub scope: Scope,
    /// Probes typed since `since`.
    pub probes: u32,
    pub armed_by: ArmedBy,
    /// The CLI says that it goes on by itself.
    pub continues_itself: bool,
    /// The agent's process ended; it is started again instead of probed.
    pub dead: bool,
    pub phase: Phase,
}

/// Where `until` comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArmedBy {
    /// A minute-precise time means the end of that minute.
    Minute,
    /// Any other printed time.
    Exact,
    /// The printed time had passed when it was read: the probe is due at once.
    Past,
    /// No time could be read.
    Fallback,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Nothing is typed, healed or woken.
    Quiet,
    /// The probe was typed; its effect is not known yet.
    Probed { at: DateTime<Utc> },
    /// Over. Kept only to know the old banner; `worked`: the agent has worked since.
    Released { at: DateTime<Utc>, worked: bool },
}

/// What was seen of one agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A look showed a banner (new or old: this module finds out).
    Banner { text: String, banner: Banner, reset: Option<Reset> },
    /// A look showed the agent working.
    Working,
    /// A look showed neither work nor banner.
    Clear,
    /// The time asked for by [`Action::WakeAt`] came.
    Deadline,
    /// The first agent of the account works again, and it is this one's turn.
    AccountFreed,
    /// The agent's process ended.
    Died,
    /// The agent's process runs again (resumed by us or a person).
    Started,
    /// Wall time jumped or the machine slept.
    ClockJump,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// The window opened: no heal, stall, ping or wake from now on.
    Quiet,
    /// Come back at this wall time with [`Event::Deadline`].
    WakeAt(DateTime<Utc>),
    /// Type the probe text, once. `attempt` counts from 1 and names the deed.
    Probe { attempt: u32 },
    /// Start the dead agent again, with resume; that is its probe.
    Restart { attempt: u32 },
    /// The window has a new end.
    Rearm { until: DateTime<Utc> },
    /// The window is over: deliver what was held.
    Release(Cause),
    /// The printed end is not believed; `until` is used.
    ReportClamped { printed: DateTime<Utc>, until: DateTime<Utc> },
    /// The CLI still waits to go on by itself, past its reset.
    ReportStillArmed,
    /// Capture the pane: the probe's effect is not known.
    Look,
}

/// Why a window ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// It works: by itself, or a person lifted the limit.
    WorksAgain,
    /// It works after the probe, or shows no banner any more.
    ProbeAnswered,
    /// Only the old banner is left on screen.
    OnlyOldBanner,
}

/// A step's result.
pub type Step = (Option<Window>, Vec<Action>);

impl Window {
    /// Whether the agent is to be left alone.
    pub fn is_open(&self) -> bool {
        match self.phase {
            Phase::Quiet | Phase::Probed { .. } => true,
            Phase::Released { .. } => false,
        }
    }

    /// The earliest moment of the probe.
    pub fn due(&self, settings: &Settings) -> DateTime<Utc> {
        let end = self.end();
        match self.armed_by {
            ArmedBy::Minute | ArmedBy::Exact | ArmedBy::Past if self.continues_itself => {
                end + SELF_CONTINUE
            }
            ArmedBy::Fallback | ArmedBy::Past => end,
            ArmedBy::Minute | ArmedBy::Exact => plus(end, settings.slack),
        }
    }

    /// When its probe goes at the latest: a CLI that still means to go on by itself gets more time.
    pub fn stuck_at(&self) -> DateTime<Utc> {
        self.end() + SELF_CONTINUE_MAX
    }

    /// The end of the limit: for a minute-precise time the end of that minute.
    fn end(&self) -> DateTime<Utc> {
        match self.armed_by {
            ArmedBy::Minute => self.until + TimeDelta::seconds(60),
            ArmedBy::Exact | ArmedBy::Past | ArmedBy::Fallback => self.until,
        }
    }

    /// Whether a banner with this key is this window's own old one, left on screen.
    fn is_old(&self, key: &str, worked: bool, now: DateTime<Utc>) -> bool {
        if key != self.key {
            return false;
        }
        if !worked {
            return true;
        }
        // The same words after work: old, if the time they name has passed, else a new occurrence.
        match self.armed_by {
            ArmedBy::Fallback => false,
            ArmedBy::Minute | ArmedBy::Exact | ArmedBy::Past => {
                now > self.until + GRACE && now < self.since + SAME_WORDS_MEAN_OLD
            }
        }
    }
}

/// What the window becomes and what to do. `None` is "no limit, and none remembered".
pub fn step(window: Option<Window>, event: Event, now: DateTime<Utc>, settings: &Settings) -> Step {
    match window {
        None => match event {
            Event::Banner { text, banner, reset } if !banner.warning_only => {
                armed(None, &text, banner, reset.as_ref(), now, settings)
            }
            Event::Banner { .. }
            | Event::Working
            | Event::Clear
            | Event::Deadline
            | Event::AccountFreed
            | Event::Died
            | Event::Started
            | Event::ClockJump => (None, Vec::new()),
        },
        Some(window) => match window.phase {
            Phase::Quiet => quiet(window, event, now, settings),
            Phase::Probed { at } => probed(window, at, event, now, settings),
            Phase::Released { at, worked } => released(window, at, worked, event, now, settings),
        },
    }
}

fn quiet(mut window: Window, event: Event, now: DateTime<Utc>, settings: &Settings) -> Step {
    match event {
        Event::Banner { banner, .. } if banner.warning_only => (Some(window), Vec::new()),
        Event::Banner { text, banner, reset } => {
            // What the CLI says of going on by itself may change under the same words ("cancelled").
            let was_itself = window.continues_itself;
            window.continues_itself = banner.continues_itself;
            if key(&text, reset.as_ref()) == window.key || reset.is_none() {
                let wake = Action::WakeAt(window.due(settings));
                let changed = was_itself != banner.continues_itself;
                return (Some(window), if changed { vec![wake] } else { Vec::new() });
            }
            let until = window.until;
            let (next, actions) =
                armed(Some(&window), &text, banner, reset.as_ref(), now, settings);
            match next {
                // The same end in other words (footer and transcript, a countdown): nothing is new.
                Some(next) if (next.until - until).abs() <= SAME_END => {
                    window.key = next.key;
                    let wake = Action::WakeAt(window.due(settings));
                    let changed = was_itself != window.continues_itself;
                    (Some(window), if changed { vec![wake] } else { Vec::new() })
                }
                next => (next, actions),
            }
        }
        Event::Working => release(window, Cause::WorksAgain, now),
        Event::Deadline => due(window, now, settings),
        Event::ClockJump => {
            let mut actions = Vec::new();
            window.since = window.since.min(now);
            if let Some(until) = clamped(window.until, now, settings) {
                actions.push(Action::ReportClamped { printed: window.until, until });
                window.until = until;
            }
            let (window, more) = due(window, now, settings);
            actions.extend(more);
            (window, actions)
        }
        Event::AccountFreed if window.continues_itself => (Some(window), Vec::new()),
        Event::AccountFreed => probe(window, now),
        Event::Died => {
            window.dead = true;
            (Some(window), Vec::new())
        }
        Event::Started => {
            window.dead = false;
            (Some(window), Vec::new())
        }
        // The limit outlives a cleared screen.
        Event::Clear => (Some(window), Vec::new()),
    }
}

/// The end may have come.
fn due(window: Window, now: DateTime<Utc>, settings: &Settings) -> Step {
    let due = window.due(settings);
    if now < due {
        return (Some(window), vec![Action::WakeAt(due)]);
    }
    let stuck = window.stuck_at();
    if window.continues_itself && !window.dead && now < stuck {
        return (Some(window), vec![Action::ReportStillArmed, Action::WakeAt(stuck)]);
    }
    probe(window, now)
}

fn probe(mut window: Window, now: DateTime<Utc>) -> Step {
    window.probes = window.probes.saturating_add(1);
    window.phase = Phase::Probed { at: now };
    let attempt = window.probes;
    let deed = if window.dead { Action::Restart { attempt } } else { Action::Probe { attempt } };
    (Some(window), vec![deed, Action::WakeAt(now + VERDICT)])
}

fn probed(
    mut window: Window,
    at: DateTime<Utc>,
    event: Event,
    now: DateTime<Utc>,
    settings: &Settings,
) -> Step {
    let verdict = at + VERDICT;
    match event {
        Event::Banner { banner, .. } if banner.warning_only => {
            release(window, Cause::ProbeAnswered, now)
        }
        Event::Banner { text, banner, reset } => {
            if !window.is_old(&key(&text, reset.as_ref()), false, now) {
                return armed(Some(&window), &text, banner, reset.as_ref(), now, settings);
            }
            if now < verdict {
                return (Some(window), Vec::new());
            }
            match window.armed_by {
                // Probed before its time, because another agent of the account works: it still holds.
                ArmedBy::Minute | ArmedBy::Exact if now < window.until => {
                    armed(Some(&window), &text, banner, reset.as_ref(), now, settings)
                }
                // Words without a time do not change when they are printed again.
                ArmedBy::Fallback => armed(Some(&window), &text, banner, None, now, settings),
                ArmedBy::Minute | ArmedBy::Exact | ArmedBy::Past => {
                    release(window, Cause::OnlyOldBanner, now)
                }
            }
        }
        // Right after the paste a look may come before the CLI reacted.
        Event::Clear if now < verdict => (Some(window), Vec::new()),
        Event::Working | Event::Clear => release(window, Cause::ProbeAnswered, now),
        Event::Deadline | Event::ClockJump if now < at => {
            // The clock was set back behind the probe; wait for its effect from here.
            window.phase = Phase::Probed { at: now };
            (Some(window), vec![Action::WakeAt(now + VERDICT)])
        }
        Event::Deadline | Event::ClockJump if now < verdict => {
            (Some(window), vec![Action::WakeAt(verdict)])
        }
        Event::Deadline | Event::ClockJump => {
            (Some(window), vec![Action::Look, Action::WakeAt(now + VERDICT)])
        }
        Event::Died => {
            // The probe died with the agent: after the fallback wait it is started again instead.
            window.dead = true;
            window.phase = Phase::Quiet;
            window.armed_by = ArmedBy::Fallback;
            window.until = plus(now, settings.fallback);
            let until = window.until;
            (Some(window), vec![Action::Rearm { until }, Action::WakeAt(until)])
        }
        Event::Started => {
            window.dead = false;
            (Some(window), Vec::new())
        }
        Event::AccountFreed => (Some(window), Vec::new()),
    }
}

fn released(
    mut window: Window,
    at: DateTime<Utc>,
    worked: bool,
    event: Event,
    now: DateTime<Utc>,
    settings: &Settings,
) -> Step {
    match event {
        Event::Banner { banner, .. } if banner.warning_only => (Some(window), Vec::new()),
        Event::Banner { text, banner, reset } => {
            if window.is_old(&key(&text, reset.as_ref()), worked, now) {
                return (Some(window), Vec::new());
            }
            // Limited again at once: its time may have passed, and must not be probed in a circle.
            let reset = reset.filter(|reset| reset.at > now || now > at + GRACE);
            armed(None, &text, banner, reset.as_ref(), now, settings)
        }
        Event::Working => {
            window.phase = Phase::Released { at, worked: true };
            (Some(window), Vec::new())
        }
        Event::Clear | Event::Deadline | Event::AccountFreed | Event::ClockJump => {
            (Some(window), Vec::new())
        }
        // A new process draws a new screen: whatever banner it shows is its own.
        Event::Died | Event::Started => (None, Vec::new()),
    }
}

fn release(mut window: Window, cause: Cause, now: DateTime<Utc>) -> Step {
    let worked = match cause {
        Cause::WorksAgain | Cause::ProbeAnswered => true,
        Cause::OnlyOldBanner => false,
    };
    window.phase = Phase::Released { at: now, worked };
    (Some(window), vec![Action::Release(cause)])
}

/// Opens a window, or gives an open one its new end.
fn armed(
    before: Option<&Window>,
    text: &str,
    banner: Banner,
    reset: Option<&Reset>,
    now: DateTime<Utc>,
    settings: &Settings,
) -> Step {
    let key = key(text, reset);
    let probes = before.map_or(0, |window| window.probes);
    let (printed, armed_by) = match reset {
        // Past already: a first probe goes at once; after a probe that would hammer the CLI.
        Some(reset) if reset.at <= now && probes > 0 => {
            (plus(now, settings.fallback), ArmedBy::Fallback)
        }
        // The parser gives `now` itself for a time long past.
        Some(Reset { at, .. }) if *at == now => (*at, ArmedBy::Past),
        Some(Reset { at, precision: Precision::Minute, .. }) => (*at, ArmedBy::Minute),
        Some(Reset { at, .. }) => (*at, ArmedBy::Exact),
        None => (plus(now, settings.fallback), ArmedBy::Fallback),
    };
    let until = clamped(printed, now, settings);
    let window = Window {
        since: before.map_or(now, |window| window.since),
        armed_at: Some(now),
        until: until.unwrap_or(printed),
        source_line: super::text::flattened(text).chars().take(SOURCE_CHARS_MAX).collect(),
        key,
        scope: banner.scope,
        probes,
        armed_by,
        continues_itself: banner.continues_itself,
        dead: before.is_some_and(|window| window.dead),
        phase: Phase::Quiet,
    };
    let mut actions = match before {
        None => vec![Action::Quiet],
        Some(_) => vec![Action::Rearm { until: window.until }],
    };
    if let Some(until) = until {
        actions.push(Action::ReportClamped { printed, until });
    }
    actions.push(Action::WakeAt(window.due(settings)));
    (Some(window), actions)
}

/// The believed end, when the printed one lies too far ahead.
fn clamped(
    printed: DateTime<Utc>,
    now: DateTime<Utc>,
    settings: &Settings,
) -> Option<DateTime<Utc>> {
    let latest = plus(now, settings.max_window);
    (printed > latest).then_some(latest)
}

/// The phrase with the time is the same however the rest is wrapped or overdrawn.
fn key(text: &str, reset: Option<&Reset>) -> String {
    match reset {
        Some(reset) => reset.phrase.clone(),
        None => super::text::flattened(text).chars().take(SOURCE_CHARS_MAX).collect(),
    }
}

/// Saturates at the end of time.
fn plus(at: DateTime<Utc>, duration: Duration) -> DateTime<Utc> {
    TimeDelta::from_std(duration)
        .ok()
        .and_then(|delta| at.checked_add_signed(delta))
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
}

#[cfg(test)]
#[path = "window_tests.rs"]
mod tests;
