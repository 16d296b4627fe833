//! Acts over HTTP: submitted, looked up, waited for, reported.
//!
//! Where an act came from is checked in the transaction that writes it, before any row of it, and a
//! request whose lineage cannot be checked is refused, never served without it. What a caller says
//! of its own risk is neither believed nor refused. An act that waits is asked for by its own
//! number, not by its approval's: one approval lets one act through.

use serde_json::{Map, Value, json};

use super::desk::{self, Call, Desk, Reply};
use super::judge::Court;
use super::peers;
use super::refusal::Refusal;
use super::shown::{self, Shown};
use super::{gate, registry, topology};
use crate::govern::action::{Ask, DEPTH_MAX, Micros};
use crate::govern::approval::State;
use crate::govern::audit::{Draft, Kind};
use crate::govern::lineage::{self, Parent};
use crate::govern::trust::Level;
use crate::run::governance::bounds::caps;
use crate::run::governance::decide::Answer;
use crate::run::governance::session::SESSION;
use crate::run::governance::settle::{Outcome, settle};
use crate::run::governance::submit::{Known, Submission, submit_in};
use crate::run::governance::{GovernanceError, claim};
use crate::sys::db::rows::{Action, ActionQuery, Approval, Status};
use crate::sys::db::{self, DbError, Tx};

const NAME_CHARS_MAX: usize = 200;
const RESOURCE_CHARS_MAX: usize = 16_384;
/// A million dollars.
const COST_MICROS_MAX: i64 = 1_000_000_000_000;
/// Parts of the body that rules may ask about as parts of the context.
const TOLD: [&str; 11] = [
    "action_details",
    "agent_name",
    "description",
    "mcp_server_name",
    "model_id",
    "parameters",
    "resource_id",
    "resource_type",
    "risk_indicators",
    "tool_name",
    "environment",
];
const UNCHECKED: &str = "orchestration validation failed";

/// `POST /api/v1/actions/submit`.
pub fn submit(desk: &mut Desk, call: &Call) -> Result<Reply, Refusal> {
    let ask = ask(call)?;
    decide(desk, call, ask, Keep::Record, |shown| Reply::Written {
        decision: shown.decision,
        text: serde_json::to_string(shown).expect("plain data of ours serialises"),
    })
}

/// `POST /api/governance/policies/evaluate-realtime`: the same judgement, and nothing is kept.
pub fn evaluate(desk: &mut Desk, call: &Call) -> Result<Value, Refusal> {
    let mut ask = ask(call)?;
    ask.correlation_id = None;
    let found = decide(desk, call, ask, Keep::Nothing, shown::value)?;
    let rules = found["matched_rules"].as_array().map_or(&[][..], Vec::as_slice);
    let rules: Vec<Value> = rules.iter().map(|name| json!({ "name": name })).collect();
    Ok(json!({
        "decision": found["decision"],
        "reason": found["reason"],
        "risk_score": found["risk_score"],
        "matched_policies": rules,
        "violations": found["policy_violations"],
    }))
}

/// `POST /api/v1/mcp/actions/submit`. Its reader takes whatever is not refused for leave, so every
/// field that can refuse is always there.
pub fn submit_mcp(desk: &mut Desk, call: &Call) -> Result<Value, Refusal> {
    let (server, verb) = (call.required("mcp_server")?, call.required("verb")?);
    let namespace = call.text("namespace")?.unwrap_or_default();
    let action_type = match call.text("action_type")? {
        Some(given) => given.to_owned(),
        None => format!("mcp.{verb}"),
    };
    let mut body = call.body.clone();
    // What the tool works on stays to be asked about, as `context.resource_id`.
    if let (Some(resource), None) = (call.text("resource")?, call.text("resource_id")?) {
        body.insert("resource_id".to_owned(), resource.into());
    }
    body.insert("action_type".to_owned(), action_type.into());
    body.insert("resource".to_owned(), format!("{server}/{namespace}/{verb}").into());
    body.insert("mcp_server_name".to_owned(), server.into());
    let call = Call { body, ..call.clone() };
    let submitted = ask(&call).and_then(|ask| decide(desk, &call, ask, Keep::Record, shown::value));
    let mut answer = match submitted {
        // This path's readers know no refusal that is an object.
        Err(refusal) if refusal.is_violation() => json!({
            "action_id": "", "decision": "denied", "status": "denied", "requires_approval": false,
            "execution_allowed": false, "reason": refusal.detail, "risk_score": 100,
        }),
        answer => answer?,
    };
    answer["success"] = (answer["decision"] != "denied").into();
    Ok(answer)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keep {
    Record,
    Nothing,
}

fn decide<T>(
    desk: &mut Desk,
    call: &Call,
    ask: Ask,
    keep: Keep,
    answer: impl FnOnce(&Shown<'_>) -> T,
) -> Result<T, Refusal> {
    let org = desk.org(call)?;
    if desk.refresh() {
        peers::announce(desk, call.now)?;
    }
    let operator = desk.operator()?;
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
    let linked = ask.parent_action_id.is_some() || ask.session_id.is_some();
    let work = |tx: &mut dyn Tx| -> Result<Result<T, Refusal>, DbError> {
        let ask = match placed(tx, &court, ask, call)? {
            Ok(ask) => ask,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let level = level(tx, &court, &ask, call)?;
        let (foreseen, mut needs) = court.foresee(&ask, level, call.now.wall);
        needs.session = caps(&court.config.governance);
        let class = foreseen.class();
        let submission = Submission { ask: &ask, class, needs: needs.clone(), operator };
        let judge = |known: &Known| court.judge(&ask, &needs, &foreseen, known);
        let decided = submit_in(tx, &submission, judge, call.now)?;
        let decision = match decided {
            Ok(decision) => decision,
            Err(id) => {
                let text = format!("the correlation id `{id}` was used for another action");
                return Ok(Err(Refusal::forbidden(text)));
            }
        };
        let approval = approval_of(tx, &decision.action)?;
        Ok(Ok(answer(&Shown::new(&decision.action, approval.as_ref(), call, &decision.reason))))
    };
    let done = match keep {
        Keep::Record => desk::write(&mut desk.governance, call, work),
        // A view is thrown away with all that was written in it.
        Keep::Nothing => desk::read(&mut desk.governance, call, work),
    };
    match done {
        Ok(answer) => answer,
        Err(_) if linked => Err(Refusal::forbidden(UNCHECKED)),
        Err(refusal) => Err(refusal),
    }
}

/// The least trust of the agent and of those it acts for.
fn level(tx: &mut dyn Tx, court: &Court<'_>, ask: &Ask, call: &Call) -> Result<Level, DbError> {
    let mut level = court.level(&ask.agent, tx.trust(&ask.agent)?.as_ref(), call.now.wall);
    let mut above = ask.parent_action_id;
    for _ in 0..=DEPTH_MAX {
        let Some(action) = above.map(|id| tx.action(id)).transpose()?.flatten() else { break };
        let agent = &action.new.ask.agent;
        level = level.min(court.level(agent, tx.trust(agent)?.as_ref(), call.now.wall));
        above = action.new.ask.parent_action_id;
    }
    Ok(level)
}

/// The act with its session settled, or why it may not stand where it claims to.
fn placed(
    tx: &mut dyn Tx,
    court: &Court<'_>,
    ask: Ask,
    call: &Call,
) -> Result<Result<Ask, Refusal>, DbError> {
    let above = match ask.parent_action_id {
        None => Ok(None),
        Some(id) => tx.action(id),
    };
    let parent = match (&above, ask.parent_action_id) {
        (Ok(None), None) => Parent::None,
        (Ok(None), Some(_)) => Parent::Absent,
        (Err(_), _) => Parent::Unknown,
        (Ok(Some(action)), _) => Parent::Found {
            session_id: action.new.ask.session_id.clone(),
            depth: action.new.ask.depth,
            // Trust is weighed by the judgement, which sees the whole chain.
            trust: Level::L4,
        },
    };
    let lineage = match lineage::check(&ask, &parent, court.depth_rule()) {
        Ok(lineage) => lineage,
        Err(refusal) => {
            if let Some(alarm) = refusal.alarm() {
                let subject = format!("{} {}", ask.action_type, ask.resource);
                let draft = Draft::new(Kind::Refused, &ask.agent, subject)
                    .with("event", alarm.event)
                    .with("severity", alarm.severity)
                    .with("why", refusal.to_string())
                    .with("parent_action_id", ask.parent_action_id)
                    .with("orchestration_session_id", ask.session_id.clone())
                    .with("by", call.caller.name());
                db::append(tx, &draft, call.now)?;
            }
            return Ok(Err(Refusal::new(refusal.status(), refusal.to_string())));
        }
    };
    if let Err(refusal) = gate::check(tx, court.org, &ask, call)? {
        return Ok(Err(refusal));
    }
    let above = above?;
    if court.config.governance.enforce_topology
        && let Some(parent) = &above
        && !topology::may_delegate(tx, &parent.new.ask.agent, &ask.agent)?
    {
        let why = "this agent is no registered worker of the parent action's agent";
        let draft = Draft::new(Kind::Refused, &ask.agent, &ask.action_type)
            .about(parent.id)
            .with("why", why)
            .with("by", call.caller.name());
        db::append(tx, &draft, call.now)?;
        return Ok(Err(Refusal::forbidden(why)));
    }
    if let Some(session) = &lineage.session_id
        && tx.fact(SESSION, session)?.is_none()
    {
        let first = json!({ "first": call.now.wall.to_rfc3339(), "agent": ask.agent });
        tx.fact_put(SESSION, session, &first)?;
    }
    Ok(Ok(Ask { session_id: lineage.session_id, depth: lineage.depth, ..ask }))
}

/// The act that a body asks for; everything is checked that needs no store.
fn ask(call: &Call) -> Result<Ask, Refusal> {
    let depth = match call.body.get("orchestration_depth") {
        None | Some(Value::Null) => 0,
        Some(given) => {
            let depth = given.as_u64().and_then(|depth| u8::try_from(depth).ok());
            depth
                .filter(|depth| *depth <= DEPTH_MAX)
                .ok_or_else(|| Refusal::invalid(lineage::Refusal::Depth.to_string()))?
        }
    };
    let session_id = match call.body.get("orchestration_session_id") {
        None | Some(Value::Null) => None,
        Some(Value::String(session)) if !session.trim().is_empty() => Some(session.clone()),
        Some(_) => {
            let text = "orchestration_session_id must be a string that is not blank";
            return Err(Refusal::invalid(text));
        }
    };
    let parent_action_id = match call.body.get("parent_action_id") {
        None | Some(Value::Null) => None,
        Some(Value::Number(number)) if number.is_i64() => number.as_i64(),
        Some(_) => return Err(Refusal::invalid("parent_action_id must be an integer")),
    };
    let action_type = call.required("action_type")?.trim().to_ascii_lowercase();
    within("action_type", &action_type, NAME_CHARS_MAX)?;
    let resource = match call.text("resource")? {
        Some(resource) => resource,
        // Older clients describe what they do and name no resource.
        None => match call.text("resource_id")? {
            Some(resource) => resource,
            None => {
                call.text("description")?.ok_or_else(|| Refusal::invalid("resource is required"))?
            }
        },
    };
    if resource.chars().count() > RESOURCE_CHARS_MAX {
        return Err(Refusal::invalid(format!(
            "resource has more than {RESOURCE_CHARS_MAX} characters"
        )));
    }
    let named = call.text("agent_id")?;
    let agent = named.or(call.caller.agent.as_deref()).unwrap_or("unknown").to_owned();
    registry::agent_name(&agent)?;
    if !call.caller.speaks_for(&agent) {
        return Err(Refusal::forbidden("this key belongs to another agent"));
    }
    Ok(Ask {
        org: call.caller.org.clone(),
        agent,
        action_type,
        resource: resource.to_owned(),
        context: context(call)?,
        cost: Micros(cost(call)?.unwrap_or(0)),
        claimed_risk: None,
        session_id,
        parent_action_id,
        depth,
        correlation_id: call.correlation_id.clone(),
    })
}

/// `cost_micros` of the body: what an act is expected to cost, or has cost, in millionths of a dollar.
fn cost(call: &Call) -> Result<Option<i64>, Refusal> {
    match call.body.get("cost_micros") {
        None | Some(Value::Null) => Ok(None),
        Some(given) => {
            let given = given.as_i64().filter(|given| (0..=COST_MICROS_MAX).contains(given));
            let text = format!("cost_micros must be an integer between 0 and {COST_MICROS_MAX}");
            given.map(Some).ok_or_else(|| Refusal::invalid(text))
        }
    }
}

fn context(call: &Call) -> Result<Map<String, Value>, Refusal> {
    let mut context = match call.body.get("context") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(context)) => context.clone(),
        Some(_) => return Err(Refusal::invalid("context must be an object")),
    };
    for name in TOLD {
        if let Some(value) = call.body.get(name).filter(|value| !value.is_null()) {
            context.insert(name.to_owned(), value.clone());
        }
    }
    Ok(context)
}

/// A name of the wire: not too long, nothing that a terminal would act on.
pub fn within(name: &str, text: &str, most: usize) -> Result<(), Refusal> {
    if text.chars().count() > most || text.chars().any(char::is_control) {
        return Err(Refusal::invalid(format!(
            "{name} must have at most {most} characters and no control characters"
        )));
    }
    Ok(())
}

fn approval_of(tx: &mut dyn Tx, action: &Action) -> Result<Option<Approval>, DbError> {
    action.new.approval_id.map_or(Ok(None), |id| tx.approval(id))
}

fn described(tx: &mut dyn Tx, action: &Action, call: &Call) -> Result<Value, DbError> {
    let approval = approval_of(tx, action)?;
    let reason = reason(action, approval.as_ref());
    Ok(shown::value(&Shown::new(action, approval.as_ref(), call, &reason)))
}

fn reason(action: &Action, approval: Option<&Approval>) -> String {
    let by = || approval.and_then(|it| it.decided_by.clone()).unwrap_or_default();
    match (action.new.status, approval.map(|it| it.state)) {
        (Status::Lapsed, _) => "no outcome was reported in time".to_owned(),
        (Status::Denied, Some(State::Expired)) => "nobody approved it in time".to_owned(),
        (Status::Denied, Some(State::Denied)) => match approval.and_then(|it| it.why.as_ref()) {
            Some(why) => format!("denied by {}: {why}", by()),
            None => format!("denied by {}", by()),
        },
        (Status::Allowed | Status::Done | Status::Failed, Some(State::Used)) => {
            format!("approved by {}", by())
        }
        (
            Status::Allowed | Status::Held | Status::Denied | Status::Done | Status::Failed,
            Some(_) | None,
        ) => action.new.verdict.reason.clone(),
    }
}

/// One act of the caller's organisation, a held one claimed first.
fn looked_up(desk: &mut Desk, call: &Call) -> Result<(Action, Value), Refusal> {
    let id = call.id("id")?;
    let find = |tx: &mut dyn Tx| -> Result<Option<(Action, Value)>, DbError> {
        let Some(action) = tx.action(id)? else { return Ok(None) };
        let answer = described(tx, &action, call)?;
        Ok(Some((action, answer)))
    };
    let found = desk::read(&mut desk.governance, call, find)?.ok_or_else(Refusal::absent)?;
    // Asking is claiming: only one who may act on the yes is given it.
    let claims = found.0.new.status == Status::Held
        && call.caller.speaks_for(&found.0.new.ask.agent)
        && call.caller.scope != super::key::Scope::Auditor;
    if !claims {
        return Ok(found);
    }
    let operator = desk.governance.operator.decision_public().map_err(|error| {
        tracing::error!(error = crate::base::chain::text(&error), "no operator key can be read");
        Refusal::forbidden("approvals cannot be checked, so this is refused")
    })?;
    let org = call.caller.org.clone();
    let claimed = claim::claim(desk.governance.store(), &org, id, operator.as_ref(), call.now);
    let why = match claimed {
        Ok(claim::Claim::Waiting) => return Ok(found),
        Ok(claim::Claim::Refused { why }) => Some(why),
        // Or somebody else claimed it in between.
        Ok(claim::Claim::Granted { .. }) | Err(GovernanceError::NotOpen { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    let (action, mut answer) =
        desk::read(&mut desk.governance, call, find)?.ok_or_else(Refusal::absent)?;
    if let Some(why) = why {
        answer["reason"] = why.clone().into();
        answer["message"] = why.into();
    }
    Ok((action, answer))
}

/// `GET /api/v1/actions/{id}/status` and its older path.
pub fn status(desk: &mut Desk, call: &Call) -> Result<Value, Refusal> {
    Ok(looked_up(desk, call)?.1)
}

/// `GET /api/sdk/approval/{id}`.
pub fn approval(desk: &mut Desk, call: &Call) -> Result<Value, Refusal> {
    let (action, answer) = looked_up(desk, call)?;
    let status = match action.new.status {
        Status::Held => "pending",
        // Done is over: whoever asks now may not do it once more.
        Status::Allowed => "approved",
        Status::Denied | Status::Lapsed | Status::Done | Status::Failed => "denied",
    };
    let approved = status == "approved";
    Ok(json!({
        "approval_request_id": action.id.to_string(),
        "action_id": action.id,
        "status": status,
        "approved_by": if approved { answer["approved_by"].clone() } else { Value::Null },
        "rejected_by": if status == "denied" { answer["approved_by"].clone() } else { Value::Null },
        "decided_at": answer["approved_at"],
        "rejection_reason": if status == "denied" { answer["reason"].clone() } else { Value::Null },
    }))
}

/// `GET /api/v1/actions/{id}`, whose readers know fewer words.
pub fn details(desk: &mut Desk, call: &Call) -> Result<Value, Refusal> {
    let (action, mut answer) = looked_up(desk, call)?;
    shown(&mut answer, &action);
    Ok(answer)
}

fn shown(answer: &mut Value, action: &Action) {
    answer["status"] = match action.new.status {
        Status::Allowed | Status::Done | Status::Failed => "approved",
        Status::Held => "pending",
        Status::Denied | Status::Lapsed => "denied",
    }
    .into();
    answer["outcome"] = action.new.status.word().into();
    answer["action_type"] = action.new.ask.action_type.clone().into();
    answer["resource"] = action.new.ask.resource.clone().into();
    answer["resource_id"] = action.new.ask.context.get("resource_id").cloned().unwrap_or_default();
    answer["agent_name"] = action.new.ask.context.get("agent_name").cloned().unwrap_or_default();
    answer["updated_at"] = action.finished.unwrap_or(action.new.submitted).to_rfc3339().into();
    answer["audit_trail"] = json!([]);
}

/// `GET /api/agent-activity` and `GET /api/v1/actions`: oldest first, from `after_id` and `offset` on.
pub fn list(desk: &mut Desk, call: &Call) -> Result<Value, Refusal> {
    let (limit, offset) = (call.number("limit", 50, 500)?, call.number("offset", 0, 10_000)?);
    let after = call.number("after_id", 0, u32::MAX)?;
    let query = ActionQuery {
        agent: call.query.get("agent_id").cloned(),
        session_id: call.query.get("session_id").cloned(),
        since: None,
        after_id: i64::from(after),
        limit: offset + limit + 1,
    };
    let actions = desk::read(&mut desk.governance, call, |tx| {
        let mut shown_actions = Vec::new();
        for action in tx.actions(&query)?.into_iter().skip(offset as usize) {
            let mut answer = described(tx, &action, call)?;
            shown(&mut answer, &action);
            shown_actions.push(answer);
        }
        Ok(shown_actions)
    })?;
    let has_more = actions.len() > limit as usize;
    let wanted = call.query.get("status");
    let fits = |action: &Value| wanted.is_none_or(|wanted| action["status"] == wanted.as_str());
    let actions: Vec<Value> = actions.into_iter().take(limit as usize).filter(fits).collect();
    Ok(json!({ "actions": actions, "limit": limit, "offset": offset, "has_more": has_more }))
}

/// `POST /api/v1/actions/{id}/approve`: a person's yes, signed like one of `ao approve`.
pub fn approve(desk: &mut Desk, call: &Call) -> Result<Value, Refusal> {
    decided(desk, call, &Answer::Approve)
}

/// `POST /api/v1/actions/{id}/reject`.
pub fn reject(desk: &mut Desk, call: &Call) -> Result<Value, Refusal> {
    let why = call.text("reason")?.unwrap_or("no reason was given").to_owned();
    within("reason", &why, 1_000)?;
    decided(desk, call, &Answer::Deny { why })
}

fn decided(desk: &mut Desk, call: &Call, answer: &Answer) -> Result<Value, Refusal> {
    if call.caller.person.as_ref().is_none_or(|person| !person.role.approves()) {
        return Err(Refusal::new(
            401,
            "only a person decides on actions: by a token of an approver, or with `ao approve`",
        ));
    }
    let id = call.id("id")?;
    let action = desk::read(&mut desk.governance, call, |tx| tx.action(id))?;
    let action = action.ok_or_else(Refusal::absent)?;
    let held = action.new.approval_id.filter(|_| action.new.status == Status::Held);
    let approval = held.ok_or_else(|| Refusal::forbidden("this action does not wait"))?;
    let by = call.caller.name();
    let org = std::mem::replace(&mut desk.governance.org, call.caller.org.clone());
    let answered = desk.governance.answer(approval, answer, &by, call.now);
    desk.governance.org = org;
    let status = match answered?.state {
        State::Approved | State::Used => "approved",
        State::Pending | State::Denied | State::Expired => "denied",
    };
    Ok(json!({ "success": true, "action_id": id, "status": status, "decided_by": by }))
}

/// `POST /api/agent-action/{id}/complete`.
pub fn complete(desk: &mut Desk, call: &Call) -> Result<Value, Refusal> {
    ended(desk, call, true)
}

/// `POST /api/agent-action/{id}/fail`.
pub fn fail(desk: &mut Desk, call: &Call) -> Result<Value, Refusal> {
    ended(desk, call, false)
}

fn ended(desk: &mut Desk, call: &Call, success: bool) -> Result<Value, Refusal> {
    let id = call.id("id")?;
    let action = desk::read(&mut desk.governance, call, |tx| tx.action(id))?;
    let action = action
        .filter(|action| call.caller.speaks_for(&action.new.ask.agent))
        .ok_or_else(Refusal::absent)?;
    let expected = if success { Status::Done } else { Status::Failed };
    let answer = json!({ "success": true, "action_id": id, "status": expected.word() });
    // A report that got lost on the way back comes again.
    if action.new.status == expected {
        return Ok(answer);
    }
    let reported = ["result", "error", "duration_ms", "completed_at", "failed_at"];
    let details = call.body.iter().filter(|(name, _)| reported.contains(&name.as_str()));
    let details = details.map(|(name, value)| (name.clone(), value.clone())).collect();
    let org = call.caller.org.clone();
    let outcome = Outcome { success, cost: cost(call)?.map(Micros), details };
    settle(desk.governance.store(), &org, id, &outcome, call.now)?;
    Ok(answer)
}
