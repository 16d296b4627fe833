//! A text as the terminal drew it, made one line that patterns can read.
//!
//! Terminal programs wrap lines anywhere, draw borders beside them and, in one CLI, a spinner over
//! them. JavaScript's time formatting puts U+202F before `AM`; one CLI pads with U+00A0.

/// Runs of white space, borders and spinner blocks become one space; curly apostrophes straight.
pub fn flattened(text: &str) -> String {
    let mut flat = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\u{2018}' | '\u{2019}' => flat.push('\''),
            '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{feff}' => {}
            c if is_blank(c) => {
                if !flat.is_empty() && !flat.ends_with(' ') {
                    flat.push(' ');
                }
            }
            c => flat.push(c),
        }
    }
    flat.truncate(flat.trim_end().len());
    flat
}

/// White space, box drawing (U+2500–U+257F), and the blocks `⬝` `■` of a spinner that overdraws text.
fn is_blank(character: char) -> bool {
    character.is_whitespace()
        || character.is_control()
        || matches!(character, '\u{2500}'..='\u{257f}' | '⬝' | '■' | '▎' | '▌')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_under_a_spinner_and_beside_a_border_reads_as_one_line() {
        assert_eq!(
            flattened("  ┃ ⬝5■hour■usage\u{a0}limit\n  ┃  You\u{2019}ve\u{202f}hit  "),
            "5 hour usage limit You've hit"
        );
    }
}
