//! `ao check`: validate agents.toml and print the resolved config.
//!
//! For people it is laid out like the file itself; presets are not merged in.

use serde_json::{Map, Value};

use super::Globals;
use crate::config::document::document;
use crate::ui::failure::Failure;
use crate::ui::{exit, print};

/// Validate agents.toml and print the resolved config.
///
/// Every problem is shown at once, with its place. Exit code 2 when there is an error; warnings
/// alone do not change the exit code.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: Args, globals: &Globals) -> Result<u8, Failure> {
    let loaded = super::load_config_with_warnings(globals)?;
    if !loaded.warnings.diagnostics.is_empty() {
        print::err(loaded.warnings.render(print::err_colored(globals)).trim_end());
    }
    if let Ok(found) = super::in_force(loaded.clone())
        && let Some(waiting) = found.waiting
    {
        print::err(&waiting.problem());
    }
    let mut document = document(&loaded.config);
    if globals.json {
        print::out(&format!("{document:#}"));
    } else if !globals.quiet {
        let mut lines = vec![format!("# {} is good", loaded.warnings.path.display())];
        if let Value::Object(fields) = &mut document["config"] {
            fields.remove("file");
            section("", fields, &mut lines);
        }
        print::out(&lines.join("\n"));
    }
    Ok(exit::DONE)
}

/// A table as lines of TOML: plain values first, then tables below their headers.
fn section(path: &str, fields: &Map<String, Value>, lines: &mut Vec<String>) {
    let below =
        |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    let mut plain: Vec<(&String, &Value)> =
        fields.iter().filter(|(_, value)| !is_table(value)).collect();
    plain.sort_by_key(|(name, _)| !["name", "id"].contains(&name.as_str()));
    lines.extend(plain.into_iter().map(|(name, value)| format!("{name} = {}", toml_value(value))));
    for (name, value) in fields.iter().filter(|(_, value)| is_table(value)) {
        let path = below(&toml_key(name));
        match value {
            Value::Object(inner) => {
                if inner.values().any(|value| !is_table(value)) {
                    lines.push(format!("\n[{path}]"));
                }
                section(&path, inner, lines);
            }
            Value::Array(items) => {
                for inner in items.iter().filter_map(Value::as_object) {
                    lines.push(format!("\n[[{path}]]"));
                    section(&path, inner, lines);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
}

fn is_table(value: &Value) -> bool {
    match value {
        Value::Object(_) => true,
        Value::Array(items) => items.iter().any(Value::is_object),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

fn toml_key(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !name.is_empty() && name.chars().all(bare) {
        name.to_owned()
    } else {
        toml_value(&name.into())
    }
}

/// JSON's spelling of text, numbers and lists is TOML's too, but for the DEL character.
fn toml_value(value: &Value) -> String {
    value.to_string().replace('\u{7f}', "\\u007f")
}
