//! Values that are one word of a few.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use toml::Spanned;
use toml::de::DeValue;

use super::{Leaf, quoted, wrong_type};
use crate::base::suggest;
use crate::config::diagnostic::Diagnostic;
use crate::config::governance::{BudgetWindow, DepthRule, Trust};
use crate::config::section::backend::{Holder, PromptDelivery};
use crate::config::serve::Algorithm;
use crate::config::{Kind, Watch};

/// Reads one of `words`, suggesting the nearest when it is none.
fn read<T: Copy>(
    key: &str,
    value: &Spanned<DeValue<'_>>,
    words: &[(&str, T)],
    problems: &mut Vec<Diagnostic>,
) -> Option<T> {
    let names: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
    let Some(text) = value.get_ref().as_str() else {
        problems.push(wrong_type(key, value, &format!("one of {}", quoted(&names))));
        return None;
    };
    let found = words.iter().find(|(name, _)| *name == text);
    if found.is_none() {
        let near = suggest::nearest(text, names.iter().copied())
            .map_or(String::new(), |near| format!("did you mean `{near}`? "));
        problems.push(
            Diagnostic::error(format!("`{key}` cannot be `{text}`"))
                .at(&value.span(), "not one of the accepted words")
                .hint(format!("{near}accepted: {}", quoted(&names))),
        );
    }
    found.map(|(_, value)| *value)
}

macro_rules! choice {
    ($type:ident { $($word:literal => $variant:ident),* $(,)? }) => {
        impl $type {
            /// The word of the file.
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }
        }

        impl Leaf for $type {
            fn accepted() -> String {
                let words: &[&str] = &[$($word),*];
                format!("one of {}", quoted(words))
            }

            fn read(
                key: &str,
                value: &Spanned<DeValue<'_>>,
                problems: &mut Vec<Diagnostic>,
            ) -> Option<Self> {
                read(key, value, &[$(($word, Self::$variant)),*], problems)
            }
        }

        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "enum": [$($word),*] })
            }
        }
    };
}

choice!(Kind { "loop" => Loop, "persistent" => Persistent, "task" => Task });
choice!(Watch { "none" => None, "heal" => Heal, "heal+stall" => HealStall });
choice!(PromptDelivery { "arg" => Arg, "ping" => Ping, "exec" => Exec });
choice!(Trust { "L0" => L0, "L1" => L1, "L2" => L2, "L3" => L3, "L4" => L4 });
choice!(Algorithm { "EdDSA" => EdDsa, "HS256" => Hs256 });
choice!(DepthRule { "declared" => Declared, "exact" => Exact });
choice!(BudgetWindow { "day" => Day, "week" => Week, "month" => Month });
choice!(Holder { "pane" => Pane, "server" => Server });
