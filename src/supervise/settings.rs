//! What the config says of the watchdog as a whole, as far as decisions need it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::base::zone::Tz;
use serde::{Deserialize, Serialize};

use super::pacing;
use super::state::duration_ms;
use crate::base::name::UnitName;
use crate::config::{LIMIT_PROBE_TEXT, STALL_NUDGE_TEXT};
use crate::handoff::judge::Watch;
use crate::limits::window;

/// Given with the units whenever a config comes into force.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    pub sequence: Option<Box<SequenceSettings>>,
    pub handoff: Option<Box<Watch>>,
    pub pacing: pacing::Bounds,
    /// IANA name of the zone the CLIs run in; banners print local times without naming it.
    pub zone: String,
    #[serde(with = "duration_ms")]
    pub limit_probe_fallback: Duration,
    #[serde(with = "duration_ms")]
    pub limit_reset_slack: Duration,
    #[serde(with = "duration_ms")]
    pub max_limit_window: Duration,
    #[serde(with = "duration_ms")]
    pub stall_grace: Duration,
    pub probe_text: String,
    pub nudge_text: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            sequence: None,
            handoff: None,
            pacing: pacing::Bounds::default(),
            zone: "UTC".to_owned(),
            limit_probe_fallback: Duration::from_secs(300),
            limit_reset_slack: Duration::from_secs(45),
            max_limit_window: Duration::from_secs(8 * 86_400),
            stall_grace: Duration::from_secs(180),
            probe_text: LIMIT_PROBE_TEXT.to_owned(),
            nudge_text: STALL_NUDGE_TEXT.to_owned(),
        }
    }
}

impl Settings {
    /// The zone for printed times that name none.
    pub fn tz(&self) -> Tz {
        self.zone.parse().unwrap_or(Tz::UTC)
    }

    /// The bounds of limit windows.
    pub fn window(&self) -> window::Settings {
        window::Settings {
            fallback: self.limit_probe_fallback,
            slack: self.limit_reset_slack,
            max_window: self.max_limit_window,
        }
    }
}

/// `[loop]`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SequenceSettings {
    /// Their ids in order; never empty, none twice.
    pub phases: Vec<String>,
    pub resume_phase: bool,
    pub auto_advance: bool,
    /// Started once when all phases are done.
    pub on_complete: Option<UnitName>,
    /// The loop agents, each with its role.
    pub members: BTreeMap<UnitName, Option<String>>,
}
