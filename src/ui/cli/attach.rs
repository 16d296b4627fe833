//! `ao attach`: attach this terminal to an agent's session.

use super::Globals;
use crate::ui::failure::Failure;

/// Attach this terminal to an agent's session.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: Args, _globals: &Globals) -> Result<u8, Failure> {
    Err(Failure::failed("`ao attach` is not built yet"))
}
