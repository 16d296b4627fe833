//! Claude Code: a session's file, its sub-agents' files, and the stream of `claude -p`.
//!
//! One answer is written as one line a content block, each with the same message id and the usage of
//! the whole. Most other lines (attachments, request records, snapshots) are of no interest and skipped
//! as fast as JSON can be skipped.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::json;
use super::text::Text;
use super::usage::Usage;
use super::{Entry, Event, Kind, Used, time};

/// What the CLI writes as the model of messages it made up itself.
const SYNTHETIC: &str = "<synthetic>";

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(rename = "type", borrow)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    subtype: Option<Cow<'a, str>>,
    #[serde(borrow)]
    timestamp: Option<Cow<'a, str>>,
    #[serde(borrow)]
    message: Option<Message<'a>>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(rename = "agentId", borrow)]
    agent: Option<Cow<'a, str>>,
    #[serde(borrow)]
    parent_tool_use_id: Option<Cow<'a, str>>,
    #[serde(rename = "isMeta", default)]
    is_meta: bool,
    #[serde(rename = "isCompactSummary", default)]
    is_summary: bool,
    #[serde(rename = "isApiErrorMessage", default)]
    is_api_error: bool,
    #[serde(borrow)]
    origin: Option<&'a RawValue>,
    #[serde(rename = "durationMs")]
    duration_ms: Option<f64>,
    #[serde(rename = "retryAttempt")]
    retry_attempt: Option<u64>,
    #[serde(rename = "maxRetries")]
    retries_max: Option<u64>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    #[serde(rename = "modelUsage", borrow)]
    model_usage: Option<&'a RawValue>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    #[serde(default)]
    is_error: bool,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    model: Option<Cow<'a, str>>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    usage: Option<Tokens>,
}

#[derive(Deserialize)]
#[expect(clippy::struct_field_names, reason = "they are the names in the file")]
struct Tokens {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_creation: Option<Writes>,
    output_tokens_details: Option<Details>,
}

#[derive(Deserialize)]
struct Writes {
    ephemeral_1h_input_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct Details {
    thinking_tokens: Option<u64>,
}

impl Tokens {
    fn usage(&self) -> Usage {
        let written = self.cache_creation_input_tokens.unwrap_or(0);
        let long = self.cache_creation.as_ref().and_then(|writes| writes.ephemeral_1h_input_tokens);
        let details = self.output_tokens_details.as_ref();
        usage(
            [self.input_tokens, self.output_tokens, self.cache_read_input_tokens],
            written,
            long.unwrap_or(0),
            details.and_then(|details| details.thinking_tokens),
        )
    }
}

fn usage(read: [Option<u64>; 3], written: u64, long: u64, reasoning: Option<u64>) -> Usage {
    let [input, output, cache_read] = read.map(|tokens| tokens.unwrap_or(0));
    Usage {
        input,
        output,
        cache_read,
        cache_write_5m: written.saturating_sub(long),
        cache_write_1h: long.min(written),
        reasoning: reasoning.unwrap_or(0),
    }
}

/// The CLI's own sum for one model.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ModelUsage {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    #[serde(rename = "cacheCreationEphemeral1hInputTokens")]
    cache_creation_1h: Option<u64>,
    thinking_tokens: Option<u64>,
    context_window: Option<u64>,
}

#[derive(Deserialize)]
struct Block<'a> {
    #[serde(rename = "type", borrow)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    #[serde(borrow)]
    thinking: Option<&'a RawValue>,
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    is_error: Option<bool>,
}

/// Told by the line's beginning: most bytes of a session are in lines that nobody asks for.
fn is_of_interest(text: &str) -> bool {
    match json::outer_text(text, "type") {
        Some(kind) => matches!(
            kind,
            "assistant" | "user" | "system" | "queue-operation" | "cost-state" | "result"
        ),
        None => json::outer_value(text, "attachment").is_none(),
    }
}

/// Reads one line.
pub(super) fn line<'a>(
    text: &'a str,
    each: &mut dyn FnMut(Event<'a>),
) -> Result<(), serde_json::Error> {
    if !is_of_interest(text) {
        return Ok(());
    }
    let mut line: Line<'a> = serde_json::from_str(text)?;
    let kind = line.kind.take().unwrap_or_default();
    match kind.as_ref() {
        "assistant" => assistant(&line, each),
        "user" => user(&line, each),
        "system" => system(&line, each),
        "queue-operation" => {
            if let Some(content) = line.content.map(Text::of)
                && !content.starts_with("<task-notification>")
            {
                each(entry(&line, Kind::Queued, content));
            }
        }
        "cost-state" => totals(line.model_usage, each),
        "result" => {
            totals(line.model_usage, each);
            let kind = if line.is_error { Kind::Error } else { Kind::Turn };
            let said = line.result.filter(|_| line.is_error).map(Text::of);
            each(entry(&line, kind, said.unwrap_or(Text::words("turn over"))));
        }
        _ => {}
    }
    Ok(())
}

fn entry<'a>(line: &Line<'a>, kind: Kind, text: Text<'a>) -> Event<'a> {
    tool(line, kind, None, text)
}

fn tool<'a>(line: &Line<'a>, kind: Kind, tool: Option<Cow<'a, str>>, text: Text<'a>) -> Event<'a> {
    Event::Entry(Entry { at: time(line.timestamp.as_deref()), sub: sub(line), kind, tool, text })
}

fn sub<'a>(line: &Line<'a>) -> Option<Cow<'a, str>> {
    line.agent.clone().or_else(|| line.parent_tool_use_id.clone())
}

fn assistant<'a>(line: &Line<'a>, each: &mut dyn FnMut(Event<'a>)) {
    let Some(message) = &line.message else { return };
    let model = message.model.as_deref().unwrap_or("");
    if let (Some(tokens), false) = (&message.usage, model == SYNTHETIC || model.is_empty()) {
        each(Event::Used(Used {
            at: time(line.timestamp.as_deref()),
            id: message.id.clone(),
            model: message.model.clone().unwrap_or_default(),
            usage: tokens.usage(),
            sub: sub(line).is_some(),
        }));
    }
    let text = if line.is_api_error { Kind::Error } else { Kind::Text };
    content(line, message.content, text, each);
}

fn user<'a>(line: &Line<'a>, each: &mut dyn FnMut(Event<'a>)) {
    let Some(message) = &line.message else { return };
    if line.is_meta {
        return;
    }
    let from_person = line.origin.is_none_or(|origin| !origin.get().contains("task-notification"));
    let kind = if line.is_summary || !from_person { Kind::Note } else { Kind::Prompt };
    content(line, message.content, kind, each);
}

fn content<'a>(
    line: &Line<'a>,
    content: Option<&'a RawValue>,
    text_kind: Kind,
    each: &mut dyn FnMut(Event<'a>),
) {
    let Some(content) = content else { return };
    if content.get().starts_with('"') {
        return each(entry(line, text_kind, Text::of(content)));
    }
    let Ok(blocks) = serde_json::from_str::<Vec<Block<'a>>>(content.get()) else {
        return each(Event::Unreadable);
    };
    for block in blocks {
        let body = |value: Option<&'a RawValue>| value.map_or(Text::words(""), Text::of);
        match block.kind.as_deref().unwrap_or("") {
            "text" => {
                let text = body(block.text);
                let cut = text_kind == Kind::Prompt && text.starts_with("[Request interrupted");
                each(entry(line, if cut { Kind::Note } else { text_kind }, text));
            }
            "thinking" => {
                let text = body(block.thinking);
                if !text.is_empty() {
                    each(entry(line, Kind::Thinking, text));
                }
            }
            "tool_use" | "server_tool_use" | "mcp_tool_use" => {
                each(tool(line, Kind::Tool, block.name, body(block.input)));
            }
            kind if kind.ends_with("tool_result") => {
                let failed = block.is_error == Some(true);
                let kind = if failed { Kind::Failed } else { Kind::Result };
                each(entry(line, kind, body(block.content)));
            }
            kind => each(entry(line, text_kind, Text::Plain(format!("[{kind}]").into()))),
        }
    }
}

fn system<'a>(line: &Line<'a>, each: &mut dyn FnMut(Event<'a>)) {
    match line.subtype.as_deref().unwrap_or("") {
        "turn_duration" => {
            let seconds = line.duration_ms.unwrap_or(0.0) / 1_000.0;
            let text = format!("turn over after {seconds:.1} s");
            each(entry(line, Kind::Turn, Text::Plain(text.into())));
        }
        "api_error" => {
            let (attempt, of) = (line.retry_attempt.unwrap_or(0), line.retries_max.unwrap_or(0));
            let cause = line.error.map_or("", RawValue::get);
            let text = format!("the request failed, retry {attempt} of {of}: {cause}");
            each(entry(line, Kind::Error, Text::Plain(text.into())));
        }
        "compact_boundary" => {
            each(entry(line, Kind::Note, Text::words("the conversation was compacted")));
        }
        "local_command" | "informational" => {
            if let Some(content) = line.content {
                each(entry(line, Kind::Note, Text::of(content)));
            }
        }
        "init" => {
            let named = line.model.and_then(|model| serde_json::from_str(model.get()).ok());
            if let Some(Name(model)) = named {
                each(Event::Model { model });
            }
        }
        _ => {}
    }
}

#[derive(Deserialize)]
#[serde(transparent)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

fn totals<'a>(models: Option<&'a RawValue>, each: &mut dyn FnMut(Event<'a>)) {
    let Some(models) = models else { return };
    let Ok(models) =
        serde_json::from_str::<std::collections::BTreeMap<Cow<'a, str>, ModelUsage>>(models.get())
    else {
        return each(Event::Unreadable);
    };
    let single = models.len() == 1;
    for (model, sums) in models {
        if let Some(tokens) = sums.context_window.filter(|_| single) {
            each(Event::Window { tokens });
        }
        let usage = usage(
            [sums.input_tokens, sums.output_tokens, sums.cache_read_input_tokens],
            sums.cache_creation_input_tokens.unwrap_or(0),
            sums.cache_creation_1h.unwrap_or(0),
            sums.thinking_tokens,
        );
        each(Event::Total { model, usage });
    }
}
