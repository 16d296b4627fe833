//! Why each rule speaks or is silent about one act, part by part.
//!
//! Unlike the verdict's trace this goes on after the first part that is not so, since a person wants
//! to see all of them ticked or crossed.

use serde::Serialize;

use super::Set;
use super::case::effect_word;
use super::evaluate::{Applies, Judged, Situation, values};
use super::rule::{Effect, Rule, tidy_resource};
use crate::govern::action::Ask;
use crate::govern::verdict::Said;

/// One rule and one act.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explained {
    pub rule: String,
    pub about: String,
    pub shadow: bool,
    /// As the file has it; `None`: it only bounds.
    pub effect: Option<Effect>,
    pub scope: bool,
    /// Its schedule holds, or it has none.
    pub time: bool,
    pub parts: Vec<Part>,
    /// What it said in the end.
    pub said: Vec<Said>,
}

/// One part of a rule's condition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Part {
    pub text: String,
    /// Its attributes' values.
    pub values: String,
    pub holds: Holds,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Holds {
    Yes,
    No,
    Fault(String),
}

impl Explained {
    /// Whether it has anything to do with the act.
    pub fn concerns(&self) -> bool {
        self.scope
    }

    /// As lines for people: `context.test_coverage > 80: 85 ✓`.
    pub fn lines(&self) -> Vec<String> {
        let effect = self.effect.map_or("bounds", Effect::word);
        let shadow = if self.shadow { " (shadow: recorded, not enforced)" } else { "" };
        let mut lines = vec![format!("{} [{effect}]{shadow}", self.rule)];
        if !self.scope {
            lines.push("  scope ✗".to_owned());
            return lines;
        }
        lines.push("  scope ✓".to_owned());
        lines.push(if self.time { "  schedule ✓" } else { "  schedule ✗" }.to_owned());
        for part in &self.parts {
            let mark = match &part.holds {
                Holds::Yes => "✓".to_owned(),
                Holds::No => "✗".to_owned(),
                Holds::Fault(why) => format!("✗ ({why})"),
            };
            let between = if part.values.is_empty() { "" } else { ": " };
            lines.push(format!("  {}{between}{} {mark}", part.text, part.values));
        }
        for said in &self.said {
            lines.push(format!("  → {}: {}", effect_word(said.effect), said.why));
        }
        lines
    }
}

/// Every rule of the set about one act, by name.
pub fn explain(set: &Set, ask: &Ask, situation: &Situation<'_>) -> Vec<Explained> {
    let outcome = set.evaluate(ask, situation);
    let tidy = tidy_resource(ask);
    let judged = Judged { ask, situation, tidy: tidy.as_deref() };
    let about = |rule: &Rule| {
        let applies = judged.applies(rule);
        let facts = judged.facts();
        let parts = rule.conditions.iter().map(|condition| {
            let mut shown = String::new();
            values(condition, &facts, &mut shown);
            let holds = match condition.code.holds(&facts) {
                Ok(true) => Holds::Yes,
                Ok(false) => Holds::No,
                Err(fault) => Holds::Fault(fault.to_string()),
            };
            Part {
                text: condition.text.clone(),
                values: shown.trim_start_matches(": ").to_owned(),
                holds,
            }
        });
        Explained {
            rule: rule.name.clone(),
            about: rule.about.clone(),
            shadow: rule.shadow,
            effect: rule.effect,
            scope: applies != Applies::OutOfScope,
            time: !matches!(applies, Applies::OutOfScope | Applies::WrongTime),
            parts: parts.collect(),
            said: outcome.said.iter().filter(|said| said.rule == rule.name).cloned().collect(),
        }
    };
    set.rules.iter().map(about).collect()
}
