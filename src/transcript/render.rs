//! Entries as lines: one event a line, `time agent kind text`, and as JSON.
//!
//! Without `full`, prompts and answers are whole up to [`TEXT_CHARS_MAX`], and what tools were given and
//! said is cut short. A line never holds a control byte.

use std::fmt::Write as _;

use crate::base::zone::Tz;
use chrono::{DateTime, Timelike as _, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use super::text::Line;
use super::{Entry, Kind};

/// A prompt of some pages; more is looked up with `--full`.
const TEXT_CHARS_MAX: usize = 4_000;
const THINKING_CHARS_MAX: usize = 400;
/// All arguments of a tool call together.
const TOOL_CHARS_MAX: usize = 300;
const RESULT_CHARS_MAX: usize = 200;
/// As many as tell the sub-agents of one session apart.
const SUB_CHARS_MAX: usize = 8;

/// Renders the entries of one agent.
#[derive(Debug, Clone)]
pub struct Renderer {
    agent: String,
    zone: Tz,
    full: bool,
    /// The second that was formatted last, and how it was.
    last: Option<(i64, String)>,
}

/// A line of `ao transcript render --json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct EntryLine {
    pub version: u32,
    /// RFC 3339, in UTC.
    pub at: Option<String>,
    pub agent: String,
    /// The sub-agent it happened in.
    pub sub: Option<String>,
    /// One of prompt, queued, think, text, tool, result, failed, turn, note, error.
    pub kind: String,
    pub tool: Option<String>,
    /// Without control characters; a line break is `\n`, two characters.
    pub text: String,
}

impl Renderer {
    /// Times are shown in `zone`. `full`: nothing is cut.
    pub fn new(agent: &str, zone: Tz, full: bool) -> Self {
        let mut name = String::new();
        Line::new(&mut name, false, usize::MAX).text(agent);
        Self { agent: name, zone, full, last: None }
    }

    /// Appends the entry as one line, its line break included.
    pub fn line(&mut self, entry: &Entry<'_>, out: &mut String) {
        match entry.at {
            Some(at) => self.time(at, out),
            None => out.push_str("-------------------"),
        }
        out.push(' ');
        out.push_str(&self.agent);
        if let Some(sub) = &entry.sub {
            out.push('/');
            Line::new(out, false, SUB_CHARS_MAX + 1).text(sub.get(..SUB_CHARS_MAX).unwrap_or(sub));
        }
        write!(out, " {:<6} ", entry.kind.word()).expect("writing to memory does not fail");
        let mut line = Line::new(out, self.full, chars_max(entry.kind));
        if let Some(tool) = &entry.tool {
            line.text(tool);
            line.text("(");
        }
        entry.text.write(&mut line);
        if entry.tool.is_some() {
            out.push(')');
        }
        let end = out.trim_end().len();
        out.truncate(end);
        out.push('\n');
    }

    /// The same for machines.
    pub fn json(&self, entry: &Entry<'_>) -> EntryLine {
        let mut text = String::new();
        entry.text.write(&mut Line::new(&mut text, self.full, chars_max(entry.kind)));
        EntryLine {
            version: 1,
            at: entry.at.map(|at| at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)),
            agent: self.agent.clone(),
            sub: entry.sub.as_deref().map(str::to_owned),
            kind: entry.kind.word().to_owned(),
            tool: entry.tool.as_deref().map(str::to_owned),
            text,
        }
    }

    fn time(&mut self, at: DateTime<Utc>, out: &mut String) {
        let second = at.timestamp();
        if let Some((known, text)) = &self.last
            && *known == second
        {
            out.push_str(text);
            return;
        }
        let local = at.with_timezone(&self.zone);
        let mut text = String::with_capacity(19);
        write!(
            text,
            "{} {:02}:{:02}:{:02}",
            local.date_naive(),
            local.hour(),
            local.minute(),
            local.second()
        )
        .expect("writing to memory does not fail");
        out.push_str(&text);
        self.last = Some((second, text));
    }
}

fn chars_max(kind: Kind) -> usize {
    match kind {
        Kind::Prompt | Kind::Queued | Kind::Text | Kind::Turn | Kind::Note | Kind::Error => {
            TEXT_CHARS_MAX
        }
        Kind::Thinking => THINKING_CHARS_MAX,
        Kind::Tool => TOOL_CHARS_MAX,
        Kind::Result | Kind::Failed => RESULT_CHARS_MAX,
    }
}
