//! Which columns a row is read from, in which order: the same in every database.

use serde::Serialize;

pub(super) const AUDIT: &str = "org, seq, at_us, kind, actor, subject, action_id, details, hash";
pub(super) const ACTION: &str = "id, org, agent, action_type, resource, context, cost, \
    claimed_risk, session_id, parent_id, depth, correlation_id, digest, class, verdict_effect, \
    reason, trace, risk, policy_digest, effect, status, decided_by, approval_id, submitted_us, \
    finished_us, actual_cost, outcome";
pub(super) const APPROVAL: &str = "id, action_id, agent, digest, summary, reason, created_us, \
    expires_us, state, decided_us, decided_by, why, signature";
pub(super) const TRUST: &str = "agent, level, base, lowered_until_us, why, by, changed_us";
pub(super) const CONDUCT: &str =
    "agent, class, runs, successes, failures, denials, violations, since_us, last_us";

/// The word of one of our enums, as serde writes it.
pub(super) fn word<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        Ok(_) | Err(_) => unreachable!("only enums without fields are stored as words"),
    }
}
