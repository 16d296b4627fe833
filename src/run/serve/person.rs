//! People, by a JSON Web Token: who may decide on held acts over HTTP, which no API key may.
//!
//! Two issuers are believed: this server itself (`ao key token`) and the one that `[serve]` names. Each
//! has one algorithm and one key; what a token's header says of either is compared, never followed.
//! `exp`, `aud`, `iss`, `sub`, `org` and `role` are required, and `crit` is refused, as nothing
//! critical is known here. A token is good until it ends: there is no list of revoked ones.

use std::path::Path;

use chrono::{DateTime, TimeDelta, Utc};
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use ring::hmac;
use serde_json::{Map, Value, json};

use super::json;
use super::key::{Scope, is_org_name};
use crate::config::serve::{Algorithm, People};
use crate::govern::audit::from_hex;

const CONTEXT: &str = "ao 2026-11 tokens of people";
/// Issuer of the server's own tokens, and their audience.
pub const OWN: &str = "ao";
const TOKEN_BYTES_MAX: usize = 4_096;
const NAME_CHARS_MAX: usize = 128;
/// How far an issuer's clock may be ahead.
const SKEW_SECONDS: i64 = 30;
const SECRET_BYTES_MIN: usize = 32;

/// What a person may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Reads everything of the organisation.
    Auditor,
    /// Reads, and decides on held acts.
    Approver,
    /// Everything.
    Admin,
}

impl Role {
    pub const ALL: [Self; 3] = [Self::Auditor, Self::Approver, Self::Admin];

    pub fn word(self) -> &'static str {
        match self {
            Self::Auditor => "auditor",
            Self::Approver => "approver",
            Self::Admin => "admin",
        }
    }

    pub fn scope(self) -> Scope {
        match self {
            Self::Auditor | Self::Approver => Scope::Auditor,
            Self::Admin => Scope::Admin,
        }
    }

    pub fn approves(self) -> bool {
        match self {
            Self::Auditor => false,
            Self::Approver | Self::Admin => true,
        }
    }
}

/// Whom a token stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    pub name: String,
    pub org: String,
    pub role: Role,
}

#[derive(Debug, thiserror::Error)]
pub enum PersonError {
    #[error("cannot read the key of `people_issuer`")]
    Read(#[source] std::io::Error),
    #[error("`people_key` is no Ed25519 public key: 64 hex digits or PEM")]
    NoKey,
    #[error("`people_key` has less than {SECRET_BYTES_MIN} bytes, which is no secret for HS256")]
    Short,
}

#[derive(Debug)]
enum Key {
    EdDsa(VerifyingKey),
    Hs256(hmac::Key),
}

#[derive(Debug)]
struct Issuer {
    name: String,
    audience: String,
    key: Key,
}

/// Whose tokens are believed.
#[derive(Debug)]
pub struct Issuers(Vec<Issuer>);

fn own_key(server_key: &[u8; 32]) -> SigningKey {
    SigningKey::from_bytes(&blake3::derive_key(CONTEXT, server_key))
}

/// A token of this server's own.
pub fn issue(
    server_key: &[u8; 32],
    person: &Person,
    lasts: TimeDelta,
    now: DateTime<Utc>,
) -> String {
    let header = json!({ "alg": "EdDSA", "typ": "JWT" });
    let claims = json!({
        "iss": OWN, "aud": OWN, "sub": person.name, "org": person.org, "role": person.role.word(),
        "iat": now.timestamp(), "exp": (now + lasts).timestamp(),
    });
    let part = |value: &Value| encode(value.to_string().as_bytes());
    let text = format!("{}.{}", part(&header), part(&claims));
    let signature = own_key(server_key).sign(text.as_bytes());
    format!("{text}.{}", encode(&signature.to_bytes()))
}

impl Issuers {
    /// This server, and who the config names.
    pub fn read(server_key: &[u8; 32], people: Option<&People>) -> Result<Self, PersonError> {
        let key = Key::EdDsa(own_key(server_key).verifying_key());
        let mut issuers = vec![Issuer { name: OWN.to_owned(), audience: OWN.to_owned(), key }];
        if let Some(people) = people {
            let (name, audience) = (people.issuer.clone(), people.audience.clone());
            issuers.push(Issuer { name, audience, key: read_key(people.algorithm, &people.key)? });
        }
        Ok(Self(issuers))
    }

    /// The person behind a token; what is wrong with a bad one is told to nobody.
    pub fn verify(&self, token: &str, now: DateTime<Utc>) -> Option<Person> {
        if token.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let header = json::object(&decode(header)?).ok()?;
        let claims = json::object(&decode(claims)?).ok()?;
        let signature = decode(signature)?;
        let text = |object: &Map<String, Value>, name: &str| {
            object.get(name).and_then(Value::as_str).map(str::to_owned)
        };
        let issuer = text(&claims, "iss")?;
        let issuer = self.0.iter().find(|known| known.name == issuer)?;
        let algorithm = text(&header, "alg")?;
        let genuine = match &issuer.key {
            Key::EdDsa(key) => {
                let signature = ed25519_dalek::Signature::from_slice(&signature).ok()?;
                algorithm == "EdDSA" && key.verify_strict(signed.as_bytes(), &signature).is_ok()
            }
            Key::Hs256(key) => {
                algorithm == "HS256" && hmac::verify(key, signed.as_bytes(), &signature).is_ok()
            }
        };
        if !genuine || header.contains_key("crit") {
            return None;
        }
        let audience = match claims.get("aud")? {
            Value::String(audience) => *audience == issuer.audience,
            Value::Array(all) => all.iter().any(|it| *it == issuer.audience.as_str()),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => false,
        };
        let now = now.timestamp();
        let ends = claims.get("exp")?.as_i64()?;
        let begins = match claims.get("nbf") {
            None => i64::MIN,
            Some(begins) => begins.as_i64()?.saturating_sub(SKEW_SECONDS),
        };
        if !audience || now >= ends || now < begins {
            return None;
        }
        let role = text(&claims, "role")?;
        let role = Role::ALL.into_iter().find(|known| known.word() == role)?;
        let (name, org) = (text(&claims, "sub")?, text(&claims, "org")?);
        let plain = !name.is_empty()
            && name.chars().count() <= NAME_CHARS_MAX
            && !name.contains(char::is_control);
        (plain && is_org_name(&org)).then_some(Person { name, org, role })
    }
}

fn read_key(algorithm: Algorithm, path: &Path) -> Result<Key, PersonError> {
    use rustls::pki_types::SubjectPublicKeyInfoDer;
    use rustls::pki_types::pem::PemObject as _;
    let text = std::fs::read_to_string(path).map_err(PersonError::Read)?;
    let text = text.trim();
    match algorithm {
        Algorithm::Hs256 if text.len() < SECRET_BYTES_MIN => Err(PersonError::Short),
        Algorithm::Hs256 => Ok(Key::Hs256(hmac::Key::new(hmac::HMAC_SHA256, text.as_bytes()))),
        Algorithm::EdDsa => {
            let bytes: Option<[u8; 32]> = if text.starts_with("-----BEGIN") {
                // The key is the end of the one structure that Ed25519 has.
                let der = SubjectPublicKeyInfoDer::from_pem_slice(text.as_bytes()).ok();
                der.filter(|der| der.len() == 44 && der.starts_with(ED25519_PREFIX))
                    .and_then(|der| der[12..].try_into().ok())
            } else {
                from_hex(text)
            };
            let key = bytes.and_then(|bytes| VerifyingKey::from_bytes(&bytes).ok());
            key.map(Key::EdDsa).ok_or(PersonError::NoKey)
        }
    }
}

const ED25519_PREFIX: &[u8] =
    &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0];

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// URL-safe base64 without padding.
fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 4 / 3 + 3);
    for part in bytes.chunks(3) {
        let mut all = 0_u32;
        for at in 0..3 {
            all = all << 8 | u32::from(part.get(at).copied().unwrap_or(0));
        }
        for digit in 0..=part.len() {
            let index = all >> (18 - 6 * digit) & 63;
            text.push(char::from(DIGITS[index as usize]));
        }
    }
    text
}

/// `None` for anything that is not exactly what [`encode`] writes.
fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    for part in text.as_bytes().chunks(4) {
        let mut all = 0_u32;
        for at in 0..4 {
            let digit = match part.get(at) {
                None => 0,
                Some(digit) => DIGITS.iter().position(|known| known == digit)?,
            };
            all = all << 6 | u32::try_from(digit).ok()?;
        }
        let whole = all.to_be_bytes();
        match part.len() {
            4 => bytes.extend_from_slice(&whole[1..]),
            3 if whole[3] == 0 => bytes.extend_from_slice(&whole[1..3]),
            2 if whole[2] == 0 && whole[3] == 0 => bytes.push(whole[1]),
            _ => return None,
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).unwrap()
    }

    fn ann() -> Person {
        Person { name: "ann".to_owned(), org: "acme".to_owned(), role: Role::Approver }
    }

    #[test]
    fn base64_is_read_as_it_is_written_and_no_other_way() {
        for bytes in [&b""[..], b"f", b"fo", b"foo", b"foob", b"fooba", b"\xff\xfe\xfd\x00"] {
            assert_eq!(decode(&encode(bytes)).as_deref(), Some(bytes));
        }
        assert_eq!(encode(b"fooba"), "Zm9vYmE");
        for bad in ["Zm9vYmF", "Zg==", "Z", "Zm9v YmE", "Zm+v", "Zh"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_own_token_stands_for_its_person_until_it_ends() {
        let issuers = Issuers::read(&[1; 32], None).unwrap();
        let token = issue(&[1; 32], &ann(), TimeDelta::minutes(5), now());
        assert_eq!(issuers.verify(&token, now()), Some(ann()));
        assert_eq!(issuers.verify(&token, now() + TimeDelta::minutes(5)), None);
        assert_eq!(Issuers::read(&[2; 32], None).unwrap().verify(&token, now()), None);
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let forged = encode(
            br#"{"iss":"ao","aud":"ao","sub":"ann","org":"acme","role":"admin","exp":9999999999}"#,
        );
        let header = signed.split_once('.').unwrap().0;
        assert_eq!(issuers.verify(&format!("{header}.{forged}.{signature}"), now()), None);
        let none = encode(br#"{"alg":"none"}"#);
        assert_eq!(issuers.verify(&format!("{none}.{forged}."), now()), None);
        // The public key as a secret, which a careless reader takes.
        let public = own_key(&[1; 32]).verifying_key();
        let header = encode(br#"{"alg":"HS256"}"#);
        let text = format!("{header}.{forged}");
        let key = hmac::Key::new(hmac::HMAC_SHA256, public.as_bytes());
        let tag = encode(hmac::sign(&key, text.as_bytes()).as_ref());
        assert_eq!(issuers.verify(&format!("{text}.{tag}"), now()), None);
    }

    #[test]
    fn a_token_of_the_named_issuer_needs_every_claim() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let secret = "a secret of thirty-two bytes or more";
        std::fs::write(file.path(), format!("{secret}\n")).unwrap();
        let people = People {
            issuer: "https://id.example".to_owned(),
            audience: "fleet".to_owned(),
            algorithm: Algorithm::Hs256,
            key: file.path().to_owned(),
        };
        let issuers = Issuers::read(&[1; 32], Some(&people)).unwrap();
        let verify = |header: &Value, claims: &Value| {
            let text = format!(
                "{}.{}",
                encode(header.to_string().as_bytes()),
                encode(claims.to_string().as_bytes())
            );
            let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
            let tag = encode(hmac::sign(&key, text.as_bytes()).as_ref());
            issuers.verify(&format!("{text}.{tag}"), now())
        };
        let header = json!({ "alg": "HS256" });
        let claims = json!({
            "iss": "https://id.example", "aud": ["other", "fleet"], "sub": "ann", "org": "acme",
            "role": "approver", "exp": now().timestamp() + 60, "nbf": now().timestamp(),
        });
        assert_eq!(verify(&header, &claims), Some(ann()));
        for name in ["iss", "aud", "sub", "org", "role", "exp"] {
            let mut less = claims.clone();
            less.as_object_mut().unwrap().remove(name);
            assert_eq!(verify(&header, &less), None, "{name}");
        }
        for (name, value) in [
            ("aud", json!("other")),
            ("exp", json!(now().timestamp())),
            ("exp", json!("9999999999")),
            ("nbf", json!(now().timestamp() + 60)),
            ("role", json!("agent")),
            ("org", json!("@server")),
            ("sub", json!("")),
        ] {
            let mut other = claims.clone();
            other[name] = value;
            assert_eq!(verify(&header, &other), None, "{name}");
        }
        assert_eq!(verify(&json!({ "alg": "HS256", "crit": ["x"] }), &claims), None);
        assert_eq!(verify(&json!({ "alg": "HS512" }), &claims), None);
        std::fs::write(file.path(), "short").unwrap();
        assert!(matches!(Issuers::read(&[1; 32], Some(&people)), Err(PersonError::Short)));
    }

    #[test]
    fn an_ed25519_key_is_read_as_pem_or_hex() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let pem = "-----BEGIN PUBLIC KEY-----\n\
                   MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
                   -----END PUBLIC KEY-----\n";
        let hex = "19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1";
        for text in [pem, hex] {
            std::fs::write(file.path(), text).unwrap();
            let key = read_key(Algorithm::EdDsa, file.path()).unwrap();
            let Key::EdDsa(key) = key else { panic!("{key:?}") };
            assert_eq!(crate::govern::audit::hex(key.as_bytes()), hex);
        }
        std::fs::write(file.path(), "x").unwrap();
        assert!(matches!(read_key(Algorithm::EdDsa, file.path()), Err(PersonError::NoKey)));
    }
}
