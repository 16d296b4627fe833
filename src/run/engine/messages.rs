//! Messages of the queue, typed beside the loop; what was begun is written down before the first key.
//!
//! `state/typing-<session>.json` is the witness: there from just before the paste until the outcome is
//! known. After a crash it tells a message that was never typed from one whose fate is unknown.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Engine;
use crate::backend::Backend;
use crate::base::name::{SessionName, UnitName};
use crate::config::Agent;
use crate::kickoff::compose;
use crate::kickoff::deliver::{Opening, safe_text};
use crate::run::deliver::{Outcome, Seen};
use crate::run::store::{self, Store, StoreError, TypedPrompt};
use crate::run::typing::{self, Addressee, Manner};
use crate::supervise::event::Event;
use crate::supervise::outbox::{MessageId, Stage, Typed};
use crate::sys::{clock, file};

/// It was idle when the message was handed out: what stands in the way now may take a while.
const HOLD_MAX: Duration = Duration::from_secs(2);

/// One message to be typed.
pub(super) struct Typing {
    pub unit: UnitName,
    pub message: MessageId,
    pub text: String,
    pub busy_input: bool,
    pub command: bool,
    pub past_banner: bool,
}

/// `state/typing-<session>.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Witness {
    version: u32,
    message: MessageId,
    /// `None` while it is being typed.
    outcome: Option<Typed>,
}

impl Engine {
    /// Types it beside the loop; the outcome comes back as an event.
    pub(super) fn type_message(&mut self, typing: Typing) -> Option<Event> {
        let held = |why: &str| {
            let (unit, message) = (typing.unit.clone(), typing.message);
            Some(Event::Typed { unit, message, outcome: Typed::Held { why: why.to_owned() } })
        };
        if self.heartbeat.is_none() {
            return held("no watchdog runs to type it");
        }
        let Some(agent) = self.agent_in_force(&typing.unit) else {
            return held("it is not in the config any more");
        };
        let record = self.launch(&agent.session);
        let first_prompt = record.is_some_and(|record| match record.prompt {
            TypedPrompt::Pending | TypedPrompt::Typing => true,
            TypedPrompt::None | TypedPrompt::Delivered | TypedPrompt::Unknown => false,
        });
        if first_prompt {
            return held("its first prompt comes first");
        }
        let opening = if typing.command { Opening::Command } else { Opening::Speech };
        let backend = Backend::by_name(&self.config, &agent.backend);
        let text = match typed_text(&self.store, &agent, &backend, &typing.text, opening) {
            Ok(text) => text,
            Err(error) => return held(&crate::base::chain::text(&error)),
        };
        let Some(detector) = self.detector(&agent.backend) else {
            return held("the rules that read its screen do not compile");
        };
        let seen = self.pane_facts(&typing.unit).map(|pane| Seen { pane, at: self.world_at });
        let lines = self.lines.clone();
        let (project, sender) = (self.handle.clone(), self.outcomes.clone());
        let waker = self.waker.clone();
        std::thread::spawn(move || {
            let Typing { unit, message, busy_input, past_banner, .. } = typing;
            let path = witness_path(&project.store, &agent.session);
            let write = |outcome: Option<Typed>| {
                let witness = Witness { version: 1, message, outcome };
                if let Err(error) = store::replace(&path, &witness) {
                    tracing::error!(%unit, %error, "cannot write down what is typed");
                }
            };
            let manner = Manner { busy_input, hold_max: HOLD_MAX, past_banner };
            let mut begin = || write(None);
            let typed = lines.with(&project, |tmux| {
                let to = Addressee { project: &project, agent: &agent, detector: &detector, seen };
                typing::type_text(to, tmux, &text, manner, &mut begin)
            });
            let outcome = match typed {
                Outcome::Delivered { attempts } => Typed::Submitted { keys: attempts },
                Outcome::Held { why } => Typed::Held { why },
                Outcome::NotDelivered { why } => Typed::NotDelivered { why },
                Outcome::Unknown { why } => Typed::Unknown { why },
            };
            write(Some(outcome.clone()));
            // A closed channel means that the loop has ended; the witness tells the next one.
            drop(sender.send(Event::Typed { unit, message, outcome }));
            waker();
        });
        None
    }

    /// What became of the messages that were being typed when the last watchdog ended.
    pub(super) fn recover_messages(&mut self) {
        let now = clock::now();
        let mut found = Vec::new();
        for unit in self.fleet.units.values_mut() {
            for message in &mut unit.outbox {
                message.request = None;
                if matches!(message.stage, Stage::Typing { .. }) {
                    found.push((unit.spec.name.clone(), unit.spec.session.clone(), message.id));
                }
            }
        }
        for (unit, session, message) in found {
            let path = witness_path(&self.store, &session);
            let loaded: store::Loaded<Witness> = store::read(&path, now);
            let witness = loaded.value.filter(|witness| witness.message == message);
            let outcome = match witness {
                // Something was written there: perhaps for this message, perhaps after its first key.
                None if loaded.problem.is_some() => {
                    Typed::Unknown { why: loaded.problem.unwrap_or_default() }
                }
                Some(Witness { outcome: Some(outcome), .. }) => outcome,
                Some(Witness { outcome: None, .. }) => {
                    Typed::Unknown { why: "ao ended while it was typed".to_owned() }
                }
                None => Typed::Held { why: "ao ended before it was typed".to_owned() },
            };
            self.feed(Event::Typed { unit, message, outcome });
        }
    }
}

/// The message that was typed into this session last, or begun to be.
pub(super) fn witnessed(store: &Store, session: &SessionName) -> Option<MessageId> {
    let text = file::read(&witness_path(store, session)).ok().flatten()?;
    serde_json::from_str::<Witness>(&text).ok().map(|witness| witness.message)
}

fn witness_path(store: &Store, session: &SessionName) -> std::path::PathBuf {
    store.state().join(format!("typing-{session}.json"))
}

/// A text as it is typed: one too long for a paste goes to a file that the agent is sent to.
pub fn typed_text(
    store: &Store,
    agent: &Agent,
    backend: &Backend,
    text: &str,
    opening: Opening,
) -> Result<String, StoreError> {
    let long = |max: Option<u32>, length: usize| max.is_some_and(|max| length > max as usize);
    let too_long = long(backend.paste_chars_max, text.chars().count())
        || long(backend.paste_lines_max, text.lines().count());
    if !too_long {
        return Ok(safe_text(text, opening));
    }
    let folder = store.state().join("messages");
    let path = folder.join(format!("{}-{}.txt", agent.name, uuid::Uuid::new_v4()));
    std::fs::create_dir_all(&folder).map_err(|cause| file::FileError {
        act: "make",
        path: folder.clone(),
        cause,
    })?;
    file::replace(&path, text.as_bytes(), 0o600)?;
    Ok(safe_text(&compose::pointer_line(&path.to_string_lossy()), Opening::Speech))
}
