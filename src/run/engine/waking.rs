//! Reads the text of a wake at the moment it is due, so that an edit counts from the next one on.

use super::Engine;
use crate::base::name::UnitName;
use crate::supervise::event::Event;

impl Engine {
    pub(super) fn read_wake(&self, unit: UnitName) -> Event {
        let wake = self.config.agent(unit.as_str()).and_then(|agent| agent.wake.as_ref());
        let text = match wake {
            Some(wake) => match std::fs::read_to_string(&wake.prompt_file) {
                Ok(text) if text.trim().is_empty() => {
                    Err(format!("`{}` is empty", wake.prompt_file.display()))
                }
                Ok(text) => Ok(text.trim_end().to_owned()),
                Err(error) => Err(format!("cannot read `{}`: {error}", wake.prompt_file.display())),
            },
            None => Err("the config names none any more".to_owned()),
        };
        Event::WakeText { unit, text }
    }
}
