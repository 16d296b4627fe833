//! Governance over HTTP, for agents that run elsewhere and for published clients.
//!
//! One place takes the key from a request and says whose it is ([`key::authenticate`], called only
//! here); everything behind it knows one organisation. Answers are JSON, refusals one sentence.
//! Without TLS, its own or that of a proxy in front, it listens on loopback only.

pub mod action;
pub mod broken;
pub mod command;
pub mod deliver;
pub mod desk;
pub mod flush;
pub mod gate;
pub mod json;
pub mod judge;
pub mod keep;
pub mod key;
pub mod line;
pub mod log;
pub mod metrics;
pub mod openapi;
pub mod peers;
pub mod person;
pub mod refusal;
pub mod registry;
pub mod route;
pub mod seal;
mod shown;
pub mod signature;
#[cfg(test)]
mod tests;
pub mod tls;
pub mod topology;
pub mod webhook;

use std::collections::BTreeMap;
use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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

use self::broken::Broken;
use self::desk::{Call, Caller, Desk, Hint, Lane, Lanes, Reply};
use self::keep::Kept;
use self::metrics::Metrics;
use self::person::{Issuers, PersonError};
use self::refusal::Refusal;
use self::route::{Answer, Handler, Open, ROUTES, Route, Verb};
use self::signature::Sent;
use crate::govern::classes::{ClassesError, Table};
use crate::run::governance::{Governance, GovernanceError};
use crate::run::project::Project;
use crate::sys::clock;
use crate::sys::db::postgres::Listener;
use crate::sys::http::{Client, HttpError};

const BODY_BYTES_MAX: usize = 1 << 20;
/// Of an API key or a token.
const CREDENTIAL_BYTES_MAX: usize = 4_096;
/// A body that takes longer is given up.
const BODY_WAIT: Duration = Duration::from_secs(5);
/// Longer than any lane but the slow one takes; published clients give up after 5 s.
const ANSWER_WAIT: Duration = Duration::from_secs(10);
const SLOW_WAIT: Duration = Duration::from_secs(60);
/// How long connections may take to end.
const END_WAIT: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(
        "`{0}` is not an address of this machine alone, and without TLS keys could be read on the way"
    )]
    NotLoopback(SocketAddr),
    #[error("cannot listen on {address}")]
    Listen {
        address: SocketAddr,
        #[source]
        cause: std::io::Error,
    },
    #[error("cannot start the server")]
    Start(#[source] std::io::Error),
    #[error("cannot make requests of its own, which webhooks need")]
    Client(#[source] HttpError),
    #[error(transparent)]
    Governance(#[from] GovernanceError),
    #[error("cannot read the table of action classes")]
    ReadClasses(#[source] std::io::Error),
    #[error(transparent)]
    People(#[from] PersonError),
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
    #[error(transparent)]
    Classes(#[from] ClassesError),
    #[error("the server's thread `{0}` ended, so all of it does; the log says why")]
    Broken(&'static str),
}

struct Shared {
    lanes: Lanes,
    /// Whether the store is asked over a connection, many things at once.
    looks_ahead: bool,
    metrics: Metrics,
}

/// Where a server listens, and how.
#[derive(Debug, Clone)]
pub struct Door {
    pub listen: SocketAddr,
    pub tls: Option<tls::Files>,
    /// Something in front speaks TLS, so that this may be reached from elsewhere without.
    pub behind_proxy: bool,
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    end: Option<tokio::sync::oneshot::Sender<()>>,
    /// Where the store is shared with other servers.
    listener: Option<Listener>,
    /// The webhooks' worker ends when this is dropped.
    telling: Option<std::sync::mpsc::Sender<()>>,
    threads: Vec<JoinHandle<()>>,
    broken: Broken,
}

impl Server {
    /// Listens on `listen`, which must be loopback; port 0 takes a free one.
    pub fn start(project: Project, listen: SocketAddr) -> Result<Self, ServeError> {
        Self::open(project, Door { listen, tls: None, behind_proxy: false })
    }

    /// Listens as `door` says.
    pub fn open(project: Project, door: Door) -> Result<Self, ServeError> {
        let Door { listen, tls, behind_proxy } = door;
        if !listen.ip().is_loopback() && tls.is_none() && !behind_proxy {
            return Err(ServeError::NotLoopback(listen));
        }
        let certificate = tls.map(tls::Certificate::read).transpose()?.map(Arc::new);
        let table = match &project.config.governance.classes {
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(ServeError::ReadClasses)?;
                Table::extended(&text)?
            }
            None => Table::shipped().clone(),
        };
        let operator = Governance::operator_for(&project)?;
        let server_key = operator.server_key().map_err(GovernanceError::Operator)?;
        let people = project.config.serve.people.as_ref();
        let issuers = Arc::new(Issuers::read(&server_key, people)?);
        let client = Client::new(webhook::reach(&project.config)).map_err(ServeError::Client)?;
        let (project, table) = (Arc::new(project), Arc::new(table));
        let shared_project = Arc::clone(&project);
        let mut secret = [0; 32];
        let random = std::fs::File::open("/dev/urandom");
        random.and_then(|mut file| file.read_exact(&mut secret)).map_err(ServeError::Start)?;
        let (post, posted) = tokio::sync::mpsc::unbounded_channel();
        let open: Arc<keep::Open<Desk>> =
            Arc::new(move || Desk::open(&project, &table, secret, &issuers));
        let (lanes, mut threads) = Lanes::start(&open, &post)?;
        let failed = |cause| ServeError::Listen { address: listen, cause };
        let listener = std::net::TcpListener::bind(listen).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(ServeError::Start)?;
        let (end, ended) = tokio::sync::oneshot::channel();
        let heard = hear(&shared_project, &lanes)?;
        let looks_ahead = heard.is_some();
        let shared = Arc::new(Shared { lanes, looks_ahead, metrics: Metrics::default() });
        let broken = Broken::default();
        let speak = move || {
            runtime.spawn(flush::hand_out(posted));
            let told = runtime.block_on(run(listener, certificate, router(&shared), ended));
            // What was accepted is answered or recorded: the lanes end when all that waits is done.
            drop(shared);
            runtime.shutdown_background();
            told
        };
        threads.insert(0, broken.watch("ao-http", speak).map_err(ServeError::Start)?);
        let (telling, told) = std::sync::mpsc::channel();
        let governance: Arc<keep::Open<Governance>> =
            Arc::new(move || Governance::open(&shared_project));
        let tell = move || {
            deliver::keep(Kept::later(&governance), server_key, &client, &told);
            true
        };
        threads.push(broken.watch("ao-webhooks", tell).map_err(ServeError::Start)?);
        Ok(Self {
            address,
            end: Some(end),
            listener: heard,
            telling: Some(telling),
            threads,
            broken,
        })
    }

    /// Calls `tell` when a part of the server ended that cannot begin anew: it serves nobody any more.
    pub fn when_broken(&self, tell: impl FnOnce() + Send + 'static) {
        self.broken.tell(tell);
    }

    /// Whether that is so, as an error.
    pub fn broken(&self) -> Option<ServeError> {
        self.broken.thread().map(ServeError::Broken)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more connections, answers what was asked, and ends.
    pub fn stop(mut self) {
        self.finish();
    }

    fn finish(&mut self) {
        drop(self.telling.take());
        if let Some(end) = self.end.take() {
            // A server that ended by itself needs no telling.
            let _ = end.send(());
        }
        // It holds a way into the lanes, which end when nobody does.
        self.listener = None;
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

/// Hears of kill switches and policies that other servers on the same database changed; `None` for a
/// store of this machine alone.
fn hear(project: &Project, lanes: &Lanes) -> Result<Option<Listener>, GovernanceError> {
    let Some(address) = Governance::server_of(project)? else { return Ok(None) };
    let lanes = lanes.clone();
    let changed = move || {
        let work = |desk: &mut Desk| {
            peers::look(desk);
            Ok(Reply::Value(Value::Null))
        };
        // Nobody waits for the answer.
        let (answer, _) = tokio::sync::oneshot::channel();
        let job = desk::Job { work: Box::new(work), answer, hint: None };
        let sent = lanes.send(Lane::Slow, job);
        if let Err(desk::Crowded) = sent {
            tracing::warn!("another server changed something, and too much waits to look at it");
        }
    };
    Ok(Some(Listener::start(address, changed)))
}

/// Whether it ended as it was told to.
async fn run(
    listener: std::net::TcpListener,
    certificate: Option<Arc<tls::Certificate>>,
    router: Router,
    ended: tokio::sync::oneshot::Receiver<()>,
) -> bool {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return false };
    if let Some(certificate) = certificate {
        let Ok(listener) = tls::Listener::new(listener, certificate) else { return false };
        return carry(listener, router, ended).await;
    }
    // Head and body of an answer are two writes; waiting between them costs clients 40 ms a call.
    carry(listener.tap_io(|stream| drop(stream.set_nodelay(true))), router, ended).await
}

async fn carry<L>(listener: L, router: Router, ended: tokio::sync::oneshot::Receiver<()>) -> bool
where
    L: axum::serve::Listener,
    L::Addr: std::fmt::Debug,
{
    let (told, last) = tokio::sync::oneshot::channel::<()>();
    let is_told = Arc::new(AtomicBool::new(false));
    let telling = Arc::clone(&is_told);
    let serving = axum::serve(listener, router).with_graceful_shutdown(async move {
        drop(ended.await);
        telling.store(true, Ordering::Release);
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
    is_told.load(Ordering::Acquire)
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
    finished(shared, refusal.status, Reply::Value(refusal.body()), None)
}

async fn serve(shared: Arc<Shared>, route: &'static Route, request: Request) -> Response {
    let correlation_id = correlation(request.headers());
    let echo = correlation_id.as_ref().ok().cloned().flatten();
    let answered = match correlation_id {
        Ok(id) => answer(&shared, route, request, id).await,
        Err(refusal) => Err(refusal),
    };
    match answered {
        Ok(body) => finished(&shared, 200, body, echo.as_deref()),
        Err(refusal) => {
            let body = Reply::Value(refusal.body());
            finished(&shared, refusal.status, body, echo.as_deref())
        }
    }
}

async fn answer(
    shared: &Arc<Shared>,
    route: &'static Route,
    request: Request,
    correlation_id: Option<String>,
) -> Result<Reply, Refusal> {
    let (lane, scopes, handler) = match route.answer {
        Answer::Desk(lane, scopes, handler) => (lane, scopes, handler),
        Answer::Open(open) => return open_answer(shared, open).await,
        Answer::Absent => (Lane::Read, &key::Scope::ALL[..], Handler::Plain(not_here)),
    };
    let key = key_of(request.headers())?;
    let (signature, timestamp) = signature::headers(request.headers())?;
    let (mut parts, body) = request.into_parts();
    let params = RawPathParams::from_request_parts(&mut parts, &()).await;
    let params = params.map_err(|_| Refusal::absent())?;
    let path: BTreeMap<String, String> =
        params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    if path.values().any(|value| value.contains('\0')) {
        return Err(Refusal::absent());
    }
    let query = query(parts.uri.query().unwrap_or_default())?;
    let (bytes, body) = body_of(&parts.headers, body).await?;
    let sent = Sent { signature, timestamp, body: bytes };
    let wait = if lane == Lane::Slow { SLOW_WAIT } else { ANSWER_WAIT };
    let hint = (shared.looks_ahead && lane == Lane::Write).then(|| {
        let agent = body.get("agent_id").and_then(Value::as_str).unwrap_or_default().to_owned();
        Hint { key: key.clone(), agent, correlation_id: correlation_id.clone() }
    });
    on_lane(shared, (lane, hint), wait, move |desk| {
        let now = clock::now();
        let caller = authenticated(desk, &key, &sent, now)?;
        if !scopes.contains(&caller.scope) {
            return Err(Refusal::forbidden("the scope of this key does not allow this"));
        }
        let call = Call { caller, path, query, body, correlation_id, now };
        handler.answer(desk, &call)
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
    sent: &Sent,
    now: crate::base::now::Now,
) -> Result<Caller, Refusal> {
    if key.contains('.') {
        let person = desk.issuers.verify(key, now.wall);
        let person = person.ok_or_else(|| Refusal::new(401, "this token is not valid"))?;
        if sent.signature.is_some() {
            return Err(Refusal::new(401, "`X-Signature` goes with an API key"));
        }
        let (org, scope) = (person.org.clone(), person.role.scope());
        let (key_id, agent, person) = (String::new(), None, Some(person));
        return Ok(Caller { org, scope, key_id, agent, person });
    }
    let found = desk.key(key, now)?;
    let key = found.ok_or_else(|| Refusal::new(401, "this API key is not valid"))?;
    // Without a signature there is nothing to check, unless the key demands one.
    if key.signed || sent.signature.is_some() {
        let secret = signature::secret(&desk.server_key, &key.id);
        signature::check(key.signed, &secret, sent, now.wall)?;
    }
    Ok(Caller { org: key.org, scope: key.scope, key_id: key.id, agent: key.agent, person: None })
}

async fn open_answer(shared: &Arc<Shared>, open: Open) -> Result<Reply, Refusal> {
    let value = match open {
        Open::Health => serde_json::json!({ "status": "ok", "version": crate::VERSION }),
        Open::Metrics => Value::String(shared.metrics.render()),
        Open::Description => openapi::description(),
        Open::Ready => return ready(shared).await,
    };
    Ok(Reply::Value(value))
}

/// 503 as long as anything is missing that decisions need: who asks this sends no actions.
async fn ready(shared: &Arc<Shared>) -> Result<Reply, Refusal> {
    let not_ready = |detail: &str| Refusal::new(503, detail);
    if !shared.lanes.are_open() {
        return Err(not_ready("the store is away"));
    }
    let asked = on_lane(shared, (Lane::Write, None), ANSWER_WAIT, |desk| {
        desk.policies.refresh();
        key::orgs(desk.governance.store())?;
        // The alarm's text may name files: it is shown to those who run the server.
        let degraded = desk.policies.in_force().alarm.is_some();
        let differ = peers::differ(desk)?;
        Ok(Reply::Value(serde_json::json!({
            "status": "ready", "policies_degraded": degraded, "policies_differ": differ,
        })))
    });
    asked.await.map_err(|_| not_ready("the store does not answer"))
}

async fn on_lane(
    shared: &Arc<Shared>,
    (lane, hint): (Lane, Option<Hint>),
    wait: Duration,
    work: impl FnOnce(&mut Desk) -> Result<Reply, Refusal> + Send + 'static,
) -> Result<Reply, Refusal> {
    let (answer, receive) = tokio::sync::oneshot::channel();
    let job = desk::Job { work: Box::new(work), answer, hint };
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
    let key = text("x-api-key")
        .or_else(bearer)
        .map(str::trim)
        .filter(|key| key.len() <= CREDENTIAL_BYTES_MAX);
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

async fn body_of(
    headers: &HeaderMap,
    body: Body,
) -> Result<(Vec<u8>, Map<String, Value>), Refusal> {
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
    let object = json::object(&bytes)
        .map_err(|why| Refusal::new(400, format!("the body is no JSON object: {why}")))?;
    Ok((bytes.into(), object))
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
    String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
}

/// The answer with the headers that all answers have.
fn finished(shared: &Shared, status: u16, body: Reply, correlation_id: Option<&str>) -> Response {
    let decision = match &body {
        Reply::Value(value) => value.get("decision").and_then(Value::as_str),
        Reply::Written { decision, .. } => Some(*decision),
    };
    shared.metrics.count(status, decision);
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::FORBIDDEN);
    let (kind, text) = match body {
        Reply::Value(Value::String(text)) => ("text/plain; charset=utf-8", text),
        Reply::Value(value) => ("application/json", value.to_string()),
        Reply::Written { text, .. } => ("application/json", text),
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
