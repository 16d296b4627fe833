//! `ao schema`: print the JSON Schema of agents.toml.

use super::Globals;
use crate::config::reference;
use crate::ui::failure::Failure;
use crate::ui::{exit, print};

/// Print the JSON Schema of agents.toml, of `status --json` or of an event.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Of what.
    #[arg(default_value = "config")]
    of: Document,
}

/// A document whose shape is a promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Document {
    /// The config file, agents.toml.
    Config,
}

pub(crate) fn run(args: Args, _globals: &Globals) -> Result<u8, Failure> {
    let schema = match args.of {
        Document::Config => reference::schema(),
    };
    print::out(&format!("{schema:#}"));
    Ok(exit::DONE)
}
