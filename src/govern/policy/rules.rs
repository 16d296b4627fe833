//! The rules of a set, each kept as stored bytes until somebody asks for it.
//!
//! A hook's process lives for one act, which a few of a thousand rules are about; to build the others
//! would be most of its work. The bytes were checked as a whole before they come here. Surprise: a rule
//! that cannot be read all the same is one that denies everything, since to leave it out could allow.

use std::ops::{Index, Range};
use std::sync::{Arc, OnceLock};

use super::glob::Globs;
use super::rule::{Effect, Escalation, Rule, Scope};
use crate::govern::trust::Level;

/// Rules by name.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    slots: Vec<Slot>,
    /// Of those that are not built yet.
    bytes: Arc<[u8]>,
}

#[derive(Debug, Clone)]
struct Slot {
    place: Range<usize>,
    rule: OnceLock<Box<Rule>>,
}

impl From<Vec<Rule>> for Rules {
    fn from(rules: Vec<Rule>) -> Self {
        let slot = |rule| Slot { place: 0..0, rule: OnceLock::from(Box::new(rule)) };
        Self { slots: rules.into_iter().map(slot).collect(), bytes: Arc::default() }
    }
}

impl Rules {
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    pub fn get(&self, number: usize) -> Option<&Rule> {
        let slot = self.slots.get(number)?;
        Some(slot.rule.get_or_init(|| {
            let bytes = self.bytes.get(slot.place.clone()).unwrap_or_default();
            Box::new(postcard::from_bytes(bytes).unwrap_or_else(|_| unreadable(number)))
        }))
    }

    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        (0..self.slots.len()).filter_map(|number| self.get(number))
    }

    pub(super) fn by_name(&self, name: &str) -> Option<&Rule> {
        let mut places = 0..self.slots.len();
        while !places.is_empty() {
            let middle = places.start + places.len() / 2;
            let rule = self.get(middle)?;
            match rule.name.as_str().cmp(name) {
                std::cmp::Ordering::Equal => return Some(rule),
                std::cmp::Ordering::Less => places.start = middle + 1,
                std::cmp::Ordering::Greater => places.end = middle,
            }
        }
        None
    }

    /// Where each ends, and all of them one behind the other.
    pub(super) fn encode(&self) -> (Vec<u32>, Vec<u8>) {
        let (mut ends, mut bytes) = (Vec::with_capacity(self.len()), Vec::new());
        for rule in self.iter() {
            bytes = postcard::to_extend(rule, bytes).expect("plain data of ours serialises");
            ends.push(u32::try_from(bytes.len()).expect("checked: files are far smaller"));
        }
        (ends, bytes)
    }

    /// `None` when the ends do not rise to the last byte.
    pub(super) fn decode(ends: &[u32], bytes: &[u8]) -> Option<Self> {
        let (mut slots, mut start) = (Vec::with_capacity(ends.len()), 0);
        for end in ends {
            let end = usize::try_from(*end).ok().filter(|end| start < *end)?;
            slots.push(Slot { place: start..end, rule: OnceLock::new() });
            start = end;
        }
        (start == bytes.len()).then(|| Self { slots, bytes: bytes.into() })
    }
}

impl PartialEq for Rules {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl Index<usize> for Rules {
    type Output = Rule;

    /// Panics past the end, as a slice does.
    fn index(&self, number: usize) -> &Rule {
        self.get(number).expect("the caller's number is below the length")
    }
}

fn unreadable(number: usize) -> Rule {
    let all = Globs::default;
    Rule {
        name: format!("unreadable-{number}"),
        about: "the stored rule cannot be read".to_owned(),
        shadow: false,
        effect: Some(Effect::Deny),
        scope: Scope {
            agents: all(),
            actions: all(),
            resources: all(),
            projects: all(),
            orgs: all(),
            trust_min: Level::L0,
            trust_max: Level::L4,
        },
        schedule: None,
        conditions: Vec::new(),
        bounds: Vec::new(),
        escalation: Escalation::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_come_back_as_they_were_in_any_order_of_asking() {
        let rules: Rules = (0..9).map(unreadable).collect::<Vec<_>>().into();
        let (ends, bytes) = rules.encode();
        let back = Rules::decode(&ends, &bytes).unwrap();
        assert_eq!(back.by_name("unreadable-4").unwrap().name, "unreadable-4");
        assert_eq!(back.by_name("unreadable-x"), None);
        assert_eq!(back[8].name, "unreadable-8");
        assert_eq!(back, rules);
    }

    #[test]
    fn ends_that_do_not_fit_are_refused_and_a_bad_rule_denies() {
        let rules: Rules = vec![unreadable(0), unreadable(1)].into();
        let (ends, bytes) = rules.encode();
        for bad in [vec![ends[0]], vec![ends[1], ends[0]], vec![0, ends[1]], vec![ends[1] + 1]] {
            assert!(Rules::decode(&bad, &bytes).is_none(), "{bad:?}");
        }
        let back = Rules::decode(&ends, &vec![0xff; bytes.len()]).unwrap();
        assert_eq!(back[1], unreadable(1));
    }
}
