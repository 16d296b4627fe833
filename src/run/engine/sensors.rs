//! Hears what the CLIs tell about themselves, and lets that and the screens make one reading.
//!
//! Facts come through the spools, session files are read at each glance. What was told is kept here,
//! per start; the core is only given the merged reading, so a replay needs nothing of this.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Engine;
use crate::base::name::{SessionName, UnitName};
use crate::base::now::{Mono, Now};
use crate::run::listener::{Heard, Listener};
use crate::run::record::{Output, Record};
use crate::run::{hook, sensors};
use crate::screen::Reading;
use crate::sense::merge::Seen;
use crate::sense::session_file::{self, SessionFile};
use crate::sense::{Cli, Senses, spool};
use crate::supervise::action::What;
use crate::supervise::event::Event;
use crate::supervise::state::{Life, UnitKind};
use crate::sys::spool::Reader;
use crate::sys::{clock, file, process};

/// Between two searches for the session file of a process that is not the pane's first.
const SEARCH_EVERY: Duration = Duration::from_secs(5);
/// A session file is small.
const SESSION_FILE_BYTES_MAX: u64 = 64 << 10;

/// All that is heard of one start.
#[derive(Debug)]
pub(super) struct Hearing {
    attempt: u64,
    start_id: String,
    session: SessionName,
    config_dir: Option<PathBuf>,
    follows: bool,
    /// The conversation that was stored last.
    followed: Option<String>,
    spool: Reader,
    /// Its spool was read at least once.
    begun: bool,
    /// What the CLI writes of its conversation, where we read that.
    record: Option<Record>,
    /// The log of its pane, where its output tells states.
    log: Option<PathBuf>,
    output: Option<Output>,
    /// It writes one.
    recorded: bool,
    senses: Senses,
    /// The last reading of the screen, and when it was last known to hold.
    screen: Option<(Reading, Mono)>,
    /// What the core was told last.
    told: Option<Reading>,
    /// Whose session file it is.
    pid: Option<u32>,
    search_at: Mono,
}

/// Which agents' hooks may have written something since the last time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spools {
    /// Nobody knows: all of them are looked at.
    All,
    Of(BTreeSet<UnitName>),
}

impl Spools {
    /// What is new in this file, too; `None`: anything may be.
    pub fn add(&mut self, file: Option<&Path>) {
        let name = file.and_then(|file| UnitName::new(file.file_stem()?.to_str()?).ok());
        match (self, name) {
            (Self::Of(names), Some(name)) => _ = names.insert(name),
            (spools @ Self::Of(_), None) if file.is_none() => *spools = Self::All,
            (Self::All | Self::Of(_), _) => {}
        }
    }

    fn has(&self, name: &UnitName) -> bool {
        match self {
            Self::All => true,
            Self::Of(names) => names.contains(name),
        }
    }
}

impl Default for Spools {
    fn default() -> Self {
        Self::Of(BTreeSet::new())
    }
}

pub(super) type Hearings = BTreeMap<UnitName, Hearing>;

/// An agent that runs: its name, attempt and the pane's first process.
type Running = (UnitName, u64, u32);

impl Engine {
    fn running_agents(&self) -> Vec<Running> {
        let agents =
            self.fleet.units.iter().filter(|(_, unit)| unit.spec.kind != UnitKind::Service);
        agents
            .filter_map(|(name, unit)| match &unit.life {
                Life::Running { pid, .. } => Some((name.clone(), unit.attempt, *pid)),
                Life::NotStarted
                | Life::Starting { .. }
                | Life::Stopping { .. }
                | Life::Dead { .. }
                | Life::Failed { .. }
                | Life::Done { .. } => None,
            })
            .collect()
    }

    fn hearing(&mut self, name: &UnitName, attempt: u64) -> Option<&mut Hearing> {
        if self.hearings.get(name).is_none_or(|hearing| hearing.attempt != attempt) {
            let session = self.config.agent(name.as_str())?.session.clone();
            let record = self.launch(&session).filter(|record| record.attempt == attempt)?;
            let sensing = record.sensing;
            let server = sensing
                .as_ref()
                .and_then(|sensing| sensors::server(&self.store, &session, sensing));
            let tells_in_output = sensing.as_ref().is_some_and(|sensing| sensing.cli == Cli::Codex);
            let hearing = Hearing {
                attempt,
                start_id: record.start_id,
                recorded: tells_in_output,
                record: None,
                log: tells_in_output.then(|| self.store.session_log(&session)),
                output: None,
                config_dir: sensing.as_ref().and_then(|sensing| sensing.config_dir.clone()),
                follows: sensing.is_some_and(|sensing| sensing.follows),
                followed: None,
                session,
                spool: Reader::new(hook::spool_file(&self.store.state(), name)),
                begun: false,
                senses: Senses::default(),
                screen: None,
                told: None,
                pid: None,
                search_at: Mono(0),
            };
            self.hearings.insert(name.clone(), hearing);
            if let (Some(listener), Some(server)) = (&mut self.listener, server)
                && let Err(error) = listener.follow(name, attempt, server)
            {
                tracing::warn!(unit = %name, %error, "cannot follow its server");
            }
        }
        self.hearings.get_mut(name)
    }

    /// Follows the servers of the CLIs that have one; `waker` is called when one told something.
    pub fn listen(&mut self, waker: impl Fn() + Send + Sync + 'static) {
        self.listener = Some(Listener::new(waker));
    }

    /// Takes in what servers told since the last time.
    fn hear_servers(&mut self, now: Now) {
        let Some(listener) = &mut self.listener else { return };
        let units = &self.fleet.units;
        listener.keep(|name, attempt| {
            units.get(name).is_some_and(|unit| unit.is_running() && unit.attempt == attempt)
        });
        let mut news = BTreeSet::new();
        for ((name, attempt), heard) in listener.take() {
            let hearing = self.hearings.get_mut(&name).filter(|hearing| hearing.attempt == attempt);
            let Some(hearing) = hearing else { continue };
            match heard {
                Heard::Begun(at, fact) => {
                    hearing.senses.server_begins(at);
                    if let Some(fact) = fact {
                        hearing.senses.note_server(&fact);
                    }
                }
                Heard::Fact(fact) => hearing.senses.note_server(&fact),
                Heard::Lives(at) => hearing.senses.server_lives(at),
                Heard::Gone => hearing.senses.server_gone(),
            }
            news.insert(name);
        }
        for name in news {
            self.tell(&name, false, now);
        }
    }

    /// Takes in what hooks and servers told since the last time; spools that are read for the first
    /// time are read in any case.
    pub fn hear(&mut self, spools: &Spools) {
        let now = clock::now();
        self.at_once(|engine| engine.hear_all(spools, now));
    }

    fn hear_all(&mut self, spools: &Spools, now: Now) {
        let running = self.running_agents();
        self.hear_servers(now);
        for (name, attempt, _) in running {
            let Some(hearing) = self.hearing(&name, attempt) else { continue };
            let looked = if hearing.begun && !spools.has(&name) {
                Ok(String::new())
            } else {
                hearing.spool.look()
            };
            let text = match looked {
                Ok(text) => text,
                Err(error) => {
                    tracing::warn!(unit = %name, %error, "cannot read what its hooks wrote");
                    continue;
                }
            };
            hearing.begun = true;
            let facts =
                if text.is_empty() { Vec::new() } else { spool::read(&text, &hearing.start_id) };
            for fact in &facts {
                hearing.senses.note(fact);
            }
            if hearing.hear_record(now) || !facts.is_empty() {
                self.tell(&name, false, now);
            }
        }
    }

    /// Takes in a screen that was just captured; what it means is told with the rest.
    pub(super) fn saw(&mut self, name: &UnitName, attempt: u64, reading: Reading) {
        let now = clock::now();
        match self.hearing(name, attempt) {
            Some(hearing) => hearing.screen = Some((reading, now.mono)),
            None => self.feed(Event::Read { unit: name.clone(), attempt, reading }),
        }
    }

    /// After a glance: session files are read, and the merged readings told. The screens of
    /// `read` were read just now; those of agents in neither set are as they were.
    pub(super) fn tell_all(&mut self, read: &BTreeSet<UnitName>, missed: &BTreeSet<UnitName>) {
        let now = clock::now();
        let mut processes = None;
        for (name, attempt, pid) in self.running_agents() {
            let Some(hearing) = self.hearing(&name, attempt) else { continue };
            if let Some((_, at)) = &mut hearing.screen
                && !missed.contains(&name)
            {
                *at = now.mono;
            }
            hearing.hear_output(now.mono);
            if let Some(found) = hearing.session_file(pid, now.mono, &mut processes) {
                hearing.senses.note_file(&found, now);
            }
            self.tell(&name, read.contains(&name), now);
        }
    }

    /// Merges and tells the core, when there is something new or `anyway`.
    fn tell(&mut self, name: &UnitName, anyway: bool, now: Now) {
        let Some(hearing) = self.hearings.get_mut(name) else { return };
        let screen = hearing.screen.as_ref().map(|(reading, at)| Seen { reading, at: *at });
        if screen.is_none() && !hearing.senses.speaks(now.mono) {
            return;
        }
        let reading = hearing.senses.merge(screen, now.mono);
        let news = anyway || hearing.told.as_ref() != Some(&reading);
        let attempt = hearing.attempt;
        let id = hearing.senses.session_id().filter(|_| hearing.follows).map(str::to_owned);
        if news {
            hearing.told = Some(reading.clone());
        }
        if let Some(id) = id {
            self.follow(name, &id);
        }
        if news {
            self.feed(Event::Read { unit: name.clone(), attempt, reading });
        }
    }

    /// The next start takes up the conversation that the CLI is in now, not the one it began with.
    fn follow(&mut self, name: &UnitName, id: &str) {
        let sound = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if id.is_empty() || id.len() > 120 || id.starts_with('-') || !id.chars().all(sound) {
            return;
        }
        let Some(hearing) = self.hearings.get_mut(name) else { return };
        if hearing.followed.as_deref() == Some(id) {
            return;
        }
        hearing.followed = Some(id.to_owned());
        let path = self.store.conversation_id(name);
        let stored = std::fs::read_to_string(&path).ok();
        if stored.as_deref().map(str::trim) == Some(id) {
            return;
        }
        match file::replace(&path, format!("{id}\n").as_bytes(), 0o600) {
            Ok(()) => {
                self.log_unit(name, What::State, &format!("its conversation is {id} now"));
            }
            Err(error) => {
                let error = crate::base::chain::text(&error);
                tracing::warn!(unit = %name, %error, "cannot store its conversation");
            }
        }
    }

    /// A unit that was put down and stays down leaves nothing of ours to its CLI.
    pub(super) fn unlisten(&mut self, name: &UnitName) {
        let Some(unit) = self.fleet.units.get(name) else { return };
        match unit.life {
            Life::NotStarted | Life::Dead { .. } | Life::Failed { .. } | Life::Done { .. } => {}
            Life::Starting { .. } | Life::Running { .. } | Life::Stopping { .. } => return,
        }
        if unit.wanted || unit.spec.kind == UnitKind::Service {
            return;
        }
        self.hearings.remove(name);
        if let Err(error) = sensors::remove(&self.store, &unit.spec.session, name) {
            tracing::warn!(unit = %name, %error, "cannot remove its settings");
        }
    }
}

impl Hearing {
    /// Takes in what the CLI wrote of its conversation; says whether there was anything.
    fn hear_record(&mut self, now: Now) -> bool {
        let Some(path) = self.senses.transcript().filter(|_| self.recorded) else { return false };
        if self.record.as_ref().is_none_or(|record| record.path() != path) {
            self.record = Record::open(path).ok();
        }
        let Some(record) = &mut self.record else { return false };
        let facts = record.look(now).unwrap_or_default();
        for fact in &facts {
            self.senses.note_record(fact);
        }
        !facts.is_empty()
    }

    /// Takes in the states that its output told; only Codex tells any.
    fn hear_output(&mut self, now: Mono) {
        if let (Some(log), None) = (&self.log, &self.output) {
            self.output = Output::open(log).ok();
        }
        let looked = self.output.as_mut().and_then(|output| output.look().ok().flatten());
        if let Some(state) = looked {
            self.senses.note_output(state, now);
        }
    }

    /// What Claude Code's own file says of the pane's process, or of one below it.
    fn session_file(
        &mut self,
        pane_pid: u32,
        now: Mono,
        processes: &mut Option<process::Snapshot>,
    ) -> Option<SessionFile> {
        let folder = self.config_dir.as_ref()?.join("sessions");
        let known = self.pid.unwrap_or(pane_pid);
        if let Some(found) = read_session_file(&folder, known) {
            self.pid = Some(known);
            return Some(found);
        }
        self.pid = None;
        if now < self.search_at || !folder.is_dir() {
            return None;
        }
        self.search_at = now.plus(SEARCH_EVERY);
        let tree = processes.get_or_insert_with(process::snapshot).descendants(pane_pid);
        let found = tree.into_iter().find_map(|pid| read_session_file(&folder, pid))?;
        tracing::debug!(session = %self.session, pid = found.pid, "found its session file");
        self.pid = Some(found.pid);
        Some(found)
    }
}

/// The file of a process that lives and is the one that wrote it.
fn read_session_file(folder: &Path, pid: u32) -> Option<SessionFile> {
    let path = folder.join(format!("{pid}.json"));
    let facts = std::fs::metadata(&path).ok()?;
    if !facts.is_file() || facts.len() > SESSION_FILE_BYTES_MAX {
        return None;
    }
    let found = session_file::read(&std::fs::read(&path).ok()?).ok()?;
    let started = process::identity(pid)?;
    let told = found.process_start.as_deref().and_then(|start| start.parse::<u64>().ok());
    // Elsewhere the kernel counts starts in another unit than the file does.
    let same = !cfg!(target_os = "linux") || told.is_none_or(|told| told == started);
    (found.pid == pid && same).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agents_whose_spools_changed_are_read_and_all_of_them_when_a_change_may_have_been_missed()
    {
        let name = |text: &str| UnitName::new(text).unwrap();
        let mut spools = Spools::default();
        let has = |spools: &Spools| ["one", "two"].map(|text| spools.has(&name(text)));
        assert_eq!(has(&spools), [false, false]);
        let one = hook::spool_file(Path::new("/state"), &name("one"));
        spools.add(Some(&one));
        spools.add(Some(Path::new("/state/spool/.not a unit")));
        assert_eq!(has(&spools), [true, false]);
        spools.add(None);
        spools.add(Some(&one));
        assert_eq!(has(&spools), [true, true]);
    }
}
