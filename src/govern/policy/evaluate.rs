//! What a set of rules says about one act.
//!
//! Every rule that could apply is asked; none ends the search. So the order of files and rules
//! cannot matter, and a further `deny` can only add a voice. A rule that cannot be answered denies,
//! whatever its effect; in shadow mode that too is only recorded.

use crate::base::zone::Tz;
use chrono::{DateTime, TimeDelta, Utc};

use super::Set;
use super::expression::evaluate::{Facts, Fault};
use super::expression::{Conjunct, Reference};
use super::rule::{Bound, By, Effect, Escalation, Limit, Rule, reaches, tidy_resource};
use crate::base::human;
use crate::govern::action::{Ask, Micros};
use crate::govern::attribute::Attributes;
use crate::govern::class::Class;
use crate::govern::policy::expression::dollars;
use crate::govern::trust::Level;
use crate::govern::verdict::{self, Said, Step};

/// What is known beside the act itself.
#[derive(Clone, Copy)]
pub struct Situation<'a> {
    pub class: Class,
    /// In force for this act: the least along the chain of delegation.
    pub trust: Level,
    pub project: &'a str,
    pub attributes: &'a Attributes,
    pub used: &'a dyn RateView,
    pub now: DateTime<Utc>,
    /// Of schedules and budgets that name none.
    pub zone: Tz,
}

/// What was used so far of what rules bound. To hold under concurrent callers, it must be read in
/// the same transaction in which the [`Need`]s of the answer are written.
pub trait RateView {
    /// Acts, or millionths of a dollar, within `need.from..`; `None`: not known, which denies.
    fn used(&self, need: &Need<'_>) -> Option<i64>;
}

/// Something a rule lets an act use, to be counted when the act goes ahead or waits for approval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need<'a> {
    pub rule: &'a str,
    pub kind: NeedKind,
    pub by: By,
    /// The agent whose acts count, when `by` says so.
    pub agent: &'a str,
    /// What may be used in all, in acts or millionths of a dollar.
    pub max: i64,
    /// What this act uses.
    pub amount: i64,
    /// Only what was used since then counts; for acts under way there is no such time.
    pub from: Option<DateTime<Utc>>,
    /// When the window of a budget ends; a rate's window slides.
    pub until: Option<DateTime<Utc>>,
    /// Of a rule in shadow mode: to be counted apart, never enforced.
    pub shadow: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NeedKind {
    Rate,
    Concurrency,
    Cost,
}

/// The answer of all rules.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcome<'a> {
    /// By rule name.
    pub said: Vec<Said>,
    /// Rules that permit, where trust makes the act depend on that.
    pub permits: Vec<&'a str>,
    pub needs: Vec<Need<'a>>,
    /// Of enforced rules that hold the act back or went past a bound.
    pub escalations: Vec<(&'a str, &'a Escalation)>,
    /// The deepest fall of trust that a crossed bound asks for, and until when.
    pub downgrade: Option<Downgrade<'a>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Downgrade<'a> {
    pub rule: &'a str,
    pub to: Level,
    /// `None`: as long as the bound is crossed.
    pub until: Option<DateTime<Utc>>,
}

impl Outcome<'_> {
    /// The strictest enforced voice; `None` when no enforced rule spoke.
    pub fn effect(&self) -> Option<verdict::Effect> {
        self.said.iter().filter(|said| !said.shadow).map(|said| said.effect).max()
    }
}

impl Set {
    /// What the rules say. A closed set denies all but `observe`.
    pub fn evaluate<'a>(&'a self, ask: &'a Ask, situation: &Situation<'_>) -> Outcome<'a> {
        let mut outcome = Outcome::default();
        if let Some(cause) = &self.closed {
            if situation.class > Class::Observe {
                outcome.said.push(Said {
                    step: Step::Fault,
                    rule: "policies".to_owned(),
                    effect: verdict::Effect::Deny,
                    why: cause.clone(),
                    shadow: false,
                });
            }
            return outcome;
        }
        let tidy = tidy_resource(ask);
        let judged = Judged { ask, situation, tidy: tidy.as_deref() };
        for number in self.index.candidates(ask) {
            if let Some(rule) = self.rules.get(number as usize) {
                judged.rule(rule, &mut outcome);
            }
        }
        outcome
    }

    /// The attributes that rules ask about for such an act, at whatever time and level of trust; one may
    /// come twice.
    pub fn asks<'a>(&'a self, ask: &Ask, project: &str, each: &mut dyn FnMut(&'a Reference)) {
        let tidy = tidy_resource(ask);
        for number in self.index.candidates(ask) {
            let Some(rule) = self.rules.get(number as usize) else { continue };
            let (trust, permit) = (rule.scope.trust_min, rule.effect == Some(Effect::Permit));
            if !rule.scope.matches(ask, tidy.as_deref(), project, trust, permit) {
                continue;
            }
            let sizes = rule.bounds.iter().filter_map(|bound| match &bound.limit {
                Limit::Size(condition) => Some(condition),
                Limit::Resources(_)
                | Limit::Rate { .. }
                | Limit::Concurrency { .. }
                | Limit::Cost { .. } => None,
            });
            for condition in rule.conditions.iter().chain(sizes) {
                condition.code.each_reference(each);
            }
        }
    }
}

/// Whether a rule applies, with the part that says no.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Applies<'a> {
    Yes,
    OutOfScope,
    WrongTime,
    /// The place of the conjunct.
    Not(usize),
    Fault(usize, Fault<'a>),
}

/// One act with all that is known about it.
#[derive(Clone, Copy)]
pub(super) struct Judged<'a, 's> {
    pub(super) ask: &'a Ask,
    pub(super) situation: &'s Situation<'s>,
    pub(super) tidy: Option<&'s str>,
}

impl<'a> Judged<'a, '_> {
    pub(super) fn facts(&self) -> Facts<'_> {
        Facts {
            ask: self.ask,
            attributes: self.situation.attributes,
            trust: self.situation.trust,
            project: self.situation.project,
        }
    }

    pub(super) fn applies<'b>(&'b self, rule: &'b Rule) -> Applies<'b> {
        let Situation { trust, project, now, zone, .. } = *self.situation;
        let permit = rule.effect == Some(Effect::Permit);
        if !rule.scope.matches(self.ask, self.tidy, project, trust, permit) {
            return Applies::OutOfScope;
        }
        if rule.schedule.as_ref().is_some_and(|schedule| !schedule.holds(now, zone)) {
            return Applies::WrongTime;
        }
        for (number, condition) in rule.conditions.iter().enumerate() {
            match holds(condition, self) {
                Ok(true) => {}
                Ok(false) => return Applies::Not(number),
                Err(fault) => return Applies::Fault(number, fault),
            }
        }
        Applies::Yes
    }

    fn rule(&self, rule: &'a Rule, outcome: &mut Outcome<'a>) {
        let voice = |step, effect, why| Said {
            step,
            rule: rule.name.clone(),
            effect,
            why,
            shadow: rule.shadow,
        };
        match self.applies(rule) {
            Applies::Yes => {}
            Applies::OutOfScope | Applies::WrongTime | Applies::Not(_) => return,
            Applies::Fault(_, fault) => {
                outcome.said.push(voice(Step::Fault, verdict::Effect::Deny, fault.to_string()));
                return;
            }
        }
        let mut over = false;
        for bound in &rule.bounds {
            match self.bound(rule, bound, outcome) {
                Within::Yes => {}
                Within::Fault(why) => {
                    over = true;
                    outcome.said.push(voice(Step::Fault, verdict::Effect::Deny, why));
                }
                Within::No { step, why, until } => {
                    over = true;
                    let effect = rule.escalation.over.verdict();
                    outcome.said.push(voice(step, effect, why));
                    if let Some(to) = rule.escalation.downgrade_to.filter(|_| !rule.shadow)
                        && outcome.downgrade.is_none_or(|deepest| to < deepest.to)
                    {
                        outcome.downgrade = Some(Downgrade { rule: &rule.name, to, until });
                    }
                }
            }
        }
        if let Some(effect) = rule.effect.filter(|effect| *effect != Effect::Permit || !over) {
            outcome.said.push(voice(Step::Policy, effect.verdict(), self.why(rule)));
            if effect == Effect::Permit && !rule.shadow {
                outcome.permits.push(&rule.name);
            }
        }
        let asks = matches!(rule.effect, Some(Effect::RequireApproval | Effect::Notify));
        if (over || asks) && !rule.shadow {
            outcome.escalations.push((&rule.name, &rule.escalation));
        }
    }

    /// What the rule rests on, for the operator.
    fn why(&self, rule: &Rule) -> String {
        if rule.conditions.is_empty() {
            return if rule.about.is_empty() { "applies".to_owned() } else { rule.about.clone() };
        }
        let mut why = String::with_capacity(48 * rule.conditions.len());
        for condition in &rule.conditions {
            if !why.is_empty() {
                why.push_str("; ");
            }
            why.push_str(&condition.text);
            values(condition, &self.facts(), &mut why);
            why.push_str(" ✓");
        }
        why
    }

    fn bound(&self, rule: &'a Rule, bound: &'a Bound, outcome: &mut Outcome<'a>) -> Within {
        let Situation { now, zone, .. } = *self.situation;
        let need = |kind, max, amount, from, until| Need {
            rule: &rule.name,
            kind,
            by: bound.by,
            agent: &self.ask.agent,
            max,
            amount,
            from,
            until,
            shadow: rule.shadow,
        };
        match &bound.limit {
            Limit::Resources(globs) => {
                if reaches(globs, &self.ask.resource, self.tidy, true) {
                    return Within::Yes;
                }
                let why = format!("`{}` lies outside the bounds of this rule", self.ask.resource);
                Within::No { step: Step::Policy, why, until: None }
            }
            Limit::Size(condition) => match holds(condition, self) {
                Ok(true) => Within::Yes,
                Ok(false) => {
                    let mut why = condition.text.clone();
                    values(condition, &self.facts(), &mut why);
                    Within::No { step: Step::Policy, why, until: None }
                }
                Err(fault) => Within::Fault(fault.to_string()),
            },
            Limit::Rate { count, per_seconds } => {
                let Some(from) = TimeDelta::try_seconds(*per_seconds)
                    .and_then(|window| now.checked_sub_signed(window))
                else {
                    return Within::Fault("the window of the rate has no beginning".to_owned());
                };
                self.used(need(NeedKind::Rate, *count, 1, Some(from), None), outcome, |used| {
                    let window = u64::try_from(*per_seconds).unwrap_or(0);
                    let window = human::duration(std::time::Duration::from_secs(window));
                    format!("{used} of {count} within {window} are used")
                })
            }
            Limit::Concurrency { count } => {
                self.used(need(NeedKind::Concurrency, *count, 1, None, None), outcome, |used| {
                    format!("{used} of {count} are under way")
                })
            }
            Limit::Cost { period, max } => {
                let cost = self.ask.cost;
                if cost.0 < 0 {
                    return Within::Fault("the cost of the act is below 0".to_owned());
                }
                if cost.0 == 0 {
                    return Within::Yes;
                }
                let Some((from, until)) = period.around(now, zone) else {
                    return Within::Fault("the window of the budget has no end".to_owned());
                };
                let need = need(NeedKind::Cost, max.0, cost.0, Some(from), Some(until));
                self.used(need, outcome, |used| {
                    format!(
                        "${} of ${} are spent until {}; this costs ${}",
                        dollars(Micros(used)),
                        dollars(*max),
                        until.with_timezone(&zone).format("%Y-%m-%d %H:%M %Z"),
                        dollars(cost)
                    )
                })
            }
        }
    }

    fn used(
        &self,
        need: Need<'a>,
        outcome: &mut Outcome<'a>,
        say: impl FnOnce(i64) -> String,
    ) -> Within {
        let Some(used) = self.situation.used.used(&need) else {
            return Within::Fault("what was used so far is not known".to_owned());
        };
        let fits = used.checked_add(need.amount).is_some_and(|total| total <= need.max);
        let until = need.until;
        let step = match need.kind {
            NeedKind::Rate | NeedKind::Concurrency => Step::Rate,
            NeedKind::Cost => Step::Budget,
        };
        outcome.needs.push(need);
        if fits { Within::Yes } else { Within::No { step, why: say(used), until } }
    }
}

enum Within {
    Yes,
    No { step: Step, why: String, until: Option<DateTime<Utc>> },
    Fault(String),
}

fn holds<'b>(condition: &'b Conjunct, judged: &'b Judged<'_, '_>) -> Result<bool, Fault<'b>> {
    condition.code.holds(&judged.facts())
}

/// The attributes of a condition with their values: `: 85`, or `: a = 1, b = 2`; of none, nothing.
pub(super) fn values(condition: &Conjunct, facts: &Facts<'_>, into: &mut String) {
    let mut count = 0_usize;
    condition.code.each_reference(&mut |_| count += 1);
    let mut number = 0_usize;
    condition.code.each_reference(&mut |reference| {
        into.push_str(if number == 0 { ": " } else { ", " });
        number += 1;
        if count > 1 {
            into.push_str(&reference.name);
            into.push_str(" = ");
        }
        reference.show(facts, into);
    });
}
