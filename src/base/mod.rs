//! Building blocks that know nothing about agents, tmux or files: time as a value, checked names, words for people.

pub mod chain;
pub mod human;
pub mod money;
pub mod name;
pub mod now;
pub mod quote;
pub mod redact;
pub mod shared;
pub mod suggest;
pub mod template;
pub mod zone;
