//! One act, from asking to its outcome: each step one transaction.
//!
//! Submitting reads what the judge needs, judges, and writes the act, its audit record, its
//! reservations and its counts; only then is anything answered. So a decision that was answered is on
//! the disk, and submissions of many processes at once see each other's reservations. A hook that is
//! killed in between leaves either nothing or the recorded truth; what it reserved lapses and is
//! then counted as spent.

use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use ed25519_dalek::VerifyingKey;
use serde_json::{Map, Value};

use super::GovernanceError;
use super::claim::sweep;
use super::fall;
use crate::base::now::Now;
use crate::base::redact;
use crate::govern::action::{Ask, DEPTH_MAX, Micros};
use crate::govern::approval::{self, Decision as Signed, State, Step};
use crate::govern::audit::{Draft, Kind};
use crate::govern::class::Class;
use crate::govern::judge;
use crate::govern::policy::facts::Answers;
use crate::govern::session::Caps;
use crate::govern::verdict::{Effect, Said, Verdict};
use crate::sys::db::rows::{
    Action, Approval, Budget, Conduct, KillSwitch, NewAction, NewApproval, Replay, Reservation,
    SessionTotals, Status, TrustRow,
};
use crate::sys::db::{self, DbError, Store, Tx};

/// Counters of acts under way are reservations in a window without an end.
const OPEN_WINDOW: DateTime<Utc> = DateTime::UNIX_EPOCH;

/// An act and what its judge needs to know.
#[derive(Debug, Clone)]
pub struct Submission<'a> {
    pub ask: &'a Ask,
    pub class: Class,
    pub needs: Needs,
    /// Checks a person's decision; without it no approval counts.
    pub operator: Option<VerifyingKey>,
}

/// What to look up, and what to write down when the act may be done.
#[derive(Debug, Clone)]
pub struct Needs {
    /// What is reserved in each of `budgets`: our estimate or the claim, whichever is greater.
    pub cost: Micros,
    pub budgets: Vec<BudgetWindow>,
    pub rates: Vec<RateWindow>,
    /// Counters of acts under way, each held until the act is settled or lapses.
    pub open: Vec<String>,
    /// Of the act's session.
    pub session: Caps,
    /// How long a person has for an answer.
    pub hold: TimeDelta,
    /// How long an outcome may take before the estimate counts as spent.
    pub reserve: TimeDelta,
    /// What the rules that may speak were told, for the record.
    pub heard: Answers,
}

impl Default for Needs {
    fn default() -> Self {
        Self {
            cost: Micros(0),
            budgets: Vec::new(),
            rates: Vec::new(),
            open: Vec::new(),
            session: Caps::default(),
            hold: TimeDelta::minutes(30),
            reserve: TimeDelta::hours(24),
            heard: Answers::new(),
        }
    }
}

/// A budget and the window of it that `now` is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BudgetWindow {
    pub key: String,
    pub start: DateTime<Utc>,
}

/// A rate and the start of its sliding window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateWindow {
    pub key: String,
    pub since: DateTime<Utc>,
}

/// What the judge sees: one moment of the store, which nobody changes until its verdict is written.
#[derive(Debug, Clone)]
pub struct Known {
    pub now: Now,
    /// All in force.
    pub kills: Vec<KillSwitch>,
    /// The acts above this one, its parent first; empty where the parent is not of this organisation.
    pub lineage: Vec<Action>,
    pub session: Option<SessionTotals>,
    /// Of the agent first, then of those it acts for.
    pub trust: Vec<(String, Option<TrustRow>)>,
    /// In the order of [`Needs::budgets`].
    pub budgets: Vec<Budget>,
    /// In the order of [`Needs::rates`].
    pub rates: Vec<RateState>,
    /// How many acts are under way, in the order of [`Needs::open`].
    pub open: Vec<i64>,
}

/// How often a rate was used in its window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateState {
    pub key: String,
    pub count: u64,
    pub oldest: Option<DateTime<Utc>>,
}

/// What was decided and is on the disk.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    pub action_id: i64,
    /// In force. [`Effect::RequireApproval`]: wait with [`claim`](super::claim::claim), or submit again later.
    pub effect: Effect,
    /// For the agent.
    pub reason: String,
    pub verdict: Verdict,
    /// The one that it waits for, or that let it through.
    pub approval_id: Option<i64>,
    /// The same submission was answered before; this is that answer as it stands now.
    pub replayed: bool,
    /// As it was written.
    pub action: Action,
}

/// Submits an act. An error means: denied.
pub fn submit(
    store: &mut dyn Store,
    submission: &Submission<'_>,
    judge: impl FnOnce(&Known) -> Verdict,
    now: Now,
) -> Result<Decision, GovernanceError> {
    let outcome =
        db::write(store, &submission.ask.org, now, |tx| submit_in(tx, submission, judge, now))?;
    outcome.map_err(|id| GovernanceError::CorrelationReused { id })
}

/// [`submit`] within a transaction that does more; the inner error is a correlation id that was used
/// for another act.
pub fn submit_in(
    tx: &mut dyn Tx,
    submission: &Submission<'_>,
    judge_known: impl FnOnce(&Known) -> Verdict,
    now: Now,
) -> Result<Result<Decision, String>, DbError> {
    let Submission { ask, .. } = submission;
    let digest = approval::digest(ask);
    let body = body_digest(ask, &digest);
    let seen = tx.glance(ask.correlation_id.as_deref(), now.wall)?;
    // An approval that is over counts for nothing here, swept or not.
    if tx.sweeps() && (seen.open || seen.lapsed) {
        sweep(tx, now)?;
    }
    let kills = if seen.kills { tx.kills()? } else { Vec::new() };
    let killed = kills.iter().any(|kill| kill.covers(&ask.agent));
    tx.expect(ask.correlation_id.as_deref(), &digest)?;
    if let (Some(id), false) = (&ask.correlation_id, killed)
        && seen.replay
        && let Some(replay) = tx.replay(id)?
    {
        return replayed(tx, id, &replay, &body, ask, now);
    }
    if seen.open {
        give_way(tx, submission, &digest, now)?;
    }
    let known = know(tx, submission, kills, now)?;
    let verdict = judge::hearing(judge_known(&known), capped(&known, submission));
    decide(tx, submission, verdict, killed, &digest, &body, now).map(Ok)
}

/// What the caps of its session say against the act.
fn capped(known: &Known, submission: &Submission<'_>) -> Vec<Said> {
    let Some(totals) = &known.session else { return Vec::new() };
    let acts = totals.actions.saturating_sub(totals.blocked);
    submission.needs.session.says(acts, totals.cost, submission.ask.cost)
}

/// Of all that makes two submissions the same one.
fn body_digest(ask: &Ask, digest: &str) -> String {
    let Ask { session_id, parent_action_id, depth, claimed_risk, .. } = ask;
    let rest = format!("{session_id:?} {parent_action_id:?} {depth} {claimed_risk:?}");
    let mut hasher = blake3::Hasher::new();
    hasher.update(digest.as_bytes()).update(rest.as_bytes());
    hasher.finalize().to_hex().to_string()
}

/// The first answer again; the correlation id where it belongs to another act.
fn replayed(
    tx: &mut dyn Tx,
    id: &str,
    replay: &Replay,
    body: &str,
    ask: &Ask,
    now: Now,
) -> Result<Result<Decision, String>, DbError> {
    if replay.body_digest != body {
        let draft = Draft::new(Kind::Refused, &ask.agent, &ask.action_type)
            .about(replay.action_id)
            .with("why", "the correlation id was used for another act");
        db::append(tx, &draft, now)?;
        return Ok(Err(id.to_owned()));
    }
    let action = tx.action(replay.action_id)?;
    let action =
        action.ok_or_else(|| DbError::Damaged { what: "a repeat of no act".to_owned() })?;
    Ok(Ok(Decision {
        action_id: action.id,
        effect: action.new.effect,
        reason: action.new.verdict.reason.clone(),
        verdict: action.new.verdict.clone(),
        approval_id: action.new.approval_id,
        replayed: true,
        action,
    }))
}

fn know(
    tx: &mut dyn Tx,
    submission: &Submission<'_>,
    kills: Vec<KillSwitch>,
    now: Now,
) -> Result<Known, DbError> {
    let Submission { ask, needs, .. } = submission;
    let mut lineage: Vec<Action> = Vec::new();
    let mut above = ask.parent_action_id;
    while let Some(id) = above
        && lineage.len() <= usize::from(DEPTH_MAX)
        && let Some(action) = tx.action(id)?
    {
        above = action.new.ask.parent_action_id;
        lineage.push(action);
    }
    let mut agents = vec![ask.agent.clone()];
    for action in &lineage {
        if !agents.contains(&action.new.ask.agent) {
            agents.push(action.new.ask.agent.clone());
        }
    }
    let trust = agents.into_iter().map(|agent| tx.trust(&agent).map(|row| (agent, row)));
    let trust = trust.collect::<Result<_, _>>()?;
    let session = ask.session_id.as_ref().map(|id| tx.session_totals(id)).transpose()?;
    let budgets = needs.budgets.iter().map(|window| tx.budget(&window.key, window.start));
    let budgets = budgets.collect::<Result<_, _>>()?;
    let mut rates = Vec::with_capacity(needs.rates.len());
    for RateWindow { key, since } in &needs.rates {
        let (count, oldest) = (tx.rate_count(key, *since)?, tx.rate_oldest(key, *since)?);
        rates.push(RateState { key: key.clone(), count, oldest });
    }
    let open = needs.open.iter().map(|key| tx.budget(key, OPEN_WINDOW).map(|it| it.reserved.0));
    let open = open.collect::<Result<_, _>>()?;
    Ok(Known { now, kills, lineage, session, trust, budgets, rates, open })
}

/// What is in force in the end, and why.
struct Final {
    effect: Effect,
    reason: String,
    by: String,
    approval_id: Option<i64>,
    /// An approval that this act uses up.
    used: Option<Approval>,
}

fn decide(
    tx: &mut dyn Tx,
    submission: &Submission<'_>,
    verdict: Verdict,
    killed: bool,
    digest: &str,
    body: &str,
    now: Now,
) -> Result<Decision, DbError> {
    let Submission { ask, class, needs, .. } = submission;
    let found = if killed {
        // Whatever the judge says: the switch is looked at here as well.
        Final {
            effect: Effect::Deny,
            reason: "this agent was stopped by a kill switch".to_owned(),
            by: "kill switch".to_owned(),
            approval_id: None,
            used: None,
        }
    } else {
        with_approval(tx, submission, &verdict, digest, now)?
    };
    let status = match found.effect {
        Effect::Allow | Effect::AllowNotify => Status::Allowed,
        Effect::RequireApproval => Status::Held,
        Effect::Deny => Status::Denied,
    };
    let new = NewAction {
        ask: hidden(ask),
        digest: digest.to_owned(),
        class: *class,
        verdict: verdict.clone(),
        effect: found.effect,
        status,
        decided_by: found.by.clone(),
        approval_id: found.approval_id,
        // As it reads back.
        submitted: now.wall.trunc_subsecs(6),
    };
    let action_id = tx.action_insert(&new)?;
    let mut action =
        Action { id: action_id, new, finished: None, actual_cost: None, outcome: Map::new() };
    if status == Status::Held && action.new.approval_id.is_none() {
        action.new.approval_id = Some(ask_person(tx, &action.new, action_id, needs.hold, now)?);
        tx.action_update(&action)?;
    }
    let approval_id = action.new.approval_id;
    if let Some(id) = &ask.correlation_id {
        tx.replay_insert(id, &Replay { body_digest: body.to_owned(), action_id })?;
    }
    if status == Status::Denied {
        conduct(tx, &ask.agent, *class, now, |row| row.denials += 1)?;
        if *class == Class::System && !killed {
            fall::violated(tx, &ask.agent, &format!("{} {}", ask.action_type, ask.resource), now)?;
        }
    } else {
        promise(tx, needs, action_id, now)?;
    }
    let trace = serde_json::to_value(&verdict.trace).unwrap_or(Value::Null);
    let mut draft =
        Draft::new(Kind::Decided, &ask.agent, format!("{} {}", ask.action_type, ask.resource))
            .about(action_id)
            .with("effect", effect_word(found.effect))
            .with("reason", found.reason.clone())
            .with("by", found.by)
            .with("risk", verdict.risk)
            .with("policy", verdict.policy_digest.clone())
            .with("digest", digest)
            .with("approval", approval_id)
            .with("trace", trace);
    if !needs.heard.is_empty() {
        draft = draft.with("facts", serde_json::to_value(&needs.heard).unwrap_or(Value::Null));
    }
    db::append(tx, &draft, now)?;
    if let Some(used) = found.used {
        use_up(tx, used, action_id, &ask.agent, now)?;
    }
    let Final { effect, reason, .. } = found;
    Ok(Decision { action_id, effect, reason, verdict, approval_id, replayed: false, action })
}

fn hidden(ask: &Ask) -> Ask {
    Ask {
        org: ask.org.clone(),
        agent: ask.agent.clone(),
        action_type: ask.action_type.clone(),
        resource: redact::text(&ask.resource),
        context: redact::fields(&ask.context),
        cost: ask.cost,
        claimed_risk: ask.claimed_risk,
        session_id: ask.session_id.clone(),
        parent_action_id: ask.parent_action_id,
        depth: ask.depth,
        correlation_id: ask.correlation_id.clone(),
    }
}

/// Leave that a person gave for exactly this act counts once; a refusal counts until it is over.
fn with_approval(
    tx: &mut dyn Tx,
    submission: &Submission<'_>,
    verdict: &Verdict,
    digest: &str,
    now: Now,
) -> Result<Final, DbError> {
    let plain = Final {
        effect: verdict.effect,
        reason: verdict.reason.clone(),
        by: "policy".to_owned(),
        approval_id: None,
        used: None,
    };
    match verdict.effect {
        Effect::RequireApproval => {}
        Effect::Allow | Effect::AllowNotify | Effect::Deny => return Ok(plain),
    }
    let Some(approval) = tx.approval_for(digest)? else { return Ok(plain) };
    let over = approval::is_over(approval.new.created, approval.new.expires, now.wall);
    if over || approval.new.agent != submission.ask.agent {
        return Ok(plain);
    }
    let by = approval.decided_by.clone().unwrap_or_default();
    Ok(match approval.state {
        State::Pending => Final { approval_id: Some(approval.id), ..plain },
        State::Approved
            if is_signed(&approval, &submission.ask.org, submission.operator.as_ref()) =>
        {
            Final {
                effect: Effect::AllowNotify,
                reason: format!("approved by {by}"),
                by,
                approval_id: Some(approval.id),
                used: Some(approval),
            }
        }
        State::Denied => Final {
            effect: Effect::Deny,
            reason: match &approval.why {
                Some(why) => format!("denied by {by}: {why}"),
                None => format!("denied by {by}"),
            },
            by,
            approval_id: Some(approval.id),
            used: None,
        },
        // An approval that nobody signed was written by somebody else: a person is asked.
        State::Approved | State::Used | State::Expired => plain,
    })
}

/// Whether the yes in the store is the operator's.
pub(super) fn is_signed(approval: &Approval, org: &str, key: Option<&VerifyingKey>) -> bool {
    let decision = Signed {
        org,
        approval_id: approval.id,
        digest: &approval.new.digest,
        approved: true,
        expires: approval.new.expires,
    };
    match (key, &approval.signature) {
        (Some(key), Some(signature)) => decision.is_signed(signature, key),
        (None | Some(_), None) | (None, Some(_)) => false,
    }
}

fn ask_person(
    tx: &mut dyn Tx,
    action: &NewAction,
    action_id: i64,
    hold: TimeDelta,
    now: Now,
) -> Result<i64, DbError> {
    tx.approval_insert(&NewApproval {
        action_id,
        agent: action.ask.agent.clone(),
        digest: action.digest.clone(),
        summary: format!("{} {}", action.ask.action_type, action.ask.resource),
        reason: action.verdict.reason.clone(),
        created: now.wall,
        expires: now.wall + hold,
    })
}

/// Marks an approval as used by an act; the caller has checked it.
pub(super) fn use_up(
    tx: &mut dyn Tx,
    mut approval: Approval,
    action_id: i64,
    agent: &str,
    now: Now,
) -> Result<(), DbError> {
    approval.state = approval::next(approval.state, Step::Use)
        .map_err(|_| DbError::Damaged { what: "an approval in an impossible state".to_owned() })?;
    tx.approval_update(&approval)?;
    let draft = Draft::new(Kind::ApprovalUsed, agent, format!("approval {}", approval.id))
        .about(action_id)
        .with("by", approval.decided_by.clone())
        .with("digest", approval.new.digest);
    db::append(tx, &draft, now).map(drop)
}

/// Reserves money and counts rates for an act that may be done, now or after a person's yes.
fn promise(tx: &mut dyn Tx, needs: &Needs, action_id: i64, now: Now) -> Result<(), DbError> {
    if needs.cost.0 > 0 {
        for BudgetWindow { key, start } in &needs.budgets {
            let (key, lapses) = (key.clone(), now.wall + needs.reserve);
            let amount = needs.cost;
            db::reserve(tx, &Reservation { action_id, key, window: *start, amount, lapses })?;
        }
    }
    for key in &needs.open {
        let (key, lapses) = (key.clone(), now.wall + needs.reserve);
        let amount = Micros(1);
        db::reserve(tx, &Reservation { action_id, key, window: OPEN_WINDOW, amount, lapses })?;
    }
    let mut counted: Vec<&str> = Vec::new();
    for RateWindow { key, .. } in &needs.rates {
        // Two windows over one rate count one event.
        if !counted.contains(&key.as_str()) {
            counted.push(key);
            tx.rate_push(key, now.wall)?;
        }
    }
    Ok(())
}

pub(super) fn conduct(
    tx: &mut dyn Tx,
    agent: &str,
    class: Class,
    now: Now,
    change: impl FnOnce(&mut Conduct),
) -> Result<(), DbError> {
    let found = tx.conduct(agent)?.into_iter().find(|row| row.class == class);
    let mut row = found.unwrap_or_else(|| Conduct::none(agent, class, now.wall));
    change(&mut row);
    row.last = now.wall;
    tx.conduct_put(&row)
}

/// An approved act that is submitted again takes the place of the one that was held: what that one
/// reserved must not stand in its own way.
fn give_way(
    tx: &mut dyn Tx,
    submission: &Submission<'_>,
    digest: &str,
    now: Now,
) -> Result<(), DbError> {
    let Some(approval) = tx.approval_for(digest)? else { return Ok(()) };
    let approved = approval.state == State::Approved
        && is_signed(&approval, &submission.ask.org, submission.operator.as_ref());
    if approved
        && let Some(mut held) = tx.action(approval.new.action_id)?
        && held.new.status == Status::Held
    {
        db::settle(tx, held.id, Some(Micros(0)))?;
        held.new.status = Status::Lapsed;
        held.finished = Some(now.wall);
        tx.action_update(&held)?;
    }
    Ok(())
}

/// As serde writes it.
pub(super) fn effect_word(effect: Effect) -> &'static str {
    match effect {
        Effect::Allow => "allow",
        Effect::AllowNotify => "allow_notify",
        Effect::RequireApproval => "require_approval",
        Effect::Deny => "deny",
    }
}
