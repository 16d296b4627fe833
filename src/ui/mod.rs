//! What people and programs see: verbs, words, tables, JSON, exit codes.

pub mod cli;
pub mod exit;
pub mod failure;
mod print;
mod table;
