//! Which session files are an agent's: by the id of its conversation, else by its working folder.
//!
//! Surprise: several agents, and the person beside them, may work in one folder, and their sessions lie
//! there side by side. Without an id, only a file written since the agent's start counts, and where
//! several agents share a folder, only one that holds the agent's `log_signature`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::backend::Backend;
use crate::config::{Agent, Config};
use crate::run::store::Store;
use crate::sys::file;
use crate::transcript::Format;

/// The signature stands in the first prompt or the surroundings the CLI writes down first.
const BEGINNING_BYTES_MAX: u64 = 256 << 10;
/// A file made this long before the start was noted still counts as made by it.
const START_SLACK: Duration = Duration::from_secs(5);
/// Day folders of Codex that are searched for a session, newest first.
const DAYS_MAX: usize = 60;

/// Where an agent's sessions are to be looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    pub agent: String,
    pub format: Format,
    /// The CLI's own folder: `~/.claude`, `~/.codex`.
    home: PathBuf,
    /// As configured, and with links resolved where that differs.
    dirs: Vec<PathBuf>,
    id_file: PathBuf,
    signature: Option<String>,
    /// Another agent has the same folder and CLI.
    shared: bool,
    started: Option<SystemTime>,
    /// For CLIs that keep their sessions in a database: the program that exports them.
    pub bin: String,
    pub environment: BTreeMap<String, String>,
}

/// A session file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionFile {
    pub path: PathBuf,
    /// The session it belongs to; sub-agents' files belong to their agent's.
    pub session: String,
}

/// The sources of all agents whose CLI writes transcripts we can read.
pub fn sources(config: &Config, store: &Store) -> Vec<Source> {
    // A preset costs some parsing, and a fleet has few backends.
    let mut backends = BTreeMap::<&str, Backend>::new();
    let mut sources = Vec::new();
    for agent in &config.agents {
        let backend = backends
            .entry(&agent.backend)
            .or_insert_with(|| Backend::by_name(config, &agent.backend));
        sources.extend(source(config, store, agent, backend));
    }
    for index in 0..sources.len() {
        let own = &sources[index];
        let shared = sources.iter().enumerate().any(|(other, source)| {
            other != index
                && source.format == own.format
                && source.home == own.home
                && source.dirs.iter().any(|dir| own.dirs.contains(dir))
        });
        sources[index].shared = shared;
    }
    sources
}

fn source(config: &Config, store: &Store, agent: &Agent, backend: &Backend) -> Option<Source> {
    let format = Format::of_preset(backend.preset.as_deref().unwrap_or(&agent.backend))?;
    let launch = store.launch_peek(&agent.session);
    let mut environment =
        launch.as_ref().map(|launch| launch.environment.clone()).unwrap_or_default();
    environment.extend(config.env.clone());
    environment.extend(backend.env.clone());
    environment.extend(agent.env.clone());
    let variable = |name: &str| {
        let given = environment.get(name).cloned();
        given.or_else(|| std::env::var(name).ok()).filter(|value| !value.is_empty())
    };
    let (named, below) = match format {
        Format::Claude => ("CLAUDE_CONFIG_DIR", ".claude"),
        Format::Codex => ("CODEX_HOME", ".codex"),
        Format::OpencodeRun | Format::OpencodeExport => ("XDG_DATA_HOME", ".local/share"),
    };
    let home = variable(named)
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(variable("HOME")?).join(below)))?;
    let mut dirs = vec![agent.dir.clone()];
    dirs.extend(agent.dir.canonicalize().ok().filter(|dir| *dir != agent.dir));
    Some(Source {
        agent: agent.name.to_string(),
        format,
        home,
        dirs,
        id_file: store.conversation_id(&agent.name),
        signature: agent.log_signature.clone(),
        shared: false,
        started: launch.map(|launch| launch.at.into()),
        bin: backend.bin.clone(),
        environment,
    })
}

impl Source {
    /// The id of the conversation the agent is in, where it is known.
    pub fn id(&self) -> Option<String> {
        let text = std::fs::read_to_string(&self.id_file).ok()?;
        let id = text.trim();
        // It becomes part of a path.
        let sound = !id.is_empty()
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        sound.then(|| id.to_owned())
    }

    /// The file of the session the agent is in now.
    pub fn current(&self, id: Option<&str>) -> Option<SessionFile> {
        match (self.format, id) {
            (Format::Claude, Some(id)) => self.claude_by_id(id),
            (Format::Claude, None) => self.claude_by_dir(),
            (Format::Codex, id) => self.codex(id),
            (Format::OpencodeRun | Format::OpencodeExport, _) => None,
        }
    }

    fn claude_by_id(&self, id: &str) -> Option<SessionFile> {
        let name = format!("{id}.jsonl");
        let usual =
            self.claude_folders().map(|folder| folder.join(&name)).find(|path| path.exists());
        let path = usual.or_else(|| {
            // The CLI names the folder after where it was started, which may lie elsewhere.
            let folders = std::fs::read_dir(self.home.join("projects")).ok()?;
            folders.flatten().map(|folder| folder.path().join(&name)).find(|path| path.exists())
        })?;
        Some(SessionFile { path, session: id.to_owned() })
    }

    fn claude_folders(&self) -> impl Iterator<Item = PathBuf> {
        self.dirs.iter().map(|dir| self.home.join("projects").join(claude_folder_name(dir)))
    }

    fn claude_by_dir(&self) -> Option<SessionFile> {
        let files = self.claude_folders().flat_map(|folder| files_in(&folder, ".jsonl")).collect();
        let path = self.newest_of(files)?;
        let session = path.file_stem()?.to_string_lossy().into_owned();
        Some(SessionFile { path, session })
    }

    fn codex(&self, id: Option<&str>) -> Option<SessionFile> {
        let days = codex_days(&self.home.join("sessions"));
        if let Some(id) = id {
            let end = format!("-{id}.jsonl");
            let path = days.iter().flat_map(|day| files_in(day, &end)).next()?;
            return Some(SessionFile { path, session: id.to_owned() });
        }
        for day in days {
            let mut files = files_in(&day, ".jsonl");
            files.retain(|path| codex_is_in(path, &self.dirs));
            if let Some(path) = self.newest_of(files) {
                let session = codex_id(&path)?;
                return Some(SessionFile { path, session });
            }
        }
        None
    }

    /// The newest file that can be this agent's.
    fn newest_of(&self, files: Vec<PathBuf>) -> Option<PathBuf> {
        if self.shared && self.signature.is_none() {
            return None;
        }
        let since = self.started.and_then(|started| started.checked_sub(START_SLACK));
        let mut dated: Vec<(SystemTime, PathBuf)> = files
            .into_iter()
            .filter_map(|path| Some((path.metadata().ok()?.modified().ok()?, path)))
            .filter(|(written, _)| since.is_none_or(|since| *written >= since))
            .collect();
        dated.sort();
        let mut newest_first = dated.into_iter().rev().map(|(_, path)| path);
        match &self.signature {
            Some(signature) => newest_first.find(|path| begins_with(path, signature)),
            None => newest_first.next(),
        }
    }

    /// The files of the sub-agents of a session.
    pub fn sub_agents(&self, main: &SessionFile) -> Vec<SessionFile> {
        match self.format {
            Format::Claude => {
                let files = files_in(&sub_agents_folder(&main.path), ".jsonl");
                let of = |path| SessionFile { path, session: main.session.clone() };
                files.into_iter().map(of).collect()
            }
            // Threads of their own, which name the session in their first line.
            Format::Codex => {
                let Some(day) = main.path.parent() else { return Vec::new() };
                let wanted = format!("\"session_id\":\"{}\"", main.session);
                files_in(day, ".jsonl")
                    .into_iter()
                    .filter(|path| *path != main.path && begins_with(path, &wanted))
                    .filter_map(|path| Some(SessionFile { session: codex_id(&path)?, path }))
                    .collect()
            }
            Format::OpencodeRun | Format::OpencodeExport => Vec::new(),
        }
    }

    /// The folder whose change tells of new sub-agents.
    pub fn sub_agents_folder(&self, main: &SessionFile) -> Option<PathBuf> {
        match self.format {
            Format::Claude => Some(sub_agents_folder(&main.path)),
            Format::Codex => main.path.parent().map(Path::to_owned),
            Format::OpencodeRun | Format::OpencodeExport => None,
        }
    }

    /// When the CLI's database was last written.
    pub fn database_written(&self) -> Option<SystemTime> {
        let folder = self.home.join("opencode");
        let written = |name: &str| folder.join(name).metadata().ok()?.modified().ok();
        ["opencode.db", "opencode.db-wal"].into_iter().filter_map(written).max()
    }

    /// Where the agent works.
    pub fn dir(&self) -> &Path {
        &self.dirs[0]
    }
}

/// `<session>.jsonl` has its sub-agents in `<session>/subagents/`.
pub fn sub_agents_folder(main: &Path) -> PathBuf {
    main.with_extension("").join("subagents")
}

/// Claude Code names a project's folder after its path, everything but letters and digits as `-`.
fn claude_folder_name(dir: &Path) -> String {
    let path = dir.to_string_lossy();
    path.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect()
}

/// Files whose names end so, in the order of their names.
pub fn files_in(folder: &Path, end: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.to_string_lossy().ends_with(end))
        .collect();
    files.sort();
    files
}

/// `sessions/YYYY/MM/DD`, newest first.
fn codex_days(sessions: &Path) -> Vec<PathBuf> {
    let numbered = |folder: &Path| {
        let mut folders = files_in(folder, "");
        folders.retain(|path| {
            path.file_name()
                .is_some_and(|name| name.as_encoded_bytes().iter().all(u8::is_ascii_digit))
        });
        folders.reverse();
        folders
    };
    let years = numbered(sessions).into_iter();
    let months = years.flat_map(|year| numbered(&year));
    months.flat_map(|month| numbered(&month)).take(DAYS_MAX).collect()
}

fn codex_is_in(path: &Path, dirs: &[PathBuf]) -> bool {
    dirs.iter().any(|dir| {
        let quoted = serde_json::to_string(&dir.to_string_lossy()).expect("text serialises");
        begins_with(path, &format!("\"cwd\":{quoted}"))
    })
}

/// `rollout-2026-11-21T03-52-58-<id>.jsonl`; the id has five groups.
fn codex_id(path: &Path) -> Option<String> {
    let stem = path.file_stem()?.to_str()?;
    let (at, _) = stem.rmatch_indices('-').nth(4)?;
    Some(stem[at + 1..].to_owned())
}

/// Whether the text, or the same with a blank after each colon, stands in the file's beginning.
fn begins_with(path: &Path, text: &str) -> bool {
    let Ok(Some(beginning)) = file::read_head(path, BEGINNING_BYTES_MAX) else { return false };
    beginning.contains(text) || beginning.contains(&text.replace("\":", "\": "))
}
