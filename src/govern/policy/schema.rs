//! What rules may ask about: each attribute's type, unit, and who must vouch for it.
//!
//! Facts about the act itself are read from the [`Ask`]; all others from the attributes handed in. A
//! policy file may declare more names below `context.` and `system.`; one that is neither built in
//! nor declared does not load, so that a typing slip cannot make a rule that never speaks.
//!
//! [`Ask`]: crate::govern::action::Ask

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::govern::attribute::Source;

/// What an attribute is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    Bool,
    Number(Unit),
    Text,
    /// A list of texts.
    Texts,
}

/// What a number counts. Numbers of different units do not compare; a bare number takes the other's unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unit {
    Plain,
    Percent,
    /// Dollars. Compared in whole millionths.
    Usd,
    Bytes,
    Seconds,
    /// 0 to 4.
    Level,
}

/// Where a value is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    Agent,
    Trust,
    Org,
    Project,
    ActionType,
    Resource,
    /// The attribute `action.cost` when somebody computed it, else the caller's estimate.
    Cost,
    Depth,
    /// In the attributes handed in.
    Given,
}

/// One known attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    pub kind: Kind,
    /// The weakest source that may assert it; a value from a weaker one counts as missing.
    pub from: Source,
    pub place: Place,
}

/// All attributes by name: the built-in ones and those that files declare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema(BTreeMap<String, Known>);

use Kind::{Bool, Number, Text, Texts};
use Source::{Agent, Server, Verified};

/// Name, type, weakest source, and what it means.
pub const BUILT_IN: [(&str, Kind, Source, Place, &str); 25] = [
    ("action.cost", Number(Unit::Usd), Agent, Place::Cost, "what the act is estimated to cost"),
    ("action.depth", Number(Unit::Plain), Server, Place::Depth, "0 for a root act, up to 5"),
    ("action.resource", Text, Server, Place::Resource, "path, command line, URL, table"),
    ("action.size_bytes", Number(Unit::Bytes), Server, Place::Given, "size of what is written"),
    ("action.type", Text, Server, Place::ActionType, "such as `file.write`"),
    ("agent.name", Text, Server, Place::Agent, "who asks"),
    ("agent.trust", Number(Unit::Level), Server, Place::Trust, "0 to 4, for L0 to L4"),
    ("context.branch", Text, Agent, Place::Given, "the branch the act is for"),
    (
        "context.cost_delta",
        Number(Unit::Usd),
        Verified,
        Place::Given,
        "change of running cost a month",
    ),
    ("context.environment", Text, Agent, Place::Given, "such as `staging`"),
    ("context.files_changed", Number(Unit::Plain), Agent, Place::Given, "files the change touches"),
    ("context.labels", Texts, Agent, Place::Given, "labels of the change"),
    ("context.lines_changed", Number(Unit::Plain), Agent, Place::Given, "lines the change touches"),
    (
        "context.require_human_approval",
        Bool,
        Agent,
        Place::Given,
        "the caller wants a person to look",
    ),
    ("context.test_coverage", Number(Unit::Percent), Verified, Place::Given, "0 to 100"),
    ("context.tests_passed", Bool, Verified, Place::Given, "the test run of this change succeeded"),
    ("org.name", Text, Server, Place::Org, "the tenant; `local` on one machine"),
    ("project.name", Text, Server, Place::Project, "the project"),
    ("system.agents_working", Number(Unit::Plain), Server, Place::Given, "agents at work now"),
    ("system.ci_green", Bool, Verified, Place::Given, "the last CI run succeeded"),
    ("system.incident", Bool, Verified, Place::Given, "an incident is open"),
    ("system.limited", Bool, Server, Place::Given, "the agent's account is in a limit window"),
    ("system.load", Number(Unit::Plain), Server, Place::Given, "load average of one minute"),
    ("system.phase", Text, Server, Place::Given, "id of the phase at work"),
    ("system.phase_index", Number(Unit::Plain), Server, Place::Given, "its number, from 0"),
];

impl Default for Schema {
    fn default() -> Self {
        let known = BUILT_IN.iter().map(|(name, kind, from, place, _)| {
            ((*name).to_owned(), Known { kind: *kind, from: *from, place: *place })
        });
        Self(known.collect())
    }
}

impl Schema {
    pub fn get(&self, name: &str) -> Option<Known> {
        self.0.get(name).copied()
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Adds a declared attribute. Errors: what is wrong with that, for a diagnostic.
    pub fn declare(&mut self, name: &str, kind: Kind, from: Source) -> Result<(), String> {
        let known = Known { kind, from, place: Place::Given };
        if BUILT_IN.iter().any(|(built_in, ..)| *built_in == name) {
            return Err(format!("`{name}` is built in and cannot be declared"));
        }
        if !valid_name(name) {
            return Err(format!(
                "`{name}` must be `context.` or `system.` and a name of letters, digits and `_`"
            ));
        }
        match self.0.insert(name.to_owned(), known) {
            Some(before) if before != known => {
                Err(format!("`{name}` is declared elsewhere with another type or source"))
            }
            Some(_) | None => Ok(()),
        }
    }
}

fn valid_name(name: &str) -> bool {
    let below = name.strip_prefix("context.").or_else(|| name.strip_prefix("system."));
    below.is_some_and(|rest| {
        rest.split('.').all(|part| {
            part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        })
    })
}

impl Kind {
    /// As a file writes it.
    pub fn from_words(kind: &str, unit: Option<&str>) -> Option<Self> {
        match (kind, unit) {
            ("bool", None) => Some(Bool),
            ("text", None) => Some(Text),
            ("texts", None) => Some(Texts),
            ("number", None) => Some(Number(Unit::Plain)),
            ("number", Some("percent")) => Some(Number(Unit::Percent)),
            ("number", Some("usd")) => Some(Number(Unit::Usd)),
            ("number", Some("bytes")) => Some(Number(Unit::Bytes)),
            ("number", Some("seconds")) => Some(Number(Unit::Seconds)),
            _ => None,
        }
    }

    /// For people: `a number of dollars`.
    pub fn words(self) -> &'static str {
        match self {
            Bool => "true or false",
            Text => "a text",
            Texts => "a list of texts",
            Number(Unit::Plain) => "a number",
            Number(Unit::Percent) => "a percentage",
            Number(Unit::Usd) => "a number of dollars",
            Number(Unit::Bytes) => "a number of bytes",
            Number(Unit::Seconds) => "a number of seconds",
            Number(Unit::Level) => "a trust level (0 to 4)",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_names_are_sorted_and_unique() {
        assert!(BUILT_IN.is_sorted_by(|a, b| a.0 < b.0));
    }

    #[test]
    fn a_declaration_cannot_change_what_is_known() {
        let mut schema = Schema::default();
        schema.declare("context.ticket", Text, Agent).unwrap();
        schema.declare("context.ticket", Text, Agent).unwrap();
        schema.declare("context.ticket", Bool, Agent).unwrap_err();
        schema.declare("context.test_coverage", Number(Unit::Percent), Agent).unwrap_err();
        for name in ["ticket", "agent.mood", "context.", "context.a b", "context.1"] {
            schema.declare(name, Text, Agent).unwrap_err();
        }
    }
}
