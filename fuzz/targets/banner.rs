//! Any text is a banner or none; what is made of it is short and on one line.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Some(banner) = ao::limits::banner::read(text) {
        assert!(!banner.scope.words().contains('\n'));
    }
});
