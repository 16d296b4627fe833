//! Any text is a script that was taken apart, or one that is called broken; the same one each time.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    assert_eq!(ao::govern::shell::read(text), ao::govern::shell::read(text));
});
