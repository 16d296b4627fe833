//! Who comes in and how, who is told, and what acts may name: signatures, tokens, TLS, webhooks, registers.

use super::*;

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
    let (url, inbox, thread) = listener(vec![204, 500, 200, 500, 500, 500, 500, 500, 500, 500]);
    let hook = json!({ "url": url, "events": ["action.approved", "action.pending"] });
    let made = rig.call(ADMIN, Verb::Post, "/api/webhooks/configure", &hook).check(200, "secret");
    let secret = made["secret"].as_str().unwrap().to_owned();
    let listed = rig.call(ADMIN, Verb::Get, "/api/webhooks", &json!({})).check(200, &url);
    assert_eq!(listed["webhooks"][0]["secret"], Value::Null);
    // The server's own worker tells the first one.
    let id = rig.submit(&write("t")).check(200, "allowed")["id"].clone();
    let (head, body) = inbox.recv_timeout(Duration::from_secs(20)).unwrap();
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
    let Rig { root, project, server, keys } = rig;
    server.stop();
    // From here on a worker whose clock is ours.
    let governance = || Governance::open(&project).unwrap();
    let server_key = governance().operator.server_key().unwrap();
    let roots = rustls::RootCertStore::empty();
    let client = Client::trusting(roots, crate::sys::http::Reach::Everywhere).unwrap();
    let mut worker = deliver::Worker::new(governance(), server_key, client).unwrap();
    let quiet = with(write("u"), json!({ "context": { "require_human_approval": true } }));
    let mut now = clock::now();
    assert_eq!(worker.round(now).unwrap(), 0);
    let mut store = governance();
    let pending = crate::govern::audit::Draft::new(crate::govern::audit::Kind::Decided, "a", "b c")
        .with("effect", "require_approval")
        .with("context", quiet);
    let record = |store: &mut Governance, now| {
        crate::sys::db::write(store.store(), LOCAL_ORG, now, |tx| {
            crate::sys::db::append(tx, &pending, now).map(drop)
        })
        .unwrap();
    };
    record(&mut store, now);
    let first = worker.round(now).unwrap();
    let failed = inbox.recv_timeout(Duration::from_secs(20)).unwrap();
    assert_eq!((first, worker.round(now).unwrap()), (1, 0));
    let later = |now: crate::base::now::Now, seconds| crate::base::now::Now {
        wall: now.wall + chrono::TimeDelta::seconds(seconds),
        ..now
    };
    now = later(now, 2);
    assert_eq!(worker.round(now).unwrap(), 1);
    let again = inbox.recv_timeout(Duration::from_secs(20)).unwrap();
    assert!(failed.1.contains("action.pending") && failed.1 == again.1, "{failed:?} {again:?}");
    record(&mut store, now);
    for wait in [0, 2, 10, 60, 300, 1_800, 7_200] {
        now = later(now, wait);
        assert_eq!(worker.round(now).unwrap(), 1, "{wait}");
    }
    now = later(now, 90_000);
    assert_eq!(worker.round(now).unwrap(), 0);
    thread.join().unwrap();
    let server = Server::start(project.clone(), "127.0.0.1:0".parse().unwrap()).unwrap();
    let rig = Rig { root, project, server, keys };
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
    let pending = |resource: &str| {
        let wish = json!({ "context": { "require_human_approval": true } });
        rig.submit(&with(write(resource), wish)).check(200, "pending")["id"].as_i64().unwrap()
    };
    let path = |id: i64, what: &str| format!("/api/v1/actions/{id}/{what}");
    let first = pending("t");
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
    let second = pending("u");
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
    let path = |name: &str| rig.root.path().join(name);
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

#[test]
fn our_own_client_asks_reports_and_is_told_no() {
    use crate::base::money::Micros;
    use crate::run::client::{self, Act, ClientError, Word};
    let rig = Rig::new("session_actions_max = 2");
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
    let http = || {
        let roots = rustls::RootCertStore::empty();
        Client::trusting(roots, crate::sys::http::Reach::Everywhere).unwrap()
    };
    let url = format!("http://{}/", rig.server.address());
    let ours = client::Client::new(http(), &url, &text, Some(secret)).unwrap();
    let root = Act {
        agent: "planner",
        action_type: "database.write",
        resource: "größe",
        session_id: Some("s"),
        cost: Micros(5),
        ..Act::default()
    };
    let first = ours.submit(&root).unwrap();
    assert!(first.decision == Word::Allowed && first.execution_allowed, "{first:?}");
    ours.ended(first.id, true, Some(Micros(3))).unwrap();
    let child = Act { agent: "worker", parent: Some(first.id), depth: 1, ..root.clone() };
    let wish = json!({ "require_human_approval": true }).as_object().unwrap().clone();
    let pending = ours.submit(&Act { context: wish, ..child.clone() }).unwrap();
    assert_eq!((pending.decision, pending.execution_allowed), (Word::Pending, false));
    assert_eq!(pending.orchestration_session_id.as_deref(), Some("s"));
    rig.answer(1, &Decision::Approve);
    assert!(ours.status(pending.id).unwrap().execution_allowed);
    assert_eq!(ours.submit(&child).unwrap().decision, Word::Denied);
    let lost = ours.submit(&Act { parent: Some(9_999), ..child });
    let text = "parent action not found in this organization";
    assert!(
        matches!(&lost, Err(ClientError::Refused { status: 403, detail }) if detail == text),
        "{lost:?}"
    );
    assert!(!ours.is_stopped().unwrap());
    let unsigned = client::Client::new(http(), &url, "ao_00_00", None).unwrap();
    assert!(matches!(unsigned.submit(&root), Err(ClientError::Refused { status: 401, .. })));
    assert!(matches!(unsigned.is_stopped(), Err(ClientError::Refused { .. })));
}
