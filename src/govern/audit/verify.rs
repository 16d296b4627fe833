//! Walks a chain and names what was done to it.
//!
//! Every record is judged against its neighbour as it is stored, so that one edited record is one
//! finding and not a thousand. What a walk alone cannot see (the whole chain written anew, its end
//! cut off) is for checkpoints and the head.

use std::collections::BTreeMap;
use std::fmt;

use super::head::{Head, Standing};
use super::{GENESIS, Hash, Record, Tail, hex};

/// What is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// Its content or its hash is not what was written.
    Edited { seq: u64 },
    /// Records are not there.
    Removed { from: u64, to: u64 },
    /// A record stands where another of its number or a later one has been.
    OutOfPlace { seq: u64, after: u64 },
    /// It belongs to another organisation's log.
    Foreign { seq: u64, org: String },
    /// It is whole, but the one before it is not the one it was written behind.
    Unlinked { seq: u64 },
    /// A checkpoint says that another record stood here.
    NotAsSigned { seq: u64 },
    /// A checkpoint whose signature is not ours.
    BadCheckpoint { seq: u64 },
    /// The end was cut off: the head knows of more.
    TailDropped { from: u64, to: u64 },
    /// Records behind the head that no commit of ours announced.
    TailAdded { from: u64, to: u64 },
    /// The log ends where the head says, in another record.
    TailReplaced { seq: u64 },
    /// The head is missing, unreadable or not signed by us.
    BadHead { why: String },
}

impl Finding {
    /// The record that does not fit its own hash.
    fn edited(&self) -> Option<u64> {
        if let Self::Edited { seq } = self { Some(*seq) } else { None }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let range = |from: &u64, to: &u64| {
            if from == to { format!("record {from}") } else { format!("records {from} to {to}") }
        };
        match self {
            Self::Edited { seq } => write!(formatter, "record {seq} was edited"),
            Self::Removed { from, to } => write!(formatter, "{} removed", range(from, to)),
            Self::OutOfPlace { seq, after } => {
                write!(formatter, "record {seq} stands behind record {after}: inserted or moved")
            }
            Self::Foreign { seq, org } => {
                write!(formatter, "record {seq} is of the organisation `{org}`")
            }
            Self::Unlinked { seq } => write!(
                formatter,
                "record {seq} was not written behind the record that stands before it"
            ),
            Self::NotAsSigned { seq } => {
                write!(formatter, "record {seq} is not the one that its signed checkpoint names")
            }
            Self::BadCheckpoint { seq } => {
                write!(formatter, "the checkpoint of record {seq} is not signed by this log's key")
            }
            Self::TailDropped { from, to } => {
                write!(formatter, "{} dropped from the end", range(from, to))
            }
            Self::TailAdded { from, to } => {
                write!(formatter, "{} added behind the signed head", range(from, to))
            }
            Self::TailReplaced { seq } => {
                write!(formatter, "record {seq} is not the one that the signed head names")
            }
            Self::BadHead { why } => write!(formatter, "the signed head is no proof: {why}"),
        }
    }
}

/// Most findings that are kept; a log that was shuffled as a whole needs no longer list.
pub const FINDINGS_MAX: usize = 100;

/// A walk under way. Records come in the order in which they are stored.
#[derive(Debug, Clone)]
pub struct Walk {
    org: String,
    last: Tail,
    /// Hashes that signed checkpoints name, by sequence.
    signed: BTreeMap<u64, Hash>,
    findings: Vec<Finding>,
    /// All, kept or not.
    found: usize,
    records: u64,
}

impl Walk {
    /// From the first record. `signed`: what checkpoints with a good signature say.
    pub fn new(org: &str, signed: BTreeMap<u64, Hash>) -> Self {
        Self::from(org, Tail { seq: 0, hash: GENESIS }, signed)
    }

    /// From behind a record that is known to be good.
    pub fn from(org: &str, last: Tail, signed: BTreeMap<u64, Hash>) -> Self {
        let (findings, found, records) = (Vec::new(), 0, 0);
        Self { org: org.to_owned(), last, signed, findings, found, records }
    }

    pub fn note(&mut self, finding: Finding) {
        self.found += 1;
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        }
    }

    pub fn step(&mut self, record: &Record) {
        self.records += 1;
        if record.org != self.org {
            self.note(Finding::Foreign { seq: record.seq, org: record.org.clone() });
        }
        if record.seq <= self.last.seq {
            // The walk stays where it was: the true one may still come.
            self.note(Finding::OutOfPlace { seq: record.seq, after: self.last.seq });
            return;
        }
        let gap = record.seq > self.last.seq + 1;
        if gap {
            self.note(Finding::Removed { from: self.last.seq + 1, to: record.seq - 1 });
        }
        let fits = record.expected_hash(&self.last.hash) == record.hash;
        // Behind a gap there is nothing to check a record against: its own number was hashed, but
        // so was the hash that is gone. The next record proves it.
        if !fits && !gap {
            self.note(Finding::Edited { seq: record.seq });
        }
        if let Some(signed) = self.signed.get(&record.seq)
            && *signed != record.hash
        {
            self.note(Finding::NotAsSigned { seq: record.seq });
        }
        self.last = record.tail();
    }

    pub fn tail(&self) -> Tail {
        self.last
    }

    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Judges the end against the head.
    pub fn finish(mut self, head: Result<&Head, String>, boot: &str) -> Outcome {
        let standing = match head {
            Ok(head) => {
                let standing = head.standing(self.last, boot);
                match standing {
                    Standing::Dropped { to } => {
                        self.note(Finding::TailDropped { from: self.last.seq + 1, to });
                    }
                    Standing::Added { from } => {
                        self.note(Finding::TailAdded { from, to: self.last.seq });
                    }
                    Standing::Replaced => {
                        self.note(Finding::TailReplaced { seq: self.last.seq });
                    }
                    Standing::Exact
                    | Standing::NotCommitted
                    | Standing::HeadNotWritten
                    | Standing::MachineWentDown { .. } => {}
                }
                Some(standing)
            }
            Err(why) => {
                self.note(Finding::BadHead { why });
                None
            }
        };
        self.outcome(standing)
    }

    /// The end of a walk over records that no head belongs to (an export, a part).
    pub fn finish_without_head(self) -> Outcome {
        self.outcome(None)
    }

    fn outcome(mut self, standing: Option<Standing>) -> Outcome {
        self.findings = untangle(self.findings);
        Outcome {
            records: self.records,
            tail: self.last,
            findings: self.findings,
            found: self.found,
            standing,
        }
    }
}

/// An edited record breaks its own hash and, if the hash itself was changed, that of its neighbour.
/// The neighbour's complaint is worded as what it is.
fn untangle(findings: Vec<Finding>) -> Vec<Finding> {
    let mut out: Vec<Finding> = Vec::with_capacity(findings.len());
    for finding in findings {
        let follows = matches!(
            (out.last(), &finding),
            (
                Some(Finding::Edited { seq: before } | Finding::Unlinked { seq: before }),
                Finding::Edited { seq },
            ) if before + 1 == *seq
        );
        out.push(match (follows, finding.edited()) {
            (true, Some(seq)) => Finding::Unlinked { seq },
            (true, None) | (false, _) => finding,
        });
    }
    out
}

/// What a walk found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    pub records: u64,
    pub tail: Tail,
    /// At most [`FINDINGS_MAX`].
    pub findings: Vec<Finding>,
    /// All of them.
    pub found: usize,
    /// How the end stands to the head; `None` without one.
    pub standing: Option<Standing>,
}

impl Outcome {
    pub fn is_intact(&self) -> bool {
        self.found == 0
    }

    /// `1000 records, head 1000 ab12…`.
    pub fn summary(&self) -> String {
        format!("{} records, the last {} {}", self.records, self.tail.seq, hex(&self.tail.hash))
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use ed25519_dalek::SigningKey;

    use super::super::head::Checkpoint;
    use super::super::{Draft, Kind};
    use super::*;

    const COUNT: u64 = 1_000;

    fn chain(count: u64) -> Vec<Record> {
        let at = DateTime::from_timestamp(1_790_000_000, 0).unwrap();
        let mut tail = Tail::EMPTY;
        (0..count)
            .map(|number| {
                let draft = Draft::new(Kind::Decided, "builder", format!("src/{number}.rs"))
                    .about(i64::try_from(number).unwrap() + 1)
                    .with("effect", "allow");
                let record = Record::chained("local", &tail, &draft, at);
                tail = record.tail();
                record
            })
            .collect()
    }

    fn walk(records: &[Record], head: Tail) -> Outcome {
        let mut walk = Walk::new("local", BTreeMap::new());
        for record in records {
            walk.step(record);
        }
        let head = Head {
            store: "s".into(),
            org: "local".into(),
            boot: "b".into(),
            committed: head,
            announced: head,
        };
        walk.finish(Ok(&head), "b")
    }

    fn findings(records: &[Record]) -> Vec<Finding> {
        walk(records, chain(COUNT).last().unwrap().tail()).findings
    }

    /// Every change of one byte of one stored field.
    fn changes(record: &Record) -> Vec<Record> {
        let mut out = Vec::new();
        let text = |out: &mut Vec<Record>, length: usize, field: fn(&mut Record) -> &mut String| {
            for at in 0..length {
                let mut changed = record.clone();
                let mut bytes = field(&mut changed).clone().into_bytes();
                bytes[at] ^= 1;
                *field(&mut changed) = String::from_utf8(bytes).unwrap();
                out.push(changed);
            }
        };
        text(&mut out, record.org.len(), |record| &mut record.org);
        text(&mut out, record.kind.len(), |record| &mut record.kind);
        text(&mut out, record.actor.len(), |record| &mut record.actor);
        text(&mut out, record.subject.len(), |record| &mut record.subject);
        text(&mut out, record.details.len(), |record| &mut record.details);
        for byte in 0..8 {
            out.push(Record { at_us: record.at_us ^ (1 << (8 * byte)), ..record.clone() });
            out.push(Record { action_id: record.action_id ^ (1 << (8 * byte)), ..record.clone() });
        }
        for at in 0..32 {
            let mut changed = record.clone();
            changed.hash[at] ^= 1;
            out.push(changed);
        }
        out
    }

    #[test]
    fn an_untouched_log_is_intact() {
        let records = chain(COUNT);
        let outcome = walk(&records, records.last().unwrap().tail());
        assert!(outcome.is_intact(), "{:?}", outcome.findings);
        assert_eq!((outcome.records, outcome.standing), (COUNT, Some(Standing::Exact)));
    }

    #[test]
    fn every_changed_byte_of_every_record_is_found_and_named() {
        let records = chain(COUNT);
        let mut before = Tail::EMPTY;
        for record in &records {
            for changed in changes(record) {
                let mut walk = Walk::from("local", before, BTreeMap::new());
                walk.step(&changed);
                let found = walk.finish_without_head().findings;
                let named = found.contains(&Finding::Edited { seq: record.seq });
                assert!(named, "{changed:?}: {found:?}");
            }
            before = record.tail();
        }
    }

    /// A walk over the changed log from a little before `at`; from its very beginning now and then,
    /// because a thousand walks over a thousand records take long and show no more.
    fn findings_near(changed: &[Record], at: usize) -> Vec<Finding> {
        if at.is_multiple_of(97) {
            return findings(changed);
        }
        let from = at.saturating_sub(3);
        let before = from.checked_sub(1).map_or(Tail::EMPTY, |before| changed[before].tail());
        let mut walk = Walk::from("local", before, BTreeMap::new());
        for record in changed[from..].iter().take(8) {
            walk.step(record);
        }
        walk.finish_without_head().findings
    }

    #[test]
    fn one_edited_record_is_one_finding() {
        let records = chain(COUNT);
        for at in 0..records.len() {
            let mut changed = records.clone();
            changed[at].subject.push('x');
            assert_eq!(findings_near(&changed, at), [Finding::Edited { seq: records[at].seq }]);
        }
    }

    #[test]
    fn every_dropped_record_is_found_and_named() {
        let records = chain(COUNT);
        for at in 0..records.len() {
            let mut left = records.clone();
            let seq = left.remove(at).seq;
            if seq == COUNT {
                assert_eq!(findings(&left), [Finding::TailDropped { from: seq, to: seq }]);
            } else {
                let expected = [Finding::Removed { from: seq, to: seq }];
                assert_eq!(findings_near(&left, at), expected);
            }
        }
    }

    #[test]
    fn every_swapped_pair_of_neighbours_is_found_whether_numbers_move_or_not() {
        let records = chain(COUNT);
        for at in 0..records.len() - 1 {
            let mut moved = records.clone();
            moved.swap(at, at + 1);
            let seq = records[at].seq;
            let found = findings_near(&moved, at);
            let named = found.contains(&Finding::OutOfPlace { seq, after: seq + 1 });
            assert!(named, "{found:?}");

            let mut renumbered = moved;
            renumbered[at].seq = seq;
            renumbered[at + 1].seq = seq + 1;
            let found = findings_near(&renumbered, at);
            assert_eq!(found.first(), Some(&Finding::Edited { seq }), "{found:?}");
        }
    }

    #[test]
    fn every_inserted_record_is_found_whether_numbers_move_or_not() {
        let records = chain(COUNT);
        let late = DateTime::from_timestamp(1_790_000_001, 0).unwrap();
        for at in 0..records.len() {
            let before = at.checked_sub(1).map_or(Tail::EMPTY, |at| records[at].tail());
            let draft = Draft::new(Kind::Approved, "operator:x", "src/0.rs");
            let inserted = Record::chained("local", &before, &draft, late);
            let mut grown = records.clone();
            grown.insert(at, inserted);
            let seq = records[at].seq;
            let found = findings_near(&grown, at);
            let named = found.contains(&Finding::OutOfPlace { seq, after: seq });
            assert!(named, "{found:?}");

            for later in &mut grown[at + 1..] {
                later.seq += 1;
            }
            let found = findings_near(&grown, at);
            assert_eq!(found.first(), Some(&Finding::Edited { seq: seq + 1 }), "{found:?}");
        }
    }

    #[test]
    fn a_log_written_anew_as_a_whole_is_found_by_a_checkpoint_and_by_the_head() {
        let mut forged = Vec::new();
        let mut tail = Tail::EMPTY;
        let at = DateTime::from_timestamp(1_790_000_000, 0).unwrap();
        for _ in 0..COUNT {
            let draft = Draft::new(Kind::Decided, "nobody", "nothing");
            let record = Record::chained("local", &tail, &draft, at);
            tail = record.tail();
            forged.push(record);
        }
        let true_one = chain(COUNT);
        let key = SigningKey::from_bytes(&[7; 32]);
        let checkpoint = Checkpoint::signed("local", true_one[499].tail(), &key);
        assert!(checkpoint.is_signed_by(&key.verifying_key()));
        let mut walk = Walk::new("local", [(checkpoint.seq, checkpoint.hash)].into());
        for record in &forged {
            walk.step(record);
        }
        assert_eq!(walk.finish_without_head().findings, [Finding::NotAsSigned { seq: 500 }]);
        assert_eq!(findings(&forged), [Finding::TailReplaced { seq: COUNT }]);
    }
}
