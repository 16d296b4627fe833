//! The answer to an [`Ask`](super::action::Ask), and how it came about.

use serde::{Deserialize, Serialize};

/// What may happen, mildest first: of several voices the greatest wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    Allow,
    AllowNotify,
    RequireApproval,
    Deny,
}

/// One voice: which step and rule spoke, what it said, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    pub step: Step,
    /// A rule's name, a budget's name, `L1 × act`.
    pub rule: String,
    pub effect: Effect,
    /// For the operator; names the attribute or figure it rests on.
    pub why: String,
    /// Evaluated and recorded, but not enforced.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shadow: bool,
}

/// The steps in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    KillSwitch,
    Lineage,
    Declared,
    Policy,
    Trust,
    Rate,
    Budget,
    /// What one session may do.
    Session,
    /// Something went wrong on the way, which denies.
    Fault,
}

/// The whole answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    pub effect: Effect,
    /// One sentence for the agent; no internals.
    pub reason: String,
    /// Every voice, in the order of the steps, then by rule name.
    pub trace: Vec<Said>,
    /// 0 to 100, by our own table.
    pub risk: u8,
    /// Of the policy set it was judged under; hex.
    pub policy_digest: String,
}
