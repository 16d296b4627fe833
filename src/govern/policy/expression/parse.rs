//! The syntax of conditions: a small part of CEL's grammar, by precedence climbing.
//!
//! ```text
//! expression = or [ "?" or ":" expression ]
//! or         = and { "||" and }
//! and        = relation { "&&" relation }
//! relation   = sum [ ( "==" | "!=" | "<" | "<=" | ">" | ">=" | "in" ) sum ]
//! sum        = product { ( "+" | "-" ) product }
//! product    = unary { ( "*" | "/" | "%" ) unary }
//! unary      = { "!" | "-" } member
//! member     = primary { "." name [ "(" [ arguments ] ")" ] }
//! primary    = "true" | "false" | number | text | name [ "(" [ arguments ] ")" ]
//!            | "[" [ arguments ] "]" | "(" expression ")"
//! ```
//!
//! Why not a CEL crate: the parser of the one tried overflowed the stack of a test thread on deep
//! input, and kept only the first token's place of each part. Here depth is counted while reading, and
//! each part knows its bytes.

use std::ops::Range;

use super::compile::Mistake;
use super::{Comparison, DEPTH_MAX, Operation, SOURCE_BYTES_MAX};

/// Longest run of operators of one kind, and most members of a list.
const RUN_MAX: usize = 128;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub(super) span: Range<usize>,
    pub(super) tree: Tree,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Tree {
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    /// Dotted.
    Name(String),
    /// Of a method the first argument is what it is called on.
    Call(String, Vec<Node>),
    Not(Box<Node>),
    Negate(Box<Node>),
    And(Vec<Node>),
    Or(Vec<Node>),
    Compare(Comparison, Box<Node>, Box<Node>),
    In(Box<Node>, Box<Node>),
    Calculate(Operation, Box<Node>, Box<Node>),
    Choose(Box<Node>, Box<Node>, Box<Node>),
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Int(i64),
    Float(f64),
    Text(String),
    Name(String),
    Sign(&'static str),
    End,
}

/// Longer ones first.
const SIGNS: [&str; 22] = [
    "==", "!=", "<=", ">=", "&&", "||", "<", ">", "!", "-", "+", "*", "/", "%", "?", ":", ".", ",",
    "(", ")", "[", "]",
];

pub(super) fn parse(source: &str) -> Result<Node, Mistake> {
    if source.len() > SOURCE_BYTES_MAX {
        let bytes = source.len();
        return Err(Mistake::new(
            format!("the condition has {bytes} bytes; at most {SOURCE_BYTES_MAX} are allowed"),
            0..1,
        ));
    }
    let mut tokens = tokens(source)?;
    tokens.reverse();
    let mut parser = Parser { tokens, depth: 0, end: 0 };
    let node = parser.expression()?;
    match parser.next() {
        (Token::End, _) => Ok(node),
        (token, span) => Err(Mistake::new(format!("unexpected {}", words(&token)), span)),
    }
}

fn words(token: &Token) -> String {
    match token {
        Token::Int(value) => format!("`{value}`"),
        Token::Float(value) => format!("`{value}`"),
        Token::Text(_) => "text".to_owned(),
        Token::Name(name) => format!("`{name}`"),
        Token::Sign(sign) => format!("`{sign}`"),
        Token::End => "end of the condition".to_owned(),
    }
}

fn tokens(source: &str) -> Result<Vec<(Token, Range<usize>)>, Mistake> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(first) = source[at..].chars().next() {
        let rest = &source[at..];
        let (token, length) = match first {
            _ if first.is_whitespace() => {
                at += first.len_utf8();
                continue;
            }
            '"' | '\'' => text(rest, first).map_err(|mut mistake| {
                mistake.span = at + mistake.span.start..at + mistake.span.end;
                mistake
            })?,
            '0'..='9' => number(rest)
                .ok_or_else(|| Mistake::new("this number is not understood", at..at + 1))?,
            'a'..='z' | 'A'..='Z' | '_' => {
                let length = run(rest, |c| c.is_ascii_alphanumeric() || c == '_');
                (Token::Name(rest[..length].to_owned()), length)
            }
            _ => {
                let sign = SIGNS.into_iter().find(|sign| rest.starts_with(sign));
                let Some(sign) = sign else {
                    let span = at..at + first.len_utf8();
                    return Err(Mistake::new(format!("`{first}` means nothing here"), span));
                };
                if rest.starts_with("//") {
                    let mistake =
                        Mistake::new("comments do not belong into a condition", at..at + 2);
                    return Err(mistake.hint("write them beside it, after `#`"));
                }
                (Token::Sign(sign), sign.len())
            }
        };
        let prefixed = matches!(&token, Token::Text(_))
            && matches!(found.last(), Some((Token::Name(_), span)) if Range::<usize>::clone(span).end == at);
        if prefixed {
            let mistake = Mistake::new("only plain quoted texts are understood", at..at + 1);
            return Err(mistake.hint("write \"…\" or '…', without a prefix"));
        }
        found.push((token, at..at + length));
        at += length;
    }
    found.push((Token::End, source.len()..source.len() + 1));
    Ok(found)
}

fn run(text: &str, keep: impl Fn(char) -> bool) -> usize {
    text.find(|c| !keep(c)).unwrap_or(text.len())
}

fn number(rest: &str) -> Option<(Token, usize)> {
    let mut length = run(rest, |c| c.is_ascii_digit());
    let fraction =
        rest[length..].strip_prefix('.').map_or(0, |tail| run(tail, |c| c.is_ascii_digit()));
    let float = fraction > 0;
    if float {
        length += 1 + fraction;
    }
    let glued = rest[length..].starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    if glued {
        return None;
    }
    let text = &rest[..length];
    let token =
        if float { Token::Float(text.parse().ok()?) } else { Token::Int(text.parse().ok()?) };
    Some((token, length))
}

fn text(rest: &str, quote: char) -> Result<(Token, usize), Mistake> {
    let mut value = String::new();
    let mut letters = rest.char_indices().skip(1);
    while let Some((at, letter)) = letters.next() {
        match letter {
            _ if letter == quote => return Ok((Token::Text(value), at + 1)),
            '\\' => match letters.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, 't')) => value.push('\t'),
                Some((_, other @ ('\\' | '"' | '\''))) => value.push(other),
                _ => {
                    return Err(Mistake::new("this escape is not understood", at..at + 1)
                        .hint("there are `\\\\`, `\\\"`, `\\'`, `\\n` and `\\t`"));
                }
            },
            other => value.push(other),
        }
    }
    Err(Mistake::new("this text has no closing quote", 0..1))
}

struct Parser {
    /// The next one last.
    tokens: Vec<(Token, Range<usize>)>,
    depth: usize,
    /// Where the token taken last ended.
    end: usize,
}

impl Parser {
    fn next(&mut self) -> (Token, Range<usize>) {
        let (token, span) = self.tokens.pop().unwrap_or((Token::End, self.end..self.end + 1));
        self.end = span.end;
        (token, span)
    }

    fn peek(&self) -> &Token {
        self.tokens.last().map_or(&Token::End, |(token, _)| token)
    }

    fn start(&self) -> usize {
        self.tokens.last().map_or(self.end, |(_, span)| span.start)
    }

    fn take(&mut self, sign: &'static str) -> bool {
        let found = *self.peek() == Token::Sign(sign);
        if found {
            self.next();
        }
        found
    }

    fn expect(&mut self, sign: &'static str) -> Result<(), Mistake> {
        match self.next() {
            (Token::Sign(found), _) if found == sign => Ok(()),
            (token, span) => {
                Err(Mistake::new(format!("expected `{sign}`, found {}", words(&token)), span))
            }
        }
    }

    fn node(&self, start: usize, tree: Tree) -> Node {
        Node { span: start..self.end, tree }
    }

    /// One level down, as far as the bound allows.
    fn deeper<T>(
        &mut self,
        inner: impl FnOnce(&mut Self) -> Result<T, Mistake>,
    ) -> Result<T, Mistake> {
        if self.depth >= DEPTH_MAX {
            let start = self.start();
            let message = format!("nested deeper than {DEPTH_MAX} levels");
            return Err(Mistake::new(message, start..start + 1).hint("split it into several rules"));
        }
        self.depth += 1;
        let answer = inner(self);
        self.depth -= 1;
        answer
    }

    fn expression(&mut self) -> Result<Node, Mistake> {
        self.deeper(|parser| {
            let start = parser.start();
            let condition = parser.chain("||")?;
            if !parser.take("?") {
                return Ok(condition);
            }
            let yes = parser.chain("||")?;
            parser.expect(":")?;
            let no = parser.expression()?;
            let tree = Tree::Choose(Box::new(condition), Box::new(yes), Box::new(no));
            Ok(parser.node(start, tree))
        })
    }

    /// `||` or `&&`: one list, so that many parts are not deep.
    fn chain(&mut self, sign: &'static str) -> Result<Node, Mistake> {
        let start = self.start();
        let below = |parser: &mut Self| {
            if sign == "||" { parser.chain("&&") } else { parser.relation() }
        };
        let mut parts = vec![below(self)?];
        while self.take(sign) {
            if parts.len() == RUN_MAX {
                return Err(self.too_many(RUN_MAX));
            }
            parts.push(below(self)?);
        }
        if parts.len() == 1 {
            return Ok(parts.remove(0));
        }
        let tree = if sign == "||" { Tree::Or(parts) } else { Tree::And(parts) };
        Ok(self.node(start, tree))
    }

    fn too_many(&self, most: usize) -> Mistake {
        let message = format!("more than {most} parts in a row");
        Mistake::new(message, self.end.saturating_sub(1)..self.end)
            .hint("split it into several rules")
    }

    fn relation(&mut self) -> Result<Node, Mistake> {
        let start = self.start();
        let left = self.sum()?;
        let comparison = match self.peek() {
            Token::Sign("==") => Some(Comparison::Equal),
            Token::Sign("!=") => Some(Comparison::Unequal),
            Token::Sign("<") => Some(Comparison::Less),
            Token::Sign("<=") => Some(Comparison::LessOrEqual),
            Token::Sign(">") => Some(Comparison::Greater),
            Token::Sign(">=") => Some(Comparison::GreaterOrEqual),
            Token::Name(name) if name == "in" => None,
            Token::Int(_)
            | Token::Float(_)
            | Token::Text(_)
            | Token::Name(_)
            | Token::Sign(_)
            | Token::End => return Ok(left),
        };
        self.next();
        let right = Box::new(self.sum()?);
        let left = Box::new(left);
        Ok(self.node(
            start,
            match comparison {
                Some(comparison) => Tree::Compare(comparison, left, right),
                None => Tree::In(left, right),
            },
        ))
    }

    fn sum(&mut self) -> Result<Node, Mistake> {
        self.calculation(Self::product, |sign| match sign {
            "+" => Some(Operation::Add),
            "-" => Some(Operation::Subtract),
            _ => None,
        })
    }

    fn product(&mut self) -> Result<Node, Mistake> {
        self.calculation(Self::unary, |sign| match sign {
            "*" => Some(Operation::Multiply),
            "/" => Some(Operation::Divide),
            "%" => Some(Operation::Remainder),
            _ => None,
        })
    }

    fn calculation(
        &mut self,
        below: impl Fn(&mut Self) -> Result<Node, Mistake>,
        operation: impl Fn(&str) -> Option<Operation>,
    ) -> Result<Node, Mistake> {
        let start = self.start();
        let mut left = below(self)?;
        let mut length = 0;
        while let Token::Sign(sign) = self.peek()
            && let Some(operation) = operation(sign)
        {
            // Each makes the tree one deeper.
            length += 1;
            if length > DEPTH_MAX {
                return Err(self.too_many(DEPTH_MAX));
            }
            self.next();
            let right = below(self)?;
            left = self.node(start, Tree::Calculate(operation, Box::new(left), Box::new(right)));
        }
        Ok(left)
    }

    fn unary(&mut self) -> Result<Node, Mistake> {
        let start = self.start();
        let not = *self.peek() == Token::Sign("!");
        if !not && *self.peek() != Token::Sign("-") {
            return self.member();
        }
        self.next();
        let inner = Box::new(self.deeper(Self::unary)?);
        Ok(self.node(start, if not { Tree::Not(inner) } else { Tree::Negate(inner) }))
    }

    fn member(&mut self) -> Result<Node, Mistake> {
        let start = self.start();
        let mut node = self.primary()?;
        let mut length = 0;
        while self.take(".") {
            length += 1;
            if length > DEPTH_MAX {
                return Err(self.too_many(DEPTH_MAX));
            }
            let (token, span) = self.next();
            let Token::Name(name) = token else {
                return Err(Mistake::new(
                    format!("expected a name, found {}", words(&token)),
                    span,
                ));
            };
            let tree = if self.take("(") {
                let mut arguments = vec![node];
                arguments.extend(self.arguments(")")?);
                Tree::Call(name, arguments)
            } else if let Tree::Name(head) = node.tree {
                Tree::Name(format!("{head}.{name}"))
            } else {
                return Err(Mistake::new("only attributes have names below them", span));
            };
            node = self.node(start, tree);
        }
        Ok(node)
    }

    fn primary(&mut self) -> Result<Node, Mistake> {
        let (token, span) = self.next();
        let start = span.start;
        let tree = match token {
            Token::Int(value) => Tree::Int(value),
            Token::Float(value) => Tree::Float(value),
            Token::Text(value) => Tree::Text(value),
            Token::Name(name) if name == "true" => Tree::Bool(true),
            Token::Name(name) if name == "false" => Tree::Bool(false),
            Token::Name(name) if self.take("(") => Tree::Call(name, self.arguments(")")?),
            Token::Name(name) if name != "in" => Tree::Name(name),
            Token::Sign("[") => Tree::List(self.arguments("]")?),
            Token::Sign("(") => {
                let inner = self.expression()?;
                self.expect(")")?;
                inner.tree
            }
            Token::Name(_) | Token::Sign(_) | Token::End => {
                return Err(Mistake::new(format!("unexpected {}", words(&token)), span));
            }
        };
        Ok(self.node(start, tree))
    }

    fn arguments(&mut self, close: &'static str) -> Result<Vec<Node>, Mistake> {
        let mut found = Vec::new();
        if self.take(close) {
            return Ok(found);
        }
        loop {
            if found.len() == RUN_MAX {
                return Err(self.too_many(RUN_MAX));
            }
            found.push(self.expression()?);
            if !self.take(",") {
                self.expect(close)?;
                return Ok(found);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn brief(node: &Node) -> String {
        let two = |sign: &str, left: &Node, right: &Node| {
            format!("({} {sign} {})", brief(left), brief(right))
        };
        let list = |nodes: &[Node], between: &str| {
            nodes.iter().map(brief).collect::<Vec<_>>().join(between)
        };
        match &node.tree {
            Tree::Bool(value) => value.to_string(),
            Tree::Int(value) => value.to_string(),
            Tree::Float(value) => format!("{value:?}"),
            Tree::Text(value) => format!("{value:?}"),
            Tree::List(nodes) => format!("[{}]", list(nodes, ", ")),
            Tree::Name(name) => name.clone(),
            Tree::Call(name, nodes) => format!("{name}({})", list(nodes, ", ")),
            Tree::Not(inner) => format!("!{}", brief(inner)),
            Tree::Negate(inner) => format!("-{}", brief(inner)),
            Tree::And(nodes) => format!("({})", list(nodes, " && ")),
            Tree::Or(nodes) => format!("({})", list(nodes, " || ")),
            Tree::Compare(comparison, left, right) => two(comparison.sign(), left, right),
            Tree::In(left, right) => two("in", left, right),
            Tree::Calculate(operation, left, right) => two(operation.sign(), left, right),
            Tree::Choose(a, b, c) => format!("({} ? {} : {})", brief(a), brief(b), brief(c)),
        }
    }

    #[track_caller]
    fn check(source: &str, expected: &Expect) {
        expected.assert_eq(&match parse(source) {
            Ok(node) => brief(&node),
            Err(mistake) => format!("{:?} {}", mistake.span, mistake.message),
        });
    }

    #[test]
    fn operators_bind_as_in_cel() {
        check(
            "a || b && !c == d + 1 * -2 % x.y",
            &expect!["(a || (b && (!c == (d + ((1 * -2) % x.y)))))"],
        );
        check(
            "a - b - c < 1.5 ? 'x' : y ? \"z\" : w",
            &expect![[r#"((((a - b) - c) < 1.5) ? "x" : (y ? "z" : w))"#]],
        );
        check(
            r#"a.b.startsWith("q\"\\") && 'x' in ['x', "y"]"#,
            &expect![[r#"(startsWith(a.b, "q\"\\") && ("x" in ["x", "y"]))"#]],
        );
        check("has(a.b) && size([]) == 0", &expect!["(has(a.b) && (size([]) == 0))"]);
    }

    #[test]
    fn mistakes_point_at_their_bytes() {
        check("a &&", &expect!["4..5 unexpected end of the condition"]);
        check("a = b", &expect!["2..3 `=` means nothing here"]);
        check("(a", &expect!["2..3 expected `)`, found end of the condition"]);
        check("a < b < c", &expect!["6..7 unexpected `<`"]);
        check("1u", &expect!["0..1 this number is not understood"]);
        check("r'x'", &expect!["1..2 only plain quoted texts are understood"]);
        check("'é' + 'x", &expect!["7..8 this text has no closing quote"]);
        check("a // b", &expect!["2..4 comments do not belong into a condition"]);
        check("99999999999999999999", &expect!["0..1 this number is not understood"]);
    }
}
