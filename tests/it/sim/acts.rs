//! Carries out what the core asks for, and what a killed supervisor leaves half done.

use std::collections::BTreeSet;

use ao::base::name::UnitName;
use ao::supervise::action::Action;
use ao::supervise::event::{Event, StartOutcome};
use ao::supervise::outbox::{Stage, Typed};
use ao::supervise::state::{Fleet, Sight};

use super::loops::REPORTER;
use super::{Happening, Line, MINUTE, Memory, Sim};

impl Sim {
    pub(super) fn act(&mut self, actions: Vec<Action>) {
        for action in actions {
            if let Action::Start { unit, attempt, .. } = &action
                && Self::is_member(unit)
            {
                let phase = self.fleet.phases.id.clone();
                self.loops.decided.insert((unit.clone(), *attempt), phase);
            }
            match &action {
                Action::Start { unit, .. }
                | Action::Stop { unit, .. }
                | Action::ReadWake { unit }
                | Action::Type { unit, .. } => {
                    let random = &mut self.world.random;
                    let at_once = Self::is_member(unit) || unit.as_str() == REPORTER;
                    let slow = random.one_in(60) && !at_once;
                    let lasts = if slow { 40_000 } else { random.within(50, 4_000) };
                    let from = self.busy_until.get(unit).copied().unwrap_or(0);
                    let at = from.max(self.world.mono) + lasts;
                    self.busy_until.insert(unit.clone(), at);
                    self.push(at, Happening::Perform(self.epoch, action));
                }
                Action::Look => {
                    self.push(self.world.mono + 10, Happening::LookNow(self.epoch));
                }
                Action::Sequence { step } => self.put_down(step),
                Action::Report(_) | Action::SaveHandoff | Action::SaveLimit { .. } => {}
                Action::SaveWanted => self.save_wanted(),
                Action::Answer { id, .. } => {
                    let asked = self.pending.remove(id);
                    self.ensure(asked.is_some(), || format!("{} answered twice", id.0));
                }
            }
        }
    }

    /// The supervisor is killed before it acted; another takes over from what was stored.
    pub(super) fn killed(&mut self, before: Fleet, memory: Memory, actions: &[Action]) {
        let saves = actions.contains(&Action::SaveWanted);
        self.log(Line::Words("the supervisor is killed".to_owned()));
        self.world.nothing_known();
        if saves {
            self.save_wanted();
        }
        // A request may be lost with the connection it came by; nobody is left to be told.
        let got = self.world.random.within(0, 4);
        if got < 2 {
            self.fleet = before;
            let (restarts, down) = memory;
            self.restarts = restarts;
            if !saves {
                self.down = down;
            }
        } else if got == 2 {
            // It got as far as the files.
            for action in actions {
                if let Action::Sequence { step } = action {
                    self.put_down(step);
                }
            }
        }
        let text = serde_json::to_string(&self.fleet).expect("plain data");
        let mut fleet: Fleet = serde_json::from_str(&text).expect("own text");
        self.ensure(fleet == self.fleet, || "the fleet changed on disk".to_owned());
        fleet.sight = Sight::Never;
        self.fleet = fleet;
        let owed: BTreeSet<_> = self.fleet.owed.iter().map(|debt| debt.request.clone()).collect();
        self.pending.retain(|id, _| owed.contains(id));
        self.epoch += 1;
        let mut first = BTreeSet::new();
        let waiting: Vec<Happening> = self.happenings.values().cloned().collect();
        for happening in waiting {
            if let Happening::Perform(_, Action::Start { unit, attempt, .. }) = &happening
                && first.insert(unit.clone())
                && self.world.random.one_in(2)
            {
                self.lose_start(unit, *attempt);
            }
            if let Happening::Perform(_, Action::Stop { unit, .. }) = &happening
                && first.insert(unit.clone())
                && self.world.random.one_in(2)
            {
                let _outcome_lost = self.world.stop(unit);
            }
        }
        self.recover_messages();
        self.busy_until.clear();
        self.push(self.world.mono + MINUTE, Happening::Signal(self.epoch));
        self.tick_at = u64::MAX;
        self.look_at = u64::MAX;
        self.misled_until = self.world.mono + 2 * MINUTE;
        self.configure();
        self.read_files();
        self.look();
        if self.world.random.one_in(2) {
            self.signal();
        }
    }

    /// Its session was opened, but nobody heard of it.
    pub(super) fn lose_start(&mut self, unit: &UnitName, attempt: u64) {
        if let StartOutcome::Opened { pid, .. } = self.world.start(unit) {
            self.opened(unit, attempt, pid);
        }
    }

    /// What was written down tells what became of the messages under way.
    pub(super) fn recover_messages(&mut self) {
        let mut found = Vec::new();
        for unit in self.fleet.units.values_mut() {
            for message in &mut unit.outbox {
                message.request = None;
                if message.stage != Stage::Queued {
                    found.push((unit.spec.name.clone(), message.id));
                }
            }
        }
        for (unit, message) in found {
            let held = Typed::Held { why: "it was not typed".to_owned() };
            let outcome = self.typed.get(&message).cloned().unwrap_or(held);
            self.deliver(Event::Typed { unit, message, outcome });
        }
    }

    pub(super) fn perform(&mut self, action: Action) {
        match action {
            Action::Start { unit, attempt, .. } => {
                let outcome = self.world.start(&unit);
                if self.world.crashes_until.get(&unit).is_some_and(|at| *at > self.world.mono)
                    && let Some(process) = self.world.process(&unit)
                {
                    let pid = process.pid;
                    let at = self.world.mono + self.world.random.within(500, 20_000);
                    self.push(at, Happening::Crash(unit.clone(), pid));
                }
                if let StartOutcome::Opened { pid, .. } = outcome {
                    self.opened(&unit, attempt, pid);
                }
                if self.fleet.units.get(&unit).is_some_and(|known| known.attempt != attempt) {
                    // So slow that it was given up: the next attempt finds its session.
                    self.misled_until = self.world.mono + MINUTE;
                }
                self.tell(Event::Started { unit, attempt, outcome });
            }
            Action::Stop { unit, attempt, .. } => {
                let outcome = self.world.stop(&unit);
                self.tell(Event::Stopped { unit, attempt, outcome });
            }
            Action::Type { unit, message, past_banner, text, .. } => {
                let twice = self.typed.get(&message).cloned();
                self.ensure(twice.is_none(), || format!("message {} is typed twice", message.0));
                let outcome = self.world.type_to(&unit, past_banner);
                if !matches!(outcome, Typed::Held { .. } | Typed::NotDelivered { .. }) {
                    self.typed.insert(message, outcome.clone());
                    self.reached(&unit, &text);
                    if let Some(window) = self.probes.get(&message).cloned() {
                        let first = self.probed.insert(window.clone());
                        self.ensure(first, || format!("{unit}: two probes of one window"));
                    }
                }
                self.tell(Event::Typed { unit, message, outcome });
            }
            Action::ReadWake { unit } => {
                self.tell(Event::WakeText { unit, text: Ok("look around".to_owned()) });
            }
            Action::Look
            | Action::Report(_)
            | Action::SaveLimit { .. }
            | Action::Sequence { .. }
            | Action::SaveHandoff
            | Action::SaveWanted
            | Action::Answer { .. } => {
                unreachable!("only starts, stops and typing take time")
            }
        }
    }
}
