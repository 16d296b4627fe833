//! Integration tests: the real thing, one binary.

mod support;
mod tmux;
