//! Levels of trust by people: how an agent stands, and lifting or lowering it.
//!
//! Conduct counts from the last change of level, so each change begins the counting anew. Falls by
//! violations are `fall`'s.

use super::bounds::Governed;
use super::{Governance, GovernanceError};
use crate::base::now::Now;
use crate::base::redact;
use crate::govern::audit::{Draft, Kind};
use crate::govern::conduct::{Promotion, Record, lacks};
use crate::govern::trust::Level;
use crate::sys::db::rows::{Conduct, TrustRow};
use crate::sys::db::{self, DbError, Tx};

/// How one agent stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    pub agent: String,
    /// In force.
    pub level: Level,
    pub record: Record,
    /// What is missing for the next level; empty: it may be promoted.
    pub lacks: Vec<String>,
    /// Of the last change; `None`: it never started.
    pub changed: Option<TrustRow>,
}

/// Why a level was not changed.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    #[error(transparent)]
    Governance(#[from] GovernanceError),
    #[error("its record does not carry a promotion: {}", .0.join("; "))]
    Lacks(Vec<String>),
    #[error("it is at {0}, the most it may have")]
    Ceiling(&'static str),
    #[error("it is at {0} already")]
    There(&'static str),
}

impl Governance {
    /// How the agent stands.
    pub fn standing(&mut self, governed: &Governed, now: Now) -> Result<Standing, GovernanceError> {
        let org = self.org.clone();
        Ok(db::read(self.store(), &org, |tx| standing(tx, governed, now))?)
    }

    /// One level more, when the record carries it or a person overrides that.
    pub fn promote(
        &mut self,
        governed: &Governed,
        by: &str,
        why: &str,
        anyway: bool,
        now: Now,
    ) -> Result<Level, TrustError> {
        let org = self.org.clone();
        let changed = db::write(self.store(), &org, now, |tx| {
            let found = standing(tx, governed, now)?;
            if found.level >= governed.trust_max {
                return Ok(Err(TrustError::Ceiling(found.level.word())));
            }
            if !found.lacks.is_empty() && !anyway {
                return Ok(Err(TrustError::Lacks(found.lacks)));
            }
            let to = found.level.above().min(governed.trust_max);
            let lacking = (!found.lacks.is_empty()).then(|| found.lacks.join("; "));
            change(tx, &found, to, by, why, lacking, now)?;
            Ok(Ok(to))
        });
        changed.map_err(GovernanceError::from)?
    }

    /// A lower level, at once.
    pub fn demote(
        &mut self,
        governed: &Governed,
        to: Option<Level>,
        by: &str,
        why: &str,
        now: Now,
    ) -> Result<Level, TrustError> {
        let org = self.org.clone();
        let changed = db::write(self.store(), &org, now, |tx| {
            let found = standing(tx, governed, now)?;
            let to = to.unwrap_or_else(|| found.level.below());
            if to >= found.level {
                return Ok(Err(TrustError::There(found.level.word())));
            }
            change(tx, &found, to, by, why, None, now)?;
            Ok(Ok(to))
        });
        changed.map_err(GovernanceError::from)?
    }
}

fn standing(tx: &mut dyn Tx, governed: &Governed, now: Now) -> Result<Standing, DbError> {
    let row = tx.trust(&governed.agent)?;
    let level = governed.level(row.as_ref(), now.wall);
    let since = row.as_ref().map_or(now.wall, |row| row.changed);
    let mut record = Record { since, ..Record::new(level, governed.trust_max, now.wall) };
    record.start = governed.trust;
    let count = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
    for class in tx.conduct(&governed.agent)? {
        record.runs = record.runs.saturating_add(count(class.runs));
        record.successes = record.successes.saturating_add(count(class.successes));
        record.denials = record.denials.saturating_add(count(class.denials));
        record.violations = record.violations.saturating_add(count(class.violations));
    }
    let lacks = lacks(&record, Promotion::from(level), now.wall);
    Ok(Standing { agent: governed.agent.clone(), level, record, lacks, changed: row })
}

fn change(
    tx: &mut dyn Tx,
    from: &Standing,
    to: Level,
    by: &str,
    why: &str,
    lacking: Option<String>,
    now: Now,
) -> Result<(), DbError> {
    let row = TrustRow {
        agent: from.agent.clone(),
        level: to,
        base: to,
        lowered_until: None,
        why: redact::text(why),
        by: by.to_owned(),
        changed: now.wall,
    };
    tx.trust_put(&row)?;
    for class in tx.conduct(&from.agent)? {
        tx.conduct_put(&Conduct::none(&from.agent, class.class, now.wall))?;
    }
    let draft = Draft::new(Kind::TrustChanged, by, &from.agent)
        .with("from", from.level.word())
        .with("to", to.word())
        .with("why", row.why)
        .with("overridden", lacking)
        .with("runs", from.record.runs)
        .with("successes", from.record.successes)
        .with("denials", from.record.denials);
    db::append(tx, &draft, now).map(drop)
}
