//! Terminal bytes into keys. Keeps what a read cut in two: letters, sequences, pastes.
//!
//! A lone escape byte at the end of a read is the Escape key: there is no timer here.

/// What a terminal sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Key {
    Text(String),
    /// A bracketed paste, line ends as LF.
    Paste(String),
    Enter,
    Newline,
    Escape,
    Backspace,
    ClearLine,
    Interrupt,
    EndOfInput,
    /// Any other control byte or sequence, for the record only.
    Other(String),
}

impl Key {
    /// As the truth file shows it.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Text(text) | Self::Paste(text) | Self::Other(text) => text.clone(),
            Self::Enter => "Enter".to_owned(),
            Self::Newline => "C-j".to_owned(),
            Self::Escape => "Escape".to_owned(),
            Self::Backspace => "BSpace".to_owned(),
            Self::ClearLine => "C-u".to_owned(),
            Self::Interrupt => "C-c".to_owned(),
            Self::EndOfInput => "C-d".to_owned(),
        }
    }
}

const PASTE_BEGIN: &[u8] = b"\x1b[200~";
const PASTE_END: &[u8] = b"\x1b[201~";

/// The bytes not yet understood.
#[derive(Debug, Default)]
pub(super) struct Input {
    rest: Vec<u8>,
}

impl Input {
    /// The keys that are complete with these bytes.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Vec<Key> {
        self.rest.extend_from_slice(bytes);
        let mut keys = Vec::new();
        while let Some((key, used)) = next_key(&self.rest) {
            self.rest.drain(..used);
            keys.push(key);
        }
        keys
    }
}

fn next_key(bytes: &[u8]) -> Option<(Key, usize)> {
    let first = *bytes.first()?;
    if bytes.starts_with(PASTE_BEGIN) {
        let body = &bytes[PASTE_BEGIN.len()..];
        let end = body.windows(PASTE_END.len()).position(|window| window == PASTE_END)?;
        let text = String::from_utf8_lossy(&body[..end]).replace("\r\n", "\n").replace('\r', "\n");
        return Some((Key::Paste(text), PASTE_BEGIN.len() + end + PASTE_END.len()));
    }
    let single = |key| Some((key, 1));
    match first {
        0x1b => sequence(bytes),
        b'\r' => single(Key::Enter),
        b'\n' => single(Key::Newline),
        0x03 => single(Key::Interrupt),
        0x04 => single(Key::EndOfInput),
        0x15 => single(Key::ClearLine),
        0x08 | 0x7f => single(Key::Backspace),
        0..0x20 => single(Key::Other(format!("C-{}", char::from(first + 0x60)))),
        _ => text(bytes),
    }
}

fn sequence(bytes: &[u8]) -> Option<(Key, usize)> {
    match bytes.get(1) {
        Some(b'[' | b'O') => {
            let end = bytes.iter().skip(2).position(|byte| (0x40..0x7f).contains(byte))? + 3;
            Some((Key::Other(String::from_utf8_lossy(&bytes[1..end]).into_owned()), end))
        }
        None | Some(_) => Some((Key::Escape, 1)),
    }
}

fn text(bytes: &[u8]) -> Option<(Key, usize)> {
    let end = bytes.iter().position(|&byte| byte < 0x20 || byte == 0x7f).unwrap_or(bytes.len());
    match std::str::from_utf8(&bytes[..end]) {
        Ok(text) => Some((Key::Text(text.to_owned()), end)),
        Err(error) if error.valid_up_to() > 0 => {
            let end = error.valid_up_to();
            Some((Key::Text(String::from_utf8_lossy(&bytes[..end]).into_owned()), end))
        }
        // A letter of which the rest comes with the next read.
        Err(error) if error.error_len().is_none() && end == bytes.len() => None,
        Err(_) => Some((Key::Other("invalid byte".to_owned()), 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_paste_cut_anywhere_arrives_whole() {
        let bytes = "\u{1b}[200~one ❯\rtwo;\u{1b}[201~\r".as_bytes();
        for cut in 6..bytes.len() {
            let mut input = Input::default();
            let mut keys = input.feed(&bytes[..cut]);
            keys.extend(input.feed(&bytes[cut..]));
            assert_eq!(keys, [Key::Paste("one ❯\ntwo;".into()), Key::Enter], "cut at {cut}");
        }
    }

    #[test]
    fn a_letter_cut_in_two_is_kept() {
        let mut input = Input::default();
        assert_eq!(input.feed(&[b'a', 0xc3]), [Key::Text("a".into())]);
        assert_eq!(input.feed(&[0xa9, b'\r']), [Key::Text("é".into()), Key::Enter]);
    }

    #[test]
    fn an_arrow_is_one_key() {
        assert_eq!(Input::default().feed(b"\x1b[A\x1b"), [Key::Other("[A".into()), Key::Escape]);
    }
}
