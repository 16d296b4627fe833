//! `ao send`: type a message to an agent, once, and say what became of it.

use std::time::Duration;

use super::{Globals, act, load_config};
use crate::backend::Backend;
use crate::config::Agent;
use crate::kickoff::compose;
use crate::kickoff::deliver::{Opening, safe_text};
use crate::run::deliver::Outcome;
use crate::run::journal::Journal;
use crate::run::project::Project;
use crate::run::typing::{self, Manner};
use crate::supervise::action::{Report, What};
use crate::sys::{clock, file};
use crate::ui::failure::Failure;
use crate::ui::{exit, print};

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
    /// How long to wait until the agent can take it, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    wait: u64,
}

pub(crate) fn run(args: Args, globals: &Globals) -> Result<u8, Failure> {
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
    let opening = if args.command { Opening::Command } else { Opening::Speech };
    let typed = typed_text(&project, &agent, &text, opening)?;
    let manner =
        Manner { busy_input: args.now, hold_max: Duration::from_secs(args.wait.min(86_400)) };
    let outcome = typing::type_text(&project, &agent, &typed, manner, &mut || {});
    log(&project, &agent, &outcome);
    say(&args.name, &outcome, globals)
}

/// A text too long for one paste goes to a file that the agent is sent to.
fn typed_text(
    project: &Project,
    agent: &Agent,
    text: &str,
    opening: Opening,
) -> Result<String, Failure> {
    let backend = Backend::by_name(&project.config, &agent.backend);
    let long = |max: Option<u32>, length: usize| max.is_some_and(|max| length > max as usize);
    let too_long = long(backend.paste_chars_max, text.chars().count())
        || long(backend.paste_lines_max, text.lines().count());
    if !too_long {
        return Ok(safe_text(text, opening));
    }
    let folder = project.store.state().join("messages");
    let name = format!("{}-{}.txt", agent.name, uuid::Uuid::new_v4());
    let path = folder.join(name);
    let write = std::fs::create_dir_all(&folder).map_err(|cause| file::FileError {
        act: "make",
        path: folder.clone(),
        cause,
    });
    write
        .and_then(|()| file::replace(&path, text.as_bytes(), 0o600))
        .map_err(|error| Failure::from_error(exit::FAILED, &error))?;
    Ok(safe_text(&compose::pointer_line(&path.to_string_lossy()), Opening::Speech))
}

fn log(project: &Project, agent: &Agent, outcome: &Outcome) {
    let (what, why) = match outcome {
        Outcome::Delivered { attempts } => {
            (What::Sent, format!("a message of `ao send`, submitted with {attempts} key presses"))
        }
        Outcome::Held { why } | Outcome::NotDelivered { why } | Outcome::Unknown { why } => {
            (What::NotSent, format!("a message of `ao send`: {why}"))
        }
    };
    let report = Report { unit: Some(agent.name.clone()), what, why, notify: false };
    Journal::new(project.store.events()).append(&[report], clock::now());
}

fn say(name: &str, outcome: &Outcome, globals: &Globals) -> Result<u8, Failure> {
    let (word, why) = match outcome {
        Outcome::Delivered { .. } => ("delivered", None),
        Outcome::Held { why } => ("held", Some(why)),
        Outcome::NotDelivered { why } => ("not delivered", Some(why)),
        Outcome::Unknown { why } => ("unknown", Some(why)),
    };
    if globals.json {
        let document =
            serde_json::json!({ "version": 1, "name": name, "outcome": word, "why": why });
        print::out(&document.to_string());
        return Ok(if why.is_none() { exit::DONE } else { exit::FAILED });
    }
    let Some(why) = why else {
        if !globals.quiet {
            print::out(&format!("{name}  delivered"));
        }
        return Ok(exit::DONE);
    };
    let failure = match outcome {
        Outcome::Unknown { .. } => {
            Failure::failed(format!("it is not known whether `{name}` got the message: {why}"))
                .hint(format!("look with `ao attach {name}` before you send it again"))
        }
        Outcome::Delivered { .. } | Outcome::Held { .. } | Outcome::NotDelivered { .. } => {
            Failure::failed(format!("`{name}` did not get the message: {why}"))
                .hint("nothing was submitted; it is safe to send it again")
        }
    };
    Err(failure)
}
