//! One project opened: its config, its files, its tmux server, and this program kept for its agents.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::engine::{Engine, Parts};
use super::prepare::Overrides;
use super::store::{Heartbeat, ServerRecord, Store, StoreError};
use super::units::{self, Tag};
use crate::backend::clean_environment;
use crate::base::name::SessionName;
use crate::base::quote::shell_word;
use crate::config::Config;
use crate::sys::lock::{self, Lock, LockError};
use crate::sys::tmux::{self, SessionSpec, Tmux};
use crate::sys::{clock, process};

/// A project of this machine.
#[derive(Debug, Clone)]
pub struct Project {
    pub config: Config,
    pub store: Store,
    pub socket: PathBuf,
    /// What was wrong with the record of the tmux server; an engine reports it.
    pub problem: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum ProjectError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Tmux(#[from] tmux::TmuxError),
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error("cannot keep a copy of this program in `{path}`")]
    Pin {
        path: PathBuf,
        #[source]
        cause: std::io::Error,
    },
    #[error("the watchdog did not begin; its last words are in `{log}`")]
    NoWatchdog { log: PathBuf },
    #[error("another `ao` (process {pid}) has been acting on this project for {waited_s} s")]
    Busy { pid: u32, waited_s: u64 },
}

impl Project {
    /// Prepares the state folder and finds the server: the recorded one, unless the config names another.
    pub fn open(config: Config) -> Result<Self, ProjectError> {
        let store = Store::new(&config);
        store.prepare()?;
        let loaded = store.server(clock::now());
        let socket = socket(loaded.value, &config);
        Ok(Self { config, store, socket, problem: loaded.problem })
    }

    /// The same without writing anything, for verbs that only show.
    pub fn peek(config: Config) -> Self {
        let store = Store::new(&config);
        let socket = socket(store.server_peek(), &config);
        Self { config, store, socket, problem: None }
    }

    /// Writes down where the server listens and which one it is.
    pub fn record_server(&self, server: Option<tmux::ServerId>) -> Result<(), StoreError> {
        let server = server.map(|server| crate::supervise::state::ServerId {
            pid: server.pid,
            started: server.started,
        });
        self.store.save_server(&ServerRecord { version: 1, socket: self.socket.clone(), server })
    }

    /// tmux by plain commands, or in control mode through a session of ours.
    pub fn tmux(&self, control: Option<&SessionName>) -> Box<dyn Tmux> {
        // Only a look: whoever opened the project has set a damaged record aside, and tells of it.
        let known = self.store.server_peek().and_then(|record| record.server);
        let known = known
            .map(|server| tmux::ServerId { pid: server.pid, started: server.started })
            .filter(|_| self.store.state().exists());
        tmux::connect(self.socket.clone(), self.store.state(), known, control)
    }

    /// An engine that acts on this project. Whoever makes one holds the act lock.
    pub fn engine(
        &self,
        control: Option<&SessionName>,
        heartbeat: Option<Heartbeat>,
        environment: BTreeMap<String, String>,
        overrides: Overrides,
    ) -> Result<Engine, ProjectError> {
        let engine = Engine::new(Parts {
            project: self.clone(),
            tmux: self.tmux(control),
            ao: self.pin()?,
            environment,
            overrides,
            heartbeat,
            dry_run: false,
        })?;
        Ok(engine)
    }

    /// Who runs the watchdog, if anybody does.
    pub fn watchdog(&self) -> Option<u32> {
        lock::holder(&self.store.watchdog_lock()).ok().flatten()
    }

    /// Waits for the act lock. `None`: a watchdog runs, ask it instead.
    pub fn act_lock(&self, limit: Duration) -> Result<Option<Lock>, ProjectError> {
        let begun = clock::now().mono;
        loop {
            if self.watchdog().is_some() {
                return Ok(None);
            }
            match lock::try_lock(&self.store.act_lock()) {
                Ok(lock) => return Ok(Some(lock)),
                Err(LockError::Held { by, .. }) => {
                    let waited = clock::now().mono.since(begun);
                    if waited >= limit {
                        let pid = by.unwrap_or(0);
                        return Err(ProjectError::Busy { pid, waited_s: waited.as_secs() });
                    }
                    std::thread::sleep(Duration::from_millis(10));
                }
                Err(error @ LockError::Io { .. }) => return Err(error.into()),
            }
        }
    }

    /// A copy of this program under `state/bin/`, so that a rebuild never takes it from under the fleet.
    pub fn pin(&self) -> Result<PathBuf, ProjectError> {
        let own = std::env::current_exe()
            .map_err(|cause| ProjectError::Pin { path: self.store.state(), cause })?;
        let bin = self.store.state().join("bin");
        if own.starts_with(&bin) {
            return Ok(own);
        }
        let copy = || -> std::io::Result<PathBuf> {
            use std::os::unix::fs::MetadataExt as _;
            let facts = std::fs::metadata(&own)?;
            let digest = format!("{:x}-{:x}-{:x}", facts.len(), facts.mtime(), facts.mtime_nsec());
            let folder = bin.join(digest);
            let target = folder.join("ao");
            if !target.exists() {
                std::fs::create_dir_all(&folder)?;
                // A name of its own first: a reader never finds half a program.
                let part = folder.join(format!("ao.{}", std::process::id()));
                std::fs::copy(&own, &part)?;
                std::fs::rename(&part, &target)?;
            }
            Ok(target)
        };
        copy().map_err(|cause| ProjectError::Pin { path: bin.clone(), cause })
    }

    /// The programs that hooks of agents call, which may be older ones than this.
    fn hook_programs(&self) -> Vec<PathBuf> {
        let agents = self.config.agents.iter();
        let records = agents.filter_map(|agent| {
            self.store.launch(&agent.session, clock::now()).value?.sensing?.program
        });
        records.collect()
    }

    /// Removes copies of the program that are not this one and that no agent's hooks call; running
    /// processes keep theirs.
    pub fn drop_old_pins(&self, kept: &Path) {
        let bin = self.store.state().join("bin");
        let Ok(entries) = std::fs::read_dir(&bin) else { return };
        let in_use = self.hook_programs();
        for entry in entries.flatten() {
            let used = in_use.iter().any(|program| program.starts_with(entry.path()));
            if !used && !kept.starts_with(entry.path()) {
                drop(std::fs::remove_dir_all(entry.path()));
            }
        }
    }

    /// The session the watchdog runs in: a small loop that brings it back when it fails.
    pub fn watchdog_spec(
        &self,
        environment: &BTreeMap<String, String>,
    ) -> Result<SessionSpec, ProjectError> {
        let ao = shell_word(&self.pin()?.to_string_lossy());
        let config = shell_word(&self.config.file.to_string_lossy());
        // Exit 0 is a wish (`down`, a hand-over); 2 is a config that no restart mends.
        let script = format!(
            "while :; do {ao} watchdog --config {config}; code=$?; \
             case $code in 0|2) exit $code;; esac; sleep 1; done"
        );
        let session = self.config.watchdog_session();
        let tag = Tag {
            project: &units::project_id(&self.config),
            unit: "watchdog",
            start_id: &uuid::Uuid::new_v4().to_string(),
        };
        let mut env = environment.clone();
        // What the fetches of the watchdog need of a person's own set-up; agents do not get it.
        env.extend(variables().filter(|(name, _)| REACHES_REMOTES.contains(&name.as_str())));
        Ok(SessionSpec {
            dir: self.config.project_dir.clone(),
            argv: vec!["sh".to_owned(), "-c".to_owned(), script],
            env,
            tag: tag.text(),
            width: self.config.tmux.width,
            height: self.config.tmux.height,
            log: Some(self.store.session_log(&session)),
            session,
        })
    }
}

/// Variables by which git finds keys, commands and credentials for a remote.
const REACHES_REMOTES: [&str; 6] = [
    "SSH_AUTH_SOCK",
    "GIT_SSH",
    "GIT_SSH_COMMAND",
    "GIT_CONFIG_GLOBAL",
    "GIT_CONFIG_NOSYSTEM",
    "XDG_CONFIG_HOME",
];

/// The recorded socket, unless the config names another; without a record the one that this process
/// runs under: a watchdog knows no `TMUX_TMPDIR`, and on another server it would start everything again.
fn socket(recorded: Option<ServerRecord>, config: &Config) -> PathBuf {
    let wished = tmux::socket_path(&config.tmux);
    let recorded = recorded.map(|record| record.socket);
    let own = || {
        let client = std::env::var("TMUX").ok()?;
        client.split_once(',').map(|(socket, _)| PathBuf::from(socket))
    };
    recorded.or_else(own).filter(|found| found.file_name() == wished.file_name()).unwrap_or(wished)
}

/// What of the caller's environment agents may see.
pub fn caller_environment() -> BTreeMap<String, String> {
    clean_environment(variables())
}

/// The caller's variables that are text.
pub fn variables() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// Raises what a big fleet needs of this process.
pub fn raise_limits() {
    process::raise_open_files();
}
