//! When a usage limit ends, read from the words a CLI prints.
//!
//! Knows every form seen in Claude Code, Codex, opencode and Gemini: clock times with and without
//! zone, dates, weekdays, `tomorrow`, `in 3h 20m`, epoch seconds and milliseconds, ISO 8601.
//! Leaves out slack and rounding: [`Reset::at`] is the printed instant, and a minute-precise one
//! means the *end* of that minute, which the window adds.
//!
//! Surprises: printed minutes are cut, not rounded. A time shown as just past means "now", not
//! tomorrow. A date without a year that lies shortly behind is a stale banner, not next year. One
//! text can hold several times: a live countdown wins, then the more explicit one, then the last.

mod phrase;
mod resolve;
#[cfg(test)]
mod table;

use std::sync::LazyLock;

use crate::base::zone::Tz;
use chrono::{DateTime, TimeDelta, Utc};
use regex::Regex;
use serde::{Deserialize, Serialize};

use super::text::flattened;
use phrase::When;

/// A printed time this much in the past is still the one meant: the clock moved on while we read.
pub const GRACE: TimeDelta = TimeDelta::minutes(10);
/// No limit lasts longer than a year; what names a later instant was written about something else.
const AHEAD_MAX: TimeDelta = TimeDelta::days(400);

/// When a limit ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reset {
    /// The printed instant; at most 10 min in the past.
    pub at: DateTime<Utc>,
    pub precision: Precision,
    /// The words it was read from, white space collapsed.
    pub phrase: String,
    pub reading: Reading,
    /// What had to be assumed: a past time, a clock change, an unknown zone.
    pub note: Option<String>,
}

/// The smallest unit the text gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    Second,
    Minute,
    Hour,
    Day,
}

/// How the words were turned into an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reading {
    /// Date and year were printed, or an epoch.
    Exact,
    /// Only a time of day: its next occurrence.
    NextSuchTime,
    /// A date without year, a weekday, `tomorrow`: the nearest one.
    NextSuchDate,
    /// A duration, counted from now.
    Relative,
}

/// Words that announce a time. What follows decides: without a time after it, a lead means nothing.
static LEAD: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(concat!(
        r#"(?i)(?:\b(?:resets?(?:_?at)?|continu(?:e|es|ing) automatically|try again|"#,
        r#"retry(?:ing|_?at)?|regain access|available(?: again)?|until|renews?|refresh(?:es)?)"#,
        r#"|\breached\||["']next["'])["']?(?: ?[:=])? ?["']?"#
    ))
    .expect("constant pattern compiles")
});

/// A sentence that only warns; its time is not this limit's.
static WARNING: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)(?:used \d+%[^.]{0,60}|% left|approaching [^.]{0,60}|% of your [^.]{0,40})$")
        .expect("constant pattern compiles")
});

/// The instant a text says a limit ends; `None` when it names none that can be believed.
///
/// `zone` serves printed times without a zone.
pub fn parse(text: &str, now: DateTime<Utc>, zone: Tz) -> Option<Reset> {
    let flat = flattened(text);
    LEAD.find_iter(&flat)
        .filter_map(|lead| {
            let (when, used) = phrase::read(&flat[lead.end()..])?;
            let end = lead.end() + used;
            let phrase = flat[lead.start()..end].to_owned();
            let rank = rank(&when, &flat[..lead.start()], &flat[end..]);
            let reset = resolve::resolve(&when, phrase, now, zone)?;
            (reset.at <= now + AHEAD_MAX).then_some((rank, reset))
        })
        // `max_by_key` keeps the last of equals: the newest text stands lowest.
        .max_by_key(|(rank, _)| *rank)
        .map(|(_, reset)| reset)
}

/// How far a time is to be believed beside others of the same text.
fn rank(when: &When, before: &str, after: &str) -> u8 {
    if WARNING.is_match(before.trim_end_matches([' ', '·'])) {
        return 0;
    }
    match when {
        When::In { .. } if after.trim_start().starts_with("attempt #") => 5,
        When::Epoch(_) => 4,
        // Claude Code's dialog repeats the banner's date without the zone that makes it an instant.
        When::Calendar(calendar) if calendar.zone.is_some() && calendar.day.is_some() => 3,
        When::Calendar(calendar) if calendar.zone.is_some() || calendar.day.is_some() => 2,
        When::Calendar(_) | When::In { .. } => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_centuries_ahead_is_no_end_of_a_limit() {
        let now = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let parse = |text| parse(text, now, Tz::UTC);
        assert_eq!(parse("until 2826-11-21T0+01:00.11..."), None);
        let beside = parse("resets 2826-11-21T00:00Z, resets 2024-01-02T03:04Z").unwrap();
        assert_eq!(beside.at.to_rfc3339(), "2024-01-02T03:04:00+00:00");
    }

    #[test]
    fn a_date_with_its_zone_wins_over_the_same_date_repeated_without() {
        let text = "You've hit your weekly limit · resets Nov 24, 11:41am (America/Los_Angeles)\n\
                    1. Stop and wait for limit to reset\n\
                    2. Wait here, then continue automatically at Nov 24, 11:41am";
        let now = "2026-11-21T16:41:00Z".parse().unwrap();
        let reset = parse(text, now, Tz::UTC).unwrap();
        assert_eq!(reset.at.to_rfc3339(), "2026-11-24T19:41:00+00:00");
    }
}
