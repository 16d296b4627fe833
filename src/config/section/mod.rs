//! The sections of `agents.toml` as a person writes them, one file each.

pub mod backend;
pub mod detect;
