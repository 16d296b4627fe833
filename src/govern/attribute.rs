//! Facts that rules may ask about, each with who vouches for it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Who says so, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The agent that asks; a claim.
    Agent,
    /// A source that was checked, such as a CI status fetched by us.
    Verified,
    /// This program computed it.
    Server,
}

/// One fact.
#[derive(Debug, Clone, PartialEq)]
pub struct Attribute {
    pub value: Value,
    pub source: Source,
}

/// What a fact can be. Numbers are told apart, as a price must not become a float on the way.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Value>),
}

/// Facts by dotted name: `context.test_coverage`, `agent.trust`, `system.ci_green`.
pub type Attributes = BTreeMap<String, Attribute>;
