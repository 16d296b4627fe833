//! One line of the spool between the hook process and the watchdog.

use serde::{Deserialize, Serialize};

use super::Fact;

/// Bytes of one agent's spool; at this size it is begun anew, since the newest facts matter.
pub const BYTES_MAX: u64 = 1 << 20;
/// Bytes of a line: one write of this size is never mixed with another's.
pub const LINE_BYTES_MAX: usize = 4096;

/// What the hook process writes down.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    pub version: u32,
    /// Of the start that the process belongs to, so that a former one's words are told apart.
    pub start: String,
    pub fact: Fact,
}

/// The line with its LF; `None` when it would be too long.
pub fn write(start: &str, fact: Fact) -> Option<String> {
    let line = Line { version: 1, start: start.to_owned(), fact };
    let mut text = serde_json::to_string(&line).ok()?;
    text.push('\n');
    (text.len() <= LINE_BYTES_MAX).then_some(text)
}

/// The facts of this start, in the order they happened. Lines that nobody could have written are skipped.
pub fn read(text: &str, start: &str) -> Vec<Fact> {
    let mut facts: Vec<Fact> = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Line>(line).ok())
        .filter(|line| line.version == 1 && line.start == start)
        .map(|line| line.fact)
        .collect();
    // Clocks tell milliseconds; within one their teller's own count does.
    facts.sort_by_key(|fact| (fact.at.mono, fact.order));
    facts
}
