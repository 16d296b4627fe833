//! Walks an installed CLI through its states behind the stub model and says which rule saw each.
//!
//! Each state is a start of its own, in a throwaway home on a private tmux server: what one of them leaves on the
//! screen cannot be taken for the next. Nothing of the person's own set-up is read or written, no account is used.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, DurationRound as _, TimeDelta, Utc};

use super::deliver::{Deliverer, Outcome};
use super::stub_model::home::{self, Setup};
use super::stub_model::{Answer, Script, StubError, StubModel};
use crate::backend::launch::{self, LaunchInput, clean_environment};
use crate::backend::{Backend, ResumePlan};
use crate::base::name::{PaneId, SessionName};
use crate::base::now::Now;
use crate::kickoff::deliver::{Delivery, Opening, Plan, safe_text};
use crate::limits;
use crate::screen::capture::Screen;
use crate::screen::detect::{Detector, DetectorError, PaneHints};
use crate::screen::{PaneState, Reading};
use crate::sys::process::{self, Call, ProcessError};
use crate::sys::tmux::{Commands, Look, SessionSpec, Tmux as _, TmuxError};
use crate::sys::{clock, file};

/// The CLIs that a walk is known for.
pub const KNOWN: [&str; 4] = ["claude", "codex", "gemini", "opencode"];

const LOOK_EVERY: Duration = Duration::from_millis(200);
/// The slowest start seen on a loaded machine took 17 s.
const STATE_WITHIN: Duration = Duration::from_secs(60);
/// opencode tries five times before it shows a server's error.
const RETRIES_WITHIN: Duration = Duration::from_secs(150);
/// The stub's limits end so far ahead.
const LIMIT_AWAY: TimeDelta = TimeDelta::minutes(137);
/// Printed times are cut to the minute, and a countdown goes on while we read it.
const RESET_TOLERANCE: TimeDelta = TimeDelta::minutes(2);
const PROMPT: &str = "Please go on.";

/// Why a walk could not be made at all.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    #[error("`{program}` is not installed: it is not on PATH")]
    NotInstalled { program: String },
    #[error("no walk is known for `{preset}`; known: {}", KNOWN.join(", "))]
    Unknown { preset: String },
    #[error("cannot make a throwaway home")]
    Home(#[source] std::io::Error),
    #[error("cannot write into the throwaway home")]
    File(#[from] file::FileError),
    #[error(transparent)]
    Stub(#[from] StubError),
    #[error("cannot build the launch line")]
    Launch(#[source] launch::LaunchError),
    #[error("the rules of this backend cannot be used")]
    Rules(#[from] DetectorError),
    #[error("cannot run the CLI in tmux")]
    Tmux(#[from] TmuxError),
    #[error("cannot ask the CLI for its version")]
    Version(#[source] ProcessError),
}

/// What one state came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// `ready` and `idle` are both read as idle: before and after a turn.
    pub name: &'static str,
    pub expected: PaneState,
    /// It was seen, and where it is a limit its end was read right.
    pub met: bool,
    /// The rule that fired, or what the screen says instead.
    pub rule: String,
    pub found: PaneState,
    pub text: String,
    pub took: Duration,
    /// After a miss: the screen, without blank lines.
    pub screen: Option<String>,
}

struct Scene {
    name: &'static str,
    expected: PaneState,
    setup: Setup,
    answer: Option<Answer>,
    /// What follows in the same start once the state was seen.
    then: Option<(&'static str, PaneState)>,
    resets: Option<Resets>,
    within: Duration,
}

/// When the limit of a scene ends.
#[derive(Debug, Clone, Copy)]
enum Resets {
    At(DateTime<Utc>),
    /// Told as a duration: it counts from the request.
    AfterAsked(TimeDelta),
}

/// The version that the CLI gives.
pub fn version(backend: &Backend) -> Result<String, LiveError> {
    let program = backend.bin.clone();
    if which::which(&program).is_err() {
        return Err(LiveError::NotInstalled { program });
    }
    let output = Call::new(&program).arg("--version").run().map_err(LiveError::Version)?;
    Ok(output.stdout_text().lines().next().unwrap_or_default().trim().to_owned())
}

/// Walks the CLI of this backend through all states; `tell` hears of each step when it is over.
pub fn walk(backend: &Backend, ao: &Path, tell: &mut dyn FnMut(&Step)) -> Result<(), LiveError> {
    let preset = backend.preset.clone().unwrap_or_else(|| backend.name.clone());
    if !KNOWN.contains(&preset.as_str()) {
        return Err(LiveError::Unknown { preset });
    }
    let detector = Detector::of(backend)?;
    for scene in scenes(&preset, clock::now().wall) {
        let mut stage = Stage::new(backend, &preset, &scene)?;
        for step in stage.play(backend, ao, &detector, &scene)? {
            tell(&step);
        }
    }
    Ok(())
}

fn scenes(preset: &str, now: DateTime<Utc>) -> Vec<Scene> {
    let of = |name, expected, answer| Scene {
        name,
        expected,
        setup: Setup::default(),
        answer,
        then: None,
        resets: None,
        within: STATE_WITHIN,
    };
    let resets =
        (now + LIMIT_AWAY).duration_trunc(TimeDelta::minutes(1)).unwrap_or(now + LIMIT_AWAY);
    let away = u64::try_from(LIMIT_AWAY.num_seconds()).unwrap_or(0);
    let (resets_in, limit, overload, fatal) = match preset {
        "claude" => (
            Resets::At(resets),
            Answer::usage_limit("five_hour", resets.timestamp()),
            Answer::overloaded(),
            Answer::redacted_thinking(),
        ),
        "codex" => (
            Resets::At(resets),
            Answer::plan_limit(resets.timestamp()),
            Answer::openai_error(503, "The server had an error", None),
            Answer::openai_error(400, "input.1: invalid content", None),
        ),
        "gemini" => (
            Resets::AfterAsked(LIMIT_AWAY),
            Answer::google_error(429, "RESOURCE_EXHAUSTED", "Quota exceeded.", Some(away)),
            Answer::google_error(500, "INTERNAL", "The server had an error", None),
            Answer::google_error(400, "INVALID_ARGUMENT", "contents.1: invalid content", None),
        ),
        _ => (
            Resets::AfterAsked(LIMIT_AWAY),
            Answer::openai_error(429, "Rate limit reached for this model", Some(away)),
            Answer::openai_error(503, "The server had an error", None),
            Answer::openai_error(400, "messages.1: invalid content", None),
        ),
    };
    let subscription = Setup { subscription: true, ..Setup::default() };
    let asks = Setup { asks: true, ..Setup::default() };
    let mut scenes = vec![
        of("ready", PaneState::Idle, None),
        Scene {
            then: Some(("idle", PaneState::Idle)),
            ..of("working", PaneState::Working, Some(Answer::slowly(40, 100)))
        },
        Scene {
            setup: asks,
            ..of("waiting", PaneState::Waiting, Some(home::command_call(preset)))
        },
        Scene {
            setup: subscription,
            resets: Some(resets_in),
            ..of("limited", PaneState::Limited, Some(limit))
        },
        Scene { within: RETRIES_WITHIN, ..of("overloaded", PaneState::Overloaded, Some(overload)) },
        of("fatal", PaneState::Fatal, Some(fatal)),
    ];
    // It tries again for more than ten minutes and says nothing of it: there is no screen to see.
    scenes.retain(|scene| preset != "gemini" || scene.expected != PaneState::Overloaded);
    scenes
}

/// One start: its home, its server, its stub.
struct Stage {
    folder: tempfile::TempDir,
    stub: StubModel,
    tmux: Commands,
    env: BTreeMap<String, String>,
    work: PathBuf,
    roots: Vec<u32>,
    session: Option<SessionName>,
}

impl Stage {
    fn new(backend: &Backend, preset: &str, scene: &Scene) -> Result<Self, LiveError> {
        // A short root: the socket's path may have at most 107 bytes.
        let folder = tempfile::Builder::new()
            .prefix("ao-live")
            .tempdir_in("/tmp")
            .map_err(LiveError::Home)?;
        let at = |name: &str| folder.path().join(name);
        for name in ["home", "work", "state"] {
            std::fs::create_dir(at(name)).map_err(LiveError::Home)?;
        }
        let work = at("work").canonicalize().map_err(LiveError::Home)?;
        let stub = StubModel::start(Script::default())?;
        if let Some(answer) = &scene.answer {
            stub.always(answer.clone());
        }
        let mut env = backend.env.clone();
        env.extend(home::lay(preset, &at("home"), &work, &stub.url(), scene.setup)?);
        // It would try for minutes before it shows the error.
        env.insert("CLAUDE_CODE_MAX_RETRIES".to_owned(), "1".to_owned());
        let tmux = Commands::new(at("s"), at("state"), None);
        Ok(Self { folder, stub, tmux, env, work, roots: Vec::new(), session: None })
    }

    fn play(
        &mut self,
        backend: &Backend,
        ao: &Path,
        detector: &Detector,
        scene: &Scene,
    ) -> Result<Vec<Step>, LiveError> {
        let pane = self.open(backend, ao, scene)?;
        let mut steps = vec![self.await_state(
            detector,
            &pane,
            (scene.name, scene.expected),
            scene.within,
            scene.resets,
        )?];
        if let Some(then) = scene.then {
            steps.push(self.await_state(detector, &pane, then, scene.within, None)?);
        }
        Ok(steps)
    }

    /// Starts the CLI as `ao up` would; a first prompt that is typed is typed here too.
    fn open(&mut self, backend: &Backend, ao: &Path, scene: &Scene) -> Result<PaneId, LiveError> {
        let mut backend = backend.clone();
        let preset = backend.preset.clone().unwrap_or_else(|| backend.name.clone());
        if let Some(flags) = home::asking_flags(&preset).filter(|_| scene.setup.asks) {
            flags.clone_into(&mut backend.flags);
        }
        let kickoff = self.folder.path().join("first.txt");
        file::replace(&kickoff, PROMPT.as_bytes(), 0o600)?;
        let prompt = scene.answer.as_ref().map(|_| kickoff.as_path());
        let base_env = clean_environment(std::env::vars());
        let id = uuid::Uuid::new_v4().to_string();
        let input = LaunchInput {
            name: "live",
            session: "live",
            model: None,
            dir: &self.work,
            role: None,
            kickoff_file: prompt,
            kickoff_bytes: prompt.map_or(0, |_| PROMPT.len()),
            resume: &ResumePlan::Plain,
            ao,
            settings_flag: "",
            start_id: &id,
            base_env: &base_env,
            project_env: &BTreeMap::new(),
            agent_env: &self.env,
        };
        let planned = launch::plan(&backend, &input).map_err(LiveError::Launch)?;
        let session = SessionName::new("live").expect("four letters are a name");
        let pane = self.tmux.open(&SessionSpec {
            session: session.clone(),
            dir: self.work.clone(),
            argv: planned.argv,
            env: planned.env,
            tag: format!("live/{id}"),
            width: 120,
            height: 40,
            log: None,
        })?;
        self.session = Some(session);
        if let Look::Seen(world) = self.tmux.look()? {
            self.roots = world.panes.iter().map(|found| found.pid).collect();
        }
        if planned.types_prompt_after_ready {
            self.type_prompt(&backend, &pane)?;
        }
        Ok(pane)
    }

    fn type_prompt(&mut self, backend: &Backend, pane: &PaneId) -> Result<(), LiveError> {
        let detector = Detector::of(backend)?;
        let plan = Plan {
            submit_key: backend.submit_key.clone(),
            submit_delay: backend.submit_delay,
            has_composer: backend.layout.is_some(),
            hold_max: STATE_WITHIN,
            ..Plan::default()
        };
        let mut deliverer = Deliverer {
            tmux: &mut self.tmux,
            pane,
            seen: None,
            reader: &mut |capture| {
                detector.read(&Screen::parse(&capture.text), &PaneHints::default())
            },
            before_typing: &mut |_| {},
            now: &mut clock::now,
            sleep: &mut std::thread::sleep,
        };
        let text = safe_text(PROMPT, Opening::Speech);
        match deliverer.run(&mut Delivery::new(text, plan)) {
            Outcome::Delivered { .. } => {}
            // The state that is waited for will not come, and the step says what stands there instead.
            Outcome::Held { why } | Outcome::NotDelivered { why } | Outcome::Unknown { why } => {
                tracing::warn!(why, "the prompt was not delivered");
            }
        }
        Ok(())
    }

    fn await_state(
        &mut self,
        detector: &Detector,
        pane: &PaneId,
        (name, expected): (&'static str, PaneState),
        within: Duration,
        resets: Option<Resets>,
    ) -> Result<Step, LiveError> {
        let begun = clock::now().mono;
        loop {
            let (reading, text) = self.read(detector, pane)?;
            let now = clock::now();
            let ended = reading.state == PaneState::Dead && expected != PaneState::Dead;
            let met = reading.state == expected
                && resets.is_none_or(|resets| self.reads_reset(&reading, now, resets));
            let took = now.mono.since(begun);
            if met || ended || took >= within {
                let first = reading.evidence.first();
                return Ok(Step {
                    name,
                    expected,
                    met,
                    rule: first.map(|evidence| evidence.rule.clone()).unwrap_or_default(),
                    found: reading.state,
                    text: first.map(|evidence| evidence.text.clone()).unwrap_or_default(),
                    took,
                    screen: (!met).then(|| inked(&text)),
                });
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    fn read(&mut self, detector: &Detector, pane: &PaneId) -> Result<(Reading, String), LiveError> {
        let world = match self.tmux.look()? {
            Look::Seen(world) => Some(world),
            Look::NoServer { .. } => None,
        };
        let facts =
            world.and_then(|world| world.panes.into_iter().find(|found| found.pane == *pane));
        let captures = self.tmux.capture(std::slice::from_ref(pane)).unwrap_or_default();
        let text = captures.into_iter().next().map(|capture| capture.text).unwrap_or_default();
        let hints = PaneHints {
            dead: facts.as_ref().is_none_or(|facts| facts.dead),
            exit_status: facts.as_ref().and_then(|facts| facts.exit_status),
            title: facts.as_ref().map_or("", |facts| facts.title.as_str()),
        };
        Ok((detector.read(&Screen::parse(&text), &hints), text))
    }

    /// Whether the screen's words lead to the end of the limit.
    fn reads_reset(&self, reading: &Reading, now: Now, resets: Resets) -> bool {
        let expected = match resets {
            Resets::At(at) => at,
            Resets::AfterAsked(away) => {
                let asked = self.stub.turns().last().map_or(now.mono, |turn| turn.at);
                let ago = TimeDelta::from_std(now.mono.since(asked)).unwrap_or_default();
                now.wall - ago + away
            }
        };
        limits::read(&reading.evidence_text(), now.wall, clock::zone())
            .and_then(|(_, reset)| reset)
            .is_some_and(|reset| (reset.at - expected).abs() <= RESET_TOLERANCE)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        process::kill_tree(&self.roots, None);
        if let Some(session) = &self.session
            && let Err(error) = self.tmux.close(session)
        {
            tracing::warn!(%error, "cannot close the session of the walk");
        }
    }
}

fn inked(text: &str) -> String {
    let screen = Screen::parse(text).text();
    let lines: Vec<&str> = screen.lines().filter(|line| !line.trim().is_empty()).collect();
    lines.join("\n")
}
