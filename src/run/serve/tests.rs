//! The server as clients meet it: over a socket, with two organisations in one store.

use std::io::{Read as _, Write as _};

use serde_json::{Value, json};

use super::key::{self, NewKey, Scope};
use super::route::{Answer, ROUTES, Verb, parameters};
use super::*;
use crate::govern::trust::Level;
use crate::run::governance::decide::Answer as Decision;
use crate::run::governance::{Governance, LOCAL_ORG};
use crate::sys::load;

/// A server with an organisation beside the local one, and a key of each scope for both.
struct Rig {
    _root: tempfile::TempDir,
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
        let text = format!(
            "[defaults]\nsession_prefix = \"t-\"\nlog_dir = \"s\"\nbackend = \"demo\"\n\
             [governance]\noperator = \"{operator}\"\n{more}\n"
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
        Self { _root: root, project, server, keys }
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
    let Rig { server, project, _root, .. } = rig;
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
fn a_signature_is_checked_where_one_is_sent_and_demanded_by_keys_made_so() {
    let rig = Rig::new("");
    let mut governance = Governance::open(&rig.project).unwrap();
    let new = NewKey {
        org: LOCAL_ORG,
        scope: Scope::Agent,
        agent: None,
        expires: None,
        beginning: "ao",
        signed: true,
    };
    let (made, text) = key::create(governance.store(), &new, "ann", clock::now()).unwrap();
    let secret = signature::secret(&governance.operator.server_key().unwrap(), &made.id);
    let body = write("t").to_string();
    let time = clock::now().wall.to_rfc3339();
    let send = |key: &str, more: &str| {
        let headers = format!("x-api-key: {key}\r\ncontent-type: application/json\r\n{more}");
        rig.send(Verb::Post, "/api/v1/actions/submit", &headers, &body)
    };
    let signed = |secret: &str| {
        let header = signature::header(secret, &time, body.as_bytes()).unwrap();
        format!("x-request-timestamp: {time}\r\nx-signature: {header}\r\n")
    };
    send(&text, "").check(401, "is missing");
    send(&text, &signed("another")).check(401, "does not fit");
    send(&text, &signed(&secret)).check(200, "allowed");
    // A key that demands none is held to the one that is sent.
    let plain = &rig.keys[&AGENT];
    send(plain, &signed(&secret)).check(401, "does not fit");
    let headers = format!("x-api-key: {text}\r\n");
    rig.send(Verb::Get, "/api/v1/actions", &headers, "").check(200, "actions");
}

/// Answers each request with the next status; what it was sent, comes out.
fn listener(
    statuses: Vec<u16>,
) -> (String, std::sync::mpsc::Receiver<(String, String)>, std::thread::JoinHandle<()>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook?x=1", listener.local_addr().unwrap());
    let (send, receive) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        for status in statuses {
            let (mut stream, _) = listener.accept().unwrap();
            let mut seen = Vec::new();
            let (head, length) = loop {
                let mut part = [0; 4_096];
                let count = stream.read(&mut part).unwrap();
                seen.extend_from_slice(&part[..count]);
                let text = String::from_utf8_lossy(&seen).into_owned();
                if let Some((head, _)) = text.split_once("\r\n\r\n") {
                    let length =
                        head.lines().find_map(|line| line.strip_prefix("content-length: "));
                    break (head.to_owned(), length.unwrap().parse::<usize>().unwrap());
                }
            };
            while seen.len() < head.len() + 4 + length {
                let mut part = [0; 4_096];
                let count = stream.read(&mut part).unwrap();
                seen.extend_from_slice(&part[..count]);
            }
            let body = String::from_utf8_lossy(&seen[head.len() + 4..]).into_owned();
            write!(stream, "HTTP/1.1 {status} x\r\ncontent-length: 0\r\n\r\n").unwrap();
            send.send((head, body)).unwrap();
        }
    });
    (url, receive, thread)
}

#[test]
fn a_webhook_is_told_signed_and_again_until_it_hears_or_is_given_up() {
    let rig = Rig::new("[serve]\nwebhooks_to_private = true");
    let (url, heard, thread) = listener(vec![204, 500, 200, 500, 500, 500, 500, 500, 500, 500]);
    let hook = json!({ "url": url, "events": ["action.approved", "action.pending"] });
    let made = rig.call(ADMIN, Verb::Post, "/api/webhooks/configure", &hook).check(200, "secret");
    let secret = made["secret"].as_str().unwrap().to_owned();
    let listed = rig.call(ADMIN, Verb::Get, "/api/webhooks", &json!({})).check(200, &url);
    assert_eq!(listed["webhooks"][0]["secret"], Value::Null);
    // The server's own worker tells the first one.
    let id = rig.submit(&write("t")).check(200, "allowed")["id"].clone();
    let (head, body) = heard.recv_timeout(Duration::from_secs(20)).unwrap();
    let told: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&told["event"], &told["data"]["action_id"]), (&json!("action.approved"), &id));
    let field = |name: &str| {
        let line = head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
        line.unwrap_or_else(|| panic!("{head}")).to_owned()
    };
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
    let signed = format!("{}.{body}", field("x-ao-timestamp"));
    let tag = crate::govern::audit::hex(ring::hmac::sign(&key, signed.as_bytes()).as_ref());
    assert_eq!(field("x-ao-signature"), format!("v1={tag}"));
    assert!(head.starts_with("POST /hook?x=1 HTTP/1.1"), "{head}");
    let Rig { server, project, keys, _root } = rig;
    server.stop();
    // From here on a worker whose clock is ours.
    let governance = || Governance::open(&project).unwrap();
    let server_key = governance().operator.server_key().unwrap();
    let roots = rustls::RootCertStore::empty();
    let client = Client::trusting(roots, crate::sys::http::Reach::Everywhere).unwrap();
    let mut worker = deliver::Worker::new(governance(), server_key, client).unwrap();
    let listen = "127.0.0.1:0".parse().unwrap();
    let quiet = with(write("u"), json!({ "context": { "require_human_approval": true } }));
    let mut now = clock::now();
    assert_eq!(worker.round(now).unwrap(), 0);
    let mut store = governance();
    let held = crate::govern::audit::Draft::new(crate::govern::audit::Kind::Decided, "a", "b c")
        .with("effect", "require_approval")
        .with("context", quiet);
    let record = |store: &mut Governance, now| {
        crate::sys::db::write(store.store(), LOCAL_ORG, now, |tx| {
            crate::sys::db::append(tx, &held, now).map(drop)
        })
        .unwrap();
    };
    record(&mut store, now);
    let first = worker.round(now).unwrap();
    let failed = heard.recv_timeout(Duration::from_secs(20)).unwrap();
    assert_eq!((first, worker.round(now).unwrap()), (1, 0));
    let later = |now: crate::base::now::Now, seconds| crate::base::now::Now {
        wall: now.wall + chrono::TimeDelta::seconds(seconds),
        ..now
    };
    now = later(now, 2);
    assert_eq!(worker.round(now).unwrap(), 1);
    let again = heard.recv_timeout(Duration::from_secs(20)).unwrap();
    assert!(failed.1.contains("action.pending") && failed.1 == again.1, "{failed:?} {again:?}");
    record(&mut store, now);
    for wait in [0, 2, 10, 60, 300, 1_800, 7_200] {
        now = later(now, wait);
        assert_eq!(worker.round(now).unwrap(), 1, "{wait}");
    }
    now = later(now, 90_000);
    assert_eq!(worker.round(now).unwrap(), 0);
    thread.join().unwrap();
    let server = Server::start(project.clone(), listen).unwrap();
    let rig = Rig { server, project, keys, _root };
    let path = "/api/webhooks/1/dead-letters";
    let dead = rig.call(ADMIN, Verb::Get, path, &json!({})).check(200, "the answer was 500");
    assert_eq!(
        (&dead["total"], &dead["delivered"], &dead["waiting"]),
        (&json!(1), &json!(2), &json!(0))
    );
    rig.call(ADMIN, Verb::Put, "/api/webhooks/1", &json!({ "active": false })).check(200, "false");
    let tried = rig.call(ADMIN, Verb::Post, "/api/webhooks/1/test", &json!({}));
    tried.check(200, "cannot connect");
    rig.call(ADMIN, Verb::Delete, "/api/webhooks/1", &json!({})).check(200, "true");
    rig.call(ADMIN, Verb::Get, path, &json!({})).check(403, "not found");
}

#[test]
fn a_webhook_cannot_lead_into_a_private_network() {
    let rig = Rig::new("");
    let configure = |url: &str, events: Value| {
        let hook = json!({ "url": url, "events": events });
        rig.call(ADMIN, Verb::Post, "/api/webhooks/configure", &hook)
    };
    let events = json!(["action.denied"]);
    for url in ["https://127.0.0.1/", "https://169.254.169.254/latest", "https://[fd00::1]/"] {
        configure(url, events.clone()).check(422, "private network");
    }
    configure("http://example.com/", events.clone()).check(422, "url");
    configure("https://example.com/", json!(["everything"])).check(422, "events");
    rig.call(AGENT, Verb::Post, "/api/webhooks/configure", &json!({})).check(403, "scope");
    // A name that leads here is found out when it is dialled.
    configure("https://localhost:1/", events).check(200, "whsec_");
    let tried = rig.call(ADMIN, Verb::Post, "/api/webhooks/1/test", &json!({}));
    tried.check(200, "private network");
}

#[test]
fn acts_name_only_registered_servers_and_models_where_that_is_demanded() {
    let rig = Rig::new("");
    let act = |more: Value| rig.submit(&with(write("t"), more));
    let files = || json!({ "mcp_server_name": "files" });
    act(files()).check(200, "allowed");
    let mut governance = Governance::open(&rig.project).unwrap();
    let demands = (Some(true), Some(true));
    key::org_demand(governance.store(), LOCAL_ORG, demands, "ann", clock::now()).unwrap();
    let refused = act(files()).check(403, "not registered");
    assert_eq!(refused["detail"]["error"], "MCP governance violation");
    assert_eq!(refused["detail"]["mcp_server_name"], "files");
    act(json!({ "context": { "mcp_server": "files" } })).check(403, "not registered");
    act(json!({ "mcp_server_name": ["files"] })).check(422, "must be a string");
    act(json!({ "model_id": "m-1" })).check(403, "Model governance violation");
    act(json!({})).check(200, "allowed");
    let mcp = json!({ "mcp_server": "files", "namespace": "fs", "verb": "read" });
    let path = "/api/v1/mcp/actions/submit";
    let said = rig.call(AGENT, Verb::Post, path, &mcp).check(200, "not registered");
    let fields = ["success", "status", "requires_approval"].map(|name| said[name].clone());
    assert_eq!(fields, [json!(false), json!("denied"), json!(false)]);
    let server = json!({ "server_name": "files", "blocked_tools": ["rm"] });
    let path = "/api/registry/mcp-servers";
    rig.call(AGENT, Verb::Post, path, &server).check(403, "scope");
    let made = rig.call(ADMIN, Verb::Post, path, &server).check(200, "success");
    assert_eq!(made["server"]["id"], 1);
    rig.call(ADMIN, Verb::Post, "/api/registry/models", &json!({ "model_id": "m-1" }))
        .check(200, "m-1");
    act(json!({ "mcp_server_name": "files", "model_id": "m-1" })).check(200, "allowed");
    act(json!({ "mcp_server_name": "files", "tool_name": "rm" })).check(403, "is blocked");
    let edge = json!({ "orchestrator_agent_id": "lead", "mcp_server_ids": [1] });
    let mcp = "/api/v1/orchestration/topology/mcp";
    rig.call(ADMIN, Verb::Post, mcp, &edge).check(200, "mcp:files");
    let lost = json!({ "orchestrator_agent_id": "lead", "mcp_server_ids": [1, 7] });
    rig.call(ADMIN, Verb::Post, mcp, &lost).check(403, "not found");
    let off = format!("{path}/files/deactivate");
    rig.call(ADMIN, Verb::Post, &off, &json!({ "reason": "an incident" })).check(200, "false");
    key::org_demand(governance.store(), LOCAL_ORG, (Some(false), None), "ann", clock::now())
        .unwrap();
    act(files()).check(403, "is deactivated");
    rig.call(ADMIN, Verb::Post, &format!("{path}/files/activate"), &json!({})).check(200, "true");
    act(files()).check(200, "allowed");
    let kill = json!({ "orchestrator_agent_id": "lead", "reason": "astray", "confirm": true });
    let cascade = "/api/v1/orchestration/topology/kill-cascade";
    rig.call(ADMIN, Verb::Post, cascade, &kill).check(200, "mcp:files");
    act(files()).check(403, "kill switch");
    let events = rig.call(ADMIN, Verb::Get, "/audit/logs?kind=refused", &json!({})).text;
    for code in
        ["MCP_SERVER_UNREGISTERED_DENY", "MODEL_UNREGISTERED_DENY", "MCP_SERVER_KILLED_DENY"]
    {
        assert!(events.contains(code), "{events}");
    }
}

#[test]
fn a_person_decides_by_token_within_the_own_organisation_only() {
    let rig = Rig::new("");
    let mut governance = Governance::open(&rig.project).unwrap();
    let server_key = governance.operator.server_key().unwrap();
    let token = |org: &str, role, minutes| {
        let person = person::Person { name: "bob".to_owned(), org: org.to_owned(), role };
        person::issue(&server_key, &person, chrono::TimeDelta::minutes(minutes), clock::now().wall)
    };
    let send = |token: &str, verb, path: &str, body: &Value| {
        let headers =
            format!("authorization: Bearer {token}\r\ncontent-type: application/json\r\n");
        rig.send(verb, path, &headers, &body.to_string())
    };
    let held = |resource: &str| {
        let wish = json!({ "context": { "require_human_approval": true } });
        rig.submit(&with(write(resource), wish)).check(200, "pending")["id"].as_i64().unwrap()
    };
    let path = |id: i64, what: &str| format!("/api/v1/actions/{id}/{what}");
    let first = held("t");
    let approver = token(LOCAL_ORG, person::Role::Approver, 5);
    let auditor = token(LOCAL_ORG, person::Role::Auditor, 5);
    send(&auditor, Verb::Post, &path(first, "approve"), &json!({})).check(401, "only a person");
    send(&auditor, Verb::Get, "/audit/logs", &json!({})).check(200, "events");
    let over = token(LOCAL_ORG, person::Role::Admin, 0);
    send(&over, Verb::Get, "/audit/logs", &json!({})).check(401, "not valid");
    let foreign = token("acme", person::Role::Admin, 5);
    let absent = send(&foreign, Verb::Post, &path(9_999, "approve"), &json!({}));
    assert_eq!(send(&foreign, Verb::Post, &path(first, "approve"), &json!({})), absent);
    absent.check(403, "not found");
    send(&approver, Verb::Post, "/api/v1/actions/submit", &write("t")).check(403, "scope");
    send(&approver, Verb::Post, &path(first, "approve"), &json!({})).check(200, "person:bob");
    let again = send(&approver, Verb::Post, &path(first, "approve"), &json!({}));
    again.check(403, "cannot be approved");
    let status = rig.call(AGENT, Verb::Get, &path(first, "status"), &json!({}));
    let status = status.check(200, "approved by person:bob");
    assert_eq!(status["execution_allowed"], true);
    send(&approver, Verb::Post, &path(first, "approve"), &json!({})).check(403, "does not wait");
    let second = held("u");
    let why = json!({ "reason": "not on a friday" });
    send(&approver, Verb::Post, &path(second, "reject"), &why).check(200, "denied");
    let status = rig.call(AGENT, Verb::Get, &path(second, "status"), &json!({}));
    status.check(200, "not on a friday");
    let admin = token(LOCAL_ORG, person::Role::Admin, 5);
    let body = json!({ "level": "L1", "reason": "less" });
    send(&admin, Verb::Put, "/api/v1/agents/planner/trust", &body).check(200, "L1");
    let kept = crate::sys::db::read(governance.store(), LOCAL_ORG, |tx| tx.approval(1)).unwrap();
    assert_eq!(kept.unwrap().decided_by.as_deref(), Some("person:bob"));
}

/// A fresh certificate for this machine, in files; and who trusts it.
fn certificate(files: &tls::Files) -> Client {
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    std::fs::write(&files.certificate, made.cert.pem()).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    Client::trusting(roots, crate::sys::http::Reach::Everywhere).unwrap()
}

#[test]
fn tls_is_spoken_with_the_certificate_of_the_moment() {
    let rig = Rig::new("");
    let path = |name: &str| rig._root.path().join(name);
    let files = tls::Files { certificate: path("cert.pem"), key: path("key.pem") };
    let door = || Door {
        listen: "127.0.0.1:0".parse().unwrap(),
        tls: Some(files.clone()),
        behind_proxy: false,
    };
    let missing = Server::open(rig.project.clone(), door());
    assert!(matches!(missing, Err(ServeError::Tls(_))));
    let first = certificate(&files);
    let server = Server::open(rig.project.clone(), door()).unwrap();
    let url = format!("https://{}/healthz", server.address());
    let ask = |client: &Client| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(client.send(crate::sys::http::Sending {
            method: hyper::Method::GET,
            url: &url,
            headers: Vec::new(),
            body: Vec::new(),
            within: Duration::from_secs(20),
            answer_bytes_max: 1_000,
        }))
    };
    // One that never says anything keeps nobody out.
    let silent = std::net::TcpStream::connect(server.address()).unwrap();
    let said = ask(&first).unwrap();
    assert!(said.status == 200 && said.body.starts_with(b"{"), "{said:?}");
    let second = certificate(&files);
    assert!(matches!(ask(&first), Err(HttpError::Tls(_))));
    assert_eq!(ask(&second).unwrap().status, 200);
    std::fs::write(&files.certificate, "nothing").unwrap();
    assert_eq!(ask(&second).unwrap().status, 200);
    let mut plain = std::net::TcpStream::connect(server.address()).unwrap();
    plain.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut seen = Vec::new();
    drop(plain.read_to_end(&mut seen));
    assert!(!seen.starts_with(b"HTTP"), "{seen:?}");
    drop(silent);
    server.stop();
    let everywhere =
        |behind_proxy| Door { listen: "0.0.0.0:0".parse().unwrap(), tls: None, behind_proxy };
    let open = Server::open(rig.project.clone(), everywhere(false));
    assert!(matches!(open, Err(ServeError::NotLoopback(_))));
    Server::open(rig.project.clone(), everywhere(true)).unwrap().stop();
}
