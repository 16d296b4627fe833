//! A checked rule: plain data that can be stored and walked.

use serde::{Deserialize, Serialize};

use super::expression::Conjunct;
use super::glob::{Globs, tidied};
use super::schedule::{Period, Schedule};
use crate::govern::action::{Ask, Micros};
use crate::govern::trust::Level;
use crate::govern::verdict;

/// One rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// Unique in its set.
    pub name: String,
    /// For the operator; may be empty.
    pub about: String,
    /// Evaluated and recorded, never enforced.
    pub shadow: bool,
    /// `None`: it only bounds.
    pub effect: Option<Effect>,
    pub scope: Scope,
    pub schedule: Option<Schedule>,
    /// All must hold.
    pub conditions: Vec<Conjunct>,
    pub bounds: Vec<Bound>,
    pub escalation: Escalation,
}

/// What a rule says where it applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Opens what trust makes depend on a policy; lifts nothing else.
    Permit,
    Notify,
    RequireApproval,
    Deny,
}

impl Effect {
    pub fn verdict(self) -> verdict::Effect {
        match self {
            Self::Permit => verdict::Effect::Allow,
            Self::Notify => verdict::Effect::AllowNotify,
            Self::RequireApproval => verdict::Effect::RequireApproval,
            Self::Deny => verdict::Effect::Deny,
        }
    }

    /// As a file writes it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Permit => "permit",
            Self::Notify => "notify",
            Self::RequireApproval => "require_approval",
            Self::Deny => "deny",
        }
    }

    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Permit, Self::Notify, Self::RequireApproval, Self::Deny]
            .into_iter()
            .find(|effect| effect.word() == word)
    }
}

/// To which acts a rule applies; every part must match.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    pub agents: Globs,
    pub actions: Globs,
    pub resources: Globs,
    pub projects: Globs,
    pub orgs: Globs,
    pub trust_min: Level,
    pub trust_max: Level,
}

impl Scope {
    /// `tidy` is the resource with `..` and the like resolved, where that differs. A rule that
    /// restricts takes either spelling; one that permits needs both.
    pub fn matches(
        &self,
        ask: &Ask,
        tidy: Option<&str>,
        project: &str,
        trust: Level,
        permit: bool,
    ) -> bool {
        self.actions.matches(&ask.action_type)
            && self.agents.matches(&ask.agent)
            && (self.trust_min..=self.trust_max).contains(&trust)
            && reaches(&self.resources, &ask.resource, tidy, permit)
            && self.projects.matches(project)
            && self.orgs.matches(&ask.org)
    }

    /// Whether it surely takes in all that `other` takes in.
    pub fn covers(&self, other: &Self) -> bool {
        self.agents.covers(&other.agents)
            && self.actions.covers(&other.actions)
            && self.resources.covers(&other.resources)
            && self.projects.covers(&other.projects)
            && self.orgs.covers(&other.orgs)
            && self.trust_min <= other.trust_min
            && self.trust_max >= other.trust_max
    }
}

/// Whether the patterns reach a resource: in both spellings, or in either.
pub(super) fn reaches(globs: &Globs, resource: &str, tidy: Option<&str>, both: bool) -> bool {
    let plain = globs.matches(resource);
    match tidy {
        Some(tidy) if both => plain && globs.matches(tidy),
        Some(tidy) => plain || globs.matches(tidy),
        None => plain,
    }
}

/// The resource in its tidy spelling, where that differs.
pub(super) fn tidy_resource(ask: &Ask) -> Option<String> {
    tidied(&ask.resource)
}

/// A limit to what a rule's acts may use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bound {
    pub limit: Limit,
    pub by: By,
}

/// Whose acts count together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// All that the rule applies to.
    Policy,
    /// Each agent's by themselves.
    Agent,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Limit {
    Rate {
        count: i64,
        per_seconds: i64,
    },
    /// Acts begun and not ended.
    Concurrency {
        count: i64,
    },
    Cost {
        period: Period,
        max: Micros,
    },
    /// Only these may be touched.
    Resources(Globs),
    /// Of what is written; a condition, so that a missing size is a fault.
    Size(Conjunct),
}

/// What happens past the bounds, and who is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Escalation {
    /// Past the bounds: deny, hold, or only tell.
    pub over: Effect,
    /// Who may approve; empty: any operator.
    pub approvers: Vec<String>,
    /// Seconds until an unanswered request is denied.
    pub timeout_seconds: Option<i64>,
    pub notify: Vec<String>,
    /// Past the bounds, trust falls to this until the bound's window ends.
    pub downgrade_to: Option<Level>,
}

impl Default for Escalation {
    fn default() -> Self {
        Self {
            over: Effect::Deny,
            approvers: Vec::new(),
            timeout_seconds: None,
            notify: Vec::new(),
            downgrade_to: None,
        }
    }
}
