//! The store as one `SQLite` file, for many processes of one machine at once.
//!
//! WAL with `synchronous=FULL`: a commit is on the disk when it returns. A writer that finds the file
//! locked tries again each millisecond, because `SQLite`'s own growing pauses cost ten times as much
//! at the 99th percentile. The last process to leave does not fold the log back in: each hook would
//! pay for that.
//!
//! Whether the log's own name is on the disk is seen to here, once, before anything is written to it: the
//! library is built not to flush the folder, as it would in every process (`.cargo/config.toml`).

mod rows;
mod schema;
mod tx;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::heads::Heads;
use super::{DbError, Store, Tx as _, Work, append, append_recovered};
use crate::base::now::Now;
use crate::govern::audit::head::Standing;
use crate::govern::audit::{Draft, Kind, Tail};
use tx::SqliteTx;

/// Between two tries for the write lock.
const BUSY_PAUSE: Duration = Duration::from_millis(1);
/// Up to 32 MiB of pages are kept in memory, as far as they are used, and the log is folded in each
/// 2 MiB: whoever is alone with the file proves the whole log first, a hook before each decision.
const PAGES: &str = "PRAGMA cache_size = -32768; PRAGMA wal_autocheckpoint = 512";
/// Of a process that writes in groups, so lives long: under load the same pages are written again and again.
const PAGES_OF_GROUPS: &str = "PRAGMA wal_autocheckpoint = 4096";
/// A lock held longer than this denies: the CLI behind a hook does not wait for ever.
const BUSY_TRIES_MAX: i32 = 2_000;

pub struct SqliteStore {
    path: PathBuf,
    connection: Connection,
    heads: Option<Heads>,
    /// Names the database; made with it.
    id: String,
    /// Device and inode at the time of opening.
    file: (u64, u64),
    group: Option<Group>,
    /// It has written in groups.
    groups: bool,
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("SqliteStore").field("path", &self.path).finish_non_exhaustive()
    }
}

impl SqliteStore {
    /// Opens the file, or makes it (mode 0600) with today's tables. With `heads`, each log's end is
    /// proven before it is written on.
    pub fn open(path: &Path, heads: Option<Heads>, now: DateTime<Utc>) -> Result<Self, DbError> {
        let open = |cause: Box<dyn std::error::Error + Send + Sync>| DbError::Open {
            path: path.to_owned(),
            cause,
        };
        // Made here, so that it is never readable by others, not even for a moment.
        std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(|cause| open(Box::new(cause)))?;
        let new_log = std::fs::metadata(log_of(path)).map_or(true, |facts| facts.len() == 0);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection =
            Connection::open_with_flags(path, flags).map_err(|cause| open(Box::new(cause)))?;
        let file = identity(path).map_err(|cause| open(Box::new(cause)))?;
        set_up(&mut connection).map_err(|cause| open(Box::new(cause)))?;
        if new_log {
            // Nobody has written to it yet, and whoever finds something in it comes after one who did this.
            flush_folder(path).map_err(|cause| open(Box::new(cause)))?;
        }
        let id = match schema::current(&connection) {
            Some(id) => id,
            None => Self::brought_up(&mut connection, path, now)?,
        };
        Ok(Self { path: path.to_owned(), connection, heads, id, file, group: None, groups: false })
    }

    /// Makes today's tables of an older database's, or of none; answers its name.
    fn brought_up(
        connection: &mut Connection,
        path: &Path,
        now: DateTime<Utc>,
    ) -> Result<String, DbError> {
        let open = |cause: rusqlite::Error| DbError::Open {
            path: path.to_owned(),
            cause: Box::new(cause),
        };
        let found = schema::version(connection).map_err(open)?;
        let known = schema::VERSION;
        if found > known {
            return Err(DbError::Newer { path: path.to_owned(), found, known });
        }
        if found < known {
            migrate(connection, now).map_err(open)?;
        }
        connection.query_row("SELECT id FROM store", [], |row| row.get(0)).map_err(open)
    }

    /// Lets the file grow to so many pages and no further.
    #[cfg(test)]
    pub(crate) fn limit_pages(&self, most: i64) {
        let text = format!("PRAGMA max_page_count = {most}");
        self.connection.query_row(&text, [], |_| Ok(())).unwrap();
    }

    fn transact(
        &mut self,
        org: &str,
        now: Now,
        prove: bool,
        work: Work<'_>,
    ) -> Result<(), DbError> {
        if let Some(group) = &self.group {
            let mark = Mark::set(self)?;
            self.inside(group, org, now, prove, work)?;
            return mark.keep();
        }
        self.begin()?;
        let group = Group::default();
        match self.inside(&group, org, now, prove, work) {
            Ok(()) => self.end(&group),
            Err(error) => {
                self.roll_back();
                Err(error)
            }
        }
    }

    fn begin(&self) -> Result<(), DbError> {
        if identity(&self.path).ok() != Some(self.file) {
            return Err(DbError::Replaced { path: self.path.clone() });
        }
        self.step("BEGIN IMMEDIATE", "begin")
    }

    /// Between BEGIN and COMMIT; notes where the organisation's log ends now.
    fn inside(
        &self,
        group: &Group,
        org: &str,
        now: Now,
        prove: bool,
        work: Work<'_>,
    ) -> Result<(), DbError> {
        let signer = self.heads.as_ref().map(Heads::key);
        let mut tx = SqliteTx::new(&self.connection, org, signer);
        let begun = group.ends.borrow().get(org).copied();
        let before = match begun {
            Some(ends) => tx.resume(ends.now, ends.swept),
            None => tx.audit_tail()?,
        };
        if begun.is_none()
            && prove
            && let Some(heads) = &self.heads
        {
            let standing = heads.check(&self.id, org, before, |seq| tx.audit_hash(seq))?;
            if let Standing::MachineWentDown { from } = standing {
                append_recovered(&mut tx, from, now)?;
            }
        }
        work(&mut tx)?;
        let before = begun.map_or(before, |ends| ends.before);
        let ends = Ends { before, now: tx.audit_tail()?, swept: tx.swept() };
        group.ends.borrow_mut().insert(org.to_owned(), ends);
        Ok(())
    }

    /// Commits, the heads told before and after.
    fn end(&self, group: &Group) -> Result<(), DbError> {
        let ends = group.ends.borrow();
        let moved = || ends.iter().filter(|(_, ends)| ends.now != ends.before);
        let announced = self.heads.as_ref().map_or(Ok(()), |heads| {
            moved().try_for_each(|(org, ends)| {
                heads.announce(&self.id, org, ends.before, ends.now).map_err(DbError::from)
            })
        });
        if let Err(error) = announced.and_then(|()| self.step("COMMIT", "commit")) {
            self.roll_back();
            return Err(error);
        }
        if let Some(heads) = &self.heads {
            for (org, ends) in moved() {
                heads.commit(org, ends.now)?;
            }
        }
        Ok(())
    }

    /// A statement without values.
    fn step(&self, text: &str, act: &'static str) -> Result<(), DbError> {
        let mut statement = self.connection.prepare_cached(text).map_err(sql(act))?;
        statement.raw_execute().map(drop).map_err(sql(act))
    }

    fn roll_back(&self) {
        if !self.connection.is_autocommit() {
            // A failed rollback leaves the transaction to the end of the connection, which undoes it too.
            drop(self.connection.execute_batch("ROLLBACK"));
        }
    }
}

impl Store for SqliteStore {
    fn write(&mut self, org: &str, now: Now, work: Work<'_>) -> Result<(), DbError> {
        self.transact(org, now, true, work)
    }

    fn read(&mut self, org: &str, work: Work<'_>) -> Result<(), DbError> {
        let signer = self.heads.as_ref().map(Heads::key);
        let mut tx = SqliteTx::new(&self.connection, org, signer);
        if self.group.is_some() {
            // Not kept, so it is undone when it goes.
            let _mark = Mark::set(self)?;
            return work(&mut tx);
        }
        self.step("BEGIN DEFERRED", "begin")?;
        let result = work(&mut tx);
        self.roll_back();
        result
    }

    fn id(&self) -> &str {
        &self.id
    }

    fn heads(&self) -> Option<&Heads> {
        self.heads.as_ref()
    }

    fn adopt_head(&mut self, org: &str, by: &str, why: &str, now: Now) -> Result<(), DbError> {
        let draft = Draft::new(Kind::HeadAdopted, by, "audit head").with("why", why);
        self.transact(org, now, false, &mut |tx| append(tx, &draft, now).map(drop))
    }

    fn gather(&mut self) -> Result<(), DbError> {
        if self.group.is_none() {
            if !std::mem::replace(&mut self.groups, true) {
                self.connection.execute_batch(PAGES_OF_GROUPS).map_err(sql("begin"))?;
            }
            self.begin()?;
            self.group = Some(Group::default());
        }
        Ok(())
    }

    fn seal(&mut self) -> Result<(), DbError> {
        let Some(group) = self.group.take() else { return Ok(()) };
        if self.connection.is_autocommit() {
            return Err(DbError::Undone);
        }
        self.end(&group)
    }
}

/// Several writes on their way to one commit.
#[derive(Debug, Default)]
struct Group {
    ends: RefCell<BTreeMap<String, Ends>>,
}

/// Where one organisation's log ended before the group, and where it ends in it.
#[derive(Debug, Clone, Copy)]
struct Ends {
    before: Tail,
    now: Tail,
    swept: bool,
}

/// A place in a transaction to go back to; a panic in between goes back too.
struct Mark<'a> {
    store: &'a SqliteStore,
    kept: bool,
}

impl<'a> Mark<'a> {
    fn set(store: &'a SqliteStore) -> Result<Self, DbError> {
        // A full disk makes SQLite undo everything: a write that came then would commit by itself.
        if store.connection.is_autocommit() {
            return Err(DbError::Undone);
        }
        store.step("SAVEPOINT part", "begin")?;
        Ok(Self { store, kept: false })
    }

    fn keep(mut self) -> Result<(), DbError> {
        self.kept = true;
        // Its log's end is noted already, so a part that cannot end takes the others with it.
        self.store.step("RELEASE part", "end a part").inspect_err(|_| self.store.roll_back())
    }
}

impl Drop for Mark<'_> {
    fn drop(&mut self) {
        if self.kept || self.store.connection.is_autocommit() {
            return;
        }
        let undone = self.store.step("ROLLBACK TO part", "undo a part");
        if undone.and_then(|()| self.store.step("RELEASE part", "undo a part")).is_err() {
            // What cannot be undone in part is undone whole; `seal` then says so.
            self.store.roll_back();
        }
    }
}

fn set_up(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.busy_handler(Some(wait_for_lock))?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    // Without it a statement is planned anew for each value that is bound: half the cost of an act.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    let mode: String = connection.query_row("PRAGMA journal_mode", [], |row| row.get(0))?;
    if mode != "wal" {
        connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    }
    connection.execute_batch("PRAGMA synchronous = FULL")?;
    connection.execute_batch(PAGES)?;
    connection.set_prepared_statement_cache_capacity(128);
    Ok(())
}

fn migrate(connection: &mut Connection, now: DateTime<Utc>) -> rusqlite::Result<()> {
    connection.execute_batch("BEGIN IMMEDIATE")?;
    // Another process may have been first.
    let result = schema::version(connection).and_then(|from| {
        let at = now.to_rfc3339_opts(SecondsFormat::Secs, true);
        schema::migrate(connection, from, &at)
    });
    let end = if result.is_ok() { "COMMIT" } else { "ROLLBACK" };
    connection.execute_batch(end).and(result)
}

fn wait_for_lock(tries: i32) -> bool {
    std::thread::sleep(BUSY_PAUSE);
    tries < BUSY_TRIES_MAX
}

/// The write-ahead log of a database.
fn log_of(path: &Path) -> PathBuf {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    log.into()
}

fn flush_folder(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    std::fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

fn identity(path: &Path) -> std::io::Result<(u64, u64)> {
    let facts = std::fs::metadata(path)?;
    Ok((facts.dev(), facts.ino()))
}

/// What a failed statement means.
fn sql(act: &'static str) -> impl Fn(rusqlite::Error) -> DbError {
    move |cause| match cause.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => DbError::Busy {
            waited_ms: u64::try_from(BUSY_TRIES_MAX).unwrap_or(0)
                * crate::base::now::millis(BUSY_PAUSE),
        },
        Some(_) | None => DbError::Sql { act, cause },
    }
}
