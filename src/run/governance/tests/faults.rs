//! Tampering, crashes, full disks and locked files, on `SQLite`: all of them deny, and are told.

use super::*;

#[test]
fn tampering_with_the_file_is_found_and_named() {
    let check = |sql: &str, named: Finding| {
        let place = logged(8);
        place.tamper(sql);
        let found = place.verify().outcome.findings;
        assert!(found.contains(&named), "{sql}: {found:?}");
    };
    for column in [
        "at_us = at_us + 1",
        "kind = 'denied'",
        "actor = 'x'",
        "subject = 'x'",
        "action_id = 9",
        "details = '{}'",
        "hash = zeroblob(32)",
    ] {
        check(&format!("UPDATE audit SET {column} WHERE seq = 4"), Finding::Edited { seq: 4 });
    }
    check("DELETE FROM audit WHERE seq BETWEEN 3 AND 5", Finding::Removed { from: 3, to: 5 });
    check("DELETE FROM audit WHERE seq = 1", Finding::Removed { from: 1, to: 1 });
    check("DELETE FROM audit WHERE seq > 6", Finding::TailDropped { from: 7, to: 8 });
    check("DELETE FROM audit", Finding::TailDropped { from: 1, to: 8 });
    check(
        "UPDATE audit SET seq = -4 WHERE seq = 4; UPDATE audit SET seq = 4 WHERE seq = 5; \
         UPDATE audit SET seq = 5 WHERE seq = -4",
        Finding::Edited { seq: 4 },
    );
    check(
        "INSERT INTO audit SELECT org, 9, at_us, kind, actor, subject, action_id, details, hash \
         FROM audit WHERE seq = 8",
        Finding::TailAdded { from: 9, to: 9 },
    );
}

#[test]
fn nothing_is_decided_on_a_log_whose_end_was_tampered_with() {
    for sql in [
        "DELETE FROM audit WHERE seq = 8",
        "DELETE FROM audit",
        "UPDATE audit SET hash = zeroblob(32) WHERE seq = 8",
    ] {
        let place = logged(8);
        place.tamper(sql);
        let mut store = place.open().unwrap();
        let refused = submit(
            &mut store,
            &submission(&ask("x"), &Needs::default()),
            |_| verdict(Effect::Allow),
            at(1),
        );
        assert!(
            matches!(refused, Err(GovernanceError::Db(DbError::Head(_)))),
            "{sql}: {refused:?}"
        );
        store.adopt_head(LOCAL_ORG, "operator:x", "looked into it", at(2)).unwrap();
        assert_eq!(submitted(&mut store, &ask("x"), Effect::Allow, at(3)).effect, Effect::Allow);
    }
}

#[test]
fn another_database_in_the_place_of_this_one_decides_nothing() {
    let place = logged(3);
    let mut open = place.open().unwrap();
    let remove = || {
        for name in ["ao.db", "ao.db-wal", "ao.db-shm"] {
            std::fs::remove_file(place.dir.path().join(name)).ok();
        }
    };
    remove();
    let mut fresh = place.open().unwrap();
    let refused = |store: &mut SqliteStore| {
        submit(store, &submission(&ask("x"), &Needs::default()), |_| verdict(Effect::Allow), at(1))
            .unwrap_err()
    };
    let error = refused(&mut open);
    assert!(matches!(error, GovernanceError::Db(DbError::Replaced { .. })), "{error:?}");
    let error = refused(&mut fresh);
    assert!(
        matches!(error, GovernanceError::Db(DbError::Head(HeadError::OtherStore { .. }))),
        "{error:?}"
    );
}

#[test]
fn a_lost_or_forged_head_decides_nothing() {
    let place = logged(3);
    let mut store = place.open().unwrap();
    let path = store.heads().unwrap().path(LOCAL_ORG);
    let text = std::fs::read_to_string(&path).unwrap();
    let refused = |store: &mut SqliteStore| {
        submit(store, &submission(&ask("x"), &Needs::default()), |_| verdict(Effect::Allow), at(1))
            .is_err()
    };
    std::fs::write(
        &path,
        text.replace("committed 00000000000000000003", "committed 00000000000000000002"),
    )
    .unwrap();
    assert!(refused(&mut store));
    assert!(matches!(place.verify().outcome.findings[..], [Finding::BadHead { .. }]));
    std::fs::remove_file(&path).unwrap();
    assert!(refused(&mut store));
    assert!(matches!(place.verify().outcome.findings[..], [Finding::BadHead { .. }]));
    std::fs::write(&path, text).unwrap();
    assert!(!refused(&mut store));
}

#[test]
fn a_crash_on_either_side_of_the_commit_is_told_from_tampering_and_work_goes_on() {
    let place = logged(3);
    let mut store = place.open().unwrap();
    let path = store.heads().unwrap().path(LOCAL_ORG);
    let tail = read(&mut store, LOCAL_ORG, |tx| tx.audit_tail()).unwrap();
    let id = store.id().to_owned();

    // Died before the commit: announced, never written.
    let next = crate::govern::audit::Tail { seq: 4, hash: [1; 32] };
    store.heads().unwrap().announce(&id, LOCAL_ORG, tail, next).unwrap();
    let outcome = place.verify().outcome;
    assert_eq!((outcome.is_intact(), outcome.standing), (true, Some(Standing::NotCommitted)));
    submitted(&mut store, &ask("x"), Effect::Allow, at(1));

    // Died behind the commit: the head that was announced, never confirmed.
    let after = read(&mut store, LOCAL_ORG, |tx| tx.audit_tail()).unwrap();
    store.heads().unwrap().announce(&id, LOCAL_ORG, tail, after).unwrap();
    let outcome = place.verify().outcome;
    assert_eq!((outcome.is_intact(), outcome.standing), (true, Some(Standing::HeadNotWritten)));
    submitted(&mut store, &ask("y"), Effect::Allow, at(2));
    assert_eq!(place.verify().outcome.standing, Some(Standing::Exact));

    // The machine went down before the head reached the disk.
    let operator = place.operator();
    let old = crate::govern::audit::head::Head {
        store: id,
        org: LOCAL_ORG.into(),
        boot: "another boot".into(),
        committed: tail,
        announced: tail,
    };
    std::fs::write(&path, old.signed(&operator.audit_key().unwrap())).unwrap();
    let outcome = place.verify().outcome;
    assert_eq!(
        (outcome.is_intact(), outcome.standing),
        (true, Some(Standing::MachineWentDown { from: 4 }))
    );
    submitted(&mut store, &ask("z"), Effect::Allow, at(3));
    let kinds: BTreeSet<String> = audit::records(&mut store, LOCAL_ORG, &AuditQuery::default())
        .unwrap()
        .into_iter()
        .map(|record| record.kind)
        .collect();
    assert!(kinds.contains("head.recovered"), "{kinds:?}");
    assert_eq!(place.verify().outcome.standing, Some(Standing::Exact));
}

#[test]
fn a_newer_schema_and_a_file_that_is_no_database_are_refused_clearly() {
    let place = logged(1);
    place.tamper("INSERT INTO schema_version VALUES (99, 'x', 'y')");
    let error = place.open().unwrap_err();
    assert!(matches!(error, DbError::Newer { found: 99, .. }), "{error:?}");
    let path = place.dir.path().join("other.db");
    std::fs::write(&path, "this is no database, and long enough to be seen as such".repeat(40))
        .unwrap();
    let error = SqliteStore::open(&path, None, at(0).wall).unwrap_err();
    assert!(matches!(error, DbError::Open { .. }), "{error:?}");
}

#[test]
fn a_full_disk_denies_and_leaves_nothing_behind() {
    let place = logged(2);
    let mut store = place.open().unwrap();
    // No page may be added any more: what a full disk does to the file.
    let pages = |store: &SqliteStore, most: i64| store.limit_pages(most);
    pages(&store, 1);
    let big = ask(&"x".repeat(200_000));
    let refused =
        submit(&mut store, &submission(&big, &Needs::default()), |_| verdict(Effect::Allow), at(1));
    assert!(matches!(refused, Err(GovernanceError::Db(DbError::Sql { .. }))), "{refused:?}");
    pages(&store, 1_000_000);
    assert!(place.verify().outcome.is_intact());
    assert_eq!(submitted(&mut store, &ask("y"), Effect::Allow, at(2)).effect, Effect::Allow);
}

#[test]
fn a_locked_store_denies_after_a_while() {
    let place = logged(1);
    let blocker = rusqlite::Connection::open(place.database()).unwrap();
    blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut store = place.open().unwrap();
    let refused = submit(
        &mut store,
        &submission(&ask("x"), &Needs::default()),
        |_| verdict(Effect::Allow),
        at(1),
    );
    assert!(matches!(refused, Err(GovernanceError::Db(DbError::Busy { .. }))), "{refused:?}");
    blocker.execute_batch("ROLLBACK").unwrap();
    assert_eq!(submitted(&mut store, &ask("x"), Effect::Allow, at(2)).effect, Effect::Allow);
}

#[test]
fn each_hundredth_record_is_signed_and_a_forged_checkpoint_is_named() {
    let place = Place::new();
    let mut store = place.open().unwrap();
    write(&mut store, LOCAL_ORG, at(0), |tx| {
        for number in 0..250 {
            let draft = crate::govern::audit::Draft::new(
                crate::govern::audit::Kind::Started,
                "ao",
                format!("agent {number}"),
            );
            crate::sys::db::append(tx, &draft, at(0))?;
        }
        Ok(())
    })
    .unwrap();
    assert_eq!(place.verify().checkpoints, 2);
    place.tamper("UPDATE checkpoints SET hash = zeroblob(32) WHERE seq = 200");
    let proof = place.verify();
    assert_eq!(proof.outcome.findings, [Finding::BadCheckpoint { seq: 200 }]);
}
