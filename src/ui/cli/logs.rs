//! `ao logs`: show one session's log as clean text.

use super::Globals;
use crate::ui::failure::Failure;

/// Show one session's log as clean text.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: Args, _globals: &Globals) -> Result<u8, Failure> {
    Err(Failure::failed("`ao logs` is not built yet"))
}
