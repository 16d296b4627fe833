//! IANA time zones for `chrono`: names, offsets, clock changes.
//!
//! The rules come from the bundled database of `jiff`, never from the machine, so that one config means
//! the same everywhere. A zone is read when it is first named and kept for the life of the process.
//!
//! Why not `chrono-tz`: its tables are a megabyte of pointers that the loader writes to at every start,
//! in the watchdog's memory and in each hook's time. A test holds both to the same answers.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use chrono::{
    Datelike as _, FixedOffset, MappedLocalTime, NaiveDate, NaiveDateTime, NaiveTime, Offset,
    TimeZone, Timelike as _,
};
use jiff::Timestamp;
use jiff::civil::DateTime as Civil;
use jiff::tz::{AmbiguousOffset, TimeZone as Rules, TimeZoneDatabase};

/// A zone of the IANA database, as small as a pointer.
///
/// Two are equal when their names are: `Etc/UTC` is not `UTC`, though their clocks agree.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Tz(Option<&'static Named>);

struct Named {
    name: String,
    rules: Rules,
}

impl PartialEq for Named {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Named {}

/// No zone of the IANA database has this name; upper and lower case count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no time zone; IANA names look like `Europe/Berlin` or `UTC`")]
pub struct UnknownZone(pub String);

/// The difference from UTC at some instant, with its zone and what people call it there (`CEST`).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TzOffset {
    zone: Tz,
    east: FixedOffset,
    called: Abbreviation,
}

/// At most eight bytes of ASCII, the rest zero: the database's longest has five.
type Abbreviation = [u8; 8];

impl Tz {
    pub const UTC: Self = Self(None);

    /// `Europe/Berlin`.
    pub fn name(self) -> &'static str {
        self.0.map_or("UTC", |named| &named.name)
    }

    /// Every name that `parse` takes, in order.
    pub fn names() -> Vec<String> {
        let mut names: Vec<String> =
            TimeZoneDatabase::bundled().available().map(|name| name.to_string()).collect();
        names.sort_unstable();
        names
    }

    fn offset_at(self, at: Timestamp) -> TzOffset {
        let (seconds, called) = match self.0 {
            None => (0, abbreviation("UTC")),
            Some(named) => {
                let found = named.rules.to_offset_info(at);
                (found.offset().seconds(), abbreviation(found.abbreviation()))
            }
        };
        let east = FixedOffset::east_opt(seconds).expect("no zone is a day or more from UTC");
        TzOffset { zone: self, east, called }
    }

    /// What holds at this time of the zone's clock, if it stood so far from UTC.
    fn offset_if(self, offset: jiff::tz::Offset, local: Civil) -> TzOffset {
        self.offset_at(offset.to_timestamp(local).unwrap_or(Timestamp::UNIX_EPOCH))
    }
}

impl FromStr for Tz {
    type Err = UnknownZone;

    fn from_str(name: &str) -> Result<Self, UnknownZone> {
        static KNOWN: Mutex<BTreeMap<&str, &Named>> = Mutex::new(BTreeMap::new());
        if name == "UTC" {
            return Ok(Self::UTC);
        }
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(named) = known.get(name) {
            return Ok(Self(Some(named)));
        }
        let unknown = || UnknownZone(name.to_owned());
        let rules = TimeZoneDatabase::bundled().get(name).map_err(|_| unknown())?;
        // The database itself does not mind the case.
        if rules.iana_name() != Some(name) {
            return Err(unknown());
        }
        let named: &Named = Box::leak(Box::new(Named { name: name.to_owned(), rules }));
        known.insert(&named.name, named);
        Ok(Self(Some(named)))
    }
}

impl fmt::Display for Tz {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl fmt::Debug for Tz {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl TimeZone for Tz {
    type Offset = TzOffset;

    fn from_offset(offset: &TzOffset) -> Self {
        offset.zone
    }

    fn offset_from_local_date(&self, local: &NaiveDate) -> MappedLocalTime<TzOffset> {
        self.offset_from_local_datetime(&local.and_time(NaiveTime::MIN))
    }

    fn offset_from_local_datetime(&self, local: &NaiveDateTime) -> MappedLocalTime<TzOffset> {
        let local = civil(local);
        let Some(named) = self.0 else {
            return MappedLocalTime::Single(self.offset_at(Timestamp::UNIX_EPOCH));
        };
        match named.rules.to_ambiguous_timestamp(local).offset() {
            AmbiguousOffset::Unambiguous { offset } => {
                MappedLocalTime::Single(self.offset_if(offset, local))
            }
            AmbiguousOffset::Gap { .. } => MappedLocalTime::None,
            AmbiguousOffset::Fold { before, after } => MappedLocalTime::Ambiguous(
                self.offset_if(before, local),
                self.offset_if(after, local),
            ),
        }
    }

    fn offset_from_utc_date(&self, utc: &NaiveDate) -> TzOffset {
        self.offset_from_utc_datetime(&utc.and_time(NaiveTime::MIN))
    }

    fn offset_from_utc_datetime(&self, utc: &NaiveDateTime) -> TzOffset {
        let seconds = utc.and_utc().timestamp();
        let bounds = Timestamp::MIN.as_second()..=Timestamp::MAX.as_second();
        let seconds = seconds.clamp(*bounds.start(), *bounds.end());
        self.offset_at(Timestamp::from_second(seconds).expect("clamped to its bounds"))
    }
}

impl Offset for TzOffset {
    fn fix(&self) -> FixedOffset {
        self.east
    }
}

impl fmt::Display for TzOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.called.iter().position(|byte| *byte == 0).unwrap_or(self.called.len());
        f.write_str(std::str::from_utf8(&self.called[..end]).unwrap_or_default())
    }
}

impl fmt::Debug for TzOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn abbreviation(text: &str) -> Abbreviation {
    let mut called = Abbreviation::default();
    for (to, from) in called.iter_mut().zip(text.bytes()) {
        *to = from;
    }
    called
}

/// Years beyond 9999, which no text of ours reaches, count as the first or the last day of the rules.
fn civil(local: &NaiveDateTime) -> Civil {
    let bounded = if local.year() < -9_999 { Civil::MIN } else { Civil::MAX };
    let part = |value: u32| i8::try_from(value).unwrap_or_default();
    let date = local.date();
    let Ok(year) = i16::try_from(date.year()) else {
        return bounded;
    };
    Civil::new(
        year,
        part(date.month()),
        part(date.day()),
        part(local.hour()),
        part(local.minute()),
        part(local.second()),
        0,
    )
    .unwrap_or(bounded)
}

/// A zone that a test names.
#[cfg(test)]
pub(crate) fn zone(name: &str) -> Tz {
    name.parse().unwrap_or_else(|error| panic!("{error}"))
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use chrono::{DateTime, Utc};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_is_taken_as_the_database_writes_it() {
        assert_eq!(zone("Europe/Berlin").name(), "Europe/Berlin");
        assert_eq!(zone("UTC"), Tz::UTC);
        assert_ne!(zone("Etc/UTC"), Tz::UTC);
        for wrong in ["europe/berlin", "Europe/Bonn", "", "UTC ", "CEST", "../etc/passwd"] {
            assert_eq!(wrong.parse::<Tz>(), Err(UnknownZone(wrong.to_owned())));
        }
        let names = Tz::names();
        assert!(names.len() > 400, "{}", names.len());
        for name in &names {
            assert_eq!(zone(name).name(), name);
        }
    }

    #[test]
    fn an_instant_is_written_with_what_people_call_the_hour() {
        let at: DateTime<Utc> = "2026-07-01T12:00:00Z".parse().unwrap();
        let berlin = at.with_timezone(&zone("Europe/Berlin"));
        assert_eq!(
            berlin.format("%Y-%m-%d %H:%M %Z %z").to_string(),
            "2026-07-01 14:00 CEST +0200"
        );
        assert_eq!(
            format!("{:?} {}", at.with_timezone(&Tz::UTC), zone("Asia/Tokyo")),
            "2026-07-01T12:00:00UTC Asia/Tokyo"
        );
    }

    /// This century until the end of 2025. Older history is still being corrected, and governments change
    /// their minds: one edition knows of either earlier than the other.
    const EDITIONS_AGREE: Range<i64> = 978_307_200..1_767_225_600;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    /// Asserts that both databases give this instant the same time of day, and that time and those about it
    /// the same instants.
    fn check_same(theirs: chrono_tz::Tz, seconds: i64) {
        let ours = zone(theirs.name());
        let local = at(seconds).with_timezone(&theirs).naive_local();
        assert_eq!(at(seconds).with_timezone(&ours).naive_local(), local, "{theirs} {seconds}");
        for minutes in [-61, -30, 0, 30, 61] {
            let local = local + chrono::TimeDelta::minutes(minutes);
            assert_eq!(
                ours.from_local_datetime(&local).map(|at| at.to_utc()),
                theirs.from_local_datetime(&local).map(|at| at.to_utc()),
                "{theirs} {local}"
            );
        }
    }

    proptest! {
        #[test]
        fn an_offset_is_that_of_another_database(
            theirs in prop::sample::select(chrono_tz::TZ_VARIANTS.to_vec()),
            seconds in EDITIONS_AGREE,
        ) {
            check_same(theirs, seconds);
        }

        #[test]
        fn no_date_that_chrono_can_write_is_too_far(
            theirs in prop::sample::select(chrono_tz::TZ_VARIANTS.to_vec()),
            days in -95_000_000_i64..95_000_000,
        ) {
            let at = DateTime::<Utc>::UNIX_EPOCH + chrono::TimeDelta::days(days);
            let ours = zone(theirs.name());
            prop_assert_eq!(at.with_timezone(&ours).to_utc(), at);
            prop_assert!(ours.from_local_datetime(&at.naive_utc()).earliest().is_some());
        }
    }

    #[test]
    fn every_clock_change_comes_in_the_same_second_as_in_another_database() {
        let mut changes = 0;
        // Moldova's changes since 2022 were an hour off in editions before 2026.
        let corrected = ["Europe/Chisinau", "Europe/Tiraspol"];
        let known = chrono_tz::TZ_VARIANTS.into_iter();
        for theirs in known.filter(|zone| !corrected.contains(&zone.name())) {
            let offset = |seconds| theirs.offset_from_utc_datetime(&at(seconds).naive_utc()).fix();
            for start in EDITIONS_AGREE.step_by(21 * 86_400) {
                let (mut before, mut after) = (start, start + 21 * 86_400);
                if offset(before) == offset(after) {
                    continue;
                }
                while after - before > 1 {
                    let middle = i64::midpoint(before, after);
                    let same = offset(middle) == offset(before);
                    *(if same { &mut before } else { &mut after }) = middle;
                }
                check_same(theirs, before);
                check_same(theirs, after);
                changes += 1;
            }
        }
        assert!(changes > 5_000, "{changes}");
    }
}
