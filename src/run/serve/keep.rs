//! What a thread of the server works with: opened, and opened anew after a bug or an outage.
//!
//! A store on a database server may be away when `ao serve` starts, and whoever starts it after a
//! power cut cannot know the order. So the thread begins without it, nothing is served meanwhile, and
//! the tries grow apart. What no waiting cures, such as a wrong password, is an error at the start;
//! found out later it stands in the log, since a person may cure it while the server runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::base::chain;
use crate::base::now::Mono;
use crate::run::governance::GovernanceError;
use crate::sys::clock;

/// After the first try that failed; each further one doubles it.
const PAUSE_FIRST: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Makes one; called in the thread that needs it.
pub type Open<T> = dyn Fn() -> Result<T, GovernanceError> + Send + Sync;

/// One that is there or will be.
pub struct Kept<T> {
    open: Arc<Open<T>>,
    value: Option<T>,
    again: Mono,
    pause: Duration,
    /// The last error that was told: an outage is one line and not one a second.
    told: String,
    is_open: Arc<AtomicBool>,
}

impl<T> Kept<T> {
    /// Opens it now. While the store is away it begins without; any other error is returned.
    pub fn begin(open: &Arc<Open<T>>) -> Result<Self, GovernanceError> {
        let mut kept = Self::later(open);
        match open() {
            Ok(value) => kept.hold(value),
            Err(error) if error.is_away() => kept.put_off(&error),
            Err(error) => return Err(error),
        }
        Ok(kept)
    }

    /// Begins without; the first [`get`](Self::get) opens it.
    pub fn later(open: &Arc<Open<T>>) -> Self {
        Self {
            open: Arc::clone(open),
            value: None,
            again: clock::now().mono,
            pause: PAUSE_FIRST,
            told: String::new(),
            is_open: Arc::default(),
        }
    }

    /// Tells other threads whether it is there.
    pub fn sign(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.is_open)
    }

    pub fn is_open(&self) -> bool {
        self.value.is_some()
    }

    /// It, opened where that is due; `None` while that fails.
    pub fn get(&mut self) -> Option<&mut T> {
        if self.value.is_none() && clock::now().mono >= self.again {
            // Noted first: a bug in there must not become a loop without a pause.
            self.count();
            match (self.open)() {
                Ok(value) => self.hold(value),
                Err(error) => self.put_off(&error),
            }
        }
        self.value.as_mut()
    }

    /// The same, handed over; it counts as lost.
    pub fn take(&mut self) -> Option<T> {
        self.get()?;
        let taken = self.value.take();
        self.again = clock::now().mono.plus(self.pause);
        taken
    }

    /// What a bug left half done goes.
    pub fn lose(&mut self) {
        if self.value.take().is_some() {
            self.again = clock::now().mono;
        }
        self.is_open.store(false, Ordering::Release);
    }

    /// Until the next try.
    pub fn wait(&self) -> Duration {
        self.again.since(clock::now().mono).max(Duration::from_millis(1))
    }

    fn hold(&mut self, value: T) {
        if !self.told.is_empty() {
            tracing::info!("the governance store is back");
        }
        self.told.clear();
        self.value = Some(value);
        self.pause = PAUSE_FIRST;
        self.is_open.store(true, Ordering::Release);
    }

    fn count(&mut self) {
        self.again = clock::now().mono.plus(self.pause);
        self.pause = (self.pause * 2).min(PAUSE_MAX);
    }

    fn put_off(&mut self, error: &GovernanceError) {
        // A try may have taken seconds.
        self.again = clock::now().mono.plus(self.pause);
        let text = chain::text(error);
        if text != self.told {
            if error.is_away() {
                tracing::warn!(
                    error = text,
                    "the governance store is away; all is refused, and it is tried again"
                );
            } else {
                tracing::error!(
                    error = text,
                    "the governance store cannot be opened; all is refused, and it is tried again"
                );
            }
            self.told = text;
        }
    }
}

impl<T> std::fmt::Debug for Kept<T> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Kept").field("is_open", &self.is_open()).finish_non_exhaustive()
    }
}
