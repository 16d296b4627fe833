//! `state/queue.json`: a copy of what waits to be typed, for when the memory it is part of is lost.
//!
//! A message leaves the copy before its first key is pressed, so what is found in it was never typed.
//! Only what cannot come about again is kept: people's messages and pings.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Engine;
use super::messages::witnessed;
use crate::base::name::{SessionName, UnitName};
use crate::run::store::{self, LaunchRecord};
use crate::run::units;
use crate::supervise::action::What;
use crate::supervise::outbox::{self, Message, MessageId};
use crate::supervise::state::Unit;
use crate::sys::{clock, file};

const VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct Copy {
    version: u32,
    /// The number of the newest message, so that none is used twice.
    newest: MessageId,
    waiting: Vec<Waiting>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Waiting {
    unit: UnitName,
    message: Message,
}

impl Engine {
    pub(super) fn save_queue(&self) {
        let units = self.fleet.units.values();
        let waiting = units.flat_map(|unit| {
            let kept = unit.outbox.iter().filter(|message| outbox::is_kept(message));
            kept.map(|message| Waiting {
                unit: unit.spec.name.clone(),
                message: Message { request: None, retry_at: None, ..message.clone() },
            })
        });
        let copy = Copy {
            version: VERSION,
            newest: self.fleet.newest_message,
            waiting: waiting.collect(),
        };
        if let Err(error) = store::replace(&self.queue_file(), &copy) {
            tracing::error!(error = %crate::base::chain::text(&error), "cannot save the queue");
            // An older one could have a message typed twice.
            drop(file::remove(&self.queue_file()));
        }
    }

    /// What waited, from its copy, where nothing else remembers it; a damaged copy is written again.
    pub(super) fn recover_queue(&mut self, forgotten: bool) {
        let loaded: store::Loaded<Copy> = store::read(&self.queue_file(), clock::now());
        if let Some(problem) = loaded.problem {
            let lost = if forgotten {
                "messages and pings that waited are lost"
            } else {
                "it was a copy, and is written again"
            };
            self.report(None, What::NotSent, &format!("{problem}; {lost}"), true);
            if !forgotten && self.dry.is_none() {
                self.save_queue();
            }
        }
        if !forgotten {
            return;
        }
        let mut waiting = Vec::new();
        if let Some(copy) = loaded.value.filter(|copy| copy.version == VERSION) {
            self.fleet.newest_message = copy.newest;
            waiting = copy.waiting;
        }
        for spec in units::specs(&self.config) {
            let typed = witnessed(&self.store, &spec.session);
            // A number that a witness names must not come again: it would speak for the wrong message.
            let newest = &mut self.fleet.newest_message;
            *newest = (*newest).max(typed.unwrap_or_default());
            let of_unit = waiting.iter().filter(|found| found.unit == spec.name);
            let found: Vec<Message> = of_unit
                .map(|found| found.message.clone())
                .filter(|message| outbox::is_kept(message) && Some(message.id) != typed)
                .collect();
            if !found.is_empty() {
                let mut unit = Unit::new(spec.clone());
                unit.outbox = found;
                self.fleet.units.insert(spec.name, unit);
            }
        }
    }

    fn queue_file(&self) -> PathBuf {
        self.store.state().join("queue.json")
    }

    /// How the running process was started; a damaged record is set aside and told of.
    pub(super) fn launch(&mut self, session: &SessionName) -> Option<LaunchRecord> {
        let loaded = self.store.launch(session, clock::now());
        if let Some(problem) = loaded.problem {
            let why = format!(
                "{problem}; a first prompt that was still to be typed is not typed, and until the \
                 next start its hooks are not heard"
            );
            self.report(None, What::Watchdog, &why, true);
        }
        loaded.value
    }
}
