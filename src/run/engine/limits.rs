//! `state/limited-<session>.json`: written when a limit window changes, removed when it is over.
//!
//! The supervisor's own memory holds the same; the file is what is left when that one is lost, and
//! what people read.

use super::Engine;
use crate::base::chain;
use crate::base::name::UnitName;
use crate::limits::record;
use crate::limits::window::Window;
use crate::supervise::action::What;
use crate::supervise::event::Event;
use crate::sys::{clock, file};

impl Engine {
    pub(super) fn save_limit(&mut self, unit: &UnitName, window: Option<&Window>) {
        let Some(session) = self.fleet.units.get(unit).map(|unit| unit.spec.session.clone()) else {
            return;
        };
        let path = self.store.limit_file(&session);
        let done = match window {
            Some(window) => {
                let text = record::to_json(session.as_str(), window);
                file::replace(&path, text.as_bytes(), 0o600).map_err(|error| chain::text(&error))
            }
            None => match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    Err(format!("cannot remove `{}`: {error}", path.display()))
                }
                Ok(()) | Err(_) => Ok(()),
            },
        };
        if let Err(why) = done {
            self.report(Some(unit.clone()), What::Watchdog, &why, true);
        }
    }

    /// Windows that the stored fleet does not know; a file that is none of ours is set aside.
    pub(super) fn recall_limits(&mut self) {
        let units: Vec<_> = self
            .fleet
            .units
            .values()
            .filter(|unit| unit.window.is_none() && unit.away.is_none())
            .map(|unit| (unit.spec.name.clone(), unit.spec.session.clone()))
            .collect();
        for (unit, session) in units {
            let path = self.store.limit_file(&session);
            let text = match file::read(&path) {
                Ok(Some(text)) => text,
                Ok(None) => continue,
                // Not even text.
                Err(_) => String::new(),
            };
            match record::from_json(&text, session.as_str()) {
                Ok(window) => {
                    let window = Box::new(window);
                    self.feed(Event::LimitRecalled { unit, window });
                }
                Err(error) => {
                    let aside = match file::set_aside(&path, clock::now().wall) {
                        Ok(aside) => format!("set aside as `{}`", aside.display()),
                        Err(error) => format!("it could not be set aside: {error}"),
                    };
                    let why = format!("`{}`: {}; {aside}", path.display(), chain::text(&error));
                    self.report(Some(unit), What::Watchdog, &why, true);
                }
            }
        }
    }
}
