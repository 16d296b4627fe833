//! What the policies say of one act, with what was used so far read in the act's own transaction.
//!
//! Which bounds speak is found before the transaction, by asking the rules once at the level in force,
//! so that submitting knows what to look up and what to count. Surprise: when a budget takes trust
//! away in between, rules that were not foreseen may bound the act; what they used is not known then,
//! which denies.

use std::collections::BTreeMap;

use crate::base::zone::Tz;
use chrono::{DateTime, Utc};

use super::submit::{BudgetWindow, Known, Needs, RateWindow};
use crate::govern::action::Ask;
use crate::govern::assess::Act;
use crate::govern::attribute::Attributes;
use crate::govern::class::Class;
use crate::govern::judge::{Policies, Voices};
use crate::govern::policy::rule::By;
use crate::govern::policy::{Need, NeedKind, RateView, Set, Situation, facts};
use crate::govern::trust::Level;

/// A set of rules and all they may ask about, beside what was used.
pub(in crate::run) struct Rules<'a> {
    pub(in crate::run) set: &'a Set,
    pub(in crate::run) project: &'a str,
    pub(in crate::run) attributes: &'a Attributes,
    pub(in crate::run) now: DateTime<Utc>,
    pub(in crate::run) zone: Tz,
}

/// What was used, by key.
#[derive(Debug, Default)]
pub(in crate::run) struct Used(BTreeMap<(String, Option<DateTime<Utc>>), i64>);

impl RateView for Used {
    fn used(&self, need: &Need<'_>) -> Option<i64> {
        let since = need.from.filter(|_| need.kind == NeedKind::Rate);
        self.0.get(&(key(need), since)).copied()
    }
}

/// Before anything is looked up.
struct Nothing;

impl RateView for Nothing {
    fn used(&self, _need: &Need<'_>) -> Option<i64> {
        Some(0)
    }
}

/// Shadowed rules count apart, so that trying one out takes nothing from its later self.
fn key(need: &Need<'_>) -> String {
    let kind = match need.kind {
        NeedKind::Rate => "rate",
        NeedKind::Concurrency => "open",
        NeedKind::Cost => "cost",
    };
    let whose = match need.by {
        By::Policy => "*",
        By::Agent => need.agent,
    };
    let shadow = if need.shadow { "shadow-" } else { "" };
    let from = match (need.kind, need.from) {
        // Two widths of a rate look at the same events.
        (NeedKind::Rate | NeedKind::Concurrency, _) | (NeedKind::Cost, None) => String::new(),
        (NeedKind::Cost, Some(from)) => format!(":{}", from.timestamp()),
    };
    format!("{shadow}{kind}:{}:{whose}{from}", need.rule)
}

impl Rules<'_> {
    fn situation<'s>(
        &'s self,
        class: Class,
        trust: Level,
        used: &'s dyn RateView,
    ) -> Situation<'s> {
        let Self { project, attributes, now, zone, .. } = *self;
        Situation { class, trust, project, attributes, used, now, zone }
    }

    /// What to look up and count for all parts of an act, added to `needs`; and how long people have, by
    /// the shortest time that a rule names.
    pub(in crate::run) fn foresee(&self, ask: &Ask, acts: &[Act], trust: Level, needs: &mut Needs) {
        for act in acts {
            let part = part(ask, act);
            self.set.asks(&part, self.project, &mut |reference| {
                facts::heard(reference, self.attributes, &mut needs.heard);
            });
            let outcome = self.set.evaluate(&part, &self.situation(act.class, trust, &Nothing));
            for need in &outcome.needs {
                let key = key(need);
                match (need.kind, need.from) {
                    (NeedKind::Rate, Some(since)) => {
                        let window = RateWindow { key, since };
                        if !needs.rates.contains(&window) {
                            needs.rates.push(window);
                        }
                    }
                    (NeedKind::Cost, Some(start)) => {
                        let window = BudgetWindow { key, start };
                        if !needs.budgets.contains(&window) {
                            needs.budgets.push(window);
                        }
                    }
                    (NeedKind::Concurrency, _) => {
                        if !needs.open.contains(&key) {
                            needs.open.push(key);
                        }
                    }
                    (NeedKind::Rate | NeedKind::Cost, None) => {}
                }
            }
            for (_, escalation) in &outcome.escalations {
                let seconds = escalation.timeout_seconds.and_then(chrono::TimeDelta::try_seconds);
                if let Some(timeout) = seconds {
                    needs.hold = needs.hold.min(timeout);
                }
            }
        }
    }

    /// The rules together with what the transaction found; `skip` budgets stand before those of rules.
    pub(in crate::run) fn with<'s>(
        &'s self,
        needs: &Needs,
        known: &Known,
        skip: usize,
    ) -> Heard<'s> {
        let mut used = BTreeMap::new();
        for (rate, state) in needs.rates.iter().zip(&known.rates) {
            let count = i64::try_from(state.count).unwrap_or(i64::MAX);
            used.insert((rate.key.clone(), Some(rate.since)), count);
        }
        for (window, budget) in needs.budgets.iter().zip(&known.budgets).skip(skip) {
            used.insert((window.key.clone(), None), budget.committed().0);
        }
        for (key, open) in needs.open.iter().zip(&known.open) {
            used.insert((key.clone(), None), *open);
        }
        Heard { rules: self, used: Used(used) }
    }
}

/// The rules, ready to be asked by the judge.
pub(in crate::run) struct Heard<'a> {
    rules: &'a Rules<'a>,
    used: Used,
}

impl Policies for Heard<'_> {
    fn voices(&self, ask: &Ask, class: Class, trust: Level) -> Voices {
        let outcome = self.rules.set.evaluate(ask, &self.rules.situation(class, trust, &self.used));
        Voices {
            permits: !outcome.permits.is_empty(),
            downgrade: outcome.downgrade.map(|downgrade| downgrade.to),
            said: outcome.said,
        }
    }

    fn digest(&self) -> &str {
        &self.rules.set.digest
    }
}

pub(super) fn part(ask: &Ask, act: &Act) -> Ask {
    let (action_type, resource) = (act.action_type.clone(), act.resource.clone());
    Ask { action_type, resource, ..ask.clone() }
}
