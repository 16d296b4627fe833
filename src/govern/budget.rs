//! Money: windows of a calendar, what is reserved and spent in them, and what follows near the limit.
//!
//! An act reserves its estimate before it is allowed and settles its true cost afterwards, so that what is
//! allowed at the same time can never add up to more than the limit. True costs above the estimate are
//! booked in full: the money is gone, and the window is then overdrawn by what nobody could foresee. A
//! clock that is set back does not reopen a window that ended.

use std::collections::BTreeMap;

use crate::base::zone::Tz;
use chrono::{DateTime, Datelike, Days, Months, NaiveDate, NaiveTime, TimeDelta, TimeZone, Utc};
use serde::{Deserialize, Serialize};

use super::action::Micros;
use super::trust::Level;
use super::verdict::{Effect, Said, Step};
use crate::config::governance as config;

/// How long money counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    /// Calendar day.
    Day,
    /// Monday to Sunday.
    Week,
    /// Calendar month.
    Month,
}

impl Window {
    /// Begin and end of the window around a moment, by the wall clock of the zone.
    pub fn around(self, zone: Tz, moment: DateTime<Utc>) -> (DateTime<Utc>, DateTime<Utc>) {
        let day = moment.with_timezone(&zone).date_naive();
        let first = match self {
            Self::Day => day,
            Self::Week => {
                let back = u64::from(day.weekday().num_days_from_monday());
                day.checked_sub_days(Days::new(back)).unwrap_or(day)
            }
            Self::Month => day.with_day(1).unwrap_or(day),
        };
        let next = match self {
            Self::Day => first.checked_add_days(Days::new(1)),
            Self::Week => first.checked_add_days(Days::new(7)),
            Self::Month => first.checked_add_months(Months::new(1)),
        };
        (midnight(zone, first), midnight(zone, next.unwrap_or(first)))
    }
}

/// The first moment of a day. Where clocks skip midnight that is later than 00:00; where they repeat it, the first.
fn midnight(zone: Tz, day: NaiveDate) -> DateTime<Utc> {
    let mut at = day.and_time(NaiveTime::MIN);
    // No zone ever skipped more than a day.
    for _ in 0..=96 {
        if let Some(found) = zone.from_local_datetime(&at).earliest() {
            return found.to_utc();
        }
        at += TimeDelta::minutes(15);
    }
    day.and_time(NaiveTime::MIN).and_utc()
}

/// A limit as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    pub name: String,
    pub limit: Micros,
    pub window: Window,
    pub zone: Tz,
    /// In percent of the limit (80).
    pub warn_at: u8,
    /// In percent of the limit (90).
    pub downgrade_at: u8,
    /// `None`: L1, or one below what is held, whichever is less.
    pub downgrade_to: Option<Level>,
}

impl Budget {
    /// As the config has it.
    pub fn of(config: &config::Budget, zone: Tz) -> Self {
        Self {
            name: config.name.clone(),
            limit: Micros(config.limit_micros),
            window: match config.window {
                config::BudgetWindow::Day => Window::Day,
                config::BudgetWindow::Week => Window::Week,
                config::BudgetWindow::Month => Window::Month,
            },
            zone,
            warn_at: config.warn_at,
            downgrade_at: config.downgrade_at,
            downgrade_to: config.downgrade_to.map(Level::from),
        }
    }
}

/// What a budget holds now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    pub begin: DateTime<Utc>,
    pub end: DateTime<Utc>,
    pub spent: Micros,
    /// By reservation, such as the action's id.
    pub reserved: BTreeMap<i64, Micros>,
}

/// Why money was not given; each of them denies.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BudgetError {
    #[error("the budget `{budget}` would be overspent: {} of {} left", dollars(*left), dollars(*limit))]
    Exhausted { budget: String, left: Micros, limit: Micros },
    #[error("a cost cannot be negative")]
    Negative,
    #[error("costs add up to more than can be counted")]
    Overflow,
    #[error("the reservation {0} is already there")]
    Twice(i64),
    #[error("there is no reservation {0}")]
    Unknown(i64),
}

/// How near the limit an account is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Nearness {
    Fine,
    Warn,
    Downgrade,
    Exhausted,
}

impl Account {
    /// A fresh account for the window around `now`.
    pub fn new(budget: &Budget, now: DateTime<Utc>) -> Self {
        let (begin, end) = budget.window.around(budget.zone, now);
        Self { begin, end, spent: Micros(0), reserved: BTreeMap::new() }
    }

    /// The account as of now: a window that ended takes what was spent with it; what is still reserved
    /// will be paid in the next. The clock going back changes nothing.
    #[must_use]
    pub fn rolled(&self, budget: &Budget, now: DateTime<Utc>) -> Self {
        let mut next = self.clone();
        if now >= self.end {
            (next.begin, next.end) = budget.window.around(budget.zone, now);
            next.spent = Micros(0);
        }
        next
    }

    /// Spent and reserved; `None` when it cannot be counted.
    pub fn taken(&self) -> Option<Micros> {
        self.reserved
            .values()
            .try_fold(self.spent.0, |sum, reserved| sum.checked_add(reserved.0))
            .map(Micros)
    }

    /// Takes the estimate aside. An act without cost needs nothing and is never refused.
    pub fn reserve(
        &self,
        budget: &Budget,
        id: i64,
        cost: Micros,
        now: DateTime<Utc>,
    ) -> Result<Self, BudgetError> {
        let mut next = self.rolled(budget, now);
        if cost.0 < 0 {
            return Err(BudgetError::Negative);
        }
        if next.reserved.contains_key(&id) {
            return Err(BudgetError::Twice(id));
        }
        if cost.0 > 0 {
            let taken = next.taken().ok_or(BudgetError::Overflow)?;
            let wanted = taken.0.checked_add(cost.0).ok_or(BudgetError::Overflow)?;
            if wanted > budget.limit.0 {
                let left = Micros(budget.limit.0.saturating_sub(taken.0).max(0));
                return Err(BudgetError::Exhausted {
                    budget: budget.name.clone(),
                    left,
                    limit: budget.limit,
                });
            }
        }
        next.reserved.insert(id, cost);
        Ok(next)
    }

    /// Books what the act really cost.
    pub fn settle(
        &self,
        budget: &Budget,
        id: i64,
        cost: Micros,
        now: DateTime<Utc>,
    ) -> Result<Self, BudgetError> {
        if cost.0 < 0 {
            return Err(BudgetError::Negative);
        }
        let mut next = self.rolled(budget, now);
        next.reserved.remove(&id).ok_or(BudgetError::Unknown(id))?;
        next.spent = Micros(next.spent.0.checked_add(cost.0).ok_or(BudgetError::Overflow)?);
        Ok(next)
    }

    /// Gives a reservation back: the act did not happen.
    pub fn release(
        &self,
        budget: &Budget,
        id: i64,
        now: DateTime<Utc>,
    ) -> Result<Self, BudgetError> {
        self.settle(budget, id, Micros(0), now)
    }

    /// How near the limit it is now.
    pub fn nearness(&self, budget: &Budget, now: DateTime<Utc>) -> Nearness {
        let Some(taken) = self.rolled(budget, now).taken() else {
            return Nearness::Exhausted;
        };
        let (taken, limit) = (i128::from(taken.0), i128::from(budget.limit.0));
        if taken >= limit {
            Nearness::Exhausted
        } else if taken * 100 >= limit * i128::from(budget.downgrade_at) {
            Nearness::Downgrade
        } else if taken * 100 >= limit * i128::from(budget.warn_at) {
            Nearness::Warn
        } else {
            Nearness::Fine
        }
    }

    /// The trust this account leaves to one who holds `level`.
    pub fn trust(&self, budget: &Budget, level: Level, now: DateTime<Utc>) -> Level {
        match self.nearness(budget, now) {
            Nearness::Fine | Nearness::Warn => level,
            Nearness::Downgrade | Nearness::Exhausted => {
                budget.downgrade_to.unwrap_or_else(|| Level::L1.min(level.below())).min(level)
            }
        }
    }

    /// What the budget says of an act of this cost.
    pub fn says(&self, budget: &Budget, cost: Micros, now: DateTime<Utc>) -> Option<Said> {
        let said = |effect, why: String| {
            Some(Said { step: Step::Budget, rule: budget.name.clone(), effect, why, shadow: false })
        };
        if let Err(error) = self.reserve(budget, i64::MIN, cost, now) {
            return said(Effect::Deny, error.to_string());
        }
        let taken = self.rolled(budget, now).taken().unwrap_or(budget.limit);
        let share = format!("{} of {} taken", dollars(taken), dollars(budget.limit));
        match self.nearness(budget, now) {
            Nearness::Fine => None,
            Nearness::Warn => said(Effect::AllowNotify, share),
            Nearness::Downgrade | Nearness::Exhausted => {
                let end = self.rolled(budget, now).end;
                said(
                    Effect::AllowNotify,
                    format!("{share}; trust is lowered until {}", end.to_rfc3339()),
                )
            }
        }
    }

    /// What will be spent by the window's end if it goes on like this; `None` in its first moments.
    pub fn forecast(&self, budget: &Budget, now: DateTime<Utc>) -> Option<Micros> {
        let account = self.rolled(budget, now);
        let gone = i128::from(now.signed_duration_since(account.begin).num_seconds());
        let whole = i128::from(account.end.signed_duration_since(account.begin).num_seconds());
        // Less than a hundredth of the window says nothing.
        if gone * 100 < whole || gone == 0 {
            return None;
        }
        i64::try_from(i128::from(account.spent.0) * whole / gone).ok().map(Micros)
    }
}

/// `$1.25`; down to a millionth where it matters.
pub fn dollars(micros: Micros) -> String {
    let sign = if micros.0 < 0 { "-" } else { "" };
    let all = micros.0.unsigned_abs();
    let (whole, rest) = (all / 1_000_000, all % 1_000_000);
    let digits = format!("{rest:06}");
    let digits = digits.trim_end_matches('0');
    format!("{sign}${whole}.{digits:0<2}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::zone::zone;

    fn at(text: &str) -> DateTime<Utc> {
        DateTime::parse_from_rfc3339(text).unwrap().to_utc()
    }

    fn budget(limit: i64, window: Window) -> Budget {
        Budget {
            name: "daily".into(),
            limit: Micros(limit),
            window,
            zone: zone("Europe/Berlin"),
            warn_at: 80,
            downgrade_at: 90,
            downgrade_to: None,
        }
    }

    #[test]
    fn windows_follow_the_wall_clock_of_their_zone() {
        for (window, moment, begin, end) in [
            // The day on which clocks go forward has 23 hours, the one on which they go back 25.
            (Window::Day, "2026-03-29T12:00:00Z", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"),
            (Window::Day, "2026-10-25T12:00:00Z", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"),
            (Window::Week, "2026-03-29T12:00:00Z", "2026-03-22T23:00:00Z", "2026-03-29T22:00:00Z"),
            (Window::Week, "2027-01-01T12:00:00Z", "2026-12-27T23:00:00Z", "2027-01-03T23:00:00Z"),
            (Window::Month, "2026-10-25T12:00:00Z", "2026-09-30T22:00:00Z", "2026-10-31T23:00:00Z"),
            (Window::Month, "2026-12-31T23:30:00Z", "2026-12-31T23:00:00Z", "2027-01-31T23:00:00Z"),
        ] {
            assert_eq!(
                window.around(zone("Europe/Berlin"), at(moment)),
                (at(begin), at(end)),
                "{window:?} {moment}"
            );
        }
        // Clocks that skip midnight: the day begins at 01:00.
        let (begin, _) = Window::Day.around(zone("America/Asuncion"), at("2023-10-01T12:00:00Z"));
        assert_eq!(begin, at("2023-10-01T04:00:00Z"));
    }

    #[test]
    fn trust_falls_at_the_threshold_and_returns_at_the_windows_end_across_a_clock_change() {
        let budget = budget(1_000_000, Window::Day);
        let evening = at("2026-10-24T23:30:00Z");
        let account =
            Account::new(&budget, evening).reserve(&budget, 1, Micros(900_000), evening).unwrap();
        let account = account.settle(&budget, 1, Micros(900_000), evening).unwrap();
        assert_eq!(account.trust(&budget, Level::L3, evening), Level::L1);
        assert_eq!(account.trust(&budget, Level::L1, evening), Level::L0);
        // 24 hours later would be too early: this day has 25.
        assert_eq!(account.trust(&budget, Level::L3, at("2026-10-25T22:30:00Z")), Level::L1);
        assert_eq!(account.trust(&budget, Level::L3, at("2026-10-25T23:00:00Z")), Level::L3);
    }

    #[test]
    fn warned_downgraded_denied_and_what_costs_nothing_goes_on() {
        let budget = budget(100, Window::Month);
        let now = at("2026-11-21T12:00:00Z");
        let spent = |spent: i64| Account { spent: Micros(spent), ..Account::new(&budget, now) };
        for (taken, nearness) in [
            (79, Nearness::Fine),
            (80, Nearness::Warn),
            (89, Nearness::Warn),
            (90, Nearness::Downgrade),
            (99, Nearness::Downgrade),
            (100, Nearness::Exhausted),
        ] {
            assert_eq!(spent(taken).nearness(&budget, now), nearness, "{taken}");
        }
        assert_eq!(spent(100).says(&budget, Micros(1), now).unwrap().effect, Effect::Deny);
        assert_eq!(spent(100).says(&budget, Micros(0), now).unwrap().effect, Effect::AllowNotify);
        assert_eq!(spent(99).says(&budget, Micros(2), now).unwrap().effect, Effect::Deny);
        assert_eq!(spent(0).says(&budget, Micros(-1), now).unwrap().effect, Effect::Deny);
        assert!(spent(0).says(&budget, Micros(100), now).is_none());
        assert_eq!(spent(i64::MAX).says(&budget, Micros(1), now).unwrap().effect, Effect::Deny);
    }

    #[test]
    fn the_forecast_goes_on_at_the_same_pace() {
        let budget = budget(100_000_000, Window::Day);
        let noon = at("2026-11-21T11:00:00Z");
        let account = Account { spent: Micros(5_000_000), ..Account::new(&budget, noon) };
        assert_eq!(account.forecast(&budget, noon), Some(Micros(10_000_000)));
        assert_eq!(account.forecast(&budget, account.begin), None);
    }

    #[test]
    fn money_reads_as_dollars() {
        for (micros, text) in
            [(0, "$0.00"), (1_250_000, "$1.25"), (1, "$0.000001"), (-500_000, "-$0.50")]
        {
            assert_eq!(dollars(Micros(micros)), text);
        }
    }

    #[derive(Debug, Clone)]
    enum Do {
        Reserve(i64, i64),
        /// In percent of what was reserved.
        Settle(i64, i64),
        Release(i64),
        Wait(i64),
    }

    fn deed() -> impl Strategy<Value = Do> {
        prop_oneof![
            (0_i64..20, -1_i64..40).prop_map(|(id, cost)| Do::Reserve(id, cost)),
            (0_i64..20, 0_i64..=100).prop_map(|(id, share)| Do::Settle(id, share)),
            (0_i64..20).prop_map(Do::Release),
            (-40_i64..60).prop_map(Do::Wait),
        ]
    }

    proptest! {
        #[test]
        fn it_is_never_overspent_under_any_interleaving(deeds in proptest::collection::vec(deed(), 0..200)) {
            let budget = budget(100, Window::Day);
            let mut now = at("2026-10-24T12:00:00Z");
            let mut account = Account::new(&budget, now);
            for deed in deeds {
                let next = match deed {
                    Do::Reserve(id, cost) => account.reserve(&budget, id, Micros(cost), now),
                    Do::Settle(id, share) => {
                        let cost = account.reserved.get(&id).map_or(0, |held| held.0 * share / 100);
                        account.settle(&budget, id, Micros(cost), now)
                    }
                    Do::Release(id) => account.release(&budget, id, now),
                    Do::Wait(minutes) => {
                        now += TimeDelta::minutes(minutes * 15);
                        Ok(account.rolled(&budget, now))
                    }
                };
                let begin = account.begin;
                account = next.unwrap_or(account);
                prop_assert!(account.taken().unwrap() <= budget.limit);
                prop_assert!(account.begin >= begin);
            }
        }
    }
}
