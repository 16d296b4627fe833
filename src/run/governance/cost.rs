//! What governed agents spend: tokens charged to the budgets, how the budgets stand, and where it went.
//!
//! Transcripts are counted by day and never less, so a charge is what a day's sum grew by since the last
//! one; how far it was charged stands beside the budgets in the store, written in the same transaction.
//! Only today and yesterday are looked at: an agent that becomes governed does not pay for its past.

use std::collections::BTreeMap;

use chrono::{DateTime, Days, NaiveDate, NaiveTime, Utc};

use super::door::budget_key;
use super::{Governance, GovernanceError};
use crate::base::now::Now;
use crate::base::zone::Tz;
use crate::config::{Agent, Config};
use crate::govern::action::Micros;
use crate::govern::budget::{Account, Budget};
use crate::run::store::Store;
use crate::sys::db;
use crate::sys::db::rows::{ActionQuery, Status};
use crate::transcript::price::Prices;
use crate::transcript::usage::Ledger;

/// How a budget stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stand {
    pub budget: Budget,
    pub account: Account,
    /// Whose costs count; empty: everybody's.
    pub agents: Vec<String>,
}

/// Budgets that an agent's costs count in.
fn budgets(config: &Config, agent: &Agent) -> Vec<Budget> {
    let all = config.governance.budgets.iter();
    let mine = all.filter(|it| it.agents.is_empty() || it.agents.contains(&agent.name));
    mine.map(|it| Budget::of(it, config.governance.zone)).collect()
}

/// Charges what the governed agents' models cost since the last time.
pub fn charge<'a>(
    config: &Config,
    store: &Store,
    ledgers: impl Iterator<Item = (&'a str, &'a Ledger)>,
    zone: Tz,
    now: Now,
) -> Result<(), GovernanceError> {
    let today = now.wall.with_timezone(&zone).date_naive();
    let from = today.checked_sub_days(Days::new(1)).unwrap_or(today);
    let mut sums: Vec<(&Agent, NaiveDate, Micros)> = Vec::new();
    for (name, ledger) in ledgers {
        let agent = config.agent(name).filter(|agent| agent.bounds.governed);
        let Some(agent) = agent else { continue };
        for cell in ledger.cells().iter().filter(|cell| cell.day >= from && cell.day <= today) {
            let cost = Prices::shipped().cost(&cell.model, cell.day, &cell.usage);
            let Some(cost) = cost.filter(|cost| cost.0 > 0) else { continue };
            match sums.iter_mut().find(|(it, day, _)| it.name == agent.name && *day == cell.day) {
                Some((_, _, sum)) => sum.0 = sum.0.saturating_add(cost.0),
                None => sums.push((agent, cell.day, cost)),
            }
        }
    }
    if sums.is_empty() {
        return Ok(());
    }
    let mut governance = Governance::open_for(config, &store.state())?;
    let org = governance.org.clone();
    db::write(governance.store(), &org, now, |tx| {
        for (agent, day, sum) in &sums {
            let mark = format!("tokens:{}", agent.name);
            let mut charged = tx.budget(&mark, day.and_time(NaiveTime::MIN).and_utc())?;
            let grown = Micros(sum.0.saturating_sub(charged.spent.0));
            if grown.0 <= 0 {
                continue;
            }
            charged.spent = *sum;
            tx.budget_put(&charged)?;
            let at = if *day == today { now.wall } else { noon(*day) };
            for budget in budgets(config, agent) {
                let start = budget.window.around(budget.zone, at).0;
                let mut row = tx.budget(&budget_key(&budget.name), start)?;
                row.spent = Micros(row.spent.0.saturating_add(grown.0));
                tx.budget_put(&row)?;
            }
        }
        Ok(())
    })?;
    Ok(())
}

fn noon(day: NaiveDate) -> DateTime<Utc> {
    day.and_time(NaiveTime::from_hms_opt(12, 0, 0).unwrap_or(NaiveTime::MIN)).and_utc()
}

/// How the budgets stand; with a name, those that this agent's costs count in.
pub fn stands(
    governance: &mut Governance,
    config: &Config,
    agent: Option<&str>,
    now: Now,
) -> Result<Vec<Stand>, GovernanceError> {
    let org = governance.org.clone();
    let found = db::read(governance.store(), &org, |tx| {
        let mut stands = Vec::new();
        for limit in &config.governance.budgets {
            let agents: Vec<String> = limit.agents.iter().map(ToString::to_string).collect();
            if agent.is_some_and(|agent| !agents.is_empty() && !agents.iter().any(|it| it == agent))
            {
                continue;
            }
            let budget = Budget::of(limit, config.governance.zone);
            let mut account = Account::new(&budget, now.wall);
            let row = tx.budget(&budget_key(&budget.name), account.begin)?;
            account.spent = row.spent;
            if row.reserved > Micros(0) {
                account.reserved.insert(0, row.reserved);
            }
            stands.push(Stand { budget, account, agents });
        }
        Ok(stands)
    })?;
    Ok(found)
}

/// What money is put together by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    Agent,
    Model,
    Day,
    /// Of delegated acts; tokens belong to none.
    Session,
}

/// Money of one agent, model, day or session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spent {
    /// Of models, at list prices.
    pub tokens: Micros,
    /// Of models without a known price; not in `tokens`.
    pub unpriced_tokens: u64,
    /// Acts that were not denied.
    pub acts: u64,
    /// As they reported, else as they were estimated.
    pub acts_cost: Micros,
}

impl Spent {
    pub fn total(&self) -> Micros {
        Micros(self.tokens.0.saturating_add(self.acts_cost.0))
    }
}

/// Where money went since a moment, by key. Acts have no model: by model they are under an empty key.
pub fn spent<'a>(
    governance: Option<&mut Governance>,
    ledgers: impl Iterator<Item = (&'a str, &'a Ledger)>,
    by: By,
    since: Option<DateTime<Utc>>,
    zone: Tz,
) -> Result<BTreeMap<String, Spent>, GovernanceError> {
    let mut found: BTreeMap<String, Spent> = BTreeMap::new();
    let first = since.map(|since| since.with_timezone(&zone).date_naive());
    for (name, ledger) in ledgers {
        for cell in
            ledger.cells().into_iter().filter(|cell| first.is_none_or(|day| cell.day >= day))
        {
            let key = match by {
                By::Agent => name.to_owned(),
                By::Model => cell.model.clone(),
                By::Day => cell.day.to_string(),
                By::Session => continue,
            };
            let row = found.entry(key).or_default();
            match Prices::shipped().cost(&cell.model, cell.day, &cell.usage) {
                Some(cost) => row.tokens.0 = row.tokens.0.saturating_add(cost.0),
                None => row.unpriced_tokens += cell.usage.total(),
            }
        }
    }
    let Some(governance) = governance else { return Ok(found) };
    let org = governance.org.clone();
    let query = ActionQuery { since, ..ActionQuery::default() };
    let actions = db::read(governance.store(), &org, |tx| tx.actions(&query))?;
    for action in actions.into_iter().filter(|action| action.new.status != Status::Denied) {
        let key = match by {
            By::Agent => action.new.ask.agent,
            By::Model => String::new(),
            By::Day => action.new.submitted.with_timezone(&zone).date_naive().to_string(),
            By::Session => action.new.ask.session_id.unwrap_or_default(),
        };
        let cost = action.actual_cost.unwrap_or(action.new.ask.cost);
        let row = found.entry(key).or_default();
        row.acts += 1;
        row.acts_cost.0 = row.acts_cost.0.saturating_add(cost.0);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config;
    use crate::sys::clock;
    use crate::transcript::usage::Usage;
    use crate::transcript::{Event, Used};

    #[test]
    fn tokens_are_charged_once_and_only_those_of_governed_agents() {
        let root = tempfile::tempdir().unwrap();
        let agent = |name: &str, more: &str| {
            format!(
                "[[agent]]\nname = \"{name}\"\nkind = \"persistent\"\nbackend = \"claude\"\nprompt = \"x\"\n{more}\n"
            )
        };
        let text = format!(
            "[defaults]\nsession_prefix = \"t-\"\nlog_dir = \"logs\"\n[governance]\noperator = \"operator\"\n\
             [governance.budget.daily]\nlimit = 20.0\nwindow = \"day\"\n{}{}",
            agent("paid", "governed = true"),
            agent("free", "")
        );
        let file = root.path().join("agents.toml");
        let (config, problems) = config::parse(&text, Path::new(&file), &|_| true, &|_| None);
        let config = config.unwrap_or_else(|| panic!("{problems:?}"));
        let store = Store::new(&config);
        store.prepare().unwrap();
        let now = clock::now();
        let mut ledger = Ledger::default();
        let use_up = |ledger: &mut Ledger, id: &str| {
            let usage = Usage { output: 1_000_000, ..Usage::default() };
            let (id, model) = (Some(id.to_owned().into()), "claude-sonnet-4-5".into());
            let used = Used { at: Some(now.wall), id, model, usage, sub: false };
            ledger.take("s", &Event::Used(used), now.wall, Tz::UTC);
        };
        use_up(&mut ledger, "a");
        let charge_all = |ledger: &Ledger| {
            let all = [("paid", ledger), ("free", ledger)];
            charge(&config, &store, all.into_iter(), Tz::UTC, now).unwrap();
            let mut governance = Governance::open_for(&config, &store.state()).unwrap();
            stands(&mut governance, &config, None, now).unwrap()[0].account.spent
        };
        let once = charge_all(&ledger);
        assert!(once.0 > 0);
        assert_eq!(charge_all(&ledger), once);
        use_up(&mut ledger, "b");
        assert_eq!(charge_all(&ledger).0, once.0 * 2);
        let table = |by, since| {
            let all = [("paid", &ledger), ("free", &ledger)];
            spent(None, all.into_iter(), by, since, Tz::UTC).unwrap()
        };
        let agents = table(By::Agent, None);
        assert_eq!(agents.keys().collect::<Vec<_>>(), ["free", "paid"]);
        assert_eq!(agents["free"].tokens.0, once.0 * 2);
        let models = table(By::Model, None);
        assert_eq!(models["claude-sonnet-4-5"].total().0, once.0 * 4);
        assert_eq!(table(By::Day, None)[&now.wall.date_naive().to_string()].tokens.0, once.0 * 4);
        assert!(table(By::Session, None).is_empty());
        assert!(table(By::Day, Some(now.wall + chrono::TimeDelta::days(2))).is_empty());
    }
}
