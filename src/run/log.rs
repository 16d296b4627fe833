//! The log for developers: `watchdog.log`, off the terminal, with panics and their backtraces.

use std::fs::OpenOptions;
use std::path::Path;
use std::sync::Mutex;

use tracing_subscriber::EnvFilter;

/// A larger log is moved aside when the watchdog starts.
const BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Sends log lines to this file (level by `AO_LOG`, default `info`). A file that cannot be opened
/// costs the log, not the supervision.
pub fn to_file(path: &Path) {
    use std::os::unix::fs::OpenOptionsExt as _;
    drop(crate::sys::file::rotate(path, BYTES_MAX, 1));
    let Ok(file) = OpenOptions::new().create(true).append(true).mode(0o600).open(path) else {
        return;
    };
    let filter = EnvFilter::try_from_env("AO_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(Mutex::new(file));
    if subscriber.try_init().is_err() {
        return;
    }
    std::panic::set_hook(Box::new(|panic| {
        let backtrace = std::backtrace::Backtrace::force_capture();
        tracing::error!(%panic, %backtrace, "panic");
    }));
}

/// The same on standard error, for what runs under a supervisor that keeps it.
pub fn to_standard_error() {
    let filter = EnvFilter::try_from_env("AO_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        // Nobody may read it any more: that must not end in a panic.
        .log_internal_errors(false)
        .with_writer(std::io::stderr);
    // One that is there already has a place for what is said.
    drop(subscriber.try_init());
}
