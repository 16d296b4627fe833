//! A provider in trouble (5xx, overloaded) that ended a turn: neither a limit nor a stall.
//!
//! Nothing is restarted for it. After some patience one text asks the agent to go on; each further try
//! waits twice as long, up to an hour, until it is seen working.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::action::{Action, What};
use super::agent;
use super::outbox::{self, Draft, Origin, Stage};
use super::state::{Fleet, Sight, Unit, UnitKind};
use crate::base::human;
use crate::base::now::{Mono, Now};
use crate::screen::PaneState;

/// CLIs retry by themselves for about a minute before they give the turn up.
const PATIENCE: Duration = Duration::from_secs(120);
const PATIENCE_MAX: Duration = Duration::from_secs(3_600);

/// What is remembered of a provider's trouble.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OverloadClock {
    /// Tries since it last worked.
    pub tries: u32,
    /// When the next one goes; `None` while its screen shows no trouble.
    pub retry_at: Option<Mono>,
}

impl OverloadClock {
    fn patience(&self) -> Duration {
        let factor = 1_u32.checked_shl(self.tries).unwrap_or(u32::MAX);
        PATIENCE.saturating_mul(factor).min(PATIENCE_MAX)
    }
}

/// A screen was read.
pub fn read(unit: &mut Unit, state: PaneState, now: Now) {
    if state != PaneState::Overloaded {
        unit.outbox.retain(|message| {
            message.draft.origin != Origin::Retry || message.stage != Stage::Queued
        });
    }
    match state {
        PaneState::Overloaded => {
            let at = now.mono.plus(unit.overload.patience());
            unit.overload.retry_at.get_or_insert(at);
        }
        // The try was read and the turn ended well.
        PaneState::Idle | PaneState::Waiting => unit.overload = OverloadClock::default(),
        PaneState::Working
        | PaneState::Starting
        | PaneState::Limited
        | PaneState::Fatal
        | PaneState::Dead
        | PaneState::Done
        | PaneState::Unknown => unit.overload.retry_at = None,
    }
}

/// Queues the tries whose time has come.
pub fn due(fleet: &mut Fleet, now: Now, out: &mut Vec<Action>) {
    if fleet.sight != Sight::Clear {
        return;
    }
    for unit in fleet.units.values_mut() {
        if unit.overload.retry_at.is_none_or(|at| at > now.mono) || !may_retry(unit) {
            continue;
        }
        unit.overload.tries = (unit.overload.tries + 1).min(30);
        let patience = unit.overload.patience();
        unit.overload.retry_at = Some(now.mono.plus(patience));
        let why = format!(
            "its provider was overloaded: try {}, the next in {}",
            unit.overload.tries,
            human::duration(patience)
        );
        agent::note(unit, now, What::Limit, &why, false, out);
        let draft = Draft {
            text: fleet.settings.probe_text.clone(),
            origin: Origin::Retry,
            key: Some("retry".to_owned()),
            expires_at: None,
            busy_input: false,
            command: false,
        };
        outbox::push(unit, &mut fleet.newest_message, draft, None, now, out);
    }
}

fn may_retry(unit: &Unit) -> bool {
    unit.healed()
        && unit.is_running()
        && !unit.is_limited()
        && unit.spec.kind != UnitKind::Service
        && !unit.outbox.iter().any(|message| message.draft.origin == Origin::Retry)
}

/// When the next try goes, as far as that lies ahead.
pub fn wakes(fleet: &Fleet, now: Now) -> impl Iterator<Item = Mono> {
    let tries = fleet.units.values().filter(|unit| may_retry(unit));
    tries.filter_map(move |unit| unit.overload.retry_at.filter(|at| *at > now.mono))
}
