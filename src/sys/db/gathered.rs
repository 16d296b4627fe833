//! One organisation's part of a group of writes: what was looked up for it, and what it writes in the end.
//!
//! While a group lasts nobody else writes to its organisations, so what was read once stands until the
//! group changes it. Acts, their audit records and their correlation ids are kept back and written all
//! at once when the group ends: the database is asked for less, and a part that fails has touched
//! nothing. Whatever else a part changes, and whatever it reads that may depend on what was kept back,
//! first writes that down, behind a place in the transaction to go back to; from there on the part
//! works on the rows themselves.

use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;

use chrono::{DateTime, Utc};
use ed25519_dalek::SigningKey;
use serde_json::{Map, Value};

use super::rows::{
    Action, ActionQuery, Approval, AuditQuery, Budget, Conduct, KillSwitch, NewAction, NewApproval,
    Replay, Reservation, SessionTotals, TrustRow,
};
use super::{DbError, Glance, Tx};
use crate::govern::audit::head::Checkpoint;
use crate::govern::audit::{Record, Tail};

/// Numbers that are taken at once; those that a group leaves over are never used.
const IDS_MAX: usize = 32;

/// Rows of one organisation that are known from one group to the next.
const KNOWN_MAX: usize = 10_000;

/// A transaction on rows that a group can be built on.
pub(super) trait Rows: Tx {
    /// A place to go back to.
    fn mark(&mut self) -> Result<(), DbError>;
    /// So many numbers for acts, greater than all before.
    fn action_ids(&mut self, count: usize) -> Result<Vec<i64>, DbError>;
    fn keep(&mut self, kept_back: KeptBack) -> Result<(), DbError>;
    /// What there is none of.
    fn quiet(&mut self) -> Result<Quiet, DbError>;
}

/// What most organisations have none of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quiet {
    /// A kill switch in force.
    pub kills: bool,
    /// An approval that may still be used or decided.
    pub open: bool,
    /// When the first reservation lapses.
    pub lapses: Option<DateTime<Utc>>,
}

/// Rows to be written, each in its order.
#[derive(Debug, Default)]
pub(super) struct KeptBack {
    pub actions: Vec<(i64, NewAction)>,
    pub replays: Vec<(String, Replay)>,
    pub records: Vec<Record>,
    pub checkpoints: Vec<Checkpoint>,
}

impl KeptBack {
    fn is_empty(&self) -> bool {
        let Self { actions, replays, records, checkpoints } = self;
        actions.is_empty() && replays.is_empty() && records.is_empty() && checkpoints.is_empty()
    }

    fn place(&self) -> [usize; 4] {
        let Self { actions, replays, records, checkpoints } = self;
        [actions.len(), replays.len(), records.len(), checkpoints.len()]
    }

    fn split_off(&mut self, place: [usize; 4]) -> Self {
        let Self { actions, replays, records, checkpoints } = self;
        Self {
            actions: actions.split_off(place[0]),
            replays: replays.split_off(place[1]),
            records: records.split_off(place[2]),
            checkpoints: checkpoints.split_off(place[3]),
        }
    }
}

/// Of one organisation, as long as a group lasts.
#[derive(Debug, Default)]
pub(super) struct Held {
    before: Option<Tail>,
    tail: Option<Tail>,
    swept: bool,
    quiet: Option<Quiet>,
    kills: Option<Vec<KillSwitch>>,
    trust: BTreeMap<String, Option<TrustRow>>,
    conduct: BTreeMap<String, Vec<Conduct>>,
    /// By kind and key; only what was looked up ahead.
    facts: BTreeMap<(String, String), Option<Value>>,
    /// Correlation ids that the group used or looked up ahead.
    replays: BTreeMap<String, Option<Replay>>,
    kept_back: KeptBack,
    free_ids: VecDeque<i64>,
    /// How many numbers were asked for.
    numbered: usize,
    /// What parts before kept back could not be written: none of the group may count.
    broken: bool,
}

impl Held {
    /// Where its log ended before the group and ends now, if the group moved that.
    pub(super) fn moved(&self) -> Option<(Tail, Tail)> {
        let ends = (self.before?, self.tail?);
        (ends.0 != ends.1).then_some(ends)
    }

    /// What was looked up at the first look at it.
    pub(super) fn begin(&mut self, tail: Tail, quiet: Quiet) {
        (self.tail, self.quiet) = (Some(tail), Some(quiet));
    }

    /// What was looked up ahead, for what is not known already.
    pub(super) fn foresee_trust(&mut self, agent: String, row: Option<TrustRow>) {
        self.trust.entry(agent).or_insert(row);
    }

    pub(super) fn foresee_replay(&mut self, correlation_id: String, replay: Option<Replay>) {
        self.replays.entry(correlation_id).or_insert(replay);
    }

    pub(super) fn foresee_fact(&mut self, kind: &str, key: String, body: Option<Value>) {
        self.facts.entry((kind.to_owned(), key)).or_insert(body);
    }

    pub(super) fn foresee_ids(&mut self, ids: Vec<i64>) {
        self.free_ids.extend(ids);
    }

    pub(super) fn knows_fact(&self, kind: &str, key: &str) -> bool {
        self.facts.contains_key(&(kind.to_owned(), key.to_owned()))
    }

    pub(super) fn knows_trust(&self, agent: &str) -> bool {
        self.trust.contains_key(agent)
    }

    pub(super) fn knows_replay(&self, correlation_id: &str) -> bool {
        self.replays.contains_key(correlation_id)
    }

    /// How many numbers are lacking for so many acts.
    pub(super) fn lacks_ids(&self, acts: usize) -> usize {
        acts.saturating_sub(self.free_ids.len())
    }

    /// How many acts are kept back.
    pub(super) fn waiting(&self) -> usize {
        self.kept_back.actions.len()
    }

    /// For the next group, which found that nobody else wrote: what was looked up still stands.
    pub(super) fn renewed(self) -> Self {
        let Self { tail, quiet, kills, mut trust, mut conduct, .. } = self;
        if trust.len() + conduct.len() > KNOWN_MAX {
            (trust, conduct) = (BTreeMap::new(), BTreeMap::new());
        }
        Self { tail, quiet, kills, trust, conduct, ..Self::default() }
    }

    /// What is left to be written.
    pub(super) fn take(&mut self) -> Option<KeptBack> {
        let kept_back = std::mem::take(&mut self.kept_back);
        (!kept_back.is_empty()).then_some(kept_back)
    }
}

/// One part of a group.
pub(super) struct PartTx<'a, R: Rows> {
    rows: R,
    held: &'a mut Held,
    /// What was kept back by the parts before.
    place: [usize; 4],
    tail: Option<Tail>,
    swept: bool,
    /// There is a place to go back to, and this part works on the rows themselves.
    marked: bool,
}

impl<'a, R: Rows> PartTx<'a, R> {
    pub(super) fn new(rows: R, held: &'a mut Held) -> Self {
        let (place, tail, swept) = (held.kept_back.place(), held.tail, held.swept);
        Self { rows, held, place, tail, swept, marked: false }
    }

    /// Whether there is a place in the transaction that must be given up or gone back to.
    pub(super) fn is_marked(&self) -> bool {
        self.marked
    }

    /// Whether the whole group is lost.
    pub(super) fn is_broken(&self) -> bool {
        self.held.broken
    }

    /// Where the log ended when the group first wrote to it; `None`: it has not yet.
    pub(super) fn before(&self) -> Option<Tail> {
        self.held.before
    }

    /// The part is done, and the log ended there when the group first wrote to it.
    pub(super) fn done(&mut self, before: Tail) {
        self.held.before = Some(before);
    }

    pub(super) fn rows(&mut self) -> &mut R {
        &mut self.rows
    }

    /// As if the part had not been; the caller goes back to the mark, if there is one.
    pub(super) fn forget(&mut self) {
        let undone = self.held.kept_back.split_off(self.place);
        for (id, _) in &undone.replays {
            self.held.replays.remove(id);
        }
        (self.held.tail, self.held.swept) = (self.tail, self.swept);
        if self.marked {
            self.look_again();
            // What was used is written by now; what was not there is not there now either.
            self.held.replays.retain(|_, replay| replay.is_none());
        }
    }

    /// What was looked up may have changed.
    fn look_again(&mut self) {
        self.held.kills = None;
        self.held.trust.clear();
        self.held.conduct.clear();
        self.held.facts.clear();
    }

    /// From here on this part works on the rows themselves.
    fn mark(&mut self) -> Result<&mut R, DbError> {
        self.held.quiet = None;
        if !self.marked {
            let own = self.held.kept_back.split_off(self.place);
            let before = self.held.take();
            // Kept back no more, whether or not it can be written: a group that cannot is no group.
            self.place = [0; 4];
            if let Some(before) = before {
                self.held.broken = true;
                self.rows.keep(before)?;
                self.held.broken = false;
            }
            self.rows.mark()?;
            self.marked = true;
            if !own.is_empty() {
                self.rows.keep(own)?;
            }
        }
        Ok(&mut self.rows)
    }

    /// The same, to change what may have been looked up.
    fn change(&mut self) -> Result<&mut R, DbError> {
        self.look_again();
        self.mark()
    }

    fn next_id(&mut self) -> Result<i64, DbError> {
        if self.held.free_ids.is_empty() {
            let more = self.held.numbered.clamp(1, IDS_MAX);
            self.held.free_ids.extend(self.rows.action_ids(more)?);
            self.held.numbered += more;
        }
        let id = self.held.free_ids.pop_front();
        id.ok_or_else(|| DbError::Damaged { what: "a table that gives no ids".to_owned() })
    }
}

impl<R: Rows> Tx for PartTx<'_, R> {
    fn org(&self) -> &str {
        self.rows.org()
    }

    fn signer(&self) -> Option<&SigningKey> {
        self.rows.signer()
    }

    fn sweeps(&mut self) -> bool {
        !std::mem::replace(&mut self.held.swept, true)
    }

    fn glance(
        &mut self,
        correlation_id: Option<&str>,
        at: DateTime<Utc>,
    ) -> Result<Glance, DbError> {
        let quiet = match self.held.quiet {
            Some(quiet) => quiet,
            None => *self.held.quiet.insert(self.rows.quiet()?),
        };
        let unused = |id| matches!(self.held.replays.get(id), Some(None));
        Ok(Glance {
            kills: quiet.kills,
            replay: correlation_id.is_some_and(|id| !unused(id)),
            open: quiet.open,
            lapsed: quiet.lapses.is_some_and(|first| first <= at),
        })
    }

    fn audit_tail(&mut self) -> Result<Tail, DbError> {
        if let Some(tail) = self.held.tail {
            return Ok(tail);
        }
        let tail = self.rows.audit_tail()?;
        self.held.tail = Some(tail);
        Ok(tail)
    }

    fn audit_push(&mut self, record: Record) -> Result<(), DbError> {
        let tail = record.tail();
        if self.marked {
            self.rows.audit_push(record)?;
        } else {
            self.held.kept_back.records.push(record);
        }
        self.held.tail = Some(tail);
        Ok(())
    }

    fn audit_each(
        &mut self,
        query: &AuditQuery,
        each: &mut dyn FnMut(Record) -> ControlFlow<()>,
    ) -> Result<(), DbError> {
        self.mark()?.audit_each(query, each)
    }

    fn checkpoint_push(&mut self, checkpoint: &Checkpoint) -> Result<(), DbError> {
        if self.marked {
            return self.rows.checkpoint_push(checkpoint);
        }
        self.held.kept_back.checkpoints.push(checkpoint.clone());
        Ok(())
    }

    fn checkpoints(&mut self) -> Result<Vec<Checkpoint>, DbError> {
        self.mark()?.checkpoints()
    }

    fn action_insert(&mut self, action: &NewAction) -> Result<i64, DbError> {
        let id = self.next_id()?;
        let actions = vec![(id, action.clone())];
        if self.marked {
            self.rows.keep(KeptBack { actions, ..KeptBack::default() })?;
        } else {
            self.held.kept_back.actions.extend(actions);
        }
        Ok(id)
    }

    fn action(&mut self, id: i64) -> Result<Option<Action>, DbError> {
        let kept_back = &self.held.kept_back.actions;
        if let Ok(at) = kept_back.binary_search_by_key(&id, |(id, _)| *id) {
            let new = kept_back[at].1.clone();
            return Ok(Some(Action {
                id,
                new,
                finished: None,
                actual_cost: None,
                outcome: Map::new(),
            }));
        }
        self.rows.action(id)
    }

    fn action_update(&mut self, action: &Action) -> Result<(), DbError> {
        self.mark()?.action_update(action)
    }

    fn actions(&mut self, query: &ActionQuery) -> Result<Vec<Action>, DbError> {
        self.mark()?.actions(query)
    }

    fn session_totals(&mut self, session_id: &str) -> Result<SessionTotals, DbError> {
        self.mark()?.session_totals(session_id)
    }

    fn expect(&mut self, correlation_id: Option<&str>, digest: &str) -> Result<(), DbError> {
        // Most is known already, and a group asks for the rest when it needs it.
        let _ = (correlation_id, digest);
        Ok(())
    }

    fn replay(&mut self, correlation_id: &str) -> Result<Option<Replay>, DbError> {
        if let Some(replay) = self.held.replays.get(correlation_id) {
            return Ok(replay.clone());
        }
        self.rows.replay(correlation_id)
    }

    fn replay_insert(&mut self, correlation_id: &str, replay: &Replay) -> Result<(), DbError> {
        if self.marked {
            self.held.replays.remove(correlation_id);
            return self.rows.replay_insert(correlation_id, replay);
        }
        self.held.replays.insert(correlation_id.to_owned(), Some(replay.clone()));
        self.held.kept_back.replays.push((correlation_id.to_owned(), replay.clone()));
        Ok(())
    }

    fn approval_insert(&mut self, approval: &NewApproval) -> Result<i64, DbError> {
        self.mark()?.approval_insert(approval)
    }

    fn approval(&mut self, id: i64) -> Result<Option<Approval>, DbError> {
        self.rows.approval(id)
    }

    fn approval_for(&mut self, digest: &str) -> Result<Option<Approval>, DbError> {
        self.rows.approval_for(digest)
    }

    fn approval_update(&mut self, approval: &Approval) -> Result<(), DbError> {
        self.mark()?.approval_update(approval)
    }

    fn approvals_open(&mut self) -> Result<Vec<Approval>, DbError> {
        self.rows.approvals_open()
    }

    fn trust(&mut self, agent: &str) -> Result<Option<TrustRow>, DbError> {
        if let Some(row) = self.held.trust.get(agent) {
            return Ok(row.clone());
        }
        let row = self.rows.trust(agent)?;
        self.held.trust.insert(agent.to_owned(), row.clone());
        Ok(row)
    }

    fn trust_put(&mut self, row: &TrustRow) -> Result<(), DbError> {
        self.change()?.trust_put(row)
    }

    fn trusts(&mut self) -> Result<Vec<TrustRow>, DbError> {
        self.rows.trusts()
    }

    fn conduct(&mut self, agent: &str) -> Result<Vec<Conduct>, DbError> {
        if let Some(rows) = self.held.conduct.get(agent) {
            return Ok(rows.clone());
        }
        let rows = self.rows.conduct(agent)?;
        self.held.conduct.insert(agent.to_owned(), rows.clone());
        Ok(rows)
    }

    fn conduct_put(&mut self, row: &Conduct) -> Result<(), DbError> {
        self.change()?.conduct_put(row)
    }

    fn fact(&mut self, kind: &str, key: &str) -> Result<Option<Value>, DbError> {
        if !self.held.facts.is_empty()
            && let Some(body) = self.held.facts.get(&(kind.to_owned(), key.to_owned()))
        {
            return Ok(body.clone());
        }
        self.rows.fact(kind, key)
    }

    fn fact_put(&mut self, kind: &str, key: &str, body: &Value) -> Result<(), DbError> {
        self.held.facts.clear();
        self.mark()?.fact_put(kind, key, body)
    }

    fn facts(&mut self, kind: &str) -> Result<Vec<(String, Value)>, DbError> {
        self.rows.facts(kind)
    }

    fn budget(&mut self, key: &str, window: DateTime<Utc>) -> Result<Budget, DbError> {
        self.rows.budget(key, window)
    }

    fn budget_put(&mut self, budget: &Budget) -> Result<(), DbError> {
        self.mark()?.budget_put(budget)
    }

    fn budgets(&mut self) -> Result<Vec<Budget>, DbError> {
        self.rows.budgets()
    }

    fn reservation_insert(&mut self, reservation: &Reservation) -> Result<(), DbError> {
        self.mark()?.reservation_insert(reservation)
    }

    fn reservations_take(&mut self, action_id: i64) -> Result<Vec<Reservation>, DbError> {
        self.mark()?.reservations_take(action_id)
    }

    fn reservations_lapsed(&mut self, at: DateTime<Utc>, count: u32) -> Result<Vec<i64>, DbError> {
        self.rows.reservations_lapsed(at, count)
    }

    fn rate_push(&mut self, key: &str, at: DateTime<Utc>) -> Result<(), DbError> {
        self.mark()?.rate_push(key, at)
    }

    fn rate_count(&mut self, key: &str, since: DateTime<Utc>) -> Result<u64, DbError> {
        self.rows.rate_count(key, since)
    }

    fn rate_oldest(
        &mut self,
        key: &str,
        since: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, DbError> {
        self.rows.rate_oldest(key, since)
    }

    fn rate_forget(&mut self, key: &str, before: DateTime<Utc>) -> Result<(), DbError> {
        self.mark()?.rate_forget(key, before)
    }

    fn kills(&mut self) -> Result<Vec<KillSwitch>, DbError> {
        if let Some(kills) = &self.held.kills {
            return Ok(kills.clone());
        }
        let kills = self.rows.kills()?;
        self.held.kills = Some(kills.clone());
        Ok(kills)
    }

    fn kill_put(&mut self, kill: &KillSwitch) -> Result<(), DbError> {
        self.change()?.kill_put(kill)
    }

    fn kill_lift(&mut self, target: &str) -> Result<bool, DbError> {
        self.change()?.kill_lift(target)
    }
}
