//! `ao demo-agent`: a scriptable terminal program that stands in for an AI CLI.

use std::path::PathBuf;

use super::Globals;
use crate::run::demo_agent::{self, Options, Persona};
use crate::ui::failure::Failure;

/// A scriptable terminal program that stands in for an AI CLI.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Shown as the terminal's title.
    #[arg(long, default_value = "demo")]
    name: String,
    /// A file whose text is the first message.
    #[arg(long, value_name = "FILE")]
    kickoff: Option<PathBuf>,
    /// What to do, one step a line; without it every message is answered after a second.
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,
    /// Write what is really received here, as JSON lines.
    #[arg(long, value_name = "FILE")]
    truth: Option<PathBuf>,
    /// Whose screens to draw.
    #[arg(long, value_enum, default_value = "claude")]
    persona: Look,
    /// Draw on the alternate screen.
    #[arg(long)]
    fullscreen: bool,
    /// Spinner frames a second while busy.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=60))]
    fps: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Look {
    Claude,
    Opencode,
}

pub(crate) fn run(args: Args, _globals: &Globals) -> Result<u8, Failure> {
    let options = Options {
        name: args.name,
        kickoff: args.kickoff,
        scenario: args.scenario,
        truth: args.truth,
        persona: match args.persona {
            Look::Claude => Persona::Claude,
            Look::Opencode => Persona::Opencode,
        },
        fullscreen: args.fullscreen,
        fps: args.fps,
    };
    demo_agent::run(&options).map_err(|error| Failure::from_error(crate::ui::exit::FAILED, &error))
}
