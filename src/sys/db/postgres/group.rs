//! Several writes, of however many organisations, as one transaction.
//!
//! The first organisation's lock is waited for; that of another only if it is free, as two servers
//! that wait for each other's would wait for ever. Where it is not, what was written so far is
//! committed, and the group goes on in a new transaction. A statement that the server refuses ends its
//! transaction, so such a part takes the group with it unless it had a place to go back to.

use std::collections::BTreeMap;

use super::tx::PostgresTx;
use super::{PostgresStore, bulk, failed, lock_of};
use crate::govern::audit::Tail;
use crate::sys::db::gathered::{Held, PartTx};
use crate::sys::db::heads::Heads;
use crate::sys::db::{DbError, Tx as _, Work};

/// So many acts of one organisation are sent to the server while the group goes on.
const SENT_AT_ONCE: usize = 8;

/// What is under way.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// Of the organisations whose lock is held.
    pub(super) held: BTreeMap<String, Held>,
    /// Of others, what may be looked at without a lock.
    pub(super) views: BTreeMap<String, Held>,
    /// None of it may count.
    pub(super) lost: bool,
}

impl Group {
    pub(super) fn of(&self, org: &str) -> Option<&Held> {
        self.held.get(org).or_else(|| self.views.get(org))
    }
}

impl PostgresStore {
    /// Writes rows of one organisation.
    pub(super) fn part(&mut self, org: &str, work: Work<'_>) -> Result<(), DbError> {
        let fresh = !self.group.as_ref().is_some_and(|group| group.held.contains_key(org));
        if fresh {
            self.lock(org).inspect_err(|_| self.lose())?;
        }
        let mut group = self.taken();
        let held = group.held.entry(org.to_owned()).or_default();
        let result = self.on_rows(org, held, work, fresh);
        if let Err(Failed { lost: true, .. }) = &result {
            group.lost = true;
        }
        self.group = Some(group);
        result.map_err(|failed| failed.cause)
    }

    /// Looks at rows of one organisation; what is written is thrown away.
    pub(super) fn view(&mut self, org: &str, work: Work<'_>) -> Result<(), DbError> {
        let mut group = self.taken();
        // Without its lock nothing that is looked up may be kept.
        let Group { held, views, .. } = &mut group;
        let (own, mut none) = (held.get_mut(org).or_else(|| views.get_mut(org)), Held::default());
        let held = own.unwrap_or(&mut none);
        let result = self.looked_at(org, held, work);
        if let Err(Failed { lost: true, .. }) = &result {
            group.lost = true;
        }
        self.group = Some(group);
        result.map_err(|failed| failed.cause)
    }

    /// The group, out of its place while a part works: after a panic in there it is lost.
    fn taken(&mut self) -> Group {
        let lost = Group { lost: true, ..Group::default() };
        self.group.replace(lost).expect("a part is of a group")
    }

    fn lose(&mut self) {
        if let Some(group) = &mut self.group {
            group.lost = true;
        }
    }

    /// Takes the lock of one more organisation.
    fn lock(&mut self, org: &str) -> Result<(), DbError> {
        let lock = lock_of(org);
        let group = self.group.as_ref().expect("a part is of a group");
        if group.lost {
            return Err(DbError::Undone);
        }
        let first = group.held.is_empty();
        let link = self.link.as_mut().ok_or(DbError::Undone)?;
        if !first {
            let text = format!("SELECT pg_try_advisory_xact_lock({lock})");
            let found = link.first_row(&text).map_err(failed("begin"))?;
            if found.is_some_and(|row| row.get(0) == Some("t")) {
                return Ok(());
            }
            let group = self.group.replace(Group::default()).expect("it was just there");
            self.end(group)?;
            self.begin("BEGIN")?;
        }
        let link = self.link.as_mut().ok_or(DbError::Undone)?;
        let text = format!("SELECT pg_advisory_xact_lock({lock})");
        link.batch_execute(&text).map_err(failed("begin"))
    }

    fn on_rows(
        &mut self,
        org: &str,
        held: &mut Held,
        work: Work<'_>,
        fresh: bool,
    ) -> Result<(), Failed> {
        // Out of its place while work is done: a panic in there leaves no half a transaction behind.
        let mut link = self.link.take().ok_or_else(Failed::undone)?;
        let signer = self.heads.as_ref().map(Heads::key);
        let mut rows = PostgresTx::new(&mut link, org, signer);
        if fresh {
            match rows.look() {
                Ok((tail, quiet)) => held.begin(tail, quiet),
                Err(cause) => {
                    self.link = Some(link);
                    return Err(Failed { cause, lost: true });
                }
            }
        }
        let mut part = PartTx::new(rows, held);
        let worked = (|| {
            let before = if let Some(before) = part.before() {
                before
            } else {
                let before = part.audit_tail()?;
                if let Some(heads) = &self.heads {
                    heads.check(&self.id, org, before, |seq| part.rows().audit_hash(seq))?;
                }
                before
            };
            work(&mut part)?;
            if part.rows().concerns_others {
                part.rows().tell()?;
            }
            if part.is_marked() {
                part.rows().step("end a part", "RELEASE part")?;
            }
            part.done(before);
            Ok(())
        })();

        let result = worked.map_err(|cause| Failed::new(cause, &mut part));
        drop(part);
        // What is done is done: the server writes it while the next parts are worked on.
        let sent = match held.waiting() {
            ..SENT_AT_ONCE => Ok(()),
            _ => held.take().map_or(Ok(()), |rows| bulk::send(&mut link, org, rows)),
        };
        self.link = Some(link);
        result.and(sent.map_err(|cause| Failed { cause, lost: true }))
    }

    fn looked_at(&mut self, org: &str, held: &mut Held, work: Work<'_>) -> Result<(), Failed> {
        let mut link = self.link.take().ok_or_else(Failed::undone)?;
        let signer = self.heads.as_ref().map(Heads::key);
        let mut part = PartTx::new(PostgresTx::new(&mut link, org, signer), held);
        let result = match work(&mut part) {
            Err(cause) => Err(Failed::new(cause, &mut part)),
            Ok(()) => match undo(&mut part) {
                Ok(()) => Ok(()),
                Err(cause) => Err(Failed { cause, lost: true }),
            },
        };
        drop(part);
        self.link = Some(link);
        result
    }

    /// Writes what was kept back, and commits.
    pub(super) fn end(&mut self, group: Group) -> Result<(), DbError> {
        let moved = self.written(group).inspect_err(|_| self.roll_back())?;
        if let Some(heads) = &self.heads {
            for (org, after) in moved {
                heads.advance(&self.id, &org, after)?;
            }
        }
        Ok(())
    }

    /// The organisations whose logs moved, and where they end now.
    fn written(&mut self, group: Group) -> Result<Vec<(String, Tail)>, DbError> {
        let link = self.link.as_mut().filter(|_| !group.lost).ok_or(DbError::Undone)?;
        let mut moved = Vec::new();
        for (org, mut held) in group.held {
            if let Some(kept_back) = held.take() {
                bulk::send(link, &org, kept_back)?;
            }
            if let Some((_, after)) = held.moved() {
                moved.push((org, after));
            }
        }
        // Behind a statement that was refused this undoes all, which is no error of its own: what
        // became of each of those before is looked at, too.
        let client = link.client();
        link.send("commit", async move { client.batch_execute("COMMIT").await })?;
        link.settle()?;
        Ok(moved)
    }
}

/// Why a part failed, and whether the group did with it.
struct Failed {
    cause: DbError,
    lost: bool,
}

impl Failed {
    fn undone() -> Self {
        Self { cause: DbError::Undone, lost: true }
    }

    fn new(cause: DbError, part: &mut PartTx<'_, PostgresTx<'_>>) -> Self {
        let refused = match &cause {
            DbError::Server { .. } | DbError::Lost { .. } | DbError::Busy { .. } => true,
            DbError::Open { .. }
            | DbError::Newer { .. }
            | DbError::Replaced { .. }
            | DbError::Undone
            | DbError::Flush { .. }
            | DbError::Sql { .. }
            | DbError::Address(_)
            | DbError::Unreachable { .. }
            | DbError::Encoding { .. }
            | DbError::OtherKeys { .. }
            | DbError::Damaged { .. }
            | DbError::Head(_) => false,
        };
        let lost = part.is_broken() || (refused && !part.is_marked());
        Self { cause, lost: undo(part).is_err() || lost }
    }
}

/// As if the part had not been.
fn undo(part: &mut PartTx<'_, PostgresTx<'_>>) -> Result<(), DbError> {
    part.forget();
    if part.is_marked() {
        part.rows().step("undo a part", "ROLLBACK TO part; RELEASE part")?;
    }
    Ok(())
}
