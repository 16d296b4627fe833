//! The sequence of phases on disk: its index, its completion marker and its trigger file.
//!
//! Everything here may be done twice. The trigger file is renamed before anything is started for it,
//! so that it is consumed once, however often a watchdog dies in between.

use std::path::Path;

use super::Engine;
use crate::config::{PhaseStep, Sequence};
use crate::run::store;
use crate::supervise::action::What;
use crate::supervise::event::Event;
use crate::supervise::sequence::{Heard, Step};
use crate::sys::{clock, file};

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
        let Some(sequence) = self.config.sequence.clone() else { return };
        let path = self.store.state().join(&sequence.state_file);
        let index = match read_text(&path) {
            Some(text) => {
                let found = index_of(&text, self.fleet.phases.current);
                if found.is_none() {
                    self.put_aside(&path, "it holds no number of a phase");
                }
                found
            }
            None => None,
        };
        let path = self.store.log_dir().join(COMPLETE);
        let finished = match read_text(&path) {
            Some(text) => {
                let found = ids_of(&text);
                if found.is_none() {
                    self.put_aside(&path, "it does not list phases");
                }
                // That it was there tells that all up to the last phase were done.
                let ids = sequence.phases.iter().map(|phase| phase.id.clone());
                found.or_else(|| Some(ids.take(index? + 1).collect()))
            }
            None => None,
        };
        self.feed(Event::Sequence { heard: Heard::Files { index, finished } });
    }

    /// It is written again from memory where there is one.
    fn put_aside(&mut self, path: &Path, why: &str) {
        let why = store::put_aside(path, &why, clock::now());
        self.report(None, What::Phase, &why, true);
    }

    /// Which phase each agent was given, where nothing but its launch record remembers it.
    pub(super) fn recover_phases(&mut self) {
        let agents = self.config.agents.iter();
        let members: Vec<_> = agents
            .filter(|agent| agent.kind == crate::config::Kind::Loop)
            .map(|agent| (agent.name.clone(), agent.session.clone()))
            .collect();
        for (name, session) in members {
            if let Some(phase) = self.launch(&session).and_then(|record| record.phase) {
                self.fleet.phases.given.insert(name, phase);
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

/// `None` when there is no such file. One that cannot be read is as good as a damaged one.
fn read_text(path: &Path) -> Option<String> {
    file::read(path).unwrap_or_else(|_| Some(String::new()))
}

/// A number with its line end. One without is taken unless it may be what is left of the remembered one.
fn index_of(text: &str, remembered: Option<usize>) -> Option<usize> {
    let number: usize = text.trim().parse().ok()?;
    let cut = || remembered.is_some_and(|known| known.to_string().starts_with(text.trim()));
    (text.ends_with('\n') || remembered == Some(number) || !cut()).then_some(number)
}

/// Whole lines, each of which could name a phase.
fn ids_of(text: &str) -> Option<Vec<String>> {
    let odd = |c: char| c.is_control() || c == char::REPLACEMENT_CHARACTER;
    let ids: Vec<String> = text.lines().map(str::to_owned).collect();
    let sound = text.ends_with('\n') && ids.iter().all(|id| !id.is_empty() && !id.contains(odd));
    sound.then_some(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_without_its_line_end_is_doubted_only_where_more_of_it_is_remembered() {
        assert_eq!(index_of("12\n", Some(3)), Some(12));
        assert_eq!(index_of("2", Some(1)), Some(2), "written by a person");
        assert_eq!(index_of("1", Some(12)), None, "cut");
        assert_eq!(index_of("12", Some(12)), Some(12));
        assert_eq!(index_of("1", None), Some(1));
        assert_eq!(index_of("", Some(0)), None);
        assert_eq!(index_of("-1\n", Some(0)), None);
    }

    #[test]
    fn a_list_of_phases_without_its_last_line_end_is_damaged() {
        assert_eq!(ids_of("a\nb\n"), Some(vec!["a".to_owned(), "b".to_owned()]));
        for damaged in ["", "a\nb", "a\n\nb\n", "\0\0\n", "a\u{fffd}\n"] {
            assert_eq!(ids_of(damaged).filter(|ids| !ids.is_empty()), None, "{damaged:?}");
        }
    }
}
