//! `ao send`: type a message to an agent, once, and say what became of it.

use std::time::Duration;

use super::{Globals, act, load_config};
use crate::backend::Backend;
use crate::base::name::UnitName;
use crate::config::Agent;
use crate::kickoff::deliver::Opening;
use crate::report::act::{Line, Verdict};
use crate::run::deliver::Outcome as Typed;
use crate::run::engine::typed_text;
use crate::run::journal::Journal;
use crate::run::project::Project;
use crate::run::request;
use crate::run::typing::{self, Addressee, Manner};
use crate::screen::detect::Detector;
use crate::supervise::action::{Report, What};
use crate::supervise::event::Outcome;
use crate::supervise::outbox::{Draft, Origin};
use crate::sys::clock;
use crate::ui::failure::Failure;
use crate::ui::{exit, print};

/// The longest a message waits for its agent: a day.
const WAIT_MAX_S: u64 = 86_400;

/// Type a message to an agent, verified.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The agent.
    name: String,
    /// The message; several words become one text.
    #[arg(required = true, allow_hyphen_values = true)]
    text: Vec<String>,
    /// Also while it works, where its CLI queues what is typed.
    #[arg(long)]
    now: bool,
    /// Let the text begin with `/`, `!`, `#`, `$` or `@`, which the CLI takes as a command.
    #[arg(long)]
    command: bool,
    /// Leave it in the agent's queue and return: it is typed when the agent is idle, within a day.
    #[arg(long, conflicts_with_all = ["now", "wait"])]
    when_idle: bool,
    /// Take the place of a message with the same key that still waits.
    #[arg(long, value_name = "KEY")]
    replaces: Option<String>,
    /// How long to wait until the agent can take it, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    wait: u64,
}

pub(crate) fn run(args: &Args, globals: &Globals) -> Result<u8, Failure> {
    let config = load_config(globals)?;
    let named = act::named(&config, std::slice::from_ref(&args.name))?;
    act::refuse_inside_agent("send")?;
    let Some(agent) = named.first().and_then(|name| config.agent(name.as_str())).cloned() else {
        return Err(Failure::usage(format!("`{}` is a service: nobody reads there", args.name)));
    };
    let text = args.text.join(" ");
    if text.trim().is_empty() {
        return Err(Failure::usage("the message is empty"));
    }
    let project = Project::open(config).map_err(|error| act::failure(&error))?;
    let wait = Duration::from_secs(args.wait.min(WAIT_MAX_S));
    let patience = if args.when_idle { Duration::from_secs(WAIT_MAX_S) } else { wait };
    let draft = Draft {
        text: text.clone(),
        origin: Origin::Person,
        key: args.replaces.clone(),
        expires_at: Some(clock::now().wall + patience),
        busy_input: args.now,
        command: args.command,
    };
    let asked = request::send(&project, &agent.name, draft, (!args.when_idle).then_some(wait))
        .map_err(|error| Failure::from_error(exit::FAILED, &error))?;
    if let Some(outcome) = asked {
        if args.when_idle && project.watchdog().is_none() && !globals.quiet {
            print::err("no watchdog runs: the message is typed once one does (`ao up`)");
        }
        return say(&args.name, &outcome, globals);
    }
    let opening = if args.command { Opening::Command } else { Opening::Speech };
    let backend = Backend::by_name(&project.config, &agent.backend);
    let typed = typed_text(&project.store, &agent, &backend, &text, opening)
        .map_err(|error| Failure::from_error(exit::FAILED, &error))?;
    let manner = Manner { busy_input: args.now, hold_max: wait, past_banner: false };
    let detector =
        Detector::of(&backend).map_err(|error| Failure::from_error(exit::FAILED, &error))?;
    let to = Addressee { project: &project, agent: &agent, detector: &detector, seen: None };
    let mut tmux = project.tmux(None);
    let outcome = match typing::type_text(to, tmux.as_mut(), &typed, manner, &mut || {}) {
        Typed::Delivered { attempts } => Outcome::Submitted { keys: attempts },
        Typed::Held { why } | Typed::NotDelivered { why } => Outcome::NotSubmitted { why },
        Typed::Unknown { why } => Outcome::FateUnknown { why },
    };
    log(&project, &agent, &outcome);
    say(&args.name, &outcome, globals)
}

/// The watchdog writes down what it types; what this process typed by itself it writes down here.
fn log(project: &Project, agent: &Agent, outcome: &Outcome) {
    let line = Line::of(&agent.name, outcome);
    let (what, why) = match line.why {
        None => (What::Sent, "a message of `ao send`".to_owned()),
        Some(why) => (What::NotSent, format!("a message of `ao send`: {why}")),
    };
    let report = Report { unit: Some(agent.name.clone()), what, why, notify: false };
    Journal::new(project.store.events()).append(&[report], clock::now());
}

fn say(name: &str, outcome: &Outcome, globals: &Globals) -> Result<u8, Failure> {
    let name_of_unit = UnitName::new(name).map_err(|error| Failure::usage(error.to_string()))?;
    let line = Line::of(&name_of_unit, outcome);
    let good = matches!(line.verdict, Verdict::Submitted | Verdict::Queued);
    if globals.json {
        let word = line.verdict.words();
        let message = match outcome {
            Outcome::Queued { message } => Some(message.0),
            Outcome::Started
            | Outcome::AlreadyRunning
            | Outcome::Disabled
            | Outcome::Stopped { .. }
            | Outcome::NotRunning
            | Outcome::Finished
            | Outcome::Failed { .. }
            | Outcome::Submitted { .. }
            | Outcome::NotSubmitted { .. }
            | Outcome::FateUnknown { .. } => None,
        };
        let document = serde_json::json!({
            "version": 1, "name": name, "outcome": word, "why": line.why, "message": message,
        });
        print::out(&document.to_string());
        return Ok(if good { exit::DONE } else { exit::FAILED });
    }
    if good {
        if !globals.quiet {
            print::out(&format!("{name}  {}", line.verdict.words()));
        }
        return Ok(exit::DONE);
    }
    let why = line.why.unwrap_or_else(|| line.verdict.words().to_owned());
    let failure = if line.verdict == Verdict::FateUnknown {
        Failure::failed(format!("it is not known whether `{name}` got the message: {why}"))
            .hint(format!("look with `ao attach {name}` before you send it again"))
    } else {
        Failure::failed(format!("`{name}` did not get the message: {why}"))
            .hint("nothing was submitted; it is safe to send it again")
    };
    Err(failure)
}
