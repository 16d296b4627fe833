//! Tests of the whole: one binary, one file an area.
#![expect(clippy::disallowed_methods, reason = "tests start real processes against real deadlines")]
mod launcher;
mod layers;
//! Tests of the program as people run it.
mod init;
//! Integration tests: the real thing, one binary.

mod support;
mod tmux;
