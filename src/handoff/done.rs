//! Does a status file say that its phase is done?
//!
//! A line that begins with the marker counts, outside code fences and HTML comments, unless what
//! follows is a placeholder: status files are made from templates that hold the heading already, with
//! "Not yet" below it. Where the file is looked for is not decided here.

use serde::{Deserialize, Serialize};

/// What a heading that is not filled in yet says.
const PLACEHOLDERS: [&str; 4] = ["not yet", "tbd", "todo", "pending"];
/// Longest line kept as evidence, in characters.
const LINE_CHARS_MAX: usize = 200;

/// The line that says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// Where the text was found, for people: a path, or a path at a branch.
    pub place: String,
    /// From 1.
    pub line: usize,
    pub text: String,
}

/// The first line of the text that is the marker in earnest.
pub fn find(text: &str, marker: &str, place: &str) -> Option<Done> {
    let marker = marker.trim();
    let lines: Vec<&str> = text.trim_start_matches('\u{feff}').lines().collect();
    let mut reader = Reader::default();
    for (index, raw) in lines.iter().enumerate() {
        let Some(line) = reader.outside(raw) else { continue };
        let line = line.trim();
        let Some(rest) = line.strip_prefix(marker) else { continue };
        let inside_word =
            rest.chars().next().is_some_and(|next| next.is_alphanumeric() || next == '_');
        let next = lines.get(index + 1..).unwrap_or_default().iter();
        let next = next.map(|line| line.trim()).find(|line| !line.is_empty());
        if inside_word || is_placeholder(rest) || next.is_some_and(is_placeholder) {
            continue;
        }
        let text = line.chars().filter(|c| !c.is_control()).take(LINE_CHARS_MAX).collect();
        return Some(Done { place: place.to_owned(), line: index + 1, text });
    }
    None
}

fn is_placeholder(text: &str) -> bool {
    let text = text.trim_start_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
    PLACEHOLDERS.iter().any(|placeholder| {
        text.strip_prefix(placeholder)
            .is_some_and(|rest| rest.chars().next().is_none_or(|next| !next.is_alphanumeric()))
    })
}

/// What of each line stands outside code fences and comments.
#[derive(Debug, Default)]
struct Reader {
    /// The character and length of the fence that is open.
    fence: Option<(char, usize)>,
    in_comment: bool,
}

impl Reader {
    fn outside(&mut self, raw: &str) -> Option<String> {
        if let Some((mark, length)) = self.fence {
            let line = raw.trim();
            let run = line.chars().take_while(|c| *c == mark).count();
            if run >= length && line.chars().count() == run {
                self.fence = None;
            }
            return None;
        }
        if !self.in_comment {
            let line = raw.trim_start();
            let mark = line.chars().next().filter(|c| matches!(c, '`' | '~'));
            if let Some(mark) = mark {
                let run = line.chars().take_while(|c| *c == mark).count();
                // A run of backticks with more of them behind it is code within a line.
                if run >= 3 && !(mark == '`' && line[run..].contains('`')) {
                    self.fence = Some((mark, run));
                    return None;
                }
            }
        }
        Some(self.without_comments(raw))
    }

    fn without_comments(&mut self, raw: &str) -> String {
        let mut kept = String::new();
        let mut rest = raw;
        loop {
            let mark = if self.in_comment { "-->" } else { "<!--" };
            let Some(at) = rest.find(mark) else {
                if !self.in_comment {
                    kept.push_str(rest);
                }
                return kept;
            };
            if !self.in_comment {
                kept.push_str(&rest[..at]);
            }
            self.in_comment = !self.in_comment;
            rest = &rest[at + mark.len()..];
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, line: Option<usize>) {
        let found = find(text, "## DONE", "STATUS.md").map(|done| done.line);
        assert_eq!(found, line, "{text:?}");
    }

    #[test]
    fn a_line_that_is_the_marker_ends_the_phase() {
        check("# Status\n\n## DONE\n", Some(3));
        check("  ## DONE  \r\n", Some(1));
        check("\u{feff}## DONE", Some(1));
        check("## DONE 2026-11-21, all tests pass", Some(1));
        check("## DONE: see below\n\nDetails.", Some(1));
        check("## DONE\n```\nlog\n```", Some(1));
    }

    #[test]
    fn what_merely_looks_like_the_marker_does_not() {
        check("", None);
        check("## DONENESS", None);
        check("## NOT DONE", None);
        check("> ## DONE", None);
        check("write `## DONE` at the end", None);
        check("### DONE", None);
    }

    #[test]
    fn a_placeholder_in_its_rest_or_on_the_next_line_does_not_count() {
        for placeholder in ["Not yet.", "TBD", "todo", "(pending)", "*Not yet…*", "- TBD: when"] {
            check(&format!("## DONE\n\n{placeholder}\n"), None);
            check(&format!("## DONE {placeholder}"), None);
        }
        check("## DONE\n<!-- Not yet -->\n", None);
        check("## DONE\nTodos were all ticked.\n", Some(1));
        check("## DONE\nNot yet\n\n## DONE\nreally\n", Some(4));
    }

    #[test]
    fn fences_and_comments_hide_it() {
        check("```\n## DONE\n```\n", None);
        check("~~~ md\n## DONE\n~~~\n## DONE\n", Some(4));
        check("````\n```\n## DONE\n````\n", None);
        check("<!--\n## DONE\n-->\n", None);
        check("<!-- a --> ## DONE\n", Some(1));
        check("<!-- open\n## DONE\n", None);
        check("```inline``` code\n## DONE\n", Some(2));
        check("```\n<!--\n```\n## DONE", Some(4));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(?s).{0,200}", marker in ".{1,8}") {
            find(&text, &marker, "x");
        }

        #[test]
        fn a_text_without_the_marker_never_counts(text in "[a-z `~<>!\\-\n]{0,200}") {
            prop_assert_eq!(find(&text, "## DONE", "x"), None);
        }
    }
}
