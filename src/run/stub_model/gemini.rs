//! Google's protocol (`generateContent`), as far as Gemini CLI uses it.
//!
//! The model and the wish for a stream stand in the path. What it asks beside its turns (which model
//! to take, a summary) names no tools.

use std::time::Duration;

use serde_json::{Value, json};

use super::script::{Answer, Ask};
use super::stream::{Chunk, HANG, words};

/// Reads the path and body of `/models/MODEL:generateContent` and `:streamGenerateContent`.
pub fn ask(path: &str, body: &Value) -> Ask {
    let contents = body["contents"].as_array().map_or(&[][..], Vec::as_slice);
    let parts = |content: &Value| content["parts"].as_array().cloned().unwrap_or_default();
    let users = contents.iter().filter(|content| content["role"] == "user");
    let texts = users.filter_map(|content| {
        let texts: Vec<String> = parts(content)
            .iter()
            .filter_map(|part| part["text"].as_str().map(str::to_owned))
            .collect();
        // A tool's result comes as a message of the user without text.
        (!texts.is_empty()).then(|| texts.join("\n"))
    });
    let model = path.rsplit('/').next().and_then(|last| last.split(':').next());
    Ask {
        model: model.unwrap_or_default().to_owned(),
        user_texts: texts.collect(),
        after_tool: contents.last().is_some_and(|content| {
            parts(content).iter().any(|part| part.get("functionResponse").is_some())
        }),
        with_tools: body["tools"].as_array().is_some_and(|tools| !tools.is_empty()),
        stream: path.ends_with(":streamGenerateContent"),
    }
}

fn piece(ask: &Ask, parts: &Value, last: bool) -> Value {
    let mut candidate = json!({ "index": 0, "content": { "role": "model", "parts": parts } });
    if last {
        candidate["finishReason"] = "STOP".into();
    }
    json!({
        "candidates": [candidate],
        "modelVersion": ask.model,
        "usageMetadata": {
            "promptTokenCount": 100, "candidatesTokenCount": 20, "totalTokenCount": 120,
        },
    })
}

/// The answer as server-sent events.
pub fn stream(answer: &Answer, ask: &Ask) -> Vec<Chunk> {
    let event = |parts: &Value, last| format!("data: {}\r\n\r\n", piece(ask, parts, last));
    let mut chunks = Vec::new();
    match answer {
        Answer::Say { text, thinking, pause_ms } => {
            let wait = Duration::from_millis(*pause_ms);
            if let Some(thinking) = thinking {
                let thought = json!([{ "text": thinking, "thought": true }]);
                chunks.push(Chunk { wait, text: event(&thought, false) });
            }
            for word in words(text) {
                chunks.push(Chunk { wait, text: event(&json!([{ "text": word }]), false) });
            }
            chunks.push(Chunk::now(event(&json!([{ "text": "" }]), true)));
        }
        Answer::UseTool { tool, input } => {
            let call = json!([{ "functionCall": { "name": tool, "args": input } }]);
            chunks.push(Chunk::now(event(&call, true)));
        }
        Answer::Hang | Answer::Refuse { .. } => {
            chunks.push(Chunk { wait: HANG, text: event(&json!([{ "text": "" }]), true) });
        }
    }
    chunks
}

/// The answer in one piece.
pub fn whole(answer: &Answer, ask: &Ask) -> Value {
    let parts = match answer {
        Answer::Say { text, .. } => json!([{ "text": text }]),
        Answer::UseTool { tool, input } => {
            json!([{ "functionCall": { "name": tool, "args": input } }])
        }
        Answer::Refuse { .. } | Answer::Hang => json!([{ "text": "" }]),
    };
    piece(ask, &parts, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_read_from_its_path_and_body() {
        let body = json!({
            "contents": [
                { "role": "user", "parts": [{ "text": "where am I" }] },
                { "role": "model", "parts": [{ "functionCall": { "name": "x" } }] },
                { "role": "user", "parts": [{ "functionResponse": { "name": "x" } }] },
            ],
            "tools": [{ "functionDeclarations": [] }],
        });
        let ask = ask("/v1beta/models/gemini-9:streamGenerateContent", &body);
        assert_eq!((ask.model.as_str(), ask.stream), ("gemini-9", true));
        assert_eq!((ask.user_texts, ask.after_tool), (vec!["where am I".to_owned()], true));
    }

    #[test]
    fn the_words_of_an_answer_come_one_by_one_and_the_last_piece_says_so() {
        let chunks = stream(&Answer::say("one two"), &Ask::default());
        assert_eq!(chunks.len(), 3);
        assert!(chunks[0].text.contains("\"one \"") && !chunks[0].text.contains("STOP"));
        assert!(chunks[2].text.contains("STOP"));
    }
}
