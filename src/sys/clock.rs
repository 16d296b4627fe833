//! The one place that reads clocks.

use chrono::Utc;

use crate::base::now::{Mono, Now};

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
