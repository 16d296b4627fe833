//! A terminal's byte stream as text for people: what `ao logs` shows.
//!
//! Escape sequences go, a line that was redrawn in place counts once in its last form, and spinner
//! lines and box rules are left out. This is no terminal emulator: it knows one line at a time. A
//! program that jumps about the whole screen gives its rows in the order it painted them, and a row
//! painted again unchanged is dropped while it is among the last [`RECENT_LINES_MAX`].
//!
//! Bytes may be cut anywhere, also inside a character or an escape sequence: the rest is awaited.

use std::collections::VecDeque;

use unicode_width::UnicodeWidthChar as _;

/// As many rows as a large terminal shows, twice.
const RECENT_LINES_MAX: usize = 200;
/// A cursor jump beyond this column is not believed; no terminal is that wide.
const COLUMNS_MAX: usize = 2_000;
/// A CSI sequence longer than this is garbage, not a command.
const SEQUENCE_CHARS_MAX: usize = 64;

/// Turns raw pane output into clean lines, piece by piece.
#[derive(Debug, Default)]
pub struct Cleaner {
    /// Bytes of a character whose end has not come yet.
    partial: Vec<u8>,
    state: State,
    /// One element a column; the second column of a wide character holds NUL.
    line: Vec<char>,
    column: usize,
    /// How many of the coming lines are painted over older ones.
    repainted: usize,
    recent: VecDeque<String>,
    last_was_blank: bool,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Ground,
    Escape,
    /// After `ESC (` and its like: one more character belongs to it.
    Charset,
    Control(String),
    /// OSC, DCS, APC, PM: text up to BEL or ST.
    Text,
    TextEscape,
}

impl Cleaner {
    /// The lines that these bytes complete.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut whole = std::mem::take(&mut self.partial);
        whole.extend_from_slice(bytes);
        let mut lines = Vec::new();
        let mut rest = whole.as_slice();
        while !rest.is_empty() {
            match std::str::from_utf8(rest) {
                Ok(text) => {
                    self.text(text, &mut lines);
                    break;
                }
                Err(error) => {
                    let (good, bad) = rest.split_at(error.valid_up_to());
                    self.text(&String::from_utf8_lossy(good), &mut lines);
                    let Some(length) = error.error_len() else {
                        self.partial = bad.to_vec();
                        break;
                    };
                    self.text("\u{fffd}", &mut lines);
                    rest = &bad[length..];
                }
            }
        }
        lines
    }

    /// The unfinished last line, when it says something.
    pub fn finish(&mut self) -> Option<String> {
        let mut lines = Vec::new();
        self.end_line(&mut lines);
        lines.pop().filter(|line| !line.is_empty())
    }

    fn text(&mut self, text: &str, lines: &mut Vec<String>) {
        for c in text.chars() {
            self.state = match std::mem::take(&mut self.state) {
                State::Ground => self.ground(c, lines),
                State::Escape => match c {
                    '[' => State::Control(String::new()),
                    ']' | 'P' | '_' | '^' | 'X' => State::Text,
                    '(' | ')' | '*' | '+' | '#' | '%' | ' ' => State::Charset,
                    'M' => {
                        self.repaint(1, lines);
                        State::Ground
                    }
                    'D' | 'E' => {
                        self.end_line(lines);
                        State::Ground
                    }
                    _ => State::Ground,
                },
                State::Charset => State::Ground,
                State::Control(mut body) => match c {
                    '\u{40}'..='\u{7e}' => {
                        self.control(&body, c, lines);
                        State::Ground
                    }
                    '\u{1b}' => State::Escape,
                    _ if body.len() >= SEQUENCE_CHARS_MAX => State::Ground,
                    _ => {
                        body.push(c);
                        State::Control(body)
                    }
                },
                State::Text => match c {
                    '\u{7}' | '\u{9c}' => State::Ground,
                    '\u{1b}' => State::TextEscape,
                    _ => State::Text,
                },
                State::TextEscape => match c {
                    '\\' => State::Ground,
                    _ => State::Text,
                },
            };
        }
    }

    fn ground(&mut self, c: char, lines: &mut Vec<String>) -> State {
        match c {
            '\u{1b}' => return State::Escape,
            '\u{9b}' => return State::Control(String::new()),
            '\n' => self.end_line(lines),
            '\r' => self.column = 0,
            '\u{8}' => self.column = self.column.saturating_sub(1),
            '\t' => self.column = ((self.column / 8 + 1) * 8).min(COLUMNS_MAX),
            c if c.is_control() => {}
            c => self.put(c),
        }
        State::Ground
    }

    fn put(&mut self, c: char) {
        let width = c.width().unwrap_or(0);
        if width == 0 {
            // A combining mark joins the end of the line; in the middle it has no column of its own.
            if self.column == self.line.len() && !self.line.is_empty() {
                self.line.push(c);
                self.column += 1;
            }
            return;
        }
        if self.column >= COLUMNS_MAX {
            return;
        }
        let end = self.column + width;
        if self.line.len() < end {
            self.line.resize(end, ' ');
        }
        self.line[self.column] = c;
        for second in &mut self.line[self.column + 1..end] {
            *second = '\0';
        }
        self.column = end;
    }

    fn control(&mut self, body: &str, last: char, lines: &mut Vec<String>) {
        let mut numbers = body.split(';').map(|number| number.parse::<usize>().ok());
        let first = numbers.next().flatten();
        let count = first.unwrap_or(1).max(1);
        match last {
            'C' | 'a' => self.column = (self.column + count).min(COLUMNS_MAX),
            'D' => self.column = self.column.saturating_sub(count),
            'G' | '`' => self.column = (count - 1).min(COLUMNS_MAX),
            'K' => match first {
                Some(1 | 2) => self.line.clear(),
                _ => self.line.truncate(self.column),
            },
            'P' => {
                let end = (self.column + count).min(self.line.len());
                self.line.drain(self.column.min(end)..end);
            }
            'A' | 'F' => self.repaint(count, lines),
            'B' | 'E' => self.end_line(lines),
            'H' | 'f' => {
                let column = numbers.next().flatten().unwrap_or(1).max(1);
                self.repaint(1, lines);
                self.column = (column - 1).min(COLUMNS_MAX);
            }
            'd' => self.repaint(1, lines),
            'J' if first.is_some_and(|how| how >= 2) => self.repaint(1, lines),
            'J' => self.line.truncate(self.column),
            _ => {}
        }
    }

    /// The cursor left this row for one that may have been painted before.
    fn repaint(&mut self, rows: usize, lines: &mut Vec<String>) {
        self.repainted = self.repainted.max(1);
        self.end_line(lines);
        self.repainted = (self.repainted + rows).min(RECENT_LINES_MAX);
    }

    fn end_line(&mut self, lines: &mut Vec<String>) {
        let text: String = self.line.drain(..).filter(|&c| c != '\0').collect();
        self.column = 0;
        let repainted = self.repainted > 0;
        self.repainted = self.repainted.saturating_sub(1);
        let text = text.trim_end();
        if text.is_empty() {
            if !repainted && !self.last_was_blank {
                self.last_was_blank = true;
                lines.push(String::new());
            }
            return;
        }
        if is_spinner(text) || is_rule(text) {
            return;
        }
        if repainted && self.recent.iter().any(|line| line == text) {
            return;
        }
        if self.recent.len() == RECENT_LINES_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(text.to_owned());
        self.last_was_blank = false;
        lines.push(text.to_owned());
    }
}

/// All lines of a finished recording.
pub fn clean(bytes: &[u8]) -> Vec<String> {
    let mut cleaner = Cleaner::default();
    let mut lines = cleaner.push(bytes);
    lines.extend(cleaner.finish());
    lines
}

/// A line whose only news is that time goes by: a glyph that turns, then a word with its dots.
fn is_spinner(text: &str) -> bool {
    let text = text.trim_start();
    let mut chars = text.chars();
    let first = chars.next().unwrap_or(' ');
    let braille = ('\u{2800}'..='\u{28ff}').contains(&first);
    if braille {
        return true;
    }
    "✻✽✶✳✢∗*·◐◓◑◒".contains(first)
        && chars.next() == Some(' ')
        && (text.contains('…') || text.contains("esc to interrupt"))
}

/// The frame of a box and nothing in it.
fn is_rule(text: &str) -> bool {
    text.chars().all(|c| c == ' ' || ('\u{2500}'..='\u{259f}').contains(&c))
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    #[expect(clippy::needless_pass_by_value, reason = "reads better without `&` at each call")]
    fn check(raw: &str, expected: Expect) {
        expected.assert_eq(&clean(raw.as_bytes()).join("\n"));
    }

    #[test]
    fn colours_titles_and_charsets_leave_no_trace() {
        check(
            "\u{1b}[1;32mok\u{1b}[0m done\r\n\u{1b}]0;title\u{7}\u{1b}(Bnext\u{1b}]8;;http://x\u{1b}\\link\n",
            expect![[r"
                ok done
                nextlink"]],
        );
    }

    #[test]
    fn a_line_redrawn_in_place_counts_once_in_its_last_form() {
        check(
            "10 %\r55 %\r100 %\nab\u{8}c\nlong text\r\u{1b}[Kshort\n",
            expect![[r"
            100 %
            ac
            short"]],
        );
    }

    #[test]
    fn rows_painted_again_after_the_cursor_went_up_are_dropped_unless_they_changed() {
        check(
            "one\r\ntwo\r\nthree\r\n\u{1b}[3Aone\r\nTWO\r\nthree\r\nfour\r\n",
            expect![[r"
                one
                two
                three
                TWO
                four"]],
        );
    }

    #[test]
    fn equal_lines_that_simply_follow_each_other_are_kept() {
        check(
            "ok\nok\nok\n",
            expect![[r"
            ok
            ok
            ok"]],
        );
    }

    #[test]
    fn a_full_screen_program_gives_each_row_once() {
        let frame = "\u{1b}[1;1Htitle\u{1b}[2;3Hrow 日本\u{1b}[3;1Hfooter";
        check(
            &frame.repeat(3),
            expect![[r"
            title
              row 日本
            footer"]],
        );
    }

    #[test]
    fn spinners_and_empty_boxes_are_left_out_and_bullets_stay() {
        check(
            "╭────╮\n│ hi │\n╰────╯\n✻ Thinking… (3s · esc to interrupt)\n⠙ working\n· a bullet\n* another\n",
            expect![[r"
                │ hi │
                · a bullet
                * another"]],
        );
    }

    #[test]
    fn many_blank_lines_become_one() {
        check(
            "a\n\n\n\nb\n",
            expect![[r"
            a

            b"]],
        );
    }

    #[test]
    fn broken_bytes_are_shown_as_such_and_swallow_nothing() {
        assert_eq!(clean(b"a\xffb\nc\xe2\x82"), ["a\u{fffd}b", "c"]);
    }

    proptest! {
        #[test]
        fn where_the_bytes_are_cut_makes_no_difference(
            raw in "([a-z ✻日\r\n\t\u{8}]|\u{1b}\\[[0-9]{0,2}[ACHKJm]|\u{1b}\\]0;t\u{7}){0,60}",
            cut in 1_usize..7,
        ) {
            let mut cleaner = Cleaner::default();
            let mut lines = Vec::new();
            for piece in raw.as_bytes().chunks(cut) {
                lines.extend(cleaner.push(piece));
            }
            lines.extend(cleaner.finish());
            prop_assert_eq!(lines, clean(raw.as_bytes()));
        }

        #[test]
        fn no_bytes_whatever_leave_a_control_character(raw in proptest::collection::vec(any::<u8>(), 0..300)) {
            for line in clean(&raw) {
                prop_assert!(!line.chars().any(char::is_control), "{line:?}");
            }
        }
    }
}
