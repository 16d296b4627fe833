//! API keys and organisations: made by the operator, looked up by a public id, kept as a digest.
//!
//! A key is `ao_ID_SECRET`, or `owkai_ID_SECRET` for clients that insist on that beginning. The
//! secret has 256 random bits, so one round of BLAKE3 is enough; slow hashing is for passwords. All
//! keys lie in one place of the store that no organisation can be named like, because a key is what
//! says which organisation a request belongs to.

use std::io::Read as _;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::person::Person;
use crate::base::now::Now;
use crate::govern::audit::{Draft, Kind, hex};
use crate::govern::trust::Level;
use crate::run::governance::LOCAL_ORG;
use crate::sys::db::{self, DbError, Likely, Store, Tx};

/// Where keys and organisations lie; not a name that [`is_org_name`] accepts.
pub(super) const REGISTER: &str = "@server";
const KEY: &str = "api_key";
const ORG: &str = "org";
/// Separates the digests of keys from all other uses of the hash.
const CONTEXT: &str = "ao 2026-03 API key";
const ID_BYTES: usize = 8;
const SECRET_BYTES: usize = 32;

/// What a key may be used for; each scope includes those before it only where a route says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Submits acts and reports outcomes.
    Agent,
    /// Reads everything of its organisation, changes nothing.
    Auditor,
    /// Everything but deciding on held acts, which no key may.
    Admin,
}

impl Scope {
    pub const ALL: [Self; 3] = [Self::Agent, Self::Auditor, Self::Admin];

    pub fn word(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Auditor => "auditor",
            Self::Admin => "admin",
        }
    }
}

/// A key as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// The public part.
    pub id: String,
    /// What the whole key begins with: `ao`, `owkai`.
    pub beginning: String,
    pub org: String,
    pub scope: Scope,
    /// The only agent it speaks for; `None`: any of its organisation.
    pub agent: Option<String>,
    pub digest: String,
    /// Its requests must be signed.
    #[serde(default)]
    pub signed: bool,
    pub made: DateTime<Utc>,
    pub by: String,
    pub expires: Option<DateTime<Utc>>,
    pub revoked: Option<DateTime<Utc>>,
}

impl Key {
    pub fn holds(&self, now: DateTime<Utc>) -> bool {
        self.revoked.is_none() && self.expires.is_none_or(|expires| now < expires)
    }
}

/// An organisation: the unit of isolation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Org {
    pub name: String,
    /// From 1; clients that want a number get this one.
    pub number: u64,
    /// Of its agents that nobody gave a level.
    pub trust: Level,
    pub made: DateTime<Utc>,
    /// Acts may name only registered MCP servers.
    #[serde(default)]
    pub demands_mcp_servers: bool,
    /// Acts may name only registered models.
    #[serde(default)]
    pub demands_models: bool,
}

impl Org {
    /// The organisation that is there without being made.
    pub fn local() -> Self {
        let made = DateTime::UNIX_EPOCH;
        let name = LOCAL_ORG.to_owned();
        let (demands_mcp_servers, demands_models) = (false, false);
        Self { name, number: 1, trust: Level::L1, made, demands_mcp_servers, demands_models }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error(transparent)]
    Db(#[from] DbError),
    #[error("there is no organisation `{0}`")]
    NoOrg(String),
    #[error("there is an organisation `{0}` already")]
    OrgThere(String),
    #[error("`{0}` cannot name an organisation: lower-case letters, digits and `-`, at most 40")]
    OrgName(String),
    #[error("there is no key `{0}`")]
    NoKey(String),
    #[error("the key `{0}` opens nothing any more")]
    Over(String),
    #[error("cannot read random bytes")]
    Random(#[source] std::io::Error),
}

pub fn is_org_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !name.is_empty() && name.len() <= 40 && name.bytes().all(fits)
}

/// All organisations, by number.
pub fn orgs(store: &mut dyn Store) -> Result<Vec<Org>, KeyError> {
    let facts = db::read(store, REGISTER, |tx| tx.facts(ORG))?;
    let mut orgs: Vec<Org> =
        facts.into_iter().map(|(_, body)| parse(body)).collect::<Result<_, _>>()?;
    if orgs.iter().all(|org| org.name != LOCAL_ORG) {
        orgs.push(Org::local());
    }
    orgs.sort_by_key(|org| org.number);
    Ok(orgs)
}

pub fn org(store: &mut dyn Store, name: &str) -> Result<Option<Org>, KeyError> {
    let body = db::read(store, REGISTER, |tx| tx.fact(ORG, name))?;
    match body {
        Some(body) => Ok(Some(parse(body)?)),
        None => Ok((name == LOCAL_ORG).then(Org::local)),
    }
}

/// Makes an organisation, or sets the trust of one that is there when `change` says so.
pub fn org_put(
    store: &mut dyn Store,
    name: &str,
    trust: Level,
    change: bool,
    by: &str,
    now: Now,
) -> Result<Org, KeyError> {
    if !is_org_name(name) {
        return Err(KeyError::OrgName(name.to_owned()));
    }
    let known = orgs(store)?;
    let made = match (known.iter().find(|org| org.name == name), change) {
        (Some(_), false) => return Err(KeyError::OrgThere(name.to_owned())),
        (None, true) => return Err(KeyError::NoOrg(name.to_owned())),
        (Some(org), true) => Org { trust, ..org.clone() },
        (None, false) => {
            let number = known.iter().map(|org| org.number).max().unwrap_or(0) + 1;
            Org { name: name.to_owned(), number, trust, made: now.wall, ..Org::local() }
        }
    };
    keep(store, &made, now)?;
    let draft = Draft::new(Kind::KeyChanged, by, format!("organisation {name}"))
        .with("trust", trust.word());
    db::write(store, name, now, |tx| db::append(tx, &draft, now).map(drop))?;
    Ok(made)
}

/// Says what acts of an organisation must name; `None` leaves it as it is.
pub fn org_demand(
    store: &mut dyn Store,
    name: &str,
    (mcp_servers, models): (Option<bool>, Option<bool>),
    by: &str,
    now: Now,
) -> Result<Org, KeyError> {
    let mut changed = org(store, name)?.ok_or_else(|| KeyError::NoOrg(name.to_owned()))?;
    changed.demands_mcp_servers = mcp_servers.unwrap_or(changed.demands_mcp_servers);
    changed.demands_models = models.unwrap_or(changed.demands_models);
    keep(store, &changed, now)?;
    let draft = Draft::new(Kind::KeyChanged, by, format!("organisation {name}"))
        .with("demands_mcp_servers", changed.demands_mcp_servers)
        .with("demands_models", changed.demands_models);
    db::write(store, name, now, |tx| db::append(tx, &draft, now).map(drop))?;
    Ok(changed)
}

fn keep(store: &mut dyn Store, org: &Org, now: Now) -> Result<(), DbError> {
    let body = serde_json::to_value(org).expect("plain data of ours serialises");
    db::write(store, REGISTER, now, |tx| tx.fact_put(ORG, &org.name, &body))
}

/// What a new key is to be.
#[derive(Debug, Clone)]
pub struct NewKey<'a> {
    pub org: &'a str,
    pub scope: Scope,
    pub agent: Option<String>,
    pub expires: Option<DateTime<Utc>>,
    /// `ao` or `owkai`.
    pub beginning: &'a str,
    /// Its requests must be signed.
    pub signed: bool,
}

/// Makes a key. The second value is the whole key: it is nowhere else.
pub fn create(
    store: &mut dyn Store,
    new: &NewKey<'_>,
    by: &str,
    now: Now,
) -> Result<(Key, String), KeyError> {
    if org(store, new.org)?.is_none() {
        return Err(KeyError::NoOrg(new.org.to_owned()));
    }
    let (mut id, mut secret) = ([0; ID_BYTES], [0; SECRET_BYTES]);
    let mut source = std::fs::File::open("/dev/urandom").map_err(KeyError::Random)?;
    source
        .read_exact(&mut id)
        .and_then(|()| source.read_exact(&mut secret))
        .map_err(KeyError::Random)?;
    let id = hex(&id);
    let text = format!("{}_{id}_{}", new.beginning, hex(&secret));
    let key = Key {
        id: id.clone(),
        beginning: new.beginning.to_owned(),
        org: new.org.to_owned(),
        scope: new.scope,
        agent: new.agent.clone(),
        digest: hex(&digest(&text)),
        signed: new.signed,
        made: now.wall,
        by: by.to_owned(),
        expires: new.expires,
        revoked: None,
    };
    put(store, &key, now)?;
    let draft = Draft::new(Kind::KeyChanged, by, format!("API key {id}"))
        .with("scope", key.scope.word())
        .with("agent", key.agent.clone())
        .with("signed", key.signed)
        .with("expires", key.expires.map(|expires| expires.to_rfc3339()));
    db::write(store, new.org, now, |tx| db::append(tx, &draft, now).map(drop))?;
    Ok((key, text))
}

/// All keys, revoked ones too, by organisation and age.
pub fn list(store: &mut dyn Store) -> Result<Vec<Key>, KeyError> {
    let facts = db::read(store, REGISTER, |tx| tx.facts(KEY))?;
    let mut keys: Vec<Key> =
        facts.into_iter().map(|(_, body)| parse(body)).collect::<Result<_, _>>()?;
    keys.sort_by(|one, other| {
        (&one.org, one.made, &one.id).cmp(&(&other.org, other.made, &other.id))
    });
    Ok(keys)
}

/// From now on the key opens nothing. Revoking twice keeps the first time.
pub fn revoke(store: &mut dyn Store, id: &str, by: &str, now: Now) -> Result<Key, KeyError> {
    let body = db::read(store, REGISTER, |tx| tx.fact(KEY, id))?;
    let mut key: Key = parse(body.ok_or_else(|| KeyError::NoKey(id.to_owned()))?)?;
    if key.revoked.is_none() {
        key.revoked = Some(now.wall);
        put(store, &key, now)?;
        let draft = Draft::new(Kind::KeyChanged, by, format!("API key {id}")).with("revoked", true);
        db::write(store, &key.org, now, |tx| db::append(tx, &draft, now).map(drop))?;
    }
    Ok(key)
}

/// Records that a person was given a token.
pub fn record_token(
    store: &mut dyn Store,
    person: &Person,
    lasts: TimeDelta,
    by: &str,
    now: Now,
) -> Result<(), DbError> {
    let draft = Draft::new(Kind::KeyChanged, by, format!("token of {}", person.name))
        .with("role", person.role.word())
        .with("minutes", lasts.num_minutes());
    db::write(store, &person.org, now, |tx| db::append(tx, &draft, now).map(drop))
}

/// Sets when a key ends. A key that was revoked stays so.
pub fn expire(
    store: &mut dyn Store,
    id: &str,
    at: DateTime<Utc>,
    by: &str,
    now: Now,
) -> Result<Key, KeyError> {
    let body = db::read(store, REGISTER, |tx| tx.fact(KEY, id))?;
    let mut key: Key = parse(body.ok_or_else(|| KeyError::NoKey(id.to_owned()))?)?;
    key.expires = Some(at);
    put(store, &key, now)?;
    let draft =
        Draft::new(Kind::KeyChanged, by, format!("API key {id}")).with("expires", at.to_rfc3339());
    db::write(store, &key.org, now, |tx| db::append(tx, &draft, now).map(drop))?;
    Ok(key)
}

/// Makes a key like this one, which ends after `overlap` or when it would have anyway.
pub fn rotate(
    store: &mut dyn Store,
    id: &str,
    overlap: TimeDelta,
    by: &str,
    now: Now,
) -> Result<(Key, String), KeyError> {
    let body = db::read(store, REGISTER, |tx| tx.fact(KEY, id))?;
    let old: Key = parse(body.ok_or_else(|| KeyError::NoKey(id.to_owned()))?)?;
    if !old.holds(now.wall) {
        return Err(KeyError::Over(id.to_owned()));
    }
    let new = NewKey {
        org: &old.org,
        scope: old.scope,
        agent: old.agent.clone(),
        // As long as the old one was made for.
        expires: old.expires.map(|expires| now.wall + (expires - old.made)),
        beginning: &old.beginning,
        signed: old.signed,
    };
    let made = create(store, &new, by, now)?;
    let ends = now.wall + overlap;
    expire(store, id, old.expires.map_or(ends, |expires| expires.min(ends)), by, now)?;
    Ok(made)
}

/// The key that a request brought, if it is one and still holds.
pub fn authenticate(store: &mut dyn Store, text: &str, now: Now) -> Result<Option<Key>, KeyError> {
    let mut parts = text.split('_');
    let (Some(beginning), Some(id), Some(_), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Ok(None);
    };
    let found = digest(text);
    let kept: Option<Key> =
        db::read(store, REGISTER, |tx| tx.fact(KEY, id))?.map(parse).transpose()?;
    let kept = kept.filter(|key| key.beginning == beginning);
    let expected = kept
        .as_ref()
        .map_or([0; 32], |key| crate::govern::audit::from_hex(&key.digest).unwrap_or([0; 32]));
    // `blake3::Hash` compares in constant time.
    let same = blake3::Hash::from(found) == blake3::Hash::from(expected);
    Ok(kept.filter(|key| same && key.holds(now.wall)))
}

/// The public part of a text that may be a key.
pub(super) fn public_id(text: &str) -> Option<&str> {
    text.split('_').nth(1)
}

/// Where a key lies, for looking it up ahead.
pub(super) fn likely_key(id: &str) -> Likely {
    Likely::Fact { org: REGISTER.to_owned(), kind: KEY, key: id.to_owned() }
}

pub(super) fn likely_org(name: &str) -> Likely {
    Likely::Fact { org: REGISTER.to_owned(), kind: ORG, key: name.to_owned() }
}

pub(super) fn digest(text: &str) -> [u8; 32] {
    blake3::derive_key(CONTEXT, text.as_bytes())
}

fn put(store: &mut dyn Store, key: &Key, now: Now) -> Result<(), DbError> {
    let body = serde_json::to_value(key).expect("plain data of ours serialises");
    db::write(store, REGISTER, now, |tx: &mut dyn Tx| tx.fact_put(KEY, &key.id, &body))
}

fn parse<T: serde::de::DeserializeOwned>(body: Value) -> Result<T, DbError> {
    serde_json::from_value(body)
        .map_err(|error| DbError::Damaged { what: format!("a key or organisation ({error})") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::clock;
    use crate::sys::db::memory::MemoryStore;

    fn new(scope: Scope) -> NewKey<'static> {
        NewKey { org: LOCAL_ORG, scope, agent: None, expires: None, beginning: "ao", signed: false }
    }

    #[test]
    fn a_key_opens_until_it_is_revoked_or_over_and_no_other_text_does() {
        let (mut store, now) = (MemoryStore::default(), clock::now());
        let (key, text) = create(&mut store, &new(Scope::Agent), "ann", now).unwrap();
        assert_eq!(text.len(), 3 + 16 + 1 + 64);
        assert!(!serde_json::to_string(&key).unwrap().contains(&text[20..]));
        let mut opens = |text: &str, now| authenticate(&mut store, text, now).unwrap().is_some();
        assert!(opens(&text, now));
        let last = if text.ends_with('0') { "1" } else { "0" };
        for other in [
            format!("{}{last}", &text[..text.len() - 1]),
            format!("{text}_"),
            text.replacen("ao_", "owkai_", 1),
            text.to_uppercase(),
            String::new(),
            "ao_x_".to_owned(),
        ] {
            assert!(!opens(&other, now), "{other}");
        }
        revoke(&mut store, &key.id, "ann", now).unwrap();
        assert!(authenticate(&mut store, &text, now).unwrap().is_none());
        let expires = Some(now.wall + chrono::TimeDelta::seconds(1));
        let (_, text) =
            create(&mut store, &NewKey { expires, ..new(Scope::Admin) }, "ann", now).unwrap();
        assert!(authenticate(&mut store, &text, now).unwrap().is_some());
        let later = Now { wall: now.wall + chrono::TimeDelta::seconds(1), ..now };
        assert!(authenticate(&mut store, &text, later).unwrap().is_none());
    }

    #[test]
    fn a_rotated_key_has_a_successor_like_it_and_ends_later() {
        let (mut store, now) = (MemoryStore::default(), clock::now());
        let agent = Some("worker".to_owned());
        let signed = NewKey { agent, signed: true, ..new(Scope::Agent) };
        let (old, text) = create(&mut store, &signed, "ann", now).unwrap();
        let hour = TimeDelta::hours(1);
        let (made, fresh) = rotate(&mut store, &old.id, hour, "ann", now).unwrap();
        assert_eq!(
            (made.agent.as_deref(), made.signed, made.expires),
            (Some("worker"), true, None)
        );
        let later = Now { wall: now.wall + hour, ..now };
        let mut opens = |text: &str, now| authenticate(&mut store, text, now).unwrap().is_some();
        assert!(opens(&text, now) && opens(&fresh, now));
        assert!(!opens(&text, later) && opens(&fresh, later));
        let over = rotate(&mut store, &old.id, hour, "ann", later);
        assert!(matches!(over, Err(KeyError::Over(_))));
    }

    #[test]
    fn organisations_are_made_once_and_numbered() {
        let (mut store, now) = (MemoryStore::default(), clock::now());
        let made = org_put(&mut store, "acme", Level::L2, false, "ann", now).unwrap();
        assert_eq!(made.number, 2);
        assert!(matches!(
            org_put(&mut store, "acme", Level::L2, false, "ann", now),
            Err(KeyError::OrgThere(_))
        ));
        assert!(matches!(
            org_put(&mut store, "@server", Level::L2, false, "ann", now),
            Err(KeyError::OrgName(_))
        ));
        org_put(&mut store, LOCAL_ORG, Level::L3, true, "ann", now).unwrap();
        let names: Vec<_> =
            orgs(&mut store).unwrap().into_iter().map(|org| (org.name, org.trust)).collect();
        assert_eq!(names, [("local".to_owned(), Level::L3), ("acme".to_owned(), Level::L2)]);
        assert!(matches!(
            create(&mut store, &NewKey { org: "none", ..new(Scope::Agent) }, "ann", now),
            Err(KeyError::NoOrg(_))
        ));
    }
}
