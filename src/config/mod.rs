//! `agents.toml`: what a person wrote, checked once and for all.
//!
//! [`Config`] cannot be wrong: names are unique, references resolve, durations are sane. Nothing
//! downstream checks again. How a backend's fields combine with its preset is `backend`'s business;
//! here a [`BackendSection`] is what the file says.

pub mod diagnostic;
pub mod document;
pub mod governance;
pub mod guarded;
mod pattern;
mod raw;
pub mod reference;
mod resolve;
pub mod section;
pub mod serve;
mod snippet;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::base::name::{SessionName, UnitName};
pub use governance::{AgentBounds, Governance};
pub(crate) use raw::lapse::parse as parse_duration;
pub use resolve::backend::LAUNCH_SLOTS;
pub use resolve::sequence::KICKOFF_SLOTS;
pub use resolve::{LIMIT_PROBE_TEXT, PRESETS, STALL_NUDGE_TEXT, parse, parse_backend};
pub use section::backend::BackendSection;
pub use serve::Serve;

/// A whole checked configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Absolute path of the file it was read from.
    pub file: PathBuf,
    /// Every relative path of the file was resolved against this folder.
    pub project_dir: PathBuf,
    pub log_dir: PathBuf,
    pub session_prefix: String,
    pub watchdog: Watchdog,
    pub tmux: Tmux,
    pub notify: Notify,
    pub starts: Starts,
    /// Environment every agent and service gets, beside the recorded one.
    pub env: BTreeMap<String, String>,
    /// In the order of the file.
    pub agents: Vec<Agent>,
    pub services: Vec<Service>,
    /// As written; a name used by an agent but absent here is a preset's name.
    pub backends: BTreeMap<String, BackendSection>,
    pub sequence: Option<Sequence>,
    pub governance: Governance,
    pub serve: Serve,
}

/// `[watchdog]`: cadences and bounds of the supervisor.
#[derive(Debug, Clone, PartialEq)]
pub struct Watchdog {
    pub signal_interval: Duration,
    pub heavy_interval: Duration,
    pub limit_probe_fallback: Duration,
    pub limit_reset_slack: Duration,
    /// Ends a usage-limit window.
    pub limit_probe_text: String,
    /// The first step against a stall.
    pub stall_nudge_text: String,
    pub stall_grace: Duration,
    /// Longest believed `WAITING-UNTIL` (24 h).
    pub max_wait: Duration,
    /// Longest believed usage-limit window (8 days).
    pub max_limit_window: Duration,
    /// Restarts within an hour before a unit is `failed` (10).
    pub max_restarts: u32,
    /// Between SIGTERM and SIGKILL when a unit is stopped (5 s).
    pub stop_grace: Duration,
    /// Bytes of one `<session>.log` before it is rotated.
    pub log_bytes_max: u64,
}

/// Of `[defaults]`: how starts are spread; all off unless set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Starts {
    /// Most agents and services that start at the same time.
    pub max_starting: Option<u32>,
    /// Between two starts.
    pub stagger: Duration,
    /// Between two starts of one account.
    pub account_spacing: Duration,
    /// Share of time in percent in which something waits for CPU or memory, above which starts wait.
    pub pressure_max_percent: Option<u32>,
}

/// `[tmux]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tmux {
    /// `-L` name of a server of the project's own; `None` is tmux's default server.
    pub socket: Option<String>,
    pub width: u16,
    pub height: u16,
}

/// `[notify]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notify {
    /// Run by `sh -c` with the event as JSON on stdin.
    pub command: Option<String>,
    pub bell: bool,
    /// Nothing is told in them; it is told when they end.
    pub quiet_hours: Option<QuietHours>,
    /// The same is told at most this often (5 min).
    pub repeat_after: Duration,
}

/// A part of every day by the local clock, in minutes since midnight; it may span midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuietHours {
    pub from_minute: u16,
    /// Not part of it any more.
    pub to_minute: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Loop,
    Persistent,
    Task,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watch {
    None,
    Heal,
    HealStall,
}

/// One `[[agent]]`, with `[defaults]` applied.
#[derive(Debug, Clone, PartialEq)]
pub struct Agent {
    pub name: UnitName,
    pub session: SessionName,
    pub kind: Kind,
    pub backend: String,
    pub model: Option<String>,
    pub dir: PathBuf,
    pub role: Option<String>,
    pub resume: bool,
    pub watch: Watch,
    pub enabled: bool,
    pub wake: Option<Wake>,
    pub prompt: Prompt,
    pub log_signature: Option<String>,
    pub account: Option<String>,
    pub bounds: AgentBounds,
    /// Its CLI is given hooks that tell about it.
    pub hooks: bool,
    pub on_limit: Option<OnLimit>,
    pub env: BTreeMap<String, String>,
}

/// Where an agent's first prompt comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prompt {
    None,
    Inline(String),
    File(PathBuf),
    /// `kind = "loop"`: the kickoff template and the role file.
    Kickoff,
}

/// What an agent runs on while a usage limit lasts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnLimit {
    /// `None`: its own.
    pub backend: Option<String>,
    /// `None`: its own on its own backend, else the CLI's choice.
    pub model: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wake {
    pub interval: Duration,
    pub prompt_file: PathBuf,
}

/// One `[[service]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    pub name: UnitName,
    pub session: SessionName,
    pub command: String,
    pub dir: PathBuf,
    pub enabled: bool,
    pub env: BTreeMap<String, String>,
}

/// `[loop]`: the phase sequence.
#[derive(Debug, Clone, PartialEq)]
pub struct Sequence {
    /// Under `<log_dir>/state/`.
    pub state_file: String,
    pub resume_phase: bool,
    pub auto_advance: bool,
    pub done_marker: String,
    pub kickoff_template: PathBuf,
    pub roles_dir: PathBuf,
    pub handoff: Option<Handoff>,
    pub on_complete: Option<OnComplete>,
    /// Never empty.
    pub phases: Vec<PhaseStep>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handoff {
    pub repo: PathBuf,
    pub remote: String,
    pub branch: String,
    pub claim_pings: Option<UnitName>,
    pub review_pings: Option<UnitName>,
    pub inboxes: Vec<String>,
    pub claim_pattern: String,
    pub review_pattern: String,
    pub state_subdir: String,
    pub claim_text: String,
    pub review_text: String,
    pub inbox_text: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnComplete {
    /// Under `log_dir`.
    pub trigger_file: String,
    pub run: UnitName,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhaseStep {
    pub id: String,
    pub plan: String,
    pub status: String,
    /// Model per role, for this phase only.
    pub models: BTreeMap<String, String>,
}

impl Agent {
    /// The agent as it runs while a usage limit lasts; itself when it has no fallback.
    #[must_use]
    pub fn on_fallback(&self) -> Self {
        let mut other = self.clone();
        let Some(on_limit) = &self.on_limit else { return other };
        if let Some(backend) = on_limit.backend.as_ref().filter(|name| **name != self.backend) {
            other.backend.clone_from(backend);
            // A model of another backend means nothing here.
            other.model = None;
        }
        other.model = on_limit.model.clone().or(other.model);
        other
    }
}

impl Config {
    pub fn agent(&self, name: &str) -> Option<&Agent> {
        self.agents.iter().find(|agent| agent.name.as_str() == name)
    }

    pub fn service(&self, name: &str) -> Option<&Service> {
        self.services.iter().find(|service| service.name.as_str() == name)
    }

    /// The session the watchdog itself runs in.
    pub fn watchdog_session(&self) -> SessionName {
        SessionName::new(&format!("{}watchdog", self.session_prefix))
            .expect("checked: the prefix is a valid start of a session name")
    }
}
