//! What several integration tests need.

pub(crate) mod fleet;
pub(crate) mod postgres;
pub(crate) mod tmux;
