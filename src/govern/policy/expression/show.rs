//! A checked expression as text again, with no more brackets than it needs.

use std::fmt::{Display, Formatter, Result};

use super::{Code, Comparison, Operation, Reference, Search};
use crate::govern::action::Micros;

/// Dollars without needless digits: `5`, `0.25`.
pub(crate) fn dollars(money: Micros) -> String {
    let sign = if money.0 < 0 { "-" } else { "" };
    let (whole, rest) = (money.0.unsigned_abs() / 1_000_000, money.0.unsigned_abs() % 1_000_000);
    let fraction = format!("{rest:06}");
    let fraction = fraction.trim_end_matches('0');
    if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

impl Code {
    /// How tightly it binds; a looser part inside a tighter one gets brackets.
    fn binding(&self) -> u8 {
        match self {
            Self::Choose(..) => 0,
            Self::Or(..) => 1,
            Self::And(..) => 2,
            Self::Compare(..) | Self::In(..) => 3,
            Self::Calculate(Operation::Add | Operation::Subtract, ..) => 4,
            Self::Calculate(Operation::Multiply | Operation::Divide | Operation::Remainder, ..) => {
                5
            }
            Self::Not(_) | Self::Negate(_) => 6,
            Self::Bool(_)
            | Self::Int(_)
            | Self::Float(_)
            | Self::Money(_)
            | Self::Text(_)
            | Self::Texts(_)
            | Self::Attribute(_)
            | Self::Has(_)
            | Self::Search(..)
            | Self::Size(_) => 7,
        }
    }
}

/// A part, in brackets when it binds less than `least`.
struct Part<'a>(&'a Code, u8);

impl Display for Part<'_> {
    fn fmt(&self, to: &mut Formatter<'_>) -> Result {
        if self.0.binding() < self.1 {
            write!(to, "({})", self.0)
        } else {
            write!(to, "{}", self.0)
        }
    }
}

impl Display for Code {
    fn fmt(&self, to: &mut Formatter<'_>) -> Result {
        let own = self.binding();
        let pair = |to: &mut Formatter<'_>, left: &Self, sign: &str, right: &Self| {
            write!(to, "{} {sign} {}", Part(left, own), Part(right, own + 1))
        };
        match self {
            Self::Bool(value) => write!(to, "{value}"),
            Self::Int(value) => write!(to, "{value}"),
            Self::Float(value) => write!(to, "{value:?}"),
            Self::Money(value) => write!(to, "{}", dollars(Micros(*value))),
            Self::Text(value) => write!(to, "{value:?}"),
            Self::Texts(values) => write!(to, "{values:?}"),
            Self::Attribute(reference) if reference.verified => {
                write!(to, "verified({})", reference.name)
            }
            Self::Attribute(Reference { name, .. }) => write!(to, "{name}"),
            Self::Has(reference) => write!(to, "has({})", reference.name),
            Self::Not(inner) => write!(to, "!{}", Part(inner, own)),
            Self::Negate(inner) => write!(to, "-{}", Part(inner, own)),
            Self::And(left, right) => pair(to, left, "&&", right),
            Self::Or(left, right) => pair(to, left, "||", right),
            Self::Compare(comparison, left, right) => pair(to, left, comparison.sign(), right),
            Self::Calculate(operation, left, right) => pair(to, left, operation.sign(), right),
            Self::In(left, right) => pair(to, left, "in", right),
            Self::Search(search, text, wanted) => {
                write!(to, "{}.{}({wanted})", Part(text, own), search.name())
            }
            Self::Size(inner) => write!(to, "size({inner})"),
            Self::Choose(condition, yes, no) => {
                write!(to, "{} ? {} : {}", Part(condition, 1), Part(yes, 1), Part(no, 0))
            }
        }
    }
}

impl Comparison {
    pub(super) fn sign(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::Unequal => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }
}

impl Operation {
    pub(super) fn sign(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Remainder => "%",
        }
    }
}

impl Search {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::StartsWith => "startsWith",
            Self::EndsWith => "endsWith",
            Self::Contains => "contains",
        }
    }
}
