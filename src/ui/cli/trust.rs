//! `ao trust`: how far governed agents are trusted, what they lack for more, and changing it.

use serde_json::json;

use super::audit::failure;
use super::{Globals, act, load_config};
use crate::config::{Agent, Config};
use crate::govern::trust::Level;
use crate::run::governance::bounds::Governed;
use crate::run::governance::trust::{Standing, TrustError};
use crate::run::governance::{Governance, operator};
use crate::run::project::Project;
use crate::sys::clock;
use crate::ui::failure::Failure;
use crate::ui::print::Tone;
use crate::ui::{exit, print, table};

/// Show how far governed agents are trusted, or change it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Level, record, and what is missing for the next level (the default).
    Show {
        /// Only this agent.
        name: Option<String>,
    },
    /// One level more; refused when the record does not carry it.
    Promote {
        name: String,
        /// For the record.
        #[arg(long)]
        why: String,
        /// Although the record does not carry it; that is recorded too.
        #[arg(long = "override")]
        anyway: bool,
    },
    /// One level less, or down to one, at once.
    Demote {
        name: String,
        /// For the record.
        #[arg(long)]
        why: String,
        /// `L0` to `L3`.
        #[arg(long, value_parser = level)]
        to: Option<Level>,
    },
}

fn level(text: &str) -> Result<Level, String> {
    let found = Level::ALL.into_iter().find(|level| level.word() == text);
    found.ok_or_else(|| "a level is L0, L1, L2, L3 or L4".to_owned())
}

pub(crate) fn run(args: Args, globals: &Globals) -> Result<u8, Failure> {
    match args.what.unwrap_or(What::Show { name: None }) {
        What::Show { name } => show(name.as_deref(), globals),
        What::Promote { name, why, anyway } => {
            change("trust promote", &name, globals, |governance, governed| {
                governance.promote(governed, &operator::name(), &why, anyway, clock::now())
            })
        }
        What::Demote { name, why, to } => {
            change("trust demote", &name, globals, |governance, governed| {
                governance.demote(governed, to, &operator::name(), &why, clock::now())
            })
        }
    }
}

fn governed_agents<'a>(config: &'a Config, name: Option<&str>) -> Result<Vec<&'a Agent>, Failure> {
    if let Some(name) = name {
        act::named(config, &[name.to_owned()])?;
    }
    let fits = |agent: &&Agent| {
        agent.bounds.governed && name.is_none_or(|name| agent.name.as_str() == name)
    };
    let found: Vec<&Agent> = config.agents.iter().filter(fits).collect();
    match (found.is_empty(), name) {
        (true, Some(name)) => Err(Failure::usage(format!("`{name}` is not governed"))
            .hint("add `governed = true` to its `[[agent]]`")),
        (true, None) => Err(Failure::with_code(exit::NOT_SO, "no agent is governed")
            .hint("add `governed = true` to an `[[agent]]`; see docs/governance.md")),
        (false, _) => Ok(found),
    }
}

fn bounds(
    config: &Config,
    project: &Project,
    agent: &Agent,
    governance: &Governance,
) -> Result<Governed, Failure> {
    let state = project.store.state();
    Governed::of(config, agent, &state, governance.operator.folder(), "")
        .map_err(|error| Failure::from_error(exit::USAGE, &error))
}

fn show(name: Option<&str>, globals: &Globals) -> Result<u8, Failure> {
    let config = load_config(globals)?;
    let agents = governed_agents(&config, name)?;
    let project = Project::open(config.clone()).map_err(|error| act::failure(&error))?;
    let mut governance = Governance::open(&project).map_err(|error| failure(&error))?;
    let mut found = Vec::new();
    for agent in agents {
        let governed = bounds(&config, &project, agent, &governance)?;
        let standing = governance.standing(&governed, clock::now());
        found.push((standing.map_err(|error| failure(&error))?, governed.trust_max));
    }
    if globals.json {
        let agents: Vec<_> =
            found.iter().map(|(standing, most)| document(standing, *most)).collect();
        print::out(&json!({ "version": 1, "agents": agents }).to_string());
        return Ok(exit::DONE);
    }
    let head = ["AGENT", "LEVEL", "MOST", "RUNS", "OK", "DENIED", "FOR MORE"];
    let mut rows = vec![head.map(|title| (title.to_owned(), Tone::Dim)).to_vec()];
    for (standing, most) in &found {
        let Standing { agent, level, record, lacks, changed } = standing;
        let mut more = if lacks.is_empty() { "ready".to_owned() } else { lacks.join("; ") };
        if let Some(row) = changed
            && let Some(until) = row.lowered_until.filter(|until| clock::now().wall < *until)
        {
            let until = until.format("%Y-%m-%d %H:%M UTC");
            more = format!("{} again at {until} ({}); {more}", row.base.word(), row.why);
        }
        let cells = [
            agent.clone(),
            level.word().to_owned(),
            most.word().to_owned(),
            record.runs.to_string(),
            record.successes.to_string(),
            record.denials.to_string(),
            more,
        ];
        rows.push(cells.map(|cell| (cell, Tone::Plain)).to_vec());
    }
    for line in table::render(&rows, &[3, 4, 5], print::colored(globals), print::width()) {
        print::out(&line);
    }
    Ok(exit::DONE)
}

fn document(standing: &Standing, most: Level) -> serde_json::Value {
    let Standing { agent, level, record, lacks, changed } = standing;
    json!({
        "agent": agent, "level": level.word(), "most": most.word(),
        "runs": record.runs, "successes": record.successes, "denials": record.denials,
        "since": record.since.to_rfc3339(), "lacks": lacks,
        "violations": record.violations,
        "lowered_until": changed.as_ref().and_then(|row| row.lowered_until).map(|until| until.to_rfc3339()),
        "changed_by": changed.as_ref().map(|row| &row.by), "why": changed.as_ref().map(|row| &row.why),
    })
}

fn change(
    verb: &str,
    name: &str,
    globals: &Globals,
    mut how: impl FnMut(&mut Governance, &Governed) -> Result<Level, TrustError>,
) -> Result<u8, Failure> {
    act::refuse_inside_agent(verb)?;
    let config = load_config(globals)?;
    let agents = governed_agents(&config, Some(name))?;
    let project = Project::open(config.clone()).map_err(|error| act::failure(&error))?;
    let mut governance = Governance::open(&project).map_err(|error| failure(&error))?;
    for agent in agents {
        let governed = bounds(&config, &project, agent, &governance)?;
        let level = how(&mut governance, &governed).map_err(|error| match &error {
            TrustError::Governance(cause) => failure(cause),
            TrustError::Lacks(_) => Failure::from_error(exit::REFUSED, &error)
                .hint("`--override` does it all the same, and says so in the audit log"),
            TrustError::Ceiling(_) => Failure::from_error(exit::REFUSED, &error)
                .hint("`trust_max` in its `[[agent]]` is the most it may have"),
            TrustError::There(_) => Failure::from_error(exit::REFUSED, &error),
        })?;
        if globals.json {
            print::out(&json!({ "version": 1, "agent": name, "level": level.word() }).to_string());
        } else if !globals.quiet {
            print::out(&format!("{name}  {}", level.word()));
        }
    }
    Ok(exit::DONE)
}
