//! What people are told, and when: the same thing not over and over, nothing in quiet hours, nothing lost.
//!
//! A report that may not be told now is kept and told when it may, once, with how often it came. What
//! is over by then (an agent that waits no longer) is dropped. Knows no command and no bell.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::base::zone::Tz;
use chrono::{DateTime, TimeDelta, Timelike as _, Utc};
use serde::{Deserialize, Serialize};

use crate::config::QuietHours;
use crate::supervise::action::{Report, What};

/// Things remembered at once; the oldest goes first.
const REMEMBERED_MAX: usize = 500;

/// How people want to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    pub quiet_hours: Option<QuietHours>,
    /// The same about the same unit is told at most this often.
    pub repeat_after: Duration,
    /// Of the quiet hours.
    pub zone: Tz,
}

/// One thing to tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    pub report: Report,
    /// When it happened last.
    pub at: DateTime<Utc>,
    /// How often it happened since it was told last, this time included.
    pub times: u32,
}

/// What was told and what waits; plain data that outlives the process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notices {
    told: BTreeMap<String, DateTime<Utc>>,
    held: BTreeMap<String, Notice>,
}

impl Notices {
    /// Takes note of one report; answers what is to be told now.
    pub fn take(&mut self, report: &Report, rules: &Rules, now: DateTime<Utc>) -> Option<Notice> {
        if report.what == What::State {
            // The unit is in another state now: what was kept about the last one is over.
            self.held.retain(|_, held| {
                held.report.what != What::State || held.report.unit != report.unit
            });
        }
        if !report.notify {
            return None;
        }
        let key = key(report);
        let times = self.held.get(&key).map_or(0, |held| held.times) + 1;
        let notice = Notice { report: report.clone(), at: now, times };
        if self.may_tell(&key, rules, now) {
            self.tell(key, now);
            return Some(notice);
        }
        self.held.insert(key, notice);
        if self.held.len() > REMEMBERED_MAX {
            self.held.pop_first();
        }
        None
    }

    /// What was kept and may be told now.
    pub fn due(&mut self, rules: &Rules, now: DateTime<Utc>) -> Vec<Notice> {
        if self.held.is_empty() || is_quiet(rules, now) {
            return Vec::new();
        }
        let keys: Vec<String> =
            self.held.keys().filter(|key| self.may_tell(key, rules, now)).cloned().collect();
        let told = keys.into_iter().filter_map(|key| {
            let notice = self.held.remove(&key);
            self.tell(key, now);
            notice
        });
        told.collect()
    }

    fn may_tell(&self, key: &str, rules: &Rules, now: DateTime<Utc>) -> bool {
        let gap = TimeDelta::from_std(rules.repeat_after).unwrap_or(TimeDelta::MAX);
        // A clock that was set back must not silence anybody.
        let recent = self.told.get(key).is_some_and(|told| *told <= now && now - *told < gap);
        !recent && !is_quiet(rules, now)
    }

    fn tell(&mut self, key: String, now: DateTime<Utc>) {
        self.held.remove(&key);
        self.told.insert(key, now);
        if self.told.len() > REMEMBERED_MAX {
            let oldest = self.told.iter().min_by_key(|(_, at)| **at).map(|(key, _)| key.clone());
            oldest.map(|key| self.told.remove(&key));
        }
    }
}

/// What counts as the same: unit, kind and words, numbers aside.
fn key(report: &Report) -> String {
    let unit = report.unit.as_ref().map_or("", |unit| unit.as_str());
    let words: String = report.why.chars().filter(|c| !c.is_ascii_digit()).take(120).collect();
    format!("{unit}/{}/{words}", report.what.word())
}

fn is_quiet(rules: &Rules, now: DateTime<Utc>) -> bool {
    let Some(hours) = rules.quiet_hours else { return false };
    let local = now.with_timezone(&rules.zone);
    let minute =
        u16::try_from(local.hour() * 60 + local.minute()).expect("a day has 1,440 minutes");
    if hours.from_minute <= hours.to_minute {
        (hours.from_minute..hours.to_minute).contains(&minute)
    } else {
        minute >= hours.from_minute || minute < hours.to_minute
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeZone as _;

    use super::*;
    use crate::base::name::UnitName;

    const RULES: Rules =
        Rules { quiet_hours: None, repeat_after: Duration::from_secs(300), zone: Tz::UTC };

    fn at(hour: u32, minute: u32) -> DateTime<Utc> {
        Utc.with_ymd_and_hms(2026, 3, 29, hour, minute, 0).single().expect("it exists in UTC")
    }

    fn report(unit: &str, what: What, why: &str, notify: bool) -> Report {
        let unit = Some(UnitName::new(unit).expect("plain"));
        Report { unit, what, why: why.to_owned(), notify }
    }

    fn waits(unit: &str) -> Report {
        report(unit, What::State, "waiting: Do you want to proceed?", true)
    }

    #[track_caller]
    fn check(told: impl IntoIterator<Item = Notice>, expected: &[(&str, u32)]) {
        let told: Vec<(String, u32)> = told
            .into_iter()
            .map(|notice| (notice.report.unit.expect("about a unit").to_string(), notice.times))
            .collect();
        let expected: Vec<(String, u32)> =
            expected.iter().map(|(unit, times)| ((*unit).to_owned(), *times)).collect();
        assert_eq!(told, expected);
    }

    #[test]
    fn the_same_is_told_once_and_again_later_with_how_often_it_came() {
        let mut notices = Notices::default();
        let failed =
            |count: u32| report("a", What::Failed, &format!("restarted {count} times"), true);
        check(notices.take(&failed(1), &RULES, at(12, 0)), &[("a", 1)]);
        check(notices.take(&failed(2), &RULES, at(12, 1)), &[]);
        check(notices.take(&failed(3), &RULES, at(12, 2)), &[]);
        check(notices.take(&waits("b"), &RULES, at(12, 2)), &[("b", 1)]);
        check(notices.due(&RULES, at(12, 4)), &[]);
        check(notices.due(&RULES, at(12, 5)), &[("a", 2)]);
        check(notices.due(&RULES, at(13, 0)), &[]);
    }

    #[test]
    fn quiet_hours_across_midnight_hold_everything_until_they_end() {
        let hours = QuietHours { from_minute: 22 * 60, to_minute: 7 * 60 };
        let rules = Rules { quiet_hours: Some(hours), ..RULES };
        let mut notices = Notices::default();
        check(notices.take(&waits("a"), &rules, at(21, 59)), &[("a", 1)]);
        check(notices.take(&waits("b"), &rules, at(22, 0)), &[]);
        check(notices.take(&waits("c"), &rules, at(3, 0)), &[]);
        check(notices.due(&rules, at(6, 59)), &[]);
        check(notices.due(&rules, at(7, 0)), &[("b", 1), ("c", 1)]);
    }

    #[test]
    fn quiet_hours_follow_the_local_clock_through_a_change_of_summer_time() {
        let hours = QuietHours { from_minute: 0, to_minute: 7 * 60 };
        let zone: Tz = "Europe/Berlin".parse().expect("known");
        let rules = Rules { quiet_hours: Some(hours), zone, ..RULES };
        let mut notices = Notices::default();
        check(notices.take(&waits("a"), &rules, at(0, 30)), &[]);
        // 07:00 is 05:00 UTC from that morning on, 06:00 UTC the day before.
        check(notices.due(&rules, at(4, 59)), &[]);
        check(notices.due(&rules, at(5, 0)), &[("a", 1)]);
    }

    #[test]
    fn an_agent_that_waits_no_longer_is_not_reported_as_waiting() {
        let mut notices = Notices::default();
        check(notices.take(&waits("a"), &RULES, at(12, 0)), &[("a", 1)]);
        check(notices.take(&waits("a"), &RULES, at(12, 1)), &[]);
        let works = report("a", What::State, "working", false);
        check(notices.take(&works, &RULES, at(12, 2)), &[]);
        check(notices.due(&RULES, at(13, 0)), &[]);
    }

    #[test]
    fn a_clock_set_back_silences_nobody() {
        let mut notices = Notices::default();
        check(notices.take(&waits("a"), &RULES, at(12, 0)), &[("a", 1)]);
        check(notices.take(&waits("a"), &RULES, at(9, 0)), &[("a", 1)]);
    }
}
