//! What waits in the agents' queues, for people.

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::base::now::Now;
use crate::supervise::outbox::{self, Stage};
use crate::supervise::state::Fleet;

/// Characters of a message shown.
const TEXT_CHARS_MAX: usize = 200;

/// One waiting message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Waiting {
    pub id: u64,
    pub agent: String,
    /// `message`, `wake`, `ping`, `probe` or `nudge`.
    pub origin: &'static str,
    pub key: Option<String>,
    pub queued_at: DateTime<Utc>,
    pub expires_at: Option<DateTime<Utc>>,
    /// What it waits for.
    pub waits_for: String,
    /// Its beginning, on one line.
    pub text: String,
}

/// Every waiting message, by agent, oldest first.
pub fn waiting(fleet: &Fleet, now: Now) -> Vec<Waiting> {
    let of_unit = |unit: &crate::supervise::state::Unit| {
        let lines = unit.outbox.iter().enumerate().map(|(index, message)| Waiting {
            id: message.id.0,
            agent: unit.spec.name.to_string(),
            origin: message.draft.origin.word(),
            key: message.draft.key.clone(),
            queued_at: message.queued_at,
            expires_at: message.draft.expires_at,
            waits_for: match (message.stage, outbox::obstacle(unit, &message.draft, now)) {
                (Stage::Typing { .. }, _) => "it is being typed".to_owned(),
                (Stage::Queued, Some(obstacle)) => obstacle.to_owned(),
                (Stage::Queued, None) => match &message.held {
                    Some(held) => held.clone(),
                    None if index > 0 => "the message before it".to_owned(),
                    None => "the watchdog".to_owned(),
                },
            },
            text: one_line(&message.draft.text),
        });
        lines.collect::<Vec<_>>()
    };
    fleet.units.values().flat_map(of_unit).collect()
}

fn one_line(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    words.chars().take(TEXT_CHARS_MAX).collect()
}
