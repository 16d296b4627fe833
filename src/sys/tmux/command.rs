//! tmux by one `tmux` process per call.
//!
//! Slower than control mode but needs no session to attach to, so short verbs use it and the
//! control client falls back on it. The caller's environment does not reach tmux beyond a short list:
//! whoever starts the server gives every pane its environment.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::request::{self, List};
use super::{Capture, Look, ServerId, SessionSpec, Tmux, TmuxError, Typed};
use crate::base::name::{PaneId, SessionName};
use crate::config;
use crate::sys::process::{self, Call, Output, ProcessError};

/// A healthy server answers within milliseconds; one out of descriptors never does.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// The same beside it for each of several requests to one process.
const EACH_WITHIN: Duration = Duration::from_secs(1);
/// The longest path that fits a Unix socket's address.
const SOCKET_BYTES_MAX: usize = 107;
/// tmux takes 16 kB of arguments per call; some room for the rest.
const ARGUMENT_BYTES_MAX: usize = 12_000;
/// What of our environment a server we start may have.
const PASSED_ON: [&str; 13] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "TERM",
    "COLORTERM",
    "XDG_CONFIG_HOME",
    "XDG_RUNTIME_DIR",
];

/// The socket of the configured server: `$TMUX_TMPDIR` (else `/tmp`), `tmux-<uid>`, name.
pub fn socket_path(tmux: &config::Tmux) -> PathBuf {
    let root = std::env::var_os("TMUX_TMPDIR").filter(|value| !value.is_empty());
    let root = root.map_or_else(|| PathBuf::from("/tmp"), PathBuf::from);
    // tmux resolves the folder before use, so two spellings of it are one server.
    let root = root.canonicalize().unwrap_or(root);
    let user = rustix::process::getuid().as_raw();
    root.join(format!("tmux-{user}")).join(tmux.socket.as_deref().unwrap_or("default"))
}

/// Numbers the buffers of the whole process: all connections share the server's buffers, and two
/// of one name would send a text to the wrong agent.
static BUFFERS: AtomicU64 = AtomicU64::new(1);

/// tmux by plain commands.
#[derive(Debug)]
pub struct Commands {
    socket: PathBuf,
    /// For texts to paste and scripts to start, mode 0600.
    state_dir: PathBuf,
    known: Option<ServerId>,
    checked: bool,
}

impl Commands {
    pub fn new(socket: PathBuf, state_dir: PathBuf, known: Option<ServerId>) -> Self {
        Self { socket, state_dir, known, checked: false }
    }

    /// The server that was last seen, here or by whoever recorded it.
    pub fn set_known_server(&mut self, known: Option<ServerId>) {
        self.known = known;
    }

    pub fn known_server(&self) -> Option<ServerId> {
        self.known
    }

    pub(crate) fn call(&self) -> Call {
        let mut call = Call::new("tmux").env_clean().timeout(ANSWER_WITHIN);
        for name in PASSED_ON {
            if let Some(value) = std::env::var_os(name) {
                call = call.env(name, value);
            }
        }
        call.args([OsString::from("-u"), OsString::from("-S"), self.socket.clone().into()])
    }

    fn check(&mut self) -> Result<(), TmuxError> {
        if !self.checked {
            self.check_once()?;
            self.checked = true;
        }
        Ok(())
    }

    pub(crate) fn check_once(&self) -> Result<(), TmuxError> {
        let length = self.socket.as_os_str().as_bytes().len();
        if length > SOCKET_BYTES_MAX {
            return Err(TmuxError::Refused {
                command: "tmux -S".to_owned(),
                message: format!(
                    "the socket path `{}` has {length} bytes and at most {SOCKET_BYTES_MAX} are \
                     possible: set TMUX_TMPDIR to a shorter folder or shorten `[tmux] socket`",
                    self.socket.display()
                ),
            });
        }
        version().map(drop)
    }

    fn run(&mut self, list: &List) -> Result<Output, TmuxError> {
        self.check()?;
        self.call().args(list.argv()).run().map_err(failed)
    }

    fn ask(&mut self, list: &List) -> Result<String, TmuxError> {
        let output = self.run(list)?;
        if output.success() { Ok(output.stdout_text()) } else { Err(refusal(list, &output)) }
    }

    /// Opens a session that may have been opened already, by a request whose answer was lost.
    pub fn open_again(&mut self, spec: &SessionSpec) -> Result<PaneId, TmuxError> {
        self.open(spec).or_else(|error| {
            let Ok(Look::Seen(world)) = self.look() else { return Err(error) };
            // The tag is of this start alone, and the last that is set.
            let ours = world
                .panes
                .iter()
                .find(|pane| pane.session == spec.session.as_str() && pane.tag == spec.tag);
            ours.map(|pane| pane.pane.clone()).ok_or(error)
        })
    }

    /// Runs the lists by one process, in order; one that fails keeps none of the others back. What each said;
    /// `None` where it was not run to its end.
    fn run_all(&mut self, lists: &[List]) -> Vec<Option<String>> {
        if lists.is_empty() {
            return Vec::new();
        }
        let key = uuid::Uuid::new_v4().to_string();
        let (run, text) = request::script(lists, &key);
        let patience =
            u32::try_from(lists.len()).map_or(ANSWER_WITHIN, |count| EACH_WITHIN * count);
        let call = self.call().args(run.argv()).stdin(text).timeout(ANSWER_WITHIN + patience);
        match self.check().and_then(|()| call.run().map_err(failed)) {
            Ok(output) => request::read_script(&output.stdout_text(), &key, lists.len()),
            Err(error) => {
                tracing::debug!(%error, "several requests at once failed");
                vec![None; lists.len()]
            }
        }
    }

    /// A failed connection means "no server" only with proof.
    fn absent(&self, message: &str) -> Result<Look, TmuxError> {
        let unreachable = || TmuxError::Unreachable { message: message.to_owned() };
        match self.known {
            Some(server) if is_alive(server) => Err(unreachable()),
            Some(server) => Ok(Look::NoServer {
                evidence: format!("{message}; process {} of the server is gone", server.pid),
            }),
            None if message.contains("No such file") || message.contains("no server running") => {
                Ok(Look::NoServer {
                    evidence: format!(
                        "{message}; no server was known at {}",
                        self.socket.display()
                    ),
                })
            }
            None => Err(unreachable()),
        }
    }

    /// A server that lives without its socket file makes it again on SIGUSR1.
    fn restore_socket(&self) -> bool {
        let Some(server) = self.known.filter(|&server| is_alive(server)) else {
            return false;
        };
        if self.socket.exists() {
            return false;
        }
        let Some(pid) = process::pid_of(server.pid) else {
            return false;
        };
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::USR1);
        for _ in 0..50 {
            if self.socket.exists() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }

    pub(crate) fn script_for(&self, spec: &SessionSpec) -> Result<PathBuf, TmuxError> {
        let file = self.state_dir.join(format!("open-{}.sh", spec.session));
        self.write(&file, request::launch_script(spec)?.as_bytes())?;
        Ok(file)
    }

    /// Writes the text where tmux can read it: the buffer's name, the file and its size.
    pub(crate) fn text_file(&self, text: &str) -> Result<(String, PathBuf), TmuxError> {
        let number = BUFFERS.fetch_add(1, Ordering::Relaxed);
        let buffer = format!("ao-{}-{number}", std::process::id());
        let file = self.state_dir.join(format!("{buffer}.txt"));
        self.write(&file, text.as_bytes())?;
        Ok((buffer, file))
    }

    fn write(&self, file: &Path, bytes: &[u8]) -> Result<(), TmuxError> {
        let what = || format!("write `{}`", file.display());
        std::fs::create_dir_all(&self.state_dir)
            .map_err(|cause| TmuxError::Io { what: what(), cause })?;
        crate::sys::file::replace_volatile(file, bytes, 0o600)
            .map_err(|cause| TmuxError::Io { what: what(), cause: cause.into() })
    }
}

impl Tmux for Commands {
    fn look(&mut self) -> Result<Look, TmuxError> {
        let list = request::look();
        // The version is asked for only if the look fails: it would double what `status` costs.
        let look = |commands: &Self| commands.call().args(list.argv()).run().map_err(failed);
        let mut output = look(self)?;
        if output.stderr_text().contains("No such file") && self.restore_socket() {
            output = look(self)?;
        }
        let message = output.stderr_text();
        // Without any session the server names itself and then has no panes to list.
        if let Some(world) = request::read_look(&output.stdout_text())
            && (output.success() || request::says_absent(&message))
        {
            self.known = Some(world.server);
            return Ok(Look::Seen(world));
        }
        self.check()?;
        match refusal(&list, &output) {
            TmuxError::Unreachable { message } => self.absent(&message),
            error @ (TmuxError::Missing { .. }
            | TmuxError::TooOld { .. }
            | TmuxError::Refused { .. }
            | TmuxError::Io { .. }) => Err(error),
        }
    }

    fn open(&mut self, spec: &SessionSpec) -> Result<PaneId, TmuxError> {
        self.check()?;
        // A server that we start inherits our limit; at 2 files per pane the usual one ends at 500.
        process::raise_open_files();
        if let Some(parent) = self.socket.parent() {
            make_private_dir(parent).map_err(|cause| TmuxError::Io {
                what: format!("make `{}`", parent.display()),
                cause,
            })?;
        }
        let script = self.script_for(spec)?;
        let list = request::open(spec, &script)?;
        opened(&list, &self.ask(&list)?)
    }

    fn open_all(&mut self, specs: &[SessionSpec]) -> Vec<Result<PaneId, TmuxError>> {
        // The first one starts the server if none runs; a script cannot.
        let Some((first, rest)) = specs.split_first() else { return Vec::new() };
        let mut results = vec![self.open(first)];
        let prepare = |spec| request::open(spec, &self.script_for(spec)?);
        let prepared: Result<Vec<List>, TmuxError> = rest.iter().map(prepare).collect();
        // One that cannot be prepared has its error told by the plain way.
        let said = prepared.map(|lists| (self.run_all(&lists), lists));
        let (said, lists) = said.unwrap_or_else(|_| (vec![None; rest.len()], Vec::new()));
        for ((spec, said), at) in rest.iter().zip(said).zip(0..) {
            let done = said.zip(lists.get(at)).and_then(|(said, list)| opened(list, &said).ok());
            results.push(done.map_or_else(|| self.open_again(spec), Ok));
        }
        results
    }

    fn close_all(&mut self, sessions: &[SessionName]) -> Vec<Result<(), TmuxError>> {
        let lists: Vec<List> = sessions.iter().map(request::close).collect();
        self.run_all(&lists);
        // What is not proven to be closed is closed one by one, and says why it cannot be.
        let left: BTreeSet<String> = match self.look() {
            Ok(Look::Seen(world)) => world.panes.into_iter().map(|pane| pane.session).collect(),
            Ok(Look::NoServer { .. }) => BTreeSet::new(),
            Err(_) => sessions.iter().map(SessionName::to_string).collect(),
        };
        let close = |session: &SessionName| {
            if left.contains(session.as_str()) { self.close(session) } else { Ok(()) }
        };
        sessions.iter().map(close).collect()
    }

    fn close(&mut self, session: &SessionName) -> Result<(), TmuxError> {
        match self.ask(&request::close(session)) {
            Ok(_) => Ok(()),
            Err(TmuxError::Refused { message, .. }) if request::says_absent(&message) => Ok(()),
            Err(TmuxError::Unreachable { message }) => match self.absent(&message)? {
                Look::NoServer { .. } | Look::Seen(_) => Ok(()),
            },
            Err(error) => Err(error),
        }
    }

    fn capture(&mut self, panes: &[PaneId]) -> Result<Vec<Capture>, TmuxError> {
        let mut captures = Vec::new();
        let mut start = 0;
        while start < panes.len() {
            let mut list = request::capture(&panes[start]);
            let mut end = start + 1;
            let mut bytes = list.line().len();
            while end < panes.len() {
                let next = request::capture(&panes[end]);
                bytes += next.line().len();
                if bytes > ARGUMENT_BYTES_MAX {
                    break;
                }
                list = list.and(next);
                end += 1;
            }
            let answer = self.ask(&list)?;
            captures.extend(request::read_captures(&panes[start..end], &answer));
            start = end;
        }
        Ok(captures)
    }

    fn paste(&mut self, pane: &PaneId, text: &str) -> Result<Typed, TmuxError> {
        let (buffer, file) = self.text_file(text)?;
        let load = request::load(&buffer, &file)?;
        let answer = self.ask(&load);
        drop(std::fs::remove_file(&file));
        loaded(&load, &answer?, text)?;
        let paste = request::paste(pane, &buffer);
        typed(&paste, &self.ask(&paste)?)
    }

    fn keys(&mut self, pane: &PaneId, keys: &[String]) -> Result<Typed, TmuxError> {
        let list = request::keys(pane, keys);
        typed(&list, &self.ask(&list)?)
    }

    fn keys_if_shown(
        &mut self,
        pane: &PaneId,
        keys: &[String],
        text: &str,
    ) -> Result<Typed, TmuxError> {
        let list = request::keys_if_shown(pane, keys, text);
        typed(&list, &self.ask(&list)?)
    }

    fn pipe(&mut self, pane: &PaneId, log: &Path) -> Result<(), TmuxError> {
        self.ask(&request::pipe(pane.as_str(), log)?).map(drop)
    }

    fn terminals(&mut self) -> Result<Vec<std::path::PathBuf>, TmuxError> {
        self.ask(&request::terminals()).map(|answer| request::read_terminals(&answer))
    }

    fn nudge(&mut self) -> Result<(), TmuxError> {
        self.ask(&request::nudge()).map(drop)
    }
}

/// The installed tmux's version, such as `3.3a`; too old a one is an error.
pub fn version() -> Result<String, TmuxError> {
    let mut call = Call::new("tmux").arg("-V").env_clean().timeout(ANSWER_WITHIN);
    if let Some(path) = std::env::var_os("PATH") {
        call = call.env("PATH", path);
    }
    let output = call.run().map_err(failed)?;
    let text = output.stdout_text();
    let found = text.trim().strip_prefix("tmux ").unwrap_or(text.trim()).to_owned();
    if is_new_enough(&found) { Ok(found) } else { Err(TmuxError::TooOld { found }) }
}

/// `3.2`, `3.3a`, `next-3.6`, `openbsd-7.4`, `master`: what is not numbered so is taken for new.
fn is_new_enough(version: &str) -> bool {
    let number = version.strip_prefix("next-").unwrap_or(version);
    let (major, minor) = number.split_once('.').unwrap_or((number, "0"));
    let minor: String = minor.chars().take_while(char::is_ascii_digit).collect();
    match (major.parse::<u32>(), minor.parse::<u32>()) {
        (Ok(major), Ok(minor)) => (major, minor) >= (3, 2),
        (Ok(_) | Err(_), _) => true,
    }
}

/// Whether the recorded server still lives: its pid, its name and about its start time.
pub fn is_alive(server: ServerId) -> bool {
    // Both times are rounded, and the clock may have been set since.
    const SLACK_S: i64 = 120;
    process::name(server.pid).is_some_and(|name| name.starts_with("tmux"))
        && process::started_epoch_s(server.pid)
            .is_none_or(|started| (started - server.started).abs() <= SLACK_S)
}

/// tmux wants its folder private and does not make it for a socket given by path.
fn make_private_dir(dir: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    if dir.is_dir() {
        return Ok(());
    }
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

pub(crate) fn opened(list: &List, answer: &str) -> Result<PaneId, TmuxError> {
    match answer.lines().find(|line| line.starts_with('%')) {
        Some(id) => Ok(PaneId::new(id.trim())),
        None => Err(unexpected(list, answer)),
    }
}

pub(crate) fn typed(list: &List, answer: &str) -> Result<Typed, TmuxError> {
    request::read_verdict(answer).ok_or_else(|| unexpected(list, answer))
}

/// Proof that tmux holds the whole text, before any of it is typed.
pub(crate) fn loaded(list: &List, answer: &str, text: &str) -> Result<(), TmuxError> {
    if request::read_size(answer) == Some(text.len()) {
        return Ok(());
    }
    Err(unexpected(list, &format!("{answer} (expected a buffer of {} bytes)", text.len())))
}

pub(crate) fn unexpected(list: &List, answer: &str) -> TmuxError {
    TmuxError::Refused {
        command: list.line(),
        message: format!("an answer nobody expected: {:?}", answer.trim()),
    }
}

fn refusal(list: &List, output: &Output) -> TmuxError {
    let message = output.stderr_text();
    if request::says_unreachable(&message) {
        return TmuxError::Unreachable { message };
    }
    TmuxError::Refused { command: list.line(), message }
}

pub(crate) fn failed(error: ProcessError) -> TmuxError {
    match error {
        ProcessError::Start { cause, .. } if cause.kind() == std::io::ErrorKind::NotFound => {
            TmuxError::Missing { cause }
        }
        ProcessError::Start { cause, .. } => TmuxError::Io { what: "start tmux".into(), cause },
        ProcessError::Wait { cause, .. } => TmuxError::Io { what: "wait for tmux".into(), cause },
        ProcessError::Timeout { limit, .. } => {
            TmuxError::Unreachable { message: format!("no answer within {} s", limit.as_secs()) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_before_3_2_are_too_old_and_unnumbered_ones_are_not() {
        let verdict = |text| (text, is_new_enough(text));
        assert_eq!(
            ["3.2", "3.3a", "3.1c", "2.9", "next-3.7", "master", "openbsd-7.4", "4.0"].map(verdict),
            [
                ("3.2", true),
                ("3.3a", true),
                ("3.1c", false),
                ("2.9", false),
                ("next-3.7", true),
                ("master", true),
                ("openbsd-7.4", true),
                ("4.0", true)
            ]
        );
    }
}
