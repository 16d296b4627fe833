//! Webhooks on their way: what the audit log recorded is told, again and again until it was heard.
//!
//! The log is the outbox. What is told was written in the same transaction as what it tells of, by
//! whichever process that was; each webhook remembers how far it has been told. So nothing is lost
//! and nothing is told that did not happen; after a crash something may be told twice, under the same
//! delivery id. Several servers on one store take turns, by a lease. Failures are tried again at
//! growing intervals beside what is new, then kept as dead letters.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use hyper::Method;
use ring::hmac;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::desk::Call;
use super::keep::Kept;
use super::key::{self, KeyError};
use super::seal;
use super::webhook::{DEAD, DEAD_MAX, Webhook, all};
use crate::base::now::Now;
use crate::govern::audit::{Draft, Kind, Record, hex};
use crate::run::governance::Governance;
use crate::sys::clock;
use crate::sys::db::rows::AuditQuery;
use crate::sys::db::{self, DbError, Tx};
use crate::sys::http::{Client, HttpError, Reach, Reply, Sending};

const STATE: &str = "webhook_state";
const POLL: Duration = Duration::from_millis(500);
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// A server that took a turn and died has it for so long.
const LEASE: TimeDelta = TimeDelta::seconds(60);
/// Records looked at, and deliveries tried, in one turn of one webhook.
const SCAN_MAX: usize = 500;
const TURN_MAX: usize = 16;
/// Failures that wait at once; more, and the oldest is given up.
const WAITING_MAX: usize = 200;
/// After the first try, the second and so on; then it is given up.
const AGAIN_AFTER_SECONDS: [i64; 6] = [2, 10, 60, 300, 1_800, 7_200];

/// How far one webhook has been told.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct State {
    cursor: u64,
    pub retries: Vec<Retry>,
    /// Given up, ever.
    pub dead: u64,
    pub delivered: u64,
    pub last_error: Option<String>,
    lease: Option<(String, DateTime<Utc>)>,
}

/// Something that was not heard yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    seq: u64,
    event: String,
    tries: usize,
    next: DateTime<Utc>,
}

#[derive(Debug)]
struct Job {
    /// Its first try stands at `tries` 0.
    retry: Retry,
    body: Value,
}

/// One webhook's turn.
#[derive(Debug)]
struct Turn {
    org: String,
    webhook: Webhook,
    jobs: Vec<Job>,
    scanned: u64,
}

/// What came of one delivery: the status, or why there is none.
type Heard = Result<Reply, DeliveryError>;

#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    #[error(transparent)]
    Http(#[from] HttpError),
    /// Without it everybody could sign.
    #[error("its secret cannot be opened: it was sealed with another `server.key`")]
    Sealed,
    #[error("the delivery ended in a bug")]
    Lost,
}

/// As it stands in the store.
pub fn state(tx: &mut dyn Tx, id: i64) -> Result<State, DbError> {
    let body = tx.fact(STATE, &Webhook::key(id))?;
    body.map_or(Ok(State::default()), |body| {
        serde_json::from_value(body)
            .map_err(|error| DbError::Damaged { what: format!("a webhook's state ({error})") })
    })
}

fn put(tx: &mut dyn Tx, id: i64, state: &State) -> Result<(), DbError> {
    let body = serde_json::to_value(state).expect("plain data of ours serialises");
    tx.fact_put(STATE, &Webhook::key(id), &body)
}

/// Works until the other end of `end` is gone; waits for a store that is away, and begins anew after a bug.
pub fn keep(mut kept: Kept<Governance>, server_key: [u8; 32], client: &Client, end: &Receiver<()>) {
    loop {
        let Some(governance) = kept.take() else {
            match end.recv_timeout(kept.wait()) {
                Err(RecvTimeoutError::Timeout) => continue,
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
            }
        };
        let worker = match Worker::new(governance, server_key, client.clone()) {
            Ok(worker) => worker,
            Err(error) => {
                tracing::error!(%error, "webhooks are not told");
                continue;
            }
        };
        let working = std::panic::AssertUnwindSafe(|| worker.run(end));
        if std::panic::catch_unwind(working).is_ok() {
            return;
        }
        tracing::error!("telling webhooks ended in a bug and begins anew");
    }
}

/// Tells webhooks what happens.
#[derive(Debug)]
pub struct Worker {
    governance: Governance,
    server_key: [u8; 32],
    client: Client,
    runtime: tokio::runtime::Runtime,
    name: String,
}

impl Worker {
    pub fn new(
        governance: Governance,
        server_key: [u8; 32],
        client: Client,
    ) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let name = uuid::Uuid::new_v4().to_string();
        Ok(Self { governance, server_key, client, runtime, name })
    }

    /// Works until the other end of `end` is gone.
    pub fn run(mut self, end: &Receiver<()>) {
        let mut failing = false;
        loop {
            match end.recv_timeout(POLL) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
            }
            match self.round(clock::now()) {
                Ok(_) => failing = false,
                Err(error) if !failing => {
                    failing = true;
                    let error = crate::base::chain::text(&error);
                    tracing::error!(error, "webhooks are not told, as the store does not answer");
                }
                Err(_) => {}
            }
        }
    }

    /// Everything that is due, once; how many deliveries were tried.
    pub fn round(&mut self, now: Now) -> Result<usize, KeyError> {
        let (mut turns, name) = (Vec::new(), self.name.clone());
        for org in key::orgs(self.governance.store())? {
            let org = org.name;
            let hooks = db::read(self.governance.store(), &org, |tx| {
                let mut due = Vec::new();
                for webhook in all(tx)?.into_iter().filter(|webhook| webhook.active) {
                    let state = state(tx, webhook.id)?;
                    if may_take(&name, &state, now) {
                        let (jobs, scanned) = plan(tx, &webhook, &state, now)?;
                        if !jobs.is_empty() || scanned >= cursor(&webhook, &state) + SCAN_MAX as u64
                        {
                            due.push(webhook);
                        }
                    }
                }
                Ok(due)
            });
            for webhook in hooks? {
                turns.extend(self.take(&org, webhook, now)?);
            }
        }
        let jobs = turns.iter().map(|turn| turn.jobs.len()).sum();
        let heard = self.deliver(&turns, now);
        for (turn, heard) in turns.into_iter().zip(heard) {
            self.finish(turn, heard, now)?;
        }
        Ok(jobs)
    }

    fn take(&mut self, org: &str, webhook: Webhook, now: Now) -> Result<Option<Turn>, DbError> {
        let name = self.name.clone();
        db::write(self.governance.store(), org, now, |tx| {
            let mut state = state(tx, webhook.id)?;
            if !may_take(&name, &state, now) {
                return Ok(None);
            }
            let (jobs, scanned) = plan(tx, &webhook, &state, now)?;
            state.lease = Some((name, now.wall + LEASE));
            put(tx, webhook.id, &state)?;
            Ok(Some(Turn { org: tx.org().to_owned(), webhook, jobs, scanned }))
        })
    }

    fn deliver(&self, turns: &[Turn], now: Now) -> Vec<Vec<Heard>> {
        self.runtime.block_on(async {
            let mut set = tokio::task::JoinSet::new();
            for (at, turn) in turns.iter().enumerate() {
                let Turn { org, webhook, jobs, .. } = turn;
                let secret = secret(&self.server_key, org, webhook);
                let secret = secret.as_deref();
                for (job_at, job) in jobs.iter().enumerate() {
                    let (client, url) = (self.client.clone(), webhook.url.clone());
                    let sending = secret.map(|secret| signed(&job.body, secret, now));
                    set.spawn(async move {
                        let heard = match sending {
                            Some((headers, body)) => send(&client, &url, headers, body).await,
                            None => Err(DeliveryError::Sealed),
                        };
                        (at, job_at, heard)
                    });
                }
            }
            let mut heard: Vec<Vec<Heard>> = turns
                .iter()
                .map(|turn| turn.jobs.iter().map(|_| Err(DeliveryError::Lost)).collect())
                .collect();
            while let Some(done) = set.join_next().await {
                if let Ok((at, job_at, reply)) = done {
                    heard[at][job_at] = reply;
                }
            }
            heard
        })
    }

    fn finish(&mut self, turn: Turn, heard: Vec<Heard>, now: Now) -> Result<(), DbError> {
        let name = self.name.clone();
        db::write(self.governance.store(), &turn.org.clone(), now, |tx| {
            let id = turn.webhook.id;
            let mut state = state(tx, id)?;
            if state.lease.as_ref().is_none_or(|(by, _)| *by != name) {
                // Somebody else tells it by now, and will tell this once more.
                return Ok(());
            }
            state.lease = None;
            state.cursor = turn.scanned;
            for (job, heard) in turn.jobs.into_iter().zip(heard) {
                state
                    .retries
                    .retain(|retry| (retry.seq, &retry.event) != (job.retry.seq, &job.retry.event));
                let failed = match heard {
                    Ok(reply) if (200..300).contains(&reply.status) => {
                        state.delivered += 1;
                        continue;
                    }
                    Ok(reply) => format!("the answer was {}", reply.status),
                    Err(error) => error.to_string(),
                };
                state.last_error = Some(failed.clone());
                let tries = job.retry.tries + 1;
                match AGAIN_AFTER_SECONDS.get(tries - 1) {
                    Some(seconds) => {
                        let next = now.wall + TimeDelta::seconds(*seconds);
                        state.retries.push(Retry { tries, next, ..job.retry });
                    }
                    None => bury(tx, id, &mut state, &Retry { tries, ..job.retry }, &failed, now)?,
                }
            }
            while state.retries.len() > WAITING_MAX {
                let oldest = state.retries.remove(0);
                bury(tx, id, &mut state, &oldest, "too many deliveries wait", now)?;
            }
            put(tx, id, &state)
        })
    }
}

fn may_take(name: &str, state: &State, now: Now) -> bool {
    state.lease.as_ref().is_none_or(|(by, until)| {
        // A lease that lies too far ahead was given by a clock that was wrong.
        by == name || *until <= now.wall || *until > now.wall + LEASE * 2
    })
}

fn cursor(webhook: &Webhook, state: &State) -> u64 {
    state.cursor.max(webhook.since)
}

/// What is due now, and how far the log was read for it.
fn plan(
    tx: &mut dyn Tx,
    webhook: &Webhook,
    state: &State,
    now: Now,
) -> Result<(Vec<Job>, u64), DbError> {
    let mut jobs = Vec::new();
    for retry in state.retries.iter().filter(|retry| retry.next <= now.wall).take(TURN_MAX) {
        let query = AuditQuery { after: retry.seq - 1, ..AuditQuery::default() };
        let mut found = None;
        tx.audit_each(&query, &mut |record| {
            found = Some(record);
            std::ops::ControlFlow::Break(())
        })?;
        let body = found.map(|record| payload(webhook, &retry.event, &record));
        jobs.push(Job { retry: retry.clone(), body: body.unwrap_or_default() });
    }
    let mut scanned = cursor(webhook, state);
    let (query, mut looked) = (AuditQuery { after: scanned, ..AuditQuery::default() }, 0);
    tx.audit_each(&query, &mut |record| {
        let told = events(&record);
        let told: Vec<&str> =
            told.into_iter().filter(|event| webhook.events.iter().any(|it| it == event)).collect();
        if jobs.len() + told.len() > TURN_MAX && !told.is_empty() {
            return std::ops::ControlFlow::Break(());
        }
        for event in told {
            let body = payload(webhook, event, &record);
            let (seq, event) = (record.seq, event.to_owned());
            jobs.push(Job { retry: Retry { seq, event, tries: 0, next: now.wall }, body });
        }
        scanned = record.seq;
        looked += 1;
        if looked >= SCAN_MAX {
            std::ops::ControlFlow::Break(())
        } else {
            std::ops::ControlFlow::Continue(())
        }
    })?;
    Ok((jobs, scanned))
}

fn bury(
    tx: &mut dyn Tx,
    id: i64,
    state: &mut State,
    retry: &Retry,
    why: &str,
    now: Now,
) -> Result<(), DbError> {
    let place = format!("{}/{:03}", Webhook::key(id), state.dead % DEAD_MAX);
    state.dead += 1;
    let row = json!({
        "number": state.dead, "delivery_id": delivery_id(id, retry.seq, &retry.event),
        "event": retry.event, "audit_seq": retry.seq, "tries": retry.tries, "error": why,
        "given_up_at": now.wall.to_rfc3339(),
    });
    tx.fact_put(DEAD, &place, &row)?;
    let draft = Draft::new(Kind::WebhookChanged, "ao", format!("webhook {id}"))
        .with("given_up", retry.event.clone())
        .with("seq", retry.seq)
        .with("why", why);
    db::append(tx, &draft, now).map(drop)
}

/// What a record is told as.
fn events(record: &Record) -> Vec<&'static str> {
    let details: Value = serde_json::from_str(&record.details).unwrap_or_default();
    match record.kind.as_str() {
        "decided" => match details["effect"].as_str() {
            Some("allow" | "allow_notify") => vec!["action.approved"],
            Some("require_approval") => vec!["action.pending"],
            Some("deny") => {
                let reason = details["reason"].as_str().unwrap_or_default();
                // A person's no was told when it was said, not when the agent hears of it.
                if details["digest"].is_null() && reason.starts_with("denied by ") {
                    return Vec::new();
                }
                let trace = details["trace"].as_array().map_or(&[][..], Vec::as_slice);
                let policy = trace.iter().any(|said| {
                    said["step"] == "policy" && said["effect"] == "deny" && said["shadow"] != true
                });
                if policy {
                    vec!["action.denied", "policy.violation"]
                } else {
                    vec!["action.denied"]
                }
            }
            Some(_) | None => Vec::new(),
        },
        "approved" => vec!["action.approved"],
        "denied" => vec!["action.denied"],
        "trust.changed" => vec!["agent.trust_changed"],
        _ => Vec::new(),
    }
}

fn delivery_id(id: i64, seq: u64, event: &str) -> String {
    format!("{id}-{seq}-{event}")
}

fn payload(webhook: &Webhook, event: &str, record: &Record) -> Value {
    let details: Value = serde_json::from_str(&record.details).unwrap_or_default();
    let agent = match record.kind.as_str() {
        "decided" => record.actor.as_str(),
        "trust.changed" => record.subject.as_str(),
        _ => details["agent"].as_str().unwrap_or_default(),
    };
    json!({
        "id": delivery_id(webhook.id, record.seq, event),
        "event": event,
        "created_at": record.at().map(|at| at.to_rfc3339()),
        "organization": record.org,
        "audit_seq": record.seq,
        "data": {
            "action_id": (record.action_id != 0).then_some(record.action_id),
            "agent_id": agent,
            "actor": record.actor,
            "subject": record.subject,
            "effect": details["effect"],
            "reason": details["reason"],
            "why": details["why"],
            "risk_score": details["risk"],
            "approval_id": details["approval"],
            "from": details["from"],
            "to": details["to"],
        },
    })
}

fn secret(server_key: &[u8; 32], org: &str, webhook: &Webhook) -> Option<String> {
    seal::open(server_key, &Webhook::whose(org, webhook.id), &webhook.secret)
}

fn signed(body: &Value, secret: &str, now: Now) -> (Vec<(&'static str, String)>, Vec<u8>) {
    let (text, at) = (body.to_string(), now.wall.timestamp().to_string());
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let tag = hmac::sign(&key, format!("{at}.{text}").as_bytes());
    let part = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    let headers = vec![
        ("content-type", "application/json".to_owned()),
        ("x-ao-delivery", part("id")),
        ("x-ao-event", part("event")),
        ("x-ao-timestamp", at),
        ("x-ao-signature", format!("v1={}", hex(tag.as_ref()))),
    ];
    (headers, text.into_bytes())
}

async fn send(
    client: &Client,
    url: &str,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
) -> Heard {
    let sending = Sending {
        method: Method::POST,
        url,
        headers,
        body,
        within: ANSWER_WITHIN,
        answer_bytes_max: ANSWER_BYTES_MAX,
    };
    Ok(client.send(sending).await?)
}

/// One delivery that is kept nowhere: its status, and how many milliseconds it took.
pub fn test(
    webhook: &Webhook,
    call: &Call,
    server_key: [u8; 32],
    reach: Reach,
) -> Result<(u16, u64), DeliveryError> {
    let client = Client::new(reach)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(HttpError::Connect)?;
    let body = json!({
        "id": format!("{}-test", webhook.id), "event": "webhook.test",
        "created_at": call.now.wall.to_rfc3339(), "organization": call.caller.org, "data": {},
    });
    let secret = secret(&server_key, &call.caller.org, webhook).ok_or(DeliveryError::Sealed)?;
    let (headers, body) = signed(&body, &secret, call.now);
    let begun = clock::now().mono;
    let reply = runtime.block_on(send(&client, &webhook.url, headers, body))?;
    Ok((reply.status, crate::base::now::millis(clock::now().mono.since(begun))))
}
