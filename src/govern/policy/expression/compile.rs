//! From text to a checked tree: names, types, units, cost.

use std::ops::Range;

use super::evaluate::micros;
use super::parse::{Node, Tree, parse};
use super::{COST_MAX, Code, Comparison, Conjunct, DEPTH_MAX, Operation, Reference, Search};
use crate::base::suggest;
use crate::govern::attribute::Source;
use crate::govern::policy::schema::{Kind, Schema, Unit};

/// One mistake, with its bytes in the condition's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::govern::policy) struct Mistake {
    pub(in crate::govern::policy) message: String,
    pub(in crate::govern::policy) span: Range<usize>,
    pub(in crate::govern::policy) hint: Option<String>,
}

impl Mistake {
    pub(super) fn new(message: impl Into<String>, span: Range<usize>) -> Self {
        Self { message: message.into(), span, hint: None }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// The parts of a condition. `permit`: it belongs to a rule that permits, in which nothing counts
/// that only the agent says.
pub(in crate::govern::policy) fn compile(
    source: &str,
    schema: &Schema,
    permit: bool,
) -> Result<Vec<Conjunct>, Mistake> {
    let parsed = parse(source)?;
    let checker = Checker { schema, permit };
    let typed = checker.typed(&parsed, 0)?;
    if typed.kind != Kind::Bool {
        return Err(Mistake::new(
            format!("the condition is {}, not true or false", typed.kind.words()),
            parsed.span.clone(),
        ));
    }
    let cost = cost(&typed.code);
    if cost > COST_MAX {
        return Err(Mistake::new(
            format!("the condition costs {cost} steps; at most {COST_MAX} are allowed"),
            0..source.len(),
        )
        .hint("split it into several rules"));
    }
    let mut parts = Vec::new();
    split(typed.code, &mut parts);
    Ok(parts.into_iter().map(|code| Conjunct { text: code.to_string(), code }).collect())
}

fn split(code: Code, into: &mut Vec<Code>) {
    if let Code::And(left, right) = code {
        split(*left, into);
        split(*right, into);
    } else {
        into.push(code);
    }
}

/// Steps in the worst case: 1 a node, 8 where texts are walked, 1 a member of a list.
fn cost(code: &Code) -> usize {
    let own = match code {
        Code::Search(..) | Code::Size(_) | Code::In(..) => 8,
        Code::Texts(texts) => texts.len(),
        Code::Bool(_)
        | Code::Int(_)
        | Code::Float(_)
        | Code::Money(_)
        | Code::Text(_)
        | Code::Attribute(_)
        | Code::Has(_)
        | Code::Not(_)
        | Code::Negate(_)
        | Code::And(..)
        | Code::Or(..)
        | Code::Compare(..)
        | Code::Calculate(..)
        | Code::Choose(..) => 1,
    };
    own + code.below().into_iter().map(cost).sum::<usize>()
}

struct Typed {
    code: Code,
    kind: Kind,
}

impl Typed {
    /// A bare number takes the unit of what it meets.
    fn literal(&self) -> bool {
        matches!(self.code, Code::Int(_) | Code::Float(_))
    }
}

struct Checker<'a> {
    schema: &'a Schema,
    permit: bool,
}

const PLAIN: Kind = Kind::Number(Unit::Plain);

fn wrong<T>(at: &Node, message: impl Into<String>) -> Result<T, Mistake> {
    Err(Mistake::new(message, at.span.clone()))
}

impl Checker<'_> {
    fn typed(&self, node: &Node, depth: usize) -> Result<Typed, Mistake> {
        // The parser bounds each kind of depth by itself; a tree may add them up.
        if depth > 2 * DEPTH_MAX {
            return wrong(node, format!("nested deeper than {DEPTH_MAX} levels"));
        }
        let below = |part: &Node| self.typed(part, depth + 1);
        let boolean = |part: &Node| self.boolean(part, depth + 1);
        Ok(match &node.tree {
            Tree::Bool(value) => Typed { code: Code::Bool(*value), kind: Kind::Bool },
            Tree::Int(value) => Typed { code: Code::Int(*value), kind: PLAIN },
            Tree::Float(value) => Typed { code: Code::Float(*value), kind: PLAIN },
            Tree::Text(value) => Typed { code: Code::Text(value.clone()), kind: Kind::Text },
            Tree::List(nodes) => {
                let texts = nodes.iter().map(|node| {
                    if let Tree::Text(text) = &node.tree {
                        Ok(text.clone())
                    } else {
                        wrong(node, "a list holds quoted texts only")
                    }
                });
                Typed { code: Code::Texts(texts.collect::<Result<_, _>>()?), kind: Kind::Texts }
            }
            Tree::Name(_) => {
                let reference = self.reference(node, false)?;
                let kind = reference.kind;
                Typed { code: Code::Attribute(reference), kind }
            }
            Tree::Call(name, arguments) => return self.call(node, name, arguments, depth),
            Tree::Not(inner) => {
                Typed { code: Code::Not(Box::new(boolean(inner)?)), kind: Kind::Bool }
            }
            Tree::Negate(inner) => {
                let inner = below(inner)?;
                if !matches!(inner.kind, Kind::Number(_)) {
                    return wrong(node, format!("`-` before {}", inner.kind.words()));
                }
                let code = if let Code::Int(value) = inner.code {
                    Code::Int(-value)
                } else if let Code::Float(value) = inner.code {
                    Code::Float(-value)
                } else {
                    Code::Negate(Box::new(inner.code))
                };
                Typed { code, kind: inner.kind }
            }
            Tree::And(parts) | Tree::Or(parts) => {
                let and = matches!(node.tree, Tree::And(_));
                let mut parts = parts.iter();
                let Some(first) = parts.next() else { return wrong(node, "this part is empty") };
                let mut whole = boolean(first)?;
                for part in parts {
                    let (left, right) = (Box::new(whole), Box::new(boolean(part)?));
                    whole = if and { Code::And(left, right) } else { Code::Or(left, right) };
                }
                Typed { code: whole, kind: Kind::Bool }
            }
            Tree::Compare(comparison, left, right) => {
                return comparison_typed(node, *comparison, below(left)?, below(right)?);
            }
            Tree::In(wanted, list) => {
                let (wanted, list) = (below(wanted)?, below(list)?);
                if wanted.kind != Kind::Text || list.kind != Kind::Texts {
                    return wrong(node, "`in` looks for a text in a list of texts");
                }
                let code = Code::In(Box::new(wanted.code), Box::new(list.code));
                Typed { code, kind: Kind::Bool }
            }
            Tree::Calculate(operation, left, right) => {
                return calculation(node, *operation, below(left)?, below(right)?);
            }
            Tree::Choose(condition, yes, no) => {
                let condition = boolean(condition)?;
                let (yes, no) = alike(node, below(yes)?, below(no)?)?;
                let kind = yes.kind;
                let code = Code::Choose(Box::new(condition), Box::new(yes.code), Box::new(no.code));
                Typed { code, kind }
            }
        })
    }

    fn reference(&self, node: &Node, verified: bool) -> Result<Reference, Mistake> {
        let Tree::Name(name) = &node.tree else {
            return wrong(node, "expected the name of an attribute");
        };
        let Some(known) = self.schema.get(name) else {
            let mistake =
                Mistake::new(format!("there is no attribute `{name}`"), node.span.clone());
            return Err(match suggest::nearest(name, self.schema.names()) {
                Some(near) => mistake.hint(format!("did you mean `{near}`?")),
                None => mistake.hint(format!(
                    "declare it: `attributes: {{ {name}: {{ type: number, from: verified }} }}`"
                )),
            });
        };
        let from =
            if verified || self.permit { known.from.max(Source::Verified) } else { known.from };
        Ok(Reference { name: name.clone(), place: known.place, kind: known.kind, from, verified })
    }

    fn call(
        &self,
        node: &Node,
        name: &str,
        arguments: &[Node],
        depth: usize,
    ) -> Result<Typed, Mistake> {
        let below = |part: &Node| self.typed(part, depth + 1);
        match (name, arguments) {
            ("verified", [attribute]) => {
                let reference = self.reference(attribute, true)?;
                let kind = reference.kind;
                Ok(Typed { code: Code::Attribute(reference), kind })
            }
            ("has", [attribute]) => {
                let reference = self.reference(attribute, false)?;
                Ok(Typed { code: Code::Has(reference), kind: Kind::Bool })
            }
            ("size", [inner]) => {
                let inner = below(inner)?;
                if !matches!(inner.kind, Kind::Text | Kind::Texts) {
                    return wrong(node, format!("`size` of {}", inner.kind.words()));
                }
                Ok(Typed { code: Code::Size(Box::new(inner.code)), kind: PLAIN })
            }
            (_, [within, wanted]) if search(name).is_some() => {
                let (within, wanted) = (below(within)?, below(wanted)?);
                let Some(search) =
                    search(name).filter(|_| within.kind == Kind::Text && wanted.kind == Kind::Text)
                else {
                    return wrong(node, format!("`{name}` looks for a text in a text"));
                };
                let code = Code::Search(search, Box::new(within.code), Box::new(wanted.code));
                Ok(Typed { code, kind: Kind::Bool })
            }
            ("exists" | "all" | "map" | "filter" | "exists_one", _) => {
                Err(Mistake::new("there are no loops over lists here", node.span.clone())
                    .hint("test membership with `\"text\" in list`"))
            }
            _ => {
                let mistake =
                    Mistake::new(format!("there is no function `{name}`"), node.span.clone());
                Err(mistake.hint(
                    "there are `has(x)`, `verified(x)`, `size(x)`, `x.startsWith(y)`, `x.endsWith(y)`, `x.contains(y)` and `x in list`",
                ))
            }
        }
    }

    fn boolean(&self, part: &Node, depth: usize) -> Result<Code, Mistake> {
        let typed = self.typed(part, depth)?;
        if typed.kind == Kind::Bool {
            Ok(typed.code)
        } else {
            wrong(part, format!("this is {}, not true or false", typed.kind.words()))
        }
    }
}

fn comparison_typed(
    at: &Node,
    comparison: Comparison,
    left: Typed,
    right: Typed,
) -> Result<Typed, Mistake> {
    let (left, right) = alike(at, left, right)?;
    let equality = matches!(comparison, Comparison::Equal | Comparison::Unequal);
    let fits = match left.kind {
        Kind::Bool => equality,
        Kind::Number(_) | Kind::Text => true,
        Kind::Texts => false,
    };
    if !fits {
        let sign = comparison.sign();
        return wrong(at, format!("`{sign}` does not compare {}", left.kind.words()));
    }
    let code = Code::Compare(comparison, Box::new(left.code), Box::new(right.code));
    Ok(Typed { code, kind: Kind::Bool })
}

fn calculation(
    at: &Node,
    operation: Operation,
    left: Typed,
    right: Typed,
) -> Result<Typed, Mistake> {
    let (Kind::Number(left_unit), Kind::Number(right_unit)) = (left.kind, right.kind) else {
        return wrong(at, format!("`{}` reckons with numbers only", operation.sign()));
    };
    let (left, right, unit) = match operation {
        Operation::Add | Operation::Subtract => {
            let (left, right) = alike(at, left, right)?;
            let Kind::Number(unit) = left.kind else { unreachable!("both are numbers") };
            (left, right, unit)
        }
        Operation::Multiply if left_unit == Unit::Plain => (left, right, right_unit),
        Operation::Multiply | Operation::Divide if right_unit == Unit::Plain => {
            (left, right, left_unit)
        }
        Operation::Remainder if left_unit == Unit::Plain && right_unit == Unit::Plain => {
            (left, right, Unit::Plain)
        }
        Operation::Multiply | Operation::Divide | Operation::Remainder => {
            return wrong(
                at,
                format!(
                    "`{}` between {} and {}",
                    operation.sign(),
                    left.kind.words(),
                    right.kind.words()
                ),
            );
        }
    };
    let code = Code::Calculate(operation, Box::new(left.code), Box::new(right.code));
    Ok(Typed { code, kind: Kind::Number(unit) })
}

/// Both sides with one type and unit.
fn alike(at: &Node, left: Typed, right: Typed) -> Result<(Typed, Typed), Mistake> {
    if left.kind == right.kind {
        return Ok((left, right));
    }
    if let (Kind::Number(_), Kind::Number(_)) = (left.kind, right.kind) {
        if right.literal() {
            let right = in_unit(at, right, left.kind)?;
            return Ok((left, right));
        }
        if left.literal() {
            let left = in_unit(at, left, right.kind)?;
            return Ok((left, right));
        }
    }
    wrong(at, format!("{} beside {}", left.kind.words(), right.kind.words()))
}

fn in_unit(at: &Node, number: Typed, kind: Kind) -> Result<Typed, Mistake> {
    if kind != Kind::Number(Unit::Usd) {
        return Ok(Typed { code: number.code, kind });
    }
    let money = if let Code::Float(value) = number.code {
        micros(value)
    } else if let Code::Int(whole) = number.code {
        whole.checked_mul(1_000_000)
    } else {
        None
    };
    match money {
        Some(money) => Ok(Typed { code: Code::Money(money), kind }),
        None => wrong(at, "this amount of money is too large"),
    }
}

fn search(name: &str) -> Option<Search> {
    Some(match name {
        "startsWith" => Search::StartsWith,
        "endsWith" => Search::EndsWith,
        "contains" => Search::Contains,
        _ => return None,
    })
}

/// A comparison of an attribute with a constant, for rules that the file states without CEL.
pub(in crate::govern::policy) fn comparison_of(
    schema: &Schema,
    name: &str,
    comparison: Comparison,
    constant: Code,
    permit: bool,
) -> Option<Conjunct> {
    let known = schema.get(name)?;
    let from = if permit { known.from.max(Source::Verified) } else { known.from };
    let reference = Reference {
        name: name.to_owned(),
        place: known.place,
        kind: known.kind,
        from,
        verified: false,
    };
    let code = Code::Compare(comparison, Box::new(Code::Attribute(reference)), Box::new(constant));
    Some(Conjunct { text: code.to_string(), code })
}
