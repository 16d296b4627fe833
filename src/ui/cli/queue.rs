//! `ao queue`: the messages that wait for their agents, and what each waits for.

use super::{Globals, act, load_config};
use crate::base::human;
use crate::base::now::Now;
use crate::report::queue::{self, Waiting};
use crate::run::project::Project;
use crate::run::survey;
use crate::ui::exit;
use crate::ui::failure::Failure;
use crate::ui::print::{self, Tone};
use crate::ui::table;

/// Show the messages that wait for their agents.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only these agents.
    names: Vec<String>,
}

pub(crate) fn run(args: &Args, globals: &Globals) -> Result<u8, Failure> {
    let config = load_config(globals)?;
    let named = act::named(&config, &args.names)?;
    let project = Project::peek(config);
    let survey = survey::survey(&project);
    let mut waiting = queue::waiting(&survey.fleet, survey.now);
    waiting
        .retain(|line| named.is_empty() || named.iter().any(|name| *name.as_str() == line.agent));
    if globals.json {
        print::out(&serde_json::json!({ "version": 1, "messages": waiting }).to_string());
    } else if waiting.is_empty() {
        if !globals.quiet {
            print::out("no message waits");
        }
    } else {
        for line in render(&waiting, survey.now, print::colored(globals)) {
            print::out(&line);
        }
    }
    Ok(exit::DONE)
}

fn render(waiting: &[Waiting], now: Now, colored: bool) -> Vec<String> {
    let head = ["ID", "AGENT", "WHAT", "AGE", "WAITS FOR", "TEXT"];
    let mut rows = vec![head.iter().map(|cell| ((*cell).to_owned(), Tone::Dim)).collect()];
    rows.extend(waiting.iter().map(|line| {
        let age = (now.wall - line.queued_at).to_std().unwrap_or_default();
        let cells = [
            line.id.to_string(),
            line.agent.clone(),
            line.origin.to_owned(),
            human::duration(age),
            line.waits_for.clone(),
            line.text.clone(),
        ];
        cells.into_iter().map(|cell| (cell, Tone::Plain)).collect::<Vec<_>>()
    }));
    table::render(&rows, &[0, 3], colored, print::width())
}
