//! The input box of the demo agent: typed text and collapsed pastes.

/// A paste over this many characters is shown as a marker.
const PASTE_CHARS_MAX: usize = 800;
/// A paste of this many lines is shown as a marker.
const PASTE_LINES_COLLAPSED: usize = 4;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Pasted { marker: String, text: String },
}

/// Unsent text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Composer {
    pieces: Vec<Piece>,
    pasted_count: usize,
}

impl Composer {
    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    pub(super) fn insert(&mut self, text: &str) {
        match self.pieces.last_mut() {
            Some(Piece::Text(before)) => before.push_str(text),
            Some(Piece::Pasted { .. }) | None => self.pieces.push(Piece::Text(text.to_owned())),
        }
    }

    pub(super) fn paste(&mut self, text: &str) {
        let lines_extra = text.matches('\n').count();
        if text.chars().count() <= PASTE_CHARS_MAX && lines_extra + 1 < PASTE_LINES_COLLAPSED {
            self.insert(text);
            return;
        }
        self.pasted_count += 1;
        let marker = format!("[Pasted text #{} +{lines_extra} lines]", self.pasted_count);
        self.pieces.push(Piece::Pasted { marker, text: text.to_owned() });
    }

    pub(super) fn backspace(&mut self) {
        match self.pieces.last_mut() {
            Some(Piece::Text(text)) => {
                text.pop();
                if text.is_empty() {
                    self.pieces.pop();
                }
            }
            Some(Piece::Pasted { .. }) => drop(self.pieces.pop()),
            None => {}
        }
    }

    pub(super) fn clear(&mut self) {
        self.pieces.clear();
    }

    /// As the box shows it.
    pub(super) fn shown(&self) -> String {
        let shown = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Pasted { marker, .. } => marker.clone(),
        };
        self.pieces.iter().map(shown).collect()
    }

    /// The whole text.
    pub(super) fn full(&self) -> String {
        let full = |piece: &Piece| match piece {
            Piece::Text(text) | Piece::Pasted { text, .. } => text.clone(),
        };
        self.pieces.iter().map(full).collect()
    }

    /// Whether a trailing `@word` has a completion popup open.
    pub(super) fn ends_in_mention(&self) -> bool {
        let full = self.full();
        full.rsplit(char::is_whitespace).next().is_some_and(|word| word.starts_with('@'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_paste_is_shown_as_a_marker_and_kept_whole() {
        let mut composer = Composer::default();
        composer.insert("see ");
        composer.paste("a\nb\nc\nd");
        assert_eq!(composer.shown(), "see [Pasted text #1 +3 lines]");
        assert_eq!(composer.full(), "see a\nb\nc\nd");
        composer.backspace();
        assert_eq!(composer.full(), "see ");
    }
}
