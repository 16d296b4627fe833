//! The audit log as people use it: looked at, proven, handed out.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::{Governance, GovernanceError};
use crate::base::now::Now;
use crate::govern::audit::head::Checkpoint;
use crate::govern::audit::verify::{Finding, Outcome, Walk};
use crate::govern::audit::{Draft, Hash, Kind, Record};
use crate::sys::db::rows::AuditQuery;
use crate::sys::db::{self, DbError, Store};

/// What a proof found, and what it rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    pub outcome: Outcome,
    /// Checkpoints with a good signature.
    pub checkpoints: usize,
}

/// Walks one organisation's whole log and judges it against its checkpoints and its head.
pub fn verify(store: &mut dyn Store, org: &str) -> Result<Proof, GovernanceError> {
    // Taken before the log is read: a commit in between leaves records behind the head, not before it.
    let head = match store.heads() {
        Some(heads) => heads.load(org).map(|head| (head, heads.boot().to_owned())),
        None => Ok((None, String::new())),
    };
    let key = store.heads().map(|heads| heads.key().verifying_key());
    let checkpoints = db::read(store, org, |tx| tx.checkpoints())?;
    let (good, bad): (Vec<Checkpoint>, Vec<Checkpoint>) = checkpoints
        .into_iter()
        .partition(|it| it.org == org && key.is_some_and(|key| it.is_signed_by(&key)));
    let mut signed: BTreeMap<u64, Hash> = good.iter().map(|it| (it.seq, it.hash)).collect();
    if let Ok((Some(head), _)) = &head
        && head.committed.seq > 0
    {
        signed.insert(head.committed.seq, head.committed.hash);
    }
    let mut walk = Walk::new(org, signed);
    for checkpoint in &bad {
        walk.note(Finding::BadCheckpoint { seq: checkpoint.seq });
    }
    db::read(store, org, |tx| {
        tx.audit_each(&AuditQuery::default(), &mut |record| {
            walk.step(&record);
            ControlFlow::Continue(())
        })
    })?;
    let outcome = finish(store, org, walk, head)?;
    Ok(Proof { outcome, checkpoints: good.len() })
}

/// Whether the log's end may be written on; its records are not walked.
pub fn verify_end(store: &mut dyn Store, org: &str) -> Result<(), GovernanceError> {
    let tail = db::read(store, org, |tx| tx.audit_tail())?;
    if let Some(heads) = store.heads() {
        // The record that the head names is proven by a walk, not here.
        let named = heads.load(org).map_err(DbError::from)?.map(|head| head.committed.hash);
        heads.check(store.id(), org, tail, |_| Ok::<_, DbError>(named))?;
    }
    Ok(())
}

fn finish(
    store: &dyn Store,
    org: &str,
    walk: Walk,
    before: Result<(Option<crate::govern::audit::head::Head>, String), db::heads::HeadError>,
) -> Result<Outcome, GovernanceError> {
    let heads = store.heads();
    // Work goes on while the log is read: the head after it may be the one that fits.
    let after = heads.map(|heads| heads.load(org)).transpose();
    let (before, boot) = match before {
        Ok(found) => found,
        Err(error) => {
            return Ok(walk.finish(Err(crate::base::chain::text(&error)), ""));
        }
    };
    let after = after.map_err(DbError::from)?.flatten();
    let Some(head) = before else {
        if walk.is_empty() || heads.is_none() {
            return Ok(walk.finish_without_head());
        }
        return Ok(walk.finish(Err("there is none".to_owned()), &boot));
    };
    let candidates = [Some(&head), after.as_ref()];
    let fitting = candidates
        .into_iter()
        .flatten()
        .find(|head| head.store == store.id() && head.standing(walk.tail(), &boot).is_sound());
    // Another machine wrote on behind the record that this one's head names, which the walk has seen.
    if let (Some(heads), None) = (heads, fitting)
        && heads.is_shared()
        && head.store == store.id()
        && walk.tail().seq > head.committed.seq
    {
        return Ok(walk.finish_without_head());
    }
    let chosen = fitting.or(after.as_ref()).unwrap_or(&head);
    if chosen.store != store.id() {
        return Ok(walk.finish(Err("it belongs to another database".to_owned()), &boot));
    }
    Ok(walk.finish(Ok(chosen), &boot))
}

/// The records that fit, oldest first.
pub fn records(
    store: &mut dyn Store,
    org: &str,
    query: &AuditQuery,
) -> Result<Vec<Record>, GovernanceError> {
    let mut found = Vec::new();
    each(store, org, query, &mut |record| {
        found.push(record);
        ControlFlow::Continue(())
    })?;
    Ok(found)
}

/// The records that fit, one after the other, until `each` breaks off.
pub fn each(
    store: &mut dyn Store,
    org: &str,
    query: &AuditQuery,
    each: &mut dyn FnMut(Record) -> ControlFlow<()>,
) -> Result<(), GovernanceError> {
    Ok(db::read(store, org, |tx| tx.audit_each(query, each))?)
}

impl Governance {
    /// Records something that is no act of an agent: a start, a changed policy, a login.
    pub fn record(&mut self, draft: &Draft, now: Now) -> Result<(), GovernanceError> {
        let org = self.org.clone();
        Ok(db::write(self.store(), &org, now, |tx| db::append(tx, draft, now).map(drop))?)
    }

    /// Records that the log was handed out.
    pub fn exported(&mut self, by: &str, format: &str, now: Now) -> Result<(), GovernanceError> {
        self.record(&Draft::new(Kind::Exported, by, "audit log").with("format", format), now)
    }
}
