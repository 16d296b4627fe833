//! Every endpoint, in one table: the router, the `OpenAPI` document and the tests are made from it.

use serde_json::{Value, json};

use super::desk::{Call, Desk, Lane, Reply};
use super::key::Scope;
use super::refusal::Refusal;
use super::{action, command, gate, log, registry, topology, webhook};

/// A method of HTTP that some endpoint has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Get,
    Post,
    Put,
    Delete,
}

impl Verb {
    pub fn word(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }
}

/// What answers a request.
#[derive(Debug, Clone, Copy)]
pub enum Handler {
    Plain(fn(&mut Desk, &Call) -> Result<Value, Refusal>),
    /// Where it matters how long that takes.
    Written(fn(&mut Desk, &Call) -> Result<Reply, Refusal>),
}

impl Handler {
    pub fn answer(self, desk: &mut Desk, call: &Call) -> Result<Reply, Refusal> {
        match self {
            Self::Plain(handler) => handler(desk, call).map(Reply::Value),
            Self::Written(handler) => handler(desk, call),
        }
    }
}

/// Who answers.
#[derive(Debug, Clone, Copy)]
pub enum Answer {
    /// A handler on a lane, for keys of these scopes.
    Desk(Lane, &'static [Scope], Handler),
    /// Without a key, from what the server knows of itself.
    Open(Open),
    /// Known to clients, not served here: 501 with a sentence.
    Absent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Open {
    Health,
    Ready,
    Metrics,
    Description,
}

/// One endpoint.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    pub verb: Verb,
    /// `{name}` stands for one part.
    pub path: &'static str,
    pub what: &'static str,
    pub answer: Answer,
}

use Answer::Absent;
use Lane::{Out, Read, Slow, Write};
use Verb::{Delete, Get, Post, Put};

const ANY: &[Scope] = &[Scope::Agent, Scope::Auditor, Scope::Admin];
const AGENT: &[Scope] = &[Scope::Agent, Scope::Admin];
const AUDIT: &[Scope] = &[Scope::Auditor, Scope::Admin];
const ADMIN: &[Scope] = &[Scope::Admin];

const fn route(verb: Verb, path: &'static str, answer: Answer, what: &'static str) -> Route {
    Route { verb, path, what, answer }
}

const fn on(
    lane: Lane,
    scopes: &'static [Scope],
    handler: fn(&mut Desk, &Call) -> Result<Value, Refusal>,
) -> Answer {
    Answer::Desk(lane, scopes, Handler::Plain(handler))
}

const fn written(
    lane: Lane,
    scopes: &'static [Scope],
    handler: fn(&mut Desk, &Call) -> Result<Reply, Refusal>,
) -> Answer {
    Answer::Desk(lane, scopes, Handler::Written(handler))
}

#[rustfmt::skip]
pub const ROUTES: &[Route] = &[
    route(Get, "/healthz", Answer::Open(Open::Health), "the process lives"),
    route(Get, "/health", Answer::Open(Open::Health), "the same, as clients ask for it"),
    route(Get, "/readyz", Answer::Open(Open::Ready), "the store answers and the policies load"),
    route(Get, "/metrics", Answer::Open(Open::Metrics), "counters, for Prometheus"),
    route(Get, "/openapi.json", Answer::Open(Open::Description), "this table as an OpenAPI document"),
    route(Get, "/api/deployment-info", on(Read, ANY, deployment), "version and environment"),

    route(Post, "/api/v1/actions/submit", written(Write, AGENT, action::submit), "submit an action"),
    route(Post, "/api/authorization/agent-action", written(Write, AGENT, action::submit), "the same, older path"),
    route(Post, "/api/v1/mcp/actions/submit", on(Write, AGENT, action::submit_mcp), "submit an action of an MCP server"),
    route(Post, "/api/governance/policies/evaluate-realtime", on(Write, ANY, action::evaluate), "judge an action without recording it"),
    route(Get, "/api/v1/actions", on(Read, ANY, action::list), "actions, oldest first"),
    route(Get, "/api/agent-activity", on(Read, ANY, action::list), "the same, older path"),
    route(Get, "/api/v1/actions/{id}", on(Write, ANY, action::details), "one action"),
    route(Get, "/api/v1/actions/{id}/status", on(Write, ANY, action::status), "how an action stands; an approved one is claimed"),
    route(Get, "/api/agent-action/status/{id}", on(Write, ANY, action::status), "the same, older path"),
    route(Get, "/api/sdk/approval/{id}", on(Write, ANY, action::approval), "how the approval of an action stands"),
    route(Post, "/api/v1/actions/{id}/approve", on(Write, ANY, action::approve), "a person lets a held action through; keys get 401"),
    route(Post, "/api/v1/actions/{id}/reject", on(Write, ANY, action::reject), "a person refuses a held action; keys get 401"),
    route(Post, "/api/agent-action/{id}/complete", on(Write, AGENT, action::complete), "report that an action succeeded"),
    route(Post, "/api/agent-action/{id}/fail", on(Write, AGENT, action::fail), "report that an action failed"),

    route(Post, "/api/registry/agents", on(Write, AGENT, registry::register), "register an agent; again is no error"),
    route(Put, "/api/registry/agents/{agent_id}", on(Write, AGENT, registry::change), "link a model to an agent"),
    route(Delete, "/api/registry/agents/{agent_id}", on(Write, AGENT, registry::deregister), "take an agent off the register"),
    route(Get, "/api/registry/agents/{agent_id}/commands", on(Write, AGENT, command::list), "commands that wait for an agent"),
    route(Post, "/api/registry/agents/{agent_id}/commands/{command_id}/ack", on(Write, AGENT, command::acknowledge), "an agent has heard a command"),
    route(Post, "/api/agents/health/heartbeat", on(Write, AGENT, registry::heartbeat), "a registered agent is alive; the answer has its commands"),
    route(Get, "/api/agents/health/{agent_id}", on(Read, ANY, registry::agent_status), "when an agent was heard last"),
    route(Put, "/api/v1/agents/{agent_id}/trust", on(Write, ADMIN, registry::trust), "set an agent's level of trust"),

    route(Get, "/api/sdk/kill-switch/status", on(Read, ANY, registry::kill_status), "whether the caller is stopped"),
    route(Post, "/api/billing/kill-switch/{organization_id}/trigger", on(Slow, ADMIN, topology::trigger), "stop all agents of the organization"),
    route(Post, "/api/billing/kill-switch/{organization_id}/release", on(Write, ADMIN, topology::release), "lift that switch"),

    route(Get, "/api/v1/orchestration/sessions", on(Read, ANY, registry::sessions), "sessions with their risk"),
    route(Get, "/api/v1/orchestration/sessions/{session_id}", on(Read, ANY, registry::session), "one session with its actions"),
    route(Get, "/api/v1/orchestration/sessions/{session_id}/risk", on(Read, ANY, registry::session_risk), "what a session adds up to"),
    route(Get, "/api/v1/orchestration/stats", on(Read, ANY, registry::stats), "how much of everything there is"),
    route(Post, "/api/v1/orchestration/topology", on(Write, ADMIN, topology::register), "register workers of an orchestrator"),
    route(Get, "/api/v1/orchestration/topology", on(Read, AUDIT, topology::list), "all edges, with health"),
    route(Get, "/api/v1/orchestration/topology/agents/{agent_id}", on(Read, AUDIT, topology::agent), "the edges of one agent"),
    route(Get, "/api/v1/orchestration/topology/audit", on(Read, AUDIT, topology::audit), "changes of the topology"),
    route(Get, "/api/v1/orchestration/topology/export", on(Read, AUDIT, topology::export), "all edges as JSON or CSV"),
    route(Post, "/api/v1/orchestration/topology/kill-cascade", on(Slow, ADMIN, topology::kill_cascade), "preview or stop an agent and all below it"),
    route(Post, "/api/v1/orchestration/cascade-kill/{agent_id}", on(Slow, ADMIN, topology::kill_cascade), "the same, as clients ask for it"),

    route(Get, "/api/v1/resource-classifications", on(Read, ANY, classifications), "resource classifications; there are none"),
    route(Get, "/audit/logs", on(Read, AUDIT, log::list), "the audit log, newest first"),
    route(Get, "/api/audit/logs", on(Read, AUDIT, log::list), "the same, documented path"),

    route(Post, "/api/v1/orchestration/topology/mcp", on(Write, ADMIN, topology::register_mcp), "register MCP servers as workers of an orchestrator"),

    route(Post, "/api/registry/mcp-servers", on(Write, ADMIN, gate::register_server), "register an MCP server; again changes it"),
    route(Get, "/api/registry/mcp-servers", on(Read, ANY, gate::servers), "all MCP servers"),
    route(Get, "/api/registry/mcp-servers/{name}", on(Read, ANY, gate::server), "one MCP server"),
    route(Delete, "/api/registry/mcp-servers/{name}", on(Write, ADMIN, gate::remove_server), "take an MCP server off the register"),
    route(Post, "/api/registry/mcp-servers/{name}/activate", on(Write, ADMIN, gate::activate_server), "let acts name an MCP server again"),
    route(Post, "/api/registry/mcp-servers/{name}/deactivate", on(Write, ADMIN, gate::deactivate_server), "refuse acts that name an MCP server"),
    route(Post, "/api/registry/models", on(Write, ADMIN, gate::register_model), "register a model; again changes it"),
    route(Get, "/api/registry/models", on(Read, ANY, gate::models), "all models"),
    route(Get, "/api/registry/models/{name}", on(Read, ANY, gate::model), "one model"),
    route(Delete, "/api/registry/models/{name}", on(Write, ADMIN, gate::remove_model), "take a model off the register"),
    route(Post, "/api/registry/models/{name}/activate", on(Write, ADMIN, gate::activate_model), "let acts name a model again"),
    route(Post, "/api/registry/models/{name}/deactivate", on(Write, ADMIN, gate::deactivate_model), "refuse acts that name a model"),

    route(Get, "/api/webhooks", on(Read, AUDIT, webhook::list), "who is told of decisions"),
    route(Post, "/api/webhooks/configure", on(Write, ADMIN, webhook::configure), "tell an address of decisions"),
    route(Put, "/api/webhooks/{id}", on(Write, ADMIN, webhook::change), "change address, events or whether it is told"),
    route(Delete, "/api/webhooks/{id}", on(Write, ADMIN, webhook::remove), "tell an address no more"),
    route(Post, "/api/webhooks/{id}/test", on(Out, ADMIN, webhook::test), "one delivery now, and what came of it"),
    route(Get, "/api/webhooks/{id}/dead-letters", on(Read, AUDIT, webhook::dead_letters), "deliveries that were given up"),

    route(Post, "/api/authorization/mcp-discovery/scan-network", Absent, "discovery of MCP servers"),
    route(Get, "/api/authorization/mcp-discovery/health-monitor", Absent, "discovery of MCP servers"),
    route(Get, "/api/v1/output-filter/config", Absent, "filtering of output"),
    route(Get, "/api/v1/output-filter/findings", Absent, "filtering of output"),
    route(Get, "/api/v1/output-filter/findings/{action_id}", Absent, "filtering of output"),
    route(Post, "/api/v1/output-filter/scan", Absent, "filtering of output"),
    route(Get, "/api/v1/supply-chain/components", Absent, "the supply chain"),
    route(Post, "/api/v1/supply-chain/components", Absent, "the supply chain"),
    route(Get, "/api/v1/supply-chain/stats", Absent, "the supply chain"),
    route(Get, "/api/v1/supply-chain/impact/{id}", Absent, "the supply chain"),
    route(Get, "/api/v1/supply-chain/sync/status", Absent, "the supply chain"),
    route(Get, "/api/alerts", Absent, "alerts"),
];

#[expect(clippy::unnecessary_wraps, reason = "it stands in the table of handlers")]
fn deployment(_desk: &mut Desk, _call: &Call) -> Result<Value, Refusal> {
    Ok(json!({ "version": crate::VERSION, "environment": "self-hosted", "server": "ao" }))
}

#[expect(clippy::unnecessary_wraps, reason = "it stands in the table of handlers")]
fn classifications(_desk: &mut Desk, _call: &Call) -> Result<Value, Refusal> {
    Ok(json!({ "classifications": [] }))
}

/// The names between braces.
pub fn parameters(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

#[cfg(test)]
mod tests {
    use super::super::openapi::description;
    use super::*;

    #[test]
    fn the_document_and_the_page_name_every_endpoint() {
        let document = description();
        let page =
            std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/api.md")).unwrap();
        for route in ROUTES {
            let operation = &document["paths"][route.path][route.verb.word().to_ascii_lowercase()];
            assert_eq!(operation["summary"], route.what, "{} {}", route.verb.word(), route.path);
            let line = format!("`{} {}`", route.verb.word(), route.path);
            assert!(page.contains(&line), "docs/api.md lacks {line}");
        }
        let named = page.matches("\n| `").count();
        assert_eq!(named, ROUTES.len(), "docs/api.md names endpoints that are not there");
    }
}
