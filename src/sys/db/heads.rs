//! The signed heads of a store's logs, as files beside the operator's keys.
//!
//! Rewritten in place by one write under a lock, not replaced: a commit must not pay for two files
//! in a folder. A process that is killed leaves the old text or the new one. Lock order: the store's
//! write lock, then this file's, for as long as one read or write takes.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use ed25519_dalek::SigningKey;
use rustix::fs::FlockOperation;

use crate::govern::audit::head::{Head, Standing};
use crate::govern::audit::{Hash, Tail, hex};
use crate::sys::process;

#[derive(Debug, thiserror::Error)]
pub enum HeadError {
    #[error("cannot keep the audit log's head in `{path}`")]
    Io {
        path: PathBuf,
        #[source]
        cause: std::io::Error,
    },
    #[error("the audit log has {records} records and no signed head at `{path}`")]
    Missing { path: PathBuf, records: u64 },
    #[error("the audit log's head `{path}` is no proof: {why}")]
    Unreadable { path: PathBuf, why: String },
    #[error("the governance store is another one than the head `{path}` belongs to")]
    OtherStore { path: PathBuf },
    #[error("the audit log and its head `{path}` disagree: {}", .standing.words())]
    Disagree { path: PathBuf, standing: Standing },
    #[error("record {seq} is not the one that the head `{path}` names")]
    Rewritten { path: PathBuf, seq: u64 },
}

/// The heads of one store.
#[derive(Debug)]
pub struct Heads {
    folder: PathBuf,
    /// Names the store's place, so that another database put there is noticed.
    place: String,
    key: SigningKey,
    boot: String,
    /// Other machines write to the store too, and each has a head of its own.
    shared: bool,
    /// By organisation: text and meaning as this process last wrote or proved them. Equal bytes need
    /// no second proof, and proving a signature costs more than all else here.
    proven: RefCell<BTreeMap<String, (String, Head)>>,
}

impl Heads {
    /// `folder` is made if need be, for the user alone. `database`: an absolute path.
    pub fn new(folder: &Path, database: &Path, key: SigningKey) -> Result<Self, HeadError> {
        if !folder.is_dir() {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)
                .map_err(|cause| HeadError::Io { path: folder.to_owned(), cause })?;
        }
        let digest = blake3::hash(database.as_os_str().as_encoded_bytes());
        let place = hex(&digest.as_bytes()[..8]);
        let (folder, boot) = (folder.to_owned(), process::boot_id());
        Ok(Self { folder, place, key, boot, shared: false, proven: RefCell::default() })
    }

    /// This machine's heads of a store that others write to as well. Such a head says only up to where
    /// this machine knows the log: more behind it is no alarm, less before it is. `address` names the
    /// store and holds no secret.
    pub fn of_shared(folder: &Path, address: &str, key: SigningKey) -> Result<Self, HeadError> {
        Ok(Self { shared: true, ..Self::new(folder, Path::new(address), key)? })
    }

    pub fn is_shared(&self) -> bool {
        self.shared
    }

    pub fn key(&self) -> &SigningKey {
        &self.key
    }

    pub fn boot(&self) -> &str {
        &self.boot
    }

    /// The file of one organisation's head.
    pub fn path(&self, org: &str) -> PathBuf {
        let digest = hex(&blake3::hash(org.as_bytes()).as_bytes()[..4]);
        let name: String = org.chars().filter(char::is_ascii_alphanumeric).take(24).collect();
        self.folder.join(format!("{}-{name}-{digest}.head", self.place))
    }

    /// The head of one organisation's log; `None` when there is none yet.
    pub fn load(&self, org: &str) -> Result<Option<Head>, HeadError> {
        let path = self.path(org);
        let io = |cause| HeadError::Io { path: path.clone(), cause };
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(io(cause)),
        };
        rustix::fs::flock(&file, FlockOperation::LockShared).map_err(|error| io(error.into()))?;
        self.read(org, &path, &mut file).map(Some)
    }

    fn read(&self, org: &str, path: &Path, file: &mut File) -> Result<Head, HeadError> {
        let mut text = String::new();
        file.read_to_string(&mut text)
            .map_err(|cause| HeadError::Io { path: path.to_owned(), cause })?;
        if let Some((known, head)) = self.proven.borrow().get(org)
            && *known == text
        {
            return Ok(head.clone());
        }
        let head = Head::read_own(&text, &self.key)
            .map_err(|why| HeadError::Unreadable { path: path.to_owned(), why })?;
        self.proven.borrow_mut().insert(org.to_owned(), (text, head.clone()));
        Ok(head)
    }

    /// Whether a log that ends at `tail` may be written on. `hash_at` looks up a record's hash.
    pub fn check<E: From<HeadError>>(
        &self,
        store: &str,
        org: &str,
        tail: Tail,
        hash_at: impl FnOnce(u64) -> Result<Option<Hash>, E>,
    ) -> Result<Standing, E> {
        let path = self.path(org);
        let Some(head) = self.load(org)? else {
            // On a shared store it is the first time that this machine meets the log.
            return if tail.seq == 0 || self.shared {
                Ok(Standing::Exact)
            } else {
                Err(HeadError::Missing { path, records: tail.seq }.into())
            };
        };
        if head.store != store || head.org != org {
            return Err(HeadError::OtherStore { path }.into());
        }
        let standing = head.standing(tail, &self.boot);
        let grown = self.shared
            && matches!(standing, Standing::Added { .. } | Standing::MachineWentDown { .. });
        if !standing.is_sound() && !grown {
            return Err(HeadError::Disagree { path, standing }.into());
        }
        let seq = head.committed.seq;
        if seq > 0 && seq < tail.seq && hash_at(seq)? != Some(head.committed.hash) {
            return Err(HeadError::Rewritten { path, seq }.into());
        }
        Ok(if grown { Standing::Exact } else { standing })
    }

    /// Just after a commit to a shared store. The head never goes back, whoever is last to write it.
    pub fn advance(&self, store: &str, org: &str, after: Tail) -> Result<(), HeadError> {
        let (mut file, path) = self.open(org)?;
        let fresh = file.metadata().is_ok_and(|facts| facts.len() == 0);
        if !fresh {
            let head = self.read(org, &path, &mut file)?;
            if head.store == store && head.committed.seq >= after.seq {
                return Ok(());
            }
        }
        self.settle(&mut file, &path, store, org, after)
    }

    /// Says where a shared log ends, whatever was said before: a person's decision.
    pub fn adopt(&self, store: &str, org: &str, after: Tail) -> Result<(), HeadError> {
        let (mut file, path) = self.open(org)?;
        self.settle(&mut file, &path, store, org, after)
    }

    fn settle(
        &self,
        file: &mut File,
        path: &Path,
        store: &str,
        org: &str,
        after: Tail,
    ) -> Result<(), HeadError> {
        let head = Head {
            store: store.to_owned(),
            org: org.to_owned(),
            boot: self.boot.clone(),
            committed: after,
            announced: after,
        };
        self.put(file, path, &head)
    }

    /// Just before a commit, under the store's write lock.
    pub fn announce(
        &self,
        store: &str,
        org: &str,
        before: Tail,
        after: Tail,
    ) -> Result<(), HeadError> {
        let (mut file, path) = self.open(org)?;
        let head = Head {
            store: store.to_owned(),
            org: org.to_owned(),
            boot: self.boot.clone(),
            committed: before,
            announced: after,
        };
        self.put(&mut file, &path, &head)
    }

    /// Just after a commit. Another process may have gone on in the meantime: the head never goes back.
    pub fn commit(&self, org: &str, after: Tail) -> Result<(), HeadError> {
        let (mut file, path) = self.open(org)?;
        let mut head = self.read(org, &path, &mut file)?;
        if head.announced != after {
            return Ok(());
        }
        head.committed = after;
        self.put(&mut file, &path, &head)
    }

    fn open(&self, org: &str) -> Result<(File, PathBuf), HeadError> {
        let path = self.path(org);
        let open = || -> std::io::Result<File> {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&path)?;
            rustix::fs::flock(&file, FlockOperation::LockExclusive)?;
            Ok(file)
        };
        match open() {
            Ok(file) => Ok((file, path)),
            Err(cause) => Err(HeadError::Io { path, cause }),
        }
    }

    fn put(&self, file: &mut File, path: &Path, head: &Head) -> Result<(), HeadError> {
        let text = head.signed(&self.key);
        let length = u64::try_from(text.len()).unwrap_or(u64::MAX);
        let mut write = || -> std::io::Result<()> {
            file.seek(SeekFrom::Start(0))?;
            file.write_all(text.as_bytes())?;
            // All texts of one log are of one length, unless the boot's name is not.
            if file.metadata()?.len() == length { Ok(()) } else { file.set_len(length) }
        };
        write().map_err(|cause| HeadError::Io { path: path.to_owned(), cause })?;
        self.proven.borrow_mut().insert(head.org.clone(), (text, head.clone()));
        Ok(())
    }
}
