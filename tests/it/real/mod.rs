//! The real CLIs, run by the real `ao` in a throwaway home, behind a stub of the model.
//!
//! They are there where node and npm are: the pinned versions of `tests/real` are installed once into a cache
//! folder (`AO_TESTS_CACHE`, else `$XDG_CACHE_HOME/ao-tests`). Without them each test says that it was skipped.
//! `AO_REAL=skip` skips them too. One CLI runs at a time: each is a few hundred megabytes.

mod claude;
mod cli;
mod codex;
mod governed;
mod hours;
mod opencode;
mod rig;
