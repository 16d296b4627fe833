//! `ao send`: type a message to an agent, verified.

use super::Globals;
use crate::ui::failure::Failure;

/// Type a message to an agent, verified.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: Args, _globals: &Globals) -> Result<u8, Failure> {
    Err(Failure::failed("`ao send` is not built yet"))
}
