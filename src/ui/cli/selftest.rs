//! `ao selftest`: run the detectors over the recorded panes built into the binary, or over an installed CLI.
//!
//! Without `--live` no config and no tmux are needed, so it can run anywhere, first of all in a report of a bug.
//! With it the CLI itself is started behind a stub of the model: does ao still understand it after its update?

use std::collections::BTreeMap;

use super::Globals;
use crate::backend::detect_preset;
use crate::screen::PaneState;
use crate::screen::capture::Screen;
use crate::screen::corpus::{self, RecordedPane};
use crate::screen::detect::{Detector, PaneHints};
use crate::ui::failure::Failure;
use crate::ui::print::{self, Tone};
use crate::ui::{cli::explain, exit};

/// Run the detectors over the recorded panes built into the binary.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Start the installed CLI behind a stub of the model and walk it through its states.
    #[arg(long)]
    live: bool,
    /// With `--live`: this backend only (default: every CLI that is installed).
    #[arg(requires = "live")]
    backend: Option<String>,
}

pub(crate) fn run(args: &Args, globals: &Globals) -> Result<u8, Failure> {
    if args.live {
        return super::selftest_live::run(args.backend.as_deref(), globals);
    }
    let mut detectors: BTreeMap<&str, Detector> = BTreeMap::new();
    for name in detect_preset::NAMES {
        detectors.insert(name, explain::preset_detector(name)?);
    }
    let results: Vec<(RecordedPane, PaneState)> = corpus::panes()
        .into_iter()
        .filter_map(|pane| {
            let detector = detectors.get(pane.backend)?;
            let reading = detector.read(&Screen::parse(pane.text), &PaneHints::default());
            Some((pane, reading.state))
        })
        .collect();
    let failed = results.iter().filter(|(pane, state)| state.word() != pane.expected).count();
    let passed = results.len() - failed;
    if globals.json {
        print::out(&json(&results, passed, failed).to_string());
    } else {
        show(&results, globals);
        print::out(&format!("{passed} passed, {failed} failed"));
    }
    Ok(if failed == 0 && passed > 0 { exit::DONE } else { exit::FAILED })
}

fn show(results: &[(RecordedPane, PaneState)], globals: &Globals) {
    let colored = print::colored(globals);
    for (pane, state) in results {
        let met = state.word() == pane.expected;
        if met && globals.quiet {
            continue;
        }
        let mark = if met {
            print::paint("ok  ", Tone::Good, colored)
        } else {
            print::paint("MISS", Tone::Bad, colored)
        };
        let wanted = if met { String::new() } else { format!("  (expected {})", pane.expected) };
        print::out(&format!("{mark} {:<10} {}{wanted}", state.word(), pane.file));
    }
}

fn json(results: &[(RecordedPane, PaneState)], passed: usize, failed: usize) -> serde_json::Value {
    let panes: Vec<serde_json::Value> = results
        .iter()
        .map(|(pane, state)| {
            serde_json::json!({
                "file": pane.file,
                "backend": pane.backend,
                "state": state.word(),
                "expected": pane.expected,
                "ok": state.word() == pane.expected,
            })
        })
        .collect();
    serde_json::json!({ "version": 1, "passed": passed, "failed": failed, "panes": panes })
}
