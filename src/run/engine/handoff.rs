//! Looks at the branch and the files that agents hand work over with: beside the loop, one at a time.
//!
//! `state/handoff.json` is a copy of what was seen, for when `supervisor.json` is lost; it is written
//! after it, so what it does not know yet is at most the last look.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Engine;
use crate::base::now::Mono;
use crate::config::Config;
use crate::handoff::done;
use crate::handoff::inbox::{Content, Place};
use crate::handoff::judge::{Observation, Seen};
use crate::run::{store, units};
use crate::supervise::action::What;
use crate::supervise::event::Event;
use crate::supervise::pinging::Looked;
use crate::supervise::sequence::Heard;
use crate::sys::clock;
use crate::sys::git::{self, FileText, GitError, Look, Source};

/// A remote that needs longer is taken for one that does not answer.
const LIMIT: Duration = Duration::from_secs(60);
/// Between two looks: a busy work tree must not keep us looking.
const GAP: Duration = Duration::from_millis(100);
/// The longest pause after failures in a row.
const BACKOFF_MAX: Duration = Duration::from_secs(600);
/// A look that found nothing is told to the core this often, so that its time is known.
const TOLD_EVERY: Duration = Duration::from_secs(15);

/// Looks under way and when the next one is due.
pub(super) struct Work {
    sender: Sender<Done>,
    done: Receiver<Done>,
    under_way: bool,
    /// Something changed while a look was under way.
    again: bool,
    failures: u32,
    not_before: Mono,
    begun_at: Mono,
    due: Option<Mono>,
    told_at: Mono,
}

struct Done {
    source: String,
    phase: Option<String>,
    outcome: Result<Look, String>,
}

/// `state/handoff.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Copy {
    version: u32,
    seen: Seen,
}

impl Work {
    pub(super) fn new() -> Self {
        let (sender, done) = channel();
        Self {
            sender,
            done,
            under_way: false,
            again: false,
            failures: 0,
            not_before: Mono(0),
            begun_at: Mono(0),
            due: None,
            told_at: Mono(0),
        }
    }
}

impl Engine {
    /// Begins a look, unless one is under way or failures ask for a pause.
    pub fn look_at_handoff(&mut self) {
        if self.config.sequence.is_none() {
            return;
        }
        self.handoff.due = None;
        if self.handoff.under_way {
            self.handoff.again = true;
            return;
        }
        let now = clock::now().mono;
        if now < self.handoff.not_before {
            return;
        }
        let earliest = self.handoff.begun_at.plus(GAP);
        if now < earliest {
            self.handoff.due = Some(earliest);
            return;
        }
        self.handoff.begun_at = now;
        self.handoff.under_way = true;
        let status = self.phase().map(|phase| phase.status.clone());
        let phase = self.phase().map(|phase| phase.id.clone());
        let mut files: Vec<String> = status.into_iter().collect();
        let handoff = self.config.sequence.as_ref().and_then(|sequence| sequence.handoff.clone());
        files.extend(handoff.iter().flat_map(|handoff| handoff.inboxes.clone()));
        let source = source(&self.config, files.clone());
        let name = units::handoff_source(&self.config).unwrap_or_default();
        let (root, mirror) =
            (self.config.project_dir.clone(), self.store.state().join("handoff.git"));
        let seen = &self.fleet.handoff.seen;
        let begun = seen.begun && seen.source == name;
        let since = seen.tip.clone().filter(|_| begun);
        let (sender, waker) = (self.handoff.sender.clone(), self.waker.clone());
        std::thread::spawn(move || {
            let outcome = match source {
                Some(source) => git::look(&mirror, &source, since.as_ref(), begun, LIMIT)
                    .map_err(|error: GitError| crate::base::chain::text(&error)),
                None => Ok(Look {
                    texts: git::work_tree(&root, super::sequence::STATE_SUBDIR, &files),
                    ..Look::default()
                }),
            };
            // A closed channel means that the loop has ended.
            drop(sender.send(Done { source: name, phase, outcome }));
            waker();
        });
    }

    /// When a look that was put off is due.
    pub fn handoff_due(&self) -> Option<Mono> {
        self.handoff.due
    }

    /// Takes in the looks that are over, and begins one that is due.
    pub fn take_handoff(&mut self) {
        if self.handoff.due.is_some_and(|due| due <= clock::now().mono) {
            self.look_at_handoff();
        }
        while let Ok(done) = self.handoff.done.try_recv() {
            self.handoff.under_way = false;
            self.handoff_looked(done);
            if std::mem::take(&mut self.handoff.again) {
                self.look_at_handoff();
            }
        }
    }

    fn handoff_looked(&mut self, done: Done) {
        let now = clock::now();
        let look = match done.outcome {
            Ok(look) => {
                self.handoff.failures = 0;
                self.handoff.not_before = Mono(0);
                look
            }
            Err(problem) => {
                self.handoff.failures = self.handoff.failures.saturating_add(1);
                let factor = 1_u32.checked_shl(self.handoff.failures - 1).unwrap_or(u32::MAX);
                let interval = self.config.watchdog.signal_interval;
                let pause = interval.saturating_mul(factor).min(BACKOFF_MAX);
                self.handoff.not_before = now.mono.plus(pause);
                self.feed(Event::Handoff { look: Looked::Failed { problem } });
                // What the work tree says counts all the same.
                let status = self.phase().map(|phase| phase.status.clone());
                let files: Vec<String> = status.into_iter().collect();
                let source = source(&self.config, files.clone());
                let texts =
                    source.map(|source| git::work_tree(&source.repo, &source.subdir, &files));
                self.read_status(done.phase.as_deref(), &texts.unwrap_or_default());
                return;
            }
        };
        if self.config.sequence.as_ref().is_some_and(|sequence| sequence.handoff.is_some()) {
            let observation = self.observation(done.source, &look);
            let seen = &self.fleet.handoff.seen;
            let news = !seen.begun
                || seen.source != observation.source
                || seen.tip != observation.tip
                || !observation.contents.is_empty()
                || self.fleet.handoff.problem.is_some();
            if news || now.mono.since(self.handoff.told_at) >= TOLD_EVERY {
                self.handoff.told_at = now.mono;
                self.feed(Event::Handoff { look: Looked::Seen { observation } });
            }
        }
        self.read_status(done.phase.as_deref(), &look.texts);
    }

    fn observation(&self, source: String, look: &Look) -> Observation {
        let seen = &self.fleet.handoff.seen;
        let inboxes = self.config.sequence.iter().filter_map(|sequence| sequence.handoff.as_ref());
        let inboxes: Vec<&String> = inboxes.flat_map(|handoff| &handoff.inboxes).collect();
        let own = self.work_tree_owner();
        let contents = look.texts.iter().filter(|text| inboxes.contains(&&text.file)).map(|text| {
            let writer = match text.place {
                Place::WorkTree => own.clone(),
                Place::Branch => text.writer.clone(),
            };
            Content::new(&text.file, text.place, &text.text, writer)
        });
        let changed = contents.filter(|content| {
            !seen.inboxes.get(&content.file).is_some_and(|known| known.is_last(content))
        });
        Observation {
            source,
            tip: look.tip.clone(),
            commits: look.commits.clone(),
            notes: look.notes.clone(),
            contents: changed.collect(),
        }
    }

    /// The only loop agent whose folder is the watched work tree: what changes there is its doing.
    fn work_tree_owner(&self) -> Option<String> {
        let repo = &self.config.sequence.as_ref()?.handoff.as_ref()?.repo;
        let mut inside = self.config.agents.iter().filter(|agent| agent.dir.starts_with(repo));
        match (inside.next(), inside.next()) {
            (Some(agent), None) => Some(agent.name.to_string()),
            _ => None,
        }
    }

    /// Tells the core whether the status file of the phase says that it is done, at any place.
    fn read_status(&mut self, phase: Option<&str>, texts: &[FileText]) {
        let (Some(sequence), Some(current)) = (&self.config.sequence, self.phase()) else { return };
        if phase != Some(current.id.as_str()) {
            return;
        }
        let done = texts
            .iter()
            .filter(|text| text.file == current.status)
            .find_map(|text| done::find(&text.text, &sequence.done_marker, &text.shown));
        let heard = Heard::Status { phase: current.id.clone(), done };
        self.feed(Event::Sequence { heard });
    }

    /// What was seen, from its copy, where nothing else remembers it; a damaged copy is written again.
    pub(super) fn recover_handoff(&mut self, forgotten: bool) {
        let loaded: store::Loaded<Copy> = store::read(&self.handoff_file(), clock::now());
        if let Some(problem) = loaded.problem {
            let lost = if forgotten {
                "the first look at the branch only records"
            } else {
                "it was a copy, and is written again"
            };
            self.report(None, What::Handoff, &format!("{problem}; {lost}"), true);
            if !forgotten && self.dry.is_none() {
                self.save_handoff();
            }
        }
        if let Some(copy) = loaded.value.filter(|_| forgotten) {
            self.fleet.handoff.seen = copy.seen;
        }
    }

    fn save_handoff(&self) {
        let copy = Copy { version: 1, seen: self.fleet.handoff.seen.clone() };
        if let Err(error) = store::replace(&self.handoff_file(), &copy) {
            tracing::error!(error = %crate::base::chain::text(&error), "cannot save the handoff");
        }
    }

    /// Copies of what was seen and of what waits to be typed.
    pub(super) fn save_copies(&self) {
        if self.fleet.settings.handoff.is_some() {
            self.save_handoff();
        }
        self.save_queue();
    }

    fn handoff_file(&self) -> PathBuf {
        self.store.state().join("handoff.json")
    }
}

/// What is to be fetched and read; `None` without `[loop] handoff`.
fn source(config: &Config, files: Vec<String>) -> Option<Source> {
    let handoff = config.sequence.as_ref()?.handoff.as_ref()?;
    Some(Source {
        repo: handoff.repo.clone(),
        remote: handoff.remote.clone(),
        branch: handoff.branch.clone(),
        subdir: handoff.state_subdir.clone(),
        files,
    })
}

/// The folders whose changes ask for a look at once, each with whether all below it counts.
pub fn watched_folders(config: &Config) -> Vec<(PathBuf, bool)> {
    let Some(source) = source(config, Vec::new()) else { return Vec::new() };
    let mut folders = git::watched(&source);
    folders.push((source.repo.clone(), false));
    folders.push((source.repo.join(&source.subdir), false));
    folders.retain(|(folder, _)| folder.is_dir());
    folders.dedup();
    folders
}
