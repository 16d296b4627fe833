//! Messages that wait until their agent can read them: typed once each, in order, or reported.
//!
//! `queued → typing → submitted`. A message that is being typed when everything dies is looked into
//! by what was written down before the first key: nothing was typed, and it is queued again; or its
//! fate is unknown, and it is reported and never typed again. Not here: how a text gets into a pane.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::action::{Action, What};
use super::agent;
use super::event::{Outcome, RequestId};
use super::state::Unit;
use crate::base::name::UnitName;
use crate::base::now::{Mono, Now};
use crate::screen::PaneState;

/// Messages kept for one agent; one more is refused, as an agent that far behind reads none of them.
pub const DEPTH_MAX: usize = 64;
/// After something stood in the way: a person who reads or types is not to be raced.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// Proven misses before a message is given up.
const MISSES_MAX: u8 = 3;
/// A screen that no rule knows and that stands still this long is taken for one that takes input.
const QUIET_ENOUGH: Duration = Duration::from_secs(5);

/// Names one message of the fleet; never used again.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct MessageId(pub u64);

/// Where a message comes from. It decides when it may be typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// `ao send`.
    Person,
    /// The agent's own `wake`.
    Wake,
    /// A commit that claims or asks for review, or a changed inbox.
    Handoff,
    /// The one text that ends a limit window; the only one a limited agent gets.
    Probe,
    /// The first rung against a stall.
    Nudge,
    /// Asks to go on after a provider's trouble; the only one an overloaded agent gets.
    Retry,
}

impl Origin {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Person => "message",
            Self::Wake => "wake",
            Self::Handoff => "ping",
            Self::Probe => "probe",
            Self::Nudge => "nudge",
            Self::Retry => "retry",
        }
    }
}

/// What is to be said, before it has a number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draft {
    pub text: String,
    pub origin: Origin,
    /// A newer message with the same key takes the place of a queued older one.
    pub key: Option<String>,
    pub expires_at: Option<DateTime<Utc>>,
    /// Also while it works, where its CLI takes input then.
    pub busy_input: bool,
    /// Its first character may be one that the CLI takes as a command.
    #[serde(default)]
    pub command: bool,
}

/// One message of one agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    pub id: MessageId,
    pub draft: Draft,
    pub queued_at: DateTime<Utc>,
    pub stage: Stage,
    /// Not tried again before this moment.
    pub retry_at: Option<Mono>,
    /// What stood in the way last.
    pub held: Option<String>,
    /// Times it was proven not to have reached the agent.
    pub misses: u8,
    /// Who waits for its fate.
    pub request: Option<RequestId>,
}

/// How far a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "stage")]
pub enum Stage {
    Queued,
    /// Handed out to be typed into this attempt's pane.
    Typing {
        attempt: u64,
    },
}

/// What became of typing one message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "typed")]
pub enum Typed {
    /// Submitted, verified, with so many presses of the submit key.
    Submitted { keys: u32 },
    /// Nothing was typed: it waits for its next chance.
    Held { why: String },
    /// Proven not to have reached the agent, and of no use to try again.
    NotDelivered { why: String },
    /// Typed, and what became of it cannot be seen: never typed again.
    Unknown { why: String },
}

/// Puts a message into the agent's queue and gives it its number; `None` when the queue is full,
/// which is reported.
pub fn push(
    unit: &mut Unit,
    newest: &mut MessageId,
    draft: Draft,
    request: Option<RequestId>,
    now: Now,
    out: &mut Vec<Action>,
) -> Option<MessageId> {
    if let Some(key) = &draft.key {
        // A ping leaves out what an older one lists that was being typed when it was made; should
        // that have failed, both are needed.
        let replaced = |message: &Message| {
            message.stage == Stage::Queued
                && message.draft.key.as_ref() == Some(key)
                && (draft.origin != Origin::Handoff || tells_all(&draft.text, &message.draft.text))
        };
        for gone in unit.outbox.extract_if(.., |message| replaced(message)) {
            let why = "a newer message about the same took its place".to_owned();
            answer(gone.request, unit.spec.name.clone(), Outcome::NotSubmitted { why }, out);
        }
    }
    if unit.outbox.len() >= DEPTH_MAX {
        let why = format!(
            "a {} was dropped: {DEPTH_MAX} messages wait for it already; see `ao queue`",
            draft.origin.word()
        );
        agent::note(unit, now, What::NotSent, &why, true, out);
        answer(request, unit.spec.name.clone(), Outcome::NotSubmitted { why }, out);
        return None;
    }
    newest.0 += 1;
    let id = *newest;
    unit.outbox.push(Message {
        id,
        draft,
        queued_at: now.wall,
        stage: Stage::Queued,
        retry_at: None,
        held: None,
        misses: 0,
        request,
    });
    Some(id)
}

/// Whether the newer ping lists everything that the older one lists, or counts it as earlier.
fn tells_all(newer: &str, older: &str) -> bool {
    let tells = |line: &str| newer.lines().any(|other| other == line);
    // Where the first ones are only counted, the last one tells whether it goes on from there.
    let counts = newer.contains(" earlier one") && older.lines().last().is_some_and(tells);
    counts || older.lines().all(tells)
}

/// Whether it waits and could not come about again: a copy of such messages is kept.
pub fn is_kept(message: &Message) -> bool {
    message.stage == Stage::Queued
        && match message.draft.origin {
            Origin::Person | Origin::Handoff => true,
            Origin::Wake | Origin::Probe | Origin::Nudge | Origin::Retry => false,
        }
}

/// The numbers of all of them.
pub fn kept(units: &BTreeMap<UnitName, Unit>) -> Vec<MessageId> {
    let messages = units.values().flat_map(|unit| &unit.outbox);
    messages.filter(|message| is_kept(message)).map(|message| message.id).collect()
}

/// Why nothing of this origin is typed now; `None` when it may be.
pub fn obstacle(unit: &Unit, draft: &Draft, now: Now) -> Option<&'static str> {
    if !unit.is_running() {
        return Some("it does not run");
    }
    let Some(reading) = &unit.reading else { return Some("its screen was not read yet") };
    if unit.is_limited() && draft.origin != Origin::Probe {
        return Some("it is limited");
    }
    match reading.state {
        PaneState::Idle => None,
        PaneState::Working if draft.busy_input => None,
        PaneState::Working => Some("it works"),
        PaneState::Starting => Some("it is starting"),
        PaneState::Waiting => Some("it waits for a person"),
        PaneState::Limited if draft.origin == Origin::Probe => None,
        // Over, and only its banner is left on the screen.
        PaneState::Limited if unit.window.is_some() => None,
        PaneState::Limited => Some("it is limited"),
        PaneState::Overloaded if matches!(draft.origin, Origin::Retry | Origin::Probe) => None,
        PaneState::Overloaded => Some("its provider is overloaded"),
        PaneState::Fatal => Some("its conversation cannot go on"),
        PaneState::Dead | PaneState::Done => Some("its process has ended"),
        // Nothing on its screen tells; one that prints nothing for a while takes input.
        PaneState::Unknown if now.mono.since(reading.active_at) >= QUIET_ENOUGH => None,
        PaneState::Unknown => Some("its screen says nothing and still moves"),
    }
}

/// Hands out what may be typed now, one message an agent, and drops what expired.
pub fn due(unit: &mut Unit, now: Now, out: &mut Vec<Action>) {
    if unit.outbox.is_empty() {
        return;
    }
    expire(unit, now, out);
    if unit.outbox.iter().any(|message| message.stage != Stage::Queued) {
        return;
    }
    for message in &mut unit.outbox {
        // A moment that has passed must not wake the loop again.
        message.retry_at = message.retry_at.filter(|at| *at > now.mono);
    }
    let attempt = unit.attempt;
    let next = unit.outbox.iter().position(|message| {
        message.retry_at.is_none() && obstacle(unit, &message.draft, now).is_none()
    });
    let Some(message) = next.and_then(|index| unit.outbox.get_mut(index)) else { return };
    message.stage = Stage::Typing { attempt };
    out.push(Action::Type {
        unit: unit.spec.name.clone(),
        attempt,
        message: message.id,
        text: message.draft.text.clone(),
        busy_input: message.draft.busy_input,
        command: message.draft.command,
        past_banner: unit.reading.as_ref().is_some_and(|known| known.state == PaneState::Limited),
    });
}

fn expire(unit: &mut Unit, now: Now, out: &mut Vec<Action>) {
    let expired = |message: &mut Message| {
        message.stage == Stage::Queued
            && message.draft.expires_at.is_some_and(|expires| expires <= now.wall)
    };
    let gone: Vec<Message> = unit.outbox.extract_if(.., expired).collect();
    for message in gone {
        let held = message.held.clone();
        let held = held.or_else(|| obstacle(unit, &message.draft, now).map(str::to_owned));
        let held = held.unwrap_or_else(|| "another message was typed before it".to_owned());
        let why = format!("{held}, until the {} expired", message.draft.origin.word());
        let notify = message.request.is_none();
        agent::note(unit, now, What::NotSent, &why, notify, out);
        answer(message.request, unit.spec.name.clone(), Outcome::NotSubmitted { why }, out);
    }
}

/// What became of one message.
pub fn typed(unit: &mut Unit, id: MessageId, typed: &Typed, now: Now, out: &mut Vec<Action>) {
    let Some(index) =
        unit.outbox.iter().position(|message| message.id == id && message.stage != Stage::Queued)
    else {
        return;
    };
    let word = unit.outbox[index].draft.origin.word();
    let name = unit.spec.name.clone();
    match typed {
        Typed::Submitted { keys } => {
            let message = unit.outbox.remove(index);
            let why = format!("{word} {}, submitted with {keys} key presses", id.0);
            agent::note(unit, now, What::Sent, &why, false, out);
            answer(message.request, name, Outcome::Submitted { keys: *keys }, out);
        }
        Typed::Held { why } => {
            let message = &mut unit.outbox[index];
            message.stage = Stage::Queued;
            message.retry_at = Some(now.mono.plus(RETRY_AFTER));
            let news = message.held.as_ref() != Some(why);
            message.held = Some(why.clone());
            if news {
                let why = format!("{word} {} waits: {why}", id.0);
                agent::note(unit, now, What::NotSent, &why, false, out);
            }
        }
        Typed::NotDelivered { why } => {
            let message = &mut unit.outbox[index];
            message.misses += 1;
            let again = message.misses < MISSES_MAX && message.request.is_none();
            if again {
                message.stage = Stage::Queued;
                message.retry_at = Some(now.mono.plus(RETRY_AFTER));
                message.held = Some(why.clone());
            }
            let request = message.request.clone();
            if !again {
                unit.outbox.remove(index);
            }
            let text = format!("{word} {}: {why}", id.0);
            agent::note(unit, now, What::NotSent, &text, !again, out);
            answer(request, name, Outcome::NotSubmitted { why: why.clone() }, out);
        }
        Typed::Unknown { why } => {
            let message = unit.outbox.remove(index);
            let text =
                format!("{word} {}, its fate is unknown, it is not typed again: {why}", id.0);
            agent::note(unit, now, What::NotSent, &text, true, out);
            answer(message.request, name, Outcome::FateUnknown { why: why.clone() }, out);
        }
    }
}

/// The earliest moment at which time alone lets a message be tried again.
pub fn wake(unit: &Unit) -> Option<Mono> {
    let typing = unit.outbox.iter().any(|message| message.stage != Stage::Queued);
    let retries = unit.outbox.iter().filter_map(|message| message.retry_at);
    if typing { None } else { retries.min() }
}

fn answer(request: Option<RequestId>, unit: UnitName, outcome: Outcome, out: &mut Vec<Action>) {
    if let Some(id) = request {
        out.push(Action::Answer { id, outcomes: BTreeMap::from([(unit, outcome)]) });
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::base::name::{PaneId, SessionName};
    use crate::supervise::state::{Care, Known, Life, UnitKind, UnitSpec};

    fn now(second: u64) -> Now {
        let wall =
            DateTime::from_timestamp(1_795_000_000 + i64::try_from(second).expect("small"), 0);
        Now { wall: wall.expect("in range"), mono: Mono(second * 1_000) }
    }

    fn agent(state: PaneState) -> Unit {
        let spec = UnitSpec {
            name: UnitName::new("a").expect("plain"),
            session: SessionName::new("p-a").expect("plain"),
            kind: UnitKind::Agent,
            care: Care::Heal,
            enabled: true,
            process_names: Vec::new(),
            max_restarts: 10,
            stall_idle: Duration::from_secs(600),
            launch_digest: 1,
            habits: crate::supervise::state::Habits::default(),
        };
        let mut unit = Unit::new(spec);
        unit.attempt = 1;
        let pane = PaneId::new("%1");
        unit.life = Life::Running { pane, pid: 1, since: Mono(0), since_wall: now(0).wall };
        becomes(&mut unit, state);
        unit
    }

    fn becomes(unit: &mut Unit, state: PaneState) {
        unit.reading = Some(Known {
            state,
            since: now(0).wall,
            since_mono: Mono(0),
            looks: 1,
            evidence: [].into(),
            active_at: Mono(0),
            live_hash: 0,
        });
    }

    fn draft(text: &str, origin: Origin) -> Draft {
        Draft {
            text: text.to_owned(),
            origin,
            key: None,
            expires_at: None,
            busy_input: false,
            command: false,
        }
    }

    fn texts(out: &[Action]) -> Vec<String> {
        let words = |action: &Action| match action {
            Action::Type { message, text, .. } => Some(format!("type {} {text}", message.0)),
            Action::Report(report) => Some(format!("{}: {}", report.what.word(), report.why)),
            Action::Answer { outcomes, .. } => {
                Some(format!("answer {:?}", outcomes.values().collect::<Vec<_>>()))
            }
            Action::Start { .. }
            | Action::Stop { .. }
            | Action::SaveLimit { .. }
            | Action::ReadWake { .. }
            | Action::Look
            | Action::Sequence { .. }
            | Action::SaveHandoff
            | Action::SaveWanted => None,
        };
        out.iter().filter_map(words).collect()
    }

    #[track_caller]
    fn check(unit: &mut Unit, second: u64, outcome: Option<(u64, Typed)>, expected: &[&str]) {
        let mut out = Vec::new();
        if let Some((id, outcome)) = outcome {
            typed(unit, MessageId(id), &outcome, now(second), &mut out);
        }
        due(unit, now(second), &mut out);
        assert_eq!(texts(&out), expected);
    }

    fn said(unit: &mut Unit, newest: &mut MessageId, draft: Draft) {
        let mut out = Vec::new();
        push(unit, newest, draft, None, now(0), &mut out);
        assert_eq!(texts(&out), Vec::<String>::new());
    }

    #[test]
    fn a_banner_without_a_window_holds_everything_but_a_probe() {
        let unit = agent(PaneState::Limited);
        let obstacle = |origin| obstacle(&unit, &draft("go on", origin), now(1));
        assert_eq!(obstacle(Origin::Handoff), Some("it is limited"));
        assert_eq!(obstacle(Origin::Probe), None);
    }

    #[test]
    fn messages_go_one_by_one_in_their_order_and_only_to_an_idle_agent() {
        let (mut unit, mut newest) = (agent(PaneState::Working), MessageId(0));
        said(&mut unit, &mut newest, draft("one", Origin::Handoff));
        said(&mut unit, &mut newest, draft("two", Origin::Person));
        check(&mut unit, 1, None, &[]);
        becomes(&mut unit, PaneState::Idle);
        check(&mut unit, 2, None, &["type 1 one"]);
        check(&mut unit, 3, None, &[]);
        let submitted = Typed::Submitted { keys: 1 };
        let sent = "sent: ping 1, submitted with 1 key presses";
        check(&mut unit, 4, Some((1, submitted.clone())), &[sent, "type 2 two"]);
        check(&mut unit, 5, Some((1, submitted)), &[]);
    }

    #[test]
    fn a_limited_agent_gets_the_probe_and_nothing_else() {
        let (mut unit, mut newest) = (agent(PaneState::Limited), MessageId(0));
        said(&mut unit, &mut newest, draft("ping", Origin::Handoff));
        said(&mut unit, &mut newest, draft("continue", Origin::Probe));
        check(&mut unit, 1, None, &["type 2 continue"]);
    }

    #[test]
    fn what_was_held_is_tried_again_later_and_said_once() {
        let (mut unit, mut newest) = (agent(PaneState::Idle), MessageId(0));
        said(&mut unit, &mut newest, draft("one", Origin::Person));
        check(&mut unit, 1, None, &["type 1 one"]);
        let held = Typed::Held { why: "a person's draft stands in its input box".to_owned() };
        let word = "not sent: message 1 waits: a person's draft stands in its input box";
        check(&mut unit, 2, Some((1, held.clone())), &[word]);
        assert_eq!(wake(&unit), Some(Mono(7_000)));
        check(&mut unit, 6, None, &[]);
        check(&mut unit, 7, None, &["type 1 one"]);
        check(&mut unit, 8, Some((1, held)), &[]);
        check(&mut unit, 13, None, &["type 1 one"]);
    }

    #[test]
    fn a_message_of_unknown_fate_is_never_typed_again() {
        let (mut unit, mut newest) = (agent(PaneState::Idle), MessageId(0));
        said(&mut unit, &mut newest, draft("one", Origin::Wake));
        check(&mut unit, 1, None, &["type 1 one"]);
        let unknown = Typed::Unknown { why: "the screen changed".to_owned() };
        let word =
            "not sent: wake 1, its fate is unknown, it is not typed again: the screen changed";
        check(&mut unit, 2, Some((1, unknown)), &[word]);
        check(&mut unit, 100, None, &[]);
        assert!(unit.outbox.is_empty());
    }

    #[test]
    fn a_newer_message_with_the_same_key_replaces_one_that_still_waits() {
        let (mut unit, mut newest) = (agent(PaneState::Working), MessageId(0));
        let keyed = |text: &str| Draft { key: Some("k".to_owned()), ..draft(text, Origin::Person) };
        said(&mut unit, &mut newest, keyed("old"));
        said(&mut unit, &mut newest, draft("other", Origin::Handoff));
        said(&mut unit, &mut newest, keyed("new"));
        becomes(&mut unit, PaneState::Idle);
        check(&mut unit, 1, None, &["type 2 other"]);
        let submitted = Typed::Submitted { keys: 2 };
        let sent = "sent: ping 2, submitted with 2 key presses";
        check(&mut unit, 2, Some((2, submitted)), &[sent, "type 3 new"]);
    }

    #[test]
    fn a_message_that_expired_is_reported_with_what_stood_in_its_way() {
        let (mut unit, mut newest) = (agent(PaneState::Waiting), MessageId(0));
        let until = Draft { expires_at: Some(now(10).wall), ..draft("one", Origin::Person) };
        said(&mut unit, &mut newest, until);
        check(&mut unit, 9, None, &[]);
        let word = "not sent: it waits for a person, until the message expired";
        check(&mut unit, 10, None, &[word]);
    }

    #[test]
    fn a_full_queue_refuses_and_says_so() {
        let (mut unit, mut newest) = (agent(PaneState::Working), MessageId(0));
        for _ in 0..DEPTH_MAX {
            said(&mut unit, &mut newest, draft("more", Origin::Handoff));
        }
        let mut out = Vec::new();
        let refused =
            push(&mut unit, &mut newest, draft("no", Origin::Handoff), None, now(1), &mut out);
        assert_eq!(refused, None);
        let word = "not sent: a ping was dropped: 64 messages wait for it already; see `ao queue`";
        assert_eq!(texts(&out), [word]);
    }

    #[test]
    fn a_newer_ping_takes_the_place_of_an_older_one_only_if_it_tells_as_much() {
        let mut unit = agent(PaneState::Limited);
        let mut newest = MessageId::default();
        let mut ping = |unit: &mut Unit, text: &str| {
            let key = Some("claims".to_owned());
            let draft = Draft { key, ..draft(text, Origin::Handoff) };
            push(unit, &mut newest, draft, None, now(1), &mut Vec::new());
            unit.outbox.iter().map(|message| message.draft.text.clone()).collect::<Vec<_>>()
        };
        assert_eq!(ping(&mut unit, "new\n- a"), ["new\n- a"]);
        assert_eq!(ping(&mut unit, "new\n- a\n- b"), ["new\n- a\n- b"]);
        assert_eq!(ping(&mut unit, "new\n- c"), ["new\n- a\n- b", "new\n- c"]);
        let all = ["new\n- a\n- b", "new\n- c\n- d"];
        assert_eq!(ping(&mut unit, "new\n- c\n- d"), all);
        let all = ["new\n- a\n- b", "new\n- 1 earlier one\n- d\n- e"];
        assert_eq!(ping(&mut unit, "new\n- 1 earlier one\n- d\n- e"), all);
    }
}
