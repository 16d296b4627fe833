//! Governance: may this agent do this, at what cost, and who answers for it.
//!
//! One pure engine for every door (hook, `ao run`, HTTP, the watchdog's own acts): an [`Ask`] and what
//! is known go in, a [`Verdict`] with its trace comes out. Stores, files and sockets are not here.
//!
//! [`Ask`]: action::Ask
//! [`Verdict`]: verdict::Verdict

pub mod action;
pub mod answer;
pub mod approval;
pub mod assess;
pub mod attribute;
pub mod audit;
pub mod bounds;
pub mod budget;
pub mod class;
pub mod classes;
pub mod conduct;
pub mod declared;
pub mod glob;
pub mod judge;
pub mod kill;
pub mod lineage;
pub mod payload;
pub mod policy;
pub mod session;
pub mod shell;
pub mod trust;
pub mod verdict;
