//! How an AI CLI is started, spoken to and read: pure data, made of a preset and the user's table.

pub mod detect_preset;
pub mod escape;
pub mod launch;
pub mod preset;
pub mod resolve;
pub mod resume;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::section::backend::{Holder, PromptDelivery};
use crate::config::section::detect::{Dialog, Layout, Rule};

pub use launch::{Launch, LaunchError, LaunchInput, clean_environment, plan};
pub use resolve::resolve;
pub use resume::ResumePlan;

/// A backend with every field decided. See `agents.toml` reference for what each means.
#[derive(Debug, Clone, PartialEq)]
pub struct Backend {
    pub name: String,
    pub preset: Option<String>,
    /// The CLI version the preset was proven on; `None` = unproven.
    pub proven: Option<String>,
    pub bin: String,
    pub flags: String,
    pub preamble: Option<String>,
    pub prompt_delivery: PromptDelivery,
    pub attach: Option<String>,
    pub server: Option<String>,
    pub remote_control: bool,
    pub supports_resume: bool,
    pub resume_flag: String,
    pub session_id_flag: Option<String>,
    pub model_flag: String,
    pub remote_control_flag: String,
    pub resume_failed_re: Option<String>,
    pub model_env: bool,
    /// Empty: never judged by its process.
    pub process_name: Vec<String>,
    pub submit_key: String,
    pub submit_delay: Duration,
    pub quit_keys: Vec<String>,
    pub connect_delay: Duration,
    pub ready_re: Option<String>,
    pub stall_idle: Duration,
    pub log_grace: Duration,
    pub footer_ui: bool,
    pub live_lines: u16,
    pub paste_chars_max: Option<u32>,
    pub paste_lines_max: Option<u32>,
    pub busy_input: bool,
    pub holder: Holder,
    /// Agents of one account share its usage limits.
    pub account: String,
    pub limit_dismiss_keys: Vec<String>,
    pub env: BTreeMap<String, String>,
    /// In the order they are tried once sorted by state and priority.
    pub rules: Vec<Rule>,
    /// Where the CLI draws what; `None`: only the live lines, the screen and the title are known.
    pub layout: Option<Layout>,
    /// Dialogs of the first start that are answered for the person who wrote the config.
    pub dialogs: Vec<Dialog>,
}
