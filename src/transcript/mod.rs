//! What the CLIs write down about their sessions: turns, tools, tokens and money.
//!
//! Pure: lines come in, events and sums go out. Finding and tailing files is done in `run`.
//!
//! Surprise: one answer of a model can stand on several lines, each with the whole answer's usage. A
//! reader therefore only reports what a line says; [`usage::Ledger`] counts each answer once.

pub mod claude;
pub mod codex;
pub mod feed;
pub mod json;
pub mod opencode;
pub mod price;
pub mod render;
#[cfg(test)]
mod tests;
pub mod text;
pub mod usage;

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use text::Text;
use usage::Usage;

/// Who wrote the file, and in which of its forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// Claude Code: session and sub-agent files, and `-p --output-format stream-json`.
    Claude,
    /// Codex: rollout files, and `exec --json`.
    Codex,
    /// opencode: `run --format json`, one JSON object a line.
    OpencodeRun,
    /// opencode: `export`, one JSON document.
    OpencodeExport,
}

impl Format {
    /// Told by the beginning of a file, at least its first line; `None` when it is none of these.
    pub fn detect(beginning: &str) -> Option<Self> {
        let beginning = beginning.trim_start_matches('\u{feff}').trim_start();
        let line = beginning.lines().next()?;
        let Ok(probe) = serde_json::from_str::<Probe<'_>>(line) else {
            let opens = beginning.starts_with('{') && beginning.contains("\"info\"");
            return opens.then_some(Self::OpencodeExport);
        };
        let kind = probe.kind.as_deref().unwrap_or("");
        if probe.info.is_some() && probe.messages.is_some() {
            Some(Self::OpencodeExport)
        } else if probe.session_big_id.is_some() {
            Some(Self::OpencodeRun)
        } else if probe.payload.is_some()
            || ["thread.", "turn.", "item."].iter().any(|start| kind.starts_with(start))
        {
            Some(Self::Codex)
        } else if probe.session.is_some() || probe.session_snake.is_some() || !kind.is_empty() {
            Some(Self::Claude)
        } else {
            None
        }
    }

    /// Of the files a CLI writes by itself, by the name of its preset.
    pub fn of_preset(preset: &str) -> Option<Self> {
        match preset {
            "claude" => Some(Self::Claude),
            "codex" => Some(Self::Codex),
            "opencode" => Some(Self::OpencodeExport),
            _ => None,
        }
    }
}

#[derive(Deserialize)]
struct Probe<'a> {
    #[serde(rename = "type", borrow)]
    kind: Option<Cow<'a, str>>,
    #[serde(rename = "sessionID")]
    session_big_id: Option<serde::de::IgnoredAny>,
    #[serde(rename = "sessionId")]
    session: Option<serde::de::IgnoredAny>,
    #[serde(rename = "session_id")]
    session_snake: Option<serde::de::IgnoredAny>,
    payload: Option<serde::de::IgnoredAny>,
    info: Option<serde::de::IgnoredAny>,
    messages: Option<serde::de::IgnoredAny>,
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// What the agent was told.
    Prompt,
    /// A message that waits for the turn's end.
    Queued,
    Thinking,
    /// What the agent said.
    Text,
    Tool,
    Result,
    /// A tool that failed or was refused.
    Failed,
    /// A turn is over.
    Turn,
    Note,
    /// What the model's service or the CLI refused, limits included.
    Error,
}

impl Kind {
    /// The word in a rendered line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Prompt => "prompt",
            Self::Queued => "queued",
            Self::Thinking => "think",
            Self::Text => "text",
            Self::Tool => "tool",
            Self::Result => "result",
            Self::Failed => "failed",
            Self::Turn => "turn",
            Self::Note => "note",
            Self::Error => "error",
        }
    }
}

/// One thing that happened in a session.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry<'a> {
    /// `None`: the file gives no time.
    pub at: Option<DateTime<Utc>>,
    /// The sub-agent it happened in.
    pub sub: Option<Cow<'a, str>>,
    pub kind: Kind,
    /// The tool's name, for [`Kind::Tool`].
    pub tool: Option<Cow<'a, str>>,
    pub text: Text<'a>,
}

/// Tokens of one answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Used<'a> {
    pub at: Option<DateTime<Utc>>,
    /// Of the answer; lines that repeat it repeat the usage. `None`: counted as it comes.
    pub id: Option<Cow<'a, str>>,
    pub model: Cow<'a, str>,
    pub usage: Usage,
    /// Not the agent's own conversation, so not its context.
    pub sub: bool,
}

/// What a line says.
#[derive(Debug, Clone, PartialEq)]
pub enum Event<'a> {
    Entry(Entry<'a>),
    Used(Used<'a>),
    /// The CLI's own sum over the session so far; it knows of answers no line tells of.
    Total {
        model: Cow<'a, str>,
        usage: Usage,
    },
    /// The model's context window, in tokens.
    Window {
        tokens: u64,
    },
    /// The model that the next answers come from.
    Model {
        model: Cow<'a, str>,
    },
    /// The line is no JSON, or none of the shape it should have.
    Unreadable,
}

/// Reads a session file line by line. What it must remember between lines can be stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reader {
    format: Format,
    codex: codex::Memory,
}

impl Reader {
    pub fn new(format: Format) -> Self {
        Self { format, codex: codex::Memory::default() }
    }

    pub fn format(&self) -> Format {
        self.format
    }

    /// One line, without its line break. A line of [`Format::OpencodeExport`] is the whole document.
    pub fn line<'a>(&mut self, line: &'a str, each: &mut dyn FnMut(Event<'a>)) {
        let line = line.trim_ascii();
        if line.is_empty() {
            return;
        }
        let read = match self.format {
            Format::Claude => claude::line(line, each),
            Format::Codex => codex::line(&mut self.codex, line, each),
            Format::OpencodeRun => opencode::line(line, each),
            Format::OpencodeExport => opencode::document(line, each),
        };
        if read.is_err() {
            each(Event::Unreadable);
        }
    }

    /// A whole file.
    pub fn whole<'a>(&mut self, text: &'a str, each: &mut dyn FnMut(Event<'a>)) {
        match self.format {
            Format::OpencodeExport => self.line(text, each),
            Format::Claude | Format::Codex | Format::OpencodeRun => {
                for line in text.split('\n') {
                    self.line(line, each);
                }
            }
        }
    }
}

/// RFC 3339, as all of them write it; anything else is no time.
fn time(text: Option<&str>) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text?).ok().map(|at| at.to_utc())
}
