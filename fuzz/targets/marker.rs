//! Any screen holds a marker or none, in any zone, at any time.
#![no_main]

use std::time::Duration;

use ao::screen::capture::Screen;
use ao::screen::marker::{self, MarkerBounds};
use chrono::DateTime;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&[u8], u32)| {
    let (bytes, seconds) = input;
    let now = DateTime::from_timestamp(i64::from(seconds), 0).expect("within the calendar");
    let bounds = MarkerBounds {
        stall_grace: Duration::from_secs(180),
        max_wait: Duration::from_secs(86_400),
    };
    let screen = Screen::parse_bytes(bytes);
    marker::read(&screen, "Europe/Berlin".parse::<ao::base::zone::Tz>().unwrap(), bounds, now);
});
