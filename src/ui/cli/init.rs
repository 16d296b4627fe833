//! `ao init`: write a starter agents.toml and prompts/, never overwriting.

use super::Globals;
use crate::ui::failure::Failure;

/// Write a starter agents.toml and prompts/, never overwriting.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: Args, _globals: &Globals) -> Result<u8, Failure> {
    Err(Failure::failed("`ao init` is not built yet"))
}
