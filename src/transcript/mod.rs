//! What the CLIs write down about their sessions: turns, tools, tokens and money.
//!
//! Pure: lines come in, events and sums go out. Finding and tailing files is done in `run`.
