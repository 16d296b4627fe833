//! `ao check`: validate agents.toml and print the resolved config.

use super::Globals;
use crate::ui::failure::Failure;
use crate::ui::{exit, print};

/// Validate agents.toml and print the resolved config.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: Args, globals: &Globals) -> Result<u8, Failure> {
    let loaded = super::load_config_with_warnings(globals)?;
    if !loaded.warnings.diagnostics.is_empty() {
        print::err(loaded.warnings.render(print::err_colored(globals)).trim_end());
    }
    print::out(&format!("{:#?}", loaded.config));
    Ok(exit::DONE)
}
