//! The server as clients meet it: over a socket, with two organisations in one store.

mod crowd;

use std::io::{Read as _, Write as _};

use serde_json::{Value, json};

use super::key::{self, NewKey, Scope};
use super::route::{Answer, ROUTES, Verb, parameters};
use super::*;
use crate::govern::trust::Level;
use crate::run::governance::decide::Answer as Decision;
use crate::run::governance::{Governance, LOCAL_ORG};
use crate::sys::db::postgres::server;
use crate::sys::load;

mod doors;
mod outage;

std::thread_local! {
    /// Where the rigs of this thread keep their store; `None`: in a file.
    static DATABASE: std::cell::RefCell<Option<String>> = const { std::cell::RefCell::new(None) };
}

/// What holds whichever store is behind the server: every test of this file but the last.
const PROMISES: [fn(); 10] = [
    what_is_foreign_and_what_is_absent_get_the_same_bytes_on_every_endpoint,
    a_refused_lineage_leaves_an_audit_record_and_no_act,
    a_session_stops_at_its_caps_and_not_before,
    a_held_act_is_released_once_by_a_person_and_by_no_key,
    a_repeated_request_is_answered_as_the_first_and_another_under_its_name_is_refused,
    requests_without_a_good_key_scope_or_body_are_refused,
    a_key_of_one_agent_speaks_for_no_other,
    a_cascade_is_previewed_then_blocks_all_below_at_once,
    agents_elsewhere_are_told_of_a_kill_until_they_acknowledge_it_or_it_is_lifted,
    a_server_that_ends_answers_what_it_accepted,
];

/// A server with an organisation beside the local one, and a key of each scope for both.
struct Rig {
    root: tempfile::TempDir,
    project: Project,
    server: Server,
    keys: BTreeMap<(&'static str, Scope), String>,
}

/// One answer.
#[derive(Debug, Clone, PartialEq)]
struct Said {
    status: u16,
    head: String,
    text: String,
}

impl Said {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("{self:?}"))
    }

    #[track_caller]
    fn check(&self, status: u16, part: &str) -> Value {
        assert!(self.status == status && self.text.contains(part), "{self:?}");
        self.json()
    }
}

impl Rig {
    fn new(more: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        let operator = path("operator").display().to_string();
        let store = DATABASE.with_borrow(|it| it.as_ref().map(|it| format!("store = \"{it}\"\n")));
        let store = store.unwrap_or_default();
        let text = format!(
            "[defaults]\nsession_prefix = \"t-\"\nlog_dir = \"s\"\nbackend = \"demo\"\n\
             [governance]\noperator = \"{operator}\"\n{store}{more}\n"
        );
        std::fs::write(path("agents.toml"), text).unwrap();
        let config = load::load(Some(&path("agents.toml"))).unwrap();
        let project = Project::open(config).unwrap();
        let mut governance = Governance::open(&project).unwrap();
        let now = clock::now();
        let store = governance.store();
        key::org_put(store, LOCAL_ORG, Level::L3, true, "ann", now).unwrap();
        key::org_put(store, "acme", Level::L3, false, "ann", now).unwrap();
        let mut keys = BTreeMap::new();
        for org in [LOCAL_ORG, "acme"] {
            for scope in Scope::ALL {
                let new = NewKey {
                    org,
                    scope,
                    agent: None,
                    expires: None,
                    beginning: "ao",
                    signed: false,
                };
                keys.insert((org, scope), key::create(store, &new, "ann", now).unwrap().1);
            }
        }
        let listen = "127.0.0.1:0".parse().unwrap();
        let server = Server::start(project.clone(), listen).unwrap();
        Self { root, project, server, keys }
    }

    fn send(&self, verb: Verb, path: &str, headers: &str, body: &str) -> Said {
        let mut stream = std::net::TcpStream::connect(self.server.address()).unwrap();
        let (verb, length) = (verb.word(), body.len());
        write!(
            stream,
            "{verb} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut all = String::new();
        stream.read_to_string(&mut all).unwrap();
        let (head, text) = all.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        // The one line that differs between two equal answers.
        let lines = head.lines().filter(|line| !line.starts_with("date:"));
        Said { status, head: lines.collect::<Vec<_>>().join("\n"), text: text.to_owned() }
    }

    fn call(&self, who: (&'static str, Scope), verb: Verb, path: &str, body: &Value) -> Said {
        let headers =
            format!("x-api-key: {}\r\ncontent-type: application/json\r\n", self.keys[&who]);
        let body = if verb == Verb::Get { String::new() } else { body.to_string() };
        self.send(verb, path, &headers, &body)
    }

    fn submit(&self, body: &Value) -> Said {
        self.call(AGENT, Verb::Post, "/api/v1/actions/submit", body)
    }

    fn answer(&self, id: i64, decision: &Decision) {
        let mut governance = Governance::open(&self.project).unwrap();
        governance.answer(id, decision, "operator:ann", clock::now()).unwrap();
    }
}

const AGENT: (&str, Scope) = (LOCAL_ORG, Scope::Agent);
const ADMIN: (&str, Scope) = (LOCAL_ORG, Scope::Admin);

fn write(resource: &str) -> Value {
    json!({ "agent_id": "planner", "action_type": "database.write", "resource": resource })
}

fn with(mut body: Value, more: Value) -> Value {
    let Value::Object(more) = more else { panic!("{more}") };
    body.as_object_mut().unwrap().extend(more);
    body
}

#[test]
fn what_is_foreign_and_what_is_absent_get_the_same_bytes_on_every_endpoint() {
    let rig = Rig::new("");
    let root = with(write("t"), json!({ "orchestration_session_id": "sess-aa" }));
    let own = rig.submit(&root).check(200, "allowed")["id"].as_i64().unwrap();
    let agent = json!({ "agent_id": "planner" });
    rig.call(AGENT, Verb::Post, "/api/registry/agents", &agent).check(200, "planner");
    rig.call(AGENT, Verb::Post, "/api/agents/health/heartbeat", &agent).check(200, "true");
    let edge = json!({ "orchestrator_agent_id": "planner", "worker_agent_ids": ["worker"] });
    rig.call(ADMIN, Verb::Post, "/api/v1/orchestration/topology", &edge).check(200, "true");
    for (path, field) in [("mcp-servers", "server_name"), ("models", "model_id")] {
        let path = format!("/api/registry/{path}");
        rig.call(ADMIN, Verb::Post, &path, &json!({ field: "files" })).check(200, "files");
    }
    let hook = json!({ "url": "https://192.0.43.8/", "events": ["action.denied"] });
    rig.call(ADMIN, Verb::Post, "/api/webhooks/configure", &hook).check(200, "whsec_");
    let body = json!({
        "reason": "only a test", "level": "L2", "model_id": 1, "result": 1, "confirm": true,
    });
    let (mut compared, mut served) = (0, 0);
    for route in ROUTES.iter().filter(|route| parameters(route.path).count() > 0) {
        if matches!(route.answer, Answer::Absent) {
            continue;
        }
        let path = |pick: fn(&str, i64) -> String| {
            let mut path = route.path.to_owned();
            for name in parameters(route.path) {
                path = path.replace(&format!("{{{name}}}"), &pick(name, own));
            }
            path
        };
        let known = path(|name, own| match name {
            "id" => own.to_string(),
            "agent_id" => "planner".to_owned(),
            "session_id" => "sess-aa".to_owned(),
            "name" => "files".to_owned(),
            _ => "1".to_owned(),
        });
        let absent = path(|name, _| match name {
            "id" => "987".to_owned(),
            "agent_id" => "nothere".to_owned(),
            "session_id" => "sess-zz".to_owned(),
            "name" => "nofiles".to_owned(),
            _ => "9".to_owned(),
        });
        for scope in Scope::ALL {
            let foreign = rig.call(("acme", scope), route.verb, &known, &body);
            let nothing = rig.call(("acme", scope), route.verb, &absent, &body);
            // An administrator may name agents that are not there yet; the answer repeats the name.
            let text = nothing.text.replace("nothere", "planner");
            assert_eq!(
                (foreign.status, &foreign.head, &foreign.text),
                (nothing.status, &nothing.head, &text),
                "{known}"
            );
            compared += 1;
        }
        // Without this the comparison could hold because nobody is served anything.
        if route.verb == Verb::Get {
            served += u32::from(rig.call(ADMIN, route.verb, &known, &body).status == 200);
        }
    }
    assert!(compared > 70 && served == 12, "{compared} compared, {served} served");
    rig.submit(&write("still here")).check(200, "allowed");
}

#[test]
fn a_refused_lineage_leaves_an_audit_record_and_no_act() {
    let rig = Rig::new("depth_rule = \"exact\"\nenforce_topology = true");
    let root = with(write("t"), json!({ "orchestration_session_id": "s" }));
    let root = rig.submit(&root).check(200, "allowed")["id"].as_i64().unwrap();
    let child = |agent: &str, more: Value| {
        let link = json!({ "agent_id": agent, "parent_action_id": root, "orchestration_depth": 1 });
        rig.submit(&with(with(write("t"), link), more))
    };
    let graft = json!({ "orchestration_session_id": "other" });
    child("planner", graft).check(403, "orchestration session id does not match parent action");
    let lost = json!({ "parent_action_id": 98_765 });
    child("planner", lost).check(403, "parent action not found in this organization");
    child("planner", json!({ "orchestration_depth": 2 })).check(422, "one more than the parent's");
    for depth in [json!(6), json!(-1), json!(5.9), json!(1.0), json!(true), json!("1")] {
        let text = "orchestration_depth must be between 0 and 5";
        child("planner", json!({ "orchestration_depth": depth })).check(422, text);
    }
    let long = json!({ "orchestration_session_id": "é".repeat(256) });
    child("planner", long).check(422, "at most 255 characters");
    child("worker", json!({})).check(403, "no registered worker");
    let edge = json!({ "orchestrator_agent_id": "planner", "worker_agent_ids": ["worker"] });
    rig.call(ADMIN, Verb::Post, "/api/v1/orchestration/topology", &edge).check(200, "true");
    let grown = child("worker", json!({})).check(200, "allowed");
    assert_eq!(grown["orchestration_session_id"], "s");
    let session = rig.call(AGENT, Verb::Get, "/api/v1/orchestration/sessions/s/risk", &json!({}));
    let session = session.check(200, "max_risk");
    assert_eq!((&session["action_count"], &session["max_depth"]), (&json!(2), &json!(1)));
    let refusals = rig.call(ADMIN, Verb::Get, "/audit/logs?kind=refused", &json!({})).json();
    let events: Vec<_> = refusals["events"]
        .as_array()
        .unwrap()
        .iter()
        .rev()
        .map(|event| (event["event_type"].as_str().unwrap(), event["details"]["severity"].as_str()))
        .collect();
    assert_eq!(
        events,
        [
            ("ORCHESTRATION_GRAFT_ATTEMPT", Some("CRITICAL")),
            ("ORCHESTRATION_FIELD_REJECTED", Some("HIGH")),
            ("refused", None),
        ]
    );
}

#[test]
fn a_session_stops_at_its_caps_and_not_before() {
    let rig = Rig::new("session_actions_max = 4\nsession_cost_max = 0.000010");
    let act = |session: &str, cost: i64| {
        let more = json!({ "orchestration_session_id": session, "cost_micros": cost });
        rig.submit(&with(write("t"), more))
    };
    let first = act("dear", 6).check(200, "allowed")["id"].clone();
    act("dear", 5).check(200, "the session's cap `session_cost_max` is reached");
    let end = format!("/api/agent-action/{first}/complete");
    rig.call(AGENT, Verb::Post, &end, &json!({ "cost_micros": 2 })).check(200, "done");
    act("dear", 8).check(200, "allowed");
    for _ in 0..4 {
        act("busy", 0).check(200, "allowed");
    }
    act("busy", 0).check(200, "the session's cap `session_actions_max` is reached");
    act("other", 0).check(200, "allowed");
    rig.submit(&with(write("t"), json!({ "cost_micros": -1 }))).check(422, "cost_micros");
    let path = "/api/v1/orchestration/sessions/dear/risk";
    let risk = rig.call(AGENT, Verb::Get, path, &json!({})).check(200, "dear");
    let totals = ["action_count", "blocked_count", "cost_micros"].map(|name| risk[name].clone());
    assert_eq!(totals, [json!(3), json!(1), json!(10)]);
    let mut governance = Governance::open(&rig.project).unwrap();
    let shown = crate::run::governance::session::show(governance.store(), LOCAL_ORG, "dear");
    let shown = shown.unwrap().unwrap();
    assert_eq!((shown.actions.len(), shown.cost_micros, shown.cut), (3, 10, false));
}

#[test]
fn a_held_act_is_released_once_by_a_person_and_by_no_key() {
    let rig = Rig::new("");
    let wish = json!({ "context": { "require_human_approval": true } });
    let held = rig.submit(&with(write("t"), wish.clone())).check(200, "pending_approval");
    assert_eq!((&held["decision"], &held["execution_allowed"]), (&json!("pending"), &json!(false)));
    let id = held["id"].as_i64().unwrap();
    assert_eq!(held["approval_request_id"], id.to_string());
    let path = |rest: &str| format!("/api/v1/actions/{id}{rest}");
    for rest in ["/approve", "/reject"] {
        rig.call(ADMIN, Verb::Post, &path(rest), &json!({})).check(401, "a person");
    }
    let end = format!("/api/agent-action/{id}/complete");
    rig.call(AGENT, Verb::Post, &end, &json!({})).check(403, "held");
    rig.call(AGENT, Verb::Get, &path("/status"), &json!({})).check(200, "\"pending\"");
    rig.answer(1, &Decision::Approve);
    let auditor = (LOCAL_ORG, Scope::Auditor);
    rig.call(auditor, Verb::Get, &path("/status"), &json!({})).check(200, "\"pending\"");
    let approval = format!("/api/sdk/approval/{id}");
    rig.call(AGENT, Verb::Get, &approval, &json!({})).check(200, "\"approved\"");
    let old = format!("/api/agent-action/status/{id}");
    let status = rig.call(AGENT, Verb::Get, &old, &json!({})).check(200, "operator:ann");
    assert_eq!(
        (&status["decision"], &status["execution_allowed"]),
        (&json!("allowed"), &json!(true))
    );
    for _ in 0..2 {
        rig.call(AGENT, Verb::Post, &end, &json!({ "result": 1 })).check(200, "done");
    }
    let status = rig.call(AGENT, Verb::Get, &path("/status"), &json!({})).json();
    assert_eq!(status["execution_allowed"], false);
    let again = rig.submit(&with(write("t"), wish)).check(200, "pending_approval");
    rig.answer(2, &Decision::Deny { why: "not today".to_owned() });
    let path = format!("/api/v1/actions/{}", again["id"]);
    let details = rig.call(AGENT, Verb::Get, &path, &json!({})).check(200, "not today");
    assert_eq!(details["status"], "denied");
}

#[test]
fn a_repeated_request_is_answered_as_the_first_and_another_under_its_name_is_refused() {
    let rig = Rig::new("");
    let headers = format!(
        "authorization: Bearer owkai_****\r\nx-api-key: {}\r\nx-correlation-id: asc_1\r\ncontent-type: application/json\r\n",
        rig.keys[&AGENT]
    );
    let submit =
        |body: &Value| rig.send(Verb::Post, "/api/v1/actions/submit", &headers, &body.to_string());
    let first = submit(&write("t"));
    assert!(first.head.contains("x-correlation-id: asc_1"), "{first:?}");
    let again = submit(&with(write("t"), json!({ "risk_score": 1 })));
    assert_eq!(first.check(200, "allowed")["id"], again.check(200, "allowed")["id"]);
    submit(&write("u")).check(403, "used for another action");
    let old = with(write("v"), json!({}));
    rig.call(AGENT, Verb::Post, "/api/authorization/agent-action", &old).check(200, "allowed");
    let mcp = json!({ "mcp_server": "files", "namespace": "fs", "verb": "delete" });
    let said = rig.call(AGENT, Verb::Post, "/api/v1/mcp/actions/submit", &mcp).check(200, "status");
    assert!(said["success"].is_boolean() && said["requires_approval"].is_boolean(), "{said}");
    let before = rig.call(AGENT, Verb::Get, "/api/v1/actions", &json!({})).text;
    let path = "/api/governance/policies/evaluate-realtime";
    rig.call(AGENT, Verb::Post, path, &write("w")).check(200, "\"allowed\"");
    assert_eq!(rig.call(AGENT, Verb::Get, "/api/v1/actions", &json!({})).text, before);
}

#[test]
fn requests_without_a_good_key_scope_or_body_are_refused() {
    let rig = Rig::new("");
    let submit = "/api/v1/actions/submit";
    let json_type = "content-type: application/json\r\n";
    let body = write("t").to_string();
    rig.send(Verb::Post, submit, json_type, &body).check(401, "API key");
    let bad = format!("x-api-key: ao_00_00\r\n{json_type}");
    rig.send(Verb::Post, submit, &bad, &body).check(401, "not valid");
    let bearer = format!("authorization: Bearer {}\r\n{json_type}", rig.keys[&AGENT]);
    rig.send(Verb::Post, submit, &bearer, &body).check(200, "allowed");
    rig.send(Verb::Post, submit, &bearer, "{\"a\":1,\"a\":2}").check(400, "given twice");
    rig.send(Verb::Post, submit, &bearer, "[1]").check(400, "expected an object");
    let plain = bearer.replace("application/json", "text/plain");
    rig.send(Verb::Post, submit, &plain, &body).check(415, "application/json");
    let long = format!("{{\"a\":\"{}\"}}", "a".repeat(BODY_BYTES_MAX));
    rig.send(Verb::Post, submit, &bearer, &long).check(413, "bytes");
    rig.submit(&json!({ "resource": "r" })).check(422, "action_type is required");
    rig.submit(&with(write("t"), json!({ "agent_id": "a/b" }))).check(422, "agent_id");
    rig.call((LOCAL_ORG, Scope::Auditor), Verb::Post, submit, &write("t")).check(403, "scope");
    rig.call(AGENT, Verb::Get, "/audit/logs", &json!({})).check(403, "scope");
    rig.call(AGENT, Verb::Get, "/nowhere", &json!({})).check(404, "endpoint");
    rig.call(AGENT, Verb::Delete, submit, &json!({})).check(405, "methods");
    let ready = rig.send(Verb::Get, "/readyz", "", "");
    assert!(ready.head.contains("nosniff") && ready.check(200, "ready")["status"] == "ready");
    rig.send(Verb::Get, "/openapi.json", "", "").check(200, submit);
    assert!(rig.send(Verb::Get, "/metrics", "", "").text.contains("class=\"4xx\"} 1"));
    for route in ROUTES.iter().filter(|route| matches!(route.answer, Answer::Absent)) {
        let said = rig.call(AGENT, route.verb, &route.path.replace(['{', '}'], ""), &json!({}));
        said.check(501, "does not have");
    }
    let everywhere = Server::start(rig.project.clone(), "0.0.0.0:0".parse().unwrap());
    assert!(matches!(everywhere, Err(ServeError::NotLoopback(_))));
}

#[test]
fn a_key_of_one_agent_speaks_for_no_other() {
    let rig = Rig::new("");
    let mut governance = Governance::open(&rig.project).unwrap();
    let agent = Some("worker".to_owned());
    let new = NewKey {
        org: LOCAL_ORG,
        scope: Scope::Agent,
        agent,
        expires: None,
        beginning: "owkai",
        signed: false,
    };
    let (made, text) = key::create(governance.store(), &new, "ann", clock::now()).unwrap();
    let headers = format!("x-api-key: {text}\r\ncontent-type: application/json\r\n");
    let send = |path: &str, body: Value| rig.send(Verb::Post, path, &headers, &body.to_string());
    send("/api/v1/actions/submit", write("t")).check(403, "another agent");
    let own = json!({ "action_type": "database.write", "resource": "t" });
    assert_eq!(send("/api/v1/actions/submit", own).check(200, "allowed")["agent_id"], "worker");
    let other = rig.submit(&write("t")).check(200, "allowed")["id"].clone();
    send(&format!("/api/agent-action/{other}/complete"), json!({})).check(403, "not found");
    key::revoke(governance.store(), &made.id, "ann", clock::now()).unwrap();
    send("/api/v1/actions/submit", json!({})).check(401, "not valid");
}

#[test]
fn a_cascade_is_previewed_then_blocks_all_below_at_once() {
    let rig = Rig::new("");
    for (above, below) in [("lead", "left"), ("lead", "right"), ("right", "leaf")] {
        let edge = json!({ "orchestrator_agent_id": above, "worker_agent_ids": [below] });
        rig.call(ADMIN, Verb::Post, "/api/v1/orchestration/topology", &edge).check(200, "true");
    }
    let path = "/api/v1/orchestration/topology/kill-cascade";
    let kill = |root: &str, more: Value| {
        let body = json!({ "orchestrator_agent_id": root, "reason": "it went astray" });
        rig.call(ADMIN, Verb::Post, path, &with(body, more))
    };
    let preview = kill("right", json!({})).check(200, "token");
    assert_eq!(preview["agents"], json!(["right", "leaf"]));
    rig.submit(&with(write("t"), json!({ "agent_id": "leaf" }))).check(200, "allowed");
    let edge = json!({ "orchestrator_agent_id": "right", "worker_agent_ids": ["late"] });
    rig.call(ADMIN, Verb::Post, "/api/v1/orchestration/topology", &edge).check(200, "true");
    let token = json!({ "token": preview["token"], "confirm": true });
    kill("right", token).check(403, "out of date");
    kill("nobody", json!({ "confirm": true })).check(403, "not found");
    let token = kill("right", json!({})).json()["token"].clone();
    kill("right", json!({ "token": token, "confirm": true })).check(200, "blocked_at");
    for (agent, decision) in
        [("leaf", "denied"), ("late", "denied"), ("left", "allowed"), ("lead", "allowed")]
    {
        let said = rig.submit(&with(write("t"), json!({ "agent_id": agent })));
        assert_eq!(said.json()["decision"], decision, "{agent}");
    }
    let csv =
        rig.call(ADMIN, Verb::Get, "/api/v1/orchestration/topology/export?format=csv", &json!({}));
    assert!(csv.text.contains("\"right\",\"leaf\""), "{csv:?}");
    rig.call(AGENT, Verb::Post, path, &json!({})).check(403, "scope");
}

#[test]
fn agents_elsewhere_are_told_of_a_kill_until_they_acknowledge_it_or_it_is_lifted() {
    let rig = Rig::new("");
    let far = |name: &str| json!({ "agent_id": name, "agent_type": "automation" });
    for name in ["lead", "far"] {
        rig.call(AGENT, Verb::Post, "/api/registry/agents", &far(name)).check(200, "true");
    }
    let edge = json!({ "orchestrator_agent_id": "lead", "worker_agent_ids": ["far", "unknown"] });
    rig.call(ADMIN, Verb::Post, "/api/v1/orchestration/topology", &edge).check(200, "true");
    let beat = |name: &str| {
        let body = json!({ "agent_id": name });
        rig.call(AGENT, Verb::Post, "/api/agents/health/heartbeat", &body).check(200, "true")
    };
    assert_eq!(beat("far")["commands"], json!([]));
    let kill = || {
        let body =
            json!({ "orchestrator_agent_id": "lead", "reason": "it went astray", "confirm": true });
        let path = "/api/v1/orchestration/topology/kill-cascade";
        rig.call(ADMIN, Verb::Post, path, &body).check(200, "blocked_at")["left_elsewhere"].clone()
    };
    let row = |agent: &str, registered: bool, command: &str, health: &str| json!({ "agent": agent, "registered": registered, "command": command, "health": health });
    let left = json!([
        row("lead", true, "pending", "unknown"),
        row("far", true, "pending", "healthy"),
        row("unknown", false, "pending", "unknown"),
    ]);
    assert_eq!(kill(), left);
    let told = beat("far")["commands"].clone();
    let commands = |name: &str| {
        let path = format!("/api/registry/agents/{name}/commands");
        rig.call(AGENT, Verb::Get, &path, &json!({})).check(200, "")["commands"].clone()
    };
    // Until it is acknowledged it is told again, by either door and under the same name.
    assert_eq!((told.clone(), commands("far")), (commands("far"), told.clone()));
    let [command] = told.as_array().unwrap().as_slice() else { panic!("{told}") };
    assert_eq!(command["command_type"], "BLOCK");
    assert_eq!(
        (&command["reason"], &command["is_broadcast"]),
        (&json!("it went astray"), &json!(false))
    );
    assert_eq!(kill()[1]["command"], "delivered");
    assert_eq!(commands("far"), told, "a switch pulled twice is one command");
    let id = command["command_id"].as_str().unwrap();
    let ack = |name: &str, id: &str| {
        let path = format!("/api/registry/agents/{name}/commands/{id}/ack");
        rig.call(AGENT, Verb::Post, &path, &json!({}))
    };
    ack("lead", id).check(403, "not found");
    ack("far", "0").check(403, "not found");
    for _ in 0..2 {
        ack("far", id).check(200, "acknowledged");
        assert_eq!(beat("far")["commands"], json!([]));
    }
    assert_eq!(kill()[1]["command"], "acknowledged");
    let edges = "/api/v1/orchestration/topology";
    let listed = rig.call(ADMIN, Verb::Get, edges, &json!({})).check(200, "far");
    assert_eq!(listed["edges"][0]["worker_command"], "acknowledged", "{listed}");
    // A switch that is lifted takes its command back; one for everybody is a broadcast.
    let mut governance = Governance::open(&rig.project).unwrap();
    let lift = |governance: &mut Governance, target: &str| {
        governance.unkill(&[target.to_owned()], "ann", "", clock::now()).unwrap();
    };
    assert_eq!(commands("lead").as_array().unwrap().len(), 1);
    lift(&mut governance, "lead");
    assert_eq!(commands("lead"), json!([]));
    let number = key::org(governance.store(), LOCAL_ORG).unwrap().unwrap().number;
    let path = format!("/api/billing/kill-switch/{number}/trigger");
    let all = rig.call(ADMIN, Verb::Post, &path, &json!({ "reason": "everybody stop" }));
    assert_eq!(all.check(200, "blocked")["left_elsewhere"].as_array().unwrap().len(), 2);
    assert_eq!(commands("lead")[0]["is_broadcast"], true);
    rig.call(AGENT, Verb::Delete, "/api/registry/agents/far", &json!({})).check(200, "true");
    ack("far", id).check(403, "not found");
}

#[test]
fn a_server_that_ends_answers_what_it_accepted() {
    let rig = Rig::new("");
    let mut stream = std::net::TcpStream::connect(rig.server.address()).unwrap();
    let body = write("last words").to_string();
    let key = &rig.keys[&AGENT];
    write!(
        stream,
        "POST /api/v1/actions/submit HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{}",
        body.len(),
        &body[..4]
    )
    .unwrap();
    // Once another request was served, the first one's head has been taken in.
    rig.submit(&write("t")).check(200, "allowed");
    let Rig { server, project, root: _root, .. } = rig;
    let ending = std::thread::spawn(move || server.stop());
    stream.write_all(&body.as_bytes()[4..]).unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    ending.join().unwrap();
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
    let mut governance = Governance::open(&project).unwrap();
    let kept = crate::sys::db::read(governance.store(), LOCAL_ORG, |tx| tx.action(2)).unwrap();
    assert_eq!(kept.unwrap().new.ask.resource, "last words");
}

#[test]
fn all_of_this_holds_on_a_database_server_too() {
    let source = include_str!("tests.rs");
    assert_eq!(source.matches("\n#[test]\n").count(), PROMISES.len() + 1, "a test is not listed");
    for promise in PROMISES {
        let Some(database) = server::database() else { return };
        DATABASE.set(Some(database));
        promise();
    }
}
