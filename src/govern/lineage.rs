//! Who delegated an act: checked before anything is written, and never dropped to let one through.
//!
//! An absent parent and one of another org are told apart by nobody. The texts are part of the contract
//! with published clients.

use super::action::{Ask, DEPTH_MAX, SESSION_ID_CHARS_MAX};
use super::trust::Level;

/// What the lookup of `parent_action_id` within the caller's org gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parent {
    /// None was named.
    None,
    Found {
        session_id: Option<String>,
        depth: u8,
        /// The least trust along the chain up to and with the parent.
        trust: Level,
    },
    /// Not there, or of another org.
    Absent,
    /// The lookup failed.
    Unknown,
}

/// How a child's depth is held against its parent's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DepthRule {
    /// As the caller declares it, within the range.
    #[default]
    Declared,
    /// The parent's and one.
    Exact,
}

/// Where an accepted act stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lineage {
    /// Its own, or its parent's.
    pub session_id: Option<String>,
    pub depth: u8,
    /// The least trust of those above it; `None` at the root.
    pub trust_above: Option<Level>,
}

/// Why an act is refused before there is a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("orchestration_depth must be between 0 and 5")]
    Depth,
    #[error("orchestration_depth must be one more than the parent's")]
    DepthNotNext,
    #[error("orchestration_session_id must be at most 255 characters")]
    SessionTooLong,
    #[error("parent action not found in this organization")]
    ParentNotFound,
    #[error("orchestration session id does not match parent action")]
    Graft,
    #[error("orchestration validation failed")]
    Failed,
}

/// How grave a refusal is, in the words of the audit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alarm {
    pub event: &'static str,
    pub severity: &'static str,
}

impl Refusal {
    /// The HTTP status.
    pub const fn status(self) -> u16 {
        match self {
            Self::Depth | Self::DepthNotNext | Self::SessionTooLong => 422,
            Self::ParentNotFound | Self::Graft | Self::Failed => 403,
        }
    }

    /// What the audit records beside the refusal.
    pub const fn alarm(self) -> Option<Alarm> {
        match self {
            Self::ParentNotFound => {
                Some(Alarm { event: "ORCHESTRATION_FIELD_REJECTED", severity: "HIGH" })
            }
            Self::Graft => {
                Some(Alarm { event: "ORCHESTRATION_GRAFT_ATTEMPT", severity: "CRITICAL" })
            }
            Self::Depth | Self::DepthNotNext | Self::SessionTooLong | Self::Failed => None,
        }
    }
}

/// Checks in this order: depth, session, parent, graft.
pub fn check(ask: &Ask, parent: &Parent, rule: DepthRule) -> Result<Lineage, Refusal> {
    if ask.depth > DEPTH_MAX {
        return Err(Refusal::Depth);
    }
    let session = ask.session_id.as_ref();
    if session.is_some_and(|session| session.chars().count() > SESSION_ID_CHARS_MAX) {
        return Err(Refusal::SessionTooLong);
    }
    let (parent_session, parent_depth, trust) = match (ask.parent_action_id, parent) {
        (None, Parent::None) => {
            return Ok(Lineage {
                session_id: session.cloned(),
                depth: ask.depth,
                trust_above: None,
            });
        }
        (Some(_), Parent::Found { session_id, depth, trust }) => (session_id, *depth, *trust),
        (Some(_), Parent::Absent) => return Err(Refusal::ParentNotFound),
        // A parent that was looked up though none was named, or not looked up though one was.
        (Some(_), Parent::Unknown | Parent::None)
        | (None, Parent::Found { .. } | Parent::Absent | Parent::Unknown) => {
            return Err(Refusal::Failed);
        }
    };
    if session.is_some() && session != parent_session.as_ref() {
        return Err(Refusal::Graft);
    }
    if rule == DepthRule::Exact && parent_depth.checked_add(1) != Some(ask.depth) {
        return Err(Refusal::DepthNotNext);
    }
    Ok(Lineage { session_id: parent_session.clone(), depth: ask.depth, trust_above: Some(trust) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::govern::action::Micros;

    fn ask(session: Option<&str>, parent: Option<i64>, depth: u8) -> Ask {
        Ask {
            org: "a".into(),
            agent: "x".into(),
            action_type: "file.read".into(),
            resource: "f".into(),
            context: serde_json::Map::new(),
            cost: Micros(0),
            claimed_risk: None,
            session_id: session.map(str::to_owned),
            parent_action_id: parent,
            depth,
            correlation_id: None,
        }
    }

    fn found(session: Option<&str>) -> Parent {
        Parent::Found { session_id: session.map(str::to_owned), depth: 1, trust: Level::L2 }
    }

    #[test]
    fn refusals_have_the_texts_and_statuses_of_the_contract() {
        let long = "é".repeat(256);
        for (ask, parent, text, status) in [
            (
                ask(Some("s"), Some(1), 6),
                found(None),
                "orchestration_depth must be between 0 and 5",
                422,
            ),
            (
                ask(Some(&long), None, 0),
                Parent::None,
                "orchestration_session_id must be at most 255 characters",
                422,
            ),
            (
                ask(None, Some(1), 2),
                Parent::Absent,
                "parent action not found in this organization",
                403,
            ),
            (
                ask(Some("s"), Some(1), 2),
                found(Some("t")),
                "orchestration session id does not match parent action",
                403,
            ),
            (
                ask(Some("s"), Some(1), 2),
                found(None),
                "orchestration session id does not match parent action",
                403,
            ),
            (ask(None, Some(1), 2), Parent::Unknown, "orchestration validation failed", 403),
            (ask(None, Some(1), 2), Parent::None, "orchestration validation failed", 403),
            (ask(None, None, 2), found(None), "orchestration validation failed", 403),
        ] {
            let refusal = check(&ask, &parent, DepthRule::Declared).unwrap_err();
            assert_eq!((refusal.to_string().as_str(), refusal.status()), (text, status));
        }
        assert_eq!(Refusal::ParentNotFound.alarm().unwrap().severity, "HIGH");
        assert_eq!(Refusal::Graft.alarm().unwrap().event, "ORCHESTRATION_GRAFT_ATTEMPT");
    }

    #[test]
    fn a_child_inherits_its_parents_session_and_trust() {
        let lineage =
            check(&ask(None, Some(1), 4), &found(Some("s")), DepthRule::Declared).unwrap();
        assert_eq!(lineage.session_id.as_deref(), Some("s"));
        assert_eq!(lineage.trust_above, Some(Level::L2));
        let same = check(&ask(Some("s"), Some(1), 2), &found(Some("s")), DepthRule::Exact);
        assert!(same.is_ok());
        let lagging = check(&ask(None, Some(1), 4), &found(Some("s")), DepthRule::Exact);
        assert_eq!(lagging.unwrap_err(), Refusal::DepthNotNext);
        assert!(
            check(&ask(Some(&"é".repeat(255)), None, 5), &Parent::None, DepthRule::Exact).is_ok()
        );
    }
}
