//! The first prompt and later messages: composed, planned, verified.

pub mod compose;
pub mod deliver;
