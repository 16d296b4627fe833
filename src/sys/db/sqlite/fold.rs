//! Folding the log into the database, beside the work instead of in it.
//!
//! A commit that finds the log long would fold it in itself, and all who wait would wait for that.
//! Here a thread with a connection of its own does the most of it while writing goes on. What is
//! written meanwhile is left over; the writer folds in that little itself between two groups, after
//! which the log begins anew. `SQLite` flushes log and database as a fold needs it; but as it flushes the
//! database only when all is folded in, which would be the writer's part, that is done here before.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::sql;
use crate::sys::db::DbError;

/// So long a log is folded in.
const PAGES_MAX: i64 = 8_192;
/// Each finds what was written during the one before.
const PASSES_MAX: usize = 6;
/// So little may be left over.
const PAGES_LEFT: i64 = 64;

/// Handles on databases, by device and inode. None is ever closed: that would give up the locks that
/// `SQLite` holds on the same file in this process.
static DATABASES: Mutex<BTreeMap<(u64, u64), Arc<File>>> = Mutex::new(BTreeMap::new());

#[derive(Debug)]
pub(super) struct Fold {
    shared: Arc<Shared>,
    ask: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    busy: AtomicBool,
    /// Little is left over.
    ready: AtomicBool,
}

impl Fold {
    /// `writer` folds nothing in by itself from now on.
    pub(super) fn start(database: &Path, writer: &Connection) -> Result<Self, DbError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(database, flags).map_err(sql("begin"))?;
        let set = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
        set.map_err(sql("begin"))?;
        connection.execute_batch("PRAGMA synchronous = NORMAL").map_err(sql("begin"))?;
        writer.execute_batch("PRAGMA wal_autocheckpoint = 0").map_err(sql("begin"))?;
        let lost = |cause| DbError::Flush { path: database.to_owned(), cause };
        let file = handle(database).map_err(lost)?;
        let shared = Arc::new(Shared::default());
        let own = Arc::clone(&shared);
        let (ask, asked) = channel();
        let work = move || {
            for () in asked {
                for _ in 0..PASSES_MAX {
                    let left = fold(&connection).and_then(|()| left(&connection));
                    // What cannot be flushed now is flushed, or refused, where the rest is folded in.
                    drop(file.sync_data());
                    match left {
                        Ok(..=PAGES_LEFT) => break,
                        Ok(_) => {}
                        Err(error) => {
                            let what = "the log of the governance store was not folded in";
                            tracing::warn!(%error, what);
                        }
                    }
                }
                own.ready.store(true, Ordering::Release);
            }
        };
        let thread = std::thread::Builder::new().name("ao-fold".to_owned()).spawn(work);
        let thread = thread.map_err(lost)?;
        Ok(Self { shared, ask: Some(ask), thread: Some(thread) })
    }

    /// After a commit: has a long log folded in.
    pub(super) fn look(&self, writer: &Connection) {
        // One whose length cannot be read now is looked at after the next commit.
        if !self.shared.busy.load(Ordering::Acquire)
            && pages(writer).is_ok_and(|pages| pages >= PAGES_MAX)
            && let Some(ask) = &self.ask
        {
            // The thread lives as long as this does.
            self.shared.busy.store(ask.send(()).is_ok(), Ordering::Release);
        }
    }

    /// Between two groups: folds in what is left over, if it is little.
    pub(super) fn finish(&self, writer: &Connection) -> Result<(), DbError> {
        if self.shared.ready.swap(false, Ordering::AcqRel) {
            let folded = fold(writer).map_err(sql("fold the log in"));
            self.shared.busy.store(false, Ordering::Release);
            folded?;
        }
        Ok(())
    }
}

/// As far as it can be done without making anybody wait.
fn fold(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
}

/// How much of the log is not folded in.
fn left(connection: &Connection) -> rusqlite::Result<i64> {
    let mut statement = connection.prepare_cached("PRAGMA wal_checkpoint(NOOP)")?;
    statement.query_row([], |row| Ok(row.get::<_, i64>(1)? - row.get::<_, i64>(2)?))
}

fn handle(database: &Path) -> std::io::Result<Arc<File>> {
    let identity = super::identity(database)?;
    let mut known = DATABASES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(file) = known.get(&identity) {
        return Ok(Arc::clone(file));
    }
    let file = Arc::new(File::options().read(true).write(true).open(database)?);
    known.insert(identity, Arc::clone(&file));
    Ok(file)
}

/// How long the log is.
fn pages(connection: &Connection) -> rusqlite::Result<i64> {
    let mut statement = connection.prepare_cached("PRAGMA wal_checkpoint(NOOP)")?;
    statement.query_row([], |row| row.get(1))
}

impl Drop for Fold {
    fn drop(&mut self) {
        drop(self.ask.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}
