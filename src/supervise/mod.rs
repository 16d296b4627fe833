//! The heart: what the fleet does next, as a pure function of what is known and what time it is.

pub mod restart;
