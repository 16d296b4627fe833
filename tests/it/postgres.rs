//! Governance on a database server: several `ao serve` on one database, and a database that dies.
//!
//! Two fleets stand for two machines: each has a folder, a tmux server and a state of its own; they
//! share the database and the operator's keys.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::api::Serving;
use crate::support::fleet::Fleet;
use crate::support::postgres::{self, Postgres};

const SUBMIT: &str = "/api/v1/actions/submit";
const PATIENCE: Duration = Duration::from_secs(30);
const AGENT: &str =
    "[[agent]]\nname = \"one\"\nkind = \"persistent\"\nprompt = \"count to three\"\n\n";
const TEN_AN_HOUR: &str = "policies:\n  - name: ten-an-hour\n    scope: { actions: [database.write] }\n    effect: permit\n    constraints: { rate: { count: 10, per: 1h } }\n";

/// The first machine: it makes the keys and the organisations.
fn first(database: &str, blocks: &str) -> Fleet {
    let fleet = Fleet::new(&format!("[governance]\nstore = \"{database}\"\n\n{blocks}"));
    fleet.well(&["org", "trust", "local", "L3"]);
    fleet
}

/// Another one on the same database.
fn second(database: &str, first: &Fleet, blocks: &str) -> Fleet {
    let operator = first.path("home/.config/ao/operator").display().to_string();
    Fleet::new(&format!(
        "[governance]\nstore = \"{database}\"\noperator = \"{operator}\"\n\n{blocks}"
    ))
}

fn key(fleet: &Fleet, arguments: &[&str]) -> String {
    fleet.well(&[&["key", "create"], arguments].concat()).out.trim().to_owned()
}

/// Status and body; `None` where no whole answer came.
fn post(serving: &Serving, key: &str, path: &str, body: &Value) -> Option<(u16, Value)> {
    let address = serving.url.strip_prefix("http://").unwrap();
    let mut stream = std::net::TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let body = body.to_string();
    let length = body.len();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-api-key: {key}\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .ok()?;
    let mut all = String::new();
    stream.read_to_string(&mut all).ok()?;
    let (head, text) = all.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, serde_json::from_str(text).ok()?))
}

fn write(resource: &str) -> Value {
    json!({ "agent_id": "one", "action_type": "database.write", "resource": resource })
}

fn is_allowed(answer: Option<&(u16, Value)>) -> bool {
    answer.is_some_and(|(status, body)| *status == 200 && body["decision"] == "allowed")
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn two_servers_on_one_database_share_rates_approvals_and_kills() {
    let Some(database) = postgres::database() else { return };
    let here = first(&database, AGENT);
    let there = second(&database, &here, AGENT);
    for fleet in [&here, &there] {
        std::fs::create_dir_all(fleet.path("policies")).unwrap();
        fleet.write("policies/ten.yaml", TEN_AN_HOUR);
    }
    let (agent, admin) = (key(&here, &[]), key(&here, &["--scope", "admin"]));
    let servers = [Serving::begin(&here), Serving::begin(&there)];

    let allowed = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for number in 0..50 {
            let (server, agent, allowed) = (&servers[number % 2], &agent, &allowed);
            scope.spawn(move || {
                let answer = post(server, agent, SUBMIT, &write(&format!("row-{number}")));
                let (status, body) = answer.clone().expect("an answer");
                assert_eq!(status, 200, "{body}");
                let rated = body.to_string().contains("ten-an-hour");
                assert!(is_allowed(answer.as_ref()) || rated, "{body}");
                allowed.fetch_add(u32::from(is_allowed(answer.as_ref())), Ordering::Relaxed);
            });
        }
    });
    assert_eq!(allowed.into_inner(), 10, "ten an hour, whoever is asked");

    let other = json!({ "agent_id": "one", "action_type": "database.read", "resource": "t" });
    let mut wish = other.clone();
    wish["context"] = json!({ "require_human_approval": true });
    let verdicts: BTreeSet<String> = servers
        .iter()
        .map(|server| post(server, &agent, SUBMIT, &other).unwrap().1["decision"].to_string())
        .collect();
    assert_eq!(verdicts, BTreeSet::from(["\"allowed\"".to_owned()]));
    let held = post(&servers[0], &agent, SUBMIT, &wish).unwrap().1;
    assert_eq!(held["decision"], "pending", "{held}");
    let approval = there.well(&["approvals", "--json"]).out;
    let approval: Value = serde_json::from_str(&approval).unwrap();
    let waiting = approval["approvals"][0]["id"].to_string();
    there.well(&["approve", &waiting]);
    let path = format!("/api/sdk/approval/{}", held["id"]);
    let (_, released) = get(&servers[0], &agent, &path).unwrap();
    assert!(released.to_string().contains("approved"), "{released}");

    // Policies are files of each machine: whoever has other ones than the newest says so.
    let differ = || get(&servers[0], "", "/readyz").unwrap().1["policies_differ"].clone();
    assert_eq!(differ(), json!(false));
    let more = "policies: [{ name: told, effect: notify }]\n";
    there.write("policies/more.yaml", more);
    post(&servers[1], &agent, SUBMIT, &other).unwrap();
    assert_eq!(differ(), json!(true));
    here.write("policies/more.yaml", more);
    assert_eq!(differ(), json!(false));

    // The kill is set through the one server; the process runs beside the other.
    there.well(&["up"]);
    let [pid] = there.pids(["one"]);
    let orgs: Value = serde_json::from_str(&here.well(&["org", "list", "--json"]).out).unwrap();
    let number = orgs["organizations"][0]["number"].as_u64().unwrap_or(1);
    let trigger = format!("/api/billing/kill-switch/{number}/trigger");
    let killed = post(&servers[0], &admin, &trigger, &json!({ "reason": "it went astray" }));
    assert_eq!(killed.as_ref().map(|it| it.0), Some(200), "{killed:?}");
    for server in &servers {
        let answer = post(server, &agent, SUBMIT, &other).unwrap().1;
        assert_eq!(answer["decision"], "denied", "{answer}");
    }
    let gone = || rustix::process::test_kill_process(pid_of(pid)).is_err();
    until("the agent beside the other server is ended", gone);
    for fleet in [&here, &there] {
        fleet.well(&["audit", "verify"]);
    }
}

/// Fifty acts of ten cents each through two servers at once, of which a dollar pays ten.
#[track_caller]
fn spends_a_dollar(budget: &str, policy: &str) {
    let Some(database) = postgres::database() else { return };
    let here = first(&database, budget);
    let there = second(&database, &here, budget);
    for fleet in [&here, &there] {
        std::fs::create_dir_all(fleet.path("policies")).unwrap();
        fleet.write("policies/dollar.yaml", policy);
    }
    let agent = key(&here, &[]);
    let servers = [Serving::begin(&here), Serving::begin(&there)];
    let allowed = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for number in 0..50 {
            let (server, agent, allowed) = (&servers[number % 2], &agent, &allowed);
            scope.spawn(move || {
                let mut body = write(&format!("row-{number}"));
                body["cost_micros"] = json!(100_000);
                let answer = post(server, agent, SUBMIT, &body);
                allowed.fetch_add(u32::from(is_allowed(answer.as_ref())), Ordering::Relaxed);
            });
        }
    });
    assert_eq!(allowed.into_inner(), 10, "exactly what a dollar pays, whoever is asked");
}

#[test]
fn two_servers_on_one_database_never_overspend_a_budget_of_the_config() {
    let budget = "[governance.budget.daily]\nlimit = 1.00\nwindow = \"day\"\nwarn_at = 100\ndowngrade_at = 100\n";
    spends_a_dollar(budget, "policies: []\n");
}

#[test]
fn two_servers_on_one_database_never_overspend_a_budget_of_a_policy() {
    let policy = "policies:\n  - name: a-dollar-a-day\n    scope: { actions: [database.write] }\n    effect: permit\n    constraints: { cost: { day: 1 } }\n";
    spends_a_dollar("", policy);
}

fn pid_of(pid: u32) -> rustix::process::Pid {
    rustix::process::Pid::from_raw(pid.cast_signed()).unwrap()
}

fn get(serving: &Serving, key: &str, path: &str) -> Option<(u16, Value)> {
    let address = serving.url.strip_prefix("http://").unwrap();
    let mut stream = std::net::TcpStream::connect(address).ok()?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-api-key: {key}\r\n\r\n"
    )
    .ok()?;
    let mut all = String::new();
    stream.read_to_string(&mut all).ok()?;
    let (head, text) = all.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, serde_json::from_str(text).ok()?))
}

/// The whole server at once, without a word to it.
fn kill(server: &Postgres) {
    let text = std::fs::read_to_string(server.folder.join("data/postmaster.pid")).unwrap();
    let first = text.lines().next().unwrap().parse().unwrap();
    let first = rustix::process::Pid::from_raw(first).unwrap();
    let below = children(first.as_raw_nonzero().get());
    for pid in below.into_iter().filter_map(rustix::process::Pid::from_raw).chain([first]) {
        // One that ended by itself is as dead.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
    while rustix::process::test_kill_process(first).is_ok() {
        std::thread::yield_now();
    }
}

fn children(of: i32) -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let parent = |pid: i32| -> Option<i32> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        text.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
    };
    pids.filter(|pid| parent(*pid) == Some(of)).collect()
}

#[test]
fn a_database_server_that_is_killed_loses_no_answered_decision_and_nothing_is_allowed_while_it_is_away()
 {
    let Some(server) = Postgres::start() else { return };
    let database = server.database();
    let fleet = first(&database, "");
    let agent = key(&fleet, &[]);
    let serving = Serving::begin(&fleet);
    // Odd while the database is away.
    let phase = AtomicU32::new(0);
    let ends = AtomicU32::new(0);
    let answered = Mutex::new(Vec::new());
    let count = || answered.lock().unwrap().len();
    let (refused, allowed_while_away) = (AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for caller in 0..8 {
            let (serving, agent) = (&serving, &agent);
            let (phase, ends, answered) = (&phase, &ends, &answered);
            let (refused, allowed_while_away) = (&refused, &allowed_while_away);
            scope.spawn(move || {
                for number in 0.. {
                    if ends.load(Ordering::Acquire) > 0 {
                        return;
                    }
                    let before = phase.load(Ordering::Acquire);
                    let body = write(&format!("row-{caller}-{number}"));
                    let answer = post(serving, agent, SUBMIT, &body);
                    let after = phase.load(Ordering::Acquire);
                    if is_allowed(answer.as_ref()) {
                        let id = answer.unwrap().1["id"].as_i64().unwrap();
                        answered.lock().unwrap().push(id);
                        if before == after && before % 2 == 1 {
                            allowed_while_away.fetch_add(1, Ordering::Relaxed);
                        }
                    } else {
                        refused.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        for _ in 0..3 {
            let seen = count();
            until("decisions are made", || count() > seen + 50);
            kill(&server);
            phase.fetch_add(1, Ordering::AcqRel);
            let seen = refused.load(Ordering::Relaxed);
            until("it is refused", || refused.load(Ordering::Relaxed) > seen + 20);
            let said = fleet.ao(&["audit", "verify"]);
            assert!(said.code == 1 && said.err.contains("cannot reach"), "{said:?}");
            phase.fetch_add(1, Ordering::AcqRel);
            server.begin();
        }
        let seen = count();
        until("it recovers", || count() > seen + 50);
        ends.store(1, Ordering::Release);
    });
    assert_eq!(allowed_while_away.into_inner(), 0);
    let name = database.split('?').next().unwrap().rsplit('/').next().unwrap();
    let kept = server.sql(name, "SELECT id FROM actions WHERE status = 'allowed'");
    let kept: BTreeSet<i64> = kept.lines().map(|line| line.parse().unwrap()).collect();
    let answered = answered.into_inner().unwrap();
    let lost: Vec<&i64> = answered.iter().filter(|id| !kept.contains(id)).collect();
    assert!(lost.is_empty(), "answered and not on the disk: {lost:?}");
    let distinct: BTreeSet<&i64> = answered.iter().collect();
    assert_eq!(distinct.len(), answered.len(), "no id is given twice");
    fleet.well(&["audit", "verify"]);
}

#[test]
fn the_doors_of_one_machine_use_the_database_server_too() {
    let Some(server) = Postgres::start() else { return };
    let database = server.database();
    let blocks = "[[agent]]\nname = \"one\"\nkind = \"persistent\"\nprompt = \"x\"\n\
                  governed = true\ntrust = \"L3\"\ntrust_max = \"L3\"\n";
    let fleet = first(&database, blocks);
    fleet.well(&["run", "--agent", "one", "--", "true"]);
    let audit = fleet.well(&["audit", "tail"]).out;
    assert!(audit.contains("true"), "{audit}");
    fleet.well(&["kill", "one", "--why", "it went astray"]);
    assert_eq!(fleet.ao(&["run", "--agent", "one", "--", "true"]).code, 4);
    fleet.well(&["unkill", "one", "--why", "it is well again"]);
    fleet.well(&["run", "--agent", "one", "--", "true"]);
    fleet.well(&["trust", "show", "one"]);
    let doctor = fleet.ao(&["doctor"]);
    assert!(doctor.out.contains("advisory"), "{doctor:?}");
    kill(&server);
    let refused = fleet.ao(&["run", "--agent", "one", "--", "true"]);
    assert!(refused.code != 0 && refused.err.contains("cannot reach"), "{refused:?}");
    server.begin();
    fleet.well(&["run", "--agent", "one", "--", "true"]);
    fleet.well(&["audit", "verify"]);
}

fn status_of(serving: &Serving, path: &str) -> u16 {
    get(serving, "", path).unwrap().0
}

#[test]
fn a_server_that_starts_before_its_database_refuses_until_it_is_there() {
    let Some(server) = Postgres::start() else { return };
    let database = server.database();
    let fleet = first(&database, "");
    let agent = key(&fleet, &[]);
    kill(&server);
    let serving = Serving::begin(&fleet);
    let away = || {
        assert_eq!(status_of(&serving, "/healthz"), 200);
        assert_eq!(status_of(&serving, "/readyz"), 503);
        let (status, body) = post(&serving, &agent, SUBMIT, &write("t")).unwrap();
        assert_eq!(status, 403, "no client may send it again by itself: {body}");
        assert_eq!(get(&serving, &agent, "/api/v1/actions").unwrap().0, 403);
    };
    let back = || {
        until("it is ready", || status_of(&serving, "/readyz") == 200);
        let answer = post(&serving, &agent, SUBMIT, &write("t"));
        assert!(is_allowed(answer.as_ref()), "{answer:?}");
        assert_eq!(get(&serving, &agent, "/api/v1/actions").unwrap().0, 200);
    };
    away();
    let said = std::fs::read_to_string(fleet.path("serve.log")).unwrap();
    assert!(
        said.contains("the governance store is away") && said.contains("cannot reach"),
        "{said}"
    );
    server.begin();
    back();
    kill(&server);
    away();
    server.begin();
    back();
    assert_eq!(serving.end(), Some(0));
    fleet.well(&["audit", "verify"]);
}

#[test]
fn what_no_waiting_cures_ends_the_server_at_once_and_says_why() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (certificate, secret) = (made.cert.pem(), made.signing_key.serialize_pem());
    let Some((server, port)) = Postgres::encrypted(&certificate, &secret) else { return };
    let database = server.database();
    let name = database.split(['/', '?']).nth(3).unwrap();
    let fleet = Fleet::new("");
    fleet.write("ca.pem", &certificate);
    let operator = fleet.path("home/.config/ao/operator");
    std::fs::create_dir_all(&operator).unwrap();
    let password = |text: &str| {
        use std::os::unix::fs::PermissionsExt as _;
        let path = operator.join("postgres.password");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    };
    let store = |name: &str, query: &str| {
        let at = format!("postgres://ao@localhost:{port}/{name}?{query}");
        fleet.configure(&format!("[governance]\nstore = \"{at}\"\n"));
    };
    let ends = |part: &str| {
        let said = fleet.ao(&["serve", "--listen", "127.0.0.1:0"]);
        assert!(said.code != 0 && said.err.contains(part), "{part}: {said:?}");
        assert!(!said.err.contains("s3c"), "{said:?}");
    };
    let root = "sslrootcert=DIR/ca.pem";
    password("s3c");
    store(name, root);
    fleet.well(&["org", "list"]);
    let serving = Serving::begin(&fleet);
    assert_eq!(status_of(&serving, "/readyz"), 200);
    drop(serving);
    password("s3d");
    ends("password authentication failed");
    password("s3c");
    store("nowhere", root);
    ends("database \"nowhere\" does not exist");
    store(name, "sslmode=verify-full");
    ends("UnknownIssuer");
    store(name, "sslmode=perhaps");
    ends("must be one of disable, prefer, require and verify-full");
    store(name, "sslnegotiation=perhaps");
    ends("cannot be read");
}
