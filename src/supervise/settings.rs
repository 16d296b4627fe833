//! What the config says of the watchdog as a whole, as far as decisions need it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::base::name::UnitName;
use crate::handoff::judge::Watch;

/// Given with the units whenever a config comes into force.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    pub sequence: Option<SequenceSettings>,
    pub handoff: Option<Watch>,
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
