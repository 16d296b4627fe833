//! Governance as people use it from the command line: kill switches, approvals, the audit log.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use ao::govern::action::{Ask, Micros};
use ao::govern::class::Class;
use ao::govern::verdict::{Effect, Verdict};
use ao::run::governance::operator::Operator;
use ao::run::governance::submit::{Decision, Needs, Submission, submit};
use ao::sys::clock;
use ao::sys::db::heads::Heads;
use ao::sys::db::sqlite::SqliteStore;

use crate::support::fleet::Fleet;

const TWO: &str = "[[agent]]\nname = \"one\"\nkind = \"persistent\"\nprompt = \"count to three\"\n\n\
                   [[agent]]\nname = \"two\"\nkind = \"persistent\"\nprompt = \"count to four\"\n\n";

/// The fleet's store, as a hook of one of its agents opens it.
fn store(fleet: &Fleet) -> (SqliteStore, Operator) {
    let operator = Operator::open(fleet.path("home/.config/ao/operator")).unwrap();
    let state: PathBuf = fleet.path(".ao-state/state");
    std::fs::create_dir_all(&state).unwrap();
    let database = state.canonicalize().unwrap().join("ao.db");
    let heads = Heads::new(&operator.heads(), &database, operator.audit_key().unwrap()).unwrap();
    (SqliteStore::open(&database, Some(heads), clock::now().wall).unwrap(), operator)
}

/// An act that needs a person's leave.
fn hold(fleet: &Fleet, resource: &str) -> Decision {
    let (mut store, operator) = store(fleet);
    let ask = Ask {
        org: "local".into(),
        agent: "one".into(),
        action_type: "shell.run".into(),
        resource: resource.into(),
        context: serde_json::Map::new(),
        cost: Micros(0),
        claimed_risk: None,
        session_id: None,
        parent_action_id: None,
        depth: 0,
        correlation_id: None,
    };
    let operator = operator.decision_public().unwrap();
    let needs = Needs::default();
    let submission = Submission { ask: &ask, class: Class::Act, needs, operator };
    let verdict = Verdict {
        effect: Effect::RequireApproval,
        reason: "L1 asks before it acts".into(),
        trace: Vec::new(),
        risk: 50,
        policy_digest: String::new(),
    };
    submit(&mut store, &submission, |_| verdict, clock::now()).unwrap()
}

#[test]
fn a_killed_agent_is_gone_stays_down_and_comes_back_only_after_unkill() {
    let fleet = Fleet::new(TWO);
    fleet.well(&["up"]);
    let [_, two] = fleet.pids(["one", "two"]);
    let rehearsed = fleet.well(&["kill", "one", "--dry-run"]);
    assert!(rehearsed.out.contains("would be blocked; 1 process root"), "{rehearsed:?}");
    fleet.pids(["one"]);

    let begun = Instant::now();
    let killed = fleet.well(&["kill", "one", "--why", "runs wild"]);
    assert!(killed.out.contains("killed and proven gone"), "{killed:?}");
    assert!(begun.elapsed() < Duration::from_secs(20), "it took {:?}", begun.elapsed());
    assert_eq!(fleet.status().pid("one"), None);
    #[cfg(target_os = "linux")]
    assert_eq!(fleet.starts_of("one").len(), 0);

    let refused = fleet.ao(&["up", "one"]);
    assert_eq!(refused.code, 4, "{refused:?}");
    assert!(
        refused.out.contains("runs wild") && refused.out.contains("ao unkill one"),
        "{refused:?}"
    );
    // A bare `up` starts the others, and so does a watchdog that begins anew.
    fleet.well(&["down"]);
    fleet.well(&["up"]);
    assert_eq!(fleet.status().pid("one"), None);
    assert_ne!(fleet.pids(["two"]), [two]);

    fleet.well(&["unkill", "one", "--why", "mended"]);
    fleet.well(&["up", "one"]);
    fleet.pids(["one"]);
    let log = fleet.well(&["audit", "tail", "--json"]).out;
    let kinds: Vec<String> = log
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|line| line["kind"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(kinds, ["killed", "unkilled"]);
    fleet.well(&["audit", "verify"]);
}

#[test]
fn kill_all_covers_every_agent_until_it_is_lifted() {
    let fleet = Fleet::new(TWO);
    fleet.well(&["up"]);
    fleet.pids(["one", "two"]);
    fleet.well(&["kill", "--all", "--why", "drill"]);
    assert_eq!((fleet.status().pid("one"), fleet.status().pid("two")), (None, None));
    assert_eq!(fleet.ao(&["up", "two"]).code, 4);
    let partly = fleet.ao(&["unkill", "two", "--why", "x"]);
    assert_eq!(partly.code, 3, "{partly:?}");
    fleet.well(&["unkill", "--all", "--why", "over"]);
    fleet.well(&["up", "two"]);
    fleet.pids(["two"]);
}

#[test]
fn a_person_answers_what_waits_and_the_answer_counts_once() {
    let fleet = Fleet::new(TWO);
    let first = hold(&fleet, "make deploy");
    assert_eq!(first.effect, Effect::RequireApproval);
    let id = first.approval_id.unwrap().to_string();
    let listed = fleet.well(&["approvals"]).out;
    assert!(listed.contains("shell.run make deploy (L1 asks before it acts)"), "{listed}");
    let json: serde_json::Value =
        serde_json::from_str(&fleet.well(&["approvals", "--json"]).out).unwrap();
    assert_eq!(json["approvals"][0]["state"], "pending");

    fleet.well(&["approve", &id]);
    assert_eq!(hold(&fleet, "make deploy --force").effect, Effect::RequireApproval);
    assert_eq!(hold(&fleet, "make deploy").effect, Effect::AllowNotify);
    assert_eq!(hold(&fleet, "make deploy").effect, Effect::RequireApproval);
    assert_eq!(fleet.ao(&["approve", &id]).code, 1);

    let other = hold(&fleet, "make clean").approval_id.unwrap().to_string();
    fleet.well(&["deny", &other, "--why", "not today"]);
    let denied = hold(&fleet, "make clean");
    assert_eq!(denied.effect, Effect::Deny);
    assert!(denied.reason.ends_with("not today"), "{}", denied.reason);
    assert_eq!(fleet.ao(&["approve", "999"]).code, 1);
}

#[test]
fn an_agent_cannot_approve_not_even_with_a_clean_environment() {
    let fleet = Fleet::new(TWO);
    let id = hold(&fleet, "make deploy").approval_id.unwrap().to_string();
    let ao = env!("CARGO_BIN_EXE_ao");
    for inner in
        [format!("{ao} approve {id}"), format!("env -u AO_START -u AO_AGENT {ao} approve {id}")]
    {
        let mut shell: Command = fleet.command(&[]);
        let mut outer = Command::new("sh");
        outer.args(["-c", &format!("{inner}; exit $?")]).current_dir(fleet.path(""));
        outer.env_clear().envs(shell.get_envs().filter_map(|(name, value)| Some((name, value?))));
        outer.env("AO_START", "some-start").env("AO_AGENT", "one");
        shell = outer;
        let refused = fleet.finish(&mut shell);
        assert_eq!(refused.code, 4, "{refused:?}");
    }
    assert_eq!(hold(&fleet, "make deploy").effect, Effect::RequireApproval);
}

#[test]
fn the_log_is_shown_searched_handed_out_and_proven() {
    let fleet = Fleet::new(TWO);
    assert_eq!(fleet.ao(&["audit", "verify"]).code, 3, "there is none yet");
    for number in 0..5 {
        hold(&fleet, &format!("make target-{number}"));
    }
    let tail = fleet.well(&["audit", "tail", "-n", "2"]).out;
    assert!(tail.contains("target-4") && !tail.contains("target-2"), "{tail}");
    let found = fleet.well(&["audit", "search", "TARGET-3", "--since", "1h"]).out;
    assert!(found.contains("target-3") && !found.contains("target-4"), "{found}");
    assert_eq!(fleet.ao(&["audit", "search", "nowhere"]).code, 3);
    let proven = fleet.well(&["audit", "verify"]).out;
    assert!(proven.starts_with("intact: 5 records"), "{proven}");

    let export = fleet.well(&["audit", "export"]).out;
    fleet.write("export.jsonl", &export);
    fleet.well(&["audit", "verify", "--file", "export.jsonl"]);
    fleet.write("export.jsonl", export.replace("target-3", "target-9"));
    let changed = fleet.ao(&["audit", "verify", "--file", "export.jsonl"]);
    assert_eq!(changed.code, 3);
    assert!(changed.out.contains("record 4 was edited"), "{changed:?}");
    let csv = fleet.well(&["audit", "export", "--format", "csv", "--since", "1d"]).out;
    assert_eq!(csv.lines().count(), 1 + 7, "five acts and two exports: {csv}");
}

#[test]
fn a_log_whose_end_was_cut_off_denies_until_a_person_accepts_it() {
    let fleet = Fleet::new(TWO);
    hold(&fleet, "one");
    hold(&fleet, "two");
    let connection = rusqlite::Connection::open(fleet.path(".ao-state/state/ao.db")).unwrap();
    connection.execute("DELETE FROM audit WHERE seq = 2", []).unwrap();
    drop(connection);
    let found = fleet.ao(&["audit", "verify"]);
    assert_eq!(found.code, 3);
    assert!(found.out.contains("record 2 dropped from the end"), "{found:?}");
    let refused = fleet.ao(&["kill", "one", "--why", "x"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    fleet.well(&["audit", "adopt", "--why", "the disk was restored"]);
    fleet.well(&["audit", "verify"]);
    fleet.well(&["kill", "one", "--why", "x"]);
}
