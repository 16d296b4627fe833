//! `ao explain`: the last decision about an agent and its evidence, or what a saved screen says.

use super::Globals;
use crate::ui::failure::Failure;

/// The last decision about an agent and its evidence, or what a saved screen says.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: Args, _globals: &Globals) -> Result<u8, Failure> {
    Err(Failure::failed("`ao explain` is not built yet"))
}
