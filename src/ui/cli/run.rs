//! `ao run`: one command in the name of a governed agent, judged before it starts.
//!
//! For scripts and for CLIs without a hook. The command itself is always judged as `shell.run`; a type that
//! the caller names is judged beside it, since a claim can only tighten. There is no sandbox: what the
//! command does inside is not seen.

use std::time::Duration;

use serde_json::{Map, Value};

use super::{Globals, act, load_config};
use crate::base::chain;
use crate::base::now::Now;
use crate::base::quote::shell_word;
use crate::govern::action::{Ask, Micros};
use crate::govern::answer::Held;
use crate::govern::verdict::Effect;
use crate::run::governance::bounds::{self, Governed};
use crate::run::governance::door::{self, DoorError, Waiting};
use crate::run::governance::settle::Outcome;
use crate::run::project::Project;
use crate::sys::clock;
use crate::sys::process::Call;
use crate::ui::failure::Failure;
use crate::ui::{exit, print};

/// Run one command as a governed agent: judged, recorded, its outcome told.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Whose act it is; governed by the config.
    #[arg(long)]
    agent: String,
    /// What the act is beside a command, such as `deploy.run`.
    #[arg(long, value_name = "TYPE")]
    action: Option<String>,
    /// What that is done to (default: the command line).
    #[arg(long, requires = "action")]
    resource: Option<String>,
    /// The command and its arguments.
    #[arg(required = true, last = true)]
    command: Vec<String>,
}

struct Told<'a> {
    globals: &'a Globals,
}

impl Waiting for Told<'_> {
    fn begins(&mut self, what: &str) {
        if !self.globals.quiet {
            print::err(&format!("waits for a person: {what}"));
        }
    }

    fn ends(&mut self) {}
}

pub(crate) fn run(args: &Args, globals: &Globals) -> Result<u8, Failure> {
    let config = load_config(globals)?;
    let unit = act::named(&config, std::slice::from_ref(&args.agent))?;
    let agent = unit.first().and_then(|unit| config.agent(unit.as_str()));
    let Some(agent) = agent.filter(|agent| agent.bounds.governed) else {
        return Err(Failure::usage(format!("`{}` is no governed agent", args.agent))
            .hint("add `governed = true` to its `[[agent]]`"));
    };
    // An agent acts for itself only.
    if std::env::var("AO_AGENT").is_ok_and(|inside| inside != args.agent) {
        let message = format!("this runs inside another agent than `{}`", args.agent);
        return Err(Failure::with_code(exit::REFUSED, message));
    }
    let project = Project::open(config.clone()).map_err(|error| act::failure(&error))?;
    let governed = bounds::of_now(&config, &project.store, agent, clock::now())
        .map_err(|error| refused(&chain::text(&error)))?;
    let command: Vec<String> = args.command.iter().map(|word| shell_word(word)).collect();
    let command = command.join(" ");
    let mut acts = vec![("shell.run", command.as_str())];
    if let Some(action) = &args.action {
        acts.push((action, args.resource.as_deref().unwrap_or(&command)));
    }
    let mut allowed = Vec::new();
    for (action, resource) in acts {
        let done = leave(&governed, action, resource, globals).map_err(|error| {
            refused(&format!("denied, it could not be decided: {}", chain::text(&error)))
        });
        match done {
            Ok(Leave::Granted(id)) => allowed.push(id),
            Ok(Leave::Refused(why)) => {
                report(&governed, &allowed, None, Duration::ZERO);
                return Err(refused(&why));
            }
            Err(failure) => return Err(failure),
        }
    }
    let begun = clock::now();
    let call = Call::new(&args.command[0]).args(&args.command[1..]);
    let code = call.run_in_terminal();
    let took = clock::now().mono.since(begun.mono);
    report(&governed, &allowed, code.as_ref().ok().copied(), took);
    let code = code.map_err(|error| Failure::from_error(exit::FAILED, &error))?;
    Ok(u8::try_from(code).unwrap_or(exit::FAILED))
}

enum Leave {
    /// The id of the act.
    Granted(i64),
    Refused(String),
}

fn leave(
    governed: &Governed,
    action: &str,
    resource: &str,
    globals: &Globals,
) -> Result<Leave, DoorError> {
    let mut context = Map::new();
    context.insert("cli".to_owned(), "run".into());
    if let Some(folder) =
        std::env::current_dir().ok().and_then(|path| path.to_str().map(str::to_owned))
    {
        context.insert("cwd".to_owned(), folder.into());
    }
    let ask = Ask {
        org: governed.org.clone(),
        agent: governed.agent.clone(),
        action_type: action.to_owned(),
        resource: resource.to_owned(),
        context,
        cost: Micros(0),
        claimed_risk: None,
        session_id: None,
        parent_action_id: None,
        depth: 0,
        correlation_id: None,
    };
    let now: Now = clock::now();
    let (mut governance, decision) = door::submit_act(governed, &ask, now)?;
    match decision.effect {
        Effect::Allow | Effect::AllowNotify => Ok(Leave::Granted(decision.action_id)),
        Effect::Deny => Ok(Leave::Refused(decision.reason)),
        Effect::RequireApproval => {
            let limit = Duration::from_millis(governed.hook_wait_ms);
            match door::wait(&mut governance, &decision, limit, &mut Told { globals })? {
                (Held::Approved, _) => Ok(Leave::Granted(decision.action_id)),
                (Held::Not, why) => Ok(Leave::Refused(why)),
            }
        }
    }
}

/// What is not told lapses and counts as spent.
fn report(governed: &Governed, acts: &[i64], code: Option<i32>, took: Duration) {
    let now = clock::now();
    let mut details = Map::new();
    details.insert("exit_code".to_owned(), code.map_or(Value::Null, Value::from));
    details.insert("took_ms".to_owned(), crate::base::now::millis(took).into());
    let outcome = Outcome { success: code == Some(0), cost: Some(Micros(0)), details };
    for id in acts {
        if let Err(error) = door::report_act(governed, *id, &outcome, now) {
            print::err(&format!("its outcome is not on record: {}", chain::text(&error)));
        }
    }
}

fn refused(why: &str) -> Failure {
    Failure::with_code(exit::REFUSED, why)
}
