//! `ao phase`: show or move the loop's phase.

use super::Globals;
use crate::ui::failure::Failure;

/// Show or move the loop's phase.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: Args, _globals: &Globals) -> Result<u8, Failure> {
    Err(Failure::failed("`ao phase` is not built yet"))
}
