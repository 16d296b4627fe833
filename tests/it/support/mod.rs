//! What several integration tests need.

pub(crate) mod fleet;
pub(crate) mod tmux;
