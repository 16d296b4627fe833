//! Decides and acts: the same engine serves the watchdog's loop and a verb that runs alone.
//!
//! An event goes in; what was decided is written down, then done; outcomes go back in as events.
//! It never waits for anything but tmux: stopping processes runs beside it and reports by channel.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;

use super::deliver;
use super::dialogs::Dialogs;
use super::journal::Journal;
use super::prepare::{self, Circumstances, Overrides};
use super::project::Project;
use super::recorder::Recorder;
use super::sight;
use super::store::{Heartbeat, Snapshot, Store, StoreError, TypedPrompt};
use super::typing::{self, Manner};
use super::units::{self, Member, Tag};
use crate::backend::Backend;
use crate::base::name::{PaneId, UnitName};
use crate::base::now::{Mono, Now};
use crate::config::{Config, PhaseStep};
use crate::kickoff::deliver::{Opening, safe_text};
use crate::screen::capture::Screen;
use crate::screen::detect::{Detector, PaneHints};
use crate::screen::{Composer, PaneState, Reading};
use crate::supervise::action::{Action, Report, What};
use crate::supervise::decide::decide;
use crate::supervise::event::{Event, Outcome, RequestId, StartOutcome, StopOutcome};
use crate::supervise::state::{self, Fleet, Life, ServerId, Sight, UnitKind};
use crate::sys::process::{self, Ending};
use crate::sys::tmux::{Look, PaneFacts, SessionSpec, Tmux, TmuxError, World};
use crate::sys::{clock, file};

/// At most this often the snapshot is written when nothing but readings changed.
const SNAPSHOT_EVERY: Duration = Duration::from_secs(5);
/// A CLI that starts slowly is waited for at least this long.
const KICKOFF_PATIENCE: Duration = Duration::from_secs(30);
/// How often the server is woken for the exit status of a dead pane; one that it never learns is
/// shown as unexplained.
const STATUS_NUDGES_MAX: u32 = 3;
/// What a CLI gets to leave by its own quit keys before it is signalled.
const QUIT_KEYS_GRACE: Duration = Duration::from_secs(2);

/// The answer to one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub id: RequestId,
    pub outcomes: BTreeMap<UnitName, Outcome>,
}

/// What the last capture of a unit's pane was of.
#[derive(Debug, Clone, Copy)]
struct Captured {
    attempt: u64,
    activity: i64,
    at_wall_secs: i64,
}

pub struct Engine {
    pub config: Config,
    pub store: Store,
    pub fleet: Fleet,
    pub answers: Vec<Answer>,
    tmux: Box<dyn Tmux>,
    journal: Journal,
    recorder: Recorder,
    project: String,
    handle: Project,
    kickoffs: BTreeSet<UnitName>,
    typed: Sender<Typed>,
    typed_pending: Receiver<Typed>,
    ao: PathBuf,
    environment: BTreeMap<String, String>,
    overrides: Overrides,
    heartbeat: Option<Heartbeat>,
    /// By backend: agents of one backend read alike.
    detectors: BTreeMap<String, Detector>,
    captured: BTreeMap<UnitName, Captured>,
    dialogs: Dialogs,
    world: Option<World>,
    outcomes: Sender<Event>,
    pending: Receiver<Event>,
    stops_under_way: usize,
    saved_at: Mono,
    unsaved: bool,
}

/// What became of one typed first prompt.
struct Typed {
    unit: UnitName,
    attempt: u64,
    outcome: deliver::Outcome,
}

/// What an engine is made of.
pub struct Parts {
    pub project: Project,
    pub tmux: Box<dyn Tmux>,
    pub ao: PathBuf,
    /// Cleaned already.
    pub environment: BTreeMap<String, String>,
    pub overrides: Overrides,
    pub heartbeat: Option<Heartbeat>,
}

impl Engine {
    /// Goes on from the state folder. Problems with stored files are reported, never fatal.
    pub fn new(parts: Parts) -> Result<Self, StoreError> {
        let now = clock::now();
        let store = parts.project.store.clone();
        let journal = Journal::new(store.events());
        let recorder = Recorder::new(store.log_dir());
        let loaded = store.snapshot(now);
        let mut fleet = match loaded.value {
            // Monotonic times of another boot mean nothing: what they guard starts over.
            Some(snapshot) if snapshot.boot == process::boot_id() => snapshot.fleet,
            Some(snapshot) => state::after_reboot(snapshot.fleet),
            None => Fleet::default(),
        };
        fleet.sight = Sight::Never;
        // Whoever asked is gone with the process that was to answer.
        fleet.owed.clear();
        let wanted = store.wanted(now);
        let (outcomes, pending) = std::sync::mpsc::channel();
        let (typed, typed_pending) = std::sync::mpsc::channel();
        let mut engine = Self {
            project: units::project_id(&parts.project.config),
            config: parts.project.config.clone(),
            handle: parts.project,
            store,
            fleet,
            answers: Vec::new(),
            tmux: parts.tmux,
            journal,
            recorder,
            kickoffs: BTreeSet::new(),
            typed,
            typed_pending,
            ao: parts.ao,
            environment: parts.environment,
            overrides: parts.overrides,
            heartbeat: parts.heartbeat,
            detectors: BTreeMap::new(),
            captured: BTreeMap::new(),
            dialogs: Dialogs::default(),
            world: None,
            outcomes,
            pending,
            stops_under_way: 0,
            saved_at: now.mono,
            unsaved: false,
        };
        for problem in [loaded.problem, wanted.problem].into_iter().flatten() {
            engine.report(None, What::Watchdog, &problem, true);
        }
        // A lost wanted.json must not leave a running fleet unguarded.
        let wanted = wanted.value.unwrap_or_else(|| {
            engine
                .fleet
                .units
                .values()
                .filter(|unit| unit.wanted)
                .map(|unit| unit.spec.name.clone())
                .collect()
        });
        engine.configure(wanted);
        Ok(engine)
    }

    fn configure(&mut self, wanted: BTreeSet<UnitName>) {
        let units = units::specs(&self.config);
        self.feed(Event::Configured { units, wanted });
    }

    /// A newer config is in force.
    pub fn adopt_config(&mut self, config: Config) {
        self.config = config.clone();
        self.handle.config = config;
        self.detectors.clear();
        let wanted = self.wanted();
        self.configure(wanted);
    }

    fn wanted(&self) -> BTreeSet<UnitName> {
        let wanted = self.fleet.units.values().filter(|unit| unit.wanted);
        wanted.map(|unit| unit.spec.name.clone()).collect()
    }

    /// One-off changes for the starts of one request.
    pub fn set_overrides(&mut self, overrides: Overrides) {
        self.overrides = overrides;
    }

    /// The first start of an agent gets this environment; later ones get the recorded one.
    pub fn set_environment(&mut self, environment: BTreeMap<String, String>) {
        self.environment = environment;
    }

    pub fn tmux(&mut self) -> &mut dyn Tmux {
        self.tmux.as_mut()
    }

    /// Decides, writes down, acts, and goes on with the outcomes until nothing follows at once.
    pub fn feed(&mut self, event: Event) {
        let mut queue = VecDeque::from([event]);
        while let Some(event) = queue.pop_front() {
            let now = clock::now();
            let before = self.fleet.clone();
            let actions = decide(&mut self.fleet, &event, now);
            let changed = before != self.fleet;
            if changed || !actions.is_empty() {
                self.recorder.step(&before, &event, &actions, now);
            }
            self.unsaved |= changed;
            self.write_down(&actions, now);
            queue.extend(self.perform(actions, now));
        }
    }

    fn write_down(&mut self, actions: &[Action], now: Now) {
        let reports: Vec<Report> = actions
            .iter()
            .filter_map(|action| match action {
                Action::Report(report) => Some(report.clone()),
                Action::Start { .. }
                | Action::Stop { .. }
                | Action::Look
                | Action::SaveWanted
                | Action::Answer { .. } => None,
            })
            .collect();
        for report in reports.iter().filter(|report| report.notify) {
            super::notify::send(&self.config, report, now);
        }
        self.journal.append(&reports, now);
        let due = now.mono.since(self.saved_at) >= SNAPSHOT_EVERY;
        if !actions.is_empty() || (self.unsaved && due) {
            self.save(now);
        }
    }

    /// Writes the fleet down. A full disk is logged; supervision goes on.
    pub fn save(&mut self, now: Now) {
        let snapshot = Snapshot {
            version: 1,
            ao: crate::VERSION.to_owned(),
            boot: process::boot_id(),
            saved: now,
            watchdog: self.heartbeat.clone(),
            fleet: self.fleet.clone(),
        };
        if let Err(error) = self.store.save_snapshot(&snapshot) {
            tracing::error!(error = %crate::base::chain::text(&error), "cannot save the fleet");
        }
        self.saved_at = now.mono;
        self.unsaved = false;
    }

    fn report(&mut self, unit: Option<UnitName>, what: What, why: &str, notify: bool) {
        let report = Report { unit, what, why: why.to_owned(), notify };
        let now = clock::now();
        if notify {
            super::notify::send(&self.config, &report, now);
        }
        self.journal.append(&[report], now);
    }

    /// A line in the event log that no decision made.
    pub fn log(&mut self, what: What, why: &str) {
        self.report(None, what, why, false);
    }

    /// The same about one unit.
    pub fn log_unit(&mut self, unit: &UnitName, what: What, why: &str) {
        self.report(Some(unit.clone()), what, why, false);
    }

    fn perform(&mut self, actions: Vec<Action>, now: Now) -> Vec<Event> {
        let mut starts = Vec::new();
        let mut stops = Vec::new();
        let mut look = false;
        for action in actions {
            match action {
                Action::Start { unit, attempt, fresh, cause: _ } => {
                    starts.push((unit, attempt, fresh));
                }
                Action::Stop { unit, attempt, cause: _ } => stops.push((unit, attempt)),
                Action::Look => look = true,
                Action::Report(_) => {}
                Action::SaveWanted => {
                    let wanted = self.wanted();
                    if let Err(error) = self.store.save_wanted(&wanted) {
                        let why = crate::base::chain::text(&error);
                        self.report(None, What::Watchdog, &why, true);
                    }
                }
                Action::Answer { id, outcomes } => self.answers.push(Answer { id, outcomes }),
            }
        }
        let mut events = Vec::new();
        if !stops.is_empty() {
            self.stop_all(&stops);
        }
        if !starts.is_empty() {
            events.extend(self.start_all(starts, now));
        } else if look {
            events.push(self.look_event(false));
        }
        events
    }

    /// Looks at tmux and tells the core.
    pub fn look(&mut self) {
        let event = self.look_event(false);
        self.feed(event);
    }

    /// The same, with a look at which programs run in the panes.
    pub fn look_deep(&mut self) {
        let event = self.look_event(true);
        self.feed(event);
    }

    fn look_event(&mut self, deep: bool) -> Event {
        match self.look_with_statuses() {
            Ok(Look::Seen(world)) => {
                let judged = deep
                    && self.fleet.units.values().any(|unit| !unit.spec.process_names.is_empty());
                let snapshot = judged.then(process::snapshot);
                let panes = sight::sightings(&self.fleet, &self.project, &world, snapshot.as_ref());
                let server = ServerId { pid: world.server.pid, started: world.server.started };
                self.world = Some(world);
                Event::Looked { server, panes }
            }
            Ok(Look::NoServer { evidence }) => {
                self.world = None;
                Event::ServerGone { evidence }
            }
            Err(error) => Event::LookFailed { error: crate::base::chain::text(&error) },
        }
    }

    /// tmux may show a pane dead before it has read how its process ended; waking the server settles
    /// that. Without it a task that exited well would look like one that crashed.
    fn look_with_statuses(&mut self) -> Result<Look, TmuxError> {
        let mut look = self.tmux.look()?;
        for _ in 0..STATUS_NUDGES_MAX {
            let Look::Seen(world) = &look else { break };
            let unexplained = world.panes.iter().any(|pane| {
                pane.dead
                    && pane.exit_status.is_none()
                    && pane.exit_signal.is_none()
                    && Tag::parse(&pane.tag).is_some_and(|tag| tag.project == self.project)
            });
            if !unexplained {
                break;
            }
            self.tmux.nudge()?;
            look = self.tmux.look()?;
        }
        Ok(look)
    }

    fn start_all(&mut self, starts: Vec<(UnitName, u64, bool)>, now: Now) -> Vec<Event> {
        let mut events = Vec::new();
        let mut opened: Vec<(UnitName, u64, PaneId)> = Vec::new();
        // Each logged pane costs the server two files; at its limit it hangs every client.
        if let Some(world) = &self.world {
            process::raise_open_files_of(world.server.pid);
        }
        for (unit, attempt, fresh) in starts {
            match self.start(&unit, attempt, fresh, now) {
                Ok(pane) => opened.push((unit, attempt, pane)),
                Err(outcome) => events.push(Event::Started { unit, attempt, outcome }),
            }
        }
        if opened.is_empty() {
            return events;
        }
        // One look tells the pids of all that were opened.
        let looked = self.look_event(false);
        for (unit, attempt, pane) in opened {
            let found = self.world.as_ref().and_then(|world| find_pane(world, &pane));
            let outcome = match found {
                Some(facts) => StartOutcome::Opened { pane, pid: facts.pid },
                None => StartOutcome::Failed { why: "its session vanished at once".to_owned() },
            };
            events.push(Event::Started { unit, attempt, outcome });
        }
        events.push(looked);
        events
    }

    fn start(
        &mut self,
        unit: &UnitName,
        attempt: u64,
        fresh: bool,
        now: Now,
    ) -> Result<PaneId, StartOutcome> {
        let refused = |why: String| StartOutcome::Refused { why };
        let Some(member) = units::member(&self.config, unit) else {
            return Err(refused("it is not in the config any more".to_owned()));
        };
        let with = Circumstances {
            config: &self.config,
            store: &self.store,
            project: &self.project,
            ao: &self.ao,
            environment: &self.environment,
            overrides: &self.overrides,
            phase: self.phase(),
            attempt,
            fresh,
            start_id: uuid::Uuid::new_v4().to_string(),
            now,
        };
        let prepared = prepare::prepare(&member, &with)
            .map_err(|error| refused(crate::base::chain::text(&error)))?;
        for note in &prepared.notes {
            self.report(Some(unit.clone()), What::Starting, note, false);
        }
        let session = prepared.spec.session.clone();
        self.close_remains(unit, &prepared.spec);
        self.store
            .save_launch(&session, &prepared.record)
            .map_err(|error| StartOutcome::Failed { why: crate::base::chain::text(&error) })?;
        self.captured.remove(unit);
        self.tmux.open(&prepared.spec).map_err(|error| {
            let why = crate::base::chain::text(&error);
            match error {
                TmuxError::Missing { .. } | TmuxError::TooOld { .. } => {
                    StartOutcome::Refused { why }
                }
                TmuxError::Refused { .. }
                | TmuxError::Unreachable { .. }
                | TmuxError::Io { .. } => StartOutcome::Failed { why },
            }
        })
    }

    /// The dead pane of the last attempt goes before the next one comes.
    fn close_remains(&mut self, unit: &UnitName, spec: &SessionSpec) {
        let remains = self.world.as_ref().is_some_and(|world| {
            world.panes.iter().any(|pane| {
                pane.session == spec.session.as_str()
                    && pane.dead
                    && Tag::parse(&pane.tag)
                        .is_some_and(|tag| tag.project == self.project && tag.unit == unit.as_str())
            })
        });
        if remains && let Err(error) = self.tmux.close(&spec.session) {
            tracing::warn!(%unit, %error, "cannot close the dead session");
        }
    }

    /// The phase all loop agents work on.
    pub fn phase(&self) -> Option<&PhaseStep> {
        let sequence = self.config.sequence.as_ref()?;
        let path = self.store.state().join(&sequence.state_file);
        let index: usize = std::fs::read_to_string(path)
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(0);
        sequence.phases.get(index).or_else(|| sequence.phases.last())
    }

    /// Ends process trees beside the loop; outcomes come back through [`Engine::outcomes`].
    fn stop_all(&mut self, stops: &[(UnitName, u64)]) {
        if let Ok(Look::Seen(world)) = self.tmux.look() {
            self.world = Some(world);
        }
        let mut jobs = Vec::new();
        let mut quit = false;
        for (unit, attempt) in stops {
            let panes = self.panes_of(unit);
            quit |= self.ask_to_quit(unit, &panes);
            let roots: Vec<u32> =
                panes.iter().filter(|pane| !pane.dead).map(|pane| pane.pid).collect();
            let start_ids: Vec<String> = panes
                .iter()
                .filter_map(|pane| Tag::parse(&pane.tag))
                .map(|tag| tag.start_id)
                .collect();
            jobs.push((unit.clone(), *attempt, Ending { roots, start_ids }));
        }
        let grace = self.config.watchdog.stop_grace;
        let quit_grace = if quit { QUIT_KEYS_GRACE } else { Duration::ZERO };
        let outcomes = self.outcomes.clone();
        self.stops_under_way += jobs.len();
        let work = move || {
            let endings: Vec<Ending> = jobs.iter().map(|(_, _, ending)| ending.clone()).collect();
            let reports = process::stop_trees(&endings, quit_grace, grace);
            for ((unit, attempt, _), report) in jobs.into_iter().zip(reports) {
                let outcome = if report.survivors.is_empty() {
                    StopOutcome::Gone { cut: !report.killed.is_empty() }
                } else {
                    StopOutcome::Survived { pids: report.survivors }
                };
                // A closed channel means that nobody waits any more.
                drop(outcomes.send(Event::Stopped { unit, attempt, outcome }));
            }
        };
        std::thread::spawn(work);
    }

    fn panes_of(&self, unit: &UnitName) -> Vec<PaneFacts> {
        let Some(world) = &self.world else { return Vec::new() };
        let ours = |pane: &&PaneFacts| {
            Tag::parse(&pane.tag)
                .is_some_and(|tag| tag.project == self.project && tag.unit == unit.as_str())
        };
        world.panes.iter().filter(ours).cloned().collect()
    }

    /// Quit keys go only to a CLI that is proven idle with an empty input box.
    fn ask_to_quit(&mut self, unit: &UnitName, panes: &[PaneFacts]) -> bool {
        let Some(Member::Agent(agent)) = units::member(&self.config, unit) else { return false };
        let backend = Backend::by_name(&self.config, &agent.backend);
        let Some(pane) = panes.iter().find(|pane| !pane.dead) else { return false };
        if backend.quit_keys.is_empty() {
            return false;
        }
        let reading = self.read_pane(unit, pane);
        let idle = reading.is_some_and(|reading| {
            reading.state == PaneState::Idle && reading.composer == Composer::Empty
        });
        idle && self.tmux.keys(&pane.pane, &backend.quit_keys).is_ok()
    }

    /// Waits for outcomes of stops until none is under way or the time is over.
    pub fn settle(&mut self, limit: Duration) {
        let end = clock::now().mono.plus(limit);
        while self.stops_under_way > 0 {
            let left = end.since(clock::now().mono);
            match self.pending.recv_timeout(left) {
                Ok(event) => self.outcome(event),
                Err(_) => return,
            }
        }
    }

    /// Feeds every outcome that is there already.
    pub fn take_outcomes(&mut self) {
        while let Ok(event) = self.pending.try_recv() {
            self.outcome(event);
        }
    }

    pub fn stops_under_way(&self) -> bool {
        self.stops_under_way > 0
    }

    fn outcome(&mut self, event: Event) {
        self.stops_under_way = self.stops_under_way.saturating_sub(1);
        // A late outcome of an older attempt must not close the session of the one that runs now.
        if let Event::Stopped { unit, attempt, outcome: StopOutcome::Gone { .. } } = &event
            && self.fleet.units.get(unit).is_some_and(|found| {
                found.attempt == *attempt && matches!(found.life, Life::Stopping { .. })
            })
        {
            self.close_session(unit);
        }
        self.feed(event);
    }

    /// The processes are gone: the session that held them goes too, if it is ours.
    fn close_session(&mut self, unit: &UnitName) {
        let ours = !self.panes_of(unit).is_empty();
        let session = self.fleet.units.get(unit).map(|found| found.spec.session.clone());
        if let (true, Some(session)) = (ours, session)
            && let Err(error) = self.tmux.close(&session)
        {
            tracing::warn!(%unit, %error, "cannot close the session");
        }
    }

    /// One look, then the screens that may have changed since they were last read.
    pub fn glance(&mut self) {
        self.look();
        let Some(world) = self.world.clone() else { return };
        let wall = clock::now().wall.timestamp();
        let mut due: Vec<(UnitName, u64, PaneFacts)> = Vec::new();
        for (name, unit) in &self.fleet.units {
            let Life::Running { pane, .. } = &unit.life else { continue };
            if unit.spec.kind == UnitKind::Service {
                continue;
            }
            let Some(facts) = find_pane(&world, pane) else { continue };
            // tmux tells activity by the second: one in the second of the capture may be newer than it.
            let seen = self.captured.get(name).is_some_and(|captured| {
                captured.attempt == unit.attempt
                    && captured.activity == facts.activity
                    && captured.at_wall_secs > facts.activity
            });
            let doubtful = unit
                .reading
                .as_ref()
                .is_some_and(|known| known.state == PaneState::Fatal && known.looks < 10);
            if !seen || doubtful {
                due.push((name.clone(), unit.attempt, facts.clone()));
            }
        }
        if due.is_empty() {
            return;
        }
        let panes: Vec<PaneId> = due.iter().map(|(_, _, facts)| facts.pane.clone()).collect();
        let Ok(captures) = self.tmux.capture(&panes) else { return };
        for (name, attempt, facts) in due {
            let Some(capture) = captures.iter().find(|capture| capture.pane == facts.pane) else {
                continue;
            };
            let seen = Captured { attempt, activity: facts.activity, at_wall_secs: wall };
            self.captured.insert(name.clone(), seen);
            let Some(mut reading) = self.read_text(&name, &capture.text, &facts) else { continue };
            self.answer_dialog(&name, attempt, &capture.text, &facts, &mut reading);
            self.feed(Event::Read { unit: name, attempt, reading });
        }
    }

    /// A dialog of the first start that the config has answered is part of starting.
    fn answer_dialog(
        &mut self,
        unit: &UnitName,
        attempt: u64,
        text: &str,
        pane: &PaneFacts,
        reading: &mut Reading,
    ) {
        let Some(agent) = self.config.agent(unit.as_str()) else { return };
        let (config, backend) = (&self.config, agent.backend.clone());
        let known = || Backend::by_name(config, &backend).dialogs;
        let Some(press) = self.dialogs.press(unit, attempt, known, text, reading) else { return };
        let pressed = self.tmux.keys_if_shown(&pane.pane, &[press.key.clone()], &press.option);
        let why = match pressed {
            Ok(typed) => format!("dialog `{}`: {} ({typed:?})", press.dialog, press.key),
            Err(error) => format!("dialog `{}`: {}", press.dialog, crate::base::chain::text(&error)),
        };
        press.explain(reading);
        self.log_unit(unit, What::Starting, &why);
        // The next glance must look, whether or not the pane printed anything.
        self.captured.remove(unit);
    }

    /// Captures and reads one pane now.
    pub fn read_pane(&mut self, unit: &UnitName, pane: &PaneFacts) -> Option<Reading> {
        let captures = self.tmux.capture(std::slice::from_ref(&pane.pane)).ok()?;
        let capture = captures.into_iter().next()?;
        self.read_text(unit, &capture.text, pane)
    }

    /// What a screen of this agent says.
    pub fn read_text(&mut self, unit: &UnitName, text: &str, pane: &PaneFacts) -> Option<Reading> {
        let agent = self.config.agent(unit.as_str())?;
        if !self.detectors.contains_key(&agent.backend) {
            let backend = Backend::by_name(&self.config, &agent.backend);
            let detector = Detector::new(
                &backend.name,
                &backend.rules,
                backend.layout.as_ref(),
                backend.live_lines,
            )
            .ok()?;
            self.detectors.insert(agent.backend.clone(), detector);
        }
        let detector = self.detectors.get(&agent.backend)?;
        let hints =
            PaneHints { dead: pane.dead, exit_status: pane.exit_status, title: &pane.title };
        Some(detector.read(&Screen::parse(text), &hints))
    }

    /// Types the first prompts that are due, beside the loop.
    pub fn type_kickoffs(&mut self) {
        let now = clock::now();
        let due: Vec<(UnitName, u64)> = self
            .fleet
            .units
            .values()
            .filter(|unit| unit.is_running() && unit.spec.kind != UnitKind::Service)
            .filter(|unit| !self.kickoffs.contains(&unit.spec.name))
            .map(|unit| (unit.spec.name.clone(), unit.attempt))
            .collect();
        for (unit, attempt) in due {
            let Some(agent) = self.config.agent(unit.as_str()).cloned() else { continue };
            let Some(record) = self.store.launch(&agent.session, now).value else { continue };
            match record.prompt {
                TypedPrompt::None | TypedPrompt::Delivered | TypedPrompt::Unknown => {}
                TypedPrompt::Typing => {
                    self.set_prompt(&agent.session, TypedPrompt::Unknown);
                    let why = "ao ended while it typed the first prompt; it is not typed again";
                    self.log_unit(&unit, What::NotSent, why);
                }
                TypedPrompt::Pending => self.type_kickoff(unit, attempt, agent),
            }
        }
    }

    fn type_kickoff(&mut self, unit: UnitName, attempt: u64, agent: crate::config::Agent) {
        let Ok(Some(text)) = file::read(&self.store.kickoff(&agent.session)) else { return };
        let backend = Backend::by_name(&self.config, &agent.backend);
        let text = safe_text(&text, Opening::Speech);
        let manner =
            Manner { busy_input: false, hold_max: backend.connect_delay.max(KICKOFF_PATIENCE) };
        let (project, sender) = (self.handle.clone(), self.typed.clone());
        self.kickoffs.insert(unit.clone());
        std::thread::spawn(move || {
            let store = project.store.clone();
            let mut mark = || {
                if let Some(mut record) = store.launch(&agent.session, clock::now()).value {
                    record.prompt = TypedPrompt::Typing;
                    drop(store.save_launch(&agent.session, &record));
                }
            };
            let outcome = typing::type_text(&project, &agent, &text, manner, &mut mark);
            drop(sender.send(Typed { unit, attempt, outcome }));
        });
    }

    fn set_prompt(&self, session: &crate::base::name::SessionName, prompt: TypedPrompt) {
        if let Some(mut record) = self.store.launch(session, clock::now()).value {
            record.prompt = prompt;
            if let Err(error) = self.store.save_launch(session, &record) {
                tracing::error!(%error, "cannot record a typed prompt");
            }
        }
    }

    /// Takes note of first prompts that were typed in the meantime.
    pub fn take_kickoffs(&mut self) {
        while let Ok(typed) = self.typed_pending.try_recv() {
            self.kickoff_typed(typed);
        }
    }

    /// Waits until no first prompt is under way any more.
    pub fn wait_for_kickoffs(&mut self) {
        while !self.kickoffs.is_empty() {
            match self.typed_pending.recv() {
                Ok(typed) => self.kickoff_typed(typed),
                Err(_) => return,
            }
        }
    }

    fn kickoff_typed(&mut self, typed: Typed) {
        self.kickoffs.remove(&typed.unit);
        let Some(unit) = self.fleet.units.get(&typed.unit) else { return };
        if unit.attempt != typed.attempt {
            return;
        }
        let session = unit.spec.session.clone();
        let (prompt, what, why) = match typed.outcome {
            deliver::Outcome::Delivered { attempts } => {
                let why = format!("its first prompt, submitted with {attempts} key presses");
                (TypedPrompt::Delivered, What::Sent, why)
            }
            deliver::Outcome::Held { why } | deliver::Outcome::NotDelivered { why } => {
                (TypedPrompt::Pending, What::NotSent, format!("its first prompt: {why}"))
            }
            deliver::Outcome::Unknown { why } => {
                (TypedPrompt::Unknown, What::NotSent, format!("its first prompt: {why}"))
            }
        };
        self.set_prompt(&session, prompt);
        self.log_unit(&typed.unit, what, &why);
    }

    /// The live pane of a unit, after a look.
    pub fn pane_facts(&self, unit: &UnitName) -> Option<PaneFacts> {
        let Life::Running { pane, .. } = &self.fleet.units.get(unit)?.life else { return None };
        find_pane(self.world.as_ref()?, pane).cloned()
    }

    pub fn world(&self) -> Option<&World> {
        self.world.as_ref()
    }

    pub fn project(&self) -> &str {
        &self.project
    }

    /// Rotates the session logs that grew too long.
    pub fn rotate_logs(&mut self) {
        let bytes_max = self.config.watchdog.log_bytes_max;
        for unit in self.fleet.units.values() {
            let log = self.store.session_log(&unit.spec.session);
            if let Err(error) = file::rotate(&log, bytes_max, 2) {
                tracing::warn!(log = %log.display(), %error, "cannot rotate a session log");
            }
        }
    }

    /// Opens logs again whose `cat` ended (a full disk ends it for good).
    pub fn reopen_logs(&mut self) {
        let Some(world) = self.world.clone() else { return };
        for unit in self.fleet.units.values() {
            let Life::Running { pane, .. } = &unit.life else { continue };
            let closed = find_pane(&world, pane).is_some_and(|facts| !facts.piped && !facts.dead);
            if closed {
                let log = self.store.session_log(&unit.spec.session);
                if let Err(error) = self.tmux.pipe(pane, &log) {
                    tracing::warn!(unit = %unit.spec.name, %error, "cannot reopen the log");
                }
            }
        }
    }

    /// The pids whose end is to be watched.
    pub fn pids(&self) -> BTreeSet<u32> {
        let lives = self.fleet.units.values().map(|unit| &unit.life);
        lives
            .filter_map(|life| match life {
                Life::Running { pid, .. } => Some(*pid),
                Life::NotStarted
                | Life::Starting { .. }
                | Life::Stopping { .. }
                | Life::Dead { .. }
                | Life::Failed { .. }
                | Life::Done { .. } => None,
            })
            .collect()
    }
}

fn find_pane<'a>(world: &'a World, pane: &PaneId) -> Option<&'a PaneFacts> {
    world.panes.iter().find(|facts| facts.pane == *pane)
}
