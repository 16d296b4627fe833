//! The door every governed act comes through: what a CLI's hook hands over, judged, recorded, answered.
//!
//! Nothing is answered before the decision is on the disk, and whatever fails here is a denial; the
//! caller adds one of its own for a panic and for time. A held act is waited for as long as the
//! project lets a hook wait. It stays open after that: the answer says how to come back.
//!
//! Surprise: a permission dialog of the CLI's own is left alone. Its tool call was judged when it began,
//! and an `allow` there would take away a question that the user's own rules want asked.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::bounds::Governed;
use super::claim::{Claim, claim};
use super::settle::{Outcome, settle};
use super::submit::{BudgetWindow, Decision, Known, Needs, Submission, submit};
use super::voices::Rules;
use super::{Governance, GovernanceError};
use super::{fleet, sources};
use crate::base::now::Now;
use crate::govern::action::{Ask, Micros};
use crate::govern::answer::{self, Answer, Held};
use crate::govern::assess;
use crate::govern::attribute::{Attribute, Attributes, Source, Value};
use crate::govern::budget::Account;
use crate::govern::classes::{ClassesError, Table};
use crate::govern::declared::Declared;
use crate::govern::judge::{self, Snapshot};
use crate::govern::kill::{Kill, Kills};
use crate::govern::lineage::{DepthRule, Parent};
use crate::govern::payload::{self, Cli, Event, PayloadError};
use crate::govern::policy::facts;
use crate::govern::trust::Level;
use crate::govern::verdict::{Effect, Verdict};
use crate::run::policies;
use crate::sys::clock;
use crate::sys::db;
use crate::sys::db::rows::KillSwitch;

/// Between two looks whether a person has answered.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Why there is no decision; each of them denies.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    #[error(transparent)]
    Payload(#[from] PayloadError),
    #[error("the table of classes is not sound")]
    Classes(#[from] ClassesError),
    #[error(transparent)]
    Governance(#[from] GovernanceError),
}

/// Told while a door waits for a person.
pub trait Waiting {
    fn begins(&mut self, what: &str);
    fn ends(&mut self);
}

/// One act on its way through.
struct Act<'a> {
    governed: &'a Governed,
    ask: &'a Ask,
    written_bytes: Option<u64>,
}

/// Answers one hook call. `None`: the event asks for nothing and the neutral answer holds.
pub fn decide(
    cli: Cli,
    governed: &Governed,
    bytes: &[u8],
    waiting: &mut dyn Waiting,
    now: Now,
) -> Result<Option<Answer>, DoorError> {
    let extended = governed.classes.as_deref().map(Table::extended).transpose()?;
    let table = extended.as_ref().unwrap_or_else(|| Table::shipped());
    let asked = payload::ask(table, cli, &governed.org, &governed.agent, bytes)?;
    let Some(asked) = asked else {
        return match payload::ended(cli, bytes) {
            Some(ended) => report(governed, &ended, now).map(|()| None),
            None => Ok(None),
        };
    };
    let mut ask = asked.ask;
    if asked.event == Event::Permission {
        return Ok(None);
    }
    ask.context.insert("input".to_owned(), asked.input.into());
    // The CLI repeats nothing under the same id, so that whoever replays one gets the old answer.
    ask.correlation_id = asked.call.map(|id| format!("{}:{id}", governed.start_id));
    let mut governance = Governance::open_at(&governed.database, &governed.operator, now)?;
    let act = Act { governed, ask: &ask, written_bytes: asked.written_bytes };
    let decision = act.submit(table, &mut governance, now)?;
    let verdict = Verdict {
        effect: decision.effect,
        reason: decision.reason.clone(),
        ..decision.verdict.clone()
    };
    if decision.effect != Effect::RequireApproval {
        // To close it orderly is for nothing: the process is about to end.
        std::mem::forget(governance);
        return Ok(Some(answer::render(cli, asked.event, &verdict, Held::Not)));
    }
    let limit = Duration::from_millis(governed.hook_wait_ms);
    let (held, reason) = wait(&mut governance, &decision, limit, waiting)?;
    Ok(Some(answer::render(cli, asked.event, &Verdict { reason, ..verdict }, held)))
}

/// Judges and records an act that did not come by a hook.
pub fn submit_act(
    governed: &Governed,
    ask: &Ask,
    now: Now,
) -> Result<(Governance, Decision), DoorError> {
    let extended = governed.classes.as_deref().map(Table::extended).transpose()?;
    let table = extended.as_ref().unwrap_or_else(|| Table::shipped());
    let mut governance = Governance::open_at(&governed.database, &governed.operator, now)?;
    let act = Act { governed, ask, written_bytes: None };
    let decision = act.submit(table, &mut governance, now)?;
    Ok((governance, decision))
}

/// Waits for a person; whether the act may be done, and what the agent is told if not.
pub fn wait(
    governance: &mut Governance,
    decision: &Decision,
    limit: Duration,
    waiting: &mut dyn Waiting,
) -> Result<(Held, String), GovernanceError> {
    let end = clock::now().mono.plus(limit);
    let org = governance.org.clone();
    let id = decision.approval_id.map_or_else(|| "?".to_owned(), |id| id.to_string());
    let mut told = false;
    let result = loop {
        let now = clock::now();
        // The key may be made by the very decision that is waited for.
        let key = governance.operator.decision_public()?;
        let claim = match claim(governance.store(), &org, decision.action_id, key.as_ref(), now) {
            // Whoever swept up before us has closed it.
            Err(GovernanceError::NotOpen { .. }) => {
                Claim::Refused { why: "nobody approved it in time".to_owned() }
            }
            found => found?,
        };
        match claim {
            Claim::Granted { by } => break (Held::Approved, format!("approved by {by}")),
            Claim::Refused { why } => break (Held::Not, why),
            Claim::Waiting if now.mono >= end => {
                let why = format!(
                    "{}; it waits as approval {id}. Ask the operator to run `ao approve {id}`, then do \
                     exactly the same again; anything else needs an approval of its own",
                    decision.reason
                );
                break (Held::Not, why);
            }
            Claim::Waiting => {}
        }
        if !told {
            waiting.begins(&format!("approval {id}"));
            told = true;
        }
        std::thread::sleep(LOOK_EVERY.min(end.since(now.mono)));
    };
    if told {
        waiting.ends();
    }
    Ok(result)
}

/// A tool call ended: what it reserved is free, and it counts for the agent's conduct.
fn report(governed: &Governed, ended: &payload::Ended, now: Now) -> Result<(), DoorError> {
    let mut governance = Governance::open_at(&governed.database, &governed.operator, now)?;
    let org = governance.org.clone();
    let call = format!("{}:{}", governed.start_id, ended.call);
    let found = db::read(governance.store(), &org, |tx| tx.replay(&call));
    let Some(replay) = found.map_err(GovernanceError::from)? else { return Ok(()) };
    let outcome = Outcome { success: ended.success, cost: None, details: serde_json::Map::new() };
    match settle(governance.store(), &org, replay.action_id, &outcome, now) {
        // Told twice, or never allowed: the record stands.
        Ok(()) | Err(GovernanceError::NotOpen { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Records how an act that did not come by a hook ended.
pub fn report_act(
    governed: &Governed,
    action_id: i64,
    outcome: &Outcome,
    now: Now,
) -> Result<(), GovernanceError> {
    let mut governance = Governance::open_at(&governed.database, &governed.operator, now)?;
    let org = governance.org.clone();
    settle(governance.store(), &org, action_id, outcome, now)
}

impl Act<'_> {
    fn submit(
        &self,
        table: &Table,
        governance: &mut Governance,
        now: Now,
    ) -> Result<Decision, GovernanceError> {
        let Self { governed, ask, .. } = *self;
        let source = policies::Source {
            folder: governed.policies.clone(),
            state: governed.state.clone(),
            known: governed.known(),
            accepted: governed.accepted.clone(),
        };
        let in_force = policies::load(&source);
        let bounds = governed.bounds();
        let assessment = assess::assess(table, &bounds, ask);
        let org = governance.org.clone();
        let asks = !in_force.set.rules.is_empty();
        let (row, told) = db::read(governance.store(), &org, |tx| {
            Ok((tx.trust(&ask.agent)?, if asks { sources::all(tx)? } else { Vec::new() }))
        })?;
        let told = told.iter().map(|(_, told)| told);
        let mut attributes = self.attributes(told, now.wall);
        let (set, acts) = (&in_force.set, assessment.acts());
        fleet::add(&governed.state, set, &governed.project, ask, acts, now, &mut attributes);
        let rules = Rules {
            set: &in_force.set,
            project: &governed.project,
            attributes: &attributes,
            now: now.wall,
            zone: governed.zone(),
        };
        let budgets = governed.budgets();
        let level = governed.level(row.as_ref(), now.wall);
        let mut needs = self.needs(&budgets, now.wall);
        rules.foresee(ask, assessment.acts(), level, &mut needs);
        let operator = governance.operator.decision_public()?;
        let submission =
            Submission { ask, class: assessment.class(), needs: needs.clone(), operator };
        let declared = Declared {
            capabilities: governed.capabilities.clone(),
            permissions: governed.permissions.clone(),
        };
        let judge = |known: &Known| {
            let row = known.trust.first().and_then(|(_, row)| row.as_ref());
            let heard = rules.with(&needs, known, budgets.len());
            let counted = accounts(&budgets, known, now.wall);
            let snapshot = Snapshot {
                table,
                bounds: &bounds,
                kills: &kills(&known.kills, &org),
                parent: &parent(ask, known, governed.trust),
                depth_rule: if governed.exact_depth {
                    DepthRule::Exact
                } else {
                    DepthRule::Declared
                },
                level: governed.level(row, now.wall),
                declared: &declared,
                policies: &heard,
                budgets: &counted,
            };
            judge::judge(&snapshot, ask, now.wall)
        };
        submit(governance.store(), &submission, judge, now)
    }

    fn needs(&self, budgets: &[crate::govern::budget::Budget], now: DateTime<Utc>) -> Needs {
        let hold = i64::try_from(self.governed.approval_timeout_ms).unwrap_or(i64::MAX);
        let hold = TimeDelta::try_milliseconds(hold).unwrap_or(TimeDelta::hours(1));
        let session = self.governed.session;
        let budgets = windows(budgets, now);
        Needs { cost: self.ask.cost, budgets, session, hold, ..Needs::default() }
    }

    /// Claims, then what sources vouch for, then what is seen here; each in the place of those before.
    fn attributes<'t>(
        &self,
        told: impl Iterator<Item = &'t facts::Told>,
        now: DateTime<Utc>,
    ) -> Attributes {
        let mut attributes = facts::claims(&self.ask.context);
        facts::verified(told, now, &mut attributes);
        let mut server = |name: &str, value: Value| {
            attributes.insert(name.to_owned(), Attribute { value, source: Source::Server });
        };
        if let Some(bytes) = self.written_bytes {
            server("action.size_bytes", Value::Int(i64::try_from(bytes).unwrap_or(i64::MAX)));
        }
        if let Some(load) = load_average() {
            server("system.load", Value::Float(load));
        }
        attributes
    }
}

/// As the store names what a budget of the config holds.
pub fn budget_key(name: &str) -> String {
    format!("budget:{name}")
}

/// The windows of budgets that this moment lies in.
pub fn windows(budgets: &[crate::govern::budget::Budget], now: DateTime<Utc>) -> Vec<BudgetWindow> {
    let window = |budget: &crate::govern::budget::Budget| BudgetWindow {
        key: budget_key(&budget.name),
        start: budget.window.around(budget.zone, now).0,
    };
    budgets.iter().map(window).collect()
}

/// How budgets stand by what the act's transaction knows: theirs come first there.
pub fn accounts(
    budgets: &[crate::govern::budget::Budget],
    known: &Known,
    now: DateTime<Utc>,
) -> Vec<(crate::govern::budget::Budget, Account)> {
    let pairs = budgets.iter().zip(&known.budgets);
    pairs
        .map(|(budget, found)| {
            let mut account = Account::new(budget, now);
            account.spent = found.spent;
            if found.reserved > Micros(0) {
                account.reserved.insert(0, found.reserved);
            }
            (budget.clone(), account)
        })
        .collect()
}

fn kills(found: &[KillSwitch], org: &str) -> Kills {
    let mut kills = Kills::default();
    for switch in found {
        let kill = Kill { why: switch.why.clone(), by: switch.by.clone(), at: switch.at };
        if switch.target == KillSwitch::ALL {
            kills.all = Some(kill);
        } else {
            kills.agents.entry(org.to_owned()).or_default().insert(switch.target.clone(), kill);
        }
    }
    kills
}

/// The chain above an act; where the store knows no level, the config's start counts.
fn parent(ask: &Ask, known: &Known, start: Level) -> Parent {
    if ask.parent_action_id.is_none() {
        return Parent::None;
    }
    let Some(nearest) = known.lineage.first() else { return Parent::Absent };
    let above = known.trust.iter().skip(1);
    let trust = above.map(|(_, row)| row.as_ref().map_or(start, |row| row.level)).min();
    Parent::Found {
        session_id: nearest.new.ask.session_id.clone(),
        depth: nearest.new.ask.depth,
        trust: trust.unwrap_or(start),
    }
}

/// Of one minute; only Linux tells it in a file.
fn load_average() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    text.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests;
