//! `[[backend.<name>.detect]]`: one rule that says what a screen means. Presets are made of these.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The part of the screen a rule looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Region {
    /// The last `live_lines` lines up to the last non-blank one.
    #[default]
    Live,
    /// All of the visible screen.
    Screen,
    /// Between the two rules of the input box.
    Composer,
    /// Below the input box.
    Footer,
    /// The last item of the transcript, above the input box; wrapped lines joined by one space.
    LastItem,
    /// The pane's title.
    Title,
}

/// What a rule says the agent is doing.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum RuleState {
    Dead,
    Waiting,
    Working,
    Limited,
    Overloaded,
    Fatal,
    Starting,
    Idle,
    Done,
    Unknown,
}

/// What helps against a fatal state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cure {
    /// A new conversation.
    Fresh,
    /// Only a person can mend it: login, key, credit, model.
    Person,
    /// Time: the server is overloaded.
    Wait,
}

/// One rule: it fires when all its tests hold in its region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Shown in `explain`.
    pub id: String,
    pub state: RuleState,
    #[serde(default)]
    pub region: Region,
    /// At least one matches (Rust `regex`, multi-line, case-sensitive).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub any: Vec<String>,
    /// All match.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub all: Vec<String>,
    /// None matches.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not: Vec<String>,
    /// Moves a rule before others; 0 keeps the order of the states.
    #[serde(default)]
    pub priority: i32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cure: Option<Cure>,
}
