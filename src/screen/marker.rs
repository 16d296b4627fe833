//! `WAITING-UNTIL: <ISO-8601>`: an agent's own word that it will be quiet on purpose.
//!
//! Only the agent's last line of text before the input box counts; lines that the CLI draws below its
//! turns (durations, spinners, rules, footers) are passed over. Surprise: agents write the marker in
//! backticks, bold or as a list item, and a narrow pane wraps it.

use std::time::Duration;

use crate::base::zone::Tz;
use chrono::{DateTime, NaiveDate, NaiveDateTime, TimeZone as _, Utc};
use serde::{Deserialize, Serialize};

use super::capture::Screen;

const MARKER: &str = "WAITING-UNTIL:";

/// Lines below the box and around it that are looked at before giving up.
const LINES_MAX: usize = 60;

/// What a marker on the screen is worth now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Marker {
    /// Believed: no stall before this instant, plus the grace that the caller adds.
    Until(DateTime<Utc>),
    /// Over by more than the grace.
    Past(DateTime<Utc>),
    /// Further away than an agent is believed.
    TooFar(DateTime<Utc>),
    /// Not a time.
    Unreadable(String),
}

/// Bounds a marker is judged by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MarkerBounds {
    /// How long past a marker may be and still count.
    pub stall_grace: Duration,
    /// The longest believed wait.
    pub max_wait: Duration,
}

/// The marker in the agent's last line of text, judged at `now`; `None` = there is none.
///
/// A time without an offset is local time in `zone`.
pub fn read(screen: &Screen, zone: Tz, bounds: MarkerBounds, now: DateTime<Utc>) -> Option<Marker> {
    let text = last_words(screen)?;
    let value = after_marker(&text)?;
    let Some(until) = instant(value, zone) else {
        return Some(Marker::Unreadable(value.chars().take(60).collect()));
    };
    let grace = chrono::Duration::from_std(bounds.stall_grace).unwrap_or(chrono::Duration::MAX);
    let far = chrono::Duration::from_std(bounds.max_wait).unwrap_or(chrono::Duration::MAX);
    Some(if now.signed_duration_since(until) > grace {
        Marker::Past(until)
    } else if until.signed_duration_since(now) > far {
        Marker::TooFar(until)
    } else {
        Marker::Until(until)
    })
}

/// The agent's last line of text; a marker that is wrapped is put together again.
fn last_words(screen: &Screen) -> Option<String> {
    let lines: Vec<&str> = screen.lines.iter().map(|line| line.text.as_str()).collect();
    let end = transcript_end(&lines);
    let from = end.saturating_sub(LINES_MAX);
    let last = (from..end).rev().find(|&at| !is_furniture(lines[at]))?;
    let joined = |first: usize| {
        lines[first..=last].iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
    };
    if lines[last].contains(MARKER) {
        return Some(joined(last));
    }
    // A marker cut in two by a narrow pane: its time, or part of it, stands on the next line.
    let before = last.checked_sub(1).filter(|&at| at >= from)?;
    let rest = lines[last].trim().trim_start_matches('T');
    let wrapped = after_marker(lines[before]).is_some_and(|value| !value.contains(':'))
        && rest.starts_with(|char: char| char.is_ascii_digit());
    wrapped.then(|| joined(before))
}

/// Where the transcript ends: at the top of the input box.
fn transcript_end(lines: &[&str]) -> usize {
    let is_rule = |line: &str| {
        let line = line.trim_start();
        line.starts_with("────────") || line.starts_with("╭───") || line.starts_with("▄▄▄▄")
    };
    let is_prompt = |line: &str| {
        let line = line.trim_start();
        ["❯", "›", ">", "│ >"].iter().any(|mark| line.starts_with(mark)) || line.starts_with("*   ")
    };
    let by_prompt = (0..lines.len()).rev().find(|&at| is_prompt(lines[at]));
    let by_box = lines.iter().rposition(|line| line.trim_start().starts_with("╹▀▀▀▀")).map(|end| {
        (0..end)
            .rev()
            .take_while(|&at| lines[at].trim_start().starts_with('┃'))
            .last()
            .unwrap_or(end)
    });
    let Some(mut end) = by_box.or(by_prompt) else {
        return lines.len();
    };
    while end > 0 && is_rule(lines[end - 1]) {
        end -= 1;
    }
    end
}

/// Lines that the CLI draws by itself below an agent's words.
fn is_furniture(line: &str) -> bool {
    let trimmed = line.trim();
    let glyph = trimmed.chars().next();
    trimmed.is_empty()
        || trimmed.chars().all(|char| "─━▀▄═-".contains(char))
        || (glyph.is_some_and(|glyph| "·✢✳✶✻✽∗▣".contains(glyph)))
        || trimmed.starts_with("⎿  Tip:")
        || trimmed.starts_with("Worked for ")
        || trimmed.starts_with("─ Worked for ")
}

/// What follows the marker, when the marker begins the line's words.
fn after_marker(text: &str) -> Option<&str> {
    let at = text.find(MARKER)?;
    let before = text[..at].trim();
    if !before.chars().all(|char| "●⏺•✦*_`>-┃│#\"'".contains(char) || char.is_whitespace())
    {
        return None;
    }
    let value = text[at + MARKER.len()..].trim();
    let ends = |char: char| "`*_\"'│┃".contains(char);
    Some(value.trim_start_matches(ends).trim_end_matches(ends).trim())
}

/// The instant a text names; a local time that does not exist or exists twice is resolved forward.
fn instant(value: &str, zone: Tz) -> Option<DateTime<Utc>> {
    let words: Vec<&str> = value.split_whitespace().collect();
    // `2026-11-21 15:00`, `2026-11-21T15:00 +01:00` and trailing remarks are all written by agents.
    (1..=words.len().min(3)).rev().find_map(|count| {
        let joined = words[..count].join(" ");
        one_instant(joined.trim_end_matches(['.', ',', ';', ')', '`', '*']), zone)
    })
}

fn one_instant(text: &str, zone: Tz) -> Option<DateTime<Utc>> {
    let text = text.to_ascii_uppercase().replacen("UTC", "Z", 1).replace(" Z", "Z");
    let text = match text.strip_suffix('Z') {
        Some(bare) => format!("{bare}+00:00"),
        None => text,
    };
    let offsets = ["%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M%#z", "%Y%m%dT%H%M%S%#z"];
    let bare = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y%m%dT%H%M%S"];
    let with_t = if text.contains('T') { text } else { text.replacen(' ', "T", 1) };
    let compact = with_t.replace(' ', "");
    if let Some(at) = offsets.iter().find_map(|form| DateTime::parse_from_str(&compact, form).ok())
    {
        return Some(at.with_timezone(&Utc));
    }
    let local = bare
        .iter()
        .find_map(|form| NaiveDateTime::parse_from_str(&compact, form).ok())
        .or_else(|| NaiveDate::parse_from_str(&compact, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0))?;
    resolve(local, zone)
}

/// The later reading of a time that occurs twice; the first instant after a gap.
fn resolve(local: NaiveDateTime, zone: Tz) -> Option<DateTime<Utc>> {
    (0..=8).find_map(|quarters| {
        let shifted = local.checked_add_signed(chrono::Duration::minutes(15 * quarters))?;
        zone.from_local_datetime(&shifted).latest().map(|at| at.with_timezone(&Utc))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::zone::zone;
    use proptest::prelude::*;

    const BOUNDS: MarkerBounds = MarkerBounds {
        stall_grace: Duration::from_secs(120),
        max_wait: Duration::from_secs(86_400),
    };

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().expect("a time")
    }

    fn check(words: &str, now: &str) -> Option<Marker> {
        let rule = "─".repeat(40);
        let screen = Screen::parse(&format!(
            "❯ go on\n\n● Started the build.\n\n  {words}\n\n✻ Baked for 3s · done 4:08 AM\n\n{rule}\n❯\u{a0}\n{rule}\n  ⏵⏵ auto mode on\n"
        ));
        read(&screen, zone("Europe/Berlin"), BOUNDS, at(now))
    }

    #[test]
    fn any_offset_and_a_bare_local_time_are_read() {
        let now = "2026-11-21T10:00:00Z";
        let until = Some(Marker::Until(at("2026-11-21T11:00:00Z")));
        for words in [
            "WAITING-UNTIL: 2026-11-21T11:00:00Z",
            "WAITING-UNTIL: 2026-11-21T12:00:00+01:00",
            "WAITING-UNTIL: 2026-11-21T12:00",
            "WAITING-UNTIL: 2026-11-21 12:00",
            "WAITING-UNTIL: 2026-11-21T03:00:00.000-0800",
            "**WAITING-UNTIL: 2026-11-21T11:00:00z**",
            "`WAITING-UNTIL: 2026-11-21T12:00:00`",
            "WAITING-UNTIL: 2026-11-21T11:00:00Z (the nightly build)",
            "WAITING-UNTIL: 2026-11-21\n  T11:00:00Z",
            "WAITING-UNTIL:\n  2026-11-21T11:00:00Z",
        ] {
            assert_eq!(check(words, now), until, "{words}");
        }
    }

    #[test]
    fn a_marker_is_past_only_after_the_grace_and_not_believed_beyond_a_day() {
        let words = "WAITING-UNTIL: 2026-11-21T11:00:00Z";
        let until = at("2026-11-21T11:00:00Z");
        assert_eq!(check(words, "2026-11-21T11:02:00Z"), Some(Marker::Until(until)));
        assert_eq!(check(words, "2026-11-21T11:02:01Z"), Some(Marker::Past(until)));
        assert_eq!(check(words, "2026-11-20T11:00:00Z"), Some(Marker::Until(until)));
        assert_eq!(check(words, "2026-11-20T10:59:59Z"), Some(Marker::TooFar(until)));
        assert_eq!(
            check("WAITING-UNTIL: tomorrow", "2026-11-20T10:59:59Z"),
            Some(Marker::Unreadable("tomorrow".into()))
        );
    }

    #[test]
    fn only_the_last_words_of_the_agent_count() {
        let now = "2026-11-21T10:00:00Z";
        let earlier = "WAITING-UNTIL: 2026-11-21T11:00:00Z\n\n● The build is done, going on.";
        assert_eq!(check(earlier, now), None);
        assert_eq!(check("I print WAITING-UNTIL: 2026-11-21T11:00:00Z when I wait", now), None);
        let typed = Screen::parse(&format!(
            "● Hello.\n\n{0}\n❯\u{a0}WAITING-UNTIL: 2026-11-21T11:00:00Z\n{0}\n",
            "─".repeat(40)
        ));
        assert_eq!(read(&typed, Tz::UTC, BOUNDS, at(now)), None);
    }

    #[test]
    fn a_local_time_in_a_gap_or_a_fold_is_resolved_forward() {
        let spring = instant("2026-03-29T02:30", zone("Europe/Berlin"));
        assert_eq!(spring, Some(at("2026-03-29T01:00:00Z")));
        let autumn = instant("2026-10-25T02:30", zone("Europe/Berlin"));
        assert_eq!(autumn, Some(at("2026-10-25T01:30:00Z")));
    }

    proptest! {
        #[test]
        fn any_screen_is_read_without_panic(text: String, seconds in 0_i64..4_000_000_000) {
            let screen = Screen::parse(&format!("● WAITING-UNTIL: {text}"));
            let now = DateTime::from_timestamp(seconds, 0).expect("a time");
            drop(read(&screen, Tz::UTC, BOUNDS, now));
        }
    }
}
