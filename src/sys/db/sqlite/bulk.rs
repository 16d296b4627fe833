//! What a group of writes asks of its rows and keeps back until its end.

use super::rows;
use super::tx::SqliteTx;
use crate::sys::db::gathered::{KeptBack, Quiet, Rows};
use crate::sys::db::{DbError, Tx as _};

impl Rows for SqliteTx<'_> {
    fn mark(&mut self) -> Result<(), DbError> {
        self.step("SAVEPOINT part", "begin a part")
    }

    fn action_ids(&mut self, _count: usize) -> Result<Vec<i64>, DbError> {
        let last = self.last_id.ok_or_else(|| {
            let what = "acts numbered outside of a group".to_owned();
            DbError::Damaged { what }
        })?;
        last.set(last.get() + 1);
        Ok(vec![last.get()])
    }

    fn quiet(&mut self) -> Result<Quiet, DbError> {
        let text = "SELECT EXISTS (SELECT 1 FROM kills WHERE org = ?1), \
                    EXISTS (SELECT 1 FROM approvals INDEXED BY approvals_open \
                            WHERE org = ?1 AND state IN ('pending', 'approved')), \
                    (SELECT min(lapses_us) FROM reservations WHERE org = ?1)";
        let found = self.one("look around", text, &[], |row| {
            let (kills, open) = (row.get(0)?, row.get(1)?);
            Ok(Quiet { kills, open, lapses: rows::maybe_time(row, 2)? })
        })?;
        found.ok_or_else(|| DbError::Damaged { what: "no answer".to_owned() })
    }

    fn keep(&mut self, kept_back: KeptBack) -> Result<(), DbError> {
        for (id, action) in &kept_back.actions {
            self.insert(Some(*id), action)?;
        }
        kept_back.records.into_iter().try_for_each(|record| self.audit_push(record))?;
        for (correlation_id, replay) in &kept_back.replays {
            self.replay_insert(correlation_id, replay)?;
        }
        kept_back.checkpoints.iter().try_for_each(|checkpoint| self.checkpoint_push(checkpoint))
    }
}
