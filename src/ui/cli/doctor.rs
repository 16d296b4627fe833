//! `ao doctor`: look at tmux, git, backends, folders, limits and leftovers.

use super::Globals;
use crate::ui::failure::Failure;

/// Look at tmux, git, backends, folders, limits and leftovers.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: Args, _globals: &Globals) -> Result<u8, Failure> {
    Err(Failure::failed("`ao doctor` is not built yet"))
}
