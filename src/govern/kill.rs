//! The kill switch: who is stopped, and whom stopping somebody reaches.
//!
//! Stopping processes is not done here. A kill holds until it is lifted, whatever restarts.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// Most agents one cascade reaches; beyond that the preview says so and nothing is done.
pub const CASCADE_MAX: usize = 10_000;

/// One pull of the switch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kill {
    pub why: String,
    pub by: String,
    pub at: DateTime<Utc>,
}

/// Everything that is stopped now.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Kills {
    pub all: Option<Kill>,
    /// By org.
    pub orgs: BTreeMap<String, Kill>,
    /// By org, then agent.
    pub agents: BTreeMap<String, BTreeMap<String, Kill>>,
}

/// What the switch is pulled for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    All,
    Org(String),
    Agents { org: String, agents: Vec<String> },
}

impl Kills {
    /// Why the agent is stopped, the widest kill first; `None` when it is not.
    pub fn of(&self, org: &str, agent: &str) -> Option<(&'static str, &Kill)> {
        let own = || self.agents.get(org).and_then(|agents| agents.get(agent));
        self.all
            .as_ref()
            .map(|kill| ("all agents", kill))
            .or_else(|| self.orgs.get(org).map(|kill| ("this organization", kill)))
            .or_else(|| own().map(|kill| ("this agent", kill)))
    }

    /// The state after a pull. Pulling again keeps the first reason: the switch is idempotent.
    #[must_use]
    pub fn killed(&self, target: &Target, kill: &Kill) -> Self {
        let mut next = self.clone();
        match target {
            Target::All => {
                next.all.get_or_insert_with(|| kill.clone());
            }
            Target::Org(org) => {
                next.orgs.entry(org.clone()).or_insert_with(|| kill.clone());
            }
            Target::Agents { org, agents } => {
                let known = next.agents.entry(org.clone()).or_default();
                for agent in agents {
                    known.entry(agent.clone()).or_insert_with(|| kill.clone());
                }
            }
        }
        next
    }

    /// The state after lifting; a wider kill goes on.
    #[must_use]
    pub fn lifted(&self, target: &Target) -> Self {
        let mut next = self.clone();
        match target {
            Target::All => next.all = None,
            Target::Org(org) => {
                next.orgs.remove(org);
            }
            Target::Agents { org, agents } => {
                if let Some(known) = next.agents.get_mut(org) {
                    known.retain(|agent, _| !agents.contains(agent));
                }
                next.agents.retain(|_, agents| !agents.is_empty());
            }
        }
        next
    }
}

/// Who delegates to whom, within one org.
pub type Edges = BTreeMap<String, BTreeSet<String>>;

/// The agent and all below it, nearest first; `None` past [`CASCADE_MAX`]. Cycles end by themselves.
pub fn cascade(edges: &Edges, root: &str) -> Option<Vec<String>> {
    let mut found = vec![root.to_owned()];
    let mut seen = BTreeSet::from([root.to_owned()]);
    let mut waiting = VecDeque::from([root.to_owned()]);
    while let Some(agent) = waiting.pop_front() {
        for worker in edges.get(&agent).into_iter().flatten() {
            if seen.insert(worker.clone()) {
                if found.len() >= CASCADE_MAX {
                    return None;
                }
                found.push(worker.clone());
                waiting.push_back(worker.clone());
            }
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kill(why: &str) -> Kill {
        Kill { why: why.into(), by: "ann".into(), at: DateTime::from_timestamp(0, 0).unwrap() }
    }

    #[test]
    fn a_kill_reaches_whom_it_names_and_lifting_it_nobody_else() {
        let one = Target::Agents { org: "a".into(), agents: vec!["x".into()] };
        let kills = Kills::default().killed(&one, &kill("first")).killed(&one, &kill("second"));
        assert_eq!(kills.of("a", "x").unwrap().1.why, "first");
        assert!(kills.of("a", "y").is_none());
        assert!(kills.of("b", "x").is_none());
        let wider =
            kills.killed(&Target::Org("a".into()), &kill("org")).killed(&Target::All, &kill("all"));
        assert_eq!(wider.of("b", "z").unwrap().0, "all agents");
        let lifted = wider.lifted(&Target::All);
        assert_eq!(lifted.of("a", "y").unwrap().0, "this organization");
        assert!(lifted.of("b", "z").is_none());
        let lifted = lifted.lifted(&Target::Org("a".into()));
        assert!(lifted.of("a", "x").is_some());
        assert_eq!(lifted.lifted(&one), Kills::default());
    }

    #[test]
    fn a_cascade_reaches_the_whole_subtree_once() {
        let edges: Edges =
            [("a", vec!["b", "c"]), ("b", vec!["d"]), ("d", vec!["a", "b"]), ("x", vec!["a"])]
                .into_iter()
                .map(|(from, to)| (from.to_owned(), to.into_iter().map(str::to_owned).collect()))
                .collect();
        assert_eq!(cascade(&edges, "a").unwrap(), ["a", "b", "c", "d"]);
        assert_eq!(cascade(&edges, "c").unwrap(), ["c"]);
        let wide: Edges =
            [("a".to_owned(), (0..=CASCADE_MAX).map(|at| at.to_string()).collect())].into();
        assert!(cascade(&wide, "a").is_none());
    }
}
