//! Who may delegate to whom, and the switch that stops a whole tree of agents.
//!
//! A preview says whom a cascade would stop and gives a token that stands for exactly them. Executing
//! with a token whose agents have changed since is refused; without one it takes those of that
//! moment. Agents are blocked first, then the processes of those that run on this machine are ended.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::action::within;
use super::command;
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
/// Of one orchestrator, over all calls.
const FAN_OUT_MAX: usize = 1_000;
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

/// All edges of the organisation.
fn edges(tx: &mut dyn Tx) -> Result<Edges, DbError> {
    let mut edges = Edges::new();
    for (_, row) in tx.facts(EDGE)? {
        let end = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        edges.entry(end("orchestrator_agent_id")).or_default().insert(end("worker_agent_id"));
    }
    Ok(edges)
}

/// Why these workers cannot stand below the orchestrator, beside what is there.
fn unfit(edges: &Edges, orchestrator: &str, workers: &[String]) -> Option<Refusal> {
    let own = edges.get(orchestrator);
    let new = workers.iter().filter(|it| !own.is_some_and(|own| own.contains(*it)));
    if own.map_or(0, BTreeSet::len) + new.count() > FAN_OUT_MAX {
        let text = format!("an orchestrator has at most {FAN_OUT_MAX} workers");
        return Some(Refusal::invalid(text));
    }
    let closes = |worker: &&String| {
        cascade(edges, worker).is_none_or(|below| below.iter().any(|it| it == orchestrator))
    };
    let closing = workers.iter().find(closes)?;
    let text = format!("{closing} is above {orchestrator}, so it cannot be its worker");
    Some(Refusal::invalid(text))
}

/// Writes the edges that are not there yet; `None` of a worker: absent.
fn joined(
    desk: &mut Desk,
    call: &Call,
    orchestrator: &str,
    workers: impl Fn(&mut dyn Tx) -> Result<Option<Vec<String>>, DbError>,
) -> Result<Vec<String>, Refusal> {
    let by = call.caller.name();
    desk::write(&mut desk.governance, call, |tx| {
        let Some(workers) = workers(tx)? else { return Ok(Err(Refusal::absent())) };
        if let Some(refusal) = unfit(&edges(tx)?, orchestrator, &workers) {
            return Ok(Err(refusal));
        }
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
        Ok(Ok(workers))
    })?
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
        row["worker_command"] =
            command::status(tx, &worker, &kills)?.map(command::Status::word).into();
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
        let edges = edges(tx)?;
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
    let elsewhere: Vec<&str> =
        agents.iter().map(String::as_str).filter(|it| !runs_in(&here, it)).collect();
    let left = block(desk, call, &agents, &by, &why, &elsewhere)?;
    let blocked_at = crate::sys::clock::now();
    let ended = if here.is_empty() { Vec::new() } else { kill::end_promptly(&desk.project, &here) };
    let ended: Vec<Value> = ended
        .into_iter()
        .map(|it| json!({ "agent": it.unit, "processes": it.processes, "failed": it.failed }))
        .collect();
    Ok(json!({
        "dry_run": false, "success": true, "orchestrator_agent_id": root, "agents": agents,
        "total": agents.len(), "blocked_at": blocked_at.wall.to_rfc3339(), "ended_here": ended,
        "left_elsewhere": left,
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

/// Whether the agent is one of this machine's, or no agent that could hear anything.
fn runs_in(here: &BTreeSet<UnitName>, agent: &str) -> bool {
    gate::is_server(agent) || here.iter().any(|unit| unit.as_str() == agent)
}

/// Blocks all targets at once, and says what is left for those elsewhere to hear. A switch that is in
/// force stays as it was pulled, so that nobody hears of it twice.
fn block(
    desk: &mut Desk,
    call: &Call,
    targets: &[String],
    by: &str,
    why: &str,
    elsewhere: &[&str],
) -> Result<Vec<Value>, Refusal> {
    desk::write(&mut desk.governance, call, |tx| {
        let why = crate::base::redact::text(why);
        let mut known: BTreeMap<String, KillSwitch> =
            tx.kills()?.into_iter().map(|kill| (kill.target.clone(), kill)).collect();
        for target in targets {
            let draft = Draft::new(Kind::Killed, by, target).with("why", why.clone());
            let (by, why) = (by.to_owned(), why.clone());
            let new = || KillSwitch { target: target.clone(), by, why, at: call.now.wall };
            tx.kill_put(&known.remove(target).unwrap_or_else(new))?;
            db::append(tx, &draft, call.now)?;
        }
        command::left(tx, elsewhere, call.now)
    })
}

/// `POST /api/billing/kill-switch/{organization_id}/trigger`: everybody of the organisation.
pub fn trigger(desk: &mut Desk, call: &Call) -> Result<Value, Refusal> {
    own_number(desk, call)?;
    let why = call.required("reason")?.to_owned();
    within("reason", &why, REASON_CHARS_MAX)?;
    let here = units(desk, call);
    let registered = desk::read(&mut desk.governance, call, |tx| tx.facts(registry::AGENT))?;
    let elsewhere = registered.iter().filter(|(_, row)| row["gone"] == false);
    let elsewhere: Vec<&str> =
        elsewhere.map(|(agent, _)| agent.as_str()).filter(|it| !runs_in(&here, it)).collect();
    let (all, by) = ([KillSwitch::ALL.to_owned()], call.caller.name());
    let left = block(desk, call, &all, &by, &why, &elsewhere)?;
    let ended = if here.is_empty() { Vec::new() } else { kill::end_promptly(&desk.project, &here) };
    let failed: Vec<Value> = ended
        .into_iter()
        .filter_map(|it| it.failed.map(|why| json!({ "agent": it.unit, "failed": why })))
        .collect();
    Ok(json!({
        "success": true, "blocked": true, "failed_here": failed, "left_elsewhere": left,
    }))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edge_closes_no_cycle_and_nobody_has_too_many_workers() {
        let many = (0..FAN_OUT_MAX).map(|number| format!("w{number}")).collect::<BTreeSet<_>>();
        let edges = Edges::from([
            ("a".to_owned(), BTreeSet::from(["b".to_owned()])),
            ("b".to_owned(), BTreeSet::from(["c".to_owned()])),
            ("wide".to_owned(), many),
        ]);
        let check = |orchestrator: &str, workers: &[&str], expected: Option<&str>| {
            let workers: Vec<String> = workers.iter().map(|it| (*it).to_owned()).collect();
            let said = unfit(&edges, orchestrator, &workers).map(|refusal| refusal.detail);
            assert_eq!(said.as_deref(), expected);
        };
        check("a", &["b", "c", "d"], None);
        check("x", &["a"], None);
        check("c", &["d", "a"], Some("a is above c, so it cannot be its worker"));
        check("b", &["a"], Some("a is above b, so it cannot be its worker"));
        check("wide", &["w1"], None);
        check("wide", &["late"], Some("an orchestrator has at most 1000 workers"));
    }
}
