//! Secrets out of what is kept: by the look of a value and by the name of its field.
//!
//! A scanner by hand, not regular expressions: compiling a set of them costs more than the whole
//! budget of a hook. It prefers to hide too much. It cannot know a password that looks like a word
//! and stands nowhere near a telling name; what is kept is for people who may see the work anyway.

use serde::{Serialize, Serializer, ser::SerializeMap as _};
use serde_json::{Map, Value};

/// What stands in a secret's place.
pub const HIDDEN: &str = "[redacted]";

/// Prefixes of issued keys, and how many key characters at least follow.
const PREFIXES: [(&str, usize); 26] = [
    ("sk-", 16),
    ("sk_live_", 10),
    ("sk_test_", 10),
    ("rk_live_", 10),
    ("pk_live_", 10),
    ("ghp_", 20),
    ("gho_", 20),
    ("ghu_", 20),
    ("ghs_", 20),
    ("ghr_", 20),
    ("github_pat_", 20),
    ("glpat-", 16),
    ("xoxb-", 10),
    ("xoxp-", 10),
    ("xoxa-", 10),
    ("xoxr-", 10),
    ("xoxs-", 10),
    ("xapp-", 10),
    ("AKIA", 16),
    ("ASIA", 16),
    ("AIza", 30),
    ("npm_", 30),
    ("pypi-", 30),
    ("hf_", 20),
    ("ao_", 32),
    ("owkai_", 20),
];

/// Parts of a field's name that say "secret", in lower case without `-` and `_`.
const TELLING: [&str; 14] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "apikey",
    "accesskey",
    "privatekey",
    "signingkey",
    "authorization",
    "credential",
    "authtoken",
    "accesstoken",
    "refreshtoken",
    "sessiontoken",
];

/// Longer names are looked at too, only slower.
const NAME_BYTES_MAX: usize = 64;

/// Names that say so only as a whole or as the last word.
const TELLING_LAST: [&str; 5] = ["token", "pwd", "auth", "cookie", "bearer"];

/// Whether a field of this name holds a secret: `api_key`, `X-Auth-Token`, `DB_PASSWORD`.
pub fn is_telling(name: &str) -> bool {
    // Behind the last dot: `password.rs` is a file, `datasource.password` a field.
    let name = name.trim_matches('-').rsplit('.').next().unwrap_or_default();
    if name.len() > NAME_BYTES_MAX {
        let lower = name.to_ascii_lowercase();
        let joined: String = lower.chars().filter(|c| !matches!(c, '-' | '_')).collect();
        let last = lower.rsplit(['-', '_']).next().unwrap_or_default();
        return tells(joined.as_bytes(), last.as_bytes(), name);
    }
    // The same without memory of its own: each field of each record comes by here.
    let (mut joined, mut length, mut last) = ([0; NAME_BYTES_MAX], 0, 0);
    for byte in name.bytes() {
        if matches!(byte, b'-' | b'_') {
            last = length;
        } else {
            joined[length] = byte.to_ascii_lowercase();
            length += 1;
        }
    }
    tells(&joined[..length], &joined[last..length], name)
}

/// `joined`: all its words in lower case; `last`: the last of them.
fn tells(joined: &[u8], last: &[u8], name: &str) -> bool {
    let told_from = |at: usize| {
        let rest = &joined[at..];
        // What the telling words begin with.
        matches!(rest[0], b'p' | b's' | b'a' | b'c' | b'r')
            && TELLING.iter().any(|word| rest.starts_with(word.as_bytes()))
    };
    (0..joined.len()).any(told_from)
        || TELLING_LAST.iter().any(|word| word.as_bytes() == last)
        || name.ends_with("Token")
}

/// The text with every secret it shows replaced by [`HIDDEN`].
pub fn text(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some((before, after)) = private_key(rest) {
        scan(before, &mut out);
        out.push_str(HIDDEN);
        rest = after;
    }
    scan(rest, &mut out);
    out
}

fn scan(source: &str, out: &mut String) {
    let mut rest = source;
    // Of the token that was copied last: a name decides about the value behind it.
    let mut name = "";
    while !rest.is_empty() {
        let length = token_length(rest);
        if length == 0 {
            (rest, name) = between(rest, name, out);
            continue;
        }
        let (token, after) = rest.split_at(length);
        if out.ends_with("://")
            && let Some(end) = user_part_end(rest)
        {
            out.push_str(HIDDEN);
            rest = &rest[end..];
            name = "";
            continue;
        }
        out.push_str(if looks_secret(token) { HIDDEN } else { token });
        name = token;
        rest = after;
    }
}

/// The same throughout a JSON value; a field whose name tells loses its whole value.
#[must_use]
pub fn json(value: &Value) -> Value {
    match value {
        Value::String(found) => Value::String(text(found)),
        Value::Array(items) => Value::Array(items.iter().map(json).collect()),
        Value::Object(found) => Value::Object(fields(found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

/// The same for the fields of an object.
#[must_use]
pub fn fields(object: &Map<String, Value>) -> Map<String, Value> {
    let kept = |(name, field): (&String, &Value)| {
        let hide = !matches!(field, Value::Null | Value::Bool(_)) && is_telling(name);
        let kept = if hide { Value::String(HIDDEN.to_owned()) } else { json(field) };
        (text(name), kept)
    };
    object.iter().map(kept).collect()
}

/// The text of [`fields`], without a copy of the object in between.
#[must_use]
pub fn fields_text(object: &Map<String, Value>) -> String {
    let mut bytes = Vec::with_capacity(256);
    let mut writer = serde_json::Serializer::new(&mut bytes);
    shown_fields(object, &mut writer).expect("JSON is written to memory");
    String::from_utf8(bytes).expect("JSON is UTF-8")
}

/// Like [`fields`].
fn shown_fields<S: Serializer>(object: &Map<String, Value>, to: S) -> Result<S::Ok, S::Error> {
    if object.keys().any(|name| text(name) != *name) {
        // Hidden names stand elsewhere, and two of them are one.
        return fields(object).serialize(to);
    }
    let mut to = to.serialize_map(Some(object.len()))?;
    for (name, field) in object {
        if !matches!(field, Value::Null | Value::Bool(_)) && is_telling(name) {
            to.serialize_entry(name, HIDDEN)?;
        } else {
            to.serialize_entry(name, &Shown(field))?;
        }
    }
    to.end()
}

/// Like [`json`].
struct Shown<'a>(&'a Value);

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::String(found) => to.serialize_str(&text(found)),
            Value::Array(items) => to.collect_seq(items.iter().map(Shown)),
            Value::Object(found) => shown_fields(found, to),
            plain @ (Value::Null | Value::Bool(_) | Value::Number(_)) => plain.serialize(to),
        }
    }
}

/// Copies what stands between two tokens, and hides the value that a telling name announces there.
///
/// What is left, and the name that still counts.
fn between<'a>(rest: &'a str, name: &'a str, out: &mut String) -> (&'a str, &'a str) {
    let length = rest.find(is_token_char).unwrap_or(rest.len());
    let (gap, after) = rest.split_at(length);
    out.push_str(gap);
    let assigns = gap.contains(['=', ':']) && !gap.contains(['\n', ';', ',']);
    let option = name.starts_with("--") && gap.chars().all(|c| c == ' ');
    let scheme = name.eq_ignore_ascii_case("bearer") || name.eq_ignore_ascii_case("basic");
    let scheme = scheme && gap.chars().all(|c| c == ' ') && token_length(after) >= 8;
    if !(assigns || option || scheme) || gap.contains("://") || after.is_empty() {
        return (after, "");
    }
    if !(scheme || is_telling(name)) {
        return (after, "");
    }
    let word = &after[..token_length(after)];
    let hidden_already = gap.ends_with('[') && after.starts_with("redacted]");
    if hidden_already || word.eq_ignore_ascii_case("bearer") || word.eq_ignore_ascii_case("basic") {
        return (after, "");
    }
    let quote = gap.chars().next_back().filter(|c| matches!(c, '"' | '\'' | '`'));
    let end = match quote {
        Some(quote) => after.find(quote),
        None => {
            after.find(|c: char| c.is_whitespace() || matches!(c, '&' | ';' | ',' | '"' | '\''))
        }
    };
    out.push_str(HIDDEN);
    (&after[end.unwrap_or(after.len())..], "")
}

fn is_token_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

fn token_length(text: &str) -> usize {
    text.find(|c| !is_token_char(c)).unwrap_or(text.len())
}

fn looks_secret(token: &str) -> bool {
    let issued = PREFIXES
        .iter()
        .any(|(prefix, least)| token.strip_prefix(prefix).is_some_and(|key| key.len() >= *least));
    issued
        || is_web_token(token)
        || token.match_indices(['-', '.']).any(|(at, _)| {
            // `key-sk-…`, `v1.ghp_…`: an issued key behind a separator.
            PREFIXES.iter().any(|(prefix, least)| {
                token[at + 1..].strip_prefix(prefix).is_some_and(|key| key.len() >= *least)
            })
        })
}

/// Three parts of base64, the first an object: a JSON web token.
fn is_web_token(token: &str) -> bool {
    let mut parts = token.split('.');
    token.starts_with("eyJ")
        && parts.by_ref().take(2).all(|part| part.len() >= 8)
        && token.matches('.').count() >= 2
}

/// What stands before and behind the first private key, when there is one.
fn private_key(text: &str) -> Option<(&str, &str)> {
    for (at, begin) in text.match_indices("-----BEGIN ") {
        let Some((title, body)) = text[at + begin.len()..].split_once("-----") else { break };
        if title.len() > 64 || !title.contains("PRIVATE KEY") {
            continue;
        }
        // One without an end was cut off: all that is left belongs to it.
        let tail = body.split_once("-----END ").map_or("", |(_, tail)| tail);
        return Some((&text[..at], tail.split_once("-----").map_or("", |(_, after)| after)));
    }
    None
}

/// Where the `user:password` part of a URL ends, when there is one before the path.
fn user_part_end(text: &str) -> Option<usize> {
    let authority = text.find(|c: char| c.is_whitespace() || matches!(c, '/' | '"' | '\''));
    let at = text[..authority.unwrap_or(text.len())].rfind('@')?;
    text[..at].contains(':').then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(source: &str, kept: &str) {
        assert_eq!(text(source), kept);
    }

    #[test]
    fn fields_become_the_same_text_with_and_without_a_copy() {
        let key = "ghp_abcdefghijklmnopqrstuvwxyz0123456789";
        let object = serde_json::json!({
            "a": [1, -2.5, null, {"token": "x", "deep": {"password": ["y"], "b": true}}],
            "authorization": null, "secret": {"all": "of it"}, "z": format!("say {key}"),
            key: 1, (format!("{key}x")): 2, "m": {(key): "in a name"},
        });
        let Value::Object(object) = object else { unreachable!() };
        assert_eq!(fields_text(&object), Value::Object(fields(&object)).to_string());
    }

    #[test]
    fn issued_keys_are_hidden_wherever_they_stand() {
        check("use sk-ant-api03-abcdefghijklmnop now", "use [redacted] now");
        check("url?key=AIzaSyA1234567890abcdefghijklmnopqrstuv&x=1", "url?key=[redacted]&x=1");
        check("AKIAIOSFODNN7EXAMPLE", "[redacted]");
        check(
            "git clone https://ghp_0123456789abcdefghijABCDEFGHIJ@github.com/a/b",
            "git clone https://[redacted]@github.com/a/b",
        );
        check("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl", "[redacted]");
    }

    #[test]
    fn a_value_behind_a_telling_name_is_hidden_and_the_name_stays() {
        check("DB_PASSWORD=hunter2 make", "DB_PASSWORD=[redacted] make");
        check("curl --token abc123 x", "curl --token [redacted] x");
        check("password: \"two words\", next", "password: \"[redacted]\", next");
        check("Authorization: Bearer abcdefgh12345678", "Authorization: Bearer [redacted]");
        check("{\"api_key\":\"v\",\"n\":1}", "{\"api_key\":\"[redacted]\",\"n\":1}");
    }

    #[test]
    fn a_url_loses_its_password_and_keeps_its_host() {
        check("postgres://bob:s3cret@db:5432/x", "postgres://[redacted]@db:5432/x");
        check("https://example.org:8080/a@b", "https://example.org:8080/a@b");
    }

    #[test]
    fn a_private_key_is_hidden_as_a_whole_even_when_cut_off() {
        check(
            "a\n-----BEGIN OPENSSH PRIVATE KEY-----\nMII\n-----END OPENSSH PRIVATE KEY-----\nb",
            "a\n[redacted]\nb",
        );
        check("-----BEGIN RSA PRIVATE KEY-----\nMII", "[redacted]");
        check("-----BEGIN CERTIFICATE-----\nMII", "-----BEGIN CERTIFICATE-----\nMII");
    }

    #[test]
    fn ordinary_work_stays_readable() {
        for plain in [
            "cargo test --lib token_length",
            "the token was refused",
            "src/auth/password.rs:12: error",
            "git push origin main",
            "sk-short",
            "rm -rf 'a b' && echo naïve ✓",
            "skip: token",
        ] {
            check(plain, plain);
        }
    }

    #[test]
    fn fields_are_judged_by_name_throughout_a_value() {
        let value = serde_json::json!({
            "env": { "GITHUB_TOKEN": "x", "PATH": "/bin" },
            "list": ["ghp_0123456789abcdefghijABCDEFGHIJ"],
            "max_tokens": 5, "secret": null, "clientSecret": {"a": 1}
        });
        let expected = serde_json::json!({
            "env": { "GITHUB_TOKEN": HIDDEN, "PATH": "/bin" },
            "list": [HIDDEN],
            "max_tokens": 5, "secret": null, "clientSecret": HIDDEN
        });
        assert_eq!(json(&value), expected);
    }

    proptest::proptest! {
        #[test]
        fn hiding_never_fails_and_hides_all_at_once(source in ".{0,200}") {
            let once = text(&source);
            proptest::prop_assert_eq!(text(&once), once);
        }

        #[test]
        fn a_key_is_never_kept(before in "[ a-z/=:\"']{0,20}", key in "[A-Za-z0-9]{36}", after in "[ /&\"']{0,1}") {
            let secret = format!("ghp_{key}");
            let hidden = text(&format!("{before} {secret}{after}"));
            proptest::prop_assert!(!hidden.contains(&secret));
        }
    }
}
