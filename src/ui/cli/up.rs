//! `ao up`: use or create. What runs already is left alone.

use std::collections::{BTreeMap, BTreeSet};

use super::{Globals, act};
use crate::base::name::UnitName;
use crate::report::act::{Line, Verdict};
use crate::run::governance::{Governance, GovernanceError};
use crate::run::prepare::Overrides;
use crate::run::project::{self, Project};
use crate::run::request;
use crate::supervise::event::Request;
use crate::ui::failure::Failure;
use crate::ui::{exit, print};

/// Start enabled agents, services and the watchdog; what runs already is left alone.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only these agents or services (a disabled one too); the watchdog is not started then.
    names: Vec<String>,
    /// Restart exactly the agents whose config changed since they were started.
    #[arg(long, conflicts_with = "names")]
    apply: bool,
}

pub(crate) fn run(args: &Args, globals: &Globals) -> Result<u8, Failure> {
    let config = super::config::start(globals)?;
    let named = act::named(&config, &args.names)?;
    act::refuse_inside_agent("up")?;
    let project = Project::open(config).map_err(|error| act::failure(&error))?;
    crate::sys::tmux::version().map_err(|error| Failure::from_error(exit::USAGE, &error))?;
    project::raise_limits();
    let overrides = Overrides::from_variables(project::variables());
    let mut lines = Vec::new();
    if args.apply {
        lines.extend(apply(&project)?);
    }
    let bare = named.is_empty();
    let mut units = if bare { act::all_units(&project.config) } else { named };
    let killed = take_killed(&project, &mut units)?;
    let outcomes = if units.is_empty() {
        BTreeMap::new()
    } else {
        let request = Request::Up { units, by_name: !bare };
        request::ask(&project, request, overrides)
            .map_err(|error| Failure::from_error(exit::FAILED, &error))?
    };
    let applied: Vec<String> = lines.iter().map(|line: &Line| line.name.clone()).collect();
    lines.extend(Line::all(&outcomes).into_iter().filter(|line| !applied.contains(&line.name)));
    if bare {
        lines.push(watchdog(&project)?);
    }
    let refused = !killed.is_empty();
    lines.splice(0..0, killed);
    act::show(&lines, globals);
    let well = lines.iter().all(|line| line.verdict != Verdict::Failed);
    if well && !globals.quiet && !globals.json {
        print::err("next: `ao status`, or `ao attach NAME` to look at one");
    }
    Ok(match (refused && !bare, well) {
        (true, _) => exit::REFUSED,
        (false, true) => exit::DONE,
        (false, false) => exit::FAILED,
    })
}

/// Takes those that a kill switch keeps down out of what is to be started, with a line for each.
fn take_killed(project: &Project, units: &mut BTreeSet<UnitName>) -> Result<Vec<Line>, Failure> {
    if !Governance::exists(project) {
        return Ok(Vec::new());
    }
    let unreadable = |error: GovernanceError| {
        super::audit::failure(&error).hint("without it nobody knows whether an agent was killed")
    };
    let mut governance = Governance::open(project).map_err(unreadable)?;
    let kills = governance.kills().map_err(unreadable)?;
    let mut lines = Vec::new();
    for agent in &project.config.agents {
        let kill = kills.iter().find(|kill| kill.covers(agent.name.as_str()));
        if let Some(kill) = kill
            && units.remove(&agent.name)
        {
            let why = Some(super::kill::words(kill));
            lines.push(Line { name: agent.name.to_string(), verdict: Verdict::Disabled, why });
        }
    }
    Ok(lines)
}

/// Restarts what runs with an older config.
fn apply(project: &Project) -> Result<Vec<Line>, Failure> {
    let survey = crate::run::survey::survey(project);
    let changed = survey.fleet.units.values().filter(|unit| unit.config_changed());
    let units = changed.map(|unit| unit.spec.name.clone()).collect();
    let request = Request::Restart { units, fresh: false };
    let outcomes = request::ask(project, request, Overrides::default())
        .map_err(|error| Failure::from_error(exit::FAILED, &error))?;
    Ok(Line::all(&outcomes))
}

/// Opens the watchdog's session unless one runs; waits until it is at work.
fn watchdog(project: &Project) -> Result<Line, Failure> {
    let name = "watchdog".to_owned();
    match crate::run::watchdog::begin(project) {
        Ok(true) => Ok(Line { name, verdict: Verdict::Started, why: None }),
        Ok(false) => Ok(Line { name, verdict: Verdict::AlreadyRunning, why: None }),
        Err(error) => Err(act::failure(&error)),
    }
}
