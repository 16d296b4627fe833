//! `ao restart`: stop and start by name; forgets that it failed.

use super::{Globals, act, load_config};
use crate::report::act::{Line, Verdict};
use crate::run::prepare::Overrides;
use crate::run::project::{self, Project};
use crate::run::request;
use crate::supervise::event::Request;
use crate::ui::exit;
use crate::ui::failure::Failure;

/// Stop and start agents by name; clears `failed`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The agents or services.
    #[arg(required = true)]
    names: Vec<String>,
    /// Begin a new conversation instead of resuming the last one.
    #[arg(long)]
    fresh: bool,
}

pub(crate) fn run(args: &Args, globals: &Globals) -> Result<u8, Failure> {
    let config = load_config(globals)?;
    let units = act::named(&config, &args.names)?;
    act::refuse_inside_agent("restart")?;
    let project = Project::open(config).map_err(|error| act::failure(&error))?;
    let overrides = Overrides::from_variables(project::variables());
    let request = Request::Restart { units, fresh: args.fresh };
    let outcomes = request::ask(&project, request, overrides)
        .map_err(|error| Failure::from_error(exit::FAILED, &error))?;
    let lines = Line::all(&outcomes);
    act::show(&lines, globals);
    let well = lines.iter().all(|line| line.verdict != Verdict::Failed);
    Ok(if well { exit::DONE } else { exit::FAILED })
}
