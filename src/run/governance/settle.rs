//! The outcome of an act that was allowed: what it cost, and how it went.

use serde_json::{Map, Value};

use super::GovernanceError;
use super::submit::conduct;
use crate::base::now::Now;
use crate::base::redact;
use crate::govern::action::Micros;
use crate::govern::audit::{Draft, Kind};
use crate::sys::db::rows::Status;
use crate::sys::db::{self, Store};

/// How an act ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    pub success: bool,
    /// `None`: its estimate counts.
    pub cost: Option<Micros>,
    /// An exit code, a duration; secrets are hidden.
    pub details: Map<String, Value>,
}

/// Records how an allowed act ended, and charges it.
pub fn settle(
    store: &mut dyn Store,
    org: &str,
    action_id: i64,
    outcome: &Outcome,
    now: Now,
) -> Result<(), GovernanceError> {
    let settled = db::write(store, org, now, |tx| {
        let Some(mut action) = tx.action(action_id)? else { return Ok(None) };
        if action.new.status != Status::Allowed {
            return Ok(Some(Err(action.new.status.word())));
        }
        action.new.status = if outcome.success { Status::Done } else { Status::Failed };
        action.finished = Some(now.wall);
        action.actual_cost = Some(outcome.cost.unwrap_or(action.new.ask.cost));
        if let Value::Object(details) = redact::json(&Value::Object(outcome.details.clone())) {
            action.outcome = details;
        }
        tx.action_update(&action)?;
        db::settle(tx, action_id, outcome.cost)?;
        conduct(tx, &action.new.ask.agent, action.new.class, now, |row| {
            row.runs += 1;
            row.successes += u64::from(outcome.success);
            row.failures += u64::from(!outcome.success);
        })?;
        let draft = Draft::new(Kind::Settled, &action.new.ask.agent, format!("act {action_id}"))
            .about(action_id)
            .with("success", outcome.success)
            .with("cost_micros", action.actual_cost.map(|cost| cost.0))
            .with("details", Value::Object(action.outcome));
        db::append(tx, &draft, now)?;
        Ok(Some(Ok(())))
    })?;
    match settled {
        Some(Ok(())) => Ok(()),
        Some(Err(status)) => {
            Err(GovernanceError::NotOpen { id: action_id, status, step: "settled" })
        }
        None => Err(GovernanceError::NoAction { id: action_id }),
    }
}
