//! A level of trust lost by a violation, for a time.
//!
//! A violation is a denied act of class `system`: an agent reached for its own bounds, for another
//! agent's, or for an approval. It costs a level at once, for a day; the level returns by itself, the
//! count of violations stays until a person changes the level, and no promotion passes it by.

use chrono::TimeDelta;

use super::submit::conduct;
use crate::base::now::Now;
use crate::base::redact;
use crate::govern::audit::{Draft, Kind};
use crate::govern::class::Class;
use crate::sys::db::rows::TrustRow;
use crate::sys::db::{self, DbError, Tx};

/// How long a level stays lost.
const LOST_FOR: TimeDelta = TimeDelta::days(1);
/// Tries within this time after a fall are one violation: a model that repeats itself is not worse.
const ONE_TRY: TimeDelta = TimeDelta::hours(1);

/// Counts the violation and lowers the agent by a level, in the transaction that denies the act.
///
/// An agent that never had a level in this store only has it counted.
pub(super) fn violated(tx: &mut dyn Tx, agent: &str, act: &str, now: Now) -> Result<(), DbError> {
    conduct(tx, agent, Class::System, now, |row| row.violations += 1)?;
    let Some(row) = tx.trust(agent)? else { return Ok(()) };
    let lowered = row.lowered_until.filter(|until| now.wall < *until);
    if lowered.is_some_and(|until| until - now.wall > LOST_FOR - ONE_TRY) {
        return Ok(());
    }
    let level = if lowered.is_some() { row.level } else { row.base };
    let next = TrustRow {
        agent: agent.to_owned(),
        level: level.below(),
        base: row.base,
        lowered_until: Some(now.wall + LOST_FOR),
        why: redact::text(&format!("violation: {act}")),
        by: "ao".to_owned(),
        changed: row.changed,
    };
    tx.trust_put(&next)?;
    let draft = Draft::new(Kind::TrustChanged, "ao", agent)
        .with("from", level.word())
        .with("to", next.level.word())
        .with("until", next.lowered_until.map(|until| until.to_rfc3339()))
        .with("why", next.why);
    db::append(tx, &draft, now).map(drop)
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::base::now::Mono;
    use crate::govern::trust::Level;
    use crate::run::governance::LOCAL_ORG;
    use crate::sys::db::memory::MemoryStore;
    use crate::sys::db::{read, write};

    fn at(hours: i64) -> Now {
        let start = DateTime::from_timestamp(1_790_000_000, 0).unwrap();
        Now { wall: start + TimeDelta::hours(hours), mono: Mono(0) }
    }

    fn begun(level: Level) -> TrustRow {
        let (agent, why, by) = ("builder".to_owned(), "began".to_owned(), "ao".to_owned());
        TrustRow { agent, level, base: level, lowered_until: None, why, by, changed: at(0).wall }
    }

    /// What stands after violations at these hours: level, where it returns to, until which hour.
    #[track_caller]
    fn check(begin: Level, hours: &[i64], expected: (Level, Level, i64)) {
        let mut store = MemoryStore::default();
        write(&mut store, LOCAL_ORG, at(0), |tx| tx.trust_put(&begun(begin))).unwrap();
        for hour in hours {
            write(&mut store, LOCAL_ORG, at(*hour), |tx| {
                violated(tx, "builder", "policy.change rules.yaml", at(*hour))
            })
            .unwrap();
        }
        let (row, conduct) = read(&mut store, LOCAL_ORG, |tx| {
            Ok((tx.trust("builder")?.unwrap(), tx.conduct("builder")?))
        })
        .unwrap();
        let until = row.lowered_until.unwrap();
        assert_eq!((row.level, row.base, until), (expected.0, expected.1, at(expected.2).wall));
        assert_eq!(conduct[0].violations, hours.len() as u64);
    }

    #[test]
    fn a_violation_costs_a_level_for_a_day() {
        check(Level::L3, &[0], (Level::L2, Level::L3, 24));
    }

    #[test]
    fn trying_again_at_once_is_one_violation_and_later_another() {
        check(Level::L3, &[0, 0, 0], (Level::L2, Level::L3, 24));
        check(Level::L3, &[0, 2], (Level::L1, Level::L3, 26));
    }

    #[test]
    fn what_returned_falls_from_where_it_returned_to() {
        check(Level::L3, &[0, 30], (Level::L2, Level::L3, 54));
    }

    #[test]
    fn there_is_nothing_below_the_lowest_level() {
        check(Level::L0, &[0, 2], (Level::L0, Level::L0, 26));
    }
}
