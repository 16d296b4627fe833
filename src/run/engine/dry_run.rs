//! What would be done, said once each and not done.
//!
//! A unit that would be acted upon stays as it was, so that the same look decides the same again.

use std::collections::BTreeSet;

use super::Engine;
use crate::base::now::Now;
use crate::supervise::action::{Action, Report, What};
use crate::supervise::event::Event;
use crate::supervise::state::Fleet;

/// What was said already, and what is to be shown.
#[derive(Debug, Default)]
pub(super) struct DryRun {
    said: BTreeSet<String>,
    lines: Vec<String>,
}

impl Engine {
    /// Says what would follow; only a wake's text is read, as its message is what would be typed.
    pub(super) fn pretend(&mut self, before: &Fleet, actions: Vec<Action>, now: Now) -> Vec<Event> {
        let mut events = Vec::new();
        for action in actions {
            let (unit, what, why) = match action {
                Action::Start { unit, cause, fallback, .. } => {
                    let how = if fallback { " on its fallback" } else { "" };
                    (unit, What::Starting, format!("would be started{how}: {cause}"))
                }
                Action::Stop { unit, cause, .. } => {
                    (unit, What::Stopping, format!("would be stopped: {cause}"))
                }
                Action::Type { unit, text, .. } => {
                    (unit, What::Sent, format!("would be typed: {text}"))
                }
                Action::ReadWake { unit } => {
                    events.push(self.read_wake(unit));
                    continue;
                }
                Action::Report(report) => {
                    self.would(report, now);
                    continue;
                }
                Action::SaveLimit { .. }
                | Action::Sequence { .. }
                | Action::SaveHandoff
                | Action::Look
                | Action::SaveWanted
                | Action::Answer { .. } => continue,
            };
            if let Some(was) = before.units.get(&unit) {
                self.fleet.units.insert(unit.clone(), was.clone());
            }
            self.would(Report { unit: Some(unit), what, why, notify: false }, now);
        }
        events
    }

    /// Marked in the event log and kept for the caller, once each.
    pub(super) fn would(&mut self, mut report: Report, now: Now) {
        let Some(dry) = &mut self.dry else { return };
        let unit = report.unit.as_ref().map_or("fleet", |unit| unit.as_str());
        let line = format!("{unit}: {}: {}", report.what.word(), report.why);
        // The same again, a look later: only the times in it differ.
        let timeless = line.chars().filter(|letter| !letter.is_ascii_digit()).collect();
        if !dry.said.insert(timeless) {
            return;
        }
        dry.lines.push(line);
        report.why = format!("dry run: {}", report.why);
        report.notify = false;
        self.journal.append(&[report], now);
    }

    /// What is new to be shown.
    pub fn take_lines(&mut self) -> Vec<String> {
        self.dry.as_mut().map(|dry| std::mem::take(&mut dry.lines)).unwrap_or_default()
    }
}
