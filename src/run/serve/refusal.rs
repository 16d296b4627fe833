//! Why a request was not served, as published clients read it: a status and one sentence.
//!
//! The sentence is always a string and never names what lies in another organisation. What fails
//! inside is refused with 403: clients send a 5xx again, and raise it as an error of another kind.

use serde_json::{Value, json};

use super::key::KeyError;
use crate::run::governance::GovernanceError;
use crate::sys::db::DbError;

/// The one answer for what is absent and for what belongs to another organisation.
pub const ABSENT: &str = "not found in this organization";
const UNRECORDED: &str = "this could not be recorded, so it is refused";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub status: u16,
    pub detail: String,
    /// Where clients read an object instead of a sentence.
    more: Option<Value>,
}

impl Refusal {
    pub fn new(status: u16, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), more: None }
    }

    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(403, detail)
    }

    /// The request itself is at fault.
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(422, detail)
    }

    pub fn absent() -> Self {
        Self::forbidden(ABSENT)
    }

    /// There is no store to decide by. No 5xx: clients would send it again, up to sixteen times.
    pub fn away() -> Self {
        Self::forbidden("the store is away, so this is refused")
    }

    /// What published clients take for a denial rather than an error: `error` says "violation".
    pub fn violation(detail: impl Into<String>, more: Value) -> Self {
        Self { status: 403, detail: detail.into(), more: Some(more) }
    }

    pub fn is_violation(&self) -> bool {
        self.more.is_some()
    }

    pub fn body(&self) -> Value {
        let detail = self.more.clone().unwrap_or_else(|| self.detail.clone().into());
        json!({ "detail": detail })
    }
}

impl From<DbError> for Refusal {
    fn from(error: DbError) -> Self {
        tracing::error!(
            error = crate::base::chain::text(&error),
            "a request could not be recorded"
        );
        Self::forbidden(UNRECORDED)
    }
}

impl From<KeyError> for Refusal {
    fn from(error: KeyError) -> Self {
        tracing::error!(error = crate::base::chain::text(&error), "a key could not be looked up");
        Self::forbidden(UNRECORDED)
    }
}

impl From<GovernanceError> for Refusal {
    fn from(error: GovernanceError) -> Self {
        match error {
            GovernanceError::NoAction { .. } | GovernanceError::NoApproval { .. } => Self::absent(),
            GovernanceError::NotOpen { .. }
            | GovernanceError::CorrelationReused { .. }
            | GovernanceError::Approval { .. } => Self::forbidden(error.to_string()),
            GovernanceError::Operator(_)
            | GovernanceError::Db(_)
            | GovernanceError::Thread(_)
            | GovernanceError::Place(_) => {
                let text = crate::base::chain::text(&error);
                tracing::error!(error = text, "a request could not be recorded");
                Self::forbidden(UNRECORDED)
            }
        }
    }
}
