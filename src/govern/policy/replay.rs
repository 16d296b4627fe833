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
use crate::govern::verdict::{Effect, Said};

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
    /// What a compound amounts to; empty: the act is one.
    #[serde(default)]
    pub parts: Vec<Part>,
    /// Facts from better sources than the act's own context, by name.
    #[serde(default)]
    pub facts: std::collections::BTreeMap<String, Fact>,
}

/// One command of a script, one file of a patch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    pub action_type: String,
    pub resource: String,
    pub class: Class,
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

/// What one set says of all parts of an act together.
struct Answer {
    word: &'static str,
    said: Vec<Said>,
}

/// The strictest voice of all parts; a permit only where every part has one.
fn answer(record: &Recorded, set: &Set, used: &dyn RateView, zone: Tz) -> Answer {
    let attributes = record.attributes();
    let whole = Part {
        action_type: record.ask.action_type.clone(),
        resource: record.ask.resource.clone(),
        class: record.class,
    };
    let parts = if record.parts.is_empty() { std::slice::from_ref(&whole) } else { &record.parts };
    let (mut effects, mut said) = (Vec::new(), Vec::new());
    for Part { action_type, resource, class } in parts {
        let (action_type, resource) = (action_type.clone(), resource.clone());
        let ask = Ask { action_type, resource, ..record.ask.clone() };
        let situation = Situation {
            class: *class,
            trust: record.trust,
            project: &record.project,
            attributes: &attributes,
            used,
            now: record.at,
            zone,
        };
        let mut outcome = set.evaluate(&ask, &situation);
        effects.push(outcome.effect());
        said.append(&mut outcome.said);
    }
    let strictest = effects.iter().flatten().copied().max();
    let silent = effects.iter().any(Option::is_none);
    let spoken = strictest.filter(|effect| !silent || *effect > Effect::Allow);
    said.dedup();
    Answer { word: spoken.map_or("nothing", effect_word), said }
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
        let old = answer(record, before, used, zone);
        let new = answer(record, after, used, zone);
        if old.word == new.word {
            continue;
        }
        found.push(Difference {
            id: record.id,
            at: record.at,
            agent: record.ask.agent.clone(),
            action_type: record.ask.action_type.clone(),
            resource: record.ask.resource.clone(),
            before: old.word,
            after: new.word,
            said: new.said,
        });
    }
    found
}
