//! One thing a CLI told about itself.
//!
//! What a tool was asked to do is left out on purpose: facts are written to disk, and arguments of
//! tools hold secrets.

use serde::{Deserialize, Serialize};

use super::Cli;
use crate::base::now::Now;

/// Longest kept text of a message, in characters: a limit's banner fits, a whole answer does not.
pub const TEXT_CHARS_MAX: usize = 400;
/// Longest kept name or id, in characters.
pub const NAME_CHARS_MAX: usize = 120;

/// One thing a CLI told, and when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fact {
    pub at: Now,
    pub cli: Cli,
    /// The conversation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// Set when a subagent of the conversation did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subagent: Option<String>,
    /// The file the CLI writes the conversation to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transcript: Option<String>,
    /// Its place among what the same teller told; calls of one process each may overtake each other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<u64>,
    pub kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Kind {
    SessionStarted {
        source: Beginning,
    },
    SessionEnded {
        /// The CLI's own word, such as `clear` or `prompt_input_exit`.
        why: String,
    },
    TurnStarted,
    ToolStarted {
        tool: String,
    },
    ToolEnded {
        tool: String,
        failed: bool,
    },
    /// A dialog is open that a person may answer.
    PermissionAsked {
        what: String,
    },
    PermissionAnswered,
    /// The CLI says that it waits for a prompt.
    IdleNoted,
    TurnEnded {
        interrupted: bool,
        /// Subagents that go on in the background.
        subagents_left: u32,
    },
    TurnFailed {
        class: Class,
        /// What the CLI shows for it, cut.
        text: String,
    },
    /// The CLI waits and tries again by itself.
    Retrying {
        text: String,
        /// When it does, in epoch seconds.
        next_s: Option<i64>,
    },
    /// A usage limit, told apart from an error by the CLI itself.
    LimitHit {
        /// When it ends, in epoch seconds.
        resets_s: Option<i64>,
        text: String,
    },
    SubagentStarted,
    SubagentEnded,
    Usage(Usage),
    /// Anything else: a sign of life.
    Other {
        event: String,
    },
}

/// How a conversation came to be the current one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Beginning {
    Startup,
    Resume,
    /// A person cleared the old one: a new id.
    Clear,
    /// The same conversation, shortened.
    Compact,
    Other,
}

/// Why a turn failed, as the CLI classes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// A usage limit, or a server that asks for patience: only the text tells which.
    RateLimit,
    /// The server's own trouble.
    Server,
    /// Nobody is logged in, or the key is wrong.
    Login,
    Billing,
    Unknown,
}

/// What a CLI has used, from its status line.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// The model in use, by its id.
    pub model: Option<String>,
    /// How full the context is, in percent.
    pub context_percent: Option<f64>,
    pub context_tokens: Option<u64>,
    pub context_size_tokens: Option<u64>,
    /// Of this process so far, in millionths of a US dollar.
    pub cost_micros: Option<i64>,
    pub windows: Vec<UsageWindow>,
}

/// One usage window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UsageWindow {
    /// The CLI's own word, such as `five_hour`.
    pub name: String,
    pub used_percent: f64,
    /// In epoch seconds.
    pub resets_s: Option<i64>,
}

/// At most so many characters, control characters left out.
pub fn cut(text: &str, chars_max: usize) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(chars_max)
        .collect::<String>()
        .trim()
        .to_owned()
}
