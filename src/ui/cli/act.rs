//! What acting verbs share: names checked against the config, one line a unit.

use std::collections::BTreeSet;

use super::Globals;
use crate::base::human::count;
use crate::base::name::UnitName;
use crate::base::suggest;
use crate::config::Config;
use crate::report::act::{Line, Verdict};
use crate::run::project::ProjectError;
use crate::ui::exit;
use crate::ui::failure::Failure;
use crate::ui::print::{self, Tone};

/// The named agents and services; an unknown one is an error with the nearest known name.
pub(crate) fn named(config: &Config, names: &[String]) -> Result<BTreeSet<UnitName>, Failure> {
    names.iter().map(|name| one(config, name)).collect()
}

fn one(config: &Config, name: &str) -> Result<UnitName, Failure> {
    let known: Vec<&str> = all_names(config).collect();
    let found = config
        .agents
        .iter()
        .map(|agent| &agent.name)
        .chain(config.services.iter().map(|service| &service.name))
        .find(|unit| unit.as_str() == name);
    found.cloned().ok_or_else(|| {
        Failure::usage(format!("no agent or service is named `{name}`"))
            .hint(suggest::advice(name, &known))
    })
}

fn all_names(config: &Config) -> impl Iterator<Item = &str> {
    let agents = config.agents.iter().map(|agent| agent.name.as_str());
    agents.chain(config.services.iter().map(|service| service.name.as_str()))
}

pub(crate) fn all_units(config: &Config) -> BTreeSet<UnitName> {
    let agents = config.agents.iter().map(|agent| agent.name.clone());
    agents.chain(config.services.iter().map(|service| service.name.clone())).collect()
}

/// Acting verbs are for people: an agent that runs under ao does not steer its own fleet.
///
/// Advisory without a sandbox: a program of the same user can take the mark from its environment.
pub(crate) fn refuse_inside_agent(verb: &str) -> Result<(), Failure> {
    match std::env::var("AO_AGENT") {
        Ok(agent) if std::env::var_os("AO_START").is_some() => {
            let message = format!("`ao {verb}` is refused inside agent `{agent}`");
            Err(Failure::with_code(exit::REFUSED, message)
                .hint("ask the person who runs this fleet"))
        }
        Ok(_) | Err(_) => match crate::run::governance::operator::inside_agent() {
            Some(_) => {
                let message = format!("`ao {verb}` is refused inside an agent's process tree");
                Err(Failure::with_code(exit::REFUSED, message)
                    .hint("ask the person who runs this fleet"))
            }
            None => Ok(()),
        },
    }
}

/// A project that cannot be opened: usage where the folder is at fault, else a failure.
pub(crate) fn failure(error: &ProjectError) -> Failure {
    let code = match error {
        ProjectError::Store(_) | ProjectError::Pin { .. } => exit::USAGE,
        ProjectError::Tmux(_)
        | ProjectError::Lock(_)
        | ProjectError::NoWatchdog { .. }
        | ProjectError::Busy { .. } => exit::FAILED,
    };
    let failure = Failure::from_error(code, error);
    match error {
        ProjectError::Store(_) | ProjectError::Pin { .. } => {
            failure.hint("make `log_dir` a folder this user can write to")
        }
        ProjectError::Tmux(_) => failure.hint("`ao doctor` looks at tmux and its server"),
        ProjectError::Lock(_) | ProjectError::NoWatchdog { .. } | ProjectError::Busy { .. } => {
            failure
        }
    }
}

/// One line a unit, or one document.
pub(crate) fn show(lines: &[Line], globals: &Globals) {
    if globals.json {
        print::out(&serde_json::json!({ "version": 1, "units": lines }).to_string());
        return;
    }
    let width = lines.iter().map(|line| line.name.len()).max().unwrap_or(0);
    let colored = print::colored(globals);
    for line in lines {
        let tone = match line.verdict {
            Verdict::Started | Verdict::Stopped | Verdict::Queued | Verdict::Submitted => {
                Tone::Good
            }
            Verdict::Failed | Verdict::NotSubmitted | Verdict::FateUnknown => Tone::Bad,
            Verdict::AlreadyRunning
            | Verdict::Disabled
            | Verdict::NotRunning
            | Verdict::Finished => Tone::Dim,
        };
        if globals.quiet && line.verdict != Verdict::Failed {
            continue;
        }
        let verdict = print::paint(line.verdict.words(), tone, colored);
        let why = line.why.as_ref().map_or_else(String::new, |why| format!(": {why}"));
        print::out(&format!("{:width$}  {verdict}{why}", line.name));
    }
    let failed = lines.iter().filter(|line| line.verdict == Verdict::Failed).count();
    if failed > 0 {
        print::err(&format!("{} of {} failed", failed, count(lines.len(), "unit")));
    }
}
