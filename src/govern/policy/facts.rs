//! What a caller says about its act, as attributes: always claims. What a source said, as facts for a while.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::expression::Reference;
use super::schema::Place;
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

/// The fact as JSON; not-a-number, which no rule answers about, becomes `null`.
pub fn json(value: &Value) -> Json {
    match value {
        Value::Bool(value) => Json::Bool(*value),
        Value::Int(value) => Json::from(*value),
        Value::Float(value) => Json::from(*value),
        Value::Text(text) => Json::String(text.clone()),
        Value::List(values) => Json::Array(values.iter().map(json).collect()),
    }
}

/// A fact as it is recorded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fact {
    pub value: Json,
    pub source: Source,
}

/// What a rule asked about an act, by full name; `None`: it was not known.
pub type Answers = BTreeMap<String, Option<Fact>>;

/// Whether what a rule gets to hear has to be on record to be known later: claims stand in the act's own
/// context, and the act's other sides in its row.
pub fn passes(reference: &Reference) -> bool {
    reference.place == Place::Given && reference.from > Source::Agent
}

/// What was heard, for the record: what sources and this program said, and what nobody did.
pub fn heard(reference: &Reference, attributes: &Attributes, into: &mut Answers) {
    if reference.place != Place::Given || into.contains_key(&reference.name) {
        return;
    }
    let known = attributes.get(&reference.name).filter(|it| it.source > Source::Agent);
    if known.is_some() || passes(reference) {
        let fact = known.map(|it| Fact { value: json(&it.value), source: it.source });
        into.insert(reference.name.clone(), fact);
    }
}

/// How far the clock may stand before the time a source spoke.
const CLOCK_SLACK: TimeDelta = TimeDelta::minutes(2);

/// What one source said last, as it is stored.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Told {
    /// `None`: it never said anything.
    pub at: Option<DateTime<Utc>>,
    /// Afterwards it is not known any more.
    pub until: Option<DateTime<Utc>>,
    /// By full name.
    pub facts: Map<String, Json>,
    /// Why its last run told nothing.
    pub problem: Option<String>,
}

impl Told {
    pub fn is_fresh(&self, now: DateTime<Utc>) -> bool {
        let spoken = self.at.is_some_and(|at| at - CLOCK_SLACK <= now);
        spoken && self.until.is_some_and(|until| now < until)
    }

    /// Reads what a source printed; the error says what is wrong with it.
    pub fn read(text: &str) -> Result<Map<String, Json>, String> {
        let facts = match serde_json::from_str(text) {
            Ok(Json::Object(facts)) => facts,
            Ok(_) => return Err("it printed something else than one JSON object".to_owned()),
            Err(error) => return Err(format!("it printed no JSON object: {error}")),
        };
        for (name, json) in &facts {
            if !name.starts_with("context.") && !name.starts_with("system.") {
                return Err(format!("`{name}` begins with neither `context.` nor `system.`"));
            }
            if json.is_object() {
                return Err(format!("`{name}` is an object; write its parts by full name"));
            }
        }
        Ok(facts)
    }
}

/// Adds what sources vouch for. What two of them say differently is not known.
pub fn verified<'a>(
    told: impl IntoIterator<Item = &'a Told>,
    now: DateTime<Utc>,
    into: &mut Attributes,
) {
    let mut found: BTreeMap<&str, Option<Value>> = BTreeMap::new();
    for told in told.into_iter().filter(|told| told.is_fresh(now)) {
        for (name, json) in &told.facts {
            let Some(value) = value(json) else { continue };
            found
                .entry(name)
                .and_modify(|before| {
                    if before.as_ref() != Some(&value) {
                        *before = None;
                    }
                })
                .or_insert(Some(value.clone()));
        }
    }
    for (name, value) in found {
        if let Some(value) = value {
            into.insert(name.to_owned(), Attribute { value, source: Source::Verified });
        }
    }
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

    fn told(minute: i64, text: &str) -> Told {
        let at = DateTime::UNIX_EPOCH + TimeDelta::minutes(minute);
        let facts = Told::read(text).unwrap();
        Told { at: Some(at), until: Some(at + TimeDelta::minutes(10)), facts, problem: None }
    }

    #[track_caller]
    fn check(sources: &[Told], minute: i64, known: &[&str]) {
        let mut found = Attributes::new();
        verified(sources, DateTime::UNIX_EPOCH + TimeDelta::minutes(minute), &mut found);
        assert_eq!(found.keys().map(String::as_str).collect::<Vec<_>>(), known);
        assert!(found.values().all(|fact| fact.source == Source::Verified));
    }

    #[test]
    fn what_a_source_said_is_known_for_a_while_and_not_when_the_clock_was_set_back() {
        let ci = [told(100, r#"{ "system.ci_green": true }"#)];
        check(&ci, 98, &["system.ci_green"]);
        check(&ci, 97, &[]);
        check(&ci, 109, &["system.ci_green"]);
        check(&ci, 110, &[]);
        check(&[Told::default()], 0, &[]);
    }

    #[test]
    fn what_two_sources_say_differently_is_not_known() {
        let one = told(0, r#"{ "system.ci_green": true, "context.test_coverage": 85 }"#);
        let other = told(0, r#"{ "system.ci_green": false, "context.test_coverage": 85 }"#);
        check(&[one, other], 1, &["context.test_coverage"]);
    }

    #[test]
    fn a_source_speaks_of_the_system_and_the_context_only() {
        for text in ["", "[]", "{", r#"{"agent.trust": 4}"#, r#"{"context.a": {"b": 1}}"#] {
            assert!(Told::read(text).is_err(), "{text}");
        }
    }
}
