//! `ao selftest --live`: does ao still understand this CLI after its update?
//!
//! The backend is the one of the config where there is one, so that a person's own rules are tried too.

use super::Globals;
use crate::backend::Backend;
use crate::run::live::{self, LiveError, Step};
use crate::sys::load;
use crate::ui::exit;
use crate::ui::failure::Failure;
use crate::ui::print::{self, Tone};

/// One CLI's walk.
struct Walked {
    name: String,
    version: String,
    proven: Option<String>,
    steps: Vec<Step>,
}

pub(crate) fn run(named: Option<&str>, globals: &Globals) -> Result<u8, Failure> {
    let config = load::load(globals.config.as_deref()).ok();
    let find = |name: &str| match &config {
        Some(config) if config.backends.contains_key(name) => Some(Backend::by_name(config, name)),
        Some(_) | None => Backend::of_preset(name),
    };
    let wanted: Vec<&str> = named.map_or_else(|| live::KNOWN.to_vec(), |name| vec![name]);
    let ao = std::env::current_exe()
        .map_err(|error| Failure::failed(format!("cannot find the running program: {error}")))?;
    let mut walks = Vec::new();
    for name in wanted {
        let Some(backend) = find(name) else {
            return Err(Failure::usage(format!("unknown backend `{name}`")));
        };
        match walk(&backend, &ao, globals) {
            Ok(walked) => walks.push(walked),
            Err(error @ LiveError::NotInstalled { .. }) => {
                let said = format!("{name}: skipped: {error}");
                if named.is_some() {
                    return Err(Failure::failed(said));
                }
                print::err(&said);
            }
            Err(error @ LiveError::Unknown { .. }) => {
                return Err(Failure::from_error(exit::USAGE, &error));
            }
            Err(error) => return Err(Failure::from_error(exit::FAILED, &error)),
        }
    }
    let steps = || walks.iter().flat_map(|walked| &walked.steps);
    let failed = steps().filter(|step| !step.met).count();
    let passed = steps().count() - failed;
    if globals.json {
        print::out(&json(&walks, passed, failed).to_string());
    } else {
        print::out(&format!("{passed} passed, {failed} failed"));
    }
    if walks.is_empty() {
        return Err(Failure::failed("no CLI that a walk is known for is installed")
            .hint(format!("known: {}", live::KNOWN.join(", "))));
    }
    Ok(if failed == 0 { exit::DONE } else { exit::FAILED })
}

fn walk(backend: &Backend, ao: &std::path::Path, globals: &Globals) -> Result<Walked, LiveError> {
    let version = live::version(backend)?;
    if !globals.json && !globals.quiet {
        let proven = backend.proven.as_deref().unwrap_or("no version");
        print::out(&format!("{}: {version} (the preset was proven on {proven})", backend.name));
    }
    let mut steps = Vec::new();
    live::walk(backend, ao, &mut |step| {
        if !globals.json {
            show(backend, step, globals);
        }
        steps.push(step.clone());
    })?;
    Ok(Walked { name: backend.name.clone(), version, proven: backend.proven.clone(), steps })
}

fn show(backend: &Backend, step: &Step, globals: &Globals) {
    let colored = print::colored(globals);
    let seconds = step.took.as_secs_f32();
    if step.met {
        if !globals.quiet {
            let mark = print::paint("ok  ", Tone::Good, colored);
            print::out(&format!("{mark} {:<10} {:<20} after {seconds:.1} s", step.name, step.rule));
        }
        return;
    }
    let mark = print::paint("MISS", Tone::Bad, colored);
    let state = step.expected.word();
    let rules: Vec<&str> = backend
        .rules
        .iter()
        .filter(|rule| rule_word(rule.state) == state)
        .map(|rule| rule.id.as_str())
        .collect();
    let found = step.found.word();
    if step.found == step.expected {
        print::out(&format!(
            "{mark} {:<10} seen by {}, but its reset time was not read",
            step.name, step.rule
        ));
    } else {
        print::out(&format!(
            "{mark} {:<10} no longer fires: {}; after {seconds:.0} s the screen reads {found} ({})",
            step.name,
            rules.join(", "),
            step.rule,
        ));
    }
    for line in step.screen.as_deref().unwrap_or_default().lines() {
        print::out(&format!("     | {line}"));
    }
}

/// The word of a rule's state, as readings have it.
fn rule_word(state: crate::config::section::detect::RuleState) -> String {
    serde_json::to_value(state)
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_default()
}

fn json(walks: &[Walked], passed: usize, failed: usize) -> serde_json::Value {
    let backends: Vec<serde_json::Value> = walks
        .iter()
        .map(|walked| {
            let steps: Vec<serde_json::Value> = walked
                .steps
                .iter()
                .map(|step| {
                    serde_json::json!({
                        "name": step.name,
                        "expected": step.expected.word(),
                        "found": step.found.word(),
                        "rule": step.rule,
                        "text": step.text,
                        "after_ms": crate::base::now::millis(step.took),
                        "ok": step.met,
                    })
                })
                .collect();
            serde_json::json!({
                "name": walked.name,
                "version": walked.version,
                "proven": walked.proven,
                "steps": steps,
            })
        })
        .collect();
    serde_json::json!({ "version": 1, "passed": passed, "failed": failed, "backends": backends })
}
