//! Text of an entry, still as it stands in the file, written out as clean text on demand.
//!
//! Strings stay escaped until they are shown, and only as much of them is unescaped as is shown:
//! most bytes of a transcript are tool output that nobody sees in full.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::json;

/// Characters of one argument of a tool call.
const ARGUMENT_CHARS_MAX: usize = 120;

/// Text in one of the shapes it has in the files.
#[derive(Debug, Clone, PartialEq)]
pub enum Text<'a> {
    Plain(Cow<'a, str>),
    /// A JSON string, in its quotes.
    Quoted(&'a str),
    /// A JSON array of strings or of objects with a `text`.
    Blocks(&'a str),
    /// A JSON object: the arguments of a tool call.
    Arguments(&'a str),
    /// The same, out of a string.
    Inner(String),
}

impl<'a> Text<'a> {
    /// By what the JSON value is.
    pub fn of(value: &'a RawValue) -> Self {
        let text = value.get();
        match text.as_bytes().first() {
            Some(b'"') => Self::Quoted(text),
            Some(b'[') => Self::Blocks(text),
            Some(b'{') => Self::Arguments(text),
            Some(_) | None if text == "null" => Self::Plain(Cow::Borrowed("")),
            Some(_) | None => Self::Plain(Cow::Borrowed(text)),
        }
    }

    pub fn words(words: &'a str) -> Self {
        Self::Plain(Cow::Borrowed(words))
    }

    /// Whether it begins so; escapes in the beginning are not looked through.
    pub fn starts_with(&self, start: &str) -> bool {
        match self {
            Self::Plain(text) => text.starts_with(start),
            Self::Quoted(text) => {
                text.strip_prefix('"').is_some_and(|text| text.starts_with(start))
            }
            Self::Blocks(_) | Self::Arguments(_) | Self::Inner(_) => false,
        }
    }

    pub fn is_empty(&self) -> bool {
        match self {
            Self::Plain(text) => text.trim().is_empty(),
            Self::Quoted(text) | Self::Blocks(text) => text.len() <= 2,
            Self::Arguments(_) | Self::Inner(_) => false,
        }
    }

    /// Writes it clean. Without `full`, space runs become one blank and tool arguments are cut.
    pub fn write(&self, line: &mut Line<'_>) {
        match self {
            Self::Plain(text) => line.text(text),
            Self::Quoted(text) => {
                json::unescape(text, &mut |piece| line.piece(piece));
            }
            Self::Blocks(text) => blocks(text, line),
            Self::Arguments(text) => arguments(text, line),
            Self::Inner(text) => arguments(text, line),
        }
    }
}

#[derive(Deserialize)]
struct Block<'a> {
    #[serde(rename = "type", borrow)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    text: Option<&'a RawValue>,
}

fn blocks(text: &str, line: &mut Line<'_>) {
    let Ok(items) = serde_json::from_str::<Vec<&RawValue>>(text) else {
        return line.text(text);
    };
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            line.text("\n");
        }
        if item.get().starts_with('"') {
            Text::of(item).write(line);
        } else if let Ok(block) = serde_json::from_str::<Block<'_>>(item.get()) {
            match (block.text, block.kind) {
                (Some(text), _) => Text::of(text).write(line),
                (None, Some(kind)) => {
                    line.text("[");
                    line.text(&kind);
                    line.text("]");
                }
                (None, None) => line.text(item.get()),
            }
        } else {
            line.text(item.get());
        }
        if line.is_done() {
            return;
        }
    }
}

fn arguments(text: &str, line: &mut Line<'_>) {
    let Ok(fields) = serde_json::from_str::<Ordered<'_>>(text) else {
        return line.text(text);
    };
    for (index, (name, value)) in fields.0.into_iter().enumerate() {
        if index > 0 {
            line.text(", ");
        }
        line.text(&name);
        line.text(": ");
        line.within(ARGUMENT_CHARS_MAX, |line| match Text::of(value) {
            value @ Text::Quoted(_) => value.write(line),
            Text::Plain(_) | Text::Blocks(_) | Text::Arguments(_) | Text::Inner(_) => {
                line.text(value.get());
            }
        });
        if line.is_done() {
            return;
        }
    }
}

/// A JSON object in the order it was written.
struct Ordered<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Ordered<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> serde::de::Visitor<'de> for Fields {
            type Value = Ordered<'de>;
            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("an object")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some((name, value)) = map.next_entry::<Name<'de>, &'de RawValue>()? {
                    fields.push((name.0, value));
                }
                Ok(Ordered(fields))
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

#[derive(Deserialize)]
#[serde(transparent)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// Where a terminal's escape sequence stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Escape {
    None,
    Begun,
    Control,
    /// Up to BEL or ST.
    Text,
    TextEnd,
}

/// One line of output under construction: no control bytes, no line breaks, not longer than allowed.
#[derive(Debug)]
pub struct Line<'o> {
    out: &'o mut String,
    full: bool,
    /// Characters that still fit.
    left: usize,
    cut: bool,
    space: bool,
    begun: bool,
    escape: Escape,
}

impl<'o> Line<'o> {
    /// `full`: whole, line breaks as `\n`. Otherwise at most `chars_max` characters, space runs as one blank.
    pub fn new(out: &'o mut String, full: bool, chars_max: usize) -> Self {
        let left = if full { usize::MAX } else { chars_max };
        Self { out, full, left, cut: false, space: false, begun: false, escape: Escape::None }
    }

    /// Nothing more is taken.
    pub fn is_done(&self) -> bool {
        self.cut
    }

    pub fn text(&mut self, text: &str) {
        self.piece(json::Piece::Text(text));
    }

    /// As much of the inner text as fits, then on with what was left outside.
    fn within(&mut self, chars_max: usize, inner: impl FnOnce(&mut Self)) {
        if self.full || self.cut {
            return inner(self);
        }
        let outer = self.left;
        self.left = outer.min(chars_max);
        inner(self);
        let used = outer.min(chars_max) - self.left;
        if outer > chars_max {
            self.cut = false;
        }
        self.left = outer - used;
    }

    /// Answers whether more is wanted.
    fn piece(&mut self, piece: json::Piece<'_>) -> bool {
        match piece {
            json::Piece::Text(text) => self.run(text),
            json::Piece::Char(character) => self.push(character),
        }
        !self.cut
    }

    fn run(&mut self, text: &str) {
        let mut rest = text;
        while !rest.is_empty() && !self.cut {
            // Printable ASCII goes over in one copy.
            let plain = if self.escape == Escape::None {
                let within = &rest.as_bytes()[..rest.len().min(self.left)];
                within.iter().position(|&byte| byte <= b' ' || byte >= 0x7f).unwrap_or(within.len())
            } else {
                0
            };
            if plain > 0 {
                self.take_space();
                let fits = plain.min(self.left);
                self.out.push_str(&rest[..fits]);
                self.left -= fits;
                self.begun = true;
                rest = &rest[fits..];
                continue;
            }
            let mut characters = rest.chars();
            if let Some(character) = characters.next() {
                self.push(character);
            }
            rest = characters.as_str();
        }
    }

    fn take_space(&mut self) {
        if std::mem::take(&mut self.space) && self.left > 0 {
            self.out.push(' ');
            self.left -= 1;
        }
    }

    fn push(&mut self, character: char) {
        match self.escape {
            Escape::None => {}
            Escape::Begun => {
                self.escape = match character {
                    '[' => Escape::Control,
                    ']' | 'P' | '_' | '^' | 'X' => Escape::Text,
                    '(' | ')' | '*' | '+' | '#' | '%' => Escape::Begun,
                    _ => Escape::None,
                };
                return;
            }
            Escape::Control => {
                if ('@'..='~').contains(&character) {
                    self.escape = Escape::None;
                }
                // A sequence ends with its line at the latest.
                if character != '\n' {
                    return;
                }
                self.escape = Escape::None;
            }
            Escape::Text | Escape::TextEnd => {
                let ends = character == '\u{7}'
                    || (self.escape == Escape::TextEnd && character == '\\')
                    || character == '\n';
                let escaped = character == '\u{1b}';
                self.escape = match (ends, escaped) {
                    (true, _) => Escape::None,
                    (false, true) => Escape::TextEnd,
                    (false, false) => Escape::Text,
                };
                if character != '\n' {
                    return;
                }
            }
        }
        let is_break = matches!(character, '\n' | '\u{85}' | '\u{2028}' | '\u{2029}');
        if character == '\u{1b}' {
            self.escape = Escape::Begun;
        } else if character == '\u{9b}' {
            self.escape = Escape::Control;
        } else if self.full && is_break {
            self.out.push_str("\\n");
        } else if !self.full && (is_break || character.is_whitespace()) {
            self.space = self.begun;
        } else if character == '\t' {
            self.out.push(' ');
        } else if !character.is_control() {
            self.take_space();
            if self.left == 0 {
                self.cut = true;
                self.out.push('…');
                return;
            }
            self.out.push(character);
            self.left -= 1;
            self.begun = true;
        }
    }
}
