//! The journal's form: a snapshot, then each event with what was decided on it. Replaying it decides again.
//!
//! The event and action enums are the journal on purpose: a report of a bug is a journal, and the
//! tests read the same file.

use serde::{Deserialize, Serialize};

use super::action::Action;
use super::decide::decide;
use super::event::Event;
use super::state::Fleet;
use crate::base::now::Now;

/// The version of the journal's lines.
pub const JOURNAL_VERSION: u32 = 1;

/// One line of a journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "line")]
pub enum Line {
    /// The first line of each file: the fleet before the first event.
    Snapshot { version: u32, ao: String, now: Now, fleet: Box<Fleet> },
    /// An event that changed the fleet or made something be done.
    Step { now: Now, event: Box<Event>, actions: Vec<Action> },
}

/// What replaying a journal showed.
#[derive(Debug, Clone, PartialEq)]
pub enum Replay {
    /// Every decision came out the same.
    Same { steps: usize },
    /// The first one that did not.
    Differs { line: usize, event: Box<Event>, recorded: Vec<Action>, decided: Vec<Action> },
}

/// Why a text is not a journal.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error("line {line} is not a line of a journal")]
    Line {
        line: usize,
        #[source]
        cause: serde_json::Error,
    },
    #[error("the journal does not begin with a snapshot")]
    NoSnapshot,
    #[error("the journal is of version {found}; this ao reads version {JOURNAL_VERSION}")]
    Version { found: u32 },
}

/// Decides every event of a journal again. A torn last line (a killed writer) is left out.
pub fn replay(text: &str) -> Result<Replay, ReplayError> {
    let mut fleet: Option<Fleet> = None;
    let mut steps = 0;
    let whole = text.ends_with('\n');
    let count = text.lines().count();
    for (index, raw) in text.lines().enumerate() {
        let line = index + 1;
        let parsed = match serde_json::from_str(raw) {
            Ok(parsed) => parsed,
            Err(_) if line == count && !whole => break,
            Err(cause) => return Err(ReplayError::Line { line, cause }),
        };
        match parsed {
            Line::Snapshot { version, .. } if version != JOURNAL_VERSION => {
                return Err(ReplayError::Version { found: version });
            }
            Line::Snapshot { fleet: snapshot, .. } => fleet = Some(*snapshot),
            Line::Step { now, event, actions } => {
                let fleet = fleet.as_mut().ok_or(ReplayError::NoSnapshot)?;
                let decided = decide(fleet, &event, now);
                if decided != actions {
                    return Ok(Replay::Differs { line, event, recorded: actions, decided });
                }
                steps += 1;
            }
        }
    }
    if fleet.is_none() {
        return Err(ReplayError::NoSnapshot);
    }
    Ok(Replay::Same { steps })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::now::Mono;

    fn journal(problem: &str) -> String {
        let now = Now { wall: chrono::DateTime::UNIX_EPOCH, mono: Mono(7) };
        let event = Box::new(Event::ConfigBroken { problem: "line 3".to_owned() });
        let mut fleet = Fleet::default();
        let before = Box::new(fleet.clone());
        let mut actions = decide(&mut fleet, &event, now);
        for action in &mut actions {
            if let Action::Report(report) = action {
                report.why = problem.to_owned();
            }
        }
        let lines = [
            Line::Snapshot { version: JOURNAL_VERSION, ao: "test".to_owned(), now, fleet: before },
            Line::Step { now, event, actions },
        ];
        lines.iter().map(|line| serde_json::to_string(line).unwrap() + "\n").collect()
    }

    #[test]
    fn the_same_rules_decide_the_same_and_a_changed_one_is_shown() {
        assert_eq!(replay(&journal("line 3")).unwrap(), Replay::Same { steps: 1 });
        assert!(matches!(
            replay(&journal("line 4")).unwrap(),
            Replay::Differs { line: 2, recorded, decided, .. } if recorded != decided
        ));
    }

    #[test]
    fn a_torn_last_line_is_left_out_and_a_torn_middle_is_named() {
        let text = journal("line 3");
        let torn = &text[..text.len() - 9];
        assert_eq!(replay(torn).unwrap(), Replay::Same { steps: 0 });
        let broken = format!("{torn}\n{text}");
        assert!(matches!(replay(&broken), Err(ReplayError::Line { line: 2, .. })));
        assert!(matches!(replay(""), Err(ReplayError::NoSnapshot)));
    }
}
