//! The audit log: what is recorded, and the chain that makes a change visible.
//!
//! A record carries the hash of the one before, so that no record can be edited, removed, moved or
//! put in between without breaking the chain behind it. Whoever rewrites the whole chain is found by
//! the signed head and the signed checkpoints, whose key is not in the database ([`head`]).
//! One chain an organisation: each can be handed out and verified alone.
//!
//! # Canonical bytes
//! blake3 of, in this order, with every text as its length in bytes (u64, big-endian) and then its
//! bytes: the text `ao-audit-1`; the hash before (32 bytes, zero for the first); organisation;
//! sequence (u64, big-endian); time in microseconds since 1970 (i64, big-endian); kind; actor;
//! subject; action id (i64, big-endian; 0: none); details as the JSON text that is stored.

pub mod export;
pub mod head;
pub mod verify;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use crate::base::redact;

/// The hash of a record.
pub type Hash = [u8; 32];

/// What the first record follows.
pub const GENESIS: Hash = [0; 32];

/// Names the form of the canonical bytes.
const FORM: &[u8] = b"ao-audit-1";

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// An act was judged.
    Decided,
    /// An act came to its end, with what it cost.
    Settled,
    /// A person allowed one held act.
    Approved,
    /// A person refused one held act.
    Denied,
    /// An approval was used up by the act it was for.
    ApprovalUsed,
    /// Nobody answered in time.
    ApprovalExpired,
    /// A reservation whose act never reported was charged at its estimate.
    ReservationLapsed,
    TrustChanged,
    PolicyChanged,
    /// A person accepted a project's bounds and policies as they are written.
    ConfigAccepted,
    Killed,
    Unkilled,
    /// The watchdog or a person started an agent.
    Started,
    /// The watchdog or a person stopped an agent.
    Stopped,
    /// The log left the machine.
    Exported,
    /// A request was refused before it became an act.
    Refused,
    /// An API key or an organisation was made, changed or revoked.
    KeyChanged,
    /// An agent of another machine was registered, changed or taken off the register.
    AgentChanged,
    /// Who may delegate to whom.
    TopologyChanged,
    /// An address that is told of decisions was set up, changed or given up on.
    WebhookChanged,
    /// The head was older than the log after the machine went down.
    HeadRecovered,
    /// A person accepted the log as it is, without a head.
    HeadAdopted,
}

impl Kind {
    pub const ALL: [Self; 22] = [
        Self::Decided,
        Self::Settled,
        Self::Approved,
        Self::Denied,
        Self::ApprovalUsed,
        Self::ApprovalExpired,
        Self::ReservationLapsed,
        Self::TrustChanged,
        Self::PolicyChanged,
        Self::ConfigAccepted,
        Self::Killed,
        Self::Unkilled,
        Self::Started,
        Self::Stopped,
        Self::Exported,
        Self::Refused,
        Self::KeyChanged,
        Self::AgentChanged,
        Self::TopologyChanged,
        Self::WebhookChanged,
        Self::HeadRecovered,
        Self::HeadAdopted,
    ];

    /// As it is stored and shown.
    pub fn word(self) -> &'static str {
        match self {
            Self::Decided => "decided",
            Self::Settled => "settled",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::ApprovalUsed => "approval.used",
            Self::ApprovalExpired => "approval.expired",
            Self::ReservationLapsed => "reservation.lapsed",
            Self::TrustChanged => "trust.changed",
            Self::PolicyChanged => "policy.changed",
            Self::ConfigAccepted => "config.accepted",
            Self::Killed => "killed",
            Self::Unkilled => "unkilled",
            Self::Started => "started",
            Self::Stopped => "stopped",
            Self::Exported => "exported",
            Self::Refused => "refused",
            Self::KeyChanged => "key.changed",
            Self::AgentChanged => "agent.changed",
            Self::TopologyChanged => "topology.changed",
            Self::WebhookChanged => "webhook.changed",
            Self::HeadRecovered => "head.recovered",
            Self::HeadAdopted => "head.adopted",
        }
    }
}

/// What is to be recorded; the store adds organisation, sequence and hash.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    pub kind: Kind,
    /// Who did it: an agent's name, `operator:NAME`, `ao`.
    pub actor: String,
    /// What it was done to.
    pub subject: String,
    pub action_id: Option<i64>,
    pub details: Map<String, Value>,
}

impl Draft {
    pub fn new(kind: Kind, actor: impl Into<String>, subject: impl Into<String>) -> Self {
        let details = Map::new();
        Self { kind, actor: actor.into(), subject: subject.into(), action_id: None, details }
    }

    #[must_use]
    pub fn about(mut self, action_id: i64) -> Self {
        self.action_id = Some(action_id);
        self
    }

    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.details.insert(name.to_owned(), value.into());
        self
    }
}

/// One record as it is stored. Plain texts, so that reading one back cannot change what was hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub org: String,
    /// From 1, without gaps.
    pub seq: u64,
    /// Microseconds since 1970.
    pub at_us: i64,
    pub kind: String,
    pub actor: String,
    pub subject: String,
    /// 0: about no act.
    pub action_id: i64,
    /// JSON.
    pub details: String,
    pub hash: Hash,
}

impl Record {
    /// The record that follows `before`, with secrets hidden.
    pub fn chained(org: &str, before: &Tail, draft: &Draft, at: DateTime<Utc>) -> Self {
        let details = redact::fields_text(&draft.details);
        let mut record = Self {
            org: org.to_owned(),
            seq: before.seq + 1,
            at_us: at.timestamp_micros(),
            kind: draft.kind.word().to_owned(),
            actor: redact::text(&draft.actor),
            subject: redact::text(&draft.subject),
            action_id: draft.action_id.unwrap_or(0),
            details,
            hash: GENESIS,
        };
        record.hash = record.expected_hash(&before.hash);
        record
    }

    /// What its hash must be behind a record of hash `before`.
    pub fn expected_hash(&self, before: &Hash) -> Hash {
        let mut hasher = blake3::Hasher::new();
        let mut bytes = Vec::with_capacity(256 + self.details.len() + self.subject.len());
        let text = |bytes: &mut Vec<u8>, text: &[u8]| {
            let length = u64::try_from(text.len()).unwrap_or(u64::MAX);
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(text);
        };
        text(&mut bytes, FORM);
        bytes.extend_from_slice(before);
        text(&mut bytes, self.org.as_bytes());
        bytes.extend_from_slice(&self.seq.to_be_bytes());
        bytes.extend_from_slice(&self.at_us.to_be_bytes());
        text(&mut bytes, self.kind.as_bytes());
        text(&mut bytes, self.actor.as_bytes());
        text(&mut bytes, self.subject.as_bytes());
        bytes.extend_from_slice(&self.action_id.to_be_bytes());
        text(&mut bytes, self.details.as_bytes());
        hasher.update(&bytes);
        *hasher.finalize().as_bytes()
    }

    /// When it happened; `None` for a number that is no time.
    pub fn at(&self) -> Option<DateTime<Utc>> {
        DateTime::from_timestamp_micros(self.at_us)
    }

    pub fn tail(&self) -> Tail {
        Tail { seq: self.seq, hash: self.hash }
    }
}

/// Where a chain ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tail {
    /// 0: no record yet.
    pub seq: u64,
    pub hash: Hash,
}

impl Tail {
    pub const EMPTY: Self = Self { seq: 0, hash: GENESIS };
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// Reads exactly `N` bytes of lower-case hexadecimal.
pub fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    let mut bytes = [0; N];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(bytes)
}
