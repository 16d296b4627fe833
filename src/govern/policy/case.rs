//! Tests that stand in policy files: an act and what the whole set must say about it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::base::zone::Tz;
use chrono::{DateTime, Utc};

use super::Set;
use super::evaluate::{Need, NeedKind, Outcome, RateView, Situation};
use super::raw::Expected;
use crate::govern::action::Ask;
use crate::govern::attribute::Attributes;
use crate::govern::class::Class;
use crate::govern::trust::Level;
use crate::govern::verdict;

/// One test.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) ask: Ask,
    pub(super) class: Class,
    pub(super) trust: Level,
    pub(super) project: String,
    pub(super) attributes: Attributes,
    pub(super) now: DateTime<Utc>,
    /// By rule.
    pub(super) used: Usage,
    pub(super) expect: Expected,
    /// Rules that must have spoken.
    pub(super) by: Vec<String>,
}

/// What was used of one rule's bounds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Used {
    /// Acts in the window of the rate.
    pub rate: i64,
    /// Acts under way.
    pub concurrency: i64,
    /// Millionths of a dollar in the window of the budget.
    pub cost: i64,
}

/// What was used by rule; of a rule that is not named, nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage(pub BTreeMap<String, Used>);

impl FromIterator<(String, Used)> for Usage {
    fn from_iter<T: IntoIterator<Item = (String, Used)>>(used: T) -> Self {
        Self(used.into_iter().collect())
    }
}

impl RateView for Usage {
    fn used(&self, need: &Need<'_>) -> Option<i64> {
        let used = self.0.get(need.rule).copied().unwrap_or_default();
        Some(match need.kind {
            NeedKind::Rate => used.rate,
            NeedKind::Concurrency => used.concurrency,
            NeedKind::Cost => used.cost,
        })
    }
}

/// How one test went.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct CaseResult {
    pub file: String,
    pub name: String,
    /// What was wrong; `None`: it passed.
    pub failure: Option<String>,
}

impl Case {
    /// What is wrong with the answer of `set`; `None` when it is as expected.
    pub(super) fn failure(&self, set: &Set) -> Option<String> {
        let situation = Situation {
            class: self.class,
            trust: self.trust,
            project: &self.project,
            attributes: &self.attributes,
            used: &self.used,
            now: self.now,
            zone: Tz::UTC,
        };
        let outcome = set.evaluate(&self.ask, &situation);
        let got = answer(&outcome);
        let silent: Vec<&str> = self
            .by
            .iter()
            .filter(|name| !outcome.said.iter().any(|said| said.rule == **name))
            .map(String::as_str)
            .collect();
        if got == self.expect && silent.is_empty() {
            return None;
        }
        let mut text = if got == self.expect {
            format!("`{}` did not speak", silent.join("`, `"))
        } else {
            format!("expected `{}`, got `{}`", word(self.expect), word(got))
        };
        for said in &outcome.said {
            let says = effect_word(said.effect);
            write!(text, "; {} says {says}: {}", said.rule, said.why)
                .expect("a String takes any text");
        }
        Some(text)
    }
}

fn answer(outcome: &Outcome<'_>) -> Expected {
    match outcome.effect() {
        None => Expected::Nothing,
        Some(verdict::Effect::Allow) => Expected::Permit,
        Some(verdict::Effect::AllowNotify) => Expected::Notify,
        Some(verdict::Effect::RequireApproval) => Expected::RequireApproval,
        Some(verdict::Effect::Deny) => Expected::Deny,
    }
}

fn word(expected: Expected) -> &'static str {
    match expected {
        Expected::Permit => "permit",
        Expected::Notify => "notify",
        Expected::RequireApproval => "require_approval",
        Expected::Deny => "deny",
        Expected::Nothing => "nothing",
    }
}

/// A rule's effect as a file writes it.
pub(super) fn effect_word(effect: verdict::Effect) -> &'static str {
    match effect {
        verdict::Effect::Allow => "permit",
        verdict::Effect::AllowNotify => "notify",
        verdict::Effect::RequireApproval => "require_approval",
        verdict::Effect::Deny => "deny",
    }
}
