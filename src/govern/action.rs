//! What an agent asks leave for, as every door hands it in.
//!
//! Surprise: all that a caller says about its own act (`context`, cost, risk) is a claim. A claim can
//! tighten a verdict, never loosen it; where a fact comes from is kept in [`super::attribute`].

use serde::{Deserialize, Serialize};

pub use crate::base::money::Micros;

/// Longest accepted `session_id`, in characters.
pub const SESSION_ID_CHARS_MAX: usize = 255;
/// Deepest accepted delegation.
pub const DEPTH_MAX: u8 = 5;

/// One act, before it is done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ask {
    /// The tenant; one project on one machine is the org `local`.
    pub org: String,
    pub agent: String,
    /// Dotted and lower case: `file.write`, `shell.run`, `database.query`.
    pub action_type: String,
    /// What it is done to: a path, a command line, a URL, a table.
    pub resource: String,
    /// What the caller adds; a claim.
    pub context: serde_json::Map<String, serde_json::Value>,
    /// The caller's estimate; a claim.
    pub cost: Micros,
    /// The caller's own risk score, 0 to 100; stored, never used to loosen.
    pub claimed_risk: Option<f64>,
    pub session_id: Option<String>,
    pub parent_action_id: Option<i64>,
    /// 0 for a root act, at most [`DEPTH_MAX`].
    pub depth: u8,
    /// Names one submission, so that a repeated one is answered as the first.
    pub correlation_id: Option<String>,
}
