//! A model server on loopback with scripted answers: the real CLIs run against it with no account and no cost.
//!
//! It speaks as much of Anthropic's, OpenAI's and Google's protocols as the CLIs use, and keeps every request, so that it
//! can be said what the model really got. It thinks nothing, counts no tokens, and checks no key.

pub mod anthropic;
pub mod gemini;
pub mod home;
pub mod openai;
pub mod script;
pub mod stream;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::Value;

pub use self::script::{Answer, Ask, Play, Rule, Script};
use self::stream::Chunk;
use crate::base::now::Mono;
use crate::sys::clock;

/// More than any CLI sends; the server's own default is too small for a long conversation.
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// One request as it came.
#[derive(Debug, Clone)]
pub struct Request {
    pub path: String,
    pub body: Value,
    pub ask: Ask,
    pub at: Mono,
    /// When the last piece of the answer had gone out.
    pub answered: Option<Mono>,
}

/// Why the stub did not start.
#[derive(Debug, thiserror::Error)]
#[error("cannot start the stub model server on loopback")]
pub struct StubError(#[source] std::io::Error);

#[derive(Debug, Default)]
struct Shared {
    play: Play,
    requests: Vec<Request>,
}

/// A running server; it ends when this is dropped.
#[derive(Debug)]
pub struct StubModel {
    address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
    end: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl StubModel {
    /// Listens on a free port of 127.0.0.1.
    pub fn start(script: Script) -> Result<Self, StubError> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(StubError)?;
        listener.set_nonblocking(true).map_err(StubError)?;
        let address = listener.local_addr().map_err(StubError)?;
        let shared = Arc::new(Mutex::new(Shared { play: Play::new(script), requests: Vec::new() }));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(StubError)?;
        let (end, ended) = tokio::sync::oneshot::channel();
        let router = Router::new().fallback(serve).with_state(Arc::clone(&shared));
        let thread = std::thread::spawn(move || {
            runtime.block_on(async move {
                let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
                // Whatever hangs is cut off with the runtime: no graceful end.
                tokio::select! {
                    _ = axum::serve(listener, router) => {}
                    _ = ended => {}
                }
            });
            runtime.shutdown_background();
        });
        Ok(Self { address, shared, end: Some(end), thread: Some(thread) })
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Other answers from now on.
    pub fn play(&self, script: Script) {
        lock(&self.shared).play = Play::new(script);
    }

    /// One rule for all turns from now on.
    pub fn always(&self, answer: Answer) {
        self.play(Script { rules: vec![Rule { when: None, times: None, answer }] });
    }

    /// Everything that was asked so far.
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.shared).requests.clone()
    }

    /// The turns of the agent among them, without what the CLI asked beside.
    pub fn turns(&self) -> Vec<Request> {
        let mut requests = self.requests();
        requests.retain(|request| request.ask.with_tools);
        requests
    }
}

impl Drop for StubModel {
    fn drop(&mut self) {
        if let Some(end) = self.end.take() {
            // A server that ended by itself needs no telling.
            let _ = end.send(());
        }
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    Messages,
    Chat,
    Responses,
    Google,
}

async fn serve(
    State(shared): State<Arc<Mutex<Shared>>>,
    method: Method,
    uri: Uri,
    body: Body,
) -> Response {
    let bytes = axum::body::to_bytes(body, BODY_BYTES_MAX).await.unwrap_or_else(|_| Bytes::new());
    let body: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    let path = uri.path().to_owned();
    let dialect = match path.as_str() {
        _ if method != Method::POST => None,
        path if path.ends_with("/messages") => Some(Dialect::Messages),
        path if path.ends_with("/chat/completions") => Some(Dialect::Chat),
        path if path.ends_with("/responses") => Some(Dialect::Responses),
        path if path.ends_with("enerateContent") => Some(Dialect::Google),
        _ => None,
    };
    let ask = match dialect {
        Some(Dialect::Messages) => anthropic::ask(&body),
        Some(Dialect::Chat) => openai::ask_chat(&body),
        Some(Dialect::Responses) => openai::ask_responses(&body),
        Some(Dialect::Google) => gemini::ask(&path, &body),
        None => Ask::default(),
    };
    let (number, answer) = {
        let mut shared = lock(&shared);
        let answer = dialect.map(|_| shared.play.answer(&ask));
        let request = Request {
            path: path.clone(),
            body: body.clone(),
            ask: ask.clone(),
            at: clock::now().mono,
            answered: None,
        };
        shared.requests.push(request);
        (shared.requests.len() - 1, answer)
    };
    let Some((dialect, answer)) = dialect.zip(answer) else { return aside(&path, &body) };
    if let Answer::Refuse { status, headers, body } = &answer {
        finished(&shared, number);
        return refusal(*status, headers, body);
    }
    if !ask.stream && dialect != Dialect::Responses {
        finished(&shared, number);
        let whole = match dialect {
            Dialect::Messages => anthropic::whole(&answer, &ask, number),
            Dialect::Chat | Dialect::Responses => openai::whole_chat(&answer, &ask, number),
            Dialect::Google => gemini::whole(&answer, &ask),
        };
        return axum::Json(whole).into_response();
    }
    let chunks: Vec<Chunk> = match dialect {
        Dialect::Messages => anthropic::stream(&answer, &ask, number),
        Dialect::Chat => openai::stream_chat(&answer, &ask, number),
        Dialect::Responses => openai::stream_responses(&answer, &ask, number),
        Dialect::Google => gemini::stream(&answer, &ask),
    };
    let pieces = stream::play(chunks, move || finished(&shared, number));
    ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(pieces)).into_response()
}

/// What is no model call: token counts and model lists; anything else is not here.
fn aside(path: &str, body: &Value) -> Response {
    if path.ends_with(":countTokens") {
        return axum::Json(serde_json::json!({ "totalTokens": 100 })).into_response();
    }
    if path.ends_with("/count_tokens") {
        return axum::Json(anthropic::count_tokens(body)).into_response();
    }
    if path.ends_with("/models") {
        return axum::Json(serde_json::json!({ "object": "list", "data": [] })).into_response();
    }
    (StatusCode::NOT_FOUND, axum::Json(serde_json::json!({ "error": { "message": "not here" } })))
        .into_response()
}

fn refusal(
    status: u16,
    headers: &std::collections::BTreeMap<String, String>,
    body: &Value,
) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) =
            (HeaderName::try_from(name.as_str()), HeaderValue::try_from(value.as_str()))
        {
            map.insert(name, value);
        }
    }
    (status, map, axum::Json(body.clone())).into_response()
}

fn finished(shared: &Mutex<Shared>, number: usize) {
    if let Some(request) = lock(shared).requests.get_mut(number) {
        request.answered = Some(clock::now().mono);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    /// One HTTP call, read to its end.
    fn call(stub: &StubModel, path: &str, body: &Value) -> String {
        let body = body.to_string();
        let mut connection = std::net::TcpStream::connect(stub.address).unwrap();
        write!(
            connection,
            "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut text = String::new();
        connection.read_to_string(&mut text).unwrap();
        text
    }

    fn turn(text: &str) -> Value {
        serde_json::json!({
            "model": "m", "stream": true, "tools": [{ "name": "Bash" }],
            "messages": [{ "role": "user", "content": text }],
        })
    }

    #[test]
    fn a_turn_is_streamed_recorded_and_marked_as_answered() {
        let stub = StubModel::start(Script::default()).unwrap();
        let said = call(&stub, "/v1/messages?beta=true", &turn("hello"));
        assert!(said.starts_with("HTTP/1.1 200"), "{said}");
        assert!(said.contains("event: message_start") && said.contains("event: message_stop"));
        let turns = stub.turns();
        assert_eq!(turns[0].ask.user_texts, ["hello"]);
        assert!(turns[0].answered.is_some());
    }

    #[test]
    fn a_limit_carries_its_headers() {
        let stub = StubModel::start(Script::default()).unwrap();
        stub.always(Answer::usage_limit("five_hour", 1_800_000_000));
        let said = call(&stub, "/v1/messages", &turn("hello"));
        assert!(said.starts_with("HTTP/1.1 429"), "{said}");
        assert!(said.contains("anthropic-ratelimit-unified-reset: 1800000000"), "{said}");
    }

    #[test]
    fn a_server_that_hangs_ends_all_the_same() {
        let stub = StubModel::start(Script::default()).unwrap();
        stub.always(Answer::Hang);
        let mut connection = std::net::TcpStream::connect(stub.address).unwrap();
        let body = turn("hello").to_string();
        write!(
            connection,
            "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut first = [0; 12];
        connection.read_exact(&mut first).unwrap();
        assert_eq!(&first, b"HTTP/1.1 200");
        drop(stub);
    }
}
