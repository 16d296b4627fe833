//! Tokens, summed by day and model, each answer counted once.
//!
//! All CLIs are brought to one meaning: `input` is what was read at full price, `cache_read` and
//! `cache_write_*` are beside it, `output` holds the reasoning, `reasoning` says how much of it.
//!
//! Surprise: a session's lines do not tell all. An answer that a person interrupted is written with
//! the tokens of its beginning, and small requests (titles, summaries) are not written at all. Where
//! the CLI states its own sum (at the end of a session), what it counted beyond the lines is added.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::base::zone::Tz;
use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};

use super::{Event, Used};

/// Answers remembered with their usage, for lines that repeat them. Their lines stand close together.
const RECENT_MAX: usize = 32;
/// Answers remembered by their id, so that a session copied into another file is not counted twice.
const SEEN_MAX: usize = 8_192;

/// Tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    pub input: u64,
    /// Reasoning included.
    pub output: u64,
    pub cache_read: u64,
    pub cache_write_5m: u64,
    pub cache_write_1h: u64,
    /// Part of `output`.
    pub reasoning: u64,
}

impl Usage {
    /// Everything that went in or came out.
    pub fn total(&self) -> u64 {
        self.context().saturating_add(self.output)
    }

    /// What the model read.
    pub fn context(&self) -> u64 {
        [self.input, self.cache_read, self.cache_write_5m, self.cache_write_1h]
            .into_iter()
            .fold(0, u64::saturating_add)
    }

    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }

    pub fn add(&mut self, more: &Self) {
        *self = self.each(more, u64::saturating_add);
    }

    /// What `self` has more than `less`, figure by figure.
    #[must_use]
    pub fn beyond(&self, less: &Self) -> Self {
        self.each(less, u64::saturating_sub)
    }

    fn each(&self, other: &Self, join: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            input: join(self.input, other.input),
            output: join(self.output, other.output),
            cache_read: join(self.cache_read, other.cache_read),
            cache_write_5m: join(self.cache_write_5m, other.cache_write_5m),
            cache_write_1h: join(self.cache_write_1h, other.cache_write_1h),
            reasoning: join(self.reasoning, other.reasoning),
        }
    }
}

/// Tokens of one day and model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cell {
    pub day: NaiveDate,
    pub model: String,
    pub usage: Usage,
}

/// The last answer of the agent's own conversation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Context {
    /// As the CLI names it; empty: none known.
    pub model: String,
    /// What stands in the conversation after the answer; `None` before the first.
    pub tokens: Option<u64>,
    /// As the CLI states it.
    pub window: Option<u64>,
}

/// One agent's sums over all of its files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ledger {
    cells: Vec<Cell>,
    pub context: Context,
    seen: VecDeque<u64>,
    /// By session and id.
    recent: VecDeque<(u64, Usage)>,
    sessions: BTreeMap<String, Session>,
    /// Lines that could not be read.
    pub unreadable: u64,
    /// To find an id in `seen`; made anew after loading.
    #[serde(skip)]
    index: BTreeSet<u64>,
}

/// What was counted of one session, beside what its CLI states.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Session {
    /// Of the latest line.
    day: Option<NaiveDate>,
    models: BTreeMap<String, Sums>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Sums {
    counted: Usage,
    stated: Usage,
}

impl Ledger {
    /// Takes what a line of `session` says. Lines without a time count as of `otherwise`.
    pub fn take(&mut self, session: &str, event: &Event<'_>, otherwise: DateTime<Utc>, zone: Tz) {
        match event {
            Event::Used(used) => {
                let day = used.at.unwrap_or(otherwise).with_timezone(&zone).date_naive();
                self.used(session, used, day);
            }
            Event::Total { model, usage } => {
                let day = otherwise.with_timezone(&zone).date_naive();
                let session = self.session(session);
                session.day.get_or_insert(day);
                let sums = session.models.entry(model.to_string()).or_default();
                sums.stated = *usage;
            }
            Event::Window { tokens } => self.context.window = Some(*tokens),
            Event::Model { model } => {
                if self.context.model != *model {
                    self.context.model = model.to_string();
                    self.context.window = None;
                }
            }
            Event::Unreadable => self.unreadable += 1,
            Event::Entry(_) => {}
        }
    }

    fn used(&mut self, session: &str, used: &Used<'_>, day: NaiveDate) {
        if !used.sub && !used.usage.is_zero() {
            if self.context.model != used.model {
                self.context.model = used.model.to_string();
                self.context.window = None;
            }
            self.context.tokens = Some(used.usage.total());
        }
        let mut more = used.usage;
        let mut copied = false;
        if let Some(id) = &used.id {
            let line = fnv(fnv(FNV_BEGIN, session), id);
            if let Some((_, counted)) = self.recent.iter_mut().find(|(known, _)| *known == line) {
                more = used.usage.beyond(counted);
                counted.add(&more);
            } else {
                if self.recent.len() == RECENT_MAX {
                    self.recent.pop_front();
                }
                self.recent.push_back((line, used.usage));
                copied = !self.remember(fnv(FNV_BEGIN, id));
            }
        }
        if more.is_zero() {
            return;
        }
        let sums = self.session(session);
        sums.day = Some(sums.day.map_or(day, |known| known.max(day)));
        sums.models.entry(used.model.to_string()).or_default().counted.add(&more);
        if !copied {
            self.cell(day, &used.model).add(&more);
        }
    }

    /// Whether the id was new.
    fn remember(&mut self, hash: u64) -> bool {
        if self.index.len() != self.seen.len() {
            self.index = self.seen.iter().copied().collect();
        }
        if !self.index.insert(hash) {
            return false;
        }
        if self.seen.len() == SEEN_MAX
            && let Some(oldest) = self.seen.pop_front()
        {
            self.index.remove(&oldest);
        }
        self.seen.push_back(hash);
        true
    }

    fn session(&mut self, name: &str) -> &mut Session {
        if !self.sessions.contains_key(name) {
            self.sessions.insert(name.to_owned(), Session::default());
        }
        self.sessions.get_mut(name).expect("inserted above")
    }

    fn cell(&mut self, day: NaiveDate, model: &str) -> &mut Usage {
        // The newest days stand last and are what is counted.
        let found = self.cells.iter().rposition(|cell| cell.day == day && cell.model == model);
        let at = found.unwrap_or_else(|| {
            let at =
                self.cells.partition_point(|cell| (cell.day, cell.model.as_str()) < (day, model));
            self.cells.insert(at, Cell { day, model: model.to_owned(), usage: Usage::default() });
            at
        });
        &mut self.cells[at].usage
    }

    /// Nothing was said yet.
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty() && self.context == Context::default()
    }

    /// The sums, by day, then model, with what the CLIs state beyond the lines.
    pub fn cells(&self) -> Vec<Cell> {
        let mut whole = Self { cells: self.cells.clone(), ..Self::default() };
        for session in self.sessions.values() {
            let Some(day) = session.day else { continue };
            for (model, sums) in &session.models {
                let more = sums.stated.beyond(&sums.counted);
                if !more.is_zero() {
                    whole.cell(day, model).add(&more);
                }
            }
        }
        whole.cells
    }
}

const FNV_BEGIN: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a: the same on every run and machine.
fn fnv(begin: u64, text: &str) -> u64 {
    text.bytes().fold(begin, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
