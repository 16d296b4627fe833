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
    /// The lower part of the screen while no input box is drawn; absent while there is one.
    Dialog,
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

/// A dialog of a CLI's first start whose answer follows from the config: to trust the folder that the
/// config names, to use the key or the mode that it sets. Any other dialog waits for a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dialog {
    /// Shown in the event log.
    pub id: String,
    /// All match while the dialog is open (regexes over the screen without an input box).
    pub all: Vec<String>,
    /// Words of the wanted option: letters, digits and spaces. Keys are pressed only while they show.
    pub option: String,
    /// Matches while the wanted option is the marked one.
    pub marked: String,
    /// tmux key that moves the mark.
    pub step_key: String,
    /// tmux key that takes the marked option.
    pub accept_key: String,
}

/// Where a CLI draws what: lets rules name a region instead of hoping that a text occurs only there.
///
/// All values are regexes tested against one line unless said otherwise. The input box is found
/// either by its first line (`composer_start`, searched from the bottom) or by the line below it
/// (`composer_end`) and the contiguous `composer_line`s above that.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Layout {
    /// First line of the input box.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub composer_start: Option<String>,
    /// What the line directly above the input box must look like.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub composer_above: Option<String>,
    /// Every line of the input box, for a box that is found by its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub composer_line: Option<String>,
    /// The first line that no longer belongs to the input box.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub composer_end: Option<String>,
    /// Removed from each line of the input box before its text is read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub composer_prefix: Option<String>,
    /// A status line at the bottom of the input box that is not its text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub composer_status: Option<String>,
    /// Texts that the CLI shows in an empty input box.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placeholder: Option<String>,
    /// A line below the input box that proves the box when its first line is scrolled away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub footer_mark: Option<String>,
    /// Most non-blank lines that stand below an input box; more of them: it was a line of the
    /// transcript. 0 = no bound.
    pub footer_lines_max: u16,
    /// Whether the lines of the footer are joined to one line, as for a CLI that wraps it.
    pub footer_join: bool,
    /// Replaced by a space in the footer: spinner glyphs drawn over text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub footer_noise: Option<String>,
    /// The line above a dialog.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dialog_top: Option<String>,
    /// Removed from each line of the transcript: toasts and side bars drawn over it.
    pub transcript_noise: Vec<String>,
    /// First line of the item the last item is found by, searched from the bottom.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item_start: Option<String>,
    /// Lines that look like `item_start` and are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item_skip: Option<String>,
    /// Tested on the first lines of two neighbouring items (upper, LF, lower): both are one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item_link: Option<String>,
    /// Lines inside the last item that are not joined to the line above. Blank lines part anyway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item_break: Option<String>,
    /// Removed from a line before it is joined to the line above.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item_prefix: Option<String>,
    /// A glyph whose colour says something: rules see `✖` where it is red, `‽` where the capture
    /// has no colours, and the glyph itself otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tinted: Option<String>,
}
