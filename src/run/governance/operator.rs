//! The operator's folder: keys that are not in the database and that agents do not get.
//!
//! `audit.key` signs the log's head and checkpoints; every `ao` that records needs it. `operator.key`
//! signs a person's decisions, and only `approve` and `deny` read it; `operator.pub` is for whoever
//! checks them. From `server.key` follow the secrets that `ao serve` shares with its clients. How strong this is: an agent that runs as the same user without a sandbox can read
//! these files, so the refusal inside an agent's process tree is advice, not a wall.

use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use ed25519_dalek::{SigningKey, VerifyingKey};

use crate::govern::audit::{from_hex, hex};
use crate::sys::{file, process};

#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    #[error("neither `XDG_CONFIG_HOME` nor `HOME` says where the operator's keys are")]
    NoHome,
    #[error("cannot use the operator's folder `{path}`")]
    Folder {
        path: PathBuf,
        #[source]
        cause: std::io::Error,
    },
    #[error("cannot read or make the key `{path}`")]
    Key {
        path: PathBuf,
        #[source]
        cause: std::io::Error,
    },
    #[error("`{path}` is no key that ao wrote")]
    NoKey { path: PathBuf },
    #[error("others may read `{path}` (mode {mode:o})")]
    Exposed { path: PathBuf, mode: u32 },
}

/// The folder of the keys.
#[derive(Debug, Clone)]
pub struct Operator {
    folder: PathBuf,
}

/// `$XDG_CONFIG_HOME/ao/operator`, else `~/.config/ao/operator`.
pub fn folder() -> Result<PathBuf, OperatorError> {
    let named = |name: &str| {
        let path = std::env::var_os(name).map(PathBuf::from);
        path.filter(|path| path.is_absolute())
    };
    let config = named("XDG_CONFIG_HOME").or_else(|| Some(named("HOME")?.join(".config")));
    Ok(config.ok_or(OperatorError::NoHome)?.join("ao/operator"))
}

impl Operator {
    /// Makes the folder (mode 0700) if need be.
    pub fn open(folder: PathBuf) -> Result<Self, OperatorError> {
        if !folder.is_dir() {
            let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
            made.map_err(|cause| OperatorError::Folder { path: folder.clone(), cause })?;
        }
        Ok(Self { folder })
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn heads(&self) -> PathBuf {
        self.folder.join("heads")
    }

    /// Signs the log's head and checkpoints.
    pub fn audit_key(&self) -> Result<SigningKey, OperatorError> {
        key(&self.folder.join("audit.key"))
    }

    /// What `ao serve` derives secrets from that must not lie in the store.
    pub fn server_key(&self) -> Result<[u8; 32], OperatorError> {
        Ok(key(&self.folder.join("server.key"))?.to_bytes())
    }

    /// Signs a person's decisions.
    pub fn decision_key(&self) -> Result<SigningKey, OperatorError> {
        let signing = key(&self.folder.join("operator.key"))?;
        let public = self.folder.join("operator.pub");
        let text = format!("{}\n", hex(signing.verifying_key().as_bytes()));
        if std::fs::read_to_string(&public).ok().as_deref() != Some(text.as_str()) {
            file::replace(&public, text.as_bytes(), 0o644).map_err(|error| OperatorError::Key {
                path: public.clone(),
                cause: error.into(),
            })?;
        }
        Ok(signing)
    }

    /// Checks a person's decisions; `None` as long as nobody decided anything.
    pub fn decision_public(&self) -> Result<Option<VerifyingKey>, OperatorError> {
        let path = self.folder.join("operator.pub");
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(OperatorError::Key { path, cause }),
        };
        let key = from_hex(text.trim_end()).and_then(|it| VerifyingKey::from_bytes(&it).ok());
        key.map(Some).ok_or(OperatorError::NoKey { path })
    }
}

/// Reads the key, or makes one. Two processes that make it at once get the same.
fn key(path: &Path) -> Result<SigningKey, OperatorError> {
    let failed = |cause| OperatorError::Key { path: path.to_owned(), cause };
    match read(path) {
        Err(OperatorError::Key { cause, .. }) if cause.kind() == std::io::ErrorKind::NotFound => {}
        found => return found,
    }
    let make = || -> std::io::Result<()> {
        let mut seed = [0; 32];
        std::fs::File::open("/dev/urandom")?.read_exact(&mut seed)?;
        let part = path.with_extension(format!("{}.part", uuid::Uuid::new_v4().simple()));
        let mut written =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
        writeln!(written, "{}", hex(&seed))?;
        written.sync_all()?;
        // A link never replaces: whoever was first has made the key.
        let linked = std::fs::hard_link(&part, path);
        std::fs::remove_file(&part)?;
        match linked {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    };
    make().map_err(failed)?;
    read(path)
}

fn read(path: &Path) -> Result<SigningKey, OperatorError> {
    let failed = |cause| OperatorError::Key { path: path.to_owned(), cause };
    let mut opened = std::fs::File::open(path).map_err(failed)?;
    let mode = opened.metadata().map_err(failed)?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(OperatorError::Exposed { path: path.to_owned(), mode });
    }
    let mut text = String::new();
    opened.read_to_string(&mut text).map_err(failed)?;
    let seed = from_hex(text.trim_end());
    let seed = seed.ok_or_else(|| OperatorError::NoKey { path: path.to_owned() })?;
    Ok(SigningKey::from_bytes(&seed))
}

/// The agent in whose process tree this process runs, by the mark that its pane was started with.
///
/// Advisory without a sandbox: a program of the same user can leave its tree.
pub fn inside_agent() -> Option<String> {
    process::marked_ancestor(std::process::id())
}

/// Who decides, for the record: `operator:NAME`.
pub fn name() -> String {
    let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME"));
    let user = user.ok().filter(|user| !user.is_empty() && !user.contains(char::is_control));
    let uid = || rustix::process::getuid().as_raw().to_string();
    format!("operator:{}", user.unwrap_or_else(uid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_is_the_users_alone() {
        let dir = tempfile::tempdir().unwrap();
        let operator = Operator::open(dir.path().join("operator")).unwrap();
        assert!(operator.decision_public().unwrap().is_none());
        let key = operator.decision_key().unwrap();
        assert_eq!(operator.decision_key().unwrap().to_bytes(), key.to_bytes());
        assert_ne!(operator.audit_key().unwrap().to_bytes(), key.to_bytes());
        assert_eq!(operator.decision_public().unwrap(), Some(key.verifying_key()));
        let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!(mode(&operator.folder.join("operator.key")), 0o600);
        assert_eq!(mode(&operator.folder), 0o700);
    }

    #[test]
    fn a_key_that_others_may_read_or_that_is_none_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let operator = Operator::open(dir.path().to_owned()).unwrap();
        operator.audit_key().unwrap();
        let path = dir.path().join("audit.key");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(operator.audit_key(), Err(OperatorError::Exposed { mode: 0o644, .. })));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, "x\n").unwrap();
        assert!(matches!(operator.audit_key(), Err(OperatorError::NoKey { .. })));
    }
}
