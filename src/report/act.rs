//! What acting verbs say: one line a unit.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::base::name::UnitName;
use crate::supervise::event::Outcome;

/// What became of one unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    pub name: String,
    pub verdict: Verdict,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Started,
    AlreadyRunning,
    Disabled,
    Stopped,
    NotRunning,
    Failed,
    Queued,
    Submitted,
    NotSubmitted,
    FateUnknown,
}

impl Verdict {
    pub const fn words(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::AlreadyRunning => "already running",
            Self::Disabled => "disabled",
            Self::Stopped => "stopped",
            Self::NotRunning => "not running",
            Self::Failed => "failed",
            Self::Queued => "queued",
            Self::Submitted => "delivered",
            Self::NotSubmitted => "not delivered",
            Self::FateUnknown => "unknown",
        }
    }
}

impl Line {
    /// The lines of one answer, by name.
    pub fn all(outcomes: &BTreeMap<UnitName, Outcome>) -> Vec<Self> {
        outcomes.iter().map(|(name, outcome)| Self::of(name, outcome)).collect()
    }

    /// One line.
    pub fn of(name: &UnitName, outcome: &Outcome) -> Self {
        let (verdict, why) = match outcome {
            Outcome::Started => (Verdict::Started, None),
            Outcome::AlreadyRunning => (Verdict::AlreadyRunning, None),
            Outcome::Disabled => (Verdict::Disabled, None),
            Outcome::Stopped { cut: false } => (Verdict::Stopped, None),
            Outcome::Stopped { cut: true } => {
                (Verdict::Stopped, Some("it did not leave by itself and was killed".to_owned()))
            }
            Outcome::NotRunning => (Verdict::NotRunning, None),
            Outcome::Failed { why } => (Verdict::Failed, Some(why.clone())),
            Outcome::Queued { .. } => (Verdict::Queued, None),
            Outcome::Submitted { .. } => (Verdict::Submitted, None),
            Outcome::NotSubmitted { why } => (Verdict::NotSubmitted, Some(why.clone())),
            Outcome::FateUnknown { why } => (Verdict::FateUnknown, Some(why.clone())),
        };
        Self { name: name.to_string(), verdict, why }
    }
}
