//! Many rows by one statement each: what the parts of a group kept back.
//!
//! As in a transaction of one organisation, its name is the first value of each statement. Values go
//! as one list a column, so that a statement is planned once whatever the number of rows.

use std::future::Future;
use std::sync::Arc;

use postgres::types::ToSql;
use postgres::{Client, Error, Statement};

use super::link::Link;
use super::tx::{PostgresTx, json, number, us};
use super::{failed, rows};
use crate::govern::audit::Record;
use crate::govern::audit::head::Checkpoint;
use crate::sys::db::DbError;
use crate::sys::db::gathered::{KeptBack, Quiet, Rows};
use crate::sys::db::rows::{NewAction, Replay};

impl Rows for PostgresTx<'_> {
    fn mark(&mut self) -> Result<(), DbError> {
        self.step("begin a part", "SAVEPOINT part")
    }

    fn action_ids(&mut self, count: usize) -> Result<Vec<i64>, DbError> {
        let count = i32::try_from(count).unwrap_or(i32::MAX);
        self.all("number acts", IDS, &[&count], |row| rows::get(row, 0))
    }

    fn quiet(&mut self) -> Result<Quiet, DbError> {
        self.look().map(|(_, quiet)| quiet)
    }

    fn keep(&mut self, kept_back: KeptBack) -> Result<(), DbError> {
        let org = self.org_owned();
        send(self.link(), &org, kept_back)?;
        self.link().settle()
    }
}

/// So many numbers for acts.
pub(super) const IDS: &str = "SELECT nextval(pg_get_serial_sequence('actions', 'id')) \
    FROM generate_series(1, $2::int4) WHERE $1::text IS NOT NULL";

/// Sends rows and does not wait until they are written.
pub(super) fn send(link: &mut Link, org: &str, kept_back: KeptBack) -> Result<(), DbError> {
    let KeptBack { actions: acts, replays: used, records: log, checkpoints: signed } = kept_back;
    if !acts.is_empty() {
        sent(link, "write acts", ACTIONS, org, acts, actions)?;
    }
    if !log.is_empty() {
        sent(link, "record", RECORDS, org, log, records)?;
    }
    if !used.is_empty() {
        sent(link, "note submissions", REPLAYS, org, used, replays)?;
    }
    if !signed.is_empty() {
        sent(link, "sign", CHECKPOINTS, org, signed, checkpoints)?;
    }
    Ok(())
}

fn sent<R, F, W>(
    link: &mut Link,
    act: &'static str,
    text: &str,
    org: &str,
    rows: Vec<R>,
    write: F,
) -> Result<(), DbError>
where
    F: FnOnce(Arc<Client>, Statement, String, Vec<R>) -> W,
    W: Future<Output = Result<(), Error>> + Send + 'static,
{
    let statement = link.statement(text).map_err(failed(act))?;
    let work = write(link.client(), statement, org.to_owned(), rows);
    link.send(act, work)
}

/// A value of each row.
fn column<'a, R, T>(rows: &'a [R], value: impl Fn(&'a R) -> T) -> Vec<T> {
    rows.iter().map(value).collect()
}

const ACTIONS: &str = "INSERT INTO actions (org, id, agent, action_type, resource, context, cost, \
    claimed_risk, session_id, parent_id, depth, correlation_id, digest, class, \
    verdict_effect, reason, trace, risk, policy_digest, effect, status, decided_by, \
    approval_id, submitted_us, outcome) OVERRIDING SYSTEM VALUE \
    SELECT $1, *, '{}' FROM unnest($2::bigint[], $3::text[], $4::text[], $5::text[], \
    $6::text[], $7::bigint[], $8::float8[], $9::text[], $10::bigint[], $11::bigint[], \
    $12::text[], $13::text[], $14::text[], $15::text[], $16::text[], $17::text[], \
    $18::bigint[], $19::text[], $20::text[], $21::text[], $22::text[], $23::bigint[], \
    $24::bigint[])";

async fn actions(
    client: Arc<Client>,
    statement: Statement,
    org: String,
    rows: Vec<(i64, NewAction)>,
) -> Result<(), Error> {
    let values: [&(dyn ToSql + Sync); 24] = [
        &org,
        &column(&rows, |(id, _)| *id),
        &column(&rows, |(_, it)| it.ask.agent.as_str()),
        &column(&rows, |(_, it)| it.ask.action_type.as_str()),
        &column(&rows, |(_, it)| it.ask.resource.as_str()),
        &column(&rows, |(_, it)| json(&it.ask.context)),
        &column(&rows, |(_, it)| it.ask.cost.0),
        &column(&rows, |(_, it)| it.ask.claimed_risk),
        &column(&rows, |(_, it)| it.ask.session_id.as_deref()),
        &column(&rows, |(_, it)| it.ask.parent_action_id),
        &column(&rows, |(_, it)| i64::from(it.ask.depth)),
        &column(&rows, |(_, it)| it.ask.correlation_id.as_deref()),
        &column(&rows, |(_, it)| it.digest.as_str()),
        &column(&rows, |(_, it)| rows::word(&it.class)),
        &column(&rows, |(_, it)| rows::word(&it.verdict.effect)),
        &column(&rows, |(_, it)| it.verdict.reason.as_str()),
        &column(&rows, |(_, it)| json(&it.verdict.trace)),
        &column(&rows, |(_, it)| i64::from(it.verdict.risk)),
        &column(&rows, |(_, it)| it.verdict.policy_digest.as_str()),
        &column(&rows, |(_, it)| rows::word(&it.effect)),
        &column(&rows, |(_, it)| it.status.word()),
        &column(&rows, |(_, it)| it.decided_by.as_str()),
        &column(&rows, |(_, it)| it.approval_id),
        &column(&rows, |(_, it)| us(it.submitted)),
    ];
    client.execute(&statement, &values).await.map(drop)
}

const RECORDS: &str = "INSERT INTO audit (org, seq, at_us, kind, actor, subject, action_id, details, hash) \
    SELECT $1, * FROM unnest($2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[], \
    $7::bigint[], $8::text[], $9::bytea[])";

async fn records(
    client: Arc<Client>,
    statement: Statement,
    org: String,
    rows: Vec<Record>,
) -> Result<(), Error> {
    let values: [&(dyn ToSql + Sync); 9] = [
        &org,
        &column(&rows, |it| number(it.seq)),
        &column(&rows, |it| it.at_us),
        &column(&rows, |it| it.kind.as_str()),
        &column(&rows, |it| it.actor.as_str()),
        &column(&rows, |it| it.subject.as_str()),
        &column(&rows, |it| it.action_id),
        &column(&rows, |it| it.details.as_str()),
        &column(&rows, |it| it.hash.as_slice()),
    ];
    client.execute(&statement, &values).await.map(drop)
}

const REPLAYS: &str = "INSERT INTO replays (org, correlation_id, body_digest, action_id) \
    SELECT $1, * FROM unnest($2::text[], $3::text[], $4::bigint[])";

async fn replays(
    client: Arc<Client>,
    statement: Statement,
    org: String,
    rows: Vec<(String, Replay)>,
) -> Result<(), Error> {
    let values: [&(dyn ToSql + Sync); 4] = [
        &org,
        &column(&rows, |(id, _)| id.as_str()),
        &column(&rows, |(_, it)| it.body_digest.as_str()),
        &column(&rows, |(_, it)| it.action_id),
    ];
    client.execute(&statement, &values).await.map(drop)
}

const CHECKPOINTS: &str = "INSERT INTO checkpoints (org, seq, hash, signature) \
    SELECT $1, * FROM unnest($2::bigint[], $3::bytea[], $4::text[])";

async fn checkpoints(
    client: Arc<Client>,
    statement: Statement,
    org: String,
    rows: Vec<Checkpoint>,
) -> Result<(), Error> {
    let values: [&(dyn ToSql + Sync); 4] = [
        &org,
        &column(&rows, |it| number(it.seq)),
        &column(&rows, |it| it.hash.as_slice()),
        &column(&rows, |it| it.signature.as_str()),
    ];
    client.execute(&statement, &values).await.map(drop)
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_statement_writes_rows_of_its_organisation() {
        let source = include_str!("bulk.rs").split("#[cfg(test)]").next().unwrap();
        assert_eq!(source.matches("\"INSERT INTO ").count(), 4);
        assert_eq!(source.matches(" (org, ").count(), 4);
        assert_eq!(source.matches("SELECT $1, *").count(), 4);
    }
}
