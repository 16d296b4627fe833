//! Tests of the program as people run it: one binary, one file an area.
#![expect(clippy::disallowed_methods, reason = "tests start real processes against real deadlines")]
mod init;
mod launcher;
mod layers;
mod support;
mod tmux;
//! Integration tests, one binary: each area a module.
mod config_errors;
mod config_reference;
//! All integration tests, in one binary.

mod screens;
