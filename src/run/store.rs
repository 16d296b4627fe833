//! The state folder: which files there are, how they are read and replaced.
//!
//! Everything a killed `ao` needs to go on is here. A file that does not read as what it should be
//! is set aside as `<file>.corrupt-<time>` and reported; the rest goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::base::name::{SessionName, UnitName};
use crate::base::now::Now;
use crate::config::Config;
use crate::sense::Cli;
use crate::supervise::state::{FLEET_VERSION, Fleet, ServerId};
use crate::sys::file::{self, FileError};

/// The files of one project.
#[derive(Debug, Clone)]
pub struct Store {
    log_dir: PathBuf,
}

const WANTED_VERSION: u32 = 1;

/// `state/wanted.json`: what people asked to run.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    version: u32,
    units: BTreeSet<UnitName>,
}

/// `state/supervisor.json`: the fleet as the supervisor last knew it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Snapshot {
    pub version: u32,
    /// Written by this `ao`, e.g. `0.1.0 (abc1234)`.
    pub ao: String,
    pub boot: String,
    pub saved: Now,
    /// Of the watchdog that wrote it; `None` when a verb did.
    pub watchdog: Option<Heartbeat>,
    /// Why people could not be told of something; `None` when they were.
    #[serde(default)]
    pub notify_problem: Option<String>,
    pub fleet: Fleet,
}

/// The watchdog's sign of life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    pub pid: u32,
    pub started: DateTime<Utc>,
}

/// `state/server.json`: where this project's tmux server listens, and which one it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerRecord {
    pub version: u32,
    pub socket: PathBuf,
    pub server: Option<ServerId>,
}

/// `state/launch-<session>.json`: how the running process was started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchRecord {
    pub version: u32,
    pub start_id: String,
    pub attempt: u64,
    pub at: DateTime<Utc>,
    pub backend: Option<String>,
    pub model: Option<String>,
    pub phase: Option<String>,
    pub resumed: bool,
    /// Of the first prompt, where it is typed.
    pub prompt: TypedPrompt,
    /// The environment every later start gets again.
    pub environment: BTreeMap<String, String>,
    /// How its CLI tells about itself, where it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sensing: Option<Sensing>,
}

/// How the CLI of one start tells about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sensing {
    pub cli: Cli,
    /// The program its hooks call; `None` when it has no hooks of ours.
    pub program: Option<PathBuf>,
    /// Where Claude Code keeps its session files.
    pub config_dir: Option<PathBuf>,
    /// The stored conversation id follows what the CLI tells.
    pub follows: bool,
    /// Where its own server listens, on the loopback address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

/// How far a first prompt that is typed has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TypedPrompt {
    /// It reaches the agent another way.
    None,
    Pending,
    /// Written down before the first key: after a crash it is looked at, never typed again.
    Typing,
    Delivered,
    Unknown,
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("cannot prepare the state folder `{path}`")]
    Prepare {
        path: PathBuf,
        #[source]
        cause: std::io::Error,
    },
    #[error(transparent)]
    File(#[from] FileError),
}

/// What reading a state file gave, with what was wrong.
#[derive(Debug)]
pub struct Loaded<T> {
    pub value: Option<T>,
    /// The file was set aside; say so.
    pub problem: Option<String>,
}

impl Store {
    pub fn new(config: &Config) -> Self {
        Self { log_dir: config.log_dir.clone() }
    }

    /// Makes the folders, readable by the user alone.
    pub fn prepare(&self) -> Result<(), StoreError> {
        use std::os::unix::fs::DirBuilderExt as _;
        for path in [self.log_dir.clone(), self.state(), self.requests(), self.spool()] {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&path)
                .map_err(|cause| StoreError::Prepare { path: path.clone(), cause })?;
        }
        // A file of its own name: two `ao` may prepare the same folder at once.
        tempfile::Builder::new()
            .prefix(".write-probe-")
            .tempfile_in(self.state())
            .map_err(|cause| StoreError::Prepare { path: self.state(), cause })?;
        Ok(())
    }

    pub fn log_dir(&self) -> &Path {
        &self.log_dir
    }

    pub fn state(&self) -> PathBuf {
        self.log_dir.join("state")
    }

    pub fn requests(&self) -> PathBuf {
        self.state().join("requests")
    }

    /// Where hooks write, one file an agent.
    pub fn spool(&self) -> PathBuf {
        self.state().join("spool")
    }

    /// The settings file of ours that an agent's CLI is started with.
    pub fn settings(&self, session: &SessionName, extension: &str) -> PathBuf {
        self.state().join(format!("settings-{session}.{extension}"))
    }

    pub fn notices(&self) -> PathBuf {
        self.state().join("notices.json")
    }

    pub fn events(&self) -> PathBuf {
        self.log_dir.join("events.jsonl")
    }

    pub fn session_log(&self, session: &SessionName) -> PathBuf {
        self.log_dir.join(format!("{session}.log"))
    }

    pub fn kickoff(&self, session: &SessionName) -> PathBuf {
        self.state().join(format!("kickoff-{session}.txt"))
    }

    pub fn conversation_id(&self, unit: &UnitName) -> PathBuf {
        self.state().join(format!("{unit}.id"))
    }

    pub fn act_lock(&self) -> PathBuf {
        self.state().join("act.lock")
    }

    pub fn watchdog_lock(&self) -> PathBuf {
        Self::watchdog_lock_in(&self.state())
    }

    /// The same by the state folder, where the config is not at hand.
    pub fn watchdog_lock_in(state: &Path) -> PathBuf {
        state.join("watchdog.lock")
    }

    /// The fleet as the supervisor last knew it, by the state folder.
    pub fn snapshot_in(state: &Path) -> PathBuf {
        state.join("supervisor.json")
    }

    fn wanted_file(&self) -> PathBuf {
        self.state().join("wanted.json")
    }

    fn snapshot_file(&self) -> PathBuf {
        Self::snapshot_in(&self.state())
    }

    fn server_file(&self) -> PathBuf {
        self.state().join("server.json")
    }

    pub fn limit_file(&self, session: &SessionName) -> PathBuf {
        self.state().join(format!("limited-{session}.json"))
    }

    fn launch_file(&self, session: &SessionName) -> PathBuf {
        self.state().join(format!("launch-{session}.json"))
    }

    pub fn wanted(&self, now: Now) -> Loaded<BTreeSet<UnitName>> {
        let loaded: Loaded<Wanted> = read_version(
            &self.wanted_file(),
            WANTED_VERSION,
            |wanted: &Wanted| wanted.version,
            now,
        );
        Loaded { value: loaded.value.map(|wanted| wanted.units), problem: loaded.problem }
    }

    /// Reads without setting anything aside.
    pub fn wanted_peek(&self) -> Option<BTreeSet<UnitName>> {
        let text = std::fs::read_to_string(self.wanted_file()).ok()?;
        let wanted: Wanted = serde_json::from_str(&text).ok()?;
        (wanted.version == WANTED_VERSION).then_some(wanted.units)
    }

    pub fn save_wanted(&self, units: &BTreeSet<UnitName>) -> Result<(), StoreError> {
        replace(&self.wanted_file(), &Wanted { version: WANTED_VERSION, units: units.clone() })
    }

    pub fn snapshot(&self, now: Now) -> Loaded<Snapshot> {
        // The file and the fleet in it each name their version; both are the same so far.
        let version = |snapshot: &Snapshot| match snapshot.version {
            FLEET_VERSION => snapshot.fleet.version,
            other => other,
        };
        read_version(&self.snapshot_file(), FLEET_VERSION, version, now)
    }

    pub fn save_snapshot(&self, snapshot: &Snapshot) -> Result<(), StoreError> {
        replace(&self.snapshot_file(), snapshot)
    }

    pub fn server(&self, now: Now) -> Loaded<ServerRecord> {
        read(&self.server_file(), now)
    }

    /// Reads without setting anything aside.
    pub fn server_peek(&self) -> Option<ServerRecord> {
        let text = std::fs::read_to_string(self.server_file()).ok()?;
        serde_json::from_str(&text).ok()
    }

    pub fn save_server(&self, record: &ServerRecord) -> Result<(), StoreError> {
        replace(&self.server_file(), record)
    }

    pub fn launch(&self, session: &SessionName, now: Now) -> Loaded<LaunchRecord> {
        read(&self.launch_file(session), now)
    }

    /// Reads without setting anything aside.
    pub fn launch_peek(&self, session: &SessionName) -> Option<LaunchRecord> {
        let text = std::fs::read_to_string(self.launch_file(session)).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// What `ao status` shows of the transcripts.
    pub fn usage_summary(&self) -> PathBuf {
        self.state().join("usage.json")
    }

    /// How far the transcripts of an agent were read, for each of our purposes.
    pub fn transcript_state(&self, purpose: &str, agent: &str) -> PathBuf {
        self.state().join("transcripts").join(format!("{purpose}-{agent}.json"))
    }

    /// An agent's transcript as clean text.
    pub fn clean_log(&self, agent: &str) -> PathBuf {
        self.log_dir.join("clean").join(format!("{agent}.log"))
    }

    pub fn save_launch(
        &self,
        session: &SessionName,
        record: &LaunchRecord,
    ) -> Result<(), StoreError> {
        replace(&self.launch_file(session), record)
    }
}

/// Reads a JSON state file; an absent one is no problem, a broken one is set aside.
pub(super) fn read<T: DeserializeOwned>(path: &Path, now: Now) -> Loaded<T> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Loaded { value: None, problem: None };
        }
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => String::new(),
        // Left in place, it would keep anything from being written under that name.
        Err(error) if error.kind() == std::io::ErrorKind::IsADirectory => {
            return Loaded { value: None, problem: Some(put_aside(path, &error, now)) };
        }
        Err(error) => {
            let problem = format!("cannot read `{}`: {error}", path.display());
            return Loaded { value: None, problem: Some(problem) };
        }
    };
    match serde_json::from_str(&text) {
        Ok(value) => Loaded { value: Some(value), problem: None },
        Err(error) => Loaded { value: None, problem: Some(put_aside(path, &error, now)) },
    }
}

/// Reads a file that names its version; one of another version is set aside, not guessed at.
fn read_version<T: DeserializeOwned>(
    path: &Path,
    version: u32,
    version_of: impl Fn(&T) -> u32,
    now: Now,
) -> Loaded<T> {
    let loaded: Loaded<T> = read(path, now);
    match loaded.value.as_ref().map(version_of) {
        Some(found) if found != version => {
            let why = format!("version {found} instead of {version}");
            Loaded { value: None, problem: Some(put_aside(path, &why, now)) }
        }
        Some(_) | None => loaded,
    }
}

/// Sets it aside and says so in words.
pub(super) fn put_aside(path: &Path, why: &dyn std::fmt::Display, now: Now) -> String {
    let aside = match file::set_aside(path, now.wall) {
        Ok(aside) => format!("it was set aside as `{}`", aside.display()),
        Err(error) => format!("it could not be set aside: {error}"),
    };
    format!("`{}` is not what ao wrote ({why}); {aside}", path.display())
}

pub(super) fn replace<T: Serialize>(path: &Path, value: &T) -> Result<(), StoreError> {
    let mut text =
        serde_json::to_string(value).expect("state types serialise: no maps with odd keys");
    text.push('\n');
    file::replace(path, text.as_bytes(), 0o600)?;
    Ok(())
}
