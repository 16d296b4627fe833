//! Who is probed first when several agents share an account.
//!
//! A limit belongs to the account, so one probe tells for all: the agent whose window ends first
//! goes, the others wait for its verdict and then follow, staggered, once per window. Knows no
//! banners and types nothing; `window` remembers what was probed.
//!
//! Surprise: two agents of one account can be under different limits (one model's week, everybody's
//! five hours), so a working agent frees only those with its own scope.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::banner::Scope;

/// Between two agents that go on: an account that just opened is not to be flooded.
pub const STAGGER: Duration = Duration::from_secs(5);
/// A probe without verdict for this long does not hold the others back any more.
const VERDICT_MAX: TimeDelta = TimeDelta::minutes(5);

/// One limited agent of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentWindow {
    pub name: String,
    pub scope: Scope,
    pub since: DateTime<Utc>,
    /// The earliest probe by its own window.
    pub due: DateTime<Utc>,
    pub continues_itself: bool,
    pub turn: Turn,
}

/// How far an agent of this limit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Not probed since its window was armed.
    Waits,
    Probed {
        at: DateTime<Utc>,
    },
    /// Its window was released because it works; keep it in the list until the others have gone.
    Runs {
        since: DateTime<Utc>,
    },
}

/// Leave to probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leave {
    pub name: String,
    /// Not before this moment.
    pub at: DateTime<Utc>,
    /// Because another agent of the account works: send `AccountFreed`, else `Deadline`.
    pub freed: bool,
}

/// Which agents of one account may be probed, and when; the others wait.
pub fn next(windows: &[AgentWindow], now: DateTime<Utc>) -> Vec<Leave> {
    let mut order: Vec<&AgentWindow> = windows.iter().collect();
    order.sort_by(|a, b| (a.due, a.since, &a.name).cmp(&(b.due, b.since, &b.name)));
    let mut held = order.iter().any(|window| match window.turn {
        Turn::Probed { at } => now < at + VERDICT_MAX,
        Turn::Waits | Turn::Runs { .. } => false,
    });
    let mut leaves = Vec::new();
    for (index, window) in order.iter().enumerate().filter(|(_, window)| window.turn == Turn::Waits)
    {
        if let Some((opener, opened)) = opener(&order, &window.scope) {
            // Slots count all followers, gone or not, so that nobody's slot moves.
            let ahead = order[..index].iter().enumerate();
            let ahead =
                ahead.filter(|(other, w)| *other != opener && w.scope == window.scope).count();
            let stagger = STAGGER.saturating_mul(u32::try_from(ahead + 1).unwrap_or(u32::MAX));
            let at = opened + TimeDelta::from_std(stagger).unwrap_or(TimeDelta::MAX);
            let at = if window.continues_itself { at.max(window.due) } else { at };
            let freed = !window.continues_itself;
            leaves.push(Leave { name: window.name.clone(), at, freed });
        } else if !held {
            held = true;
            leaves.push(Leave { name: window.name.clone(), at: window.due, freed: false });
        }
    }
    leaves
}

/// The first agent of this scope that works again, and since when.
fn opener(order: &[&AgentWindow], scope: &Scope) -> Option<(usize, DateTime<Utc>)> {
    order
        .iter()
        .enumerate()
        .filter(|(_, window)| window.scope == *scope)
        .filter_map(|(index, window)| match window.turn {
            Turn::Runs { since } => Some((index, since)),
            Turn::Waits | Turn::Probed { .. } => None,
        })
        .min_by_key(|(_, since)| *since)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_795_000_000 + seconds, 0).expect("small number")
    }

    fn window(name: &str, due: i64, turn: Turn) -> AgentWindow {
        AgentWindow {
            name: name.to_owned(),
            scope: Scope::FiveHour,
            since: at(0),
            due: at(due),
            continues_itself: false,
            turn,
        }
    }

    #[track_caller]
    fn check(windows: &[AgentWindow], now: i64, expected: &[(&str, i64, bool)]) {
        let leaves = next(windows, at(now));
        let found: Vec<_> = leaves
            .iter()
            .map(|leave| (leave.name.as_str(), (leave.at - at(0)).num_seconds(), leave.freed))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn only_the_agent_whose_window_ends_first_is_probed() {
        let windows = [
            window("c", 100, Turn::Waits),
            window("a", 100, Turn::Waits),
            window("b", 90, Turn::Waits),
        ];
        check(&windows, 50, &[("b", 90, false)]);
    }

    #[test]
    fn while_the_probe_has_no_verdict_nobody_else_goes_but_not_forever() {
        let windows = [window("a", 90, Turn::Probed { at: at(90) }), window("b", 95, Turn::Waits)];
        check(&windows, 120, &[]);
        check(&windows, 90 + 300, &[("b", 95, false)]);
    }

    #[test]
    fn when_the_first_works_the_others_follow_five_seconds_apart_and_keep_their_slots() {
        let mut windows = vec![
            window("a", 90, Turn::Runs { since: at(100) }),
            window("b", 95, Turn::Waits),
            window("c", 96, Turn::Waits),
            window("d", 400, Turn::Waits),
        ];
        check(&windows, 101, &[("b", 105, true), ("c", 110, true), ("d", 115, true)]);
        windows[1].turn = Turn::Probed { at: at(105) };
        check(&windows, 106, &[("c", 110, true), ("d", 115, true)]);
        windows[1].turn = Turn::Runs { since: at(107) };
        check(&windows, 108, &[("c", 110, true), ("d", 115, true)]);
    }

    #[test]
    fn an_agent_limited_by_its_model_is_not_freed_by_one_under_another_limit() {
        let mut opus = window("o", 9_000, Turn::Waits);
        opus.scope = Scope::Opus;
        let windows = [window("a", 90, Turn::Runs { since: at(100) }), opus];
        check(&windows, 101, &[("o", 9_000, false)]);
    }

    #[test]
    fn an_agent_that_goes_on_by_itself_is_not_hurried() {
        let mut itself = window("i", 700, Turn::Waits);
        itself.continues_itself = true;
        check(&[window("a", 90, Turn::Runs { since: at(100) }), itself], 101, &[("i", 700, false)]);
    }
}
