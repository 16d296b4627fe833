//! One commit as far as others must be told of it, and how it is shown to an agent.
//!
//! Subjects and names come from whoever can push. They reach an agent as data: one line, cut short,
//! quoted, without anything that a terminal or a reader of bidirectional text would act on.

use serde::{Deserialize, Serialize};

/// Longest text taken over from a commit, in characters.
pub const TEXT_CHARS_MAX: usize = 200;
const NAME_CHARS_MAX: usize = 40;

/// A point in the branch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tip {
    /// The hash, in hex.
    pub id: String,
    /// Epoch seconds, as its committer says.
    pub at: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    pub id: String,
    pub subject: String,
    pub author: String,
    /// Epoch seconds; a rebase keeps it.
    pub authored_at: i64,
}

impl Commit {
    /// The same for a commit and its rebased or amended copy.
    pub fn fingerprint(&self) -> String {
        let text = format!("{}\0{}\0{}", self.author, self.authored_at, self.subject);
        format!("{:016x}", super::inbox::digest(&text))
    }

    /// `- 1a2b3c4 by Ann: "subject"`.
    pub fn line(&self) -> String {
        let id: String = self.id.chars().take(7).collect();
        let author = plain(&self.author, NAME_CHARS_MAX);
        format!("- {id} by {author}: \"{}\"", plain(&self.subject, TEXT_CHARS_MAX))
    }
}

/// One line of printable characters, cut at `chars_max`.
pub fn plain(text: &str, chars_max: usize) -> String {
    let shown = |c: char| !c.is_control() && !is_invisible(c);
    let one_line: String = text
        .chars()
        .map(|c| if c.is_whitespace() { ' ' } else { c })
        .filter(|c| shown(*c))
        .collect();
    let one_line = one_line.trim().replace('"', "'");
    let mut cut: String = one_line.chars().take(chars_max).collect();
    if one_line.chars().count() > chars_max {
        cut.pop();
        cut.push('…');
    }
    cut
}

/// Marks that change how a line reads without being seen.
const fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}
