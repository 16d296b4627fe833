//! Where requests are served: one thread a lane, each with its own connection to the store.
//!
//! Handlers are plain functions that may block; the async side only carries bytes. All writes go
//! through one lane, so that they never wait for each other's locks; reads have their own, and so
//! have calls that end processes. The lane of writes takes all that waits, of whichever
//! organisation, works it off in one transaction and answers nobody before that is on the disk: one
//! flush of the disk serves many, and the next group is worked on while it goes on. Surprise: `SQLite`'s lock is no queue, so a lane that never rests
//! would keep out every other process; it leaves the lock alone for a moment now and then. Every access to rows goes through [`read`] and [`write`], which
//! take the organisation from the caller's key and from nowhere else.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use ed25519_dalek::VerifyingKey;
use serde_json::{Map, Value};
use tokio::sync::oneshot;

use super::flush::{self, Answers, Flusher, Flushes, Post, Sealed};
use super::keep::{Kept, Open};
use super::key::{self, Key, Org, Scope};
use super::line::{Next, Receiver, Sender, line};
use super::person::{Issuers, Person};
use super::refusal::Refusal;
use crate::base::now::{Mono, Now};
use crate::govern::bounds::Bounds;
use crate::govern::classes::Table;
use crate::govern::policy::Known;
use crate::govern::policy::facts::Told;
use crate::run::accepted;
use crate::run::governance::bounds::of_project;
use crate::run::governance::{Governance, GovernanceError, LOCAL_ORG, sources};
use crate::run::policies::{Source, Watched};
use crate::run::project::Project;
use crate::sys::clock;
use crate::sys::db::{self, DbError, Likely, Tx};

/// Requests that may wait in a lane; more are turned away.
const WAITING_MAX: usize = 1_024;
/// Requests of one commit: more would only make the first of them wait for the last.
const GROUP_MAX: usize = 256;
/// With so many a commit is worth its price, if it need not wait for the disk: the callers of one half
/// are answered and ask again while the other half is worked on.
const GROUP_ENOUGH: usize = 32;
/// Requests for which is looked up at once.
const AHEAD_MAX: usize = 64;
/// Keys whose organisations are remembered.
const OWNERS_MAX: usize = 10_000;
/// A commit is not put off longer than this, if more requests keep coming.
const GROUP_WITHIN: Duration = Duration::from_millis(5);
/// After so long without a rest others get a chance at the store's lock.
const HELD_MAX: Duration = Duration::from_millis(25);
/// Longer than others wait between two tries.
const LOCK_LEFT_ALONE: Duration = Duration::from_micros(1_300);
/// After so long without a request there is time to put things in order.
const REST_AFTER: Duration = Duration::from_millis(20);

/// Who calls, by its key or a person's token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    pub org: String,
    pub scope: Scope,
    /// Empty of a person.
    pub key_id: String,
    /// The only agent it speaks for.
    pub agent: Option<String>,
    pub person: Option<Person>,
}

impl Caller {
    /// For the record.
    pub fn name(&self) -> String {
        match &self.person {
            Some(person) => format!("person:{}", person.name),
            None => format!("key:{}", self.key_id),
        }
    }

    /// Whether it may speak for this agent.
    pub fn speaks_for(&self, agent: &str) -> bool {
        self.agent.as_ref().is_none_or(|own| own == agent)
    }
}

/// One request, its caller known.
#[derive(Debug, Clone)]
pub struct Call {
    pub caller: Caller,
    pub path: BTreeMap<String, String>,
    pub query: BTreeMap<String, String>,
    pub body: Map<String, Value>,
    pub correlation_id: Option<String>,
    pub now: Now,
}

impl Call {
    /// A part of the path, as the route names it.
    pub fn part(&self, name: &str) -> &str {
        self.path.get(name).map_or("", String::as_str)
    }

    /// A part of the path that is a number; anything else is as absent as an unknown number.
    pub fn id(&self, name: &str) -> Result<i64, Refusal> {
        let text = self.part(name);
        let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|_| plain).ok_or_else(Refusal::absent)
    }

    /// A number of the query, between bounds.
    pub fn number(&self, name: &str, default: u32, most: u32) -> Result<u32, Refusal> {
        let Some(text) = self.query.get(name) else { return Ok(default) };
        let number = text.parse().ok().filter(|number| *number <= most);
        number.ok_or_else(|| Refusal::invalid(format!("{name} must be between 0 and {most}")))
    }

    /// A text of the body. Blank and `null` count as absent.
    pub fn text(&self, name: &str) -> Result<Option<&str>, Refusal> {
        match self.body.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.trim().is_empty() => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                Err(Refusal::invalid(format!("{name} must be a string")))
            }
        }
    }

    pub fn required(&self, name: &str) -> Result<&str, Refusal> {
        self.text(name)?.ok_or_else(|| Refusal::invalid(format!("{name} is required")))
    }

    /// A flag of the body, `default` where it is absent.
    pub fn flag(&self, name: &str, default: bool) -> Result<bool, Refusal> {
        match self.body.get(name) {
            None | Some(Value::Null) => Ok(default),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(Value::String(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                Err(Refusal::invalid(format!("{name} must be true or false")))
            }
        }
    }
}

/// What a handler works with.
#[derive(Debug)]
pub struct Desk {
    pub governance: Governance,
    pub project: Arc<Project>,
    pub policies: Watched,
    pub table: Arc<Table>,
    pub bounds: Arc<Bounds>,
    /// Signs previews; of this run.
    pub secret: [u8; 32],
    /// Of the operator's folder: secrets shared with clients follow from it.
    pub server_key: [u8; 32],
    pub issuers: Arc<Issuers>,
    seen: Seen,
    /// Whose keys were good before, by the digests of their texts: where to look ahead, and for nothing else.
    owners: BTreeMap<[u8; 32], String>,
}

/// What was looked up for this group of requests already: within one transaction it cannot change
/// unless the group changes it.
#[derive(Debug, Default)]
struct Seen {
    policies_fresh: bool,
    operator: Option<Result<Option<VerifyingKey>, Refusal>>,
    /// By the text that a request brought; only those that hold.
    keys: BTreeMap<String, Key>,
    orgs: BTreeMap<String, Org>,
    told: Option<Arc<Vec<(String, Told)>>>,
}

impl Desk {
    pub fn open(
        project: &Arc<Project>,
        table: &Arc<Table>,
        secret: [u8; 32],
        issuers: &Arc<Issuers>,
    ) -> Result<Self, GovernanceError> {
        let governance = Governance::open(project)?;
        let source = Source {
            folder: project.config.governance.policies.clone(),
            state: project.store.state(),
            // Agents of other machines are not in the config: names are not checked.
            known: Known::default(),
            accepted: accepted::head_of(&project.config, &project.store.state()),
        };
        let bounds = Arc::new(of_project(&project.config, &governance));
        let server_key = governance.operator.server_key()?;
        let policies = Watched::new(source);
        let (project, table) = (Arc::clone(project), Arc::clone(table));
        let (issuers, seen, owners) = (Arc::clone(issuers), Seen::default(), BTreeMap::new());
        Ok(Self {
            governance,
            project,
            policies,
            table,
            bounds,
            secret,
            server_key,
            issuers,
            seen,
            owners,
        })
    }

    /// What was looked up for the requests before counts no more.
    fn turn(&mut self) {
        self.seen = Seen::default();
    }

    /// The same at the beginning of a group; but where nobody else has written, keys and organisations
    /// are what they were.
    fn turn_group(&mut self) {
        let Seen { keys, orgs, .. } = std::mem::take(&mut self.seen);
        if self.governance.store().is_unchanged() {
            self.seen = Seen { keys, orgs, ..Seen::default() };
        }
    }

    /// Takes over policies that changed; says whether they did.
    pub fn refresh(&mut self) -> bool {
        if std::mem::replace(&mut self.seen.policies_fresh, true) || !self.policies.refresh() {
            return false;
        }
        tracing::info!(alarm = self.policies.in_force().alarm, "the policies were read again");
        true
    }

    /// What the sources of the project vouch for; other organisations have none.
    pub fn told(&mut self, org: &Org) -> Result<Arc<Vec<(String, Told)>>, Refusal> {
        if org.name != LOCAL_ORG || self.project.config.governance.sources.is_empty() {
            return Ok(Arc::default());
        }
        if let Some(told) = &self.seen.told {
            return Ok(Arc::clone(told));
        }
        let told = db::read(self.governance.store(), LOCAL_ORG, sources::all)?;
        Ok(Arc::clone(self.seen.told.insert(Arc::new(told))))
    }

    /// What checks a person's decisions; `None` as long as nobody decided anything.
    pub fn operator(&mut self) -> Result<Option<VerifyingKey>, Refusal> {
        let Self { seen, governance, .. } = self;
        let look = || {
            governance.operator.decision_public().map_err(|error| {
                let error = crate::base::chain::text(&error);
                tracing::error!(error, "no operator key can be read");
                Refusal::forbidden("approvals cannot be checked, so this is refused")
            })
        };
        seen.operator.get_or_insert_with(look).clone()
    }

    /// Has the store look up at once what these requests will ask for.
    fn foresee<'h>(&mut self, hints: impl Iterator<Item = &'h Hint>) {
        let mut likely = Vec::new();
        for Hint { key, agent, correlation_id } in hints {
            let Some(id) = key::public_id(key) else { continue };
            if !self.seen.keys.contains_key(key) {
                likely.push(key::likely_key(id));
            }
            let Some(org) = self.owners.get(&key::digest(key)) else { continue };
            if !self.seen.orgs.contains_key(org) {
                likely.push(key::likely_org(org));
            }
            let (org, agent) = (org.clone(), agent.clone());
            likely.push(Likely::Act { org, agent, correlation_id: correlation_id.clone() });
        }
        if !likely.is_empty() {
            self.governance.store().foresee(&likely);
        }
    }

    /// The key that a request brought, if it is one and holds.
    pub fn key(&mut self, text: &str, now: Now) -> Result<Option<Key>, Refusal> {
        if let Some(key) = self.seen.keys.get(text) {
            return Ok(Some(key.clone()).filter(|key| key.holds(now.wall)));
        }
        let found = key::authenticate(self.governance.store(), text, now)?;
        if let Some(key) = &found {
            self.seen.keys.insert(text.to_owned(), key.clone());
            if self.owners.len() >= OWNERS_MAX {
                self.owners.clear();
            }
            self.owners.insert(key::digest(text), key.org.clone());
        }
        Ok(found)
    }

    /// The caller's organisation.
    pub fn org(&mut self, call: &Call) -> Result<Org, Refusal> {
        let name = &call.caller.org;
        if let Some(org) = self.seen.orgs.get(name) {
            return Ok(org.clone());
        }
        let org = key::org(self.governance.store(), name)?;
        let org = org.ok_or_else(|| Refusal::forbidden("the organization of this key is gone"))?;
        self.seen.orgs.insert(name.clone(), org.clone());
        Ok(org)
    }
}

/// Looks at rows of the caller's organisation.
pub fn read<T>(
    governance: &mut Governance,
    call: &Call,
    work: impl FnOnce(&mut dyn Tx) -> Result<T, DbError>,
) -> Result<T, Refusal> {
    Ok(db::read(governance.store(), &call.caller.org, work)?)
}

/// Changes rows of the caller's organisation, all or none.
pub fn write<T>(
    governance: &mut Governance,
    call: &Call,
    work: impl FnOnce(&mut dyn Tx) -> Result<T, DbError>,
) -> Result<T, Refusal> {
    Ok(db::write(governance.store(), &call.caller.org, call.now, work)?)
}

/// Which thread serves a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    Read,
    Write,
    /// May take seconds: it waits for processes to end.
    Slow,
    /// May take seconds: it waits for servers of other people.
    Out,
}

/// What a request is answered with.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    Value(Value),
    /// JSON that is text already: it is made where the parts of it lie, and given away as one piece.
    Written {
        decision: &'static str,
        text: String,
    },
}

pub type Answer = Result<Reply, Refusal>;

/// One request, and who waits for its answer.
pub struct Job {
    pub work: Box<dyn FnOnce(&mut Desk) -> Answer + Send>,
    pub answer: oneshot::Sender<Answer>,
    /// Where looking things up ahead is cheaper.
    pub hint: Option<Hint>,
}

/// What a request will ask the store for, as far as it shows; nothing is believed for it.
#[derive(Debug, Clone)]
pub struct Hint {
    pub key: String,
    pub agent: String,
    pub correlation_id: Option<String>,
}

/// The lane has more to do than it can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crowded;

/// One thread each.
#[derive(Debug, Clone)]
pub struct Lanes {
    queues: [Sender<Job>; 4],
    signs: [Arc<AtomicBool>; 4],
}

impl Lanes {
    /// Threads end when the last clone of the queues is gone and all that waited is done. While the
    /// store is away they refuse; any other error of opening it is returned.
    pub fn start(
        open: &Arc<Open<Desk>>,
        post: &Post,
    ) -> Result<(Self, Vec<JoinHandle<()>>), GovernanceError> {
        let (mut threads, progress) = (Vec::new(), Arc::new(Flushes::default()));
        let mut is_open = true;
        let mut lane = |name: &str, grouped: bool| -> Result<_, GovernanceError> {
            // What is away for the first is away for all.
            let mut kept = if is_open { Kept::begin(open)? } else { Kept::later(open) };
            is_open = kept.is_open();
            let sign = kept.sign();
            let (queue, jobs) = line(WAITING_MAX);
            let manner = if grouped {
                let flusher = Flusher::start(&progress, jobs.nudge(), post);
                let (flusher, thread) = flusher.map_err(GovernanceError::Thread)?;
                threads.push(thread);
                Manner::Grouped(flusher)
            } else {
                Manner::Single(Arc::clone(&progress))
            };
            let serve = move || {
                loop {
                    let working = AssertUnwindSafe(|| work(&mut kept, &jobs, &manner));
                    if catch_unwind(working).is_ok() {
                        return;
                    }
                    tracing::error!("a lane ended in a bug and begins anew");
                    kept.lose();
                }
            };
            let thread = std::thread::Builder::new().name(name.to_owned()).spawn(serve);
            threads.push(thread.map_err(GovernanceError::Thread)?);
            Ok((queue, sign))
        };
        let (read, read_sign) = lane("ao-read", false)?;
        let (write, write_sign) = lane("ao-write", true)?;
        let (slow, slow_sign) = lane("ao-slow", false)?;
        let (out, out_sign) = lane("ao-out", false)?;
        let queues = [read, write, slow, out];
        Ok((Self { queues, signs: [read_sign, write_sign, slow_sign, out_sign] }, threads))
    }

    /// Whether every lane has a store to work with.
    pub fn are_open(&self) -> bool {
        self.signs.iter().all(|sign| sign.load(Ordering::Acquire))
    }

    pub fn send(&self, lane: Lane, job: Job) -> Result<(), Crowded> {
        let queue = match lane {
            Lane::Read => &self.queues[0],
            Lane::Write => &self.queues[1],
            Lane::Slow => &self.queues[2],
            Lane::Out => &self.queues[3],
        };
        queue.send(job).map_err(|_| Crowded)
    }
}

/// How a lane works.
enum Manner {
    /// Each request by itself.
    Single(Arc<Flushes>),
    /// All that waits as one commit.
    Grouped(Flusher),
}

/// The next that waits; `None` when nothing will come any more. In between a lane without a store
/// tries for one, and one with time puts its store in order.
fn next(kept: &mut Kept<Desk>, jobs: &Receiver<Job>, in_order: &mut bool) -> Option<Job> {
    loop {
        let most = match (kept.is_open(), *in_order) {
            (false, _) => Some(kept.wait()),
            (true, false) => Some(REST_AFTER),
            (true, true) => None,
        };
        match jobs.wait(most) {
            Next::Item(job) => return Some(job),
            Next::Nudged => {}
            Next::Idle if kept.is_open() => {
                rest(kept);
                *in_order = true;
            }
            Next::Idle => kept.renew(),
            Next::Ended => {
                rest(kept);
                return None;
            }
        }
    }
}

fn work(kept: &mut Kept<Desk>, jobs: &Receiver<Job>, manner: &Manner) {
    let mut held_since: Option<Mono> = None;
    let mut in_order = true;
    loop {
        let first = if let Some(job) = jobs.take() {
            job
        } else {
            held_since = None;
            let Some(job) = next(kept, jobs, &mut in_order) else { return };
            job
        };
        let Some(desk) = kept.get() else {
            drop(first.answer.send(Err(Refusal::away())));
            continue;
        };
        let whole = match manner {
            Manner::Single(flushes) => one(desk, first, flushes),
            Manner::Grouped(flusher) => {
                let now = clock::now().mono;
                if now.since(*held_since.get_or_insert(now)) > HELD_MAX {
                    std::thread::sleep(LOCK_LEFT_ALONE);
                    held_since = None;
                }
                in_order = false;
                group(desk, first, jobs, flusher)
            }
        };
        if !whole {
            // What a bug left half done goes with the desk.
            kept.lose();
            kept.renew();
        }
    }
}

/// Puts the store in order, for which there was no time.
fn rest(kept: &mut Kept<Desk>) {
    let Some(desk) = kept.get() else { return };
    if let Err(error) = desk.governance.store().rest() {
        let error = crate::base::chain::text(&error);
        tracing::warn!(error, "the store was left for the next to put in order");
    }
}

/// Serves a request by itself; whether no bug ended it.
fn one(desk: &mut Desk, job: Job, flushes: &Flushes) -> bool {
    desk.turn();
    let Some(answer) = served(desk, job.work) else { return false };
    let answer = flushes.settle().and(answer);
    // Nobody may wait any more; what was done is done.
    drop(job.answer.send(answer));
    true
}

/// `None`: it ended in a bug, and its caller is refused as nothing answers it.
fn served(desk: &mut Desk, work: Box<dyn FnOnce(&mut Desk) -> Answer + Send>) -> Option<Answer> {
    let answer = catch_unwind(AssertUnwindSafe(|| work(desk)));
    answer.inspect_err(|_| tracing::error!("a request ended in a bug")).ok()
}

/// Serves all that waits as one commit, and all that comes while the one before is flushed; the
/// flusher answers.
fn group(desk: &mut Desk, first: Job, jobs: &Receiver<Job>, flusher: &Flusher) -> bool {
    let mut answers = Answers::with_capacity(64);
    let mut whole = true;
    let gathered = desk.governance.store().gather().map_err(Refusal::from);
    desk.turn_group();
    let begun = clock::now().mono;
    let apart = desk.governance.store().flushes_apart();
    let enough = if apart { GROUP_ENOUGH } else { GROUP_MAX };
    let mut batch = jobs.take_up_to(AHEAD_MAX - 1);
    batch.push_front(first);
    while !batch.is_empty() {
        if gathered.is_ok() {
            desk.foresee(batch.iter().filter_map(|job| job.hint.as_ref()));
        }
        let goes_on = |whole, done| {
            let more = done < enough || (done < GROUP_MAX && flusher.flushes.is_busy());
            whole && more && clock::now().mono.since(begun) < GROUP_WITHIN
        };
        while let Some(job) = batch.pop_front() {
            // Whoever gave up waiting was refused: then nothing may be recorded either.
            if !job.answer.is_closed() {
                match &gathered {
                    Ok(()) => match served(desk, job.work) {
                        Some(answer) => answers.push((job.answer, answer)),
                        None => whole = false,
                    },
                    Err(refusal) => drop(job.answer.send(Err(refusal.clone()))),
                }
            }
            if !goes_on(whole, answers.len()) {
                break;
            }
        }
        if !goes_on(whole, answers.len()) {
            jobs.give_back(batch);
            break;
        }
        batch = jobs.take_up_to(AHEAD_MAX);
        if batch.is_empty() {
            batch.extend(meanwhile(jobs, flusher));
        }
    }
    flusher.flushes.begin();
    match desk.governance.store().seal_begin().map_err(Refusal::from) {
        Ok(flush) => flusher.hand_over(Sealed { flush, answers }),
        Err(refusal) => {
            flusher.flushes.end(None);
            drop(flusher.post.send(flush::refused(answers, &refusal)));
        }
    }
    whole
}

/// The next request that comes while a flush is under way.
fn meanwhile(jobs: &Receiver<Job>, flusher: &Flusher) -> Option<Job> {
    while flusher.flushes.is_busy() {
        match jobs.wait(Some(GROUP_WITHIN)) {
            Next::Item(job) => return Some(job),
            Next::Nudged => {}
            Next::Idle | Next::Ended => return None,
        }
    }
    jobs.take()
}
