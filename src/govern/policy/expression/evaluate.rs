//! Walks a checked expression. Allocates nothing; what cannot be answered is a [`Fault`], never a guess.

use std::cmp::Ordering;
use std::fmt::{Display, Formatter, Write as _};

use super::{Code, Comparison, Operation, Reference, Search};
use crate::govern::action::{Ask, Micros};
use crate::govern::attribute::{Attributes, Source, Value};
use crate::govern::policy::schema::{Kind, Place, Unit};
use crate::govern::trust::Level;

/// What expressions are evaluated over.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    pub ask: &'a Ask,
    pub attributes: &'a Attributes,
    pub trust: Level,
    pub project: &'a str,
}

/// A value on the way.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Datum<'a> {
    Bool(bool),
    Int(i64),
    /// Millionths of a dollar.
    Money(i64),
    /// Finite.
    Float(f64),
    Text(&'a str),
    Texts(&'a [String]),
    Values(&'a [Value]),
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fault<'a> {
    /// The attribute it rests on; empty when it is the calculation itself.
    pub name: &'a str,
    pub cause: Cause,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cause {
    Missing,
    /// There is a value, but from a weaker source than this rule takes.
    Unvouched {
        source: Source,
        wanted: Source,
    },
    WrongType {
        wanted: Kind,
    },
    NotANumber,
    TooLarge,
    DividedByZero,
}

impl Display for Fault<'_> {
    fn fmt(&self, to: &mut Formatter<'_>) -> std::fmt::Result {
        let name = if self.name.is_empty() { "the calculation" } else { self.name };
        match self.cause {
            Cause::Missing => write!(to, "`{name}` is missing"),
            Cause::Unvouched { source, wanted } => write!(
                to,
                "`{name}` is known only from {}; this rule takes it from {}",
                source_words(source),
                source_words(wanted)
            ),
            Cause::WrongType { wanted } => write!(to, "`{name}` is not {}", wanted.words()),
            Cause::NotANumber => write!(to, "`{name}` is not a finite number"),
            Cause::TooLarge => write!(to, "`{name}` is too large to reckon with"),
            Cause::DividedByZero => write!(to, "{name} divides by zero"),
        }
    }
}

fn source_words(source: Source) -> &'static str {
    match source {
        Source::Agent => "the agent itself",
        Source::Verified => "a verified source",
        Source::Server => "this program",
    }
}

type Answer<'a> = Result<Datum<'a>, Fault<'a>>;

const FLOAT_EXACT_MAX: i64 = 1 << 53;
const MICROS: i64 = 1_000_000;

impl Code {
    /// The answer of a condition.
    pub fn holds<'a>(&'a self, facts: &Facts<'a>) -> Result<bool, Fault<'a>> {
        match self.value(facts)? {
            Datum::Bool(value) => Ok(value),
            Datum::Int(_)
            | Datum::Money(_)
            | Datum::Float(_)
            | Datum::Text(_)
            | Datum::Texts(_)
            | Datum::Values(_) => {
                Err(Fault { name: "", cause: Cause::WrongType { wanted: Kind::Bool } })
            }
        }
    }

    pub(super) fn value<'a>(&'a self, facts: &Facts<'a>) -> Answer<'a> {
        Ok(match self {
            Self::Bool(value) => Datum::Bool(*value),
            Self::Int(value) => Datum::Int(*value),
            Self::Float(value) => Datum::Float(*value),
            Self::Money(value) => Datum::Money(*value),
            Self::Text(value) => Datum::Text(value),
            Self::Texts(values) => Datum::Texts(values),
            Self::Attribute(reference) => reference.value(facts)?,
            Self::Has(reference) => match reference.value(facts) {
                Err(Fault { cause: Cause::Missing | Cause::Unvouched { .. }, .. }) => {
                    Datum::Bool(false)
                }
                Err(fault) => return Err(fault),
                Ok(_) => Datum::Bool(true),
            },
            Self::Not(inner) => Datum::Bool(!inner.holds(facts)?),
            Self::Negate(inner) => negated(inner.value(facts)?)?,
            Self::And(left, right) => Datum::Bool(left.holds(facts)? && right.holds(facts)?),
            Self::Or(left, right) => Datum::Bool(left.holds(facts)? || right.holds(facts)?),
            Self::Compare(comparison, left, right) => {
                Datum::Bool(compared(*comparison, left.value(facts)?, right.value(facts)?)?)
            }
            Self::Calculate(operation, left, right) => {
                calculated(*operation, left.value(facts)?, right.value(facts)?)?
            }
            Self::In(left, right) => {
                Datum::Bool(contained(text(left.value(facts)?)?, right.value(facts)?)?)
            }
            Self::Search(search, within, wanted) => {
                let (within, wanted) = (text(within.value(facts)?)?, text(wanted.value(facts)?)?);
                Datum::Bool(match search {
                    Search::StartsWith => within.starts_with(wanted),
                    Search::EndsWith => within.ends_with(wanted),
                    Search::Contains => within.contains(wanted),
                })
            }
            Self::Size(inner) => Datum::Int(size(inner.value(facts)?)?),
            Self::Choose(condition, yes, no) => {
                if condition.holds(facts)? {
                    yes.value(facts)?
                } else {
                    no.value(facts)?
                }
            }
        })
    }
}

impl Reference {
    pub(super) fn value<'a>(&'a self, facts: &Facts<'a>) -> Answer<'a> {
        let ask = facts.ask;
        Ok(match self.place {
            Place::Agent => Datum::Text(&ask.agent),
            Place::Trust => Datum::Int(facts.trust as i64),
            Place::Org => Datum::Text(&ask.org),
            Place::Project => Datum::Text(facts.project),
            Place::ActionType => Datum::Text(&ask.action_type),
            Place::Resource => Datum::Text(&ask.resource),
            Place::Depth => Datum::Int(i64::from(ask.depth)),
            Place::Cost if !facts.attributes.contains_key(&self.name) => {
                self.vouched(Source::Agent)?;
                Datum::Money(ask.cost.0)
            }
            Place::Cost | Place::Given => {
                let Some(found) = facts.attributes.get(&self.name) else {
                    return Err(self.fault(Cause::Missing));
                };
                self.vouched(found.source)?;
                self.read(&found.value)?
            }
        })
    }

    fn vouched(&self, source: Source) -> Result<(), Fault<'_>> {
        if source >= self.from {
            Ok(())
        } else {
            Err(self.fault(Cause::Unvouched { source, wanted: self.from }))
        }
    }

    fn fault(&self, cause: Cause) -> Fault<'_> {
        Fault { name: &self.name, cause }
    }

    fn read<'a>(&'a self, value: &'a Value) -> Answer<'a> {
        match (self.kind, value) {
            (Kind::Number(_), Value::Float(number)) if !number.is_finite() => {
                Err(self.fault(Cause::NotANumber))
            }
            (Kind::Number(Unit::Usd), Value::Int(whole)) => {
                let micros = whole.checked_mul(MICROS).ok_or(self.fault(Cause::TooLarge))?;
                Ok(Datum::Money(micros))
            }
            (Kind::Number(Unit::Usd), Value::Float(number)) => {
                micros(*number).map(Datum::Money).ok_or(self.fault(Cause::TooLarge))
            }
            (Kind::Number(_), Value::Int(number)) => Ok(Datum::Int(*number)),
            (Kind::Number(_), Value::Float(number)) => Ok(Datum::Float(*number)),
            (Kind::Bool, Value::Bool(value)) => Ok(Datum::Bool(*value)),
            (Kind::Text, Value::Text(value)) => Ok(Datum::Text(value)),
            (Kind::Texts, Value::List(values)) => Ok(Datum::Values(values)),
            (
                wanted,
                Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text(_) | Value::List(_),
            ) => Err(self.fault(Cause::WrongType { wanted })),
        }
    }

    /// Adds the value as it is shown; `missing` when there is none that counts.
    pub fn show(&self, facts: &Facts<'_>, into: &mut String) {
        let written = match self.value(facts) {
            Ok(Datum::Bool(value)) => write!(into, "{value}"),
            Ok(Datum::Int(value)) => write!(into, "{value}"),
            Ok(Datum::Float(value)) => write!(into, "{value}"),
            Ok(Datum::Money(value)) => write!(into, "${}", super::show::dollars(Micros(value))),
            Ok(Datum::Text(value)) => write!(into, "{value:?}"),
            Ok(Datum::Texts(values)) => write!(into, "{values:?}"),
            Ok(Datum::Values(values)) => write!(into, "{} values", values.len()),
            Err(Fault { cause, .. }) => match cause {
                Cause::Missing => into.write_str("missing"),
                Cause::Unvouched { source: Source::Agent, .. } => {
                    into.write_str("only claimed by the agent")
                }
                Cause::Unvouched { .. } => into.write_str("not from a good enough source"),
                Cause::WrongType { wanted } => write!(into, "not {}", wanted.words()),
                Cause::NotANumber => into.write_str("not a finite number"),
                Cause::TooLarge | Cause::DividedByZero => into.write_str("too large"),
            },
        };
        written.expect("a String takes any text");
    }
}

/// Dollars as millionths, rounded to the nearest.
pub(super) fn micros(dollars: f64) -> Option<i64> {
    let scaled = (dollars * 1e6).round();
    // 2^53 millionths are nine billion dollars; above it a float no longer tells them apart.
    #[expect(clippy::cast_precision_loss, reason = "2^53 is exact")]
    let fits = scaled.is_finite() && scaled.abs() <= FLOAT_EXACT_MAX as f64;
    #[expect(clippy::cast_possible_truncation, reason = "checked to be a whole number below 2^53")]
    fits.then_some(scaled as i64)
}

const fn broken<'a>(cause: Cause) -> Fault<'a> {
    Fault { name: "", cause }
}

fn text(datum: Datum<'_>) -> Result<&str, Fault<'_>> {
    match datum {
        Datum::Text(text) => Ok(text),
        Datum::Bool(_)
        | Datum::Int(_)
        | Datum::Money(_)
        | Datum::Float(_)
        | Datum::Texts(_)
        | Datum::Values(_) => Err(broken(Cause::WrongType { wanted: Kind::Text })),
    }
}

fn number(datum: Datum<'_>) -> Result<f64, Fault<'_>> {
    match datum {
        Datum::Float(value) => Ok(value),
        Datum::Int(value) | Datum::Money(value)
            if value.abs_diff(0) <= FLOAT_EXACT_MAX.abs_diff(0) =>
        {
            #[expect(clippy::cast_precision_loss, reason = "at most 2^53")]
            Ok(value as f64)
        }
        Datum::Int(_) | Datum::Money(_) => Err(broken(Cause::TooLarge)),
        Datum::Bool(_) | Datum::Text(_) | Datum::Texts(_) | Datum::Values(_) => {
            Err(broken(Cause::WrongType { wanted: Kind::Number(Unit::Plain) }))
        }
    }
}

fn finite<'a>(value: f64) -> Answer<'a> {
    if value.is_finite() { Ok(Datum::Float(value)) } else { Err(broken(Cause::TooLarge)) }
}

fn negated(datum: Datum<'_>) -> Answer<'_> {
    match datum {
        Datum::Int(value) => value.checked_neg().map(Datum::Int).ok_or(broken(Cause::TooLarge)),
        Datum::Money(value) => value.checked_neg().map(Datum::Money).ok_or(broken(Cause::TooLarge)),
        Datum::Float(_) | Datum::Bool(_) | Datum::Text(_) | Datum::Texts(_) | Datum::Values(_) => {
            Ok(Datum::Float(-number(datum)?))
        }
    }
}

fn compared<'a>(
    comparison: Comparison,
    left: Datum<'a>,
    right: Datum<'a>,
) -> Result<bool, Fault<'a>> {
    let order = match (left, right) {
        (Datum::Int(left), Datum::Int(right)) | (Datum::Money(left), Datum::Money(right)) => {
            left.cmp(&right)
        }
        (Datum::Text(left), Datum::Text(right)) => left.cmp(right),
        (Datum::Bool(left), Datum::Bool(right)) => left.cmp(&right),
        // Of these only numbers pass; NaN cannot occur.
        (left, right) => {
            number(left)?.partial_cmp(&number(right)?).ok_or(broken(Cause::NotANumber))?
        }
    };
    Ok(match comparison {
        Comparison::Equal => order == Ordering::Equal,
        Comparison::Unequal => order != Ordering::Equal,
        Comparison::Less => order == Ordering::Less,
        Comparison::LessOrEqual => order != Ordering::Greater,
        Comparison::Greater => order == Ordering::Greater,
        Comparison::GreaterOrEqual => order != Ordering::Less,
    })
}

fn calculated<'a>(operation: Operation, left: Datum<'a>, right: Datum<'a>) -> Answer<'a> {
    let whole = |left: i64, right: i64| match operation {
        Operation::Add => left.checked_add(right),
        Operation::Subtract => left.checked_sub(right),
        Operation::Multiply => left.checked_mul(right),
        Operation::Divide => left.checked_div(right),
        Operation::Remainder => left.checked_rem(right),
    };
    let divides = matches!(operation, Operation::Divide | Operation::Remainder);
    if divides && matches!(right, Datum::Int(0) | Datum::Money(0)) {
        return Err(broken(Cause::DividedByZero));
    }
    match (left, right) {
        (Datum::Int(left), Datum::Int(right)) => {
            whole(left, right).map(Datum::Int).ok_or(broken(Cause::TooLarge))
        }
        (Datum::Money(left), Datum::Money(right) | Datum::Int(right))
        | (Datum::Int(left), Datum::Money(right)) => {
            whole(left, right).map(Datum::Money).ok_or(broken(Cause::TooLarge))
        }
        (left, right) => {
            let money = matches!(left, Datum::Money(_)) || matches!(right, Datum::Money(_));
            let (left, right) = (number(left)?, number(right)?);
            if divides && right == 0.0 {
                return Err(broken(Cause::DividedByZero));
            }
            let result = match operation {
                Operation::Add => left + right,
                Operation::Subtract => left - right,
                Operation::Multiply => left * right,
                Operation::Divide => left / right,
                Operation::Remainder => left % right,
            };
            if money {
                // `result` counts millionths already.
                micros(result / 1e6).map(Datum::Money).ok_or(broken(Cause::TooLarge))
            } else {
                finite(result)
            }
        }
    }
}

fn contained<'a>(wanted: &str, list: Datum<'a>) -> Result<bool, Fault<'a>> {
    let wrong = broken(Cause::WrongType { wanted: Kind::Texts });
    match list {
        Datum::Texts(texts) => Ok(texts.iter().any(|text| text == wanted)),
        Datum::Values(values) => {
            let mut found = false;
            for value in values {
                let Value::Text(text) = value else { return Err(wrong) };
                found |= text == wanted;
            }
            Ok(found)
        }
        Datum::Bool(_) | Datum::Int(_) | Datum::Money(_) | Datum::Float(_) | Datum::Text(_) => {
            Err(wrong)
        }
    }
}

fn size(datum: Datum<'_>) -> Result<i64, Fault<'_>> {
    let size = match datum {
        Datum::Text(text) => text.chars().count(),
        Datum::Texts(texts) => texts.len(),
        Datum::Values(values) => values.len(),
        Datum::Bool(_) | Datum::Int(_) | Datum::Money(_) | Datum::Float(_) => {
            return Err(broken(Cause::WrongType { wanted: Kind::Text }));
        }
    };
    i64::try_from(size).map_err(|_| broken(Cause::TooLarge))
}
