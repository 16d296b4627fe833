//! Restart windows: may this unit be started again, and when?
//!
//! Counts restarts in a sliding hour and grows the delay between them: 0, 5 s, 10 s, 20 s … up to
//! 5 min, each moved by up to a fifth so that a fleet which died together does not start together.
//! Knows nothing of panes or phases: the caller says that a unit ended and asks what follows.
//! Not here: "failed stays failed until a person clears it" (the caller's phase says that), and
//! which restarts count (a restart because of a stall is simply not recorded).
//!
//! Surprise: an answer counts from the moment of asking, so ask once when the unit ended and keep
//! the answer; asking again at every tick would move the start away forever. Times are of one
//! boot. Times that lie ahead (a history of an earlier boot) count as just now.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::now::{Mono, millis};

/// The window in which restarts are counted.
const WINDOW: Duration = Duration::from_secs(3_600);
/// The second restart waits this long; the first does not wait, so that a single crash costs nothing.
const DELAY_FIRST: Duration = Duration::from_secs(5);
/// Longer waits would hide a mended cause; shorter ones would hammer a broken one.
const DELAY_MAX: Duration = Duration::from_secs(300);
/// This much health makes the next crash a first crash again.
const HEALTHY_AFTER: Duration = Duration::from_secs(600);
/// Jitter in percent of the delay, to either side.
const JITTER_PERCENT: u64 = 20;

/// The restarts of one unit.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct History {
    /// Restarts of the last hour, oldest first.
    #[serde(default)]
    times: Vec<Mono>,
    /// Restarts since the unit was last healthy; decides the delay.
    #[serde(default)]
    streak: u32,
}

/// What follows when the unit ended now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Next {
    /// Start it at this moment.
    At(Mono),
    /// Leave it alone: it was restarted `count` times since `since`, within an hour.
    Exhausted { count: u32, since: Mono },
}

impl History {
    /// When the unit that ended `now` starts again. `jitter_seed` should differ between units.
    pub fn next(&self, now: Mono, max_per_hour: u32, jitter_seed: u64) -> Next {
        let mut recent = self.recent(now);
        let count = u32::try_from(recent.clone().count()).unwrap_or(u32::MAX);
        if count >= max_per_hour {
            let since = recent.next().unwrap_or(now);
            return Next::Exhausted { count, since };
        }
        Next::At(now.plus(self.delay(jitter_seed)))
    }

    /// A restart happens `now`.
    pub fn record(&mut self, now: Mono) {
        self.times = self.recent(now).map(|time| time.min(now)).collect();
        self.times.push(now);
        self.streak = self.streak.saturating_add(1);
    }

    /// The unit has been well since `since`. After 10 min the delays begin anew; the hour still counts.
    pub fn healthy_since(&mut self, since: Mono, now: Mono) {
        if now.since(since) >= HEALTHY_AFTER {
            self.streak = 0;
        }
    }

    /// Forgets everything: a person asked for a new try.
    pub fn cleared(&mut self) {
        *self = Self::default();
    }

    /// Restarts in the hour up to `now`.
    pub fn count(&self, now: Mono) -> u32 {
        u32::try_from(self.recent(now).count()).unwrap_or(u32::MAX)
    }

    /// Restarts since the unit was last healthy.
    pub fn streak(&self) -> u32 {
        self.streak
    }

    /// How long the next restart waits.
    pub fn delay(&self, jitter_seed: u64) -> Duration {
        let Some(doublings) = self.streak.checked_sub(1) else {
            return Duration::ZERO;
        };
        let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
        jittered(DELAY_FIRST.saturating_mul(factor).min(DELAY_MAX), jitter_seed, self.streak)
    }

    fn recent(&self, now: Mono) -> impl Iterator<Item = Mono> + Clone {
        self.times.iter().copied().filter(move |time| now.since(*time) <= WINDOW)
    }
}

/// Moves the delay by up to a fifth to either side; the same seed and step give the same delay.
fn jittered(delay: Duration, seed: u64, step: u32) -> Duration {
    let whole = millis(delay);
    let span = whole * JITTER_PERCENT / 100;
    let offset = scrambled(seed ^ (u64::from(step) << 32)) % (2 * span + 1);
    Duration::from_millis(whole - span + offset)
}

/// `SplitMix64`'s finisher: neighbouring seeds give unrelated numbers.
fn scrambled(seed: u64) -> u64 {
    let mut bits = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: u64 = 60_000;

    /// A unit that ends at once whenever it is started: when it starts, until it is given up.
    fn crash_loop(max_per_hour: u32, seed: u64) -> (Vec<Mono>, Next) {
        let (mut history, mut now, mut starts) = (History::default(), Mono(7), Vec::new());
        loop {
            match history.next(now, max_per_hour, seed) {
                Next::At(at) => {
                    now = at;
                    starts.push(at);
                    history.record(now);
                }
                exhausted @ Next::Exhausted { .. } => return (starts, exhausted),
            }
        }
    }

    #[test]
    fn the_first_restart_is_at_once_and_later_ones_wait_twice_as_long_up_to_five_minutes() {
        let mut history = History::default();
        let mut middle_seconds = Vec::new();
        for step in 0..10 {
            let delays: Vec<u64> = (0..500).map(|seed| millis(history.delay(seed))).collect();
            let (least, most) =
                (delays.iter().min().expect("500"), delays.iter().max().expect("500"));
            middle_seconds.push((least + most + 1_000) / 2_000);
            assert!(step == 0 || least < most, "agents that died together start apart");
            history.record(Mono(step));
        }
        assert_eq!(middle_seconds, [0, 5, 10, 20, 40, 80, 160, 300, 300, 300]);
    }

    #[test]
    fn a_crash_loop_ends_after_the_allowed_restarts_and_says_how_many_and_since_when() {
        let (starts, end) = crash_loop(10, 1);
        assert_eq!(starts.len(), 10);
        assert_eq!(end, Next::Exhausted { count: 10, since: Mono(7) });
    }

    #[test]
    fn a_person_who_clears_the_history_gets_a_start_at_once() {
        let mut history = History::default();
        (0..10).for_each(|at| history.record(Mono(at)));
        assert!(matches!(history.next(Mono(10), 10, 0), Next::Exhausted { .. }));
        history.cleared();
        assert_eq!(history.next(Mono(10), 10, 0), Next::At(Mono(10)));
    }

    #[test]
    fn ten_minutes_of_health_make_the_next_crash_a_first_one_but_the_hour_still_counts() {
        let mut history = History::default();
        (0..3).for_each(|at| history.record(Mono(at)));
        history.healthy_since(Mono(3), Mono(3 + 10 * MINUTE - 1));
        assert_eq!(history.streak(), 3);
        let later = Mono(3 + 10 * MINUTE);
        history.healthy_since(Mono(3), later);
        assert_eq!(history.next(later, 10, 9), Next::At(later));
        assert_eq!(history.next(later, 3, 9), Next::Exhausted { count: 3, since: Mono(0) });
        assert_eq!(history.count(Mono(61 * MINUTE)), 0);
    }

    #[test]
    fn the_history_survives_its_json() {
        let mut history = History::default();
        history.record(Mono(5));
        let text = serde_json::to_string(&history).expect("plain data");
        assert_eq!(serde_json::from_str::<History>(&text).expect("own text"), history);
    }

    proptest! {
        #[test]
        fn no_sliding_hour_holds_more_restarts_than_allowed(
            gaps in prop::collection::vec((0_u64..20 * MINUTE, any::<bool>()), 1..120),
            max in 0_u32..12,
            seed: u64,
        ) {
            let (mut history, mut now, mut starts) = (History::default(), Mono(0), Vec::<Mono>::new());
            for (lived, healthy) in gaps {
                let began = now;
                now = now.plus(Duration::from_millis(lived));
                if healthy {
                    history.healthy_since(began, now);
                }
                if let Next::At(at) = history.next(now, max, seed) {
                    now = at;
                    history.record(now);
                    starts.push(now);
                }
            }
            for first in &starts {
                let inside = starts.iter().filter(|s| *s >= first && s.since(*first) <= WINDOW).count();
                prop_assert!(inside <= max as usize, "{inside} restarts within an hour");
            }
        }

        #[test]
        fn delays_never_shrink_by_more_than_the_jitter(seed: u64, other: u64) {
            let mut history = History::default();
            let mut before = Duration::ZERO;
            for step in 0..40 {
                let delay = history.delay(if step % 2 == 0 { seed } else { other });
                prop_assert!(delay.as_millis() * 120 >= before.as_millis() * 80);
                prop_assert!(delay <= DELAY_MAX.mul_f64(1.2));
                before = delay;
                history.record(Mono(step));
            }
        }

        #[test]
        fn a_clock_that_jumps_anywhere_neither_panics_nor_forgets_the_brake(
            times in prop::collection::vec(any::<u64>(), 0..60),
            seed: u64,
        ) {
            let mut history = History::default();
            for time in times {
                let now = Mono(time);
                history.healthy_since(Mono(time / 2), Mono(time / 3));
                match history.next(now, 5, seed) {
                    Next::At(at) => {
                        prop_assert!(at >= now);
                        history.record(now);
                    }
                    Next::Exhausted { count, .. } => prop_assert_eq!(count, 5),
                }
            }
        }
    }
}
