//! What a terminal title and the state convention of OSC 7501 say.
//!
//! The screen rules of the presets look at the title too; this is for readers that have no screen,
//! such as one that follows the raw output of a pane.

use super::Cli;
use crate::screen::PaneState;

/// The state a title says; `None` for titles that say none.
pub fn state(cli: Cli, title: &str) -> Option<PaneState> {
    let title = title.trim();
    let spins = title.chars().next().is_some_and(|c| "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏".contains(c));
    match cli {
        Cli::Codex if title.contains("Action Required") => Some(PaneState::Waiting),
        Cli::Codex if title.contains("Starting") && spins => Some(PaneState::Starting),
        Cli::Codex if spins => Some(PaneState::Working),
        Cli::Codex if title.starts_with("Ready") => Some(PaneState::Idle),
        Cli::Gemini if title.starts_with('✋') => Some(PaneState::Waiting),
        Cli::Gemini if title.starts_with(['✦', '⏲']) => Some(PaneState::Working),
        Cli::Gemini if title.starts_with('◇') => Some(PaneState::Idle),
        Cli::Claude | Cli::Codex | Cli::Gemini | Cli::Opencode => None,
    }
}

/// The last state that raw terminal output told by OSC 7501 (`state=working`, `idle`, `done`,
/// `blocked`, `error`, `clear`).
pub fn progress(output: &str) -> Option<PaneState> {
    let start = output.rfind("\u{1b}]7501;")?;
    let body = &output[start + "\u{1b}]7501;".len()..];
    let body = &body[..body.find(['\u{7}', '\u{1b}'])?];
    let fields = body.split([';', ':']).filter_map(|field| field.trim().split_once('='));
    let state = fields.filter(|(name, _)| *name == "state").map(|(_, value)| value).next_back()?;
    match state {
        "working" => Some(PaneState::Working),
        "idle" | "done" => Some(PaneState::Idle),
        "blocked" => Some(PaneState::Waiting),
        _ => None,
    }
}
