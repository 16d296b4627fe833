//! Approvals: a person's leave for one exact act, once, for a while.
//!
//! Bound to the act by a digest, so that a changed command needs a new one. The decision is signed by
//! the operator's key, which agents do not get: an approval written into the database by anybody else
//! does not count. A step back of the clock never prolongs one.

use chrono::{DateTime, TimeDelta, Utc};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use serde_json::{Map, Value};

use super::action::Ask;
use super::audit::{from_hex, hex};

/// How far the clock may run back before an approval counts as expired.
const CLOCK_SLACK: TimeDelta = TimeDelta::minutes(2);

/// Names one act by all that makes it what it is; lower-case hexadecimal of blake3.
///
/// Not in it: who counts (`session_id`, `correlation_id`, depth) and what a caller thinks of the
/// risk, because a repeated act may differ there. The cost is: leave for a dollar is none for a hundred.
pub fn digest(ask: &Ask) -> String {
    let Ask {
        org,
        agent,
        action_type,
        resource,
        context,
        cost,
        claimed_risk: _,
        session_id: _,
        parent_action_id: _,
        depth: _,
        correlation_id: _,
    } = ask;
    let mut canonical_context = String::with_capacity(256);
    canonical_object(context, &mut canonical_context);
    let mut bytes = Vec::new();
    for text in ["ao-act-1", org, agent, action_type, resource, &canonical_context] {
        bytes.extend_from_slice(&u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes.extend_from_slice(&cost.0.to_be_bytes());
    hex(blake3::hash(&bytes).as_bytes())
}

/// JSON with sorted keys and no blanks.
fn canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(fields) => canonical_object(fields, out),
        Value::Array(items) => {
            for (number, item) in items.iter().enumerate() {
                out.push(if number == 0 { '[' } else { ',' });
                canonical(item, out);
            }
            out.push_str(if items.is_empty() { "[]" } else { "]" });
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => plain(value, out),
    }
}

fn canonical_object(fields: &Map<String, Value>, out: &mut String) {
    let mut sorted: Vec<(&String, &Value)> = fields.iter().collect();
    sorted.sort_by(|left, right| left.0.cmp(right.0));
    for (number, (name, field)) in sorted.into_iter().enumerate() {
        out.push(if number == 0 { '{' } else { ',' });
        plain(name, out);
        out.push(':');
        canonical(field, out);
    }
    out.push_str(if fields.is_empty() { "{}" } else { "}" });
}

/// As `serde_json` writes it.
fn plain(value: &impl serde::Serialize, out: &mut String) {
    out.push_str(&serde_json::to_string(value).expect("texts and numbers always serialise"));
}

/// How far an approval has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Waits for a person.
    Pending,
    /// A person said yes; not used yet.
    Approved,
    /// The act was let through once.
    Used,
    /// A person said no.
    Denied,
    /// Nobody said anything in time, or the yes was not used in time.
    Expired,
}

impl State {
    pub const ALL: [Self; 5] =
        [Self::Pending, Self::Approved, Self::Used, Self::Denied, Self::Expired];

    pub fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Used => "used",
            Self::Denied => "denied",
            Self::Expired => "expired",
        }
    }

    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.word() == word)
    }
}

/// What may happen to an approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Approve,
    Deny,
    Use,
    Expire,
}

/// Why a step is not possible; for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("it waits for a person")]
    Undecided,
    #[error("it was approved already")]
    AlreadyApproved,
    #[error("it was used already; each approval counts once")]
    AlreadyUsed,
    #[error("it was denied")]
    AlreadyDenied,
    #[error("it has expired")]
    AlreadyExpired,
}

/// The state behind a step. Nothing leads out of used, denied and expired.
pub fn next(state: State, step: Step) -> Result<State, Refusal> {
    match (state, step) {
        (State::Pending, Step::Approve) => Ok(State::Approved),
        // A person may take a yes back as long as it was not used.
        (State::Pending | State::Approved, Step::Deny) => Ok(State::Denied),
        (State::Approved, Step::Use) => Ok(State::Used),
        (State::Pending | State::Approved, Step::Expire) => Ok(State::Expired),
        (State::Pending, Step::Use) => Err(Refusal::Undecided),
        (State::Approved, Step::Approve) => Err(Refusal::AlreadyApproved),
        (State::Used, Step::Approve | Step::Deny | Step::Use | Step::Expire) => {
            Err(Refusal::AlreadyUsed)
        }
        (State::Denied, Step::Approve | Step::Deny | Step::Use | Step::Expire) => {
            Err(Refusal::AlreadyDenied)
        }
        (State::Expired, Step::Approve | Step::Deny | Step::Use | Step::Expire) => {
            Err(Refusal::AlreadyExpired)
        }
    }
}

/// Whether an approval made at `created` and good until `expires` is over. A clock that runs before
/// its making has been set back, which ends it too.
pub fn is_over(created: DateTime<Utc>, expires: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    now >= expires || now < created - CLOCK_SLACK
}

/// What a person decided, as it is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision<'a> {
    pub org: &'a str,
    pub approval_id: i64,
    pub digest: &'a str,
    pub approved: bool,
    pub expires: DateTime<Utc>,
}

impl Decision<'_> {
    fn statement(&self) -> String {
        let word = if self.approved { "approved" } else { "denied" };
        let (id, until) = (self.approval_id, self.expires.timestamp_micros());
        format!("ao-decision-1 {word} {id} {} {until} {}", self.digest, self.org)
    }

    pub fn signed(&self, key: &SigningKey) -> String {
        hex(&key.sign(self.statement().as_bytes()).to_bytes())
    }

    pub fn is_signed(&self, signature: &str, key: &VerifyingKey) -> bool {
        from_hex(signature).is_some_and(|bytes| {
            key.verify_strict(self.statement().as_bytes(), &Signature::from_bytes(&bytes)).is_ok()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::action::Micros;
    use super::*;

    fn ask() -> Ask {
        Ask {
            org: "local".into(),
            agent: "builder".into(),
            action_type: "shell.run".into(),
            resource: "make deploy".into(),
            context: serde_json::from_str(r#"{"b":1,"a":{"d":[1,2],"c":null}}"#).unwrap(),
            cost: Micros(5),
            claimed_risk: None,
            session_id: None,
            parent_action_id: None,
            depth: 0,
            correlation_id: None,
        }
    }

    #[test]
    fn a_changed_act_has_another_digest_and_a_repeated_one_the_same() {
        let same = Ask {
            context: serde_json::from_str(r#"{"a":{"c":null,"d":[1,2]},"b":1}"#).unwrap(),
            correlation_id: Some("again".into()),
            claimed_risk: Some(3.0),
            ..ask()
        };
        assert_eq!(digest(&ask()), digest(&same));
        for changed in [
            Ask { org: "other".into(), ..ask() },
            Ask { agent: "other".into(), ..ask() },
            Ask { action_type: "shell.eval".into(), ..ask() },
            Ask { resource: "make deploy ".into(), ..ask() },
            Ask { cost: Micros(6), ..ask() },
            Ask {
                context: serde_json::from_str(r#"{"a":{"c":null,"d":[2,1]},"b":1}"#).unwrap(),
                ..ask()
            },
            Ask { agent: "buildershell".into(), action_type: ".run".into(), ..ask() },
        ] {
            assert_ne!(digest(&ask()), digest(&changed), "{changed:?}");
        }
    }

    #[test]
    fn an_approval_is_used_once_and_what_is_over_stays_over() {
        for state in State::ALL {
            for step in [Step::Approve, Step::Deny, Step::Use, Step::Expire] {
                let after = next(state, step);
                match state {
                    State::Pending => assert_eq!(after.is_ok(), step != Step::Use),
                    State::Approved => assert_eq!(after.is_ok(), step != Step::Approve),
                    State::Used | State::Denied | State::Expired => assert!(after.is_err()),
                }
                if step == Step::Use && state != State::Approved {
                    assert!(after.is_err(), "{state:?} let an act through");
                }
            }
            assert_eq!(State::from_word(state.word()), Some(state));
        }
    }

    #[test]
    fn a_clock_that_was_set_back_ends_an_approval() {
        let at = |minutes| DateTime::UNIX_EPOCH + TimeDelta::minutes(minutes);
        assert!(!is_over(at(100), at(110), at(100)));
        assert!(!is_over(at(100), at(110), at(99)));
        assert!(is_over(at(100), at(110), at(110)));
        assert!(is_over(at(100), at(110), at(40)));
    }

    #[test]
    fn a_signature_counts_for_exactly_one_decision() {
        let key = SigningKey::from_bytes(&[1; 32]);
        let decision = Decision {
            org: "local",
            approval_id: 4,
            digest: "d",
            approved: true,
            expires: DateTime::UNIX_EPOCH,
        };
        let signature = decision.signed(&key);
        let good = |decision: &Decision| decision.is_signed(&signature, &key.verifying_key());
        assert!(good(&decision));
        assert!(!good(&Decision { approval_id: 5, ..decision.clone() }));
        assert!(!good(&Decision { digest: "e", ..decision.clone() }));
        assert!(!good(&Decision { org: "o", ..decision.clone() }));
        let longer = decision.expires + TimeDelta::days(1);
        assert!(!good(&Decision { expires: longer, ..decision.clone() }));
        assert!(!decision.is_signed("", &key.verifying_key()));
    }
}
