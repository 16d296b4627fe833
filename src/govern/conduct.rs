//! How a level of trust is earned, lost and regained.
//!
//! The record counts since the last change of level, so that what was earned once does not pay twice.
//! A violation lowers at once and the way back is shown with it. What an exhausted budget takes comes back
//! by itself when its window ends. Editing the starting level in the config never lifts an agent.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::trust::Level;

/// After a violation: acts without another one, and the time, until the level returns.
const WAY_BACK_RUNS: u32 = 20;
const WAY_BACK_TIME: TimeDelta = TimeDelta::days(1);

/// One agent's conduct, for all classes or for one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Before temporary falls.
    pub level: Level,
    /// From the config: where it began, and the most it may have.
    pub start: Level,
    pub ceiling: Level,
    /// Acts that were done since `since`.
    pub runs: u32,
    pub successes: u32,
    pub denials: u32,
    pub violations: u32,
    /// Of the last change of level.
    pub since: DateTime<Utc>,
    pub fall: Option<Fall>,
    pub exhausted: Option<Exhausted>,
}

/// A level lost by a violation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fall {
    pub from: Level,
    pub why: String,
    /// Returns not before this time,
    pub until: DateTime<Utc>,
    /// and not before so many more acts without a violation.
    pub runs_left: u32,
}

/// A level lost until a budget's window ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exhausted {
    pub budget: String,
    pub to: Level,
    pub until: DateTime<Utc>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Succeeded,
    Failed,
    Denied,
    /// It did, or tried hard to do, what it knew it must not.
    Violated {
        why: String,
    },
    BudgetExhausted {
        budget: String,
        to: Level,
        until: DateTime<Utc>,
    },
    /// By a person; checked with [`lacks`] before, or overridden.
    Promoted,
    /// By a person.
    Demoted {
        to: Level,
    },
    /// The config as accepted now.
    Configured {
        start: Level,
        ceiling: Level,
    },
    /// Time went by.
    Looked,
}

/// What a record must carry for the next level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promotion {
    pub runs: u32,
    /// Of all runs, in percent.
    pub success_percent: u32,
    pub denials_max: u32,
    /// Since the last change of level.
    pub days: u32,
}

impl Promotion {
    /// The shipped rule for leaving a level; there is nothing above the highest.
    pub const fn from(level: Level) -> Option<Self> {
        match level {
            Level::L0 => Some(Self { runs: 50, success_percent: 90, denials_max: 5, days: 1 }),
            Level::L1 => Some(Self { runs: 200, success_percent: 95, denials_max: 5, days: 7 }),
            Level::L2 => Some(Self { runs: 500, success_percent: 98, denials_max: 3, days: 30 }),
            Level::L3 => Some(Self { runs: 1_000, success_percent: 99, denials_max: 0, days: 90 }),
            Level::L4 => None,
        }
    }
}

impl Record {
    /// A new agent's record.
    pub fn new(start: Level, ceiling: Level, now: DateTime<Utc>) -> Self {
        Self {
            level: start.min(ceiling),
            start,
            ceiling,
            runs: 0,
            successes: 0,
            denials: 0,
            violations: 0,
            since: now,
            fall: None,
            exhausted: None,
        }
    }

    /// The level in force.
    pub fn in_force(&self, now: DateTime<Utc>) -> Level {
        let exhausted = self.exhausted.as_ref().filter(|exhausted| now < exhausted.until);
        exhausted.map_or(self.level, |exhausted| self.level.min(exhausted.to)).min(self.ceiling)
    }

    /// In words: why it is lower than it was, and how it gets back. Empty when it is not.
    pub fn way_back(&self, now: DateTime<Utc>) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(fall) = &self.fall {
            lines.push(format!(
                "fell from {} to {}: {}; returns after {} more acts without a violation, not before {}",
                fall.from.word(),
                self.level.word(),
                fall.why,
                fall.runs_left,
                fall.until.format("%Y-%m-%d %H:%M UTC"),
            ));
        }
        if let Some(exhausted) = self.exhausted.as_ref().filter(|exhausted| now < exhausted.until) {
            lines.push(format!(
                "lowered to {}: the budget `{}` is used up; returns at {}",
                exhausted.to.word(),
                exhausted.budget,
                exhausted.until.format("%Y-%m-%d %H:%M UTC"),
            ));
        }
        lines
    }

    fn moved(&mut self, level: Level, now: DateTime<Utc>) {
        self.level = level.min(self.ceiling);
        (self.runs, self.successes, self.denials, self.violations) = (0, 0, 0, 0);
        self.since = now;
    }
}

/// What is missing for a promotion; empty when the record carries it.
pub fn lacks(record: &Record, rule: Option<Promotion>, now: DateTime<Utc>) -> Vec<String> {
    let Some(rule) = rule else {
        return vec!["there is no level above L4".to_owned()];
    };
    let mut lacks = Vec::new();
    if record.level >= record.ceiling {
        lacks.push(format!("`trust_max` is {}", record.ceiling.word()));
    }
    if record.fall.is_some() {
        lacks.push("it has not regained the level it fell from".to_owned());
    }
    if record.violations > 0 {
        lacks.push(format!("{} violations", record.violations));
    }
    if record.runs < rule.runs {
        lacks.push(format!("{} of {} runs", record.runs, rule.runs));
    }
    // In 64 bits: a count times 100 must not wrap.
    let enough = u64::from(record.successes) * 100
        >= u64::from(record.runs) * u64::from(rule.success_percent);
    if !enough {
        lacks.push(format!(
            "{} of {} runs succeeded; {} % needed",
            record.successes, record.runs, rule.success_percent
        ));
    }
    if record.denials > rule.denials_max {
        lacks.push(format!("{} denials; at most {}", record.denials, rule.denials_max));
    }
    let days = now.signed_duration_since(record.since).num_days();
    if days < i64::from(rule.days) {
        lacks.push(format!("{} of {} days at this level", days.max(0), rule.days));
    }
    lacks
}

/// The record after what happened.
#[must_use]
pub fn step(record: &Record, event: &Event, now: DateTime<Utc>) -> Record {
    let mut next = record.clone();
    match event {
        Event::Succeeded | Event::Failed => {
            next.runs = next.runs.saturating_add(1);
            next.successes = next.successes.saturating_add(u32::from(*event == Event::Succeeded));
            if let Some(fall) = &mut next.fall {
                fall.runs_left = fall.runs_left.saturating_sub(1);
            }
        }
        Event::Denied => next.denials = next.denials.saturating_add(1),
        Event::Violated { why } => {
            let from = next.fall.as_ref().map_or(next.level, |fall| fall.from);
            next.moved(next.level.below(), now);
            next.violations = 1;
            next.fall = Some(Fall {
                from,
                why: why.clone(),
                until: now + WAY_BACK_TIME,
                runs_left: WAY_BACK_RUNS,
            });
        }
        Event::BudgetExhausted { budget, to, until } => {
            let lower = next.exhausted.as_ref().filter(|known| known.until > now);
            let (to, until) =
                lower.map_or((*to, *until), |known| (known.to.min(*to), known.until.max(*until)));
            next.exhausted = Some(Exhausted { budget: budget.clone(), to, until });
        }
        Event::Promoted => {
            next.fall = None;
            next.moved(next.level.above(), now);
        }
        Event::Demoted { to } => {
            next.fall = None;
            next.moved(next.level.min(*to), now);
        }
        Event::Configured { start, ceiling } => {
            // Lowering the start lowers; raising it lifts nobody.
            let lowered = *start < next.start && next.level > *start;
            (next.start, next.ceiling) = (*start, *ceiling);
            let wanted = if lowered { *start } else { next.level };
            if wanted.min(*ceiling) != next.level {
                next.moved(wanted, now);
            }
            if let Some(fall) = &mut next.fall {
                fall.from = if lowered { fall.from.min(*start) } else { fall.from }.min(*ceiling);
            }
        }
        Event::Looked => {}
    }
    let back = next.fall.as_ref().filter(|fall| fall.runs_left == 0 && fall.until <= now);
    if let Some(level) = back.map(|fall| fall.from) {
        next.fall = None;
        next.moved(level.max(next.level), now);
    }
    next.exhausted = next.exhausted.filter(|exhausted| now < exhausted.until);
    next
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(hours: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_790_000_000 + hours * 3_600, 0).unwrap()
    }

    fn after(record: &Record, event: &Event, times: u32, now: DateTime<Utc>) -> Record {
        (0..times).fold(record.clone(), |record, _| step(&record, event, now))
    }

    #[test]
    fn promotion_needs_runs_success_time_and_no_violation() {
        let new = Record::new(Level::L1, Level::L3, at(0));
        let rule = Promotion::from(Level::L1);
        assert_eq!(lacks(&new, rule, at(0)), ["0 of 200 runs", "0 of 7 days at this level"]);
        let busy = after(&new, &Event::Succeeded, 200, at(1));
        assert_eq!(lacks(&busy, rule, at(7 * 24)), Vec::<String>::new());
        let clumsy = after(&busy, &Event::Failed, 20, at(1));
        assert_eq!(lacks(&clumsy, rule, at(7 * 24)), ["200 of 220 runs succeeded; 95 % needed"]);
        let promoted = step(&busy, &Event::Promoted, at(7 * 24));
        assert_eq!((promoted.level, promoted.runs), (Level::L2, 0));
        let top = Record::new(Level::L3, Level::L3, at(0));
        assert!(lacks(&top, Promotion::from(Level::L3), at(0))[0].contains("trust_max"));
    }

    #[test]
    fn a_violation_lowers_at_once_and_good_conduct_brings_it_back() {
        let record = Record::new(Level::L3, Level::L4, at(0));
        let fallen = step(&record, &Event::Violated { why: "wrote a policy".into() }, at(1));
        assert_eq!(fallen.level, Level::L2);
        assert!(
            fallen.way_back(at(1))[0]
                .contains("fell from L3 to L2: wrote a policy; returns after 20")
        );
        let soon = after(&fallen, &Event::Succeeded, 20, at(2));
        assert_eq!(soon.level, Level::L2);
        assert_eq!(step(&soon, &Event::Looked, at(26)).level, Level::L3);
        let again = step(&soon, &Event::Violated { why: "again".into() }, at(3));
        assert_eq!((again.level, again.fall.as_ref().unwrap().from), (Level::L1, Level::L3));
    }

    #[test]
    fn what_an_exhausted_budget_took_returns_at_the_windows_end() {
        let record = Record::new(Level::L3, Level::L4, at(0));
        let event = Event::BudgetExhausted { budget: "day".into(), to: Level::L1, until: at(5) };
        let poor = step(&record, &event, at(1));
        assert_eq!(poor.in_force(at(4)), Level::L1);
        assert_eq!(poor.in_force(at(5)), Level::L3);
        assert_eq!(poor.way_back(at(4)).len(), 1);
        assert!(poor.way_back(at(5)).is_empty());
    }

    #[test]
    fn the_config_can_lower_but_never_lift() {
        let record = Record::new(Level::L1, Level::L4, at(0));
        let set = |record: &Record, start, ceiling| {
            step(record, &Event::Configured { start, ceiling }, at(1))
        };
        assert_eq!(set(&record, Level::L3, Level::L4).level, Level::L1);
        assert_eq!(set(&record, Level::L0, Level::L4).level, Level::L0);
        let promoted = step(&record, &Event::Promoted, at(1));
        assert_eq!(set(&promoted, Level::L1, Level::L4).level, Level::L2);
        assert_eq!(set(&promoted, Level::L1, Level::L1).level, Level::L1);
    }

    fn event() -> impl Strategy<Value = Event> {
        let level = (0_usize..5).prop_map(|at| Level::ALL[at]);
        prop_oneof![
            Just(Event::Succeeded),
            Just(Event::Failed),
            Just(Event::Denied),
            Just(Event::Looked),
            Just(Event::Violated { why: "x".into() }),
            level.clone().prop_map(|to| Event::Demoted { to }),
            (level.clone(), 0_i64..50).prop_map(|(to, hours)| Event::BudgetExhausted {
                budget: "b".into(),
                to,
                until: at(hours)
            }),
            (level.clone(), level)
                .prop_map(|(start, ceiling)| Event::Configured { start, ceiling }),
        ]
    }

    proptest! {
        #[test]
        fn nothing_but_a_promotion_lifts_above_what_was_held(events in proptest::collection::vec(event(), 0..60)) {
            let mut record = Record::new(Level::L2, Level::L4, at(0));
            let mut now = at(0);
            for event in events {
                now += TimeDelta::hours(1);
                record = step(&record, &event, now);
                prop_assert!(record.level <= record.ceiling);
                prop_assert!(record.in_force(now) <= record.level);
                prop_assert!(record.level <= Level::L2);
            }
        }
    }
}
