//! Everything that can happen to the fleet. The journal is made of these.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::outbox::{Draft, MessageId, Typed};
use super::pacing::Pressure;
use super::pinging::Looked;
use super::sequence::Heard;
use super::settings::Settings;
use super::state::{Death, ServerId, UnitSpec};
use crate::base::name::{PaneId, UnitName};
use crate::limits::window::Window;
use crate::screen::Reading;

/// Names one request of a person or program.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(pub String);

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum Event {
    /// The config was read and is in force; `wanted` is what people asked to run.
    Configured { units: Vec<UnitSpec>, wanted: BTreeSet<UnitName>, settings: Settings },
    /// The newest config does not load; the last good one stays in force.
    ConfigBroken { problem: String },
    /// One look at tmux succeeded.
    Looked { server: ServerId, panes: Vec<Sighting> },
    /// Looking failed, and the server is proven gone.
    ServerGone { evidence: String },
    /// Looking failed; nothing is known.
    LookFailed { error: String },
    /// A screen was read.
    Read { unit: UnitName, attempt: u64, reading: Reading },
    /// A start was carried out.
    Started { unit: UnitName, attempt: u64, outcome: StartOutcome },
    /// A stop was carried out.
    Stopped { unit: UnitName, attempt: u64, outcome: StopOutcome },
    /// A message was typed, or not.
    Typed { unit: UnitName, message: MessageId, outcome: Typed },
    /// A limit window that was written down is found.
    LimitRecalled { unit: UnitName, window: Box<Window> },
    /// The text of a wake was read, or why not.
    WakeText { unit: UnitName, text: Result<String, String> },
    /// Somebody asks for something.
    Requested { id: RequestId, request: Request },
    /// Something about the sequence of phases was found out.
    Sequence { heard: Heard },
    /// The branch and the inboxes were looked at.
    Handoff { look: Looked },
    /// How hard the machine works; `None`: not known.
    Pressure { pressure: Option<Pressure> },
    /// Time passed.
    Tick,
}

/// One pane of a unit's session, as a look saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sighting {
    pub unit: UnitName,
    pub seen: Seen,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "seen")]
pub enum Seen {
    Alive {
        pane: PaneId,
        pid: u32,
        /// Names of the programs in the pane's process tree, when they were looked at.
        programs: Option<Vec<String>>,
        /// Milliseconds of CPU of that tree so far, when they were looked at.
        #[serde(default)]
        cpu_ms: Option<u64>,
        /// Milliseconds since the pane printed anything, when they were looked at.
        #[serde(default)]
        silent_ms: Option<u64>,
    },
    Dead {
        death: Death,
        /// The start whose process it was, where that is known.
        #[serde(default)]
        of: Option<u64>,
    },
    /// The session's name is taken by one that is not ours.
    Foreign,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "start")]
pub enum StartOutcome {
    Opened {
        pane: PaneId,
        pid: u32,
    },
    /// It cannot start as configured; trying again would change nothing.
    Refused {
        why: String,
    },
    /// It did not start this time.
    Failed {
        why: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "stop")]
pub enum StopOutcome {
    /// Every process proven gone; `cut` tells that it had to be killed.
    Gone {
        cut: bool,
    },
    Survived {
        pids: Vec<u32>,
    },
    Failed {
        why: String,
    },
}

/// What people ask for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "request")]
pub enum Request {
    /// Run these; `by_name` starts a disabled one too.
    Up { units: BTreeSet<UnitName>, by_name: bool },
    /// Stop these and leave them down.
    Down { units: BTreeSet<UnitName> },
    /// Stop and start these; clears `failed`.
    Restart { units: BTreeSet<UnitName>, fresh: bool },
    /// Say this to one agent. With `wait` the answer comes when its fate is known.
    Send { unit: UnitName, draft: Draft, wait: bool },
    /// Move all loop agents to this phase, counted from 0.
    Phase { index: usize },
}

/// What became of one unit of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum Outcome {
    Started,
    AlreadyRunning,
    Disabled,
    /// Down, every process proven gone.
    Stopped {
        cut: bool,
    },
    NotRunning,
    /// Its sequence is complete: there is nothing to start it for.
    Finished,
    Failed {
        why: String,
    },
    /// Queued; it is typed when the agent can read it.
    Queued {
        message: MessageId,
    },
    /// Typed and submitted, verified.
    Submitted {
        keys: u32,
    },
    /// It did not reach the agent.
    NotSubmitted {
        why: String,
    },
    /// Typed, and what became of it cannot be seen.
    FateUnknown {
        why: String,
    },
}
