//! Where groups of writes wait for the disk, so that the next group need not.
//!
//! The thread of writes hands over what it committed, with the answers; a thread of its own flushes
//! it and then answers. Whoever else looks into the store may see a commit that is not on the disk
//! yet, so the other lanes hold their answers back until all they may have seen is flushed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{SendError, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::sync::oneshot;

use super::desk::{Answer, Job};
use super::line::Nudge;
use super::refusal::Refusal;
use crate::sys::db::Flush;

/// How far commits and flushes have come, for all lanes of a server.
#[derive(Debug, Default)]
pub struct Flushes {
    state: Mutex<State>,
    moved: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Groups that others can see.
    seen: u64,
    /// Groups that are on the disk, or could not be brought there.
    over: u64,
    /// Why the last one could not.
    failed: Option<Refusal>,
}

impl Flushes {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a flush is under way.
    pub fn is_busy(&self) -> bool {
        let state = self.state();
        state.seen != state.over
    }

    /// Just before a commit that is flushed later.
    pub fn begin(&self) {
        self.state().seen += 1;
    }

    /// The flush is over, or the commit was none.
    pub fn end(&self, failed: Option<Refusal>) {
        let mut state = self.state();
        state.over += 1;
        state.failed = failed;
        drop(state);
        self.moved.notify_all();
    }

    /// Waits until all that can be seen now is on the disk.
    pub fn settle(&self) -> Result<(), Refusal> {
        let state = self.state();
        let seen = state.seen;
        let waited = self.moved.wait_while(state, |state| state.over < seen);
        let state = waited.unwrap_or_else(PoisonError::into_inner);
        state.failed.clone().map_or(Ok(()), Err)
    }
}

/// Answers, and who waits for each.
pub type Answers = Vec<(oneshot::Sender<Answer>, Answer)>;

/// Carries answers to the thread that speaks HTTP, many at once: waking it costs as much as one.
pub type Post = UnboundedSender<Answers>;

/// One group: committed, and its answers, which nobody has yet.
pub struct Sealed {
    pub flush: Flush,
    pub answers: Answers,
}

impl Sealed {
    /// Flushes, then lets the next group commit, then answers.
    fn finish(self, flushes: &Flushes, nudge: &Nudge<Job>, post: &Post) {
        let flush = AssertUnwindSafe(|| self.flush.run().map_err(Refusal::from));
        // Others wait for its end, whatever that is.
        let result = catch_unwind(flush).unwrap_or_else(|_| Err(Refusal::away()));
        flushes.end(result.clone().err());
        nudge.nudge();
        let answers = match result {
            Ok(()) => self.answers,
            Err(refusal) => refused(self.answers, &refusal),
        };
        // Nobody may wait any more; what was done is done.
        drop(post.send(answers));
    }
}

/// The same callers, all refused.
pub fn refused(answers: Answers, refusal: &Refusal) -> Answers {
    answers.into_iter().map(|(waiting, _)| (waiting, Err(refusal.clone()))).collect()
}

/// Hands out what the lanes post, on the thread that speaks HTTP.
pub async fn hand_out(mut posted: UnboundedReceiver<Answers>) {
    while let Some(answers) = posted.recv().await {
        for (waiting, answer) in answers {
            drop(waiting.send(answer));
        }
    }
}

/// The thread that flushes; it ends when nobody hands it groups any more.
pub struct Flusher {
    pub flushes: Arc<Flushes>,
    pub post: Post,
    nudge: Nudge<Job>,
    groups: Sender<Sealed>,
}

impl Flusher {
    pub fn start(
        flushes: &Arc<Flushes>,
        nudge: Nudge<Job>,
        post: &Post,
    ) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (groups, sealed) = channel::<Sealed>();
        let (shared, own, told) = (Arc::clone(flushes), post.clone(), nudge.clone());
        let finish = move || {
            for group in sealed {
                group.finish(&shared, &told, &own);
            }
        };
        let thread = std::thread::Builder::new().name("ao-flush".to_owned()).spawn(finish)?;
        let (flushes, post) = (Arc::clone(flushes), post.clone());
        Ok((Self { flushes, post, nudge, groups }, thread))
    }

    pub fn hand_over(&self, group: Sealed) {
        // Without its thread it is done here: others wait for its end.
        if let Err(SendError(group)) = self.groups.send(group) {
            group.finish(&self.flushes, &self.nudge, &self.post);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::desk::Reply;
    use super::super::line::line;
    use super::*;
    use crate::sys::db::DbError;

    #[test]
    fn a_flush_that_fails_or_ends_in_a_bug_answers_nobody_well() {
        for bug in [false, true] {
            let (progress, (_, jobs)) = (Arc::new(Flushes::default()), line(1));
            let (post, mut posted) = tokio::sync::mpsc::unbounded_channel();
            let (flusher, thread) = Flusher::start(&progress, jobs.nudge(), &post).unwrap();
            let (waiting, _receive) = oneshot::channel();
            let answers = vec![(waiting, Ok(Reply::Value(Value::Null)))];
            let flush = Flush::new(move || {
                assert!(!bug, "on purpose");
                Err(DbError::Undone)
            });
            progress.begin();
            flusher.hand_over(Sealed { flush, answers });
            let answers = posted.blocking_recv().unwrap();
            assert!(answers.iter().all(|(_, answer)| answer.is_err()), "{answers:?}");
            assert!(progress.settle().is_err(), "nor do those who looked at it");
            drop(flusher);
            thread.join().unwrap();
        }
    }
}
