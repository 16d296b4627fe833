//! Between the server's columns and our rows. What does not read back is damage, never a default.

use chrono::{DateTime, Utc};
use postgres::Row;
use postgres::types::FromSql;
use serde::de::DeserializeOwned;

use crate::govern::action::{Ask, Micros};
use crate::govern::approval::State;
use crate::govern::audit::Record;
use crate::govern::audit::head::Checkpoint;
use crate::govern::verdict::Verdict;
use crate::sys::db::DbError;
use crate::sys::db::rows::{
    Action, Approval, Budget, Conduct, KillSwitch, NewAction, NewApproval, Reservation, Status,
    TrustRow,
};

pub(super) use crate::sys::db::columns::{ACTION, APPROVAL, AUDIT, CONDUCT, TRUST, word};

/// Levels of several agents.
pub(super) const TRUST_OF: &str = "SELECT found.* FROM unnest($2::text[]) AS asked (agent), LATERAL \
    (SELECT agent, level, base, lowered_until_us, why, by, changed_us FROM trust \
    WHERE org = $1 AND agent = asked.agent LIMIT 1) AS found";

type Result<T> = std::result::Result<T, DbError>;

fn bad(row: &Row, column: usize, what: &str) -> DbError {
    let name = row.columns().get(column).map_or("?", postgres::Column::name);
    DbError::Damaged { what: format!("something else than {what} in the column `{name}`") }
}

pub(super) fn get<'a, T: FromSql<'a>>(row: &'a Row, column: usize) -> Result<T> {
    row.try_get(column).map_err(|_| bad(row, column, "what its type says"))
}

fn of_word<T: DeserializeOwned>(row: &Row, column: usize) -> Result<T> {
    let word = serde_json::Value::String(get(row, column)?);
    serde_json::from_value(word).map_err(|_| bad(row, column, "a known word"))
}

pub(super) fn json<T: DeserializeOwned>(row: &Row, column: usize) -> Result<T> {
    serde_json::from_str(get(row, column)?).map_err(|_| bad(row, column, "JSON"))
}

pub(super) fn time(row: &Row, column: usize) -> Result<DateTime<Utc>> {
    DateTime::from_timestamp_micros(get(row, column)?).ok_or_else(|| bad(row, column, "a time"))
}

pub(super) fn maybe_time(row: &Row, column: usize) -> Result<Option<DateTime<Utc>>> {
    let us: Option<i64> = get(row, column)?;
    us.map(|us| DateTime::from_timestamp_micros(us).ok_or_else(|| bad(row, column, "a time")))
        .transpose()
}

/// A number that is smaller here than in the column.
pub(super) fn number<T: TryFrom<i64>>(row: &Row, column: usize) -> Result<T> {
    let number: i64 = get(row, column)?;
    T::try_from(number).map_err(|_| bad(row, column, "a number in its bounds"))
}

pub(super) fn hash(row: &Row, column: usize) -> Result<[u8; 32]> {
    let bytes: &[u8] = get(row, column)?;
    // A hash of another length was not written by us; no hash equals zeros.
    Ok(bytes.try_into().unwrap_or([0; 32]))
}

pub(super) fn record(row: &Row) -> Result<Record> {
    Ok(Record {
        org: get(row, 0)?,
        seq: number(row, 1)?,
        at_us: get(row, 2)?,
        kind: get(row, 3)?,
        actor: get(row, 4)?,
        subject: get(row, 5)?,
        action_id: get(row, 6)?,
        details: get(row, 7)?,
        hash: hash(row, 8)?,
    })
}

pub(super) fn checkpoint(row: &Row) -> Result<Checkpoint> {
    Ok(Checkpoint {
        org: get(row, 0)?,
        seq: number(row, 1)?,
        hash: hash(row, 2)?,
        signature: get(row, 3)?,
    })
}

pub(super) fn action(row: &Row) -> Result<Action> {
    let ask = Ask {
        org: get(row, 1)?,
        agent: get(row, 2)?,
        action_type: get(row, 3)?,
        resource: get(row, 4)?,
        context: json(row, 5)?,
        cost: Micros(get(row, 6)?),
        claimed_risk: get(row, 7)?,
        session_id: get(row, 8)?,
        parent_action_id: get(row, 9)?,
        depth: number(row, 10)?,
        correlation_id: get(row, 11)?,
    };
    let verdict = Verdict {
        effect: of_word(row, 14)?,
        reason: get(row, 15)?,
        trace: json(row, 16)?,
        risk: number(row, 17)?,
        policy_digest: get(row, 18)?,
    };
    let status = Status::from_word(get(row, 20)?).ok_or_else(|| bad(row, 20, "a status"))?;
    let new = NewAction {
        ask,
        digest: get(row, 12)?,
        class: of_word(row, 13)?,
        verdict,
        effect: of_word(row, 19)?,
        status,
        decided_by: get(row, 21)?,
        approval_id: get(row, 22)?,
        submitted: time(row, 23)?,
    };
    Ok(Action {
        id: get(row, 0)?,
        new,
        finished: maybe_time(row, 24)?,
        actual_cost: get::<Option<i64>>(row, 25)?.map(Micros),
        outcome: json(row, 26)?,
    })
}

pub(super) fn approval(row: &Row) -> Result<Approval> {
    let new = NewApproval {
        action_id: get(row, 1)?,
        agent: get(row, 2)?,
        digest: get(row, 3)?,
        summary: get(row, 4)?,
        reason: get(row, 5)?,
        created: time(row, 6)?,
        expires: time(row, 7)?,
    };
    Ok(Approval {
        id: get(row, 0)?,
        new,
        state: State::from_word(get(row, 8)?).ok_or_else(|| bad(row, 8, "a state"))?,
        decided: maybe_time(row, 9)?,
        decided_by: get(row, 10)?,
        why: get(row, 11)?,
        signature: get(row, 12)?,
    })
}

pub(super) fn trust(row: &Row) -> Result<TrustRow> {
    Ok(TrustRow {
        agent: get(row, 0)?,
        level: of_word(row, 1)?,
        base: of_word(row, 2)?,
        lowered_until: maybe_time(row, 3)?,
        why: get(row, 4)?,
        by: get(row, 5)?,
        changed: time(row, 6)?,
    })
}

pub(super) fn conduct(row: &Row) -> Result<Conduct> {
    Ok(Conduct {
        agent: get(row, 0)?,
        class: of_word(row, 1)?,
        runs: number(row, 2)?,
        successes: number(row, 3)?,
        failures: number(row, 4)?,
        denials: number(row, 5)?,
        violations: number(row, 6)?,
        since: time(row, 7)?,
        last: time(row, 8)?,
    })
}

pub(super) fn budget(row: &Row) -> Result<Budget> {
    Ok(Budget {
        key: get(row, 0)?,
        window: time(row, 1)?,
        spent: Micros(get(row, 2)?),
        reserved: Micros(get(row, 3)?),
    })
}

pub(super) fn reservation(row: &Row) -> Result<Reservation> {
    Ok(Reservation {
        action_id: get(row, 0)?,
        key: get(row, 1)?,
        window: time(row, 2)?,
        amount: Micros(get(row, 3)?),
        lapses: time(row, 4)?,
    })
}

pub(super) fn kill(row: &Row) -> Result<KillSwitch> {
    Ok(KillSwitch { target: get(row, 0)?, by: get(row, 1)?, why: get(row, 2)?, at: time(row, 3)? })
}
