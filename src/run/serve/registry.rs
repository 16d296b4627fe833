//! Agents of other machines: registered, heard from, taken off; and the sessions they work in.
//!
//! Registering gives no trust and takes none: it makes an agent known, so that its health is shown.
//! What an agent says of its own capabilities is kept as what it is, a claim.

use serde_json::{Value, json};

use super::action::within;
use super::command;
use super::desk::{self, Call, Desk};
use super::judge::Court;
use super::refusal::Refusal;
use crate::govern::audit::{Draft, Kind};
use crate::govern::trust::Level;
use crate::run::governance::decide::set_trust;
use crate::run::governance::session::SESSION;
use crate::sys::db::rows::{KillSwitch, SessionTotals, TrustRow};
use crate::sys::db::{self, DbError, Tx};

pub const AGENT: &str = "remote_agent";
pub const HEARTBEAT: &str = "heartbeat";
const AGENT_CHARS_MAX: usize = 128;
/// An agent that was not heard for so long counts as lost; clients report each minute.
const LOST_AFTER_SECONDS: i64 = 180;

/// Names stand in paths unescaped, and `*` is the switch for everybody.
pub fn agent_name(name: &str) -> Result<(), Refusal> {
    within("agent_id", name, AGENT_CHARS_MAX)?;
    let unfit = |c: char| c.is_whitespace() || matches!(c, '/' | '?' | '#' | '%' | '*');
    if name.is_empty() || name.contains(unfit) {
        return Err(Refusal::invalid(
            "agent_id must not be empty or contain blanks or any of / ? # % *",
        ));
    }
    Ok(())
}

/// The agent of the body, which the key must be allowed to speak for.
pub fn own_agent(call: &Call) -> Result<String, Refusal> {
    let agent = match (call.path.get("agent_id"), &call.caller.agent) {
        (Some(agent), _) => agent.clone(),
        (None, Some(own)) => call.text("agent_id")?.unwrap_or(own).to_owned(),
        (None, None) => call.required("agent_id")?.to_owned(),
    };
    agent_name(&agent)?;
    if !call.caller.speaks_for(&agent) {
        return Err(Refusal::absent());
    }
    Ok(agent)
}

/// `POST /api/registry/agents`; again with the same is no error.
pub fn register(desk: &mut Desk, call: &Call) -> Result<Value, Refusal> {
    let agent = own_agent(call)?;
    let org = desk.org(call)?;
    let told = [
        "display_name",
        "agent_type",
        "environment",
        "capabilities",
        "allowed_resources",
        "sdk_version",
        "metadata",
    ];
    let mut row =
        json!({ "agent_id": agent, "registered": call.now.wall.to_rfc3339(), "gone": false });
    for name in told {
        row[name] = call.body.get(name).cloned().unwrap_or_default();
    }
    let project = super::judge::project(&desk.project.config, &org);
    let told = desk.told(&org)?;
    let court = Court {
        set: &desk.policies.in_force().set,
        table: &desk.table,
        bounds: &desk.bounds,
        config: &desk.project.config,
        org: &org,
        project: &project,
        told: &told,
    };
    let level = desk::write(&mut desk.governance, call, |tx| {
        let before = tx.fact(AGENT, &agent)?;
        if let Some(before) = &before {
            row["registered"] = before["registered"].clone();
            row["model_id"] = before["model_id"].clone();
        }
        if before.as_ref() != Some(&row) {
            tx.fact_put(AGENT, &agent, &row)?;
            let draft =
                Draft::new(Kind::AgentChanged, call.caller.name(), &agent).with("registered", true);
            db::append(tx, &draft, call.now)?;
        }
        Ok(court.level(&agent, tx.trust(&agent)?.as_ref(), call.now.wall))
    })?;
    let mut answer = row;
    answer["success"] = true.into();
    answer["status"] = "active".into();
    answer["trust_level"] = level.word().into();
    Ok(answer)
}

/// `PUT /api/registry/agents/{agent_id}`.
pub fn change(desk: &mut Desk, call: &Call) -> Result<Value, Refusal> {
    let model = call.body.get("model_id").cloned().unwrap_or_default();
    if !(model.is_i64() || model.is_null()) {
        return Err(Refusal::invalid("model_id must be an integer"));
    }
    altered(desk, call, "model_id", &model)
}

/// `DELETE /api/registry/agents/{agent_id}`. Its acts and their record stay.
pub fn deregister(desk: &mut Desk, call: &Call) -> Result<Value, Refusal> {
    altered(desk, call, "gone", &true.into())
}

fn altered(desk: &mut Desk, call: &Call, name: &str, value: &Value) -> Result<Value, Refusal> {
    let agent = own_agent(call)?;
    let row = desk::write(&mut desk.governance, call, |tx| {
        let Some(mut row) = tx.fact(AGENT, &agent)?.filter(|row| row["gone"] == false) else {
            return Ok(None);
        };
        row[name] = value.clone();
        tx.fact_put(AGENT, &agent, &row)?;
        let draft =
            Draft::new(Kind::AgentChanged, call.caller.name(), &agent).with(name, value.clone());
        db::append(tx, &draft, call.now)?;
        Ok(Some(row))
    })?;
    let mut answer = row.ok_or_else(Refusal::absent)?;
    answer["success"] = true.into();
    Ok(answer)
}

/// Whether the agent was registered and not taken off since.
pub fn is_registered(tx: &mut dyn Tx, agent: &str) -> Result<bool, DbError> {
    Ok(tx.fact(AGENT, agent)?.is_some_and(|row| row["gone"] == false))
}

fn known(desk: &mut Desk, call: &Call) -> Result<(Value, Option<Value>), Refusal> {
    let agent = own_agent(call)?;
    let (row, heard) = desk::read(&mut desk.governance, call, |tx| {
        Ok((tx.fact(AGENT, &agent)?, tx.fact(HEARTBEAT, &agent)?))
    })?;
    let row = row.filter(|row| row["gone"] == false).ok_or_else(Refusal::absent)?;
    Ok((row, heard))
}

/// `POST /api/agents/health/heartbeat`; only of registered agents, so that names cannot fill the store.
/// The answer carries the commands that wait for the agent.
pub fn heartbeat(desk: &mut Desk, call: &Call) -> Result<Value, Refusal> {
    let agent = own_agent(call)?;
    let mut row = json!({ "at": call.now.wall.timestamp() });
    for name in ["sdk_version", "response_time_ms", "error_rate", "requests_count"] {
        row[name] = call
            .body
            .get(name)
            .filter(|it| !it.is_object() && !it.is_array())
            .cloned()
            .unwrap_or_default();
    }
    let commands = desk::write(&mut desk.governance, call, |tx| {
        if !is_registered(tx, &agent)? {
            return Ok(None);
        }
        let since = tx.fact(HEARTBEAT, &agent)?.map(|before| before["since"].clone());
        row["since"] = since.unwrap_or_else(|| row["at"].clone());
        tx.fact_put(HEARTBEAT, &agent, &row)?;
        command::deliver(tx, &agent, call.now).map(Some)
    })?;
    let commands = commands.ok_or_else(Refusal::absent)?;
    Ok(json!({ "success": true, "commands": commands }))
}

/// How an agent is, by its last heartbeat.
pub fn health(heard: Option<&Value>, now: chrono::DateTime<chrono::Utc>) -> &'static str {
    match heard.and_then(|heard| heard["at"].as_i64()) {
        None => "unknown",
        Some(at) if now.timestamp() - at > LOST_AFTER_SECONDS => "lost",
        Some(_) => "healthy",
    }
}

/// `GET /api/agents/health/{agent_id}`.
pub fn agent_status(desk: &mut Desk, call: &Call) -> Result<Value, Refusal> {
    let (row, heard) = known(desk, call)?;
    let time = |at: i64| chrono::DateTime::from_timestamp(at, 0).map(|at| at.to_rfc3339());
    let at = heard.as_ref().and_then(|heard| heard["at"].as_i64());
    let since = heard.as_ref().and_then(|heard| heard["since"].as_i64());
    Ok(json!({
        "agent_id": row["agent_id"],
        "status": health(heard.as_ref(), call.now.wall),
        "last_heartbeat": at.and_then(time),
        "uptime_seconds": at.zip(since).map(|(at, since)| at - since),
        "metadata": row["metadata"],
    }))
}

/// `PUT /api/v1/agents/{agent_id}/trust`: an administrator sets a level.
pub fn trust(desk: &mut Desk, call: &Call) -> Result<Value, Refusal> {
    let agent = own_agent(call)?;
    let level = call.required("level")?;
    let level = Level::ALL.into_iter().find(|it| it.word() == level);
    let level = level.ok_or_else(|| Refusal::invalid("level must be one of L0 L1 L2 L3 L4"))?;
    let why = call.required("reason")?.to_owned();
    let (by, changed) = (call.caller.name(), call.now.wall);
    let row = TrustRow { agent, level, base: level, lowered_until: None, why, by, changed };
    let org = call.caller.org.clone();
    set_trust(desk.governance.store(), &org, &row, call.now)?;
    Ok(json!({ "agent_id": row.agent, "trust_level": level.word() }))
}

/// `GET /api/v1/orchestration/sessions/{session_id}` and `…/risk`.
pub fn session(desk: &mut Desk, call: &Call) -> Result<Value, Refusal> {
    let id = call.part("session_id").to_owned();
    let found = desk::read(&mut desk.governance, call, |tx| {
        let totals = tx.session_totals(&id)?;
        let query = db::rows::ActionQuery {
            session_id: Some(id.clone()),
            limit: 500,
            ..db::rows::ActionQuery::default()
        };
        Ok((totals, tx.actions(&query)?))
    })?;
    let (totals, actions) = found;
    if totals.actions == 0 {
        return Err(Refusal::absent());
    }
    let mut answer = risk(&id, &totals);
    let actions: Vec<Value> = actions
        .iter()
        .map(|action| {
            json!({
                "id": action.id,
                "parent_action_id": action.new.ask.parent_action_id,
                "orchestration_depth": action.new.ask.depth,
                "agent_id": action.new.ask.agent,
                "action_type": action.new.ask.action_type,
                "resource": action.new.ask.resource,
                "status": action.new.status.word(),
                "risk_score": action.new.verdict.risk,
                "created_at": action.new.submitted.to_rfc3339(),
            })
        })
        .collect();
    answer["actions"] = actions.into();
    Ok(answer)
}

pub fn session_risk(desk: &mut Desk, call: &Call) -> Result<Value, Refusal> {
    let id = call.part("session_id").to_owned();
    let totals = desk::read(&mut desk.governance, call, |tx| tx.session_totals(&id))?;
    if totals.actions == 0 { Err(Refusal::absent()) } else { Ok(risk(&id, &totals)) }
}

/// What a session adds up to.
pub fn risk(id: &str, totals: &SessionTotals) -> Value {
    json!({
        "session_id": id,
        "orchestration_session_id": id,
        "max_risk": totals.max_risk,
        "avg_risk": totals.avg_risk(),
        "agents": totals.agents,
        "max_depth": totals.max_depth,
        "blocked_count": totals.blocked,
        "high_risk_count": totals.high_risk,
        "action_count": totals.actions,
        "cost_micros": totals.cost.0,
    })
}

/// `GET /api/v1/orchestration/sessions`: by name, at most 200, from `after` on.
pub fn sessions(desk: &mut Desk, call: &Call) -> Result<Value, Refusal> {
    let after = call.query.get("after").cloned().unwrap_or_default();
    let limit = call.number("limit", 50, 200)? as usize;
    let listed = desk::read(&mut desk.governance, call, |tx| {
        let names = tx.facts(SESSION)?.into_iter().filter(|(id, _)| *id > after);
        let mut listed = Vec::new();
        for (id, first) in names.take(limit) {
            let mut row = risk(&id, &tx.session_totals(&id)?);
            row["first"] = first["first"].clone();
            listed.push(row);
        }
        Ok(listed)
    })?;
    Ok(json!({ "sessions": listed }))
}

/// `GET /api/v1/orchestration/stats`.
pub fn stats(desk: &mut Desk, call: &Call) -> Result<Value, Refusal> {
    desk::read(&mut desk.governance, call, |tx| {
        Ok(json!({
            "sessions": tx.facts(SESSION)?.len(),
            "edges": tx.facts(super::topology::EDGE)?.len(),
            "agents": tx.facts(AGENT)?.iter().filter(|(_, row)| row["gone"] == false).count(),
            "killed": tx.kills()?.len(),
        }))
    })
}

/// `GET /api/sdk/kill-switch/status`. Three names of one thing: each version of the client reads another.
pub fn kill_status(desk: &mut Desk, call: &Call) -> Result<Value, Refusal> {
    let kills = desk::read(&mut desk.governance, call, |tx| tx.kills())?;
    let covers = |kill: &&KillSwitch| match &call.caller.agent {
        Some(agent) => kill.covers(agent),
        None => kill.target == KillSwitch::ALL,
    };
    let kill = kills.iter().find(covers);
    let blocked = kill.is_some();
    Ok(json!({
        "blocked": blocked,
        "active": blocked,
        "is_active": blocked,
        "reason": kill.map(|kill| kill.why.clone()),
        "activated_at": kill.map(|kill| kill.at.to_rfc3339()),
        "activated_by": kill.map(|kill| kill.by.clone()),
    }))
}
