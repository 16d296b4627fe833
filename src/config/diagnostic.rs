//! What is wrong with a config file, where, and what to write instead.
//!
//! A diagnostic points into the text by byte spans and knows neither paths nor colours; [`render`]
//! lays a whole list out for people and closes with a count.

use std::fmt::Write as _;
use std::ops::Range;
use std::path::Path;

use super::snippet::{self, Paint};
use crate::base::human;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    Error,
    Warning,
}

/// A place in the file, with a word about it (may be empty).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Bytes of the source.
    pub span: Range<usize>,
    pub text: String,
}

/// One problem of a config file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    pub severity: Severity,
    pub message: String,
    /// The first is the place of the problem, the rest are places it clashes with. Empty: the file as a whole.
    pub labels: Vec<Label>,
    pub hints: Vec<String>,
}

impl Diagnostic {
    pub fn error(message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            message: message.into(),
            labels: Vec::new(),
            hints: Vec::new(),
        }
    }

    pub fn warning(message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(message) }
    }

    /// Adds a place; the first one added is the place of the problem.
    #[must_use]
    pub fn at(mut self, span: &Range<usize>, text: impl Into<String>) -> Self {
        self.labels.push(Label { span: span.clone(), text: text.into() });
        self
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// All problems as text for people, in the order of the file, ending with a count (`2 errors, 1 warning`).
pub fn render(diagnostics: &[Diagnostic], source: &str, path: &Path, colored: bool) -> String {
    let paint = Paint { colored };
    let mut sorted: Vec<&Diagnostic> = diagnostics.iter().collect();
    sorted.sort_by_key(|diagnostic| diagnostic.labels.first().map_or(0, |label| label.span.start));
    let mut out = String::new();
    for diagnostic in sorted {
        let (word, code) = match diagnostic.severity {
            Severity::Error => ("error", "31"),
            Severity::Warning => ("warning", "33"),
        };
        let head = paint.wrap(word, code);
        writeln!(out, "{head}: {}", diagnostic.message).expect("a String takes any text");
        out.push_str(&snippet::render(source, path, &diagnostic.labels, code, paint));
        let gutter = snippet::gutter(source, &diagnostic.labels);
        for hint in &diagnostic.hints {
            let word = paint.wrap("hint", "36");
            writeln!(out, "{gutter} = {word}: {hint}").expect("a String takes any text");
        }
        out.push('\n');
    }
    out.push_str(&count(diagnostics));
    out.push('\n');
    out
}

/// `2 errors, 1 warning`.
fn count(diagnostics: &[Diagnostic]) -> String {
    let errors = diagnostics.iter().filter(|diagnostic| diagnostic.is_error()).count();
    let warnings = diagnostics.len() - errors;
    let parts: Vec<String> = [(errors, "error"), (warnings, "warning")]
        .into_iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, noun)| human::count(number, noun))
        .collect();
    if parts.is_empty() { "no problems".to_owned() } else { parts.join(", ") }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    #[track_caller]
    fn check(source: &str, diagnostics: &[Diagnostic], expected: &Expect) {
        expected.assert_eq(&render(diagnostics, source, Path::new("agents.toml"), false));
    }

    #[test]
    fn a_clash_shows_both_places_and_carets_stand_under_wide_letters() {
        let source = "a = 1\nb = 2\nc = 3\n\u{65e5}\u{672c} = \"x\"\n";
        check(
            source,
            &[
                Diagnostic::error("twice").at(&(12..13), "here again").at(&(0..1), "first here"),
                Diagnostic::warning("wide").at(&(27..30), "this").hint("write y"),
            ],
            &expect![[r#"
                error: twice
                 --> agents.toml:3:1
                  |
                1 | a = 1
                  | - first here
                ...
                3 | c = 3
                  | ^ here again

                warning: wide
                 --> agents.toml:4:6
                  |
                4 | 日本 = "x"
                  |        ^^^ this
                  = hint: write y

                1 error, 1 warning
            "#]],
        );
    }
}
