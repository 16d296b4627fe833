//! The heart: what the fleet does next, as a pure function of what is known and what time it is.
//!
//! [`decide`](decide::decide) takes the fleet, one event and the time, changes the fleet and answers
//! actions. Outcomes of actions come back as events; an action never changes the fleet by itself.
//! Nothing in here reads a clock, a file or tmux, so days of supervision run in milliseconds under test.
pub mod action;
pub mod agent;
mod completion;
pub mod decide;
pub mod event;
pub mod invariant;
pub mod limit;
pub mod outbox;
pub mod overload;
pub mod pacing;
pub mod pinging;
mod probing;
pub mod sequence;
pub mod settings;
pub mod stall;
pub mod state;
pub mod wake;

pub mod record;
pub mod restart;
pub mod waking;

#[cfg(test)]
mod fleet_tests;
#[cfg(test)]
mod life_tests;
#[cfg(test)]
mod sequence_tests;
#[cfg(test)]
mod stall_tests;
#[cfg(test)]
mod story;
