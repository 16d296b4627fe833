//! `ao schema`: print the JSON Schema of agents.toml, of `status --json` or of an event.

use super::Globals;
use crate::ui::failure::Failure;

/// Print the JSON Schema of agents.toml, of `status --json` or of an event.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: Args, _globals: &Globals) -> Result<u8, Failure> {
    Err(Failure::failed("`ao schema` is not built yet"))
}
