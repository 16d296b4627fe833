//! What people decide: approvals, trust.

use super::{Governance, GovernanceError};
use crate::base::now::Now;
use crate::govern::approval::{self, Decision, State, Step};
use crate::govern::audit::{Draft, Kind};
use crate::govern::trust::Level;
use crate::sys::db::rows::{Approval, TrustRow};
use crate::sys::db::{self, DbError, Store, Tx};

/// What still waits for a person, oldest first; what was approved and not used yet stands behind.
pub fn inbox(store: &mut dyn Store, org: &str, now: Now) -> Result<Vec<Approval>, GovernanceError> {
    let mut open = db::read(store, org, |tx| tx.approvals_open())?;
    open.retain(|it| !approval::is_over(it.new.created, it.new.expires, now.wall));
    open.sort_by_key(|it| (it.state != State::Pending, it.id));
    Ok(open)
}

/// A person's answer to one held act.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Approve,
    Deny { why: String },
}

impl Governance {
    /// Decides one approval in the operator's name; the decision is signed.
    pub fn answer(
        &mut self,
        id: i64,
        answer: &Answer,
        by: &str,
        now: Now,
    ) -> Result<Approval, GovernanceError> {
        let key = self.operator.decision_key()?;
        let org = self.org.clone();
        let (step, word, kind) = match answer {
            Answer::Approve => (Step::Approve, "approved", Kind::Approved),
            Answer::Deny { .. } => (Step::Deny, "denied", Kind::Denied),
        };
        let decided = db::write(self.store(), &org, now, |tx| {
            let Some(mut approval) = tx.approval(id)? else { return Ok(None) };
            let over = approval::is_over(approval.new.created, approval.new.expires, now.wall);
            // Whoever sweeps next will say so in the log; here it only must not count any more.
            let state = if over && matches!(approval.state, State::Pending | State::Approved) {
                State::Expired
            } else {
                approval.state
            };
            match approval::next(state, step) {
                Ok(state) => approval.state = state,
                Err(refusal) => return Ok(Some(Err(refusal))),
            }
            let decision = Decision {
                org: &org,
                approval_id: id,
                digest: &approval.new.digest,
                approved: *answer == Answer::Approve,
                expires: approval.new.expires,
            };
            approval.signature = Some(decision.signed(&key));
            approval.decided = Some(now.wall);
            approval.decided_by = Some(by.to_owned());
            approval.why = match answer {
                Answer::Approve => None,
                Answer::Deny { why } => Some(crate::base::redact::text(why)),
            };
            tx.approval_update(&approval)?;
            let draft = Draft::new(kind, by, approval.new.summary.clone())
                .about(approval.new.action_id)
                .with("approval", id)
                .with("agent", approval.new.agent.clone())
                .with("digest", approval.new.digest.clone())
                .with("why", approval.why.clone());
            db::append(tx, &draft, now)?;
            Ok(Some(Ok(approval)))
        })?;
        match decided {
            Some(Ok(approval)) => Ok(approval),
            Some(Err(cause)) => Err(GovernanceError::Approval { id, step: word, cause }),
            None => Err(GovernanceError::NoApproval { id }),
        }
    }
}

/// Sets an agent's level, with why and by whom; whether it may be set is the caller's question.
pub fn set_trust(
    store: &mut dyn Store,
    org: &str,
    row: &TrustRow,
    now: Now,
) -> Result<(), GovernanceError> {
    let change = |tx: &mut dyn Tx| -> Result<(), DbError> {
        let before = tx.trust(&row.agent)?.map(|row| word(row.level));
        tx.trust_put(row)?;
        let draft = Draft::new(Kind::TrustChanged, &row.by, &row.agent)
            .with("from", before)
            .with("to", word(row.level))
            .with("base", word(row.base))
            .with("until", row.lowered_until.map(|until| until.to_rfc3339()))
            .with("why", row.why.clone());
        db::append(tx, &draft, now).map(drop)
    };
    Ok(db::write(store, org, now, change)?)
}

/// `L0` to `L4`.
pub fn word(level: Level) -> &'static str {
    match level {
        Level::L0 => "L0",
        Level::L1 => "L1",
        Level::L2 => "L2",
        Level::L3 => "L3",
        Level::L4 => "L4",
    }
}
