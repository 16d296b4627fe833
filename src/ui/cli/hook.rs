//! `ao hook <cli>` and `ao statusline`: called by the CLIs themselves, many times a minute.
//!
//! Surprise: both are taken before the command line is parsed, since a CLI waits for each call, and
//! no fault of ours may end them with another code than their answer's: 2 would deny a tool.

use std::ffi::OsString;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::run::hook::{self, Place};
use crate::sense::Cli;
use crate::sense::answer::{self, Answer, Payload};
use crate::ui::{exit, print};

/// Take one hook call of a CLI on standard input and tell the watchdog (set up by `ao up`).
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Whose hook: `claude`, `codex`, `gemini` or `opencode`.
    #[arg(value_parser = ["claude", "codex", "gemini", "opencode"])]
    cli: String,
    /// Judge what is asked, by the bounds in this file (written by `ao up` for a governed agent).
    #[arg(long, value_name = "FILE")]
    governed: Option<PathBuf>,
}

/// Take the status line input of Claude Code and print the user's own line (set up by `ao up`).
#[derive(Debug, clap::Args)]
pub(crate) struct StatusLineArgs {}

/// Runs the call when the arguments are one; everything else is left to the parser.
pub(crate) fn quick(arguments: &[OsString]) -> Option<ExitCode> {
    let words: Vec<&str> =
        arguments.iter().skip(1).take(5).map(|word| word.to_str().unwrap_or_default()).collect();
    match *words {
        ["hook", cli] => Cli::from_word(cli).map(|cli| leave(&hook_call(cli))),
        ["hook", cli, "--governed", _] => {
            let bounds = Path::new(arguments.get(4)?);
            Cli::from_word(cli).map(|cli| ExitCode::from(answer_governed(cli, bounds)))
        }
        ["statusline"] => Some(leave(&status_line_call())),
        _ => None,
    }
}

pub(crate) fn run(args: &Args) -> u8 {
    let Some(cli) = Cli::from_word(&args.cli) else { return exit::DONE };
    if let Some(bounds) = &args.governed {
        return answer_governed(cli, bounds);
    }
    let answer = hook_call(cli);
    print::answer(&answer.stdout, &answer.stderr);
    answer.code
}

pub(crate) fn run_status_line(_args: &StatusLineArgs) -> u8 {
    let answer = status_line_call();
    print::answer(&answer.stdout, &answer.stderr);
    answer.code
}

fn hook_call(cli: Cli) -> Answer {
    guarded(|| {
        let (bytes, truncated) = hook::input();
        let place = Place::from_environment();
        hook::hook(cli, Payload { bytes: &bytes, truncated }, place.as_ref())
    })
}

/// Whatever goes wrong denies, an answer that could not be written whole among it.
fn answer_governed(cli: Cli, bounds: &Path) -> u8 {
    let judged = std::panic::catch_unwind(|| {
        let (bytes, truncated) = hook::input();
        hook::governed(cli, Payload { bytes: &bytes, truncated }, bounds, leave_late)
    });
    match judged {
        Ok(Some(answer)) => written(&answer),
        // The refusal is being printed by the thread that watches the time, which then ends us.
        Ok(None) => loop {
            std::thread::park();
        },
        Err(_) => {
            print::answer(&[], b"ao: denied: the decision broke down\n");
            exit::USAGE
        }
    }
}

/// Answers while the decision still goes on elsewhere.
fn leave_late(answer: &Answer) {
    std::process::exit(i32::from(written(answer)));
}

/// The exit code, with the answer printed.
fn written(answer: &Answer) -> u8 {
    if print::answer_whole(&answer.stdout, &answer.stderr) {
        return answer.code;
    }
    print::answer(&[], b"ao: denied: the answer could not be written\n");
    exit::USAGE
}

fn status_line_call() -> Answer {
    guarded(|| {
        let (bytes, _) = hook::input();
        hook::status_line(&bytes, Place::from_environment().as_ref())
    })
}

/// A panic of ours is no opinion about what the agent does.
fn guarded(call: impl FnOnce() -> Answer) -> Answer {
    std::panic::catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|_| answer::neutral())
}

fn leave(answer: &Answer) -> ExitCode {
    print::answer(&answer.stdout, &answer.stderr);
    ExitCode::from(answer.code)
}
