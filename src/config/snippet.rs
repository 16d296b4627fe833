//! Lines of the source with what matters underlined.
//!
//! Columns are counted in characters, as editors do; the underline is placed by display width, so
//! that it stands right under wide letters, and a tab takes four cells.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Range;
use std::path::Path;

use unicode_width::UnicodeWidthChar as _;

use super::diagnostic::Label;

/// Whether text may carry colour; colour only underlines what the words say already.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paint {
    pub(super) colored: bool,
}

impl Paint {
    pub(super) fn wrap(self, text: &str, code: &str) -> String {
        if self.colored { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// Line and column of a byte, both from 1.
pub(super) fn position(source: &str, byte: usize) -> (usize, usize) {
    let before = before(source, byte);
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|&c| c != '\n').count() + 1;
    (line, column)
}

/// The blank that stands under the line numbers of these labels.
pub(super) fn gutter(source: &str, labels: &[Label]) -> String {
    let last = labels.iter().map(|label| position(source, label.span.start).0).max();
    " ".repeat(last.map_or(1, |line| line.to_string().len()))
}

/// The place and the underlined lines; of no label, only the file.
pub(super) fn render(
    source: &str,
    path: &Path,
    labels: &[Label],
    code: &str,
    paint: Paint,
) -> String {
    let Some(first) = labels.first() else {
        return format!(" {} {}\n", paint.wrap("-->", "36"), path.display());
    };
    let gutter = gutter(source, labels);
    let (line, column) = position(source, first.span.start);
    let mut out =
        format!("{gutter}{} {}:{line}:{column}\n", paint.wrap("-->", "36"), path.display());
    let bar = paint.wrap("|", "36");
    writeln!(out, "{gutter} {bar}").expect("a String takes any text");
    let mut by_line: BTreeMap<usize, Vec<(bool, &Label)>> = BTreeMap::new();
    for (index, label) in labels.iter().enumerate() {
        let line = position(source, label.span.start).0;
        by_line.entry(line).or_default().push((index == 0, label));
    }
    let mut previous = None;
    for (line, marks) in by_line {
        if previous.is_some_and(|previous| previous + 1 < line) {
            out.push_str("...\n");
        }
        previous = Some(line);
        let number = format!("{line:>width$}", width = gutter.len());
        let text = line_at(source, marks[0].1.span.start);
        writeln!(out, "{} {bar} {}", paint.wrap(&number, "36"), shown(&source[text.clone()]))
            .expect("a String takes any text");
        for (primary, label) in marks {
            let under = underline(source, &text, &label.span, primary);
            let words = format!("{under} {}", label.text);
            let code = if primary { code } else { "36" };
            let indent = " ".repeat(cells(before_in(source, &text, label.span.start)));
            writeln!(out, "{gutter} {bar} {indent}{}", paint.wrap(words.trim_end(), code))
                .expect("a String takes any text");
        }
    }
    out
}

fn underline(source: &str, line: &Range<usize>, span: &Range<usize>, primary: bool) -> String {
    let end = span.end.min(line.end).max(span.start);
    let width = source.get(span.start..end).map_or(1, cells).max(1);
    if primary { "^" } else { "-" }.repeat(width)
}

/// Bytes of the line a byte stands in, without its line end.
fn line_at(source: &str, byte: usize) -> Range<usize> {
    let byte = before(source, byte).len();
    let start = source[..byte].rfind('\n').map_or(0, |found| found + 1);
    let end = source[byte..].find('\n').map_or(source.len(), |found| byte + found);
    start..start + source[start..end].trim_end_matches('\r').len()
}

fn before(source: &str, byte: usize) -> &str {
    let mut byte = byte.min(source.len());
    while !source.is_char_boundary(byte) {
        byte -= 1;
    }
    &source[..byte]
}

fn before_in<'a>(source: &'a str, line: &Range<usize>, byte: usize) -> &'a str {
    before(source, byte).get(line.start..).unwrap_or("")
}

/// A line as it is shown: tabs as four cells, control characters as a visible stand-in, since the
/// file may be anybody's and the terminal is ours.
fn shown(line: &str) -> String {
    line.chars()
        .map(|c| if c == '\t' { "    ".to_owned() } else { visible(c).to_string() })
        .collect()
}

fn visible(c: char) -> char {
    if c.is_control() { '\u{fffd}' } else { c }
}

fn cells(text: &str) -> usize {
    text.chars().map(|c| if c == '\t' { 4 } else { visible(c).width().unwrap_or(0) }).sum()
}
