//! `ao org`: organisations, which see nothing of each other.

use super::audit::failure as governance_failure;
use super::{Globals, act, load_config};
use crate::govern::trust::Level;
use crate::run::governance::{Governance, operator};
use crate::run::project::Project;
use crate::run::serve::key::{self, KeyError, Org};
use crate::sys::clock;
use crate::ui::failure::Failure;
use crate::ui::print::Tone;
use crate::ui::{exit, print, table};

/// Make and list organisations for `ao serve`; `local` is this project.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    step: Step,
}

#[derive(Debug, clap::Subcommand)]
enum Step {
    /// Make an organisation.
    Create {
        name: String,
        /// Of its agents that nobody gave a level: `L0` to `L4`.
        #[arg(long, value_name = "LEVEL", default_value = "L1", value_parser = level)]
        trust: Level,
    },
    /// Set the trust of agents that nobody gave a level.
    Trust {
        name: String,
        #[arg(value_parser = level)]
        level: Level,
    },
    /// Say what acts must name: registered MCP servers, registered models.
    Demand {
        name: String,
        #[arg(long, value_name = "YES|NO", value_parser = yes_or_no)]
        mcp_servers: Option<bool>,
        #[arg(long, value_name = "YES|NO", value_parser = yes_or_no)]
        models: Option<bool>,
    },
    /// List all.
    List,
}

fn level(text: &str) -> Result<Level, String> {
    let found = Level::ALL.into_iter().find(|level| level.word() == text);
    found.ok_or_else(|| "write one of L0, L1, L2, L3, L4".to_owned())
}

fn yes_or_no(text: &str) -> Result<bool, String> {
    match text {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err("write `yes` or `no`".to_owned()),
    }
}

pub(crate) fn run(args: Args, globals: &Globals) -> Result<u8, Failure> {
    let mut governance = open(globals, "org")?;
    let (by, now) = (operator::name(), clock::now());
    let store = governance.store();
    let orgs = match args.step {
        Step::Create { name, trust } => {
            key::org_put(store, &name, trust, false, &by, now).map(|org| vec![org])
        }
        Step::Trust { name, level } => {
            key::org_put(store, &name, level, true, &by, now).map(|org| vec![org])
        }
        Step::Demand { name, mcp_servers, models } => {
            key::org_demand(store, &name, (mcp_servers, models), &by, now).map(|org| vec![org])
        }
        Step::List => key::orgs(store),
    };
    let orgs = orgs.map_err(|error| failure(&error))?;
    if globals.json {
        print::out(&serde_json::json!({ "version": 1, "orgs": orgs }).to_string());
    } else {
        let row = |org: &Org| {
            let demands = match (org.demands_mcp_servers, org.demands_models) {
                (false, false) => "",
                (true, false) => "registered MCP servers only",
                (false, true) => "registered models only",
                (true, true) => "registered MCP servers and models only",
            };
            let number = org.number.to_string();
            let cells = [number, org.name.clone(), org.trust.word().to_owned(), demands.to_owned()];
            cells.map(|cell| (cell, Tone::Plain)).to_vec()
        };
        let rows: Vec<_> = orgs.iter().map(row).collect();
        for line in table::render(&rows, &[0], print::colored(globals), None) {
            print::out(&line);
        }
    }
    Ok(exit::DONE)
}

/// The store, made if need be; not for agents.
pub(super) fn open(globals: &Globals, verb: &str) -> Result<Governance, Failure> {
    let config = load_config(globals)?;
    act::refuse_inside_agent(verb)?;
    let project = Project::open(config).map_err(|error| act::failure(&error))?;
    Governance::open(&project).map_err(|error| governance_failure(&error))
}

pub(super) fn failure(error: &KeyError) -> Failure {
    match error {
        KeyError::Db(_) | KeyError::Random(_) => Failure::from_error(exit::FAILED, error),
        KeyError::NoOrg(_) => {
            Failure::from_error(exit::USAGE, error).hint("`ao org list` shows all")
        }
        KeyError::NoKey(_) => {
            Failure::from_error(exit::USAGE, error).hint("`ao key list` shows all")
        }
        KeyError::OrgThere(_) | KeyError::OrgName(_) | KeyError::Over(_) => {
            Failure::from_error(exit::USAGE, error)
        }
    }
}
