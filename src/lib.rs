//! `ao`: a fleet of AI coding agents in ordinary tmux sessions, kept alive, paced and explained.
//!
//! Read the modules in this order. IO lives in [`sys`], [`run`] and [`ui`]; everything above them is pure.
//!
//! ```text
//! ui      verbs, rendering                      may use everything below
//! run     loops that observe, decide, act       may use sys + pure
//! sys     clock, files, processes, tmux         may use pure
//! ──────────────────────── purity line ────────────────────────
//! report → supervise → govern → handoff → kickoff → transcript → sense → limits → screen → backend → config → base
//! ```

pub mod backend;
pub mod base;
pub mod config;
pub mod govern;
pub mod handoff;
pub mod kickoff;
pub mod limits;
pub mod report;
pub mod run;
pub mod screen;
pub mod sense;
pub mod supervise;
pub mod sys;
pub mod transcript;
pub mod ui;

use std::ffi::OsString;
use std::process::ExitCode;

/// The version, as `ao --version` prints it.
pub const VERSION: &str = env!("AO_VERSION");

/// Runs the command line: arguments in (program name first), exit code out.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    // A CLI waits for each of its hooks: no parser, no config, no log.
    ui::cli::quick(&args).unwrap_or_else(|| ui::cli::run(args))
}
