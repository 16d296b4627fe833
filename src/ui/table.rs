//! Tables: names left, numbers right, no borders, the last column cut to the terminal's width.

use unicode_width::UnicodeWidthStr as _;

use super::print::{self, Tone};

/// Rows as lines. `right` holds the columns that are aligned right; `width` bounds a line.
pub(crate) fn render(
    rows: &[Vec<(String, Tone)>],
    right: &[usize],
    colored: bool,
    width: Option<usize>,
) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            rows.iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.0.width())
                .max()
                .unwrap_or(0)
        })
        .collect();
    rows.iter().map(|row| line(row, &widths, right, colored, width)).collect()
}

fn line(
    row: &[(String, Tone)],
    widths: &[usize],
    right: &[usize],
    colored: bool,
    width: Option<usize>,
) -> String {
    let mut out = String::new();
    let mut used = 0;
    for (column, (text, tone)) in row.iter().enumerate() {
        let last = column + 1 == row.len();
        let text = match width {
            Some(width) if last => cut(text, width.saturating_sub(used).max(8)),
            Some(_) | None => text.clone(),
        };
        let space = " ".repeat(widths[column].saturating_sub(text.width()));
        let painted = print::paint(&text, *tone, colored);
        if right.contains(&column) {
            out.push_str(&space);
            out.push_str(&painted);
        } else {
            out.push_str(&painted);
            if !last {
                out.push_str(&space);
            }
        }
        if !last {
            out.push_str("  ");
            used += widths[column] + 2;
        }
    }
    out.truncate(out.trim_end().len());
    out
}

/// The text in at most `width` columns, with `…` where something is missing.
fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut out = String::new();
    for character in text.chars() {
        let mut next = out.clone();
        next.push(character);
        if next.width() + 1 > width {
            break;
        }
        out = next;
    }
    format!("{out}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_right_and_the_last_column_is_cut() {
        let cell = |text: &str| (text.to_owned(), Tone::Plain);
        let rows = vec![
            vec![cell("NAME"), cell("N"), cell("NOTE")],
            vec![cell("a"), cell("12"), cell("a long note indeed")],
        ];
        assert_eq!(
            render(&rows, &[1], false, Some(20)),
            ["NAME   N  NOTE", "a     12  a long no…"]
        );
    }
}
