//! What a stopped agent of another machine is told: the kill switch itself, until it says that it heard.
//!
//! A command is not stored: each switch in force is one for every agent it covers, whichever door
//! pulled it, and a switch that is lifted takes its command back. Stored is only when an agent was told
//! and when it answered. Whether it obeys is its own affair; every act of it is refused in any case.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::desk::{self, Call, Desk};
use super::refusal::Refusal;
use super::registry::{self, AGENT, HEARTBEAT};
use crate::base::now::Now;
use crate::govern::audit::{Draft, Kind, hex};
use crate::sys::db::rows::KillSwitch;
use crate::sys::db::{self, DbError, Tx};

/// By agent.
const HEARD: &str = "commands_heard";
/// Older ones are forgotten.
const HEARD_MAX: usize = 20;

/// When an agent was told of one command, and when it answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Times {
    told: DateTime<Utc>,
    acknowledged: Option<DateTime<Utc>>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Heard(BTreeMap<String, Times>);

/// How far a command has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    Pending,
    Delivered,
    Acknowledged,
}

impl Status {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Acknowledged => "acknowledged",
        }
    }
}

impl Heard {
    fn read(tx: &mut dyn Tx, agent: &str) -> Result<Self, DbError> {
        let Some(body) = tx.fact(HEARD, agent)? else { return Ok(Self::default()) };
        serde_json::from_value(body)
            .map_err(|error| DbError::Damaged { what: format!("what an agent heard ({error})") })
    }

    fn write(mut self, tx: &mut dyn Tx, agent: &str) -> Result<(), DbError> {
        while self.0.len() > HEARD_MAX {
            let oldest = self.0.iter().min_by_key(|(_, times)| times.told);
            let Some(oldest) = oldest.map(|(id, _)| id.clone()) else { break };
            self.0.remove(&oldest);
        }
        let body = serde_json::to_value(&self).expect("plain data of ours serialises");
        tx.fact_put(HEARD, agent, &body)
    }

    fn status(&self, id: &str) -> Status {
        match self.0.get(id) {
            None => Status::Pending,
            Some(Times { acknowledged: None, .. }) => Status::Delivered,
            Some(Times { acknowledged: Some(_), .. }) => Status::Acknowledged,
        }
    }
}

/// The same for the same switch, and another one when it is pulled anew after it was lifted.
fn id_of(org: &str, agent: &str, kill: &KillSwitch) -> String {
    let mut hasher = blake3::Hasher::new_derive_key("ao 2026 command of a kill switch");
    for part in [org, agent, &kill.target, &kill.at.timestamp_micros().to_string()] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hex(&hasher.finalize().as_bytes()[..12])
}

fn shown(agent: &str, kill: &KillSwitch, id: &str, status: Status) -> Value {
    let is_broadcast = kill.target == KillSwitch::ALL;
    json!({
        "command_id": id,
        "command_type": "BLOCK",
        "target_type": if is_broadcast { "organization" } else { "agent" },
        "reason": kill.why,
        "parameters": { "agent_id": agent },
        "status": status.word(),
        "issued_by": kill.by,
        "issued_via": "kill_switch",
        "created_at": kill.at.to_rfc3339(),
        "expires_at": null,
        "is_broadcast": is_broadcast,
    })
}

/// What the agent is to hear now, noted as told. An agent that asks again writes nothing.
pub fn deliver(tx: &mut dyn Tx, agent: &str, now: Now) -> Result<Vec<Value>, DbError> {
    let kills: Vec<KillSwitch> = tx.kills()?.into_iter().filter(|it| it.covers(agent)).collect();
    if kills.is_empty() {
        return Ok(Vec::new());
    }
    let mut heard = Heard::read(tx, agent)?;
    let (before, mut listed) = (heard.clone(), Vec::new());
    for kill in &kills {
        let id = id_of(tx.org(), agent, kill);
        if heard.status(&id) == Status::Acknowledged {
            continue;
        }
        let times = Times { told: now.wall, acknowledged: None };
        heard.0.entry(id.clone()).or_insert(times);
        listed.push(shown(agent, kill, &id, Status::Delivered));
    }
    if heard != before {
        heard.write(tx, agent)?;
    }
    Ok(listed)
}

/// How far the agent's commands have come, the least of them; `None` without a switch.
pub fn status(
    tx: &mut dyn Tx,
    agent: &str,
    kills: &[KillSwitch],
) -> Result<Option<Status>, DbError> {
    let mut kills = kills.iter().filter(|kill| kill.covers(agent)).peekable();
    if kills.peek().is_none() {
        return Ok(None);
    }
    let (heard, org) = (Heard::read(tx, agent)?, tx.org().to_owned());
    Ok(kills.map(|kill| heard.status(&id_of(&org, agent, kill))).min())
}

/// What is left for these agents, none of which runs here: one row each. Those that never registered
/// have nothing to ask with; they are refused whatever they try, and told once they register.
pub fn left(tx: &mut dyn Tx, agents: &[&str], now: Now) -> Result<Vec<Value>, DbError> {
    let kills = tx.kills()?;
    let mut rows = Vec::new();
    for agent in agents {
        let heard = tx.fact(HEARTBEAT, agent)?;
        let registered = tx.fact(AGENT, agent)?.is_some_and(|row| row["gone"] == false);
        let status = status(tx, agent, &kills)?.unwrap_or(Status::Pending);
        rows.push(json!({
            "agent": agent, "registered": registered, "command": status.word(),
            "health": registry::health(heard.as_ref(), now.wall),
        }));
    }
    Ok(rows)
}

/// `GET /api/registry/agents/{agent_id}/commands`: what it has not acknowledged.
pub fn list(desk: &mut Desk, call: &Call) -> Result<Value, Refusal> {
    let agent = registry::own_agent(call)?;
    let listed = desk::write(&mut desk.governance, call, |tx| {
        if !registry::is_registered(tx, &agent)? {
            return Ok(None);
        }
        deliver(tx, &agent, call.now).map(Some)
    })?;
    Ok(json!({ "commands": listed.ok_or_else(Refusal::absent)? }))
}

/// `POST …/commands/{command_id}/ack`; again is no error.
pub fn acknowledge(desk: &mut Desk, call: &Call) -> Result<Value, Refusal> {
    let agent = registry::own_agent(call)?;
    let id = call.part("command_id").to_owned();
    let known = desk::write(&mut desk.governance, call, |tx| {
        if !registry::is_registered(tx, &agent)? {
            return Ok(false);
        }
        let mut heard = Heard::read(tx, &agent)?;
        // Nobody can answer what he was not told.
        let Some(times) = heard.0.get_mut(&id) else { return Ok(false) };
        if times.acknowledged.is_none() {
            times.acknowledged = Some(call.now.wall);
            heard.write(tx, &agent)?;
            let draft = Draft::new(Kind::AgentChanged, call.caller.name(), &agent)
                .with("command", id.clone())
                .with("acknowledged", true);
            db::append(tx, &draft, call.now)?;
        }
        Ok(true)
    })?;
    if known {
        Ok(json!({ "success": true, "command_id": id, "status": Status::Acknowledged.word() }))
    } else {
        Err(Refusal::absent())
    }
}
