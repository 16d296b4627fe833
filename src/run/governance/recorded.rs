//! Acts on record as a set of policies can be asked about them again.
//!
//! What verified sources and the program itself said stands in the audit record of the decision, as far as a
//! rule asked for it then. Left out, because records do not keep it: what rates and budgets had used up. The
//! parts of a script are found anew, by today's table.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;

use super::{Governance, GovernanceError};
use crate::govern::assess;
use crate::govern::audit::Kind;
use crate::govern::bounds::Bounds;
use crate::govern::classes::Table;
use crate::govern::policy::facts::Answers;
use crate::govern::policy::replay::{Part, Recorded};
use crate::govern::trust::Level;
use crate::govern::verdict::{Step, Verdict};
use crate::sys::db::rows::{Action, ActionQuery, AuditQuery};
use crate::sys::db::{self, DbError, Tx};

/// What is read of the details of a decision.
#[derive(Deserialize)]
struct Details {
    facts: Option<Answers>,
}

/// All acts of the organisation since a moment, oldest first.
pub fn since(
    governance: &mut Governance,
    table: &Table,
    bounds: &Bounds,
    project: &str,
    moment: DateTime<Utc>,
) -> Result<Vec<Recorded>, GovernanceError> {
    let org = governance.org.clone();
    let query = ActionQuery { since: Some(moment), ..ActionQuery::default() };
    let (actions, mut heard) =
        db::read(governance.store(), &org, |tx| Ok((tx.actions(&query)?, heard(tx, moment)?)))?;
    let recorded = actions.into_iter().map(|action| {
        let facts = heard.remove(&action.id).unwrap_or_default();
        recorded(action, facts, table, bounds, project)
    });
    Ok(recorded.collect())
}

/// What rules were told, by act; nothing where the record keeps none.
fn heard(tx: &mut dyn Tx, moment: DateTime<Utc>) -> Result<BTreeMap<i64, Answers>, DbError> {
    let kind = Some(Kind::Decided.word().to_owned());
    // The record is cut to microseconds, the act's row is not older than it.
    let since = Some(moment - TimeDelta::seconds(1));
    let query = AuditQuery { since, kind, ..AuditQuery::default() };
    let mut found = BTreeMap::new();
    tx.audit_each(&query, &mut |record| {
        if let Ok(Details { facts: Some(facts) }) = serde_json::from_str(&record.details) {
            found.entry(record.action_id).or_insert(facts);
        }
        ControlFlow::Continue(())
    })?;
    Ok(found)
}

fn recorded(
    action: Action,
    facts: Answers,
    table: &Table,
    bounds: &Bounds,
    project: &str,
) -> Recorded {
    let Action { id, new, .. } = action;
    let assessment = assess::assess(table, bounds, &new.ask);
    let parts = assessment.acts().iter().map(|act| Part {
        action_type: act.action_type.clone(),
        resource: act.resource.clone(),
        class: act.class,
    });
    Recorded {
        id: Some(id),
        at: new.submitted,
        class: new.class,
        trust: trust_of(&new.verdict),
        project: project.to_owned(),
        parts: parts.collect(),
        facts,
        ask: new.ask,
    }
}

/// By the trace, whose step of trust names its row of the table: `L1 × act`. The least, where budgets took
/// some away in between; none where a kill switch spoke first.
fn trust_of(verdict: &Verdict) -> Level {
    let rules = verdict.trace.iter().filter(|said| said.step == Step::Trust);
    let levels = rules.filter_map(|said| {
        let word = said.rule.split(' ').next()?;
        Level::ALL.into_iter().find(|level| level.word() == word)
    });
    levels.min().unwrap_or(Level::L0)
}
