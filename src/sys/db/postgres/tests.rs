//! What is the server's alone: lost connections, waits, several machines' heads.

use chrono::DateTime;
use serde_json::Value;

use super::*;
use crate::base::now::Mono;
use crate::sys::db::{POLICIES, append, read, write};

fn now() -> Now {
    Now { wall: DateTime::from_timestamp(1_790_000_000, 0).unwrap(), mono: Mono(1) }
}

fn address(text: &str) -> Address {
    Address::read(text, std::path::Path::new("/nonexistent")).unwrap()
}

fn open(text: &str) -> PostgresStore {
    PostgresStore::open(&address(text), None, now().wall).unwrap()
}

fn record(store: &mut PostgresStore, org: &str) -> Result<Tail, DbError> {
    // No two records are alike, as no two acts are.
    let subject = uuid::Uuid::new_v4().to_string();
    write(store, org, now(), |tx| append(tx, &Draft::new(Kind::Decided, "a", &subject), now()))
}

fn machine(folder: &std::path::Path, text: &str) -> Result<PostgresStore, DbError> {
    let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
    let heads = Heads::of_shared(folder, text, key)?;
    PostgresStore::open(&address(text), Some(heads), now().wall)
}

#[test]
fn many_that_open_an_empty_database_at_once_all_find_the_same_store() {
    let Some(text) = server::database() else { return };
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let text = text.clone();
            std::thread::spawn(move || open(&text).id)
        })
        .collect();
    let ids: Vec<String> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

#[test]
fn writers_of_one_organisation_stand_in_a_line_and_others_pass() {
    let Some(text) = server::database() else { return };
    let mut first = open(&text);
    write(&mut first, "one", now(), |tx| {
        let mut second = open(&text);
        assert_eq!(record(&mut second, "two")?.seq, 1);
        let waits = record(&mut second, "one");
        assert!(matches!(waits, Err(DbError::Busy { waited_ms: 2_000 })), "{waits:?}");
        assert_eq!(record(&mut second, "two")?.seq, 2, "the connection still serves");
        append(tx, &Draft::new(Kind::Decided, "a", "b"), now())
    })
    .unwrap();
    assert_eq!(record(&mut open(&text), "one").unwrap().seq, 2);
}

#[test]
fn a_connection_cut_between_two_transactions_is_made_anew_and_one_cut_inside_denies() {
    let Some(server) = server::shared() else { return };
    let text = server.database();
    let name = text.split('?').next().unwrap().rsplit('/').next().unwrap().to_owned();
    let cut = || {
        server.sql(
            "postgres",
            &format!("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{name}'"),
        );
    };
    let mut store = open(&text);
    record(&mut store, "local").unwrap();
    cut();
    assert_eq!(record(&mut store, "local").unwrap().seq, 2);
    let inside = write(&mut store, "local", now(), |tx| {
        append(tx, &Draft::new(Kind::Decided, "a", "b"), now())?;
        cut();
        append(tx, &Draft::new(Kind::Decided, "a", "b"), now())
    });
    assert!(matches!(inside, Err(DbError::Lost { .. })), "{inside:?}");
    let before_commit = write(&mut store, "local", now(), |tx| {
        let tail = append(tx, &Draft::new(Kind::Decided, "a", "b"), now())?;
        cut();
        Ok(tail)
    });
    assert!(matches!(before_commit, Err(DbError::Lost { .. })), "{before_commit:?}");
    assert_eq!(record(&mut store, "local").unwrap().seq, 3, "nothing of it was there");
}

fn panic_here() -> String {
    panic!("on purpose")
}

#[test]
fn a_panic_in_the_middle_leaves_nothing_and_no_lock() {
    let Some(text) = server::database() else { return };
    let mut store = open(&text);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        write(&mut store, "local", now(), |tx| -> Result<(), DbError> {
            append(tx, &Draft::new(Kind::Decided, "a", "b"), now())?;
            Err(DbError::Damaged { what: panic_here() })
        })
    }));
    assert!(panicked.is_err());
    assert_eq!(record(&mut open(&text), "local").unwrap().seq, 1);
    assert_eq!(record(&mut store, "local").unwrap().seq, 2);
}

#[test]
fn each_machine_knows_how_far_the_log_went_and_refuses_a_shorter_or_another_one() {
    let Some(server) = server::shared() else { return };
    let text = server.database();
    let name = text.split('?').next().unwrap().rsplit('/').next().unwrap().to_owned();
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut first = machine(here.path(), &text).unwrap();
    let mut second = machine(there.path(), &text).unwrap();
    for seq in 1..=3 {
        assert_eq!(record(&mut first, "local").unwrap().seq, 2 * seq - 1);
        assert_eq!(record(&mut second, "local").unwrap().seq, 2 * seq);
    }
    server.sql(&name, "DELETE FROM audit WHERE seq = 6");
    assert_eq!(record(&mut first, "local").unwrap().seq, 6, "it knew of five");
    let refused = record(&mut second, "local");
    assert!(matches!(&refused, Err(DbError::Head(_))), "{refused:?}");
    second.adopt_head("local", "operator:x", "looked into it", now()).unwrap();
    assert_eq!(record(&mut second, "local").unwrap().seq, 8);
    server.sql(&name, "UPDATE audit SET hash = decode(repeat('00', 32), 'hex') WHERE seq = 6");
    let refused = record(&mut first, "local");
    assert!(matches!(&refused, Err(DbError::Head(_))), "{refused:?}");
    server.sql(&name, "UPDATE store SET id = 'other'");
    let refused = record(&mut machine(there.path(), &text).unwrap(), "local");
    assert!(matches!(&refused, Err(DbError::Head(_))), "{refused:?}");
}

#[test]
fn a_store_signed_with_other_keys_a_newer_one_and_one_that_is_no_utf8_are_refused() {
    let Some(server) = server::shared() else { return };
    let text = server.database();
    let name = text.split('?').next().unwrap().rsplit('/').next().unwrap().to_owned();
    let here = tempfile::tempdir().unwrap();
    machine(here.path(), &text).unwrap();
    server.sql(&name, "UPDATE store SET audit_key = 'ab'");
    let refused = machine(here.path(), &text);
    assert!(matches!(&refused, Err(DbError::OtherKeys { .. })), "{refused:?}");
    server.sql(&name, "INSERT INTO schema_version VALUES (99, 'x', 'y')");
    let refused = machine(here.path(), &text);
    assert!(matches!(&refused, Err(DbError::Newer { found: 99, .. })), "{refused:?}");
    server.sql("postgres", "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0");
    let latin = text.replace(&format!("/{name}?"), "/latin?");
    let refused = PostgresStore::open(&address(&latin), None, now().wall);
    assert!(matches!(&refused, Err(DbError::Encoding { .. })), "{refused:?}");
    let refused = PostgresStore::open(&address(&text.replace(&name, "absent")), None, now().wall);
    assert!(matches!(&refused, Err(DbError::Unreachable { .. })), "{refused:?}");
}

#[test]
fn a_listener_hears_of_kills_and_policies_when_they_are_committed_and_of_nothing_else() {
    let Some(text) = server::database() else { return };
    let mut store = open(&text);
    let (told, heard) = std::sync::mpsc::channel();
    let listener = Listener::start(address(&text), move || told.send(()).unwrap());
    let patience = Duration::from_secs(10);
    heard.recv_timeout(patience).expect("each new connection counts as a change");
    let kill = crate::sys::db::rows::KillSwitch {
        target: "a".into(),
        by: "b".into(),
        why: "w".into(),
        at: now().wall,
    };
    record(&mut store, "local").unwrap();
    let failed: Result<(), DbError> = write(&mut store, "local", now(), |tx| {
        tx.kill_put(&kill)?;
        Err(DbError::Damaged { what: "on purpose".into() })
    });
    assert!(failed.is_err());
    write(&mut store, "local", now(), |tx| tx.kill_put(&kill)).unwrap();
    heard.recv_timeout(patience).expect("the kill is heard");
    assert!(heard.try_recv().is_err(), "only what was committed is told");
    assert!(read(&mut store, "local", |tx| Ok(tx.kills()?.len())).unwrap() == 1);
    write(&mut store, "local", now(), |tx| tx.fact_put("other", "k", &Value::Null)).unwrap();
    write(&mut store, "local", now(), |tx| tx.fact_put(POLICIES, "k", &Value::Null)).unwrap();
    heard.recv_timeout(patience).expect("other policies are heard of");
    assert!(heard.try_recv().is_err(), "no other fact is told");
    drop(listener);
}

/// In files of the folder: a certificate for `localhost`, and another one that nobody has.
fn certificates(folder: &std::path::Path) -> (String, String) {
    let make = || rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (own, other) = (make(), make());
    std::fs::write(folder.join("own.pem"), own.cert.pem()).unwrap();
    std::fs::write(folder.join("other.pem"), other.cert.pem()).unwrap();
    (own.cert.pem(), own.signing_key.serialize_pem())
}

#[test]
fn what_an_address_asks_of_tls_holds_on_the_real_server() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = certificates(folder.path());
    let Some((server, port)) = server::Postgres::encrypted(&certificate, &key) else { return };
    let text = server.database();
    let name = text.split(['/', '?']).nth(3).unwrap();
    let root = |name: &str| format!("sslrootcert={}", folder.path().join(name).display());
    let reach = |host: &str, password: &str, query: &str| {
        let text = format!("postgres://ao:{password}@{host}:{port}/{name}?{query}");
        let how = "SELECT coalesce((SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND ssl), 'open')";
        connect(&address(&text)).map(|mut link| link.query_one(how, &[]).unwrap().get(0))
    };
    let encrypted = |query: &str| {
        let version: String = reach("localhost", "s3c", query).unwrap();
        assert_eq!(version, "TLSv1.3", "{query}");
    };
    encrypted(&format!("sslmode=verify-full&{}", root("own.pem")));
    encrypted(&root("own.pem"));
    encrypted("sslmode=require");
    encrypted("sslmode=prefer");
    let refused = |host: &str, password: &str, query: &str, part: &str| {
        let error = reach(host, password, query).unwrap_err();
        let shown = crate::base::chain::text(&error);
        assert!(shown.contains(part) && !shown.contains("s3c"), "{shown}");
        assert!(!error.is_away(), "waiting does not cure it: {shown}");
    };
    refused("localhost", "s3c", "sslmode=disable", "no encryption");
    refused("localhost", "s3c", "", "no encryption");
    refused("localhost", "s3c", "sslmode=verify-full", "UnknownIssuer");
    refused("localhost", "s3c", &root("other.pem"), "invalid peer certificate");
    refused("127.0.0.1", "s3c", &root("own.pem"), "not valid for name");
    refused("localhost", "s3d", "sslmode=require", "password authentication failed");
    // The socket needs none, whatever the address asks for.
    connect(&address(&format!("{text}&sslmode=require"))).unwrap();
}

#[test]
fn a_password_is_not_sent_to_a_server_that_claims_to_have_no_tls() {
    use std::io::{Read as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut wish = [0; 8];
        stream.read_exact(&mut wish).unwrap();
        stream.write_all(b"N").unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        rest
    });
    let text = format!("postgres://ao:s3c@localhost:{port}/ao?sslmode=require");
    let error = connect(&address(&text)).err().unwrap();
    let shown = crate::base::chain::text(&error);
    assert!(shown.contains("does not support TLS"), "{shown}");
    assert!(!error.is_away(), "{shown}");
    assert_eq!(thread.join().unwrap(), b"", "not a byte behind the question");
    // Nobody listens there any more: that may change.
    let error = connect(&address(&text)).err().unwrap();
    assert!(error.is_away(), "{error}");
}
