//! `ao man`: print the manual page.

use super::Globals;
use crate::ui::failure::Failure;

/// Print the manual page.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: Args, _globals: &Globals) -> Result<u8, Failure> {
    Err(Failure::failed("`ao man` is not built yet"))
}
