//! What a caller says about its act, as attributes: always claims.

use serde_json::{Map, Value as Json};

use crate::govern::attribute::{Attribute, Attributes, Source, Value};

/// Deepest object of a context that is looked into.
const DEPTH_MAX: usize = 8;

/// The context of an act as `context.…` attributes, objects flattened with dots. `null` says
/// nothing; what lies too deep is left out, so that a rule that asks for it finds it missing.
pub fn claims(context: &Map<String, Json>) -> Attributes {
    let mut attributes = Attributes::new();
    flatten("context", context, 0, &mut attributes);
    attributes
}

fn flatten(path: &str, object: &Map<String, Json>, depth: usize, into: &mut Attributes) {
    for (name, json) in object {
        let path = format!("{path}.{name}");
        if let Json::Object(inner) = json {
            if depth < DEPTH_MAX {
                flatten(&path, inner, depth + 1, into);
            }
        } else if let Some(value) = value(json) {
            into.insert(path, Attribute { value, source: Source::Agent });
        }
    }
}

/// A JSON value as a fact; `None` for `null` and objects, which are none. A number too large for
/// either kind becomes not-a-number, which no rule answers about.
pub fn value(json: &Json) -> Option<Value> {
    Some(match json {
        Json::Null | Json::Object(_) => return None,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Value::Int(whole),
            (None, float) => Value::Float(float.unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::Text(text.clone()),
        Json::Array(values) => Value::List(values.iter().filter_map(value).collect()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_is_flattened_and_only_claimed() {
        let context = serde_json::json!({ "a": { "b": 1 }, "c": null, "d": [true, "x"], "e": 0.5 });
        let claims = claims(context.as_object().unwrap());
        let names: Vec<_> = claims.keys().map(String::as_str).collect();
        assert_eq!(names, ["context.a.b", "context.d", "context.e"]);
        assert!(claims.values().all(|claim| claim.source == Source::Agent));
    }
}
