//! A client of `ao serve` for programs of our own: typed, blocking, and closed where anything fails.
//!
//! It asks once: a request that got no answer is an error, and the caller must not act. Sent again with
//! the same correlation id it gets the first answer. Left out: waiting, as callers have loops of their own.

use chrono::SecondsFormat;
use hyper::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::time::Duration;

use crate::base::money::Micros;
use crate::run::serve::signature;
use crate::sys::clock;
use crate::sys::http::{self, HttpError, Sending};

const ANSWER_WITHIN: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MAX: usize = 4 << 20;

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("the server gave no answer")]
    Http(#[from] HttpError),
    #[error("the server refuses ({status}): {detail}")]
    Refused { status: u16, detail: String },
    #[error("the server's answer is not what was asked for")]
    Answer(#[from] serde_json::Error),
    #[error("cannot start the client")]
    Start(#[source] std::io::Error),
}

/// What an agent wants to do.
#[derive(Debug, Clone, Default)]
pub struct Act<'a> {
    pub agent: &'a str,
    pub action_type: &'a str,
    pub resource: &'a str,
    pub context: Map<String, Value>,
    pub session_id: Option<&'a str>,
    pub parent: Option<i64>,
    pub depth: u8,
    /// What it is expected to cost.
    pub cost: Micros,
    /// The same one with the same act gets the first answer again.
    pub correlation_id: Option<&'a str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Word {
    Allowed,
    Denied,
    /// A person is asked; [`Client::status`] tells when there is an answer.
    Pending,
}

/// How an act stands.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Decision {
    pub id: i64,
    pub decision: Word,
    /// Only with this the act may be done.
    pub execution_allowed: bool,
    pub reason: String,
    /// 0 to 100.
    pub risk_score: u8,
    pub approved_by: Option<String>,
    pub orchestration_session_id: Option<String>,
}

/// One server, one key.
#[derive(Debug)]
pub struct Client {
    http: http::Client,
    runtime: tokio::runtime::Runtime,
    url: String,
    key: String,
    signing_secret: Option<String>,
}

impl Client {
    /// `url`: without the path, as `ao serve` prints it.
    pub fn new(
        http: http::Client,
        url: &str,
        key: &str,
        signing_secret: Option<String>,
    ) -> Result<Self, ClientError> {
        http.check(url)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(ClientError::Start)?;
        let url = url.trim_end_matches('/').to_owned();
        Ok(Self { http, runtime, url, key: key.to_owned(), signing_secret })
    }

    /// Asks for leave. An error means: do not act.
    pub fn submit(&self, act: &Act<'_>) -> Result<Decision, ClientError> {
        let body = json!({
            "agent_id": act.agent, "action_type": act.action_type, "resource": act.resource,
            "context": act.context, "orchestration_session_id": act.session_id,
            "parent_action_id": act.parent, "orchestration_depth": act.depth,
            "cost_micros": act.cost.0,
        });
        let path = "/api/v1/actions/submit";
        let answer = self.call(Method::POST, path, Some(&body), act.correlation_id)?;
        Ok(serde_json::from_value(answer)?)
    }

    /// How an act stands now; a person's yes is used up by asking.
    pub fn status(&self, id: i64) -> Result<Decision, ClientError> {
        let answer = self.call(Method::GET, &format!("/api/v1/actions/{id}/status"), None, None)?;
        Ok(serde_json::from_value(answer)?)
    }

    /// Reports how an act ended, and what it cost if that is known.
    pub fn ended(&self, id: i64, success: bool, cost: Option<Micros>) -> Result<(), ClientError> {
        let word = if success { "complete" } else { "fail" };
        let body = json!({ "cost_micros": cost.map(|cost| cost.0) });
        let path = format!("/api/agent-action/{id}/{word}");
        self.call(Method::POST, &path, Some(&body), None).map(drop)
    }

    /// Whether the key's agent, or everybody, is stopped.
    pub fn is_stopped(&self) -> Result<bool, ClientError> {
        let answer = self.call(Method::GET, "/api/sdk/kill-switch/status", None, None)?;
        // What cannot be read is no leave to go on.
        Ok(answer["blocked"].as_bool().unwrap_or(true))
    }

    fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        correlation_id: Option<&str>,
    ) -> Result<Value, ClientError> {
        let body = body.map(Value::to_string).unwrap_or_default().into_bytes();
        let mut headers = vec![
            ("x-api-key", self.key.clone()),
            ("content-type", "application/json".to_owned()),
            ("content-length", body.len().to_string()),
        ];
        headers.extend(correlation_id.map(|id| ("x-correlation-id", id.to_owned())));
        if let Some(secret) = &self.signing_secret {
            let at = clock::now().wall.to_rfc3339_opts(SecondsFormat::Micros, false);
            if let Some(header) = signature::header(secret, &at, &body) {
                headers.extend([("x-signature", header), ("x-request-timestamp", at)]);
            }
        }
        let reply = self.runtime.block_on(self.http.send(Sending {
            method,
            url: &format!("{}{path}", self.url),
            headers,
            body,
            within: ANSWER_WITHIN,
            answer_bytes_max: ANSWER_BYTES_MAX,
        }))?;
        let answer: Value = serde_json::from_slice(&reply.body)?;
        if reply.status == 200 {
            return Ok(answer);
        }
        let detail = &answer["detail"];
        let detail = detail.as_str().or_else(|| detail["detail"].as_str());
        let detail = detail.unwrap_or("no reason given").to_owned();
        Err(ClientError::Refused { status: reply.status, detail })
    }
}
