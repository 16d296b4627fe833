//! One message into one input box: when to paste, when to submit, and how we know that it went.
//!
//! A state machine without clock or tmux: the caller looks, tells what it saw, and does what it is
//! told. Leaves out who may send what, and texts too long to paste (the caller passes a pointer line).
//!
//! # Invariants
//! - A text is pasted at most once in the life of a [`Delivery`]; what is unsure is looked at, never retyped.
//! - Only the submit key is repeated, only while our own text is seen standing in the box.
//! - Nothing is typed into a dialog, into copy mode, over a person's draft, or into a dead pane.

use std::time::Duration;

use crate::base::now::Mono;
use crate::screen::{Composer, PaneState, Reading};

/// A client's key within this time means that a person is at work in the pane.
pub const PERSON_ACTIVE_WITHIN: Duration = Duration::from_secs(10);
/// Two looks this far apart must agree before anything is typed: one look can fall into a redraw.
const STEADY: Duration = Duration::from_millis(40);
/// Between looks while something is awaited.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The same right after a submit key.
const LOOK_LEAST: Duration = Duration::from_millis(15);
/// A part of our text stands for the whole (the box scrolls) from so many letters on.
const PART_LETTERS_MIN: usize = 24;
/// Letters and spaces of our text that the submit key is bound to.
const SHOWN_CHARS_MIN: usize = 3;
const SHOWN_CHARS_MAX: usize = 24;
/// A submit key refused so often in a row for text that we do see is pressed without that condition.
const REFUSED_MAX: u32 = 3;

/// How a message is typed into one kind of CLI.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// tmux name of the key.
    pub submit_key: String,
    /// Between the paste and the first submit key.
    pub submit_delay: Duration,
    /// Submit keys at most, the first included.
    pub submits_max: u32,
    /// Between a submit key and the next; doubles each time.
    pub submit_again_after: Duration,
    /// Busy agents take messages too.
    pub busy_input: bool,
    /// The input box can be seen. If not, one submit key is sent and the state must change.
    pub has_composer: bool,
    /// How long an obstacle before the paste is waited for; zero = one verdict at once.
    pub hold_max: Duration,
    /// How long after the paste the text may stay out of sight.
    pub appear_within: Duration,
    /// How long an obstacle after the paste (a dialog over the box, a limit) is waited for.
    pub obstacle_max: Duration,
    /// A usage-limit banner on the screen is no obstacle.
    pub past_banner: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            submit_key: "Enter".to_owned(),
            submit_delay: Duration::from_millis(300),
            submits_max: 5,
            submit_again_after: Duration::from_millis(500),
            busy_input: false,
            has_composer: true,
            hold_max: Duration::ZERO,
            appear_within: Duration::from_secs(5),
            obstacle_max: Duration::from_secs(30),
            past_banner: false,
        }
    }
}

/// What came of the act asked for last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActResult {
    Done,
    /// Proven: nothing was sent.
    NotSent,
    /// It may or may not have been sent.
    Unsure,
}

/// What one look at the pane says.
#[derive(Debug, Clone, Copy)]
pub struct Observed<'a> {
    /// `None` = the screen could not be read.
    pub reading: Option<&'a Reading>,
    /// The pane is dead or gone.
    pub dead: bool,
    pub in_mode: bool,
    /// Since the last key of an attached client; `None` = nobody is attached.
    pub person_active_ago: Option<Duration>,
    /// The answer to the last [`DeliveryAct::Paste`] or [`DeliveryAct::Submit`], given once.
    pub acted: Option<ActResult>,
}

/// What to do next. The last four end the delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeliveryAct {
    /// Look again at once.
    Look,
    /// Look again at this instant.
    Wait(Mono),
    Paste(String),
    /// Press the submit key, provided the box still shows our text.
    Submit,
    Done,
    /// Nothing was typed; the same text may be tried again later.
    Held {
        why: String,
    },
    /// Proven: the agent did not get it.
    NotDelivered {
        why: String,
    },
    /// Typed, and what became of it cannot be seen. Never to be sent again by a program.
    Unknown {
        why: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    Before { clear_since: Option<Mono> },
    Pasting,
    Pasted { at: Mono, seen: bool, obstacle: Option<(Mono, &'static str)> },
    Submitting { hash: u64 },
    Submitted { at: Mono, gone_since: Option<Mono>, hash: u64 },
    Over(DeliveryAct),
}

/// One message on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    text: String,
    plan: Plan,
    phase: Phase,
    begun: Option<Mono>,
    submits: u32,
    /// A piece of our text as the box shows it.
    shown: Option<String>,
    /// Submit keys in a row that were not sent.
    refused: u32,
}

impl Delivery {
    /// The text is typed as it is: see [`safe_text`].
    pub fn new(text: impl Into<String>, plan: Plan) -> Self {
        let phase = Phase::Before { clear_since: None };
        Self { text: text.into(), plan, phase, begun: None, submits: 0, shown: None, refused: 0 }
    }

    /// After a crash: the text was or was about to be pasted at `at`. Looks, never pastes.
    pub fn resume(text: impl Into<String>, plan: Plan, at: Mono) -> Self {
        let phase = Phase::Pasted { at, seen: false, obstacle: None };
        Self {
            text: text.into(),
            plan,
            phase,
            begun: Some(at),
            submits: 0,
            shown: None,
            refused: 0,
        }
    }

    /// Submit keys asked for so far.
    pub fn submits(&self) -> u32 {
        self.submits
    }

    pub fn submit_key(&self) -> &str {
        &self.plan.submit_key
    }

    /// What the screen must show at the very moment of the submit key, one line of ASCII letters,
    /// digits and spaces: a dialog that opens after the look hides it. `None` = no condition.
    pub fn submit_while_shown(&self) -> Option<&str> {
        self.shown.as_deref().filter(|_| self.refused < REFUSED_MAX)
    }

    /// What follows from one look.
    pub fn step(&mut self, observed: &Observed<'_>, now: Mono) -> DeliveryAct {
        let begun = *self.begun.get_or_insert(now);
        let act = match self.phase.clone() {
            Phase::Before { clear_since } => self.before(observed, now, begun, clear_since),
            Phase::Pasting => self.pasting(observed, now),
            Phase::Pasted { at, seen, obstacle } => self.pasted(observed, now, at, seen, obstacle),
            Phase::Submitting { hash } => self.submitting(observed, now, hash),
            Phase::Submitted { at, gone_since, hash } => {
                self.submitted(observed, now, at, gone_since, hash)
            }
            Phase::Over(act) => act,
        };
        match &act {
            DeliveryAct::Done
            | DeliveryAct::Held { .. }
            | DeliveryAct::NotDelivered { .. }
            | DeliveryAct::Unknown { .. } => self.phase = Phase::Over(act.clone()),
            DeliveryAct::Look
            | DeliveryAct::Wait(_)
            | DeliveryAct::Paste(_)
            | DeliveryAct::Submit => {}
        }
        act
    }

    fn before(
        &mut self,
        observed: &Observed<'_>,
        now: Mono,
        begun: Mono,
        clear_since: Option<Mono>,
    ) -> DeliveryAct {
        if observed.dead {
            return not_delivered("the pane is dead");
        }
        if let Some(why) = self.obstacle_before(observed) {
            self.phase = Phase::Before { clear_since: None };
            if now.since(begun) >= self.plan.hold_max {
                return DeliveryAct::Held { why: why.to_owned() };
            }
            return DeliveryAct::Wait(now.plus(LOOK_EVERY));
        }
        let since = clear_since.unwrap_or(now);
        if now.since(since) >= STEADY {
            self.phase = Phase::Pasting;
            return DeliveryAct::Paste(self.text.clone());
        }
        self.phase = Phase::Before { clear_since: Some(since) };
        DeliveryAct::Wait(since.plus(STEADY))
    }

    /// Why nothing may be pasted now.
    fn obstacle_before(&self, observed: &Observed<'_>) -> Option<&'static str> {
        if let Some(why) = person_at_work(observed) {
            return Some(why);
        }
        let Some(reading) = observed.reading else { return Some("the screen cannot be read") };
        let state = match reading.state {
            PaneState::Idle | PaneState::Overloaded => None,
            PaneState::Working if self.plan.busy_input => None,
            PaneState::Working => Some("the agent is working"),
            PaneState::Starting => Some("the agent is starting"),
            PaneState::Waiting => Some("the agent waits for a person"),
            PaneState::Limited if self.plan.past_banner => None,
            PaneState::Limited => Some("the agent has reached a usage limit"),
            PaneState::Fatal => Some("the agent shows an error that a message cannot mend"),
            PaneState::Dead | PaneState::Done => Some("the agent has ended"),
            PaneState::Unknown => Some("the screen says nothing we know"),
        };
        state.or(match (&reading.composer, self.plan.has_composer) {
            (Composer::Draft { .. }, _) => Some("somebody's unsent text stands in the input box"),
            (Composer::Absent, true) => Some("the input box is not on the screen"),
            (Composer::Empty, _) | (Composer::Absent, false) => None,
        })
    }

    fn pasting(&mut self, observed: &Observed<'_>, now: Mono) -> DeliveryAct {
        match observed.acted {
            Some(ActResult::NotSent) if observed.dead => not_delivered("the pane is dead"),
            Some(ActResult::NotSent) => {
                // Nothing left our hands, so this paste does not count as the one.
                self.phase = Phase::Before { clear_since: None };
                DeliveryAct::Wait(now.plus(LOOK_EVERY))
            }
            Some(ActResult::Done | ActResult::Unsure) | None => {
                self.phase = Phase::Pasted { at: now, seen: false, obstacle: None };
                DeliveryAct::Wait(now.plus(self.plan.submit_delay))
            }
        }
    }

    fn pasted(
        &mut self,
        observed: &Observed<'_>,
        now: Mono,
        at: Mono,
        seen: bool,
        obstacle: Option<(Mono, &'static str)>,
    ) -> DeliveryAct {
        if observed.dead {
            return if self.submits == 0 && self.plan.has_composer && seen {
                not_delivered("the agent ended before the text was submitted")
            } else {
                unknown("the agent ended after the text was pasted")
            };
        }
        let reading = observed.reading;
        let standing = reading.map(|reading| self.standing(reading));
        let foreign = matches!(standing, Some(Standing::Other | Standing::Mixed));
        let why = person_at_work(observed)
            .or_else(|| foreign.then_some("the input box holds more than our text"))
            .or_else(|| self.obstacle_after(reading));
        if let Some(why) = why {
            let (since, _) = obstacle.unwrap_or((now, why));
            let seen = seen || standing == Some(Standing::Ours);
            self.phase = Phase::Pasted { at, seen, obstacle: Some((since, why)) };
            if now.since(since) >= self.plan.obstacle_max {
                return unknown(&format!("pasted but not submitted: {why}"));
            }
            return DeliveryAct::Wait(now.plus(LOOK_EVERY));
        }
        let blind = !self.plan.has_composer;
        if standing == Some(Standing::Ours) || blind {
            self.phase = Phase::Pasted { at, seen: true, obstacle: None };
            let due = at.plus(self.plan.submit_delay);
            if now < due {
                return DeliveryAct::Wait(due);
            }
            self.submits += 1;
            self.shown = reading.and_then(shown_piece);
            self.phase = Phase::Submitting { hash: reading.map_or(0, |reading| reading.live_hash) };
            return DeliveryAct::Submit;
        }
        // The box emptied between two submit keys: the earlier one came through late.
        if self.submits > 0 && standing == Some(Standing::Nothing) {
            let hash = reading.map_or(0, |reading| reading.live_hash);
            self.phase = Phase::Submitted { at: now, gone_since: Some(now), hash };
            return DeliveryAct::Wait(now.plus(STEADY));
        }
        // An obstacle that went away gives the text its time to appear once more.
        let at = if obstacle.is_some() { now } else { at };
        self.phase = Phase::Pasted { at, seen, obstacle: None };
        if now.since(at) >= self.plan.appear_within {
            return unknown("the text was pasted and is not to be seen in the input box");
        }
        DeliveryAct::Wait(now.plus(LOOK_EVERY))
    }

    /// Why the submit key may not be pressed now.
    fn obstacle_after(&self, reading: Option<&Reading>) -> Option<&'static str> {
        let Some(reading) = reading else { return Some("the screen cannot be read") };
        match reading.state {
            PaneState::Waiting => Some("the agent waits for a person"),
            PaneState::Limited if self.plan.past_banner => None,
            PaneState::Limited => Some("the agent has reached a usage limit"),
            PaneState::Dead | PaneState::Done => Some("the agent has ended"),
            PaneState::Working if !self.plan.busy_input => Some("the agent began to work"),
            PaneState::Idle
            | PaneState::Working
            | PaneState::Overloaded
            | PaneState::Starting
            | PaneState::Fatal
            | PaneState::Unknown => None,
        }
    }

    fn submitting(&mut self, observed: &Observed<'_>, now: Mono, hash: u64) -> DeliveryAct {
        if observed.acted == Some(ActResult::NotSent) {
            self.submits -= 1;
            self.refused += 1;
            self.phase = Phase::Pasted { at: now, seen: true, obstacle: None };
            return DeliveryAct::Wait(now.plus(LOOK_EVERY));
        }
        self.refused = 0;
        self.phase = Phase::Submitted { at: now, gone_since: None, hash };
        DeliveryAct::Wait(now.plus(LOOK_LEAST))
    }

    fn submitted(
        &mut self,
        observed: &Observed<'_>,
        now: Mono,
        at: Mono,
        gone_since: Option<Mono>,
        hash: u64,
    ) -> DeliveryAct {
        if observed.dead {
            return unknown("the agent ended right after the submit key");
        }
        let waited = now.since(at);
        let again_after =
            self.plan.submit_again_after * 2_u32.saturating_pow((self.submits - 1).min(6));
        // Most boxes empty within milliseconds of the key; the few that do not are looked at less and less.
        let look_soon = DeliveryAct::Wait(now.plus((waited / 2).clamp(LOOK_LEAST, LOOK_EVERY)));
        let Some(reading) = observed.reading else {
            return self.out_of_sight(waited, look_soon, "the screen cannot be read");
        };
        if !self.plan.has_composer {
            if reading.state == PaneState::Working || reading.live_hash != hash {
                return DeliveryAct::Done;
            }
            return self.out_of_sight(waited, look_soon, "the screen did not change");
        }
        match self.standing(reading) {
            // Somebody's new text in the box means that ours has left it.
            Standing::Nothing | Standing::Other => {
                let since = gone_since.unwrap_or(now);
                self.phase = Phase::Submitted { at, gone_since: Some(since), hash };
                if now.since(since) >= STEADY {
                    return DeliveryAct::Done;
                }
                DeliveryAct::Wait(since.plus(STEADY))
            }
            Standing::Hidden => {
                self.out_of_sight(waited, look_soon, "the input box is hidden since the submit key")
            }
            Standing::Mixed => {
                let why = "the input box holds our text and more since the submit key";
                self.out_of_sight(waited, look_soon, why)
            }
            Standing::Ours if waited < again_after => {
                self.phase = Phase::Submitted { at, gone_since: None, hash };
                look_soon
            }
            Standing::Ours if self.submits >= self.plan.submits_max => {
                let times = self.submits;
                not_delivered(&format!(
                    "the text still stands in the input box after {times} submit keys"
                ))
            }
            // Every condition of the first submit key holds for the next one too.
            Standing::Ours => {
                self.phase =
                    Phase::Pasted { at: at_before(now, &self.plan), seen: true, obstacle: None };
                DeliveryAct::Look
            }
        }
    }

    fn out_of_sight(&self, waited: Duration, look_soon: DeliveryAct, why: &str) -> DeliveryAct {
        if waited >= self.plan.obstacle_max { unknown(why) } else { look_soon }
    }

    fn standing(&self, reading: &Reading) -> Standing {
        match &reading.composer {
            Composer::Absent => Standing::Hidden,
            Composer::Empty => Standing::Nothing,
            Composer::Draft { text } if is_ours(text, &self.text) => Standing::Ours,
            Composer::Draft { text } if overlaps(text, &self.text) => Standing::Mixed,
            Composer::Draft { .. } => Standing::Other,
        }
    }
}

/// An instant whose submit delay is over.
fn at_before(now: Mono, plan: &Plan) -> Mono {
    Mono(now.0.saturating_sub(crate::base::now::millis(plan.submit_delay)))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// The box cannot be seen.
    Hidden,
    Nothing,
    Ours,
    /// Our text with something else, or only its beginning.
    Mixed,
    Other,
}

fn person_at_work(observed: &Observed<'_>) -> Option<&'static str> {
    if observed.in_mode {
        return Some("a person is in copy mode");
    }
    let active = observed.person_active_ago.is_some_and(|ago| ago < PERSON_ACTIVE_WITHIN);
    active.then_some("a person typed in this terminal a moment ago")
}

fn not_delivered(why: &str) -> DeliveryAct {
    DeliveryAct::NotDelivered { why: why.to_owned() }
}

fn unknown(why: &str) -> DeliveryAct {
    DeliveryAct::Unknown { why: why.to_owned() }
}

/// Whether the box's text is the one we pasted: equal but for white space (the box wraps), a large
/// part of it (the box scrolls), or the marker CLIs show for a long paste.
pub fn is_ours(shown: &str, text: &str) -> bool {
    let (shown_letters, ours) = (letters(shown), letters(text));
    if shown_letters == ours || is_paste_marker(shown.trim(), text) {
        return true;
    }
    shown_letters.chars().count() >= PART_LETTERS_MIN && ours.ends_with(&shown_letters)
}

/// The longest plain piece in the last line of the box, its end if it is long.
fn shown_piece(reading: &Reading) -> Option<String> {
    let Composer::Draft { text } = &reading.composer else { return None };
    let plain = |c: char| c.is_ascii_alphanumeric() || c == ' ';
    let pieces = text.lines().next_back()?.split(|c| !plain(c)).map(str::trim);
    let piece = pieces.max_by_key(|piece| piece.len())?;
    let piece = &piece[piece.len().saturating_sub(SHOWN_CHARS_MAX)..];
    (piece.len() >= SHOWN_CHARS_MIN).then(|| piece.trim().to_owned())
}

fn letters(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).collect()
}

/// Whether one of the two texts is found in the other.
fn overlaps(shown: &str, text: &str) -> bool {
    let (shown, ours) = (letters(shown), letters(text));
    shown.contains("[Pasted") || shown.contains(&ours) || ours.starts_with(&shown)
}

/// `[Pasted text #1 +9 lines]`, `[Pasted Content 9859 chars]`, `[Pasted ~290 lines]`, alone in the box.
fn is_paste_marker(shown: &str, text: &str) -> bool {
    let Some(inside) = shown.strip_prefix("[Pasted ").and_then(|rest| rest.strip_suffix(']'))
    else {
        return false;
    };
    if inside.contains(['[', ']', '\n']) {
        return false;
    }
    // A count that is told exactly must be ours.
    let told = inside.rsplit_once('+').and_then(|(_, rest)| rest.strip_suffix(" lines"));
    told.and_then(|count| count.parse::<usize>().ok())
        .is_none_or(|count| count.abs_diff(text.matches('\n').count()) <= 1)
}

/// How a message may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// As plain speech: a first character that CLIs take as a command gets a word before it.
    Speech,
    /// As the sender wrote it.
    Command,
}

/// Characters that make the first word a command of some CLI.
const COMMAND_CHARACTERS: [char; 5] = ['/', '!', '#', '$', '@'];

/// The text made safe to type: no control bytes but LF and TAB, nothing that runs a command, and a
/// last space so that no completion popup eats the submit key.
pub fn safe_text(text: &str, opening: Opening) -> String {
    let text = text.replace("\r\n", "\n");
    let text: String =
        text.chars().filter(|c| !c.is_control() || *c == '\n' || *c == '\t').collect();
    let text = text.trim_end();
    let commands = text.trim_start().starts_with(COMMAND_CHARACTERS);
    let word = if commands && opening == Opening::Speech { "Message: " } else { "" };
    format!("{word}{text} ")
}

#[cfg(test)]
#[path = "deliver_tests.rs"]
mod tests;
