//! What every store promises, run on each kind of store.

use chrono::{DateTime, TimeDelta, Utc};

use super::memory::MemoryStore;
use super::postgres::{Address, PostgresStore, server};
use super::rows::{
    Action, ActionQuery, AuditQuery, Conduct, KillSwitch, NewAction, NewApproval, Replay,
    Reservation, SessionTotals, Status, TrustRow,
};
use super::sqlite::SqliteStore;
use super::{DbError, Glance, Likely, Store, Tx, append, read, reserve, settle, write};
use crate::base::now::{Mono, Now};
use crate::govern::action::{Ask, Micros};
use crate::govern::approval::State;
use crate::govern::audit::verify::Walk;
use crate::govern::audit::{Draft, Kind, Tail};
use crate::govern::class::Class;
use crate::govern::trust::Level;
use crate::govern::verdict::{Effect, Said, Step, Verdict};

fn now() -> Now {
    Now { wall: DateTime::from_timestamp(1_790_000_000, 123_000).unwrap(), mono: Mono(1) }
}

fn minutes(count: i64) -> DateTime<Utc> {
    now().wall + TimeDelta::minutes(count)
}

/// Runs one promise on every kind of store.
fn on_each(promise: impl Fn(&mut dyn Store)) {
    promise(&mut MemoryStore::default());
    let dir = tempfile::tempdir().unwrap();
    promise(&mut SqliteStore::open(&dir.path().join("ao.db"), None, now().wall).unwrap());
    if let Some(database) = server::database() {
        let address = Address::read(&database, &dir.path().join("password")).unwrap();
        promise(&mut PostgresStore::open(&address, None, now().wall).unwrap());
    }
}

fn action(agent: &str, session: &str) -> NewAction {
    let ask = Ask {
        org: "local".into(),
        agent: agent.into(),
        action_type: "shell.run".into(),
        resource: "make".into(),
        context: serde_json::from_str(r#"{"cwd":"/x","n":1.5}"#).unwrap(),
        cost: Micros(7),
        claimed_risk: Some(12.5),
        session_id: Some(session.into()),
        parent_action_id: Some(1),
        depth: 2,
        correlation_id: Some("c".into()),
    };
    let said = Said {
        step: Step::Policy,
        rule: "r".into(),
        effect: Effect::Deny,
        why: "w".into(),
        shadow: true,
    };
    NewAction {
        ask,
        digest: "d".into(),
        class: Class::Across,
        verdict: Verdict {
            effect: Effect::Deny,
            reason: "no".into(),
            trace: vec![said],
            risk: 71,
            policy_digest: "p".into(),
        },
        effect: Effect::Deny,
        status: Status::Denied,
        decided_by: "policy".into(),
        approval_id: Some(3),
        submitted: now().wall,
    }
}

#[test]
fn what_failed_left_nothing_behind() {
    on_each(|store| {
        let failed: Result<(), DbError> = write(store, "local", now(), |tx| {
            tx.action_insert(&action("a", "s"))?;
            append(tx, &Draft::new(Kind::Decided, "a", "b"), now())?;
            Err(DbError::Damaged { what: "on purpose".into() })
        });
        assert!(failed.is_err());
        read(store, "local", |tx| {
            assert_eq!(tx.actions(&ActionQuery::default())?, []);
            assert_eq!(tx.audit_tail()?, Tail::EMPTY);
            Ok(())
        })
        .unwrap();
    });
}

#[test]
fn what_was_read_or_thrown_away_changes_nothing() {
    on_each(|store| {
        read(store, "local", |tx| tx.rate_push("r", now().wall)).unwrap();
        let count = read(store, "local", |tx| tx.rate_count("r", minutes(-1))).unwrap();
        assert_eq!(count, 0);
    });
}

fn all_stopped() -> KillSwitch {
    KillSwitch { target: "*".into(), by: "b".into(), why: "w".into(), at: now().wall }
}

#[test]
fn an_organisation_sees_and_changes_only_its_own_rows() {
    on_each(|store| {
        let id = write(store, "local", now(), |tx| {
            tx.kill_put(&all_stopped())?;
            tx.rate_push("r", now().wall)?;
            tx.replay_insert("c", &Replay { body_digest: "b".into(), action_id: 1 })?;
            append(tx, &Draft::new(Kind::Killed, "a", "b"), now())?;
            tx.action_insert(&action("a", "s"))
        })
        .unwrap();
        write(store, "other", now(), |tx| {
            assert_eq!(tx.action(id)?, None);
            assert_eq!(tx.kills()?, []);
            assert_eq!(tx.rate_count("r", minutes(-1))?, 0);
            assert_eq!(tx.replay("c")?, None);
            assert_eq!(tx.audit_tail()?, Tail::EMPTY);
            assert_eq!(tx.session_totals("s")?, SessionTotals::default());
            assert!(!tx.kill_lift("*")?);
            tx.rate_forget("r", minutes(10))?;
            let mut stolen = Action {
                id,
                new: action("a", "s"),
                finished: None,
                actual_cost: None,
                outcome: serde_json::Map::new(),
            };
            stolen.new.status = Status::Done;
            tx.action_update(&stolen)
        })
        .unwrap();
        read(store, "local", |tx| {
            assert_eq!(tx.action(id)?.unwrap().new.status, Status::Denied);
            assert_eq!(tx.kills()?.len(), 1);
            assert_eq!(tx.rate_count("r", minutes(-1))?, 1);
            Ok(())
        })
        .unwrap();
    });
}

#[test]
fn an_act_reads_back_as_it_was_written_and_only_its_end_can_change() {
    on_each(|store| {
        let (first, second) = write(store, "local", now(), |tx| {
            Ok((tx.action_insert(&action("a", "s"))?, tx.action_insert(&action("b", "s"))?))
        })
        .unwrap();
        assert!(first < second);
        write(store, "local", now(), |tx| {
            let mut changed = tx.action(first)?.unwrap();
            assert_eq!(changed.new, action("a", "s"));
            changed.new.status = Status::Done;
            changed.new.ask.resource = "something else".into();
            changed.finished = Some(minutes(1));
            changed.actual_cost = Some(Micros(9));
            changed.outcome.insert("code".into(), 0.into());
            tx.action_update(&changed)?;
            let kept = tx.action(first)?.unwrap();
            assert_eq!(kept.new.ask.resource, "make");
            assert_eq!((kept.new.status, kept.finished), (Status::Done, Some(minutes(1))));
            assert_eq!((kept.actual_cost, kept.outcome.len()), (Some(Micros(9)), 1));
            let of =
                |agent: &str| ActionQuery { agent: Some(agent.into()), ..ActionQuery::default() };
            assert_eq!(tx.actions(&of("b"))?.len(), 1);
            let after = ActionQuery { after_id: first, limit: 5, ..ActionQuery::default() };
            assert_eq!(tx.actions(&after)?.first().unwrap().id, second);
            let totals = tx.session_totals("s")?;
            assert_eq!((totals.actions, totals.blocked, totals.high_risk), (2, 1, 2));
            // The other one was denied, so it cost nothing.
            assert_eq!((totals.cost, totals.max_depth), (Micros(9), 2));
            assert_eq!(
                (totals.risk_sum, totals.agents),
                (142, vec!["a".to_owned(), "b".to_owned()])
            );
            Ok(())
        })
        .unwrap();
    });
}

#[test]
fn an_id_is_never_given_twice() {
    on_each(|store| {
        let first = write(store, "local", now(), |tx| tx.action_insert(&action("a", "s"))).unwrap();
        let second =
            write(store, "other", now(), |tx| tx.action_insert(&action("a", "s"))).unwrap();
        assert!(second > first);
    });
}

#[test]
fn an_approval_reads_back_and_leaves_the_inbox_when_it_is_over() {
    on_each(|store| {
        let new = NewApproval {
            action_id: 4,
            agent: "a".into(),
            digest: "d".into(),
            summary: "s".into(),
            reason: "r".into(),
            created: now().wall,
            expires: minutes(30),
        };
        write(store, "local", now(), |tx| {
            let old = tx.approval_insert(&new)?;
            let id = tx.approval_insert(&new)?;
            assert!(id > old);
            let mut found = tx.approval_for("d")?.unwrap();
            assert_eq!((found.id, found.state), (id, State::Pending));
            assert_eq!(found.new, new);
            assert_eq!(tx.approvals_open()?.len(), 2);
            found.state = State::Denied;
            found.decided = Some(minutes(1));
            found.decided_by = Some("operator:x".into());
            found.why = Some("no".into());
            found.signature = Some("ab".into());
            tx.approval_update(&found)?;
            assert_eq!(tx.approval(id)?, Some(found));
            assert_eq!(tx.approvals_open()?.len(), 1);
            assert_eq!(tx.approval_for("other")?, None);
            Ok(())
        })
        .unwrap();
    });
}

#[test]
fn trust_and_conduct_read_back() {
    on_each(|store| {
        let row = TrustRow {
            agent: "a".into(),
            level: Level::L1,
            base: Level::L3,
            lowered_until: Some(minutes(60)),
            why: "budget".into(),
            by: "ao".into(),
            changed: now().wall,
        };
        let conduct =
            Conduct { runs: 5, failures: 1, ..Conduct::none("a", Class::Act, now().wall) };
        write(store, "local", now(), |tx| {
            assert_eq!(tx.trust("a")?, None);
            tx.trust_put(&TrustRow { level: Level::L4, ..row.clone() })?;
            tx.trust_put(&row)?;
            tx.conduct_put(&Conduct::none("a", Class::Observe, now().wall))?;
            tx.conduct_put(&conduct)?;
            assert_eq!(tx.trusts()?, std::slice::from_ref(&row));
            assert_eq!(tx.conduct("a")?.last(), Some(&conduct));
            assert_eq!(tx.conduct("a")?.len(), 2);
            Ok(())
        })
        .unwrap();
    });
}

#[test]
fn what_is_reserved_becomes_what_was_spent_in_the_same_window() {
    on_each(|store| {
        let window = minutes(-60);
        let reservation = |action_id| Reservation {
            action_id,
            key: "agent:a:daily".into(),
            window,
            amount: Micros(100),
            lapses: minutes(10),
        };
        write(store, "local", now(), |tx| {
            reserve(tx, &reservation(1))?;
            reserve(tx, &reservation(2))?;
            let budget = tx.budget("agent:a:daily", window)?;
            assert_eq!((budget.spent, budget.committed()), (Micros(0), Micros(200)));
            settle(tx, 1, Some(Micros(30)))?;
            settle(tx, 1, Some(Micros(30)))?;
            assert_eq!(tx.reservations_lapsed(minutes(9), 10)?, Vec::<i64>::new());
            assert_eq!(tx.reservations_lapsed(minutes(10), 10)?, [2]);
            settle(tx, 2, None)?;
            let budget = tx.budget("agent:a:daily", window)?;
            assert_eq!((budget.spent, budget.reserved), (Micros(130), Micros(0)));
            assert_eq!(tx.budgets()?, [budget]);
            assert_eq!(tx.budget("agent:a:daily", minutes(0))?.committed(), Micros(0));
            Ok(())
        })
        .unwrap();
    });
}

#[test]
fn rates_count_what_lies_ahead_of_a_clock_that_was_set_back() {
    on_each(|store| {
        write(store, "local", now(), |tx| {
            for minute in [1, 2, 60] {
                tx.rate_push("r", minutes(minute))?;
            }
            assert_eq!(tx.rate_count("r", minutes(2))?, 2);
            assert_eq!(tx.rate_oldest("r", minutes(2))?, Some(minutes(2)));
            tx.rate_forget("r", minutes(2))?;
            assert_eq!(tx.rate_count("r", minutes(0))?, 2);
            assert_eq!(tx.rate_count("other", minutes(0))?, 0);
            Ok(())
        })
        .unwrap();
    });
}

#[test]
fn a_fact_is_found_by_kind_and_key_and_replaced_as_a_whole() {
    on_each(|store| {
        write(store, "local", now(), |tx| {
            tx.fact_put("conduct", "b/act", &serde_json::json!({ "runs": 1 }))?;
            tx.fact_put("conduct", "a/act", &serde_json::json!({ "runs": 2, "since": "x" }))?;
            tx.fact_put("other", "a/act", &serde_json::json!(3))?;
            tx.fact_put("conduct", "a/act", &serde_json::json!({ "runs": 4 }))?;
            assert_eq!(tx.fact("conduct", "a/act")?, Some(serde_json::json!({ "runs": 4 })));
            assert_eq!(tx.fact("conduct", "c/act")?, None);
            let keys: Vec<String> = tx.facts("conduct")?.into_iter().map(|(key, _)| key).collect();
            assert_eq!(keys, ["a/act", "b/act"]);
            Ok(())
        })
        .unwrap();
    });
}

#[test]
fn a_kill_switch_stays_until_it_is_lifted() {
    on_each(|store| {
        let kill = |why: &str| KillSwitch {
            target: "a".into(),
            by: "operator:x".into(),
            why: why.into(),
            at: now().wall,
        };
        write(store, "local", now(), |tx| {
            tx.kill_put(&kill("one"))?;
            tx.kill_put(&kill("two"))?;
            assert_eq!(tx.kills()?, [kill("two")]);
            assert!(!tx.kill_lift("b")?);
            assert!(tx.kill_lift("a")?);
            assert!(!tx.kill_lift("a")?);
            Ok(())
        })
        .unwrap();
    });
}

#[test]
fn a_glance_misses_nothing_that_is_there() {
    on_each(|store| {
        let mut look = |work: fn(&mut dyn Tx) -> Result<(), DbError>| {
            write(store, "local", now(), |tx| {
                work(tx)?;
                let seen = tx.glance(Some("c"), minutes(5))?;
                Ok([seen.kills, seen.replay, seen.open, seen.lapsed])
            })
            .unwrap()
        };
        look(|tx| {
            let (target, by, why) = ("a".into(), "operator:x".into(), "w".into());
            tx.kill_put(&KillSwitch { target, by, why, at: now().wall })
        });
        look(|tx| tx.replay_insert("c", &Replay { body_digest: "b".into(), action_id: 1 }));
        look(|tx| {
            tx.approval_insert(&NewApproval {
                action_id: 4,
                agent: "a".into(),
                digest: "d".into(),
                summary: "s".into(),
                reason: "r".into(),
                created: now().wall,
                expires: minutes(30),
            })
            .map(drop)
        });
        let seen = look(|tx| {
            tx.reservation_insert(&Reservation {
                action_id: 7,
                key: "k".into(),
                window: now().wall,
                amount: Micros(1),
                lapses: minutes(4),
            })
        });
        assert_eq!(seen, [true; 4]);
    });
}

#[test]
fn a_glance_at_one_file_sees_what_is_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = SqliteStore::open(&dir.path().join("ao.db"), None, now().wall).unwrap();
    write(&mut store, "other", now(), |tx| {
        tx.replay_insert("c", &Replay { body_digest: "b".into(), action_id: 1 })
    })
    .unwrap();
    let seen = read(&mut store, "local", |tx| tx.glance(Some("c"), minutes(5))).unwrap();
    assert_eq!(seen, Glance { kills: false, replay: false, open: false, lapsed: false });
    read(&mut store, "other", |tx| {
        assert!(tx.glance(Some("c"), minutes(5))?.replay);
        assert!(!tx.glance(None, minutes(5))?.replay);
        Ok(())
    })
    .unwrap();
}

#[test]
fn the_audit_log_is_one_chain_an_organisation_and_is_searched() {
    on_each(|store| {
        for (org, subject) in
            [("local", "Alpha"), ("other", "x"), ("local", "beta"), ("local", "gamma")]
        {
            write(store, org, now(), |tx| {
                append(tx, &Draft::new(Kind::Decided, "a", subject).with("k", "Värde"), now())
            })
            .unwrap();
        }
        let found = |store: &mut dyn Store, query: AuditQuery| {
            let mut found = Vec::new();
            read(store, "local", |tx| {
                tx.audit_each(&query, &mut |record| {
                    found.push(record);
                    std::ops::ControlFlow::Continue(())
                })
            })
            .unwrap();
            found
        };
        let subjects = |store: &mut dyn Store, query: AuditQuery| -> Vec<String> {
            found(store, query).into_iter().map(|record| record.subject).collect()
        };
        let all = found(store, AuditQuery::default());
        let mut walk = Walk::new("local", std::collections::BTreeMap::new());
        for record in &all {
            walk.step(record);
        }
        let outcome = walk.finish_without_head();
        assert!(outcome.is_intact(), "{:?}", outcome.findings);
        assert_eq!((outcome.records, outcome.tail.seq), (3, 3));
        let query = AuditQuery::default;
        assert_eq!(subjects(store, AuditQuery { after: 1, ..query() }), ["beta", "gamma"]);
        assert_eq!(subjects(store, AuditQuery { last: Some(2), ..query() }), ["beta", "gamma"]);
        let containing = |text: &str| AuditQuery { containing: Some(text.into()), ..query() };
        assert_eq!(subjects(store, containing("ALPHA")), ["Alpha"]);
        assert_eq!(subjects(store, containing("rde")).len(), 3);
        assert_eq!(subjects(store, AuditQuery { kind: Some("killed".into()), ..query() }).len(), 0);
        assert_eq!(subjects(store, AuditQuery { since: Some(minutes(1)), ..query() }).len(), 0);
    });
}

#[test]
fn a_group_is_one_transaction_in_which_a_failure_harms_no_other() {
    on_each(|store| {
        let record = |tx: &mut dyn Tx, what: &str| {
            append(tx, &Draft::new(Kind::Decided, "a", what), now()).map(drop)
        };
        store.gather().unwrap();
        write(store, "local", now(), |tx| {
            record(tx, "one")?;
            tx.action_insert(&action("a", "s"))
        })
        .unwrap();
        let failed: Result<(), DbError> = write(store, "local", now(), |tx| {
            record(tx, "undone")?;
            tx.action_insert(&action("b", "s"))?;
            Err(DbError::Damaged { what: "on purpose".into() })
        });
        assert!(failed.is_err());
        write(store, "other", now(), |tx| record(tx, "two")).unwrap();
        read(store, "local", |tx| record(tx, "looked at")).unwrap();
        write(store, "local", now(), |tx| record(tx, "three")).unwrap();
        store.seal().unwrap();
        store.seal().unwrap();
        read(store, "local", |tx| {
            assert_eq!(tx.actions(&ActionQuery::default())?.len(), 1);
            let mut walk = Walk::new("local", std::collections::BTreeMap::new());
            let mut subjects = Vec::new();
            tx.audit_each(&AuditQuery::default(), &mut |record| {
                walk.step(&record);
                subjects.push(record.subject);
                std::ops::ControlFlow::Continue(())
            })?;
            assert_eq!(subjects, ["one", "three"]);
            let outcome = walk.finish_without_head();
            assert!(outcome.is_intact(), "{:?}", outcome.findings);
            Ok(())
        })
        .unwrap();
        assert_eq!(read(store, "other", |tx| Ok(tx.audit_tail()?.seq)).unwrap(), 1);
    });
}

#[test]
fn what_was_looked_up_ahead_is_what_is_there_until_the_group_changes_it() {
    let act = |org: &str, agent: &str, id: &str| Likely::Act {
        org: org.into(),
        agent: agent.into(),
        correlation_id: Some(id.into()),
    };
    let fact = |key: &str| Likely::Fact { org: "keys".into(), kind: "k", key: key.into() };
    let likely = [
        act("local", "a", "c1"),
        act("local", "b", "c2"),
        act("other", "a", "c1"),
        fact("1"),
        fact("2"),
    ];
    let replay = Replay { body_digest: "b".into(), action_id: 1 };
    let row = TrustRow {
        agent: "a".into(),
        level: Level::L3,
        base: Level::L3,
        lowered_until: None,
        why: "w".into(),
        by: "b".into(),
        changed: now().wall,
    };
    on_each(|store| {
        let (likely, replay, row) = (&likely, &replay, &row);
        write(store, "local", now(), |tx| {
            tx.replay_insert("c1", replay)?;
            tx.trust_put(row)
        })
        .unwrap();
        write(store, "keys", now(), |tx| tx.fact_put("k", "1", &"one".into())).unwrap();
        store.gather().unwrap();
        store.foresee(likely);
        let facts = |store: &mut dyn Store| {
            read(store, "keys", |tx| Ok([tx.fact("k", "1")?, tx.fact("k", "2")?])).unwrap()
        };
        assert_eq!(facts(store), [Some("one".into()), None]);
        let first = write(store, "local", now(), |tx| {
            assert!(tx.glance(Some("c1"), now().wall)?.replay);
            assert_eq!(tx.replay("c1")?.as_ref(), Some(replay));
            assert_eq!(tx.replay("c2")?, None);
            assert_eq!((tx.trust("a")?.as_ref(), tx.trust("b")?), (Some(row), None));
            tx.replay_insert("c2", replay)?;
            tx.action_insert(&action("a", "s"))
        })
        .unwrap();
        write(store, "other", now(), |tx| {
            assert_eq!((tx.replay("c1")?, tx.trust("a")?), (None, None));
            Ok(())
        })
        .unwrap();
        let undone: Result<(), DbError> = write(store, "local", now(), |tx| {
            tx.trust_put(&TrustRow { level: Level::L1, ..row.clone() })?;
            tx.replay_insert("c3", replay)?;
            Err(DbError::Damaged { what: "on purpose".into() })
        });
        assert!(undone.is_err());
        write(store, "keys", now(), |tx| tx.fact_put("k", "2", &"two".into())).unwrap();
        assert_eq!(facts(store), [Some("one".into()), Some("two".into())]);
        let second = write(store, "local", now(), |tx| {
            assert_eq!(tx.replay("c2")?.as_ref(), Some(replay));
            assert!(tx.glance(Some("c2"), now().wall)?.replay);
            assert_eq!((tx.replay("c3")?, tx.trust("a")?.as_ref()), (None, Some(row)));
            tx.kill_put(&all_stopped())?;
            tx.action_insert(&action("a", "s"))
        })
        .unwrap();
        assert!(second > first);
        write(store, "local", now(), |tx| {
            assert!(tx.glance(None, now().wall)?.kills);
            assert_eq!(tx.kills()?.len(), 1);
            Ok(())
        })
        .unwrap();
        store.seal().unwrap();
        let kept = read(store, "local", |tx| tx.actions(&ActionQuery::default())).unwrap();
        assert_eq!(kept.iter().map(|it| it.id).collect::<Vec<_>>(), [first, second]);
    });
}
