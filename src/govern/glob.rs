//! Globs over dotted names, paths, URLs and command lines.
//!
//! `?` is one character and `*` any run of characters, neither reaching over a `/`; `**` is any run at
//! all. Everything else stands for itself, case and all: there are no classes and no braces, so that a
//! pattern cannot mean more than it shows.

/// Whether the whole of `text` is covered by `pattern`. Linear in `text` for each star.
pub fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut at, mut here) = (0, 0);
    // Where to go on when what follows a star fails: after the star, with the star one byte longer.
    let mut near: Option<(usize, usize)> = None;
    let mut far: Option<(usize, usize)> = None;
    loop {
        if pattern[at..].starts_with(b"**") {
            while pattern[at..].starts_with(b"*") {
                at += 1;
            }
            (far, near) = (Some((at, here)), None);
            continue;
        }
        match (pattern.get(at), text.get(here)) {
            (Some(b'*'), _) => {
                at += 1;
                near = Some((at, here));
                continue;
            }
            (None, None) => return true,
            (Some(b'?'), Some(byte)) if *byte != b'/' => {
                at += 1;
                here += character_bytes(&text[here..]);
                continue;
            }
            (Some(wanted), Some(byte)) if wanted == byte && *wanted != b'?' => {
                at += 1;
                here += 1;
                continue;
            }
            (Some(_) | None, Some(_)) | (Some(_), None) => {}
        }
        if let Some((after, from)) =
            near.filter(|(_, from)| text.get(*from).is_some_and(|b| *b != b'/'))
        {
            near = Some((after, from + 1));
            (at, here) = (after, from + 1);
        } else if let Some((after, from)) = far.filter(|(_, from)| *from < text.len()) {
            (far, near) = (Some((after, from + 1)), None);
            (at, here) = (after, from + 1);
        } else {
            return false;
        }
    }
}

/// Whether any of the patterns covers the text.
pub fn any<P: AsRef<str>>(patterns: &[P], text: &str) -> bool {
    patterns.iter().any(|pattern| matches(pattern.as_ref(), text))
}

fn character_bytes(text: &[u8]) -> usize {
    1 + text[1..].iter().take_while(|byte| (**byte & 0xc0) == 0x80).count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_star_stops_at_a_slash_and_two_do_not() {
        for (pattern, text, expected) in [
            ("file.*", "file.read", true),
            ("file.*", "file", false),
            ("*", "", true),
            ("*", "a/b", false),
            ("**", "a/b", true),
            ("src/*.rs", "src/a.rs", true),
            ("src/*.rs", "src/a/b.rs", false),
            ("src/**/b.rs", "src/a/c/b.rs", true),
            ("**/.env*", "/home/dev/.env.local", true),
            ("**/.env*", ".env", false),
            ("https://api.example.com/**", "https://api.example.com/v1/x?y=1", true),
            ("https://*.example.com/**", "https://evil.org/a.example.com/x", false),
            ("a?c", "aéc", true),
            ("a?c", "a/c", false),
            ("git *", "git status", true),
            ("[ab]", "a", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} on {text}");
        }
    }

    /// The meaning, written as one would explain it; exponential.
    fn slow(pattern: &[char], text: &[char]) -> bool {
        match (pattern, text) {
            ([], rest) => rest.is_empty(),
            (['*', '*', after @ ..], _) => {
                (0..=text.len()).any(|taken| slow(after, &text[taken..]))
            }
            (['*', after @ ..], _) => {
                let reach = text.iter().take_while(|c| **c != '/').count();
                (0..=reach).any(|taken| slow(after, &text[taken..]))
            }
            ([wanted, after @ ..], [found, rest @ ..]) => {
                (wanted == found || (*wanted == '?' && *found != '/')) && slow(after, rest)
            }
            ([_, ..], []) => false,
        }
    }

    proptest! {
        #[test]
        fn the_quick_way_agrees_with_the_plain_meaning(
            pattern in "[ab/*?]{0,8}", text in "[ab/]{0,8}",
        ) {
            let plain = slow(
                &pattern.chars().collect::<Vec<_>>(), &text.chars().collect::<Vec<_>>(),
            );
            prop_assert_eq!(matches(&pattern, &text), plain);
        }
    }
}
