//! `ao events`: show the watchdog's event log.

use super::Globals;
use crate::ui::failure::Failure;

/// Show the watchdog's event log.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: Args, _globals: &Globals) -> Result<u8, Failure> {
    Err(Failure::failed("`ao events` is not built yet"))
}
