//! The settings of a governed project that a person must accept before they take effect.
//!
//! They are what bounds agents and what runs outside those bounds: trust, governance, services, what a
//! backend starts, who is told, what runs at the end of a sequence. Everything else is in force as soon as
//! it is written. Left out: the text of policies and of the table of classes, which are files of their own.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::section::backend::BackendSection;
use super::{Agent, Config};

/// Whether anybody is governed here.
pub fn is_governed(config: &Config) -> bool {
    config.agents.iter().any(|agent| agent.bounds.governed)
}

/// Every guarded setting by name, as text; equal maps bound alike.
pub fn settings(config: &Config) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut put = |name: String, value: &Value| {
        if !value.is_null() {
            found.insert(name, value.to_string());
        }
    };
    for agent in &config.agents {
        let (name, bounds) = (&agent.name, &agent.bounds);
        let mut own = |field: &str, value: Value| put(format!("agent.{name}.{field}"), &value);
        own("governed", bounds.governed.into());
        own("trust", bounds.trust.word().into());
        own("trust_max", bounds.trust_max.word().into());
        own("capabilities", json!(bounds.capabilities));
        own("permissions", json!(bounds.permissions));
    }
    for service in &config.services {
        let mut own =
            |field: &str, value: Value| put(format!("service.{}.{field}", service.name), &value);
        own("command", service.command.clone().into());
        own("dir", service.dir.to_string_lossy().into());
        own("enabled", service.enabled.into());
        own("env", json!(service.env));
    }
    for (name, section) in &config.backends {
        let mut own = |field: &str, value: Value| put(format!("backend.{name}.{field}"), &value);
        own("preset", json!(section.preset));
        own("bin", json!(section.bin));
        own("preamble", json!(section.preamble));
    }
    put("notify.command".to_owned(), &json!(config.notify.command));
    if let Some(done) = config.sequence.as_ref().and_then(|it| it.on_complete.as_ref()) {
        put("loop.on_complete.run".to_owned(), &done.run.as_str().into());
        put("loop.on_complete.trigger_file".to_owned(), &done.trigger_file.clone().into());
    }
    governance(config, &mut put);
    found
}

fn governance(config: &Config, put: &mut impl FnMut(String, &Value)) {
    let section = &config.governance;
    let millis = |duration| Value::from(crate::base::now::millis(duration));
    let path = |path: &std::path::Path| Value::from(path.to_string_lossy());
    let mut own = |field: &str, value: Value| put(format!("governance.{field}"), &value);
    own("store", format!("{:?}", section.store).into());
    own("policies", path(&section.policies));
    own("classes", section.classes.as_deref().map_or(Value::Null, path));
    own("operator", section.operator.as_deref().map_or(Value::Null, path));
    own("zone", section.zone.name().into());
    own("approval_timeout_ms", millis(section.approval_timeout));
    own("hook_wait_ms", millis(section.hook_wait));
    own("depth_rule", format!("{:?}", section.depth_rule).into());
    own("enforce_topology", section.enforce_topology.into());
    own("session_actions_max", json!(section.session_actions_max));
    own("session_cost_max_micros", json!(section.session_cost_max_micros));
    for budget in &section.budgets {
        let value = json!({
            "limit_micros": budget.limit_micros, "window": format!("{:?}", budget.window),
            "agents": budget.agents, "warn_at": budget.warn_at, "downgrade_at": budget.downgrade_at,
            "downgrade_to": budget.downgrade_to.map(super::governance::Trust::word),
        });
        own(&format!("budget.{}", budget.name), value);
    }
    for source in &section.sources {
        let value = json!({
            "command": source.command, "every_ms": millis(source.every),
            "valid_ms": millis(source.valid), "timeout_ms": millis(source.timeout),
        });
        own(&format!("source.{}", source.name), value);
    }
}

/// The config with every guarded setting as it was accepted. An agent that was not accepted is not in it.
#[must_use]
pub fn as_accepted(written: Config, accepted: &Config) -> Config {
    let bounded = |mut agent: Agent| {
        agent.bounds = accepted.agent(agent.name.as_str())?.bounds.clone();
        Some(agent)
    };
    let mut backends = accepted.backends.clone();
    for (name, before) in &mut backends {
        if let Some(section) = written.backends.get(name) {
            let BackendSection { preset, bin, preamble, .. } = before.clone();
            *before = BackendSection { preset, bin, preamble, ..section.clone() };
        }
    }
    let on_complete = accepted.sequence.as_ref().and_then(|it| it.on_complete.clone());
    Config {
        agents: written.agents.into_iter().filter_map(bounded).collect(),
        services: accepted.services.clone(),
        backends,
        notify: super::Notify { command: accepted.notify.command.clone(), ..written.notify },
        sequence: written.sequence.map(|sequence| super::Sequence { on_complete, ..sequence }),
        governance: accepted.governance.clone(),
        ..written
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn config(agents: &str) -> Config {
        let text = format!(
            "[defaults]\nsession_prefix = \"t-\"\nlog_dir = \"logs\"\nbackend = \"claude\"\n{agents}"
        );
        let (config, problems) =
            crate::config::parse(&text, Path::new("/p/agents.toml"), &|_| true, &|_| None);
        config.unwrap_or_else(|| panic!("{problems:?}"))
    }

    fn agent(name: &str, more: &str) -> String {
        format!("\n[[agent]]\nname = \"{name}\"\nkind = \"persistent\"\nprompt = \"x\"\n{more}\n")
    }

    #[track_caller]
    fn check(change: &str, names: &[&str]) {
        let before = config(&agent("a", "governed = true"));
        let after = config(&(agent("a", "governed = true") + change));
        let (old, new) = (settings(&before), settings(&after));
        let changed: Vec<&str> = new
            .iter()
            .filter(|(name, value)| old.get(*name) != Some(value))
            .map(|(name, _)| &**name)
            .collect();
        assert_eq!(changed, names, "{change}");
        assert_eq!(settings(&as_accepted(after, &before)), old, "{change}");
    }

    #[test]
    fn what_bounds_agents_is_guarded_and_goes_back_to_what_was_accepted() {
        check("[notify]\ncommand = \"curl x\"\n", &["notify.command"]);
        check("[governance]\nzone = \"Europe/Berlin\"\n", &["governance.zone"]);
        check(
            "[backend.claude]\npreset = \"claude\"\nbin = \"evil\"\n",
            &["backend.claude.bin", "backend.claude.preset"],
        );
        check(
            "[[service]]\nname = \"s\"\ncommand = \"true\"\n",
            &["service.s.command", "service.s.dir", "service.s.enabled", "service.s.env"],
        );
        check(
            "[governance.budget.daily]\nlimit = 5.0\nwindow = \"day\"\n",
            &["governance.budget.daily"],
        );
    }

    #[test]
    fn an_agent_that_nobody_accepted_is_not_there() {
        let before = config(&agent("a", "governed = true"));
        let after = config(&(agent("a", "trust_max = \"L4\"") + &agent("free", "")));
        let held = as_accepted(after, &before);
        assert_eq!(held.agents.len(), 1);
        assert!(held.agents[0].bounds.governed);
    }

    #[test]
    fn everything_else_is_in_force_as_it_is_written() {
        let before = config(&agent("a", "governed = true"));
        let after = config(
            &(agent("a", "governed = true\nmodel = \"m\"") + "[watchdog]\nheavy_interval = 7\n"),
        );
        assert_eq!(settings(&before), settings(&after));
        assert_eq!(as_accepted(after.clone(), &before), after);
    }
}
