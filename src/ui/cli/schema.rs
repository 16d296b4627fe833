//! `ao schema`: print the JSON Schema of agents.toml and of what `--json` prints.

use super::Globals;
use crate::config::reference;
use crate::govern::audit;
use crate::report::session::SessionReport;
use crate::report::status::Status;
use crate::report::usage::UsageReport;
use crate::run::journal::Line;
use crate::run::serve::openapi;
use crate::transcript::render::EntryLine;
use crate::ui::failure::Failure;
use crate::ui::{exit, print};

/// Print the JSON Schema of agents.toml, or of what a verb prints with `--json`.
#[derive(Debug, Clone, Copy, clap::Args)]
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
    /// `ao status --json`.
    Status,
    /// One line of `events.jsonl` and `ao events --json`.
    Event,
    /// `ao transcript usage --json`.
    Usage,
    /// One line of `ao transcript render --json`.
    Transcript,
    /// `ao session show --json`.
    Session,
    /// The endpoints of `ao serve`, as `OpenAPI`.
    Openapi,
    /// One line of `ao audit … --json` and of an export.
    Audit,
}

#[expect(clippy::unnecessary_wraps, reason = "every verb has this signature")]
pub(crate) fn run(args: Args, _globals: &Globals) -> Result<u8, Failure> {
    let schema = match args.of {
        Document::Config => reference::schema(),
        Document::Status => schemars::schema_for!(Status).to_value(),
        Document::Event => schemars::schema_for!(Line).to_value(),
        Document::Usage => schemars::schema_for!(UsageReport).to_value(),
        Document::Transcript => schemars::schema_for!(EntryLine).to_value(),
        Document::Session => schemars::schema_for!(SessionReport).to_value(),
        Document::Openapi => openapi::description(),
        Document::Audit => schemars::schema_for!(audit::export::Line).to_value(),
    };
    print::out(&format!("{schema:#}"));
    Ok(exit::DONE)
}
