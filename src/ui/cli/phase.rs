//! `ao phase`: where the loop stands, and moving it by hand.

use std::collections::BTreeSet;

use super::{Globals, act, load_config};
use crate::config::{Config, Kind, Sequence};
use crate::report::act::Line;
use crate::run::prepare::Overrides;
use crate::run::project::{self, Project};
use crate::run::{request, survey};
use crate::supervise::event::Request;
use crate::sys::file;
use crate::ui::failure::Failure;
use crate::ui::{exit, print};

/// Show or move the loop's phase.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    step: Option<Step>,
}

#[derive(Debug, clap::Subcommand)]
enum Step {
    /// Show all phases and the current one (the default).
    Show,
    /// Go to the next phase: stop the loop agents, move, start them again.
    Next,
    /// Go to a phase by its index (from 0) or its id.
    Set {
        /// Index or id.
        phase: String,
    },
}

pub(crate) fn run(args: Args, globals: &Globals) -> Result<u8, Failure> {
    let config = load_config(globals)?;
    let Some(sequence) = config.sequence.clone() else {
        return Err(Failure::usage(format!("`{}` has no [loop]", config.file.display()))
            .hint("phases belong to `kind = \"loop\"` agents; see docs/config.md"));
    };
    let project = Project::peek(config);
    let current = survey::phase_index(&project).min(sequence.phases.len() - 1);
    match args.step.unwrap_or(Step::Show) {
        Step::Show => {
            show(&sequence, current, globals);
            Ok(exit::DONE)
        }
        Step::Next if current + 1 >= sequence.phases.len() => {
            Err(Failure::failed("this is the last phase").hint(list(&sequence)))
        }
        Step::Next => go(project.config, &sequence, current + 1, globals),
        Step::Set { phase } => {
            let by_id = sequence.phases.iter().position(|step| step.id == phase);
            let by_index = phase.parse().ok().filter(|index| *index < sequence.phases.len());
            let Some(target) = by_id.or(by_index) else {
                return Err(
                    Failure::usage(format!("there is no phase `{phase}`")).hint(list(&sequence))
                );
            };
            go(project.config, &sequence, target, globals)
        }
    }
}

fn list(sequence: &Sequence) -> String {
    let steps = sequence.phases.iter().enumerate();
    let steps: Vec<String> = steps.map(|(index, step)| format!("{index} `{}`", step.id)).collect();
    format!("phases: {}", steps.join(", "))
}

fn show(sequence: &Sequence, current: usize, globals: &Globals) {
    if globals.json {
        let ids: Vec<&str> = sequence.phases.iter().map(|step| step.id.as_str()).collect();
        let document = serde_json::json!({ "version": 1, "index": current, "phases": ids });
        print::out(&document.to_string());
        return;
    }
    for (index, step) in sequence.phases.iter().enumerate() {
        let mark = if index == current { "→" } else { " " };
        print::out(&format!("{mark} {index}  {}  {}", step.id, step.plan));
    }
}

/// Stops the loop agents that run, writes the index, starts the same ones on the new phase.
///
/// A crash in between is harmless: the index is written whole, and `ao up` starts who is down.
fn go(
    config: Config,
    sequence: &Sequence,
    target: usize,
    globals: &Globals,
) -> Result<u8, Failure> {
    act::refuse_inside_agent("phase")?;
    let project = Project::open(config).map_err(|error| act::failure(&error))?;
    let fleet = survey::survey(&project).fleet;
    let running: BTreeSet<_> = project
        .config
        .agents
        .iter()
        .filter(|agent| agent.kind == Kind::Loop)
        .filter(|agent| fleet.units.get(&agent.name).is_some_and(|unit| unit.wanted))
        .map(|agent| agent.name.clone())
        .collect();
    let ask = |request| {
        request::ask(&project, request, Overrides::from_variables(project::variables()))
            .map_err(|error| Failure::from_error(exit::FAILED, &error))
    };
    if !running.is_empty() {
        ask(Request::Down { units: running.clone() })?;
    }
    let path = project.store.state().join(&sequence.state_file);
    file::replace(&path, format!("{target}\n").as_bytes(), 0o600)
        .map_err(|error| Failure::from_error(exit::FAILED, &error))?;
    if !running.is_empty() {
        let outcomes = ask(Request::Up { units: running, by_name: true })?;
        act::show(&Line::all(&outcomes), globals);
    }
    if !globals.quiet && !globals.json {
        print::out(&format!(
            "phase {} of {}: {}",
            target + 1,
            sequence.phases.len(),
            sequence.phases[target].id
        ));
    }
    Ok(exit::DONE)
}
