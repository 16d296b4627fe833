//! View models: what status, explain and events show, without formatting.

pub mod act;
pub mod explain;
pub mod log_text;
pub mod notice;
pub mod queue;
pub mod session;
pub mod status;
pub mod usage;
