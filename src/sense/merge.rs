//! Whom to believe: hooks, the CLI's own server or record, the session file, or the screen.
//!
//! Each state has one authority at a time. A source that told one keeps it until another source
//! contradicts it for long enough, or until it has been silent for too long; then the next in line
//! speaks. What a source told and lost it does not get back before it speaks again.
//!
//! Surprise: `idle` is the weakest word of all. A session file reads idle while its CLI is limited
//! or broken, so idle never covers a trouble that a hook or the screen shows.

use std::collections::BTreeSet;
use std::time::Duration;

use super::fact::{Beginning, Class, Fact, Kind, Usage, cut};
use super::session_file::{SessionFile, Status};
use crate::base::now::{Mono, Now};
use crate::config::section::detect::Cure;
use crate::limits::banner;
use crate::screen::{Composer, Evidence, PaneState, Reading};

/// A retry that is announced for so many seconds ahead is no hiccup.
const LONG_WAIT_S: i64 = 300;
/// A screen drawn within this time of a word may show what was before it.
pub const SETTLE: Duration = Duration::from_secs(2);
/// A session file that was not read again for this long counts as gone.
pub const FILE_SILENT: Duration = Duration::from_secs(15);
/// An idle screen that stands this long ends a turn of which the hooks say nothing more.
pub const QUIET: Duration = Duration::from_secs(20);
/// The same while a tool runs, or against a session file.
pub const CONTESTED: Duration = Duration::from_secs(10 * 60);
/// A turn without a word is believed this long.
pub const TURN_SILENT: Duration = Duration::from_secs(15 * 60);
/// The same while a tool runs.
pub const TOOL_SILENT: Duration = Duration::from_secs(2 * 60 * 60);
/// Any other state.
pub const STATE_SILENT: Duration = Duration::from_secs(12 * 60 * 60);
/// A server that sends a beat every ten seconds and missed three is gone.
pub const SERVER_SILENT: Duration = Duration::from_secs(35);
/// Calls that overtake each other do so within this time.
const OVERTAKEN: Duration = Duration::from_secs(10);
/// Percent of a usage window from which its reset is named with a limit.
const FULL_PERCENT: f64 = 99.5;

/// What the screen says, and the last moment it was known to say so.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    pub reading: &'a Reading,
    pub at: Mono,
}

/// A state somebody told.
#[derive(Debug, Clone, PartialEq)]
struct Told {
    state: PaneState,
    source: Source,
    since: Mono,
    /// When it was said last.
    said: Mono,
    /// The last sign of the source.
    heard: Mono,
    rule: String,
    text: String,
    cure: Option<Cure>,
    /// The subagent it is about.
    subagent: Option<String>,
}

/// What all sources but the screen told about one start of one agent.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Senses {
    /// The newest word of a hook, the server or the record: they speak of the same events.
    hook: Option<Told>,
    file: Option<Told>,
    /// What the terminal's output tells where nobody else does.
    output: Option<Told>,
    /// When the server was last heard; while it lives it alone speaks of the events.
    server: Option<Mono>,
    /// The highest place of a hook's word, and when it was said.
    order: Option<(u64, Mono)>,
    /// Whether any hook ever spoke: only then is its silence about subagents a word.
    hooks_speak: bool,
    subagents: BTreeSet<String>,
    tool: Option<String>,
    session_id: Option<String>,
    transcript: Option<String>,
    usage: Option<Usage>,
    /// The state of the screen and since when it stands.
    screen: Option<(PaneState, Mono)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Hook,
    /// The CLI's own server, over a connection that stands.
    Server,
    /// The CLI's own record of the conversation.
    Record,
    /// A state the CLI sends to its terminal.
    Output,
    File,
}

impl Source {
    const fn region(self) -> &'static str {
        match self {
            Self::Hook => "hook",
            Self::Server => "api",
            Self::Record => "rollout",
            Self::Output => "osc_7501",
            Self::File => "session_file",
        }
    }
}

impl Senses {
    /// The conversation that the CLI is in now.
    pub fn session_id(&self) -> Option<&str> {
        self.session_id.as_deref()
    }

    /// Where the CLI writes the conversation.
    pub fn transcript(&self) -> Option<&str> {
        self.transcript.as_deref()
    }

    pub fn usage(&self) -> Option<&Usage> {
        self.usage.as_ref()
    }

    /// Whether any source but the screen has a word at this moment.
    pub fn speaks(&mut self, now: Mono) -> bool {
        self.expire(now);
        self.authority(now).is_some()
    }

    /// Takes a fact in. Facts come in the order they happened.
    pub fn note(&mut self, fact: &Fact) {
        if let Kind::Usage(usage) = &fact.kind {
            self.usage = Some(usage.clone());
            return;
        }
        self.hooks_speak = true;
        if fact.subagent.is_none() {
            self.follow(fact);
        }
        if self.server.is_some() || self.is_overtaken(fact, Source::Hook) {
            return;
        }
        self.take(fact, Source::Hook);
    }

    /// Takes in what the CLI's own server told over a connection that stands.
    pub fn note_server(&mut self, fact: &Fact) {
        self.follow(fact);
        self.server = Some(fact.at.mono);
        self.take(fact, Source::Server);
    }

    /// A connection to the server stands from now on; what was told before it came another way.
    pub fn server_begins(&mut self, at: Mono) {
        self.reset();
        self.server = Some(at);
    }

    /// The connection to the server stands.
    pub fn server_lives(&mut self, at: Mono) {
        self.server = Some(at);
        if self.hook.as_ref().is_some_and(|told| told.source == Source::Server) {
            self.sign(at);
        }
    }

    /// It does not any more: what it told is nobody's word now.
    pub fn server_gone(&mut self) {
        self.server = None;
        if self.hook.as_ref().is_some_and(|told| told.source == Source::Server) {
            self.reset();
        }
    }

    /// Takes in what the CLI wrote down about the conversation.
    pub fn note_record(&mut self, fact: &Fact) {
        if let Kind::Usage(usage) = &fact.kind {
            self.usage = Some(usage.clone());
        } else if !self.is_overtaken(fact, Source::Record) {
            self.take(fact, Source::Record);
        }
    }

    /// Takes in the last state that the terminal's output told; `None`: there was output without one.
    ///
    /// Idle of it only ends what others told: it is sent before there is a box to type into.
    pub fn note_output(&mut self, state: Option<PaneState>, at: Mono) {
        let Some(state) = state else {
            if let Some(told) = &mut self.output {
                told.heard = at;
            }
            return;
        };
        if !matches!(state, PaneState::Working | PaneState::Waiting) {
            self.output = None;
            self.hook
                .take_if(|told| told.state == PaneState::Working && at.since(told.said) >= SETTLE);
            return;
        }
        let since = self.output.as_ref().filter(|told| told.state == state);
        self.output = Some(Told {
            state,
            source: Source::Output,
            since: since.map_or(at, |told| told.since),
            said: at,
            heard: at,
            rule: "terminal state".to_owned(),
            text: state.word().to_owned(),
            cure: None,
            subagent: None,
        });
    }

    /// Whether something newer was told already.
    fn is_overtaken(&mut self, fact: &Fact, source: Source) -> bool {
        let at = fact.at.mono;
        if let Some(order) = fact.order {
            let (last, said) = self.order.unwrap_or((order, at));
            if order < last && at < said.plus(OVERTAKEN) {
                return true;
            }
            self.order = Some((order, at));
        }
        self.hook.as_ref().is_some_and(|told| told.source != source && at < told.said)
    }

    fn take(&mut self, fact: &Fact, source: Source) {
        let (at, by) = (fact.at.mono, (fact, source));
        match &fact.kind {
            Kind::SessionStarted { source: Beginning::Compact }
            | Kind::Usage(_)
            | Kind::Other { .. } => self.sign(at),
            Kind::SessionStarted { .. } | Kind::SessionEnded { .. } => self.reset(),
            Kind::TurnStarted => self.tell(by, PaneState::Working, "turn started", ""),
            Kind::ToolStarted { tool } => {
                self.tool = Some(tool.clone());
                self.works(by, "tool started", tool);
            }
            Kind::ToolEnded { tool, failed } => {
                self.tool = None;
                self.works(by, if *failed { "tool failed" } else { "tool ended" }, tool);
            }
            Kind::PermissionAsked { what } => {
                self.tell(by, PaneState::Waiting, "permission asked", what);
            }
            Kind::PermissionAnswered => self.works(by, "permission answered", ""),
            // Comes a minute after the end, and is no news then.
            Kind::IdleNoted => {}
            Kind::TurnEnded { interrupted, subagents_left } => {
                self.tool = None;
                if *subagents_left == 0 {
                    self.subagents.clear();
                }
                let rule = if *interrupted { "turn interrupted" } else { "turn ended" };
                if self.subagents.is_empty() && *subagents_left == 0 {
                    self.tell(by, PaneState::Idle, rule, "");
                } else {
                    self.tell(by, PaneState::Working, rule, "subagents go on");
                }
            }
            Kind::TurnFailed { class, text } => self.failed(by, *class, text),
            Kind::Retrying { text, next_s } => {
                self.tool = None;
                let named = banner::read(text).is_some_and(|banner| !banner.warning_only);
                let wait_s = next_s.map(|next_s| next_s - fact.at.wall.timestamp());
                // It goes on by itself: a short wait is a part of its work, a long one is a limit
                // whatever the provider calls it.
                let limited = named || wait_s.is_some_and(|wait_s| wait_s >= LONG_WAIT_S);
                let state = if limited { PaneState::Limited } else { PaneState::Working };
                self.tell(by, state, "retrying", &with_reset(text, next_s.filter(|_| limited)));
            }
            Kind::LimitHit { resets_s, text } => {
                self.tool = None;
                self.tell(by, PaneState::Limited, "limit hit", &with_reset(text, *resets_s));
            }
            Kind::SubagentStarted => {
                self.subagents.extend(fact.subagent.clone());
                self.works(by, "subagent started", "");
            }
            Kind::SubagentEnded => {
                if let Some(id) = &fact.subagent {
                    self.subagents.remove(id);
                }
                self.sign(at);
            }
        }
    }

    /// Takes in what the session file says now; the caller has checked that its process lives.
    pub fn note_file(&mut self, file: &SessionFile, now: Now) {
        self.session_id = file.session_id.clone().or(self.session_id.take());
        let (state, text) = match file.status {
            Status::Busy => (PaneState::Working, "busy".to_owned()),
            Status::Idle => (PaneState::Idle, "idle".to_owned()),
            Status::Shell => (PaneState::Idle, "idle, a shell runs in the background".to_owned()),
            Status::Waiting => {
                let what = file.waiting_for.as_deref().unwrap_or("a person");
                (PaneState::Waiting, format!("waiting for: {}", cut(what, 120)))
            }
            Status::Unknown => {
                self.file = None;
                return;
            }
        };
        let since = file.since_ms.map_or(now.mono, |since_ms| {
            let ago_ms = now.wall.timestamp_millis().saturating_sub(since_ms);
            Mono(now.mono.0.saturating_sub(u64::try_from(ago_ms).unwrap_or(0)))
        });
        self.file = Some(Told {
            state,
            source: Source::File,
            since,
            said: now.mono,
            heard: now.mono,
            rule: "session file".to_owned(),
            text,
            cure: None,
            subagent: None,
        });
    }

    fn follow(&mut self, fact: &Fact) {
        if let Some(id) = &fact.session_id {
            self.session_id = Some(id.clone());
        }
        if let Some(path) = &fact.transcript {
            self.transcript = Some(path.clone());
        }
    }

    fn reset(&mut self) {
        self.hook = None;
        self.output = None;
        self.tool = None;
        self.subagents.clear();
    }

    /// A sign of life that says nothing about the state.
    fn sign(&mut self, at: Mono) {
        if let Some(told) = &mut self.hook {
            told.heard = told.heard.max(at);
        }
    }

    fn tell(&mut self, by: (&Fact, Source), state: PaneState, rule: &str, text: &str) {
        let (fact, source) = by;
        let at = fact.at.mono;
        // The same state goes on: only its evidence is newer.
        let since = self.hook.as_ref().filter(|told| told.state == state);
        self.hook = Some(Told {
            state,
            source,
            since: since.map_or(at, |told| told.since),
            said: at,
            heard: at,
            rule: rule.to_owned(),
            text: text.to_owned(),
            cure: None,
            subagent: fact.subagent.clone(),
        });
    }

    /// Something is being done, by the agent or by one of its subagents.
    fn works(&mut self, by: (&Fact, Source), rule: &str, text: &str) {
        let (fact, _) = by;
        let asked = self.hook.as_ref().filter(|told| told.state == PaneState::Waiting);
        if asked.is_some_and(|asked| asked.subagent != fact.subagent) {
            // One of several works on; the dialog of the other stays open.
            self.sign(fact.at.mono);
        } else {
            self.tell(by, PaneState::Working, rule, text);
        }
    }

    fn failed(&mut self, by: (&Fact, Source), class: Class, text: &str) {
        self.tool = None;
        self.subagents.clear();
        let (state, cure) = match class {
            Class::RateLimit => {
                let limited = banner::read(text).is_some_and(|banner| !banner.warning_only);
                (if limited { PaneState::Limited } else { PaneState::Overloaded }, None)
            }
            Class::Server => (PaneState::Overloaded, None),
            Class::Login | Class::Billing => (PaneState::Fatal, Some(Cure::Person)),
            // The turn is over; whether the conversation can go on only the words on the screen tell.
            Class::Unknown => (PaneState::Idle, None),
        };
        self.tell(by, state, "turn failed", text);
        if let Some(told) = &mut self.hook {
            told.cure = cure;
        }
    }

    /// What all sources together say. Without a screen only the others speak.
    pub fn merge(&mut self, screen: Option<Seen<'_>>, now: Mono) -> Reading {
        if let Some(seen) = screen {
            let state = seen.reading.state;
            if self.screen.is_none_or(|(known, _)| known != state) {
                self.screen = Some((state, seen.at));
            }
        }
        self.expire(now);
        let Some((source, told)) = self.authority(now) else {
            return screen.map_or_else(nothing, |seen| seen.reading.clone());
        };
        let Some(seen) = screen else { return self.spoken(source, &told, None) };
        if seen.reading.state == told.state {
            return self.spoken(source, &told, Some(seen.reading));
        }
        let stands = self.screen.map_or(seen.at, |(_, since)| since.max(told.heard_for(source)));
        match self.bears(source, told.state, seen.reading.state) {
            Bears::Always => {}
            Bears::Never => return seen.reading.clone(),
            Bears::For(limit) if seen.at.since(stands) < limit => {}
            Bears::For(_) => {
                match source {
                    Source::File => {}
                    Source::Output => self.output = None,
                    Source::Hook | Source::Server | Source::Record => self.hook = None,
                }
                return seen.reading.clone();
            }
        }
        self.spoken(source, &told, Some(seen.reading))
    }

    /// Drops what its source has been silent about for too long.
    fn expire(&mut self, now: Mono) {
        let tool = self.tool.is_some();
        let believed = |state: PaneState| match state {
            PaneState::Working if tool => TOOL_SILENT,
            PaneState::Working | PaneState::Overloaded => TURN_SILENT,
            PaneState::Starting
            | PaneState::Idle
            | PaneState::Waiting
            | PaneState::Limited
            | PaneState::Fatal
            | PaneState::Dead
            | PaneState::Done
            | PaneState::Unknown => STATE_SILENT,
        };
        if self.server.is_some_and(|heard| now.since(heard) >= SERVER_SILENT) {
            self.server_gone();
        }
        self.hook.take_if(|told| now.since(told.heard) >= believed(told.state));
        self.output.take_if(|told| now.since(told.heard) >= TURN_SILENT);
        self.file.take_if(|told| now.since(told.heard) >= FILE_SILENT);
    }

    fn authority(&self, now: Mono) -> Option<(Source, Told)> {
        let events = self.hook.as_ref().or(self.output.as_ref());
        let hook = || events.cloned().map(|told| (told.source, told));
        let Some(file) = &self.file else { return hook() };
        let file_speaks = Some((Source::File, file.clone()));
        let Some(told) = &self.hook else { return file_speaks };
        if file.state == PaneState::Idle {
            let trouble =
                matches!(told.state, PaneState::Limited | PaneState::Overloaded | PaneState::Fatal);
            let subagents = told.state == PaneState::Working
                && !self.subagents.is_empty()
                && now.since(told.heard) < TURN_SILENT;
            if trouble || subagents {
                return hook();
            }
        }
        // The file is read again and again: once it had time to follow, it is the newer word.
        let newer = file.since >= told.since && file.since >= told.heard;
        let followed = file.heard.since(told.heard) >= SETTLE;
        if newer || followed { file_speaks } else { hook() }
    }

    /// How long a told state stands against another one on the screen.
    #[expect(clippy::match_same_arms, reason = "a table, read row by row")]
    fn bears(&self, source: Source, told: PaneState, screen: PaneState) -> Bears {
        use PaneState as P;
        let settled = Bears::For(SETTLE);
        match (source, told, screen) {
            (_, _, P::Dead | P::Done) => Bears::Never,
            (_, _, P::Unknown | P::Starting) => Bears::Always,
            // Idle covers no trouble and no open dialog.
            (_, P::Idle, P::Limited | P::Overloaded | P::Fatal | P::Waiting) => Bears::Never,
            (Source::File, P::Idle, P::Working) if self.hooks_speak => Bears::Always,
            (Source::File, P::Idle, P::Working) => Bears::Never,
            (Source::File, P::Waiting, P::Limited | P::Fatal) => Bears::Never,
            (Source::File, P::Waiting, _) => Bears::Always,
            (Source::File, _, _) => Bears::For(CONTESTED),
            (Source::Server, P::Working | P::Waiting | P::Idle, P::Working | P::Idle) => {
                Bears::For(CONTESTED)
            }
            (_, P::Working, P::Idle) if self.tool.is_some() => Bears::For(CONTESTED),
            (_, P::Working | P::Fatal, P::Idle) => Bears::For(QUIET),
            (_, P::Overloaded, P::Idle) => Bears::For(CONTESTED),
            (_, P::Limited, P::Idle | P::Waiting | P::Overloaded | P::Fatal)
            | (_, P::Fatal, P::Waiting | P::Overloaded | P::Limited) => Bears::Always,
            (Source::Hook | Source::Server | Source::Record | Source::Output, _, _) => settled,
        }
    }

    /// The reading a source is responsible for; what the screen alone can know comes from there.
    fn spoken(&self, source: Source, told: &Told, screen: Option<&Reading>) -> Reading {
        let mut text = told.text.clone();
        if text.is_empty() {
            text.clone_from(&told.rule);
        }
        let mut evidence =
            vec![Evidence { rule: told.rule.clone(), region: source.region().to_owned(), text }];
        let agrees = screen.filter(|screen| screen.state == told.state);
        if told.state == PaneState::Limited {
            evidence.extend(self.full_window());
        }
        if let Some(screen) = agrees {
            evidence.extend(screen.evidence.clone());
        }
        let composer = match screen {
            // Where a dialog is open there is no box to type into, whatever an older screen showed.
            Some(screen) if agrees.is_some() || told.state != PaneState::Waiting => {
                screen.composer.clone()
            }
            Some(_) | None => Composer::Absent,
        };
        Reading {
            state: told.state,
            evidence,
            cure: agrees.and_then(|screen| screen.cure).or(told.cure),
            composer,
            live_hash: screen.map_or(0, |screen| screen.live_hash),
            marker: screen.and_then(|screen| screen.marker.clone()),
        }
    }

    /// The usage window that is full, with its exact end.
    fn full_window(&self) -> Option<Evidence> {
        let windows = self.usage.as_ref()?.windows.iter();
        let full = windows.filter(|window| window.used_percent >= FULL_PERCENT);
        let window = full.max_by_key(|window| window.resets_s)?;
        Some(Evidence {
            rule: format!("{} window is full", window.name),
            region: "status_line".to_owned(),
            text: format!("usage limit reached|{}", window.resets_s?),
        })
    }
}

impl Told {
    /// From when on the screen counts against it: a session file and a server are standing words,
    /// their age counts from when they took the state up.
    fn heard_for(&self, source: Source) -> Mono {
        match source {
            Source::Hook | Source::Record => self.heard,
            Source::Server | Source::Output | Source::File => self.since,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bears {
    Always,
    Never,
    For(Duration),
}

fn with_reset(text: &str, resets_s: Option<i64>) -> String {
    match resets_s {
        Some(resets_s) => format!("{text}\nusage limit reached|{resets_s}"),
        None => text.to_owned(),
    }
}

fn nothing() -> Reading {
    Reading {
        state: PaneState::Unknown,
        evidence: Vec::new(),
        cure: None,
        composer: Composer::Absent,
        live_hash: 0,
        marker: None,
    }
}

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;
