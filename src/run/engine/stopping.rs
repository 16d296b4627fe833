//! Carries stops out: processes are ended beside the loop, their outcomes come back by channel.

use std::sync::Arc;
use std::time::Duration;

use super::Engine;
use crate::backend::Backend;
use crate::base::name::{SessionName, UnitName};
use crate::run::governance::bounds;
use crate::run::units::Tag;
use crate::screen::{Composer, PaneState};
use crate::supervise::event::{Event, StopOutcome};
use crate::supervise::state::Life;
use crate::sys::clock;
use crate::sys::process::{self, Ending};
use crate::sys::tmux::{Look, PaneFacts};

/// What a CLI gets to leave by its own quit keys before it is signalled.
const QUIT_KEYS_GRACE: Duration = Duration::from_secs(2);

impl Engine {
    /// Ends process trees beside the loop; outcomes come back through [`Engine::outcomes`].
    pub(super) fn stop_all(&mut self, stops: &[(UnitName, u64)]) {
        let begun = clock::now().mono;
        if let Ok(Look::Seen(world)) = self.tmux.look() {
            (self.world, self.world_at) = (Some(Arc::new(world)), begun);
        }
        let mut jobs = Vec::new();
        let mut quit = false;
        for (unit, attempt) in stops {
            let panes = self.panes_of(unit);
            quit |= self.ask_to_quit(unit, &panes);
            let roots: Vec<u32> =
                panes.iter().filter(|pane| !pane.dead).map(|pane| pane.pid).collect();
            let start_ids: Vec<String> = panes
                .iter()
                .filter_map(|pane| Tag::parse(&pane.tag))
                .map(|tag| tag.start_id.to_owned())
                .collect();
            jobs.push((unit.clone(), *attempt, Ending { roots, start_ids }));
        }
        let grace = self.config.watchdog.stop_grace;
        let quit_grace = if quit { QUIT_KEYS_GRACE } else { Duration::ZERO };
        let outcomes = self.outcomes.clone();
        self.stops_under_way += jobs.len();
        let work = move || {
            let endings: Vec<Ending> = jobs.iter().map(|(_, _, ending)| ending.clone()).collect();
            let reports = process::stop_trees(&endings, quit_grace, grace);
            for ((unit, attempt, _), report) in jobs.into_iter().zip(reports) {
                let outcome = if report.survivors.is_empty() {
                    StopOutcome::Gone { cut: !report.killed.is_empty() }
                } else {
                    StopOutcome::Survived { pids: report.survivors }
                };
                // A closed channel means that nobody waits any more.
                drop(outcomes.send(Event::Stopped { unit, attempt, outcome }));
            }
        };
        std::thread::spawn(work);
    }

    pub(super) fn panes_of(&self, unit: &UnitName) -> Vec<PaneFacts> {
        let Some(world) = &self.world else { return Vec::new() };
        let ours = |pane: &&PaneFacts| {
            Tag::parse(&pane.tag)
                .is_some_and(|tag| tag.project == self.project && tag.unit == unit.as_str())
        };
        world.panes.iter().filter(ours).cloned().collect()
    }

    /// Quit keys go only to a CLI that is proven idle with an empty input box.
    pub(super) fn ask_to_quit(&mut self, unit: &UnitName, panes: &[PaneFacts]) -> bool {
        let Some(agent) = self.agent_in_force(unit) else { return false };
        let backend = Backend::by_name(&self.config, &agent.backend);
        let Some(pane) = panes.iter().find(|pane| !pane.dead) else { return false };
        if backend.quit_keys.is_empty() {
            return false;
        }
        let reading = self.read_pane(unit, pane);
        let idle = reading.is_some_and(|reading| {
            reading.state == PaneState::Idle && reading.composer == Composer::Empty
        });
        idle && self.tmux.keys(&pane.pane, &backend.quit_keys).is_ok()
    }

    /// Waits for outcomes of stops until none is under way or the time is over.
    pub fn settle(&mut self, limit: Duration) {
        let end = clock::now().mono.plus(limit);
        while self.stops_under_way > 0 {
            let left = end.since(clock::now().mono);
            match self.pending.recv_timeout(left) {
                Ok(event) => self.outcomes_from(Some(event)),
                Err(_) => return,
            }
        }
    }

    /// Feeds every outcome that is there already.
    pub fn take_outcomes(&mut self) {
        self.outcomes_from(None);
    }

    fn outcomes_from(&mut self, first: Option<Event>) {
        let mut come: Vec<Event> = first.into_iter().chain(self.pending.try_iter()).collect();
        if come.is_empty() {
            return;
        }
        self.at_once(|engine| {
            while !come.is_empty() {
                engine.close_sessions(&come);
                for event in come {
                    engine.outcome(event);
                }
                come = engine.pending.try_iter().collect();
            }
            engine.save_owed |= engine.unsaved;
        });
    }

    /// Whether something was begun beside the loop whose outcome is still to come.
    pub fn work_under_way(&self) -> bool {
        self.stops_under_way > 0 || self.typing_under_way > 0
    }

    fn outcome(&mut self, event: Event) {
        if matches!(event, Event::Typed { .. }) {
            self.typing_under_way = self.typing_under_way.saturating_sub(1);
        } else {
            self.stops_under_way = self.stops_under_way.saturating_sub(1);
        }
        let gone = matches!(&event, Event::Stopped { outcome: StopOutcome::Gone { .. }, .. });
        let stopped = if let (Event::Stopped { unit, .. }, true) = (&event, gone) {
            Some(unit.clone())
        } else {
            None
        };
        self.feed(event);
        if let Some(unit) = stopped {
            self.record_stop(&unit);
            self.unlisten(&unit);
        }
    }

    /// The watchdog's own acts on governed agents are on record too.
    fn record_stop(&self, unit: &UnitName) {
        let agent = self.config.agent(unit.as_str()).filter(|agent| agent.bounds.governed);
        let Some(agent) = agent else { return };
        if let Err(error) = bounds::end(&self.config, &self.store, agent, clock::now()) {
            let error = crate::base::chain::text(&error);
            tracing::error!(%unit, %error, "its stop is not in the audit log");
        }
    }

    /// Where the processes are gone, the session that held them goes too, if it is ours.
    fn close_sessions(&mut self, come: &[Event]) {
        let gone = come.iter().filter_map(|event| {
            let Event::Stopped { unit, attempt, outcome: StopOutcome::Gone { .. } } = event else {
                return None;
            };
            // A late outcome of an older attempt must not close the session of the one that runs now.
            let found = self.fleet.units.get(unit).filter(|found| {
                found.attempt == *attempt && matches!(found.life, Life::Stopping { .. })
            })?;
            (!self.panes_of(unit).is_empty()).then(|| found.spec.session.clone())
        });
        let sessions: Vec<SessionName> = gone.collect();
        for (session, closed) in sessions.iter().zip(self.tmux.close_all(&sessions)) {
            if let Err(error) = closed {
                tracing::warn!(%session, %error, "cannot close it");
            }
        }
    }
}
