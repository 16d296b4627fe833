//! `agents.toml` as it was written: every value beside its place, nothing judged across values.
//!
//! Reading never stops at the first problem, which is why this walks the document itself and does
//! not go through serde: unknown fields and wrong types are collected, and the rest is read on. One
//! `section!` block makes a section's struct, its reader, its JSON Schema and its rows in the
//! reference table, so that the four cannot drift apart.

mod choice;
pub(crate) mod lapse;
pub(crate) mod leaf;
pub(crate) mod rule;
pub(crate) mod sections;

use std::ops::Range;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::Diagnostic;
use crate::base::suggest;

/// A value and its bytes in the file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) span: Range<usize>,
}

impl<T: JsonSchema> JsonSchema for At<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// Something that can be read from one TOML value.
pub(crate) trait Leaf: Sized + JsonSchema {
    /// What is accepted, in words: `text`, `a duration`.
    fn accepted() -> String;

    /// Reads the value of `key`; `None` when a problem was reported.
    fn read(
        key: &str,
        value: &Spanned<DeValue<'_>>,
        problems: &mut Vec<Diagnostic>,
    ) -> Option<Self>;
}

/// What holds when a field is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Absent {
    /// The field must be given.
    Required,
    /// This TOML value.
    Is(&'static str),
    /// In words.
    Means(&'static str),
    /// Nothing.
    Nothing,
}

/// One field of a section, for readers of the reference.
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) doc: &'static str,
    pub(crate) absent: Absent,
    pub(crate) accepted: fn() -> String,
    pub(crate) schema: fn(&mut SchemaGenerator) -> Schema,
}

/// A table with known fields.
pub(crate) trait Section {
    /// As people write it: `[watchdog]`.
    const PLACE: &'static str;
    const FIELDS: &'static [Field];
}

/// A field's name as the file has it: `r#loop` is `loop`.
pub(crate) const fn plain(name: &'static str) -> &'static str {
    match name.as_bytes() {
        [b'r', b'#', rest @ ..] => match std::str::from_utf8(rest) {
            Ok(name) => name,
            Err(_) => name,
        },
        _ => name,
    }
}

/// The value of `key`, when it is there and can be read; a present but unreadable one is noted in `refused`.
pub(crate) fn take<T: Leaf>(
    table: &DeTable<'_>,
    key: &'static str,
    refused: &mut Vec<&'static str>,
    problems: &mut Vec<Diagnostic>,
) -> Option<At<T>> {
    let value = table.get(key)?;
    match T::read(key, value, problems) {
        Some(read) => Some(At { value: read, span: value.span() }),
        None => {
            refused.push(key);
            None
        }
    }
}

/// Reports every key of the table that is none of `known`; a known one that was meant is not missing, so it is `refused`.
pub(crate) fn refuse_unknown(
    table: &DeTable<'_>,
    known: &[&'static str],
    refused: &mut Vec<&'static str>,
    problems: &mut Vec<Diagnostic>,
) {
    for key in table.keys() {
        let name = key.get_ref();
        if known.contains(&name.as_ref()) {
            continue;
        }
        let near = suggest::nearest(name, known.iter().copied());
        refused.extend(near);
        let question = near.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
        let mut problem = Diagnostic::error(format!("unknown field `{name}`{question}"))
            .at(&key.span(), "not a field of this section");
        if near.is_none() {
            problem = problem.hint(format!("known: {}", quoted(known)));
        }
        problems.push(problem);
    }
}

/// `` `a`, `b` ``.
pub(crate) fn quoted<T: AsRef<str>>(names: &[T]) -> String {
    names.iter().map(|name| format!("`{}`", name.as_ref())).collect::<Vec<_>>().join(", ")
}

/// The table behind the value, or a report that it is none.
pub(crate) fn table<'a, 'i>(
    key: &str,
    value: &'a Spanned<DeValue<'i>>,
    problems: &mut Vec<Diagnostic>,
) -> Option<&'a DeTable<'i>> {
    let found = value.get_ref().as_table();
    if found.is_none() {
        problems.push(wrong_type(key, value, "a table"));
    }
    found
}

/// "`width` must be a whole number, not text".
pub(crate) fn wrong_type(key: &str, value: &Spanned<DeValue<'_>>, accepted: &str) -> Diagnostic {
    let found = match value.get_ref() {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    };
    Diagnostic::error(format!("`{key}` must be {accepted}, not {found}"))
        .at(&value.span(), format!("expected {accepted}"))
}

/// A section's JSON Schema, made of its fields.
pub(crate) fn object_schema(
    fields: &[Field],
    about: &str,
    generator: &mut SchemaGenerator,
) -> Schema {
    let mut properties = serde_json::Map::new();
    let mut required = Vec::new();
    for field in fields {
        let mut schema = (field.schema)(generator);
        schema.insert("description".into(), field.doc.trim().into());
        match field.absent {
            Absent::Required => required.push(serde_json::Value::from(field.name)),
            Absent::Is(text) => {
                schema.insert("default".into(), default_value(text));
            }
            Absent::Means(_) | Absent::Nothing => {}
        }
        properties.insert(field.name.to_owned(), schema.to_value());
    }
    let mut schema = schemars::json_schema!({
        "type": "object",
        "description": about.trim(),
        "properties": properties,
        "additionalProperties": false,
    });
    if !required.is_empty() {
        schema.insert("required".into(), required.into());
    }
    schema
}

fn default_value(text: &str) -> serde_json::Value {
    toml::from_str::<serde_json::Map<String, serde_json::Value>>(&format!("value = {text}"))
        .ok()
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| text.into())
}

/// Makes a section's struct, reader, schema and reference rows out of one block.
macro_rules! section {
    (
        $(#[doc = $about:literal])*
        struct $name:ident in $place:literal {
            $( $(#[doc = $doc:literal])* $field:ident : $type:ty = $absent:expr, )*
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone, Default)]
        pub(crate) struct $name {
            /// Bytes of the section's header, or of the inline table.
            pub(crate) at: std::ops::Range<usize>,
            /// Fields that are there but could not be read; already reported.
            pub(crate) refused: Vec<&'static str>,
            $( pub(crate) $field: Option<$crate::config::raw::At<$type>>, )*
        }

        impl $crate::config::raw::Section for $name {
            const PLACE: &'static str = $place;
            const FIELDS: &'static [$crate::config::raw::Field] = &[$(
                $crate::config::raw::Field {
                    name: $crate::config::raw::plain(stringify!($field)),
                    doc: concat!($($doc),*),
                    absent: $absent,
                    accepted: <$type as $crate::config::raw::Leaf>::accepted,
                    schema: <$type as schemars::JsonSchema>::json_schema,
                },
            )*];
        }

        impl $crate::config::raw::Leaf for $name {
            fn accepted() -> String {
                "a table".to_owned()
            }

            fn read(
                key: &str,
                value: &toml::Spanned<toml::de::DeValue<'_>>,
                problems: &mut Vec<$crate::config::diagnostic::Diagnostic>,
            ) -> Option<Self> {
                let table = $crate::config::raw::table(key, value, problems)?;
                let mut refused = Vec::new();
                $crate::config::raw::refuse_unknown(table, &[$($crate::config::raw::plain(stringify!($field))),*], &mut refused, problems);
                $( let $field = $crate::config::raw::take(
                    table, $crate::config::raw::plain(stringify!($field)), &mut refused, problems,
                ); )*
                Some(Self { at: value.span(), refused, $($field),* })
            }
        }

        impl schemars::JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                $crate::config::raw::object_schema(
                    <Self as $crate::config::raw::Section>::FIELDS,
                    concat!($($about),*),
                    generator,
                )
            }
        }
    };
}
pub(crate) use section;
