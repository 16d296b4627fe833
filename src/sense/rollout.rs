//! What Codex writes down about a conversation while it runs: its rollout file.
//!
//! Pure: lines come in, facts go out. Only the beginnings and ends of turns and the usage windows are
//! taken; questions to a person are not written down there, they come by hook and title.
//!
//! Surprise: no hook tells of a turn that failed. The rollout does, with the class of the failure, and
//! with the end of a usage limit as an instant where the screen has a time of day at best.

use chrono::DateTime;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::Cli;
use super::fact::{Class, Fact, Kind, TEXT_CHARS_MAX, Usage, UsageWindow, cut};
use super::payload::earlier;
use crate::base::now::Now;

/// Percent from which a usage window is the one that a limit speaks of.
const FULL_PERCENT: f64 = 99.5;

/// What was read of one file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rollout {
    windows: Vec<UsageWindow>,
}

#[derive(Debug, Deserialize)]
struct Line<'a> {
    timestamp: Option<String>,
    r#type: String,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Message {
    r#type: String,
    error: Option<Failure>,
    info: Value,
    rate_limits: Value,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Failure {
    message: String,
    /// A word, or an object whose key is the word.
    codex_error_info: Value,
}

impl Rollout {
    /// The facts of one line; `now` is when it was read.
    pub fn line(&mut self, line: &str, now: Now) -> Option<Fact> {
        let line: Line<'_> = serde_json::from_str(line).ok()?;
        if line.r#type != "event_msg" {
            return None;
        }
        let message: Message = serde_json::from_str(line.payload?.get()).ok()?;
        let kind = match message.r#type.as_str() {
            "task_started" => Kind::TurnStarted,
            "task_complete" => match message.error {
                Some(failure) => self.failed(&failure),
                None => Kind::TurnEnded { interrupted: false, subagents_left: 0 },
            },
            "turn_aborted" => Kind::TurnEnded { interrupted: true, subagents_left: 0 },
            "token_count" => self.usage(&message),
            _ => return None,
        };
        let told = line.timestamp.and_then(|text| DateTime::parse_from_rfc3339(&text).ok());
        Some(Fact {
            at: told.map_or(now, |told| earlier(now, told.timestamp_millis())),
            cli: Cli::Codex,
            session_id: None,
            subagent: None,
            transcript: None,
            order: None,
            kind,
        })
    }

    fn failed(&self, failure: &Failure) -> Kind {
        let text = cut(&failure.message, TEXT_CHARS_MAX);
        let info = &failure.codex_error_info;
        let word = info.as_str().or_else(|| info.as_object()?.keys().next().map(String::as_str));
        let status = info
            .as_object()
            .and_then(|info| info.values().next()?.get("http_status_code").and_then(Value::as_i64));
        let class = match (word, status) {
            (Some("usage_limit_exceeded"), _) => {
                let full = self.windows.iter().filter(|window| window.used_percent >= FULL_PERCENT);
                let resets_s = full.filter_map(|window| window.resets_s).max();
                return Kind::LimitHit { resets_s, text };
            }
            (Some("unauthorized"), _) | (_, Some(401 | 403)) => Class::Login,
            (_, Some(429)) => Class::RateLimit,
            (
                Some(
                    "server_overloaded"
                    | "internal_server_error"
                    | "http_connection_failed"
                    | "response_stream_connection_failed"
                    | "response_stream_disconnected"
                    | "response_too_many_failed_attempts",
                ),
                None,
            )
            | (_, Some(500..=599)) => Class::Server,
            (Some(_) | None, Some(_) | None) => Class::Unknown,
        };
        Kind::TurnFailed { class, text }
    }

    fn usage(&mut self, message: &Message) -> Kind {
        let windows = ["primary", "secondary"].into_iter().filter_map(|name| {
            let window = &message.rate_limits[name];
            Some(UsageWindow {
                name: name.to_owned(),
                used_percent: window["used_percent"].as_f64()?,
                resets_s: window["resets_at"].as_i64(),
            })
        });
        self.windows = windows.collect();
        let tokens = message.info["last_token_usage"]["total_tokens"].as_u64();
        let size = message.info["model_context_window"].as_u64();
        let percent = tokens.zip(size.filter(|size| *size > 0));
        #[expect(clippy::cast_precision_loss, reason = "tokens are millions at most")]
        let percent = percent.map(|(tokens, size)| tokens as f64 * 100.0 / size as f64);
        Kind::Usage(Usage {
            context_percent: percent,
            context_tokens: tokens,
            context_size_tokens: size,
            windows: self.windows.clone(),
            ..Usage::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use serde_json::json;

    use super::*;
    use crate::base::now::Mono;

    fn now() -> Now {
        let wall = DateTime::from_timestamp(1_795_233_180, 0).unwrap();
        Now { wall, mono: Mono(600_000) }
    }

    fn event(payload: &Value) -> String {
        let at = (now().wall - TimeDelta::milliseconds(250)).to_rfc3339();
        json!({ "timestamp": at, "ordinal": 1, "type": "event_msg", "payload": payload })
            .to_string()
    }

    #[track_caller]
    fn check(payload: &Value, expected: Option<&Kind>) {
        let fact = Rollout::default().line(&event(payload), now());
        assert_eq!(fact.as_ref().map(|fact| &fact.kind), expected);
    }

    #[test]
    fn turns_begin_and_end_when_they_did_and_not_when_they_were_read() {
        let line = event(&json!({ "type": "task_started", "turn_id": "1" }));
        let fact = Rollout::default().line(&line, now()).unwrap();
        assert_eq!((fact.at.mono, fact.kind), (Mono(599_750), Kind::TurnStarted));
        let ended = |interrupted| Kind::TurnEnded { interrupted, subagents_left: 0 };
        check(&json!({ "type": "task_complete", "error": null }), Some(&ended(false)));
        check(&json!({ "type": "turn_aborted", "reason": "interrupted" }), Some(&ended(true)));
        check(&json!({ "type": "item_completed" }), None);
        assert_eq!(Rollout::default().line("{\"type\":\"event_ms", now()), None);
    }

    #[test]
    fn a_limit_carries_the_end_of_the_window_that_is_full() {
        let mut rollout = Rollout::default();
        let windows = json!({ "type": "token_count", "info": null, "rate_limits": {
            "primary": { "used_percent": 100.0, "resets_at": 1_795_240_379 },
            "secondary": { "used_percent": 41.0, "resets_at": 1_795_665_179 },
        } });
        rollout.line(&event(&windows), now()).unwrap();
        let failed = json!({ "type": "task_complete", "error": {
            "message": "You’ve hit your usage limit.", "codex_error_info": "usage_limit_exceeded",
        } });
        let fact = rollout.line(&event(&failed), now()).unwrap();
        let text = "You’ve hit your usage limit.".to_owned();
        assert_eq!(fact.kind, Kind::LimitHit { resets_s: Some(1_795_240_379), text });
    }

    #[test]
    fn a_failure_is_classed_by_its_word_or_its_status() {
        let failed = |info: Value| json!({ "type": "task_complete", "error": { "message": "m", "codex_error_info": info } });
        let class = |class| Kind::TurnFailed { class, text: "m".into() };
        check(&failed("server_overloaded".into()), Some(&class(Class::Server)));
        check(&failed("unauthorized".into()), Some(&class(Class::Login)));
        let status = json!({ "response_too_many_failed_attempts": { "http_status_code": 429 } });
        check(&failed(status), Some(&class(Class::RateLimit)));
        let status = json!({ "http_connection_failed": { "http_status_code": 503 } });
        check(&failed(status), Some(&class(Class::Server)));
        check(&failed("bad_request".into()), Some(&class(Class::Unknown)));
        check(&failed(Value::Null), Some(&class(Class::Unknown)));
    }
}
