//! The truth file: what the demo agent really received, one JSON object a line.
//!
//! Written and flushed line by line, so that a killed agent leaves everything it saw.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use serde::Serialize;

use crate::sys::clock;

/// One thing that happened to the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fact {
    /// `start`, `ready`, `kickoff`, `key`, `paste`, `submit`, `dialog_open`, `dialog_key`, `draft`, `enter_lost`, `signal`, `exit`.
    pub(super) event: &'static str,
    pub(super) text: String,
}

#[derive(Serialize)]
struct Line<'a> {
    /// Milliseconds on the boot clock.
    at_ms: u64,
    event: &'a str,
    text: &'a str,
}

/// Where facts go; nowhere without a file.
#[derive(Debug)]
pub(super) struct Truth {
    file: Option<File>,
}

impl Truth {
    pub(super) fn open(path: Option<&Path>) -> io::Result<Self> {
        let open = |path| File::options().create(true).append(true).open(path);
        Ok(Self { file: path.map(open).transpose()? })
    }

    pub(super) fn write(&mut self, fact: &Fact) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let line = Line { at_ms: clock::now().mono.0, event: fact.event, text: &fact.text };
        let mut text = serde_json::to_string(&line)?;
        text.push('\n');
        file.write_all(text.as_bytes())
    }
}
