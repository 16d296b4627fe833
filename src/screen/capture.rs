//! A captured screen: lines of plain text, with the few attributes that change what a text means.
//!
//! Left out: everything of SGR but dim, reverse and the text colour. Surprise: `capture-pane -e`
//! carries attributes over the end of a line, so a line cannot be read alone.

/// What a cell looks like, as far as it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Style {
    pub dim: bool,
    /// The cell under a drawn cursor.
    pub reverse: bool,
    /// The text colour as red, green, blue; `None` = the terminal's own.
    pub color: Option<(u8, u8, u8)>,
}

/// One line of the screen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Line {
    /// Without trailing blanks.
    pub text: String,
    /// One per char of `text`; empty in a capture without attributes.
    pub styles: Vec<Style>,
}

/// One look at a pane.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Screen {
    /// From top to bottom, without the blank lines at the end.
    pub lines: Vec<Line>,
    /// Whether the capture carried attributes.
    pub styled: bool,
}

impl Line {
    pub fn is_blank(&self) -> bool {
        self.text.chars().all(char::is_whitespace)
    }
}

impl Screen {
    /// Reads what `capture-pane -p` or `-p -e` wrote. Any text is fine; what is not understood is dropped.
    pub fn parse(text: &str) -> Self {
        let styled = text.contains('\u{1b}');
        let mut reader = Reader { styled, ..Reader::default() };
        let mut rest = text.chars().peekable();
        while let Some(char) = rest.next() {
            match char {
                '\u{1b}' => reader.escape(&mut rest),
                '\n' => reader.newline(),
                '\t' => reader.put(' '),
                other if other.is_control() => {}
                other => reader.put(other),
            }
        }
        reader.newline();
        let mut lines = reader.lines;
        while lines.last().is_some_and(Line::is_blank) {
            lines.pop();
        }
        Self { lines, styled }
    }

    /// The same from bytes of any kind.
    pub fn parse_bytes(bytes: &[u8]) -> Self {
        Self::parse(&String::from_utf8_lossy(bytes))
    }

    /// The plain text, LF between lines.
    pub fn text(&self) -> String {
        self.lines.iter().map(|line| line.text.as_str()).collect::<Vec<_>>().join("\n")
    }
}

type Rest<'a> = std::iter::Peekable<std::str::Chars<'a>>;

#[derive(Default)]
struct Reader {
    lines: Vec<Line>,
    line: Line,
    style: Style,
    styled: bool,
}

impl Reader {
    fn put(&mut self, char: char) {
        self.line.text.push(char);
        if self.styled {
            self.line.styles.push(self.style);
        }
    }

    fn newline(&mut self) {
        let mut line = std::mem::take(&mut self.line);
        // A no-break space at the end is drawn by a program, plain spaces are only padding.
        let kept = line.text.trim_end_matches(' ').len();
        line.text.truncate(kept);
        line.styles.truncate(line.text.chars().count());
        self.lines.push(line);
    }

    fn escape(&mut self, rest: &mut Rest<'_>) {
        match rest.next() {
            Some('[') => {
                let mut parameters = String::new();
                while let Some(&char) = rest.peek() {
                    if char == '\n' || char == '\u{1b}' {
                        return;
                    }
                    rest.next();
                    if ('@'..='~').contains(&char) {
                        if char == 'm' {
                            self.style = restyled(self.style, &parameters);
                        }
                        return;
                    }
                    parameters.push(char);
                }
            }
            Some(']' | 'P' | '_' | '^') => {
                while let Some(&char) = rest.peek() {
                    if char == '\n' {
                        return;
                    }
                    rest.next();
                    if char == '\u{7}' {
                        return;
                    }
                    if char == '\u{1b}' {
                        rest.next_if_eq(&'\\');
                        return;
                    }
                }
            }
            Some('(' | ')') => {
                rest.next_if(|char| *char != '\n');
            }
            Some('\n') => self.newline(),
            Some(_) | None => {}
        }
    }
}

/// The style after one SGR sequence.
fn restyled(mut style: Style, parameters: &str) -> Style {
    if parameters.starts_with(['?', '>', '<', '=']) {
        return style;
    }
    let mut codes = parameters.split([';', ':']).map(|code| code.parse::<u16>().unwrap_or(0));
    while let Some(code) = codes.next() {
        match code {
            0 => style = Style::default(),
            2 => style.dim = true,
            22 => style.dim = false,
            7 => style.reverse = true,
            27 => style.reverse = false,
            30..=37 => style.color = Some(indexed(code - 30)),
            90..=97 => style.color = Some(indexed(code - 90 + 8)),
            39 => style.color = None,
            38 => style.color = extended(&mut codes).or(style.color),
            48 | 58 => {
                extended(&mut codes);
            }
            _ => {}
        }
    }
    style
}

fn extended(codes: &mut impl Iterator<Item = u16>) -> Option<(u8, u8, u8)> {
    let byte = |value: u16| u8::try_from(value).unwrap_or(u8::MAX);
    match codes.next()? {
        5 => Some(indexed(codes.next()?)),
        2 => Some((byte(codes.next()?), byte(codes.next()?), byte(codes.next()?))),
        _ => None,
    }
}

/// A colour of the 256-colour palette.
fn indexed(index: u16) -> (u8, u8, u8) {
    const BASE: [(u8, u8, u8); 16] = [
        (0, 0, 0),
        (205, 0, 0),
        (0, 205, 0),
        (205, 205, 0),
        (0, 0, 238),
        (205, 0, 205),
        (0, 205, 205),
        (229, 229, 229),
        (127, 127, 127),
        (255, 0, 0),
        (0, 255, 0),
        (255, 255, 0),
        (92, 92, 255),
        (255, 0, 255),
        (0, 255, 255),
        (255, 255, 255),
    ];
    const STEPS: [u8; 6] = [0, 95, 135, 175, 215, 255];
    if let Some(color) = BASE.get(usize::from(index)) {
        return *color;
    }
    if index < 232 {
        let cube = usize::from(index - 16);
        return (STEPS[cube / 36], STEPS[cube / 6 % 6], STEPS[cube % 6]);
    }
    let grey = u8::try_from((index.min(255) - 232) * 10 + 8).unwrap_or(u8::MAX);
    (grey, grey, grey)
}

/// Whether a colour reads as red to a person: what themes use for errors, from brick to pink.
pub fn is_red((red, green, blue): (u8, u8, u8)) -> bool {
    let (red, green, blue) = (u16::from(red), u16::from(green), u16::from(blue));
    red >= 120 && green * 10 <= red * 6 && blue * 4 <= red * 3
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn attributes_are_kept_beside_the_text_and_carried_over_the_end_of_a_line() {
        let screen = Screen::parse("a\u{1b}[2mb\nc\u{1b}[0md\u{1b}[38;5;168m┃\u{1b}[39m\n\n");
        assert_eq!(screen.text(), "ab\ncd┃");
        let dim: Vec<bool> =
            screen.lines.iter().flat_map(|l| l.styles.iter().map(|s| s.dim)).collect();
        assert_eq!(dim, [false, true, true, false, false]);
        assert!(screen.lines[1].styles[2].color.is_some_and(is_red));
    }

    #[test]
    fn error_red_is_told_from_warning_orange_and_prompt_blue() {
        let red = |index| is_red(indexed(index));
        assert_eq!([red(168), red(1), red(9), red(160), red(204)], [true, true, true, true, true]);
        assert_eq!([red(215), red(75), red(8), red(232), red(214)], [false; 5]);
    }

    #[test]
    fn sequences_that_are_no_style_are_dropped() {
        let screen =
            Screen::parse("x\u{1b}[?25l\u{1b}]0;title\u{7}y\u{1b}(Bz\r\n\u{1b}[48;2;1;2;3mw");
        assert_eq!(screen.text(), "xyz\nw");
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_screen_with_one_style_per_char(bytes: Vec<u8>) {
            let screen = Screen::parse_bytes(&bytes);
            for line in &screen.lines {
                let has_control = line.text.chars().any(char::is_control);
                prop_assert!(!has_control);
                if screen.styled {
                    prop_assert_eq!(line.styles.len(), line.text.chars().count());
                }
            }
        }
    }
}
