//! What the CLIs tell about themselves: hook payloads, session files, titles, become facts.
//!
//! Pure: bytes come in, facts go out. Collecting them is done in `run`.
