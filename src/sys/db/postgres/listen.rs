//! Hears what other servers on the same database changed.
//!
//! A hint to look now, never the truth itself: every decision reads the store in its own transaction.
//! A notice sent while the connection was lost is gone, so each new connection counts as one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{Address, CHANNEL, connect};
use crate::base::chain;
use crate::sys::db::DbError;

/// An end that is asked for is noticed after so long.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Between two tries for a connection, in looks.
const RETRY_LOOKS: u32 = 5;

/// A thread with a connection of its own; it ends when this is dropped.
#[derive(Debug)]
pub struct Listener {
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    /// Calls `changed` once a connection stands, and after each change; it must not take long.
    pub fn start(address: Address, changed: impl Fn() + Send + 'static) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&ends);
        let thread = std::thread::spawn(move || {
            let mut told = String::new();
            while !seen.load(Ordering::Relaxed) {
                let listening = std::panic::AssertUnwindSafe(|| listen(&address, &changed, &seen));
                match std::panic::catch_unwind(listening) {
                    Ok(Ok(())) => told.clear(),
                    Ok(Err(error)) => {
                        // An outage is one line.
                        let error = chain::text(&error);
                        if told != error {
                            tracing::warn!(error, "changes of other servers are not heard");
                            told = error;
                        }
                    }
                    Err(_) => {
                        tracing::error!("listening for changes ended in a bug and begins anew");
                    }
                }
                for _ in 0..RETRY_LOOKS {
                    if !seen.load(Ordering::Relaxed) {
                        std::thread::sleep(LOOK_EVERY);
                    }
                }
            }
        });
        Self { ends, thread: Some(thread) }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Until the connection is lost or the end is asked for.
fn listen(address: &Address, changed: &impl Fn(), ends: &AtomicBool) -> Result<(), DbError> {
    let lost = |cause| DbError::Lost { act: "listen", cause };
    let mut link = connect(address)?;
    link.batch_execute(&format!("LISTEN {CHANNEL}")).map_err(lost)?;
    changed();
    while !ends.load(Ordering::Relaxed) {
        if link.heard(LOOK_EVERY).map_err(lost)? {
            changed();
        }
        if link.is_closed() {
            return Ok(());
        }
    }
    Ok(())
}
