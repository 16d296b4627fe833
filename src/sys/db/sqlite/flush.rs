//! The wait for the disk, apart from the commit.
//!
//! A connection that writes in groups commits without a flush (`synchronous=NORMAL`, which still
//! flushes what a checkpoint needs), and the log is flushed through a handle of our own: by another
//! thread, while the connection works on the next group. Locks of `SQLite` lie on the database and
//! its index, never on the log, so that a second handle on the log takes none away.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::identity;
use crate::govern::audit::Tail;
use crate::sys::db::{DbError, Flush};

/// The log of a database, opened beside `SQLite`'s own handle.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    file: Arc<File>,
    /// Device and inode.
    identity: (u64, u64),
}

impl Log {
    pub(super) fn open(database: &Path) -> Result<Self, DbError> {
        let mut path = database.as_os_str().to_owned();
        path.push("-wal");
        let path = PathBuf::from(path);
        let open = || {
            let file = OpenOptions::new().read(true).write(true).open(&path)?;
            Ok((file, identity(&path)?))
        };
        match open() {
            Ok((file, identity)) => Ok(Self { path, file: Arc::new(file), identity }),
            Err(cause) => Err(DbError::Flush { path, cause }),
        }
    }

    /// Whether the log is still the one that was opened.
    pub(super) fn is_there(&self) -> bool {
        identity(&self.path).ok() == Some(self.identity)
    }

    /// Brings all that was committed so far to the disk.
    pub(super) fn flush(&self) -> Result<(), DbError> {
        flush(&self.file, &self.path)
    }

    /// The same, later and elsewhere; `ends`: where logs end with it.
    pub(super) fn begin(&self, ends: Vec<(String, Tail)>) -> (Flush, Underway) {
        let done = Arc::new(Done::default());
        let (file, path) = (Arc::clone(&self.file), self.path.clone());
        // Whoever drops it has not flushed.
        let told = Told(Arc::clone(&done));
        let work = move || {
            let result = flush(&file, &path);
            told.0.set(result.is_ok());
            result
        };
        (Flush::new(work), Underway { done, ends })
    }
}

fn flush(file: &File, path: &Path) -> Result<(), DbError> {
    file.sync_data().map_err(|cause| DbError::Flush { path: path.to_owned(), cause })
}

/// A flush that another thread does.
#[derive(Debug)]
pub(super) struct Underway {
    done: Arc<Done>,
    /// Where the organisations' logs end with it.
    pub(super) ends: Vec<(String, Tail)>,
}

impl Underway {
    /// Waits for it; whether it went well.
    pub(super) fn wait(&self) -> bool {
        let state = self.done.state();
        let told = self.done.told.wait_while(state, |state| state.is_none());
        told.unwrap_or_else(PoisonError::into_inner).unwrap_or(false)
    }
}

#[derive(Debug, Default)]
struct Done {
    went_well: Mutex<Option<bool>>,
    told: Condvar,
}

impl Done {
    fn state(&self) -> MutexGuard<'_, Option<bool>> {
        self.went_well.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, went_well: bool) {
        self.state().get_or_insert(went_well);
        self.told.notify_all();
    }
}

struct Told(Arc<Done>);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.set(false);
    }
}
