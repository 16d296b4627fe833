//! What a person accepted of a governed project: its guarded settings and its policies.
//!
//! Files beside the operator's keys, named after the config's path. The head is small and signed by the
//! operator's key; hooks read it at each call. The body holds the accepted texts, which the head's digests
//! prove. An agent can edit `agents.toml`; without the key it cannot make an edit count.
//!
//! Surprise: the config itself says where the keys are, so the place is looked for in the user's own folder
//! and in a note in the state folder first, and only then where the config, which may be the changed one, says.

use std::collections::BTreeMap;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use ed25519_dalek::{Signature, Signer as _, VerifyingKey};
use serde::{Deserialize, Serialize};

use super::governance::operator::{self, Operator, OperatorError};
use super::policies;
use super::store::Store;
use crate::base::now::Now;
use crate::config::{self, Config, guarded};
use crate::govern::audit::{from_hex, hex};
use crate::sys::file::{self, FileError};

const VERSION: u32 = 1;
/// Of the operator's folder.
const FOLDER: &str = "accepted";
/// How the problem of a config begins whose changes nobody accepted.
pub const UNACCEPTED: &str = "nobody accepted these changes; `ao config accept` does:";

/// The signed half.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    version: u32,
    /// The config's path.
    pub config: PathBuf,
    /// Of the texts of the config and of the table of classes.
    texts: String,
    /// Of the policy files, as a set has it.
    pub policies: String,
    pub by: String,
    pub at: DateTime<Utc>,
    signature: String,
}

/// The texts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Body {
    config: String,
    classes: Option<String>,
    /// Name and text of each policy file.
    policies: Vec<(String, String)>,
}

#[derive(Debug, thiserror::Error)]
pub enum AcceptedError {
    #[error(transparent)]
    Operator(#[from] OperatorError),
    #[error("cannot read what was accepted, `{path}`")]
    Read {
        path: PathBuf,
        #[source]
        cause: std::io::Error,
    },
    #[error("`{path}` is not what a person accepted: {why}")]
    Forged { path: PathBuf, why: &'static str },
    #[error("cannot keep what was accepted")]
    Write(#[from] FileError),
    #[error("cannot read `{path}`")]
    Text {
        path: PathBuf,
        #[source]
        cause: std::io::Error,
    },
    #[error(transparent)]
    Policies(#[from] policies::PoliciesError),
}

/// What is in force, and what waits.
#[derive(Debug)]
pub struct InForce {
    pub config: Config,
    pub waiting: Option<Waiting>,
}

/// Changes that nobody accepted yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Of all that would be accepted.
    pub digest: String,
    /// One line each: `- name = value` was accepted, `+ name = value` is written.
    pub lines: Vec<String>,
}

impl Waiting {
    /// For status and events.
    pub fn problem(&self) -> String {
        format!("{UNACCEPTED}\n{}", self.lines.join("\n"))
    }
}

/// Everything of a project that acceptance is about, as it is written now.
#[derive(Debug)]
pub struct Written {
    settings: BTreeMap<String, String>,
    body: Body,
    policies: String,
}

impl Written {
    /// `text`: of the config's file.
    pub fn read(config: &Config, text: &str) -> Result<Self, AcceptedError> {
        let classes = config.governance.classes.as_ref().map(|path| {
            std::fs::read_to_string(path)
                .map_err(|cause| AcceptedError::Text { path: path.clone(), cause })
        });
        let classes = classes.transpose()?;
        let files = match policies::read(&config.governance.policies) {
            Err(policies::PoliciesError::NoFolder { .. }) => Vec::new(),
            found => found?,
        };
        let digest = policies::digest(&files);
        let settings = guarded::settings(config);
        let body = Body { config: text.to_owned(), classes, policies: files };
        Ok(Self { settings, body, policies: digest })
    }

    /// Names exactly what a person is asked to accept.
    pub fn digest(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for (name, value) in &self.settings {
            hasher.update(format!("{name} = {value}\n").as_bytes());
        }
        hasher.update(self.body.classes.as_deref().unwrap_or_default().as_bytes());
        hasher.update(self.policies.as_bytes());
        hasher.finalize().to_hex().to_string()
    }

    /// The digest of the policy files.
    pub fn policies(&self) -> &str {
        &self.policies
    }

    fn against(&self, before: &Self) -> Option<Waiting> {
        let mut lines = Vec::new();
        let names = before.settings.keys().chain(self.settings.keys());
        let mut names: Vec<&String> = names.collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            let (old, new) = (before.settings.get(name), self.settings.get(name));
            if old != new {
                lines.extend(old.map(|old| format!("- {name} = {old}")));
                lines.extend(new.map(|new| format!("+ {name} = {new}")));
            }
        }
        if self.body.classes != before.body.classes {
            lines.push("* the table of action classes".to_owned());
        }
        if self.policies != before.policies {
            lines.extend(changed_files(&before.body.policies, &self.body.policies));
        }
        (!lines.is_empty()).then(|| Waiting { digest: self.digest(), lines })
    }
}

fn changed_files(before: &[(String, String)], after: &[(String, String)]) -> Vec<String> {
    let text = |files: &[(String, String)], name: &str| {
        files.iter().find(|(own, _)| own == name).map(|(_, text)| text.clone())
    };
    let mut names: Vec<&str> = before.iter().chain(after).map(|(name, _)| &**name).collect();
    names.sort_unstable();
    names.dedup();
    names
        .into_iter()
        .filter_map(|name| match (text(before, name), text(after, name)) {
            (Some(old), Some(new)) => (old != new).then(|| format!("* policy file {name}")),
            (Some(_), None) => Some(format!("- policy file {name}")),
            (None, Some(_)) => Some(format!("+ policy file {name}")),
            (None, None) => None,
        })
        .collect()
}

/// The note in the state folder of where the operator's folder was when something was accepted.
fn note(state: &Path) -> PathBuf {
    state.join("accepted.json")
}

fn stem(config: &Path) -> String {
    hex(&blake3::hash(config.as_os_str().as_encoded_bytes()).as_bytes()[..8])
}

fn head_in(operator: &Path, config: &Path) -> PathBuf {
    operator.join(FOLDER).join(format!("{}.head", stem(config)))
}

/// Where the head of a config may be.
fn places(config: &Config, state: &Path) -> impl Iterator<Item = PathBuf> {
    let noted = std::fs::read(note(state)).ok();
    let noted = noted.and_then(|bytes| serde_json::from_slice::<PathBuf>(&bytes).ok());
    let folders = [operator::folder().ok(), noted, config.governance.operator.clone()];
    folders.into_iter().flatten().map(|folder| head_in(&folder, &config.file))
}

/// The head of a config, where something was accepted.
pub fn head_of(config: &Config, state: &Path) -> Option<PathBuf> {
    places(config, state).find(|path| path.exists())
}

/// Changes whenever something is accepted.
pub fn stamp(config: &Config) -> Option<std::time::SystemTime> {
    let head = head_of(config, &Store::new(config).state())?;
    std::fs::metadata(head).and_then(|facts| facts.modified()).ok()
}

impl Head {
    /// Reads and proves it; the key is beside it.
    pub fn read(path: &Path) -> Result<Self, AcceptedError> {
        let forged = |why| AcceptedError::Forged { path: path.to_owned(), why };
        let bytes = std::fs::read(path)
            .map_err(|cause| AcceptedError::Read { path: path.to_owned(), cause })?;
        let head: Self = serde_json::from_slice(&bytes).map_err(|_| forged("it does not read"))?;
        if head.version != VERSION {
            return Err(forged("another version of ao wrote it"));
        }
        let folder = path.parent().and_then(Path::parent).unwrap_or(path);
        let key = Operator::open(folder.to_owned())?.decision_public()?;
        let key = key.ok_or_else(|| forged("the operator has no key"))?;
        if head.is_signed(&key) { Ok(head) } else { Err(forged("the operator did not sign it")) }
    }

    fn statement(&self) -> String {
        let Self { config, texts, policies, by, at, .. } = self;
        let at = at.timestamp_micros();
        format!("ao-accepted-1 {texts} {policies} {at} {by} {}", config.display())
    }

    fn is_signed(&self, key: &VerifyingKey) -> bool {
        from_hex(&self.signature).is_some_and(|bytes| {
            key.verify_strict(self.statement().as_bytes(), &Signature::from_bytes(&bytes)).is_ok()
        })
    }

    /// Named after what is in it, so that a crash never leaves a head beside the texts of another.
    fn body_beside(&self, path: &Path) -> PathBuf {
        let digest = blake3::hash(format!("{} {}", self.texts, self.policies).as_bytes());
        path.with_extension(format!("{}.body", hex(&digest.as_bytes()[..8])))
    }

    /// The texts that it stands for.
    fn body(&self, path: &Path) -> Result<Body, AcceptedError> {
        let path = self.body_beside(path);
        let bytes = std::fs::read(&path)
            .map_err(|cause| AcceptedError::Read { path: path.clone(), cause })?;
        let forged = |why| AcceptedError::Forged { path: path.clone(), why };
        let body: Body = serde_json::from_slice(&bytes).map_err(|_| forged("it does not read"))?;
        if body.texts() != self.texts || policies::digest(&body.policies) != self.policies {
            return Err(forged("its texts are others than those that were signed"));
        }
        Ok(body)
    }

    /// The accepted policy files, name and text.
    pub fn policy_files(&self, path: &Path) -> Result<Vec<(String, String)>, AcceptedError> {
        Ok(self.body(path)?.policies)
    }
}

impl Body {
    fn texts(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for text in [Some(&self.config), self.classes.as_ref()] {
            let text = text.map_or("", String::as_str);
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
        hasher.finalize().to_hex().to_string()
    }
}

/// What holds of a config as it is written: all of it where nobody accepted anything yet.
///
/// `text` is that of its file.
pub fn in_force(config: Config, text: &str) -> Result<InForce, AcceptedError> {
    let state = Store::new(&config).state();
    let Some(path) = head_of(&config, &state) else {
        return Ok(InForce { config, waiting: None });
    };
    let head = Head::read(&path)?;
    let body = head.body(&path)?;
    let exists = |_: &Path| true;
    let read = |file: &Path| std::fs::read_to_string(file).ok();
    let parsed = config::parse(&body.config, &config.file, &exists, &read).0;
    let forged = |why| AcceptedError::Forged { path: path.clone(), why };
    let mut accepted = parsed.ok_or_else(|| forged("this ao cannot read its config"))?;
    let before =
        Written { settings: guarded::settings(&accepted), policies: head.policies.clone(), body };
    let written = Written::read(&config, text)?;
    let waiting = written.against(&before);
    if waiting.is_none() {
        return Ok(InForce { config, waiting });
    }
    if written.body.classes != before.body.classes
        && let Some(text) = &before.body.classes
    {
        let kept = path.with_extension("classes.toml");
        if std::fs::read_to_string(&kept).ok().as_ref() != Some(text) {
            file::replace(&kept, text.as_bytes(), 0o600)?;
        }
        accepted.governance.classes = Some(kept);
    }
    Ok(InForce { config: guarded::as_accepted(config, &accepted), waiting })
}

/// A person accepts what is written. The caller records it.
pub fn accept(
    config: &Config,
    written: Written,
    operator: &Operator,
    by: &str,
    now: Now,
) -> Result<(), AcceptedError> {
    let key = operator.decision_key()?;
    let path = head_in(operator.folder(), &config.file);
    let folder = operator.folder().join(FOLDER);
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
    made.map_err(|cause| FileError { act: "create", path: folder, cause })?;
    let mut head = Head {
        version: VERSION,
        config: config.file.clone(),
        texts: written.body.texts(),
        policies: written.policies,
        by: by.to_owned(),
        at: now.wall,
        signature: String::new(),
    };
    head.signature = hex(&key.sign(head.statement().as_bytes()).to_bytes());
    let before = Head::read(&path).ok().map(|head| head.body_beside(&path));
    let body = head.body_beside(&path);
    file::replace(&body, &json(&written.body), 0o600)?;
    file::replace(&path, &json(&head), 0o600)?;
    if let Some(before) = before.filter(|before| *before != body) {
        file::remove(&before)?;
    }
    let state = Store::new(config).state();
    // The keys may have been elsewhere before; what was accepted with those counts no more.
    for old in places(config, &state).filter(|old| *old != path && old.exists()) {
        file::remove(&old)?;
    }
    file::replace(&note(&state), &json(&operator.folder()), 0o600)?;
    Ok(())
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("texts and names are JSON")
}
