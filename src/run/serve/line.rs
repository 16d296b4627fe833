//! The line in front of a lane: what waits for its thread, and what else may wake it.
//!
//! Not the standard library's channel: the thread of writes waits for the next request and for the
//! end of a flush at once, and whoever tells it of a flush must not keep the line open.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Puts things into a line; the line ends when the last clone is gone.
pub struct Sender<T>(Arc<Open<T>>);

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> std::fmt::Debug for Sender<T> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Sender").finish_non_exhaustive()
    }
}

struct Open<T>(Arc<Line<T>>);

/// Takes things out, first come, first served. What still waits goes when this goes.
pub struct Receiver<T>(Arc<Line<T>>);

/// Wakes the receiver; does not keep the line open.
pub struct Nudge<T>(Arc<Line<T>>);

/// What ended a wait.
#[derive(Debug)]
pub enum Next<T> {
    Item(T),
    Nudged,
    /// So long nothing came.
    Idle,
    /// Nothing will come any more.
    Ended,
}

struct Line<T> {
    most: usize,
    state: Mutex<State<T>>,
    wake: Condvar,
}

struct State<T> {
    waiting: VecDeque<T>,
    nudged: bool,
    /// Nobody sends any more.
    ended: bool,
    /// Nobody takes any more.
    left: bool,
}

/// A line in which at most `most` things wait.
pub fn line<T>(most: usize) -> (Sender<T>, Receiver<T>) {
    let state =
        State { waiting: VecDeque::with_capacity(most), nudged: false, ended: false, left: false };
    let line = Arc::new(Line { most, state: Mutex::new(state), wake: Condvar::new() });
    (Sender(Arc::new(Open(Arc::clone(&line)))), Receiver(line))
}

impl<T> Line<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        // Nothing is left half done under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Sender<T> {
    /// Gives the thing back when the line is full or nobody takes from it.
    pub fn send(&self, item: T) -> Result<(), T> {
        let line = &self.0.0;
        let mut state = line.state();
        if state.left || state.waiting.len() >= line.most {
            return Err(item);
        }
        state.waiting.push_back(item);
        drop(state);
        line.wake.notify_one();
        Ok(())
    }
}

impl<T> Drop for Open<T> {
    fn drop(&mut self) {
        self.0.state().ended = true;
        self.0.wake.notify_one();
    }
}

impl<T> Clone for Nudge<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Nudge<T> {
    pub fn nudge(&self) {
        self.0.state().nudged = true;
        self.0.wake.notify_one();
    }
}

impl<T> Receiver<T> {
    pub fn nudge(&self) -> Nudge<T> {
        Nudge(Arc::clone(&self.0))
    }

    /// What waits already.
    pub fn take(&self) -> Option<T> {
        self.0.state().waiting.pop_front()
    }

    /// What waits already, at most so many.
    pub fn take_up_to(&self, most: usize) -> VecDeque<T> {
        let waiting = &mut self.0.state().waiting;
        let count = waiting.len().min(most);
        waiting.drain(..count).collect()
    }

    /// Puts back what was taken, in front of all that waits.
    pub fn give_back(&self, items: VecDeque<T>) {
        let mut state = self.0.state();
        for item in items.into_iter().rev() {
            state.waiting.push_front(item);
        }
    }

    /// Waits, without a bound where there is none.
    pub fn wait(&self, most: Option<Duration>) -> Next<T> {
        let quiet =
            |state: &mut State<T>| state.waiting.is_empty() && !state.nudged && !state.ended;
        let state = self.0.state();
        let mut state = match most {
            None => {
                let woken = self.0.wake.wait_while(state, quiet);
                woken.unwrap_or_else(PoisonError::into_inner)
            }
            Some(most) => {
                let woken = self.0.wake.wait_timeout_while(state, most, quiet);
                woken.unwrap_or_else(PoisonError::into_inner).0
            }
        };
        if let Some(item) = state.waiting.pop_front() {
            return Next::Item(item);
        }
        if std::mem::take(&mut state.nudged) {
            return Next::Nudged;
        }
        if state.ended { Next::Ended } else { Next::Idle }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let waiting = {
            let mut state = self.0.state();
            state.left = true;
            std::mem::take(&mut state.waiting)
        };
        drop(waiting);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_full_at_its_bound_and_ends_with_its_last_sender() {
        let (sender, receiver) = line(2);
        assert!(sender.send(1).is_ok() && sender.clone().send(2).is_ok());
        assert_eq!(sender.send(3), Err(3));
        drop(sender);
        assert_eq!(receiver.take(), Some(1));
        assert!(matches!(receiver.wait(None), Next::Item(2)));
        assert!(matches!(receiver.wait(None), Next::Ended));
    }

    #[test]
    fn a_nudge_wakes_once_and_behind_what_waits() {
        let (sender, receiver) = line(2);
        let nudge = receiver.nudge();
        nudge.nudge();
        sender.send(1).unwrap();
        assert!(matches!(receiver.wait(None), Next::Item(1)));
        assert!(matches!(receiver.wait(None), Next::Nudged));
        assert!(matches!(receiver.wait(Some(Duration::ZERO)), Next::Idle));
        drop(receiver);
        assert_eq!(sender.send(2), Err(2));
    }
}
