//! placeholder
mod sim;
