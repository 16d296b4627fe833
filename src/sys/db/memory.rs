//! The store in memory: what a transaction means, without a file. For tests and trial runs.
//!
//! Nothing survives the process and there is no head. A transaction works on a copy that takes the
//! original's place when it commits.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use chrono::{DateTime, Utc};
use ed25519_dalek::SigningKey;
use serde_json::Value;

use super::heads::Heads;
use super::rows::{
    Action, ActionQuery, Approval, AuditQuery, Budget, Conduct, KillSwitch, NewAction, NewApproval,
    Replay, Reservation, SessionTotals, Status, TrustRow,
};
use super::{DbError, Store, Tx, Work, append};
use crate::base::now::Now;
use crate::govern::approval::State;
use crate::govern::audit::head::Checkpoint;
use crate::govern::audit::{Draft, Kind, Record, Tail};
use crate::govern::class::Class;

#[derive(Debug, Default)]
pub struct MemoryStore {
    orgs: BTreeMap<String, Rows>,
    /// Ids are not given twice, not even after a transaction that failed.
    last_action_id: i64,
    last_approval_id: i64,
}

/// All rows of one organisation.
#[derive(Debug, Clone, Default)]
struct Rows {
    audit: Vec<Record>,
    checkpoints: Vec<Checkpoint>,
    actions: BTreeMap<i64, Action>,
    replays: BTreeMap<String, Replay>,
    approvals: BTreeMap<i64, Approval>,
    trust: BTreeMap<String, TrustRow>,
    conduct: BTreeMap<(String, Class), Conduct>,
    facts: BTreeMap<(String, String), Value>,
    budgets: BTreeMap<(String, DateTime<Utc>), Budget>,
    reservations: Vec<Reservation>,
    rates: BTreeMap<String, Vec<DateTime<Utc>>>,
    kills: Vec<KillSwitch>,
}

impl Store for MemoryStore {
    fn write(&mut self, org: &str, _now: Now, work: Work<'_>) -> Result<(), DbError> {
        let mut tx = self.begin(org);
        let result = work(&mut tx);
        let MemoryTx { rows, last_action_id, last_approval_id, .. } = tx;
        self.last_action_id = last_action_id;
        self.last_approval_id = last_approval_id;
        result?;
        self.orgs.insert(org.to_owned(), rows);
        Ok(())
    }

    fn id(&self) -> &'static str {
        "memory"
    }

    fn heads(&self) -> Option<&Heads> {
        None
    }

    fn adopt_head(&mut self, org: &str, by: &str, why: &str, now: Now) -> Result<(), DbError> {
        let draft = Draft::new(Kind::HeadAdopted, by, "audit head").with("why", why);
        self.write(org, now, &mut |tx| append(tx, &draft, now).map(drop))
    }

    fn read(&mut self, org: &str, work: Work<'_>) -> Result<(), DbError> {
        work(&mut self.begin(org))
    }
}

impl MemoryStore {
    fn begin(&self, org: &str) -> MemoryTx {
        MemoryTx {
            org: org.to_owned(),
            rows: self.orgs.get(org).cloned().unwrap_or_default(),
            last_action_id: self.last_action_id,
            last_approval_id: self.last_approval_id,
        }
    }
}

struct MemoryTx {
    org: String,
    rows: Rows,
    last_action_id: i64,
    last_approval_id: i64,
}

impl Tx for MemoryTx {
    fn org(&self) -> &str {
        &self.org
    }

    fn signer(&self) -> Option<&SigningKey> {
        None
    }

    fn audit_tail(&mut self) -> Result<Tail, DbError> {
        Ok(self.rows.audit.last().map_or(Tail::EMPTY, Record::tail))
    }

    fn audit_push(&mut self, record: Record) -> Result<(), DbError> {
        self.rows.audit.push(record);
        Ok(())
    }

    fn audit_each(
        &mut self,
        query: &AuditQuery,
        each: &mut dyn FnMut(Record) -> ControlFlow<()>,
    ) -> Result<(), DbError> {
        let fits: Vec<&Record> = self.rows.audit.iter().filter(|it| fits(it, query)).collect();
        let last =
            query.last.map_or(fits.len(), |last| usize::try_from(last).unwrap_or(usize::MAX));
        for record in &fits[fits.len().saturating_sub(last)..] {
            if each((*record).clone()).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn checkpoint_push(&mut self, checkpoint: &Checkpoint) -> Result<(), DbError> {
        self.rows.checkpoints.push(checkpoint.clone());
        Ok(())
    }

    fn checkpoints(&mut self) -> Result<Vec<Checkpoint>, DbError> {
        Ok(self.rows.checkpoints.clone())
    }

    fn action_insert(&mut self, action: &NewAction) -> Result<i64, DbError> {
        self.last_action_id += 1;
        let id = self.last_action_id;
        let outcome = serde_json::Map::new();
        let action = Action { id, new: action.clone(), finished: None, actual_cost: None, outcome };
        self.rows.actions.insert(id, action);
        Ok(id)
    }

    fn action(&mut self, id: i64) -> Result<Option<Action>, DbError> {
        Ok(self.rows.actions.get(&id).cloned())
    }

    fn action_update(&mut self, action: &Action) -> Result<(), DbError> {
        if let Some(row) = self.rows.actions.get_mut(&action.id) {
            row.new.status = action.new.status;
            row.new.effect = action.new.effect;
            row.new.decided_by.clone_from(&action.new.decided_by);
            row.new.approval_id = action.new.approval_id;
            row.finished = action.finished;
            row.actual_cost = action.actual_cost;
            row.outcome.clone_from(&action.outcome);
        }
        Ok(())
    }

    fn actions(&mut self, query: &ActionQuery) -> Result<Vec<Action>, DbError> {
        let limit = if query.limit == 0 { usize::MAX } else { query.limit as usize };
        let fits = |action: &&Action| {
            let NewAction { ask, submitted, .. } = &action.new;
            action.id > query.after_id
                && query.agent.as_ref().is_none_or(|agent| ask.agent == *agent)
                && (query.session_id.is_none() || ask.session_id == query.session_id)
                && query.since.is_none_or(|since| *submitted >= since)
        };
        Ok(self.rows.actions.values().filter(fits).take(limit).cloned().collect())
    }

    fn session_totals(&mut self, session_id: &str) -> Result<SessionTotals, DbError> {
        let mut totals = SessionTotals::default();
        for action in self.rows.actions.values() {
            let NewAction { ask, verdict, status, .. } = &action.new;
            if ask.session_id.as_deref() != Some(session_id) {
                continue;
            }
            totals.actions += 1;
            totals.blocked += u64::from(*status == Status::Denied);
            totals.high_risk += u64::from(verdict.risk >= 70);
            totals.max_risk = totals.max_risk.max(verdict.risk);
            totals.risk_sum += u64::from(verdict.risk);
            totals.max_depth = totals.max_depth.max(ask.depth);
            // What was denied was not done and costs nothing.
            if *status != Status::Denied {
                totals.cost.0 += action.actual_cost.unwrap_or(ask.cost).0;
            }
            totals.agents.push(ask.agent.clone());
        }
        totals.agents.sort();
        totals.agents.dedup();
        Ok(totals)
    }

    fn replay(&mut self, correlation_id: &str) -> Result<Option<Replay>, DbError> {
        Ok(self.rows.replays.get(correlation_id).cloned())
    }

    fn replay_insert(&mut self, correlation_id: &str, replay: &Replay) -> Result<(), DbError> {
        self.rows.replays.insert(correlation_id.to_owned(), replay.clone());
        Ok(())
    }

    fn approval_insert(&mut self, approval: &NewApproval) -> Result<i64, DbError> {
        self.last_approval_id += 1;
        let id = self.last_approval_id;
        let approval = Approval {
            id,
            new: approval.clone(),
            state: State::Pending,
            decided: None,
            decided_by: None,
            why: None,
            signature: None,
        };
        self.rows.approvals.insert(id, approval);
        Ok(id)
    }

    fn approval(&mut self, id: i64) -> Result<Option<Approval>, DbError> {
        Ok(self.rows.approvals.get(&id).cloned())
    }

    fn approval_for(&mut self, digest: &str) -> Result<Option<Approval>, DbError> {
        let newest = self.rows.approvals.values().rev().find(|it| it.new.digest == digest);
        Ok(newest.cloned())
    }

    fn approval_update(&mut self, approval: &Approval) -> Result<(), DbError> {
        if let Some(row) = self.rows.approvals.get_mut(&approval.id) {
            let new = row.new.clone();
            *row = Approval { new, ..approval.clone() };
        }
        Ok(())
    }

    fn approvals_open(&mut self) -> Result<Vec<Approval>, DbError> {
        let open = |it: &&Approval| matches!(it.state, State::Pending | State::Approved);
        Ok(self.rows.approvals.values().filter(open).cloned().collect())
    }

    fn trust(&mut self, agent: &str) -> Result<Option<TrustRow>, DbError> {
        Ok(self.rows.trust.get(agent).cloned())
    }

    fn trust_put(&mut self, row: &TrustRow) -> Result<(), DbError> {
        self.rows.trust.insert(row.agent.clone(), row.clone());
        Ok(())
    }

    fn trusts(&mut self) -> Result<Vec<TrustRow>, DbError> {
        Ok(self.rows.trust.values().cloned().collect())
    }

    fn conduct(&mut self, agent: &str) -> Result<Vec<Conduct>, DbError> {
        let of_agent = self.rows.conduct.values().filter(|row| row.agent == agent);
        Ok(of_agent.cloned().collect())
    }

    fn conduct_put(&mut self, row: &Conduct) -> Result<(), DbError> {
        self.rows.conduct.insert((row.agent.clone(), row.class), row.clone());
        Ok(())
    }

    fn fact(&mut self, kind: &str, key: &str) -> Result<Option<Value>, DbError> {
        Ok(self.rows.facts.get(&(kind.to_owned(), key.to_owned())).cloned())
    }

    fn fact_put(&mut self, kind: &str, key: &str, body: &Value) -> Result<(), DbError> {
        self.rows.facts.insert((kind.to_owned(), key.to_owned()), body.clone());
        Ok(())
    }

    fn facts(&mut self, kind: &str) -> Result<Vec<(String, Value)>, DbError> {
        let of_kind = self.rows.facts.iter().filter(|((found, _), _)| found == kind);
        Ok(of_kind.map(|((_, key), body)| (key.clone(), body.clone())).collect())
    }

    fn budget(&mut self, key: &str, window: DateTime<Utc>) -> Result<Budget, DbError> {
        let found = self.rows.budgets.get(&(key.to_owned(), window)).cloned();
        Ok(found.unwrap_or_else(|| Budget::empty(key, window)))
    }

    fn budget_put(&mut self, budget: &Budget) -> Result<(), DbError> {
        self.rows.budgets.insert((budget.key.clone(), budget.window), budget.clone());
        Ok(())
    }

    fn budgets(&mut self) -> Result<Vec<Budget>, DbError> {
        Ok(self.rows.budgets.values().cloned().collect())
    }

    fn reservation_insert(&mut self, reservation: &Reservation) -> Result<(), DbError> {
        self.rows.reservations.push(reservation.clone());
        Ok(())
    }

    fn reservations_take(&mut self, action_id: i64) -> Result<Vec<Reservation>, DbError> {
        let all = std::mem::take(&mut self.rows.reservations);
        let (taken, kept) = all.into_iter().partition(|it| it.action_id == action_id);
        self.rows.reservations = kept;
        Ok(taken)
    }

    fn reservations_lapsed(&mut self, at: DateTime<Utc>, count: u32) -> Result<Vec<i64>, DbError> {
        let lapsed = self.rows.reservations.iter().filter(|it| it.lapses <= at);
        let mut ids: Vec<i64> = lapsed.map(|it| it.action_id).collect();
        ids.sort_unstable();
        ids.dedup();
        ids.truncate(count as usize);
        Ok(ids)
    }

    fn rate_push(&mut self, key: &str, at: DateTime<Utc>) -> Result<(), DbError> {
        self.rows.rates.entry(key.to_owned()).or_default().push(at);
        Ok(())
    }

    fn rate_count(&mut self, key: &str, since: DateTime<Utc>) -> Result<u64, DbError> {
        let events = self.rows.rates.get(key).into_iter().flatten();
        Ok(events.filter(|at| **at >= since).count() as u64)
    }

    fn rate_oldest(
        &mut self,
        key: &str,
        since: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, DbError> {
        let events = self.rows.rates.get(key).into_iter().flatten();
        Ok(events.filter(|at| **at >= since).min().copied())
    }

    fn rate_forget(&mut self, key: &str, before: DateTime<Utc>) -> Result<(), DbError> {
        if let Some(events) = self.rows.rates.get_mut(key) {
            events.retain(|at| *at >= before);
        }
        Ok(())
    }

    fn kills(&mut self) -> Result<Vec<KillSwitch>, DbError> {
        Ok(self.rows.kills.clone())
    }

    fn kill_put(&mut self, kill: &KillSwitch) -> Result<(), DbError> {
        self.rows.kills.retain(|it| it.target != kill.target);
        self.rows.kills.push(kill.clone());
        Ok(())
    }

    fn kill_lift(&mut self, target: &str) -> Result<bool, DbError> {
        let before = self.rows.kills.len();
        self.rows.kills.retain(|it| it.target != target);
        Ok(self.rows.kills.len() < before)
    }
}

fn fits(record: &Record, query: &AuditQuery) -> bool {
    let contains = |text: &String, wanted: &str| text.to_ascii_lowercase().contains(wanted);
    record.seq > query.after
        && query.since.is_none_or(|since| record.at_us >= since.timestamp_micros())
        && query.kind.as_ref().is_none_or(|kind| record.kind == *kind)
        && query.containing.as_ref().is_none_or(|wanted| {
            let wanted = wanted.to_ascii_lowercase();
            [&record.actor, &record.subject, &record.kind, &record.details]
                .into_iter()
                .any(|text| contains(text, &wanted))
        })
}
