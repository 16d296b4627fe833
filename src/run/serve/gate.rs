//! Registers of MCP servers and of models, and what an act that names one must fit.
//!
//! An organisation may demand that both are registered (`ao org demand`). One that was deactivated,
//! taken into a kill cascade, or asked for a tool that is blocked is refused in any case. What a
//! registration says to make acts easier (`auto_approve_tools`) is kept and not heard: a register
//! can only tighten. Names in an act are claims: an act that hides its server names none.

use serde_json::{Value, json};

use super::action::within;
use super::desk::{self, Call, Desk};
use super::key::Org;
use super::refusal::Refusal;
use crate::govern::action::Ask;
use crate::govern::audit::{Draft, Kind};
use crate::sys::db::{self, DbError, Tx};

const NAME_CHARS_MAX: usize = 128;
const ROWS_MAX: usize = 1_000;

/// One register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Register {
    McpServers,
    Models,
}

impl Register {
    /// The kind of its rows, and the name of one in answers.
    fn word(self) -> &'static str {
        match self {
            Self::McpServers => "mcp_server",
            Self::Models => "model",
        }
    }

    /// What a body calls the name.
    fn field(self) -> &'static str {
        match self {
            Self::McpServers => "server_name",
            Self::Models => "model_id",
        }
    }

    /// What an act calls it; the first is the published one.
    fn claims(self) -> &'static [&'static str] {
        match self {
            Self::McpServers => &["mcp_server_name", "mcp_server"],
            Self::Models => &["model_id"],
        }
    }

    /// What is kept as it is told.
    fn told(self) -> &'static [&'static str] {
        match self {
            Self::McpServers => &[
                "transport_type",
                "governance_enabled",
                "display_name",
                "description",
                "server_url",
                "auto_approve_tools",
                "tool_risk_overrides",
            ],
            Self::Models => &["display_name", "description", "provider", "version"],
        }
    }

    fn is_demanded(self, org: &Org) -> bool {
        match self {
            Self::McpServers => org.demands_mcp_servers,
            Self::Models => org.demands_models,
        }
    }

    fn code(self, why: &str) -> String {
        let whose = match self {
            Self::McpServers => "MCP_SERVER",
            Self::Models => "MODEL",
        };
        format!("{whose}_{why}_DENY")
    }

    fn name(self, name: &str) -> Result<(), Refusal> {
        within(self.field(), name, NAME_CHARS_MAX)?;
        let unfit = |c: char| {
            c.is_whitespace()
                || matches!(c, '?' | '#' | '%' | '*')
                || (c == '/' && self == Self::McpServers)
        };
        if name.is_empty() || name.contains(unfit) {
            let text =
                format!("{} must not be empty or contain blanks or any of ? # % * /", self.field());
            return Err(Refusal::invalid(text));
        }
        Ok(())
    }
}

/// What an MCP server is called where agents are named, as in kill switches and edges.
pub fn as_agent(server: &str) -> String {
    format!("mcp:{server}")
}

/// Whether this is an MCP server's name there.
pub fn is_server(agent: &str) -> bool {
    agent.starts_with("mcp:")
}

fn found(tx: &mut dyn Tx, register: Register, name: &str) -> Result<Option<Value>, DbError> {
    Ok(tx.fact(register.word(), name)?.filter(|row| row["gone"] == false))
}

/// Names of servers by their numbers, as clients name them; `None` where one is not there.
pub fn servers_of(tx: &mut dyn Tx, ids: &[i64]) -> Result<Option<Vec<String>>, DbError> {
    let rows = tx.facts(Register::McpServers.word())?;
    let name = |id: &i64| {
        let row = rows.iter().find(|(_, row)| row["id"] == *id && row["gone"] == false);
        row.map(|(name, _)| name.clone())
    };
    Ok(ids.iter().map(name).collect())
}

/// Why an act may not be judged at all: what it names is not as the organisation wants it.
pub fn check(
    tx: &mut dyn Tx,
    org: &Org,
    ask: &Ask,
    call: &Call,
) -> Result<Result<(), Refusal>, DbError> {
    for register in [Register::McpServers, Register::Models] {
        for claim in register.claims() {
            let name = match ask.context.get(*claim) {
                None | Some(Value::Null) => continue,
                Some(Value::String(name)) => name.clone(),
                Some(Value::Number(number)) => number.to_string(),
                Some(Value::Bool(_) | Value::Array(_) | Value::Object(_)) => {
                    return Ok(Err(Refusal::invalid(format!("{claim} must be a string"))));
                }
            };
            let Some((code, why)) = against(tx, register, org, ask, &name)? else { continue };
            let draft = Draft::new(Kind::Refused, &ask.agent, &ask.action_type)
                .with("event", code.clone())
                .with("severity", "HIGH")
                .with("why", why)
                .with(claim, name.clone())
                .with("by", call.caller.name());
            db::append(tx, &draft, call.now)?;
            let what = match register {
                Register::McpServers => "MCP",
                Register::Models => "Model",
            };
            let detail = json!({
                "error": format!("{what} governance violation"), "code": code, "detail": why,
                register.claims()[0]: name, "correlation_id": call.correlation_id,
            });
            return Ok(Err(Refusal::violation(why, detail)));
        }
    }
    Ok(Ok(()))
}

fn against(
    tx: &mut dyn Tx,
    register: Register,
    org: &Org,
    ask: &Ask,
    name: &str,
) -> Result<Option<(String, &'static str)>, DbError> {
    let row = found(tx, register, name)?;
    let said = |why: &str, text| Ok(Some((register.code(why), text)));
    let Some(row) = row else {
        return match (register.is_demanded(org), register) {
            (false, _) => Ok(None),
            (true, Register::McpServers) => {
                said("UNREGISTERED", "this MCP server is not registered in this organization")
            }
            (true, Register::Models) => {
                said("UNREGISTERED", "this model is not registered in this organization")
            }
        };
    };
    if row["active"] != true {
        return match register {
            Register::McpServers => said("DEACTIVATED", "this MCP server is deactivated"),
            Register::Models => said("DEACTIVATED", "this model is deactivated"),
        };
    }
    let tool = ask.context.get("tool_name").and_then(Value::as_str);
    let blocked = row["blocked_tools"].as_array().map_or(&[][..], Vec::as_slice);
    if tool.is_some_and(|tool| blocked.iter().any(|it| it == tool)) {
        return said("TOOL_BLOCKED", "this tool of the MCP server is blocked");
    }
    let kills = tx.kills()?;
    if register == Register::McpServers && kills.iter().any(|kill| kill.target == as_agent(name)) {
        return said("KILLED", "this MCP server was stopped by a kill switch");
    }
    Ok(None)
}

fn register(desk: &mut Desk, call: &Call, register: Register) -> Result<Value, Refusal> {
    let name = match call.body.get(register.field()) {
        Some(Value::Number(number)) => number.to_string(),
        _ => call.required(register.field())?.to_owned(),
    };
    register.name(&name)?;
    let blocked = match call.body.get("blocked_tools") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(tools)) if tools.iter().all(Value::is_string) => tools.clone(),
        Some(_) => return Err(Refusal::invalid("blocked_tools must be a list of strings")),
    };
    let by = call.caller.name();
    let row = desk::write(&mut desk.governance, call, |tx| {
        let before = tx.fact(register.word(), &name)?;
        let rows = tx.facts(register.word())?.len();
        if before.is_none() && rows >= ROWS_MAX {
            return Ok(None);
        }
        let there = before.as_ref().filter(|row| row["gone"] == false);
        let id = before.as_ref().map_or(json!(rows + 1), |row| row["id"].clone());
        let mut row = json!({
            "id": id, register.field(): name, "name": name, "gone": false,
            "active": there.is_none_or(|row| row["active"] == true),
            "blocked_tools": blocked,
            "created_at": there.map_or(json!(call.now.wall.to_rfc3339()), |row| row["created_at"].clone()),
            "created_by": there.map_or(json!(by), |row| row["created_by"].clone()),
        });
        for name in register.told() {
            row[*name] = crate::base::redact::json(call.body.get(*name).unwrap_or(&Value::Null));
        }
        if before.as_ref() != Some(&row) {
            tx.fact_put(register.word(), &name, &row)?;
            record(tx, call, register, &name, "registered")?;
        }
        Ok(Some(row))
    })?;
    let row = row.ok_or_else(|| Refusal::forbidden(format!("at most {ROWS_MAX} are kept")))?;
    Ok(json!({ "success": true, "message": "registered", register_name(register): row }))
}

/// `server` as clients read it.
fn register_name(register: Register) -> &'static str {
    match register {
        Register::McpServers => "server",
        Register::Models => "model",
    }
}

fn record(
    tx: &mut dyn Tx,
    call: &Call,
    register: Register,
    name: &str,
    what: &str,
) -> Result<(), DbError> {
    let subject = format!("{} {name}", register.word());
    let why = call.body.get("reason").and_then(Value::as_str).map(crate::base::redact::text);
    let draft = Draft::new(Kind::AgentChanged, call.caller.name(), subject)
        .with("change", what)
        .with("why", why);
    db::append(tx, &draft, call.now).map(drop)
}

fn list(desk: &mut Desk, call: &Call, register: Register) -> Result<Value, Refusal> {
    let rows = desk::read(&mut desk.governance, call, |tx| tx.facts(register.word()))?;
    let rows: Vec<Value> =
        rows.into_iter().map(|(_, row)| row).filter(|row| row["gone"] == false).collect();
    let total = rows.len();
    Ok(json!({ format!("{}s", register_name(register)): rows, "total": total }))
}

fn one(desk: &mut Desk, call: &Call, register: Register) -> Result<Value, Refusal> {
    let name = call.part("name").to_owned();
    let row = desk::read(&mut desk.governance, call, |tx| found(tx, register, &name))?;
    Ok(json!({ "success": true, register_name(register): row.ok_or_else(Refusal::absent)? }))
}

fn altered(
    desk: &mut Desk,
    call: &Call,
    register: Register,
    (field, value, what): (&str, bool, &str),
) -> Result<Value, Refusal> {
    let name = call.part("name").to_owned();
    if let Some(why) = call.text("reason")? {
        within("reason", why, 1_000)?;
    }
    let row = desk::write(&mut desk.governance, call, |tx| {
        let Some(mut row) = found(tx, register, &name)? else { return Ok(None) };
        row[field] = value.into();
        tx.fact_put(register.word(), &name, &row)?;
        record(tx, call, register, &name, what)?;
        Ok(Some(row))
    })?;
    let row = row.ok_or_else(Refusal::absent)?;
    Ok(json!({ "success": true, "message": what, register_name(register): row }))
}

const ON: (&str, bool, &str) = ("active", true, "activated");
const OFF: (&str, bool, &str) = ("active", false, "deactivated");
const GONE: (&str, bool, &str) = ("gone", true, "taken off the register");

pub fn register_server(desk: &mut Desk, call: &Call) -> Result<Value, Refusal> {
    register(desk, call, Register::McpServers)
}

pub fn servers(desk: &mut Desk, call: &Call) -> Result<Value, Refusal> {
    list(desk, call, Register::McpServers)
}

pub fn server(desk: &mut Desk, call: &Call) -> Result<Value, Refusal> {
    one(desk, call, Register::McpServers)
}

pub fn remove_server(desk: &mut Desk, call: &Call) -> Result<Value, Refusal> {
    altered(desk, call, Register::McpServers, GONE)
}

pub fn activate_server(desk: &mut Desk, call: &Call) -> Result<Value, Refusal> {
    altered(desk, call, Register::McpServers, ON)
}

pub fn deactivate_server(desk: &mut Desk, call: &Call) -> Result<Value, Refusal> {
    altered(desk, call, Register::McpServers, OFF)
}

pub fn register_model(desk: &mut Desk, call: &Call) -> Result<Value, Refusal> {
    register(desk, call, Register::Models)
}

pub fn models(desk: &mut Desk, call: &Call) -> Result<Value, Refusal> {
    list(desk, call, Register::Models)
}

pub fn model(desk: &mut Desk, call: &Call) -> Result<Value, Refusal> {
    one(desk, call, Register::Models)
}

pub fn remove_model(desk: &mut Desk, call: &Call) -> Result<Value, Refusal> {
    altered(desk, call, Register::Models, GONE)
}

pub fn activate_model(desk: &mut Desk, call: &Call) -> Result<Value, Refusal> {
    altered(desk, call, Register::Models, ON)
}

pub fn deactivate_model(desk: &mut Desk, call: &Call) -> Result<Value, Refusal> {
    altered(desk, call, Register::Models, OFF)
}
