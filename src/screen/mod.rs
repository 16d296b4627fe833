//! What a pane says. Text in, a [`Reading`] out; nothing here touches tmux.

pub mod activity;
pub mod capture;
pub mod corpus;
pub mod detect;
pub mod marker;
mod region;

use serde::{Deserialize, Serialize};

use crate::config::section::detect::Cure;

/// What the agent in a pane is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PaneState {
    Starting,
    Working,
    Idle,
    Waiting,
    Limited,
    Overloaded,
    Fatal,
    Dead,
    Done,
    Unknown,
}

impl PaneState {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Working => "working",
            Self::Idle => "idle",
            Self::Waiting => "waiting",
            Self::Limited => "limited",
            Self::Overloaded => "overloaded",
            Self::Fatal => "fatal",
            Self::Dead => "dead",
            Self::Done => "done",
            Self::Unknown => "unknown",
        }
    }
}

/// What made a reading say what it says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Id of the rule that fired, or a built-in reason such as `no rule matched`.
    pub rule: String,
    /// The region it looked at, as in the config.
    pub region: String,
    /// The line or lines that matched, trimmed and cut.
    pub text: String,
}

/// What one look at a pane says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    pub state: PaneState,
    pub evidence: Vec<Evidence>,
    /// With `fatal`: what helps.
    pub cure: Option<Cure>,
    /// Whether the input box is on screen and holds no text of a person.
    pub composer: Composer,
    /// A hash of the live region, to see change without keeping text.
    pub live_hash: u64,
    /// Its own word that it will be quiet on purpose; judged by whoever knows the time.
    #[serde(default)]
    pub marker: Option<marker::Marker>,
}

/// The input box of the CLI.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "composer")]
pub enum Composer {
    /// Not on the screen: starting, a dialog is open, or a CLI without one.
    Absent,
    Empty,
    /// Somebody's unsent text stands in it.
    Draft {
        text: String,
    },
}

impl Reading {
    /// All evidence as one text, the transcript's own words first: they name the zone that footers leave out.
    pub fn evidence_text(&self) -> String {
        evidence_text(&self.evidence)
    }
}

/// The same of evidence that was kept.
pub fn evidence_text(evidence: &[Evidence]) -> String {
    let (first, rest): (Vec<_>, Vec<_>) =
        evidence.iter().partition(|evidence| evidence.region == "last_item");
    let texts: Vec<&str> =
        first.into_iter().chain(rest).map(|evidence| evidence.text.as_str()).collect();
    texts.join("\n")
}
