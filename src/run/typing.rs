//! Types a text to an agent, verified: the whole way from its name to what became of it.
//!
//! One writer per session at a time: whoever types holds `state/type-<session>.lock`.

use std::time::Duration;

use super::deliver::{Deliverer, Outcome};
use super::project::Project;
use super::units::{self, Tag};
use crate::backend::Backend;
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

/// Types the text (already made safe) to the agent and says what became of it.
pub fn type_text(
    project: &Project,
    agent: &Agent,
    detector: &Detector,
    text: &str,
    manner: Manner,
    before_typing: &mut dyn FnMut(),
) -> Outcome {
    let held = |why: String| Outcome::Held { why };
    let path = project.store.state().join(format!("type-{}.lock", agent.session));
    let _lock = match lock::lock_until(&path, clock::now().mono.plus(LOCK_WAIT)) {
        Ok(lock) => lock,
        Err(error) => return held(format!("somebody else is typing to it: {error}")),
    };
    let backend = Backend::by_name(&project.config, &agent.backend);
    let mut tmux = project.tmux(None);
    let pane = match find(project, agent, tmux.as_mut()) {
        Ok(pane) => pane,
        Err(why) => return Outcome::NotDelivered { why },
    };
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
        dismiss(tmux.as_mut(), &pane, &backend.limit_dismiss_keys, &mut reader);
    }
    let mut deliverer = Deliverer {
        tmux: tmux.as_mut(),
        pane: &pane.pane,
        seen: Some(&pane),
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
fn find(project: &Project, agent: &Agent, tmux: &mut dyn Tmux) -> Result<PaneFacts, String> {
    let id = units::project_id(&project.config);
    match tmux.look() {
        Ok(Look::Seen(world)) => {
            let ours = |pane: &&PaneFacts| {
                Tag::parse(&pane.tag)
                    .is_some_and(|tag| tag.project == id && tag.unit == agent.name.as_str())
            };
            match world.panes.iter().find(ours) {
                Some(pane) if pane.dead => Err("its process has ended".to_owned()),
                Some(pane) => Ok(pane.clone()),
                None => Err("it does not run".to_owned()),
            }
        }
        Ok(Look::NoServer { evidence }) => Err(format!("it does not run: {evidence}")),
        Err(error) => Err(format!("cannot look at tmux: {}", crate::base::chain::text(&error))),
    }
}
