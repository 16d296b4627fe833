//! The presets that ship in the binary: one data file per CLI, the same fields as `[backend.<name>]`.
//!
//! Durations are plain seconds here; the richer forms of `agents.toml` are the config reader's
//! business. A preset that does not parse is a fault of the build, which a test catches.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use crate::config::section::backend::{BackendSection, Holder, PromptDelivery};
use crate::config::section::detect::Rule;

/// Name and text of every preset.
const FILES: [(&str, &str); 5] = [
    ("claude", include_str!("presets/claude.toml")),
    ("codex", include_str!("presets/codex.toml")),
    ("demo", include_str!("presets/demo.toml")),
    ("gemini", include_str!("presets/gemini.toml")),
    ("opencode", include_str!("presets/opencode.toml")),
];

/// The names of all presets, sorted.
pub fn names() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|(name, _)| *name)
}

/// The preset of that name.
pub fn get(name: &str) -> Option<BackendSection> {
    let (_, text) = FILES.iter().find(|(known, _)| *known == name)?;
    let file: PresetFile =
        toml::from_str(text).expect("a test parses every preset that ships in the binary");
    let mut section = file.into_section();
    if let Some(reading) = super::detect_preset::by_name(name) {
        // How a screen is read stands in a file of its own: it changes with every release of a CLI.
        section.proven = section.proven.or(reading.proven);
        section.live_lines = section.live_lines.or(Some(reading.live_lines));
        section.ready_re = section.ready_re.or(reading.ready_re);
        section.footer_ui = section.footer_ui.or(Some(reading.footer_ui));
        section.limit_dismiss_keys =
            section.limit_dismiss_keys.or(Some(reading.limit_dismiss_keys));
        section.layout = Some(reading.layout);
        section.detect.extend(reading.detect);
        section.dialogs.extend(reading.dialogs);
    }
    Some(section)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Delivery {
    Arg,
    Ping,
    Exec,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum HolderWord {
    Pane,
    Server,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PresetFile {
    bin: Option<String>,
    flags: Option<String>,
    preamble: Option<String>,
    prompt_delivery: Option<Delivery>,
    attach: Option<String>,
    server: Option<String>,
    remote_control: Option<bool>,
    supports_resume: Option<bool>,
    resume_flag: Option<String>,
    session_id_flag: Option<String>,
    model_flag: Option<String>,
    remote_control_flag: Option<String>,
    resume_failed_re: Option<String>,
    model_env: Option<bool>,
    process_name: Option<Vec<String>>,
    submit_key: Option<String>,
    submit_delay: Option<f64>,
    quit_keys: Option<Vec<String>>,
    connect_delay: Option<f64>,
    ready_re: Option<String>,
    stall_idle: Option<f64>,
    log_grace: Option<f64>,
    footer_ui: Option<bool>,
    live_lines: Option<u16>,
    paste_chars_max: Option<u32>,
    paste_lines_max: Option<u32>,
    busy_input: Option<bool>,
    holder: Option<HolderWord>,
    limit_dismiss_keys: Option<Vec<String>>,
    active_re: Option<String>,
    limit_re: Option<String>,
    fatal_re: Option<String>,
    waiting_re: Option<String>,
    idle_re: Option<String>,
    env: BTreeMap<String, String>,
    detect: Vec<Rule>,
    proven: Option<String>,
}

/// A negative or absurd number of seconds counts as absent.
fn seconds(value: Option<f64>) -> Option<Duration> {
    value.and_then(|value| Duration::try_from_secs_f64(value).ok())
}

impl PresetFile {
    fn into_section(self) -> BackendSection {
        BackendSection {
            account: None,
            preset: None,
            layout: None,
            dialogs: Vec::new(),
            bin: self.bin,
            flags: self.flags,
            preamble: self.preamble,
            prompt_delivery: self.prompt_delivery.map(|delivery| match delivery {
                Delivery::Arg => PromptDelivery::Arg,
                Delivery::Ping => PromptDelivery::Ping,
                Delivery::Exec => PromptDelivery::Exec,
            }),
            attach: self.attach,
            server: self.server,
            remote_control: self.remote_control,
            supports_resume: self.supports_resume,
            resume_flag: self.resume_flag,
            session_id_flag: self.session_id_flag,
            model_flag: self.model_flag,
            remote_control_flag: self.remote_control_flag,
            resume_failed_re: self.resume_failed_re,
            model_env: self.model_env,
            process_name: self.process_name,
            submit_key: self.submit_key,
            submit_delay: seconds(self.submit_delay),
            quit_keys: self.quit_keys,
            connect_delay: seconds(self.connect_delay),
            ready_re: self.ready_re,
            stall_idle: seconds(self.stall_idle),
            log_grace: seconds(self.log_grace),
            footer_ui: self.footer_ui,
            live_lines: self.live_lines,
            paste_chars_max: self.paste_chars_max,
            paste_lines_max: self.paste_lines_max,
            busy_input: self.busy_input,
            holder: self.holder.map(|holder| match holder {
                HolderWord::Pane => Holder::Pane,
                HolderWord::Server => Holder::Server,
            }),
            limit_dismiss_keys: self.limit_dismiss_keys,
            active_re: self.active_re,
            limit_re: self.limit_re,
            fatal_re: self.fatal_re,
            waiting_re: self.waiting_re,
            idle_re: self.idle_re,
            env: self.env,
            detect: self.detect,
            proven: self.proven,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_parses_and_says_what_to_run() {
        for name in names() {
            let section = get(name).expect("listed");
            assert!(section.bin.is_some(), "{name} has no bin");
            assert!(section.prompt_delivery.is_some(), "{name} has no prompt_delivery");
        }
        assert_eq!(get("nobody"), None);
    }
}
