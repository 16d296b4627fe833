//! `ao phase`: where the loop stands, and moving it by hand.

use super::{Globals, act, load_config};
use crate::config::{Config, Sequence};
use crate::report::act::{Line, Verdict};
use crate::run::prepare::Overrides;
use crate::run::project::{self, Project};
use crate::run::request;
use crate::run::survey::{self, Ask};
use crate::supervise::event::Request;
use crate::sys::clock;
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
            show(&project, &sequence, current, globals);
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

fn show(project: &Project, sequence: &Sequence, current: usize, globals: &Globals) {
    let survey = survey::status(project, Ask::Watchdog);
    let (status, handoff) = (survey.phase, survey.handoff);
    if globals.json {
        let ids: Vec<&str> = sequence.phases.iter().map(|step| step.id.as_str()).collect();
        let document = serde_json::json!({ "version": 1, "index": current, "phases": ids, "status": status, "handoff": handoff });
        print::out(&document.to_string());
        return;
    }
    for (index, step) in sequence.phases.iter().enumerate() {
        let mark = if index == current { "→" } else { " " };
        print::out(&format!("{mark} {index}  {}  {}", step.id, step.plan));
    }
    let Some(status) = status else { return };
    if status.complete {
        print::out("all finished; a phase added to the config resumes the sequence");
    }
    if let Some(moving) = &status.moving {
        print::out(&format!("moving {moving}"));
    }
    if let Some(done) = &status.done {
        print::out(&format!("done: {done}"));
    }
    for line in handoff
        .iter()
        .flat_map(|handoff| super::status::handoff(handoff, clock::now(), print::colored(globals)))
    {
        print::out(&line);
    }
}

/// Stops the loop agents, writes the index, starts them on the new phase.
fn go(
    config: Config,
    sequence: &Sequence,
    target: usize,
    globals: &Globals,
) -> Result<u8, Failure> {
    act::refuse_inside_agent("phase")?;
    let project = Project::open(config).map_err(|error| act::failure(&error))?;
    let overrides = Overrides::from_variables(project::variables());
    let outcomes = request::ask(&project, Request::Phase { index: target }, overrides)
        .map_err(|error| Failure::from_error(exit::FAILED, &error))?;
    let lines = Line::all(&outcomes);
    act::show(&lines, globals);
    if !globals.quiet && !globals.json {
        print::out(&format!(
            "phase {} of {}: {}",
            target + 1,
            sequence.phases.len(),
            sequence.phases[target].id
        ));
    }
    let well = lines.iter().all(|line| line.verdict != Verdict::Failed);
    Ok(if well { exit::DONE } else { exit::FAILED })
}
