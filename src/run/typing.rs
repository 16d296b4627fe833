//! Types a text to an agent, verified: the whole way from its name to what became of it.
//!
//! One writer per session at a time: whoever types holds `state/type-<session>.lock`. The watchdog's
//! threads type over a control-mode connection: a process a message instead of one a command, and none
//! when the message before left its connection.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::deliver::{Deliverer, Outcome, Seen};
use super::project::Project;
use super::units::{self, Tag};
use crate::backend::Backend;
use crate::base::name::SessionName;
use crate::config::Agent;
use crate::kickoff::deliver::{Delivery, DeliveryAct, Plan};
use crate::screen::capture::Screen;
use crate::screen::detect::{Detector, PaneHints};
use crate::screen::{Composer, PaneState, Reading};
use crate::sys::tmux::{Capture, Look, PaneFacts, Tmux};
use crate::sys::{clock, lock};

/// How long to wait for another writer.
const LOCK_WAIT: Duration = Duration::from_secs(30);

/// How the text is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Manner {
    /// Also to a busy agent, where its CLI queues.
    pub busy_input: bool,
    /// How long an obstacle before the paste is waited for.
    pub hold_max: Duration,
    /// A usage-limit banner is no obstacle; a dialog about it is closed first.
    pub past_banner: bool,
}

/// To whom.
pub struct Addressee<'a> {
    pub project: &'a Project,
    pub agent: &'a Agent,
    pub detector: &'a Detector,
    /// Its pane as an earlier look told it; `None` or too old: it is looked for.
    pub seen: Option<Seen>,
}

/// Connections to type over, kept from one message to the next.
#[derive(Clone)]
pub struct Lines {
    /// Of the watchdog, whose session a control client attaches to.
    session: SessionName,
    idle: Arc<Mutex<Vec<Box<dyn Tmux>>>>,
}

impl Lines {
    /// Kept at most: a burst of messages opens more, which end with it.
    const KEPT_MAX: usize = 1;

    pub fn new(session: SessionName) -> Self {
        Self { session, idle: Arc::default() }
    }

    /// A connection of one's own for the time of `work`.
    pub fn with<T>(&self, project: &Project, work: impl FnOnce(&mut dyn Tmux) -> T) -> T {
        let kept = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut line = kept.unwrap_or_else(|| project.tmux(Some(&self.session)));
        let result = work(line.as_mut());
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < Self::KEPT_MAX {
            idle.push(line);
        }
        result
    }
}

/// Types the text (already made safe) to the agent and says what became of it.
pub fn type_text(
    to: Addressee<'_>,
    tmux: &mut dyn Tmux,
    text: &str,
    manner: Manner,
    before_typing: &mut dyn FnMut(),
) -> Outcome {
    let Addressee { project, agent, detector, seen } = to;
    let held = |why: String| Outcome::Held { why };
    let path = project.store.state().join(format!("type-{}.lock", agent.session));
    let _lock = match lock::lock_until(&path, clock::now().mono.plus(LOCK_WAIT)) {
        Ok(lock) => lock,
        Err(error) => return held(format!("somebody else is typing to it: {error}")),
    };
    let backend = Backend::by_name(&project.config, &agent.backend);
    let seen = match seen.filter(|seen| seen.is_fresh(clock::now().mono)) {
        Some(seen) => seen,
        None => match find(project, agent, tmux) {
            Ok(seen) => seen,
            Err(why) => return Outcome::NotDelivered { why },
        },
    };
    let pane = &seen.pane;
    let plan = Plan {
        submit_key: backend.submit_key.clone(),
        submit_delay: backend.submit_delay,
        busy_input: manner.busy_input && backend.busy_input,
        has_composer: backend.layout.is_some(),
        hold_max: manner.hold_max,
        past_banner: manner.past_banner,
        ..Plan::default()
    };
    let title = pane.title.clone();
    let mut reader = |capture: &Capture| {
        let hints = PaneHints { dead: false, exit_status: None, title: &title };
        detector.read(&Screen::parse(&capture.text), &hints)
    };
    if manner.past_banner {
        dismiss(tmux, pane, &backend.limit_dismiss_keys, &mut reader);
    }
    let mut deliverer = Deliverer {
        tmux,
        pane: &pane.pane,
        seen: Some(&seen),
        reader: &mut reader,
        before_typing: &mut |act: &DeliveryAct| {
            if matches!(act, DeliveryAct::Paste(_)) {
                before_typing();
            }
        },
        now: &mut clock::now,
        sleep: &mut std::thread::sleep,
    };
    deliverer.run(&mut Delivery::new(text, plan))
}

/// Closes a dialog about a usage limit: there is one when the input box is hidden.
fn dismiss(
    tmux: &mut dyn Tmux,
    pane: &PaneFacts,
    keys: &[String],
    reader: &mut dyn FnMut(&Capture) -> Reading,
) {
    let captures = tmux.capture(std::slice::from_ref(&pane.pane)).unwrap_or_default();
    let Some(reading) = captures.first().map(reader) else { return };
    let dialog = reading.state == PaneState::Limited && reading.composer == Composer::Absent;
    if dialog
        && !keys.is_empty()
        && let Err(error) = tmux.keys(&pane.pane, keys)
    {
        tracing::warn!(pane = %pane.pane, %error, "cannot close the dialog");
    }
}

/// The live pane of the agent, ours by its tag.
fn find(project: &Project, agent: &Agent, tmux: &mut dyn Tmux) -> Result<Seen, String> {
    let at = clock::now().mono;
    let id = units::project_id(&project.config);
    match tmux.look() {
        Ok(Look::Seen(world)) => {
            let ours = |pane: &&PaneFacts| {
                Tag::parse(&pane.tag)
                    .is_some_and(|tag| tag.project == id && tag.unit == agent.name.as_str())
            };
            match world.panes.iter().find(ours) {
                Some(pane) if pane.dead => Err("its process has ended".to_owned()),
                Some(pane) => Ok(Seen { pane: pane.clone(), at }),
                None => Err("it does not run".to_owned()),
            }
        }
        Ok(Look::NoServer { evidence }) => Err(format!("it does not run: {evidence}")),
        Err(error) => Err(format!("cannot look at tmux: {}", crate::base::chain::text(&error))),
    }
}
