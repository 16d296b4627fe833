//! Conditions: a small part of CEL, checked at load and kept as a plain tree that is walked.
//!
//! `compile` turns text into [`Code`]; `evaluate` walks it without allocating. A tree instead of
//! closures because it can be stored: a hook process then needs neither YAML nor CEL. What is left
//! out of CEL, on purpose: loops over lists (`exists`, `all`, `map`), maps, regular expressions, time
//! functions, conversions. Each would cost the static bound or the exactness of money.
//!
//! Surprise: `&&` and `||` go from left to right and stop as soon as the answer is certain, while CEL
//! also lets a later part outvote an error. Here an error on the way is the answer.

pub(super) mod compile;
pub(super) mod evaluate;
mod parse;
mod show;

pub(crate) use show::dollars;

use serde::{Deserialize, Serialize};

use super::schema::{Kind, Place};
use crate::govern::attribute::Source;

/// Longest accepted condition.
pub const SOURCE_BYTES_MAX: usize = 4 * 1024;
/// Deepest accepted nesting.
pub const DEPTH_MAX: usize = 32;
/// Highest accepted static cost: one a node, more for parts that walk texts.
pub const COST_MAX: usize = 512;

/// One part of a condition that a person would tick off by itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Conjunct {
    /// Written anew from the tree.
    pub text: String,
    pub code: Code,
}

/// A checked expression.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Code {
    Bool(bool),
    Int(i64),
    /// Finite.
    Float(f64),
    /// Millionths of a dollar.
    Money(i64),
    Text(String),
    Texts(Vec<String>),
    Attribute(Reference),
    /// Whether it is there, from a source that is good enough.
    Has(Reference),
    Not(Box<Code>),
    Negate(Box<Code>),
    And(Box<Code>, Box<Code>),
    Or(Box<Code>, Box<Code>),
    Compare(Comparison, Box<Code>, Box<Code>),
    Calculate(Operation, Box<Code>, Box<Code>),
    In(Box<Code>, Box<Code>),
    Search(Search, Box<Code>, Box<Code>),
    Size(Box<Code>),
    Choose(Box<Code>, Box<Code>, Box<Code>),
}

/// An attribute as a rule uses it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reference {
    pub name: String,
    pub place: Place,
    pub kind: Kind,
    /// The weakest source whose word counts here.
    pub from: Source,
    /// The rule demands that with `verified(…)`.
    pub verified: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Comparison {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operation {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Search {
    StartsWith,
    EndsWith,
    Contains,
}

impl Code {
    /// The parts right below this one.
    pub(super) fn below(&self) -> Vec<&Self> {
        match self {
            Self::Bool(_)
            | Self::Int(_)
            | Self::Float(_)
            | Self::Money(_)
            | Self::Text(_)
            | Self::Texts(_)
            | Self::Attribute(_)
            | Self::Has(_) => Vec::new(),
            Self::Not(inner) | Self::Negate(inner) | Self::Size(inner) => vec![inner],
            Self::And(left, right)
            | Self::Or(left, right)
            | Self::Compare(_, left, right)
            | Self::Calculate(_, left, right)
            | Self::In(left, right)
            | Self::Search(_, left, right) => vec![left, right],
            Self::Choose(condition, yes, no) => vec![condition, yes, no],
        }
    }

    /// Every attribute it asks about, in the order of the text.
    pub fn references(&self) -> Vec<&Reference> {
        let mut found = Vec::new();
        self.each_reference(&mut |reference| found.push(reference));
        found
    }

    /// The same, without gathering them.
    pub(super) fn each_reference<'a>(&'a self, visit: &mut dyn FnMut(&'a Reference)) {
        match self {
            Self::Attribute(reference) | Self::Has(reference) => visit(reference),
            Self::Bool(_)
            | Self::Int(_)
            | Self::Float(_)
            | Self::Money(_)
            | Self::Text(_)
            | Self::Texts(_) => {}
            Self::Not(inner) | Self::Negate(inner) | Self::Size(inner) => {
                inner.each_reference(visit);
            }
            Self::And(left, right)
            | Self::Or(left, right)
            | Self::Compare(_, left, right)
            | Self::Calculate(_, left, right)
            | Self::In(left, right)
            | Self::Search(_, left, right) => {
                left.each_reference(visit);
                right.each_reference(visit);
            }
            Self::Choose(condition, yes, no) => {
                condition.each_reference(visit);
                yes.each_reference(visit);
                no.each_reference(visit);
            }
        }
    }
}
