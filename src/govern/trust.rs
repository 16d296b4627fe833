//! How far an agent is trusted: the rows of the trust table.

use serde::{Deserialize, Serialize};

/// Least trusted first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Level {
    /// Observer.
    L0,
    /// Contributor.
    L1,
    /// Trusted.
    L2,
    /// Senior.
    L3,
    /// Architect.
    L4,
}
