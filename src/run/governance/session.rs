//! Sessions as they are shown: totals from the store's running sums, acts up to a bound.

use crate::report::session::{SessionAct, SessionReport};
use crate::sys::db::rows::{Action, ActionQuery, SessionTotals};
use crate::sys::db::{self, DbError, Store, Tx};

/// Facts about sessions that came by HTTP: when each began.
pub const SESSION: &str = "session";
/// One `show` has at most so many acts.
const ACTS_MAX: u32 = 10_000;

/// All sessions of an organisation whose names begin with `prefix`, by name, without their acts.
pub fn list(
    store: &mut dyn Store,
    org: &str,
    after: &str,
    limit: usize,
) -> Result<Vec<SessionReport>, DbError> {
    db::read(store, org, |tx| {
        let names = tx.facts(SESSION)?.into_iter().filter(|(id, _)| id.as_str() > after);
        let mut listed = Vec::new();
        for (id, first) in names.take(limit) {
            let mut report = report(org, &id, tx.session_totals(&id)?);
            report.first = first["first"].as_str().map(str::to_owned);
            listed.push(report);
        }
        Ok(listed)
    })
}

/// One session with its acts; `None` where nothing was done in it.
pub fn show(store: &mut dyn Store, org: &str, id: &str) -> Result<Option<SessionReport>, DbError> {
    db::read(store, org, |tx: &mut dyn Tx| {
        let totals = tx.session_totals(id)?;
        if totals.actions == 0 {
            return Ok(None);
        }
        let mut report = report(org, id, totals);
        let query = ActionQuery {
            session_id: Some(id.to_owned()),
            limit: ACTS_MAX,
            ..ActionQuery::default()
        };
        report.actions = tx.actions(&query)?.iter().map(act).collect();
        report.first = report.actions.first().map(|act| act.at.clone());
        report.last = report.actions.last().map(|act| act.at.clone());
        report.cut = (report.actions.len() as u64) < report.action_count;
        Ok(Some(report))
    })
}

fn report(org: &str, id: &str, totals: SessionTotals) -> SessionReport {
    let avg_risk = totals.avg_risk();
    SessionReport {
        version: 1,
        org: org.to_owned(),
        id: id.to_owned(),
        first: None,
        last: None,
        action_count: totals.actions,
        blocked_count: totals.blocked,
        high_risk_count: totals.high_risk,
        max_risk: totals.max_risk,
        avg_risk,
        max_depth: totals.max_depth,
        cost_micros: totals.cost.0,
        agents: totals.agents,
        actions: Vec::new(),
        cut: false,
    }
}

fn act(action: &Action) -> SessionAct {
    let ask = &action.new.ask;
    SessionAct {
        id: action.id,
        parent: ask.parent_action_id,
        depth: ask.depth,
        agent: ask.agent.clone(),
        action_type: ask.action_type.clone(),
        resource: ask.resource.clone(),
        status: action.new.status.word().to_owned(),
        risk: action.new.verdict.risk,
        cost_micros: action.actual_cost.unwrap_or(ask.cost).0,
        at: action.new.submitted.to_rfc3339(),
    }
}
