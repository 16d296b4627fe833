//! Telling people: `[notify] command` gets the event as JSON on stdin, beside the loop.
//!
//! A notifier that fails is logged; it never holds anything up.

use std::time::Duration;

use crate::base::now::Now;
use crate::config::Config;
use crate::supervise::action::Report;
use crate::sys::process::Call;

/// A notifier that needs longer is ended.
const LIMIT: Duration = Duration::from_secs(30);

/// Hands one event to the notifier, if there is one.
pub fn send(config: &Config, report: &Report, now: Now) {
    let Some(command) = config.notify.command.clone() else { return };
    let line = super::journal::line(report, now.wall);
    let text = serde_json::to_string(&line).expect("a line of strings serialises");
    let dir = config.project_dir.clone();
    std::thread::spawn(move || {
        let call = Call::new("sh").args(["-c", &command]).dir(dir).stdin(text).timeout(LIMIT);
        match call.run() {
            Ok(output) if output.success() => {}
            Ok(output) => {
                tracing::error!(
                    code = output.code,
                    stderr = output.stderr_text(),
                    "the notifier failed"
                );
            }
            Err(error) => tracing::error!(%error, "the notifier could not be run"),
        }
    });
}
