//! First prompts that are typed: beside the loop, once each, written down before the first key.

use std::time::Duration;

use super::Engine;
use crate::backend::Backend;
use crate::base::name::{SessionName, UnitName};
use crate::kickoff::deliver::{Opening, safe_text};
use crate::run::deliver;
use crate::run::store::TypedPrompt;
use crate::run::typing::{self, Addressee, Manner};
use crate::supervise::action::What;
use crate::supervise::state::UnitKind;
use crate::sys::{clock, file};

/// A CLI that starts slowly is waited for at least this long.
const KICKOFF_PATIENCE: Duration = Duration::from_secs(30);

/// What became of one typed first prompt.
pub(super) struct Typed {
    unit: UnitName,
    attempt: u64,
    outcome: deliver::Outcome,
}

impl Engine {
    /// Types the first prompts that are due, beside the loop.
    pub fn type_kickoffs(&mut self) {
        let due: Vec<(UnitName, u64)> = self
            .fleet
            .units
            .values()
            .filter(|unit| unit.is_running() && unit.spec.kind != UnitKind::Service)
            .filter(|unit| self.kicked_off.get(&unit.spec.name) != Some(&unit.attempt))
            .filter(|unit| !self.kickoffs.contains(&unit.spec.name))
            .map(|unit| (unit.spec.name.clone(), unit.attempt))
            .collect();
        for (unit, attempt) in due {
            let Some(agent) = self.agent_in_force(&unit) else { continue };
            let Some(record) = self.launch(&agent.session) else { continue };
            match record.prompt {
                TypedPrompt::None | TypedPrompt::Delivered | TypedPrompt::Unknown => {
                    if record.attempt == attempt {
                        self.kicked_off.insert(unit, attempt);
                    }
                }
                TypedPrompt::Typing => {
                    self.set_prompt(&agent.session, TypedPrompt::Unknown);
                    let why = "ao ended while it typed the first prompt; it is not typed again";
                    self.log_unit(&unit, What::NotSent, why);
                }
                TypedPrompt::Pending => self.type_kickoff(unit, attempt, agent),
            }
        }
    }

    pub(super) fn type_kickoff(
        &mut self,
        unit: UnitName,
        attempt: u64,
        agent: crate::config::Agent,
    ) {
        let Ok(Some(text)) = file::read(&self.store.kickoff(&agent.session)) else { return };
        let backend = Backend::by_name(&self.config, &agent.backend);
        let text = safe_text(&text, Opening::Speech);
        let manner = Manner {
            busy_input: false,
            hold_max: backend.connect_delay.max(KICKOFF_PATIENCE),
            past_banner: false,
        };
        let Some(detector) = self.detector(&agent.backend) else { return };
        let (project, sender) = (self.handle.clone(), self.typed.clone());
        let lines = self.lines.clone();
        self.kickoffs.insert(unit.clone());
        std::thread::spawn(move || {
            let store = project.store.clone();
            let mut mark = || {
                if let Some(mut record) = store.launch(&agent.session, clock::now()).value {
                    record.prompt = TypedPrompt::Typing;
                    drop(store.save_launch(&agent.session, &record));
                }
            };
            let outcome = lines.with(&project, |tmux| {
                let (project, agent) = (&project, &agent);
                let to = Addressee { project, agent, detector: &detector, seen: None };
                typing::type_text(to, tmux, &text, manner, &mut mark)
            });
            drop(sender.send(Typed { unit, attempt, outcome }));
        });
    }

    pub(super) fn set_prompt(&mut self, session: &SessionName, prompt: TypedPrompt) {
        if let Some(mut record) = self.launch(session) {
            record.prompt = prompt;
            if let Err(error) = self.store.save_launch(session, &record) {
                tracing::error!(%error, "cannot record a typed prompt");
            }
        }
    }

    /// Takes note of first prompts that were typed in the meantime.
    pub fn take_kickoffs(&mut self) {
        while let Ok(typed) = self.typed_pending.try_recv() {
            self.kickoff_typed(typed);
        }
    }

    /// Waits until no first prompt is under way any more.
    pub fn wait_for_kickoffs(&mut self) {
        while !self.kickoffs.is_empty() {
            match self.typed_pending.recv() {
                Ok(typed) => self.kickoff_typed(typed),
                Err(_) => return,
            }
        }
    }

    pub(super) fn kickoff_typed(&mut self, typed: Typed) {
        self.kickoffs.remove(&typed.unit);
        let Some(unit) = self.fleet.units.get(&typed.unit) else { return };
        if unit.attempt != typed.attempt {
            return;
        }
        let session = unit.spec.session.clone();
        let (prompt, what, why) = match typed.outcome {
            deliver::Outcome::Delivered { attempts } => {
                let why = format!("its first prompt, submitted with {attempts} key presses");
                (TypedPrompt::Delivered, What::Sent, why)
            }
            deliver::Outcome::Held { why } | deliver::Outcome::NotDelivered { why } => {
                (TypedPrompt::Pending, What::NotSent, format!("its first prompt: {why}"))
            }
            deliver::Outcome::Unknown { why } => {
                (TypedPrompt::Unknown, What::NotSent, format!("its first prompt: {why}"))
            }
        };
        self.set_prompt(&session, prompt);
        self.log_unit(&typed.unit, what, &why);
    }
}
