//! `ao replay`: decide a journal's events again and show the first decision that differs.

use std::path::PathBuf;

use super::Globals;
use crate::supervise::record::{Replay, replay};
use crate::ui::failure::Failure;
use crate::ui::{exit, print};

/// Decide the events of a journal again and show the first difference.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A file of `<log_dir>/journal/`.
    file: PathBuf,
}

pub(crate) fn run(args: Args, globals: &Globals) -> Result<u8, Failure> {
    let Args { file } = args;
    let text = std::fs::read_to_string(&file).map_err(|error| {
        Failure::usage(format!("cannot read the journal `{}`", file.display())).caused_by(&error)
    })?;
    let outcome = replay(&text).map_err(|error| {
        let failure = Failure::from_error(exit::USAGE, &error);
        failure.hint("journals are the files of `journal/` in the project's log_dir")
    })?;
    match outcome {
        Replay::Same { steps } => {
            if globals.json {
                print::out(
                    &serde_json::json!({ "version": 1, "same": true, "steps": steps }).to_string(),
                );
            } else {
                print::out(&format!("{steps} steps decided again, all the same"));
            }
            Ok(exit::DONE)
        }
        Replay::Differs { line, event, recorded, decided } => {
            if globals.json {
                let document = serde_json::json!({
                    "version": 1, "same": false, "line": line,
                    "event": event, "recorded": recorded, "decided": decided,
                });
                print::out(&document.to_string());
            } else {
                print::out(&format!("line {line} is decided differently"));
                print::out(&format!("event     {event:?}"));
                print::out(&format!("recorded  {recorded:?}"));
                print::out(&format!("decided   {decided:?}"));
            }
            Ok(exit::NOT_SO)
        }
    }
}
