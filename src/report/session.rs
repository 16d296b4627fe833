//! What a session of delegated acts did, as `ao session` shows it: totals, and the acts as a tree.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Serialize;

use crate::base::money::Micros;

/// `ao session show --json`, and within `ao session list --json`. Fields are only ever added within a version.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct SessionReport {
    pub version: u32,
    pub org: String,
    pub id: String,
    /// When its first act was submitted; RFC 3339.
    pub first: Option<String>,
    /// When its last act was submitted; of those in `actions`.
    pub last: Option<String>,
    pub action_count: u64,
    pub blocked_count: u64,
    /// Acts with a risk of at least 70.
    pub high_risk_count: u64,
    /// 0 to 100.
    pub max_risk: u8,
    /// To a hundredth.
    pub avg_risk: f64,
    pub max_depth: u8,
    /// Millionths of a US dollar.
    pub cost_micros: i64,
    pub agents: Vec<String>,
    /// Oldest first; empty in a list of sessions.
    pub actions: Vec<SessionAct>,
    /// `actions` does not hold all of them.
    pub cut: bool,
}

/// One act of a session.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SessionAct {
    pub id: i64,
    /// In this session or another one.
    pub parent: Option<i64>,
    pub depth: u8,
    pub agent: String,
    pub action_type: String,
    pub resource: String,
    /// `allowed`, `held`, `denied`, `done`, `failed`, `lapsed`.
    pub status: String,
    pub risk: u8,
    pub cost_micros: i64,
    /// RFC 3339.
    pub at: String,
}

/// `ao session list --json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct SessionList {
    pub version: u32,
    /// By name.
    pub sessions: Vec<SessionReport>,
}

impl SessionReport {
    /// One line of totals.
    pub fn summary(&self) -> String {
        format!(
            "{} acts of {} agents, {} blocked, {} of high risk; risk at most {}, {:.2} on average; depth {}; {}",
            self.action_count,
            self.agents.len(),
            self.blocked_count,
            self.high_risk_count,
            self.max_risk,
            self.avg_risk,
            self.max_depth,
            Micros(self.cost_micros).dollars(),
        )
    }

    /// The acts, each below the one that delegated it; an act whose parent is elsewhere stands at the root.
    pub fn tree(&self) -> Vec<String> {
        let known: BTreeSet<i64> = self.actions.iter().map(|act| act.id).collect();
        let mut below: BTreeMap<Option<i64>, Vec<&SessionAct>> = BTreeMap::new();
        for act in &self.actions {
            below.entry(act.parent.filter(|it| known.contains(it))).or_default().push(act);
        }
        let mut lines = Vec::with_capacity(self.actions.len());
        branch(&below, None, "", &mut lines);
        lines
    }
}

fn branch(
    below: &BTreeMap<Option<i64>, Vec<&SessionAct>>,
    parent: Option<i64>,
    lead: &str,
    lines: &mut Vec<String>,
) {
    let acts = below.get(&parent).map_or(&[][..], Vec::as_slice);
    for (at, act) in acts.iter().enumerate() {
        let last = at + 1 == acts.len();
        let (own, rest) = match (parent, last) {
            (None, _) => ("", ""),
            (Some(_), true) => ("└─ ", "   "),
            (Some(_), false) => ("├─ ", "│  "),
        };
        let SessionAct { id, agent, action_type, resource, status, risk, .. } = act;
        let resource: String =
            resource.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        lines.push(format!(
            "{lead}{own}{id}  {agent}  {action_type} {resource}  {status}, risk {risk}"
        ));
        // A parent's id is below its children's: acts are numbered as they come.
        if below.contains_key(&Some(*id)) {
            branch(below, Some(*id), &format!("{lead}{rest}"), lines);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acts_stand_below_the_one_that_delegated_them() {
        let act = |id, parent, agent: &str| SessionAct {
            id,
            parent,
            agent: agent.to_owned(),
            action_type: "x".to_owned(),
            resource: "r\n".to_owned(),
            status: "done".to_owned(),
            ..SessionAct::default()
        };
        let actions = vec![
            act(1, None, "lead"),
            act(2, Some(1), "left"),
            act(3, Some(2), "leaf"),
            act(4, Some(1), "right"),
            act(5, Some(77), "guest"),
        ];
        let report = SessionReport { actions, ..SessionReport::default() };
        let tree = "1  lead  x r   done, risk 0\n\
                    ├─ 2  left  x r   done, risk 0\n\
                    │  └─ 3  leaf  x r   done, risk 0\n\
                    └─ 4  right  x r   done, risk 0\n\
                    5  guest  x r   done, risk 0";
        assert_eq!(report.tree().join("\n"), tree);
    }
}
