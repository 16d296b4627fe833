//! The governance store: acts, approvals, trust, budgets, rates, kill switches and the audit log.
//!
//! One [`Store`], several kinds: memory for tests, an `SQLite` file
//! for the processes of one machine; a database server for several machines. All writing is one serialised transaction that either
//! happens whole, its audit records included, or not at all. A transaction belongs to one
//! organisation and can neither see nor change another's rows; that is arranged here, not by callers.
//!
//! What a decision means is not known here: `run::governance` puts transactions together.

mod columns;
#[cfg(test)]
mod contract;
mod gathered;
pub mod heads;
pub mod memory;
pub mod postgres;
pub mod rows;
pub mod sqlite;

use std::ops::ControlFlow;
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use ed25519_dalek::SigningKey;
use serde_json::Value;

use crate::base::now::Now;
use crate::govern::action::Micros;
use crate::govern::audit::head::{CHECKPOINT_EVERY_RECORDS, Checkpoint};
use crate::govern::audit::{Draft, Kind, Record, Tail};
use rows::{
    Action, ActionQuery, Approval, AuditQuery, Budget, Conduct, KillSwitch, NewAction, NewApproval,
    Replay, Reservation, SessionTotals, TrustRow,
};

/// The kind of the fact that says by which policies the servers of one store judge; a change of it
/// is told to all of them.
pub const POLICIES: &str = "policies";

/// What a transaction works on: the rows of one organisation.
///
/// Times are wall time. Lists come in a fixed order.
pub trait Tx {
    fn org(&self) -> &str;
    /// Signs checkpoints; none in a store without a head.
    fn signer(&self) -> Option<&SigningKey>;

    /// Whether to look for what is over by now: yes, but in a group of writes only the first time.
    fn sweeps(&mut self) -> bool {
        true
    }

    /// What there is at all of that which most acts need not look up; a store that cannot tell by one look
    /// says that there may be all of it.
    fn glance(
        &mut self,
        _correlation_id: Option<&str>,
        _at: DateTime<Utc>,
    ) -> Result<Glance, DbError> {
        Ok(Glance { kills: true, replay: true, open: true, lapsed: true })
    }

    fn audit_tail(&mut self) -> Result<Tail, DbError>;
    /// Behind the tail; call [`append`], which chains.
    fn audit_push(&mut self, record: Record) -> Result<(), DbError>;
    /// In the order of the sequence, until `each` breaks off.
    fn audit_each(
        &mut self,
        query: &AuditQuery,
        each: &mut dyn FnMut(Record) -> ControlFlow<()>,
    ) -> Result<(), DbError>;
    fn checkpoint_push(&mut self, checkpoint: &Checkpoint) -> Result<(), DbError>;
    fn checkpoints(&mut self) -> Result<Vec<Checkpoint>, DbError>;

    /// The new id is greater than every one before.
    fn action_insert(&mut self, action: &NewAction) -> Result<i64, DbError>;
    fn action(&mut self, id: i64) -> Result<Option<Action>, DbError>;
    /// Status, approval and outcome; what was asked and judged never changes.
    fn action_update(&mut self, action: &Action) -> Result<(), DbError>;
    /// Oldest first.
    fn actions(&mut self, query: &ActionQuery) -> Result<Vec<Action>, DbError>;
    fn session_totals(&mut self, session_id: &str) -> Result<SessionTotals, DbError>;

    /// Says what will be asked for next, where asking once is cheaper: whether this was submitted
    /// before, and the newest approval for it.
    fn expect(&mut self, correlation_id: Option<&str>, digest: &str) -> Result<(), DbError> {
        let _ = (correlation_id, digest);
        Ok(())
    }
    fn replay(&mut self, correlation_id: &str) -> Result<Option<Replay>, DbError>;
    fn replay_insert(&mut self, correlation_id: &str, replay: &Replay) -> Result<(), DbError>;

    fn approval_insert(&mut self, approval: &NewApproval) -> Result<i64, DbError>;
    fn approval(&mut self, id: i64) -> Result<Option<Approval>, DbError>;
    /// The newest for an act.
    fn approval_for(&mut self, digest: &str) -> Result<Option<Approval>, DbError>;
    fn approval_update(&mut self, approval: &Approval) -> Result<(), DbError>;
    /// Those that may still be used or decided, oldest first.
    fn approvals_open(&mut self) -> Result<Vec<Approval>, DbError>;

    fn trust(&mut self, agent: &str) -> Result<Option<TrustRow>, DbError>;
    fn trust_put(&mut self, row: &TrustRow) -> Result<(), DbError>;
    fn trusts(&mut self) -> Result<Vec<TrustRow>, DbError>;
    /// By class.
    fn conduct(&mut self, agent: &str) -> Result<Vec<Conduct>, DbError>;
    fn conduct_put(&mut self, row: &Conduct) -> Result<(), DbError>;

    /// A document that a pure type owns (a record of conduct, an accepted digest), by kind and key.
    fn fact(&mut self, kind: &str, key: &str) -> Result<Option<Value>, DbError>;
    fn fact_put(&mut self, kind: &str, key: &str, body: &Value) -> Result<(), DbError>;
    /// All of one kind, by key.
    fn facts(&mut self, kind: &str) -> Result<Vec<(String, Value)>, DbError>;

    /// Nothing spent and nothing reserved where there is no row.
    fn budget(&mut self, key: &str, window: DateTime<Utc>) -> Result<Budget, DbError>;
    fn budget_put(&mut self, budget: &Budget) -> Result<(), DbError>;
    /// All windows, by key and then time.
    fn budgets(&mut self) -> Result<Vec<Budget>, DbError>;
    fn reservation_insert(&mut self, reservation: &Reservation) -> Result<(), DbError>;
    /// Removes and returns those of one act.
    fn reservations_take(&mut self, action_id: i64) -> Result<Vec<Reservation>, DbError>;
    /// Acts that hold reservations which lapse by `at`, at most `count`.
    fn reservations_lapsed(&mut self, at: DateTime<Utc>, count: u32) -> Result<Vec<i64>, DbError>;

    fn rate_push(&mut self, key: &str, at: DateTime<Utc>) -> Result<(), DbError>;
    /// Events at or after `since`; those that lie ahead of a clock that was set back count too.
    fn rate_count(&mut self, key: &str, since: DateTime<Utc>) -> Result<u64, DbError>;
    /// The first event at or after `since`: when the next place becomes free.
    fn rate_oldest(
        &mut self,
        key: &str,
        since: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, DbError>;
    fn rate_forget(&mut self, key: &str, before: DateTime<Utc>) -> Result<(), DbError>;

    /// Those in force, oldest first.
    fn kills(&mut self) -> Result<Vec<KillSwitch>, DbError>;
    fn kill_put(&mut self, kill: &KillSwitch) -> Result<(), DbError>;
    /// Whether one was in force.
    fn kill_lift(&mut self, target: &str) -> Result<bool, DbError>;
}

/// Whether there may be rows of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Glance {
    /// A kill switch in force.
    pub kills: bool,
    /// An earlier submission under the same correlation id.
    pub replay: bool,
    /// An approval that may still be used or decided.
    pub open: bool,
    /// A reservation that lapsed.
    pub lapsed: bool,
}

/// What a request is likely to ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Likely {
    Fact {
        org: String,
        kind: &'static str,
        key: String,
    },
    /// What an act of this agent is judged by.
    Act {
        org: String,
        agent: String,
        correlation_id: Option<String>,
    },
}

/// Work on the rows of one organisation.
pub type Work<'a> = &'a mut dyn FnMut(&mut dyn Tx) -> Result<(), DbError>;

/// A place where governance keeps what it must not forget.
pub trait Store: std::fmt::Debug {
    /// One serialised transaction. When this returns `Ok`, all that `work` wrote survives a power
    /// cut; when it returns an error, nothing of it is there.
    fn write(&mut self, org: &str, now: Now, work: Work<'_>) -> Result<(), DbError>;
    /// One consistent view; what `work` writes is thrown away.
    fn read(&mut self, org: &str, work: Work<'_>) -> Result<(), DbError>;
    /// Names the database; made with it.
    fn id(&self) -> &str;
    /// What this machine knows of the ends of its logs; none in a store that proves nothing.
    fn heads(&self) -> Option<&heads::Heads>;
    /// Makes a new head for a log whose head is lost or disagrees; a person's decision, recorded as such.
    fn adopt_head(&mut self, org: &str, by: &str, why: &str, now: Now) -> Result<(), DbError>;

    /// From here to [`seal`](Self::seal) all writing is one transaction, of however many
    /// organisations: what fails leaves nothing and harms no other, and nothing counts until `seal`
    /// returned `Ok`. Reading sees what was written so far. A store that knows no groups commits each
    /// write by itself, which only costs time.
    fn gather(&mut self) -> Result<(), DbError> {
        Ok(())
    }

    /// Whether [`seal_begin`](Self::seal_begin) leaves most of the wait to the flush.
    fn flushes_apart(&self) -> bool {
        false
    }

    /// Whether nobody but this store itself wrote between the last group, which was committed, and the
    /// one that has begun.
    fn is_unchanged(&self) -> bool {
        false
    }

    /// Says what the next parts of a group will ask for, where asking at once is cheaper. What cannot be
    /// looked up is left to the part that asks.
    fn foresee(&mut self, likely: &[Likely]) {
        let _ = likely;
    }

    /// Makes all writes since [`gather`](Self::gather) durable at once; after an error none is there.
    /// Without a group it does nothing.
    fn seal(&mut self) -> Result<(), DbError> {
        Ok(())
    }

    /// The same, the wait for the disk left to the caller: nothing counts until the flush was run and
    /// returned `Ok`, while the next group may begin at once. Others may see before what was written.
    fn seal_begin(&mut self) -> Result<Flush, DbError> {
        self.seal().map(|()| Flush::nothing())
    }

    /// Notes what was put off while there was much to do.
    fn rest(&mut self) -> Result<(), DbError> {
        Ok(())
    }
}

/// A wait for the disk, by whichever thread has the time.
#[must_use = "nothing counts before it is flushed"]
pub struct Flush(Option<Box<dyn FnOnce() -> Result<(), DbError> + Send>>);

impl Flush {
    /// Of what is on the disk already.
    pub fn nothing() -> Self {
        Self(None)
    }

    pub fn new(work: impl FnOnce() -> Result<(), DbError> + Send + 'static) -> Self {
        Self(Some(Box::new(work)))
    }

    /// Returns when it is on the disk.
    pub fn run(self) -> Result<(), DbError> {
        self.0.map_or(Ok(()), |work| work())
    }
}

impl std::fmt::Debug for Flush {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Flush").field(&self.0.is_some()).finish()
    }
}

#[derive(Debug, thiserror::Error)]
pub enum DbError {
    #[error("cannot open the governance store `{path}`")]
    Open {
        path: PathBuf,
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("`{path}` was written by a newer ao (schema {found}, this one knows {known})")]
    Newer { path: PathBuf, found: i64, known: i64 },
    #[error("the governance store `{path}` was replaced while it was open")]
    Replaced { path: PathBuf },
    #[error("the governance store is locked by another process for {waited_ms} ms")]
    Busy { waited_ms: u64 },
    #[error("the governance store undid all that was under way")]
    Undone,
    #[error("cannot bring the governance store `{path}` to the disk")]
    Flush {
        path: PathBuf,
        #[source]
        cause: std::io::Error,
    },
    #[error("cannot {act} in the governance store")]
    Sql {
        act: &'static str,
        #[source]
        cause: rusqlite::Error,
    },
    #[error(transparent)]
    Address(#[from] postgres::AddressError),
    #[error("cannot reach the governance store `{address}`")]
    Unreachable {
        address: String,
        #[source]
        cause: ::postgres::Error,
    },
    #[error("the connection to the governance store was lost; cannot {act}")]
    Lost {
        act: &'static str,
        #[source]
        cause: ::postgres::Error,
    },
    #[error("cannot {act} in the governance store")]
    Server {
        act: &'static str,
        #[source]
        cause: ::postgres::Error,
    },
    #[error("the database `{address}` keeps text as {encoding}, and ao needs UTF8")]
    Encoding { address: String, encoding: String },
    #[error("the governance store `{address}` is signed with other keys than this operator's")]
    OtherKeys { address: String },
    #[error("the governance store holds {what} that ao did not write")]
    Damaged { what: String },
    #[error(transparent)]
    Head(#[from] heads::HeadError),
}

impl DbError {
    /// Whether the server of the store is merely not there now. A wrong password, an unknown database
    /// or a certificate that does not hold are no such thing.
    pub fn is_away(&self) -> bool {
        match self {
            Self::Unreachable { cause, .. } => postgres::is_away(cause),
            Self::Lost { .. } => true,
            Self::Open { .. }
            | Self::Newer { .. }
            | Self::Replaced { .. }
            | Self::Busy { .. }
            | Self::Undone
            | Self::Flush { .. }
            | Self::Sql { .. }
            | Self::Address(_)
            | Self::Server { .. }
            | Self::Encoding { .. }
            | Self::OtherKeys { .. }
            | Self::Damaged { .. }
            | Self::Head(_) => false,
        }
    }
}

/// [`Store::write`] with a result.
pub fn write<T>(
    store: &mut dyn Store,
    org: &str,
    now: Now,
    work: impl FnOnce(&mut dyn Tx) -> Result<T, DbError>,
) -> Result<T, DbError> {
    let (mut work, mut result) = (Some(work), None);
    store.write(org, now, &mut |tx| {
        let work = work.take().expect("a store runs the work once");
        result = Some(work(tx)?);
        Ok(())
    })?;
    Ok(result.expect("a store that committed has run the work"))
}

/// [`Store::read`] with a result.
pub fn read<T>(
    store: &mut dyn Store,
    org: &str,
    work: impl FnOnce(&mut dyn Tx) -> Result<T, DbError>,
) -> Result<T, DbError> {
    let (mut work, mut result) = (Some(work), None);
    store.read(org, &mut |tx| {
        let work = work.take().expect("a store runs the work once");
        result = Some(work(tx)?);
        Ok(())
    })?;
    Ok(result.expect("a store that answered has run the work"))
}

/// Records something in the transaction it belongs to; each hundredth record is signed.
pub fn append(tx: &mut dyn Tx, draft: &Draft, now: Now) -> Result<Tail, DbError> {
    let before = tx.audit_tail()?;
    let record = Record::chained(tx.org(), &before, draft, now.wall);
    let tail = record.tail();
    tx.audit_push(record)?;
    if tail.seq.is_multiple_of(CHECKPOINT_EVERY_RECORDS) {
        let checkpoint = tx.signer().map(|key| Checkpoint::signed(tx.org(), tail, key));
        if let Some(checkpoint) = checkpoint {
            tx.checkpoint_push(&checkpoint)?;
        }
    }
    Ok(tail)
}

/// Records that the head had fallen behind when the machine went down.
fn append_recovered(tx: &mut dyn Tx, from: u64, now: Now) -> Result<(), DbError> {
    let to = tx.audit_tail()?.seq;
    let draft =
        Draft::new(Kind::HeadRecovered, "ao", "audit head").with("from", from).with("to", to);
    append(tx, &draft, now).map(drop)
}

/// Adds to what is reserved in one window.
pub fn reserve(tx: &mut dyn Tx, reservation: &Reservation) -> Result<(), DbError> {
    let mut budget = tx.budget(&reservation.key, reservation.window)?;
    budget.reserved = Micros(budget.reserved.0.saturating_add(reservation.amount.0));
    tx.budget_put(&budget)?;
    tx.reservation_insert(reservation)
}

/// Turns what an act reserved into what it spent: `actual`, or the reserved amount itself.
pub fn settle(tx: &mut dyn Tx, action_id: i64, actual: Option<Micros>) -> Result<(), DbError> {
    for reservation in tx.reservations_take(action_id)? {
        let mut budget = tx.budget(&reservation.key, reservation.window)?;
        let spent = actual.unwrap_or(reservation.amount);
        budget.reserved = Micros(budget.reserved.0.saturating_sub(reservation.amount.0).max(0));
        budget.spent = Micros(budget.spent.0.saturating_add(spent.0));
        tx.budget_put(&budget)?;
    }
    Ok(())
}
