//! When a rule holds: windows on the wall clock of a zone, weekdays, holidays; and calendar periods.
//!
//! A moment is inside a window when a clock on the wall there shows a time of it. So the hour that a
//! change of clocks skips never comes, and the one it repeats is inside twice. A window across
//! midnight belongs to the day it begins on, for weekdays and holidays alike.

use crate::base::zone::Tz;
use chrono::{
    DateTime, Datelike as _, Days, NaiveDate, NaiveTime, TimeDelta, TimeZone as _, Timelike as _,
    Utc,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Minutes of a day.
pub const DAY_MINUTES: u16 = 24 * 60;

/// The times of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// `None`: the zone of the project.
    #[serde(serialize_with = "zone_out", deserialize_with = "zone_in")]
    pub zone: Option<Tz>,
    /// Any of them is enough; never empty.
    pub windows: Vec<Window>,
    /// Days (since the year 1) on which no window begins.
    pub holidays: Vec<i32>,
    /// The rule holds outside the windows instead.
    pub outside: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Bit 0 is Monday.
    pub days: u8,
    /// Minute of the day it begins.
    pub from: u16,
    /// Minute it ends, itself outside; at or before `from` it lies on the next day.
    pub to: u16,
}

impl Schedule {
    pub fn holds(&self, now: DateTime<Utc>, zone: Tz) -> bool {
        let local = now.with_timezone(&self.zone.unwrap_or(zone)).naive_local();
        let minute = u16::try_from(local.hour() * 60 + local.minute())
            .expect("a day has fewer than 65,536 minutes");
        let today = local.date();
        let yesterday = today.checked_sub_days(Days::new(1));
        let inside = self.windows.iter().any(|&window| {
            let begun_today = self.begins_on(window, today);
            if window.from < window.to {
                begun_today && (window.from..window.to).contains(&minute)
            } else {
                (begun_today && minute >= window.from)
                    || (minute < window.to
                        && yesterday.is_some_and(|day| self.begins_on(window, day)))
            }
        });
        inside != self.outside
    }

    fn begins_on(&self, window: Window, day: NaiveDate) -> bool {
        window.days & (1 << day.weekday().num_days_from_monday()) != 0
            && !self.holidays.contains(&day.num_days_from_ce())
    }
}

/// How long a budget counts before it starts anew, in the calendar of a zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Period {
    Day,
    /// From Monday.
    Week,
    Month,
}

impl Period {
    /// The period around `now`: its start, and the start of the next one. `None` at the end of the calendar.
    pub fn around(self, now: DateTime<Utc>, zone: Tz) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
        let today = now.with_timezone(&zone).date_naive();
        let (first, next) = match self {
            Self::Day => (today, today.checked_add_days(Days::new(1))?),
            Self::Week => {
                let into = u64::from(today.weekday().num_days_from_monday());
                let monday = today.checked_sub_days(Days::new(into))?;
                (monday, monday.checked_add_days(Days::new(7))?)
            }
            Self::Month => {
                let first = today.with_day(1)?;
                (first, first.checked_add_months(chrono::Months::new(1))?)
            }
        };
        Some((day_start(first, zone)?, day_start(next, zone)?))
    }
}

/// The first moment of a day; where midnight itself is skipped by a change of clocks, the moment after the gap.
fn day_start(day: NaiveDate, zone: Tz) -> Option<DateTime<Utc>> {
    let midnight = day.and_time(NaiveTime::MIN);
    // No zone ever skipped more than a day; Samoa's missing Friday is the record.
    (0..=48_i64).find_map(|halves| {
        let local = midnight.checked_add_signed(TimeDelta::minutes(30 * halves))?;
        zone.from_local_datetime(&local).earliest().map(|at| at.with_timezone(&Utc))
    })
}

#[expect(clippy::ref_option, reason = "serde hands fields over by reference")]
fn zone_out<S: Serializer>(zone: &Option<Tz>, to: S) -> Result<S::Ok, S::Error> {
    zone.map(Tz::name).serialize(to)
}

fn zone_in<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Tz>, D::Error> {
    let name = Option::<String>::deserialize(from)?;
    name.map(|name| name.parse().map_err(serde::de::Error::custom)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::zone::zone;

    const WORKDAYS: u8 = 0b001_1111;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn schedule(zone: Tz, days: u8, from: u16, to: u16) -> Schedule {
        let windows = vec![Window { days, from, to }];
        Schedule { zone: Some(zone), windows, holidays: Vec::new(), outside: false }
    }

    #[test]
    fn business_hours_follow_the_clock_on_the_wall_there() {
        let hours = schedule(zone("Europe/Berlin"), WORKDAYS, 9 * 60, 17 * 60);
        for (moment, expected) in [
            ("2026-03-27T08:00:00Z", true),
            ("2026-03-27T07:59:59Z", false),
            ("2026-03-27T15:59:59Z", true),
            ("2026-03-27T16:00:00Z", false),
            // The clocks went forward on the Sunday between.
            ("2026-03-30T07:00:00Z", true),
            ("2026-03-30T06:59:59Z", false),
            ("2026-03-28T10:00:00Z", false),
        ] {
            assert_eq!(hours.holds(at(moment), Tz::UTC), expected, "{moment}");
        }
    }

    #[test]
    fn a_night_belongs_to_the_day_it_begins_on() {
        let mut night = schedule(Tz::UTC, 0b001_0000, 22 * 60, 6 * 60);
        let friday = NaiveDate::from_ymd_opt(2026, 11, 20).unwrap();
        assert!(night.holds(at("2026-11-20T22:00:00Z"), Tz::UTC));
        assert!(night.holds(at("2026-11-21T05:59:00Z"), Tz::UTC), "Saturday's early hours");
        assert!(!night.holds(at("2026-11-20T05:00:00Z"), Tz::UTC), "that night began on Thursday");
        night.holidays.push(friday.num_days_from_ce());
        assert!(!night.holds(at("2026-11-21T05:59:00Z"), Tz::UTC));
        night.outside = true;
        assert!(night.holds(at("2026-11-21T05:59:00Z"), Tz::UTC));
    }

    /// Every minute of days with changes of clocks, against a reading of the formatted local time.
    #[test]
    fn every_minute_of_days_with_changed_clocks_agrees_with_the_shown_time() {
        let days = [
            (zone("Europe/Berlin"), "2026-03-29T00:00:00Z"),
            (zone("Europe/Berlin"), "2026-10-25T00:00:00Z"),
            (zone("America/New_York"), "2026-03-08T00:00:00Z"),
            (zone("America/New_York"), "2026-11-01T00:00:00Z"),
            (zone("Australia/Lord_Howe"), "2026-04-04T00:00:00Z"),
            (zone("Asia/Kathmandu"), "2026-06-01T00:00:00Z"),
        ];
        let windows = [(0, 1440), (120, 180), (150, 151), (1380, 60), (60, 0), (179, 121)];
        for (zone, start) in days {
            for (from, to) in windows {
                let schedule = schedule(zone, 0b111_1111, from, to);
                for minute in 0..26 * 60 {
                    let moment = at(start) + TimeDelta::minutes(minute - 60);
                    let shown = moment.with_timezone(&zone).format("%H:%M").to_string();
                    let (from, to) = (clock(from), clock(to));
                    let expected = if from < to {
                        from <= shown && shown < to
                    } else {
                        shown >= from || shown < to
                    };
                    assert_eq!(schedule.holds(moment, Tz::UTC), expected, "{zone} {moment} {from}");
                }
            }
        }
    }

    fn clock(minute: u16) -> String {
        format!("{:02}:{:02}", minute / 60, minute % 60)
    }

    #[test]
    fn periods_begin_at_local_midnight_and_meet_without_gap() {
        let zones = [
            zone("Europe/Berlin"),
            zone("America/Sao_Paulo"),
            zone("Asia/Beirut"),
            zone("Pacific/Apia"),
        ];
        for zone in zones {
            for period in [Period::Day, Period::Week, Period::Month] {
                let mut now = at("2011-12-25T12:00:00Z");
                for _ in 0..40 {
                    let (from, until) = period.around(now, zone).unwrap();
                    assert!(from <= now && now < until, "{zone} {period:?} {now}");
                    let (next, _) = period.around(until, zone).unwrap();
                    assert_eq!(next, until, "{zone} {period:?} {now}");
                    now = until + TimeDelta::hours(1);
                }
            }
        }
        let (from, until) =
            Period::Day.around(at("2026-10-25T12:00:00Z"), zone("Europe/Berlin")).unwrap();
        assert_eq!((until - from).num_hours(), 25);
    }
}
