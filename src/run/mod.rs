//! Loops that observe, decide, act; the only callers of both the core and the world.

pub mod deliver;
pub mod demo_agent;
