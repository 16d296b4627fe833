//! The table of endpoints as a document of `OpenAPI` 3.1; the committed copy is `schema/openapi.json`.
//!
//! What a body may hold is said here beside the handlers that read it. Fields that only travel into an
//! act's context have no type: whatever is sent is kept.

use serde_json::{Map, Value, json};

use super::key::Scope;
use super::route::{Answer, Open, ROUTES, Route, Verb, parameters};

/// A field of a body or query.
struct Field {
    name: &'static str,
    kind: Kind,
    required: bool,
}

#[derive(Clone, Copy)]
enum Kind {
    Text,
    Whole,
    /// From 0 to this.
    UpTo(u64),
    Flag,
    Object,
    Texts,
    Wholes,
    /// One of these words.
    Word(&'static [&'static str]),
    Events,
    Anything,
}

use Kind::{Anything, Events, Flag, Object, Text, Texts, UpTo, Whole, Wholes, Word};

const fn may(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, required: false }
}

const fn must(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, required: true }
}

const SUBMIT: &[Field] = &[
    must("action_type", Text),
    may("resource", Text),
    may("resource_id", Text),
    may("agent_id", Text),
    may("agent_name", Anything),
    may("description", Text),
    may("action_details", Anything),
    may("context", Object),
    may("risk_indicators", Anything),
    may("orchestration_session_id", Text),
    may("parent_action_id", Whole),
    may("orchestration_depth", UpTo(5)),
    may("mcp_server_name", Text),
    may("model_id", Text),
    may("tool_name", Anything),
    may("cost_micros", UpTo(1_000_000_000_000)),
];
const SUBMIT_MCP: &[Field] = &[
    must("mcp_server", Text),
    must("verb", Text),
    may("namespace", Text),
    may("resource", Text),
    may("action_type", Text),
    may("description", Text),
    may("parameters", Anything),
    may("context", Object),
    may("environment", Anything),
    may("tool_name", Anything),
];
const ENDED: &[Field] = &[
    may("result", Anything),
    may("error", Anything),
    may("duration_ms", Anything),
    may("cost_micros", UpTo(1_000_000_000_000)),
];
const AGENT: &[Field] = &[
    must("agent_id", Text),
    may("display_name", Anything),
    may("agent_type", Anything),
    may("environment", Anything),
    may("capabilities", Anything),
    may("allowed_resources", Anything),
    may("sdk_version", Anything),
    may("metadata", Anything),
];
const HEARTBEAT: &[Field] = &[
    must("agent_id", Text),
    may("sdk_version", Anything),
    may("response_time_ms", Anything),
    may("error_rate", Anything),
    may("requests_count", Anything),
];
const LEVELS: &[&str] = &["L0", "L1", "L2", "L3", "L4"];
const CASCADE: &[Field] =
    &[must("reason", Text), may("dry_run", Flag), may("confirm", Flag), may("token", Text)];
const CASCADE_OF: &[Field] = &[
    must("orchestrator_agent_id", Text),
    must("reason", Text),
    may("dry_run", Flag),
    may("confirm", Flag),
    may("token", Text),
];
const SERVER: &[Field] = &[
    must("server_name", Text),
    may("transport_type", Anything),
    may("governance_enabled", Anything),
    may("display_name", Anything),
    may("description", Anything),
    may("server_url", Anything),
    may("auto_approve_tools", Anything),
    may("blocked_tools", Texts),
    may("tool_risk_overrides", Anything),
];
const MODEL: &[Field] = &[
    must("model_id", Text),
    may("display_name", Anything),
    may("description", Anything),
    may("provider", Anything),
    may("version", Anything),
];
const WEBHOOK: &[Field] =
    &[must("url", Text), must("events", Events), may("secret", Text), may("agent_id", Text)];

/// What the body of an endpoint holds; nothing where it reads none.
fn body(route: &Route) -> &'static [Field] {
    match (route.verb, route.path) {
        (Verb::Get | Verb::Delete, _) => &[],
        (
            _,
            "/api/v1/actions/submit"
            | "/api/authorization/agent-action"
            | "/api/governance/policies/evaluate-realtime",
        ) => SUBMIT,
        (_, "/api/v1/mcp/actions/submit") => SUBMIT_MCP,
        (_, "/api/agent-action/{id}/complete" | "/api/agent-action/{id}/fail") => ENDED,
        (
            _,
            "/api/v1/actions/{id}/reject"
            | "/api/billing/kill-switch/{organization_id}/release"
            | "/api/registry/mcp-servers/{name}/activate"
            | "/api/registry/mcp-servers/{name}/deactivate"
            | "/api/registry/models/{name}/activate"
            | "/api/registry/models/{name}/deactivate",
        ) => const { &[may("reason", Text)] },
        (_, "/api/registry/agents") => AGENT,
        (_, "/api/registry/agents/{agent_id}") => const { &[may("model_id", Whole)] },
        (_, "/api/agents/health/heartbeat") => HEARTBEAT,
        (_, "/api/v1/agents/{agent_id}/trust") => {
            const { &[must("level", Word(LEVELS)), must("reason", Text)] }
        }
        (_, "/api/billing/kill-switch/{organization_id}/trigger") => {
            const { &[must("reason", Text)] }
        }
        (_, "/api/v1/orchestration/topology") => {
            const { &[must("orchestrator_agent_id", Text), must("worker_agent_ids", Texts)] }
        }
        (_, "/api/v1/orchestration/topology/mcp") => {
            const { &[must("orchestrator_agent_id", Text), must("mcp_server_ids", Wholes)] }
        }
        (_, "/api/v1/orchestration/topology/kill-cascade") => CASCADE_OF,
        (_, "/api/v1/orchestration/cascade-kill/{agent_id}") => CASCADE,
        (_, "/api/registry/mcp-servers") => SERVER,
        (_, "/api/registry/models") => MODEL,
        (_, "/api/webhooks/configure") => WEBHOOK,
        (_, "/api/webhooks/{id}") => {
            const { &[may("url", Text), may("events", Events), may("secret", Text), may("active", Flag)] }
        }
        (Verb::Post | Verb::Put, _) => &[],
    }
}

fn query(route: &Route) -> &'static [Field] {
    if route.verb != Verb::Get {
        return &[];
    }
    match route.path {
        "/api/v1/actions" | "/api/agent-activity" => {
            const {
                &[
                    may("limit", UpTo(500)),
                    may("offset", UpTo(10_000)),
                    may("after_id", UpTo(u32::MAX as u64)),
                    may("agent_id", Text),
                    may("session_id", Text),
                    may("status", Text),
                ]
            }
        }
        "/audit/logs" | "/api/audit/logs" => {
            const {
                &[
                    may("limit", UpTo(500)),
                    may("offset", UpTo(100_000)),
                    may("kind", Text),
                    may("containing", Text),
                ]
            }
        }
        "/api/v1/orchestration/sessions" => {
            const { &[may("limit", UpTo(200)), may("after", Text)] }
        }
        "/api/v1/orchestration/topology/audit" => const { &[may("limit", UpTo(500))] },
        "/api/v1/orchestration/topology/export" => {
            const { &[may("format", Word(&["json", "csv"]))] }
        }
        "/api/v1/resource-classifications" => const { &[may("resource_type", Text)] },
        _ => &[],
    }
}

fn schema(kind: Kind) -> Value {
    let list = |member: &str| json!({ "type": "array", "items": { "type": member } });
    match kind {
        Text => json!({ "type": "string" }),
        Whole => json!({ "type": "integer" }),
        UpTo(most) => json!({ "type": "integer", "minimum": 0, "maximum": most }),
        Flag => json!({ "type": "boolean" }),
        Object => json!({ "type": "object" }),
        Texts => list("string"),
        Wholes => list("integer"),
        Word(words) => json!({ "type": "string", "enum": words }),
        Events => json!({
            "type": "array", "minItems": 1,
            "items": { "type": "string", "enum": super::webhook::EVENTS },
        }),
        Anything => json!({}),
    }
}

/// An object of these fields; others are allowed and not read.
fn object(fields: &[Field]) -> Value {
    let properties: Map<String, Value> =
        fields.iter().map(|field| (field.name.to_owned(), schema(field.kind))).collect();
    let required: Vec<&str> =
        fields.iter().filter(|field| field.required).map(|field| field.name).collect();
    let mut object = json!({ "type": "object", "properties": properties });
    if !required.is_empty() {
        object["required"] = required.into();
    }
    object
}

/// What can come beside the good answer, wherever it comes.
const REFUSALS: [(&str, &str); 11] = [
    ("400", "header, query or body cannot be read"),
    ("401", "no valid key or token"),
    ("403", "not allowed, not there, or not to be decided now"),
    ("404", "there is no such path, as where a part of it is empty"),
    ("408", "the body did not come in time"),
    ("413", "the body is too long"),
    ("415", "the body is not application/json"),
    ("422", "a field is wrong"),
    ("429", "too many requests wait"),
    ("501", "this server does not have this part of the API"),
    ("503", "the store is away, or a part of the server is"),
];

fn refusals(route: &Route) -> &'static [&'static str] {
    match route.answer {
        Answer::Open(Open::Ready) => &["400", "404", "503"],
        Answer::Open(_) => &["400", "403", "404", "429"],
        Answer::Desk(..) => &["400", "401", "403", "404", "408", "413", "415", "422", "429"],
        Answer::Absent => &["400", "401", "403", "404", "408", "413", "415", "422", "429", "501"],
    }
}

fn answer(route: &Route) -> Option<Value> {
    let json_of = |name: &str| json!({ "application/json": { "schema": { "$ref": format!("#/components/schemas/{name}") } } });
    let plain = json!({ "text/plain": { "schema": { "type": "string" } } });
    let content = match (route.answer, route.path) {
        (Answer::Absent, _) => return None,
        (Answer::Open(Open::Metrics), _) => plain,
        (_, "/api/v1/orchestration/topology/export") => {
            let mut both = json_of("Object");
            both["text/plain"] = plain["text/plain"].clone();
            both
        }
        (
            _,
            "/api/v1/actions/submit"
            | "/api/authorization/agent-action"
            | "/api/v1/actions/{id}/status"
            | "/api/agent-action/status/{id}",
        ) => json_of("Decision"),
        (Answer::Open(_) | Answer::Desk(..), _) => json_of("Object"),
    };
    Some(json!({ "description": route.what, "content": content }))
}

fn operation(route: &Route) -> Value {
    let mut parameters: Vec<Value> = parameters(route.path)
        .map(|name| {
            let schema = json!({ "type": "string", "minLength": 1 });
            json!({ "name": name, "in": "path", "required": true, "schema": schema })
        })
        .collect();
    parameters.extend(query(route).iter().map(|field| {
        let schema = schema(field.kind);
        json!({ "name": field.name, "in": "query", "required": field.required, "schema": schema })
    }));
    parameters.push(json!({ "$ref": "#/components/parameters/CorrelationId" }));
    let mut responses: Map<String, Value> = refusals(route)
        .iter()
        .map(|status| {
            let place = format!("#/components/responses/refused-{status}");
            ((*status).to_owned(), json!({ "$ref": place }))
        })
        .collect();
    if let Some(answer) = answer(route) {
        responses.insert("200".to_owned(), answer);
    }
    let scopes: &[Scope] = match route.answer {
        Answer::Desk(_, scopes, _) => scopes,
        Answer::Absent => &Scope::ALL,
        Answer::Open(_) => &[],
    };
    let mut operation = json!({
        "summary": route.what,
        "parameters": parameters,
        "responses": responses,
        "x-scopes": scopes.iter().map(|scope| scope.word()).collect::<Vec<_>>(),
    });
    if matches!(route.answer, Answer::Open(_)) {
        operation["security"] = json!([]);
    }
    if matches!(route.verb, Verb::Post | Verb::Put) {
        let fields = body(route);
        operation["requestBody"] = json!({
            "required": fields.iter().any(|field| field.required),
            "content": { "application/json": { "schema": object(fields) } },
        });
    }
    operation
}

/// The whole document.
pub fn description() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for route in ROUTES {
        let item = paths.entry(route.path).or_insert_with(|| json!({}));
        item[route.verb.word().to_ascii_lowercase()] = operation(route);
    }
    let word = |words: &[&str]| json!({ "type": "string", "enum": words });
    let refused = REFUSALS.map(|(status, what)| {
        let schema = json!({ "$ref": "#/components/schemas/Refusal" });
        let content = json!({ "application/json": { "schema": schema } });
        (format!("refused-{status}"), json!({ "description": what, "content": content }))
    });
    json!({
        "openapi": "3.1.0",
        "info": { "title": "ao", "version": env!("CARGO_PKG_VERSION") },
        "security": [{ "key": [] }, { "bearer": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "key": { "type": "apiKey", "in": "header", "name": "X-API-Key" },
                "bearer": { "type": "http", "scheme": "bearer" },
            },
            "responses": refused.into_iter().collect::<Map<_, _>>(),
            "parameters": { "CorrelationId": {
                "name": "X-Correlation-ID", "in": "header", "required": false,
                "description": "echoed; the same one with the same act gets the first answer again",
                "schema": { "type": "string", "pattern": "^[A-Za-z0-9._:-]{1,128}$" },
            } },
            "schemas": {
                "Object": { "type": "object" },
                "Refusal": {
                    "type": "object",
                    "required": ["detail"],
                    "properties": { "detail": { "type": ["string", "object"] } },
                },
                "Decision": {
                    "type": "object",
                    "required": ["id", "action_id", "decision", "status", "execution_allowed",
                        "requires_approval", "reason", "risk_score", "risk_level"],
                    "properties": {
                        "id": { "type": "integer" },
                        "action_id": { "type": "integer" },
                        "decision": word(&["allowed", "denied", "pending"]),
                        "status": word(&["approved", "denied", "pending_approval"]),
                        "execution_allowed": { "type": "boolean" },
                        "requires_approval": { "type": "boolean" },
                        "approval_request_id": { "type": ["string", "null"] },
                        "reason": { "type": "string" },
                        "risk_score": { "type": "integer", "minimum": 0, "maximum": 100 },
                        "risk_level": word(&["low", "medium", "high", "critical"]),
                        "policy_violations": { "type": "array", "items": { "type": "string" } },
                    },
                },
            },
        },
    })
}
