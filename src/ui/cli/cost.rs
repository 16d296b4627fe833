//! `ao cost`: how the budgets stand and where they will end, or where the money went; `ao cost self` is for
//! the agent itself.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::audit::{Since, failure, since};
use super::{Globals, act, load_config};
use crate::config::Config;
use crate::govern::action::Micros;
use crate::govern::budget::{Nearness, dollars};
use crate::run::governance::Governance;
use crate::run::governance::cost::{By, Spent, Stand, spent, stands};
use crate::run::project::Project;
use crate::run::transcripts::{Follower, Purpose};
use crate::sys::clock;
use crate::transcript::price::Prices;
use crate::ui::failure::Failure;
use crate::ui::print::Tone;
use crate::ui::{exit, print, table};

/// Show what was spent of each budget, and where it will end.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only the budgets of this agent; `self` inside an agent is itself.
    agent: Option<String>,
    /// Where the money went instead: tokens at list prices, and acts.
    #[arg(long, value_enum, conflicts_with = "agent")]
    by: Option<ByArg>,
    /// Only what is newer: `7d`, `12h`, a date or a time; tokens count by whole days.
    #[arg(long, value_name = "WHEN", value_parser = since, requires = "by")]
    since: Option<Since>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum ByArg {
    Agent,
    Model,
    Day,
    /// Of delegated acts.
    Session,
}

pub(crate) fn run(args: &Args, globals: &Globals) -> Result<u8, Failure> {
    let config = load_config(globals)?;
    if let Some(by) = args.by {
        return spent_by(config, by, args.since.map(Since::moment), globals);
    }
    let own = args.agent.as_deref() == Some("self");
    let agent = if own {
        let name = std::env::var("AO_AGENT").map_err(|_| {
            Failure::usage("this does not run inside an agent").hint("name the agent instead")
        })?;
        Some(name)
    } else {
        args.agent.clone()
    };
    if let Some(name) = &agent {
        act::named(&config, std::slice::from_ref(name))?;
    }
    let project = Project::open(config.clone()).map_err(|error| act::failure(&error))?;
    let mut governance = Governance::open(&project).map_err(|error| failure(&error))?;
    let now = clock::now();
    let found =
        stands(&mut governance, &config, agent.as_deref(), now).map_err(|error| failure(&error))?;
    if globals.json {
        let budgets: Vec<Value> = found.iter().map(|stand| document(stand, now.wall)).collect();
        let mut whole = json!({ "version": 1, "agent": agent, "budgets": budgets });
        if own {
            whole["prices"] = prices();
        }
        print::out(&whole.to_string());
        return Ok(exit::DONE);
    }
    if found.is_empty() {
        print::err("no budget is set: `[governance.budget.<name>]` in agents.toml");
        return Ok(exit::DONE);
    }
    let head = ["BUDGET", "SPENT", "RESERVED", "LIMIT", "FORECAST", "UNTIL"];
    let mut rows = vec![head.map(|title| (title.to_owned(), Tone::Dim)).to_vec()];
    for Stand { budget, account, .. } in &found {
        let tone = match account.nearness(budget, now.wall) {
            Nearness::Fine => Tone::Plain,
            Nearness::Warn => Tone::Warn,
            Nearness::Downgrade | Nearness::Exhausted => Tone::Bad,
        };
        let reserved = account.reserved.values().copied().next().unwrap_or_default();
        let cells = [
            budget.name.clone(),
            dollars(account.spent),
            dollars(reserved),
            dollars(budget.limit),
            account.forecast(budget, now.wall).map_or_else(|| "—".to_owned(), dollars),
            account.end.with_timezone(&budget.zone).format("%Y-%m-%d %H:%M %Z").to_string(),
        ];
        rows.push(cells.map(|cell| (cell, tone)).to_vec());
    }
    for line in table::render(&rows, &[1, 2, 3, 4], print::colored(globals), print::width()) {
        print::out(&line);
    }
    Ok(exit::DONE)
}

fn spent_by(
    config: Config,
    by: ByArg,
    since: Option<DateTime<Utc>>,
    globals: &Globals,
) -> Result<u8, Failure> {
    let (kind, title) = match by {
        ByArg::Agent => (By::Agent, "AGENT"),
        ByArg::Model => (By::Model, "MODEL"),
        ByArg::Day => (By::Day, "DAY"),
        ByArg::Session => (By::Session, "SESSION"),
    };
    let mut follower = Follower::new(&config, Purpose::Look);
    follower.catch_up();
    let zone = config.governance.zone;
    let project = Project::peek(config);
    let mut governance = Governance::exists(&project)
        .then(|| Governance::open(&project))
        .transpose()
        .map_err(|error| failure(&error))?;
    let found = spent(governance.as_mut(), follower.ledgers(), kind, since, zone)
        .map_err(|error| failure(&error))?;
    let total =
        found.values().fold(Micros(0), |sum, row| Micros(sum.0.saturating_add(row.total().0)));
    if globals.json {
        let row = |(key, row): (&String, &Spent)| {
            json!({
                "key": key, "tokens_micros": row.tokens, "unpriced_tokens": row.unpriced_tokens,
                "acts": row.acts, "acts_micros": row.acts_cost, "total_micros": row.total(),
            })
        };
        let rows: Vec<Value> = found.iter().map(row).collect();
        let document = json!({
            "version": 1, "by": title.to_lowercase(), "since": since.map(|since| since.to_rfc3339()),
            "rows": rows, "total_micros": total,
        });
        print::out(&document.to_string());
        return Ok(exit::DONE);
    }
    let head = [title, "TOKENS", "ACTS", "ACTS COST", "TOTAL"];
    let mut rows = vec![head.map(|title| (title.to_owned(), Tone::Dim)).to_vec()];
    for (key, row) in &found {
        let key = if key.is_empty() { "—".to_owned() } else { key.clone() };
        let tokens = match row.unpriced_tokens {
            0 => dollars(row.tokens),
            more => format!("{} + {more} tokens without a price", dollars(row.tokens)),
        };
        let cells =
            [key, tokens, row.acts.to_string(), dollars(row.acts_cost), dollars(row.total())];
        rows.push(cells.map(|cell| (cell, Tone::Plain)).to_vec());
    }
    let last = ["total".to_owned(), String::new(), String::new(), String::new(), dollars(total)];
    rows.push(last.map(|cell| (cell, Tone::Plain)).to_vec());
    for line in table::render(&rows, &[1, 2, 3, 4], print::colored(globals), print::width()) {
        print::out(&line);
    }
    Ok(exit::DONE)
}

fn document(stand: &Stand, now: chrono::DateTime<chrono::Utc>) -> Value {
    let Stand { budget, account, agents } = stand;
    let reserved = account.reserved.values().copied().next().unwrap_or_default();
    json!({
        "name": budget.name, "limit_micros": budget.limit, "spent_micros": account.spent,
        "reserved_micros": reserved, "forecast_micros": account.forecast(budget, now),
        "begin": account.begin.to_rfc3339(), "end": account.end.to_rfc3339(), "agents": agents,
    })
}

/// Dollars for a million tokens, by model.
fn prices() -> Value {
    let table = Prices::shipped();
    let rows = table.rows().map(|price| {
        json!({
            "model": price.model, "input": price.input, "output": price.output,
            "cache_read": price.cache_read,
        })
    });
    Value::Array(rows.collect())
}
