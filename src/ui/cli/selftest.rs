//! `ao selftest`: run the detectors over the recorded panes built into the binary.

use super::Globals;
use crate::ui::failure::Failure;

/// Run the detectors over the recorded panes built into the binary.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: Args, _globals: &Globals) -> Result<u8, Failure> {
    Err(Failure::failed("`ao selftest` is not built yet"))
}
