//! Any text is a config or a list of problems that can be shown.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (config, problems) = ao::config::parse(
        text,
        Path::new("/p/agents.toml"),
        &|_| true,
        &|_| Some(String::from("{phase_id} {plan}")),
    );
    let rendered: Vec<String> = problems.iter().map(|problem| format!("{problem:?}")).collect();
    assert!(config.is_some() || !rendered.is_empty());
});
