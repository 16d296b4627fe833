//! Loops that observe, decide, act; the only callers of both the core and the world.

pub mod client;
pub mod deliver;
pub mod demo_agent;
pub mod dry_run;
pub mod engine;
pub mod governance;
pub mod hook;
pub mod journal;
pub mod live;
pub mod log;
pub mod notify;
pub mod policies;
pub mod prepare;
pub mod project;
pub mod recorder;
pub mod request;
pub mod sensors;
pub mod serve;
pub mod sight;
pub mod store;
pub mod stub_model;
pub mod survey;
pub mod transcripts;
pub mod typing;
pub mod units;
pub mod watchdog;
