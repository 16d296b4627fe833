//! `ao demo-agent`: a scriptable terminal program that stands in for an AI CLI.
//!
//! Draws like the real ones, plays a scenario, and writes down exactly what it received. Leaves out
//! any thinking. It sleeps in `poll` and wakes only for input, signals and its own deadlines.

mod agent;
mod composer;
mod draw;
mod input;
mod scenario;
mod terminal;
mod truth;

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM, SIGWINCH};

use self::agent::{Agent, Item, Wish};
use self::input::Input;
use self::scenario::Part;
pub use self::scenario::ScenarioError;
use self::terminal::{Terminal, Wake};
use self::truth::{Fact, Truth};
use crate::sys::clock;
use crate::sys::process::{Call, ProcessError};

/// Whose screens are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Persona {
    Claude,
    Opencode,
}

/// How one demo agent is started.
#[derive(Debug, Clone)]
pub struct Options {
    pub name: String,
    /// Its text is the first message.
    pub kickoff: Option<PathBuf>,
    pub scenario: Option<PathBuf>,
    /// Gets JSON lines of what was received.
    pub truth: Option<PathBuf>,
    pub persona: Persona,
    pub fullscreen: bool,
    /// Spinner frames a second while busy.
    pub fps: u32,
}

/// Why the demo agent could not run.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    #[error("cannot {what} `{path}`")]
    File {
        what: &'static str,
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    #[error("cannot play `{path}`")]
    Scenario {
        path: PathBuf,
        #[source]
        cause: ScenarioError,
    },
    #[error("the demo agent needs a terminal")]
    Terminal {
        #[source]
        cause: io::Error,
    },
    #[error("cannot start the child of the demo agent")]
    Child {
        #[source]
        cause: ProcessError,
    },
}

/// Runs until the scenario, the keyboard or a signal ends it; answers the exit code.
pub fn run(options: &Options) -> Result<u8, DemoError> {
    let file = |what, path: &Path, cause| DemoError::File { what, path: path.to_owned(), cause };
    let part = match &options.scenario {
        Some(path) => read_part(path)?,
        None => Part::default(),
    };
    let kickoff = match &options.kickoff {
        Some(path) => Some(
            std::fs::read_to_string(path)
                .map_err(|cause| file("read the kickoff", path, cause))?
                .trim_end()
                .to_owned(),
        ),
        None => None,
    };
    let truth = Truth::open(options.truth.as_deref()).map_err(|cause| {
        file("open the truth file", options.truth.as_deref().unwrap_or(Path::new("")), cause)
    })?;
    let fullscreen = options.fullscreen || options.persona == Persona::Opencode;
    let agent = Agent::new(options.persona, part, kickoff, options.fps);
    let terminal = Terminal::open(fullscreen).map_err(|cause| DemoError::Terminal { cause })?;
    let mut session = Session {
        persona: options.persona,
        fullscreen,
        agent,
        terminal,
        truth,
        tail: VecDeque::new(),
        drawn: Vec::new(),
        size: (0, 0),
    };
    session.begin(&options.name)
}

/// The part of the scenario that is this start's; the count of starts stands beside the file.
fn read_part(path: &Path) -> Result<Part, DemoError> {
    let file = |what, cause| DemoError::File { what, path: path.to_owned(), cause };
    let text = std::fs::read_to_string(path).map_err(|cause| file("read the scenario", cause))?;
    let mut parts = scenario::parse(&text)
        .map_err(|cause| DemoError::Scenario { path: path.to_owned(), cause })?;
    let mut counter = path.as_os_str().to_owned();
    counter.push(".next");
    let counter = PathBuf::from(counter);
    let started = std::fs::read_to_string(&counter)
        .ok()
        .and_then(|text| text.trim().parse::<usize>().ok())
        .unwrap_or(0);
    std::fs::write(&counter, format!("{}\n", started + 1))
        .map_err(|cause| file("count the start beside", cause))?;
    Ok(parts.swap_remove(started.min(parts.len() - 1)))
}

/// Rows of transcript kept for a redraw.
const TAIL_ROWS_MAX: usize = 500;

struct Session {
    persona: Persona,
    fullscreen: bool,
    agent: Agent,
    terminal: Terminal,
    truth: Truth,
    tail: VecDeque<Item>,
    /// The live rows on the screen now.
    drawn: Vec<String>,
    size: (usize, usize),
}

impl Session {
    fn begin(&mut self, name: &str) -> Result<u8, DemoError> {
        let terminal = |cause| DemoError::Terminal { cause };
        self.fact("start", name);
        Terminal::write(&format!("\x1b]0;✳ {name}\x07")).map_err(terminal)?;
        let mut input = Input::default();
        let mut whole = true;
        loop {
            let now = clock::now().mono;
            self.agent.advance(now);
            if let Some(code) = self.fulfil()? {
                self.draw(whole).map_err(terminal)?;
                self.fact("exit", &code.to_string());
                return Ok(code);
            }
            self.draw(whole).map_err(terminal)?;
            let timeout = self.agent.deadline(now).map(|at| at.since(clock::now().mono));
            let timeout = timeout.map(|time| time.max(Duration::from_millis(1)));
            whole = self.agent.redraw_every.is_some();
            match self.terminal.wait(timeout, self.agent.is_hung()).map_err(terminal)? {
                Wake::Bytes(bytes) => {
                    let now = clock::now().mono;
                    for key in input.feed(&bytes) {
                        self.agent.key(&key, now);
                    }
                }
                Wake::Deadline => {}
                Wake::Signal(SIGWINCH) => whole = true,
                Wake::Signal(SIGTERM) if self.agent.deaf_to_term => self.fact("signal", "15"),
                Wake::Signal(signal) => {
                    self.fact("signal", &signal.to_string());
                    return Ok(self.end(if signal == SIGINT { 0 } else { 128 + signal }));
                }
                Wake::EndOfInput => return Ok(self.end(0)),
            }
        }
    }

    fn end(&mut self, code: i32) -> u8 {
        self.fact("exit", &code.to_string());
        u8::try_from(code).unwrap_or(1)
    }

    /// A record that fails must not change how the agent behaves; the test misses the line.
    fn fact(&mut self, event: &'static str, text: &str) {
        drop(self.truth.write(&Fact { event, text: text.to_owned() }));
    }

    fn fulfil(&mut self) -> Result<Option<u8>, DemoError> {
        let mut code = None;
        for wish in self.agent.take_wishes() {
            match wish {
                Wish::Record(fact) => drop(self.truth.write(&fact)),
                Wish::Title(title) => Terminal::write(&format!("\x1b]0;{title}\x07"))
                    .map_err(|cause| DemoError::Terminal { cause })?,
                Wish::SpawnChild => {
                    let pid = spawn_child().map_err(|cause| DemoError::Child { cause })?;
                    self.fact("child", &pid.to_string());
                }
                Wish::Exit(exit) => code = Some(exit),
            }
        }
        Ok(code)
    }

    /// One frame in one write. `whole` repaints everything instead of the rows below the transcript.
    fn draw(&mut self, whole: bool) -> io::Result<()> {
        if self.agent.is_hung() && !whole {
            return Ok(());
        }
        let items = self.agent.take_items();
        let size = Terminal::size();
        let resized = size != self.size;
        self.size = size;
        let (width, height) = size;
        let scene = self.agent.scene(clock::now().mono);
        let live = draw::live(&scene, width, height.saturating_sub(1).max(1));
        if items.is_empty() && live == self.drawn && !resized && !whole {
            return Ok(());
        }
        let mut frame = String::new();
        if self.fullscreen || resized || whole {
            self.tail.extend(items);
            let surplus = self.tail.len().saturating_sub(TAIL_ROWS_MAX);
            self.tail.drain(..surplus);
            frame.push_str("\x1b[H");
            let mut rows: Vec<String> =
                self.tail.iter().flat_map(|item| item.rows(self.persona, width)).collect();
            let room = height.saturating_sub(live.len());
            rows.drain(..rows.len().saturating_sub(room));
            if self.fullscreen {
                rows.resize(room, String::new());
            }
            rows.extend(live.iter().cloned());
            let rows: Vec<String> = rows.iter().map(|row| format!("{row}\x1b[K")).collect();
            frame.push_str(&rows.join("\r\n"));
            frame.push_str("\x1b[J");
        } else {
            frame.push('\r');
            if self.drawn.len() > 1 {
                let up = self.drawn.len() - 1;
                write!(frame, "\x1b[{up}A").expect("text takes any text");
            }
            frame.push_str("\x1b[J");
            for item in items {
                for row in item.rows(self.persona, width) {
                    frame.push_str(&row);
                    frame.push_str("\r\n");
                }
                self.tail.push_back(item);
            }
            frame.push_str(&live.join("\r\n"));
        }
        self.drawn = live;
        Terminal::write(&frame)
    }
}

/// A process that outlives the agent: deaf to SIGHUP, gone by itself after ten minutes.
fn spawn_child() -> Result<u32, ProcessError> {
    Call::new("sh").args(["-c", "trap '' HUP; exec sleep 600"]).detach()
}
