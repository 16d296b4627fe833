//! How this door judges: the shared judgement with the project's policies, on what one transaction knows.
//!
//! Left out: the budgets of `[governance]`, as no published client says what an act costs; a policy
//! that bounds cost or concurrency cannot be answered here and denies.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::key::Org;
use crate::config::Config;
use crate::config::governance as config;
use crate::govern::action::Ask;
use crate::govern::assess;
use crate::govern::attribute::Attributes;
use crate::govern::bounds::Bounds;
use crate::govern::class::Class;
use crate::govern::classes::Table;
use crate::govern::declared::Declared;
use crate::govern::judge::{self, Policies, Snapshot, Voices};
use crate::govern::kill::{Kill, Kills};
use crate::govern::lineage::{DepthRule, Parent};
use crate::govern::policy::evaluate::{Need, NeedKind, RateView, Situation};
use crate::govern::policy::rule::By;
use crate::govern::policy::{Set, facts};
use crate::govern::trust::Level;
use crate::govern::verdict::Verdict;
use crate::run::governance::LOCAL_ORG;
use crate::run::governance::submit::{Known, Needs, RateWindow};
use crate::sys::db::rows::{KillSwitch, TrustRow};

/// What does not change from one act to the next.
#[derive(Clone, Copy)]
pub struct Court<'a> {
    pub set: &'a Set,
    pub table: &'a Table,
    pub bounds: &'a Bounds,
    pub config: &'a Config,
    pub org: &'a Org,
}

impl Court<'_> {
    pub fn depth_rule(&self) -> DepthRule {
        match self.config.governance.depth_rule {
            config::DepthRule::Declared => DepthRule::Declared,
            config::DepthRule::Exact => DepthRule::Exact,
        }
    }

    pub fn class(&self, ask: &Ask) -> Class {
        assess::assess(self.table, self.bounds, ask).class()
    }

    /// What is to be looked up and counted with the act.
    pub fn needs(&self, ask: &Ask, level: Level, now: DateTime<Utc>) -> Needs {
        let attributes = facts::claims(&ask.context);
        let mut rates: Vec<RateWindow> = Vec::new();
        for act in assess::assess(self.table, self.bounds, ask).acts() {
            let part = Ask {
                action_type: act.action_type.clone(),
                resource: act.resource.clone(),
                ..ask.clone()
            };
            // Less trust may make other rules speak while it is judged.
            for trust in Level::ALL.into_iter().filter(|trust| *trust <= level) {
                let situation = self.situation(act.class, trust, &attributes, &Nothing, now);
                for need in self.set.evaluate(&part, &situation).needs {
                    let window = need.from.map(|since| RateWindow { key: key(&need, now), since });
                    if let (NeedKind::Rate, Some(window)) = (need.kind, window)
                        && !rates.contains(&window)
                    {
                        rates.push(window);
                    }
                }
            }
        }
        let hold = chrono::TimeDelta::from_std(self.config.governance.approval_timeout);
        let default = Needs::default();
        Needs { rates, hold: hold.unwrap_or(default.hold), ..default }
    }

    fn situation<'s>(
        &'s self,
        class: Class,
        trust: Level,
        attributes: &'s Attributes,
        used: &'s dyn RateView,
        now: DateTime<Utc>,
    ) -> Situation<'s> {
        let (project, zone) = (self.project(), self.config.governance.zone);
        Situation { class, trust, project, attributes, used, now, zone }
    }

    /// Rules name projects; seen from other machines the organisation stands in its place.
    fn project(&self) -> &str {
        &self.org.name
    }

    pub fn level(&self, agent: &str, row: Option<&TrustRow>, now: DateTime<Utc>) -> Level {
        match row {
            Some(row) if row.lowered_until.is_some_and(|until| until <= now) => row.base,
            Some(row) => row.level,
            None => match self.configured(agent) {
                Some(agent) => agent.trust.into(),
                None => self.org.trust,
            },
        }
    }

    fn configured(&self, agent: &str) -> Option<&config::AgentBounds> {
        let agent = self.config.agent(agent).filter(|_| self.org.name == LOCAL_ORG)?;
        Some(&agent.bounds).filter(|bounds| bounds.governed)
    }

    pub fn judge(&self, ask: &Ask, known: &Known) -> Verdict {
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
        let attributes = facts::claims(&ask.context);
        let rules = Rules { court: self, attributes: &attributes, known };
        let snapshot = Snapshot {
            table: self.table,
            bounds: self.bounds,
            kills: &kills(&ask.org, &known.kills),
            parent: &parent,
            depth_rule: self.depth_rule(),
            level: *own,
            declared: &declared,
            policies: &rules,
            budgets: &[],
        };
        judge::judge(&snapshot, ask, now)
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

/// One count for each window, so that a rule with two has two.
fn key(need: &Need<'_>, now: DateTime<Utc>) -> String {
    let whose = match need.by {
        By::Policy => "*",
        By::Agent => need.agent,
    };
    let seconds = need.from.map_or(0, |from| (now - from).num_seconds());
    format!("policy:{}:{whose}:{seconds}", need.rule)
}

/// Rules seen from the judgement.
struct Rules<'a> {
    court: &'a Court<'a>,
    attributes: &'a Attributes,
    known: &'a Known,
}

impl Policies for Rules<'_> {
    fn voices(&self, ask: &Ask, class: Class, trust: Level) -> Voices {
        let now = self.known.now.wall;
        let situation = self.court.situation(class, trust, self.attributes, self.known, now);
        let outcome = self.court.set.evaluate(ask, &situation);
        Voices {
            permits: !outcome.permits.is_empty(),
            downgrade: outcome.downgrade.map(|downgrade| downgrade.to),
            said: outcome.said,
        }
    }

    fn digest(&self) -> &str {
        &self.court.set.digest
    }
}

impl RateView for Known {
    fn used(&self, need: &Need<'_>) -> Option<i64> {
        if need.kind != NeedKind::Rate {
            return None;
        }
        let key = key(need, self.now.wall);
        let found = self.rates.iter().find(|rate| rate.key == key)?;
        i64::try_from(found.count).ok()
    }
}

/// Nothing was used yet: to find out what an act would use.
struct Nothing;

impl RateView for Nothing {
    fn used(&self, _need: &Need<'_>) -> Option<i64> {
        Some(0)
    }
}
