//! Following the session files of all agents: sums for `status` and `usage`, clean text for `follow-all`.
//!
//! One [`Follower::step`] looks once at every file (its length only, unless it grew) and never waits; the
//! caller steps about once a second. What was read and where is kept under `state/transcripts/`, so that
//! a follower that was killed goes on without counting or writing anything twice.
//!
//! Surprise: the place is written down seldom, as the sums go with it: after a kill the same bytes are
//! read again onto the older sums. A clean log is cut back to where its place says.

pub mod find;
mod opencode;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, SystemTime};

use crate::base::zone::Tz;
use serde::{Deserialize, Serialize};

use self::find::{SessionFile, Source};
use super::governance::cost;
use super::store::Store;
use crate::base::now::{Mono, Now};
use crate::config::Config;
use crate::report::usage::{self, Summary};
use crate::sys::tail::Tail;
use crate::sys::{clock, file};
use crate::transcript::feed::Feed;
use crate::transcript::price::Prices;
use crate::transcript::render::Renderer;
use crate::transcript::usage::Ledger;
use crate::transcript::{Event, Format, Reader};

/// Between two steps of whoever steps.
pub const STEP_EVERY: Duration = Duration::from_secs(1);
/// Bytes of one file read in one step, so that a huge backlog does not starve the others.
const STEP_BYTES_MAX: usize = 16 << 20;
/// Between two searches for the session of an agent that has none known.
const SEARCH_EVERY: Duration = Duration::from_secs(5);
/// Sub-agents are many and short; one that is silent for so long is looked at seldom.
const QUIET_AFTER: Duration = Duration::from_secs(120);
const QUIET_LOOK_EVERY: Duration = Duration::from_secs(30);
/// Between two writings of a place.
const SAVE_EVERY: Duration = Duration::from_secs(10);
/// Settings and starts change seldom, and a change is noticed by the config's reload first.
const SOURCES_EVERY: Duration = Duration::from_secs(10);
/// Of a clean log, before it is moved to `<file>.1`.
const CLEAN_BYTES_MAX: u64 = 64 << 20;
const STATE_VERSION: u32 = 1;

/// What a follower is there for. Each purpose has places of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Sums, and `state/usage.json`; the watchdog's.
    Usage,
    /// Clean logs; `ao transcript follow-all`.
    Clean,
    /// Sums for one look; nothing is written.
    Look,
}

impl Purpose {
    fn word(self) -> &'static str {
        match self {
            Self::Usage | Self::Look => "usage",
            Self::Clean => "clean",
        }
    }
}

/// What a step did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stepped {
    /// Read from session files.
    pub bytes: u64,
    /// Written to clean logs.
    pub lines: u64,
}

/// Follows every agent of a project.
#[derive(Debug)]
pub struct Follower {
    config: Config,
    store: Store,
    purpose: Purpose,
    zone: Tz,
    agents: BTreeMap<String, Followed>,
    sources_at: Mono,
    summary: Option<Summary>,
}

/// `state/transcripts/<purpose>-<agent>.json`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct Stored {
    version: u32,
    ledger: Ledger,
    files: BTreeMap<PathBuf, Place>,
    /// Length of the clean log at this place.
    clean_bytes: u64,
    /// For sessions in a database: entries of each that were written, by session.
    entries: BTreeMap<String, usize>,
}

/// How far a file was read.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Place {
    session: String,
    offset: u64,
    inode: Option<u64>,
    reader: Reader,
}

#[derive(Debug)]
struct Followed {
    source: Source,
    stored: Stored,
    open: BTreeMap<PathBuf, Open>,
    id: Option<String>,
    main: Option<SessionFile>,
    search_at: Mono,
    /// When the folder of sub-agents was last changed.
    subs_changed: Option<SystemTime>,
    dirty: bool,
    save_at: Mono,
    renderer: Renderer,
    database: opencode::Seen,
}

#[derive(Debug)]
struct Open {
    session: String,
    tail: Tail,
    feed: Feed,
    grew_at: Mono,
    look_at: Mono,
}

impl Follower {
    pub fn new(config: &Config, purpose: Purpose) -> Self {
        Self {
            config: config.clone(),
            store: Store::new(config),
            purpose,
            zone: clock::zone(),
            agents: BTreeMap::new(),
            sources_at: Mono(0),
            summary: None,
        }
    }

    /// Goes on under another config.
    pub fn configure(&mut self, config: Config) {
        self.store = Store::new(&config);
        self.config = config;
        self.sources_at = Mono(0);
    }

    /// Looks at every file once and takes in what is new.
    pub fn step(&mut self, now: Now) -> Stepped {
        if now.mono >= self.sources_at {
            self.sources_at = now.mono.plus(SOURCES_EVERY);
            self.adopt(find::sources(&self.config, &self.store));
        }
        let mut stepped = Stepped::default();
        for followed in self.agents.values_mut() {
            let done = followed.step(&self.store, self.purpose, self.zone, now);
            stepped.bytes += done.bytes;
            stepped.lines += done.lines;
            if followed.dirty && now.mono >= followed.save_at {
                followed.save(&self.store, self.purpose, now.mono);
            }
        }
        let today = now.wall.with_timezone(&self.zone).date_naive();
        let stale = self.summary.as_ref().is_none_or(|summary| summary.day != today);
        if self.purpose == Purpose::Usage && (stale || stepped.bytes > 0) {
            self.summarise(now);
        }
        stepped
    }

    /// Steps until nothing is left to read.
    pub fn catch_up(&mut self) {
        while self.step(clock::now()).bytes > 0 {}
    }

    /// Writes down every place, for an orderly end.
    pub fn save(&mut self) {
        for followed in self.agents.values_mut().filter(|followed| followed.dirty) {
            followed.save(&self.store, self.purpose, Mono(0));
        }
    }

    /// The sums by agent.
    pub fn ledgers(&self) -> impl Iterator<Item = (&str, &Ledger)> {
        self.agents.iter().map(|(name, followed)| (name.as_str(), &followed.stored.ledger))
    }

    /// The files that are followed, by agent.
    pub fn files(&self) -> impl Iterator<Item = (&str, &Path)> {
        self.agents.iter().flat_map(|(name, followed)| {
            followed.open.keys().map(move |path| (name.as_str(), path.as_path()))
        })
    }

    fn adopt(&mut self, sources: Vec<Source>) {
        let mut before = std::mem::take(&mut self.agents);
        for source in sources {
            let name = source.agent.clone();
            let followed = match before.remove(&name) {
                Some(mut known) => {
                    if known.source != source {
                        known.source = source;
                        known.search_at = Mono(0);
                    }
                    known
                }
                None => Followed::load(source, &self.store, self.purpose, self.zone),
            };
            self.agents.insert(name, followed);
        }
        for (_, mut gone) in before {
            gone.save(&self.store, self.purpose, Mono(0));
        }
    }

    fn summarise(&mut self, now: Now) {
        // Of an ungoverned project nothing is charged and no store is opened.
        if let Err(error) = cost::charge(&self.config, &self.store, self.ledgers(), self.zone, now)
        {
            let error = crate::base::chain::text(&error);
            tracing::error!(%error, "what the models cost is not charged yet");
        }
        let summary = usage::summary(self.ledgers(), Prices::shipped(), now, self.zone);
        if self.summary.as_ref() == Some(&summary) {
            return;
        }
        let mut text = serde_json::to_string(&summary).expect("a document of strings and numbers");
        text.push('\n');
        match file::replace_volatile(&self.store.usage_summary(), text.as_bytes(), 0o600) {
            Ok(()) => self.summary = Some(summary),
            Err(error) => tracing::warn!(%error, "cannot write what the agents used"),
        }
    }
}

/// Follows in a thread of its own until what this answers is dropped; sent a config, it goes on under that.
pub fn spawn(config: &Config) -> mpsc::Sender<Config> {
    let (sender, configs) = mpsc::channel();
    let mut follower = Follower::new(config, Purpose::Usage);
    std::thread::spawn(move || {
        loop {
            follower.step(clock::now());
            match configs.recv_timeout(STEP_EVERY) {
                Ok(config) => follower.configure(config),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return follower.save(),
            }
        }
    });
    sender
}

/// A whole session of an agent, its sub-agents' files included: each file's text.
pub fn session_texts(config: &Config, agent: &str) -> Result<Vec<(Format, String)>, SessionError> {
    let store = Store::new(config);
    let source = find::sources(config, &store).into_iter().find(|source| source.agent == agent);
    let source = source.ok_or_else(|| SessionError::NoReader { agent: agent.to_owned() })?;
    let id = source.id();
    if source.format == Format::OpencodeExport {
        let id = id.ok_or_else(|| SessionError::NoSession { agent: agent.to_owned() })?;
        let text = opencode::export(&source, &id)
            .map_err(|said| SessionError::Export { agent: agent.to_owned(), said })?;
        return Ok(vec![(source.format, text)]);
    }
    let main = source.current(id.as_deref());
    let main = main.ok_or_else(|| SessionError::NoSession { agent: agent.to_owned() })?;
    let subs = source.sub_agents(&main);
    let paths = std::iter::once(main).chain(subs).map(|file| file.path);
    paths.map(|path| Ok((source.format, read_text(&path)?))).collect()
}

/// A file with those of its sub-agents beside it.
pub fn file_texts(path: &Path) -> Result<Vec<(Format, String)>, SessionError> {
    let text = read_text(path)?;
    let format =
        Format::detect(&text).ok_or_else(|| SessionError::Foreign { path: path.to_owned() })?;
    let mut texts = vec![(format, text)];
    for sub in find::files_in(&find::sub_agents_folder(path), ".jsonl") {
        texts.push((format, read_text(&sub)?));
    }
    Ok(texts)
}

fn read_text(path: &Path) -> Result<String, SessionError> {
    let unreadable = |cause| SessionError::Read { path: path.to_owned(), cause };
    Ok(String::from_utf8_lossy(&std::fs::read(path).map_err(unreadable)?).into_owned())
}

#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    #[error("cannot read `{path}`")]
    Read {
        path: PathBuf,
        #[source]
        cause: std::io::Error,
    },
    #[error("`{path}` is no session file of Claude Code, Codex or opencode")]
    Foreign { path: PathBuf },
    #[error("the backend of `{agent}` writes no transcript that `ao` can read")]
    NoReader { agent: String },
    #[error("no session of `{agent}` was found")]
    NoSession { agent: String },
    #[error("`opencode export` for `{agent}` failed: {said}")]
    Export { agent: String, said: String },
}

/// What `ao status` is told of the transcripts; `None` when nobody has read any.
pub fn read_summary(store: &Store) -> Option<Summary> {
    let text = std::fs::read_to_string(store.usage_summary()).ok()?;
    serde_json::from_str(&text).ok()
}

impl Followed {
    fn load(source: Source, store: &Store, purpose: Purpose, zone: Tz) -> Self {
        let path = store.transcript_state(purpose.word(), &source.agent);
        let stored = stored_at(&path);
        let damaged = stored.is_err();
        let stored = stored.unwrap_or_default();
        let stored =
            stored.unwrap_or_else(|| Stored { version: STATE_VERSION, ..Stored::default() });
        if damaged && purpose != Purpose::Look {
            set_aside(&path);
        }
        if purpose == Purpose::Clean {
            let log = store.clean_log(&source.agent);
            if damaged {
                // What is in it may be of sessions that are gone.
                drop(std::fs::rename(&log, older(&log)));
            }
            cut_back(&log, stored.clean_bytes);
        }
        let mut followed = Self {
            renderer: Renderer::new(&source.agent, zone, false),
            source,
            stored,
            open: BTreeMap::new(),
            id: None,
            main: None,
            search_at: Mono(0),
            subs_changed: None,
            dirty: false,
            save_at: Mono(0),
            database: opencode::Seen::default(),
        };
        for (path, place) in followed.stored.files.clone() {
            followed.open.insert(path.clone(), Open::resume(&path, place));
        }
        followed
    }

    fn step(&mut self, store: &Store, purpose: Purpose, zone: Tz, now: Now) -> Stepped {
        let mut text = String::new();
        let bytes = if matches!(self.source.format, Format::OpencodeExport | Format::OpencodeRun) {
            self.database(&mut text, zone, now)
        } else {
            self.search(now.mono);
            self.read(&mut text, zone, now)
        };
        let mut lines = 0;
        if purpose == Purpose::Clean && !text.is_empty() {
            lines = text.bytes().filter(|&byte| byte == b'\n').count() as u64;
            match append(&store.clean_log(&self.source.agent), &text) {
                Ok(length) => {
                    if length < self.stored.clean_bytes {
                        // A new log was begun: an older place would not fit it.
                        self.save_at = Mono(0);
                    }
                    self.stored.clean_bytes = length;
                }
                Err(error) => tracing::warn!(%error, agent = self.source.agent, "clean log"),
            }
        }
        self.dirty |= bytes > 0;
        Stepped { bytes, lines }
    }

    /// Finds the current session and its sub-agents.
    fn search(&mut self, now: Mono) {
        let id = self.source.id();
        if now >= self.search_at || id != self.id {
            self.search_at = now.plus(SEARCH_EVERY);
            let known = self
                .main
                .as_ref()
                .is_some_and(|main| id.as_deref() == Some(&main.session) && main.path.exists());
            if !known {
                let main = self.source.current(id.as_deref());
                if main.is_some() && main != self.main {
                    self.main = main;
                    self.subs_changed = None;
                }
            }
            self.id = id;
        }
        let Some(main) = self.main.clone() else { return };
        let folder = self.source.sub_agents_folder(&main);
        let changed = folder.and_then(|folder| folder.metadata().ok()?.modified().ok());
        if !self.open.contains_key(&main.path) || changed != self.subs_changed {
            self.subs_changed = changed;
            for found in self.source.sub_agents(&main).into_iter().chain([main]) {
                let format = self.source.format;
                self.open
                    .entry(found.path.clone())
                    .or_insert_with(|| Open::begin(&found.path, found.session, format));
            }
        }
    }

    fn read(&mut self, text: &mut String, zone: Tz, now: Now) -> u64 {
        let mut bytes = 0;
        let main = self.main.as_ref().map(|main| &main.path);
        for (path, open) in &mut self.open {
            if now.mono < open.look_at {
                continue;
            }
            let (ledger, renderer) = (&mut self.stored.ledger, &mut self.renderer);
            let read = open.look(&mut |session, event| {
                ledger.take(session, &event, now.wall, zone);
                if let Event::Entry(entry) = &event {
                    renderer.line(entry, text);
                }
            });
            match read {
                Ok(0) if Some(path) != main && now.mono.since(open.grew_at) >= QUIET_AFTER => {
                    open.look_at = now.mono.plus(QUIET_LOOK_EVERY);
                }
                Ok(0) => {}
                Ok(more) => {
                    bytes += more;
                    open.grew_at = now.mono;
                    self.stored.files.insert(path.clone(), open.place());
                }
                Err(error) => tracing::warn!(%error, path = %path.display(), "transcript"),
            }
        }
        bytes
    }

    fn save(&mut self, store: &Store, purpose: Purpose, now: Mono) {
        if purpose == Purpose::Look {
            return;
        }
        self.save_at = now.plus(SAVE_EVERY);
        let path = store.transcript_state(purpose.word(), &self.source.agent);
        let text = serde_json::to_string(&self.stored).expect("a document of strings and numbers");
        let written = private_folder_of(&path)
            .and_then(|()| Ok(file::replace_volatile(&path, text.as_bytes(), 0o600)?));
        match written {
            Ok(()) => self.dirty = false,
            Err(error) => tracing::warn!(%error, path = %path.display(), "place in transcripts"),
        }
    }
}

impl Open {
    fn begin(path: &Path, session: String, format: Format) -> Self {
        Self::resume(path, Place { session, offset: 0, inode: None, reader: Reader::new(format) })
    }

    fn resume(path: &Path, place: Place) -> Self {
        Self {
            session: place.session,
            tail: Tail::resume(path, place.offset, place.inode),
            feed: Feed::new(place.reader),
            grew_at: Mono(0),
            look_at: Mono(0),
        }
    }

    /// Where the first line begins that is not read yet.
    fn place(&self) -> Place {
        let (offset, inode) = self.tail.place();
        Place {
            session: self.session.clone(),
            offset: offset.saturating_sub(self.feed.waiting_bytes() as u64),
            inode,
            reader: self.feed.reader.clone(),
        }
    }

    /// Reads what is new; how many bytes that were.
    fn look(&mut self, each: &mut dyn FnMut(&str, Event<'_>)) -> std::io::Result<u64> {
        let mut sum = 0;
        while sum < STEP_BYTES_MAX {
            let (before, _) = self.tail.place();
            let bytes = self.tail.look()?;
            if bytes.is_empty() {
                break;
            }
            let (after, _) = self.tail.place();
            if after != before + bytes.len() as u64 {
                // Emptied or replaced. What the reader remembers keeps it from counting twice.
                self.feed.restart();
            }
            sum += bytes.len();
            let session = &self.session;
            self.feed.push(&bytes, &mut |event| each(session, event));
        }
        Ok(sum as u64)
    }
}

/// `Err`: there is something, and it is not what we wrote.
fn stored_at(path: &Path) -> Result<Option<Stored>, ()> {
    match std::fs::read_to_string(path) {
        Ok(text) => match serde_json::from_str::<Stored>(&text) {
            Ok(stored) if stored.version == STATE_VERSION => Ok(Some(stored)),
            Ok(_) | Err(_) => Err(()),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(_) => Err(()),
    }
}

/// Its sessions are read again from their beginning.
fn set_aside(path: &Path) {
    let path_shown = path.display();
    match file::set_aside(path, clock::now().wall) {
        Ok(aside) => {
            tracing::error!(path = %path_shown, aside = %aside.display(), "not what ao wrote: set aside");
        }
        Err(error) => tracing::error!(path = %path_shown, %error, "cannot be set aside"),
    }
}

fn private_folder_of(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().expect("joined below log_dir");
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Appends to a clean log, beginning a new one when it is large; its length afterwards.
fn append(path: &Path, text: &str) -> std::io::Result<u64> {
    private_folder_of(path)?;
    if path.metadata().is_ok_and(|metadata| metadata.len() > CLEAN_BYTES_MAX) {
        std::fs::rename(path, older(path))?;
    }
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    Ok(file.metadata()?.len())
}

fn older(path: &Path) -> PathBuf {
    let mut older = path.as_os_str().to_owned();
    older.push(".1");
    PathBuf::from(older)
}

/// Drops what was written after the kept place; it is read and written again.
fn cut_back(path: &Path, bytes: u64) {
    let cut = || -> std::io::Result<()> {
        if path.metadata()?.len() > bytes {
            File::options().write(true).open(path)?.set_len(bytes)?;
        }
        Ok(())
    };
    // No log yet: nothing to cut.
    drop(cut());
}
