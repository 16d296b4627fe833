//! Held acts: waiting for a person, and what becomes of those nobody answers.

use ed25519_dalek::VerifyingKey;

use super::GovernanceError;
use super::submit::{conduct, effect_word, is_signed, use_up};
use crate::base::now::Now;
use crate::govern::action::Micros;
use crate::govern::approval::{self, State, Step};
use crate::govern::audit::{Draft, Kind};
use crate::govern::verdict::Effect;
use crate::sys::db::rows::{Action, Approval, Status};
use crate::sys::db::{self, DbError, Store, Tx};

/// How many lapsed reservations one submission clears away.
const SWEEP_MAX: u32 = 20;

/// How a held act stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// Nobody decided yet.
    Waiting,
    /// It may be done, once; the approval is used up.
    Granted { by: String },
    /// It may not be done.
    Refused { why: String },
}

/// Asks whether a held act may be done now; a yes is used up by this very call.
pub fn claim(
    store: &mut dyn Store,
    org: &str,
    action_id: i64,
    operator: Option<&VerifyingKey>,
    now: Now,
) -> Result<Claim, GovernanceError> {
    // Most calls of a waiting hook end here, without a write.
    let waiting = db::read(store, org, |tx| {
        let approval = match tx.action(action_id)?.and_then(|action| action.new.approval_id) {
            Some(id) => tx.approval(id)?,
            None => None,
        };
        let killed = tx
            .kills()?
            .iter()
            .any(|kill| approval.as_ref().is_some_and(|approval| kill.covers(&approval.new.agent)));
        Ok(!killed
            && approval.is_some_and(|approval| {
                approval.state == State::Pending
                    && !approval::is_over(approval.new.created, approval.new.expires, now.wall)
            }))
    })?;
    if waiting {
        return Ok(Claim::Waiting);
    }
    let claimed = db::write(store, org, now, |tx| {
        sweep(tx, now)?;
        let Some(mut action) = tx.action(action_id)? else { return Ok(None) };
        if action.new.status != Status::Held {
            return Ok(Some(Err(action.new.status.word())));
        }
        let agent = action.new.ask.agent.clone();
        let approval = match action.new.approval_id {
            Some(id) => tx.approval(id)?,
            None => None,
        };
        let killed = tx.kills()?.iter().any(|kill| kill.covers(&agent));
        let claim = weigh(approval.as_ref(), org, operator, killed);
        match &claim {
            Claim::Waiting => return Ok(Some(Ok(claim))),
            Claim::Granted { by } => {
                action.new.status = Status::Allowed;
                action.new.effect = Effect::AllowNotify;
                action.new.decided_by.clone_from(by);
                tx.action_update(&action)?;
                if let Some(approval) = approval {
                    use_up(tx, approval, action_id, &agent, now)?;
                }
            }
            Claim::Refused { why } => refuse(tx, &mut action, why, now)?,
        }
        Ok(Some(Ok(claim)))
    })?;
    match claimed {
        Some(Ok(claim)) => Ok(claim),
        Some(Err(status)) => {
            Err(GovernanceError::NotOpen { id: action_id, status, step: "claimed" })
        }
        None => Err(GovernanceError::NoAction { id: action_id }),
    }
}

fn weigh(
    approval: Option<&Approval>,
    org: &str,
    operator: Option<&VerifyingKey>,
    killed: bool,
) -> Claim {
    let refused = |why: &str| Claim::Refused { why: why.to_owned() };
    if killed {
        return refused("this agent was stopped by a kill switch");
    }
    let Some(approval) = approval else { return refused("nobody was asked") };
    let by = approval.decided_by.clone().unwrap_or_default();
    match approval.state {
        State::Pending => Claim::Waiting,
        State::Approved if is_signed(approval, org, operator) => Claim::Granted { by },
        State::Approved => refused("its approval is not signed by the operator"),
        State::Used => refused("its approval was used already"),
        State::Denied => Claim::Refused {
            why: match &approval.why {
                Some(why) => format!("denied by {by}: {why}"),
                None => format!("denied by {by}"),
            },
        },
        State::Expired => refused("nobody approved it in time"),
    }
}

/// A held act that will not be done: what it reserved is free again.
fn refuse(tx: &mut dyn Tx, action: &mut Action, why: &str, now: Now) -> Result<(), DbError> {
    action.new.status = Status::Denied;
    action.new.effect = Effect::Deny;
    action.finished = Some(now.wall);
    tx.action_update(action)?;
    db::settle(tx, action.id, Some(Micros(0)))?;
    conduct(tx, &action.new.ask.agent, action.new.class, now, |row| row.denials += 1)?;
    let draft = Draft::new(Kind::Decided, &action.new.ask.agent, format!("act {}", action.id))
        .about(action.id)
        .with("effect", effect_word(Effect::Deny))
        .with("reason", why);
    db::append(tx, &draft, now).map(drop)
}

/// Gives up on a held act that nobody answered: a hook's own time is over.
pub fn withdraw(
    store: &mut dyn Store,
    org: &str,
    action_id: i64,
    why: &str,
    now: Now,
) -> Result<(), GovernanceError> {
    db::write(store, org, now, |tx| {
        if let Some(mut action) = tx.action(action_id)?
            && action.new.status == Status::Held
        {
            refuse(tx, &mut action, why, now)?;
        }
        Ok(())
    })?;
    Ok(())
}

/// What is over by now: approvals nobody used, reservations nobody settled.
pub(super) fn sweep(tx: &mut dyn Tx, now: Now) -> Result<(), DbError> {
    for approval in tx.approvals_open()? {
        if approval::is_over(approval.new.created, approval.new.expires, now.wall) {
            expire(tx, approval, now)?;
        }
    }
    for id in tx.reservations_lapsed(now.wall, SWEEP_MAX)? {
        let Some(mut action) = tx.action(id)? else {
            db::settle(tx, id, None)?;
            continue;
        };
        if action.new.status == Status::Held {
            refuse(tx, &mut action, "nobody approved it in time", now)?;
            continue;
        }
        db::settle(tx, id, None)?;
        action.new.status = Status::Lapsed;
        action.finished = Some(now.wall);
        tx.action_update(&action)?;
        let draft = Draft::new(Kind::ReservationLapsed, "ao", format!("act {id}")).about(id);
        db::append(tx, &draft, now)?;
    }
    Ok(())
}

fn expire(tx: &mut dyn Tx, mut approval: Approval, now: Now) -> Result<(), DbError> {
    let Ok(state) = approval::next(approval.state, Step::Expire) else { return Ok(()) };
    approval.state = state;
    tx.approval_update(&approval)?;
    let subject = format!("approval {}", approval.id);
    let draft = Draft::new(Kind::ApprovalExpired, "ao", subject).about(approval.new.action_id);
    db::append(tx, &draft, now)?;
    if let Some(mut action) = tx.action(approval.new.action_id)?
        && action.new.status == Status::Held
    {
        refuse(tx, &mut action, "nobody approved it in time", now)?;
    }
    Ok(())
}
