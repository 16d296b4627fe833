//! `ao up`: start enabled agents, services and the watchdog; what runs already is left alone.

use super::Globals;
use crate::ui::failure::Failure;

/// Start enabled agents, services and the watchdog; what runs already is left alone.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: Args, _globals: &Globals) -> Result<u8, Failure> {
    Err(Failure::failed("`ao up` is not built yet"))
}
