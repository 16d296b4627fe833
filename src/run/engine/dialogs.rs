//! Answers the dialogs of a CLI's first start that the config has answered already, and no other.
//!
//! Which ones is data of the backend. An answer is given one key a look, each seen on the screen before it is
//! pressed, and only until the agent has shown its input box once in this start: what asks later waits for a
//! person. Keys are bounded a start, so that a dialog which does not close ends up before a person too.

use std::collections::BTreeMap;

use regex::RegexBuilder;

use super::Engine;
use crate::backend::Backend;
use crate::base::name::UnitName;
use crate::config::section::detect::Dialog;
use crate::screen::capture::Screen;
use crate::screen::{Composer, Evidence, PaneState, Reading};
use crate::supervise::action::What;
use crate::sys::tmux::PaneFacts;

/// All dialogs of a start together: three of them, with keys to spare.
const KEYS_MAX: u32 = 12;

/// How far each agent is in its start.
#[derive(Debug, Default)]
pub(super) struct Dialogs {
    starts: BTreeMap<UnitName, Start>,
}

#[derive(Debug)]
struct Start {
    attempt: u64,
    keys: u32,
    over: bool,
}

/// One key to press.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Press {
    dialog: String,
    /// tmux name of the key.
    key: String,
    /// Must show on the screen when the key is pressed.
    option: String,
}

impl Press {
    /// The reading of an agent that is still starting: nobody has to come.
    fn explain(&self, reading: &mut Reading) {
        reading.state = PaneState::Starting;
        reading.evidence.insert(
            0,
            Evidence {
                rule: format!("dialog.{}", self.dialog),
                region: "screen".to_owned(),
                text: format!("a dialog of the first start is answered: {}", self.option),
            },
        );
    }
}

impl Dialogs {
    /// The key that is due after this look, if any.
    fn press(
        &mut self,
        unit: &UnitName,
        attempt: u64,
        known: impl FnOnce() -> Vec<Dialog>,
        text: &str,
        reading: &Reading,
    ) -> Option<Press> {
        let fresh = Start { attempt, keys: 0, over: false };
        let start = self.starts.entry(unit.clone()).or_insert(fresh);
        if start.attempt != attempt {
            *start = Start { attempt, keys: 0, over: false };
        }
        start.over |= reading.composer != Composer::Absent;
        if start.over || start.keys >= KEYS_MAX || reading.state != PaneState::Waiting {
            return None;
        }
        let press = press(&known(), &Screen::parse(text).text())?;
        start.keys += 1;
        Some(press)
    }
}

impl Engine {
    /// A dialog of the first start that the config has answered is part of starting: it gets its key
    /// and nobody is called.
    pub(super) fn answer_dialog(
        &mut self,
        unit: &UnitName,
        attempt: u64,
        text: &str,
        pane: &PaneFacts,
        reading: &mut Reading,
    ) {
        if self.dry.is_some() {
            return;
        }
        let Some(agent) = self.config.agent(unit.as_str()) else { return };
        let (config, backend) = (&self.config, &agent.backend);
        let known = || Backend::by_name(config, backend).dialogs;
        let Some(press) = self.dialogs.press(unit, attempt, known, text, reading) else { return };
        let keys = std::slice::from_ref(&press.key);
        let why = match self.tmux.keys_if_shown(&pane.pane, keys, &press.option) {
            Ok(typed) => format!("dialog `{}`: {} ({typed:?})", press.dialog, press.key),
            Err(error) => {
                format!("dialog `{}`: {}", press.dialog, crate::base::chain::text(&error))
            }
        };
        press.explain(reading);
        self.log_unit(unit, What::Starting, &why);
        // The next glance must look, whether or not the pane printed anything.
        self.captured.remove(unit);
    }
}

/// The next key of the first dialog that is on the screen.
fn press(dialogs: &[Dialog], screen: &str) -> Option<Press> {
    let shows = |pattern: &String| {
        let regex = RegexBuilder::new(pattern).multi_line(true).build();
        regex.is_ok_and(|regex| regex.is_match(screen))
    };
    let dialog = dialogs.iter().find(|dialog| dialog.all.iter().all(shows))?;
    let key = if shows(&dialog.marked) { &dialog.accept_key } else { &dialog.step_key };
    Some(Press { dialog: dialog.id.clone(), key: key.clone(), option: dialog.option.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::detect_preset;
    use crate::screen::corpus;

    fn claude() -> Vec<Dialog> {
        detect_preset::by_name("claude").expect("a preset").dialogs
    }

    fn waiting() -> Reading {
        Reading {
            state: PaneState::Waiting,
            evidence: Vec::new(),
            cure: None,
            composer: Composer::Absent,
            live_hash: 0,
            marker: None,
        }
    }

    /// A recorded screen of Claude Code.
    fn recorded(name: &str) -> &'static str {
        let found = corpus::panes().into_iter().find(|pane| pane.file.ends_with(name));
        found.unwrap_or_else(|| panic!("{name} is recorded")).text
    }

    fn key(name: &str) -> Option<(String, String)> {
        let text = Screen::parse(recorded(name)).text();
        press(&claude(), &text).map(|press| (press.dialog, press.key))
    }

    #[test]
    fn the_mark_is_moved_first_and_the_option_taken_only_where_it_is_marked() {
        let down = |dialog: &str, key: &str| Some((dialog.to_owned(), key.to_owned()));
        assert_eq!(key("waiting-trust-dialog.txt"), down("trust-folder", "Down"));
        assert_eq!(key("waiting-bypass-dialog.txt"), down("bypass-permissions", "Down"));
        assert_eq!(key("waiting-apikey-prompt.txt"), down("api-key", "Up"));
        let marked = recorded("waiting-trust-dialog.txt")
            .replace("❯ No, exit", "  No, exit")
            .replace("  Yes, I trust", "❯ Yes, I trust");
        let press = press(&claude(), &marked).expect("the dialog is on the screen");
        assert_eq!(press.key, "Enter");
    }

    #[test]
    fn every_other_dialog_waits_for_a_person() {
        for pane in corpus::panes() {
            let text = Screen::parse(pane.text).text();
            let known = ["trust-dialog", "bypass-dialog", "apikey-prompt"];
            if pane.file.contains("claude-code")
                && !known.iter().any(|name| pane.file.contains(name))
            {
                assert_eq!(press(&claude(), &text), None, "{}", pane.file);
            }
        }
    }

    #[test]
    fn after_the_first_input_box_nothing_is_answered_until_the_next_start() {
        let unit = UnitName::new("one").unwrap();
        let text = recorded("waiting-trust-dialog.txt");
        let mut dialogs = Dialogs::default();
        let idle = Reading { state: PaneState::Idle, composer: Composer::Empty, ..waiting() };
        assert!(dialogs.press(&unit, 1, claude, text, &waiting()).is_some());
        assert_eq!(dialogs.press(&unit, 1, claude, "", &idle), None);
        assert_eq!(dialogs.press(&unit, 1, claude, text, &waiting()), None);
        assert!(dialogs.press(&unit, 2, claude, text, &waiting()).is_some());
    }

    #[test]
    fn a_dialog_that_does_not_close_is_left_to_a_person() {
        let unit = UnitName::new("one").unwrap();
        let text = recorded("waiting-trust-dialog.txt");
        let mut dialogs = Dialogs::default();
        let pressed =
            (0..50).filter(|_| dialogs.press(&unit, 1, claude, text, &waiting()).is_some());
        assert_eq!(pressed.count(), KEYS_MAX as usize);
    }
}
