//! Codex: rollout files, and the stream of `codex exec --json`.
//!
//! Usage comes as a running total of the thread, written up to three times an answer; what is counted is
//! how far the total moved. `input_tokens` holds the cached ones, `output_tokens` the reasoning.
//!
//! Surprise: a sub-agent is a thread with a file of its own, and a forked thread's file begins with a
//! copy of its parent's lines; records of another thread than the file's own are therefore left out.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::json;
use super::text::Text;
use super::usage::Usage;
use super::{Entry, Event, Kind, Used, time};

/// What must be known from earlier lines.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    thread: Option<String>,
    /// Named in the file when the thread is a sub-agent's.
    sub: Option<String>,
    model: Option<String>,
    total: Total,
    window: Option<u64>,
}

/// As Codex counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(clippy::struct_field_names, reason = "they are the names in the file")]
struct Total {
    input_tokens: u64,
    cached_input_tokens: u64,
    cache_write_input_tokens: u64,
    output_tokens: u64,
    reasoning_output_tokens: u64,
}

impl Total {
    fn usage(self) -> Usage {
        let cached = self.cached_input_tokens.saturating_add(self.cache_write_input_tokens);
        Usage {
            input: self.input_tokens.saturating_sub(cached),
            output: self.output_tokens,
            cache_read: self.cached_input_tokens,
            cache_write_5m: self.cache_write_input_tokens,
            cache_write_1h: 0,
            reasoning: self.reasoning_output_tokens,
        }
    }

    /// How far it moved since `before`; all of it when it began anew.
    fn since(self, before: Self) -> Self {
        if self.input_tokens < before.input_tokens || self.output_tokens < before.output_tokens {
            return self;
        }
        Self {
            input_tokens: self.input_tokens - before.input_tokens,
            output_tokens: self.output_tokens - before.output_tokens,
            cached_input_tokens: self
                .cached_input_tokens
                .saturating_sub(before.cached_input_tokens),
            cache_write_input_tokens: self
                .cache_write_input_tokens
                .saturating_sub(before.cache_write_input_tokens),
            reasoning_output_tokens: self
                .reasoning_output_tokens
                .saturating_sub(before.reasoning_output_tokens),
        }
    }
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(rename = "type", borrow)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    timestamp: Option<Cow<'a, str>>,
    #[serde(borrow)]
    payload: Option<Payload<'a>>,
    // `exec --json`
    #[serde(borrow)]
    item: Option<Item<'a>>,
    usage: Option<Total>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Payload<'a> {
    #[serde(rename = "type", borrow)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    session_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    thread_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    model: Option<Cow<'a, str>>,
    #[serde(borrow)]
    role: Option<Cow<'a, str>>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    summary: Option<&'a RawValue>,
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    #[serde(borrow)]
    action: Option<&'a RawValue>,
    #[serde(borrow)]
    output: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    reason: Option<&'a RawValue>,
    duration_ms: Option<f64>,
    model_context_window: Option<u64>,
    thread_token_usage: Option<Total>,
    info: Option<Info>,
    #[serde(rename = "internal_chat_message_metadata_passthrough", borrow)]
    passthrough: Option<Passthrough<'a>>,
}

#[derive(Deserialize)]
struct Info {
    total_token_usage: Option<Total>,
    model_context_window: Option<u64>,
}

#[derive(Deserialize)]
struct Passthrough<'a> {
    #[serde(borrow)]
    content_item_kinds: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Item<'a> {
    #[serde(rename = "type", borrow)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    command: Option<&'a RawValue>,
    #[serde(borrow)]
    tool: Option<Cow<'a, str>>,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
    #[serde(borrow)]
    changes: Option<&'a RawValue>,
    #[serde(borrow)]
    query: Option<&'a RawValue>,
    #[serde(borrow)]
    aggregated_output: Option<&'a RawValue>,
    exit_code: Option<i64>,
}

/// Where an entry stands.
struct Place {
    at: Option<DateTime<Utc>>,
    sub: Option<String>,
}

impl Place {
    fn entry<'a>(&self, kind: Kind, text: Text<'a>) -> Event<'a> {
        self.tool(kind, None, text)
    }

    fn tool<'a>(&self, kind: Kind, tool: Option<Cow<'a, str>>, text: Text<'a>) -> Event<'a> {
        let sub = self.sub.clone().map(Cow::Owned);
        Event::Entry(Entry { at: self.at, sub, kind, tool, text })
    }
}

/// Told by the line's beginning: what the model was given, and copies of what is told elsewhere, is much.
fn is_of_interest(text: &str) -> bool {
    let kind = json::outer_text(text, "type");
    let payload = json::outer_value(text, "payload").filter(|payload| payload.starts_with('{'));
    let inner = payload.and_then(|payload| json::outer_text(payload, "type"));
    match (kind, inner) {
        (Some("world_state"), _)
        | (Some("event_msg"), Some("item_completed" | "thread_settings_applied"))
        | (Some("response_item"), Some("additional_tools")) => false,
        (Some("response_item"), Some("message")) => {
            payload.and_then(|payload| json::outer_text(payload, "role")) != Some("developer")
        }
        _ => true,
    }
}

/// Reads one line.
pub(super) fn line<'a>(
    memory: &mut Memory,
    text: &'a str,
    each: &mut dyn FnMut(Event<'a>),
) -> Result<(), serde_json::Error> {
    if !is_of_interest(text) {
        return Ok(());
    }
    let line: Line<'a> = serde_json::from_str(text)?;
    let place = Place { at: time(line.timestamp.as_deref()), sub: memory.sub.clone() };
    let kind = line.kind.as_deref().unwrap_or("");
    let Some(payload) = &line.payload else {
        stream(memory, kind, &line, &place, each);
        return Ok(());
    };
    match kind {
        "session_meta" => begin(memory, payload),
        "turn_context" => {
            if let Some(model) = &payload.model {
                if memory.model.as_deref() != Some(model) {
                    memory.model = Some(model.to_string());
                    each(Event::Model { model: model.clone() });
                }
                if let Some(tokens) = memory.window {
                    each(Event::Window { tokens });
                }
            }
        }
        "response_item" => response_item(payload, &place, each),
        "token_usage_record" => {
            if let Some(total) = payload.thread_token_usage
                && (payload.thread_id.is_none()
                    || payload.thread_id.as_deref() == memory.thread.as_deref())
            {
                used(memory, total, &place, each);
            }
        }
        "event_msg" => happened(memory, payload, &place, each),
        "compacted" => {
            each(place.entry(Kind::Note, Text::words("the conversation was compacted")));
        }
        _ => {}
    }
    Ok(())
}

fn begin(memory: &mut Memory, payload: &Payload<'_>) {
    // A fork's copy of its parent's first line comes second.
    if memory.thread.is_some() {
        return;
    }
    memory.thread = payload.id.as_deref().map(str::to_owned);
    let root = payload.session_id.as_deref();
    memory.sub = memory.thread.clone().filter(|thread| root.is_some_and(|root| root != thread));
}

fn response_item<'a>(payload: &Payload<'a>, place: &Place, each: &mut dyn FnMut(Event<'a>)) {
    let body = |value: Option<&'a RawValue>| value.map_or(Text::words(""), Text::of);
    match payload.kind.as_deref().unwrap_or("") {
        "message" => {
            let kind = match payload.role.as_deref() {
                Some("assistant") => Kind::Text,
                Some("user") if is_typed(payload) => Kind::Prompt,
                Some(_) | None => return,
            };
            each(place.entry(kind, body(payload.content)));
        }
        "reasoning" => {
            let text = body(payload.summary);
            if !text.is_empty() {
                each(place.entry(Kind::Thinking, text));
            }
        }
        "function_call" | "custom_tool_call" => {
            let text = body(payload.arguments.or(payload.input));
            each(place.tool(Kind::Tool, payload.name.clone(), arguments(text)));
        }
        "local_shell_call" | "web_search_call" => {
            let name = payload.kind.clone().map(|kind| match kind {
                Cow::Borrowed(kind) => Cow::Borrowed(kind.trim_end_matches("_call")),
                Cow::Owned(kind) => Cow::Owned(kind.trim_end_matches("_call").to_owned()),
            });
            each(place.tool(Kind::Tool, name, body(payload.action)));
        }
        "function_call_output" | "custom_tool_call_output" => {
            each(place.entry(Kind::Result, body(payload.output)));
        }
        _ => {}
    }
}

/// Arguments come as JSON in a string.
fn arguments(text: Text<'_>) -> Text<'_> {
    let Text::Quoted(quoted) = &text else { return text };
    match serde_json::from_str::<String>(quoted) {
        Ok(inner) if inner.starts_with('{') => Text::Inner(inner),
        Ok(_) | Err(_) => text,
    }
}

/// The CLI gives the model its surroundings as messages of the user, too.
fn is_typed(payload: &Payload<'_>) -> bool {
    let kinds = payload.passthrough.as_ref().and_then(|through| through.content_item_kinds);
    if let Some(kinds) = kinds {
        return kinds.get().contains("\"user.");
    }
    let first = payload.content.map_or("", RawValue::get);
    !["<environment_context>", "<user_instructions>", "<turn_aborted>"]
        .iter()
        .any(|start| first.contains(start))
}

fn happened<'a>(
    memory: &mut Memory,
    payload: &Payload<'a>,
    place: &Place,
    each: &mut dyn FnMut(Event<'a>),
) {
    match payload.kind.as_deref().unwrap_or("") {
        "task_started" => {
            if let Some(tokens) = payload.model_context_window {
                memory.window = Some(tokens);
                each(Event::Window { tokens });
            }
        }
        "token_count" => {
            let Some(info) = &payload.info else { return };
            if let Some(total) = info.total_token_usage {
                used(memory, total, place, each);
            }
            if let Some(tokens) = info.model_context_window {
                memory.window = Some(tokens);
                each(Event::Window { tokens });
            }
        }
        "task_complete" => {
            if let Some(error) = payload.error.filter(|error| error.get() != "null") {
                each(place.entry(Kind::Error, message_of(error)));
            }
            let seconds = payload.duration_ms.unwrap_or(0.0) / 1_000.0;
            let text = format!("turn over after {seconds:.1} s");
            each(place.entry(Kind::Turn, Text::Plain(text.into())));
        }
        "turn_aborted" => {
            let reason = payload.reason.map_or(Text::words("turn interrupted"), Text::of);
            each(place.entry(Kind::Note, reason));
        }
        "error" | "stream_error" | "warning" => {
            let text = payload.message.map_or(Text::words(""), Text::of);
            each(place.entry(Kind::Error, text));
        }
        "context_compacted" => {
            each(place.entry(Kind::Note, Text::words("the conversation was compacted")));
        }
        _ => {}
    }
}

fn used<'a>(memory: &mut Memory, total: Total, place: &Place, each: &mut dyn FnMut(Event<'a>)) {
    let more = total.since(memory.total);
    memory.total = total;
    if more.usage().is_zero() {
        return;
    }
    each(Event::Used(Used {
        at: place.at,
        id: None,
        model: memory.model.clone().unwrap_or_else(|| "unknown".to_owned()).into(),
        usage: more.usage(),
        sub: place.sub.is_some(),
    }));
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    message: Option<&'a RawValue>,
}

fn message_of(error: &RawValue) -> Text<'_> {
    let inner = serde_json::from_str::<Message<'_>>(error.get()).ok();
    Text::of(inner.and_then(|inner| inner.message).unwrap_or(error))
}

/// A line of `exec --json`, which carries no time and no model.
fn stream<'a>(
    memory: &mut Memory,
    kind: &str,
    line: &Line<'a>,
    place: &Place,
    each: &mut dyn FnMut(Event<'a>),
) {
    match kind {
        "item.completed" => {
            if let Some(item) = &line.item {
                completed(item, place, each);
            }
        }
        "turn.completed" => {
            // Of the turn, not of the thread.
            if let Some(turn) = line.usage {
                memory.total = Total::default();
                used(memory, turn, place, each);
            }
            each(place.entry(Kind::Turn, Text::words("turn over")));
        }
        "turn.failed" => {
            each(place.entry(Kind::Error, line.error.map_or(Text::words(""), message_of)));
        }
        "error" => {
            each(place.entry(Kind::Error, line.message.map_or(Text::words(""), Text::of)));
        }
        _ => {}
    }
}

fn completed<'a>(item: &Item<'a>, place: &Place, each: &mut dyn FnMut(Event<'a>)) {
    let body = |value: Option<&'a RawValue>| value.map_or(Text::words(""), Text::of);
    let kind = item.kind.as_deref().unwrap_or("");
    match kind {
        "agent_message" => each(place.entry(Kind::Text, body(item.text))),
        "reasoning" => each(place.entry(Kind::Thinking, body(item.text))),
        "error" => each(place.entry(Kind::Error, body(item.message))),
        _ => {
            let name = item.tool.clone().or_else(|| item.kind.clone());
            let asked = item.command.or(item.arguments).or(item.changes).or(item.query);
            each(place.tool(Kind::Tool, name, body(asked)));
            if let Some(output) = item.aggregated_output {
                let failed = item.exit_code.is_some_and(|code| code != 0);
                let kind = if failed { Kind::Failed } else { Kind::Result };
                each(place.entry(kind, Text::of(output)));
            }
        }
    }
}
