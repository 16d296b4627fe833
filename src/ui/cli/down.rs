//! `ao down`: stop agents, services and the watchdog; only sessions of this project.

use super::Globals;
use crate::ui::failure::Failure;

/// Stop agents, services and the watchdog; only sessions of this project.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: Args, _globals: &Globals) -> Result<u8, Failure> {
    Err(Failure::failed("`ao down` is not built yet"))
}
