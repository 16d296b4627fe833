//! `ao check`: validate agents.toml and print the resolved config.

use super::Globals;
use crate::ui::failure::Failure;

/// Validate agents.toml and print the resolved config.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: Args, _globals: &Globals) -> Result<u8, Failure> {
    Err(Failure::failed("`ao check` is not built yet"))
}
