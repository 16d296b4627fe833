//! Governance: may this agent do this, at what cost, and who answers for it.
//!
//! One pure engine for every door (hook, `ao run`, HTTP, the watchdog's own acts): an [`Ask`] and what
//! is known go in, a [`Verdict`] with its trace comes out. Stores, files and sockets are not here.
//!
//! [`Ask`]: action::Ask
//! [`Verdict`]: verdict::Verdict

pub mod action;
pub mod approval;
pub mod attribute;
pub mod audit;
pub mod class;
pub mod trust;
pub mod verdict;
