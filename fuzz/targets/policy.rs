//! Any text is a policy file or a list of problems, never both and never neither.
#![no_main]

use ao::govern::policy::{Known, Set};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match Set::load(&[("fuzz.yaml", text)], &Known::default()) {
        Ok(loaded) => assert!(loaded.cases.iter().all(|case| case.failure.is_none())),
        Err(problems) => assert!(!problems.is_empty()),
    }
});
