//! How long an agent has been idle, over several readings.
//!
//! Idle counts from the last moment the agent was seen working or its live lines changed, not from the
//! start of whoever watches: the value is kept in state.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{PaneState, Reading};
use crate::base::now::Mono;

/// What is remembered of an agent between looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activity {
    /// When it was last seen working or changing.
    pub last: Mono,
    /// The live lines of the latest look.
    pub live_hash: u64,
}

impl Activity {
    /// The first look: whatever it shows, the agent counts as active now.
    pub const fn begin(live_hash: u64, now: Mono) -> Self {
        Self { last: now, live_hash }
    }

    /// What is remembered after one more look.
    #[must_use]
    pub fn seen(self, reading: &Reading, now: Mono) -> Self {
        let moved = reading.state == PaneState::Working || reading.live_hash != self.live_hash;
        // A look from before the last one (two looks answered out of order) never turns time back.
        let last = if moved { self.last.max(now) } else { self.last };
        Self { last, live_hash: reading.live_hash }
    }

    /// How long nothing happened.
    pub fn idle_for(self, now: Mono) -> Duration {
        now.since(self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::screen::Composer;
    use proptest::prelude::*;

    fn reading(state: PaneState, live_hash: u64) -> Reading {
        Reading {
            state,
            evidence: Vec::new(),
            cure: None,
            composer: Composer::Absent,
            live_hash,
            marker: None,
        }
    }

    #[test]
    fn idle_counts_from_the_last_work_or_change_and_not_from_the_last_look() {
        let begun = Activity::begin(1, Mono(0));
        let worked = begun.seen(&reading(PaneState::Working, 1), Mono(1_000));
        let rested = worked.seen(&reading(PaneState::Idle, 1), Mono(60_000));
        assert_eq!(rested.idle_for(Mono(61_000)), Duration::from_secs(60));
        let changed = rested.seen(&reading(PaneState::Idle, 2), Mono(70_000));
        assert_eq!(changed.idle_for(Mono(71_000)), Duration::from_secs(1));
    }

    proptest! {
        #[test]
        fn the_last_activity_never_moves_back(looks: Vec<(bool, u8, u32)>) {
            let mut activity = Activity::begin(0, Mono(0));
            for (works, hash, at) in looks {
                let state = if works { PaneState::Working } else { PaneState::Idle };
                let next = activity.seen(&reading(state, u64::from(hash)), Mono(u64::from(at)));
                prop_assert!(next.last >= activity.last);
                activity = next;
            }
        }
    }
}
