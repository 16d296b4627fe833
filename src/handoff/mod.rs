//! What other agents must be told of: commits and inbox changes become pings.
//!
//! Pure: commits and file contents come in as values, pings go out. Fetching is done in `sys`.

pub mod commit;
pub mod done;
pub mod inbox;
pub mod judge;

#[cfg(test)]
mod tests;
