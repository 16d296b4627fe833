//! Words for people: durations, sizes, counts.

use std::time::Duration;

/// `1 agent`, `3 agents`.
pub fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// A duration as people say it, in at most two units: `40 s`, `12 min`, `1 h 12 min`, `3 d 4 h`.
pub fn duration(value: Duration) -> String {
    let seconds = value.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    let pair = |big: u64, big_unit: &str, small: u64, small_unit: &str| {
        if small == 0 {
            format!("{big} {big_unit}")
        } else {
            format!("{big} {big_unit} {small} {small_unit}")
        }
    };
    if days > 0 {
        pair(days, "d", hours, "h")
    } else if hours > 0 {
        pair(hours, "h", minutes, "min")
    } else if minutes > 0 {
        format!("{minutes} min")
    } else if seconds == 0 && !value.is_zero() {
        format!("{} ms", value.as_millis().max(1))
    } else {
        format!("{seconds} s")
    }
}

/// A large number in at most four digits: `950`, `12.3k`, `4.5M`.
pub fn rough(number: u64) -> String {
    let tenths = |unit: u64| (number / unit, number % unit * 10 / unit);
    for (unit, letter) in [(1_000_000_000, 'G'), (1_000_000, 'M'), (1_000, 'k')] {
        match tenths(unit) {
            (0, _) => {}
            (whole, tenth) if whole < 100 => return format!("{whole}.{tenth}{letter}"),
            (whole, _) => return format!("{whole}{letter}"),
        }
    }
    number.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_said_in_at_most_two_units() {
        let say = |s| duration(Duration::from_secs(s));
        assert_eq!(
            [say(0), say(59), say(60), say(4_320), say(90_000), say(86_400)],
            ["0 s", "59 s", "1 min", "1 h 12 min", "1 d 1 h", "1 d"]
        );
        assert_eq!(duration(Duration::from_micros(200_400)), "200 ms");
    }

    #[test]
    fn a_large_number_is_said_in_few_digits() {
        assert_eq!(
            [0, 999, 1_000, 12_345, 999_999, 4_500_000, 2_000_000_000].map(rough),
            ["0", "999", "1.0k", "12.3k", "999k", "4.5M", "2.0G"]
        );
    }
}
