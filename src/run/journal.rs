//! `events.jsonl`: one line for everything that happened, with its cause, for people and programs.
//!
//! A line that cannot be written (full disk) is counted and reported when writing works again;
//! supervision goes on.

use std::path::PathBuf;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

use crate::base::now::Now;
use crate::supervise::action::{Report, What};
use crate::sys::file;

/// One file of the event log; two are kept.
const BYTES_MAX: u64 = 16 * 1024 * 1024;

/// One line of the event log. Stable within a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Line {
    pub version: u32,
    /// RFC 3339, UTC, milliseconds.
    pub at: String,
    /// What happened.
    pub event: What,
    /// The agent or service it happened to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// The cause and how it is known.
    pub why: String,
}

/// Appends to the event log.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    lost: u32,
}

impl Journal {
    pub fn new(path: PathBuf) -> Self {
        Self { path, lost: 0 }
    }

    /// Writes the lines of one step in one go.
    pub fn append(&mut self, reports: &[Report], now: Now) {
        if reports.is_empty() {
            return;
        }
        let mut text = String::new();
        if self.lost > 0 {
            let why = format!("{} event lines could not be written before this one", self.lost);
            push(&mut text, &Report { unit: None, what: What::Watchdog, why, notify: false }, now.wall);
        }
        for report in reports {
            push(&mut text, report, now.wall);
        }
        drop(file::rotate(&self.path, BYTES_MAX, 1));
        match file::append(&self.path, text.as_bytes()) {
            Ok(()) => self.lost = 0,
            Err(error) => {
                tracing::error!(path = %self.path.display(), %error, "cannot write the event log");
                self.lost += u32::try_from(reports.len()).unwrap_or(u32::MAX);
            }
        }
    }
}

fn push(text: &mut String, report: &Report, at: DateTime<Utc>) {
    let line = Line {
        version: 1,
        at: at.to_rfc3339_opts(SecondsFormat::Millis, true),
        event: report.what,
        unit: report.unit.as_ref().map(ToString::to_string),
        why: report.why.clone(),
    };
    text.push_str(&serde_json::to_string(&line).expect("a line of strings serialises"));
    text.push('\n');
}
