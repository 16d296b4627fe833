//! The judgement: an [`Ask`] and everything that is known, to a [`Verdict`] with its trace.
//!
//! Every voice is heard and the strictest wins; nothing here looks at order or specificity. Trust has the
//! last word downwards: a policy can ask for more, never for less than the trust table. What goes wrong in
//! any voice denies and names what it was. Left out: durability, approvals and the reservation of money,
//! which the caller does in one transaction with what this returns.

use std::borrow::Cow;

use chrono::{DateTime, Utc};

use super::action::{Ask, Micros};
use super::assess::{self, Act, Assessment};
use super::bounds::Bounds;
use super::budget::{Account, Budget};
use super::class::Class;
use super::classes::Table;
use super::declared::Declared;
use super::kill::Kills;
use super::lineage::{self, DepthRule, Parent};
use super::trust::{self, Level};
use super::verdict::{Effect, Said, Step, Verdict};

/// What the policies say of one act.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Voices {
    /// Of rules and of rates, with shadowed ones marked.
    pub said: Vec<Said>,
    /// An enforced rule permits the act.
    pub permits: bool,
    /// The lowest trust that a crossed bound leaves.
    pub downgrade: Option<Level>,
}

/// A set of policies, seen from here.
pub trait Policies {
    /// What it says of the ask, whose type and resource are those of one part. It may be asked again with
    /// less trust, when a bound was crossed.
    fn voices(&self, ask: &Ask, class: Class, trust: Level) -> Voices;

    /// Of the loaded set; hex.
    fn digest(&self) -> &str;
}

/// All that is known when an act is judged.
#[derive(Clone, Copy)]
pub struct Snapshot<'a> {
    pub table: &'a Table,
    pub bounds: &'a Bounds,
    pub kills: &'a Kills,
    pub parent: &'a Parent,
    pub depth_rule: DepthRule,
    /// The agent's level in force.
    pub level: Level,
    pub declared: &'a Declared,
    pub policies: &'a dyn Policies,
    /// That the act counts against, as of the transaction it is recorded in.
    pub budgets: &'a [(Budget, Account)],
}

/// Judges. What cannot be judged is denied.
pub fn judge(snapshot: &Snapshot<'_>, ask: &Ask, now: DateTime<Utc>) -> Verdict {
    judge_assessed(snapshot, ask, &assess::assess(snapshot.table, snapshot.bounds, ask), now)
}

/// [`judge`] of an act that was assessed before, by the same table and bounds.
pub fn judge_assessed(
    snapshot: &Snapshot<'_>,
    ask: &Ask,
    assessment: &Assessment,
    now: DateTime<Utc>,
) -> Verdict {
    let mut trace: Vec<Said> = Vec::new();
    if let Some((whose, kill)) = snapshot.kills.of(&ask.org, &ask.agent) {
        trace.push(said(
            Step::KillSwitch,
            "kill switch",
            Effect::Deny,
            format!("{whose}: {}", kill.why),
        ));
        return closed(snapshot, trace, 100);
    }
    let lineage = match lineage::check(ask, snapshot.parent, snapshot.depth_rule) {
        Ok(lineage) => lineage,
        Err(refusal) => {
            trace.push(said(Step::Lineage, "lineage", Effect::Deny, refusal.to_string()));
            return closed(snapshot, trace, 100);
        }
    };
    if ask.cost < Micros(0) {
        trace.push(said(Step::Fault, "cost", Effect::Deny, "`cost` is negative".to_owned()));
        return closed(snapshot, trace, 100);
    }
    let mut level = trust::effective(snapshot.level, lineage.trust_above);
    let held = level;
    for (budget, account) in snapshot.budgets {
        level = level.min(account.trust(budget, held, now));
        trace.extend(account.says(budget, ask.cost, now));
    }
    for act in assessment.acts() {
        weigh(snapshot, ask, act, level, &mut trace);
    }
    claims(ask, &mut trace);
    closed(snapshot, trace, assessment.risk())
}

/// Hears everybody about one part.
fn weigh(snapshot: &Snapshot<'_>, ask: &Ask, act: &Act, level: Level, trace: &mut Vec<Said>) {
    trace.extend(snapshot.declared.says(act));
    let part = if act.action_type == ask.action_type && act.resource == ask.resource {
        Cow::Borrowed(ask)
    } else {
        let (action_type, resource) = (act.action_type.clone(), act.resource.clone());
        Cow::Owned(Ask { action_type, resource, ..ask.clone() })
    };
    let mut voices = snapshot.policies.voices(&part, act.class, level);
    let mut level = level;
    // Less trust can make other rules speak, once more each time it falls; there are five levels.
    while let Some(lower) = voices.downgrade.filter(|lower| *lower < level) {
        level = lower;
        let again = snapshot.policies.voices(&part, act.class, level);
        voices.permits &= again.permits;
        voices.downgrade = again.downgrade;
        voices.said.extend(again.said);
    }
    trace.append(&mut voices.said);
    let effect = trust::gate(level, act.class, voices.permits);
    let why = match effect {
        Effect::Allow | Effect::AllowNotify => String::new(),
        Effect::RequireApproval | Effect::Deny => {
            format!("{} of {} has risk {}", act.action_type, act.resource, act.risk)
        }
    };
    let rule = format!("{} × {}", level.word(), word(act.class));
    trace.push(said(Step::Trust, &rule, effect, why));
}

/// What the caller says of itself can only tighten.
fn claims(ask: &Ask, trace: &mut Vec<Said>) {
    match ask.context.get("require_human_approval") {
        None | Some(serde_json::Value::Bool(false) | serde_json::Value::Null) => {}
        // Anything else was meant as a wish for more control.
        Some(_) => trace.push(said(
            Step::Declared,
            "require_human_approval",
            Effect::RequireApproval,
            "the caller asks for a person".to_owned(),
        )),
    }
}

/// The same verdict with more voices heard.
pub fn hearing(verdict: Verdict, more: Vec<Said>) -> Verdict {
    if more.is_empty() {
        return verdict;
    }
    let Verdict { mut trace, risk, policy_digest, .. } = verdict;
    trace.extend(more);
    summed(trace, risk, policy_digest)
}

fn closed(snapshot: &Snapshot<'_>, trace: Vec<Said>, risk: u8) -> Verdict {
    summed(trace, risk, snapshot.policies.digest().to_owned())
}

fn summed(mut trace: Vec<Said>, risk: u8, policy_digest: String) -> Verdict {
    let key = |said: &Said| (said.step, said.effect, said.shadow);
    trace.sort_by(|one, other| {
        one.step
            .cmp(&other.step)
            .then_with(|| one.rule.cmp(&other.rule))
            .then_with(|| key(one).cmp(&key(other)))
            .then_with(|| one.why.cmp(&other.why))
    });
    trace.dedup();
    let enforced = || trace.iter().filter(|said| !said.shadow);
    // Nobody spoke: nothing was judged, so nothing is allowed.
    let effect = enforced().map(|said| said.effect).max().unwrap_or(Effect::Deny);
    let deciding = enforced().find(|said| said.effect == effect);
    let reason = match effect {
        Effect::Allow => "allowed".to_owned(),
        Effect::AllowNotify => "allowed; a person is told".to_owned(),
        Effect::RequireApproval => sentence("this needs a person's approval", deciding),
        Effect::Deny => sentence("denied", deciding),
    };
    Verdict { effect, reason, trace, risk, policy_digest }
}

/// For the agent: which step spoke, and by what rule; figures and causes stay with the operator.
fn sentence(what: &str, deciding: Option<&Said>) -> String {
    let Some(said) = deciding else {
        return what.to_owned();
    };
    match said.step {
        Step::KillSwitch => format!("{what}: the kill switch is on"),
        // Its texts are made for callers.
        Step::Lineage => said.why.clone(),
        Step::Declared => {
            format!("{what}: outside what this agent is declared to do ({})", said.rule)
        }
        Step::Policy => format!("{what} by the policy `{}`", said.rule),
        Step::Trust => format!("{what}: trust {}", said.rule),
        Step::Rate => format!("{what}: the rate limit `{}` is reached", said.rule),
        Step::Budget => format!("{what}: the budget `{}` is used up", said.rule),
        Step::Session => format!("{what}: the session's cap `{}` is reached", said.rule),
        Step::Fault => format!("{what}: the rule `{}` could not be judged", said.rule),
    }
}

fn said(step: Step, rule: &str, effect: Effect, why: String) -> Said {
    Said { step, rule: rule.to_owned(), effect, why, shadow: false }
}

const fn word(class: Class) -> &'static str {
    match class {
        Class::Observe => "observe",
        Class::Propose => "propose",
        Class::Act => "act",
        Class::Across => "across",
        Class::System => "system",
    }
}

#[cfg(test)]
mod tests;
