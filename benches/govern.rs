//! Governance whole, on `SQLite` and on `PostgreSQL`: deciding durably, and proving a long log.
//!
//! Left out: the start of a hook's process, which `fleet.rs` style figures belong to. Each process
//! opens the store anew for every call, as a hook does; another connection stays open beside them,
//! as the watchdog's does. The `PostgreSQL` part starts Debian's server, `fsync` on, on a private
//! socket; it is left out where that is not installed.
//!
//! `cargo bench --bench govern`; `AO_BENCH_RECORDS` sets the length of the log (1,000,000).

#![expect(clippy::disallowed_methods, reason = "a bench measures real time and starts programs")]
#![expect(clippy::print_stdout, reason = "the table is the bench's output")]
#![expect(clippy::unwrap_used, reason = "a bench that cannot go on stops")]

#[path = "../tests/it/support/postgres.rs"]
#[expect(dead_code, reason = "tests need more of it")]
mod postgres;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ao::base::now::{Mono, Now};
use ao::govern::action::{Ask, Micros};
use ao::govern::audit::{Draft, Kind};
use ao::govern::class::Class;
use ao::govern::verdict::{Effect, Said, Step, Verdict};
use ao::run::governance::audit;
use ao::run::governance::operator::Operator;
use ao::run::governance::submit::{BudgetWindow, Needs, RateWindow, Submission, submit};
use ao::run::governance::{Governance, Place};
use ao::sys::clock;
use ao::sys::db::heads::Heads;
use ao::sys::db::sqlite::SqliteStore;
use ao::sys::db::{Store, append, read, write};

const ORG: &str = "local";
const CALLS: usize = 1_000;
const SESSION: usize = 10_000;
const PROCESSES: usize = 10;
const EVERY: Duration = Duration::from_millis(100);

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, child, dir, agent] = arguments.as_slice()
        && child == "child"
    {
        many(Path::new(dir), agent);
        return;
    }
    let dir = tempfile::Builder::new().prefix("ao-bench-").tempdir_in("target").unwrap();
    let kept = open(dir.path());
    one_process(dir.path());
    ten_processes(dir.path());
    drop(kept);
    server(dir.path());
    long_session(dir.path());
    let long = tempfile::Builder::new().prefix("ao-bench-").tempdir_in("target").unwrap();
    long_log(long.path());
}

fn open(dir: &Path) -> SqliteStore {
    let operator = Operator::open(dir.join("operator")).unwrap();
    let database = dir.join("ao.db");
    let heads = Heads::new(&operator.heads(), &database, operator.audit_key().unwrap()).unwrap();
    SqliteStore::open(&database, Some(heads), clock::now().wall).unwrap()
}

/// One decision with what a usual one carries; how long until it was on the disk.
fn decide(store: &mut dyn Store, org: &str, agent: &str, number: usize) -> Duration {
    let now = clock::now();
    let ask = Ask {
        org: org.into(),
        agent: agent.into(),
        action_type: "shell.run".into(),
        resource: format!("cargo test --lib module_{number}"),
        context: serde_json::from_str(r#"{"cwd":"/home/x/project","tool":"Bash"}"#).unwrap(),
        cost: Micros(100),
        claimed_risk: None,
        session_id: Some("s".into()),
        parent_action_id: None,
        depth: 0,
        correlation_id: Some(format!("{agent}-{number}")),
    };
    let needs = Needs {
        cost: Micros(100),
        budgets: vec![BudgetWindow { key: format!("agent:{agent}:daily"), start: now.wall }],
        rates: vec![RateWindow { key: format!("rate:{agent}"), since: now.wall }],
        ..Needs::default()
    };
    let submission = Submission { ask: &ask, class: Class::Act, needs, operator: None };
    let begun = Instant::now();
    submit(store, &submission, |_| verdict(), now).unwrap();
    begun.elapsed()
}

fn verdict() -> Verdict {
    let said = |rule: &str| Said {
        step: Step::Policy,
        rule: rule.into(),
        effect: Effect::Allow,
        why: "in business hours, coverage 84 > 80".into(),
        shadow: false,
    };
    Verdict {
        effect: Effect::Allow,
        reason: "allowed".into(),
        trace: vec![said("deploys"), said("hours"), said("spending")],
        risk: 30,
        policy_digest: "0".repeat(64),
    }
}

fn one_process(dir: &Path) {
    let mut store = open(dir);
    let times = (0..CALLS).map(|number| decide(&mut store, ORG, "one", number)).collect();
    show("submit, one process, store kept open", times);
    let times = (0..CALLS).map(|number| {
        let begun = Instant::now();
        decide(&mut open(dir), ORG, "anew", number);
        begun.elapsed()
    });
    show("submit, one process, store opened each time", times.collect());
}

fn ten_processes(dir: &Path) {
    let program = std::env::current_exe().unwrap();
    let children: Vec<_> = (0..PROCESSES)
        .map(|number| {
            let agent = format!("agent-{number}");
            let mut command = Command::new(&program);
            command.arg("child").arg(dir).arg(agent).stdout(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    let mut times = Vec::new();
    for child in children {
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        times.extend(text.lines().map(|line| Duration::from_micros(line.parse().unwrap())));
    }
    show("submit, ten processes, each one call per 100 ms, opened each time", times);
}

/// What one of the ten does for ten seconds.
fn many(dir: &Path, agent: &str) {
    for number in 0..100 {
        let begun = Instant::now();
        decide(&mut open(dir), ORG, agent, number);
        let took = begun.elapsed();
        println!("{}", took.as_micros());
        std::thread::sleep(EVERY.saturating_sub(took));
    }
}

/// The same on a database server: one connection, then several organisations side by side.
fn server(dir: &Path) {
    let Some(address) = postgres::database() else { return };
    let operator = dir.join("operator");
    let open = || {
        Governance::open_at(Place::Server(address.clone()), &operator, clock::now()).unwrap().store
    };
    let mut store = open();
    let times = (0..CALLS).map(|number| decide(&mut *store, ORG, "one", number)).collect();
    show("PostgreSQL: submit, connection kept", times);
    let times = (0..CALLS / 10).map(|number| {
        let begun = Instant::now();
        decide(&mut *open(), ORG, "anew", number);
        begun.elapsed()
    });
    show("PostgreSQL: submit, connected each time", times.collect());
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for number in 0..PROCESSES {
            let open = &open;
            scope.spawn(move || {
                let (mut store, org) = (open(), format!("org-{number}"));
                for number in 0..CALLS {
                    decide(&mut *store, &org, "one", number);
                }
            });
        }
    });
    let decisions = u32::try_from(PROCESSES * CALLS).unwrap();
    let each = begun.elapsed() / decisions;
    println!(
        "PostgreSQL: {PROCESSES} organisations at once: {:.0} decisions/s",
        1.0 / each.as_secs_f64()
    );
}

/// What a session of 10,000 acts adds up to.
fn long_session(dir: &Path) {
    let mut store = open(dir);
    let now = clock::now();
    let ask = |number: usize| Ask {
        org: ORG.into(),
        agent: format!("agent-{}", number % 10),
        action_type: "shell.run".into(),
        resource: format!("cargo test --lib module_{number}"),
        context: serde_json::Map::new(),
        cost: Micros(100),
        claimed_risk: None,
        session_id: Some("long".into()),
        parent_action_id: None,
        depth: 0,
        correlation_id: None,
    };
    store.gather().unwrap();
    for number in 0..SESSION {
        let ask = ask(number);
        let needs = Needs::default();
        let submission = Submission { ask: &ask, class: Class::Act, needs, operator: None };
        submit(&mut store, &submission, |_| verdict(), now).unwrap();
    }
    store.seal().unwrap();
    let times = (0..CALLS).map(|_| {
        let begun = Instant::now();
        let totals = read(&mut store, ORG, |tx| tx.session_totals("long")).unwrap();
        let took = begun.elapsed();
        assert_eq!((totals.actions, totals.agents.len()), (SESSION as u64, 10));
        took
    });
    show("sum of a session of 10,000 acts", times.collect());
}

fn long_log(dir: &Path) {
    let records = std::env::var("AO_BENCH_RECORDS").ok().and_then(|text| text.parse().ok());
    let records: u64 = records.unwrap_or(1_000_000);
    let mut store = open(dir);
    let now = Now { wall: clock::now().wall, mono: Mono(0) };
    write(&mut store, ORG, now, |tx| {
        for number in 0..records {
            let draft =
                Draft::new(Kind::Decided, "builder", format!("shell.run cargo test {number}"))
                    .about(i64::try_from(number).unwrap() + 1)
                    .with("effect", "allow")
                    .with("reason", "allowed")
                    .with("policy", "0".repeat(64));
            append(tx, &draft, now)?;
        }
        Ok(())
    })
    .unwrap();
    let begun = Instant::now();
    let proof = audit::verify(&mut store, ORG).unwrap();
    let took = begun.elapsed();
    assert!(proof.outcome.is_intact() && proof.outcome.records == records);
    println!("verify {records} records, {} checkpoints: {took:.2?}", proof.checkpoints);
}

fn show(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    println!("{what}: p50 {:.2?}, p99 {:.2?} ({} calls)", at(50), at(99), times.len());
}
