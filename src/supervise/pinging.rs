//! What was seen of branch and inboxes becomes messages of the queue, in one change of the fleet.
//!
//! That a ping is queued and that its commit was seen are written down together, so no crash pings
//! twice and none loses a ping.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::action::{Action, Report, What};
use super::outbox::{self, Draft, Origin, Stage};
use super::state::{Care, Fleet};
use crate::base::now::Now;
use crate::handoff::judge::{Observation, Ping, Seen, judge};

/// Where the handoff stands.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Handoff {
    pub seen: Seen,
    /// The last look that succeeded.
    pub looked_at: Option<DateTime<Utc>>,
    /// Why looking fails.
    pub problem: Option<String>,
}

/// What a look gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "look")]
pub enum Looked {
    Seen { observation: Observation },
    Failed { problem: String },
}

/// Takes a look in.
pub fn looked(fleet: &mut Fleet, look: &Looked, now: Now, out: &mut Vec<Action>) {
    let Some(watch) = fleet.settings.handoff.clone() else { return };
    let observation = match look {
        Looked::Failed { problem } => {
            if fleet.handoff.problem.as_ref() != Some(problem) {
                fleet.handoff.problem = Some(problem.clone());
                say(&format!("{problem}; it is tried again"), true, out);
            }
            return;
        }
        Looked::Seen { observation } => observation,
    };
    if fleet.handoff.problem.take().is_some() {
        say("the branch can be read again", false, out);
    }
    fleet.handoff.looked_at = Some(now.wall);
    for note in &observation.notes {
        say(note, false, out);
    }
    let before = fleet.handoff.seen.clone();
    let waiting = waiting(fleet);
    let (seen, pings) = judge(before.clone(), &watch, observation, &waiting);
    fleet.handoff.seen = seen;
    for ping in pings {
        send(fleet, ping, now, out);
    }
    if fleet.handoff.seen != before {
        out.push(Action::SaveHandoff);
    }
}

/// The keys of pings that can still be replaced.
fn waiting(fleet: &Fleet) -> BTreeSet<String> {
    let messages = fleet.units.values().flat_map(|unit| &unit.outbox);
    let queued = messages.filter(|message| message.stage == Stage::Queued);
    queued.filter_map(|message| message.draft.key.clone()).collect()
}

fn send(fleet: &mut Fleet, ping: Ping, now: Now, out: &mut Vec<Action>) {
    let Some(unit) = fleet.units.get_mut(&ping.to).filter(|unit| unit.spec.care != Care::None)
    else {
        return;
    };
    say(&format!("for `{}`: {}", ping.to, ping.why), false, out);
    let draft = Draft {
        text: ping.text,
        origin: Origin::Handoff,
        key: Some(ping.key),
        expires_at: None,
        busy_input: false,
        command: false,
    };
    outbox::push(unit, &mut fleet.newest_message, draft, None, now, out);
}

fn say(why: &str, notify: bool, out: &mut Vec<Action>) {
    out.push(Action::Report(Report {
        unit: None,
        what: What::Handoff,
        why: why.to_owned(),
        notify,
    }));
}
