//! Integration tests, one binary: each area a module.

mod config_errors;
mod config_reference;
mod shell_templates;
