//! OpenAI's two protocols: chat completions (opencode) and responses (Codex).

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use super::script::{Answer, Ask};
use super::stream::{Chunk, HANG, words};

/// Reads the body of `/chat/completions`.
pub fn ask_chat(body: &Value) -> Ask {
    let messages = body["messages"].as_array().map_or(&[][..], Vec::as_slice);
    let users = messages.iter().filter(|message| message["role"] == "user");
    Ask {
        model: body["model"].as_str().unwrap_or_default().to_owned(),
        user_texts: users.map(|message| text_of(&message["content"])).collect(),
        after_tool: messages.last().is_some_and(|message| message["role"] == "tool"),
        with_tools: body["tools"].as_array().is_some_and(|tools| !tools.is_empty()),
        stream: body["stream"] == true,
    }
}

/// Reads the body of `/responses`.
pub fn ask_responses(body: &Value) -> Ask {
    let items = body["input"].as_array().map_or(&[][..], Vec::as_slice);
    let users = items.iter().filter(|item| item["role"] == "user");
    let after_tool = items.last().is_some_and(|item| {
        item["type"].as_str().is_some_and(|kind| kind.ends_with("_call_output"))
    });
    Ask {
        model: body["model"].as_str().unwrap_or_default().to_owned(),
        user_texts: users.map(|item| text_of(&item["content"])).collect(),
        after_tool,
        with_tools: body["tools"].as_array().is_some_and(|tools| !tools.is_empty()),
        stream: body["stream"] == true,
    }
}

fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let texts = parts.iter().filter_map(|part| part["text"].as_str());
            texts.collect::<Vec<_>>().join("\n")
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => String::new(),
    }
}

fn usage() -> Value {
    json!({ "prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120 })
}

/// A chat completion as server-sent events.
pub fn stream_chat(answer: &Answer, ask: &Ask, number: usize) -> Vec<Chunk> {
    let piece = |delta: Value, reason: Value| {
        let data = json!({
            "id": format!("chatcmpl-stub{number:06}"),
            "object": "chat.completion.chunk",
            "created": 1_700_000_000,
            "model": ask.model,
            "choices": [{ "index": 0, "delta": delta, "finish_reason": reason }],
        });
        format!("data: {data}\n\n")
    };
    let mut chunks =
        vec![Chunk::now(piece(json!({ "role": "assistant", "content": "" }), Value::Null))];
    let mut reason = "stop";
    match answer {
        Answer::Say { text, thinking, pause_ms } => {
            let wait = Duration::from_millis(*pause_ms);
            if let Some(thinking) = thinking {
                let delta = json!({ "reasoning_content": thinking });
                chunks.push(Chunk { wait, text: piece(delta, Value::Null) });
            }
            for word in words(text) {
                let delta = json!({ "content": word });
                chunks.push(Chunk { wait, text: piece(delta, Value::Null) });
            }
        }
        Answer::UseTool { tool, input } => {
            let call = json!({
                "index": 0,
                "id": format!("call_stub{number:06}"),
                "type": "function",
                "function": { "name": tool, "arguments": input.to_string() },
            });
            chunks.push(Chunk::now(piece(json!({ "tool_calls": [call] }), Value::Null)));
            reason = "tool_calls";
        }
        Answer::Hang | Answer::Refuse { .. } => {
            chunks.push(Chunk { wait: HANG, text: piece(json!({ "content": "" }), Value::Null) });
        }
    }
    let mut last = piece(json!({}), reason.into());
    let total = json!({
        "id": format!("chatcmpl-stub{number:06}"),
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": ask.model,
        "choices": [],
        "usage": usage(),
    });
    write!(last, "data: {total}\n\ndata: [DONE]\n\n").expect("a String takes any text");
    chunks.push(Chunk::now(last));
    chunks
}

/// A chat completion in one piece.
pub fn whole_chat(answer: &Answer, ask: &Ask, number: usize) -> Value {
    let text = match answer {
        Answer::Say { text, .. } => text.as_str(),
        Answer::UseTool { .. } | Answer::Refuse { .. } | Answer::Hang => "",
    };
    json!({
        "id": format!("chatcmpl-stub{number:06}"),
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": ask.model,
        "choices": [{
            "index": 0,
            "message": { "role": "assistant", "content": text },
            "finish_reason": "stop",
        }],
        "usage": usage(),
    })
}

/// A response as server-sent events. Codex takes no other form.
pub fn stream_responses(answer: &Answer, ask: &Ask, number: usize) -> Vec<Chunk> {
    let id = format!("resp_stub{number:06}");
    let event = |mut data: Value, name: &str| {
        data["type"] = name.into();
        format!("event: {name}\ndata: {data}\n\n")
    };
    let created = json!({ "response": { "id": id, "model": ask.model, "status": "in_progress" } });
    let mut chunks = vec![Chunk::now(event(created, "response.created"))];
    let item_id = format!("item_stub{number:06}");
    match answer {
        Answer::Say { text, thinking: _, pause_ms } => {
            let wait = Duration::from_millis(*pause_ms);
            let item = |content: Value| json!({ "type": "message", "id": item_id, "role": "assistant", "status": "completed", "content": content });
            let added = json!({ "output_index": 0, "item": item(json!([])) });
            chunks.push(Chunk { wait, text: event(added, "response.output_item.added") });
            for word in words(text) {
                let delta = json!({ "output_index": 0, "content_index": 0, "item_id": item_id, "delta": word });
                chunks.push(Chunk { wait, text: event(delta, "response.output_text.delta") });
            }
            let content = json!([{ "type": "output_text", "text": text, "annotations": [] }]);
            let done = json!({ "output_index": 0, "item": item(content) });
            chunks.push(Chunk::now(event(done, "response.output_item.done")));
        }
        Answer::UseTool { tool, input } => {
            let item = json!({
                "type": "function_call",
                "id": item_id,
                "call_id": format!("call_stub{number:06}"),
                "name": tool,
                "arguments": input.to_string(),
                "status": "completed",
            });
            let done = json!({ "output_index": 0, "item": item });
            chunks.push(Chunk::now(event(done, "response.output_item.done")));
        }
        Answer::Hang | Answer::Refuse { .. } => {
            chunks.push(Chunk { wait: HANG, text: ": nothing\n\n".to_owned() });
        }
    }
    let usage = json!({
        "input_tokens": 100,
        "input_tokens_details": { "cached_tokens": 0 },
        "output_tokens": 20,
        "output_tokens_details": { "reasoning_tokens": 0 },
        "total_tokens": 120,
    });
    let completed = json!({ "response": { "id": id, "model": ask.model, "status": "completed", "usage": usage } });
    chunks.push(Chunk::now(event(completed, "response.completed")));
    chunks
}
