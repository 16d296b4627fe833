//! Patterns of scopes: `deploy.*`, `**/.github/workflows/**`, `git push **`.
//!
//! `*` stops at `/`, `**` does not, `**/` may also be nothing. Brackets and braces are refused rather
//! than taken literally: a `deny` for `*.{pem,key}` that silently matched nothing would be worse
//! than an error. Matching keeps two places to go back to, so no pattern takes exponential time.

use serde::{Deserialize, Serialize};

/// Longest accepted pattern.
pub const PATTERN_CHARS_MAX: usize = 512;

/// One compiled pattern.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Glob {
    /// As written, without escapes; what is shown.
    pub text: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Part {
    Literal(char),
    /// `?`: one character, not `/`.
    One,
    /// `*`.
    Within,
    /// `**`.
    Across,
    /// `**/`: nothing, or anything that ends with `/`.
    Folders,
}

impl Glob {
    /// Errors: what is wrong, for a diagnostic.
    pub fn new(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("an empty pattern matches nothing".to_owned());
        }
        if text.chars().count() > PATTERN_CHARS_MAX {
            return Err(format!("a pattern has at most {PATTERN_CHARS_MAX} characters"));
        }
        let mut parts = Vec::new();
        let mut rest = text.chars().peekable();
        while let Some(letter) = rest.next() {
            let part = match letter {
                '\\' => Part::Literal(rest.next().ok_or("a `\\` at the end escapes nothing")?),
                '[' | ']' | '{' | '}' => {
                    return Err(format!(
                        "`{letter}` has no meaning in a pattern: write the alternatives as separate patterns, or `\\{letter}` for the character"
                    ));
                }
                '?' => Part::One,
                '*' if rest.next_if_eq(&'*').is_some() => {
                    while rest.next_if_eq(&'*').is_some() {}
                    let at_start = matches!(parts.last(), None | Some(Part::Literal('/')));
                    if at_start && rest.next_if_eq(&'/').is_some() {
                        Part::Folders
                    } else {
                        Part::Across
                    }
                }
                '*' => Part::Within,
                other => Part::Literal(other),
            };
            parts.push(part);
        }
        Ok(Self { text: text.to_owned(), parts })
    }

    pub fn matches(&self, text: &str) -> bool {
        if let [Part::Across] = self.parts[..] {
            return true;
        }
        let parts = &self.parts[..];
        let (mut part, mut rest) = (0, text);
        // Where to go on after a mismatch: the part behind the star, and the text from which one
        // more character is swallowed.
        let mut within: Option<(usize, &str)> = None;
        let mut across: Option<(usize, &str, bool)> = None;
        loop {
            let next = rest.chars().next();
            match (parts.get(part), next) {
                (None, None) => return true,
                (Some(Part::Literal(wanted)), Some(found)) if *wanted == found => {
                    part += 1;
                    rest = &rest[found.len_utf8()..];
                    continue;
                }
                (Some(Part::One), Some(found)) if found != '/' => {
                    part += 1;
                    rest = &rest[found.len_utf8()..];
                    continue;
                }
                (Some(Part::Within), _) => {
                    part += 1;
                    within = Some((part, rest));
                    continue;
                }
                (Some(Part::Across), _) => {
                    part += 1;
                    across = Some((part, rest, false));
                    within = None;
                    continue;
                }
                (Some(Part::Folders), _) => {
                    part += 1;
                    across = Some((part, rest, true));
                    within = None;
                    continue;
                }
                (Some(Part::Literal(_) | Part::One), _) | (None, Some(_)) => {}
            }
            if let Some((behind, from)) = within
                && let Some(swallowed) = from.chars().next().filter(|found| *found != '/')
            {
                rest = &from[swallowed.len_utf8()..];
                within = Some((behind, rest));
                part = behind;
                continue;
            }
            let Some((behind, from, folders)) = across else { return false };
            let Some(after) = swallow(from, folders) else { return false };
            within = None;
            across = Some((behind, after, folders));
            (part, rest) = (behind, after);
        }
    }

    /// The text, when the pattern can match only itself.
    pub fn literal(&self) -> Option<String> {
        self.parts
            .iter()
            .map(|part| match part {
                Part::Literal(letter) => Some(*letter),
                Part::One | Part::Within | Part::Across | Part::Folders => None,
            })
            .collect()
    }

    /// The literal text before the first star.
    pub fn prefix(&self) -> String {
        self.parts
            .iter()
            .map_while(|part| match part {
                Part::Literal(letter) => Some(*letter),
                Part::One | Part::Within | Part::Across | Part::Folders => None,
            })
            .collect()
    }

    /// Whether this surely matches all that `other` matches; `false` when in doubt.
    pub fn covers(&self, other: &Self) -> bool {
        if self == other || self.parts == [Part::Across] {
            return true;
        }
        if let Some(literal) = other.literal() {
            return self.matches(&literal);
        }
        let open_end = self.parts.last() == Some(&Part::Across);
        let head = &self.parts[..self.parts.len() - 1];
        open_end
            && head.iter().all(|part| matches!(part, Part::Literal(_)))
            && other.parts.starts_with(head)
    }
}

fn swallow(from: &str, folders: bool) -> Option<&str> {
    if folders {
        from.find('/').map(|at| &from[at + 1..])
    } else {
        let first = from.chars().next()?;
        Some(&from[first.len_utf8()..])
    }
}

/// Several patterns, of which one is enough; none at all matches everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Globs(pub Vec<Glob>);

impl Globs {
    pub fn matches(&self, text: &str) -> bool {
        self.0.is_empty() || self.0.iter().any(|glob| glob.matches(text))
    }

    /// Whether this surely matches all that `other` matches.
    pub fn covers(&self, other: &Self) -> bool {
        self.0.is_empty()
            || (!other.0.is_empty()
                && other.0.iter().all(|inner| self.0.iter().any(|outer| outer.covers(inner))))
    }
}

/// The same path without `.`, `..` and doubled `/`; `None` when nothing changes. Text only: links are not followed.
pub fn tidied(path: &str) -> Option<String> {
    let odd = path
        .split('/')
        .enumerate()
        .any(|(at, part)| part == "." || part == ".." || (part.is_empty() && at > 0));
    if !odd || path.contains("://") {
        return None;
    }
    let mut kept: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if kept.last().is_some_and(|last| *last != "..") => {
                kept.pop();
            }
            ".." if path.starts_with('/') => {}
            other => kept.push(other),
        }
    }
    let root = if path.starts_with('/') { "/" } else { "" };
    Some(format!("{root}{}", kept.join("/")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(pattern: &str, yes: &[&str], no: &[&str]) {
        let glob = Glob::new(pattern).unwrap();
        for text in yes {
            assert!(glob.matches(text), "`{pattern}` should match `{text}`");
        }
        for text in no {
            assert!(!glob.matches(text), "`{pattern}` should not match `{text}`");
        }
    }

    #[test]
    fn one_star_stops_at_a_slash_and_two_do_not() {
        check("deploy.*", &["deploy.run", "deploy.a.b", "deploy."], &["deploy", "xdeploy.run"]);
        check("src/*.rs", &["src/a.rs"], &["src/a/b.rs", "src/a.rsx"]);
        check("src/**", &["src/a.rs", "src/a/b"], &["src", "lib/src/a"]);
        check("git push**--force**", &["git push origin a/b --force"], &["git push origin"]);
        check("a?c", &["abc", "aäc"], &["ac", "a/c"]);
        check("**", &["", "a/b"], &[]);
    }

    #[test]
    fn folders_in_front_may_be_none() {
        check(
            "**/.env*",
            &[".env", ".env.local", "a/.env", "/home/u/p/.env"],
            &["a/env", "x.env", ".env/a"],
        );
        check(
            "**/.github/workflows/**",
            &[".github/workflows/ci.yml", "/p/.github/workflows/a/b"],
            &["github/workflows/x", "a.github/workflows/x"],
        );
        check("a/**/b", &["a/b", "a/x/b", "a/x/y/b"], &["a/xb", "ab"]);
    }

    #[test]
    fn brackets_and_a_lone_escape_are_refused() {
        for pattern in ["*.{a,b}", "[ab]", "a\\", ""] {
            Glob::new(pattern).unwrap_err();
        }
        check("a\\*b\\[", &["a*b["], &["axb["]);
    }

    #[test]
    fn a_path_is_tidied_as_text() {
        assert_eq!(tidied("a/../.env").as_deref(), Some(".env"));
        assert_eq!(tidied("./a//b/").as_deref(), Some("a/b"));
        assert_eq!(tidied("/a/../../etc").as_deref(), Some("/etc"));
        assert_eq!(tidied("../x").as_deref(), Some("../x"));
        assert_eq!(tidied("a/b"), None);
        assert_eq!(tidied("https://a//b"), None);
    }

    /// The same question answered by a search through all ways to match.
    fn slowly(parts: &[Part], text: &[char]) -> bool {
        match parts.split_first() {
            None => text.is_empty(),
            Some((Part::Literal(wanted), rest)) => {
                text.first() == Some(wanted) && slowly(rest, &text[1..])
            }
            Some((Part::One, rest)) => {
                text.first().is_some_and(|c| *c != '/') && slowly(rest, &text[1..])
            }
            Some((Part::Within, rest)) => (0..=text.len())
                .take_while(|end| !text[..*end].contains(&'/'))
                .any(|end| slowly(rest, &text[end..])),
            Some((Part::Across, rest)) => (0..=text.len()).any(|end| slowly(rest, &text[end..])),
            Some((Part::Folders, rest)) => (0..=text.len())
                .filter(|end| *end == 0 || text[end - 1] == '/')
                .any(|end| slowly(rest, &text[end..])),
        }
    }

    proptest! {
        #[test]
        fn going_back_finds_what_a_full_search_finds(
            pattern in "[ab/*?]{1,8}", text in "[ab/]{0,8}"
        ) {
            let glob = Glob::new(&pattern).unwrap();
            let letters: Vec<char> = text.chars().collect();
            prop_assert_eq!(glob.matches(&text), slowly(&glob.parts, &letters), "{:?}", glob.parts);
        }

        #[test]
        fn what_covers_matches_all_that_the_other_matches(
            outer in "[ab*]{1,4}", inner in "[ab*]{1,4}", text in "[ab]{0,5}"
        ) {
            let (outer, inner) = (Glob::new(&outer).unwrap(), Glob::new(&inner).unwrap());
            prop_assert!(!(outer.covers(&inner) && inner.matches(&text)) || outer.matches(&text));
        }
    }
}
