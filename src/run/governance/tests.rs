//! From asking to the outcome, on each kind of store.

mod faults;
mod groups;

use std::collections::BTreeSet;
use std::sync::Barrier;

use chrono::{DateTime, TimeDelta};
use ed25519_dalek::SigningKey;

use super::claim::{Claim, claim};
use super::decide::{Answer, inbox};
use super::operator::Operator;
use super::settle::{Outcome, settle};
use super::submit::{BudgetWindow, Decision, Known, Needs, RateWindow, Submission, submit};
use super::{Governance, GovernanceError, LOCAL_ORG, audit};
use crate::base::now::{Mono, Now};
use crate::govern::action::{Ask, Micros};
use crate::govern::approval::State;
use crate::govern::audit::head::Standing;
use crate::govern::audit::verify::Finding;
use crate::govern::class::Class;
use crate::govern::verdict::{Effect, Verdict};
use crate::sys::db::heads::{HeadError, Heads};
use crate::sys::db::memory::MemoryStore;
use crate::sys::db::postgres::server;
use crate::sys::db::rows::{ActionQuery, AuditQuery, Status};
use crate::sys::db::sqlite::SqliteStore;
use crate::sys::db::{DbError, Store, read, write};

fn at(minute: i64) -> Now {
    let start = DateTime::from_timestamp(1_790_000_000, 0).unwrap();
    Now { wall: start + TimeDelta::minutes(minute), mono: Mono(0) }
}

fn ask(resource: &str) -> Ask {
    Ask {
        org: LOCAL_ORG.into(),
        agent: "builder".into(),
        action_type: "shell.run".into(),
        resource: resource.into(),
        context: serde_json::Map::new(),
        cost: Micros(0),
        claimed_risk: None,
        session_id: None,
        parent_action_id: None,
        depth: 0,
        correlation_id: None,
    }
}

fn verdict(effect: Effect) -> Verdict {
    let (reason, trace) = ("because".to_owned(), Vec::new());
    Verdict { effect, reason, trace, risk: 10, policy_digest: "p".into() }
}

fn operator_key() -> SigningKey {
    SigningKey::from_bytes(&[3; 32])
}

fn submission<'a>(ask: &'a Ask, needs: &Needs) -> Submission<'a> {
    let operator = Some(operator_key().verifying_key());
    Submission { ask, class: Class::Act, needs: needs.clone(), operator }
}

#[track_caller]
fn submitted(store: &mut dyn Store, ask: &Ask, effect: Effect, now: Now) -> Decision {
    submit(store, &submission(ask, &Needs::default()), |_| verdict(effect), now).unwrap()
}

fn on_each(promise: fn(&mut dyn Store)) {
    promise(&mut MemoryStore::default());
    let place = Place::new();
    promise(&mut place.open().unwrap());
    if let Some(database) = server::database() {
        let place = Place::new();
        let address = super::Place::from(std::path::PathBuf::from(database));
        let mut governance =
            Governance::open_at(address, place.operator().folder(), at(0)).unwrap();
        promise(governance.store());
    }
}

/// A store with a head, as a project has it.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn database(&self) -> std::path::PathBuf {
        self.dir.path().join("ao.db")
    }

    fn operator(&self) -> Operator {
        let folder = self.dir.path().join("operator");
        let operator = Operator::open(folder).unwrap();
        let key = operator.folder().join("operator.key");
        if !key.exists() {
            let seed = crate::govern::audit::hex(&operator_key().to_bytes());
            crate::sys::file::replace(&key, seed.as_bytes(), 0o600).unwrap();
        }
        operator
    }

    fn open(&self) -> Result<SqliteStore, DbError> {
        let operator = self.operator();
        let key = operator.audit_key().unwrap();
        let heads = Heads::new(&operator.heads(), &self.database(), key)?;
        SqliteStore::open(&self.database(), Some(heads), at(0).wall)
    }

    fn governance(&self) -> Governance {
        Governance {
            store: Box::new(self.open().unwrap()),
            operator: self.operator(),
            org: LOCAL_ORG.to_owned(),
        }
    }

    /// As somebody would who has the file and not the key.
    fn tamper(&self, sql: &str) {
        let connection = rusqlite::Connection::open(self.database()).unwrap();
        connection.execute_batch(sql).unwrap();
    }

    fn verify(&self) -> audit::Proof {
        audit::verify(&mut self.open().unwrap(), LOCAL_ORG).unwrap()
    }
}

#[test]
fn what_is_answered_is_on_the_disk_with_its_audit_record() {
    let place = Place::new();
    let decision = submitted(&mut place.open().unwrap(), &ask("make"), Effect::Allow, at(0));
    let mut store = place.open().unwrap();
    let action = read(&mut store, LOCAL_ORG, |tx| tx.action(decision.action_id)).unwrap().unwrap();
    assert_eq!((action.new.effect, action.new.status), (Effect::Allow, Status::Allowed));
    let records = audit::records(&mut store, LOCAL_ORG, &AuditQuery::default()).unwrap();
    assert_eq!(records.last().unwrap().action_id, decision.action_id);
    let proof = place.verify();
    assert!(proof.outcome.is_intact(), "{:?}", proof.outcome.findings);
    assert_eq!(proof.outcome.standing, Some(Standing::Exact));
}

#[test]
fn a_secret_reaches_no_row() {
    let place = Place::new();
    let mut secret = ask("curl -H 'Authorization: Bearer abcdefgh12345678' x");
    secret.context.insert("password".into(), "hunter2".into());
    let mut store = place.open().unwrap();
    let decision = submitted(&mut store, &secret, Effect::RequireApproval, at(0));
    let outcome = Outcome {
        success: true,
        cost: None,
        details: serde_json::from_str(r#"{"token":"hunter2"}"#).unwrap(),
    };
    assert!(settle(&mut store, LOCAL_ORG, decision.action_id, &outcome, at(0)).is_err());
    let allowed = submitted(&mut store, &secret, Effect::Allow, at(0));
    settle(&mut store, LOCAL_ORG, allowed.action_id, &outcome, at(0)).unwrap();
    drop(store);
    for name in ["ao.db", "ao.db-wal"] {
        let bytes = std::fs::read(place.dir.path().join(name)).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains("hunter2") && !text.contains("abcdefgh12345678"), "{name}");
    }
}

#[test]
fn a_repeated_submission_is_answered_as_the_first_and_judged_once() {
    on_each(|store| {
        let first = Ask { correlation_id: Some("c1".into()), ..ask("make") };
        let one = submitted(store, &first, Effect::Allow, at(0));
        let again = submit(
            store,
            &submission(&first, &Needs::default()),
            |_| panic!("judged twice"),
            at(1),
        );
        let again = again.unwrap();
        assert_eq!(
            (again.action_id, again.effect, again.replayed),
            (one.action_id, Effect::Allow, true)
        );
        let other = Ask { resource: "make deploy".into(), ..first };
        let reused = submit(
            store,
            &submission(&other, &Needs::default()),
            |_| verdict(Effect::Allow),
            at(1),
        );
        assert!(matches!(reused, Err(GovernanceError::CorrelationReused { .. })), "{reused:?}");
        let count = read(store, LOCAL_ORG, |tx| tx.actions(&ActionQuery::default())).unwrap().len();
        assert_eq!(count, 1);
    });
}

#[test]
fn the_judge_sees_what_is_known_and_nothing_of_others() {
    on_each(|store| {
        let parent = Ask { agent: "lead".into(), session_id: Some("s".into()), ..ask("plan") };
        let parent = submitted(store, &parent, Effect::Allow, at(0));
        let needs = Needs {
            rates: vec![RateWindow { key: "r".into(), since: at(-60).wall }],
            ..Needs::default()
        };
        let child = Ask {
            parent_action_id: Some(parent.action_id),
            session_id: Some("s".into()),
            depth: 1,
            ..ask("make")
        };
        for count in 0..3 {
            let judge = |known: &Known| {
                assert_eq!(known.lineage.first().unwrap().new.ask.agent, "lead");
                let agents: Vec<&str> =
                    known.trust.iter().map(|(agent, _)| agent.as_str()).collect();
                assert_eq!(agents, ["builder", "lead"]);
                assert_eq!(known.session.as_ref().unwrap().actions, count + 1);
                assert_eq!(known.rates[0].count, count);
                verdict(Effect::Allow)
            };
            submit(store, &submission(&child, &needs), judge, at(1)).unwrap();
        }
        let foreign = Ask { org: "other".into(), ..child };
        let judge = |known: &Known| {
            assert!(known.lineage.is_empty() && known.rates[0].count == 0);
            verdict(Effect::Deny)
        };
        submit(store, &submission(&foreign, &needs), judge, at(1)).unwrap();
    });
}

/// What ten may spend.
fn for_ten() -> Needs {
    let budgets = vec![BudgetWindow { key: "agent:builder:daily".into(), start: at(-60).wall }];
    Needs { cost: Micros(100), budgets, ..Needs::default() }
}

fn within(limit: i64) -> impl Fn(&Known) -> Verdict {
    move |known| {
        let fits = known.budgets[0].committed().0 + 100 <= limit;
        verdict(if fits { Effect::Allow } else { Effect::Deny })
    }
}

fn fifty_get_ten(open: impl Fn() -> Box<dyn Store + Send> + Sync) {
    drop(open());
    let barrier = Barrier::new(50);
    let effects: Vec<Effect> = std::thread::scope(|scope| {
        let begin = |number| {
            let (open, barrier) = (&open, &barrier);
            scope.spawn(move || {
                // A connection of its own each, as every process has one.
                let mut store = open();
                let ask = ask(&format!("buy {number}"));
                barrier.wait();
                let submission = submission(&ask, &for_ten());
                loop {
                    match submit(&mut *store, &submission, within(1_000), at(0)) {
                        // Denied with nothing on record; a loaded machine makes the line a long one.
                        Err(GovernanceError::Db(DbError::Busy { .. })) => {}
                        decided => return decided.unwrap().effect,
                    }
                }
            })
        };
        let threads: Vec<_> = (0..50).map(begin).collect();
        threads.into_iter().map(|it| it.join().unwrap()).collect()
    });
    assert_eq!(effects.iter().filter(|effect| **effect == Effect::Allow).count(), 10);
    let mut store = open();
    let budgets = read(&mut *store, LOCAL_ORG, |tx| tx.budgets()).unwrap();
    assert_eq!((budgets[0].spent, budgets[0].reserved), (Micros(0), Micros(1_000)));
    let proof = audit::verify(&mut *store, LOCAL_ORG).unwrap();
    assert!(proof.outcome.is_intact(), "{:?}", proof.outcome.findings);
}

#[test]
fn fifty_at_once_get_ten_when_there_is_money_for_ten() {
    let place = Place::new();
    fifty_get_ten(|| Box::new(place.open().unwrap()));
}

#[test]
fn fifty_at_once_from_two_machines_get_ten_when_there_is_money_for_ten() {
    let Some(database) = server::database() else { return };
    let (here, there) = (Place::new(), Place::new());
    let key = |place: &Place| place.operator().folder().join("audit.key");
    here.operator().audit_key().unwrap();
    there.operator();
    std::fs::copy(key(&here), key(&there)).unwrap();
    let turn = std::sync::atomic::AtomicUsize::new(0);
    fifty_get_ten(|| {
        let turn = turn.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let place = if turn.is_multiple_of(2) { &here } else { &there };
        let address = super::Place::Server(database.clone());
        Governance::open_at(address, place.operator().folder(), at(0)).unwrap().store
    });
}

#[test]
fn an_outcome_frees_what_it_did_not_spend_and_is_taken_once() {
    on_each(|store| {
        let decided =
            submit(store, &submission(&ask("buy"), &for_ten()), within(1_000), at(0)).unwrap();
        let outcome =
            Outcome { success: true, cost: Some(Micros(40)), details: serde_json::Map::new() };
        settle(store, LOCAL_ORG, decided.action_id, &outcome, at(1)).unwrap();
        let again = settle(store, LOCAL_ORG, decided.action_id, &outcome, at(1));
        assert!(matches!(again, Err(GovernanceError::NotOpen { status: "done", .. })), "{again:?}");
        let (budgets, conduct) =
            read(store, LOCAL_ORG, |tx| Ok((tx.budgets()?, tx.conduct("builder")?))).unwrap();
        assert_eq!((budgets[0].spent, budgets[0].reserved), (Micros(40), Micros(0)));
        assert_eq!((conduct[0].runs, conduct[0].successes), (1, 1));
    });
}

#[test]
fn what_a_killed_hook_reserved_counts_as_spent_when_it_lapses() {
    on_each(|store| {
        submit(store, &submission(&ask("buy"), &for_ten()), within(1_000), at(0)).unwrap();
        let day = 24 * 60;
        submitted(store, &ask("make"), Effect::Allow, at(day - 1));
        let budget = |store: &mut dyn Store| read(store, LOCAL_ORG, |tx| tx.budgets()).unwrap();
        assert_eq!(budget(store)[0].reserved, Micros(100));
        submitted(store, &ask("make"), Effect::Allow, at(day));
        assert_eq!((budget(store)[0].spent, budget(store)[0].reserved), (Micros(100), Micros(0)));
    });
}

#[test]
fn an_approved_act_runs_once_and_a_changed_one_does_not() {
    let place = Place::new();
    let mut governance = place.governance();
    let held = submitted(governance.store(), &ask("make deploy"), Effect::RequireApproval, at(0));
    assert_eq!(held.effect, Effect::RequireApproval);
    let id = held.approval_id.unwrap();
    let repeated =
        submitted(governance.store(), &ask("make deploy"), Effect::RequireApproval, at(1));
    assert_eq!(repeated.approval_id, Some(id), "asking again does not fill the inbox");
    let waiting = inbox(governance.store(), LOCAL_ORG, at(1)).unwrap();
    assert_eq!(waiting.iter().map(|it| it.id).collect::<Vec<_>>(), [id]);

    governance.answer(id, &Answer::Approve, "operator:x", at(2)).unwrap();
    let twice = governance.answer(id, &Answer::Approve, "operator:x", at(2));
    assert!(matches!(twice, Err(GovernanceError::Approval { .. })), "{twice:?}");
    let changed =
        submitted(governance.store(), &ask("make deploy "), Effect::RequireApproval, at(3));
    assert_eq!(changed.effect, Effect::RequireApproval);
    let first = submitted(governance.store(), &ask("make deploy"), Effect::RequireApproval, at(3));
    assert_eq!((first.effect, first.approval_id), (Effect::AllowNotify, Some(id)));
    let second = submitted(governance.store(), &ask("make deploy"), Effect::RequireApproval, at(3));
    assert_eq!(second.effect, Effect::RequireApproval);
    assert_ne!(second.approval_id, Some(id));
}

#[test]
fn a_waiting_hook_learns_of_a_yes_and_uses_it_up() {
    let place = Place::new();
    let mut governance = place.governance();
    let key = operator_key().verifying_key();
    let held = submitted(governance.store(), &ask("make deploy"), Effect::RequireApproval, at(0));
    let (id, approval) = (held.action_id, held.approval_id.unwrap());
    let ask_again = |governance: &mut Governance, minute| {
        claim(governance.store(), LOCAL_ORG, id, Some(&key), at(minute))
    };
    assert_eq!(ask_again(&mut governance, 1).unwrap(), Claim::Waiting);
    governance.answer(approval, &Answer::Approve, "operator:x", at(2)).unwrap();
    let granted = Claim::Granted { by: "operator:x".into() };
    assert_eq!(ask_again(&mut governance, 3).unwrap(), granted);
    let again = ask_again(&mut governance, 3);
    assert!(matches!(again, Err(GovernanceError::NotOpen { status: "allowed", .. })), "{again:?}");
}

#[test]
fn no_and_silence_refuse_and_free_what_was_reserved() {
    let place = Place::new();
    let mut governance = place.governance();
    let key = operator_key().verifying_key();
    let hold = |_: &Known| verdict(Effect::RequireApproval);
    let denied =
        submit(governance.store(), &submission(&ask("one"), &for_ten()), hold, at(0)).unwrap();
    let silent =
        submit(governance.store(), &submission(&ask("two"), &for_ten()), hold, at(0)).unwrap();
    let answer = Answer::Deny { why: "not on a Friday".into() };
    governance.answer(denied.approval_id.unwrap(), &answer, "operator:x", at(1)).unwrap();
    let refused =
        claim(governance.store(), LOCAL_ORG, denied.action_id, Some(&key), at(1)).unwrap();
    let why = "denied by operator:x: not on a Friday".to_owned();
    assert_eq!(refused, Claim::Refused { why: why.clone() });
    let again = submitted(governance.store(), &ask("one"), Effect::RequireApproval, at(2));
    assert_eq!((again.effect, again.reason), (Effect::Deny, why), "a no is not asked about again");
    let late = claim(governance.store(), LOCAL_ORG, silent.action_id, Some(&key), at(31));
    assert!(matches!(late, Err(GovernanceError::NotOpen { status: "denied", .. })), "{late:?}");
    let too_late =
        governance.answer(silent.approval_id.unwrap(), &Answer::Approve, "operator:x", at(31));
    assert!(matches!(too_late, Err(GovernanceError::Approval { .. })), "{too_late:?}");
    let budgets = read(governance.store(), LOCAL_ORG, |tx| tx.budgets()).unwrap();
    assert_eq!((budgets[0].spent, budgets[0].reserved), (Micros(0), Micros(0)));
}

#[test]
fn a_yes_that_the_operator_did_not_sign_lets_nothing_through() {
    let place = Place::new();
    let mut store = place.open().unwrap();
    let held = submitted(&mut store, &ask("make deploy"), Effect::RequireApproval, at(0));
    place.tamper(
        "UPDATE approvals SET state = 'approved', decided_by = 'operator:x', signature = 'ab'",
    );
    let forged = submitted(&mut store, &ask("make deploy"), Effect::RequireApproval, at(1));
    assert_eq!(forged.effect, Effect::RequireApproval);
    let key = operator_key().verifying_key();
    let claimed = claim(&mut store, LOCAL_ORG, held.action_id, Some(&key), at(1)).unwrap();
    assert!(matches!(claimed, Claim::Refused { .. }), "{claimed:?}");
}

#[test]
fn a_denial_is_never_lifted_by_an_approval() {
    let place = Place::new();
    let mut governance = place.governance();
    let held = submitted(governance.store(), &ask("make"), Effect::RequireApproval, at(0));
    governance.answer(held.approval_id.unwrap(), &Answer::Approve, "operator:x", at(1)).unwrap();
    let denied = submitted(governance.store(), &ask("make"), Effect::Deny, at(2));
    assert_eq!(denied.effect, Effect::Deny);
    let approval = read(governance.store(), LOCAL_ORG, |tx| tx.approval(held.approval_id.unwrap()));
    assert_eq!(approval.unwrap().unwrap().state, State::Approved, "and does not use it up");
}

#[test]
fn a_killed_agent_is_denied_whatever_the_judge_says_until_it_is_lifted() {
    let place = Place::new();
    let mut governance = place.governance();
    let first = Ask { correlation_id: Some("c".into()), ..ask("make") };
    submitted(governance.store(), &first, Effect::Allow, at(0));
    let held = submitted(governance.store(), &ask("deploy"), Effect::RequireApproval, at(0));
    governance.answer(held.approval_id.unwrap(), &Answer::Approve, "operator:x", at(0)).unwrap();
    governance.kill(&["builder".into()], "operator:x", "runs wild", at(1)).unwrap();
    drop(governance);

    let mut governance = place.governance();
    let denied = submitted(governance.store(), &ask("make"), Effect::Allow, at(2));
    assert_eq!(denied.effect, Effect::Deny);
    let key = operator_key().verifying_key();
    let claimed = claim(governance.store(), LOCAL_ORG, held.action_id, Some(&key), at(2)).unwrap();
    assert!(matches!(claimed, Claim::Refused { .. }), "{claimed:?}");
    let other = Ask { agent: "writer".into(), ..ask("make") };
    assert_eq!(submitted(governance.store(), &other, Effect::Allow, at(2)).effect, Effect::Allow);
    governance.unkill(&["builder".into()], "operator:x", "mended", at(3)).unwrap();
    assert_eq!(submitted(governance.store(), &first, Effect::Deny, at(4)).effect, Effect::Allow);
}

/// A log with some records, closed.
fn logged(count: usize) -> Place {
    let place = Place::new();
    let mut store = place.open().unwrap();
    for number in 0..count {
        submitted(&mut store, &ask(&format!("make {number}")), Effect::Allow, at(0));
    }
    place
}
