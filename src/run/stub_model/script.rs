//! What the stub model answers, as data: rules tried in order, the first that fits a request wins.
//!
//! Only turns of the agent itself meet the rules. What a CLI asks beside them (a title, a quota probe) carries
//! no tools and is answered shortly, so that such a request never uses up a scripted answer.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What every side request and every turn without a rule gets.
pub const PLAIN_ANSWER: &str = "Done.";

/// The answers of one stub, in order.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    #[serde(default, rename = "rule")]
    pub rules: Vec<Rule>,
}

/// One scripted answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Occurs in the newest text of the user; absent = any turn.
    #[serde(default)]
    pub when: Option<String>,
    /// How often the rule answers; absent = always.
    #[serde(default)]
    pub times: Option<u32>,
    pub answer: Answer,
}

/// One answer of the model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Answer {
    /// Words, sent one by one.
    Say {
        text: String,
        /// Shown before the text, where the protocol knows thinking.
        #[serde(default)]
        thinking: Option<String>,
        /// Between two words.
        #[serde(default)]
        pause_ms: u64,
    },
    /// A call of a tool; once its result is there the turn ends with [`PLAIN_ANSWER`].
    UseTool { tool: String, input: serde_json::Value },
    /// An HTTP error.
    Refuse {
        status: u16,
        #[serde(default)]
        headers: BTreeMap<String, String>,
        body: serde_json::Value,
    },
    /// Begins to answer and never goes on.
    Hang,
}

impl Answer {
    /// A short text at once.
    pub fn say(text: &str) -> Self {
        Self::Say { text: text.to_owned(), thinking: None, pause_ms: 0 }
    }

    /// A text of so many words, one every `pause_ms`.
    pub fn slowly(words: usize, pause_ms: u64) -> Self {
        // Gemini CLI takes the same word again and again for a model that runs in circles, and asks.
        let words: Vec<String> = (1..=words).map(|number| format!("word{number}")).collect();
        let text = words.join(" ");
        Self::Say { text, thinking: Some("I think about it.".to_owned()), pause_ms }
    }

    /// The error shape of Anthropic's API.
    pub fn anthropic_error(status: u16, kind: &str, message: &str) -> Self {
        let body = serde_json::json!({
            "type": "error",
            "error": { "type": kind, "message": message },
        });
        Self::Refuse { status, headers: BTreeMap::new(), body }
    }

    /// A usage limit of an Anthropic subscription, over at this second since 1970.
    pub fn usage_limit(claim: &str, resets_at: i64) -> Self {
        let message =
            "This request would exceed your account's rate limit. Please try again later.";
        let mut answer = Self::anthropic_error(429, "rate_limit_error", message);
        if let Self::Refuse { headers, .. } = &mut answer {
            for (name, value) in [
                ("status", "rejected".to_owned()),
                ("reset", resets_at.to_string()),
                ("representative-claim", claim.to_owned()),
            ] {
                headers.insert(format!("anthropic-ratelimit-unified-{name}"), value);
            }
        }
        answer
    }

    /// The server has no capacity.
    pub fn overloaded() -> Self {
        Self::anthropic_error(529, "overloaded_error", "Overloaded")
    }

    /// The conversation holds blocks that the server refuses, now and for ever.
    pub fn redacted_thinking() -> Self {
        Self::anthropic_error(
            400,
            "invalid_request_error",
            "messages.1.content.0: `thinking` or `redacted_thinking` blocks in the latest assistant \
             message cannot be modified. These blocks must remain as they were in the original response.",
        )
    }

    /// A usage limit of an `OpenAI` plan, over at this second since 1970.
    pub fn plan_limit(resets_at: i64) -> Self {
        let body = serde_json::json!({ "error": {
            "type": "usage_limit_reached", "message": "The usage limit has been reached",
            "plan_type": "pro", "resets_at": resets_at,
        } });
        Self::Refuse { status: 429, headers: BTreeMap::new(), body }
    }

    /// The error shape of Google's API; `retry_after_secs` as it names a delay.
    pub fn google_error(
        code: u16,
        status: &str,
        message: &str,
        retry_after_secs: Option<u64>,
    ) -> Self {
        let details: Vec<serde_json::Value> = retry_after_secs
            .map(|secs| {
                serde_json::json!({
                    "@type": "type.googleapis.com/google.rpc.RetryInfo",
                    "retryDelay": format!("{secs}s"),
                })
            })
            .into_iter()
            .collect();
        let body = serde_json::json!({ "error": {
            "code": code, "message": message, "status": status, "details": details,
        } });
        Self::Refuse { status: code, headers: BTreeMap::new(), body }
    }

    /// The error shape of OpenAI's API.
    pub fn openai_error(status: u16, message: &str, retry_after_secs: Option<u64>) -> Self {
        let headers = retry_after_secs.map(|secs| ("retry-after".to_owned(), secs.to_string()));
        let body = serde_json::json!({
            "error": { "message": message, "type": "error", "code": null, "param": null },
        });
        Self::Refuse { status, headers: headers.into_iter().collect(), body }
    }
}

/// What a request asks for, whichever protocol it came by.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ask {
    pub model: String,
    /// Every text of the user, oldest first; one entry a message.
    pub user_texts: Vec<String>,
    /// The newest message is a tool's result.
    pub after_tool: bool,
    /// A turn of the agent itself: it may call tools.
    pub with_tools: bool,
    pub stream: bool,
}

/// A script under way: how often each rule has answered.
#[derive(Debug, Clone, Default)]
pub struct Play {
    script: Script,
    used: Vec<u32>,
}

impl Play {
    pub fn new(script: Script) -> Self {
        let used = vec![0; script.rules.len()];
        Self { script, used }
    }

    /// The answer to this request.
    pub fn answer(&mut self, ask: &Ask) -> Answer {
        if !ask.with_tools {
            return Answer::say(PLAIN_ANSWER);
        }
        let newest = ask.user_texts.last().map_or("", String::as_str);
        for (rule, used) in self.script.rules.iter().zip(&mut self.used) {
            let fits = rule.when.as_ref().is_none_or(|when| newest.contains(when));
            let left = rule.times.is_none_or(|times| *used < times);
            // The result of the tool must not call it again.
            let again = ask.after_tool && matches!(rule.answer, Answer::UseTool { .. });
            if fits && left && !again {
                *used += 1;
                return rule.answer.clone();
            }
        }
        Answer::say(PLAIN_ANSWER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(text: &str) -> Ask {
        Ask { user_texts: vec![text.to_owned()], with_tools: true, ..Ask::default() }
    }

    fn script() -> Play {
        let tool = Answer::UseTool { tool: "Bash".into(), input: serde_json::json!({}) };
        Play::new(Script {
            rules: vec![
                Rule { when: Some("tool".into()), times: None, answer: tool },
                Rule { when: None, times: Some(1), answer: Answer::overloaded() },
            ],
        })
    }

    #[test]
    fn a_rule_answers_as_often_as_it_says_and_then_the_plain_answer_comes() {
        let mut play = script();
        assert_eq!(play.answer(&turn("hello")), Answer::overloaded());
        assert_eq!(play.answer(&turn("hello")), Answer::say(PLAIN_ANSWER));
    }

    #[test]
    fn a_tools_result_never_calls_the_tool_again() {
        let mut play = script();
        assert!(matches!(play.answer(&turn("tool")), Answer::UseTool { .. }));
        let result = Ask { after_tool: true, ..turn("tool") };
        assert_eq!(play.answer(&result), Answer::overloaded());
    }

    #[test]
    fn what_a_cli_asks_beside_its_turns_uses_no_rule_up() {
        let mut play = script();
        let aside = Ask { with_tools: false, ..turn("tool") };
        assert_eq!(play.answer(&aside), Answer::say(PLAIN_ANSWER));
        assert_eq!(play.answer(&turn("hello")), Answer::overloaded());
    }

    #[test]
    fn a_script_reads_from_toml() {
        let text = "[[rule]]\nwhen = \"x\"\ntimes = 2\nanswer = { kind = \"say\", text = \"y\" }\n\
                    [[rule]]\nanswer = { kind = \"hang\" }\n";
        let script: Script = toml::from_str(text).unwrap();
        assert_eq!(script.rules[0].answer, Answer::say("y"));
        assert_eq!(script.rules[1].answer, Answer::Hang);
    }
}
