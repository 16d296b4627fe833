//! What is true now, for verbs that only show: the stored fleet brought up to date by one look.
//!
//! `status` takes the watchdog's word for it where that is seconds old; starting a tmux client was
//! half of its time. Acts are planned on a look of their own.

use chrono::{DateTime, Utc};

use super::project::Project;
use super::sight;
use super::store::{Snapshot, Store};
use super::transcripts;
use super::units;
use super::watchdog;
use crate::base::now::Now;
use crate::report::status::{self, Found, Status};
use crate::supervise::decide::decide;
use crate::supervise::event::Event;
use crate::supervise::state::{Fleet, ServerId};
use crate::sys::tmux::{Look, Tmux as _};
use crate::sys::{clock, lock, process, tmux};

/// The fleet as it is, and what the snapshot said of itself.
#[derive(Debug)]
pub struct Survey {
    pub fleet: Fleet,
    pub found: Found,
    pub now: Now,
}

/// Where the facts come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Asks tmux, whatever the watchdog knows.
    Tmux,
    /// Takes what a watchdog at work saw a moment ago, else asks tmux.
    Watchdog,
}

/// Looks once, changes nothing.
pub fn survey(project: &Project) -> Survey {
    survey_by(project, Ask::Tmux)
}

fn survey_by(project: &Project, ask: Ask) -> Survey {
    let now = clock::now();
    let watchdog_pid = project.watchdog();
    // Before the snapshot is read: what is read later can only be newer.
    let looked_at = watched_at(project, now);
    let loaded = peek_snapshot(project);
    let current = |snapshot: &Snapshot| {
        let writer = snapshot.watchdog.as_ref().map(|watchdog| watchdog.pid);
        writer.is_some() && writer == watchdog_pid && snapshot.boot == process::boot_id()
    };
    let looked_at =
        looked_at.filter(|_| ask == Ask::Watchdog && loaded.as_ref().is_some_and(current));
    let (mut fleet, found_age, ao, since, notify_problem) = match loaded {
        Some(snapshot) if snapshot.boot == process::boot_id() => (
            snapshot.fleet,
            Some(now.mono.since(snapshot.saved.mono).as_secs()),
            Some(snapshot.ao),
            snapshot.watchdog.map(|watchdog| watchdog.started),
            snapshot.notify_problem,
        ),
        Some(_) | None => (Fleet::default(), None, None, None, None),
    };
    // As the watchdog does: a lost file must not show a running fleet as unwanted.
    let wanted = project.store.wanted_peek().unwrap_or_else(|| {
        let wanted = fleet.units.values().filter(|unit| unit.wanted);
        wanted.map(|unit| unit.spec.name.clone()).collect()
    });
    let problem = fleet.config_problem.clone();
    let configured = Event::Configured {
        units: units::specs(&project.config),
        wanted,
        settings: units::settings(&project.config),
    };
    decide(&mut fleet, &configured, now);
    fleet.config_problem = problem.filter(|_| watchdog_pid.is_some());
    if looked_at.is_none() {
        let event = look(project, &fleet);
        observe(&mut fleet, &event, now);
    }
    Survey {
        fleet,
        found: Found {
            socket: project.socket.display().to_string(),
            watchdog_pid,
            watchdog_since: since.filter(|_| watchdog_pid.is_some()),
            snapshot_age_s: found_age,
            looked_at: looked_at.unwrap_or(now.wall),
            notify_problem,
            ao,
            phase_index: phase_index(project),
        },
        now,
    }
}

/// Takes the look in without planning anything: nobody here would carry a restart out, and a dead
/// unit must not be shown as one that starts.
fn observe(fleet: &mut Fleet, event: &Event, now: Now) {
    let wanted: Vec<bool> = fleet.units.values().map(|unit| unit.wanted).collect();
    fleet.units.values_mut().for_each(|unit| unit.wanted = false);
    decide(fleet, event, now);
    for (unit, wanted) in fleet.units.values_mut().zip(wanted) {
        unit.wanted = wanted;
    }
}

/// When the watchdog last saw the fleet, if that still holds.
fn watched_at(project: &Project, now: Now) -> Option<DateTime<Utc>> {
    let at = DateTime::<Utc>::from(lock::sign_of_life(&project.store.watchdog_lock())?);
    let age = (now.wall - at).to_std().ok()?;
    (age <= watchdog::LOOK_HOLDS).then_some(at)
}

/// The whole status document.
pub fn status(project: &Project, ask: Ask) -> Status {
    let survey = survey_by(project, ask);
    let mut status = status::status(&survey.fleet, &project.config, &survey.found, survey.now);
    if let Some(summary) = transcripts::read_summary(&project.store) {
        let today = survey.now.wall.with_timezone(&clock::zone()).date_naive();
        status::add_usage(&mut status, &summary, today);
    }
    status
}

/// Reads without setting anything aside: showing must not change files.
fn peek_snapshot(project: &Project) -> Option<Snapshot> {
    let text = std::fs::read_to_string(Store::snapshot_in(&project.store.state())).ok()?;
    let snapshot: Snapshot = serde_json::from_str(&text).ok()?;
    (snapshot.fleet.version == crate::supervise::state::FLEET_VERSION).then_some(snapshot)
}

fn look(project: &Project, fleet: &Fleet) -> Event {
    let known =
        fleet.server.map(|server| tmux::ServerId { pid: server.pid, started: server.started });
    let mut tmux = tmux::Commands::new(project.socket.clone(), project.store.state(), known);
    match tmux.look() {
        Ok(Look::Seen(world)) => Event::Looked {
            server: ServerId { pid: world.server.pid, started: world.server.started },
            panes: sight::sightings(
                fleet,
                &units::project_id(&project.config),
                &project.store,
                &world,
                None,
                clock::now().wall,
            ),
        },
        Ok(Look::NoServer { evidence }) => Event::ServerGone { evidence },
        Err(error) => Event::LookFailed { error: crate::base::chain::text(&error) },
    }
}

/// Where the loop stands; 0 when nothing is written yet.
pub fn phase_index(project: &Project) -> usize {
    let Some(sequence) = &project.config.sequence else { return 0 };
    let path = project.store.state().join(&sequence.state_file);
    std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}
