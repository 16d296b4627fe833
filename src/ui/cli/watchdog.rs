//! `ao watchdog`: the supervisor loop (what the <prefix>watchdog session runs).

use super::Globals;
use crate::ui::failure::Failure;

/// The supervisor loop (what the <prefix>watchdog session runs).
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: Args, _globals: &Globals) -> Result<u8, Failure> {
    Err(Failure::failed("`ao watchdog` is not built yet"))
}
