//! Who is told by HTTP what was decided: registered, changed, tried, taken off; and what could not be told.
//!
//! An administrator names the address, so it could be one that only this machine reaches; unless
//! `[serve] webhooks_to_private` says otherwise, only public `https` addresses are taken, here and
//! again at each delivery. The secret that signs is shown once and kept sealed.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::deliver;
use super::desk::{self, Call, Desk};
use super::refusal::Refusal;
use super::seal;
use crate::config::Config;
use crate::govern::audit::{Draft, Kind, hex};
use crate::sys::db::{self, DbError, Tx};
use crate::sys::http::{Client, HttpError, Reach};

pub const WEBHOOK: &str = "webhook";
/// What was given up, the last [`DEAD_MAX`] of each.
pub const DEAD: &str = "webhook_dead";
pub const DEAD_MAX: u64 = 100;
pub const EVENTS: [&str; 5] = [
    "action.approved",
    "action.denied",
    "action.pending",
    "policy.violation",
    "agent.trust_changed",
];
const WEBHOOKS_MAX: usize = 20;

/// One address that is told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Webhook {
    pub id: i64,
    pub url: String,
    pub events: Vec<String>,
    /// Who set it up, as the client says; what is told is not bound to it.
    pub agent_id: Option<String>,
    pub active: bool,
    /// Taken off; the row stays so that its number is not given again.
    pub gone: bool,
    /// Sealed.
    pub secret: String,
    pub made: DateTime<Utc>,
    pub by: String,
    /// It is told what was recorded behind this.
    pub since: u64,
}

impl Webhook {
    pub fn key(id: i64) -> String {
        format!("{id:08}")
    }

    /// What its secret is sealed for.
    pub fn whose(org: &str, id: i64) -> String {
        format!("{org}/webhook/{id}")
    }

    fn shown(&self) -> Value {
        json!({
            "id": self.id, "webhook_id": self.id.to_string(), "url": self.url,
            "events": self.events, "active": self.active, "agent_id": self.agent_id,
            "created_at": self.made.to_rfc3339(), "secret": null,
        })
    }
}

/// Where webhooks may go.
pub fn reach(config: &Config) -> Reach {
    if config.serve.webhooks_to_private { Reach::Everywhere } else { Reach::Public }
}

/// Those that are there, by number.
pub fn all(tx: &mut dyn Tx) -> Result<Vec<Webhook>, DbError> {
    let rows = tx.facts(WEBHOOK)?.into_iter().map(|(_, body)| parse(body));
    let mut found = rows.collect::<Result<Vec<_>, _>>()?;
    found.retain(|webhook| !webhook.gone);
    Ok(found)
}

fn parse(body: Value) -> Result<Webhook, DbError> {
    serde_json::from_value(body)
        .map_err(|error| DbError::Damaged { what: format!("a webhook ({error})") })
}

fn one(tx: &mut dyn Tx, id: i64) -> Result<Option<Webhook>, DbError> {
    let row = tx.fact(WEBHOOK, &Webhook::key(id))?.map(parse).transpose()?;
    Ok(row.filter(|webhook| !webhook.gone))
}

fn put(tx: &mut dyn Tx, webhook: &Webhook) -> Result<(), DbError> {
    let body = serde_json::to_value(webhook).expect("plain data of ours serialises");
    tx.fact_put(WEBHOOK, &Webhook::key(webhook.id), &body)
}

fn record(tx: &mut dyn Tx, call: &Call, webhook: &Webhook) -> Result<(), DbError> {
    let draft =
        Draft::new(Kind::WebhookChanged, call.caller.name(), format!("webhook {}", webhook.id))
            .with("url", webhook.url.clone())
            .with("events", webhook.events.clone())
            .with("active", webhook.active)
            .with("gone", webhook.gone);
    db::append(tx, &draft, call.now).map(drop)
}

/// `GET /api/webhooks`.
pub fn list(desk: &mut Desk, call: &Call) -> Result<Value, Refusal> {
    let found = desk::read(&mut desk.governance, call, all)?;
    let shown: Vec<Value> = found.iter().map(Webhook::shown).collect();
    Ok(json!({ "webhooks": shown }))
}

/// `POST /api/webhooks/configure`. The answer is the only one with the secret.
pub fn configure(desk: &mut Desk, call: &Call) -> Result<Value, Refusal> {
    let url = url(desk, call)?.ok_or_else(|| Refusal::invalid("url is required"))?;
    let events = events(call)?.ok_or_else(|| Refusal::invalid("events is required"))?;
    let secret = match secret(call)? {
        Some(given) => given,
        None => format!("whsec_{}", hex(&seal::random::<32>().map_err(|error| unsealed(&error))?)),
    };
    let agent_id = call.text("agent_id")?.map(str::to_owned);
    if let Some(agent) = &agent_id {
        super::registry::agent_name(agent)?;
    }
    let (server_key, by) = (desk.server_key, call.caller.name());
    let made = desk::write(&mut desk.governance, call, |tx| {
        let rows = tx.facts(WEBHOOK)?;
        let there = all(tx)?.len();
        let id = i64::try_from(rows.len()).unwrap_or(i64::MAX).saturating_add(1);
        let sealed = seal::seal(&server_key, &Webhook::whose(tx.org(), id), &secret);
        let (Ok(sealed), true) = (sealed, there < WEBHOOKS_MAX) else { return Ok(None) };
        let webhook = Webhook {
            id,
            url: url.clone(),
            events: events.clone(),
            agent_id: agent_id.clone(),
            active: true,
            gone: false,
            secret: sealed,
            made: call.now.wall,
            by: by.clone(),
            since: tx.audit_tail()?.seq,
        };
        put(tx, &webhook)?;
        record(tx, call, &webhook)?;
        Ok(Some(webhook))
    })?;
    let full = || Refusal::forbidden(format!("at most {WEBHOOKS_MAX} webhooks are kept"));
    let mut answer = made.ok_or_else(full)?.shown();
    answer["secret"] = secret.into();
    Ok(answer)
}

/// `PUT /api/webhooks/{id}`: address, events, secret, or whether it is told at all.
pub fn change(desk: &mut Desk, call: &Call) -> Result<Value, Refusal> {
    let (url, events) = (url(desk, call)?, events(call)?);
    let active = match call.body.get("active") {
        None | Some(Value::Null) => None,
        Some(_) => Some(call.flag("active", true)?),
    };
    let whose = Webhook::whose(&call.caller.org, call.id("id")?);
    let seal = |secret: String| seal::seal(&desk.server_key, &whose, &secret);
    let sealed = secret(call)?.map(seal).transpose().map_err(|error| unsealed(&error))?;
    altered(desk, call, |webhook| {
        if let Some(url) = &url {
            webhook.url.clone_from(url);
        }
        if let Some(events) = &events {
            webhook.events.clone_from(events);
        }
        if let Some(sealed) = &sealed {
            webhook.secret.clone_from(sealed);
        }
        webhook.active = active.unwrap_or(webhook.active);
    })
}

/// `DELETE /api/webhooks/{id}`.
pub fn remove(desk: &mut Desk, call: &Call) -> Result<Value, Refusal> {
    altered(desk, call, |webhook| webhook.gone = true)
}

fn altered(desk: &mut Desk, call: &Call, change: impl Fn(&mut Webhook)) -> Result<Value, Refusal> {
    let id = call.id("id")?;
    let changed = desk::write(&mut desk.governance, call, |tx| {
        let Some(mut webhook) = one(tx, id)? else { return Ok(None) };
        change(&mut webhook);
        put(tx, &webhook)?;
        record(tx, call, &webhook)?;
        Ok(Some(webhook))
    })?;
    let mut answer = changed.ok_or_else(Refusal::absent)?.shown();
    answer["success"] = true.into();
    Ok(answer)
}

/// `POST /api/webhooks/{id}/test`: one delivery at once, and what came of it.
pub fn test(desk: &mut Desk, call: &Call) -> Result<Value, Refusal> {
    let id = call.id("id")?;
    let found = desk::read(&mut desk.governance, call, |tx| one(tx, id))?;
    let webhook = found.ok_or_else(Refusal::absent)?;
    let tried = deliver::test(&webhook, call, desk.server_key, reach(&desk.project.config));
    Ok(match tried {
        Ok((status, took_ms)) => json!({
            "success": (200..300).contains(&status), "status_code": status,
            "response_time_ms": took_ms, "error": null,
        }),
        Err(error) => json!({
            "success": false, "status_code": null, "response_time_ms": null,
            "error": error.to_string(),
        }),
    })
}

/// `GET /api/webhooks/{id}/dead-letters`: what was given up, newest first.
pub fn dead_letters(desk: &mut Desk, call: &Call) -> Result<Value, Refusal> {
    let id = call.id("id")?;
    let found = desk::read(&mut desk.governance, call, |tx| {
        if one(tx, id)?.is_none() {
            return Ok(None);
        }
        let state = deliver::state(tx, id)?;
        let prefix = format!("{}/", Webhook::key(id));
        let rows = tx.facts(DEAD)?.into_iter().filter(|(key, _)| key.starts_with(&prefix));
        Ok(Some((state, rows.map(|(_, row)| row).collect::<Vec<_>>())))
    })?;
    let (state, mut rows) = found.ok_or_else(Refusal::absent)?;
    rows.sort_by_key(|row| std::cmp::Reverse(row["number"].as_u64()));
    Ok(json!({
        "webhook_id": id.to_string(), "dead_letters": rows, "total": state.dead,
        "delivered": state.delivered, "waiting": state.retries.len(),
        "last_error": state.last_error,
    }))
}

fn url(desk: &Desk, call: &Call) -> Result<Option<String>, Refusal> {
    let Some(url) = call.text("url")? else { return Ok(None) };
    let client = Client::trusting(rustls::RootCertStore::empty(), reach(&desk.project.config));
    let checked = client.and_then(|client| client.check(url));
    checked.map_err(|error: HttpError| Refusal::invalid(format!("url: {error}")))?;
    Ok(Some(url.to_owned()))
}

fn secret(call: &Call) -> Result<Option<String>, Refusal> {
    match call.text("secret")? {
        Some(given) if !(16..=256).contains(&given.len()) => {
            Err(Refusal::invalid("secret must have 16 to 256 bytes"))
        }
        given => Ok(given.map(str::to_owned)),
    }
}

fn events(call: &Call) -> Result<Option<Vec<String>>, Refusal> {
    let bad = || {
        let known = EVENTS.join(", ");
        Refusal::invalid(format!("events must be a list of one or more of {known}"))
    };
    let given = match call.body.get("events") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Array(given)) if !given.is_empty() => given,
        Some(_) => return Err(bad()),
    };
    let mut events: Vec<String> = Vec::new();
    for event in given {
        let event = event.as_str().filter(|event| EVENTS.contains(event)).ok_or_else(bad)?;
        if !events.iter().any(|there| there == event) {
            events.push(event.to_owned());
        }
    }
    Ok(Some(events))
}

fn unsealed(error: &std::io::Error) -> Refusal {
    tracing::error!(%error, "no random bytes");
    Refusal::forbidden("this could not be recorded, so it is refused")
}
