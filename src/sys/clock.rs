//! The one place that reads clocks.

use chrono::Utc;

use crate::base::now::{Mono, Now};
use crate::base::zone::Tz;

/// Both clocks, read together.
#[expect(clippy::disallowed_methods, reason = "this is the clock everybody else is sent to")]
pub fn now() -> Now {
    Now { wall: Utc::now(), mono: mono() }
}

/// The boot clock: runs on while the machine sleeps and is the same for all processes of one boot.
fn mono() -> Mono {
    #[cfg(target_os = "linux")]
    let id = rustix::time::ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    let id = rustix::time::ClockId::Monotonic;
    let time = rustix::time::clock_gettime(id);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let millis = u64::try_from(time.tv_nsec).unwrap_or(0) / 1_000_000;
    Mono(seconds.saturating_mul(1_000).saturating_add(millis))
}

/// The zone of this machine: `$TZ` when it names one, else what `/etc/localtime` points to, else UTC.
pub fn zone() -> Tz {
    let named = std::env::var("TZ").ok();
    let linked = || {
        let target = std::fs::read_link("/etc/localtime").ok()?;
        let text = target.to_str()?;
        text.split_once("zoneinfo/").map(|(_, name)| name.to_owned())
    };
    let name = named.filter(|name| !name.is_empty()).or_else(linked).unwrap_or_default();
    name.trim_start_matches(':').parse().unwrap_or(Tz::UTC)
}
