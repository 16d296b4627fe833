//! `ao completions`: print a completion script for your shell.

use super::Globals;
use crate::ui::failure::Failure;

/// Print a completion script for your shell.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: Args, _globals: &Globals) -> Result<u8, Failure> {
    Err(Failure::failed("`ao completions` is not built yet"))
}
