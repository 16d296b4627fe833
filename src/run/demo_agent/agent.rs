//! The demo agent itself: keys and time in, facts and wishes out. No terminal here.
//!
//! The script and the messages share one clock: while a scripted turn runs, messages queue up and
//! are answered together when the script waits for them or has ended.

use std::collections::VecDeque;
use std::time::Duration;

use super::Persona;
use super::composer::Composer;
use super::draw::{Busy, Scene, message_rows, wrap};
use super::input::Key;
use super::scenario::{Part, Step};
use super::truth::Fact;
use crate::base::now::Mono;

/// How long an unscripted answer takes.
const ANSWER: Duration = Duration::from_secs(1);
/// A second Ctrl-C within this ends the agent.
const INTERRUPT_TWICE: Duration = Duration::from_secs(1);
/// Letters of a message that an answer repeats.
const ECHO_CHARS: usize = 60;

/// What the agent wants done to the world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wish {
    Record(Fact),
    Title(String),
    SpawnChild,
    Exit(u8),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Doing {
    /// The next step of the script is due.
    Script,
    Turn {
        since: Mono,
        until: Mono,
        answers: Option<String>,
        after: After,
    },
    Retry {
        since: Mono,
        attempt: u32,
        attempts: u32,
        every: Duration,
        next: Mono,
    },
    Rest {
        until: Option<Mono>,
    },
    Asked,
    Resuming {
        at: Mono,
    },
    Hung,
    /// The script is used up.
    Free,
}

/// Where an answered message leads back to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    Script,
    Free,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Dialog {
    text: String,
    closes_at: Option<Mono>,
}

pub(super) struct Agent {
    persona: Persona,
    part: Part,
    at_step: usize,
    doing: Doing,
    kickoff: Option<String>,
    ready: bool,
    composer: Composer,
    placeholder: Option<&'static str>,
    queue: Vec<String>,
    dialog: Option<Dialog>,
    ask_on_paste: Option<(String, Duration)>,
    enters_to_swallow: u32,
    popup: bool,
    popup_eaten: bool,
    change_while_pasted: bool,
    notice: Vec<String>,
    interrupted_at: Option<Mono>,
    frame_every: Duration,
    pub(super) redraw_every: Option<Duration>,
    pub(super) deaf_to_term: bool,
    /// Transcript items not yet drawn.
    items: VecDeque<Item>,
    wishes: Vec<Wish>,
}

/// One entry of the transcript.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Item {
    User(String),
    Line(String),
}

impl Item {
    /// As rows of the screen, a blank one first.
    pub(super) fn rows(&self, persona: Persona, width: usize) -> Vec<String> {
        let mut rows = vec![String::new()];
        match self {
            Self::User(text) => rows.extend(message_rows(persona, text, width)),
            Self::Line(text) => rows.extend(wrap(text, width, "  ")),
        }
        rows
    }
}

impl Agent {
    pub(super) fn new(persona: Persona, part: Part, kickoff: Option<String>, fps: u32) -> Self {
        let mut part = part;
        let shows_itself =
            part.steps.iter().any(|step| matches!(step, Step::Ready | Step::StartupDialog(_)));
        if !shows_itself {
            part.steps.insert(0, Step::Ready);
        }
        Self {
            persona,
            part,
            at_step: 0,
            doing: Doing::Script,
            kickoff,
            ready: false,
            composer: Composer::default(),
            placeholder: None,
            queue: Vec::new(),
            dialog: None,
            ask_on_paste: None,
            enters_to_swallow: 0,
            popup: false,
            popup_eaten: false,
            change_while_pasted: false,
            notice: Vec::new(),
            interrupted_at: None,
            frame_every: Duration::from_secs(1) / fps.clamp(1, 60),
            redraw_every: None,
            deaf_to_term: false,
            items: VecDeque::new(),
            wishes: Vec::new(),
        }
    }

    pub(super) fn is_hung(&self) -> bool {
        self.doing == Doing::Hung
    }

    pub(super) fn take_items(&mut self) -> VecDeque<Item> {
        std::mem::take(&mut self.items)
    }

    pub(super) fn take_wishes(&mut self) -> Vec<Wish> {
        std::mem::take(&mut self.wishes)
    }

    /// When something changes by itself; `None` = only input can.
    pub(super) fn deadline(&self, now: Mono) -> Option<Mono> {
        let own = match &self.doing {
            Doing::Script => Some(now),
            Doing::Turn { until, .. } => Some(*until),
            Doing::Retry { next, .. } => Some(*next),
            Doing::Rest { until } => *until,
            Doing::Resuming { at } => Some(*at),
            Doing::Hung => return None,
            Doing::Asked | Doing::Free => None,
        };
        let frame = self.is_busy().then(|| now.plus(self.frame_every));
        let redraw = self.redraw_every.map(|every| now.plus(every));
        let dialog = self.dialog.as_ref().and_then(|dialog| dialog.closes_at);
        [own, frame, redraw, dialog].into_iter().flatten().min()
    }

    fn is_busy(&self) -> bool {
        match &self.doing {
            Doing::Turn { .. } | Doing::Retry { .. } => true,
            Doing::Script
            | Doing::Rest { .. }
            | Doing::Asked
            | Doing::Resuming { .. }
            | Doing::Hung
            | Doing::Free => false,
        }
    }

    pub(super) fn scene(&self, now: Mono) -> Scene<'_> {
        let busy = |since: Mono, retry| Busy {
            elapsed: now.since(since),
            frame: now.0 / crate::base::now::millis(self.frame_every).max(1),
            retry,
        };
        let busy = match &self.doing {
            Doing::Turn { since, .. } => Some(busy(*since, None)),
            Doing::Retry { since, attempt, attempts, next, .. } => {
                let seconds = next.since(now).as_secs() + 1;
                let line = format!(
                    "529 Overloaded · retrying in {seconds}s · attempt {attempt}/{attempts}"
                );
                Some(busy(*since, Some(line)))
            }
            Doing::Script
            | Doing::Rest { .. }
            | Doing::Asked
            | Doing::Resuming { .. }
            | Doing::Hung
            | Doing::Free => None,
        };
        let queued = (!self.queue.is_empty()).then_some("Press up to edit queued messages");
        Scene {
            persona: self.persona,
            ready: self.ready,
            composer: &self.composer,
            placeholder: queued.or(self.placeholder),
            queue: &self.queue,
            busy,
            dialog: self.dialog.as_ref().map(|dialog| dialog.text.as_str()),
            notice: &self.notice,
        }
    }

    fn record(&mut self, event: &'static str, text: impl Into<String>) {
        self.wishes.push(Wish::Record(Fact { event, text: text.into() }));
    }

    fn line(&mut self, text: impl Into<String>) {
        self.items.push_back(Item::Line(text.into()));
    }

    // ── time ────────────────────────────────────────────────────────────────────────────────

    /// Everything that is due by now.
    pub(super) fn advance(&mut self, now: Mono) {
        if self.dialog.as_ref().and_then(|dialog| dialog.closes_at).is_some_and(|at| at <= now) {
            self.close_dialog("closed by itself");
        }
        while self.advance_once(now) {}
    }

    /// One thing that is due; whether something was.
    fn advance_once(&mut self, now: Mono) -> bool {
        match self.doing.clone() {
            Doing::Script => self.next_step(now),
            Doing::Turn { since, until, answers, after } if until <= now => {
                if let Some(answers) = answers {
                    let echo: String = answers.chars().take(ECHO_CHARS).collect();
                    self.line(format!("● got: {}", echo.replace('\n', " ")));
                }
                self.end_turn(until.since(since));
                self.doing = match after {
                    After::Script => Doing::Script,
                    After::Free => Doing::Free,
                };
            }
            Doing::Retry { since, attempt, attempts, every, next } if next <= now => {
                self.doing = if attempt >= attempts {
                    Doing::Script
                } else {
                    Doing::Retry {
                        since,
                        attempt: attempt + 1,
                        attempts,
                        every,
                        next: next.plus(every),
                    }
                };
            }
            Doing::Rest { until }
                if until.is_some_and(|until| until <= now) || self.has_message() =>
            {
                // Without a time the script waits for exactly this message and says what follows.
                if until.is_none() {
                    self.take_messages();
                }
                self.doing = Doing::Script;
            }
            Doing::Resuming { at } if at <= now => {
                self.notice.clear();
                self.line("● Usage limit reset · Continuing automatically");
                self.items
                    .push_back(Item::User("Your usage limit has reset. Continue.".to_owned()));
                self.turn(now, ANSWER, None, After::Script);
            }
            Doing::Free if self.has_message() => {
                let answers = self.take_messages();
                self.turn(now, ANSWER, Some(answers), After::Free);
            }
            Doing::Turn { .. }
            | Doing::Retry { .. }
            | Doing::Rest { .. }
            | Doing::Asked
            | Doing::Resuming { .. }
            | Doing::Hung
            | Doing::Free => return false,
        }
        true
    }

    fn has_message(&self) -> bool {
        !self.queue.is_empty() && self.dialog.is_none()
    }

    fn take_messages(&mut self) -> String {
        let messages = std::mem::take(&mut self.queue);
        self.items.extend(messages.iter().cloned().map(Item::User));
        messages.join("\n")
    }

    fn turn(&mut self, now: Mono, length: Duration, answers: Option<String>, after: After) {
        self.placeholder = None;
        self.doing = Doing::Turn { since: now, until: now.plus(length), answers, after };
    }

    fn end_turn(&mut self, took: Duration) {
        let line = match self.persona {
            Persona::Claude => format!("✻ Cooked for {}s · done", took.as_secs().max(1)),
            Persona::Opencode => format!("   ▣  Build · Demo Model · {:.1}s", took.as_secs_f64()),
        };
        self.line(line);
    }

    fn next_step(&mut self, now: Mono) {
        let Some(step) = self.part.steps.get(self.at_step).cloned() else {
            self.at_step = 0;
            if !self.part.repeats {
                self.doing = Doing::Free;
            }
            return;
        };
        self.at_step += 1;
        match step {
            Step::Ready => self.get_ready(now),
            Step::Work(length) => self.turn(now, length, None, After::Script),
            Step::Idle(None) => {}
            Step::Idle(Some(length)) => self.doing = Doing::Rest { until: Some(now.plus(length)) },
            Step::WaitSubmit => self.doing = Doing::Rest { until: None },
            Step::Say(text) => self.line(format!("● {text}")),
            Step::Ask { text, closes_after } => {
                self.open_dialog(text, closes_after.map(|after| now.plus(after)));
                self.doing = Doing::Asked;
            }
            Step::StartupDialog(text) => {
                self.open_dialog(text, None);
                self.doing = Doing::Asked;
            }
            Step::AskOnPaste { text, closes_after } => {
                self.ask_on_paste = Some((text, closes_after));
            }
            Step::Limit { phrase, resumes_after } => self.limit(now, &phrase, resumes_after),
            Step::Overload => {
                self.line(
                    "● API Error: 529 Overloaded. This is a server-side issue, usually temporary — try again in a moment.",
                );
                self.placeholder = Some("Resend your message to try again");
            }
            Step::Retry { attempts, every } => {
                self.doing =
                    Doing::Retry { since: now, attempt: 1, attempts, every, next: now.plus(every) };
            }
            Step::Fatal(text) => {
                self.line(format!("● {text}"));
                self.placeholder = Some("Once fixed, resend your message");
            }
            Step::Draft(text) => {
                self.record("draft", text.clone());
                self.composer.clear();
                if !text.is_empty() {
                    self.composer.insert(&text);
                }
            }
            Step::SwallowEnters(count) => self.enters_to_swallow = count,
            Step::Popup => self.popup = true,
            Step::ChangeWhilePasted => self.change_while_pasted = true,
            Step::Redraw(rate) => {
                self.redraw_every = (rate > 0).then(|| Duration::from_secs(1) / rate);
            }
            Step::Title(title) => self.wishes.push(Wish::Title(title)),
            Step::IgnoreSigterm => self.deaf_to_term = true,
            Step::SpawnChild => self.wishes.push(Wish::SpawnChild),
            Step::Hang => self.doing = Doing::Hung,
            Step::Exit(code) => {
                self.wishes.push(Wish::Exit(code));
                self.doing = Doing::Hung;
            }
        }
    }

    fn get_ready(&mut self, now: Mono) {
        if !self.ready {
            self.ready = true;
            self.record("ready", "");
        }
        if let Some(kickoff) = self.kickoff.take() {
            self.record("kickoff", kickoff.clone());
            self.items.push_back(Item::User(kickoff.clone()));
            self.turn(now, ANSWER, Some(kickoff), After::Script);
        }
    }

    fn limit(&mut self, now: Mono, phrase: &str, resumes_after: Option<Duration>) {
        self.line(format!("  ⎿  You've hit your 5-hour limit · resets {phrase}"));
        let Some(after) = resumes_after else { return };
        self.line(format!(
            "● Usage limit reached · continuing automatically at {phrase} · esc to cancel"
        ));
        self.notice = vec![
            format!("  ⚠ Usage limit reached · limit resets {phrase}"),
            format!("    Continuing automatically at {phrase} · Esc to cancel"),
        ];
        self.doing = Doing::Resuming { at: now.plus(after) };
    }

    fn open_dialog(&mut self, text: String, closes_at: Option<Mono>) {
        self.record("dialog_open", text.clone());
        self.dialog = Some(Dialog { text, closes_at });
    }

    fn close_dialog(&mut self, how: &str) {
        self.dialog = None;
        self.record("dialog_close", how);
        if self.doing == Doing::Asked {
            self.doing = Doing::Script;
        }
    }

    // ── keys ────────────────────────────────────────────────────────────────────────────────

    pub(super) fn key(&mut self, key: &Key, now: Mono) {
        if self.dialog.is_some() {
            self.dialog_key(key);
            return;
        }
        match key {
            Key::Paste(text) => self.pasted(text, now),
            Key::Text(text) => {
                self.record("key", text.clone());
                self.composer.insert(text);
            }
            Key::Newline => self.composer.insert("\n"),
            Key::Enter => self.enter(),
            Key::Backspace => self.composer.backspace(),
            Key::ClearLine => self.composer.clear(),
            Key::Escape => self.interrupt(),
            Key::Interrupt => self.interrupt_or_exit(now),
            Key::EndOfInput if self.composer.is_empty() => self.wishes.push(Wish::Exit(0)),
            Key::EndOfInput | Key::Other(_) => self.record("key", key.shown()),
        }
    }

    /// Recorded before all else: a test proves by it that nothing was typed here unasked.
    fn dialog_key(&mut self, key: &Key) {
        self.record("dialog_key", key.shown());
        match key {
            Key::Enter => self.close_dialog("Yes"),
            Key::Text(text) | Key::Paste(text) if text.contains('1') => self.close_dialog("Yes"),
            Key::Text(text) | Key::Paste(text) if text.contains('2') => self.close_dialog("No"),
            Key::Escape | Key::Interrupt => self.close_dialog("cancelled"),
            Key::Text(_)
            | Key::Paste(_)
            | Key::Newline
            | Key::Backspace
            | Key::ClearLine
            | Key::EndOfInput
            | Key::Other(_) => {}
        }
    }

    fn pasted(&mut self, text: &str, now: Mono) {
        self.record("paste", text);
        self.composer.paste(text);
        self.popup_eaten = false;
        if self.change_while_pasted {
            self.line("● The transcript moves while the text stands in the box.");
        }
        if let Some((text, closes_after)) = self.ask_on_paste.take() {
            self.open_dialog(text, Some(now.plus(closes_after)));
        }
    }

    fn enter(&mut self) {
        // Before the box is drawn the real CLI keeps text and loses Enter.
        let popup_open = self.popup && !self.popup_eaten && self.composer.ends_in_mention();
        if !self.ready || self.enters_to_swallow > 0 || popup_open {
            self.enters_to_swallow = self.enters_to_swallow.saturating_sub(u32::from(self.ready));
            self.popup_eaten = popup_open;
            self.record("enter_lost", "");
            return;
        }
        if self.composer.is_empty() {
            self.record("key", "Enter");
            return;
        }
        let (full, shown) = (self.composer.full(), self.composer.shown());
        self.record("submit", full);
        self.queue.push(shown);
        self.composer.clear();
        self.placeholder = None;
    }

    fn interrupt(&mut self) {
        self.record("key", "Escape");
        if self.is_busy() {
            self.line("  ⎿  Interrupted · What should Claude do instead?");
            self.doing = Doing::Script;
        }
    }

    fn interrupt_or_exit(&mut self, now: Mono) {
        self.record("key", "C-c");
        let twice = self.interrupted_at.is_some_and(|at| now.since(at) < INTERRUPT_TWICE);
        if twice {
            self.wishes.push(Wish::Exit(0));
        }
        self.interrupted_at = Some(now);
        self.composer.clear();
        if self.is_busy() {
            self.line("  ⎿  Interrupted · What should Claude do instead?");
            self.doing = Doing::Script;
        }
    }
}
