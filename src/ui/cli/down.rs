//! `ao down`: only what belongs to this project, every process proven gone.

use std::time::Duration;

use super::{Globals, act, load_config};
use crate::report::act::{Line, Verdict};
use crate::run::prepare::Overrides;
use crate::run::project::Project;
use crate::run::{request, survey, watchdog};
use crate::supervise::event::Request;
use crate::ui::exit;
use crate::ui::failure::Failure;

/// Stop agents, services and the watchdog; only sessions of this project.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only these agents or services; they stay down until `ao up`.
    names: Vec<String>,
}

pub(crate) fn run(args: &Args, globals: &Globals) -> Result<u8, Failure> {
    let config = load_config(globals)?;
    let named = act::named(&config, &args.names)?;
    act::refuse_inside_agent("down")?;
    let project = Project::open(config).map_err(|error| act::failure(&error))?;
    let bare = named.is_empty();
    let mut lines = Vec::new();
    if bare {
        let grace = project.config.watchdog.stop_grace + Duration::from_secs(5);
        let ended = watchdog::end(&project, grace).map_err(|error| act::failure(&error))?;
        let verdict = if ended { Verdict::Stopped } else { Verdict::NotRunning };
        lines.push(Line { name: "watchdog".to_owned(), verdict, why: None });
    }
    let units = if bare {
        // Removed and disabled ones run on unsupervised until now.
        let known = survey::survey(&project).fleet.units.into_keys();
        known.chain(act::all_units(&project.config)).collect()
    } else {
        named
    };
    let outcomes = request::ask(&project, Request::Down { units }, Overrides::default())
        .map_err(|error| Failure::from_error(exit::FAILED, &error))?;
    lines.splice(0..0, Line::all(&outcomes));
    act::show(&lines, globals);
    let well = lines.iter().all(|line| line.verdict != Verdict::Failed);
    Ok(if well { exit::DONE } else { exit::FAILED })
}
