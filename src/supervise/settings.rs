//! What the config says of the watchdog as a whole, as far as decisions need it.

use serde::{Deserialize, Serialize};

/// Given with the units whenever a config comes into force.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {}
