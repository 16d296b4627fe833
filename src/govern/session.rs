//! How much one session may do: caps on its acts and on what they cost, whoever works in it.
//!
//! What was denied neither counts nor costs. An act that would cross a cap is denied like any other,
//! with a decision that is recorded; the session can go on as soon as the cap is raised.

use serde::{Deserialize, Serialize};

use super::action::Micros;
use super::verdict::{Effect, Said, Step};

/// `None`: no cap.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caps {
    pub actions: Option<u64>,
    pub cost: Option<Micros>,
}

impl Caps {
    /// What stands against one more act of this cost in a session that has done `acts` for `spent`.
    pub fn says(&self, acts: u64, spent: Micros, cost: Micros) -> Vec<Said> {
        let denied = |rule: &str, why: String| Said {
            step: Step::Session,
            rule: rule.to_owned(),
            effect: Effect::Deny,
            why,
            shadow: false,
        };
        let crossed = self.actions.filter(|most| acts >= *most);
        let actions = crossed.map(|most| {
            denied("session_actions_max", format!("{acts} acts in this session, at most {most}"))
        });
        let after = spent.0.saturating_add(cost.0);
        let crossed = self.cost.filter(|most| after > most.0);
        let cost = crossed.map(|most| {
            let (after, most) = (Micros(after).dollars(), most.dollars());
            denied("session_cost_max", format!("this session would cost {after}, at most {most}"))
        });
        actions.into_iter().chain(cost).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cap_is_reached_with_the_act_that_would_cross_it() {
        let caps = Caps { actions: Some(3), cost: Some(Micros(10)) };
        let says = |acts, spent, cost| {
            let said = caps.says(acts, Micros(spent), Micros(cost));
            said.into_iter().map(|said| said.rule).collect::<Vec<_>>()
        };
        assert_eq!(says(2, 4, 6), [""; 0]);
        assert_eq!(says(2, 4, 7), ["session_cost_max"]);
        assert_eq!(says(3, 0, 0), ["session_actions_max"]);
        assert_eq!(says(3, i64::MAX, 1), ["session_actions_max", "session_cost_max"]);
        assert!(Caps::default().says(u64::MAX, Micros(i64::MAX), Micros(1)).is_empty());
    }
}
