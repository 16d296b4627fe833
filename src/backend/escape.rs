//! Fills `{slot}`s of a shell template, each value escaped for the place where it stands.
//!
//! Bare → one single-quoted word; inside `'…'` or `"…"` → for that context. `{{name}}` is a literal
//! `{name}`, `${name}` belongs to the shell, and all other braces are literal. What this leaves out:
//! a template handed to a second shell (`sh -c '… {slot}'`) is parsed twice, and only the first
//! parse is known here. Surprising: a walk over quotes cannot follow everything a shell reads, so
//! where it could lose its place (backquotes, here-documents, `$'…'`, arithmetic, `case` inside
//! `$(…)`) a later slot is an error instead of a guess.

/// What stands in for a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// Any text: the shell reads it back unchanged, as (part of) one word.
    Text(&'a str),
    /// A piece of shell, put in as it is where the template is bare. Empty ones take their space along.
    Shell(&'a str),
}

/// Why a template cannot be filled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EscapeError {
    #[error("unknown slot `{{{slot}}}`; for a literal brace write `{{{{{slot}}}}}`")]
    UnknownSlot { slot: String },
    #[error("`{{{slot}}}` stands {place}, where no value can be escaped safely; {instead}")]
    Place { slot: String, place: &'static str, instead: &'static str },
    #[error("the value of `{{{slot}}}` contains a NUL byte, which no program argument can hold")]
    Nul { slot: String },
    #[error("a quote or bracket of the template is never closed: `{template}`")]
    Open { template: String },
}

/// Where the walk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Frame {
    /// `$(…)`, or a subshell's `(…)`.
    Parenthesis,
    Single,
    Double,
    /// `${…}`.
    Parameter,
    Comment,
}

struct Walk<'a> {
    template: &'a str,
    at: usize,
    frames: Vec<Frame>,
    /// Set for good once the walk may have lost its place.
    lost: Option<(&'static str, &'static str)>,
    out: String,
}

/// Fills every slot of the template; `value` answers `None` for a name it does not know.
pub fn fill<'v>(
    template: &str,
    value: impl Fn(&str) -> Option<Value<'v>>,
) -> Result<String, EscapeError> {
    let mut walk =
        Walk { template, at: 0, frames: Vec::new(), lost: None, out: String::with_capacity(128) };
    while walk.at < template.len() {
        walk.step(&value)?;
    }
    if walk.frames.last() == Some(&Frame::Comment) {
        walk.frames.pop();
    }
    if walk.frames.is_empty() {
        Ok(walk.out)
    } else {
        Err(EscapeError::Open { template: template.to_owned() })
    }
}

/// The names of all slots of a template, in order; for checking without values.
pub fn slots(template: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(rest) = template.get(at..).filter(|rest| !rest.is_empty()) {
        if let Some(name) = literal_at(rest) {
            at += name.len() + 4;
        } else if let Some(name) = slot_at(rest) {
            if !template[..at].ends_with('$') {
                found.push(name);
            }
            at += name.len() + 2;
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    found
}

/// The name, when the text begins with `{[a-z_]+}`.
fn slot_at(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('{')?;
    let name = &inner[..inner.find('}')?];
    let sound = !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    sound.then_some(name)
}

/// The name, when the text begins with `{{[a-z_]+}}`.
fn literal_at(text: &str) -> Option<&str> {
    let name = slot_at(text.strip_prefix('{')?)?;
    text[name.len() + 3..].starts_with('}').then_some(name)
}

impl<'a> Walk<'a> {
    fn rest(&self) -> &'a str {
        &self.template[self.at..]
    }

    /// Copies so many bytes of the template as they are.
    fn copy(&mut self, bytes: usize) {
        self.out.push_str(&self.template[self.at..self.at + bytes]);
        self.at += bytes;
    }

    fn enter(&mut self, frame: Frame, bytes: usize) {
        self.frames.push(frame);
        self.copy(bytes);
    }

    fn leave(&mut self, bytes: usize) {
        self.frames.pop();
        self.copy(bytes);
    }

    fn lose(&mut self, place: &'static str, instead: &'static str) {
        self.lost = self.lost.or(Some((place, instead)));
    }

    fn step<'v>(&mut self, value: &impl Fn(&str) -> Option<Value<'v>>) -> Result<(), EscapeError> {
        let rest = self.rest();
        if let Some(name) = literal_at(rest) {
            self.out.push('{');
            self.out.push_str(name);
            self.out.push('}');
            self.at += name.len() + 4;
            return Ok(());
        }
        if let Some(name) = slot_at(rest) {
            let filling =
                value(name).ok_or_else(|| EscapeError::UnknownSlot { slot: name.to_owned() })?;
            self.at += name.len() + 2;
            return self.put(name, filling);
        }
        let first = rest.chars().next().map_or(1, char::len_utf8);
        match self.frames.last() {
            None | Some(Frame::Parenthesis) => self.step_bare(rest, first),
            Some(Frame::Double) => self.step_double(rest, first),
            Some(Frame::Single) if rest.starts_with('\'') => self.leave(1),
            Some(Frame::Comment) if rest.starts_with('\n') => self.leave(1),
            Some(Frame::Parameter) => {
                if rest.starts_with(['\'', '"', '\\', '$', '`', '{']) {
                    self.lose("after a nested `${…}`", "set a variable in `preamble` instead");
                }
                if rest.starts_with('}') { self.leave(1) } else { self.copy(first) }
            }
            Some(Frame::Single | Frame::Comment) => self.copy(first),
        }
        Ok(())
    }

    /// What both bare text and double quotes give a meaning to. Answers whether it took a step.
    fn step_dollar(&mut self, rest: &str) -> bool {
        if rest.starts_with('\\') {
            let escaped = rest[1..].chars().next().map_or(0, char::len_utf8);
            self.copy(1 + escaped);
        } else if rest.starts_with("$((") {
            self.lose("after `$((…))`", "set a variable in `preamble` instead");
            self.enter(Frame::Parenthesis, 2);
        } else if rest.starts_with("$(") {
            self.enter(Frame::Parenthesis, 2);
        } else if rest.starts_with("${") {
            self.enter(Frame::Parameter, 2);
        } else if rest.starts_with('`') {
            self.lose("after a backquote", "write `$(…)` instead");
            self.copy(1);
        } else {
            return false;
        }
        true
    }

    fn step_double(&mut self, rest: &str, first: usize) {
        if self.step_dollar(rest) {
            return;
        }
        if rest.starts_with('"') { self.leave(1) } else { self.copy(first) }
    }

    fn step_bare(&mut self, rest: &str, first: usize) {
        if self.step_dollar(rest) {
            return;
        }
        let word_starts = self.template[..self.at]
            .chars()
            .next_back()
            .is_none_or(|before| before.is_ascii_whitespace() || ";&|()".contains(before));
        if rest.starts_with("$'") {
            self.lose("after `$'…'`", "use plain quotes");
            self.enter(Frame::Single, 2);
        } else if rest.starts_with('\'') {
            self.enter(Frame::Single, 1);
        } else if rest.starts_with('"') {
            self.enter(Frame::Double, 1);
        } else if rest.starts_with('(') {
            self.enter(Frame::Parenthesis, 1);
        } else if rest.starts_with(')') && !self.frames.is_empty() {
            self.leave(1);
        } else if rest.starts_with('#') && word_starts {
            self.enter(Frame::Comment, 1);
        } else {
            if rest.starts_with("<<") {
                self.lose("after a here-document", "write the text to a file instead");
            }
            if word_starts && rest.starts_with("case") && !self.frames.is_empty() {
                self.lose("after a `case` inside `(…)`", "put the `case` into `preamble`");
            }
            self.copy(first);
        }
    }

    fn put(&mut self, slot: &str, value: Value<'_>) -> Result<(), EscapeError> {
        let refuse =
            |place, instead| Err(EscapeError::Place { slot: slot.to_owned(), place, instead });
        let (Value::Text(text) | Value::Shell(text)) = value;
        if text.contains('\0') {
            return Err(EscapeError::Nul { slot: slot.to_owned() });
        }
        if let Some((place, instead)) = self.lost {
            return refuse(place, instead);
        }
        match self.frames.last() {
            None | Some(Frame::Parenthesis) => match value {
                Value::Text(text) => {
                    self.out.push('\'');
                    self.out.push_str(&text.replace('\'', r"'\''"));
                    self.out.push('\'');
                }
                Value::Shell("") => {
                    if self.out.is_empty() || self.out.ends_with(' ') {
                        let spaces = self.rest().len() - self.rest().trim_start_matches(' ').len();
                        self.at += spaces;
                    }
                }
                Value::Shell(text) => self.out.push_str(text),
            },
            Some(Frame::Single) => self.out.push_str(&text.replace('\'', r"'\''")),
            Some(Frame::Double) => {
                for character in text.chars() {
                    if matches!(character, '\\' | '"' | '$' | '`') {
                        self.out.push('\\');
                    }
                    self.out.push(character);
                }
            }
            Some(Frame::Parameter) => {
                return refuse("inside `${…}`", "set a variable in `preamble` instead");
            }
            Some(Frame::Comment) => return refuse("in a comment", "take it out of the comment"),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(template: &str, value: Value<'_>, expected: &Expect) {
        let filled = fill(template, |slot| (slot == "x").then_some(value));
        expected.assert_eq(&match filled {
            Ok(text) => text,
            Err(error) => format!("error: {error}"),
        });
    }

    #[test]
    fn a_value_is_escaped_for_the_quotes_it_stands_in() {
        let value = Value::Text(r#"it's "$HOME" `\"#);
        check("run {x} end", value, &expect![[r#"run 'it'\''s "$HOME" `\' end"#]]);
        check("run 'a {x} b'", value, &expect![[r#"run 'a it'\''s "$HOME" `\ b'"#]]);
        check(r#"run "{x}""#, value, &expect![[r#"run "it's \"\$HOME\" \`\\""#]]);
        check(r#"run "$(cat {x})""#, Value::Text("a'b"), &expect![[r#"run "$(cat 'a'\''b')""#]]);
    }

    #[test]
    fn braces_that_are_no_slot_stay_and_doubled_ones_make_a_literal() {
        let value = Value::Text("v");
        check(
            "awk '{{print}}' {A} {} ${HOME} ${x} }}",
            value,
            &expect![["awk '{print}' {A} {} ${HOME} ${x} }}"]],
        );
        check(
            "{y}",
            value,
            &expect!["error: unknown slot `{y}`; for a literal brace write `{{y}}`"],
        );
        assert_eq!(slots("{a} {{b}} ${c} '{d}' {E}"), ["a", "d"]);
    }

    #[test]
    fn a_slot_where_the_walk_may_be_lost_is_an_error() {
        let value = Value::Text("v");
        let lost = |template: &str| {
            matches!(fill(template, |_| Some(value)), Err(EscapeError::Place { .. }))
        };
        for template in [
            "a # {x}",
            "`echo {x}`",
            "cat <<END\n{x}\nEND",
            "echo $'a\\'{x}'",
            "echo $((1 + {x}))",
            "echo ${y:-{x}}",
            "echo \"$(case a in a) echo {x};; esac)\"",
        ] {
            assert!(lost(template), "{template}");
        }
        check(
            "echo 'open {x}",
            value,
            &expect![[
                "error: a quote or bracket of the template is never closed: `echo 'open {x}`"
            ]],
        );
    }

    #[test]
    fn an_empty_piece_of_shell_takes_its_space_along() {
        check("a {x} b", Value::Shell(""), &expect!["a b"]);
        check("{x} b", Value::Shell(""), &expect!["b"]);
        check("a {x} b", Value::Shell("--f 'g'"), &expect!["a --f 'g' b"]);
    }
}
