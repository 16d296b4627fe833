//! Who may delegate to whom, and the switch that stops a whole tree of agents.
//!
//! A preview says whom a cascade would stop and gives a token that stands for exactly them. Executing
//! with a token whose agents have changed since is refused; without one it takes those of that
//! moment. Agents are blocked first, then the processes of those that run on this machine are ended.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::action::within;
use super::desk::{self, Call, Desk};
use super::gate;
use super::refusal::Refusal;
use super::registry::{self, agent_name};
use crate::base::name::UnitName;
use crate::govern::audit::{Draft, Kind, hex};
use crate::govern::kill::{Edges, cascade};
use crate::run::governance::{LOCAL_ORG, kill};
use crate::sys::db::rows::{AuditQuery, KillSwitch};
use crate::sys::db::{self, DbError, Tx};

pub const EDGE: &str = "edge";
const WORKERS_MAX: usize = 20;
const REASON_CHARS_MAX: usize = 1_000;
/// A preview is good for so long.
const PREVIEW_SECONDS: i64 = 600;

fn key(orchestrator: &str, worker: &str) -> String {
    format!("{orchestrator}/{worker}")
}

/// Whether an act of the one may be the parent of an act of the other.
pub fn may_delegate(tx: &mut dyn Tx, orchestrator: &str, worker: &str) -> Result<bool, DbError> {
    Ok(orchestrator == worker || tx.fact(EDGE, &key(orchestrator, worker))?.is_some())
}

/// `POST /api/v1/orchestration/topology`.
pub fn register(desk: &mut Desk, call: &Call) -> Result<Value, Refusal> {
    let orchestrator = call.required("orchestrator_agent_id")?.to_owned();
    agent_name(&orchestrator)?;
    let workers = match call.body.get("worker_agent_ids") {
        Some(Value::Array(workers)) => {
            workers.iter().map(Value::as_str).collect::<Option<Vec<_>>>()
        }
        Some(_) | None => None,
    };
    let workers =
        workers.ok_or_else(|| Refusal::invalid("worker_agent_ids must be a list of strings"))?;
    let distinct: BTreeSet<&str> = workers.iter().copied().collect();
    if workers.is_empty() || workers.len() > WORKERS_MAX || distinct.len() != workers.len() {
        return Err(Refusal::invalid("worker_agent_ids must have 1 to 20 distinct members"));
    }
    for worker in &workers {
        agent_name(worker)?;
        if *worker == orchestrator {
            return Err(Refusal::invalid("an orchestrator cannot be its own worker"));
        }
    }
    joined(desk, call, &orchestrator, |_| {
        Ok(Some(workers.iter().map(|it| (*it).to_owned()).collect()))
    })?;
    Ok(
        json!({ "success": true, "orchestrator_agent_id": orchestrator, "worker_agent_ids": workers }),
    )
}

/// `POST /api/v1/orchestration/topology/mcp`: MCP servers as workers, by their numbers.
pub fn register_mcp(desk: &mut Desk, call: &Call) -> Result<Value, Refusal> {
    let orchestrator = call.required("orchestrator_agent_id")?.to_owned();
    agent_name(&orchestrator)?;
    let ids = match call.body.get("mcp_server_ids") {
        Some(Value::Array(ids)) => ids.iter().map(Value::as_i64).collect::<Option<Vec<_>>>(),
        Some(_) | None => None,
    };
    let ids = ids.ok_or_else(|| Refusal::invalid("mcp_server_ids must be a list of integers"))?;
    let distinct: BTreeSet<i64> = ids.iter().copied().collect();
    if ids.is_empty() || ids.len() > WORKERS_MAX || distinct.len() != ids.len() {
        return Err(Refusal::invalid("mcp_server_ids must have 1 to 20 distinct members"));
    }
    let workers = joined(desk, call, &orchestrator, |tx| {
        let names = gate::servers_of(tx, &ids)?;
        Ok(names.map(|names| names.iter().map(|name| gate::as_agent(name)).collect()))
    })?;
    Ok(json!({
        "success": true, "orchestrator_agent_id": orchestrator, "mcp_server_ids": ids,
        "worker_agent_ids": workers,
    }))
}

/// Writes the edges that are not there yet; `None` of a worker: absent.
fn joined(
    desk: &mut Desk,
    call: &Call,
    orchestrator: &str,
    workers: impl Fn(&mut dyn Tx) -> Result<Option<Vec<String>>, DbError>,
) -> Result<Vec<String>, Refusal> {
    let by = call.caller.name();
    let joined = desk::write(&mut desk.governance, call, |tx| {
        let Some(workers) = workers(tx)? else { return Ok(None) };
        for worker in &workers {
            let place = key(orchestrator, worker);
            if tx.fact(EDGE, &place)?.is_none() {
                let row = json!({
                    "orchestrator_agent_id": orchestrator, "worker_agent_id": worker,
                    "created_at": call.now.wall.to_rfc3339(), "created_by": by,
                });
                tx.fact_put(EDGE, &place, &row)?;
                let draft = Draft::new(Kind::TopologyChanged, &by, orchestrator)
                    .with("worker", worker.clone());
                db::append(tx, &draft, call.now)?;
            }
        }
        Ok(Some(workers))
    })?;
    joined.ok_or_else(Refusal::absent)
}

fn rows(tx: &mut dyn Tx, call: &Call, about: Option<&str>) -> Result<Vec<Value>, DbError> {
    let kills = tx.kills()?;
    let mut rows = Vec::new();
    for (_, mut row) in tx.facts(EDGE)? {
        let ends = [&row["orchestrator_agent_id"], &row["worker_agent_id"]];
        if about.is_some_and(|about| ends.iter().all(|end| end.as_str() != Some(about))) {
            continue;
        }
        let worker = row["worker_agent_id"].as_str().unwrap_or_default().to_owned();
        let heard = tx.fact(registry::HEARTBEAT, &worker)?;
        row["worker_status"] = registry::health(heard.as_ref(), call.now.wall).into();
        row["worker_killed"] = kills.iter().any(|kill| kill.covers(&worker)).into();
        rows.push(row);
    }
    Ok(rows)
}

/// `GET /api/v1/orchestration/topology`.
pub fn list(desk: &mut Desk, call: &Call) -> Result<Value, Refusal> {
    let edges = desk::read(&mut desk.governance, call, |tx| rows(tx, call, None))?;
    Ok(json!({ "edges": edges, "total": edges.len() }))
}

/// `GET /api/v1/orchestration/topology/agents/{agent_id}`.
pub fn agent(desk: &mut Desk, call: &Call) -> Result<Value, Refusal> {
    let agent = call.part("agent_id").to_owned();
    let edges = desk::read(&mut desk.governance, call, |tx| rows(tx, call, Some(&agent)))?;
    if edges.is_empty() {
        return Err(Refusal::absent());
    }
    let (above, below): (Vec<Value>, Vec<Value>) =
        edges.into_iter().partition(|row| row["worker_agent_id"] == agent.as_str());
    Ok(json!({ "agent_id": agent, "orchestrators": above, "workers": below }))
}

/// `GET /api/v1/orchestration/topology/audit`: changes and cascades, newest last.
pub fn audit(desk: &mut Desk, call: &Call) -> Result<Value, Refusal> {
    let kind = Some(Kind::TopologyChanged.word().to_owned());
    let query =
        AuditQuery { kind, last: Some(call.number("limit", 50, 500)?), ..AuditQuery::default() };
    let events = desk::read(&mut desk.governance, call, |tx| super::log::events(tx, &query))?;
    Ok(json!({ "events": events }))
}

/// `GET /api/v1/orchestration/topology/export`, as JSON or, with `format=csv`, as lines.
pub fn export(desk: &mut Desk, call: &Call) -> Result<Value, Refusal> {
    let edges = desk::read(&mut desk.governance, call, |tx| rows(tx, call, None))?;
    match call.query.get("format").map(String::as_str) {
        None | Some("json") => Ok(json!({ "version": 1, "org": call.caller.org, "edges": edges })),
        Some("csv") => {
            let names = [
                "orchestrator_agent_id",
                "worker_agent_id",
                "created_at",
                "created_by",
                "worker_status",
            ];
            let mut text = format!("{}\n", names.join(","));
            for row in &edges {
                let cells = names.map(|name| cell(row[name].as_str().unwrap_or_default()));
                text.push_str(&cells.join(","));
                text.push('\n');
            }
            Ok(Value::String(text))
        }
        Some(_) => Err(Refusal::invalid("format must be json or csv")),
    }
}

/// Quoted, and never a formula to the spreadsheet that opens it.
fn cell(text: &str) -> String {
    let mark = if text.starts_with(['=', '+', '-', '@', '\t']) { "'" } else { "" };
    format!("\"{mark}{}\"", text.replace('"', "\"\""))
}

/// `POST …/topology/kill-cascade` and `POST …/cascade-kill/{agent_id}`.
pub fn kill_cascade(desk: &mut Desk, call: &Call) -> Result<Value, Refusal> {
    let root = match call.path.get("agent_id") {
        Some(root) => root.clone(),
        None => call.required("orchestrator_agent_id")?.to_owned(),
    };
    agent_name(&root)?;
    let why = call.required("reason")?.to_owned();
    within("reason", &why, REASON_CHARS_MAX)?;
    let execute = call.flag("confirm", false)? || !call.flag("dry_run", true)?;
    let (agents, there) = desk::read(&mut desk.governance, call, |tx| {
        let mut edges = Edges::new();
        for (_, row) in tx.facts(EDGE)? {
            let end = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
            edges.entry(end("orchestrator_agent_id")).or_default().insert(end("worker_agent_id"));
        }
        let acted = db::rows::ActionQuery {
            agent: Some(root.clone()),
            limit: 1,
            ..db::rows::ActionQuery::default()
        };
        let there = edges.iter().any(|(above, below)| *above == root || below.contains(&root))
            || tx.fact(registry::AGENT, &root)?.is_some()
            || !tx.actions(&acted)?.is_empty();
        Ok((cascade(&edges, &root), there))
    })?;
    let local = units(desk, call);
    if !there && !local.iter().any(|unit| unit.as_str() == root) {
        return Err(Refusal::absent());
    }
    let agents = agents.ok_or_else(|| {
        Refusal::forbidden("this tree has too many agents for one cascade; kill parts of it")
    })?;
    let here: BTreeSet<UnitName> = local
        .into_iter()
        .filter(|unit| agents.iter().any(|agent| agent == unit.as_str()))
        .collect();
    if !execute {
        let token = token(desk, call, &root, &agents, call.now.wall.timestamp());
        return Ok(json!({
            "dry_run": true, "orchestrator_agent_id": root, "agents": agents,
            "total": agents.len(), "processes_here": here, "token": token,
        }));
    }
    if let Some(given) = call.text("token")? {
        let stale = || Refusal::forbidden("this preview is out of date; make a new one");
        let at: i64 = given.split('.').next().and_then(|at| at.parse().ok()).ok_or_else(stale)?;
        let age = call.now.wall.timestamp() - at;
        let same = token(desk, call, &root, &agents, at) == given;
        if !same || !(0..=PREVIEW_SECONDS).contains(&age) {
            return Err(stale());
        }
    }
    let by = call.caller.name();
    block(desk, call, &agents, &by, &why)?;
    let blocked_at = crate::sys::clock::now();
    let ended = if here.is_empty() { Vec::new() } else { kill::end_promptly(&desk.project, &here) };
    let ended: Vec<Value> = ended
        .into_iter()
        .map(|it| json!({ "agent": it.unit, "processes": it.processes, "failed": it.failed }))
        .collect();
    Ok(json!({
        "dry_run": false, "success": true, "orchestrator_agent_id": root, "agents": agents,
        "total": agents.len(), "blocked_at": blocked_at.wall.to_rfc3339(), "ended_here": ended,
    }))
}

/// Names the agents of a preview and when it was made; nobody else can make one.
fn token(desk: &Desk, call: &Call, root: &str, agents: &[String], at: i64) -> String {
    let mut hasher = blake3::Hasher::new_keyed(&desk.secret);
    for part in [call.caller.org.as_str(), root, &at.to_string(), &agents.join("/")] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    format!("{at}.{}", hex(&hasher.finalize().as_bytes()[..16]))
}

/// Agents of the caller that run on this machine.
fn units(desk: &Desk, call: &Call) -> BTreeSet<UnitName> {
    if call.caller.org == LOCAL_ORG { kill::agents(&desk.project) } else { BTreeSet::new() }
}

/// Ends what runs on this machine and was killed from another one.
pub fn end_killed(desk: &mut Desk) {
    let kills = match desk.governance.kills() {
        Ok(kills) => kills,
        Err(error) => {
            let error = crate::base::chain::text(&error);
            tracing::error!(error, "nobody knows whether an agent was killed elsewhere");
            return;
        }
    };
    if kills.is_empty() {
        return;
    }
    let mut here = kill::agents(&desk.project);
    here.retain(|unit| kills.iter().any(|kill| kill.covers(unit.as_str())));
    let running = kill::would_end(&desk.project, &here);
    here.retain(|unit| running.get(unit).is_some_and(|roots| !roots.is_empty()));
    if here.is_empty() {
        return;
    }
    for ended in kill::end_promptly(&desk.project, &here) {
        let (agent, failed) = (ended.unit.to_string(), ended.failed.unwrap_or_default());
        tracing::info!(agent, ended.processes, failed, "killed from elsewhere, ended here");
    }
}

fn block(
    desk: &mut Desk,
    call: &Call,
    targets: &[String],
    by: &str,
    why: &str,
) -> Result<(), Refusal> {
    desk::write(&mut desk.governance, call, |tx| {
        let why = crate::base::redact::text(why);
        for target in targets {
            let (target, by, why) = (target.clone(), by.to_owned(), why.clone());
            let draft = Draft::new(Kind::Killed, &by, &target).with("why", why.clone());
            tx.kill_put(&KillSwitch { target, by, why, at: call.now.wall })?;
            db::append(tx, &draft, call.now)?;
        }
        Ok(())
    })
}

/// `POST /api/billing/kill-switch/{organization_id}/trigger`: everybody of the organisation.
pub fn trigger(desk: &mut Desk, call: &Call) -> Result<Value, Refusal> {
    own_number(desk, call)?;
    let why = call.required("reason")?.to_owned();
    within("reason", &why, REASON_CHARS_MAX)?;
    let here = units(desk, call);
    block(desk, call, &[KillSwitch::ALL.to_owned()], &call.caller.name(), &why)?;
    let ended = if here.is_empty() { Vec::new() } else { kill::end_promptly(&desk.project, &here) };
    let failed: Vec<Value> = ended
        .into_iter()
        .filter_map(|it| it.failed.map(|why| json!({ "agent": it.unit, "failed": why })))
        .collect();
    Ok(json!({ "success": true, "blocked": true, "failed_here": failed }))
}

/// `POST /api/billing/kill-switch/{organization_id}/release`.
pub fn release(desk: &mut Desk, call: &Call) -> Result<Value, Refusal> {
    own_number(desk, call)?;
    let why = call.text("reason")?.unwrap_or_default().to_owned();
    let lifted = desk::write(&mut desk.governance, call, |tx| {
        let lifted = tx.kill_lift(KillSwitch::ALL)?;
        if lifted {
            let draft = Draft::new(Kind::Unkilled, call.caller.name(), KillSwitch::ALL)
                .with("why", why.clone());
            db::append(tx, &draft, call.now)?;
        }
        Ok(lifted)
    })?;
    Ok(json!({ "success": true, "blocked": false, "was_blocked": lifted }))
}

fn own_number(desk: &mut Desk, call: &Call) -> Result<(), Refusal> {
    let number = call.id("organization_id")?;
    let own = desk.org(call)?.number;
    if u64::try_from(number).ok() == Some(own) { Ok(()) } else { Err(Refusal::absent()) }
}
