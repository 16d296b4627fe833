//! `[backend.<name>]`: how an AI CLI is started, spoken to and read, as far as the file says.
//!
//! Every field is optional: a preset, then the built-in default fills what is absent. The presets
//! that ship in the binary are tables of this very type.

use std::collections::BTreeMap;
use std::time::Duration;

use super::detect::{Dialog, Layout, Rule};

/// How the first prompt reaches the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PromptDelivery {
    /// As the last argument of the CLI.
    Arg,
    /// Typed once the terminal program is ready.
    Ping,
    /// The command reads it from a file.
    Exec,
}

/// Where a turn lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    Pane,
    Server,
}

/// One `[backend.<name>]` table, or one preset.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct BackendSection {
    pub preset: Option<String>,
    pub bin: Option<String>,
    pub flags: Option<String>,
    pub preamble: Option<String>,
    pub prompt_delivery: Option<PromptDelivery>,
    pub attach: Option<String>,
    pub server: Option<String>,
    pub remote_control: Option<bool>,
    pub supports_resume: Option<bool>,
    pub resume_flag: Option<String>,
    pub session_id_flag: Option<String>,
    pub model_flag: Option<String>,
    pub remote_control_flag: Option<String>,
    pub resume_failed_re: Option<String>,
    pub model_env: Option<bool>,
    pub process_name: Option<Vec<String>>,
    pub submit_key: Option<String>,
    pub submit_delay: Option<Duration>,
    pub quit_keys: Option<Vec<String>>,
    pub connect_delay: Option<Duration>,
    pub ready_re: Option<String>,
    pub stall_idle: Option<Duration>,
    pub log_grace: Option<Duration>,
    pub footer_ui: Option<bool>,
    pub live_lines: Option<u16>,
    pub paste_chars_max: Option<u32>,
    pub paste_lines_max: Option<u32>,
    pub busy_input: Option<bool>,
    pub holder: Option<Holder>,
    pub account: Option<String>,
    pub limit_dismiss_keys: Option<Vec<String>>,
    pub active_re: Option<String>,
    pub limit_re: Option<String>,
    pub fatal_re: Option<String>,
    pub waiting_re: Option<String>,
    pub idle_re: Option<String>,
    pub env: BTreeMap<String, String>,
    pub detect: Vec<Rule>,
    /// Presets only: dialogs of the first start that are answered.
    pub dialogs: Vec<Dialog>,
    /// Where the CLI draws what; absent: rules see the live lines, the screen and the title only.
    pub layout: Option<Layout>,
    /// Presets only: the CLI version the rules were proven on; absent = unproven.
    pub proven: Option<String>,
}
