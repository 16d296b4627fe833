//! Recorded acts judged again under another set: which answers would change.
//!
//! An act whose record lacks a fact that either set asks for is not judged: it is named with what is missing.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::base::zone::Tz;
use chrono::{DateTime, Utc};

use super::case::effect_word;
use super::evaluate::{RateView, Situation};
use super::facts::Answers;
use super::{Set, facts};
use crate::govern::action::Ask;
use crate::govern::attribute::{Attribute, Attributes};
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
    /// Facts from better sources than the act's own context, by name; `null` where one was asked for and
    /// not known.
    #[serde(default)]
    pub facts: Answers,
}

/// One command of a script, one file of a patch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    pub action_type: String,
    pub resource: String,
    pub class: Class,
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
            if let Some(fact) = fact
                && let Some(value) = facts::value(&fact.value)
            {
                attributes.insert(name.clone(), Attribute { value, source: fact.source });
            }
        }
        attributes
    }
}

/// Acts judged by two sets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replayed {
    pub differences: Vec<Difference>,
    pub untold: Vec<Untold>,
}

/// An act that was not judged again: a rule asks for facts that its record does not have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Untold {
    pub id: Option<i64>,
    pub at: DateTime<Utc>,
    pub agent: String,
    pub action_type: String,
    pub resource: String,
    /// By full name.
    pub facts: Vec<String>,
}

/// What one set says of all parts of an act together.
struct Answer {
    word: &'static str,
    said: Vec<Said>,
}

impl Recorded {
    /// The act, or what it amounts to.
    fn asks(&self) -> Vec<(Ask, Class)> {
        if self.parts.is_empty() {
            return vec![(self.ask.clone(), self.class)];
        }
        let part = |part: &Part| {
            let (action_type, resource) = (part.action_type.clone(), part.resource.clone());
            (Ask { action_type, resource, ..self.ask.clone() }, part.class)
        };
        self.parts.iter().map(part).collect()
    }

    /// What a set asks for and nobody wrote down. To take it for missing would be a guess.
    fn untold(&self, set: &Set, into: &mut BTreeSet<String>) {
        for (ask, _) in self.asks() {
            set.asks(&ask, &self.project, &mut |reference| {
                if facts::passes(reference) && !self.facts.contains_key(&reference.name) {
                    into.insert(reference.name.clone());
                }
            });
        }
    }
}

/// The strictest voice of all parts; a permit only where every part has one.
fn answer(record: &Recorded, set: &Set, used: &dyn RateView, zone: Tz) -> Answer {
    let attributes = record.attributes();
    let (mut effects, mut said) = (Vec::new(), Vec::new());
    for (ask, class) in record.asks() {
        let situation = Situation {
            class,
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

/// The acts whose answers differ, and those that cannot be told. `used` stands in for what was used at the time, which records do not keep.
pub fn differences<'a>(
    recorded: impl IntoIterator<Item = &'a Recorded>,
    before: &Set,
    after: &Set,
    used: &dyn RateView,
    zone: Tz,
) -> Replayed {
    let mut found = Replayed::default();
    for record in recorded {
        let mut untold = BTreeSet::new();
        record.untold(before, &mut untold);
        record.untold(after, &mut untold);
        if !untold.is_empty() {
            found.untold.push(Untold {
                id: record.id,
                at: record.at,
                agent: record.ask.agent.clone(),
                action_type: record.ask.action_type.clone(),
                resource: record.ask.resource.clone(),
                facts: untold.into_iter().collect(),
            });
            continue;
        }
        let old = answer(record, before, used, zone);
        let new = answer(record, after, used, zone);
        if old.word == new.word {
            continue;
        }
        found.differences.push(Difference {
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
