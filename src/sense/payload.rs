//! What a hook gets on its standard input, per CLI.
//!
//! Claude Code, Codex and Gemini CLI share one shape with different event names; opencode's comes
//! from the plugin that [`super::wiring`] writes. Fields of a wrong type count as absent: a new
//! release must not silence a sensor.

use serde::{Deserialize, Deserializer};

use super::fact::{Beginning, Class, Fact, Kind, NAME_CHARS_MAX, TEXT_CHARS_MAX, cut};
use super::{Cli, opencode as server};
use crate::base::now::{Mono, Now};

#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    #[error("the payload is not what a hook of {cli} gets")]
    Malformed {
        cli: &'static str,
        #[source]
        cause: serde_json::Error,
    },
    #[error("the payload names no event")]
    NoEvent,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Raw {
    #[serde(deserialize_with = "text")]
    hook_event_name: Option<String>,
    #[serde(deserialize_with = "text")]
    session_id: Option<String>,
    #[serde(deserialize_with = "text")]
    transcript_path: Option<String>,
    #[serde(deserialize_with = "text")]
    agent_id: Option<String>,
    #[serde(deserialize_with = "text")]
    tool_name: Option<String>,
    #[serde(deserialize_with = "text")]
    source: Option<String>,
    #[serde(deserialize_with = "text")]
    reason: Option<String>,
    #[serde(deserialize_with = "text")]
    error: Option<String>,
    #[serde(deserialize_with = "text")]
    last_assistant_message: Option<String>,
    #[serde(deserialize_with = "text")]
    notification_type: Option<String>,
    #[serde(deserialize_with = "text")]
    message: Option<String>,
    #[serde(deserialize_with = "tasks")]
    background_tasks: Vec<Task>,
    /// opencode's plugin: when it happened, since its calls may arrive out of order.
    #[serde(deserialize_with = "whole")]
    at_ms: Option<i64>,
    /// Its place among the calls of this plugin: several happen within a millisecond.
    #[serde(deserialize_with = "whole")]
    seq: Option<i64>,
    #[serde(deserialize_with = "whole")]
    next_ms: Option<i64>,
    #[serde(deserialize_with = "whole")]
    status: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Task {
    #[serde(deserialize_with = "text")]
    r#type: Option<String>,
    #[serde(deserialize_with = "text")]
    status: Option<String>,
}

fn text<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    Ok(match serde_json::Value::deserialize(from)? {
        serde_json::Value::String(text) => Some(text),
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::Array(_)
        | serde_json::Value::Object(_) => None,
    })
}

fn whole<'de, D: Deserializer<'de>>(from: D) -> Result<Option<i64>, D::Error> {
    Ok(serde_json::Value::deserialize(from)?.as_i64())
}

fn tasks<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Task>, D::Error> {
    let value = serde_json::Value::deserialize(from)?;
    Ok(serde_json::from_value(value).unwrap_or_default())
}

/// What one hook payload says. `at` is when it arrived.
pub fn read(cli: Cli, payload: &[u8], at: Now) -> Result<Fact, PayloadError> {
    let raw: Raw = serde_json::from_slice(payload)
        .map_err(|cause| PayloadError::Malformed { cli: cli.word(), cause })?;
    let event = raw.hook_event_name.clone().ok_or(PayloadError::NoEvent)?;
    let kind = match cli {
        Cli::Claude => claude(&event, &raw),
        Cli::Codex => codex(&event, &raw),
        Cli::Gemini => gemini(&event, &raw),
        Cli::Opencode => opencode(&event, &raw),
    };
    let kind = kind.unwrap_or_else(|| Kind::Other { event: cut(&event, NAME_CHARS_MAX) });
    let name = |text: Option<String>| text.map(|text| cut(&text, NAME_CHARS_MAX));
    Ok(Fact {
        at: raw.at_ms.map_or(at, |ms| earlier(at, ms)),
        cli,
        session_id: name(raw.session_id),
        subagent: name(raw.agent_id),
        transcript: raw.transcript_path.filter(|path| path.len() <= 1024),
        order: raw.seq.and_then(|seq| u64::try_from(seq).ok()),
        kind,
    })
}

/// The moment of that wall time, as far as it lies at most a minute back.
pub(super) fn earlier(now: Now, wall_ms: i64) -> Now {
    let back_ms = u64::try_from(now.wall.timestamp_millis() - wall_ms).unwrap_or(0).min(60_000);
    let back = chrono::TimeDelta::milliseconds(i64::try_from(back_ms).unwrap_or(0));
    Now { wall: now.wall - back, mono: Mono(now.mono.0.saturating_sub(back_ms)) }
}

fn tool(raw: &Raw) -> String {
    cut(raw.tool_name.as_deref().unwrap_or_default(), NAME_CHARS_MAX)
}

fn message(raw: &Raw) -> String {
    let said = raw.last_assistant_message.as_deref().or(raw.message.as_deref());
    cut(said.unwrap_or_default(), TEXT_CHARS_MAX)
}

fn beginning(raw: &Raw) -> Kind {
    let source = match raw.source.as_deref() {
        Some("startup") => Beginning::Startup,
        Some("resume") => Beginning::Resume,
        Some("clear") => Beginning::Clear,
        Some("compact") => Beginning::Compact,
        Some(_) | None => Beginning::Other,
    };
    Kind::SessionStarted { source }
}

fn end(raw: &Raw) -> Kind {
    let why = cut(raw.reason.as_deref().unwrap_or("other"), NAME_CHARS_MAX);
    Kind::SessionEnded { why }
}

fn claude(event: &str, raw: &Raw) -> Option<Kind> {
    Some(match event {
        "SessionStart" => beginning(raw),
        "SessionEnd" => end(raw),
        "UserPromptSubmit" => Kind::TurnStarted,
        "PreToolUse" => Kind::ToolStarted { tool: tool(raw) },
        "PostToolUse" => Kind::ToolEnded { tool: tool(raw), failed: false },
        "PostToolUseFailure" => Kind::ToolEnded { tool: tool(raw), failed: true },
        "PermissionRequest" => Kind::PermissionAsked { what: tool(raw) },
        "Notification" => match raw.notification_type.as_deref() {
            Some("permission_prompt") => Kind::PermissionAsked { what: message(raw) },
            Some("idle_prompt") => Kind::IdleNoted,
            Some(_) | None => return None,
        },
        "Stop" => {
            let left = raw.background_tasks.iter().filter(|task| {
                task.r#type.as_deref() == Some("subagent")
                    && task.status.as_deref() == Some("running")
            });
            let subagents_left = u32::try_from(left.count()).unwrap_or(u32::MAX);
            Kind::TurnEnded { interrupted: false, subagents_left }
        }
        "StopFailure" => {
            Kind::TurnFailed { class: claude_class(raw.error.as_deref()), text: message(raw) }
        }
        "SubagentStart" => Kind::SubagentStarted,
        "SubagentStop" => Kind::SubagentEnded,
        _ => return None,
    })
}

fn claude_class(error: Option<&str>) -> Class {
    match error {
        Some("rate_limit") => Class::RateLimit,
        Some("server_error" | "overloaded" | "api_error") => Class::Server,
        Some("authentication_failed") => Class::Login,
        Some("billing_error") => Class::Billing,
        Some(_) | None => Class::Unknown,
    }
}

fn codex(event: &str, raw: &Raw) -> Option<Kind> {
    Some(match event {
        "SessionStart" => beginning(raw),
        "SessionEnd" => end(raw),
        "UserPromptSubmit" => Kind::TurnStarted,
        "PreToolUse" => Kind::ToolStarted { tool: tool(raw) },
        "PostToolUse" => Kind::ToolEnded { tool: tool(raw), failed: false },
        "PermissionRequest" => Kind::PermissionAsked { what: tool(raw) },
        "Stop" => Kind::TurnEnded { interrupted: false, subagents_left: 0 },
        "Interrupt" => Kind::TurnEnded { interrupted: true, subagents_left: 0 },
        "SubagentStart" => Kind::SubagentStarted,
        "SubagentStop" => Kind::SubagentEnded,
        _ => return None,
    })
}

fn gemini(event: &str, raw: &Raw) -> Option<Kind> {
    Some(match event {
        "SessionStart" => beginning(raw),
        "SessionEnd" => end(raw),
        "BeforeAgent" => Kind::TurnStarted,
        "AfterAgent" => Kind::TurnEnded { interrupted: false, subagents_left: 0 },
        "BeforeTool" => Kind::ToolStarted { tool: tool(raw) },
        "AfterTool" => Kind::ToolEnded { tool: tool(raw), failed: false },
        "Notification" if raw.notification_type.as_deref() == Some("ToolPermission") => {
            Kind::PermissionAsked { what: message(raw) }
        }
        _ => return None,
    })
}

fn opencode(event: &str, raw: &Raw) -> Option<Kind> {
    let next_s = raw.next_ms.map(|ms| ms / 1_000);
    Some(match event {
        "session.created" => Kind::SessionStarted { source: Beginning::Startup },
        "busy" => Kind::TurnStarted,
        "retry" => Kind::Retrying { text: message(raw), next_s },
        "idle" => Kind::TurnEnded { interrupted: false, subagents_left: 0 },
        "session.error" if raw.error.as_deref() == Some("MessageAbortedError") => {
            Kind::TurnEnded { interrupted: true, subagents_left: 0 }
        }
        "session.error" => {
            let class = server::class(raw.error.as_deref(), raw.status);
            Kind::TurnFailed { class, text: message(raw) }
        }
        "tool.execute.before" => Kind::ToolStarted { tool: tool(raw) },
        "tool.execute.after" => Kind::ToolEnded { tool: tool(raw), failed: false },
        "permission.asked" | "question.asked" => Kind::PermissionAsked { what: tool(raw) },
        "permission.replied" | "question.replied" | "question.rejected" => Kind::PermissionAnswered,
        _ => return None,
    })
}

#[cfg(test)]
#[path = "payload_tests.rs"]
mod tests;
