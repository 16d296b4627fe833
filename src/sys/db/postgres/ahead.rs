//! What the parts of a group will ask for, looked up all at once: one wait for the server in place of
//! one a question.
//!
//! Locks of organisations are taken first, in the same stretch of statements; as each statement sees
//! what was committed before it began, what is looked up behind a lock stands as long as the lock is
//! held. Of an organisation whose lock another server holds nothing is kept.

use std::collections::{BTreeMap, BTreeSet};

use postgres::types::ToSql;
use postgres::{Row, Statement};

use super::bulk::IDS;
use super::group::Group;
use super::link::Link;
use super::tx::PostgresTx;
use super::{PostgresStore, failed, lock_of, rows};
use crate::govern::audit::Tail;
use crate::sys::db::gathered::{Held, Quiet};
use crate::sys::db::rows::Replay;
use crate::sys::db::{DbError, Likely};

const ACT: &str = "look at an organisation";
const LOCK: &str = "SELECT pg_advisory_xact_lock($1)";
const TRY_LOCK: &str = "SELECT pg_try_advisory_xact_lock($1)";
const LOOK: &str = "SELECT (SELECT max(seq) FROM audit WHERE org = $1), \
    (SELECT hash FROM audit WHERE org = $1 ORDER BY seq DESC LIMIT 1), \
    EXISTS (SELECT FROM kills WHERE org = $1), \
    EXISTS (SELECT FROM approvals WHERE org = $1 AND state IN ('pending', 'approved')), \
    (SELECT min(lapses_us) FROM reservations WHERE org = $1)";
// Row by row, as plans are made while a table is small: a list of keys would later be held against all
// rows of the organisation.
const REPLAYS: &str = "SELECT found.* FROM unnest($2::text[]) AS asked (id), LATERAL \
    (SELECT correlation_id, body_digest, action_id FROM replays \
    WHERE org = $1 AND correlation_id = asked.id LIMIT 1) AS found";
const FACTS: &str = "SELECT found.* FROM unnest($3::text[]) AS asked (key), LATERAL \
    (SELECT key, body FROM facts WHERE org = $1 AND kind = $2 AND key = asked.key LIMIT 1) AS found";

impl PostgresTx<'_> {
    /// Looks at once at all that a first part of a group asks for.
    pub(super) fn look(&mut self) -> Result<(Tail, Quiet), DbError> {
        let found = self.one(ACT, LOOK, &[], looked)?;
        found.ok_or_else(|| DbError::Damaged { what: "no answer".to_owned() })
    }
}

fn looked(row: &Row) -> Result<(Tail, Quiet), DbError> {
    let seq: Option<i64> = rows::get(row, 0)?;
    let tail = match seq {
        Some(_) => Tail { seq: rows::number(row, 0)?, hash: rows::hash(row, 1)? },
        None => Tail::EMPTY,
    };
    let (kills, open) = (rows::get(row, 2)?, rows::get(row, 3)?);
    Ok((tail, Quiet { kills, open, lapses: rows::maybe_time(row, 4)? }))
}

/// What is wanted of one organisation.
#[derive(Debug, Default)]
struct Wanted {
    acts: usize,
    agents: BTreeSet<String>,
    correlation_ids: BTreeSet<String>,
    facts: BTreeMap<&'static str, BTreeSet<String>>,
}

impl Wanted {
    fn by_org(likely: &[Likely], group: &Group) -> BTreeMap<String, Self> {
        let mut found: BTreeMap<String, Self> = BTreeMap::new();
        for likely in likely {
            match likely {
                Likely::Fact { org, kind, key } => {
                    let known = group.of(org).is_some_and(|held| held.knows_fact(kind, key));
                    if !known {
                        let wanted = found.entry(org.clone()).or_default();
                        wanted.facts.entry(kind).or_default().insert(key.clone());
                    }
                }
                Likely::Act { org, agent, correlation_id } => {
                    let held = group.of(org);
                    let wanted = found.entry(org.clone()).or_default();
                    wanted.acts += 1;
                    if !held.is_some_and(|held| held.knows_trust(agent)) {
                        wanted.agents.insert(agent.clone());
                    }
                    let unknown = |id: &&String| !held.is_some_and(|held| held.knows_replay(id));
                    wanted.correlation_ids.extend(correlation_id.iter().filter(unknown).cloned());
                }
            }
        }
        found
    }
}

/// One question, of the organisation by its place in the list.
enum Question {
    Lock,
    Look,
    Trust(Vec<String>),
    Replays(Vec<String>),
    Ids(i32),
    Facts(&'static str, Vec<String>),
}

impl Question {
    fn text(&self, first: bool) -> &'static str {
        match self {
            Self::Lock if first => LOCK,
            Self::Lock => TRY_LOCK,
            Self::Look => LOOK,
            Self::Trust(_) => rows::TRUST_OF,
            Self::Replays(_) => REPLAYS,
            Self::Ids(_) => IDS,
            Self::Facts(..) => FACTS,
        }
    }
}

/// An organisation, the number of its lock, and what is asked about it.
struct Asked {
    org: String,
    lock: i64,
    questions: Vec<Question>,
}

fn asked(org: String, wanted: Wanted, held: Option<&Held>) -> Asked {
    let mut questions = Vec::new();
    if wanted.acts > 0 {
        if held.is_none() {
            questions.extend([Question::Lock, Question::Look]);
        }
        let listed = |set: BTreeSet<String>| set.into_iter().collect::<Vec<_>>();
        if !wanted.agents.is_empty() {
            questions.push(Question::Trust(listed(wanted.agents)));
        }
        if !wanted.correlation_ids.is_empty() {
            questions.push(Question::Replays(listed(wanted.correlation_ids)));
        }
        let lacking = held.map_or(wanted.acts, |held| held.lacks_ids(wanted.acts));
        if lacking > 0 {
            questions.push(Question::Ids(i32::try_from(lacking).unwrap_or(i32::MAX)));
        }
    }
    for (kind, keys) in wanted.facts {
        questions.push(Question::Facts(kind, keys.into_iter().collect()));
    }
    let lock = lock_of(&org);
    Asked { org, lock, questions }
}

impl PostgresStore {
    /// Looks up what the next parts of the group are likely to ask for.
    pub(super) fn look_ahead(&mut self, likely: &[Likely]) {
        let Some(mut group) = self.group.take() else { return };
        if let Some(mut link) = self.link.take().filter(|_| !group.lost) {
            if let Err(error) = ahead(&mut link, &mut group, likely) {
                let error = crate::base::chain::text(&error);
                tracing::warn!(error, "a group of writes failed at its first look");
                group.lost = true;
            }
            self.link = Some(link);
        }
        self.group = Some(group);
    }
}

fn ahead(link: &mut Link, group: &mut Group, likely: &[Likely]) -> Result<(), DbError> {
    let mut all: Vec<Asked> = Vec::new();
    for (org, wanted) in Wanted::by_org(likely, group) {
        let held = group.held.get(&org);
        all.push(asked(org, wanted, held));
    }
    // The first lock of all is waited for, as nobody can wait for us then.
    let mut first = group.held.is_empty();
    let mut stretch: Vec<(Statement, Vec<&(dyn ToSql + Sync)>)> = Vec::new();
    for Asked { org, lock, questions } in &all {
        for question in questions {
            let statement = link.statement(question.text(first)).map_err(failed(ACT))?;
            let values: Vec<&(dyn ToSql + Sync)> = match question {
                Question::Lock => {
                    first = false;
                    vec![lock]
                }
                Question::Look => vec![org],
                Question::Trust(texts) | Question::Replays(texts) => vec![org, texts],
                Question::Ids(count) => vec![org, count],
                Question::Facts(kind, keys) => vec![org, kind, keys],
            };
            stretch.push((statement, values));
        }
    }
    if stretch.is_empty() {
        return Ok(());
    }
    let mut found = link.queries(&stretch).map_err(failed(ACT))?.into_iter();
    drop(stretch);
    for Asked { org, questions, .. } in all {
        let mut held = group.held.remove(&org);
        let mut ours = held.is_some();
        held = held.or_else(|| group.views.remove(&org));
        for question in questions {
            let rows = found.next().expect("each question has its answer");
            // What cannot be read is left to the part that asks for it.
            drop(heard(question, &rows, &mut held, &mut ours));
        }
        match held {
            Some(held) if ours => drop(group.held.insert(org, held)),
            Some(held) => drop(group.views.insert(org, held)),
            None => {}
        }
    }
    Ok(())
}

/// Takes an answer in. `ours`: the organisation's lock is held.
fn heard(
    question: Question,
    rows: &[Row],
    held: &mut Option<Held>,
    ours: &mut bool,
) -> Result<(), DbError> {
    match question {
        Question::Lock => {
            // A lock that is waited for answers nothing.
            *ours = match rows.first() {
                Some(row) if row.columns()[0].type_() == &postgres::types::Type::BOOL => {
                    rows::get(row, 0)?
                }
                Some(_) | None => true,
            };
            if *ours {
                *held = Some(Held::default());
            }
        }
        Question::Facts(kind, keys) => {
            let held = held.get_or_insert_default();
            for row in rows {
                held.foresee_fact(kind, rows::get(row, 0)?, Some(rows::json(row, 1)?));
            }
            for key in keys {
                held.foresee_fact(kind, key, None);
            }
        }
        Question::Look | Question::Trust(_) | Question::Replays(_) | Question::Ids(_) => {
            let Some(held) = held.as_mut().filter(|_| *ours) else { return Ok(()) };
            known(question, rows, held)?;
        }
    }
    Ok(())
}

/// What stands only behind the lock.
fn known(question: Question, rows: &[Row], held: &mut Held) -> Result<(), DbError> {
    match question {
        Question::Look => {
            for row in rows {
                let (tail, quiet) = looked(row)?;
                held.begin(tail, quiet);
            }
        }
        Question::Trust(agents) => {
            for row in rows {
                let row = rows::trust(row)?;
                held.foresee_trust(row.agent.clone(), Some(row));
            }
            for agent in agents {
                held.foresee_trust(agent, None);
            }
        }
        Question::Replays(ids) => {
            for row in rows {
                let replay =
                    Replay { body_digest: rows::get(row, 1)?, action_id: rows::get(row, 2)? };
                held.foresee_replay(rows::get(row, 0)?, Some(replay));
            }
            for id in ids {
                held.foresee_replay(id, None);
            }
        }
        Question::Ids(_) => {
            let ids = rows.iter().map(|row| rows::get(row, 0)).collect::<Result<_, _>>()?;
            held.foresee_ids(ids);
        }
        Question::Lock | Question::Facts(..) => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_statement_looks_at_rows_of_its_organisation() {
        for text in [REPLAYS, FACTS, rows::TRUST_OF] {
            assert!(text.contains(" WHERE org = $1 AND "), "{text}");
        }
        assert_eq!(LOOK.matches("WHERE org = $1").count(), 5);
        assert_eq!(LOOK.matches("FROM ").count(), 5);
    }
}
