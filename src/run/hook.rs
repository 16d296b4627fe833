//! What `ao hook` and `ao statusline` do: short processes that a CLI starts and waits for.
//!
//! They read no config and open no store: where to write is told by three variables of the agent's
//! environment. Whatever goes wrong with writing, the answer is given; only the watchdog then knows
//! less. Surprise: standard input is read to its end even when it is more than is ever kept, because
//! a CLI that writes into a closed pipe may take that for a broken hook.

use std::io::{IsTerminal as _, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use super::governance::bounds::Governed;
use super::governance::door::{self, DoorError};
use crate::base::name::UnitName;
use crate::govern::payload as ask;
use crate::sense::answer::{self, Answer, Payload};
use crate::sense::{Cli, Fact, Kind, payload, spool, status_line};
use crate::sys::process::Call;
use crate::sys::{clock, file, memory};

/// The state folder, set at each start.
pub const STATE: &str = "AO_STATE";
/// The token of the start.
pub const START: &str = "AO_START";
/// The agent's name.
pub const AGENT: &str = "AO_AGENT";
/// Set for the user's own status line, so that one that calls us back ends there.
const WITHIN_STATUS_LINE: &str = "AO_STATUSLINE";

/// Beyond what it waits for a person, a decision takes no longer.
const DECISION_LIMIT: Duration = Duration::from_secs(20);
/// Of the thread that watches the time and may print a refusal.
const WATCH_STACK_BYTES: usize = 128 << 10;
/// Bytes of standard input that are kept.
const INPUT_BYTES_MAX: u64 = 16 << 20;
/// Bytes of a status line input that are stored.
const STATUS_BYTES_MAX: usize = 64 << 10;
/// The user's own status line gets this long.
const STATUS_LINE_LIMIT: Duration = Duration::from_secs(5);

/// Who the agent is whose hook this is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub state: PathBuf,
    pub start: String,
    pub agent: UnitName,
}

impl Place {
    /// `None` outside an agent, or when what is set makes no sense.
    pub fn from_environment() -> Option<Self> {
        let state = PathBuf::from(std::env::var_os(STATE)?);
        let start = std::env::var(START).ok()?;
        let agent = UnitName::new(&std::env::var(AGENT).ok()?).ok()?;
        (state.is_absolute() && start.len() <= 100).then_some(Self { state, start, agent })
    }

    fn spool(&self) -> PathBuf {
        spool_file(&self.state, &self.agent)
    }
}

/// The spool of one agent.
pub fn spool_file(state: &Path, agent: &UnitName) -> PathBuf {
    state.join("spool").join(format!("{agent}.jsonl"))
}

/// The last input of the agent's status line.
pub fn status_file(state: &Path, agent: &UnitName) -> PathBuf {
    state.join(format!("statusline-{agent}.json"))
}

/// Standard input as far as it is kept, and whether there was more. A person's terminal is none.
pub fn input() -> (Vec<u8>, bool) {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        return (Vec::new(), false);
    }
    bounded(&mut stdin.lock())
}

fn bounded(from: &mut impl Read) -> (Vec<u8>, bool) {
    let mut bytes = Vec::with_capacity(8 << 10);
    // A closed input is an empty one.
    drop(from.take(INPUT_BYTES_MAX).read_to_end(&mut bytes));
    let rest = std::io::copy(from, &mut std::io::sink()).unwrap_or(0);
    (bytes, rest > 0)
}

/// One hook call: tells the watchdog, answers the CLI.
pub fn hook(cli: Cli, payload: Payload<'_>, place: Option<&Place>) -> Answer {
    let answer = answer::answer(cli, payload);
    if let Some(place) = place
        && let Ok(fact) = payload::read(cli, payload.bytes, clock::now())
    {
        tell(place, fact);
    }
    answer
}

/// One hook call of a governed agent: what is asked is judged, and whatever goes wrong denies.
///
/// `bounds` is the file that the start wrote. Its place comes from the settings of that start; the
/// environment, which the agent could change, is not asked. When the decision takes too long, `late`
/// gets the refusal instead, on another thread, and ends the process: `None` is returned only then,
/// so that nobody answers twice.
///
/// Surprise: the thread beside is the one that watches the time. Another thread's memory grows by a page
/// a system call, which cost a decision more than its signatures.
pub fn governed(
    cli: Cli,
    payload: Payload<'_>,
    bounds: &Path,
    late: impl FnOnce(&Answer) + Send + 'static,
) -> Option<Answer> {
    memory::share_one_heap();
    let governed = match Governed::read(bounds) {
        Ok(governed) => governed,
        Err(error) => return Some(refusal(&crate::base::chain::text(&error))),
    };
    let limit = Duration::from_millis(governed.hook_wait_ms).saturating_add(DECISION_LIMIT);
    within(limit, late, || judged(cli, payload.bytes, &governed))
}

/// What `decision` answers, or `None` when `late` was given a refusal in its place.
fn within(
    limit: Duration,
    late: impl FnOnce(&Answer) + Send + 'static,
    decision: impl FnOnce() -> Answer,
) -> Option<Answer> {
    let answered = Arc::new(AtomicBool::new(false));
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    let watch = std::thread::Builder::new().stack_size(WATCH_STACK_BYTES).spawn({
        let answered = Arc::clone(&answered);
        move || {
            let over = receiver.recv_timeout(limit) == Err(RecvTimeoutError::Timeout);
            if over && !answered.swap(true, Ordering::AcqRel) {
                late(&refusal("the decision took too long"));
            }
        }
    });
    if let Err(error) = watch {
        return Some(refusal(&format!("there is nobody to watch the time: {error}")));
    }
    let answer = std::panic::catch_unwind(std::panic::AssertUnwindSafe(decision));
    let answer = answer.unwrap_or_else(|_| refusal("the decision broke down"));
    let first = !answered.swap(true, Ordering::AcqRel);
    drop(sender);
    first.then_some(answer)
}

fn judged(cli: Cli, bytes: &[u8], governed: &Governed) -> Answer {
    let now = clock::now();
    let mut place = Told { place: place_of(governed), cli };
    if let Some(place) = &place.place
        && let Ok(fact) = payload::read(cli, bytes, now)
    {
        tell(place, fact);
    }
    let ended = ask::ended(door_cli(cli), bytes).is_some();
    match door::decide(door_cli(cli), governed, bytes, &mut place, now) {
        Ok(Some(decided)) => Answer {
            stdout: decided.stdout.into_bytes(),
            stderr: decided.stderr.into_bytes(),
            code: decided.exit,
        },
        Ok(None) => answer::neutral(),
        Err(error) => {
            tracing::error!(agent = %governed.agent, error = %crate::base::chain::text(&error), "denied");
            // What was done is done: there is nothing left to deny.
            if ended { answer::neutral() } else { refusal(&for_the_agent(&error)) }
        }
    }
}

/// No paths and no figures of ours.
fn for_the_agent(error: &DoorError) -> String {
    match error {
        DoorError::Payload(error) => format!("denied: {error}"),
        DoorError::Classes(_) | DoorError::Governance(_) => {
            "denied: it could not be decided; the operator finds out why with `ao doctor`"
                .to_owned()
        }
    }
}

fn refusal(why: &str) -> Answer {
    let refused = crate::govern::answer::refuse(why);
    Answer {
        stdout: refused.stdout.into_bytes(),
        stderr: refused.stderr.into_bytes(),
        code: refused.exit,
    }
}

const fn door_cli(cli: Cli) -> ask::Cli {
    match cli {
        Cli::Claude => ask::Cli::Claude,
        Cli::Codex => ask::Cli::Codex,
        Cli::Gemini => ask::Cli::Gemini,
        Cli::Opencode => ask::Cli::Opencode,
    }
}

fn place_of(governed: &Governed) -> Option<Place> {
    let agent = UnitName::new(&governed.agent).ok()?;
    Some(Place { state: governed.state.clone(), start: governed.start_id.clone(), agent })
}

/// Tells the watchdog that an agent waits for a person.
struct Told {
    place: Option<Place>,
    cli: Cli,
}

impl Told {
    fn say(&self, kind: Kind) {
        let Some(place) = &self.place else { return };
        let (at, cli) = (clock::now(), self.cli);
        let fact =
            Fact { at, cli, session_id: None, subagent: None, transcript: None, order: None, kind };
        tell(place, fact);
    }
}

impl door::Waiting for Told {
    fn begins(&mut self, what: &str) {
        self.say(Kind::PermissionAsked { what: what.to_owned() });
    }

    fn ends(&mut self) {
        self.say(Kind::PermissionAnswered);
    }
}

/// A fact that cannot be written is lost: the screen is still there to read.
fn tell(place: &Place, fact: Fact) {
    if let Some(line) = spool::write(&place.start, fact) {
        drop(crate::sys::spool::append(&place.spool(), &line, spool::BYTES_MAX));
    }
}

/// One status line call: stores what the CLI said, then answers with the user's own line.
pub fn status_line(input: &[u8], place: Option<&Place>) -> Answer {
    if let Some(place) = place {
        if input.len() <= STATUS_BYTES_MAX {
            drop(file::replace_volatile(&status_file(&place.state, &place.agent), input, 0o600));
        }
        if let Ok(fact) = status_line::read(input, clock::now()) {
            tell(place, fact);
        }
    }
    if std::env::var_os(WITHIN_STATUS_LINE).is_some() {
        return answer::neutral();
    }
    let Some(command) = own_status_line(input) else { return answer::neutral() };
    let call = Call::new("sh")
        .args(["-c", &command])
        .env(WITHIN_STATUS_LINE, "1")
        .stdin(input)
        .timeout(STATUS_LINE_LIMIT);
    match call.run() {
        Ok(output) => Answer {
            stdout: output.stdout,
            stderr: output.stderr,
            code: output.code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1),
        },
        Err(_) => answer::neutral(),
    }
}

/// The command the CLI would have run without ours: of the project first, then of the user.
fn own_status_line(input: &[u8]) -> Option<String> {
    let project = status_line::project_dir(input).map(|dir| PathBuf::from(dir).join(".claude"));
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".claude"));
    let user = std::env::var_os("CLAUDE_CONFIG_DIR").map(PathBuf::from).or_else(home);
    let files = [
        project.as_ref().map(|dir| dir.join("settings.local.json")),
        project.as_ref().map(|dir| dir.join("settings.json")),
        user.map(|dir| dir.join("settings.json")),
    ];
    let mut texts =
        files.into_iter().flatten().filter_map(|path| std::fs::read_to_string(path).ok());
    texts.find_map(|text| status_line::command_of(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_in_time_is_the_answer_and_a_late_one_is_refused_once() {
        let (sender, refused) = std::sync::mpsc::channel();
        let late = |sender: std::sync::mpsc::Sender<Answer>| {
            move |answer: &Answer| drop(sender.send(answer.clone()))
        };
        let long = Duration::from_secs(60);
        let answer = within(long, late(sender.clone()), answer::neutral);
        assert_eq!(answer, Some(answer::neutral()));
        let answer = within(long, late(sender.clone()), || panic!("a bug"));
        assert_eq!(answer, Some(refusal("the decision broke down")));
        // Decides only after it was refused.
        let answer = within(Duration::ZERO, late(sender), || {
            let told = refused.recv_timeout(long).unwrap();
            assert_eq!(told, refusal("the decision took too long"));
            answer::neutral()
        });
        assert_eq!(answer, None);
    }

    #[test]
    fn more_input_than_is_kept_is_read_to_its_end_and_told_apart() {
        let (bytes, truncated) = bounded(&mut std::io::repeat(b'x').take(INPUT_BYTES_MAX + 5));
        assert_eq!((u64::try_from(bytes.len()).unwrap(), truncated), (INPUT_BYTES_MAX, true));
        let (bytes, truncated) = bounded(&mut &b"{}"[..]);
        assert_eq!((bytes.as_slice(), truncated), (&b"{}"[..], false));
    }
}
