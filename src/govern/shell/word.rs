//! What one shell word becomes: its text where that stands in the script, a hole where it does not.
//!
//! Surprise: a hole is not harmless. `git push $X` may be forced, so whoever reads a [`Word`] must ask
//! whether it could be an option or a whole command.

use std::collections::BTreeMap;

use tree_sitter::Node;

/// Stands where the text is known only when the script runs.
pub const HOLE: char = '\u{1}';

/// One word after quotes and escapes are taken away.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Word {
    /// With [`HOLE`] for each part that is not known.
    pub text: String,
    /// An unquoted `*`, `?` or `[` stands in it.
    pub glob: bool,
    /// Begins with a hole that is known to be a file's name or another thing without a dash.
    pub tame: bool,
}

impl Word {
    pub(super) fn plain(text: &str) -> Self {
        Self { text: text.to_owned(), ..Self::default() }
    }

    /// Nothing about it is left to the run.
    pub fn known(&self) -> bool {
        !self.text.contains(HOLE)
    }

    /// Whether it may turn out to be an option.
    pub fn may_be_option(&self) -> bool {
        self.text.starts_with('-') || (self.text.starts_with(HOLE) && !self.tame)
    }

    /// For people: holes as `…`.
    pub fn shown(&self) -> String {
        self.text.replace(HOLE, "…")
    }
}

/// What a variable is known to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Held {
    Text(String),
    /// One of several values, none of which begins with a dash.
    Tame,
    Unknown,
}

pub(super) type Variables = BTreeMap<String, Held>;

/// Reads words out of the tree.
pub(super) struct Reader<'a> {
    pub(super) source: &'a str,
    pub(super) variables: &'a Variables,
}

impl Reader<'_> {
    pub(super) fn source(&self, node: Node<'_>) -> &str {
        self.source.get(node.byte_range()).unwrap_or_default()
    }

    pub(super) fn word(&self, node: Node<'_>) -> Word {
        let mut word = Word::default();
        self.append(node, &mut word, 0);
        word
    }

    fn append(&self, node: Node<'_>, word: &mut Word, depth: usize) {
        // Words nest only through quotes and joins; deeper is a trick.
        if depth > 8 {
            word.text.push(HOLE);
            return;
        }
        match node.kind() {
            "word" | "number" | "variable_name" | "extglob_pattern" | "regex"
                if node.named_child_count() == 0 =>
            {
                bare(self.source(node), word);
            }
            "raw_string" => {
                let text = self.source(node);
                word.text.push_str(text.strip_prefix('\'').unwrap_or(text).trim_end_matches('\''));
            }
            "ansi_c_string" => ansi(self.source(node), word),
            "string" => self.string(node, word),
            // The grammar takes `{a,b}` to pieces; bash makes several words of it.
            "concatenation" if self.multiplies(node) => word.text.push(HOLE),
            "translated_string" | "concatenation" | "command_name" => {
                let mut end = node.start_byte();
                for child in children(node) {
                    // What stands between two parts is not a part: `$` of `$"…"`, or a gap of the grammar.
                    if child.start_byte() > end && node.kind() == "concatenation" {
                        bare(self.source.get(end..child.start_byte()).unwrap_or_default(), word);
                    }
                    if child.is_named() {
                        self.append(child, word, depth + 1);
                    } else if node.kind() == "concatenation" {
                        bare(self.source(child), word);
                    }
                    end = child.end_byte();
                }
            }
            "simple_expansion" | "expansion" => self.expansion(node, word, false),
            _ if node.is_named() => word.text.push(HOLE),
            _ => bare(self.source(node), word),
        }
    }

    fn multiplies(&self, node: Node<'_>) -> bool {
        let text = self.source(node);
        let several = text.contains(',') || text.contains("..");
        several && children(node).iter().any(|part| self.source(*part).starts_with('{'))
    }

    fn string(&self, node: Node<'_>, word: &mut Word) {
        let mut end = node.start_byte() + 1;
        let close = node.end_byte().saturating_sub(1);
        for child in children(node).into_iter().filter(Node::is_named) {
            if child.kind() == "string_content" {
                continue;
            }
            quoted(self.source.get(end..child.start_byte()).unwrap_or_default(), word);
            match child.kind() {
                "simple_expansion" | "expansion" => self.expansion(child, word, true),
                _ => word.text.push(HOLE),
            }
            end = child.end_byte();
        }
        quoted(self.source.get(end..close).unwrap_or_default(), word);
    }

    /// `$name` and `${name}`; every other form is a hole.
    fn expansion(&self, node: Node<'_>, word: &mut Word, in_quotes: bool) {
        let text = self.source(node);
        let inner = text.trim_start_matches('$').trim_start_matches('{').trim_end_matches('}');
        match self.variables.get(inner) {
            // Unquoted, blanks would make several words and stars would match files.
            Some(Held::Text(value))
                if in_quotes || !value.contains([' ', '\t', '\n', '*', '?', '[']) =>
            {
                word.text.push_str(value);
            }
            Some(Held::Tame) => {
                word.tame |= word.text.is_empty();
                word.text.push(HOLE);
            }
            Some(Held::Text(_) | Held::Unknown) | None => word.text.push(HOLE),
        }
    }
}

pub(super) fn children(node: Node<'_>) -> Vec<Node<'_>> {
    let mut cursor = node.walk();
    node.children(&mut cursor).collect()
}

/// Text outside quotes: backslashes go, stars are noted, braces that multiply are holes.
fn bare(text: &str, word: &mut Word) {
    let multiplies = text.contains('{') && (text.contains(',') || text.contains(".."));
    if multiplies
        || (word.text.is_empty()
            && text.starts_with('~')
            && text[1..].starts_with(char::is_alphanumeric))
    {
        word.text.push(HOLE);
        return;
    }
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => word.text.extend(characters.next().filter(|next| *next != '\n')),
            '*' | '?' | '[' => {
                word.glob = true;
                word.text.push(character);
            }
            _ => word.text.push(character),
        }
    }
}

/// Text inside double quotes: a backslash goes only before what it protects.
fn quoted(text: &str, word: &mut Word) {
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match (character, characters.peek()) {
            ('\\', Some('$' | '`' | '"' | '\\')) => word.text.extend(characters.next()),
            ('\\', Some('\n')) => {
                characters.next();
            }
            _ => word.text.push(character),
        }
    }
}

/// `$'…'`; what is no escape of bash becomes a hole.
fn ansi(text: &str, word: &mut Word) {
    let inner = text.strip_prefix("$'").unwrap_or(text);
    let inner: Vec<char> = inner.strip_suffix('\'').unwrap_or(inner).chars().collect();
    let mut at = 0;
    while let Some(character) = inner.get(at) {
        at += 1;
        if *character != '\\' {
            word.text.push(*character);
            continue;
        }
        let (radix, most, skip) = match inner.get(at) {
            Some('x') => (16, 2, 1),
            Some('u') => (16, 4, 1),
            Some('U') => (16, 8, 1),
            Some(digit) if digit.is_digit(8) => (8, 3, 0),
            Some(other) => {
                word.text.push(match other {
                    'n' => '\n',
                    't' => '\t',
                    'r' => '\r',
                    'a' | 'b' | 'e' | 'E' | 'f' | 'v' => ' ',
                    '\\' | '\'' | '"' | '?' => *other,
                    _ => HOLE,
                });
                at += 1;
                continue;
            }
            None => break,
        };
        at += skip;
        let digits: String =
            inner[at..].iter().take(most).take_while(|digit| digit.is_digit(radix)).collect();
        at += digits.len();
        let found = u32::from_str_radix(&digits, radix).ok().and_then(char::from_u32);
        word.text.push(found.unwrap_or(HOLE));
    }
}
