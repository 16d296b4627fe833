//! Governance over HTTP, for agents that run elsewhere and for published clients.
//!
//! One place takes the key from a request and says whose it is ([`key::authenticate`], called only
//! here); everything behind it knows one organisation. Answers are JSON, refusals one sentence.
//! It listens on loopback only: there is no TLS here, so whoever wants to be reached from elsewhere
//! puts a proxy that has it in front. Left out: `PostgreSQL`, JWT, webhooks, request signatures.

pub mod action;
pub mod desk;
pub mod json;
pub mod judge;
pub mod key;
pub mod log;
pub mod metrics;
pub mod refusal;
pub mod registry;
pub mod route;
#[cfg(test)]
mod tests;
pub mod topology;

use std::collections::BTreeMap;
use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequestParts as _, RawPathParams, Request};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodFilter, on};
use axum::serve::ListenerExt as _;
use serde_json::{Map, Value};

use self::desk::{Call, Caller, Desk, Lane, Lanes};
use self::metrics::Metrics;
use self::refusal::Refusal;
use self::route::{Answer, Open, ROUTES, Route, Verb};
use crate::govern::classes::{ClassesError, Table};
use crate::run::governance::GovernanceError;
use crate::run::project::Project;
use crate::sys::clock;

const BODY_BYTES_MAX: usize = 1 << 20;
/// A body that takes longer is given up.
const BODY_WAIT: Duration = Duration::from_secs(5);
/// Longer than any lane but the slow one takes; published clients give up after 5 s.
const ANSWER_WAIT: Duration = Duration::from_secs(10);
const SLOW_WAIT: Duration = Duration::from_secs(60);
/// How long connections may take to end.
const END_WAIT: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("`{0}` is not an address of this machine alone, and there is no TLS here")]
    NotLoopback(SocketAddr),
    #[error("cannot listen on {address}")]
    Listen {
        address: SocketAddr,
        #[source]
        cause: std::io::Error,
    },
    #[error("cannot start the server")]
    Start(#[source] std::io::Error),
    #[error(transparent)]
    Governance(#[from] GovernanceError),
    #[error("cannot read the table of action classes")]
    ReadClasses(#[source] std::io::Error),
    #[error(transparent)]
    Classes(#[from] ClassesError),
}

struct Shared {
    lanes: Lanes,
    metrics: Metrics,
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    end: Option<tokio::sync::oneshot::Sender<()>>,
    threads: Vec<JoinHandle<()>>,
}

impl Server {
    /// Listens on `listen`, which must be loopback; port 0 takes a free one.
    pub fn start(project: Project, listen: SocketAddr) -> Result<Self, ServeError> {
        if !listen.ip().is_loopback() {
            return Err(ServeError::NotLoopback(listen));
        }
        let table = match &project.config.governance.classes {
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(ServeError::ReadClasses)?;
                Table::extended(&text)?
            }
            None => Table::shipped().clone(),
        };
        let (project, table) = (Arc::new(project), Arc::new(table));
        let mut secret = [0; 32];
        let random = std::fs::File::open("/dev/urandom");
        random.and_then(|mut file| file.read_exact(&mut secret)).map_err(ServeError::Start)?;
        let (lanes, mut threads) =
            Lanes::start(&Arc::new(move || Desk::open(&project, &table, secret)))?;
        let failed = |cause| ServeError::Listen { address: listen, cause };
        let listener = std::net::TcpListener::bind(listen).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(ServeError::Start)?;
        let (end, ended) = tokio::sync::oneshot::channel();
        let shared = Arc::new(Shared { lanes, metrics: Metrics::default() });
        threads.insert(
            0,
            std::thread::spawn(move || {
                runtime.block_on(run(listener, router(&shared), ended));
                // What was accepted is answered or recorded: the lanes end when all that waits is done.
                drop(shared);
                runtime.shutdown_background();
            }),
        );
        Ok(Self { address, end: Some(end), threads })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more connections, answers what was asked, and ends.
    pub fn stop(mut self) {
        self.finish();
    }

    fn finish(&mut self) {
        if let Some(end) = self.end.take() {
            // A server that ended by itself needs no telling.
            let _ = end.send(());
        }
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.finish();
    }
}

async fn run(
    listener: std::net::TcpListener,
    router: Router,
    ended: tokio::sync::oneshot::Receiver<()>,
) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
    // Head and body of an answer are two writes; waiting between them costs clients 40 ms a call.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    let (told, last) = tokio::sync::oneshot::channel::<()>();
    let serving = axum::serve(listener, router).with_graceful_shutdown(async move {
        drop(ended.await);
        drop(told);
    });
    let patience = async move {
        drop(last.await);
        tokio::time::sleep(END_WAIT).await;
    };
    tokio::select! {
        _ = serving => {}
        () = patience => tracing::warn!("connections that did not end in time were cut off"),
    }
}

fn router(shared: &Arc<Shared>) -> Router {
    let mut router = Router::new();
    for route in ROUTES {
        let filter = match route.verb {
            Verb::Get => MethodFilter::GET,
            Verb::Post => MethodFilter::POST,
            Verb::Put => MethodFilter::PUT,
            Verb::Delete => MethodFilter::DELETE,
        };
        let shared = Arc::clone(shared);
        let serve = move |request: Request| serve(Arc::clone(&shared), route, request);
        router = router.route(route.path, on(filter, serve));
    }
    let (lost, wrong) = (Arc::clone(shared), Arc::clone(shared));
    router
        .fallback(move || {
            std::future::ready(refused(&lost, &Refusal::new(404, "there is no such endpoint")))
        })
        .method_not_allowed_fallback(move || {
            std::future::ready(refused(
                &wrong,
                &Refusal::new(405, "this endpoint has other methods"),
            ))
        })
}

fn refused(shared: &Shared, refusal: &Refusal) -> Response {
    finished(shared, refusal.status, &refusal.body(), None)
}

async fn serve(shared: Arc<Shared>, route: &'static Route, request: Request) -> Response {
    let correlation_id = correlation(request.headers());
    let echo = correlation_id.as_ref().ok().cloned().flatten();
    let answered = match correlation_id {
        Ok(id) => answer(&shared, route, request, id).await,
        Err(refusal) => Err(refusal),
    };
    match answered {
        Ok(body) => finished(&shared, 200, &body, echo.as_deref()),
        Err(refusal) => finished(&shared, refusal.status, &refusal.body(), echo.as_deref()),
    }
}

async fn answer(
    shared: &Arc<Shared>,
    route: &'static Route,
    request: Request,
    correlation_id: Option<String>,
) -> Result<Value, Refusal> {
    let (lane, scopes, handler) = match route.answer {
        Answer::Desk(lane, scopes, handler) => (lane, scopes, handler),
        Answer::Open(open) => return open_answer(shared, open).await,
        Answer::Absent => (Lane::Read, &key::Scope::ALL[..], not_here as fn(&mut Desk, &Call) -> _),
    };
    let key = key_of(request.headers())?;
    let (mut parts, body) = request.into_parts();
    let params = RawPathParams::from_request_parts(&mut parts, &()).await;
    let params = params.map_err(|_| Refusal::absent())?;
    let path = params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let query = query(parts.uri.query().unwrap_or_default())?;
    let body = body_of(&parts.headers, body).await?;
    let wait = if lane == Lane::Slow { SLOW_WAIT } else { ANSWER_WAIT };
    on_lane(shared, lane, wait, move |desk| {
        let now = clock::now();
        let caller = authenticated(desk, &key, now)?;
        if !scopes.contains(&caller.scope) {
            return Err(Refusal::forbidden("the scope of this key does not allow this"));
        }
        let call = Call { caller, path, query, body, correlation_id, now };
        handler(desk, &call)
    })
    .await
}

fn not_here(_desk: &mut Desk, _call: &Call) -> Result<Value, Refusal> {
    Err(Refusal::new(501, "this server does not have this part of the API"))
}

/// The one place where a request gets an identity.
fn authenticated(
    desk: &mut Desk,
    key: &str,
    now: crate::base::now::Now,
) -> Result<Caller, Refusal> {
    let found = desk.key(key, now)?;
    let key = found.ok_or_else(|| Refusal::new(401, "this API key is not valid"))?;
    Ok(Caller { org: key.org, scope: key.scope, key_id: key.id, agent: key.agent })
}

async fn open_answer(shared: &Arc<Shared>, open: Open) -> Result<Value, Refusal> {
    match open {
        Open::Health => Ok(serde_json::json!({ "status": "ok", "version": crate::VERSION })),
        Open::Metrics => Ok(Value::String(shared.metrics.render())),
        Open::Description => Ok(route::description()),
        Open::Ready => {
            on_lane(shared, Lane::Write, ANSWER_WAIT, |desk| {
                desk.policies.refresh();
                key::orgs(desk.governance.store())?;
                // The alarm's text may name files: it is shown to those who run the server.
                let degraded = desk.policies.in_force().alarm.is_some();
                Ok(serde_json::json!({ "status": "ready", "policies_degraded": degraded }))
            })
            .await
        }
    }
}

async fn on_lane(
    shared: &Arc<Shared>,
    lane: Lane,
    wait: Duration,
    work: impl FnOnce(&mut Desk) -> Result<Value, Refusal> + Send + 'static,
) -> Result<Value, Refusal> {
    let (answer, receive) = tokio::sync::oneshot::channel();
    let job = desk::Job { work: Box::new(work), answer };
    shared
        .lanes
        .send(lane, job)
        .map_err(|desk::Crowded| Refusal::new(429, "too many requests wait"))?;
    match tokio::time::timeout(wait, receive).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => Err(Refusal::forbidden("this request could not be served, so it is refused")),
        Err(_) => Err(Refusal::forbidden("this was not decided in time, so it is refused")),
    }
}

/// `X-API-Key` before `Authorization`: some clients send a masked bearer beside the real key.
fn key_of(headers: &HeaderMap) -> Result<String, Refusal> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let bearer = || text("authorization").and_then(|value| value.strip_prefix("Bearer "));
    let key = text("x-api-key").or_else(bearer).map(str::trim).filter(|key| key.len() <= 256);
    key.map(str::to_owned).ok_or_else(|| Refusal::new(401, "this needs an API key in `X-API-Key`"))
}

fn correlation(headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let Some(value) = headers.get("x-correlation-id") else { return Ok(None) };
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
    let text = value
        .to_str()
        .ok()
        .filter(|text| !text.is_empty() && text.len() <= 128 && text.bytes().all(fits));
    match text {
        Some(text) => Ok(Some(text.to_owned())),
        None => Err(Refusal::new(400, "X-Correlation-ID must be 1 to 128 of A-Z a-z 0-9 . _ : -")),
    }
}

async fn body_of(headers: &HeaderMap, body: Body) -> Result<Map<String, Value>, Refusal> {
    let bytes =
        match tokio::time::timeout(BODY_WAIT, axum::body::to_bytes(body, BODY_BYTES_MAX)).await {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(_)) => {
                return Err(Refusal::new(
                    413,
                    format!("the body has more than {BODY_BYTES_MAX} bytes or broke off"),
                ));
            }
            Err(_) => return Err(Refusal::new(408, "the body did not come in time")),
        };
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let json = kind
        .and_then(|kind| kind.split(';').next())
        .is_some_and(|kind| kind.trim() == "application/json");
    if !bytes.is_empty() && !json {
        return Err(Refusal::new(415, "the body must be application/json"));
    }
    json::object(&bytes)
        .map_err(|why| Refusal::new(400, format!("the body is no JSON object: {why}")))
}

/// `a=b&c=d`, decoded; a name given twice has no one meaning.
fn query(text: &str) -> Result<BTreeMap<String, String>, Refusal> {
    let mut found = BTreeMap::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (Some(name), Some(value)) = (decoded(name), decoded(value)) else {
            return Err(Refusal::new(400, "the query is not properly encoded"));
        };
        if found.insert(name.clone(), value).is_some() {
            return Err(Refusal::new(400, format!("`{name}` is given twice")));
        }
    }
    Ok(found)
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                let (high, low) = (digit(rest.next())?, digit(rest.next())?);
                u8::try_from(high * 16 + low).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

/// The answer with the headers that all answers have.
fn finished(shared: &Shared, status: u16, body: &Value, correlation_id: Option<&str>) -> Response {
    shared.metrics.count(status, body);
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::FORBIDDEN);
    let (kind, text) = match body {
        Value::String(text) => ("text/plain; charset=utf-8", text.clone()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            ("application/json", body.to_string())
        }
    };
    let mut response = (status, text).into_response();
    let headers = response.headers_mut();
    let fixed = [
        (header::CONTENT_TYPE, kind),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if status == StatusCode::TOO_MANY_REQUESTS {
        // Clients sleep this long inside their own thread, three times: never more than a second.
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if let Some(id) = correlation_id.and_then(|id| HeaderValue::from_str(id).ok()) {
        headers.insert("x-correlation-id", id);
    }
    response
}
