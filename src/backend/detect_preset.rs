//! The reading half of the presets: what each CLI's screen looks like, as data that ships in the binary.
//!
//! The launching half is not here. The demo agent draws the screen of Claude Code, so it is read by the
//! same rules.

use serde::Deserialize;

use crate::config::section::detect::{Dialog, Layout, Rule};

/// The names of the presets, in the order they are shown.
pub const NAMES: [&str; 5] = ["claude", "opencode", "codex", "gemini", "demo"];

/// The screen fields of one preset.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetectPreset {
    /// The CLI version the rules were proven on; `None` = unproven.
    pub proven: Option<String>,
    pub live_lines: u16,
    #[serde(default)]
    pub ready_re: Option<String>,
    #[serde(default)]
    pub footer_ui: bool,
    #[serde(default)]
    pub limit_dismiss_keys: Vec<String>,
    #[serde(default)]
    pub layout: Layout,
    #[serde(default)]
    pub detect: Vec<Rule>,
    #[serde(default, rename = "dialog")]
    pub dialogs: Vec<Dialog>,
}

/// The text of a preset's file; `None` for a name that is no preset.
pub fn source(name: &str) -> Option<&'static str> {
    match name {
        "claude" | "demo" => Some(include_str!("presets/claude.detect.toml")),
        "opencode" => Some(include_str!("presets/opencode.detect.toml")),
        "codex" => Some(include_str!("presets/codex.detect.toml")),
        "gemini" => Some(include_str!("presets/gemini.detect.toml")),
        _ => None,
    }
}

/// How the screens of this preset are read; `None` for a name that is no preset.
pub fn by_name(name: &str) -> Option<DetectPreset> {
    let text = source(name)?;
    let mut preset: DetectPreset = toml::from_str(text)
        .expect("proven by a test: every preset that ships in the binary loads");
    if name == "demo" {
        preset.proven = None;
    }
    Some(preset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_loads_and_an_unknown_name_is_none() {
        for name in NAMES {
            let preset = by_name(name).expect("a preset");
            assert!(!preset.detect.is_empty(), "{name} has rules");
        }
        assert_eq!(by_name("clod"), None);
    }
}
