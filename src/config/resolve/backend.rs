//! `[backend.<name>]`: patterns compile, launch templates know their slots.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{LAPSE_MAX, PRESETS, Resolver, env};
use crate::base::suggest;
use crate::base::template::Template;
use crate::config::diagnostic::Diagnostic;
use crate::config::pattern;
use crate::config::raw::sections::RawBackend;
use crate::config::raw::{At, lapse::Lapse, leaf::Named, quoted};
use crate::config::section::backend::BackendSection;

/// The slots of launch templates.
pub const LAUNCH_SLOTS: [&str; 15] = [
    "ao",
    "bin",
    "flags",
    "model_flag",
    "remote_control_flag",
    "resume_flag",
    "session_id_flag",
    "settings_flag",
    "id",
    "model",
    "session",
    "name",
    "role",
    "dir",
    "server",
];

/// Beside [`LAUNCH_SLOTS`]: the file of the first prompt.
const KICKOFF_SLOT: &str = "kickoff";

impl Resolver<'_> {
    pub(super) fn backends(
        &mut self,
        table: Option<&At<Named<RawBackend>>>,
    ) -> BTreeMap<String, BackendSection> {
        let entries = table.map_or(&[][..], |table| &table.value.0);
        let mut backends = BTreeMap::new();
        for (name, raw) in entries {
            let raw = &raw.value;
            if raw.preset.is_none() && raw.bin.is_none() && raw.refused.is_empty() {
                self.problems.push(
                    Diagnostic::error(format!(
                        "backend `{}` says neither `bin` nor `preset`",
                        name.value
                    ))
                    .at(&name.span, "nothing says which program to start")
                    .hint(format!("presets: {}", quoted(&PRESETS))),
                );
            }
            backends.insert(name.value.clone(), section(self.source, raw, &mut self.problems));
        }
        backends
    }
}

/// The checked table. Reports into `problems`; what could not be read is absent.
pub(super) fn section(
    source: &str,
    raw: &RawBackend,
    problems: &mut Vec<Diagnostic>,
) -> BackendSection {
    check_preset(raw, problems);
    check_patterns(source, raw, problems);
    check_templates(source, raw, problems);
    let mut lapse = |name, field: &Option<At<Lapse>>| lapse(name, field.as_ref(), problems);
    let (submit_delay, connect_delay) =
        (lapse("submit_delay", &raw.submit_delay), lapse("connect_delay", &raw.connect_delay));
    let (stall_idle, log_grace) =
        (lapse("stall_idle", &raw.stall_idle), lapse("log_grace", &raw.log_grace));
    BackendSection {
        layout: None,
        preset: text(raw.preset.as_ref()),
        bin: text(raw.bin.as_ref()),
        flags: text(raw.flags.as_ref()),
        preamble: text(raw.preamble.as_ref()),
        prompt_delivery: copied(raw.prompt_delivery.as_ref()),
        attach: text(raw.attach.as_ref()),
        server: text(raw.server.as_ref()),
        remote_control: copied(raw.remote_control.as_ref()),
        supports_resume: copied(raw.supports_resume.as_ref()),
        resume_flag: text(raw.resume_flag.as_ref()),
        session_id_flag: text(raw.session_id_flag.as_ref()),
        model_flag: text(raw.model_flag.as_ref()),
        remote_control_flag: text(raw.remote_control_flag.as_ref()),
        resume_failed_re: text(raw.resume_failed_re.as_ref()),
        model_env: copied(raw.model_env.as_ref()),
        process_name: raw.process_name.as_ref().map(|names| plain(&names.value.0)),
        submit_key: text(raw.submit_key.as_ref()),
        submit_delay,
        quit_keys: raw.quit_keys.as_ref().map(|keys| plain(&keys.value)),
        connect_delay,
        ready_re: text(raw.ready_re.as_ref()),
        stall_idle,
        log_grace,
        footer_ui: copied(raw.footer_ui.as_ref()),
        live_lines: copied(raw.live_lines.as_ref()),
        paste_chars_max: copied(raw.paste_chars_max.as_ref()),
        paste_lines_max: copied(raw.paste_lines_max.as_ref()),
        busy_input: copied(raw.busy_input.as_ref()),
        holder: copied(raw.holder.as_ref()),
        account: text(raw.account.as_ref()),
        limit_dismiss_keys: raw.limit_dismiss_keys.as_ref().map(|keys| plain(&keys.value)),
        active_re: text(raw.active_re.as_ref()),
        limit_re: text(raw.limit_re.as_ref()),
        fatal_re: text(raw.fatal_re.as_ref()),
        waiting_re: text(raw.waiting_re.as_ref()),
        idle_re: text(raw.idle_re.as_ref()),
        env: env(raw.env.as_ref(), problems),
        detect: raw
            .detect
            .iter()
            .flat_map(|rules| &rules.value)
            .map(|rule| rule.value.rule.clone())
            .collect(),
        proven: text(raw.proven.as_ref()),
    }
}

fn text(field: Option<&At<String>>) -> Option<String> {
    field.map(|field| field.value.clone())
}

fn copied<T: Copy>(field: Option<&At<T>>) -> Option<T> {
    field.map(|field| field.value)
}

fn plain(list: &[At<String>]) -> Vec<String> {
    list.iter().map(|item| item.value.clone()).collect()
}

fn lapse(
    name: &str,
    field: Option<&At<Lapse>>,
    problems: &mut Vec<Diagnostic>,
) -> Option<Duration> {
    let field = field?;
    if field.value.0 > LAPSE_MAX {
        problems.push(
            Diagnostic::error(format!("`{name}` is longer than a year"))
                .at(&field.span, "a bare number is seconds"),
        );
    }
    Some(field.value.0)
}

fn check_preset(raw: &RawBackend, problems: &mut Vec<Diagnostic>) {
    let Some(preset) = raw.preset.as_ref().filter(|name| !PRESETS.contains(&name.value.as_str()))
    else {
        return;
    };
    let near = suggest::nearest(&preset.value, PRESETS)
        .map_or(String::new(), |near| format!("did you mean `{near}`? "));
    problems.push(
        Diagnostic::error(format!("unknown preset `{}`", preset.value))
            .at(&preset.span, "no preset has this name")
            .hint(format!("{near}known: {}", quoted(&PRESETS))),
    );
}

fn check_patterns(source: &str, raw: &RawBackend, problems: &mut Vec<Diagnostic>) {
    let fields = [
        ("resume_failed_re", &raw.resume_failed_re),
        ("ready_re", &raw.ready_re),
        ("active_re", &raw.active_re),
        ("limit_re", &raw.limit_re),
        ("fatal_re", &raw.fatal_re),
        ("waiting_re", &raw.waiting_re),
        ("idle_re", &raw.idle_re),
    ];
    for (name, field) in fields {
        if let Some(field) = field {
            pattern::check(source, name, field, problems);
        }
    }
    for rule in raw.detect.iter().flat_map(|rules| &rules.value) {
        for found in &rule.value.patterns {
            pattern::check(source, &format!("detect.{}", rule.value.rule.id), found, problems);
        }
    }
}

fn check_templates(source: &str, raw: &RawBackend, problems: &mut Vec<Diagnostic>) {
    let fields = [
        &raw.bin,
        &raw.flags,
        &raw.attach,
        &raw.resume_flag,
        &raw.session_id_flag,
        &raw.model_flag,
        &raw.remote_control_flag,
    ];
    for field in fields.into_iter().flatten() {
        for slot in Template::parse(&field.value).slots() {
            if LAUNCH_SLOTS.contains(&slot.name.as_str()) || slot.name == KICKOFF_SLOT {
                continue;
            }
            let known = LAUNCH_SLOTS.iter().copied().chain([KICKOFF_SLOT]);
            let near = suggest::nearest(&slot.name, known)
                .map_or(String::new(), |near| format!("did you mean `{{{near}}}`? "));
            let span = pattern::inside(source, &field.span, slot.span.start, slot.span.end);
            problems.push(
                Diagnostic::error(format!("unknown slot `{{{}}}`", slot.name))
                    .at(&span, "a launch template has no such slot")
                    .hint(format!("{near}for literal braces write `{{{{{}}}}}`", slot.name)),
            );
        }
    }
}
