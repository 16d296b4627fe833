//! An act as clients read it.
//!
//! Names and words are those that published clients know. What is left out: why an act stands as it
//! does, which the caller says.

use serde::Serialize;
use serde_json::Value;

use super::desk::Call;
use crate::govern::classes::risk_band;
use crate::govern::verdict::{Effect, Step};
use crate::sys::db::rows::{Action, Approval, Status};

/// An act as clients read it. Fields in the order of their names, as in all other answers.
#[derive(Serialize)]
pub(super) struct Shown<'a> {
    action_id: i64,
    agent_id: &'a str,
    approval_request_id: Option<String>,
    approved_at: Option<String>,
    approved_by: Option<&'a str>,
    conditions: [(); 0],
    correlation_id: Option<&'a str>,
    created_at: String,
    pub(super) decision: &'static str,
    execution_allowed: bool,
    expires_at: Option<String>,
    id: i64,
    matched_policies: usize,
    matched_rules: Vec<&'a str>,
    message: &'a str,
    metadata: Nothing,
    orchestration_depth: u8,
    orchestration_session_id: Option<&'a str>,
    parent_action_id: Option<i64>,
    policy_violations: Vec<&'a str>,
    reason: &'a str,
    required_approvers: [(); 0],
    requires_approval: bool,
    risk_level: &'static str,
    risk_score: u8,
    status: &'static str,
}

/// `{}`.
#[derive(Serialize)]
struct Nothing {}

impl<'a> Shown<'a> {
    pub(super) fn new(
        action: &'a Action,
        approval: Option<&'a Approval>,
        call: &'a Call,
        reason: &'a str,
    ) -> Self {
        let (decision, status) = words(action.new.status);
        let verdict = &action.new.verdict;
        let enforced = || verdict.trace.iter().filter(|said| !said.shadow);
        let rules = enforced().filter(|said| said.step == Step::Policy);
        let matched_rules: Vec<&str> = rules.map(|said| said.rule.as_str()).collect();
        let against = enforced().filter(|said| said.effect == Effect::Deny && decision == "denied");
        let held = action.new.status == Status::Held;
        let decided = approval.filter(|it| it.decided.is_some());
        Self {
            action_id: action.id,
            agent_id: &action.new.ask.agent,
            approval_request_id: action.new.approval_id.map(|_| action.id.to_string()),
            approved_at: decided.and_then(|it| it.decided).map(|at| at.to_rfc3339()),
            approved_by: decided.and_then(|it| it.decided_by.as_deref()),
            conditions: [],
            correlation_id: call.correlation_id.as_deref(),
            created_at: action.new.submitted.to_rfc3339(),
            decision,
            execution_allowed: action.new.status == Status::Allowed,
            expires_at: approval.filter(|_| held).map(|it| it.new.expires.to_rfc3339()),
            id: action.id,
            matched_policies: matched_rules.len(),
            matched_rules,
            message: reason,
            metadata: Nothing {},
            orchestration_depth: action.new.ask.depth,
            orchestration_session_id: action.new.ask.session_id.as_deref(),
            parent_action_id: action.new.ask.parent_action_id,
            policy_violations: against.map(|said| said.rule.as_str()).collect(),
            reason,
            required_approvers: [],
            requires_approval: held,
            risk_level: risk_band(verdict.risk),
            risk_score: verdict.risk,
            status,
        }
    }
}

pub(super) fn value(shown: &Shown<'_>) -> Value {
    serde_json::to_value(shown).expect("plain data of ours serialises")
}

/// Decision and status, in words that all published clients know.
fn words(status: Status) -> (&'static str, &'static str) {
    match status {
        Status::Allowed | Status::Done | Status::Failed => ("allowed", "approved"),
        Status::Held => ("pending", "pending_approval"),
        // What lapsed may not be done any more; a client that waits on must learn that it is over.
        Status::Denied | Status::Lapsed => ("denied", "denied"),
    }
}
