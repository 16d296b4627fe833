//! JSON strings unescaped piece by piece, so that reading can stop where showing stops.
//!
//! The input was checked by `serde_json` before; what is malformed all the same is passed on as it is.

/// Bytes in which [`outer_text`] and [`outer_value`] look.
const HEAD_BYTES_MAX: usize = 256;

/// The text of a field of the outermost object, if it stands near the line's beginning and before any
/// other object. For leaving lines out without parsing them; `None` says nothing.
pub fn outer_text<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let value = outer_value(line, key)?.strip_prefix('"')?;
    value.split_once('"').map(|(text, _)| text)
}

/// What follows such a field's colon.
pub fn outer_value<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let bytes = line.as_bytes();
    let head = &bytes[..bytes.len().min(HEAD_BYTES_MAX)];
    let mut at = 1;
    loop {
        let from =
            at + head.get(at..)?.iter().position(|&byte| matches!(byte, b'"' | b'{' | b'['))?;
        if head[from] != b'"' {
            return None;
        }
        let to =
            from + 1 + head[from + 1..].iter().position(|&byte| matches!(byte, b'"' | b'\\'))?;
        if head[to] != b'"' {
            return None;
        }
        at = to + 1;
        let rest = line.get(at..)?;
        if &head[from + 1..to] == key.as_bytes()
            && let Some(value) = rest.strip_prefix(':')
        {
            return Some(value.trim_start());
        }
    }
}

/// Part of an unescaped string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    Text(&'a str),
    Char(char),
}

/// Hands out the content of a JSON string in its quotes until `more` answers `false`.
pub fn unescape(quoted: &str, more: &mut impl FnMut(Piece<'_>) -> bool) {
    let inner = quoted.strip_prefix('"').unwrap_or(quoted);
    let mut rest = inner.strip_suffix('"').unwrap_or(inner);
    while let Some(at) = rest.find('\\') {
        if at > 0 && !more(Piece::Text(&rest[..at])) {
            return;
        }
        let (character, length) = escaped(&rest[at..]);
        if !more(Piece::Char(character)) {
            return;
        }
        rest = &rest[at + length..];
    }
    if !rest.is_empty() {
        more(Piece::Text(rest));
    }
}

/// The character that an escape stands for, and how long the escape is in bytes.
fn escaped(text: &str) -> (char, usize) {
    let simple = |character| (character, 2);
    match text.as_bytes().get(1) {
        Some(b'n') => simple('\n'),
        Some(b't') => simple('\t'),
        Some(b'r') => simple('\r'),
        Some(b'b') => simple('\u{8}'),
        Some(b'f') => simple('\u{c}'),
        Some(&byte @ (b'"' | b'\\' | b'/')) => simple(char::from(byte)),
        Some(b'u') => unicode(text),
        Some(_) | None => ('\\', 1),
    }
}

fn unicode(text: &str) -> (char, usize) {
    let Some(first) = hex(text, 2) else { return ('\u{fffd}', 2) };
    if let Some(character) = char::from_u32(first) {
        return (character, 6);
    }
    let second = text.get(6..8).filter(|&start| start == "\\u").and_then(|_| hex(text, 8));
    let pair = second.filter(|low| (0xdc00..0xe000).contains(low) && first < 0xdc00);
    let joined =
        pair.and_then(|low| char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + (low - 0xdc00)));
    joined.map_or(('\u{fffd}', 6), |character| (character, 12))
}

fn hex(text: &str, from: usize) -> Option<u32> {
    let digits = text.get(from..from + 4)?;
    digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then_some(())?;
    u32::from_str_radix(digits, 16).ok()
}
