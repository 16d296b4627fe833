//! `[governance]` and what an `[[agent]]` says of its own bounds, checked.

use std::path::PathBuf;
use std::time::Duration;

use crate::base::zone::Tz;

use crate::base::name::UnitName;

/// `[governance]`; every field has a value, so that a project without the section is described too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Governance {
    pub store: StorePlace,
    /// Folder of the policy files.
    pub policies: PathBuf,
    /// A table of action classes of the project's own.
    pub classes: Option<PathBuf>,
    /// Of budgets and schedules that name none.
    pub zone: Tz,
    /// The operator's credential; `None`: in the user's own config folder.
    pub operator: Option<PathBuf>,
    /// An act waits this long for a person before it is denied (1 h).
    pub approval_timeout: Duration,
    /// A hook waits this long for an approval before it answers "not yet" (10 min).
    pub hook_wait: Duration,
    pub depth_rule: DepthRule,
    /// Only registered orchestrators may delegate, and only to their workers.
    pub enforce_topology: bool,
    /// Of each session.
    pub session_actions_max: Option<u64>,
    /// Of each session; in millionths of a dollar.
    pub session_cost_max_micros: Option<i64>,
    /// By name.
    pub budgets: Vec<Budget>,
    /// By name.
    pub sources: Vec<Source>,
}

/// Where decisions are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StorePlace {
    /// `ao.db` in the state folder.
    Default,
    File(PathBuf),
    /// A `postgres://` address.
    Postgres(String),
}

/// How a child's depth is held against its parent's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DepthRule {
    Declared,
    Exact,
}

/// A level of trust, as the file has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trust {
    L0,
    L1,
    L2,
    L3,
    L4,
}

/// How long money counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BudgetWindow {
    Day,
    Week,
    Month,
}

/// `[governance.budget.<name>]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    pub name: String,
    /// In millionths of a dollar.
    pub limit_micros: i64,
    pub window: BudgetWindow,
    /// Whose costs count; empty: everybody's.
    pub agents: Vec<UnitName>,
    /// In percent.
    pub warn_at: u8,
    /// In percent; not below `warn_at`.
    pub downgrade_at: u8,
    /// `None`: L1, or one below what is held, whichever is less.
    pub downgrade_to: Option<Trust>,
}

/// `[governance.source.<name>]`: who vouches for facts that policies ask about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    pub name: String,
    /// Run by `sh -c` in the project's folder.
    pub command: String,
    pub every: Duration,
    /// From when it was asked on.
    pub valid: Duration,
    pub timeout: Duration,
}

/// What an agent may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentBounds {
    /// Its acts are judged, recorded and paid for.
    pub governed: bool,
    /// Where it begins. The level in force lives in the store.
    pub trust: Trust,
    /// Not below `trust`.
    pub trust_max: Trust,
    /// Globs of action types; `None`: all that trust allows.
    pub capabilities: Option<Vec<String>>,
    /// Globs of resources; `None`: all that trust allows.
    pub permissions: Option<Vec<String>>,
}
