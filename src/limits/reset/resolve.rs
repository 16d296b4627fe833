//! A printed time placed on the calendar: which day is meant, and which instant that is in its zone.
//!
//! Clock changes resolve forward: an hour that does not exist moves on by the gap, an hour that
//! exists twice means the later one, because waiting too long costs minutes and probing too early
//! costs the probe.

use crate::base::zone::Tz;
use chrono::{
    DateTime, Datelike as _, Days, FixedOffset, MappedLocalTime, NaiveDate, NaiveDateTime,
    NaiveTime, TimeDelta, TimeZone, Utc,
};

use super::phrase::{Calendar, Clock, Day, When, Zone};
use super::{GRACE, Precision, Reading, Reset};

/// A date without year that lies no further behind than this is a stale banner, not next year:
/// no limit lasts eleven months.
const STALE_MAX: TimeDelta = TimeDelta::days(31);

/// Gaps of clock changes are an hour or two; one island once skipped a whole day.
const GAP_HOURS_MAX: i64 = 26;

pub(super) fn resolve(when: &When, phrase: String, now: DateTime<Utc>, zone: Tz) -> Option<Reset> {
    match when {
        When::Epoch(at) => {
            let (at, note) = not_past(*at, now);
            let (precision, reading) = (Precision::Second, Reading::Exact);
            Some(Reset { at, precision, phrase, reading, note })
        }
        When::In { duration, precision } => {
            let at = now.checked_add_signed(*duration)?;
            let (precision, reading) = (*precision, Reading::Relative);
            Some(Reset { at, precision, phrase, reading, note: None })
        }
        When::Calendar(calendar) => resolve_calendar(calendar, phrase, now, zone),
    }
}

fn resolve_calendar(
    calendar: &Calendar,
    phrase: String,
    now: DateTime<Utc>,
    zone: Tz,
) -> Option<Reset> {
    let mut notes = Notes::default();
    let place = match &calendar.zone {
        Some(Zone::Named(named)) => Place::Zone(*named),
        Some(Zone::Offset(offset)) => Place::Offset(*offset),
        Some(Zone::Unknown(word)) => {
            notes.add(format!("unknown zone `{word}`, read in {zone}"));
            Place::Zone(zone)
        }
        None => Place::Zone(zone),
    };
    let (at, reading) = match (calendar.day, calendar.clock) {
        (None, clock) => (next_such_time(clock?, place, now, &mut notes)?, Reading::NextSuchTime),
        (Some(Day::Date { year: Some(year), month, day }), clock) => {
            let date = NaiveDate::from_ymd_opt(year, month, day)?;
            (place.instant(date, clock, &mut notes)?, Reading::Exact)
        }
        (Some(Day::Date { year: None, month, day }), clock) => {
            let at = nearest_such_date(month, day, clock, place, now, &mut notes)?;
            (at, Reading::NextSuchDate)
        }
        (Some(Day::Weekday(weekday)), clock) => {
            let today = place.date(now);
            let ahead = weekday.days_since(today.weekday());
            let date = today.checked_add_days(Days::new(u64::from(ahead)))?;
            let mut at = place.instant(date, clock, &mut notes)?;
            if clock.is_some() && at < now - GRACE {
                at = place.instant(date.checked_add_days(Days::new(7))?, clock, &mut notes)?;
            }
            (at, Reading::NextSuchDate)
        }
        (Some(Day::Ahead(days)), clock) => {
            let date = place.date(now).checked_add_days(Days::new(u64::from(days)))?;
            (place.instant(date, clock, &mut notes)?, Reading::NextSuchDate)
        }
    };
    let (at, past) = not_past(at, now);
    if let Some(past) = past {
        notes.add(past);
    }
    let precision = match calendar.clock {
        None => Precision::Day,
        Some(Clock { second: Some(_), .. }) => Precision::Second,
        Some(Clock { second: None, .. }) => Precision::Minute,
    };
    Some(Reset { at, precision, phrase, reading, note: notes.0 })
}

/// A time that has passed means now; one within the grace stays as printed.
fn not_past(at: DateTime<Utc>, now: DateTime<Utc>) -> (DateTime<Utc>, Option<String>) {
    if at >= now {
        (at, None)
    } else if now - at <= GRACE {
        (at, Some("just past: means now".to_owned()))
    } else {
        (now, Some(format!("printed time {} is past: means now", at.format("%Y-%m-%d %H:%M UTC"))))
    }
}

/// The first such time that is not further behind than the grace.
fn next_such_time(
    clock: Clock,
    place: Place,
    now: DateTime<Utc>,
    notes: &mut Notes,
) -> Option<DateTime<Utc>> {
    let yesterday = place.date(now).pred_opt()?;
    yesterday.iter_days().take(4).find_map(|date| {
        let mut tried = Notes::default();
        let at = place.instant(date, Some(clock), &mut tried)?;
        (at >= now - GRACE).then(|| {
            notes.append(tried);
            at
        })
    })
}

/// This year's, last year's or next year's date: the first that is not too far behind.
fn nearest_such_date(
    month: u32,
    day: u32,
    clock: Option<Clock>,
    place: Place,
    now: DateTime<Utc>,
    notes: &mut Notes,
) -> Option<DateTime<Utc>> {
    let year = place.date(now).year();
    // 29 February comes at most eight years apart.
    (year - 1..=year + 8).find_map(|candidate| {
        let mut tried = Notes::default();
        let at =
            place.instant(NaiveDate::from_ymd_opt(candidate, month, day)?, clock, &mut tried)?;
        (at >= now - STALE_MAX).then(|| {
            notes.append(tried);
            if candidate != year {
                notes.add(format!("year assumed: {candidate}"));
            }
            at
        })
    })
}

#[derive(Default)]
struct Notes(Option<String>);

impl Notes {
    fn add(&mut self, note: String) {
        self.0 = Some(match self.0.take() {
            Some(before) => format!("{before}; {note}"),
            None => note,
        });
    }

    fn append(&mut self, other: Self) {
        if let Some(note) = other.0 {
            self.add(note);
        }
    }
}

/// Where a printed time is to be read.
#[derive(Clone, Copy)]
enum Place {
    Zone(Tz),
    Offset(FixedOffset),
}

impl Place {
    fn date(self, now: DateTime<Utc>) -> NaiveDate {
        match self {
            Self::Zone(zone) => now.with_timezone(&zone).date_naive(),
            Self::Offset(offset) => now.with_timezone(&offset).date_naive(),
        }
    }

    /// The instant of a local date and time; without a time, the start of the day.
    fn instant(
        self,
        date: NaiveDate,
        clock: Option<Clock>,
        notes: &mut Notes,
    ) -> Option<DateTime<Utc>> {
        let time = match clock {
            Some(clock) => {
                NaiveTime::from_hms_opt(clock.hour, clock.minute, clock.second.unwrap_or(0))?
            }
            None => NaiveTime::MIN,
        };
        match self {
            Self::Zone(zone) => forward(&zone, date.and_time(time), notes),
            Self::Offset(offset) => forward(&offset, date.and_time(time), notes),
        }
    }
}

fn forward<Z: TimeZone>(
    zone: &Z,
    local: NaiveDateTime,
    notes: &mut Notes,
) -> Option<DateTime<Utc>> {
    let utc = |time: DateTime<Z>| time.with_timezone(&Utc);
    match zone.from_local_datetime(&local) {
        MappedLocalTime::Single(time) => Some(utc(time)),
        MappedLocalTime::Ambiguous(one, other) => {
            notes.add(format!("{} comes twice that day: the later one", local.format("%H:%M")));
            Some(utc(one).max(utc(other)))
        }
        MappedLocalTime::None => {
            notes.add(format!("no {} that day: moved on by the gap", local.format("%H:%M")));
            // Read with the offset in force before the gap, the time lands as far behind the gap
            // as it was printed inside it.
            (1..=GAP_HOURS_MAX).find_map(|hours| {
                let back = TimeDelta::hours(hours);
                let before = zone.from_local_datetime(&local.checked_sub_signed(back)?).latest()?;
                utc(before).checked_add_signed(back)
            })
        }
    }
}
