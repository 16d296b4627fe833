//! What the store keeps, as rows: plain data, one type a table.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use crate::govern::action::{Ask, Micros};
use crate::govern::approval::State;
use crate::govern::class::Class;
use crate::govern::trust::Level;
use crate::govern::verdict::{Effect, Verdict};

/// What has become of an act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// It may be done; no outcome yet.
    Allowed,
    /// It waits for a person.
    Held,
    Denied,
    /// It was done, well.
    Done,
    /// It was done, and failed.
    Failed,
    /// No outcome came in time; charged at its estimate.
    Lapsed,
}

impl Status {
    pub const ALL: [Self; 6] =
        [Self::Allowed, Self::Held, Self::Denied, Self::Done, Self::Failed, Self::Lapsed];

    pub fn word(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Held => "held",
            Self::Denied => "denied",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Lapsed => "lapsed",
        }
    }

    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.word() == word)
    }
}

/// An act as it is first written.
#[derive(Debug, Clone, PartialEq)]
pub struct NewAction {
    /// Secrets hidden.
    pub ask: Ask,
    /// Of the act as it was asked, secrets included.
    pub digest: String,
    pub class: Class,
    pub verdict: Verdict,
    /// In force: an approval that was used turns a hold into leave.
    pub effect: Effect,
    pub status: Status,
    /// `policy`, `operator:NAME`.
    pub decided_by: String,
    pub approval_id: Option<i64>,
    pub submitted: DateTime<Utc>,
}

/// An act.
#[derive(Debug, Clone, PartialEq)]
pub struct Action {
    pub id: i64,
    pub new: NewAction,
    pub finished: Option<DateTime<Utc>>,
    pub actual_cost: Option<Micros>,
    /// What the one who did it reports.
    pub outcome: Map<String, Value>,
}

/// Which acts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ActionQuery {
    pub agent: Option<String>,
    pub session_id: Option<String>,
    pub since: Option<DateTime<Utc>>,
    /// Ids above this one.
    pub after_id: i64,
    /// 0: no bound.
    pub limit: u32,
}

/// What one session added up to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionTotals {
    pub actions: u64,
    pub blocked: u64,
    /// Risk of at least 70.
    pub high_risk: u64,
    pub max_risk: u8,
    pub risk_sum: u64,
    pub max_depth: u8,
    /// Of those that were not denied.
    pub cost: Micros,
    /// Sorted.
    pub agents: Vec<String>,
}

impl SessionTotals {
    /// To a hundredth, and no float before that.
    pub fn avg_risk(&self) -> f64 {
        let hundredths = (self.risk_sum * 100).checked_div(self.actions).unwrap_or(0);
        f64::from(u32::try_from(hundredths).unwrap_or(0)) / 100.0
    }
}

/// The first answer to a submission that may come again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    pub body_digest: String,
    pub action_id: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewApproval {
    /// The first act that asked.
    pub action_id: i64,
    pub agent: String,
    pub digest: String,
    /// What is asked, for people; secrets hidden.
    pub summary: String,
    pub reason: String,
    pub created: DateTime<Utc>,
    pub expires: DateTime<Utc>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    pub id: i64,
    pub new: NewApproval,
    pub state: State,
    pub decided: Option<DateTime<Utc>>,
    pub decided_by: Option<String>,
    pub why: Option<String>,
    /// Of the decision, by the operator's key.
    pub signature: Option<String>,
}

/// The level in force of one agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustRow {
    pub agent: String,
    pub level: Level,
    /// Where it returns to; other than `level` while it is lowered for a time.
    pub base: Level,
    /// Until when it is lowered.
    pub lowered_until: Option<DateTime<Utc>>,
    pub why: String,
    pub by: String,
    pub changed: DateTime<Utc>,
}

/// How an agent did, in one class of acts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conduct {
    pub agent: String,
    pub class: Class,
    pub runs: u64,
    pub successes: u64,
    pub failures: u64,
    pub denials: u64,
    pub violations: u64,
    pub since: DateTime<Utc>,
    pub last: DateTime<Utc>,
}

impl Conduct {
    pub fn none(agent: &str, class: Class, now: DateTime<Utc>) -> Self {
        Self {
            agent: agent.to_owned(),
            class,
            runs: 0,
            successes: 0,
            failures: 0,
            denials: 0,
            violations: 0,
            since: now,
            last: now,
        }
    }
}

/// One window of one budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    /// `agent:builder:daily`, `policy:deploys:weekly`, `org:monthly`.
    pub key: String,
    /// Its start.
    pub window: DateTime<Utc>,
    pub spent: Micros,
    /// Promised to acts under way.
    pub reserved: Micros,
}

impl Budget {
    /// A window of which nothing was used.
    pub fn empty(key: &str, window: DateTime<Utc>) -> Self {
        Self { key: key.to_owned(), window, spent: Micros(0), reserved: Micros(0) }
    }

    /// Spent and promised.
    pub fn committed(&self) -> Micros {
        Micros(self.spent.0.saturating_add(self.reserved.0))
    }
}

/// Money promised to one act.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    pub action_id: i64,
    pub key: String,
    pub window: DateTime<Utc>,
    pub amount: Micros,
    /// From then on it counts as spent.
    pub lapses: DateTime<Utc>,
}

/// A kill switch in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KillSwitch {
    /// [`ALL`](Self::ALL), or an agent's name.
    pub target: String,
    pub by: String,
    pub why: String,
    pub at: DateTime<Utc>,
}

impl KillSwitch {
    /// The target that covers everybody; no agent's name may begin with `*`.
    pub const ALL: &str = "*";

    pub fn covers(&self, agent: &str) -> bool {
        self.target == Self::ALL || self.target == agent
    }
}

/// Which audit records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditQuery {
    /// Sequences above this one.
    pub after: u64,
    pub since: Option<DateTime<Utc>>,
    /// In actor, subject, kind or details; as it stands, ASCII case ignored.
    pub containing: Option<String>,
    pub kind: Option<String>,
    /// Only the last so many of what fits; still oldest first.
    pub last: Option<u32>,
}
