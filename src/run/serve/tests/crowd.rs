//! Many callers at once: what a kill stops, what a locked store lets through, and whether sums are sums.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use super::*;
use crate::base::now::Mono;
use crate::run::governance::{Place, audit};
use crate::sys::db::read;
use crate::sys::db::rows::{Action, ActionQuery};

const CALLERS: usize = 64;
/// Acts each caller still submits once the kill was answered.
const LAST_ACTS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(60);

/// One submission as its caller saw it.
struct Seen {
    org: &'static str,
    begun: Mono,
    decision: String,
}

/// Submits a root and its child again and again, and a few times more once it is told to end.
fn submit_on(rig: &Rig, number: usize, ending: &AtomicBool, told: &mpsc::Sender<Seen>) {
    let org = if number.is_multiple_of(2) { LOCAL_ORG } else { "acme" };
    let agent = format!("agent-{number}");
    let submit = |more: Value| {
        let body = with(write("orders"), json!({ "agent_id": agent }));
        let begun = clock::now().mono;
        let path = "/api/v1/actions/submit";
        let said = rig.call((org, Scope::Agent), Verb::Post, path, &with(body, more));
        let said = said.check(200, "decision");
        let decision = said["decision"].as_str().unwrap().to_owned();
        told.send(Seen { org, begun, decision }).unwrap();
        said["id"].as_i64().unwrap()
    };
    let mut left = LAST_ACTS;
    while left > 0 {
        left -= usize::from(ending.load(Ordering::Acquire));
        let parent = submit(json!({ "orchestration_session_id": format!("s-{number}") }));
        submit(json!({ "parent_action_id": parent, "orchestration_depth": 1 }));
    }
}

/// Every child behind its parent in the same session, and the totals what a recount says.
fn recount(rig: &Rig, org: &str) -> usize {
    let mut governance = Governance::open(&rig.project).unwrap();
    assert!(audit::verify(governance.store(), org).unwrap().outcome.is_intact());
    read(governance.store(), org, |tx| {
        let actions = tx.actions(&ActionQuery::default())?;
        let of = |session: &str| -> Vec<&Action> {
            let fits = |it: &&Action| it.new.ask.session_id.as_deref() == Some(session);
            actions.iter().filter(fits).collect()
        };
        for action in actions.iter().filter(|it| it.new.ask.depth > 0) {
            let parent = action.new.ask.parent_action_id.unwrap();
            let parent = actions.iter().find(|it| it.id == parent).unwrap();
            assert_eq!(parent.new.ask.session_id, action.new.ask.session_id);
            assert_eq!(parent.new.ask.depth + 1, action.new.ask.depth);
        }
        let sessions: BTreeSet<_> =
            actions.iter().filter_map(|it| it.new.ask.session_id.clone()).collect();
        for session in sessions {
            let (totals, acts) = (tx.session_totals(&session)?, of(&session));
            let count =
                |fits: &dyn Fn(&Action) -> bool| acts.iter().filter(|it| fits(it)).count() as u64;
            assert_eq!(totals.actions, count(&|_| true));
            assert_eq!(totals.blocked, count(&|it| it.new.status.word() == "denied"));
            let risks = acts.iter().map(|it| u64::from(it.new.verdict.risk));
            assert_eq!(totals.risk_sum, risks.sum::<u64>());
        }
        Ok(actions.len())
    })
    .unwrap()
}

#[test]
fn a_kill_amid_many_callers_lets_nothing_through_once_it_is_answered() {
    let rig = Rig::new("");
    let (told, seen) = mpsc::channel();
    let ending = AtomicBool::new(false);
    let (killed_at, all) = std::thread::scope(|scope| {
        for number in 0..CALLERS {
            let (rig, ending, told) = (&rig, &ending, told.clone());
            scope.spawn(move || submit_on(rig, number, ending, &told));
        }
        drop(told);
        let mut all: Vec<Seen> = Vec::new();
        while all.len() < 2 * CALLERS {
            all.push(seen.recv_timeout(PATIENCE).unwrap());
        }
        let kill = "/api/billing/kill-switch/2/trigger";
        let why = json!({ "reason": "it went astray" });
        rig.call(("acme", Scope::Admin), Verb::Post, kill, &why).check(200, "\"blocked\":true");
        let killed_at = clock::now().mono;
        ending.store(true, Ordering::Release);
        all.extend(seen);
        (killed_at, all)
    });
    let late = |org: &'static str| {
        all.iter().filter(move |seen| seen.org == org && seen.begun > killed_at)
    };
    assert!(late("acme").count() >= CALLERS && late(LOCAL_ORG).count() >= CALLERS);
    assert!(late("acme").all(|seen| seen.decision == "denied"));
    assert!(all.iter().any(|seen| seen.org == "acme" && seen.decision == "allowed"));
    assert!(all.iter().all(|seen| seen.org == "acme" || seen.decision == "allowed"));
    for org in ["acme", LOCAL_ORG] {
        assert_eq!(recount(&rig, org), all.iter().filter(|seen| seen.org == org).count());
    }
}

#[test]
fn a_locked_store_lets_nothing_through_however_many_ask() {
    let rig = Rig::new("");
    let state = rig.project.store.state();
    let Place::File(database) = Governance::place_of(&rig.project.config, &state) else {
        panic!("the rig keeps its store in a file");
    };
    let blocker = rusqlite::Connection::open(database).unwrap();
    blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
    std::thread::scope(|scope| {
        let ask = || rig.submit(&write("t")).check(403, "could not be recorded");
        let asking: Vec<_> = (0..16).map(|_| scope.spawn(ask)).collect();
        for one in asking {
            one.join().unwrap();
        }
    });
    blocker.execute_batch("ROLLBACK").unwrap();
    rig.submit(&write("t")).check(200, "allowed");
    assert_eq!(recount(&rig, LOCAL_ORG), 1);
}
