//! People's wishes: carried out by this process, or handed to the watchdog and waited for.
//!
//! A request is a file under `state/requests/`; its answer is a file beside it. Both are removed by
//! whoever asked. A watchdog that dies in between leaves the request for the next one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::prepare::Overrides;
use super::project::{self, Project, ProjectError};
use super::store;
use crate::base::name::UnitName;
use crate::base::now::Now;
use crate::supervise::event::{Event, Outcome, Request, RequestId};
use crate::supervise::outbox::Draft;
use crate::sys::{clock, file};

/// Between two looks for an answer.
const ANSWER_POLL: Duration = Duration::from_millis(5);
/// A watchdog that does not answer for this long is not working.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// `state/requests/<id>.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Asked {
    pub version: u32,
    pub id: RequestId,
    pub request: Request,
    pub environment: BTreeMap<String, String>,
    pub models: BTreeMap<String, String>,
    pub backends: BTreeMap<String, String>,
}

/// `state/requests/<id>.answer`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Answered {
    pub version: u32,
    pub outcomes: BTreeMap<UnitName, Outcome>,
}

#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    #[error(transparent)]
    Project(#[from] ProjectError),
    #[error("cannot hand the request to the watchdog")]
    Write(#[source] store::StoreError),
    #[error("the watchdog (process {pid}) did not answer within {} s", ANSWER_WITHIN.as_secs())]
    NoAnswer { pid: u32 },
    #[error("it is not known what became of {}", .0.join(", "))]
    Unsettled(Vec<String>),
}

/// Asks for something and waits until every unit settled.
pub fn ask(
    project: &Project,
    request: Request,
    overrides: Overrides,
) -> Result<BTreeMap<UnitName, Outcome>, RequestError> {
    ask_heard(project, request, overrides, &mut || {})
}

/// The same. Calls `heard` as soon as what was begun before the request is over and whatever comes
/// after it is decided in the knowledge of it.
pub fn ask_heard(
    project: &Project,
    request: Request,
    overrides: Overrides,
    heard: &mut dyn FnMut(),
) -> Result<BTreeMap<UnitName, Outcome>, RequestError> {
    let environment = project::caller_environment();
    match project.act_lock(ANSWER_WITHIN)? {
        None => hand_over(project, request, environment, overrides, ANSWER_WITHIN, heard),
        Some(_lock) => act(project, &request, environment, overrides, heard),
    }
}

/// Puts a message into the agent's queue. `Ok(None)`: no watchdog runs that would type it, and the
/// caller wanted to wait for its fate.
///
/// Without `wait` it is queued, with or without a watchdog; with it the answer tells its fate.
pub fn send(
    project: &Project,
    unit: &UnitName,
    draft: Draft,
    wait: Option<Duration>,
) -> Result<Option<Outcome>, RequestError> {
    let request = Request::Send { unit: unit.clone(), draft, wait: wait.is_some() };
    let environment = project::caller_environment();
    let outcomes = match (project.act_lock(ANSWER_WITHIN)?, wait) {
        (None, _) => {
            let limit = ANSWER_WITHIN + wait.unwrap_or_default();
            let overrides = Overrides::default();
            hand_over(project, request, environment, overrides, limit, &mut || {})?
        }
        (Some(_lock), None) => {
            act(project, &request, environment, Overrides::default(), &mut || {})?
        }
        (Some(_lock), Some(_)) => return Ok(None),
    };
    Ok(outcomes.get(unit).cloned())
}

/// Carries the request out in this process; the act lock is held by the caller.
fn act(
    project: &Project,
    request: &Request,
    environment: BTreeMap<String, String>,
    overrides: Overrides,
    heard: &mut dyn FnMut(),
) -> Result<BTreeMap<UnitName, Outcome>, RequestError> {
    let mut engine = project.engine(None, None, environment, overrides)?;
    engine.look();
    let id = RequestId(uuid::Uuid::new_v4().to_string());
    engine.feed(Event::Requested { id: id.clone(), request: request.clone() });
    heard();
    let limit = project.config.watchdog.stop_grace + Duration::from_secs(15);
    engine.settle(limit);
    engine.look();
    engine.type_kickoffs();
    engine.wait_for_kickoffs();
    engine.settle_notices(Duration::from_secs(5));
    let now = clock::now();
    engine.save(now);
    record_server(project, &engine);
    match engine.answers.iter().find(|answer| answer.id == id) {
        Some(answer) => Ok(answer.outcomes.clone()),
        None => Err(RequestError::Unsettled(names(request))),
    }
}

fn record_server(project: &Project, engine: &super::engine::Engine) {
    let server = engine.world().map(|world| world.server);
    if let Err(error) = project.record_server(server) {
        tracing::warn!(%error, "cannot record the tmux server");
    }
}

fn names(request: &Request) -> Vec<String> {
    match request {
        Request::Up { units, .. } | Request::Down { units } | Request::Restart { units, .. } => {
            units.iter().map(ToString::to_string).collect()
        }
        Request::Send { unit, .. } => vec![unit.to_string()],
        Request::Phase { .. } => vec!["the move to the phase".to_owned()],
    }
}

fn hand_over(
    project: &Project,
    request: Request,
    environment: BTreeMap<String, String>,
    overrides: Overrides,
    limit: Duration,
    heard: &mut dyn FnMut(),
) -> Result<BTreeMap<UnitName, Outcome>, RequestError> {
    let id = RequestId(uuid::Uuid::new_v4().to_string());
    let folder = project.store.requests();
    let (asking, answer) =
        (folder.join(format!("{}.json", id.0)), folder.join(format!("{}.answer", id.0)));
    let asked = Asked {
        version: 1,
        id,
        request,
        environment,
        models: overrides.models,
        backends: overrides.backends,
    };
    store::replace(&asking, &asked).map_err(RequestError::Write)?;
    let end = clock::now().mono.plus(limit);
    let (mut gone_since, mut taken) = (None, false);
    loop {
        let now = clock::now();
        // The watchdog takes it between two of its deeds.
        if !taken && !asking.exists() {
            taken = true;
            heard();
        }
        let found: store::Loaded<Answered> = store::read(&answer, now);
        if let Some(answered) = found.value {
            drop(file::remove(&answer));
            return Ok(answered.outcomes);
        }
        let pid = project.watchdog();
        // It may be between two lives: its loop starts it again after a second.
        gone_since = if pid.is_some() { None } else { gone_since.or(Some(now.mono)) };
        let gone = gone_since.is_some_and(|since| now.mono.since(since) > Duration::from_secs(5));
        if now.mono >= end || gone {
            drop(file::remove(&asking));
            return Err(RequestError::NoAnswer { pid: pid.unwrap_or(0) });
        }
        std::thread::sleep(ANSWER_POLL);
    }
}

/// The requests that wait for the watchdog, oldest first, each removed as it is taken; and what is
/// wrong with those that cannot be read.
pub fn take(folder: &Path, now: Now) -> (Vec<Asked>, Vec<String>) {
    let mut problems = Vec::new();
    let Ok(entries) = std::fs::read_dir(folder) else { return (Vec::new(), problems) };
    let mut found: Vec<(std::time::SystemTime, PathBuf)> = entries
        .flatten()
        .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "json"))
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    found.sort();
    let taken = found.into_iter().filter_map(|(_, path)| {
        let loaded: store::Loaded<Asked> = store::read(&path, now);
        drop(file::remove(&path));
        problems.extend(loaded.problem);
        loaded.value
    });
    (taken.collect(), problems)
}

/// Writes the answer for whoever waits.
pub fn answer(folder: &Path, id: &RequestId, outcomes: &BTreeMap<UnitName, Outcome>) {
    let path = folder.join(format!("{}.answer", id.0));
    let answered = Answered { version: 1, outcomes: outcomes.clone() };
    if let Err(error) = store::replace(&path, &answered) {
        tracing::error!(error = %crate::base::chain::text(&error), "cannot answer a request");
    }
}

/// The units of a request by name; all when none is named.
pub fn units(all: impl IntoIterator<Item = UnitName>, named: &[UnitName]) -> BTreeSet<UnitName> {
    if named.is_empty() { all.into_iter().collect() } else { named.iter().cloned().collect() }
}
