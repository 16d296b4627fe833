//! `ao man`: print the manual page, or write one page a verb.

use std::path::PathBuf;

use clap::CommandFactory as _;

use super::{Cli, Globals};
use crate::ui::failure::Failure;
use crate::ui::{exit, print};

/// Print the manual page.
///
/// To read it: `ao man | man -l -` (Linux) or `ao man | mandoc -a`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Write `ao.1` and one page for every verb into this folder instead.
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
}

pub(crate) fn run(args: Args, globals: &Globals) -> Result<u8, Failure> {
    if let Some(folder) = args.dir {
        let written = std::fs::create_dir_all(&folder)
            .and_then(|()| clap_mangen::generate_to(Cli::command(), &folder));
        written.map_err(|error| {
            Failure::failed(format!("cannot write the pages to `{}`", folder.display()))
                .caused_by(&error)
        })?;
        if !globals.quiet {
            print::err(&format!("wrote the manual pages to `{}`", folder.display()));
        }
        return Ok(exit::DONE);
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(Cli::command())
        .render(&mut page)
        .expect("writing to memory does not fail");
    print::out(String::from_utf8_lossy(&page).trim_end());
    Ok(exit::DONE)
}
