//! How we touch the world: the only layer below `run` and `ui` that may.

pub mod clock;
pub mod db;
pub mod death;
pub mod event_stream;
pub mod file;
pub mod git;
pub mod http;
pub mod load;
pub mod lock;
pub mod memory;
pub mod place;
pub mod pressure;
pub mod process;
pub mod spool;
pub mod tail;
pub mod tmux;
pub mod watch;
