//! `ao completions`: print a completion script for your shell.

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::{Cli, Globals};
use crate::ui::failure::Failure;
use crate::ui::{exit, print};

/// Print a completion script for your shell.
///
/// bash: `ao completions bash > ~/.local/share/bash-completion/completions/ao`;
/// zsh: into a file `_ao` in a folder of `$fpath`; fish: `~/.config/fish/completions/ao.fish`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The shell the script is for.
    shell: Shell,
}

#[expect(clippy::unnecessary_wraps, reason = "every verb has this signature")]
pub(crate) fn run(args: Args, _globals: &Globals) -> Result<u8, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "ao", &mut script);
    print::out(String::from_utf8_lossy(&script).trim_end());
    Ok(exit::DONE)
}
