//! tmux as we need it: one look at the world, sessions opened and closed exactly, text pasted under guard.
//!
//! [`Tmux`] is the port; `client` (control mode), `command` (one process a call) and `fake` stand
//! behind it.

mod client;
mod command;
pub mod fake;
pub mod protocol;
mod request;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::base::name::{PaneId, SessionName};
pub use client::ControlClient;
pub use command::{Commands, is_alive, socket_path, version};

/// tmux at this socket: in control mode when there is a session to attach to, else by plain commands.
///
/// `state_dir` takes the texts to paste and the scripts to start (0600); `known` is the server seen
/// last, without which a vanished server cannot be told from an unreachable one.
pub fn connect(
    socket: PathBuf,
    state_dir: PathBuf,
    known: Option<ServerId>,
    control_session: Option<&SessionName>,
) -> Box<dyn Tmux> {
    let commands = Commands::new(socket, state_dir, known);
    match control_session {
        Some(session) => Box::new(ControlClient::new(commands, session.clone())),
        None => Box::new(commands),
    }
}

/// Which tmux server: told apart by pid and start time, as pids come again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ServerId {
    pub pid: u32,
    /// tmux `#{start_time}`, epoch seconds.
    pub started: i64,
}

/// One pane as `list-panes -a` tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaneFacts {
    /// A plain string: sessions that are not ours may have any name.
    pub session: String,
    pub pane: PaneId,
    /// Of the pane's own process (still its old number once dead).
    pub pid: u32,
    pub command: String,
    pub dead: bool,
    pub exit_status: Option<i32>,
    pub exit_signal: Option<i32>,
    /// Epoch seconds of the last output; grain 1 s.
    pub activity: i64,
    pub history_size: u64,
    pub alternate_screen: bool,
    pub in_mode: bool,
    /// A `pipe-pane` is open.
    pub piped: bool,
    /// Clients attached to the session.
    pub attached: u32,
    /// Epoch seconds of the last key an attached client pressed (or of its attaching); grain 1 s.
    /// What we type ourselves does not count.
    pub person_at: i64,
    /// Our ownership tag (`@ao_tag`), empty for foreign sessions.
    pub tag: String,
    pub width: u16,
    pub height: u16,
    pub title: String,
}

/// One look at everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct World {
    pub server: ServerId,
    pub panes: Vec<PaneFacts>,
    /// Where each pane stands in `panes`.
    places: BTreeMap<PaneId, usize>,
}

impl World {
    pub fn new(server: ServerId, panes: Vec<PaneFacts>) -> Self {
        let places = panes.iter().enumerate().map(|(at, pane)| (pane.pane.clone(), at)).collect();
        Self { server, panes, places }
    }

    pub fn pane(&self, id: &PaneId) -> Option<&PaneFacts> {
        self.panes.get(*self.places.get(id)?)
    }
}

/// What came of a look: a failed look is not a death.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    Seen(World),
    /// Nothing answers and the recorded server's process is proven gone (or none was ever known and no socket exists).
    NoServer {
        evidence: String,
    },
}

/// A session to open: one window, one pane, `argv` as the pane's own process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionSpec {
    pub session: SessionName,
    pub dir: PathBuf,
    pub argv: Vec<String>,
    /// The whole environment of the pane's process.
    pub env: BTreeMap<String, String>,
    /// Stored as `@ao_tag`, read back in every look.
    pub tag: String,
    pub width: u16,
    pub height: u16,
    /// Where `pipe-pane` writes; `None` = no log.
    pub log: Option<PathBuf>,
}

/// The visible screen of a pane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capture {
    pub pane: PaneId,
    /// With SGR attributes (`capture-pane -e -p`), LF between lines.
    pub text: String,
}

/// What came of a guarded act on a pane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Typed {
    Done,
    /// Nothing was sent: the pane is dead.
    PaneDead,
    /// Nothing was sent: a person is in copy mode.
    InMode,
    /// Nothing was sent: the pane does not exist (any more).
    Gone,
    /// Nothing was sent: the text that should stand on the screen is not there (any more).
    Hidden,
}

#[derive(Debug, thiserror::Error)]
pub enum TmuxError {
    #[error("tmux is not installed or not on PATH")]
    Missing {
        #[source]
        cause: std::io::Error,
    },
    #[error("tmux {found} is too old: 3.2 is the least that can do what ao needs")]
    TooOld { found: String },
    #[error("tmux refused `{command}`: {message}")]
    Refused { command: String, message: String },
    #[error("cannot talk to the tmux server: {message}")]
    Unreachable { message: String },
    #[error("cannot {what}")]
    Io {
        what: String,
        #[source]
        cause: std::io::Error,
    },
}

/// What we need of tmux. All targets are exact.
pub trait Tmux: Send {
    /// One round trip: every pane of the server.
    fn look(&mut self) -> Result<Look, TmuxError>;
    /// Opens the session, in one command list; an existing session of that name is an error.
    fn open(&mut self, spec: &SessionSpec) -> Result<PaneId, TmuxError>;
    /// The same for several sessions, one result each; one that fails keeps none of the others back.
    fn open_all(&mut self, specs: &[SessionSpec]) -> Vec<Result<PaneId, TmuxError>> {
        specs.iter().map(|spec| self.open(spec)).collect()
    }
    /// Closes exactly this session; one that is not there is fine.
    fn close(&mut self, session: &SessionName) -> Result<(), TmuxError>;
    /// The same for several sessions, one result each.
    fn close_all(&mut self, sessions: &[SessionName]) -> Vec<Result<(), TmuxError>> {
        sessions.iter().map(|session| self.close(session)).collect()
    }
    /// The visible screens of several panes in one round trip; panes that are gone are left out.
    fn capture(&mut self, panes: &[PaneId]) -> Result<Vec<Capture>, TmuxError>;
    /// Bracketed paste of `text` (control bytes except LF and TAB already removed), under guard.
    fn paste(&mut self, pane: &PaneId, text: &str) -> Result<Typed, TmuxError>;
    /// Keys by tmux name (`Enter`, `C-c`), under the same guard.
    fn keys(&mut self, pane: &PaneId, keys: &[String]) -> Result<Typed, TmuxError>;
    /// Keys under the same guard and only while the screen shows `text` (ASCII letters, digits and
    /// spaces within one line): a dialog that opened meanwhile does not get them.
    fn keys_if_shown(
        &mut self,
        pane: &PaneId,
        keys: &[String],
        text: &str,
    ) -> Result<Typed, TmuxError>;
    /// Opens (again) the pane's log.
    fn pipe(&mut self, pane: &PaneId, log: &std::path::Path) -> Result<(), TmuxError>;
    /// The terminals of attached clients.
    fn terminals(&mut self) -> Result<Vec<PathBuf>, TmuxError>;
    /// Makes the server notice deaths whose status it has not read yet.
    fn nudge(&mut self) -> Result<(), TmuxError>;
}
