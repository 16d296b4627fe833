//! How far an agent is trusted: the rows of the trust table, and the table itself.
//!
//! How a level is earned and lost stands in [`super::conduct`].

use serde::{Deserialize, Serialize};

use super::class::Class;
use super::verdict::Effect;
use crate::config::governance as config;

/// Least trusted first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Level {
    /// Observer.
    L0,
    /// Contributor.
    L1,
    /// Trusted.
    L2,
    /// Senior.
    L3,
    /// Architect.
    L4,
}

impl Level {
    pub const ALL: [Self; 5] = [Self::L0, Self::L1, Self::L2, Self::L3, Self::L4];

    pub const fn word(self) -> &'static str {
        match self {
            Self::L0 => "L0",
            Self::L1 => "L1",
            Self::L2 => "L2",
            Self::L3 => "L3",
            Self::L4 => "L4",
        }
    }

    /// One level less; the lowest stays.
    #[must_use]
    pub const fn below(self) -> Self {
        match self {
            Self::L0 | Self::L1 => Self::L0,
            Self::L2 => Self::L1,
            Self::L3 => Self::L2,
            Self::L4 => Self::L3,
        }
    }

    /// One level more; the highest stays.
    #[must_use]
    pub const fn above(self) -> Self {
        match self {
            Self::L0 => Self::L1,
            Self::L1 => Self::L2,
            Self::L2 => Self::L3,
            Self::L3 | Self::L4 => Self::L4,
        }
    }
}

impl From<config::Trust> for Level {
    fn from(trust: config::Trust) -> Self {
        match trust {
            config::Trust::L0 => Self::L0,
            config::Trust::L1 => Self::L1,
            config::Trust::L2 => Self::L2,
            config::Trust::L3 => Self::L3,
            config::Trust::L4 => Self::L4,
        }
    }
}

/// The trust table. `permitted`: a policy permits the act, which lifts only what the table lets it lift.
pub const fn gate(level: Level, class: Class, permitted: bool) -> Effect {
    use Effect::{Allow, AllowNotify, Deny, RequireApproval};
    match class {
        Class::Observe => Allow,
        Class::Propose => match level {
            Level::L0 => Deny,
            Level::L1 | Level::L2 | Level::L3 | Level::L4 => Allow,
        },
        Class::Act => match level {
            Level::L0 => Deny,
            Level::L2 if permitted => AllowNotify,
            Level::L1 | Level::L2 => RequireApproval,
            Level::L3 | Level::L4 => Allow,
        },
        Class::Across => match level {
            Level::L0 => Deny,
            Level::L1 | Level::L2 => RequireApproval,
            Level::L3 | Level::L4 => Allow,
        },
        Class::System => match level {
            Level::L0 | Level::L1 | Level::L2 => Deny,
            Level::L3 => RequireApproval,
            Level::L4 => AllowNotify,
        },
    }
}

/// What counts for an act done on behalf of others: the least of all along the chain.
pub fn effective(own: Level, chain: impl IntoIterator<Item = Level>) -> Level {
    chain.into_iter().fold(own, Level::min)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::govern::verdict::Effect::{Allow, AllowNotify, Deny, RequireApproval};

    const CLASSES: [Class; 5] =
        [Class::Observe, Class::Propose, Class::Act, Class::Across, Class::System];

    #[test]
    fn the_table_is_the_one_that_is_documented() {
        let rows = [
            (Level::L0, [Allow, Deny, Deny, Deny, Deny]),
            (Level::L1, [Allow, Allow, RequireApproval, RequireApproval, Deny]),
            (Level::L2, [Allow, Allow, RequireApproval, RequireApproval, Deny]),
            (Level::L3, [Allow, Allow, Allow, Allow, RequireApproval]),
            (Level::L4, [Allow, Allow, Allow, Allow, AllowNotify]),
        ];
        for (level, row) in rows {
            for (class, expected) in CLASSES.into_iter().zip(row) {
                assert_eq!(gate(level, class, false), expected, "{level:?} {class:?}");
                let with =
                    if (level, class) == (Level::L2, Class::Act) { AllowNotify } else { expected };
                assert_eq!(gate(level, class, true), with, "{level:?} {class:?} permitted");
            }
        }
    }

    #[test]
    fn more_trust_and_less_reach_never_say_less() {
        for permitted in [false, true] {
            for class in CLASSES {
                for level in Level::ALL {
                    assert!(gate(level.above(), class, permitted) <= gate(level, class, permitted));
                }
            }
            for pair in CLASSES.windows(2) {
                for level in Level::ALL {
                    assert!(gate(level, pair[0], permitted) <= gate(level, pair[1], permitted));
                }
            }
        }
    }

    #[test]
    fn a_chain_is_as_trusted_as_its_least_link() {
        assert_eq!(effective(Level::L4, [Level::L2, Level::L3]), Level::L2);
        assert_eq!(effective(Level::L1, [Level::L3]), Level::L1);
        assert_eq!(effective(Level::L3, []), Level::L3);
    }
}
