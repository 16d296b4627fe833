//! The command line: one file a verb, each with its argument struct and one function.

mod act;
mod approvals;
mod attach;
mod audit;
mod check;
mod completions;
mod config;
mod cost;
mod demo_agent;
mod doctor;
mod down;
mod events;
mod explain;
mod explain_unit;
mod hook;
mod init;
mod key;
mod kill;
mod logs;
mod man;
mod org;
mod phase;
mod policy;
mod queue;
mod replay;
mod restart;
mod run;
mod schema;
mod selftest;
mod selftest_live;
mod send;
mod serve;
mod session;
mod status;
mod transcript;
mod trust;
mod up;
mod watchdog;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use super::{exit, failure::Failure, print};
use crate::config::Config;
use crate::run::accepted;
use crate::sys::load::{self, LoadError, Loaded};

/// Keeps a fleet of AI coding agents alive, paced and coordinated in ordinary tmux sessions.
#[derive(Debug, Parser)]
#[command(name = "ao", version = crate::VERSION, propagate_version = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    verb: Verb,
}

/// What every verb understands.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Globals {
    /// The config file (default: `$AO_CONFIG`, ./agents.toml, then the one beside or above the `ao` launcher).
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) config: Option<PathBuf>,
    /// When to colour output.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: Color,
    /// Say only what went wrong.
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Machine-readable output (and errors as JSON on stderr).
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Up(up::Args),
    Down(down::Args),
    Status(status::Args),
    Watchdog(watchdog::Args),
    Logs(logs::Args),
    Attach(attach::Args),
    Send(send::Args),
    Queue(queue::Args),
    Restart(restart::Args),
    Replay(replay::Args),
    Phase(phase::Args),
    Policy(policy::Args),
    Run(run::Args),
    Cost(cost::Args),
    Trust(trust::Args),
    Check(check::Args),
    Config(config::Args),
    Schema(schema::Args),
    Events(events::Args),
    Transcript(transcript::Args),
    Explain(explain::Args),
    Audit(audit::Args),
    Approvals(approvals::ListArgs),
    Approve(approvals::ApproveArgs),
    Deny(approvals::DenyArgs),
    Kill(kill::KillArgs),
    Unkill(kill::UnkillArgs),
    Serve(serve::Args),
    Session(session::Args),
    Org(org::Args),
    Key(key::Args),
    Doctor(doctor::Args),
    Selftest(selftest::Args),
    Init(init::Args),
    Completions(completions::Args),
    Man(man::Args),
    Hook(hook::Args),
    Statusline(hook::StatusLineArgs),
    DemoAgent(demo_agent::Args),
}

/// The calls that are too frequent for the parser; `None` for everything else.
pub fn quick(arguments: &[OsString]) -> Option<ExitCode> {
    hook::quick(arguments)
}

/// Parses the arguments, runs the verb, says what went wrong, and answers the exit code.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            let code = if error.use_stderr() { exit::USAGE } else { exit::DONE };
            drop(error.print());
            return ExitCode::from(code);
        }
    };
    let json = cli.globals.json;
    match dispatch(cli) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            if json {
                print::err(&failure.json().to_string());
            } else {
                print::err(&failure.text());
            }
            ExitCode::from(failure.code)
        }
    }
}

fn dispatch(cli: Cli) -> Result<u8, Failure> {
    let globals = cli.globals;
    match cli.verb {
        Verb::Up(args) => up::run(&args, &globals),
        Verb::Down(args) => down::run(&args, &globals),
        Verb::Status(args) => status::run(&args, &globals),
        Verb::Watchdog(args) => watchdog::run(&args, &globals),
        Verb::Logs(args) => logs::run(args, &globals),
        Verb::Attach(args) => attach::run(args, &globals),
        Verb::Send(args) => send::run(&args, &globals),
        Verb::Queue(args) => queue::run(&args, &globals),
        Verb::Replay(args) => replay::run(args, &globals),
        Verb::Restart(args) => restart::run(&args, &globals),
        Verb::Phase(args) => phase::run(args, &globals),
        Verb::Policy(args) => policy::run(args, &globals),
        Verb::Run(args) => run::run(&args, &globals),
        Verb::Trust(args) => trust::run(args, &globals),
        Verb::Cost(args) => cost::run(&args, &globals),
        Verb::Check(args) => check::run(args, &globals),
        Verb::Config(args) => config::run(args, &globals),
        Verb::Schema(args) => schema::run(args, &globals),
        Verb::Events(args) => events::run(args, &globals),
        Verb::Transcript(args) => transcript::run(args, &globals),
        Verb::Explain(args) => explain::run(args, &globals),
        Verb::Audit(args) => audit::run(args, &globals),
        Verb::Approvals(args) => approvals::list(args, &globals),
        Verb::Approve(args) => approvals::approve(&args, &globals),
        Verb::Deny(args) => approvals::deny(&args, &globals),
        Verb::Kill(args) => kill::kill(&args, &globals),
        Verb::Unkill(args) => kill::unkill(&args, &globals),
        Verb::Serve(args) => serve::run(&args, &globals),
        Verb::Session(args) => session::run(args, &globals),
        Verb::Org(args) => org::run(args, &globals),
        Verb::Key(args) => key::run(args, &globals),
        Verb::Doctor(args) => doctor::run(args, &globals),
        Verb::Selftest(args) => selftest::run(&args, &globals),
        Verb::Init(args) => init::run(args, &globals),
        Verb::Completions(args) => completions::run(args, &globals),
        Verb::Man(args) => man::run(args, &globals),
        Verb::Hook(args) => Ok(hook::run(&args)),
        Verb::Statusline(args) => Ok(hook::run_status_line(&args)),
        Verb::DemoAgent(args) => demo_agent::run(args, &globals),
    }
}

/// The checked config these settings lead to; what is wrong with it is shown in full, exit code 2.
///
/// What a person has to accept first is as it was accepted.
pub(crate) fn load_config(globals: &Globals) -> Result<Config, Failure> {
    let loaded = load_config_with_warnings(globals)?;
    in_force(loaded).map(|found| found.config)
}

/// What of a loaded config is in force, and what waits to be accepted.
pub(crate) fn in_force(loaded: Loaded) -> Result<accepted::InForce, Failure> {
    accepted::in_force(loaded.config, &loaded.warnings.source).map_err(|error| {
        Failure::from_error(exit::FAILED, &error).hint(
            "look at `agents.toml` and the policies, then accept them with `ao config accept`",
        )
    })
}

/// As [`load_config`], keeping the warnings.
pub(crate) fn load_config_with_warnings(globals: &Globals) -> Result<Loaded, Failure> {
    load::load_with_warnings(globals.config.as_deref()).map_err(|error| match &error {
        LoadError::Bad { problems } => {
            let text = problems.render(print::err_colored(globals));
            Failure::rendered(exit::USAGE, text.trim_end())
        }
        LoadError::NotFound(_) => Failure::from_error(exit::USAGE, &error)
            .hint("write one with `ao init`, or name one with `--config PATH`"),
        LoadError::Read { .. } | LoadError::NotText { .. } => {
            Failure::from_error(exit::USAGE, &error)
        }
    })
}
