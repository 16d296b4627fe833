//! `ao restart`: stop and start agents by name; clears `failed`.

use super::Globals;
use crate::ui::failure::Failure;

/// Stop and start agents by name; clears `failed`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: Args, _globals: &Globals) -> Result<u8, Failure> {
    Err(Failure::failed("`ao restart` is not built yet"))
}
