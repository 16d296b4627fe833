//! Looks at tmux and reads the screens that may have changed.
//!
//! One round trip tells of every pane; another captures only those that printed something.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::Engine;
use crate::backend::Backend;
use crate::base::name::{PaneId, UnitName};
use crate::base::now::Mono;
use crate::run::sight;
use crate::run::units::Tag;
use crate::screen::capture::Screen;
use crate::screen::detect::{Detector, PaneHints};
use crate::screen::marker::{self, MarkerBounds};
use crate::screen::{PaneState, Reading};
use crate::supervise::event::Event;
use crate::supervise::outbox::Stage;
use crate::supervise::state::{Life, ServerId, UnitKind};
use crate::supervise::{pacing, stall};
use crate::sys::tmux::{Look, PaneFacts, TmuxError, World};
use crate::sys::{clock, pressure, process};

/// How often the server is woken for the exit status of a dead pane; one that it never learns is
/// shown as unexplained.
const STATUS_NUDGES_MAX: u32 = 3;

/// A screen that stood still this long is not expected to move in the next second.
const QUIET_AFTER: Duration = Duration::from_secs(10);

/// What the last capture of a unit's pane was of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Captured {
    attempt: u64,
    activity: i64,
    at_wall_secs: i64,
}

impl Engine {
    /// Looks at tmux and tells the core.
    pub fn look(&mut self) {
        let event = self.look_event(false);
        self.feed(event);
    }

    /// The same, with a look at which programs run in the panes.
    pub fn look_deep(&mut self) {
        let event = self.look_event(true);
        self.feed(event);
    }

    pub(super) fn look_event(&mut self, deep: bool) -> Event {
        let begun = clock::now().mono;
        let look = self.look_with_statuses();
        self.tmux_answered = look.is_ok();
        match look {
            Ok(Look::Seen(world)) => {
                let judged = deep
                    && (stall::suspects(&self.fleet)
                        || self
                            .fleet
                            .units
                            .values()
                            .any(|unit| !unit.spec.process_names.is_empty()));
                let snapshot = judged.then(process::snapshot);
                let panes = {
                    let wall = clock::now().wall;
                    let (fleet, store) = (&self.fleet, &self.store);
                    sight::sightings(fleet, &self.project, store, &world, snapshot.as_ref(), wall)
                };
                let server = ServerId { pid: world.server.pid, started: world.server.started };
                (self.world, self.world_at) = (Some(Arc::new(world)), begun);
                Event::Looked { server, panes }
            }
            Ok(Look::NoServer { evidence }) => {
                self.world = None;
                Event::ServerGone { evidence }
            }
            Err(error) => Event::LookFailed { error: crate::base::chain::text(&error) },
        }
    }

    /// tmux may show a pane dead before it has read how its process ended; waking the server settles
    /// that. Without it a task that exited well would look like one that crashed.
    pub(super) fn look_with_statuses(&mut self) -> Result<Look, TmuxError> {
        let mut look = self.tmux.look()?;
        for _ in 0..STATUS_NUDGES_MAX {
            let Look::Seen(world) = &look else { break };
            let unexplained = world.panes.iter().any(|pane| {
                pane.dead
                    && pane.exit_status.is_none()
                    && pane.exit_signal.is_none()
                    && Tag::parse(&pane.tag).is_some_and(|tag| tag.project == self.project)
            });
            if !unexplained {
                break;
            }
            self.tmux.nudge()?;
            look = self.tmux.look()?;
        }
        Ok(look)
    }

    /// One look, then the screens that may have changed since they were last read.
    pub fn glance(&mut self) {
        self.glanced = self.fleet.newest_message;
        if self.config.starts.pressure_max_percent.is_some() {
            let pressure = pressure::read();
            if pacing::listens(&self.fleet, pressure) {
                self.feed(Event::Pressure { pressure });
            }
        }
        self.look();
        let Some(world) = self.world.clone() else { return };
        let wall = clock::now().wall.timestamp();
        let mut due: Vec<(UnitName, u64, PaneFacts)> = Vec::new();
        for (name, unit) in &self.fleet.units {
            let Life::Running { pane, .. } = &unit.life else { continue };
            if unit.spec.kind == UnitKind::Service {
                continue;
            }
            let Some(facts) = world.pane(pane) else { continue };
            // tmux tells activity by the second: one in the second of the capture may be newer than it.
            let seen = self.captured.get(name).is_some_and(|captured| {
                captured.attempt == unit.attempt
                    && captured.activity == facts.activity
                    && captured.at_wall_secs > facts.activity
            });
            let doubtful = unit
                .reading
                .as_ref()
                .is_some_and(|known| known.state == PaneState::Fatal && known.looks < 10);
            if !seen || doubtful {
                due.push((name.clone(), unit.attempt, facts.clone()));
            }
        }
        let panes: Vec<PaneId> = due.iter().map(|(_, _, facts)| facts.pane.clone()).collect();
        let captures = if panes.is_empty() { Ok(Vec::new()) } else { self.tmux.capture(&panes) };
        let captures = captures.unwrap_or_default();
        let captures: BTreeMap<&PaneId, &str> =
            captures.iter().map(|capture| (&capture.pane, capture.text.as_str())).collect();
        self.at_once(|engine| {
            let (mut read, mut missed) = (BTreeSet::new(), BTreeSet::new());
            for (name, attempt, facts) in due {
                let Some(text) = captures.get(&facts.pane) else {
                    missed.insert(name);
                    continue;
                };
                let seen = Captured { attempt, activity: facts.activity, at_wall_secs: wall };
                engine.captured.insert(name.clone(), seen);
                let Some(mut reading) = engine.read_text(&name, text, &facts) else { continue };
                engine.answer_dialog(&name, attempt, text, &facts, &mut reading);
                engine.saw(&name, attempt, reading);
                read.insert(name);
            }
            engine.tell_all(&read, &missed);
        });
    }

    /// Whether a message waits since screens were read last: its agent may have become idle meanwhile.
    pub fn is_behind(&self) -> bool {
        let units = self.fleet.units.values().filter(|unit| unit.is_running());
        units.flat_map(|unit| &unit.outbox).any(|message| {
            message.id > self.glanced
                && message.stage == Stage::Queued
                && message.retry_at.is_none()
        })
    }

    /// Nothing works, starts, waits to be typed or moved its screen lately.
    pub fn is_quiet(&self, now: Mono) -> bool {
        let running = self
            .fleet
            .units
            .values()
            .filter(|unit| unit.is_running() && unit.spec.kind != UnitKind::Service);
        running.into_iter().all(|unit| {
            unit.outbox.is_empty()
                && unit.reading.as_ref().is_some_and(|known| {
                    now.since(known.active_at) >= QUIET_AFTER
                        && match known.state {
                            PaneState::Working | PaneState::Starting | PaneState::Fatal => false,
                            PaneState::Idle
                            | PaneState::Waiting
                            | PaneState::Limited
                            | PaneState::Overloaded
                            | PaneState::Dead
                            | PaneState::Done
                            | PaneState::Unknown => true,
                        }
                })
        })
    }

    /// Captures and reads one pane now.
    pub fn read_pane(&mut self, unit: &UnitName, pane: &PaneFacts) -> Option<Reading> {
        let captures = self.tmux.capture(std::slice::from_ref(&pane.pane)).ok()?;
        let capture = captures.into_iter().next()?;
        self.read_text(unit, &capture.text, pane)
    }

    /// What a screen of this agent says.
    pub fn read_text(&mut self, unit: &UnitName, text: &str, pane: &PaneFacts) -> Option<Reading> {
        let agent = self.agent_in_force(unit)?;
        let detector = self.detector(&agent.backend)?;
        let hints =
            PaneHints { dead: pane.dead, exit_status: pane.exit_status, title: &pane.title };
        let screen = Screen::parse(text);
        let mut reading = detector.read(&screen, &hints);
        let watchdog = &self.config.watchdog;
        let bounds =
            MarkerBounds { stall_grace: watchdog.stall_grace, max_wait: watchdog.max_wait };
        reading.marker = marker::read(&screen, self.zone, bounds, clock::now().wall);
        Some(reading)
    }

    /// What reads the screens of this backend, compiled once. `None`: its rules do not compile.
    pub(super) fn detector(&mut self, backend: &str) -> Option<Arc<Detector>> {
        if let Some(detector) = self.detectors.get(backend) {
            return Some(Arc::clone(detector));
        }
        let detector = Detector::of(&Backend::by_name(&self.config, backend)).ok().map(Arc::new)?;
        self.detectors.insert(backend.to_owned(), Arc::clone(&detector));
        Some(detector)
    }

    /// The live pane of a unit, after a look.
    pub fn pane_facts(&self, unit: &UnitName) -> Option<PaneFacts> {
        let Life::Running { pane, .. } = &self.fleet.units.get(unit)?.life else { return None };
        self.world.as_ref()?.pane(pane).cloned()
    }

    /// Whether the newest look told how things are, if only that no server runs.
    pub fn tmux_answered(&self) -> bool {
        self.tmux_answered
    }

    pub fn world(&self) -> Option<&World> {
        self.world.as_deref()
    }

    /// The pids whose end is to be watched.
    pub fn pids(&self) -> BTreeSet<u32> {
        let lives = self.fleet.units.values().map(|unit| &unit.life);
        lives
            .filter_map(|life| match life {
                Life::Running { pid, .. } => Some(*pid),
                Life::NotStarted
                | Life::Starting { .. }
                | Life::Stopping { .. }
                | Life::Dead { .. }
                | Life::Failed { .. }
                | Life::Done { .. } => None,
            })
            .collect()
    }
}
