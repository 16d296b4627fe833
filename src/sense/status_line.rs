//! The JSON that Claude Code gives its status line command after every response.

use serde_json::Value;

use super::Cli;
use super::fact::{Fact, Kind, NAME_CHARS_MAX, Usage, UsageWindow, cut};
use crate::base::now::Now;

/// Usage windows that are kept; the CLI has two or three.
const WINDOWS_MAX: usize = 8;

#[derive(Debug, thiserror::Error)]
#[error("not the status line input of Claude Code")]
pub struct StatusLineError(#[source] pub serde_json::Error);

/// Model, context, cost and usage windows.
pub fn read(bytes: &[u8], at: Now) -> Result<Fact, StatusLineError> {
    let value: Value = serde_json::from_slice(bytes).map_err(StatusLineError)?;
    let text = |path: &str| value.pointer(path).and_then(Value::as_str).map(str::to_owned);
    let number = |path: &str| value.pointer(path).and_then(Value::as_f64);
    let count = |path: &str| value.pointer(path).and_then(Value::as_u64);
    let windows = value.get("rate_limits").and_then(Value::as_object);
    let windows = windows.into_iter().flatten().filter_map(|(name, window)| {
        Some(UsageWindow {
            name: cut(name, NAME_CHARS_MAX),
            used_percent: window.get("used_percentage")?.as_f64()?,
            resets_s: window.get("resets_at").and_then(Value::as_i64),
        })
    });
    let name = |text: Option<String>| text.map(|text| cut(&text, NAME_CHARS_MAX));
    let usage = Usage {
        model: name(text("/model/id")),
        context_percent: number("/context_window/used_percentage"),
        context_tokens: count("/context_window/total_input_tokens"),
        context_size_tokens: count("/context_window/context_window_size"),
        cost_micros: number("/cost/total_cost_usd").map(micros),
        windows: windows.take(WINDOWS_MAX).collect(),
    };
    Ok(Fact {
        at,
        order: None,
        cli: Cli::Claude,
        session_id: name(text("/session_id")),
        subagent: None,
        transcript: text("/transcript_path").filter(|path| path.len() <= 1024),
        kind: Kind::Usage(usage),
    })
}

/// Where the user's own settings of the same project stand, as the CLI names it.
pub fn project_dir(bytes: &[u8]) -> Option<String> {
    let value: Value = serde_json::from_slice(bytes).ok()?;
    let named = value.pointer("/workspace/project_dir").or_else(|| value.get("cwd"));
    named.and_then(Value::as_str).map(str::to_owned)
}

/// The status line command of a settings file; `None` when it has none.
pub fn command_of(settings: &str) -> Option<String> {
    let value: Value = serde_json::from_str(settings).ok()?;
    let line = value.get("statusLine")?;
    let command = line.get("type").is_none_or(|kind| kind == "command");
    line.get("command").filter(|_| command).and_then(Value::as_str).map(str::to_owned)
}

#[expect(clippy::cast_possible_truncation, reason = "clamped to what fits first")]
fn micros(dollars: f64) -> i64 {
    (dollars * 1e6).round().clamp(0.0, 9e15) as i64
}
