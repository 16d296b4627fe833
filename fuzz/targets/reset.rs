//! A parsed instant is never in the past by more than the grace and never beyond the clamp.
#![no_main]

use chrono::{DateTime, TimeDelta};
use libfuzzer_sys::fuzz_target;

const ZONES: [&str; 6] =
    ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Pacific/Apia"];

fuzz_target!(|input: (&str, u32, u8)| {
    let (text, seconds, zone) = input;
    let now = DateTime::from_timestamp(1_700_000_000 + i64::from(seconds % 200_000_000), 0);
    let now = now.expect("within the calendar");
    let zone = ZONES[usize::from(zone) % ZONES.len()].parse().expect("known zones");
    if let Some(reset) = ao::limits::reset::parse(text, now, zone) {
        assert!(reset.at >= now - ao::limits::reset::GRACE, "{reset:?} at {now}");
        assert!(reset.at <= now + TimeDelta::days(400), "{reset:?} at {now}");
    }
});
