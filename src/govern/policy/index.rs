//! Which rules could speak about an act, without asking each.
//!
//! Two steps: the agent's name, then the action type, its first word, or anything. A rule with
//! patterns that no such key can stand for is kept under "anything".

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::glob::Globs;
use super::rule::Rule;
use crate::govern::action::Ask;

/// Above this many keys a rule counts as one for anything.
const KEYS_MAX: usize = 64;

/// Rules by what they can apply to. Numbers are places in the list of rules.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Index {
    any_agent: ByAction,
    agents: BTreeMap<String, ByAction>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct ByAction {
    any: Vec<u32>,
    exact: BTreeMap<String, Vec<u32>>,
    /// By the part before the first dot.
    first: BTreeMap<String, Vec<u32>>,
}

impl Index {
    pub(super) fn new(rules: &[Rule]) -> Self {
        let mut index = Self::default();
        for (number, rule) in rules.iter().enumerate() {
            let number = u32::try_from(number).expect("checked: far fewer rules are accepted");
            let agents = literals(&rule.scope.agents);
            let few = agents.len() * rule.scope.actions.0.len().max(1) <= KEYS_MAX;
            if agents.is_empty() || !few {
                index.any_agent.add(number, &rule.scope.actions);
            } else {
                for agent in agents {
                    index.agents.entry(agent).or_default().add(number, &rule.scope.actions);
                }
            }
        }
        index
    }

    /// Places of rules that may apply, in rising order, each once.
    pub(super) fn candidates(&self, ask: &Ask) -> Vec<u32> {
        let mut found = Vec::new();
        self.any_agent.collect(&ask.action_type, &mut found);
        if let Some(own) = self.agents.get(&ask.agent) {
            own.collect(&ask.action_type, &mut found);
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}

impl ByAction {
    fn add(&mut self, number: u32, actions: &Globs) {
        let keys: Option<Vec<_>> = actions
            .0
            .iter()
            .map(|glob| {
                let prefix = glob.prefix();
                glob.literal()
                    .map(|whole| (whole, true))
                    .or_else(|| prefix.split_once('.').map(|(first, _)| (first.to_owned(), false)))
            })
            .collect();
        let Some(keys) = keys.filter(|keys| !keys.is_empty() && keys.len() <= KEYS_MAX) else {
            self.any.push(number);
            return;
        };
        for (key, exact) in keys {
            let map = if exact { &mut self.exact } else { &mut self.first };
            map.entry(key).or_default().push(number);
        }
    }

    fn collect(&self, action_type: &str, into: &mut Vec<u32>) {
        into.extend(&self.any);
        into.extend(self.exact.get(action_type).into_iter().flatten());
        let first = action_type.split_once('.').map_or(action_type, |(first, _)| first);
        into.extend(self.first.get(first).into_iter().flatten());
    }
}

/// The names, when there are some and all are literal.
fn literals(globs: &Globs) -> Vec<String> {
    globs.0.iter().map(super::glob::Glob::literal).collect::<Option<_>>().unwrap_or_default()
}
