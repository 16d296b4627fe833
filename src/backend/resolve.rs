//! From what the file says to a [`Backend`] with every field decided: table, then preset, then default.
//!
//! Whether names and regexes are valid is the config check's business; resolving cannot fail. A
//! name with neither table nor preset becomes a backend whose program has that name.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use super::{Backend, preset};
use crate::config::Config;
use crate::config::section::backend::{BackendSection, Holder, PromptDelivery};
use crate::config::section::detect::{Region, Rule, RuleState};

const SUBMIT_DELAY: Duration = Duration::from_millis(300);
const CONNECT_DELAY: Duration = Duration::from_secs(12);
const STALL_IDLE: Duration = Duration::from_secs(300);
const LOG_GRACE: Duration = Duration::from_secs(180);
const LIVE_LINES: u16 = 12;

/// The backend `name` made of its table, the preset the table names, and the built-in defaults.
pub fn resolve(name: &str, section: &BackendSection, preset: Option<&BackendSection>) -> Backend {
    let nothing = BackendSection::default();
    let fill = Fill { own: section, base: preset.unwrap_or(&nothing) };
    let mut env = fill.base.env.clone();
    env.extend(section.env.clone());
    Backend {
        name: name.to_owned(),
        preset: preset.and(section.preset.clone()),
        proven: fill.take(|s| &s.proven),
        bin: fill.or(|s| &s.bin, || name.to_owned()),
        flags: fill.or(|s| &s.flags, String::new),
        preamble: fill.take(|s| &s.preamble),
        prompt_delivery: fill.or(|s| &s.prompt_delivery, || PromptDelivery::Arg),
        attach: fill.take(|s| &s.attach),
        server: fill.take(|s| &s.server),
        remote_control: fill.or(|s| &s.remote_control, || false),
        supports_resume: fill.or(|s| &s.supports_resume, || false),
        resume_flag: fill.or(|s| &s.resume_flag, || "--resume '{id}'".to_owned()),
        session_id_flag: fill.take(|s| &s.session_id_flag),
        model_flag: fill.or(|s| &s.model_flag, || "--model '{model}'".to_owned()),
        remote_control_flag: fill
            .or(|s| &s.remote_control_flag, || "--remote-control '{session}'".to_owned()),
        resume_failed_re: fill.take(|s| &s.resume_failed_re),
        model_env: fill.or(|s| &s.model_env, || false),
        process_name: fill.or(|s| &s.process_name, Vec::new),
        submit_key: fill.or(|s| &s.submit_key, || "Enter".to_owned()),
        submit_delay: fill.or(|s| &s.submit_delay, || SUBMIT_DELAY),
        quit_keys: fill.or(|s| &s.quit_keys, Vec::new),
        connect_delay: fill.or(|s| &s.connect_delay, || CONNECT_DELAY),
        ready_re: fill.take(|s| &s.ready_re),
        stall_idle: fill.or(|s| &s.stall_idle, || STALL_IDLE),
        log_grace: fill.or(|s| &s.log_grace, || LOG_GRACE),
        footer_ui: fill.or(|s| &s.footer_ui, || false),
        live_lines: fill.or(|s| &s.live_lines, || LIVE_LINES),
        paste_chars_max: fill.take(|s| &s.paste_chars_max),
        paste_lines_max: fill.take(|s| &s.paste_lines_max),
        busy_input: fill.or(|s| &s.busy_input, || false),
        holder: fill.or(|s| &s.holder, || Holder::Pane),
        account: fill.or(|s| &s.account, || name.to_owned()),
        limit_dismiss_keys: fill.or(|s| &s.limit_dismiss_keys, Vec::new),
        env,
        layout: fill.take(|s| &s.layout),
        dialogs: section.dialogs.iter().chain(&fill.base.dialogs).cloned().collect(),
        rules: rules(section, fill.base),
    }
}

impl Backend {
    /// The backend an agent names: its table, or the preset of that name when no table exists.
    pub fn by_name(config: &Config, name: &str) -> Self {
        from_tables(&config.backends, name)
    }
}

impl Backend {
    /// The preset of that name as it ships; `None` when there is none.
    pub fn of_preset(name: &str) -> Option<Self> {
        preset::get(name)?;
        Some(from_tables(&BTreeMap::new(), name))
    }
}

fn from_tables(tables: &BTreeMap<String, BackendSection>, name: &str) -> Backend {
    if let Some(section) = tables.get(name) {
        let preset = section.preset.as_deref().and_then(preset::get);
        return resolve(name, section, preset.as_ref());
    }
    let Some(preset) = preset::get(name) else {
        return resolve(name, &BackendSection::default(), None);
    };
    let section = BackendSection { preset: Some(name.to_owned()), ..BackendSection::default() };
    resolve(name, &section, Some(&preset))
}

/// Two tables read as one: the own field wins.
struct Fill<'a> {
    own: &'a BackendSection,
    base: &'a BackendSection,
}

impl Fill<'_> {
    fn take<T: Clone>(&self, field: impl Fn(&BackendSection) -> &Option<T>) -> Option<T> {
        field(self.own).as_ref().or(field(self.base).as_ref()).cloned()
    }

    fn or<T: Clone>(
        &self,
        field: impl Fn(&BackendSection) -> &Option<T>,
        default: impl FnOnce() -> T,
    ) -> T {
        self.take(field).unwrap_or_else(default)
    }
}

/// The shorthand regexes of one table as rules of the live region, each named after its key.
fn shorthand(section: &BackendSection) -> Vec<Rule> {
    let pairs = [
        ("active_re", RuleState::Working, &section.active_re),
        ("limit_re", RuleState::Limited, &section.limit_re),
        ("fatal_re", RuleState::Fatal, &section.fatal_re),
        ("waiting_re", RuleState::Waiting, &section.waiting_re),
        ("idle_re", RuleState::Idle, &section.idle_re),
    ];
    pairs
        .into_iter()
        .filter_map(|(id, state, regex)| {
            let regex = regex.clone()?;
            Some(Rule {
                id: id.to_owned(),
                state,
                region: Region::Live,
                any: vec![regex],
                all: Vec::new(),
                not: Vec::new(),
                priority: 0,
                cure: None,
            })
        })
        .collect()
}

/// Own rules first, then those of the preset whose state no shorthand and whose id no own rule replaces.
fn rules(own: &BackendSection, base: &BackendSection) -> Vec<Rule> {
    let short = shorthand(own);
    let mut inherited = base.detect.clone();
    inherited.extend(shorthand(base));
    inherited.retain(|rule| {
        !short.iter().any(|own| own.state == rule.state)
            && !own.detect.iter().any(|own| own.id == rule.id)
    });
    let mut all = own.detect.clone();
    all.extend(short);
    all.extend(inherited);
    all.sort_by_key(|rule| (Reverse(rule.priority), rank(rule.state)));
    all
}

/// Where a state stands in the order of the detectors.
const fn rank(state: RuleState) -> u8 {
    match state {
        RuleState::Dead => 0,
        RuleState::Waiting => 1,
        RuleState::Working => 2,
        RuleState::Limited => 3,
        RuleState::Overloaded => 4,
        RuleState::Fatal => 5,
        RuleState::Starting => 6,
        RuleState::Idle => 7,
        RuleState::Done => 8,
        RuleState::Unknown => 9,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(id: &str, state: RuleState, priority: i32) -> Rule {
        Rule {
            id: id.into(),
            state,
            region: Region::Screen,
            any: vec!["x".into()],
            all: vec![],
            not: vec![],
            priority,
            cure: None,
        }
    }

    fn ids(backend: &Backend) -> Vec<&str> {
        backend.rules.iter().map(|rule| rule.id.as_str()).collect()
    }

    #[test]
    fn a_field_of_the_table_wins_over_the_preset_and_the_preset_over_the_default() {
        let preset = BackendSection {
            bin: Some("base".into()),
            live_lines: Some(5),
            env: BTreeMap::from([("A".into(), "1".into()), ("B".into(), "1".into())]),
            ..BackendSection::default()
        };
        let own = BackendSection {
            bin: Some("own".into()),
            env: BTreeMap::from([("B".into(), "2".into())]),
            ..BackendSection::default()
        };
        let backend = resolve("x", &own, Some(&preset));
        assert_eq!((backend.bin.as_str(), backend.live_lines), ("own", 5));
        assert_eq!(backend.stall_idle, Duration::from_secs(300));
        assert_eq!(backend.resume_flag, "--resume '{id}'");
        assert_eq!(
            backend.env,
            BTreeMap::from([("A".into(), "1".into()), ("B".into(), "2".into())])
        );
    }

    #[test]
    fn a_shorthand_regex_replaces_the_rules_of_its_state_and_no_other() {
        let preset = BackendSection {
            detect: vec![
                rule("spinner", RuleState::Working, 0),
                rule("tool", RuleState::Working, 9),
                rule("box", RuleState::Idle, 0),
            ],
            ..BackendSection::default()
        };
        let own = BackendSection { active_re: Some("busy".into()), ..BackendSection::default() };
        let backend = resolve("x", &own, Some(&preset));
        assert_eq!(ids(&backend), ["active_re", "box"]);
        assert_eq!(backend.rules[0].region, Region::Live);
        assert_eq!(backend.rules[0].any, ["busy"]);
    }

    #[test]
    fn rules_are_tried_by_priority_and_then_by_state() {
        let own = BackendSection {
            detect: vec![
                rule("idle", RuleState::Idle, 0),
                rule("working", RuleState::Working, 0),
                rule("limit dialog", RuleState::Limited, 10),
                rule("waiting", RuleState::Waiting, 0),
            ],
            ..BackendSection::default()
        };
        assert_eq!(ids(&resolve("x", &own, None)), ["limit dialog", "waiting", "working", "idle"]);
    }

    #[test]
    fn a_name_without_a_table_means_the_preset_and_a_table_without_preset_stands_alone() {
        let none = BTreeMap::new();
        let claude = from_tables(&none, "claude");
        assert_eq!(claude.preset.as_deref(), Some("claude"));
        assert_eq!(claude.session_id_flag.as_deref(), Some("--session-id '{id}'"));
        let bare = BTreeMap::from([("claude".to_owned(), BackendSection::default())]);
        let claude = from_tables(&bare, "claude");
        assert_eq!((claude.preset, claude.session_id_flag), (None, None));
    }
}
