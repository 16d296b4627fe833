//! One transaction of one organisation.
//!
//! Every statement binds the organisation as its first parameter, and it is bound here and nowhere
//! else; a test reads the statements of this file and refuses one that does not use it.

use std::cell::Cell;
use std::ops::ControlFlow;

use chrono::{DateTime, Utc};
use ed25519_dalek::SigningKey;
use rusqlite::{CachedStatement, Connection, OptionalExtension as _, Row, ToSql};
use serde_json::Value;

use super::{rows, sql};
use crate::govern::action::Micros;
use crate::govern::approval::State;
use crate::govern::audit::head::Checkpoint;
use crate::govern::audit::{Hash, Record, Tail};
use crate::sys::db::rows::{
    Action, ActionQuery, Approval, AuditQuery, Budget, Conduct, KillSwitch, NewAction, NewApproval,
    Replay, Reservation, SessionTotals, TrustRow,
};
use crate::sys::db::{DbError, Glance, Tx};

pub(super) struct SqliteTx<'a> {
    connection: &'a Connection,
    org: String,
    signer: Option<&'a SigningKey>,
    /// Read once: only this transaction can move it.
    tail: Option<Tail>,
    /// The number of the last act, in a group of writes.
    pub(super) last_id: Option<&'a Cell<i64>>,
}

impl<'a> SqliteTx<'a> {
    pub(super) fn new(
        connection: &'a Connection,
        org: &str,
        signer: Option<&'a SigningKey>,
    ) -> Self {
        Self { connection, org: org.to_owned(), signer, tail: None, last_id: None }
    }

    /// Of a group of writes, which counts the numbers of acts itself.
    pub(super) fn numbered(self, last_id: &'a Cell<i64>) -> Self {
        Self { last_id: Some(last_id), ..self }
    }

    pub(super) fn audit_hash(&self, seq: u64) -> Result<Option<Hash>, DbError> {
        let text = "SELECT hash FROM audit WHERE org = ?1 AND seq = ?2";
        self.one("read the audit log", text, &[&number(seq)], |row| rows::hash(row, 0))
    }

    /// A statement without values.
    pub(super) fn step(&self, text: &str, act: &'static str) -> Result<(), DbError> {
        super::step(self.connection, text, act)
    }

    fn prepare(
        &self,
        act: &'static str,
        text: &str,
        rest: &[&dyn ToSql],
    ) -> Result<CachedStatement<'a>, DbError> {
        let mut statement = self.connection.prepare_cached(text).map_err(sql(act))?;
        let org: &dyn ToSql = &self.org;
        for (index, value) in (1..).zip(std::iter::once(&org).chain(rest)) {
            statement.raw_bind_parameter(index, value).map_err(sql(act))?;
        }
        Ok(statement)
    }

    /// With this number, or the next where it is `None`.
    pub(super) fn insert(&self, id: Option<i64>, action: &NewAction) -> Result<(), DbError> {
        let text = "INSERT INTO actions (org, id, agent, action_type, resource, context, cost, \
            claimed_risk, session_id, parent_id, depth, correlation_id, digest, class, \
            verdict_effect, reason, trace, risk, policy_digest, effect, status, decided_by, \
            approval_id, submitted_us, outcome) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, \
            ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, '{}')";
        let NewAction { ask, verdict, .. } = action;
        let values: [&dyn ToSql; 23] = [
            &id,
            &ask.agent,
            &ask.action_type,
            &ask.resource,
            &json(&ask.context),
            &ask.cost.0,
            &ask.claimed_risk,
            &ask.session_id,
            &ask.parent_action_id,
            &ask.depth,
            &ask.correlation_id,
            &action.digest,
            &rows::word(&action.class),
            &rows::word(&verdict.effect),
            &verdict.reason,
            &json(&verdict.trace),
            &verdict.risk,
            &verdict.policy_digest,
            &rows::word(&action.effect),
            &action.status.word(),
            &action.decided_by,
            &action.approval_id,
            &us(action.submitted),
        ];
        self.run("write an act", text, &values).map(drop)
    }

    fn record(&self, record: &Record) -> Result<(), DbError> {
        let text = "INSERT INTO audit (org, seq, at_us, kind, actor, subject, action_id, details, hash) \
                    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
        let Record { org: _, seq, at_us, kind, actor, subject, action_id, details, hash } = record;
        let values: [&dyn ToSql; 8] =
            [&number(*seq), at_us, kind, actor, subject, action_id, details, hash];
        self.run("record", text, &values).map(drop)
    }

    fn run(&self, act: &'static str, text: &str, rest: &[&dyn ToSql]) -> Result<usize, DbError> {
        self.prepare(act, text, rest)?.raw_execute().map_err(sql(act))
    }

    pub(super) fn one<T>(
        &self,
        act: &'static str,
        text: &str,
        rest: &[&dyn ToSql],
        read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, DbError> {
        let mut statement = self.prepare(act, text, rest)?;
        let mut found = statement.raw_query();
        let row = found.next().map_err(sql(act))?;
        row.map(read).transpose().optional().map(Option::flatten).map_err(sql(act))
    }

    fn all<T>(
        &self,
        act: &'static str,
        text: &str,
        rest: &[&dyn ToSql],
        read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, DbError> {
        let mut statement = self.prepare(act, text, rest)?;
        statement.raw_query().mapped(read).collect::<rusqlite::Result<_>>().map_err(sql(act))
    }
}

fn us(time: DateTime<Utc>) -> i64 {
    time.timestamp_micros()
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("rows hold texts and JSON values")
}

impl Tx for SqliteTx<'_> {
    fn org(&self) -> &str {
        &self.org
    }

    fn signer(&self) -> Option<&SigningKey> {
        self.signer
    }

    fn glance(
        &mut self,
        correlation_id: Option<&str>,
        at: DateTime<Utc>,
    ) -> Result<Glance, DbError> {
        // One statement: planning each by itself costs a hook more than running it.
        let text = "SELECT EXISTS (SELECT 1 FROM kills WHERE org = ?1), \
                    EXISTS (SELECT 1 FROM replays WHERE org = ?1 AND correlation_id = ?2), \
                    EXISTS (SELECT 1 FROM approvals INDEXED BY approvals_open \
                            WHERE org = ?1 AND state IN ('pending', 'approved')), \
                    EXISTS (SELECT 1 FROM reservations WHERE org = ?1 AND lapses_us <= ?3)";
        let found = self.one("look around", text, &[&correlation_id, &us(at)], |row| {
            let (kills, replay) = (row.get(0)?, row.get(1)?);
            Ok(Glance { kills, replay, open: row.get(2)?, lapsed: row.get(3)? })
        })?;
        found.ok_or_else(|| DbError::Damaged { what: "no answer".to_owned() })
    }

    fn audit_tail(&mut self) -> Result<Tail, DbError> {
        if let Some(tail) = self.tail {
            return Ok(tail);
        }
        let text = "SELECT seq, hash FROM audit WHERE org = ?1 ORDER BY seq DESC LIMIT 1";
        let found = self.one("read the audit log", text, &[], |row| {
            Ok(Tail { seq: rows::count(row, 0)?, hash: rows::hash(row, 1)? })
        })?;
        let tail = found.unwrap_or(Tail::EMPTY);
        self.tail = Some(tail);
        Ok(tail)
    }

    fn audit_push(&mut self, record: Record) -> Result<(), DbError> {
        self.record(&record)?;
        self.tail = Some(record.tail());
        Ok(())
    }

    fn audit_each(
        &mut self,
        query: &AuditQuery,
        each: &mut dyn FnMut(Record) -> ControlFlow<()>,
    ) -> Result<(), DbError> {
        let act = "read the audit log";
        let columns = rows::AUDIT;
        let mut filter = String::from("org = ?1 AND seq > ?2");
        let since = query.since.map_or(i64::MIN, us);
        if query.since.is_some() {
            filter.push_str(" AND at_us >= ?3");
        }
        if query.kind.is_some() {
            filter.push_str(" AND kind = ?4");
        }
        if query.containing.is_some() {
            filter.push_str(
                " AND (instr(lower(actor), ?5) OR instr(lower(subject), ?5) \
                 OR instr(lower(kind), ?5) OR instr(lower(details), ?5))",
            );
        }
        let containing = query.containing.as_ref().map(|wanted| wanted.to_ascii_lowercase());
        let last = query.last.map_or(-1, i64::from);
        let text = if query.last.is_some() {
            format!(
                "SELECT {columns} FROM (SELECT {columns} FROM audit WHERE {filter} AND ?6 = ?6 \
                 ORDER BY seq DESC LIMIT ?6) ORDER BY seq"
            )
        } else {
            format!("SELECT {columns} FROM audit WHERE {filter} AND ?6 = ?6 ORDER BY seq")
        };
        let values: [&dyn ToSql; 5] =
            [&number(query.after), &since, &query.kind, &containing, &last];
        let mut statement = self.prepare(act, &text, &values)?;
        let mut found = statement.raw_query();
        while let Some(row) = found.next().map_err(sql(act))? {
            if each(rows::record(row).map_err(sql(act))?).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn checkpoint_push(&mut self, checkpoint: &Checkpoint) -> Result<(), DbError> {
        let text = "INSERT INTO checkpoints (org, seq, hash, signature) VALUES (?1, ?2, ?3, ?4)";
        let Checkpoint { org: _, seq, hash, signature } = checkpoint;
        self.run("sign", text, &[&number(*seq), hash, signature]).map(drop)
    }

    fn checkpoints(&mut self) -> Result<Vec<Checkpoint>, DbError> {
        let text = "SELECT org, seq, hash, signature FROM checkpoints WHERE org = ?1 ORDER BY seq";
        self.all("read checkpoints", text, &[], rows::checkpoint)
    }

    fn action_insert(&mut self, action: &NewAction) -> Result<i64, DbError> {
        self.insert(None, action)?;
        Ok(self.connection.last_insert_rowid())
    }

    fn action(&mut self, id: i64) -> Result<Option<Action>, DbError> {
        let columns = rows::ACTION;
        let text = format!("SELECT {columns} FROM actions WHERE org = ?1 AND id = ?2");
        self.one("read an act", &text, &[&id], rows::action)
    }

    fn action_update(&mut self, action: &Action) -> Result<(), DbError> {
        let text = "UPDATE actions SET effect = ?3, status = ?4, decided_by = ?5, approval_id = ?6, \
                    finished_us = ?7, actual_cost = ?8, outcome = ?9 WHERE org = ?1 AND id = ?2";
        let values: [&dyn ToSql; 8] = [
            &action.id,
            &rows::word(&action.new.effect),
            &action.new.status.word(),
            &action.new.decided_by,
            &action.new.approval_id,
            &action.finished.map(us),
            &action.actual_cost.map(|cost| cost.0),
            &json(&action.outcome),
        ];
        self.run("write an act", text, &values).map(drop)
    }

    fn actions(&mut self, query: &ActionQuery) -> Result<Vec<Action>, DbError> {
        let columns = rows::ACTION;
        let text = format!(
            "SELECT {columns} FROM actions WHERE org = ?1 AND id > ?2 \
             AND (?3 IS NULL OR agent = ?3) AND (?4 IS NULL OR session_id = ?4) \
             AND submitted_us >= ?5 ORDER BY id LIMIT ?6"
        );
        let limit = if query.limit == 0 { -1 } else { i64::from(query.limit) };
        let since = query.since.map_or(i64::MIN, us);
        let values: [&dyn ToSql; 5] =
            [&query.after_id, &query.agent, &query.session_id, &since, &limit];
        self.all("read acts", &text, &values, rows::action)
    }

    fn session_totals(&mut self, session_id: &str) -> Result<SessionTotals, DbError> {
        let act = "read a session";
        let text = "SELECT actions, blocked, high_risk, max_risk, risk_sum, max_depth, cost \
                    FROM sessions WHERE org = ?1 AND session_id = ?2";
        let totals = self.one(act, text, &[&session_id], |row| {
            Ok(SessionTotals {
                actions: rows::count(row, 0)?,
                blocked: rows::count(row, 1)?,
                high_risk: rows::count(row, 2)?,
                max_risk: row.get(3)?,
                risk_sum: rows::count(row, 4)?,
                max_depth: row.get(5)?,
                cost: Micros(row.get(6)?),
                agents: Vec::new(),
            })
        })?;
        let text = "SELECT agent FROM session_agents WHERE org = ?1 AND session_id = ?2 \
                    ORDER BY agent";
        let agents = self.all(act, text, &[&session_id], |row| row.get(0))?;
        Ok(SessionTotals { agents, ..totals.unwrap_or_default() })
    }

    fn replay(&mut self, correlation_id: &str) -> Result<Option<Replay>, DbError> {
        let text =
            "SELECT body_digest, action_id FROM replays WHERE org = ?1 AND correlation_id = ?2";
        self.one("look for a repeated submission", text, &[&correlation_id], |row| {
            Ok(Replay { body_digest: row.get(0)?, action_id: row.get(1)? })
        })
    }

    fn replay_insert(&mut self, correlation_id: &str, replay: &Replay) -> Result<(), DbError> {
        let text = "INSERT INTO replays (org, correlation_id, body_digest, action_id) \
                    VALUES (?1, ?2, ?3, ?4)";
        let values: [&dyn ToSql; 3] = [&correlation_id, &replay.body_digest, &replay.action_id];
        self.run("note a submission", text, &values).map(drop)
    }

    fn approval_insert(&mut self, approval: &NewApproval) -> Result<i64, DbError> {
        let text = "INSERT INTO approvals (org, action_id, agent, digest, summary, reason, \
            created_us, expires_us, state) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
        let values: [&dyn ToSql; 8] = [
            &approval.action_id,
            &approval.agent,
            &approval.digest,
            &approval.summary,
            &approval.reason,
            &us(approval.created),
            &us(approval.expires),
            &State::Pending.word(),
        ];
        self.run("ask for an approval", text, &values)?;
        Ok(self.connection.last_insert_rowid())
    }

    fn approval(&mut self, id: i64) -> Result<Option<Approval>, DbError> {
        let columns = rows::APPROVAL;
        let text = format!("SELECT {columns} FROM approvals WHERE org = ?1 AND id = ?2");
        self.one("read an approval", &text, &[&id], rows::approval)
    }

    fn approval_for(&mut self, digest: &str) -> Result<Option<Approval>, DbError> {
        let columns = rows::APPROVAL;
        let text = format!(
            "SELECT {columns} FROM approvals WHERE org = ?1 AND digest = ?2 ORDER BY id DESC LIMIT 1"
        );
        self.one("read an approval", &text, &[&digest], rows::approval)
    }

    fn approval_update(&mut self, approval: &Approval) -> Result<(), DbError> {
        let text = "UPDATE approvals SET state = ?3, decided_us = ?4, decided_by = ?5, why = ?6, \
                    signature = ?7 WHERE org = ?1 AND id = ?2";
        let values: [&dyn ToSql; 6] = [
            &approval.id,
            &approval.state.word(),
            &approval.decided.map(us),
            &approval.decided_by,
            &approval.why,
            &approval.signature,
        ];
        self.run("write an approval", text, &values).map(drop)
    }

    fn approvals_open(&mut self) -> Result<Vec<Approval>, DbError> {
        let columns = rows::APPROVAL;
        let text = format!(
            "SELECT {columns} FROM approvals WHERE org = ?1 AND state IN ('pending', 'approved') \
             ORDER BY id"
        );
        self.all("read approvals", &text, &[], rows::approval)
    }

    fn trust(&mut self, agent: &str) -> Result<Option<TrustRow>, DbError> {
        let columns = rows::TRUST;
        let text = format!("SELECT {columns} FROM trust WHERE org = ?1 AND agent = ?2");
        self.one("read trust", &text, &[&agent], rows::trust)
    }

    fn trust_put(&mut self, row: &TrustRow) -> Result<(), DbError> {
        let text = "INSERT OR REPLACE INTO trust (org, agent, level, base, lowered_until_us, why, \
                    by, changed_us) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
        let values: [&dyn ToSql; 7] = [
            &row.agent,
            &rows::word(&row.level),
            &rows::word(&row.base),
            &row.lowered_until.map(us),
            &row.why,
            &row.by,
            &us(row.changed),
        ];
        self.run("write trust", text, &values).map(drop)
    }

    fn trusts(&mut self) -> Result<Vec<TrustRow>, DbError> {
        let columns = rows::TRUST;
        let text = format!("SELECT {columns} FROM trust WHERE org = ?1 ORDER BY agent");
        self.all("read trust", &text, &[], rows::trust)
    }

    fn conduct(&mut self, agent: &str) -> Result<Vec<Conduct>, DbError> {
        let columns = rows::CONDUCT;
        let text = format!("SELECT {columns} FROM conduct WHERE org = ?1 AND agent = ?2");
        let mut found = self.all("read conduct", &text, &[&agent], rows::conduct)?;
        found.sort_by_key(|row| row.class);
        Ok(found)
    }

    fn conduct_put(&mut self, row: &Conduct) -> Result<(), DbError> {
        let text = "INSERT OR REPLACE INTO conduct (org, agent, class, runs, successes, failures, \
            denials, violations, since_us, last_us) \
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
        let values: [&dyn ToSql; 9] = [
            &row.agent,
            &rows::word(&row.class),
            &number(row.runs),
            &number(row.successes),
            &number(row.failures),
            &number(row.denials),
            &number(row.violations),
            &us(row.since),
            &us(row.last),
        ];
        self.run("write conduct", text, &values).map(drop)
    }

    fn fact(&mut self, kind: &str, key: &str) -> Result<Option<Value>, DbError> {
        let text = "SELECT body FROM facts WHERE org = ?1 AND kind = ?2 AND key = ?3";
        self.one("read a fact", text, &[&kind, &key], |row| rows::json(row, 0))
    }

    fn fact_put(&mut self, kind: &str, key: &str, body: &Value) -> Result<(), DbError> {
        let text = "INSERT OR REPLACE INTO facts (org, kind, key, body) VALUES (?1, ?2, ?3, ?4)";
        self.run("write a fact", text, &[&kind, &key, &body.to_string()]).map(drop)
    }

    fn facts(&mut self, kind: &str) -> Result<Vec<(String, Value)>, DbError> {
        let text = "SELECT key, body FROM facts WHERE org = ?1 AND kind = ?2 ORDER BY key";
        self.all("read facts", text, &[&kind], |row| Ok((row.get(0)?, rows::json(row, 1)?)))
    }

    fn budget(&mut self, key: &str, window: DateTime<Utc>) -> Result<Budget, DbError> {
        let text = "SELECT key, window_us, spent, reserved FROM budgets \
                    WHERE org = ?1 AND key = ?2 AND window_us = ?3";
        let found = self.one("read a budget", text, &[&key, &us(window)], rows::budget)?;
        Ok(found.unwrap_or_else(|| Budget::empty(key, window)))
    }

    fn budget_put(&mut self, budget: &Budget) -> Result<(), DbError> {
        let text = "INSERT OR REPLACE INTO budgets (org, key, window_us, spent, reserved) \
                    VALUES (?1, ?2, ?3, ?4, ?5)";
        let Budget { key, window, spent, reserved } = budget;
        let values: [&dyn ToSql; 4] = [key, &us(*window), &spent.0, &reserved.0];
        self.run("write a budget", text, &values).map(drop)
    }

    fn budgets(&mut self) -> Result<Vec<Budget>, DbError> {
        let text = "SELECT key, window_us, spent, reserved FROM budgets WHERE org = ?1 \
                    ORDER BY key, window_us";
        self.all("read budgets", text, &[], rows::budget)
    }

    fn reservation_insert(&mut self, reservation: &Reservation) -> Result<(), DbError> {
        let text = "INSERT INTO reservations (org, action_id, key, window_us, amount, lapses_us) \
                    VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let Reservation { action_id, key, window, amount, lapses } = reservation;
        let values: [&dyn ToSql; 5] = [action_id, key, &us(*window), &amount.0, &us(*lapses)];
        self.run("reserve", text, &values).map(drop)
    }

    fn reservations_take(&mut self, action_id: i64) -> Result<Vec<Reservation>, DbError> {
        let text = "SELECT action_id, key, window_us, amount, lapses_us FROM reservations \
                    WHERE org = ?1 AND action_id = ?2 ORDER BY key, window_us";
        let found = self.all("settle", text, &[&action_id], rows::reservation)?;
        let text = "DELETE FROM reservations WHERE org = ?1 AND action_id = ?2";
        self.run("settle", text, &[&action_id])?;
        Ok(found)
    }

    fn reservations_lapsed(&mut self, at: DateTime<Utc>, count: u32) -> Result<Vec<i64>, DbError> {
        let text = "SELECT DISTINCT action_id FROM reservations WHERE org = ?1 AND lapses_us <= ?2 \
                    ORDER BY action_id LIMIT ?3";
        self.all("read reservations", text, &[&us(at), &count], |row| row.get(0))
    }

    fn rate_push(&mut self, key: &str, at: DateTime<Utc>) -> Result<(), DbError> {
        let text = "INSERT INTO rates (org, key, at_us) VALUES (?1, ?2, ?3)";
        self.run("count", text, &[&key, &us(at)]).map(drop)
    }

    fn rate_count(&mut self, key: &str, since: DateTime<Utc>) -> Result<u64, DbError> {
        let text = "SELECT count(*) FROM rates WHERE org = ?1 AND key = ?2 AND at_us >= ?3";
        let found = self.one("count", text, &[&key, &us(since)], |row| rows::count(row, 0))?;
        Ok(found.unwrap_or(0))
    }

    fn rate_oldest(
        &mut self,
        key: &str,
        since: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, DbError> {
        let text = "SELECT at_us FROM rates WHERE org = ?1 AND key = ?2 AND at_us >= ?3 \
                    ORDER BY at_us LIMIT 1";
        self.one("count", text, &[&key, &us(since)], |row| rows::time(row, 0))
    }

    fn rate_forget(&mut self, key: &str, before: DateTime<Utc>) -> Result<(), DbError> {
        let text = "DELETE FROM rates WHERE org = ?1 AND key = ?2 AND at_us < ?3";
        self.run("count", text, &[&key, &us(before)]).map(drop)
    }

    fn kills(&mut self) -> Result<Vec<KillSwitch>, DbError> {
        let text = "SELECT target, by, why, at_us FROM kills WHERE org = ?1 ORDER BY at_us, target";
        self.all("read kill switches", text, &[], rows::kill)
    }

    fn kill_put(&mut self, kill: &KillSwitch) -> Result<(), DbError> {
        let text = "INSERT OR REPLACE INTO kills (org, target, by, why, at_us) \
                    VALUES (?1, ?2, ?3, ?4, ?5)";
        let values: [&dyn ToSql; 4] = [&kill.target, &kill.by, &kill.why, &us(kill.at)];
        self.run("set a kill switch", text, &values).map(drop)
    }

    fn kill_lift(&mut self, target: &str) -> Result<bool, DbError> {
        let text = "DELETE FROM kills WHERE org = ?1 AND target = ?2";
        self.run("lift a kill switch", text, &[&target]).map(|rows| rows > 0)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_statement_is_bound_to_its_organisation() {
        let source = include_str!("tx.rs").split("#[cfg(test)]").next().unwrap();
        let mut statements = 0;
        for verb in ["\"SELECT ", "\"INSERT ", "\"UPDATE ", "\"DELETE "] {
            for (at, _) in source.match_indices(verb) {
                let text = &source[at + 1..];
                let text = &text[..text.find("\";").or_else(|| text.find("\"\n")).unwrap()];
                let inserts =
                    text.starts_with("INSERT") && text.contains("(org, ") && text.contains("(?1, ");
                let filters = text.contains("WHERE org = ?1") || text.contains("WHERE {filter} ");
                assert!(inserts || filters, "{text}");
                statements += 1;
            }
        }
        assert!(statements > 30, "{statements} statements were read");
        assert!(source.contains("String::from(\"org = ?1 AND seq > ?2\")"));
    }
}
