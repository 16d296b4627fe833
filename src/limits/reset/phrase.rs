//! The words after "resets": taken apart, not yet placed in time.
//!
//! Tokens (clock, date, weekday, day word, zone) come in any order and at most once each; the
//! first unknown word ends the phrase. A bare number is never a time.

use std::str::FromStr as _;
use std::sync::LazyLock;

use crate::base::zone::Tz;
use chrono::{DateTime, FixedOffset, TimeDelta, Utc, Weekday};
use regex::{Captures, Regex};

use super::Precision;

/// Longer than any limit; keeps arithmetic far from its edges.
const DURATION_MAX: TimeDelta = TimeDelta::days(3_660);

/// A time as the text gives it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum When {
    Epoch(DateTime<Utc>),
    In { duration: TimeDelta, precision: Precision },
    Calendar(Calendar),
}

#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Calendar {
    pub(super) clock: Option<Clock>,
    pub(super) day: Option<Day>,
    pub(super) zone: Option<Zone>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Clock {
    pub(super) hour: u32,
    pub(super) minute: u32,
    /// Printed seconds make the time second-precise.
    pub(super) second: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Day {
    Date {
        year: Option<i32>,
        month: u32,
        day: u32,
    },
    Weekday(Weekday),
    /// 0 today, 1 tomorrow.
    Ahead(u32),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Zone {
    Named(Tz),
    Offset(FixedOffset),
    /// A zone word we cannot place.
    Unknown(String),
}

macro_rules! pattern {
    ($name:ident, $($text:expr),+) => {
        static $name: LazyLock<Regex> =
            LazyLock::new(|| Regex::new(concat!($($text),+)).expect("constant pattern compiles"));
    };
}

macro_rules! month {
    () => {
        concat!(
            r"(?P<month>jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|",
            r"sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\b\.?"
        )
    };
}

pattern!(EPOCH, r"^(\d{13}|\d{10})(?:\.\d+)?\b");
pattern!(RELATIVE, r"(?i)^(?:(?:in|after) (?:about |approximately |around )?~? ?|~ ?)");
pattern!(AMOUNT, r"(?i)^(?:(\d{1,9})(?:\.(\d{1,9}))?|(an?) )[ -]?([a-z]+)");
pattern!(LESS_THAN_A_MINUTE, r"(?i)^less than (?:a|one|1) (minute|second|hour)\b");
pattern!(GLUE, r"(?i)^(?:[ ,]|(?:at|on|by|next|this|the|around|about)\b)+");
pattern!(
    CLOCK,
    r"(?i)^([01]?\d|2[0-3]):([0-5]\d)(?::([0-5]\d)(?:\.\d+)?)?(?: ?(?:([ap])m\b|([ap])\.m\.))?"
);
pattern!(HOUR, r"(?i)^(\d{1,2}) ?(?:([ap])m\b|([ap])\.m\.)");
pattern!(CLOCK_WORD, r"(?i)^(?:12 )?(noon|midnight)\b");
pattern!(ISO_DATE, r"^(?P<year>\d{4})-(?P<month>\d{2})-(?P<day>\d{2})(?:T\b|T?)");
pattern!(
    MONTH_FIRST,
    r"(?i)^",
    month!(),
    r" (?P<day>\d{1,2})(?:st|nd|rd|th)?\b(?:,? (?P<year>\d{4})\b)?"
);
pattern!(
    DAY_FIRST,
    r"(?i)^(?P<day>\d{1,2})(?:st|nd|rd|th)? (?:of )?",
    month!(),
    r"(?:,? (?P<year>\d{4})\b)?"
);
pattern!(
    WEEKDAY,
    r"(?i)^(?:(mon)(?:day)?|(tue)(?:s|sday)?|(wed)(?:s|nesday)?|(thu)(?:r|rs|rsday)?|",
    r"(fri)(?:day)?|(sat)(?:urday)?|(sun)(?:day)?)\b\.?"
);
pattern!(DAY_WORD, r"(?i)^(today|tonight|tomorrow)\b");
pattern!(ZONE_OFFSET, r"^\(?(?:UTC|GMT)?([+\-\x{2212}])(\d{1,2})(?::?(\d{2}))?\b\)?");
pattern!(ZONE_NAME, r"^(?:\(([A-Za-z][A-Za-z0-9_+\-/]*)\)|([A-Z][A-Za-z_]+/[A-Za-z0-9_+\-/]+))");
pattern!(ZONE_WORD, r"^(Z|[A-Z]{2,5})\b");

/// Reads a time at the start of `text`; gives it with the number of bytes it took.
pub(super) fn read(text: &str) -> Option<(When, usize)> {
    if let Some(found) = EPOCH.captures(text) {
        return Some((When::Epoch(epoch(&found[1])?), found[0].len()));
    }
    if let Some((relative, used)) = relative(text) {
        // "in 2m (4pm)", "in 1 hour at 6:01 AM UTC": the clock does not age while it stands there.
        let rest = &text[used..];
        let skip = [" (", " at "].iter().find(|lead| rest.starts_with(**lead)).map(|l| l.len());
        if let Some((calendar, more)) = skip.and_then(|skip| {
            calendar(&rest[skip..]).map(|(calendar, more)| (calendar, skip + more))
        }) && calendar.clock.is_some()
        {
            return Some((When::Calendar(calendar), used + more));
        }
        return Some((relative, used));
    }
    calendar(text).map(|(calendar, used)| (When::Calendar(calendar), used))
}

/// Ten digits are seconds, thirteen are milliseconds.
fn epoch(digits: &str) -> Option<DateTime<Utc>> {
    let number: i64 = digits.parse().ok()?;
    if digits.len() == 13 {
        DateTime::from_timestamp_millis(number)
    } else {
        DateTime::from_timestamp(number, 0)
    }
}

fn relative(text: &str) -> Option<(When, usize)> {
    let lead = RELATIVE.find(text)?.end();
    if let Some(found) = LESS_THAN_A_MINUTE.captures(&text[lead..]) {
        let (unit, _) = unit(&found[1])?;
        let when = When::In { duration: unit, precision: Precision::Second };
        return Some((when, lead + found[0].len()));
    }
    let (mut duration, mut precision, mut end) = (TimeDelta::zero(), None, lead);
    let mut from = lead;
    while let Some(found) = AMOUNT.captures(&text[from..]) {
        let Some((unit, unit_precision)) = unit(&found[4]) else {
            break;
        };
        duration = duration.checked_add(&amount(&found, unit)?)?;
        if duration > DURATION_MAX {
            return None;
        }
        precision = Some(unit_precision);
        end = from + found[0].len();
        from = end + separator(&text[end..]);
    }
    Some((When::In { duration, precision: precision? }, end))
}

fn separator(text: &str) -> usize {
    [", and ", " and ", ", ", " "]
        .iter()
        .find(|separator| text.starts_with(**separator))
        .map_or(0, |separator| separator.len())
}

/// `1.5` of a unit, kept in whole milliseconds.
fn amount(found: &Captures<'_>, unit: TimeDelta) -> Option<TimeDelta> {
    if found.get(3).is_some() {
        return Some(unit);
    }
    let whole: i64 = found[1].parse().ok()?;
    let thousandths: i64 = match found.get(2) {
        Some(fraction) => format!("{:0<3.3}", fraction.as_str()).parse().ok()?,
        None => 0,
    };
    let millis = unit.num_milliseconds();
    let total = millis.checked_mul(whole)?.checked_add(millis * thousandths / 1_000)?;
    TimeDelta::try_milliseconds(total)
}

fn unit(word: &str) -> Option<(TimeDelta, Precision)> {
    let word = word.to_ascii_lowercase();
    let singular = if word.len() > 2 { word.trim_end_matches('s') } else { word.as_str() };
    Some(match singular {
        "ms" | "msec" | "milli" | "millisecond" => (TimeDelta::milliseconds(1), Precision::Second),
        "s" | "sec" | "second" => (TimeDelta::seconds(1), Precision::Second),
        "m" | "min" | "minute" => (TimeDelta::minutes(1), Precision::Minute),
        "h" | "hr" | "hour" => (TimeDelta::hours(1), Precision::Hour),
        "d" | "day" => (TimeDelta::days(1), Precision::Day),
        "w" | "wk" | "week" => (TimeDelta::weeks(1), Precision::Day),
        _ => return None,
    })
}

fn calendar(text: &str) -> Option<(Calendar, usize)> {
    let (mut calendar, mut end, mut from) = (Calendar::default(), 0, 0);
    loop {
        from += GLUE.find(&text[from..]).map_or(0, |glue| glue.end());
        let rest = &text[from..];
        let used = if calendar.clock.is_none()
            && let Some((clock, used)) = clock(rest)
        {
            calendar.clock = Some(clock);
            used
        } else if let Some((day, used)) = day(rest)
            && calendar.day.is_none_or(|known| !matches!(known, Day::Date { .. }))
        {
            // "Mon, Nov 24": the date says more than the weekday.
            calendar.day = Some(day);
            used
        } else if (calendar.clock.is_some() || calendar.day.is_some())
            && calendar.zone.is_none()
            && let Some((zone, used)) = zone(rest)
        {
            calendar.zone = Some(zone);
            used
        } else {
            break;
        };
        from += used;
        end = from;
    }
    (calendar.clock.is_some() || calendar.day.is_some()).then_some((calendar, end))
}

fn clock(text: &str) -> Option<(Clock, usize)> {
    if let Some(found) = CLOCK_WORD.captures(text) {
        let hour = if found[1].eq_ignore_ascii_case("noon") { 12 } else { 0 };
        return Some((Clock { hour, minute: 0, second: None }, found[0].len()));
    }
    if let Some(found) = CLOCK.captures(text) {
        let half = found.get(4).or(found.get(5)).map(|half| half.as_str());
        let hour = hour_of_day(found[1].parse().ok()?, half)?;
        let second = found.get(3).and_then(|second| second.as_str().parse().ok());
        let clock = Clock { hour, minute: found[2].parse().ok()?, second };
        return Some((clock, found[0].len()));
    }
    let found = HOUR.captures(text)?;
    let half = found.get(2).or(found.get(3)).map(|half| half.as_str());
    let hour = hour_of_day(found[1].parse().ok()?, half)?;
    Some((Clock { hour, minute: 0, second: None }, found[0].len()))
}

/// 12am is midnight, 12pm noon; 13pm is no time.
fn hour_of_day(hour: u32, half: Option<&str>) -> Option<u32> {
    match half.map(str::to_ascii_lowercase).as_deref() {
        Some("a") if hour <= 12 => Some(hour % 12),
        Some("p") if (1..=12).contains(&hour) => Some(hour % 12 + 12),
        Some(_) => None,
        None => Some(hour),
    }
}

fn day(text: &str) -> Option<(Day, usize)> {
    if let Some(found) = ISO_DATE.captures(text) {
        let month = found["month"].parse().ok()?;
        return Some((date(&found, month)?, found[0].len()));
    }
    if let Some(found) = MONTH_FIRST.captures(text).or_else(|| DAY_FIRST.captures(text)) {
        let month = month(&found["month"])?;
        return Some((date(&found, month)?, found[0].len()));
    }
    if let Some(found) = WEEKDAY.captures(text) {
        let weekday = Weekday::from_str(found.iter().skip(1).flatten().next()?.as_str()).ok()?;
        return Some((Day::Weekday(weekday), found[0].len()));
    }
    let found = DAY_WORD.captures(text)?;
    let ahead = u32::from(found[1].eq_ignore_ascii_case("tomorrow"));
    Some((Day::Ahead(ahead), found[0].len()))
}

fn date(found: &Captures<'_>, month: u32) -> Option<Day> {
    let year = match found.name("year") {
        Some(year) => Some(year.as_str().parse().ok()?),
        None => None,
    };
    let day = found["day"].parse().ok()?;
    ((1..=12).contains(&month) && (1..=31).contains(&day)).then_some(Day::Date { year, month, day })
}

fn month(word: &str) -> Option<u32> {
    let names =
        ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    let short = word.get(..3)?.to_ascii_lowercase();
    names.iter().zip(1..).find(|(name, _)| **name == short).map(|(_, number)| number)
}

fn zone(text: &str) -> Option<(Zone, usize)> {
    if let Some(found) = ZONE_OFFSET.captures(text) {
        let hours: i32 = found[2].parse().ok()?;
        let minutes: i32 = found.get(3).map_or(Ok(0), |minutes| minutes.as_str().parse()).ok()?;
        let sign = if &found[1] == "+" { 1 } else { -1 };
        let offset = FixedOffset::east_opt(sign * (hours * 3_600 + minutes * 60))?;
        return Some((Zone::Offset(offset), found[0].len()));
    }
    if let Some(found) = ZONE_NAME.captures(text) {
        let name = found.get(1).or(found.get(2))?.as_str();
        let zone = match Tz::from_str(name) {
            Ok(zone) => Zone::Named(zone),
            Err(_) => {
                abbreviation(name).map_or_else(|| Zone::Unknown(name.to_owned()), Zone::Offset)
            }
        };
        return Some((zone, found[0].len()));
    }
    let word = ZONE_WORD.captures(text)?[1].to_owned();
    let used = word.len();
    Some((abbreviation(&word).map_or(Zone::Unknown(word), Zone::Offset), used))
}

/// Only abbreviations with one meaning: `CST`, `IST` and `BST` each name several zones.
fn abbreviation(word: &str) -> Option<FixedOffset> {
    let half_hours = match word {
        "Z" | "UTC" | "GMT" | "WET" => 0,
        "CET" | "WEST" => 2,
        "CEST" | "EET" => 4,
        "EEST" | "MSK" => 6,
        "SGT" | "HKT" | "AWST" => 16,
        "JST" | "KST" => 18,
        "ACST" => 19,
        "AEST" => 20,
        "AEDT" => 22,
        "NZST" => 24,
        "NZDT" => 26,
        "EDT" => -8,
        "EST" | "CDT" => -10,
        "MDT" => -12,
        "MST" | "PDT" => -14,
        "PST" | "AKDT" => -16,
        "AKST" => -18,
        "HST" => -20,
        _ => return None,
    };
    FixedOffset::east_opt(half_hours * 1_800)
}
