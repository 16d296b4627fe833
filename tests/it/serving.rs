//! `ao serve` killed while many ask: what it answered must be there, and the log whole.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;

use crate::api::{Serving, key};
use crate::support::fleet::{Fleet, kill};

const CALLERS: usize = 32;
/// Answers before the server is killed.
const ANSWERS: usize = 200;
const PATIENCE: Duration = Duration::from_secs(60);

/// The answer's body; `None` when the server is gone.
fn ask(url: &str, key: &str, request: &str, body: &str) -> Option<Value> {
    let mut stream = TcpStream::connect(url.trim_start_matches("http://")).ok()?;
    let length = body.len();
    let head = format!(
        "{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-api-key: {key}\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    let mut said = String::new();
    stream.write_all(head.as_bytes()).and_then(|()| stream.read_to_string(&mut said)).ok()?;
    let (_, body) = said.split_once("\r\n\r\n")?;
    serde_json::from_str(body).ok()
}

#[test]
fn what_a_killed_server_answered_is_in_the_store_and_the_log_is_whole() {
    let fleet = Fleet::new("[governance]\n");
    fleet.well(&["org", "trust", "local", "L3"]);
    fleet.well(&["org", "create", "acme", "--trust", "L3"]);
    let keys = [key(&fleet, &[]), key(&fleet, &["--org", "acme"])];
    for round in 0..2 {
        let serving = Serving::begin(&fleet);
        let (told, answers) = mpsc::channel();
        let answered: Vec<(usize, i64)> = std::thread::scope(|scope| {
            for number in 0..CALLERS {
                let (told, url, key) = (told.clone(), &serving.url, &keys[number % 2]);
                scope.spawn(move || {
                    let body = format!(
                        r#"{{"agent_id":"a{number}","action_type":"database.write","resource":"t{round}"}}"#
                    );
                    while let Some(said) = ask(url, key, "POST /api/v1/actions/submit", &body) {
                        assert_eq!(said["decision"], "allowed", "{said}");
                        told.send((number % 2, said["id"].as_i64().unwrap())).unwrap();
                    }
                });
            }
            drop(told);
            let mut answered: Vec<_> =
                (0..ANSWERS).map(|_| answers.recv_timeout(PATIENCE).unwrap()).collect();
            kill(serving.child.id());
            answered.extend(answers);
            answered
        });
        drop(serving);
        let again = Serving::begin(&fleet);
        for (whose, id) in answered {
            let request = format!("GET /api/v1/actions/{id}");
            let said = ask(&again.url, &keys[whose], &request, "").unwrap();
            assert_eq!(said["id"], id, "an answered decision is gone: {said}");
        }
        drop(again);
        fleet.well(&["audit", "verify"]);
    }
}

#[test]
fn a_kill_over_http_is_answered_when_all_processes_are_gone_and_their_sessions_follow() {
    let names = ["lead", "left", "right"];
    let agent = |name: &&str| {
        format!(
            "[[agent]]\nname = \"{name}\"\nkind = \"persistent\"\nprompt = \"count to three\"\n\n"
        )
    };
    let agents: String = names.iter().map(agent).collect();
    for supervised in [true, false] {
        let fleet = Fleet::new(&format!("{agents}[governance]\n"));
        let admin = key(&fleet, &["--scope", "admin"]);
        fleet.well(&["up"]);
        let pids = fleet.pids(names);
        if !supervised {
            kill(fleet.status().watchdog().unwrap());
            fleet.until("nobody watches", |status| status.watchdog().is_none().then_some(()));
        }
        let serving = Serving::begin(&fleet);
        let post = |path: &str, body: &str| {
            ask(&serving.url, &admin, &format!("POST {path}"), body).unwrap()
        };
        let edges = r#"{"orchestrator_agent_id":"lead","worker_agent_ids":["left","right","far"]}"#;
        post("/api/v1/orchestration/topology", edges);
        let body = r#"{"orchestrator_agent_id":"lead","reason":"it went astray","confirm":true}"#;
        let said = post("/api/v1/orchestration/topology/kill-cascade", body);
        for pid in pids {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let gone = stat.is_empty() || stat.rsplit(')').next().unwrap().starts_with(" Z");
            assert!(gone, "the answer came before the end: {stat} {said}");
        }
        let ended = said["ended_here"].as_array().unwrap();
        assert_eq!(ended.len(), names.len(), "{said}");
        for row in ended {
            let count = row["processes"].as_u64().unwrap();
            assert!(count > 0 && row["failed"].is_null(), "{said}");
        }
        assert_eq!(said["left_elsewhere"][0]["agent"], "far", "{said}");
        fleet.until("they are killed and their sessions closed", |status| {
            let killed = names.iter().all(|name| status.state(name) == "killed");
            let open =
                fleet.sessions().iter().any(|it| names.iter().any(|name| it.ends_with(name)));
            (killed && !open).then_some(())
        });
    }
}
