//! The first prompt and later messages: composed, planned, verified.

pub mod deliver;
pub mod compose;
