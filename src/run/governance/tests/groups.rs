//! Several writes as one commit: what a bug, a full disk, a kill or another process does to it.

use super::*;
use crate::sys::db::rows::KillSwitch;

#[test]
fn a_bug_within_a_group_undoes_its_own_part_only() {
    let place = logged(1);
    let mut store = place.open().unwrap();
    store.gather().unwrap();
    submitted(&mut store, &ask("before"), Effect::Allow, at(1));
    let bug = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        submit(&mut store, &submission(&ask("bug"), &Needs::default()), |_| panic!(), at(1))
    }));
    assert!(bug.is_err());
    submitted(&mut store, &ask("after"), Effect::Allow, at(1));
    let in_the_file =
        |store: &mut SqliteStore| read(store, LOCAL_ORG, |tx| Ok(tx.audit_tail()?.seq)).unwrap();
    assert_eq!(in_the_file(&mut place.open().unwrap()), 1, "nothing counts before it is sealed");
    store.seal().unwrap();
    assert_eq!(in_the_file(&mut place.open().unwrap()), 3);
    assert!(place.verify().outcome.is_intact());
    store.gather().unwrap();
    submitted(&mut store, &ask("never sealed"), Effect::Allow, at(2));
    drop(store);
    assert_eq!(in_the_file(&mut place.open().unwrap()), 3);
    assert!(place.verify().outcome.is_intact());
}

#[test]
fn what_was_committed_and_never_flushed_takes_the_next_group_with_it_and_the_log_is_whole() {
    let place = logged(1);
    let mut store = place.open().unwrap();
    store.gather().unwrap();
    submitted(&mut store, &ask("never flushed"), Effect::Allow, at(1));
    let flush = store.seal_begin().unwrap();
    store.gather().unwrap();
    submitted(&mut store, &ask("behind it"), Effect::Allow, at(1));
    // Who was to flush it has ended.
    drop(flush);
    let behind = store.seal();
    assert!(matches!(behind, Err(DbError::Undone)), "{behind:?}");
    let resources = |store: &mut SqliteStore| -> Vec<String> {
        let found = read(store, LOCAL_ORG, |tx| tx.actions(&ActionQuery::default())).unwrap();
        found.into_iter().map(|action| action.new.ask.resource).collect()
    };
    let found = resources(&mut place.open().unwrap());
    assert!(!found.iter().any(|it| it == "behind it"), "{found:?}");
    assert!(place.verify().outcome.is_intact());
    // The same process goes on, and so does one that comes after a kill at this moment.
    submitted(&mut store, &ask("later"), Effect::Allow, at(2));
    store.gather().unwrap();
    submitted(&mut store, &ask("killed before its flush"), Effect::Allow, at(2));
    let flush = store.seal_begin().unwrap();
    std::mem::forget((store, flush));
    assert!(place.verify().outcome.is_intact());
    let mut fresh = place.open().unwrap();
    submitted(&mut fresh, &ask("after the kill"), Effect::Allow, at(3));
    let proof = place.verify();
    assert!(proof.outcome.is_intact() && proof.outcome.standing == Some(Standing::Exact));
    assert!(resources(&mut fresh).iter().any(|it| it == "later"));
}

#[test]
fn a_group_hears_of_what_others_wrote_since_the_one_before() {
    let place = logged(1);
    let (mut store, mut other) = (place.open().unwrap(), place.open().unwrap());
    let group = |store: &mut SqliteStore, what: &str| {
        store.gather().unwrap();
        let decided = submitted(store, &ask(what), Effect::Allow, at(1));
        let is_unchanged = store.is_unchanged();
        store.seal().unwrap();
        (is_unchanged, decided.effect)
    };
    assert_eq!(group(&mut store, "one"), (false, Effect::Allow));
    assert_eq!(group(&mut store, "two"), (true, Effect::Allow));
    submitted(&mut other, &ask("of another process"), Effect::Allow, at(1));
    assert_eq!(group(&mut store, "three"), (false, Effect::Allow));
    assert_eq!(group(&mut store, "four"), (true, Effect::Allow));
    let kill = KillSwitch {
        target: KillSwitch::ALL.to_owned(),
        by: "ann".to_owned(),
        why: "enough".to_owned(),
        at: at(1).wall,
    };
    write(&mut other, LOCAL_ORG, at(1), |tx| tx.kill_put(&kill)).unwrap();
    assert_eq!(group(&mut store, "five"), (false, Effect::Deny));
    write(&mut store, LOCAL_ORG, at(1), |tx| tx.kill_lift(KillSwitch::ALL)).unwrap();
    assert_eq!(group(&mut store, "six"), (false, Effect::Allow));
    assert!(place.verify().outcome.is_intact());
}

#[test]
fn a_disk_that_fills_up_under_a_group_keeps_what_was_sealed_and_nothing_else() {
    let place = logged(2);
    let mut store = place.open().unwrap();
    store.limit_pages(80);
    let (mut kept, mut full, mut number) = (2, false, 0);
    while !full {
        store.gather().unwrap();
        let mut answered = 0;
        for _ in 0..8 {
            number += 1;
            let long = ask(&format!("{number} {}", "x".repeat(3_000)));
            let done = submit(
                &mut store,
                &submission(&long, &Needs::default()),
                |_| verdict(Effect::Allow),
                at(1),
            );
            match done {
                Ok(_) => answered += 1,
                Err(_) => full = true,
            }
        }
        match store.seal() {
            Ok(()) => kept += answered,
            Err(_) => full = true,
        }
    }
    assert!(kept > 2);
    let mut fresh = place.open().unwrap();
    let found = read(&mut fresh, LOCAL_ORG, |tx| tx.actions(&ActionQuery::default())).unwrap();
    assert_eq!(found.len(), kept);
    assert!(place.verify().outcome.is_intact());
    store.limit_pages(1_000_000);
    submitted(&mut store, &ask("room again"), Effect::Allow, at(2));
}
