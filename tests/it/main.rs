//! Tests of the program as people run it: one binary, one file an area.

#![expect(clippy::disallowed_methods, reason = "tests start real processes against real deadlines")]

mod config_errors;
mod config_reference;
mod delivery;
mod init;
mod launcher;
mod layers;
mod screens;
mod support;
mod tmux;
