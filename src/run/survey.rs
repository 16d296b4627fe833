//! What is true now, for verbs that only show: the stored fleet brought up to date by one look.

use super::project::Project;
use super::sight;
use super::transcripts;
use super::units;
use crate::base::now::Now;
use crate::report::status::{self, Found, Status};
use crate::supervise::decide::decide;
use crate::supervise::event::Event;
use crate::supervise::state::{Fleet, ServerId};
use crate::sys::tmux::{Look, Tmux as _};
use crate::sys::{clock, process, tmux};

/// The fleet as it is, and what the snapshot said of itself.
#[derive(Debug)]
pub struct Survey {
    pub fleet: Fleet,
    pub found: Found,
    pub now: Now,
}

/// Looks once, changes nothing.
pub fn survey(project: &Project) -> Survey {
    let now = clock::now();
    let loaded = peek_snapshot(project);
    let watchdog_pid = project.watchdog();
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
    let event = look(project, &fleet);
    observe(&mut fleet, &event, now);
    Survey {
        fleet,
        found: Found {
            socket: project.socket.display().to_string(),
            watchdog_pid,
            watchdog_since: since.filter(|_| watchdog_pid.is_some()),
            snapshot_age_s: found_age,
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

/// The whole status document.
pub fn status(project: &Project) -> Status {
    let survey = survey(project);
    let mut status = status::status(&survey.fleet, &project.config, &survey.found, survey.now);
    if let Some(summary) = transcripts::read_summary(&project.store) {
        let today = survey.now.wall.with_timezone(&clock::zone()).date_naive();
        status::add_usage(&mut status, &summary, today);
    }
    status
}

/// Reads without setting anything aside: showing must not change files.
fn peek_snapshot(project: &Project) -> Option<super::store::Snapshot> {
    let text = std::fs::read_to_string(project.store.state().join("supervisor.json")).ok()?;
    let snapshot: super::store::Snapshot = serde_json::from_str(&text).ok()?;
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
