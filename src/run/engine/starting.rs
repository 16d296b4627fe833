//! Carries starts out: prepares the launch, opens the session, and tells the pids of what was opened.

use regex::RegexBuilder;

use super::Engine;
use crate::backend::resume::{self, ResumeOutcome};
use crate::backend::{Backend, ResumePlan};
use crate::base::name::{PaneId, UnitName};
use crate::base::now::Now;
use crate::run::governance::kill;
use crate::run::prepare::{self, Circumstances};
use crate::run::units::{self, Member, Tag};
use crate::screen::capture::Screen;
use crate::supervise::action::What;
use crate::supervise::event::{Event, StartOutcome};
use crate::sys::process;
use crate::sys::tmux::{SessionSpec, TmuxError};

/// Sessions that are opened together: the server forks one after the other, and looks at all its panes
/// only now and then.
const OPEN_AT_ONCE: usize = 32;

/// One session to open.
pub(super) struct Opening {
    pub unit: UnitName,
    pub attempt: u64,
    pub fresh: bool,
    pub fallback: bool,
}

impl Opening {
    fn failed(&self, outcome: StartOutcome) -> Event {
        Event::Started { unit: self.unit.clone(), attempt: self.attempt, outcome }
    }
}

fn not_opened(error: &TmuxError) -> StartOutcome {
    let why = crate::base::chain::text(error);
    match error {
        TmuxError::Missing { .. } | TmuxError::TooOld { .. } => StartOutcome::Refused { why },
        TmuxError::Refused { .. } | TmuxError::Unreachable { .. } | TmuxError::Io { .. } => {
            StartOutcome::Failed { why }
        }
    }
}

impl Engine {
    pub(super) fn start_all(&mut self, starts: &[Opening], now: Now) -> Vec<Event> {
        let mut events = Vec::new();
        let mut opened: Vec<(UnitName, u64, PaneId)> = Vec::new();
        // Each logged pane costs the server two files; at its limit it hangs every client.
        if let Some(world) = &self.world {
            process::raise_open_files_of(world.server.pid);
        }
        for some in starts.chunks(OPEN_AT_ONCE) {
            let mut prepared = Vec::new();
            for opening in some {
                match self.prepare(opening, now) {
                    Ok(spec) => prepared.push((opening, spec)),
                    Err(outcome) => events.push(opening.failed(outcome)),
                }
            }
            let (openings, specs): (Vec<&Opening>, Vec<SessionSpec>) = prepared.into_iter().unzip();
            for (opening, result) in openings.into_iter().zip(self.tmux.open_all(&specs)) {
                match result {
                    Ok(pane) => opened.push((opening.unit.clone(), opening.attempt, pane)),
                    Err(error) => events.push(opening.failed(not_opened(&error))),
                }
            }
        }
        if opened.is_empty() {
            return events;
        }
        // One look tells the pids of all that were opened.
        let looked = self.look_event(false);
        for (unit, attempt, pane) in opened {
            let found = self.world.as_ref().and_then(|world| world.pane(&pane));
            let outcome = match found {
                Some(facts) => StartOutcome::Opened { pane, pid: facts.pid },
                None => StartOutcome::Failed { why: "its session vanished at once".to_owned() },
            };
            events.push(Event::Started { unit, attempt, outcome });
        }
        events.push(looked);
        events
    }

    /// A kill switch holds against the watchdog too. One that cannot be read is tried again later.
    fn refuse_killed(&self, unit: &UnitName) -> Result<(), StartOutcome> {
        match kill::in_force(&self.handle, unit) {
            Ok(None) => Ok(()),
            Ok(Some(kill)) => {
                let why = format!("killed by {}: {}", kill.by, kill.why);
                Err(StartOutcome::Refused { why })
            }
            Err(error) => {
                let why = crate::base::chain::text(&error);
                let why = format!("whether it was killed cannot be read: {why}");
                Err(StartOutcome::Failed { why })
            }
        }
    }

    /// Writes down how it is started; the session is still to be opened.
    fn prepare(&mut self, opening: &Opening, now: Now) -> Result<SessionSpec, StartOutcome> {
        let Opening { unit, attempt, fresh, fallback } = opening;
        let refused = |why: String| StartOutcome::Refused { why };
        let fresh = *fresh || self.resume_was_refused(unit);
        let Some(member) = units::member(&self.config, unit) else {
            return Err(refused("it is not in the config any more".to_owned()));
        };
        let session = match member {
            Member::Agent(agent) => {
                self.refuse_killed(unit)?;
                agent.session.clone()
            }
            Member::Service(service) => service.session.clone(),
        };
        // A damaged record is told of here; what is prepared goes without it.
        drop(self.launch(&session));
        let Some(member) = units::member(&self.config, unit) else {
            return Err(refused("it is not in the config any more".to_owned()));
        };
        let with = Circumstances {
            config: &self.config,
            store: &self.store,
            project: &self.project,
            ao: &self.ao,
            environment: &self.environment,
            overrides: &self.overrides,
            phase: self.phase(),
            attempt: *attempt,
            fresh,
            fallback: *fallback,
            start_id: uuid::Uuid::new_v4().to_string(),
            now,
        };
        let prepared = prepare::prepare(&member, &with)
            .map_err(|error| refused(crate::base::chain::text(&error)))?;
        for note in &prepared.notes {
            self.report(Some(unit.clone()), What::Starting, note, false);
        }
        self.close_remains(unit, &prepared.spec);
        self.store
            .save_launch(&session, &prepared.record)
            .map_err(|error| StartOutcome::Failed { why: crate::base::chain::text(&error) })?;
        self.captured.remove(unit);
        Ok(prepared.spec)
    }

    /// The last words of a start that was to resume say that its conversation is not to be had.
    fn resume_was_refused(&mut self, unit: &UnitName) -> bool {
        let Some(agent) = self.config.agent(unit.as_str()).cloned() else { return false };
        let backend = Backend::by_name(&self.config, &agent.backend);
        let Some(pattern) = backend.resume_failed_re else { return false };
        let record = self.launch(&agent.session);
        if !record.is_some_and(|record| record.resumed) {
            return false;
        }
        let stored = std::fs::read_to_string(self.store.conversation_id(unit)).unwrap_or_default();
        let plan = ResumePlan::Resume { id: stored.trim().to_owned() };
        let Some(pane) = self.panes_of(unit).into_iter().find(|pane| pane.dead) else {
            return false;
        };
        let Ok(captures) = self.tmux.capture(&[pane.pane]) else { return false };
        let refused = RegexBuilder::new(&pattern).multi_line(true).build().is_ok_and(|regex| {
            captures.iter().any(|capture| regex.is_match(&Screen::parse(&capture.text).text()))
        });
        let outcome = ResumeOutcome { exited_after: None, refused };
        let Some(note) = resume::fallback(&plan, outcome) else { return false };
        self.log_unit(unit, What::Starting, &note);
        true
    }

    /// The dead pane of the last attempt goes before the next one comes.
    pub(super) fn close_remains(&mut self, unit: &UnitName, spec: &SessionSpec) {
        let remains = self.world.as_ref().is_some_and(|world| {
            world.panes.iter().any(|pane| {
                pane.session == spec.session.as_str()
                    && pane.dead
                    && Tag::parse(&pane.tag)
                        .is_some_and(|tag| tag.project == self.project && tag.unit == unit.as_str())
            })
        });
        if remains && let Err(error) = self.tmux.close(&spec.session) {
            tracing::warn!(%unit, %error, "cannot close the dead session");
        }
    }
}
