//! Rules over regions: what a pane says, and the lines that say it.
//!
//! Rules are tried in the order of their states (dead, waiting, working, limited, overloaded, fatal,
//! starting, idle), moved by their priority; the first one whose tests all hold wins. Everything is
//! compiled once: one set of patterns a region, so a look costs one scan per region.

use regex::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};

use super::capture::Screen;
use super::region::{CompiledLayout, Regions, word};
use super::{Evidence, PaneState, Reading};
use crate::backend::Backend;
use crate::config::section::detect::{Layout, Region, Rule, RuleState};

/// Longest evidence text; a limit banner with its reset phrase is far shorter.
const EVIDENCE_CHARS_MAX: usize = 500;

/// The rule name of the evidence that is a dialog's question.
pub const QUESTION: &str = "question";

/// All regions, in the order of [`Region`].
const REGIONS: [Region; 7] = [
    Region::Live,
    Region::Screen,
    Region::Composer,
    Region::Footer,
    Region::LastItem,
    Region::Title,
    Region::Dialog,
];

/// Why a backend's rules cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DetectorError {
    #[error("backend `{backend}`: rule `{rule}` has a regex that does not compile: `{pattern}`")]
    Pattern {
        backend: String,
        rule: String,
        pattern: String,
        #[source]
        cause: regex::Error,
    },
    #[error(
        "backend `{backend}`: layout field `{field}` is a regex that does not compile: `{pattern}`"
    )]
    Layout {
        backend: String,
        field: &'static str,
        pattern: String,
        #[source]
        cause: regex::Error,
    },
    #[error("backend `{backend}`: the patterns of region `{region}` are too large together")]
    TooLarge {
        backend: String,
        region: &'static str,
        #[source]
        cause: regex::Error,
    },
}

/// What tmux says of the pane, beside its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PaneHints<'a> {
    pub dead: bool,
    pub exit_status: Option<i32>,
    pub title: &'a str,
}

/// The compiled rules of one backend.
#[derive(Debug)]
pub struct Detector {
    backend: String,
    rules: Vec<CompiledRule>,
    sets: Vec<RegionSet>,
    layout: CompiledLayout,
    live_lines: usize,
    /// Not one rule can say `idle`, but some say `working`: then not working is idle.
    idle_by_default: bool,
}

#[derive(Debug)]
struct CompiledRule {
    rule: Rule,
    any: Vec<usize>,
    all: Vec<usize>,
    not: Vec<usize>,
}

#[derive(Debug)]
struct RegionSet {
    set: RegexSet,
    /// The same patterns one by one, to find what matched.
    regexes: Vec<Regex>,
}

/// A regex as all patterns of a backend are meant: multi-line, case-sensitive.
pub(crate) fn compile(pattern: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(pattern).multi_line(true).build()
}

impl Detector {
    /// Compiles the rules of this backend.
    pub fn of(backend: &Backend) -> Result<Self, DetectorError> {
        Self::new(&backend.name, &backend.rules, backend.layout.as_ref(), backend.live_lines)
    }

    /// Compiles the rules of one backend; `live_lines` bounds the live area.
    pub fn new(
        backend: &str,
        rules: &[Rule],
        layout: Option<&Layout>,
        live_lines: u16,
    ) -> Result<Self, DetectorError> {
        let mut ordered: Vec<&Rule> = rules.iter().collect();
        ordered.sort_by_key(|rule| (-i64::from(rule.priority), rank(rule.state)));
        let mut patterns: Vec<Vec<String>> = vec![Vec::new(); REGIONS.len()];
        let mut regexes: Vec<Vec<Regex>> = REGIONS.iter().map(|_| Vec::new()).collect();
        let mut compiled = Vec::new();
        for rule in ordered {
            let at = index(rule.region);
            let mut add = |list: &[String]| -> Result<Vec<usize>, DetectorError> {
                list.iter()
                    .map(|pattern| {
                        let regex = compile(pattern).map_err(|cause| DetectorError::Pattern {
                            backend: backend.to_owned(),
                            rule: rule.id.clone(),
                            pattern: pattern.clone(),
                            cause,
                        })?;
                        patterns[at].push(pattern.clone());
                        regexes[at].push(regex);
                        Ok(patterns[at].len() - 1)
                    })
                    .collect()
            };
            compiled.push(CompiledRule {
                any: add(&rule.any)?,
                all: add(&rule.all)?,
                not: add(&rule.not)?,
                rule: rule.clone(),
            });
        }
        let sets = REGIONS
            .iter()
            .zip(patterns)
            .zip(regexes)
            .map(|((region, patterns), regexes)| {
                let set = RegexSetBuilder::new(patterns).multi_line(true).build();
                set.map(|set| RegionSet { set, regexes }).map_err(|cause| DetectorError::TooLarge {
                    backend: backend.to_owned(),
                    region: word(*region),
                    cause,
                })
            })
            .collect::<Result<_, _>>()?;
        let layout = CompiledLayout::new(layout.unwrap_or(&Layout::default())).map_err(
            |(field, pattern, cause)| DetectorError::Layout {
                backend: backend.to_owned(),
                field,
                pattern,
                cause,
            },
        )?;
        let has = |state| rules.iter().any(|rule| rule.state == state);
        Ok(Self {
            backend: backend.to_owned(),
            rules: compiled,
            sets,
            layout,
            live_lines: usize::from(live_lines).max(1),
            idle_by_default: has(RuleState::Working) && !has(RuleState::Idle),
        })
    }

    pub fn backend(&self) -> &str {
        &self.backend
    }

    /// What the pane says.
    pub fn read(&self, screen: &Screen, hints: &PaneHints<'_>) -> Reading {
        let regions = Regions::cut(screen, &self.layout, self.live_lines, hints.title);
        let matched: Vec<Vec<usize>> = REGIONS
            .iter()
            .map(|&region| match regions.text(region) {
                Some(text) => self.sets[index(region)].set.matches(text).into_iter().collect(),
                None => Vec::new(),
            })
            .collect();
        let mut reading = Reading {
            state: PaneState::Unknown,
            evidence: Vec::new(),
            cure: None,
            composer: regions.draft.clone(),
            live_hash: hash(&regions.live),
            marker: None,
        };
        if let Some(evidence) = dead(screen, hints) {
            reading.state = PaneState::Dead;
            reading.evidence.push(evidence);
            return reading;
        }
        let fires = |rule: &&CompiledRule| {
            regions.text(rule.rule.region).is_some()
                && rule.holds(&matched[index(rule.rule.region)])
        };
        let Some(first) = self.rules.iter().find(fires) else {
            let (state, rule) = if self.idle_by_default && !regions.live.trim().is_empty() {
                (PaneState::Idle, "no rule says working")
            } else {
                (PaneState::Unknown, "no rule matched")
            };
            reading.state = state;
            reading.evidence.push(Evidence {
                rule: rule.into(),
                region: word(Region::Live).into(),
                text: String::new(),
            });
            return reading;
        };
        reading.state = pane_state(first.rule.state);
        reading.cure = first.rule.cure;
        reading.evidence.push(self.evidence(first, &regions));
        let agreeing = self.rules.iter().filter(|rule| {
            rule.rule.state == first.rule.state && !std::ptr::eq(*rule, first) && fires(rule)
        });
        reading.evidence.extend(agreeing.map(|rule| self.evidence(rule, &regions)));
        if reading.state == PaneState::Waiting {
            reading.evidence.extend(question(&regions.live));
        }
        reading
    }

    fn evidence(&self, rule: &CompiledRule, regions: &Regions) -> Evidence {
        let region = rule.rule.region;
        let text = regions.text(region).unwrap_or_default();
        // A banner is kept whole: its reset phrase may stand in another line than the words that matched.
        let whole = match rule.rule.state {
            RuleState::Limited | RuleState::Overloaded | RuleState::Fatal => {
                matches!(region, Region::LastItem | Region::Footer | Region::Dialog)
            }
            RuleState::Dead
            | RuleState::Waiting
            | RuleState::Working
            | RuleState::Starting
            | RuleState::Idle
            | RuleState::Done
            | RuleState::Unknown => false,
        };
        let shown = if whole {
            text.to_owned()
        } else {
            let set = &self.sets[index(region)];
            let found = rule.any.iter().chain(&rule.all);
            let lines: Vec<&str> =
                found.filter_map(|&at| matched_lines(&set.regexes[at], text)).collect();
            lines.join("\n")
        };
        Evidence {
            rule: rule.rule.id.clone(),
            region: word(region).into(),
            text: shown.trim().chars().take(EVIDENCE_CHARS_MAX).collect(),
        }
    }
}

impl CompiledRule {
    fn holds(&self, hits: &[usize]) -> bool {
        let hit = |at: &usize| hits.binary_search(at).is_ok();
        (self.any.is_empty() || self.any.iter().any(hit))
            && self.all.iter().all(hit)
            && !self.not.iter().any(hit)
            && !(self.any.is_empty() && self.all.is_empty() && self.not.is_empty())
    }
}

/// The whole lines around a match.
fn matched_lines<'a>(regex: &Regex, text: &'a str) -> Option<&'a str> {
    let found = regex.find(text)?;
    let from = text[..found.start()].rfind('\n').map_or(0, |at| at + 1);
    let to = text[found.end()..].find('\n').map_or(text.len(), |at| found.end() + at);
    Some(&text[from..to])
}

/// A dead pane says so by tmux, or by the line tmux writes into it.
fn dead(screen: &Screen, hints: &PaneHints<'_>) -> Option<Evidence> {
    let last = screen.lines.last().map_or("", |line| line.text.as_str());
    let written = last.starts_with("Pane is dead");
    if !hints.dead && !written {
        return None;
    }
    let status = hints.exit_status.map(|status| format!("exit status {status}"));
    Some(Evidence {
        rule: "the pane is dead".into(),
        region: if written { "screen" } else { "tmux" }.into(),
        text: if written { last.to_owned() } else { status.unwrap_or_default() },
    })
}

const fn index(region: Region) -> usize {
    match region {
        Region::Live => 0,
        Region::Screen => 1,
        Region::Composer => 2,
        Region::Footer => 3,
        Region::LastItem => 4,
        Region::Title => 5,
        Region::Dialog => 6,
    }
}

const fn rank(state: RuleState) -> u8 {
    match state {
        RuleState::Dead => 0,
        RuleState::Waiting => 1,
        RuleState::Working => 2,
        RuleState::Limited => 3,
        RuleState::Overloaded => 4,
        RuleState::Fatal => 5,
        RuleState::Starting => 6,
        RuleState::Idle => 7,
        RuleState::Done => 8,
        RuleState::Unknown => 9,
    }
}

const fn pane_state(state: RuleState) -> PaneState {
    match state {
        RuleState::Dead => PaneState::Dead,
        RuleState::Waiting => PaneState::Waiting,
        RuleState::Working => PaneState::Working,
        RuleState::Limited => PaneState::Limited,
        RuleState::Overloaded => PaneState::Overloaded,
        RuleState::Fatal => PaneState::Fatal,
        RuleState::Starting => PaneState::Starting,
        RuleState::Idle => PaneState::Idle,
        RuleState::Done => PaneState::Done,
        RuleState::Unknown => PaneState::Unknown,
    }
}

/// FNV-1a: the same over restarts and versions, because the hash is kept in state.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
/// What the dialog asks: the last question of the live area. People are told this rather than the
/// key hints that give the dialog away.
fn question(live: &str) -> Option<Evidence> {
    let frame = |letter: char| letter.is_whitespace() || "│┃|─╭╮╰╯".contains(letter);
    let asked = live
        .lines()
        .rev()
        .map(|asked| asked.trim_matches(frame))
        .find(|asked| asked.ends_with('?'))?;
    let text = asked.chars().take(EVIDENCE_CHARS_MAX).collect();
    Some(Evidence { rule: QUESTION.into(), region: word(Region::Live).into(), text })
}
