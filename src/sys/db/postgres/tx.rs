//! One transaction of one organisation.
//!
//! Every statement binds the organisation as its first parameter, and it is bound here and nowhere
//! else; a test reads the statements of this file and refuses one that does not use it. Statements
//! are prepared once a connection.

use std::ops::ControlFlow;

use chrono::{DateTime, Utc};
use ed25519_dalek::SigningKey;
use postgres::types::ToSql;
use postgres::{Row, Statement};
use serde_json::Value;

use super::link::Link;
use super::log::walk;
use super::{failed, rows};
use crate::govern::action::Micros;
use crate::govern::approval::State;
use crate::govern::audit::head::Checkpoint;
use crate::govern::audit::{Hash, Record, Tail};
use crate::sys::db::rows::{
    Action, ActionQuery, Approval, AuditQuery, Budget, Conduct, KillSwitch, NewAction, NewApproval,
    Replay, Reservation, SessionTotals, TrustRow,
};
use crate::sys::db::{DbError, POLICIES, Tx};

pub(super) struct PostgresTx<'a> {
    link: &'a mut Link,
    org: String,
    signer: Option<&'a SigningKey>,
    /// Read once: only this transaction can move it.
    tail: Option<Tail>,
    /// Whether other servers are to be told when this commits.
    pub concerns_others: bool,
    /// What was asked for at once, as long as nothing changed it.
    expected: Option<Expected>,
}

struct Expected {
    correlation_id: Option<String>,
    digest: String,
    replay: Option<Replay>,
    approval: Option<Approval>,
}

impl<'a> PostgresTx<'a> {
    pub(super) fn new(link: &'a mut Link, org: &str, signer: Option<&'a SigningKey>) -> Self {
        let org = org.to_owned();
        Self { link, org, signer, tail: None, concerns_others: false, expected: None }
    }

    /// A statement without values.
    pub(super) fn step(&mut self, act: &'static str, text: &str) -> Result<(), DbError> {
        self.link.batch_execute(text).map_err(failed(act))
    }

    pub(super) fn audit_hash(&mut self, seq: u64) -> Result<Option<Hash>, DbError> {
        let text = "SELECT hash FROM audit WHERE org = $1 AND seq = $2";
        self.one("read the audit log", text, &[&number(seq)], |row| rows::hash(row, 0))
    }

    /// Reaches those who listen when this commits, and nobody if it does not.
    pub(super) fn tell(&mut self) -> Result<(), DbError> {
        let text = format!("SELECT pg_notify('{}', $1)", super::CHANNEL);
        self.one("tell other servers", &text, &[], |_| Ok(())).map(drop)
    }

    pub(super) fn org_owned(&self) -> String {
        self.org.clone()
    }

    pub(super) fn link(&mut self) -> &mut Link {
        self.link
    }

    pub(super) fn statement(
        &mut self,
        act: &'static str,
        text: &str,
    ) -> Result<Statement, DbError> {
        self.link.statement(text).map_err(failed(act))
    }

    pub(super) fn run(
        &mut self,
        act: &'static str,
        text: &str,
        rest: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, DbError> {
        // What is written may change what was looked up.
        self.expected = None;
        let statement = self.statement(act, text)?;
        let values = bound(&self.org, rest);
        self.link.execute(&statement, &values).map_err(failed(act))
    }

    fn id(
        &mut self,
        act: &'static str,
        text: &str,
        rest: &[&(dyn ToSql + Sync)],
    ) -> Result<i64, DbError> {
        self.expected = None;
        let found = self.one(act, text, rest, |row| rows::get(row, 0))?;
        found.ok_or_else(|| DbError::Damaged { what: "a table that gives no ids".to_owned() })
    }

    pub(super) fn one<T>(
        &mut self,
        act: &'static str,
        text: &str,
        rest: &[&(dyn ToSql + Sync)],
        read: impl Fn(&Row) -> Result<T, DbError>,
    ) -> Result<Option<T>, DbError> {
        let statement = self.statement(act, text)?;
        let values = bound(&self.org, rest);
        let found = self.link.query(&statement, &values).map_err(failed(act))?;
        found.first().map(read).transpose()
    }

    pub(super) fn all<T>(
        &mut self,
        act: &'static str,
        text: &str,
        rest: &[&(dyn ToSql + Sync)],
        read: impl Fn(&Row) -> Result<T, DbError>,
    ) -> Result<Vec<T>, DbError> {
        let statement = self.statement(act, text)?;
        let values = bound(&self.org, rest);
        let found = self.link.query(&statement, &values).map_err(failed(act))?;
        found.iter().map(read).collect()
    }
}

fn bound<'v>(org: &'v String, rest: &[&'v (dyn ToSql + Sync)]) -> Vec<&'v (dyn ToSql + Sync)> {
    let org: &(dyn ToSql + Sync) = org;
    std::iter::once(org).chain(rest.iter().copied()).collect()
}

pub(super) fn us(time: DateTime<Utc>) -> i64 {
    time.timestamp_micros()
}

pub(super) fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(super) fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("rows hold texts and JSON values")
}

impl Tx for PostgresTx<'_> {
    fn org(&self) -> &str {
        &self.org
    }

    fn signer(&self) -> Option<&SigningKey> {
        self.signer
    }

    fn audit_tail(&mut self) -> Result<Tail, DbError> {
        if let Some(tail) = self.tail {
            return Ok(tail);
        }
        let text = "SELECT seq, hash FROM audit WHERE org = $1 ORDER BY seq DESC LIMIT 1";
        let found = self.one("read the audit log", text, &[], |row| {
            Ok(Tail { seq: rows::number(row, 0)?, hash: rows::hash(row, 1)? })
        })?;
        let tail = found.unwrap_or(Tail::EMPTY);
        self.tail = Some(tail);
        Ok(tail)
    }

    fn audit_push(&mut self, record: Record) -> Result<(), DbError> {
        let text = "INSERT INTO audit (org, seq, at_us, kind, actor, subject, action_id, details, hash) \
                    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
        let Record { org: _, seq, at_us, kind, actor, subject, action_id, details, hash } = &record;
        let values: [&(dyn ToSql + Sync); 8] =
            [&number(*seq), at_us, kind, actor, subject, action_id, details, &hash.as_slice()];
        self.run("record", text, &values)?;
        self.tail = Some(record.tail());
        Ok(())
    }

    fn audit_each(
        &mut self,
        query: &AuditQuery,
        each: &mut dyn FnMut(Record) -> ControlFlow<()>,
    ) -> Result<(), DbError> {
        walk(self, query, each)
    }

    fn checkpoint_push(&mut self, checkpoint: &Checkpoint) -> Result<(), DbError> {
        let text = "INSERT INTO checkpoints (org, seq, hash, signature) VALUES ($1, $2, $3, $4)";
        let Checkpoint { org: _, seq, hash, signature } = checkpoint;
        self.run("sign", text, &[&number(*seq), &hash.as_slice(), signature]).map(drop)
    }

    fn checkpoints(&mut self) -> Result<Vec<Checkpoint>, DbError> {
        let text = "SELECT org, seq, hash, signature FROM checkpoints WHERE org = $1 ORDER BY seq";
        self.all("read checkpoints", text, &[], rows::checkpoint)
    }

    fn action_insert(&mut self, action: &NewAction) -> Result<i64, DbError> {
        let text = "INSERT INTO actions (org, agent, action_type, resource, context, cost, \
            claimed_risk, session_id, parent_id, depth, correlation_id, digest, class, \
            verdict_effect, reason, trace, risk, policy_digest, effect, status, decided_by, \
            approval_id, submitted_us, outcome) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, \
            $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, '{}') RETURNING id";
        let NewAction { ask, verdict, .. } = action;
        let values: [&(dyn ToSql + Sync); 22] = [
            &ask.agent,
            &ask.action_type,
            &ask.resource,
            &json(&ask.context),
            &ask.cost.0,
            &ask.claimed_risk,
            &ask.session_id,
            &ask.parent_action_id,
            &i64::from(ask.depth),
            &ask.correlation_id,
            &action.digest,
            &rows::word(&action.class),
            &rows::word(&verdict.effect),
            &verdict.reason,
            &json(&verdict.trace),
            &i64::from(verdict.risk),
            &verdict.policy_digest,
            &rows::word(&action.effect),
            &action.status.word(),
            &action.decided_by,
            &action.approval_id,
            &us(action.submitted),
        ];
        self.id("write an act", text, &values)
    }

    fn action(&mut self, id: i64) -> Result<Option<Action>, DbError> {
        let columns = rows::ACTION;
        let text = format!("SELECT {columns} FROM actions WHERE org = $1 AND id = $2");
        self.one("read an act", &text, &[&id], rows::action)
    }

    fn action_update(&mut self, action: &Action) -> Result<(), DbError> {
        let text = "UPDATE actions SET effect = $3, status = $4, decided_by = $5, approval_id = $6, \
                    finished_us = $7, actual_cost = $8, outcome = $9 WHERE org = $1 AND id = $2";
        let values: [&(dyn ToSql + Sync); 8] = [
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
            "SELECT {columns} FROM actions WHERE org = $1 AND id > $2 \
             AND ($3::text IS NULL OR agent = $3) AND ($4::text IS NULL OR session_id = $4) \
             AND submitted_us >= $5 ORDER BY id LIMIT $6"
        );
        let limit = (query.limit != 0).then_some(i64::from(query.limit));
        let since = query.since.map_or(i64::MIN, us);
        let values: [&(dyn ToSql + Sync); 5] =
            [&query.after_id, &query.agent, &query.session_id, &since, &limit];
        self.all("read acts", &text, &values, rows::action)
    }

    fn session_totals(&mut self, session_id: &str) -> Result<SessionTotals, DbError> {
        let act = "read a session";
        let text = "SELECT count(*), count(*) FILTER (WHERE status = 'denied'), \
            count(*) FILTER (WHERE risk >= 70), coalesce(max(risk), 0), \
            coalesce(sum(risk), 0)::bigint, coalesce(max(depth), 0), \
            coalesce(sum(coalesce(actual_cost, cost)) FILTER (WHERE status <> 'denied'), 0)::bigint \
            FROM actions WHERE org = $1 AND session_id = $2";
        let totals = self.one(act, text, &[&session_id], |row| {
            Ok(SessionTotals {
                actions: rows::number(row, 0)?,
                blocked: rows::number(row, 1)?,
                high_risk: rows::number(row, 2)?,
                max_risk: rows::number(row, 3)?,
                risk_sum: rows::number(row, 4)?,
                max_depth: rows::number(row, 5)?,
                cost: Micros(rows::get(row, 6)?),
                agents: Vec::new(),
            })
        })?;
        let text = "SELECT DISTINCT agent FROM actions WHERE org = $1 AND session_id = $2 \
                    ORDER BY agent";
        let agents = self.all(act, text, &[&session_id], |row| rows::get(row, 0))?;
        Ok(SessionTotals { agents, ..totals.unwrap_or_default() })
    }

    fn expect(&mut self, correlation_id: Option<&str>, digest: &str) -> Result<(), DbError> {
        let text = "SELECT found.*, replays.body_digest, replays.action_id FROM (SELECT $1::text) AS own (org) \
            LEFT JOIN LATERAL (SELECT id, action_id, agent, digest, summary, reason, created_us, \
            expires_us, state, decided_us, decided_by, why, signature FROM approvals \
            WHERE org = $1 AND digest = $2 ORDER BY id DESC LIMIT 1) AS found ON true \
            LEFT JOIN replays ON replays.org = $1 AND replays.correlation_id = $3";
        let values: [&(dyn ToSql + Sync); 2] = [&digest, &correlation_id];
        let found = self.one("look for a repeated submission", text, &values, |row| {
            let approval = rows::get::<Option<i64>>(row, 0)?.map(|_| rows::approval(row));
            let body_digest: Option<String> = rows::get(row, 13)?;
            let replay = match body_digest {
                Some(body_digest) => Some(Replay { body_digest, action_id: rows::get(row, 14)? }),
                None => None,
            };
            Ok((approval.transpose()?, replay))
        })?;
        self.expected = found.map(|(approval, replay)| Expected {
            correlation_id: correlation_id.map(str::to_owned),
            digest: digest.to_owned(),
            replay,
            approval,
        });
        Ok(())
    }

    fn replay(&mut self, correlation_id: &str) -> Result<Option<Replay>, DbError> {
        if let Some(expected) = &self.expected
            && expected.correlation_id.as_deref() == Some(correlation_id)
        {
            return Ok(expected.replay.clone());
        }
        let text =
            "SELECT body_digest, action_id FROM replays WHERE org = $1 AND correlation_id = $2";
        self.one("look for a repeated submission", text, &[&correlation_id], |row| {
            Ok(Replay { body_digest: rows::get(row, 0)?, action_id: rows::get(row, 1)? })
        })
    }

    fn replay_insert(&mut self, correlation_id: &str, replay: &Replay) -> Result<(), DbError> {
        let text = "INSERT INTO replays (org, correlation_id, body_digest, action_id) \
                    VALUES ($1, $2, $3, $4)";
        let values: [&(dyn ToSql + Sync); 3] =
            [&correlation_id, &replay.body_digest, &replay.action_id];
        self.run("note a submission", text, &values).map(drop)
    }

    fn approval_insert(&mut self, approval: &NewApproval) -> Result<i64, DbError> {
        let text = "INSERT INTO approvals (org, action_id, agent, digest, summary, reason, \
            created_us, expires_us, state) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING id";
        let values: [&(dyn ToSql + Sync); 8] = [
            &approval.action_id,
            &approval.agent,
            &approval.digest,
            &approval.summary,
            &approval.reason,
            &us(approval.created),
            &us(approval.expires),
            &State::Pending.word(),
        ];
        self.id("ask for an approval", text, &values)
    }

    fn approval(&mut self, id: i64) -> Result<Option<Approval>, DbError> {
        let columns = rows::APPROVAL;
        let text = format!("SELECT {columns} FROM approvals WHERE org = $1 AND id = $2");
        self.one("read an approval", &text, &[&id], rows::approval)
    }

    fn approval_for(&mut self, digest: &str) -> Result<Option<Approval>, DbError> {
        if let Some(expected) = &self.expected
            && expected.digest == digest
        {
            return Ok(expected.approval.clone());
        }
        let columns = rows::APPROVAL;
        let text = format!(
            "SELECT {columns} FROM approvals WHERE org = $1 AND digest = $2 ORDER BY id DESC LIMIT 1"
        );
        self.one("read an approval", &text, &[&digest], rows::approval)
    }

    fn approval_update(&mut self, approval: &Approval) -> Result<(), DbError> {
        let text = "UPDATE approvals SET state = $3, decided_us = $4, decided_by = $5, why = $6, \
                    signature = $7 WHERE org = $1 AND id = $2";
        let values: [&(dyn ToSql + Sync); 6] = [
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
            "SELECT {columns} FROM approvals WHERE org = $1 AND state IN ('pending', 'approved') \
             ORDER BY id"
        );
        self.all("read approvals", &text, &[], rows::approval)
    }

    fn trust(&mut self, agent: &str) -> Result<Option<TrustRow>, DbError> {
        let columns = rows::TRUST;
        let text = format!("SELECT {columns} FROM trust WHERE org = $1 AND agent = $2");
        self.one("read trust", &text, &[&agent], rows::trust)
    }

    fn trust_put(&mut self, row: &TrustRow) -> Result<(), DbError> {
        let text = "INSERT INTO trust (org, agent, level, base, lowered_until_us, why, \
                    by, changed_us) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) \
            ON CONFLICT (org, agent) DO UPDATE SET level = excluded.level, base = excluded.base, lowered_until_us = excluded.lowered_until_us, why = excluded.why, by = excluded.by, changed_us = excluded.changed_us";
        let values: [&(dyn ToSql + Sync); 7] = [
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
        let text = format!("SELECT {columns} FROM trust WHERE org = $1 ORDER BY agent");
        self.all("read trust", &text, &[], rows::trust)
    }

    fn conduct(&mut self, agent: &str) -> Result<Vec<Conduct>, DbError> {
        let columns = rows::CONDUCT;
        let text = format!("SELECT {columns} FROM conduct WHERE org = $1 AND agent = $2");
        let mut found = self.all("read conduct", &text, &[&agent], rows::conduct)?;
        found.sort_by_key(|row| row.class);
        Ok(found)
    }

    fn conduct_put(&mut self, row: &Conduct) -> Result<(), DbError> {
        let text = "INSERT INTO conduct (org, agent, class, runs, successes, failures, \
            denials, violations, since_us, last_us) \
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) \
            ON CONFLICT (org, agent, class) DO UPDATE SET runs = excluded.runs, successes = excluded.successes, failures = excluded.failures, denials = excluded.denials, violations = excluded.violations, since_us = excluded.since_us, last_us = excluded.last_us";
        let values: [&(dyn ToSql + Sync); 9] = [
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
        let text = "SELECT body FROM facts WHERE org = $1 AND kind = $2 AND key = $3";
        self.one("read a fact", text, &[&kind, &key], |row| rows::json(row, 0))
    }

    fn fact_put(&mut self, kind: &str, key: &str, body: &Value) -> Result<(), DbError> {
        let text = "INSERT INTO facts (org, kind, key, body) VALUES ($1, $2, $3, $4) \
            ON CONFLICT (org, kind, key) DO UPDATE SET body = excluded.body";
        self.run("write a fact", text, &[&kind, &key, &body.to_string()])?;
        self.concerns_others |= kind == POLICIES;
        Ok(())
    }

    fn facts(&mut self, kind: &str) -> Result<Vec<(String, Value)>, DbError> {
        let text = "SELECT key, body FROM facts WHERE org = $1 AND kind = $2 ORDER BY key";
        self.all("read facts", text, &[&kind], |row| Ok((rows::get(row, 0)?, rows::json(row, 1)?)))
    }

    fn budget(&mut self, key: &str, window: DateTime<Utc>) -> Result<Budget, DbError> {
        let text = "SELECT key, window_us, spent, reserved FROM budgets \
                    WHERE org = $1 AND key = $2 AND window_us = $3";
        let found = self.one("read a budget", text, &[&key, &us(window)], rows::budget)?;
        Ok(found.unwrap_or_else(|| Budget::empty(key, window)))
    }

    fn budget_put(&mut self, budget: &Budget) -> Result<(), DbError> {
        let text = "INSERT INTO budgets (org, key, window_us, spent, reserved) \
                    VALUES ($1, $2, $3, $4, $5) \
            ON CONFLICT (org, key, window_us) DO UPDATE SET spent = excluded.spent, \
            reserved = excluded.reserved";
        let Budget { key, window, spent, reserved } = budget;
        let values: [&(dyn ToSql + Sync); 4] = [key, &us(*window), &spent.0, &reserved.0];
        self.run("write a budget", text, &values).map(drop)
    }

    fn budgets(&mut self) -> Result<Vec<Budget>, DbError> {
        let text = "SELECT key, window_us, spent, reserved FROM budgets WHERE org = $1 \
                    ORDER BY key, window_us";
        self.all("read budgets", text, &[], rows::budget)
    }

    fn reservation_insert(&mut self, reservation: &Reservation) -> Result<(), DbError> {
        let text = "INSERT INTO reservations (org, action_id, key, window_us, amount, lapses_us) \
                    VALUES ($1, $2, $3, $4, $5, $6)";
        let Reservation { action_id, key, window, amount, lapses } = reservation;
        let values: [&(dyn ToSql + Sync); 5] =
            [action_id, key, &us(*window), &amount.0, &us(*lapses)];
        self.run("reserve", text, &values).map(drop)
    }

    fn reservations_take(&mut self, action_id: i64) -> Result<Vec<Reservation>, DbError> {
        let text = "SELECT action_id, key, window_us, amount, lapses_us FROM reservations \
                    WHERE org = $1 AND action_id = $2 ORDER BY key, window_us";
        let found = self.all("settle", text, &[&action_id], rows::reservation)?;
        let text = "DELETE FROM reservations WHERE org = $1 AND action_id = $2";
        self.run("settle", text, &[&action_id])?;
        Ok(found)
    }

    fn reservations_lapsed(&mut self, at: DateTime<Utc>, count: u32) -> Result<Vec<i64>, DbError> {
        let text = "SELECT DISTINCT action_id FROM reservations WHERE org = $1 AND lapses_us <= $2 \
                    ORDER BY action_id LIMIT $3";
        self.all("read reservations", text, &[&us(at), &i64::from(count)], |row| rows::get(row, 0))
    }

    fn rate_push(&mut self, key: &str, at: DateTime<Utc>) -> Result<(), DbError> {
        let text = "INSERT INTO rates (org, key, at_us) VALUES ($1, $2, $3)";
        self.run("count", text, &[&key, &us(at)]).map(drop)
    }

    fn rate_count(&mut self, key: &str, since: DateTime<Utc>) -> Result<u64, DbError> {
        let text = "SELECT count(*) FROM rates WHERE org = $1 AND key = $2 AND at_us >= $3";
        let found = self.one("count", text, &[&key, &us(since)], |row| rows::number(row, 0))?;
        Ok(found.unwrap_or(0))
    }

    fn rate_oldest(
        &mut self,
        key: &str,
        since: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, DbError> {
        let text = "SELECT at_us FROM rates WHERE org = $1 AND key = $2 AND at_us >= $3 \
                    ORDER BY at_us LIMIT 1";
        self.one("count", text, &[&key, &us(since)], |row| rows::time(row, 0))
    }

    fn rate_forget(&mut self, key: &str, before: DateTime<Utc>) -> Result<(), DbError> {
        let text = "DELETE FROM rates WHERE org = $1 AND key = $2 AND at_us < $3";
        self.run("count", text, &[&key, &us(before)]).map(drop)
    }

    fn kills(&mut self) -> Result<Vec<KillSwitch>, DbError> {
        let text = "SELECT target, by, why, at_us FROM kills WHERE org = $1 ORDER BY at_us, target";
        self.all("read kill switches", text, &[], rows::kill)
    }

    fn kill_put(&mut self, kill: &KillSwitch) -> Result<(), DbError> {
        let text = "INSERT INTO kills (org, target, by, why, at_us) \
                    VALUES ($1, $2, $3, $4, $5) \
            ON CONFLICT (org, target) DO UPDATE SET by = excluded.by, why = excluded.why, \
            at_us = excluded.at_us";
        let values: [&(dyn ToSql + Sync); 4] = [&kill.target, &kill.by, &kill.why, &us(kill.at)];
        self.run("set a kill switch", text, &values)?;
        self.concerns_others = true;
        Ok(())
    }

    fn kill_lift(&mut self, target: &str) -> Result<bool, DbError> {
        let text = "DELETE FROM kills WHERE org = $1 AND target = $2";
        let lifted = self.run("lift a kill switch", text, &[&target])? > 0;
        self.concerns_others |= lifted;
        Ok(lifted)
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
                    text.starts_with("INSERT") && text.contains("(org, ") && text.contains("($1, ");
                let filters = text.contains("WHERE org = $1") || text.contains("WHERE {filter} ");
                let filters = filters || text.contains("FROM (SELECT $1::text) AS own (org)");
                let tells = text.starts_with("SELECT pg_notify(");
                assert!(inserts || filters || tells, "{text}");
                statements += 1;
            }
        }
        assert!(statements > 30, "{statements} statements were read");
    }
}
