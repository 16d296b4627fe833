//! `ao config`: what of a governed project waits for a person's leave, and the leave.
//!
//! What bounds agents takes effect only after that. The first `ao up` of a governed project accepts what
//! is written then, because a person runs it and there is nothing to go back to.

use serde_json::json;

use super::{Globals, act, audit, in_force, load_config_with_warnings};
use crate::config::{Config, guarded};
use crate::govern::audit::{Draft, Kind};
use crate::run::accepted::{self, AcceptedError, Written};
use crate::run::governance::{Governance, operator};
use crate::run::project::Project;
use crate::sys::clock;
use crate::sys::load::Loaded;
use crate::ui::failure::Failure;
use crate::ui::print::Tone;
use crate::ui::{exit, print};

/// What bounds a governed project: what waits for leave, and the leave.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Show the changes that nobody accepted yet (the default).
    Show,
    /// Accept bounds and policies as they are written now.
    Accept {
        /// Only if this is what `ao config show` named; its beginning is enough.
        digest: Option<String>,
    },
}

pub(crate) fn run(args: Args, globals: &Globals) -> Result<u8, Failure> {
    match args.what.unwrap_or(What::Show) {
        What::Show => show(globals),
        What::Accept { digest } => accept(digest.as_deref(), globals),
    }
}

fn failure(error: &AcceptedError) -> Failure {
    Failure::from_error(exit::FAILED, error)
}

fn show(globals: &Globals) -> Result<u8, Failure> {
    let found = in_force(load_config_with_warnings(globals)?)?;
    let accepted = accepted::stamp(&found.config).is_some();
    if globals.json {
        let (digest, changes) = match &found.waiting {
            Some(waiting) => (Some(&*waiting.digest), &waiting.lines[..]),
            None => (None, &[][..]),
        };
        let document =
            json!({ "version": 1, "accepted": accepted, "digest": digest, "changes": changes });
        print::out(&document.to_string());
        return Ok(exit::DONE);
    }
    match &found.waiting {
        Some(waiting) => {
            for line in &waiting.lines {
                let tone = if line.starts_with('-') { Tone::Bad } else { Tone::Good };
                print::out(&print::paint(&one_line(line), tone, print::colored(globals)));
            }
            print::err(&format!("in force after `ao config accept {}`", short(&waiting.digest)));
        }
        None if globals.quiet => {}
        None if accepted => print::err("everything that is written was accepted"),
        None => print::err("nothing was accepted yet: what is written is in force"),
    }
    Ok(exit::DONE)
}

/// What was written must not move the cursor of whoever accepts it.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

fn accept(given: Option<&str>, globals: &Globals) -> Result<u8, Failure> {
    act::refuse_inside_agent("config accept")?;
    let Loaded { config, warnings } = load_config_with_warnings(globals)?;
    let written = Written::read(&config, &warnings.source).map_err(|error| failure(&error))?;
    let digest = written.digest();
    if given.is_some_and(|given| given.is_empty() || !digest.starts_with(given)) {
        let now = short(&digest);
        return Err(Failure::with_code(exit::REFUSED, format!("what is written now is {now}"))
            .hint("look again with `ao config show`"));
    }
    take(&config, written)?;
    if globals.json {
        print::out(&json!({ "version": 1, "digest": digest }).to_string());
    } else if !globals.quiet {
        print::out(&format!("accepted: {}", short(&digest)));
    }
    Ok(exit::DONE)
}

/// Keeps what is written as accepted, and records that in the audit log.
fn take(config: &Config, written: Written) -> Result<(), Failure> {
    let digest = written.digest();
    let project = Project::open(config.clone()).map_err(|error| act::failure(&error))?;
    let mut governance = Governance::open(&project).map_err(|error| audit::failure(&error))?;
    let now = clock::now();
    let by = operator::name();
    let draft = Draft::new(Kind::ConfigAccepted, &by, "bounds and policies")
        .with("digest", digest)
        .with("policies", written.policies().to_owned());
    governance.record(&draft, now).map_err(|error| audit::failure(&error))?;
    accepted::accept(config, written, &governance.operator, &by, now)
        .map_err(|error| failure(&error))
}

/// The config that a person starts: the first time all of a governed project is accepted by that.
pub(super) fn start(globals: &Globals) -> Result<Config, Failure> {
    let loaded = load_config_with_warnings(globals)?;
    let source = loaded.warnings.source.clone();
    let found = in_force(loaded)?;
    if let Some(waiting) = &found.waiting {
        let lines: Vec<String> = waiting.lines.iter().map(|line| one_line(line)).collect();
        print::err(&format!("{}\n  {}", accepted::UNACCEPTED, lines.join("\n  ")));
    } else if guarded::is_governed(&found.config) && accepted::stamp(&found.config).is_none() {
        act::refuse_inside_agent("up")?;
        let written = Written::read(&found.config, &source).map_err(|error| failure(&error))?;
        let digest = written.digest();
        take(&found.config, written)?;
        if !globals.quiet && !globals.json {
            let text = "bounds and policies are accepted as they are written";
            print::err(&format!("{text} ({})", short(&digest)));
        }
    }
    Ok(found.config)
}
