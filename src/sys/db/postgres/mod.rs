//! The store as a `PostgreSQL` database, for several machines at once.
//!
//! A transaction first takes a lock that is named by its organisation and that the server lets go
//! when the transaction or its connection ends; so the writers of one organisation stand in a line
//! over all machines, and organisations do not wait for each other. It runs at `READ COMMITTED`
//! behind that lock: a snapshot taken before the wait would be an old one.
//!
//! A lost connection is an error, and so a denial, for whoever was being served; the next one begins
//! a new connection. When it is lost in the middle of a commit nobody knows whether it was made: that
//! is an error too, and the record, if there is one, says what was decided.
//!
//! A pooler that hands out connections by transaction does not fit: statements are prepared once a
//! connection. Text with a NUL byte cannot be stored by this server and is an error.

mod address;
mod ahead;
mod bulk;
mod group;
mod link;
mod listen;
mod log;
mod rows;
mod schema;
#[cfg(test)]
#[path = "../../../../tests/it/support/postgres.rs"]
pub(crate) mod server;
#[cfg(test)]
mod tests;
mod tls;
mod tx;

use std::cmp::Ordering;
use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use postgres::error::SqlState;

use super::heads::Heads;
use super::{DbError, Likely, Store, Tx as _, Work, append};
use crate::base::now::{Now, millis};
use crate::govern::audit::{Draft, Kind, Tail, hex};
pub use address::{Address, AddressError};
use group::Group;
use link::Link;
pub use listen::Listener;
use tx::PostgresTx;

/// A lock held longer than this denies: the CLI behind a hook does not wait for ever.
const LOCK_WAIT: Duration = Duration::from_secs(2);
/// No statement of ours takes long; one that does has met a sick server.
const STATEMENT_WAIT: Duration = Duration::from_secs(10);
/// A process that stops in the middle of a transaction must not stop all others.
const IDLE_WAIT: Duration = Duration::from_secs(10);
/// Names the channel on which servers tell each other what changed.
const CHANNEL: &str = "ao_changed";

pub struct PostgresStore {
    address: Address,
    /// `None` once it is lost.
    link: Option<Link>,
    heads: Option<Heads>,
    /// Names the database; made with it.
    id: String,
    group: Option<Group>,
}

impl std::fmt::Debug for PostgresStore {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("PostgresStore")
            .field("address", &self.address.shown)
            .finish_non_exhaustive()
    }
}

impl PostgresStore {
    /// Connects, and makes today's tables where they are missing. With `heads`, each log is held
    /// against what this machine knows of it before it is written on.
    pub fn open(
        address: &Address,
        heads: Option<Heads>,
        now: DateTime<Utc>,
    ) -> Result<Self, DbError> {
        let mut link = connect(address)?;
        let key = heads.as_ref().map(|heads| hex(heads.key().verifying_key().as_bytes()));
        prepare(address, &mut link, key.as_deref(), now)?;
        let (id, known) = identity(&mut link)?;
        if key.is_some() && known.is_some() && key != known {
            return Err(DbError::OtherKeys { address: address.shown.clone() });
        }
        Ok(Self { address: address.clone(), link: Some(link), heads, id, group: None })
    }

    /// A connection that is known to be open, or a new one to the same database.
    fn link(&mut self) -> Result<&mut Link, DbError> {
        let open = self.link.take().filter(|link| !link.is_closed());
        let link = if let Some(link) = open {
            link
        } else {
            let mut link = connect(&self.address)?;
            let (id, _) = identity(&mut link)?;
            if id != self.id {
                let path = PathBuf::from(&self.address.shown);
                return Err(DbError::Replaced { path });
            }
            link
        };
        Ok(self.link.insert(link))
    }

    /// Begins with `text`; a connection that turns out to be lost is made anew, once, as nothing was
    /// done on it yet.
    fn begin(&mut self, text: &str) -> Result<(), DbError> {
        let mut again = true;
        loop {
            let begun = self.link()?.batch_execute(text).map_err(failed("begin"));
            match begun {
                Err(DbError::Lost { .. }) if again => {
                    again = false;
                    self.link = None;
                }
                Err(error) => {
                    self.roll_back();
                    return Err(error);
                }
                Ok(()) => return Ok(()),
            }
        }
    }

    /// A connection that cannot even do this is given up; the server undoes its work.
    fn roll_back(&mut self) {
        if let Some(mut link) = self.link.take() {
            link.forget();
            if link.batch_execute("ROLLBACK").is_ok() {
                self.link = Some(link);
            }
        }
    }

    fn transact(
        &mut self,
        org: &str,
        prove: bool,
        work: Work<'_>,
    ) -> Result<Option<Tail>, DbError> {
        let lock = lock_of(org);
        self.begin(&format!("BEGIN; SELECT pg_advisory_xact_lock({lock})"))?;
        // Out of its place while work is done: a panic in there leaves no half a transaction behind.
        let mut link = self.link.take().expect("a transaction has begun on it");
        let result = self.inside(&mut link, org, prove, work).and_then(|after| {
            link.batch_execute("COMMIT").map_err(failed("commit"))?;
            Ok(after)
        });
        self.link = Some(link);
        if result.is_err() {
            self.roll_back();
        }
        result
    }

    /// Between BEGIN and COMMIT; the new end of the log, when it has one.
    fn inside(
        &self,
        link: &mut Link,
        org: &str,
        prove: bool,
        work: Work<'_>,
    ) -> Result<Option<Tail>, DbError> {
        let signer = self.heads.as_ref().map(Heads::key);
        let mut tx = PostgresTx::new(link, org, signer);
        let before = tx.audit_tail()?;
        if prove && let Some(heads) = &self.heads {
            heads.check(&self.id, org, before, |seq| tx.audit_hash(seq))?;
        }
        work(&mut tx)?;
        let after = tx.audit_tail()?;
        if tx.concerns_others {
            tx.tell()?;
        }
        Ok((after != before).then_some(after))
    }
}

impl Store for PostgresStore {
    fn write(&mut self, org: &str, _now: Now, work: Work<'_>) -> Result<(), DbError> {
        if self.group.is_some() {
            return self.part(org, work);
        }
        let after = self.transact(org, true, work)?;
        if let (Some(heads), Some(after)) = (&self.heads, after) {
            heads.advance(&self.id, org, after)?;
        }
        Ok(())
    }

    fn read(&mut self, org: &str, work: Work<'_>) -> Result<(), DbError> {
        if self.group.is_some() {
            return self.view(org, work);
        }
        // No lock is held, so whoever looks may take as long as he likes.
        self.begin(
            "BEGIN ISOLATION LEVEL REPEATABLE READ; SET LOCAL idle_in_transaction_session_timeout = 0",
        )?;
        let mut link = self.link.take().expect("a transaction has begun on it");
        let signer = self.heads.as_ref().map(Heads::key);
        let result = work(&mut PostgresTx::new(&mut link, org, signer));
        self.link = Some(link);
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
        let after = self.transact(org, false, &mut |tx| append(tx, &draft, now).map(drop))?;
        if let (Some(heads), Some(after)) = (&self.heads, after) {
            heads.adopt(&self.id, org, after)?;
        }
        Ok(())
    }

    fn gather(&mut self) -> Result<(), DbError> {
        if self.group.is_none() {
            self.begin("BEGIN")?;
            self.group = Some(Group::default());
        }
        Ok(())
    }

    fn seal(&mut self) -> Result<(), DbError> {
        let Some(group) = self.group.take() else { return Ok(()) };
        self.end(group)
    }

    fn foresee(&mut self, likely: &[Likely]) {
        self.look_ahead(likely);
    }
}

fn connect(address: &Address) -> Result<Link, DbError> {
    let mut link = Link::open(address)?;
    let unreachable = |cause| DbError::Unreachable { address: address.shown.clone(), cause };
    let (lock, statement, idle) = (millis(LOCK_WAIT), millis(STATEMENT_WAIT), millis(IDLE_WAIT));
    // A commit is on the disk when it returns, whatever this database's own setting is. A statement is
    // planned once a connection, not at each bound value: that would cost more than running it.
    let settings = format!(
        "SET synchronous_commit = on; SET plan_cache_mode = force_generic_plan; SET lock_timeout = {lock}; SET statement_timeout = {statement}; \
         SET idle_in_transaction_session_timeout = {idle}; SET client_encoding = 'UTF8'; \
         SET standard_conforming_strings = on"
    );
    link.batch_execute(&settings).map_err(unreachable)?;
    Ok(link)
}

/// Whether the database suits, and today's tables, made where they are missing. Two round trips
/// where all is well: each hook pays for them.
fn prepare(
    address: &Address,
    link: &mut Link,
    audit_key: Option<&str>,
    now: DateTime<Utc>,
) -> Result<(), DbError> {
    let act = "look at the tables";
    let facts = format!(
        "SELECT current_setting('server_encoding'), current_setting('fsync'), ({})",
        schema::THERE
    );
    let facts = link.first_row(&facts).map_err(failed(act))?;
    let fact = |column: usize| facts.as_ref().and_then(|row| row.get(column)).unwrap_or_default();
    if fact(0) != "UTF8" {
        let encoding = fact(0).to_owned();
        return Err(DbError::Encoding { address: address.shown.clone(), encoding });
    }
    if fact(1) != "on" {
        tracing::warn!("the database server has fsync off: a power cut may undo what was decided");
    }
    let known = schema::VERSION;
    let mut found = 0;
    if fact(2) == "t" {
        let row = link.first_row(schema::NEWEST).map_err(failed(act))?;
        let text = row.as_ref().and_then(|row| row.get(0)).unwrap_or_default();
        let number = text.parse();
        found = number.map_err(|_| DbError::Damaged { what: format!("a version `{text}`") })?;
    }
    let newer = |found| DbError::Newer { path: PathBuf::from(&address.shown), found, known };
    match found.cmp(&known) {
        Ordering::Greater => return Err(newer(found)),
        Ordering::Equal => return Ok(()),
        Ordering::Less => {}
    }
    let act = "make the tables";
    // One process at a time; a step over a long log may take its time.
    let begin = format!(
        "BEGIN; SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0; \
         SELECT pg_advisory_xact_lock({})",
        lock_of("\0schema")
    );
    link.batch_execute(&begin).map_err(failed(act))?;
    // Another process may have been first. After an error the connection is given up.
    let found = schema::version(link).map_err(failed(act))?;
    if found > known {
        return Err(newer(found));
    }
    if found < known {
        let at = now.to_rfc3339_opts(SecondsFormat::Secs, true);
        schema::migrate(link, found, &at, audit_key).map_err(failed(act))?;
    }
    link.batch_execute("COMMIT").map_err(failed(act))
}

/// The database's name, and the key its log is signed with.
fn identity(link: &mut Link) -> Result<(String, Option<String>), DbError> {
    let row = link.query_one("SELECT id, audit_key FROM store", &[]);
    let row = row.map_err(failed("read the store's name"))?;
    Ok((rows::get(&row, 0)?, rows::get(&row, 1)?))
}

/// The number of the lock of one organisation. Two that share one only wait for each other.
fn lock_of(org: &str) -> i64 {
    let digest = blake3::derive_key("ao 2026 lock of an organisation", org.as_bytes());
    i64::from_le_bytes(digest[..8].try_into().expect("a digest has 32 bytes"))
}

/// Whether a connection that failed may succeed later, with nothing changed here.
pub fn is_away(error: &postgres::Error) -> bool {
    if let Some(code) = error.code() {
        let away = [
            SqlState::CANNOT_CONNECT_NOW,
            SqlState::ADMIN_SHUTDOWN,
            SqlState::CRASH_SHUTDOWN,
            SqlState::TOO_MANY_CONNECTIONS,
        ];
        return away.contains(code) || code.code().starts_with("08");
    }
    let source = std::error::Error::source(error);
    let io = source.and_then(|source| source.downcast_ref::<std::io::Error>());
    // A certificate that does not hold comes as an input error, too.
    error.is_closed() || io.is_some_and(|io| io.kind() != std::io::ErrorKind::InvalidData)
}

/// What a failed statement means.
fn failed(act: &'static str) -> impl Fn(postgres::Error) -> DbError {
    move |cause| {
        let Some(code) = cause.code().cloned() else {
            let source = std::error::Error::source(&cause);
            let io = source.is_some_and(<dyn std::error::Error>::is::<std::io::Error>);
            return if io || cause.is_closed() {
                DbError::Lost { act, cause }
            } else {
                DbError::Server { act, cause }
            };
        };
        let waits = [
            SqlState::LOCK_NOT_AVAILABLE,
            SqlState::QUERY_CANCELED,
            SqlState::T_R_DEADLOCK_DETECTED,
            SqlState::T_R_SERIALIZATION_FAILURE,
        ];
        let ends = [
            SqlState::ADMIN_SHUTDOWN,
            SqlState::CRASH_SHUTDOWN,
            SqlState::CANNOT_CONNECT_NOW,
            SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
        ];
        if waits.contains(&code) {
            DbError::Busy { waited_ms: millis(LOCK_WAIT) }
        } else if ends.contains(&code) || code.code().starts_with("08") {
            DbError::Lost { act, cause }
        } else {
            DbError::Server { act, cause }
        }
    }
}
