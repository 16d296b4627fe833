//! A tmux world in memory, for simulations of the loops.
//!
//! Does what the port promises and nothing else: no terminal is simulated, a test says what a pane
//! shows. Faults are queued and strike one call each. Clones share one world, so a test keeps one
//! while the loop owns the other.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Capture, Look, PaneFacts, ServerId, SessionSpec, Tmux, TmuxError, Typed, World};
use crate::base::name::{PaneId, SessionName};

/// What goes wrong with the next call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Fails as unreachable, nothing is done.
    Unreachable,
    /// Fails as unreachable after it was done.
    LostAnswer,
    /// A capture shows what the one before showed; other calls are not harmed.
    LateCapture,
}

/// What was done to the world, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    Opened { session: SessionName, pane: PaneId },
    Closed { session: String },
    Pasted { pane: PaneId, text: String },
    Keyed { pane: PaneId, keys: Vec<String> },
    Piped { pane: PaneId },
}

/// A shared fake server.
#[derive(Debug, Clone, Default)]
pub struct FakeTmux {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    server: Option<ServerId>,
    started: u32,
    panes: BTreeMap<u32, FakePane>,
    next_pane: u32,
    deeds: Vec<Deed>,
    faults: VecDeque<Fault>,
    folders_missing: BTreeSet<String>,
}

#[derive(Debug)]
struct FakePane {
    facts: PaneFacts,
    spec: SessionSpec,
    screen: String,
    screen_before: String,
}

impl State {
    fn pane(&mut self, id: &PaneId) -> Option<&mut FakePane> {
        self.panes.get_mut(&number(id)?)
    }

    fn reach(&mut self) -> Result<(), TmuxError> {
        if self.faults.front() == Some(&Fault::Unreachable) {
            self.faults.pop_front();
            return Err(unreachable());
        }
        Ok(())
    }

    fn answer<T>(&mut self, value: T) -> Result<T, TmuxError> {
        if self.faults.front() == Some(&Fault::LostAnswer) {
            self.faults.pop_front();
            return Err(unreachable());
        }
        Ok(value)
    }

    fn verdict(&mut self, pane: &PaneId) -> Typed {
        match self.pane(pane) {
            None => Typed::Gone,
            Some(pane) if pane.facts.dead => Typed::PaneDead,
            Some(pane) if pane.facts.in_mode => Typed::InMode,
            Some(_) => Typed::Done,
        }
    }
}

fn number(id: &PaneId) -> Option<u32> {
    id.as_str().strip_prefix('%')?.parse().ok()
}

fn unreachable() -> TmuxError {
    TmuxError::Unreachable { message: "injected fault".to_owned() }
}

impl FakeTmux {
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Strikes the next call, after the faults queued before.
    pub fn inject(&self, fault: Fault) {
        self.state().faults.push_back(fault);
    }

    pub fn clear_faults(&self) {
        self.state().faults.clear();
    }

    /// What was done since this was last asked.
    pub fn take_deeds(&self) -> Vec<Deed> {
        std::mem::take(&mut self.state().deeds)
    }

    /// Changes what a look says of the pane; says whether it exists.
    pub fn change(&self, pane: &PaneId, change: impl FnOnce(&mut PaneFacts)) -> bool {
        self.state().pane(pane).map(|pane| change(&mut pane.facts)).is_some()
    }

    /// The pane shows this from now on, with output at `activity` (epoch seconds).
    pub fn show(&self, pane: &PaneId, screen: &str, activity: i64) -> bool {
        let show = |pane: &mut FakePane| {
            pane.screen_before = std::mem::replace(&mut pane.screen, screen.to_owned());
            pane.facts.activity = activity;
        };
        self.state().pane(pane).map(show).is_some()
    }

    /// The pane's process ends; the pane stays, dead.
    pub fn end(&self, pane: &PaneId, status: Option<i32>, signal: Option<i32>) -> bool {
        self.change(pane, |facts| {
            facts.dead = true;
            (facts.exit_status, facts.exit_signal) = (status, signal);
        })
    }

    /// The whole server vanishes with all that ran in it.
    pub fn kill_server(&self) {
        let mut state = self.state();
        state.server = None;
        state.panes.clear();
    }

    /// Sessions opened in this folder end at once with status 78, as a real one does.
    pub fn lose_folder(&self, folder: &Path) {
        self.state().folders_missing.insert(folder.display().to_string());
    }

    /// What the pane was opened with.
    pub fn spec(&self, pane: &PaneId) -> Option<SessionSpec> {
        self.state().pane(pane).map(|pane| pane.spec.clone())
    }

    /// The pane of the session, if there is one.
    pub fn pane_of(&self, session: &str) -> Option<PaneId> {
        let state = self.state();
        let mut panes = state.panes.values();
        panes.find(|pane| pane.facts.session == session).map(|pane| pane.facts.pane.clone())
    }
}

impl Tmux for FakeTmux {
    fn look(&mut self) -> Result<Look, TmuxError> {
        let mut state = self.state();
        state.reach()?;
        let look = match state.server {
            None => Look::NoServer { evidence: "the fake server does not run".to_owned() },
            Some(server) => Look::Seen(World::new(
                server,
                state.panes.values().map(|pane| pane.facts.clone()).collect(),
            )),
        };
        state.answer(look)
    }

    fn open(&mut self, spec: &SessionSpec) -> Result<PaneId, TmuxError> {
        let mut state = self.state();
        state.reach()?;
        if state.panes.values().any(|pane| pane.facts.session == spec.session.as_str()) {
            return Err(TmuxError::Refused {
                command: "new-session".to_owned(),
                message: format!("duplicate session: {}", spec.session),
            });
        }
        if state.server.is_none() {
            state.started += 1;
            let server = ServerId { pid: 1_000 + state.started, started: i64::from(state.started) };
            state.server = Some(server);
            // A new server counts its panes from the start.
            state.next_pane = 0;
        }
        let number = state.next_pane;
        state.next_pane += 1;
        let pane = PaneId::new(format!("%{number}"));
        let lost = state.folders_missing.contains(&spec.dir.display().to_string());
        let facts = PaneFacts {
            session: spec.session.to_string(),
            pane: pane.clone(),
            pid: 100_000 * state.started + number + 1,
            command: spec.argv.first().cloned().unwrap_or_default(),
            dead: lost,
            exit_status: lost.then_some(78),
            exit_signal: None,
            activity: 0,
            history_size: 0,
            alternate_screen: false,
            in_mode: false,
            piped: spec.log.is_some(),
            attached: 0,
            person_at: 0,
            tag: spec.tag.clone(),
            width: spec.width,
            height: spec.height,
            title: String::new(),
        };
        let fake = FakePane {
            facts,
            spec: spec.clone(),
            screen: String::new(),
            screen_before: String::new(),
        };
        state.panes.insert(number, fake);
        state.deeds.push(Deed::Opened { session: spec.session.clone(), pane: pane.clone() });
        state.answer(pane)
    }

    fn close(&mut self, session: &SessionName) -> Result<(), TmuxError> {
        let mut state = self.state();
        state.reach()?;
        let before = state.panes.len();
        state.panes.retain(|_, pane| pane.facts.session != session.as_str());
        if state.panes.len() < before {
            state.deeds.push(Deed::Closed { session: session.to_string() });
        }
        if state.panes.is_empty() {
            // As with tmux's `exit-empty`.
            state.server = None;
        }
        state.answer(())
    }

    fn capture(&mut self, panes: &[PaneId]) -> Result<Vec<Capture>, TmuxError> {
        let mut state = self.state();
        state.reach()?;
        let late = state.faults.front() == Some(&Fault::LateCapture);
        if late {
            state.faults.pop_front();
        }
        let mut captures = Vec::new();
        for id in panes {
            if let Some(pane) = state.pane(id) {
                let text = if late { &pane.screen_before } else { &pane.screen };
                captures.push(Capture { pane: id.clone(), text: text.clone() });
            }
        }
        state.answer(captures)
    }

    fn paste(&mut self, pane: &PaneId, text: &str) -> Result<Typed, TmuxError> {
        let mut state = self.state();
        state.reach()?;
        let verdict = state.verdict(pane);
        if verdict == Typed::Done {
            state.deeds.push(Deed::Pasted { pane: pane.clone(), text: text.to_owned() });
        }
        state.answer(verdict)
    }

    fn keys(&mut self, pane: &PaneId, keys: &[String]) -> Result<Typed, TmuxError> {
        let mut state = self.state();
        state.reach()?;
        let verdict = state.verdict(pane);
        if verdict == Typed::Done {
            state.deeds.push(Deed::Keyed { pane: pane.clone(), keys: keys.to_vec() });
        }
        state.answer(verdict)
    }

    fn keys_if_shown(
        &mut self,
        pane: &PaneId,
        keys: &[String],
        text: &str,
    ) -> Result<Typed, TmuxError> {
        let hidden = |pane: &FakePane| !pane.screen.contains(text);
        if self.state().pane(pane).is_some_and(|pane| hidden(pane)) {
            return self.state().answer(Typed::Hidden);
        }
        self.keys(pane, keys)
    }

    fn pipe(&mut self, pane: &PaneId, _log: &Path) -> Result<(), TmuxError> {
        let mut state = self.state();
        state.reach()?;
        if let Some(found) = state.pane(pane) {
            found.facts.piped = true;
            state.deeds.push(Deed::Piped { pane: pane.clone() });
        }
        state.answer(())
    }

    fn terminals(&mut self) -> Result<Vec<std::path::PathBuf>, TmuxError> {
        let mut state = self.state();
        state.reach()?;
        state.answer(Vec::new())
    }

    fn nudge(&mut self) -> Result<(), TmuxError> {
        let mut state = self.state();
        state.reach()?;
        state.answer(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> SessionSpec {
        SessionSpec {
            session: SessionName::new("ao-x").unwrap(),
            dir: "/".into(),
            argv: vec!["agent".into()],
            env: BTreeMap::new(),
            tag: "tag".into(),
            width: 200,
            height: 50,
            log: None,
        }
    }

    #[test]
    fn a_lost_answer_did_the_deed_and_an_unreachable_server_did_not() {
        let mut fake = FakeTmux::new();
        let pane = fake.open(&spec()).unwrap();
        fake.take_deeds();
        fake.inject(Fault::Unreachable);
        fake.inject(Fault::LostAnswer);
        assert!(fake.paste(&pane, "one").is_err());
        assert!(fake.paste(&pane, "two").is_err());
        assert_eq!(fake.take_deeds(), [Deed::Pasted { pane, text: "two".into() }]);
    }

    #[test]
    fn a_server_that_comes_again_is_another_one_that_reuses_pane_numbers() {
        let mut fake = FakeTmux::new();
        let first = fake.open(&spec()).unwrap();
        let Ok(Look::Seen(before)) = fake.look() else { panic!("it runs") };
        fake.kill_server();
        assert!(matches!(fake.look(), Ok(Look::NoServer { .. })));
        assert_eq!(fake.open(&spec()).unwrap(), first);
        let Ok(Look::Seen(after)) = fake.look() else { panic!("it runs") };
        assert_ne!(before.server, after.server);
    }

    #[test]
    fn a_dead_pane_takes_no_text() {
        let mut fake = FakeTmux::new();
        let pane = fake.open(&spec()).unwrap();
        fake.show(&pane, "late", 1);
        fake.inject(Fault::LateCapture);
        assert_eq!(fake.capture(std::slice::from_ref(&pane)).unwrap()[0].text, "");
        assert_eq!(fake.capture(std::slice::from_ref(&pane)).unwrap()[0].text, "late");
        fake.end(&pane, Some(1), None);
        assert_eq!(fake.paste(&pane, "x").unwrap(), Typed::PaneDead);
        assert_eq!(fake.keys(&PaneId::new("%9"), &[]).unwrap(), Typed::Gone);
    }
}
