//! Between `SQLite`'s columns and our rows. What does not read back is damage, never a default.

use chrono::{DateTime, Utc};
use rusqlite::Row;
use rusqlite::types::Type;
use serde::de::DeserializeOwned;

use crate::govern::action::{Ask, Micros};
use crate::govern::approval::State;
use crate::govern::audit::Record;
use crate::govern::audit::head::Checkpoint;
use crate::govern::verdict::Verdict;
use crate::sys::db::rows::{
    Action, Approval, Budget, Conduct, KillSwitch, NewAction, NewApproval, Reservation, Status,
    TrustRow,
};

pub(super) use crate::sys::db::columns::{ACTION, APPROVAL, AUDIT, CONDUCT, TRUST, word};

type Result<T> = rusqlite::Result<T>;

fn bad(column: usize, what: &str) -> rusqlite::Error {
    let cause = std::io::Error::other(format!("{what} expected"));
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(cause))
}

fn of_word<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> Result<T> {
    let word: String = row.get(column)?;
    serde_json::from_value(serde_json::Value::String(word)).map_err(|_| bad(column, "a known word"))
}

pub(super) fn json<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> Result<T> {
    serde_json::from_str(row.get_ref(column)?.as_str()?).map_err(|_| bad(column, "JSON"))
}

pub(super) fn time(row: &Row<'_>, column: usize) -> Result<DateTime<Utc>> {
    DateTime::from_timestamp_micros(row.get(column)?).ok_or_else(|| bad(column, "a time"))
}

pub(super) fn maybe_time(row: &Row<'_>, column: usize) -> Result<Option<DateTime<Utc>>> {
    let us: Option<i64> = row.get(column)?;
    us.map(|us| DateTime::from_timestamp_micros(us).ok_or_else(|| bad(column, "a time")))
        .transpose()
}

pub(super) fn count(row: &Row<'_>, column: usize) -> Result<u64> {
    let number: i64 = row.get(column)?;
    u64::try_from(number).map_err(|_| bad(column, "a count"))
}

pub(super) fn hash(row: &Row<'_>, column: usize) -> Result<[u8; 32]> {
    let bytes = row.get_ref(column)?.as_blob()?;
    // A hash of another length was not written by us; no hash equals zeros.
    Ok(bytes.try_into().unwrap_or([0; 32]))
}

pub(super) fn record(row: &Row<'_>) -> Result<Record> {
    // Bytes that are no text any more must not end the walk that is to name them.
    let text = |column: usize| -> Result<String> {
        Ok(String::from_utf8_lossy(row.get_ref(column)?.as_bytes()?).into_owned())
    };
    Ok(Record {
        org: text(0)?,
        seq: count(row, 1)?,
        at_us: row.get(2)?,
        kind: text(3)?,
        actor: text(4)?,
        subject: text(5)?,
        action_id: row.get(6)?,
        details: text(7)?,
        hash: hash(row, 8)?,
    })
}

pub(super) fn checkpoint(row: &Row<'_>) -> Result<Checkpoint> {
    Ok(Checkpoint {
        org: row.get(0)?,
        seq: count(row, 1)?,
        hash: hash(row, 2)?,
        signature: row.get(3)?,
    })
}

pub(super) fn action(row: &Row<'_>) -> Result<Action> {
    let ask = Ask {
        org: row.get(1)?,
        agent: row.get(2)?,
        action_type: row.get(3)?,
        resource: row.get(4)?,
        context: json(row, 5)?,
        cost: Micros(row.get(6)?),
        claimed_risk: row.get(7)?,
        session_id: row.get(8)?,
        parent_action_id: row.get(9)?,
        depth: row.get(10)?,
        correlation_id: row.get(11)?,
    };
    let verdict = Verdict {
        effect: of_word(row, 14)?,
        reason: row.get(15)?,
        trace: json(row, 16)?,
        risk: row.get(17)?,
        policy_digest: row.get(18)?,
    };
    let status: String = row.get(20)?;
    let new = NewAction {
        ask,
        digest: row.get(12)?,
        class: of_word(row, 13)?,
        verdict,
        effect: of_word(row, 19)?,
        status: Status::from_word(&status).ok_or_else(|| bad(20, "a status"))?,
        decided_by: row.get(21)?,
        approval_id: row.get(22)?,
        submitted: time(row, 23)?,
    };
    Ok(Action {
        id: row.get(0)?,
        new,
        finished: maybe_time(row, 24)?,
        actual_cost: row.get::<_, Option<i64>>(25)?.map(Micros),
        outcome: json(row, 26)?,
    })
}

pub(super) fn approval(row: &Row<'_>) -> Result<Approval> {
    let state: String = row.get(8)?;
    let new = NewApproval {
        action_id: row.get(1)?,
        agent: row.get(2)?,
        digest: row.get(3)?,
        summary: row.get(4)?,
        reason: row.get(5)?,
        created: time(row, 6)?,
        expires: time(row, 7)?,
    };
    Ok(Approval {
        id: row.get(0)?,
        new,
        state: State::from_word(&state).ok_or_else(|| bad(8, "a state"))?,
        decided: maybe_time(row, 9)?,
        decided_by: row.get(10)?,
        why: row.get(11)?,
        signature: row.get(12)?,
    })
}

pub(super) fn trust(row: &Row<'_>) -> Result<TrustRow> {
    Ok(TrustRow {
        agent: row.get(0)?,
        level: of_word(row, 1)?,
        base: of_word(row, 2)?,
        lowered_until: maybe_time(row, 3)?,
        why: row.get(4)?,
        by: row.get(5)?,
        changed: time(row, 6)?,
    })
}

pub(super) fn conduct(row: &Row<'_>) -> Result<Conduct> {
    Ok(Conduct {
        agent: row.get(0)?,
        class: of_word(row, 1)?,
        runs: count(row, 2)?,
        successes: count(row, 3)?,
        failures: count(row, 4)?,
        denials: count(row, 5)?,
        violations: count(row, 6)?,
        since: time(row, 7)?,
        last: time(row, 8)?,
    })
}

pub(super) fn budget(row: &Row<'_>) -> Result<Budget> {
    Ok(Budget {
        key: row.get(0)?,
        window: time(row, 1)?,
        spent: Micros(row.get(2)?),
        reserved: Micros(row.get(3)?),
    })
}

pub(super) fn reservation(row: &Row<'_>) -> Result<Reservation> {
    Ok(Reservation {
        action_id: row.get(0)?,
        key: row.get(1)?,
        window: time(row, 2)?,
        amount: Micros(row.get(3)?),
        lapses: time(row, 4)?,
    })
}

pub(super) fn kill(row: &Row<'_>) -> Result<KillSwitch> {
    Ok(KillSwitch { target: row.get(0)?, by: row.get(1)?, why: row.get(2)?, at: time(row, 3)? })
}
