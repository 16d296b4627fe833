//! Regular expressions of the file: do they compile, and where do they break?

use std::ops::Range;

use regex_syntax::ast::ErrorKind;

use super::diagnostic::Diagnostic;
use super::raw::At;

/// Reports a pattern that does not compile, pointing inside the string at where.
pub(super) fn check(source: &str, key: &str, pattern: &At<String>, problems: &mut Vec<Diagnostic>) {
    let text = &pattern.value;
    let parsed = regex_syntax::ParserBuilder::new().multi_line(true).build().parse(text);
    let (start, end, words, hint) = match parsed {
        Ok(_) => match regex::RegexBuilder::new(text).multi_line(true).build() {
            Ok(_) => return,
            Err(error) => (0, text.len(), error.to_string(), None),
        },
        Err(regex_syntax::Error::Parse(error)) => (
            error.span().start.offset,
            error.span().end.offset,
            error.kind().to_string(),
            syntax_hint(error.kind()),
        ),
        Err(regex_syntax::Error::Translate(error)) => {
            (error.span().start.offset, error.span().end.offset, error.kind().to_string(), None)
        }
        Err(other) => (0, text.len(), other.to_string(), None),
    };
    let span = inside(source, &pattern.span, start, end);
    let mut problem =
        Diagnostic::error(format!("the regular expression of `{key}` does not compile"))
            .at(&span, words);
    if let Some(hint) = hint {
        problem = problem.hint(hint);
    }
    problems.push(problem);
}

fn syntax_hint(kind: &ErrorKind) -> Option<&'static str> {
    if matches!(kind, ErrorKind::UnsupportedLookAround) {
        return Some(
            "there is no look-around here: write what matches, and in a `detect` rule put what must not match under `not`",
        );
    }
    if matches!(kind, ErrorKind::UnsupportedBackreference) {
        return Some("there are no back-references here: write the repeated part out");
    }
    None
}

/// The bytes of the file behind a part of a string's value; the whole string when escapes hide it.
pub(super) fn inside(
    source: &str,
    literal: &Range<usize>,
    start: usize,
    end: usize,
) -> Range<usize> {
    let Some(raw) = source.get(literal.clone()) else {
        return literal.clone();
    };
    let Some(map) = decoded_offsets(raw) else {
        return literal.clone();
    };
    match (map.get(start), map.get(end.max(start))) {
        (Some(from), Some(to)) => literal.start + from..literal.start + (*to).max(from + 1),
        _ => literal.clone(),
    }
}

/// For each byte of the decoded value, and its end, the offset in the raw literal.
fn decoded_offsets(raw: &str) -> Option<Vec<usize>> {
    let quote = raw.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let triple = raw.len() >= 6 && raw.chars().take(3).all(|c| c == quote);
    let width = if triple { 3 } else { 1 };
    let end = raw.len().checked_sub(width)?;
    let mut at = width;
    if triple {
        at += raw[at..].len() - raw[at..].trim_start_matches('\r').len();
        at += usize::from(raw[at..].starts_with('\n'));
    }
    let mut map = Vec::new();
    while at < end {
        let c = raw[at..].chars().next()?;
        let (taken, decoded) = if quote == '"' && c == '\\' {
            escape(&raw[at..end])?
        } else {
            (c.len_utf8(), c.len_utf8())
        };
        if decoded == taken {
            map.extend(at..at + taken);
        } else {
            map.extend(std::iter::repeat_n(at, decoded));
        }
        at += taken;
    }
    map.push(end);
    Some(map)
}

/// Bytes that an escape takes in the file, and bytes of what it stands for.
fn escape(text: &str) -> Option<(usize, usize)> {
    let digits = match text.as_bytes().get(1)? {
        b'x' => 2,
        b'u' => 4,
        b'U' => 8,
        b'\n' | b'\r' | b' ' | b'\t' => {
            let rest = &text[1..];
            return Some((1 + rest.len() - rest.trim_start().len(), 0));
        }
        _ => return Some((2, 1)),
    };
    let code = u32::from_str_radix(text.get(2..2 + digits)?, 16).ok()?;
    Some((2 + digits, char::from_u32(code)?.len_utf8()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_place(literal: &str, expected: &str) {
        let source = format!("re = {literal}\n");
        let table: toml::Table = toml::from_str(&source).unwrap();
        let value = table["re"].as_str().unwrap().to_owned();
        let mut problems = Vec::new();
        check(&source, "re", &At { value, span: 5..5 + literal.len() }, &mut problems);
        let place = problems[0].labels[0].span.clone();
        assert_eq!(&source[place], expected);
    }

    #[test]
    fn the_broken_part_is_found_inside_every_kind_of_string() {
        check_place(r#"'ab(c'"#, "(");
        check_place(r#""a\\d\u00e9(c""#, "(");
        check_place("'''\nab[c'''", "[");
        check_place("\"\"\"\nab\\\n   (c\"\"\"", "(");
        check_place(r#""x(?=y)""#, "(?=");
    }
}
