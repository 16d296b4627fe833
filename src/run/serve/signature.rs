//! `X-Signature`: proof that a body comes from who holds a secret beside the API key, and is fresh.
//!
//! What is signed is not the body on the wire but Python's `json.dumps(body, sort_keys=True)` of it:
//! keys sorted by code point, `", "` and `": "` between parts, everything outside printable ASCII
//! escaped, numbers exactly as they were written. So the numbers of the body are kept as texts here
//! and never pass through a float. There is no nonce: a request is good for [`SKEW_SECONDS`], and
//! within that time the correlation id answers a repeat.
//!
//! A secret is nowhere in the store. It follows from the key's id and a key in the operator's folder,
//! so whoever reads the database can neither sign nor learn a secret.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use axum::http::HeaderMap;
use chrono::{DateTime, Utc};
use ring::hmac;
use serde_json::value::RawValue;

use super::refusal::Refusal;
use crate::govern::audit::{from_hex, hex};

/// How far a client's clock may be off.
const SKEW_SECONDS: i64 = 300;
const CONTEXT: &str = "ao 2026-11 signing secret of an API key";

/// What came with a request, still to be checked.
#[derive(Debug, Clone, Default)]
pub struct Sent {
    /// `X-Signature`.
    pub signature: Option<String>,
    /// `X-Request-Timestamp`.
    pub timestamp: Option<String>,
    pub body: Vec<u8>,
}

/// `X-Signature` and `X-Request-Timestamp`.
pub fn headers(headers: &HeaderMap) -> Result<(Option<String>, Option<String>), Refusal> {
    let text = |name: &str| match headers.get(name).map(|value| value.to_str()) {
        None => Ok(None),
        Some(Ok(text)) => Ok(Some(text.to_owned())),
        Some(Err(_)) => Err(Refusal::new(401, format!("`{name}` is no text"))),
    };
    Ok((text("x-signature")?, text("x-request-timestamp")?))
}

/// The signing secret of one API key.
pub fn secret(server_key: &[u8; 32], key_id: &str) -> String {
    let own = blake3::derive_key(CONTEXT, server_key);
    hex(blake3::keyed_hash(&own, key_id.as_bytes()).as_bytes())
}

/// Checks what a key demands or a client sent. Published clients sign no empty body, so none is asked for.
pub fn check(demanded: bool, secret: &str, sent: &Sent, now: DateTime<Utc>) -> Result<(), Refusal> {
    let refused = |why: &str| Err(Refusal::new(401, why));
    let canonical = canonical(&sent.body);
    let Some(signature) = &sent.signature else {
        let empty = canonical.as_deref() == Some("{}");
        if demanded && !empty {
            return refused("this API key demands signed requests: `X-Signature` is missing");
        }
        return Ok(());
    };
    let Some(timestamp) = &sent.timestamp else {
        return refused("a signed request needs `X-Request-Timestamp`");
    };
    let at = DateTime::parse_from_rfc3339(timestamp);
    let fresh = at.is_ok_and(|at| (now.timestamp() - at.timestamp()).abs() <= SKEW_SECONDS);
    if !fresh {
        return refused("`X-Request-Timestamp` is not within five minutes of this server's clock");
    }
    let tag = signature.strip_prefix("v1=").and_then(from_hex::<32>);
    let message = canonical.map(|body| format!("{timestamp}.{body}"));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    match (tag, message) {
        (Some(tag), Some(message)) if hmac::verify(&key, message.as_bytes(), &tag).is_ok() => {
            Ok(())
        }
        (Some(_) | None, _) => refused("`X-Signature` does not fit this request"),
    }
}

/// The header that a client would send.
pub fn header(secret: &str, timestamp: &str, body: &[u8]) -> Option<String> {
    let message = format!("{timestamp}.{}", canonical(body)?);
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    Some(format!("v1={}", hex(hmac::sign(&key, message.as_bytes()).as_ref())))
}

/// What Python would print for this body; `None` where it is no JSON. No body is an empty object.
fn canonical(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?.trim();
    if text.is_empty() {
        return Some("{}".to_owned());
    }
    // What has no one reading has no signature either, and the reader bounds how deep it goes.
    super::json::object(body).ok()?;
    let mut out = String::with_capacity(text.len());
    print(text, &mut out)?;
    Some(out)
}

fn print(text: &str, out: &mut String) -> Option<()> {
    let text = text.trim();
    match text.as_bytes().first()? {
        b'{' => {
            let members: BTreeMap<String, &RawValue> = serde_json::from_str(text).ok()?;
            out.push('{');
            for (at, (name, value)) in members.iter().enumerate() {
                out.push_str(if at == 0 { "" } else { ", " });
                quote(name, out);
                out.push_str(": ");
                print(value.get(), out)?;
            }
            out.push('}');
        }
        b'[' => {
            let members: Vec<&RawValue> = serde_json::from_str(text).ok()?;
            out.push('[');
            for (at, value) in members.iter().enumerate() {
                out.push_str(if at == 0 { "" } else { ", " });
                print(value.get(), out)?;
            }
            out.push(']');
        }
        b'"' => quote(&serde_json::from_str::<String>(text).ok()?, out),
        _ => out.push_str(text),
    }
    Some(())
}

fn quote(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            ' '..='~' => out.push(c),
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(out, "\\u{unit:04x}").expect("a string takes everything");
                }
            }
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_signed_as_python_prints_it() {
        let wire = r#" {"b": [1e+16, 2e-07, -0.0, 10, true, null], "ä": "é\u007f😀\/\n\u0001", "a":{"z":{},"Z":[]}} "#;
        let python = r#"{"a": {"Z": [], "z": {}}, "b": [1e+16, 2e-07, -0.0, 10, true, null], "\u00e4": "\u00e9\u007f\ud83d\ude00/\n\u0001"}"#;
        assert_eq!(canonical(wire.as_bytes()).as_deref(), Some(python));
        assert_eq!(canonical(b"").as_deref(), Some("{}"));
        assert_eq!(canonical(br#"{"a":1,"a":2}"#), None);
        let deep = format!("{}1{}", "{\"a\":".repeat(500), "}".repeat(500));
        assert_eq!(canonical(deep.as_bytes()), None);
    }

    #[test]
    fn only_a_fresh_signature_of_this_very_body_passes() {
        let now = DateTime::parse_from_rfc3339("2026-11-21T12:00:00Z").unwrap().to_utc();
        let secret = secret(&[7; 32], "ab12");
        assert_ne!(secret, super::secret(&[7; 32], "ab13"));
        let time = "2026-11-21T11:58:00.000001+00:00";
        let body = br#"{"x": 1}"#.to_vec();
        let good = Sent {
            signature: header(&secret, time, &body),
            timestamp: Some(time.to_owned()),
            body: body.clone(),
        };
        let passes = |demanded, sent: &Sent| check(demanded, &secret, sent, now).is_ok();
        assert!(passes(true, &good) && passes(false, &good));
        let respaced = Sent { body: br#"{"x":1}"#.to_vec(), ..good.clone() };
        assert!(passes(true, &respaced));
        let old = "2026-11-21T11:54:00+00:00";
        for bad in [
            Sent { body: br#"{"x": 2}"#.to_vec(), ..good.clone() },
            Sent { timestamp: None, ..good.clone() },
            Sent { timestamp: Some("2026-11-21T11:59:00+00:00".to_owned()), ..good.clone() },
            Sent {
                signature: header(&secret, old, &body),
                timestamp: Some(old.to_owned()),
                ..good.clone()
            },
            Sent { signature: header("other", time, &body), ..good.clone() },
            Sent { signature: Some("v1=".to_owned()), ..good.clone() },
        ] {
            assert!(!passes(false, &bad), "{bad:?}");
        }
        let unsigned = Sent { signature: None, ..good };
        assert!(!passes(true, &unsigned) && passes(false, &unsigned));
        assert!(passes(true, &Sent::default()));
    }
}
