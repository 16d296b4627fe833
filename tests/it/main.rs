//! All integration tests, in one binary.

mod screens;
mod screens_composed;
