//! A thread of the server that ended though nobody told it to: the whole process ends then.
//!
//! Lanes, webhooks and the ear for other servers begin anew by themselves. What speaks HTTP cannot,
//! and a server that listens to nobody must not look alive to whoever would start it again.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

#[derive(Default)]
struct State {
    thread: Option<&'static str>,
    tell: Option<Box<dyn FnOnce() + Send>>,
}

/// Whether one has ended, and who wants to know.
#[derive(Clone, Default)]
pub struct Broken(Arc<Mutex<State>>);

impl Broken {
    /// The first thread that ended.
    pub fn thread(&self) -> Option<&'static str> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).thread
    }

    /// Calls `tell` once, when a thread has ended; at once if that is past.
    pub fn tell(&self, tell: impl FnOnce() + Send + 'static) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.thread.is_none() {
            state.tell = Some(Box::new(tell));
        } else {
            drop(state);
            tell();
        }
    }

    pub fn note(&self, thread: &'static str) {
        tracing::error!(thread, "a part of the server ended, so all of it ends");
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.thread.get_or_insert(thread);
        let tell = state.tell.take();
        drop(state);
        if let Some(tell) = tell {
            tell();
        }
    }

    /// A thread whose work says whether it ended as it was told to.
    pub fn watch(
        &self,
        name: &'static str,
        work: impl FnOnce() -> bool + Send + 'static,
    ) -> std::io::Result<JoinHandle<()>> {
        let broken = self.clone();
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            if !ended.unwrap_or(false) {
                broken.note(name);
            }
        })
    }
}

impl std::fmt::Debug for Broken {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Broken").field(&self.thread()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_panics_or_ends_too_soon_is_told_of_and_one_that_was_told_is_not() {
        let check = |work: fn() -> bool, expected: Option<&str>| {
            let broken = Broken::default();
            let (send, receive) = std::sync::mpsc::channel();
            broken.tell(move || send.send(()).unwrap());
            broken.watch("t", work).unwrap().join().unwrap();
            assert_eq!(broken.thread(), expected);
            assert_eq!(receive.try_recv().is_ok(), expected.is_some());
            let (send, receive) = std::sync::mpsc::channel();
            broken.tell(move || send.send(()).unwrap());
            assert_eq!(receive.try_recv().is_ok(), expected.is_some(), "also who asks later");
        };
        check(|| panic!("on purpose"), Some("t"));
        check(|| false, Some("t"));
        check(|| true, None);
    }
}
