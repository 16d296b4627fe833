//! What the CLIs tell about themselves: hook payloads, session files, titles, become facts.
//!
//! Pure: bytes come in, facts go out; collecting them is done in `run`. [`payload`] reads hooks,
//! [`session_file`], [`opencode`], [`status_line`] and [`title`] the other sources, [`merge`] decides whom to
//! believe, [`answer`] what a hook says back, [`wiring`] how a CLI is told to call us.
//!
//! Surprise: no source is complete. A hook says nothing when a turn is interrupted (Claude Code) or
//! fails (Codex), and a session file reads idle while its CLI is limited. So each state that a
//! source told ends by another source or by silence, never by trust alone.

pub mod answer;
pub mod fact;
pub mod merge;
pub mod opencode;
pub mod payload;
pub mod rollout;
pub mod session_file;
pub mod spool;
pub mod status_line;
pub mod title;
pub mod wiring;

use serde::{Deserialize, Serialize};

pub use fact::{Fact, Kind};
pub use merge::Senses;

/// A CLI whose own words we understand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cli {
    Claude,
    Codex,
    Gemini,
    Opencode,
}

impl Cli {
    pub const ALL: [Self; 4] = [Self::Claude, Self::Codex, Self::Gemini, Self::Opencode];

    /// As in `ao hook <cli>`; also the name of its preset.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Claude => "claude",
            Self::Codex => "codex",
            Self::Gemini => "gemini",
            Self::Opencode => "opencode",
        }
    }

    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cli| cli.word() == word)
    }
}
