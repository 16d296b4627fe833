//! `[governance]`, its budgets, and the bounds of an `[[agent]]`.

use std::time::Duration;

use crate::base::zone::Tz;

use super::{Resolver, or};
use crate::base::suggest;
use crate::config::Agent;
use crate::config::diagnostic::Diagnostic;
use crate::config::governance::{
    AgentBounds, Budget, DepthRule, Governance, Source, StorePlace, Trust,
};
use crate::config::raw::sections::{
    AgentSection, BudgetSection, GovernanceSection, Root, SourceSection,
};
use crate::config::raw::{At, quoted};

impl Resolver<'_> {
    pub(super) fn governance(&mut self, root: &Root, agents: &[&Agent]) -> Governance {
        let empty = GovernanceSection::default();
        let section = root.governance.as_ref().map_or(&empty, |section| &section.value);
        let hour = Duration::from_secs(3_600);
        let path = |field: &Option<At<String>>| field.as_ref().map(|field| self.path(&field.value));
        let (classes, operator) = (path(&section.classes), path(&section.operator));
        let policies = path(&section.policies).unwrap_or_else(|| self.path("policies"));
        if let Some(field) = &section.classes {
            self.existing("table of action classes", field);
        }
        let least = Duration::from_secs(1);
        Governance {
            store: self.store(section),
            policies,
            classes,
            zone: self.zone(section.zone.as_ref()),
            operator,
            approval_timeout: self.lapse(
                "approval_timeout",
                section.approval_timeout.as_ref(),
                hour,
                least,
            ),
            hook_wait: self.lapse(
                "hook_wait",
                section.hook_wait.as_ref(),
                hour / 6,
                Duration::ZERO,
            ),
            depth_rule: or(section.depth_rule.as_ref(), DepthRule::Declared),
            enforce_topology: or(section.enforce_topology.as_ref(), false),
            session_actions_max: section.session_actions_max.as_ref().map(|it| it.value.into()),
            session_cost_max_micros: section.session_cost_max.as_ref().map(|it| it.value.0),
            budgets: self.budgets(section, agents),
            sources: self.sources(section),
        }
    }

    fn store(&mut self, section: &GovernanceSection) -> StorePlace {
        let Some(store) = &section.store else {
            return StorePlace::Default;
        };
        let text = store.value.as_str();
        if text.is_empty() {
            self.problems.push(
                Diagnostic::error("`store` cannot be empty").at(&store.span, "write a file's path"),
            );
        }
        match text.split_once("://") {
            Some(("postgres" | "postgresql", rest)) => {
                if holds_password(rest) {
                    self.problems.push(
                        // Its line is not shown: it would carry the password into logs.
                        Diagnostic::warning("agents can read the password in `store` of this file")
                            .hint(
                                "put it into `postgres.password` in the operator's folder, mode 0600",
                            ),
                    );
                }
                StorePlace::Postgres(text.to_owned())
            }
            Some(_) => {
                self.problems.push(
                    Diagnostic::error("`store` is neither a file nor a PostgreSQL address")
                        .at(&store.span, "begins with neither `postgres://` nor a path"),
                );
                StorePlace::Default
            }
            None => StorePlace::File(self.path(text)),
        }
    }

    fn zone(&mut self, field: Option<&At<String>>) -> Tz {
        let Some(field) = field else {
            return Tz::UTC;
        };
        field.value.parse().unwrap_or_else(|_| {
            let names = Tz::names();
            let near = suggest::nearest(&field.value, names.iter().map(String::as_str))
                .map_or(String::new(), |near| format!("did you mean `{near}`? "));
            self.problems.push(
                Diagnostic::error(format!("`{}` is not a time zone", field.value))
                    .at(&field.span, "not in the list of zones")
                    .hint(format!("{near}write something like \"Europe/Berlin\" or \"UTC\"")),
            );
            Tz::UTC
        })
    }

    fn budgets(&mut self, section: &GovernanceSection, agents: &[&Agent]) -> Vec<Budget> {
        let entries = section.budget.as_ref().map_or(&[][..], |table| &table.value.0);
        entries
            .iter()
            .filter_map(|(name, entry)| self.budget(&name.value, &entry.value, agents))
            .collect()
    }

    fn budget(&mut self, name: &str, section: &BudgetSection, agents: &[&Agent]) -> Option<Budget> {
        let limit = self.required(section, "limit", |section| &section.limit);
        let window = self.required(section, "window", |section| &section.window);
        let percent = |problems: &mut Vec<Diagnostic>, field: &Option<At<u16>>, default: u8| {
            let Some(field) = field else { return default };
            let given = u8::try_from(field.value).ok().filter(|value| (1..=100).contains(value));
            if given.is_none() {
                problems.push(
                    Diagnostic::error("a share of a budget is a percentage")
                        .at(&field.span, "expected 1 to 100"),
                );
            }
            given.unwrap_or(default)
        };
        let warn_at = percent(&mut self.problems, &section.warn_at, 80);
        let downgrade_at = percent(&mut self.problems, &section.downgrade_at, 90.max(warn_at));
        if let Some(field) = section.downgrade_at.as_ref().filter(|_| downgrade_at < warn_at) {
            self.problems.push(
                Diagnostic::error("`downgrade_at` lies below `warn_at`").at(
                    &field.span,
                    format!("nobody would be warned before; `warn_at` is {warn_at}"),
                ),
            );
        }
        let named = section.agents.iter().flat_map(|list| &list.value);
        let agents: Vec<_> = named.filter_map(|given| self.named_agent(given, agents)).collect();
        Some(Budget {
            name: name.to_owned(),
            limit_micros: limit?.value.0,
            window: window?.value,
            agents,
            warn_at,
            downgrade_at,
            downgrade_to: section.downgrade_to.as_ref().map(|level| level.value),
        })
    }

    fn sources(&mut self, section: &GovernanceSection) -> Vec<Source> {
        let entries = section.source.as_ref().map_or(&[][..], |table| &table.value.0);
        entries.iter().filter_map(|(name, entry)| self.source(&name.value, &entry.value)).collect()
    }

    fn source(&mut self, name: &str, section: &SourceSection) -> Option<Source> {
        let least = Duration::from_secs(1);
        let command = self.required(section, "command", |section| &section.command);
        let every = self.lapse("every", section.every.as_ref(), least * 300, least);
        let valid = self.lapse("valid", section.valid.as_ref(), every * 3, least);
        if let Some(field) = section.valid.as_ref().filter(|_| valid < every) {
            self.problems.push(
                Diagnostic::warning("`valid` is shorter than `every`")
                    .at(&field.span, "what it said is unknown before it is asked again"),
            );
        }
        let timeout = self.lapse("timeout", section.timeout.as_ref(), least * 30, least);
        let command = command?.value.clone();
        Some(Source { name: name.to_owned(), command, every, valid, timeout })
    }

    fn named_agent(
        &mut self,
        given: &At<String>,
        agents: &[&Agent],
    ) -> Option<crate::base::name::UnitName> {
        let found = agents.iter().find(|agent| agent.name.as_str() == given.value);
        if found.is_none() {
            let names: Vec<&str> = agents.iter().map(|agent| agent.name.as_str()).collect();
            let near = suggest::nearest(&given.value, names.iter().copied())
                .map_or(String::new(), |near| format!("did you mean `{near}`? "));
            self.problems.push(
                Diagnostic::error(format!("there is no agent `{}`", given.value))
                    .at(&given.span, "no `[[agent]]` has this name")
                    .hint(format!("{near}known: {}", quoted(&names))),
            );
        }
        found.map(|agent| agent.name.clone())
    }

    pub(super) fn bounds(&mut self, section: &AgentSection) -> AgentBounds {
        let governed = or(section.governed.as_ref(), false);
        let trust = or(section.trust.as_ref(), Trust::L0);
        let trust_max = or(section.trust_max.as_ref(), Trust::L4);
        if trust > trust_max {
            let at = section.trust.as_ref().map_or(0..0, |field| field.span.clone());
            let mut problem = Diagnostic::error("`trust` is above `trust_max`")
                .at(&at, format!("it may have at most {}", trust_max.word()));
            if section.trust.is_none() {
                problem = Diagnostic::error("`trust` is above `trust_max`");
            }
            self.problems.push(problem);
        }
        let idle = [
            ("trust", section.trust.as_ref().map(|field| &field.span)),
            ("trust_max", section.trust_max.as_ref().map(|field| &field.span)),
            ("capabilities", section.capabilities.as_ref().map(|field| &field.span)),
            ("permissions", section.permissions.as_ref().map(|field| &field.span)),
        ];
        if !governed {
            for (name, span) in idle.into_iter().filter_map(|(name, span)| Some((name, span?))) {
                self.problems.push(
                    Diagnostic::warning(format!(
                        "`{name}` has no effect on an agent that is not governed"
                    ))
                    .at(span, "nothing asks for it")
                    .hint("add `governed = true`"),
                );
            }
        }
        for glob in section.capabilities.iter().flat_map(|list| &list.value) {
            let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._*?".contains(c);
            if glob.value.is_empty() || !glob.value.chars().all(fits) {
                self.problems.push(
                    Diagnostic::error(format!("`{}` matches no action type", glob.value))
                        .at(&glob.span, "action types are dotted and lower case")
                        .hint("write something like \"file.*\" or \"git.push\""),
                );
            }
        }
        let list = |field: &Option<At<Vec<At<String>>>>| {
            field.as_ref().map(|list| list.value.iter().map(|glob| glob.value.clone()).collect())
        };
        AgentBounds {
            governed,
            trust,
            trust_max,
            capabilities: list(&section.capabilities),
            permissions: list(&section.permissions),
        }
    }
}

/// Whether an address, behind its scheme, carries a password.
fn holds_password(rest: &str) -> bool {
    let (front, query) = rest.split_once('?').unwrap_or((rest, ""));
    let user = front.rsplit_once('@').map(|(user, _)| user);
    user.is_some_and(|user| user.contains(':'))
        || query.split('&').any(|it| it.starts_with("password="))
}
