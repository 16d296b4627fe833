//! Anthropic's Messages protocol, as far as Claude Code uses it.

use std::time::Duration;

use serde_json::{Value, json};

use super::script::{Answer, Ask};
use super::stream::{Chunk, HANG, words};

/// Reads the body of `/v1/messages`.
pub fn ask(body: &Value) -> Ask {
    let messages = body["messages"].as_array().map_or(&[][..], Vec::as_slice);
    let users = messages.iter().filter(|message| message["role"] == "user");
    let after_tool = messages.last().is_some_and(|message| {
        message["content"]
            .as_array()
            .is_some_and(|blocks| blocks.iter().any(|block| block["type"] == "tool_result"))
    });
    Ask {
        model: body["model"].as_str().unwrap_or_default().to_owned(),
        user_texts: users.map(|message| text_of(&message["content"])).collect(),
        after_tool,
        with_tools: body["tools"].as_array().is_some_and(|tools| !tools.is_empty()),
        stream: body["stream"] == true,
    }
}

/// A content is a text or a list of blocks.
fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(blocks) => {
            let texts = blocks.iter().filter_map(|block| block["text"].as_str());
            texts.collect::<Vec<_>>().join("\n")
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => String::new(),
    }
}

fn event(name: &str, mut data: Value) -> String {
    data["type"] = name.into();
    format!("event: {name}\ndata: {data}\n\n")
}

/// The answer as server-sent events.
pub fn stream(answer: &Answer, ask: &Ask, number: usize) -> Vec<Chunk> {
    let mut chunks = vec![Chunk::now(event(
        "message_start",
        json!({ "message": message(ask, number, &json!([]), &Value::Null) }),
    ))];
    let mut say = |wait: Duration, name: &str, data: Value| {
        chunks.push(Chunk { wait, text: event(name, data) });
    };
    let at_once = Duration::ZERO;
    let mut index = 0;
    let mut stop_reason = "end_turn";
    match answer {
        Answer::Say { text, thinking, pause_ms } => {
            let pause = Duration::from_millis(*pause_ms);
            if let Some(thinking) = thinking {
                let block = json!({ "type": "thinking", "thinking": "", "signature": "" });
                say(
                    at_once,
                    "content_block_start",
                    json!({ "index": index, "content_block": block }),
                );
                let delta = json!({ "type": "thinking_delta", "thinking": thinking });
                say(pause, "content_block_delta", json!({ "index": index, "delta": delta }));
                let delta = json!({ "type": "signature_delta", "signature": "c3R1Yg==" });
                say(at_once, "content_block_delta", json!({ "index": index, "delta": delta }));
                say(at_once, "content_block_stop", json!({ "index": index }));
                index += 1;
            }
            let block = json!({ "type": "text", "text": "" });
            say(at_once, "content_block_start", json!({ "index": index, "content_block": block }));
            for word in words(text) {
                let delta = json!({ "type": "text_delta", "text": word });
                say(pause, "content_block_delta", json!({ "index": index, "delta": delta }));
            }
            say(at_once, "content_block_stop", json!({ "index": index }));
        }
        Answer::UseTool { tool, input } => {
            let id = format!("toolu_stub{number:06}");
            let block = json!({ "type": "tool_use", "id": id, "name": tool, "input": {} });
            say(at_once, "content_block_start", json!({ "index": index, "content_block": block }));
            let delta = json!({ "type": "input_json_delta", "partial_json": input.to_string() });
            say(at_once, "content_block_delta", json!({ "index": index, "delta": delta }));
            say(at_once, "content_block_stop", json!({ "index": index }));
            stop_reason = "tool_use";
        }
        Answer::Hang | Answer::Refuse { .. } => {
            say(HANG, "ping", json!({}));
        }
    }
    let delta = json!({ "stop_reason": stop_reason, "stop_sequence": null });
    say(at_once, "message_delta", json!({ "delta": delta, "usage": { "output_tokens": 20 } }));
    say(at_once, "message_stop", json!({}));
    chunks
}

fn message(ask: &Ask, number: usize, content: &Value, stop_reason: &Value) -> Value {
    json!({
        "id": format!("msg_stub{number:06}"),
        "type": "message",
        "role": "assistant",
        "model": ask.model,
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": null,
        "usage": {
            "input_tokens": 100,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": 20,
        },
    })
}

/// The answer in one piece.
pub fn whole(answer: &Answer, ask: &Ask, number: usize) -> Value {
    let (content, stop) = match answer {
        Answer::Say { text, .. } => (json!([{ "type": "text", "text": text }]), "end_turn"),
        Answer::UseTool { tool, input } => {
            let id = format!("toolu_stub{number:06}");
            (json!([{ "type": "tool_use", "id": id, "name": tool, "input": input }]), "tool_use")
        }
        Answer::Refuse { .. } | Answer::Hang => (json!([]), "end_turn"),
    };
    message(ask, number, &content, &stop.into())
}

/// The answer to `/v1/messages/count_tokens`: four bytes a token will do.
pub fn count_tokens(body: &Value) -> Value {
    json!({ "input_tokens": body.to_string().len() / 4 })
}
