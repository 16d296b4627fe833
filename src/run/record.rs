//! Follows the record that a CLI writes of its conversation, and the output of its terminal, and reads
//! the facts out of them.
//!
//! It is looked at with everything else, at most a second late; nothing waits for it. A record that
//! is found late is read from its last part on: what was before is over.

use std::path::Path;

use crate::base::now::Now;
use crate::screen::PaneState;
use crate::sense::fact::Fact;
use crate::sense::rollout::Rollout;
use crate::sense::title;
use crate::sys::tail::Tail;

/// Read of a record that was there before us.
const BEGINNING_BYTES_MAX: u64 = 256 << 10;
/// A state's sequence is shorter.
const CARRY_BYTES: usize = 256;
const ESCAPE: u8 = 0x1b;
const BELL: u8 = 0x07;
/// A longer line is skipped: it holds the output of a tool.
const LINE_BYTES_MAX: usize = 4 << 20;

/// One record.
#[derive(Debug)]
pub struct Record {
    path: String,
    tail: Tail,
    /// The line that is not whole yet.
    begun: Vec<u8>,
    rollout: Rollout,
}

impl Record {
    /// Its last part is to be read next; what it cuts in two is no line and is skipped.
    pub fn open(path: &str) -> std::io::Result<Self> {
        let (begun, tail) = Tail::from_end(Path::new(path), BEGINNING_BYTES_MAX)?;
        Ok(Self { path: path.to_owned(), tail, begun, rollout: Rollout::default() })
    }

    pub fn path(&self) -> &str {
        &self.path
    }

    /// What was written since the last look.
    pub fn look(&mut self, now: Now) -> std::io::Result<Vec<Fact>> {
        self.begun.extend(self.tail.look()?);
        let whole = self.begun.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        let rest = self.begun.split_off(whole);
        let text = String::from_utf8_lossy(&self.begun);
        let facts = text.lines().filter_map(|line| self.rollout.line(line, now)).collect();
        self.begun = if rest.len() > LINE_BYTES_MAX { Vec::new() } else { rest };
        Ok(facts)
    }
}

/// The last state that the output of a terminal told, out of the pane's log.
#[derive(Debug)]
pub struct Output {
    tail: Tail,
    /// The end of the last look: a sequence may be cut in two.
    carry: Vec<u8>,
}

impl Output {
    /// From now on: what stands in the log may be of a former start.
    pub fn open(log: &Path) -> std::io::Result<Self> {
        let (carry, tail) = Tail::from_end(log, 0)?;
        Ok(Self { tail, carry })
    }

    /// `None`: nothing was printed since the last look; else the last state in it, if there was one.
    pub fn look(&mut self) -> std::io::Result<Option<Option<PaneState>>> {
        let added = self.tail.look()?;
        if added.is_empty() {
            return Ok(None);
        }
        self.carry.extend(added);
        let found = title::progress(&String::from_utf8_lossy(&self.carry));
        let cut = self.carry.iter().rposition(|&byte| byte == ESCAPE).filter(|&at| {
            // Begun and not ended: it is read again with its rest.
            self.carry.len() - at <= CARRY_BYTES && !self.carry[at..].contains(&BELL)
        });
        self.carry.drain(..cut.unwrap_or(self.carry.len()));
        Ok(Some(found))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::sense::Kind;
    use crate::sys::clock;

    #[test]
    fn what_stands_there_is_read_then_what_is_added_line_by_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rollout-1.jsonl");
        let line = |kind: &str| {
            format!("{{\"type\":\"event_msg\",\"payload\":{{\"type\":\"{kind}\"}}}}\n")
        };
        std::fs::write(&path, line("task_started")).unwrap();
        let mut record = Record::open(path.to_str().unwrap()).unwrap();
        let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
        let mut check = |record: &mut Record, added: &str, expected: &[Kind]| {
            file.write_all(added.as_bytes()).unwrap();
            let facts = record.look(clock::now()).unwrap();
            assert_eq!(facts.into_iter().map(|fact| fact.kind).collect::<Vec<_>>(), expected);
        };
        let ended = line("task_complete");
        check(&mut record, &ended[..20], &[Kind::TurnStarted]);
        let over = Kind::TurnEnded { interrupted: false, subagents_left: 0 };
        check(&mut record, &ended[20..], &[over]);
        check(&mut record, "", &[]);
    }

    #[test]
    fn the_last_state_in_the_output_counts_and_one_that_is_cut_in_two_is_read_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pane.log");
        std::fs::write(&path, "of old \u{1b}]7501;state=idle:app=codex\u{1b}\\ there").unwrap();
        let mut output = Output::open(&path).unwrap();
        let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
        let mut check = |added: &str, expected: Option<Option<PaneState>>| {
            file.write_all(added.as_bytes()).unwrap();
            assert_eq!(output.look().unwrap(), expected, "{added:?}");
        };
        check("", None);
        check("\u{1b}]7501;state=blocked:app=codex\u{7} ", Some(Some(PaneState::Waiting)));
        check("", None);
        check("words \u{1b}]7501;state=wor", Some(None));
        check("king:app=codex\u{1b}\\ more \u{1b}[2K", Some(Some(PaneState::Working)));
        check("only words", Some(None));
    }
}
