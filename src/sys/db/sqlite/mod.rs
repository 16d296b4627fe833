//! The store as one `SQLite` file, for many processes of one machine at once.
//!
//! WAL with `synchronous=FULL`: a commit is on the disk when it returns. One that writes in groups
//! may begin the next while the one before is flushed ([`flush`]): the heads it writes before a commit
//! name as committed only what is flushed, and so do those of any other process, which flushes itself
//! what it finds committed and not noted yet. A writer that finds the file
//! locked tries again each millisecond, because `SQLite`'s own growing pauses cost ten times as much
//! at the 99th percentile. The last process to leave does not fold the log back in: each hook would
//! pay for that.
//!
//! Whether the log's own name is on the disk is seen to here, once, before anything is written to it: the
//! library is built not to flush the folder, as it would in every process (`.cargo/config.toml`).

mod bulk;
mod flush;
mod fold;
mod rows;
mod schema;
mod tx;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::gathered::{Held, PartTx, Rows as _};
use super::heads::Heads;
use super::{DbError, Flush, Store, Tx, Work, append, append_recovered};
use crate::base::now::Now;
use crate::govern::audit::head::Standing;
use crate::govern::audit::{Draft, Hash, Kind, Tail};
use flush::{Log, Underway};
use fold::Fold;
use tx::SqliteTx;

/// Between two tries for the write lock.
const BUSY_PAUSE: Duration = Duration::from_millis(1);
/// Up to 32 MiB of pages are kept in memory, as far as they are used, and the log is folded in each
/// 2 MiB: whoever is alone with the file proves the whole log first, a hook before each decision.
const PAGES: &str = "PRAGMA cache_size = -32768; PRAGMA wal_autocheckpoint = 512";
/// Of a connection that writes in groups and flushes them itself. After a page was split each commit
/// walks over all pages in memory, so there are fewer.
const OF_GROUPS: &str = "PRAGMA synchronous = NORMAL; PRAGMA cache_size = -8192";
/// Organisations of which something is known from one group to the next.
const ORGS_KNOWN_MAX: usize = 1_000;
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
    /// What the last group knew, if it was committed.
    known: Option<Known>,
    is_unchanged: bool,
    /// Since it writes in groups; commits are flushed through it.
    log: Option<Log>,
    /// As long as that.
    fold: Option<Fold>,
    /// Of the last group, until the heads say that it is flushed.
    underway: Option<Underway>,
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
        let path = path.to_owned();
        let (group, known, log, fold, underway) = (None, None, None, None, None);
        let is_unchanged = false;
        Ok(Self {
            path,
            connection,
            heads,
            id,
            file,
            group,
            known,
            is_unchanged,
            log,
            fold,
            underway,
        })
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
        if self.group.is_some() {
            return self.part(org, &mut |part| {
                let before = if let Some(before) = part.before() {
                    before
                } else {
                    let before = part.audit_tail()?;
                    if prove {
                        let standing =
                            self.prove(org, before, |seq| part.rows().audit_hash(seq))?;
                        recover(standing, part, now)?;
                    }
                    before
                };
                work(part)?;
                part.done(before);
                Ok(Keep::It)
            });
        }
        // A write of its own moves what groups know.
        self.known = None;
        self.begin()?;
        match self.alone(org, now, prove, work).and_then(|ends| self.commit(&ends)) {
            Ok(ends) => {
                if let Some(log) = &self.log {
                    log.flush()?;
                }
                self.note(&ends)
            }
            Err(error) => {
                self.roll_back();
                Err(error)
            }
        }
    }

    fn begin(&self) -> Result<(), DbError> {
        let log_is_there = self.log.as_ref().is_none_or(Log::is_there);
        if !log_is_there || identity(&self.path).ok() != Some(self.file) {
            return Err(DbError::Replaced { path: self.path.clone() });
        }
        self.step("BEGIN IMMEDIATE", "begin")
    }

    /// A write that is a transaction of its own, before its commit; where the log ended and ends.
    fn alone(
        &self,
        org: &str,
        now: Now,
        prove: bool,
        work: Work<'_>,
    ) -> Result<Vec<Moved>, DbError> {
        let signer = self.heads.as_ref().map(Heads::key);
        let mut tx = SqliteTx::new(&self.connection, org, signer);
        let before = tx.audit_tail()?;
        if prove {
            let standing = self.prove(org, before, |seq| tx.audit_hash(seq))?;
            recover(standing, &mut tx, now)?;
        }
        work(&mut tx)?;
        let after = tx.audit_tail()?;
        Ok(if after == before { Vec::new() } else { vec![(org.to_owned(), before, after)] })
    }

    /// A part of the group under way; one that fails, or panics, leaves nothing.
    fn part(
        &self,
        org: &str,
        work: &mut dyn FnMut(&mut PartTx<'_, SqliteTx<'_>>) -> Result<Keep, DbError>,
    ) -> Result<(), DbError> {
        let group = self.group.as_ref().expect("a part is of a group");
        // A full disk makes SQLite undo everything: a write that came then would commit by itself.
        if self.connection.is_autocommit() {
            return Err(DbError::Undone);
        }
        let mut held = group.held.borrow_mut();
        let held = held.entry(org.to_owned()).or_default();
        let signer = self.heads.as_ref().map(Heads::key);
        let rows = SqliteTx::new(&self.connection, org, signer).numbered(&group.last_id);
        let mut part = Part { store: self, tx: PartTx::new(rows, held), kept: false };
        match work(&mut part.tx)? {
            Keep::It => part.keep(),
            Keep::Nothing => Ok(()),
        }
    }

    /// Whether the log may be written on.
    fn prove(
        &self,
        org: &str,
        tail: Tail,
        hash_at: impl FnOnce(u64) -> Result<Option<Hash>, DbError>,
    ) -> Result<Standing, DbError> {
        let Some(heads) = &self.heads else { return Ok(Standing::Exact) };
        let standing = heads.check(&self.id, org, tail, hash_at)?;
        // Somebody may have committed it without having flushed it yet.
        if standing == Standing::HeadNotWritten && !self.is_underway(org, tail) {
            Log::open(&self.path)?.flush()?;
        }
        Ok(standing)
    }

    /// Whether a flush of ours ends with this.
    fn is_underway(&self, org: &str, tail: Tail) -> bool {
        let ends = self.underway.iter().flat_map(|underway| &underway.ends);
        ends.into_iter().any(|(whose, end)| whose == org && *end == tail)
    }

    /// Commits, the heads told before; where logs end now.
    fn commit(&self, moved: &[Moved]) -> Result<Vec<(String, Tail)>, DbError> {
        // The heads name as committed what another thread may still be flushing.
        if !self.underway.as_ref().is_none_or(Underway::wait) {
            return Err(DbError::Undone);
        }
        if let Some(heads) = &self.heads {
            for (org, before, after) in moved {
                heads.announce(&self.id, org, *before, *after)?;
            }
        }
        self.step("COMMIT", "commit")?;
        Ok(moved.iter().map(|(org, _, after)| (org.clone(), *after)).collect())
    }

    /// Writes what the parts of a group kept back, and commits.
    fn commit_group(&self, group: Group) -> Result<(Vec<(String, Tail)>, Known), DbError> {
        let Group { held, last_id, version } = group;
        let (mut held, mut moved) = (held.into_inner(), Vec::new());
        for (org, held) in &mut held {
            if let Some(kept_back) = held.take() {
                SqliteTx::new(&self.connection, org, None).keep(kept_back)?;
            }
            if let Some((before, after)) = held.moved() {
                moved.push((org.clone(), before, after));
            }
        }
        let ends = self.commit(&moved)?;
        if held.len() > ORGS_KNOWN_MAX {
            held.clear();
        }
        let held = held.into_iter().map(|(org, held)| (org, held.renewed())).collect();
        Ok((ends, Known { held, last_id: last_id.get(), version }))
    }

    /// A group that has begun, with what the one before knew as far as that still stands.
    fn group_behind(&self, known: Option<Known>) -> Result<Group, DbError> {
        // Of no meaning but that it is another one when somebody else has written.
        let version = self.number("PRAGMA data_version")?;
        if let Some(known) = known.filter(|known| known.version == version) {
            let Known { held, last_id, .. } = known;
            return Ok(Group { held: RefCell::new(held), last_id: Cell::new(last_id), version });
        }
        let last = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'actions'";
        let last_id = Cell::new(self.number(last)?);
        Ok(Group { held: RefCell::default(), last_id, version })
    }

    fn number(&self, text: &str) -> Result<i64, DbError> {
        let statement = self.connection.prepare_cached(text);
        let found = statement.and_then(|mut it| it.query_row([], |row| row.get(0)));
        found.map_err(sql("begin"))
    }

    /// Tells the heads that all up to here is on the disk.
    fn note(&self, ends: &[(String, Tail)]) -> Result<(), DbError> {
        let Some(heads) = &self.heads else { return Ok(()) };
        Ok(ends.iter().try_for_each(|(org, end)| heads.commit(org, *end))?)
    }

    /// A statement without values.
    fn step(&self, text: &str, act: &'static str) -> Result<(), DbError> {
        step(&self.connection, text, act)
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
        if self.group.is_some() {
            return self.part(org, &mut |part| work(part).map(|()| Keep::Nothing));
        }
        let signer = self.heads.as_ref().map(Heads::key);
        let mut tx = SqliteTx::new(&self.connection, org, signer);
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
            self.is_unchanged = false;
            if self.log.is_none() {
                self.connection.execute_batch(OF_GROUPS).map_err(sql("begin"))?;
                self.fold = Some(Fold::start(&self.path, &self.connection)?);
                self.log = Some(Log::open(&self.path)?);
            }
            if let Some(fold) = &self.fold {
                fold.finish(&self.connection)?;
            }
            self.begin()?;
            let known = self.known.take();
            let group = self.group_behind(known).inspect_err(|_| self.roll_back())?;
            self.is_unchanged = !group.held.borrow().is_empty();
            self.group = Some(group);
        }
        Ok(())
    }

    fn flushes_apart(&self) -> bool {
        true
    }

    fn is_unchanged(&self) -> bool {
        self.is_unchanged
    }

    fn seal(&mut self) -> Result<(), DbError> {
        self.seal_begin()?.run()?;
        self.rest()
    }

    fn seal_begin(&mut self) -> Result<Flush, DbError> {
        let Some(group) = self.group.take() else { return Ok(Flush::nothing()) };
        if self.connection.is_autocommit() {
            return Err(DbError::Undone);
        }
        let committed = self.commit_group(group).inspect_err(|_| self.roll_back());
        let before = self.underway.take();
        let (ends, known) = committed?;
        self.known = Some(known);
        // Heads of logs that this group did not touch still have to be told of the flush before.
        let untouched = |(org, _): &(String, Tail)| !ends.iter().any(|(moved, _)| moved == org);
        let left: Vec<_> = before.into_iter().flat_map(|it| it.ends).filter(untouched).collect();
        self.note(&left)?;
        let log = self.log.as_ref().expect("a group begins with opening it");
        if let Some(fold) = &self.fold {
            fold.look(&self.connection);
        }
        let (flush, underway) = log.begin(ends);
        self.underway = Some(underway);
        Ok(flush)
    }

    fn rest(&mut self) -> Result<(), DbError> {
        match self.underway.take() {
            Some(underway) if underway.wait() => self.note(&underway.ends),
            Some(_) | None => Ok(()),
        }
    }
}

/// An organisation, where its log ended and where it ends.
type Moved = (String, Tail, Tail);

/// Several writes on their way to one commit.
#[derive(Debug, Default)]
struct Group {
    held: RefCell<BTreeMap<String, Held>>,
    /// The number of the last act; nobody else writes any while the group lasts.
    last_id: Cell<i64>,
    version: i64,
}

/// What a group left behind when it was committed.
#[derive(Debug)]
struct Known {
    held: BTreeMap<String, Held>,
    last_id: i64,
    /// The next group finds the same one if nobody else wrote in between.
    version: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keep {
    It,
    Nothing,
}

/// One part of a group; what was not kept is undone when it goes, after a panic too.
struct Part<'a> {
    store: &'a SqliteStore,
    tx: PartTx<'a, SqliteTx<'a>>,
    kept: bool,
}

impl Part<'_> {
    fn keep(mut self) -> Result<(), DbError> {
        self.kept = true;
        if !self.tx.is_marked() {
            return Ok(());
        }
        // Its log's end is noted already, so a part that cannot end takes the others with it.
        self.store.step("RELEASE part", "end a part").inspect_err(|_| self.store.roll_back())
    }
}

impl Drop for Part<'_> {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        self.tx.forget();
        if self.store.connection.is_autocommit() {
            return;
        }
        if self.tx.is_broken() {
            return self.store.roll_back();
        }
        if !self.tx.is_marked() {
            return;
        }
        let undone = self.store.step("ROLLBACK TO part", "undo a part");
        if undone.and_then(|()| self.store.step("RELEASE part", "undo a part")).is_err() {
            // What cannot be undone in part is undone whole; `seal` then says so.
            self.store.roll_back();
        }
    }
}

/// A statement without values.
fn step(connection: &Connection, text: &str, act: &'static str) -> Result<(), DbError> {
    let mut statement = connection.prepare_cached(text).map_err(sql(act))?;
    statement.raw_execute().map(drop).map_err(sql(act))
}

/// Records that the head had fallen behind when the machine went down.
fn recover(standing: Standing, tx: &mut dyn Tx, now: Now) -> Result<(), DbError> {
    match standing {
        Standing::MachineWentDown { from } => append_recovered(tx, from, now),
        Standing::Exact
        | Standing::NotCommitted
        | Standing::HeadNotWritten
        | Standing::Dropped { .. }
        | Standing::Added { .. }
        | Standing::Replaced => Ok(()),
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
