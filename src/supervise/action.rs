//! What the supervisor wants done. Each is named by unit and attempt, so that doing one twice is harmless.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::event::{Outcome, RequestId};
use super::outbox::MessageId;
use super::sequence::Step;
use crate::base::name::UnitName;
use crate::limits::window::Window;

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "action")]
pub enum Action {
    /// Open the unit's session. Answered by `Started` with the same attempt.
    Start {
        unit: UnitName,
        attempt: u64,
        fresh: bool,
        cause: String,
        /// On its fallback backend or model.
        #[serde(default)]
        fallback: bool,
    },
    /// End the unit's process tree and session. Answered by `Stopped` with the same attempt.
    Stop { unit: UnitName, attempt: u64, cause: String },
    /// Type the message into the unit's pane, verified. Answered by `Typed`.
    Type {
        unit: UnitName,
        attempt: u64,
        message: MessageId,
        text: String,
        busy_input: bool,
        command: bool,
        /// A usage-limit banner on its screen is no obstacle; a dialog about it is closed first.
        #[serde(default)]
        past_banner: bool,
    },
    /// Write the unit's limit window down, or remove what was written.
    SaveLimit { unit: UnitName, window: Option<Box<Window>> },
    /// Read the text of the unit's wake. Answered by `WakeText`.
    ReadWake { unit: UnitName },
    /// Look at tmux again, now.
    Look,
    /// A line for the event log; with `notify`, for people too.
    Report(Report),
    /// Put down where the sequence stands. Answered by `Sequence` where its step says so.
    Sequence { step: Step },
    /// Write down copies of what was seen of branch and inboxes, and of what waits to be typed.
    SaveHandoff,
    /// The set of wanted units changed: write it down before anything else is done.
    SaveWanted,
    /// A request is answered in full.
    Answer { id: RequestId, outcomes: BTreeMap<UnitName, Outcome> },
}

/// One line of `events.jsonl`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    pub unit: Option<UnitName>,
    pub what: What,
    /// The cause, as a sentence part: what happened and how we know.
    pub why: String,
    pub notify: bool,
}

/// The kinds of events people read about.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum What {
    Starting,
    Started,
    StartFailed,
    Adopted,
    Died,
    RestartPlanned,
    Failed,
    Done,
    Stopping,
    Stopped,
    StopFailed,
    Foreign,
    State,
    ServerGone,
    LookFailed,
    LookRecovered,
    MassDeath,
    ConfigBroken,
    ConfigLoaded,
    Sent,
    NotSent,
    Watchdog,
    Phase,
    Handoff,
    Limit,
    Stall,
}

impl What {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Started => "started",
            Self::StartFailed => "start failed",
            Self::Adopted => "adopted",
            Self::Died => "died",
            Self::RestartPlanned => "restart planned",
            Self::Failed => "failed",
            Self::Done => "done",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::StopFailed => "stop failed",
            Self::Foreign => "foreign session",
            Self::State => "state",
            Self::ServerGone => "server gone",
            Self::LookFailed => "look failed",
            Self::LookRecovered => "look recovered",
            Self::MassDeath => "mass death",
            Self::ConfigBroken => "config broken",
            Self::ConfigLoaded => "config loaded",
            Self::Sent => "sent",
            Self::NotSent => "not sent",
            Self::Watchdog => "watchdog",
            Self::Phase => "phase",
            Self::Handoff => "handoff",
            Self::Limit => "limit",
            Self::Stall => "stall",
        }
    }
}
