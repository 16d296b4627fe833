//! Tests of the whole: one binary, one file an area.

#![expect(clippy::disallowed_methods, reason = "tests start real processes against real deadlines")]

mod config_errors;
mod config_reference;
mod launcher;
mod layers;
mod support;
mod tmux;
