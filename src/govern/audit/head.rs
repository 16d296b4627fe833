//! The signed head of a log, kept outside the database, and signed checkpoints.
//!
//! The head is written twice for each commit: just before it (`announced`, while the store's write
//! lock is held) and just after it (`committed`). So every crash leaves a state of its own, and each
//! is told from a log whose end was cut off:
//!
//! | the log ends at | meaning |
//! |---|---|
//! | committed = announced | all is well |
//! | committed, announced is ahead | `ao` died before the commit: nothing was answered, nothing lost |
//! | announced | `ao` died between the commit and the second write: the record is whole |
//! | before committed | the end was cut off, or an older database was put in place |
//! | behind announced, same boot | somebody else wrote to the database |
//! | behind announced, other boot | the machine went down before the head reached the disk |
//!
//! The head is not flushed to disk at each commit, as a second flush would double the cost of a
//! decision; that is what the last line pays for it. The next commit records `head.recovered`.

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};

use super::{Hash, Tail, from_hex, hex};

/// A checkpoint is signed each time so many records were written.
pub const CHECKPOINT_EVERY_RECORDS: u64 = 100;

/// Where one log ends, as this program last wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Of the database: a fresh one in the same place has another.
    pub store: String,
    pub org: String,
    /// Names the boot of the machine it was written in.
    pub boot: String,
    pub committed: Tail,
    pub announced: Tail,
}

/// How the end of a log stands to its head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Exact,
    NotCommitted,
    HeadNotWritten,
    MachineWentDown { from: u64 },
    Dropped { to: u64 },
    Added { from: u64 },
    Replaced,
}

impl Standing {
    /// Whether work may go on behind such an end.
    pub fn is_sound(self) -> bool {
        match self {
            Self::Exact
            | Self::NotCommitted
            | Self::HeadNotWritten
            | Self::MachineWentDown { .. } => true,
            Self::Dropped { .. } | Self::Added { .. } | Self::Replaced => false,
        }
    }

    /// For people.
    pub fn words(self) -> String {
        match self {
            Self::Exact => "ends where the signed head says".to_owned(),
            Self::NotCommitted => {
                "ends where the signed head says; one more commit was announced and never made"
                    .to_owned()
            }
            Self::HeadNotWritten => {
                "ends with the commit that the signed head announced; ao died before it noted it"
                    .to_owned()
            }
            Self::MachineWentDown { from } => format!(
                "records from {from} on were written before the machine went down, their head was not"
            ),
            Self::Dropped { to } => format!("the signed head knows of records up to {to}"),
            Self::Added { from } => {
                format!("records from {from} on were announced by nobody")
            }
            Self::Replaced => "the last record is not the one the signed head names".to_owned(),
        }
    }
}

impl Head {
    pub fn standing(&self, tail: Tail, boot: &str) -> Standing {
        let (committed, announced) = (self.committed, self.announced);
        if tail == announced {
            return if announced == committed { Standing::Exact } else { Standing::HeadNotWritten };
        }
        if tail == committed {
            return Standing::NotCommitted;
        }
        if tail.seq < committed.seq {
            return Standing::Dropped { to: committed.seq };
        }
        if tail.seq == committed.seq || tail.seq == announced.seq {
            return Standing::Replaced;
        }
        if tail.seq < announced.seq {
            // Commits are whole: no crash leaves half of one.
            return Standing::Dropped { to: announced.seq };
        }
        let from = announced.seq + 1;
        if boot == self.boot {
            Standing::Added { from }
        } else {
            Standing::MachineWentDown { from }
        }
    }

    fn unsigned(&self) -> String {
        let end = |tail: &Tail| format!("{:020} {}", tail.seq, hex(&tail.hash));
        format!(
            "ao-head-1\nstore {}\norg {}\nboot {}\ncommitted {}\nannounced {}\n",
            one_line(&self.store),
            one_line(&self.org),
            one_line(&self.boot),
            end(&self.committed),
            end(&self.announced)
        )
    }

    /// As it is stored.
    pub fn signed(&self, key: &SigningKey) -> String {
        let text = self.unsigned();
        let signature = key.sign(text.as_bytes());
        format!("{text}signature {}\n", hex(&signature.to_bytes()))
    }

    /// Reads a head and checks its signature; what is wrong with it otherwise.
    pub fn read(text: &str, key: &VerifyingKey) -> Result<Self, String> {
        let head = Self::parse(text).ok_or("it is not what ao writes")?;
        let (unsigned, signature) = text.split_once("signature ").ok_or("it is not signed")?;
        let canonical = head.unsigned() == unsigned && signature.ends_with('\n');
        let signature = from_hex(signature.trim_end()).ok_or("its signature is no signature")?;
        let good = key.verify_strict(unsigned.as_bytes(), &Signature::from_bytes(&signature));
        if canonical && good.is_ok() {
            Ok(head)
        } else {
            Err("its signature is not by this log's key".to_owned())
        }
    }

    /// [`read`](Self::read) by whoever holds the key. The same key signs the same text the same way, and
    /// signing anew costs less than half of a proof.
    pub fn read_own(text: &str, key: &SigningKey) -> Result<Self, String> {
        match Self::parse(text) {
            Some(head) if head.signed(key) == text => Ok(head),
            Some(_) | None => Self::read(text, &key.verifying_key()),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_prefix("ao-head-1\n")?.lines();
        let mut field = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
        let end = |text: &str| {
            let (seq, hash) = text.split_once(' ')?;
            Some(Tail { seq: seq.parse().ok()?, hash: from_hex(hash)? })
        };
        Some(Self {
            store: field("store")?.to_owned(),
            org: field("org")?.to_owned(),
            boot: field("boot")?.to_owned(),
            committed: end(field("committed")?)?,
            announced: end(field("announced")?)?,
        })
    }
}

/// The fields are lines: no value may begin one of its own.
fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

/// A signed statement that a log had this record, to be kept elsewhere too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    pub org: String,
    pub seq: u64,
    pub hash: Hash,
    /// Lower-case hexadecimal of the Ed25519 signature.
    pub signature: String,
}

impl Checkpoint {
    pub fn signed(org: &str, tail: Tail, key: &SigningKey) -> Self {
        let signature = key.sign(statement(org, tail).as_bytes());
        Self {
            org: org.to_owned(),
            seq: tail.seq,
            hash: tail.hash,
            signature: hex(&signature.to_bytes()),
        }
    }

    pub fn is_signed_by(&self, key: &VerifyingKey) -> bool {
        let Some(signature) = from_hex(&self.signature) else { return false };
        let statement = statement(&self.org, Tail { seq: self.seq, hash: self.hash });
        key.verify_strict(statement.as_bytes(), &Signature::from_bytes(&signature)).is_ok()
    }
}

/// What is signed: `ao-checkpoint-1 <seq> <hash> <org>`.
fn statement(org: &str, tail: Tail) -> String {
    format!("ao-checkpoint-1 {} {} {}", tail.seq, hex(&tail.hash), one_line(org))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> SigningKey {
        SigningKey::from_bytes(&[7; 32])
    }

    fn tail(seq: u64) -> Tail {
        Tail { seq, hash: [u8::try_from(seq).unwrap(); 32] }
    }

    fn head(committed: u64, announced: u64) -> Head {
        Head {
            store: "s".into(),
            org: "local".into(),
            boot: "b".into(),
            committed: tail(committed),
            announced: tail(announced),
        }
    }

    #[test]
    fn each_way_to_end_is_told_from_the_others() {
        let on = |tail: Tail| head(5, 7).standing(tail, "b");
        assert_eq!(head(5, 5).standing(tail(5), "b"), Standing::Exact);
        assert_eq!(on(tail(5)), Standing::NotCommitted);
        assert_eq!(on(tail(7)), Standing::HeadNotWritten);
        assert_eq!(on(tail(6)), Standing::Dropped { to: 7 });
        assert_eq!(on(tail(4)), Standing::Dropped { to: 5 });
        assert_eq!(on(Tail::EMPTY), Standing::Dropped { to: 5 });
        assert_eq!(on(Tail { seq: 5, hash: [9; 32] }), Standing::Replaced);
        assert_eq!(on(Tail { seq: 7, hash: [9; 32] }), Standing::Replaced);
        assert_eq!(on(tail(8)), Standing::Added { from: 8 });
        assert_eq!(head(5, 7).standing(tail(9), "other"), Standing::MachineWentDown { from: 8 });
    }

    #[test]
    fn a_head_reads_back_and_any_changed_byte_is_refused() {
        let text = head(5, 7).signed(&key());
        assert_eq!(Head::read(&text, &key().verifying_key()), Ok(head(5, 7)));
        assert_eq!(Head::read_own(&text, &key()), Ok(head(5, 7)));
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            if let Ok(changed) = String::from_utf8(bytes) {
                assert!(Head::read(&changed, &key().verifying_key()).is_err(), "{at}: {changed}");
                assert!(Head::read_own(&changed, &key()).is_err(), "{at}: {changed}");
            }
        }
        let other = SigningKey::from_bytes(&[8; 32]).verifying_key();
        assert!(Head::read(&text, &other).is_err());
    }

    #[test]
    fn a_checkpoint_counts_for_its_own_record_and_organisation_only() {
        let checkpoint = Checkpoint::signed("local", tail(3), &key());
        let key = key().verifying_key();
        assert!(checkpoint.is_signed_by(&key));
        for changed in [
            Checkpoint { seq: 4, ..checkpoint.clone() },
            Checkpoint { org: "other".into(), ..checkpoint.clone() },
            Checkpoint { hash: [0; 32], ..checkpoint.clone() },
            Checkpoint { signature: String::new(), ..checkpoint },
        ] {
            assert!(!changed.is_signed_by(&key), "{changed:?}");
        }
    }
}
