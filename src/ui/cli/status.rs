//! `ao status`: one table: every agent and service, the phase, the watchdog's health.

use super::Globals;
use crate::ui::failure::Failure;

/// One table: every agent and service, the phase, the watchdog's health.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: Args, _globals: &Globals) -> Result<u8, Failure> {
    Err(Failure::failed("`ao status` is not built yet"))
}
