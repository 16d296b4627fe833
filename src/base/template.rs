//! Templates with `{slot}`s: a slot is `{[a-z_]+}`, every other brace is literal, `{{` and `}}` are braces.
//!
//! A `}}` is one brace only where it closes an open `{{`: JSON such as `{"a":{"b":1}}` passes
//! unharmed. [`Template::render`] puts plain text together; [`Template::render_shell`] writes a line
//! for `sh` and escapes each value for the place it stands in: bare, inside `'…'` or inside `"…"`,
//! also within `$(…)` and backticks.

use std::ops::Range;

use super::quote::shell_word;

/// A parsed template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
    slots: Vec<Slot>,
}

/// One `{slot}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    pub name: String,
    /// Bytes of the template, braces included.
    pub span: Range<usize>,
}

/// What stands in for a slot of a shell line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fill {
    /// A value: arrives in the program unchanged, whatever is in it.
    Value(String),
    /// Shell code, put in as it is.
    Code(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// Index into `slots`.
    Slot(usize),
}

impl Template {
    /// Any text is a template.
    pub fn parse(text: &str) -> Self {
        let mut template = Self { pieces: Vec::new(), slots: Vec::new() };
        let mut literal = String::new();
        let mut open = 0_u32;
        let mut at = 0;
        while let Some(c) = text[at..].chars().next() {
            let rest = &text[at..];
            if rest.starts_with("{{") {
                literal.push('{');
                open += 1;
                at += 2;
            } else if rest.starts_with("}}") && open > 0 {
                literal.push('}');
                open -= 1;
                at += 2;
            } else if let Some(name) = slot_at(rest) {
                template.push_text(&mut literal);
                let span = at..at + name.len() + 2;
                at = span.end;
                template.pieces.push(Piece::Slot(template.slots.len()));
                template.slots.push(Slot { name: name.to_owned(), span });
            } else {
                literal.push(c);
                at += c.len_utf8();
            }
        }
        template.push_text(&mut literal);
        template
    }

    fn push_text(&mut self, literal: &mut String) {
        if !literal.is_empty() {
            self.pieces.push(Piece::Text(std::mem::take(literal)));
        }
    }

    /// In the order of the text; a slot used twice is there twice.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// The text with its slots filled; a slot that `fill` does not know stays as it was written.
    pub fn render(&self, fill: impl Fn(&str) -> Option<String>) -> String {
        let mut out = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Slot(index) => {
                    let name = &self.slots[*index].name;
                    out.push_str(&fill(name).unwrap_or_else(|| format!("{{{name}}}")));
                }
            }
        }
        out
    }

    /// The text as shell code, each value escaped for where it stands; an unknown slot stays as it was written.
    pub fn render_shell(&self, fill: impl Fn(&str) -> Option<Fill>) -> String {
        let mut out = String::new();
        let mut shell = Shell::default();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => {
                    shell.read(text);
                    out.push_str(text);
                }
                Piece::Slot(index) => {
                    let name = &self.slots[*index].name;
                    match fill(name) {
                        Some(Fill::Value(value)) => {
                            // A backslash right before would undo our own quoting; it escapes nothing else.
                            if shell.escaped {
                                out.pop();
                                shell.escaped = false;
                            }
                            out.push_str(&shell.escape(&value));
                            shell.word_start = false;
                        }
                        Some(Fill::Code(code)) => out.push_str(&code),
                        None => out.push_str(&format!("{{{name}}}")),
                    }
                }
            }
        }
        out
    }
}

/// The slot's name when the text begins with one.
fn slot_at(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('{')?;
    let end = inner.find(|c: char| !(c.is_ascii_lowercase() || c == '_'))?;
    (end > 0 && inner[end..].starts_with('}')).then(|| &inner[..end])
}

/// Where in a shell line one stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Context {
    Single,
    Double,
    Backtick,
    /// `$(…)`, and plain parentheses within.
    Paren,
    Comment,
}

/// Reads literal shell text and remembers where it left off.
#[derive(Debug)]
struct Shell {
    stack: Vec<Context>,
    /// The last character was an unescaped backslash.
    escaped: bool,
    dollar: bool,
    word_start: bool,
}

impl Default for Shell {
    fn default() -> Self {
        Self { stack: Vec::new(), escaped: false, dollar: false, word_start: true }
    }
}

impl Shell {
    fn read(&mut self, text: &str) {
        for c in text.chars() {
            let after_dollar = std::mem::take(&mut self.dollar);
            if std::mem::take(&mut self.escaped) {
                self.word_start = false;
                continue;
            }
            let top = self.stack.last().copied();
            match (top, c) {
                (Some(Context::Single), '\'') => self.leave(),
                (Some(Context::Single), _) => {}
                (Some(Context::Comment), '\n') => self.leave(),
                (Some(Context::Comment), _) => {}
                (_, '\\') => self.escaped = true,
                (_, '`') if self.stack.contains(&Context::Backtick) => self.leave_backtick(),
                (_, '`') => self.enter(Context::Backtick),
                (_, '$') => self.dollar = true,
                (_, '(') if after_dollar => self.enter(Context::Paren),
                (Some(Context::Double), '"') => self.leave(),
                (Some(Context::Double), _) => {}
                (_, '"') => self.enter(Context::Double),
                (_, '\'') => self.enter(Context::Single),
                (_, '(') => self.enter(Context::Paren),
                (Some(Context::Paren), ')') => self.leave(),
                (_, '#') if self.word_start => self.enter(Context::Comment),
                _ => {}
            }
            self.word_start = c.is_whitespace() || ";&|(`".contains(c);
        }
    }

    fn enter(&mut self, context: Context) {
        self.stack.push(context);
    }

    fn leave(&mut self) {
        self.stack.pop();
    }

    /// A backtick ends everything that was opened since the first one.
    fn leave_backtick(&mut self) {
        while self.stack.pop().is_some_and(|context| context != Context::Backtick) {}
    }

    /// The value for the innermost place, then once more for each backtick around it, as the shell
    /// takes a layer of backslashes off there.
    fn escape(&self, value: &str) -> String {
        let inner = match self.stack.last() {
            Some(Context::Single) => value.replace('\'', r"'\''"),
            Some(Context::Double) => backslashed(value, "$`\"\\"),
            Some(Context::Comment) => value.replace('\n', " "),
            Some(Context::Backtick | Context::Paren) | None => shell_word(value),
        };
        let backticks = self.stack.iter().filter(|&&context| context == Context::Backtick).count();
        (0..backticks).fold(inner, |text, _| backslashed(&text, "$`\\"))
    }
}

fn backslashed(value: &str, special: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for c in value.chars() {
        if special.contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}
