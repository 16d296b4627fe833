//! Inbox files: whose they are, and whether a change of one is news for its reader.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::base::name::UnitName;

/// Contents remembered of one file; an older one that comes back pings again.
const DIGESTS_MAX: usize = 64;

/// Where a content was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    WorkTree,
    Branch,
}

/// One content of one file; a file that is not there is empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    pub file: String,
    pub place: Place,
    pub digest: u64,
    /// Of each line that is not blank.
    pub lines: Vec<u64>,
    /// Who brought it there, as far as that can be told.
    pub writer: Option<String>,
}

impl Content {
    pub fn new(file: &str, place: Place, text: &str, writer: Option<String>) -> Self {
        let lines: Vec<&str> = text.lines().map(str::trim_end).filter(|l| !l.is_empty()).collect();
        Self {
            file: file.to_owned(),
            place,
            digest: digest(&lines.join("\n")),
            lines: lines.into_iter().map(digest).collect(),
            writer,
        }
    }
}

/// What was seen of one file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    digests: Vec<u64>,
    last: BTreeMap<Place, Vec<u64>>,
}

impl Seen {
    /// Whether this is what was seen last at its place.
    pub fn is_last(&self, content: &Content) -> bool {
        self.last.get(&content.place) == Some(&content.lines)
            && self.digests.contains(&content.digest)
    }

    /// Takes a content in and tells whether it is news: seen nowhere before, with a line more.
    pub fn take(&mut self, content: &Content) -> bool {
        let known = self.digests.contains(&content.digest);
        if !known {
            self.digests.push(content.digest);
            let surplus = self.digests.len().saturating_sub(DIGESTS_MAX);
            self.digests.drain(..surplus);
        }
        let before = self.last.insert(content.place, content.lines.clone());
        // The first sight of a place only records it.
        !known && before.is_some_and(|before| adds_line(&before, &content.lines))
    }
}

fn adds_line(before: &[u64], after: &[u64]) -> bool {
    let mut left: BTreeMap<u64, usize> = BTreeMap::new();
    for line in before {
        *left.entry(*line).or_default() += 1;
    }
    after.iter().any(|line| match left.get_mut(line) {
        Some(count) if *count > 0 => {
            *count -= 1;
            false
        }
        Some(_) | None => true,
    })
}

/// FNV-1a: stable between builds, which `std`'s hasher does not promise.
pub fn digest(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The agent an inbox is for: its name starts with the role, else by position (the first one is for
/// who is pinged of claims, the second for who is pinged of reviews).
pub fn reader(
    file: &str,
    position: usize,
    members: &BTreeMap<UnitName, Option<String>>,
    by_position: [Option<&UnitName>; 2],
) -> Option<UnitName> {
    let base = file.rsplit('/').next().unwrap_or(file).to_lowercase();
    let by_role = members.iter().filter(|(_, role)| {
        role.as_ref().is_some_and(|role| base.starts_with(&role.to_lowercase()))
    });
    // The longest role wins: `review` must not take what is for `reviewer`.
    let by_role = by_role.max_by_key(|(_, role)| role.as_ref().map_or(0, String::len));
    let by_position = || by_position.get(position).copied().flatten().cloned();
    by_role.map(|(name, _)| name.clone()).or_else(by_position)
}
