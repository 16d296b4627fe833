//! Tests of the program as people run it: one binary, one file an area.

#![expect(clippy::disallowed_methods, reason = "tests start real processes against real deadlines")]
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]
#![expect(
    clippy::needless_pass_by_value,
    reason = "`check(…, expect![…])` reads better without `&`"
)]

mod accepting;
mod api;
mod api_fuzz;
mod config_errors;
mod config_reference;
mod delivery;
mod facts;
mod fleet;
mod git;
mod governance;
mod governed;
mod hooks;
mod init;
mod launcher;
mod layers;
mod limit_day;
mod loop_e2e;
mod policies;
mod postgres;
mod queue;
mod real;
mod schemas;
mod screens;
mod screens_composed;
mod serving;
mod shell_templates;
mod sim;
mod state_damage;
mod state_files;
mod support;
mod tmux;
mod transcripts;
