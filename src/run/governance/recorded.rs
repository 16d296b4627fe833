//! Acts on record as a set of policies can be asked about them again.
//!
//! Left out, because records do not keep it: what rates and budgets had used up, and what verified sources
//! said at the time. The parts of a script are found anew, by today's table.

use chrono::{DateTime, Utc};

use super::{Governance, GovernanceError};
use crate::govern::assess;
use crate::govern::bounds::Bounds;
use crate::govern::classes::Table;
use crate::govern::policy::replay::{Part, Recorded};
use crate::govern::trust::Level;
use crate::govern::verdict::{Step, Verdict};
use crate::sys::db;
use crate::sys::db::rows::{Action, ActionQuery};

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
    let actions = db::read(governance.store(), &org, |tx| tx.actions(&query))?;
    Ok(actions.into_iter().map(|action| recorded(action, table, bounds, project)).collect())
}

fn recorded(action: Action, table: &Table, bounds: &Bounds, project: &str) -> Recorded {
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
        facts: std::collections::BTreeMap::new(),
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
