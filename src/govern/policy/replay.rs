//! Recorded acts judged again under another set: which answers would change.

use serde::{Deserialize, Serialize};

use crate::base::zone::Tz;
use chrono::{DateTime, Utc};

use super::case::effect_word;
use super::evaluate::{RateView, Situation};
use super::{Set, facts};
use crate::govern::action::Ask;
use crate::govern::attribute::{Attribute, Attributes, Source};
use crate::govern::class::Class;
use crate::govern::trust::Level;
use crate::govern::verdict::Said;

/// An act as it was recorded, one a line of JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recorded {
    #[serde(default)]
    pub id: Option<i64>,
    pub at: DateTime<Utc>,
    pub ask: Ask,
    #[serde(default = "act")]
    pub class: Class,
    pub trust: Level,
    #[serde(default)]
    pub project: String,
    /// Facts from better sources than the act's own context, by name.
    #[serde(default)]
    pub facts: std::collections::BTreeMap<String, Fact>,
}

/// A fact as it was recorded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fact {
    pub value: serde_json::Value,
    pub source: Source,
}

fn act() -> Class {
    Class::Act
}

/// One act that the two sets answer differently.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    pub id: Option<i64>,
    pub at: DateTime<Utc>,
    pub agent: String,
    pub action_type: String,
    pub resource: String,
    /// `permit`, `notify`, `require_approval`, `deny`, `nothing`.
    pub before: &'static str,
    pub after: &'static str,
    /// Voices of the second set.
    pub said: Vec<Said>,
}

impl Recorded {
    fn attributes(&self) -> Attributes {
        let mut attributes = facts::claims(&self.ask.context);
        for (name, fact) in &self.facts {
            if let Some(value) = facts::value(&fact.value) {
                attributes.insert(name.clone(), Attribute { value, source: fact.source });
            }
        }
        attributes
    }
}

/// The acts whose answers differ. `used` stands in for what was used at the time, which records do not keep.
pub fn differences<'a>(
    recorded: impl IntoIterator<Item = &'a Recorded>,
    before: &Set,
    after: &Set,
    used: &dyn RateView,
    zone: Tz,
) -> Vec<Difference> {
    let mut found = Vec::new();
    for record in recorded {
        let attributes = record.attributes();
        let situation = Situation {
            class: record.class,
            trust: record.trust,
            project: &record.project,
            attributes: &attributes,
            used,
            now: record.at,
            zone,
        };
        let old = before.evaluate(&record.ask, &situation);
        let new = after.evaluate(&record.ask, &situation);
        if old.effect() == new.effect() {
            continue;
        }
        found.push(Difference {
            id: record.id,
            at: record.at,
            agent: record.ask.agent.clone(),
            action_type: record.ask.action_type.clone(),
            resource: record.ask.resource.clone(),
            before: old.effect().map_or("nothing", effect_word),
            after: new.effect().map_or("nothing", effect_word),
            said: new.said,
        });
    }
    found
}
