//! One holder at a time, for as long as its process lives.
//!
//! The kernel drops an flock with its process, so there are no stale locks; the pid in the file only
//! says who holds it and proves nothing. The file is never removed: a lock on a removed file guards
//! nothing.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use crate::base::now::Mono;
use crate::sys::clock;

/// Held until dropped. Not passed on to programs we start.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Lock {
    /// Leaves the time of now on the file: a sign of life for [`sign_of_life`]. The content stays.
    pub fn sign(&self) -> std::io::Result<()> {
        self.file.set_modified(clock::now().wall.into())
    }
}

/// When a holder last called [`Lock::sign`], or took the lock.
pub fn sign_of_life(path: &Path) -> Option<SystemTime> {
    path.metadata().ok()?.modified().ok()
}

#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error("`{}` is held by {}", path.display(), by.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}")))]
    Held {
        path: PathBuf,
        /// The holder's pid, as it wrote it.
        by: Option<u32>,
    },
    #[error("cannot lock `{}`", path.display())]
    Io {
        path: PathBuf,
        #[source]
        cause: std::io::Error,
    },
}

/// Takes the lock, or says who has it. Two locks in one process exclude each other too.
pub fn try_lock(path: &Path) -> Result<Lock, LockError> {
    let io = |cause| LockError::Io { path: path.to_owned(), cause };
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(io)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            let mut text = String::new();
            drop(file.take(32).read_to_string(&mut text));
            return Err(LockError::Held { path: path.to_owned(), by: text.trim().parse().ok() });
        }
        Err(errno) => return Err(io(errno.into())),
    }
    let mut note = || -> std::io::Result<()> {
        file.set_len(0)?;
        file.seek(SeekFrom::Start(0))?;
        writeln!(file, "{}", std::process::id())
    };
    // A full disk must not keep us from the lock: the kernel holds it, the note is for people.
    drop(note());
    Ok(Lock { file })
}

/// Like [`try_lock`], but waits for the holder until the deadline.
pub fn lock_until(path: &Path, deadline: Mono) -> Result<Lock, LockError> {
    let mut pause_ms = 1;
    loop {
        match try_lock(path) {
            Err(LockError::Held { .. }) if clock::now().mono < deadline => {
                std::thread::sleep(Duration::from_millis(pause_ms));
                pause_ms = (pause_ms * 2).min(50);
            }
            done => return done,
        }
    }
}

/// The pid of whoever holds the lock now, 0 when it did not say; `None` when nobody does.
pub fn holder(path: &Path) -> Result<Option<u32>, LockError> {
    if !path.exists() {
        return Ok(None);
    }
    let io = |cause| LockError::Io { path: path.to_owned(), cause };
    let mut file = File::open(path).map_err(io)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(None),
        Err(Errno::WOULDBLOCK) => {
            let mut text = String::new();
            drop(file.read_to_string(&mut text));
            Ok(Some(text.trim().parse().unwrap_or(0)))
        }
        Err(errno) => Err(io(errno.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_taker_hears_who_holds_it_and_gets_it_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        assert_eq!(holder(&path).unwrap(), None);
        let lock = try_lock(&path).unwrap();
        let Err(LockError::Held { by, .. }) = try_lock(&path) else {
            panic!("the lock was given twice");
        };
        assert_eq!(by, Some(std::process::id()));
        assert_eq!(holder(&path).unwrap(), by);
        let soon = clock::now().mono.plus(Duration::from_millis(20));
        assert!(matches!(lock_until(&path, soon), Err(LockError::Held { .. })));
        drop(lock);
        assert_eq!(holder(&path).unwrap(), None);
        lock_until(&path, soon).unwrap();
    }
}
