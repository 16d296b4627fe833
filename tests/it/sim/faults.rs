//! What goes wrong, drawn from the seed: deaths, lies, lost answers, clocks, configs and people.

use std::collections::BTreeSet;

use ao::config::section::detect::Cure;
use ao::screen::PaneState;
use ao::supervise::event::{Event, Request, RequestId};
use ao::supervise::outbox::{Draft, Origin};
use ao::supervise::state::Death;

use super::world::Session;
use super::{Happening, Line, Sim};

impl Sim {
    /// One thing goes wrong, or a person does something.
    pub(crate) fn fault(&mut self) {
        let unit = self.world.any_unit();
        let kind = self.world.random.within(0, 37);
        let long = self.world.random.within(1_000, 400_000);
        self.log(Line::Words(format!("fault {kind} for {unit}, {long} ms")));
        match kind {
            0..=4 => {
                let death = match self.world.random.within(0, 5) {
                    0 => Death::Exited { status: 0 },
                    1 => Death::Exited { status: 1 },
                    2 if self.world.random.one_in(6) => Death::Exited { status: 78 },
                    3 => Death::Unexplained,
                    _ => Death::Signaled { signal: 9 },
                };
                self.end(&unit, Some(death));
            }
            5 => self.end(&unit, None),
            6 => {
                self.world.crashes_until.insert(unit.clone(), self.world.mono + 30 * long);
                self.end(&unit, Some(Death::Exited { status: 1 }));
            }
            7 | 8 => self.world.tmux_fails_until = self.world.mono + long,
            9 => {
                // What a look saw 3 s ago arrives now, after newer ones.
                let old = self.world.look();
                let when = self.world.mono + 3_000;
                self.push(when, Happening::StaleLook(old));
            }
            10 => {
                let epoch = self.epoch;
                self.loops.lost_runs += u64::from(self.world.lives(&super::loops::reporter()));
                self.world.kill_server();
                self.push(self.world.mono + long.min(3_000), Happening::LookNow(epoch));
            }
            11 => self.world.mono += 20 * long,
            12 => self.world.wall_shift -= i64::try_from(40 * long).expect("small"),
            13 => self.config_changes(&unit),
            14 => self.deliver(Event::ConfigBroken { problem: "line 3".to_owned() }),
            15 => self.mass_death(),
            16 => self.false_mass_death(),
            17 => {
                if self.world.server.is_some() && !self.world.lives(&unit) {
                    self.world.sessions.insert(unit.clone(), Session::Foreign { known: false });
                    self.world.neighbours.insert(format!("{unit}-2"));
                }
            }
            18 => {
                if matches!(self.world.sessions.get(&unit), Some(Session::Foreign { .. })) {
                    self.world.sessions.remove(&unit);
                }
            }
            19 => self.kill_next_in = Some(self.world.random.within(0, 6)),
            20 => {
                let (state, cure) = match self.world.random.within(0, 8) {
                    0 => (PaneState::Fatal, Some(Cure::Fresh)),
                    1 => (PaneState::Fatal, Some(Cure::Person)),
                    2 => (PaneState::Fatal, Some(Cure::Wait)),
                    3 => (PaneState::Waiting, None),
                    4 | 5 => (PaneState::Idle, None),
                    6 => (PaneState::Overloaded, None),
                    _ => (PaneState::Working, None),
                };
                self.world.set_state(&unit, state);
                if let Some(process) = self.world.process_mut(&unit) {
                    process.cure = cure;
                }
            }
            21 => {
                if let Some(process) = self.world.process_mut(&unit) {
                    process.wrong_program = !process.wrong_program;
                }
            }
            25 | 26 => self.world.limit(&unit),
            27 => {
                // The account is used up: all at once.
                for unit in self.world.sessions.keys().cloned().collect::<Vec<_>>() {
                    if !self.world.random.one_in(3) {
                        self.world.limit(&unit);
                    }
                }
            }
            28 | 29 => self.world.set_state(&unit, PaneState::Idle),
            30 => self.send(&unit),
            31..=35 => self.loop_fault(long),
            _ => self.person(),
        }
        if kind != 10 && !self.world.random.one_in(4) {
            let epoch = self.epoch;
            self.push(self.world.mono + 20, Happening::LookNow(epoch));
        }
    }

    fn config_changes(&mut self, unit: &ao::base::name::UnitName) {
        let index = self.world.specs.iter().position(|spec| spec.name == *unit).expect("any_unit");
        let is_free = !Self::is_member(unit);
        match self.world.random.within(0, 4) {
            0 if self.world.specs.len() > 5 && is_free => {
                self.removed.push(self.world.specs.remove(index));
            }
            1 if !self.removed.is_empty() => self.world.specs.push(self.removed.remove(0)),
            2 if is_free => self.world.specs[index].enabled = !self.world.specs[index].enabled,
            _ => self.world.specs[index].launch_digest += 1,
        }
        self.configure();
    }

    fn mass_death(&mut self) {
        for unit in self.world.sessions.keys().cloned().collect::<Vec<_>>() {
            if !self.world.random.one_in(8) {
                self.end(&unit, Some(Death::Signaled { signal: 9 }));
            }
        }
    }

    /// One look misses everybody although all live.
    fn false_mass_death(&mut self) {
        let Some(server) = self.world.server else { return };
        let running: Vec<_> =
            self.fleet.units.iter().filter(|(_, unit)| unit.is_running()).collect();
        let all_live = running.iter().all(|(name, _)| self.world.lives(name));
        if running.len() < 5 || !all_live || self.fleet.server != Some(server) {
            return;
        }
        if self.fleet.brake.is_none() {
            self.deliver(Event::Looked { server, panes: Vec::new() });
        }
    }

    fn send(&mut self, unit: &ao::base::name::UnitName) {
        let draft = Draft {
            text: format!("message {}", self.requests),
            origin: Origin::Handoff,
            key: None,
            expires_at: None,
            busy_input: false,
            command: false,
        };
        self.ask(Request::Send { unit: unit.clone(), draft, wait: false });
    }

    pub(crate) fn person(&mut self) {
        let mut units = BTreeSet::from([self.world.any_unit()]);
        if self.world.random.one_in(3) {
            units.extend(self.world.people());
        }
        let request = match self.world.random.within(0, 5) {
            0 => Request::Down { units },
            1 | 2 => Request::Restart { units, fresh: self.world.random.one_in(2) },
            _ => Request::Up { units, by_name: self.world.random.one_in(2) },
        };
        self.ask(request);
    }

    pub(crate) fn ask(&mut self, request: Request) {
        self.requests += 1;
        let id = RequestId(format!("r{}", self.requests));
        self.pending.insert(id.clone(), self.world.mono);
        self.deliver(Event::Requested { id, request });
    }

    /// The process ends; without a death its session goes with it.
    pub(crate) fn end(&mut self, unit: &ao::base::name::UnitName, death: Option<Death>) {
        if !self.world.lives(unit) {
            return;
        }
        let ended_well = matches!(death, Some(Death::Exited { status: 0 }));
        self.loops.lost_runs += u64::from(unit.as_str() == super::loops::REPORTER && !ended_well);
        match death {
            None => drop(self.world.sessions.remove(unit)),
            Some(death) => {
                self.world.process_mut(unit).expect("it lives").death = Some(death);
            }
        }
    }
}
