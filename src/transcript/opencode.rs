//! opencode: the lines of `run --format json`, and the document of `export`.
//!
//! Its sessions live in a database, not in files. Reasoning is counted beside the output there and
//! becomes part of it here.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::text::Text;
use super::usage::Usage;
use super::{Entry, Event, Kind, Used};

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(rename = "type", borrow)]
    kind: Option<Cow<'a, str>>,
    timestamp: Option<i64>,
    #[serde(borrow)]
    part: Option<Part<'a>>,
    #[serde(borrow)]
    error: Option<Error<'a>>,
}

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(rename = "type", borrow)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    #[serde(borrow)]
    tool: Option<Cow<'a, str>>,
    #[serde(borrow)]
    state: Option<State<'a>>,
    tokens: Option<Tokens>,
    time: Option<Span>,
}

#[derive(Deserialize)]
struct State<'a> {
    #[serde(borrow)]
    status: Option<Cow<'a, str>>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    #[serde(borrow)]
    output: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    time: Option<Span>,
}

#[derive(Clone, Copy, Deserialize)]
struct Span {
    start: Option<i64>,
    end: Option<i64>,
    created: Option<i64>,
    completed: Option<i64>,
}

#[derive(Deserialize)]
struct Error<'a> {
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    data: Option<ErrorData<'a>>,
}

#[derive(Deserialize)]
struct ErrorData<'a> {
    #[serde(borrow)]
    message: Option<&'a RawValue>,
}

#[derive(Clone, Copy, Deserialize)]
struct Tokens {
    input: Option<u64>,
    output: Option<u64>,
    reasoning: Option<u64>,
    cache: Option<Cache>,
}

#[derive(Clone, Copy, Deserialize)]
struct Cache {
    read: Option<u64>,
    write: Option<u64>,
}

impl Tokens {
    fn usage(self) -> Usage {
        let reasoning = self.reasoning.unwrap_or(0);
        Usage {
            input: self.input.unwrap_or(0),
            output: self.output.unwrap_or(0).saturating_add(reasoning),
            cache_read: self.cache.and_then(|cache| cache.read).unwrap_or(0),
            cache_write_5m: self.cache.and_then(|cache| cache.write).unwrap_or(0),
            cache_write_1h: 0,
            reasoning,
        }
    }
}

#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow)]
    messages: Vec<Message<'a>>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    info: Info<'a>,
    #[serde(borrow, default)]
    parts: Vec<Part<'a>>,
}

#[derive(Deserialize)]
struct Info<'a> {
    #[serde(borrow)]
    role: Option<Cow<'a, str>>,
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(rename = "modelID", borrow)]
    model: Option<Cow<'a, str>>,
    time: Option<Span>,
    tokens: Option<Tokens>,
    #[serde(borrow)]
    error: Option<Error<'a>>,
}

fn moment(millis: Option<i64>) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_millis(millis?)
}

fn entry(at: Option<DateTime<Utc>>, kind: Kind, text: Text<'_>) -> Event<'_> {
    Event::Entry(Entry { at, sub: None, kind, tool: None, text })
}

fn error<'a>(at: Option<DateTime<Utc>>, error: &Error<'a>) -> Event<'a> {
    let said = error.data.as_ref().and_then(|data| data.message).map(Text::of);
    let text = said.unwrap_or_else(|| Text::Plain(error.name.clone().unwrap_or_default()));
    entry(at, Kind::Error, text)
}

/// Reads one line of `run --format json`.
pub(super) fn line<'a>(
    text: &'a str,
    each: &mut dyn FnMut(Event<'a>),
) -> Result<(), serde_json::Error> {
    let line: Line<'a> = serde_json::from_str(text)?;
    let at = moment(line.timestamp);
    if let Some(found) = &line.error {
        each(error(at, found));
    }
    if let Some(part) = line.part {
        if let (Some("step_finish"), Some(tokens)) = (line.kind.as_deref(), part.tokens) {
            each(Event::Used(Used {
                at,
                id: part.id.clone(),
                model: Cow::Borrowed("unknown"),
                usage: tokens.usage(),
                sub: false,
            }));
        }
        shown(part, Kind::Text, at, each);
    }
    Ok(())
}

/// Reads a whole export.
pub(super) fn document<'a>(
    text: &'a str,
    each: &mut dyn FnMut(Event<'a>),
) -> Result<(), serde_json::Error> {
    let document: Document<'a> = serde_json::from_str(text)?;
    for message in document.messages {
        let info = message.info;
        let at = moment(info.time.and_then(|time| time.created));
        let by_user = info.role.as_deref() == Some("user");
        for part in message.parts {
            shown(part, if by_user { Kind::Prompt } else { Kind::Text }, at, each);
        }
        let finished = info.time.is_some_and(|time| time.completed.is_some());
        let done = moment(info.time.and_then(|time| time.completed)).or(at);
        if let Some(found) = &info.error {
            each(error(done, found));
        }
        // The tokens of an unfinished answer still grow.
        if let Some(tokens) = info.tokens.filter(|_| finished) {
            each(Event::Used(Used {
                at: done,
                id: info.id,
                model: info.model.unwrap_or(Cow::Borrowed("unknown")),
                usage: tokens.usage(),
                sub: false,
            }));
        }
    }
    Ok(())
}

fn shown<'a>(
    part: Part<'a>,
    text_kind: Kind,
    otherwise: Option<DateTime<Utc>>,
    each: &mut dyn FnMut(Event<'a>),
) {
    let at = moment(part.time.and_then(|time| time.start)).or(otherwise);
    let body = |value: Option<&'a RawValue>| value.map_or(Text::words(""), Text::of);
    match part.kind.as_deref().unwrap_or("") {
        "text" => each(entry(at, text_kind, body(part.text))),
        "reasoning" => each(entry(at, Kind::Thinking, body(part.text))),
        "tool" => {
            let Some(state) = part.state else { return };
            let begun = moment(state.time.and_then(|time| time.start)).or(at);
            let text = body(state.input);
            each(Event::Entry(Entry {
                at: begun,
                sub: None,
                kind: Kind::Tool,
                tool: part.tool,
                text,
            }));
            let over = moment(state.time.and_then(|time| time.end)).or(at);
            match state.status.as_deref() {
                Some("completed") => each(entry(over, Kind::Result, body(state.output))),
                Some("error") => each(entry(over, Kind::Failed, body(state.error))),
                Some(_) | None => {}
            }
        }
        _ => {}
    }
}
