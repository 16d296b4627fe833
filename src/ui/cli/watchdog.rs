//! `ao watchdog`: the supervisor loop; what the `<prefix>watchdog` session runs.

use super::{Globals, act, load_config};
use crate::run::dry_run;
use crate::run::project::Project;
use crate::run::watchdog::{self, WatchdogError};
use crate::ui::exit;
use crate::ui::failure::Failure;
use crate::ui::print;

/// The supervisor loop (what the `<prefix>watchdog` session runs).
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Say what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
}

pub(crate) fn run(args: &Args, globals: &Globals) -> Result<u8, Failure> {
    let config = load_config(globals)?;
    let project = Project::open(config).map_err(|error| act::failure(&error))?;
    if args.dry_run {
        let done = dry_run::run(&project, &mut |line| print::out(line));
        return done
            .map(|()| exit::DONE)
            .map_err(|error| Failure::from_error(exit::FAILED, &error));
    }
    crate::run::log::to_file(&project.store.log_dir().join("watchdog.log"));
    // In its own session it may take over from one that is about to hand over.
    let wait = std::env::var_os("TMUX").is_some();
    watchdog::run(project, wait).map(|_| exit::DONE).map_err(|error| {
        tracing::error!(error = %crate::base::chain::text(&error), "the watchdog ended");
        match &error {
            WatchdogError::Running { .. } => Failure::from_error(exit::FAILED, &error)
                .hint("`ao status` shows it; `ao down` stops it"),
            WatchdogError::Lock(_)
            | WatchdogError::Project(_)
            | WatchdogError::Deaths(_)
            | WatchdogError::Signals(_) => Failure::from_error(exit::FAILED, &error),
        }
    })
}
