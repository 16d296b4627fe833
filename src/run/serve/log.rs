//! The audit log over HTTP, for auditors and administrators: read, never written.

use std::ops::ControlFlow;

use serde_json::{Value, json};

use super::desk::{self, Call, Desk};
use super::refusal::Refusal;
use crate::sys::db::rows::AuditQuery;
use crate::sys::db::{DbError, Tx};

/// The records that fit, oldest first.
pub fn events(tx: &mut dyn Tx, query: &AuditQuery) -> Result<Vec<Value>, DbError> {
    let mut events = Vec::new();
    tx.audit_each(query, &mut |record| {
        let details: Value = serde_json::from_str(&record.details).unwrap_or_default();
        events.push(json!({
            "id": record.seq,
            "event_id": record.seq,
            "event_type": details["event"].as_str().unwrap_or(&record.kind),
            "kind": record.kind,
            "timestamp": record.at().map(|at| at.to_rfc3339()),
            "actor": record.actor,
            "resource": record.subject,
            "action": record.kind,
            "action_id": (record.action_id != 0).then_some(record.action_id),
            "outcome": details["effect"].as_str().or(details["severity"].as_str()),
            "details": details,
        }));
        ControlFlow::Continue(())
    })?;
    Ok(events)
}

/// `GET /audit/logs`: newest first.
pub fn list(desk: &mut Desk, call: &Call) -> Result<Value, Refusal> {
    let (limit, offset) = (call.number("limit", 50, 500)?, call.number("offset", 0, 100_000)?);
    let query = AuditQuery {
        last: Some(limit + offset),
        kind: call.query.get("kind").cloned(),
        containing: call.query.get("containing").cloned(),
        ..AuditQuery::default()
    };
    let (mut events, total) = desk::read(&mut desk.governance, call, |tx| {
        Ok((events(tx, &query)?, tx.audit_tail()?.seq))
    })?;
    events.reverse();
    let events: Vec<Value> =
        events.into_iter().skip(offset as usize).take(limit as usize).collect();
    let page = offset.checked_div(limit).unwrap_or(0) + 1;
    Ok(
        json!({ "events": events, "total": total, "page": page, "page_size": limit, "limit": limit }),
    )
}
