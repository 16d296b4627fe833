//! What a look at branch and inboxes means: who is pinged of what, each thing once.
//!
//! The first look only records. Everything pinged is remembered by hash and by what a rebase keeps, so
//! that neither a rewritten branch nor one that went back and forth pings twice.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;
use serde::{Deserialize, Serialize};

use super::commit::{Commit, Tip};
use super::inbox::{self, Content};
use crate::base::human::count;
use crate::base::name::UnitName;

/// Pinged commits remembered, each by its hash and its fingerprint.
const PINGED_MAX: usize = 2_048;
/// Commits listed in one message.
const LISTED_MAX: usize = 20;

/// What is watched for, from the config.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// Names repository, remote and branch; another one begins anew.
    pub source: String,
    pub claims: Option<Rule>,
    pub reviews: Option<Rule>,
    pub inboxes: Vec<Inbox>,
}

/// Commits whose subject matches are told to this agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    pub pings: UnitName,
    pub pattern: String,
    pub text: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inbox {
    pub file: String,
    pub reader: UnitName,
    /// Names under which its reader commits.
    pub reader_names: Vec<String>,
    pub text: String,
}

/// One look.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    pub source: String,
    /// `None`: the branch is not there.
    pub tip: Option<Tip>,
    /// New since the last look, oldest first.
    pub commits: Vec<Commit>,
    /// Said to people: what was unusual about this look.
    pub notes: Vec<String>,
    pub contents: Vec<Content>,
}

/// What is remembered between looks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Seen {
    pub source: String,
    /// The first look was taken.
    pub begun: bool,
    pub tip: Option<Tip>,
    /// Hashes and fingerprints, oldest first.
    pub pinged: Vec<String>,
    pub inboxes: BTreeMap<String, inbox::Seen>,
    /// What the message of each key lists that is not typed yet.
    pub pending: BTreeMap<String, Vec<String>>,
}

/// One message to one agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ping {
    pub to: UnitName,
    /// A newer ping of the same key takes an older one in.
    pub key: String,
    pub text: String,
    /// For the event log.
    pub why: String,
}

/// Takes one look in. `waiting`: the keys of pings that are queued and not typed yet.
pub fn judge(
    mut seen: Seen,
    watch: &Watch,
    observation: &Observation,
    waiting: &BTreeSet<String>,
) -> (Seen, Vec<Ping>) {
    if seen.source != watch.source {
        seen = Seen { source: watch.source.clone(), ..Seen::default() };
    }
    if observation.source != watch.source {
        return (seen, Vec::new());
    }
    seen.pending.retain(|key, _| waiting.contains(key));
    let first = !seen.begun;
    seen.begun = true;
    let mut pings = Vec::new();
    let rules = [("claim", watch.claims.as_ref()), ("review", watch.reviews.as_ref())];
    for (kind, rule) in rules {
        let Some(rule) = rule else { continue };
        // The config was checked: a pattern that does not compile pings nobody.
        let Ok(pattern) = Regex::new(&rule.pattern) else { continue };
        let news: Vec<&Commit> = observation
            .commits
            .iter()
            .filter(|commit| !first && pattern.is_match(&commit.subject))
            .filter(|commit| is_new(&mut seen.pinged, kind, commit))
            .collect();
        if !news.is_empty() {
            let lines = news.iter().map(|commit| commit.line()).collect();
            pings.push(ping(&mut seen, kind, &rule.pings, &rule.text, lines));
        }
    }
    for inbox in &watch.inboxes {
        let known = seen.inboxes.entry(inbox.file.clone()).or_default();
        let mut news = false;
        let of_file = observation.contents.iter().filter(|content| content.file == inbox.file);
        for content in of_file {
            let own = content.writer.as_ref().is_some_and(|writer| is_one_of(writer, inbox));
            news |= known.take(content) && !own;
        }
        if news && !first {
            let line = format!("- {}", inbox.file);
            let key = format!("inbox {}", inbox.file);
            pings.push(ping(&mut seen, &key, &inbox.reader, &inbox.text, vec![line]));
        }
    }
    seen.tip.clone_from(&observation.tip);
    let surplus = seen.pinged.len().saturating_sub(PINGED_MAX);
    seen.pinged.drain(..surplus);
    (seen, pings)
}

/// Remembers the commit; false when it, or what it is a copy of, was pinged before.
fn is_new(pinged: &mut Vec<String>, kind: &str, commit: &Commit) -> bool {
    let marks = [&commit.id, &commit.fingerprint()].map(|mark| format!("{kind} {mark}"));
    let known = marks.iter().any(|mark| pinged.contains(mark));
    for mark in marks {
        if !pinged.contains(&mark) {
            pinged.push(mark);
        }
    }
    !known
}

fn ping(seen: &mut Seen, key: &str, to: &UnitName, text: &str, lines: Vec<String>) -> Ping {
    let why = lines.join(" ");
    let key = format!("handoff {key}");
    let listed = seen.pending.entry(key.clone()).or_default();
    for line in lines {
        if !listed.contains(&line) {
            listed.push(line);
        }
    }
    let more = listed.len().saturating_sub(LISTED_MAX);
    let mut message = text.trim_end().to_owned();
    if more > 0 {
        message.push_str("\n- ");
        message.push_str(&count(more, "earlier one"));
    }
    for line in &listed[more..] {
        message.push('\n');
        message += line;
    }
    Ping { to: to.clone(), key, text: message, why }
}

/// Whether the writer is the inbox's own reader: one of its names is a word of the writer's.
fn is_one_of(writer: &str, inbox: &Inbox) -> bool {
    let writer = writer.to_lowercase();
    let words = writer.split(|c: char| !c.is_alphanumeric() && c != '-' && c != '_');
    let words: BTreeSet<&str> = words.collect();
    inbox.reader_names.iter().any(|name| {
        let name = name.to_lowercase();
        writer == name || words.contains(name.as_str())
    })
}
