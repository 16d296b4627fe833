//! Pieces of an answer and the pauses before them: what all protocols have in common.

use std::time::Duration;

use futures_util::stream::{self, Stream};

/// A pause that no test outlives.
pub const HANG: Duration = Duration::from_secs(3600);

/// One piece of a streamed answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Before the piece.
    pub wait: Duration,
    pub text: String,
}

impl Chunk {
    /// Without a pause.
    pub fn now(text: String) -> Self {
        Self { wait: Duration::ZERO, text }
    }
}

/// The words of a text, each with the space after it: together they are the text.
pub fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive(' ')
}

/// Sends the pieces in time; `finished` is told after the last one.
pub fn play(
    chunks: Vec<Chunk>,
    finished: impl FnOnce() + Send + 'static,
) -> impl Stream<Item = Result<String, std::io::Error>> + Send + 'static {
    stream::unfold((chunks.into_iter(), Some(finished)), |(mut chunks, mut finished)| async move {
        let Some(chunk) = chunks.next() else {
            if let Some(finished) = finished.take() {
                finished();
            }
            return None;
        };
        if !chunk.wait.is_zero() {
            tokio::time::sleep(chunk.wait).await;
        }
        Some((Ok(chunk.text), (chunks, finished)))
    })
}
