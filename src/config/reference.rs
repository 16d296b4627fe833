//! The reference of `agents.toml`: its JSON Schema and its table of fields, both made of the section types.

use std::fmt::Write as _;

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::raw::sections::{
    AgentSection, BudgetSection, DefaultsSection, GovernanceSection, HandoffSection, LoopSection,
    NotifySection, OnCompleteSection, PhaseSection, RawBackend, Root, ServeSection, ServiceSection,
    SourceSection, TmuxSection, WakeSection, WatchdogSection,
};
use super::raw::{Absent, Section};
use super::section::detect::Rule;

/// The JSON Schema (draft 7, which TOML editors understand).
pub fn schema() -> Value {
    let mut schema = SchemaSettings::draft07().into_generator().into_root_schema_for::<Root>();
    schema.insert("title".into(), "agents.toml".into());
    schema.to_value()
}

/// `docs/config.md`: one row a field.
pub fn table() -> String {
    let mut out = String::from(HEAD);
    rows::<WatchdogSection>(&mut out);
    rows::<DefaultsSection>(&mut out);
    rows::<TmuxSection>(&mut out);
    rows::<NotifySection>(&mut out);
    rows::<GovernanceSection>(&mut out);
    rows::<ServeSection>(&mut out);
    rows::<BudgetSection>(&mut out);
    rows::<SourceSection>(&mut out);
    rows::<RawBackend>(&mut out);
    rule_rows(&mut out);
    rows::<AgentSection>(&mut out);
    rows::<WakeSection>(&mut out);
    rows::<ServiceSection>(&mut out);
    rows::<LoopSection>(&mut out);
    rows::<HandoffSection>(&mut out);
    rows::<OnCompleteSection>(&mut out);
    rows::<PhaseSection>(&mut out);
    out
}

const HEAD: &str = "\
# The fields of agents.toml

Generated from the types that read the file; `AO_BLESS=1 cargo test --test it config_reference` writes it anew.

A duration is a number of seconds, or text such as `\"90s\"`, `\"5m\"`, `\"1h30m\"`, `\"2d\"`, `\"500ms\"`.
`project_dir` is relative to the folder of the config file; every other relative path is relative to `project_dir`.
A regular expression is one of the Rust `regex` crate: multi-line, case-sensitive (`(?i)` changes that), without look-around.
In a launch template each value is quoted for the place it stands in; slots:
`{bin} {flags} {model_flag} {remote_control_flag} {resume_flag} {session_id_flag} {id} {model} {session} {name} {role} {dir} {server} {kickoff}`.
`{{` and `}}` are literal braces. The defaults of `[backend.<name>]` hold where neither the table nor its preset says anything.

| Field | Section | Type | Default | Meaning |
|---|---|---|---|---|
";

fn rows<S: Section>(out: &mut String) {
    for field in S::FIELDS {
        let default = match field.absent {
            Absent::Required => "required".to_owned(),
            Absent::Is(value) => format!("`{value}`"),
            Absent::Means(words) => words.to_owned(),
            Absent::Nothing => "none".to_owned(),
        };
        row(out, field.name, S::PLACE, &(field.accepted)(), &default, field.doc);
    }
}

fn row(out: &mut String, name: &str, place: &str, accepted: &str, default: &str, meaning: &str) {
    let cell = |text: &str| text.trim().replace('|', "\\|");
    writeln!(
        out,
        "| `{name}` | `{place}` | {} | {} | {} |",
        cell(accepted),
        cell(default),
        cell(meaning)
    )
    .expect("a String takes any text");
}

/// The rules are read by serde, so their rows come from their schema.
fn rule_rows(out: &mut String) {
    let generator = SchemaSettings::draft07().into_generator();
    let schema = generator.into_root_schema_for::<Rule>().to_value();
    let required = |name: &str| {
        schema["required"].as_array().is_some_and(|list| list.iter().any(|item| item == name))
    };
    let Some(properties) = schema["properties"].as_object() else {
        return;
    };
    for (name, property) in properties {
        let default = match (required(name), &property["default"]) {
            (true, _) => "required".to_owned(),
            (false, Value::Null) => "none".to_owned(),
            (false, value) => format!("`{value}`"),
        };
        let meaning = described(property, &schema);
        let accepted = words_of(property, &schema);
        row(out, name, "[[backend.<name>.detect]]", &accepted, &default, &meaning);
    }
}

fn described(property: &Value, schema: &Value) -> String {
    let own = property["description"].as_str();
    let behind = referred(property, schema).and_then(|found| found["description"].as_str());
    own.or(behind).unwrap_or_default().replace('\n', " ")
}

fn words_of(property: &Value, schema: &Value) -> String {
    if let Some(found) = referred(property, schema) {
        let variants = found["oneOf"].as_array().or(found["enum"].as_array());
        let names: Vec<String> = variants
            .into_iter()
            .flatten()
            .flat_map(|variant| match variant["enum"].as_array() {
                Some(names) => names.clone(),
                None => vec![if variant.is_string() { variant } else { &variant["const"] }.clone()],
            })
            .filter_map(|name| name.as_str().map(|name| format!("`{name}`")))
            .collect();
        return format!("one of {}", names.join(", "));
    }
    match property["type"].as_str() {
        Some("array") => "a list of text".to_owned(),
        Some("integer") => "a whole number".to_owned(),
        Some("string") | None => "text".to_owned(),
        Some(other) => other.to_owned(),
    }
}

/// The definition a property points to, directly or through `allOf` / `anyOf`.
fn referred<'a>(property: &'a Value, schema: &'a Value) -> Option<&'a Value> {
    let listed =
        ["allOf", "anyOf"].into_iter().filter_map(|key| property[key].as_array()).flatten();
    let pointer = std::iter::once(property)
        .chain(listed)
        .find_map(|candidate| candidate["$ref"].as_str())?
        .trim_start_matches('#');
    schema.pointer(pointer)
}
