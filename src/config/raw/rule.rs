//! One `[[backend.<name>.detect]]` table, with the places of its patterns.
//!
//! The rule itself is read by serde, as presets are data of the very same type; only unknown fields
//! and the places of patterns are looked up here.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize as _;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::{At, Leaf, table};
use crate::base::suggest;
use crate::config::diagnostic::Diagnostic;
use crate::config::section::detect::Rule;

/// A rule and where its patterns stand.
#[derive(Debug, Clone)]
pub(crate) struct RuleEntry {
    pub(crate) rule: Rule,
    pub(crate) patterns: Vec<At<String>>,
}

impl Leaf for RuleEntry {
    fn accepted() -> String {
        "a table".to_owned()
    }

    fn read(
        key: &str,
        value: &Spanned<DeValue<'_>>,
        problems: &mut Vec<Diagnostic>,
    ) -> Option<Self> {
        let patterns = patterns(table(key, value, problems)?);
        match Rule::deserialize(ValueDeserializer::from(value.clone())) {
            Ok(rule) => Some(Self { rule, patterns }),
            Err(error) => {
                problems.push(explain(&error, value));
                None
            }
        }
    }
}

fn patterns(table: &DeTable<'_>) -> Vec<At<String>> {
    ["any", "all", "not"]
        .into_iter()
        .filter_map(|list| table.get(list)?.get_ref().as_array())
        .flatten()
        .filter_map(|item| {
            Some(At { value: item.get_ref().as_str()?.to_owned(), span: item.span() })
        })
        .collect()
}

fn explain(error: &toml::de::Error, value: &Spanned<DeValue<'_>>) -> Diagnostic {
    let span = error.span().unwrap_or_else(|| value.span());
    let message = error.message().trim().to_owned();
    let problem = Diagnostic::error(message.clone()).at(&span, "in this rule");
    let mut names = message.split('`').skip(1).step_by(2);
    let near = names.next().and_then(|typed| suggest::nearest(typed, names));
    match near {
        Some(near) => problem.hint(format!("did you mean `{near}`?")),
        None => problem,
    }
}

impl JsonSchema for RuleEntry {
    fn schema_name() -> Cow<'static, str> {
        Rule::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Rule::json_schema(generator)
    }
}
