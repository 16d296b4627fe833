//! Readers of plain values: text, numbers, lists, "one or several", tables with free keys.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use toml::Spanned;
use toml::de::DeValue;

use super::{At, Leaf, table, wrong_type};
use crate::config::diagnostic::Diagnostic;

impl Leaf for String {
    fn accepted() -> String {
        "text".to_owned()
    }

    fn read(
        key: &str,
        value: &Spanned<DeValue<'_>>,
        problems: &mut Vec<Diagnostic>,
    ) -> Option<Self> {
        let found = value.get_ref().as_str().map(str::to_owned);
        match found {
            None => problems.push(wrong_type(key, value, "text")),
            Some(text) if text.contains('\0') => {
                problems.push(
                    Diagnostic::error(format!("`{key}` contains a NUL character"))
                        .at(&value.span(), "no program can be given such text"),
                );
                return None;
            }
            Some(text) => return Some(text),
        }
        None
    }
}

impl Leaf for bool {
    fn accepted() -> String {
        "true or false".to_owned()
    }

    fn read(
        key: &str,
        value: &Spanned<DeValue<'_>>,
        problems: &mut Vec<Diagnostic>,
    ) -> Option<Self> {
        let found = value.get_ref().as_bool();
        if found.is_none() {
            problems.push(wrong_type(key, value, "true or false"));
        }
        found
    }
}

macro_rules! whole_number {
    ($($type:ty),*) => {$(
        impl Leaf for $type {
            fn accepted() -> String {
                "a whole number".to_owned()
            }

            fn read(
                key: &str,
                value: &Spanned<DeValue<'_>>,
                problems: &mut Vec<Diagnostic>,
            ) -> Option<Self> {
                let DeValue::Integer(number) = value.get_ref() else {
                    problems.push(wrong_type(key, value, "a whole number"));
                    return None;
                };
                let found = <$type>::from_str_radix(number.as_str(), number.radix()).ok();
                if found.is_none() {
                    problems.push(
                        Diagnostic::error(format!("`{key}` is out of range"))
                            .at(&value.span(), format!("expected 0 to {}", <$type>::MAX)),
                    );
                }
                found
            }
        }
    )*};
}
whole_number!(u16, u32, u64);

impl<T: Leaf> Leaf for Vec<At<T>> {
    fn accepted() -> String {
        format!("a list of {}", T::accepted().trim_start_matches("a "))
    }

    fn read(
        key: &str,
        value: &Spanned<DeValue<'_>>,
        problems: &mut Vec<Diagnostic>,
    ) -> Option<Self> {
        let Some(items) = value.get_ref().as_array() else {
            problems.push(wrong_type(key, value, "a list"));
            return None;
        };
        let read: Vec<At<T>> = items
            .iter()
            .filter_map(|item| {
                T::read(key, item, problems).map(|value| At { value, span: item.span() })
            })
            .collect();
        Some(read)
    }
}

/// One text or a list of texts.
#[derive(Debug, Clone)]
pub(crate) struct OneOrMany(pub(crate) Vec<At<String>>);

impl Leaf for OneOrMany {
    fn accepted() -> String {
        "text or a list of text".to_owned()
    }

    fn read(
        key: &str,
        value: &Spanned<DeValue<'_>>,
        problems: &mut Vec<Diagnostic>,
    ) -> Option<Self> {
        match value.get_ref() {
            DeValue::String(_) => {
                let value = At { value: String::read(key, value, problems)?, span: value.span() };
                Some(Self(vec![value]))
            }
            DeValue::Array(_) => Vec::read(key, value, problems).map(Self),
            DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Table(_) => {
                problems.push(wrong_type(key, value, "text or a list of text"));
                None
            }
        }
    }
}

impl JsonSchema for OneOrMany {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "OneOrMany".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }]
        })
    }
}

/// An amount of US dollars, in millionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dollars(pub(crate) i64);

impl Dollars {
    const ACCEPTED: &str = "a number of dollars";

    /// By its digits, as a binary fraction would round; at most six after the point.
    fn from_digits(text: &str) -> Option<Self> {
        let text = text.replace('_', "");
        let (whole, rest) = text.split_once('.').unwrap_or((&text, ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || rest.len() > 6 || !digits(whole) || !digits(rest) {
            return None;
        }
        let micros = format!("{whole}{rest:0<6}").parse().ok()?;
        Some(Self(micros))
    }
}

impl Leaf for Dollars {
    fn accepted() -> String {
        Self::ACCEPTED.to_owned()
    }

    fn read(
        key: &str,
        value: &Spanned<DeValue<'_>>,
        problems: &mut Vec<Diagnostic>,
    ) -> Option<Self> {
        let text = match value.get_ref() {
            DeValue::Integer(number) if number.radix() == 10 => number.as_str(),
            DeValue::Float(number) => number.as_str(),
            DeValue::Integer(_)
            | DeValue::String(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => {
                problems.push(wrong_type(key, value, Self::ACCEPTED));
                return None;
            }
        };
        let found = Self::from_digits(text);
        if found.is_none() {
            problems.push(
                Diagnostic::error(format!("`{key}` is not an amount of dollars"))
                    .at(&value.span(), "zero or more, with at most six digits after the point"),
            );
        }
        found
    }
}

impl JsonSchema for Dollars {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Dollars".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number", "minimum": 0 })
    }
}

/// A table whose keys are names the user chose, in the order of the file.
#[derive(Debug, Clone)]
pub(crate) struct Named<T>(pub(crate) Vec<(At<String>, At<T>)>);

impl<T: Leaf> Leaf for Named<T> {
    fn accepted() -> String {
        "a table".to_owned()
    }

    fn read(
        key: &str,
        value: &Spanned<DeValue<'_>>,
        problems: &mut Vec<Diagnostic>,
    ) -> Option<Self> {
        let mut read: Vec<(At<String>, At<T>)> = table(key, value, problems)?
            .iter()
            .filter_map(|(name, value)| {
                let found = T::read(name.get_ref(), value, problems)?;
                let name = At { value: name.get_ref().to_string(), span: name.span() };
                Some((name, At { value: found, span: value.span() }))
            })
            .collect();
        read.sort_by_key(|(name, _)| name.span.start);
        Some(Self(read))
    }
}

impl<T: JsonSchema> JsonSchema for Named<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Named_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "additionalProperties": generator.subschema_for::<T>(),
        })
    }
}
