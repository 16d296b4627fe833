//! Exit codes, with their reasons.

/// Done.
pub const DONE: u8 = 0;
/// Failed; the caller can do something about it.
pub const FAILED: u8 = 1;
/// Usage or config: nothing was touched.
pub const USAGE: u8 = 2;
/// The condition asked about is not so (`status --check`).
pub const NOT_SO: u8 = 3;
/// Refused by governance, or the unit was killed.
pub const REFUSED: u8 = 4;
/// A bug in ao.
pub const BUG: u8 = 70;
