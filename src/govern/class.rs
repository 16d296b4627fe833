//! How far an act reaches: the columns of the trust table.

use serde::{Deserialize, Serialize};

/// Least reach first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Read, query, fetch.
    Observe,
    /// Draft, comment, plan.
    Propose,
    /// Edit, run tests, merge a dependency, in the agent's own project. What is unknown counts as this.
    Act,
    /// Deploy, coordinate: beyond the agent's own project.
    Across,
    /// Agents, trust, policy, and the files that bound the agent itself.
    System,
}
