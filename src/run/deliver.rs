//! Drives one [`Delivery`] over tmux: looks, types, waits, until it is over.
//!
//! Decides nothing itself. Death and copy mode are asked for at first, after a refused act and once
//! a second; in between the guards of the typing commands watch, which costs no call.

use std::time::Duration;

use crate::base::name::PaneId;
use crate::base::now::{Mono, Now};
use crate::kickoff::deliver::{ActResult, Delivery, DeliveryAct, Observed};
use crate::screen::Reading;
use crate::sys::tmux::{Capture, Look, PaneFacts, Tmux, TmuxError, Typed};

/// Between two looks at what the screen alone does not show.
const FACTS_EVERY: Duration = Duration::from_secs(1);

/// How a delivery ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// `attempts` submit keys were pressed.
    Delivered { attempts: u32 },
    /// Nothing was typed; it may be tried again.
    Held { why: String },
    /// Proven: the agent did not get it.
    NotDelivered { why: String },
    /// Typed, and its fate cannot be seen. Never to be sent again by a program.
    Unknown { why: String },
}

/// A pane as a look told it, and when.
#[derive(Debug, Clone)]
pub struct Seen {
    pub pane: PaneFacts,
    pub at: Mono,
}

impl Seen {
    /// Whether no new look is due yet.
    pub fn is_fresh(&self, now: Mono) -> bool {
        now.since(self.at) < FACTS_EVERY
    }
}

/// What a delivery needs of the world.
pub struct Deliverer<'a> {
    pub tmux: &'a mut dyn Tmux,
    pub pane: &'a PaneId,
    /// The same pane as a look told it; `None`: it is looked at first.
    pub seen: Option<&'a Seen>,
    pub reader: &'a mut dyn FnMut(&Capture) -> Reading,
    /// Told before anything is typed, so that a crash leaves a record of it.
    pub before_typing: &'a mut dyn FnMut(&DeliveryAct),
    pub now: &'a mut dyn FnMut() -> Now,
    pub sleep: &'a mut dyn FnMut(Duration),
}

/// What the screen alone does not show.
#[derive(Debug, Clone, Copy, Default)]
struct Facts {
    dead: bool,
    in_mode: bool,
    /// Epoch seconds of the last key of an attached client; `None`: nobody is attached.
    person_at: Option<i64>,
    seen_at: Option<Mono>,
}

impl Facts {
    fn take(&mut self, pane: Option<&PaneFacts>, now: Mono) {
        self.dead = pane.is_none_or(|pane| pane.dead);
        self.in_mode = pane.is_some_and(|pane| pane.in_mode);
        self.person_at = pane.filter(|pane| pane.attached > 0).map(|pane| pane.person_at);
        self.seen_at = Some(now);
    }
}

impl Deliverer<'_> {
    /// Blocks until the delivery is over: at most its plan's patience before and after the paste.
    pub fn run(&mut self, delivery: &mut Delivery) -> Outcome {
        let mut facts = Facts::default();
        if let Some(seen) = self.seen {
            facts.take(Some(&seen.pane), seen.at);
        }
        let mut acted = None;
        loop {
            let reading = self.observe(&mut facts);
            let now = (self.now)();
            let observed = Observed {
                reading: reading.as_ref(),
                dead: facts.dead,
                in_mode: facts.in_mode,
                person_active_ago: facts.person_at.map(|at| ago(now, at)),
                acted: acted.take(),
            };
            let now = now.mono;
            let act = delivery.step(&observed, now);
            match act {
                DeliveryAct::Look => {}
                DeliveryAct::Wait(until) => {
                    (self.sleep)(until.since(now).max(Duration::from_millis(1)));
                }
                DeliveryAct::Paste(ref text) => {
                    (self.before_typing)(&act);
                    let typed = self.tmux.paste(self.pane, text);
                    acted = Some(self.result(&typed, &mut facts));
                }
                DeliveryAct::Submit => {
                    (self.before_typing)(&act);
                    let keys = [delivery.submit_key().to_owned()];
                    let typed = match delivery.submit_while_shown() {
                        Some(text) => self.tmux.keys_if_shown(self.pane, &keys, text),
                        None => self.tmux.keys(self.pane, &keys),
                    };
                    acted = Some(self.result(&typed, &mut facts));
                }
                DeliveryAct::Done => return Outcome::Delivered { attempts: delivery.submits() },
                DeliveryAct::Held { why } => return Outcome::Held { why },
                DeliveryAct::NotDelivered { why } => return Outcome::NotDelivered { why },
                DeliveryAct::Unknown { why } => return Outcome::Unknown { why },
            }
        }
    }

    /// A screen that cannot be read is an observation too: the delivery decides how long to bear it.
    fn observe(&mut self, facts: &mut Facts) -> Option<Reading> {
        let now = (self.now)().mono;
        if facts.seen_at.is_none_or(|at| now.since(at) >= FACTS_EVERY) {
            match self.tmux.look() {
                Ok(Look::Seen(world)) => {
                    let pane = world.panes.iter().find(|pane| pane.pane == *self.pane);
                    facts.take(pane, now);
                }
                Ok(Look::NoServer { .. }) => facts.dead = true,
                Err(error) => {
                    tracing::warn!(pane = %self.pane, %error, "look failed during a delivery");
                    return None;
                }
            }
        }
        if facts.dead {
            return None;
        }
        let captures = self.tmux.capture(std::slice::from_ref(self.pane)).ok()?;
        let Some(capture) = captures.first() else {
            facts.seen_at = None;
            return None;
        };
        Some((self.reader)(capture))
    }

    fn result(&self, typed: &Result<Typed, TmuxError>, facts: &mut Facts) -> ActResult {
        match typed {
            Ok(Typed::Done) => return ActResult::Done,
            Ok(Typed::PaneDead | Typed::Gone) => facts.dead = true,
            Ok(Typed::InMode) => facts.in_mode = true,
            Ok(Typed::Hidden) => {}
            Err(error) => {
                tracing::warn!(pane = %self.pane, %error, "typing failed during a delivery");
                return ActResult::Unsure;
            }
        }
        facts.seen_at = None;
        ActResult::NotSent
    }
}

/// Since that second; a moment that lies ahead counts as just now.
fn ago(now: Now, epoch_seconds: i64) -> Duration {
    let seconds = now.wall.timestamp().saturating_sub(epoch_seconds);
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}
