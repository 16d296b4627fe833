//! The sequence of phases on disk: its index, its completion marker and its trigger file.
//!
//! Everything here may be done twice. The trigger file is renamed before anything is started for it,
//! so that it is consumed once, however often a watchdog dies in between.

use std::path::PathBuf;

use super::Engine;
use crate::config::{PhaseStep, Sequence};
use crate::supervise::event::Event;
use crate::supervise::sequence::{Heard, Step};
use crate::sys::file;

/// Under `log_dir`: lists the ids of the finished phases, one a line.
pub const COMPLETE: &str = "SEQUENCE-COMPLETE";
/// Under `state/`: the trigger file between its taking and the start of its task.
const TAKEN: &str = "on-complete-taken";
/// Where status and inbox files are without `[loop] handoff`.
pub(super) const STATE_SUBDIR: &str = "machine-docs";

impl Engine {
    /// The phase all loop agents work on.
    pub fn phase(&self) -> Option<&PhaseStep> {
        let sequence = self.config.sequence.as_ref()?;
        let index = self.fleet.phases.current.unwrap_or(0);
        sequence.phases.get(index).or_else(|| sequence.phases.last())
    }

    /// Tells the core what is on disk of the sequence.
    pub fn read_sequence_files(&mut self) {
        let Some(sequence) = &self.config.sequence else { return };
        let read = |path: PathBuf| file::read(&path).ok().flatten();
        let index = read(self.store.state().join(&sequence.state_file));
        let index = index.and_then(|text| text.trim().parse().ok());
        let marker = read(self.store.log_dir().join(COMPLETE));
        let finished = marker.map(|text| text.lines().map(str::to_owned).collect());
        self.feed(Event::Sequence { heard: Heard::Files { index, finished } });
    }

    /// Which phase each agent was given, where nothing but its launch record remembers it.
    pub(super) fn recover_phases(&mut self) {
        let now = crate::sys::clock::now();
        let agents = self.config.agents.iter();
        for agent in agents.filter(|agent| agent.kind == crate::config::Kind::Loop) {
            if let Some(record) = self.store.launch(&agent.session, now).value
                && let Some(phase) = record.phase
            {
                self.fleet.phases.given.insert(agent.name.clone(), phase);
            }
        }
    }

    pub(super) fn put_down(&mut self, step: &Step) -> Option<Event> {
        let sequence = self.config.sequence.clone()?;
        let heard = match step {
            Step::SetPhase { index } => Heard::Written {
                problem: self
                    .write_index(&sequence, *index)
                    .and_then(|()| file::remove(&self.store.log_dir().join(COMPLETE)))
                    .err()
                    .map(|error| crate::base::chain::text(&error)),
            },
            Step::Complete { index, finished } => {
                let text = finished.iter().fold(String::new(), |text, id| text + id + "\n");
                let marker = self.store.log_dir().join(COMPLETE);
                Heard::Written {
                    problem: self
                        .write_index(&sequence, *index)
                        .and_then(|()| file::replace(&marker, text.as_bytes(), 0o600))
                        .err()
                        .map(|error| crate::base::chain::text(&error)),
                }
            }
            Step::TakeTrigger => Heard::Trigger { found: self.take_trigger(&sequence) },
            Step::DropTrigger => {
                drop(file::remove(&self.store.state().join(TAKEN)));
                return None;
            }
        };
        Some(Event::Sequence { heard })
    }

    fn write_index(&self, sequence: &Sequence, index: usize) -> Result<(), file::FileError> {
        let path = self.store.state().join(&sequence.state_file);
        file::replace(&path, format!("{index}\n").as_bytes(), 0o600)
    }

    fn take_trigger(&self, sequence: &Sequence) -> bool {
        let Some(on_complete) = &sequence.on_complete else { return false };
        let taken = self.store.state().join(TAKEN);
        let trigger = self.store.log_dir().join(&on_complete.trigger_file);
        match std::fs::rename(&trigger, &taken) {
            Ok(()) => true,
            Err(error) => {
                if error.kind() != std::io::ErrorKind::NotFound {
                    tracing::error!(trigger = %trigger.display(), %error, "cannot take the trigger file");
                }
                taken.exists()
            }
        }
    }
}
