//! tmux by one lasting control-mode connection, plain commands when it cannot be had.
//!
//! Attached with `ignore-size,no-output`, so nobody's window is resized and no pane is slowed. Each
//! request is followed by a line that prints a word of its own, and answers are read up to that word
//! instead of being counted: one line may give several blocks, and after an error the rest give none.
//! The connection ends with the session it is attached to; then plain commands do the work until
//! the session can be attached to again.
//!
//! A request whose connection broke is asked again only if asking twice does no harm; a paste or a
//! key is not, because nobody knows whether it arrived.
//!
//! Sessions are opened and closed several at a time, without waiting for each: between two requests the server
//! looks at every pane it has. Measured with 1,000 panes: one at a time took it 42 ms of CPU a pane.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use super::command::{self, Commands};
use super::protocol::{Event, Reader};
use super::request::{self, List};
use super::{Capture, Look, SessionSpec, Tmux, TmuxError, Typed};
use crate::base::name::{PaneId, SessionName};
use crate::base::now::Mono;
use crate::sys::{clock, process};

const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Between tries to connect, doubled up to the maximum: plain commands serve meanwhile.
const RETRY_FIRST: Duration = Duration::from_millis(250);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// Requests that are sent without waiting for each: some 30 kB, which fit a pipe whatever else is in it.
const AT_ONCE_MAX: usize = 32;

/// tmux in control mode, with plain commands to fall back on.
#[derive(Debug)]
pub struct ControlClient {
    commands: Commands,
    session: SessionName,
    connection: Option<Connection>,
    retry_after: Duration,
    retry_at: Mono,
}

impl ControlClient {
    /// Connects at the first request.
    pub fn new(commands: Commands, session: SessionName) -> Self {
        let retry_at = Mono::default();
        Self { commands, session, connection: None, retry_after: RETRY_FIRST, retry_at }
    }

    /// Whether the last request went over the lasting connection.
    pub fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    fn connected(&mut self) -> Option<&mut Connection> {
        let now = clock::now().mono;
        if self.connection.is_none() && now >= self.retry_at {
            match Connection::open(&self.commands, &self.session) {
                Ok(connection) => {
                    self.connection = Some(connection);
                    self.retry_after = RETRY_FIRST;
                }
                Err(error) => {
                    tracing::debug!(%error, session = %self.session, "no control mode");
                    self.put_off();
                }
            }
        }
        self.connection.as_mut()
    }

    fn put_off(&mut self) {
        self.connection = None;
        self.retry_at = clock::now().mono.plus(self.retry_after);
        self.retry_after = (self.retry_after * 2).min(RETRY_MAX);
    }

    /// The answer over the connection; `None` when there is none (any more).
    fn ask(&mut self, list: &List) -> Option<Result<String, TmuxError>> {
        self.ask_all(std::slice::from_ref(list)).pop()
    }

    /// The answers over the connection, in order; fewer when there is none (any more).
    fn ask_all(&mut self, lists: &[List]) -> Vec<Result<String, TmuxError>> {
        let mut answers = Vec::new();
        for some in lists.chunks(AT_ONCE_MAX) {
            let Some(connection) = self.connected() else { break };
            if let Err(Lost(message)) = connection.ask_all(some, &mut answers) {
                tracing::debug!(message, "the control connection broke");
                self.put_off();
                break;
            }
        }
        answers
    }

    fn closed(&mut self, session: &SessionName, answer: Option<Answer>) -> Result<(), TmuxError> {
        match answer {
            Some(Ok(_)) => Ok(()),
            Some(Err(TmuxError::Refused { message, .. })) if request::says_absent(&message) => {
                Ok(())
            }
            Some(Err(error)) => Err(error),
            None => self.commands.close(session),
        }
    }

    /// A guarded act: not tried again when the connection broke after it was sent.
    fn act(&mut self, list: &List) -> Option<Result<Typed, TmuxError>> {
        self.connected()?;
        let answer = self.ask(list).unwrap_or_else(|| {
            Err(TmuxError::Unreachable {
                message: "the connection broke while typing; whether it arrived is unknown"
                    .to_owned(),
            })
        });
        Some(answer.and_then(|answer| command::typed(list, &answer)))
    }
}

impl Tmux for ControlClient {
    fn look(&mut self) -> Result<Look, TmuxError> {
        if let Some(Ok(answer)) = self.ask(&request::look())
            && let Some(world) = request::read_look(&answer)
        {
            self.commands.set_known_server(Some(world.server));
            return Ok(Look::Seen(world));
        }
        // Only plain commands can prove that there is no server.
        self.commands.look()
    }

    fn open(&mut self, spec: &SessionSpec) -> Result<PaneId, TmuxError> {
        if self.connected().is_none() {
            return self.commands.open(spec);
        }
        let script = self.commands.script_for(spec)?;
        let list = request::open(spec, &script)?;
        match self.ask(&list) {
            Some(answer) => command::opened(&list, &answer?),
            None => self.commands.open_again(spec),
        }
    }

    fn open_all(&mut self, specs: &[SessionSpec]) -> Vec<Result<PaneId, TmuxError>> {
        if self.connected().is_none() {
            return self.commands.open_all(specs);
        }
        let asked = specs.iter().map(|spec| request::open(spec, &self.commands.script_for(spec)?));
        let asked: Vec<Result<List, TmuxError>> = asked.collect();
        let lists: Vec<List> = asked.iter().flatten().cloned().collect();
        let mut answers = self.ask_all(&lists).into_iter();
        let opened = specs.iter().zip(asked).map(|(spec, list)| {
            let list = list?;
            match answers.next() {
                Some(answer) => command::opened(&list, &answer?),
                None => self.commands.open_again(spec),
            }
        });
        opened.collect()
    }

    fn close(&mut self, session: &SessionName) -> Result<(), TmuxError> {
        let answer = self.ask(&request::close(session));
        self.closed(session, answer)
    }

    fn close_all(&mut self, sessions: &[SessionName]) -> Vec<Result<(), TmuxError>> {
        if self.connected().is_none() {
            return self.commands.close_all(sessions);
        }
        let lists: Vec<List> = sessions.iter().map(request::close).collect();
        let mut answers = self.ask_all(&lists).into_iter();
        sessions.iter().map(|session| self.closed(session, answers.next())).collect()
    }

    fn capture(&mut self, panes: &[PaneId]) -> Result<Vec<Capture>, TmuxError> {
        let list =
            panes.iter().fold(List::default(), |list, pane| list.and(request::capture(pane)));
        if panes.is_empty() {
            return Ok(Vec::new());
        }
        match self.ask(&list) {
            Some(answer) => Ok(request::read_captures(panes, &answer?)),
            None => self.commands.capture(panes),
        }
    }

    fn paste(&mut self, pane: &PaneId, text: &str) -> Result<Typed, TmuxError> {
        if self.connected().is_none() {
            return self.commands.paste(pane, text);
        }
        let (buffer, file) = self.commands.text_file(text)?;
        let load = request::load(&buffer, &file)?;
        let answer = self.ask(&load);
        drop(std::fs::remove_file(&file));
        let Some(answer) = answer else {
            return self.commands.paste(pane, text);
        };
        command::loaded(&load, &answer?, text)?;
        let paste = request::paste(pane, &buffer);
        match self.act(&paste) {
            Some(typed) => typed,
            None => self.commands.paste(pane, text),
        }
    }

    fn keys(&mut self, pane: &PaneId, keys: &[String]) -> Result<Typed, TmuxError> {
        match self.act(&request::keys(pane, keys)) {
            Some(typed) => typed,
            None => self.commands.keys(pane, keys),
        }
    }

    fn keys_if_shown(
        &mut self,
        pane: &PaneId,
        keys: &[String],
        text: &str,
    ) -> Result<Typed, TmuxError> {
        match self.act(&request::keys_if_shown(pane, keys, text)) {
            Some(typed) => typed,
            None => self.commands.keys_if_shown(pane, keys, text),
        }
    }

    fn pipe(&mut self, pane: &PaneId, log: &Path) -> Result<(), TmuxError> {
        match self.ask(&request::pipe(pane.as_str(), log)?) {
            Some(answer) => answer.map(drop),
            None => self.commands.pipe(pane, log),
        }
    }

    fn terminals(&mut self) -> Result<Vec<std::path::PathBuf>, TmuxError> {
        match self.ask(&request::terminals()) {
            Some(answer) => answer.map(|answer| request::read_terminals(&answer)),
            None => self.commands.terminals(),
        }
    }

    fn nudge(&mut self) -> Result<(), TmuxError> {
        match self.ask(&request::nudge()) {
            Some(answer) => answer.map(drop),
            None => self.commands.nudge(),
        }
    }
}

/// Whether a request may wait for it: notifications tell nothing that a look does not.
fn is_awaited(event: &Event) -> bool {
    match event {
        Event::Block { .. } | Event::Attached { .. } | Event::Exit { .. } | Event::Stray { .. } => {
            true
        }
        Event::SessionsChanged
        | Event::WindowClosed { .. }
        | Event::Subscription { .. }
        | Event::Other { .. } => false,
    }
}

/// What tmux said to one request.
type Answer = Result<String, TmuxError>;

/// The connection is of no use any more, and why.
struct Lost(String);

/// One `tmux -C attach`; dropped, the client ends (the session does not).
#[derive(Debug)]
struct Connection {
    child: Child,
    /// `None` only while it is dropped.
    input: Option<ChildStdin>,
    events: Receiver<Event>,
    /// Begins the word after each answer; no screen can show it by chance or on purpose.
    key: uuid::Uuid,
    asked: u64,
}

impl Connection {
    fn open(commands: &Commands, session: &SessionName) -> Result<Self, TmuxError> {
        commands.check_once()?;
        let call = commands.call().args([
            "-C",
            "attach-session",
            "-f",
            "ignore-size,no-output",
            "-t",
            &format!("={session}"),
        ]);
        let mut child = call.spawn_piped().map_err(command::failed)?;
        let input = child.stdin.take();
        let output = child.stdout.take();
        let (sender, events) = mpsc::channel();
        if let Some(mut pipe) = output {
            std::thread::spawn(move || {
                let mut reader = Reader::new();
                let mut bytes = [0; 16 * 1024];
                while let Ok(count @ 1..) = pipe.read(&mut bytes) {
                    // A connection may lie idle for days: what no request waits for is not kept.
                    for event in reader.read(&bytes[..count]).into_iter().filter(is_awaited) {
                        if sender.send(event).is_err() {
                            return;
                        }
                    }
                }
            });
        }
        let mut connection = Self { child, input, events, key: uuid::Uuid::new_v4(), asked: 0 };
        connection.attached()?;
        let mut answers = Vec::new();
        let asked = [List::of(&["display-message", "-p", ""])];
        connection
            .ask_all(&asked, &mut answers)
            .map_err(|Lost(message)| TmuxError::Unreachable { message })?;
        answers.into_iter().collect::<Result<Vec<String>, TmuxError>>()?;
        Ok(connection)
    }

    /// Waits for the attach: a command that comes before it finds no client and fails.
    fn attached(&mut self) -> Result<(), TmuxError> {
        let end = clock::now().mono.plus(ANSWER_WITHIN);
        let mut said = String::new();
        loop {
            match self.events.recv_timeout(end.since(clock::now().mono)) {
                Ok(Event::Attached { .. }) => return Ok(()),
                Ok(Event::Block { text, failed: true, .. }) => {
                    text.trim_end().clone_into(&mut said);
                }
                Ok(Event::Stray { line }) => said = line,
                Ok(
                    Event::Block { failed: false, .. }
                    | Event::SessionsChanged
                    | Event::WindowClosed { .. }
                    | Event::Subscription { .. }
                    | Event::Other { .. },
                ) => {}
                Ok(Event::Exit { .. }) | Err(_) => {
                    let message = format!("cannot attach in control mode: {said}");
                    return Err(TmuxError::Unreachable { message });
                }
            }
        }
    }

    /// Sends all requests, then takes their answers; those that came before the connection broke are kept.
    fn ask_all(&mut self, lists: &[List], answers: &mut Vec<Answer>) -> Result<(), Lost> {
        let input = self.input.as_mut().ok_or_else(|| Lost("closed".to_owned()))?;
        // The answers of earlier requests were read to their end; what lies here are notifications.
        while self.events.try_recv().is_ok() {}
        let word = |number: u64| format!("ao-{}-{number}", self.key);
        let lines = lists.iter().zip(self.asked + 1..).map(|(list, number)| {
            format!("{}\ndisplay-message -p {}\n", list.line(), word(number))
        });
        let lines: String = lines.collect();
        let broken = |error: std::io::Error| Lost(error.to_string());
        input.write_all(lines.as_bytes()).and_then(|()| input.flush()).map_err(broken)?;
        for list in lists {
            self.asked += 1;
            answers.push(self.answer(list)?);
        }
        Ok(())
    }

    /// Reads up to the word of the newest request.
    fn answer(&mut self, list: &List) -> Result<Answer, Lost> {
        let word = format!("ao-{}-{}", self.key, self.asked);
        let end = clock::now().mono.plus(ANSWER_WITHIN);
        let (mut answer, mut refusal, mut stray) = (String::new(), None, String::new());
        loop {
            let left = end.since(clock::now().mono);
            match self.events.recv_timeout(left) {
                Ok(Event::Block { text, ours: true, .. }) if text.trim_end() == word => break,
                Ok(Event::Block { text, failed: true, ours: true }) => {
                    refusal.get_or_insert(text.trim_end().to_owned());
                }
                Ok(Event::Block { text, failed: false, ours: true }) => answer.push_str(&text),
                Ok(Event::Exit { reason }) => return Err(Lost(format!("exit {reason}"))),
                Ok(Event::Stray { line }) => stray = line,
                Ok(
                    Event::Block { ours: false, .. }
                    | Event::SessionsChanged
                    | Event::WindowClosed { .. }
                    | Event::Attached { .. }
                    | Event::Subscription { .. }
                    | Event::Other { .. },
                ) => {}
                Err(RecvTimeoutError::Timeout) => {
                    return Err(Lost("no answer in time".to_owned()));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Lost(format!("the client ended {stray}")));
                }
            }
        }
        Ok(match refusal {
            None => Ok(answer),
            Some(message) => Err(TmuxError::Refused { command: list.line(), message }),
        })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // The end of its input ends the client; one that hangs is killed.
        drop(self.input.take());
        let end = clock::now().mono.plus(Duration::from_millis(200));
        while clock::now().mono < end {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        if let Some(pid) = process::pid_of(self.child.id()) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        drop(self.child.wait());
    }
}
