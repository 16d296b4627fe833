//! How this door judges: the shared judgement with the project's policies, on what one transaction knows.
//!
//! The budgets of `[governance]` are the local organisation's. No published client says what an act
//! costs, so they are asked for what their `cost_micros` says, if they send it.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};

use super::key::Org;
use crate::config::Config;
use crate::config::governance as config;
use crate::govern::action::Ask;
use crate::govern::assess::{self, Assessment};
use crate::govern::attribute::Attributes;
use crate::govern::bounds::Bounds;
use crate::govern::budget::Budget;
use crate::govern::class::Class;
use crate::govern::classes::Table;
use crate::govern::declared::Declared;
use crate::govern::judge::{self, Snapshot};
use crate::govern::kill::{Kill, Kills};
use crate::govern::lineage::{DepthRule, Parent};
use crate::govern::policy::Set;
use crate::govern::policy::facts::{self, Told};
use crate::govern::trust::Level;
use crate::govern::verdict::Verdict;
use crate::run::governance::LOCAL_ORG;
use crate::run::governance::bounds::project_name;
use crate::run::governance::door::{accounts, windows};
use crate::run::governance::submit::{Known, Needs};
use crate::run::governance::voices::Rules;
use crate::sys::db::rows::{KillSwitch, TrustRow};

/// What does not change from one act to the next.
#[derive(Clone, Copy)]
pub struct Court<'a> {
    pub set: &'a Set,
    pub table: &'a Table,
    pub bounds: &'a Bounds,
    pub config: &'a Config,
    pub org: &'a Org,
    /// As rules name it; seen from other machines the organisation stands in its place.
    pub project: &'a str,
    /// What the project's sources vouch for.
    pub told: &'a [(String, Told)],
}

/// What an act amounts to and what it says, found out once.
#[derive(Debug)]
pub struct Foreseen {
    attributes: Attributes,
    assessment: Assessment,
    /// Those that the act counts in.
    budgets: Vec<Budget>,
}

impl Foreseen {
    pub fn class(&self) -> Class {
        self.assessment.class()
    }
}

/// The project's name for rules; of another organisation its own.
pub fn project(config: &Config, org: &Org) -> String {
    if org.name == LOCAL_ORG { project_name(config) } else { org.name.clone() }
}

impl Court<'_> {
    pub fn depth_rule(&self) -> DepthRule {
        match self.config.governance.depth_rule {
            config::DepthRule::Declared => DepthRule::Declared,
            config::DepthRule::Exact => DepthRule::Exact,
        }
    }

    /// The act's class, and what is to be looked up and counted with it; `level`: the least along the
    /// chain above it.
    pub fn foresee(&self, ask: &Ask, level: Level, now: DateTime<Utc>) -> (Foreseen, Needs) {
        let hold = TimeDelta::from_std(self.config.governance.approval_timeout);
        let default = Needs::default();
        let budgets = self.budgets(&ask.agent);
        let mut needs = Needs {
            hold: hold.unwrap_or(default.hold),
            cost: ask.cost,
            budgets: windows(&budgets, now),
            ..default
        };
        let attributes = self.attributes(ask, now);
        let assessment = assess::assess(self.table, self.bounds, ask);
        self.rules(&attributes, now).foresee(ask, assessment.acts(), level, &mut needs);
        (Foreseen { attributes, assessment, budgets }, needs)
    }

    fn budgets(&self, agent: &str) -> Vec<Budget> {
        if self.org.name != LOCAL_ORG {
            return Vec::new();
        }
        let governance = &self.config.governance;
        let mine = governance.budgets.iter().filter(|budget| {
            budget.agents.is_empty() || budget.agents.iter().any(|name| name.as_str() == agent)
        });
        mine.map(|budget| Budget::of(budget, governance.zone)).collect()
    }

    fn attributes(&self, ask: &Ask, now: DateTime<Utc>) -> Attributes {
        let mut attributes = facts::claims(&ask.context);
        facts::verified(self.told.iter().map(|(_, told)| told), now, &mut attributes);
        attributes
    }

    fn rules<'r>(&'r self, attributes: &'r Attributes, now: DateTime<Utc>) -> Rules<'r> {
        let zone = self.config.governance.zone;
        Rules { set: self.set, project: self.project, attributes, now, zone }
    }

    pub fn level(&self, agent: &str, row: Option<&TrustRow>, now: DateTime<Utc>) -> Level {
        let configured = self.configured(agent);
        let start = configured.map_or(self.org.trust, |agent| agent.trust.into());
        let held = row.map_or(start, |row| match row.lowered_until {
            Some(until) if now >= until => row.base,
            Some(_) | None => row.level,
        });
        configured.map_or(held, |agent| held.min(agent.trust_max.into()))
    }

    fn configured(&self, agent: &str) -> Option<&config::AgentBounds> {
        let agent = self.config.agent(agent).filter(|_| self.org.name == LOCAL_ORG)?;
        Some(&agent.bounds).filter(|bounds| bounds.governed)
    }

    pub fn judge(&self, ask: &Ask, needs: &Needs, foreseen: &Foreseen, known: &Known) -> Verdict {
        let now = known.now.wall;
        let level_of =
            |(agent, row): &(String, Option<TrustRow>)| self.level(agent, row.as_ref(), now);
        let levels: Vec<Level> = known.trust.iter().map(level_of).collect();
        let (own, above) = levels.split_first().unwrap_or((&Level::L0, &[]));
        let parent = match (ask.parent_action_id, known.lineage.first()) {
            (None, _) => Parent::None,
            (Some(_), None) => Parent::Absent,
            (Some(_), Some(parent)) => Parent::Found {
                session_id: parent.new.ask.session_id.clone(),
                depth: parent.new.ask.depth,
                trust: above.iter().copied().min().unwrap_or(*own),
            },
        };
        let bounds = self.configured(&ask.agent);
        let declared = Declared {
            capabilities: bounds.and_then(|bounds| bounds.capabilities.clone()),
            permissions: bounds.and_then(|bounds| bounds.permissions.clone()),
        };
        let rules = self.rules(&foreseen.attributes, now);
        let heard = rules.with(needs, known, foreseen.budgets.len());
        let counted = accounts(&foreseen.budgets, known, now);
        let snapshot = Snapshot {
            table: self.table,
            bounds: self.bounds,
            kills: &kills(&ask.org, &known.kills),
            parent: &parent,
            depth_rule: self.depth_rule(),
            level: *own,
            declared: &declared,
            policies: &heard,
            budgets: &counted,
        };
        judge::judge_assessed(&snapshot, ask, &foreseen.assessment, now)
    }
}

fn kills(org: &str, found: &[KillSwitch]) -> Kills {
    let mut kills = Kills::default();
    let mut agents = BTreeMap::new();
    for switch in found {
        let kill = Kill { why: switch.why.clone(), by: switch.by.clone(), at: switch.at };
        if switch.target == KillSwitch::ALL {
            kills.orgs.insert(org.to_owned(), kill);
        } else {
            agents.insert(switch.target.clone(), kill);
        }
    }
    kills.agents.insert(org.to_owned(), agents);
    kills
}
