//! `ao demo-agent`: a scriptable terminal program that stands in for an AI CLI.

use super::Globals;
use crate::ui::failure::Failure;

/// A scriptable terminal program that stands in for an AI CLI.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: Args, _globals: &Globals) -> Result<u8, Failure> {
    Err(Failure::failed("`ao demo-agent` is not built yet"))
}
