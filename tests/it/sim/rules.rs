//! What must hold after every event: who may be started, stopped and typed to.

use std::collections::{BTreeMap, BTreeSet};

use ao::base::name::UnitName;
use ao::limits::window::{Phase, VERDICT};
use ao::screen::PaneState;
use ao::supervise::action::Action;
use ao::supervise::event::{Event, Request};
use ao::supervise::invariant;
use ao::supervise::outbox::{MessageId, Origin};
use ao::supervise::state::{Care, Sight};

use super::loops::REPORTER;
use super::{Before, HOUR, Sim};

impl Sim {
    pub(super) fn check(
        &mut self,
        before: &BTreeMap<UnitName, Before>,
        event: &Event,
        actions: &[Action],
    ) {
        let broken = invariant::broken(&self.fleet);
        self.ensure(broken.is_empty(), || broken.join("; "));
        self.ensure(actions.len() <= 6 * self.fleet.units.len() + 6, || "too much at once".into());
        let asked = self.note_request(event);
        let sequence = matches!(event, Event::Sequence { .. });
        for action in actions {
            if let Action::Start { unit, .. }
            | Action::Stop { unit, .. }
            | Action::Type { unit, .. } = action
            {
                let alike = self.world.neighbours.contains(unit.as_str());
                self.ensure(!alike, || format!("{unit} only looks like one of ours"));
            }
            if let Action::Report(report) = action
                && report.why.contains("was dropped")
            {
                self.dropped();
            }
            match action {
                Action::Start { unit, .. } => {
                    let moved = sequence && (Self::is_member(unit) || unit.as_str() == REPORTER);
                    self.check_start(unit, before, moved || asked.contains(unit));
                }
                Action::Type { unit, message, .. } => self.check_type(unit, *message, before),
                Action::Stop { unit, .. } => self.check_stop(unit, before, &asked),
                Action::SaveLimit { .. }
                | Action::ReadWake { .. }
                | Action::Look
                | Action::Sequence { .. }
                | Action::SaveHandoff
                | Action::Report(_)
                | Action::SaveWanted
                | Action::Answer { .. } => {}
            }
        }
        let late = self.pending.values().find(|asked| **asked + 3 * HOUR < self.world.mono);
        self.ensure(late.is_none(), || "a request waits for hours".to_owned());
    }

    /// Who is asked for; a person's wish forgives earlier restarts and ends or begins a `down`.
    pub(super) fn note_request(&mut self, event: &Event) -> BTreeSet<UnitName> {
        let Event::Requested { request, .. } = event else { return BTreeSet::new() };
        match request {
            Request::Down { units } => {
                self.down.extend(units.iter().cloned());
                units.clone()
            }
            Request::Up { units, .. } | Request::Restart { units, .. } => {
                for unit in units {
                    self.down.remove(unit);
                    self.restarts.remove(unit);
                }
                units.clone()
            }
            Request::Phase { .. } => {
                for unit in [super::loops::builder(), super::loops::adversary()] {
                    self.restarts.remove(&unit);
                }
                BTreeSet::new()
            }
            Request::Send { .. } => BTreeSet::new(),
        }
    }

    pub(super) fn check_start(
        &mut self,
        name: &UnitName,
        before: &BTreeMap<UnitName, Before>,
        asked: bool,
    ) {
        let unit = &self.fleet.units[name];
        let foreign = unit.foreign || self.world.known_foreign(name);
        self.ensure(!foreign, || format!("{name} is started though its name is taken"));
        self.ensure(!self.down.contains(name), || format!("{name} is started after `down`"));
        let second = self.world.lives(name) && self.world.is_known(name);
        self.ensure(!second, || format!("{name} is started a second time"));
        let again = name.as_str() == REPORTER;
        let person = asked || again || before.get(name).is_some_and(|unit| unit.asked);
        if person {
            return;
        }
        self.ensure(unit.healed(), || format!("{name} is started though nobody wants it"));
        let clear = self.fleet.sight == Sight::Clear;
        self.ensure(clear, || format!("{name} is started blindly"));
        if before.get(name).is_some_and(|unit| unit.limited) {
            // It died while it was limited; this start stands for its probe.
            let probed = unit
                .window
                .as_ref()
                .is_some_and(|window| matches!(window.phase, Phase::Probed { .. }) && window.dead);
            self.ensure(probed, || format!("{name} is started within its limit"));
            return;
        }
        let max = unit.spec.max_restarts as usize;
        let now = self.world.mono;
        let restarts = self.restarts.entry(name.clone()).or_default();
        restarts.retain(|at| now - at <= HOUR);
        restarts.push(now);
        let count = restarts.len();
        self.ensure(count <= max, || format!("{name}: {count} restarts in an hour, {max} allowed"));
    }

    pub(super) fn check_stop(
        &mut self,
        name: &UnitName,
        before: &BTreeMap<UnitName, Before>,
        asked: &BTreeSet<UnitName>,
    ) {
        let Some(unit) = before.get(name) else { return };
        // A stop under way is asked for again, and a start under way is taken back, whoever has the name.
        if unit.stopping {
            return;
        }
        let foreign = (unit.foreign || self.world.known_foreign(name)) && !unit.starting;
        self.ensure(!foreign, || format!("{name} is stopped though it is not ours"));
        // A move to another phase stops whoever works on it, on clear sight.
        let moved = Self::is_member(name)
            && (self.fleet.phases.moving.is_some() || self.fleet.phases.finished.is_some());
        if asked.contains(name) || moved {
            return;
        }
        self.ensure(unit.healed, || format!("{name} is stopped though it is not in our care"));
        let clear = self.fleet.sight == Sight::Clear;
        self.ensure(clear, || format!("{name} is stopped blindly"));
        let idle = self.fleet.units[name].spec.care == Care::HealStall
            && unit.state == Some(PaneState::Idle);
        let bad = self.is_bad(name) || self.bad_when_looked.contains(name);
        let evidence = bad || idle || self.world.mono <= self.misled_until;
        self.ensure(evidence, || format!("{name} is stopped though it is well"));
        let waits = unit.state == Some(PaneState::Waiting);
        self.ensure(!waits, || format!("{name} is stopped though it waits for a person"));
        let limited = unit.limited && unit.state != Some(PaneState::Fatal);
        self.ensure(!limited, || format!("{name} is stopped though it is limited"));
    }

    /// What is typed goes to an agent that can read it, and one probe to a window.
    pub(super) fn check_type(
        &mut self,
        name: &UnitName,
        id: MessageId,
        before: &BTreeMap<UnitName, Before>,
    ) {
        let unit = &self.fleet.units[name];
        let state = unit.reading.as_ref().map(|known| known.state);
        let mut waiting = unit.outbox.iter();
        let origin = waiting.find(|message| message.id == id).map(|message| message.draft.origin);
        self.ensure(state != Some(PaneState::Waiting), || {
            format!("{name} is typed at in a dialog")
        });
        let probe = origin == Some(Origin::Probe);
        let limited = unit.is_limited();
        self.ensure(probe == limited, || {
            format!("{name} gets {origin:?} while limited: {limited}")
        });
        let works = state == Some(PaneState::Working);
        self.ensure(!works, || format!("{name} is typed at while it works"));
        let asked = before.get(name).is_some_and(|unit| unit.healed);
        self.ensure(!probe || asked, || format!("{name} is probed though nobody wants it"));
        if !probe {
            return;
        }
        let armed_at = unit.window.as_ref().and_then(|window| window.armed_at);
        let account = unit.spec.habits.account.clone();
        let now = self.now().wall;
        let opened = self.fleet.units.values().any(|other| {
            other.spec.habits.account == account
                && other.window.as_ref().is_some_and(|window| match window.phase {
                    Phase::Released { at, worked } => worked && Some(at) > armed_at,
                    Phase::Quiet | Phase::Probed { .. } => false,
                })
        });
        let rival = self.fleet.units.values().find(|other| {
            other.spec.name != *name
                && other.spec.habits.account == account
                && other.window.as_ref().is_some_and(|window| match window.phase {
                    Phase::Probed { at } => at <= now && now < at + VERDICT,
                    Phase::Quiet | Phase::Released { .. } => false,
                })
        });
        let alone = opened || rival.is_none();
        self.ensure(alone, || format!("{name} is probed beside another one of its account"));
        self.probes.insert(id, (name.clone(), armed_at));
    }
}
