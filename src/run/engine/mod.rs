//! Decides and acts: the same engine serves the watchdog's loop and a verb that runs alone.
//!
//! An event goes in; what was decided is written down, then done; outcomes go back in as events.
//! It never waits for anything but tmux: stopping processes runs beside it and reports by channel.

mod dialogs;
mod dry_run;
mod handoff;
mod kickoffs;
mod limits;
mod logs;
mod looking;
mod messages;
mod queue;
mod sensors;
mod sequence;
mod starting;
mod stopping;
mod waking;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;

use self::dialogs::Dialogs;
use self::dry_run::DryRun;
pub use self::handoff::watched_folders;
use self::kickoffs::Typed;
use self::looking::Captured;
use self::messages::Typing;
pub use self::messages::typed_text;
use self::sensors::Hearings;
pub use self::sensors::Spools;
pub use self::sequence::COMPLETE;
use self::starting::Opening;
use super::journal::Journal;
use super::listener::Listener;
use super::notify::Notifier;
use super::prepare::Overrides;
use super::project::Project;
use super::recorder::Recorder;
use super::store::{Heartbeat, Snapshot, Store, StoreError};
use super::typing::Lines;
use super::units;
use crate::base::name::UnitName;
use crate::base::now::{Mono, Now};
use crate::base::zone::Tz;
use crate::config::{Agent, Config};
use crate::screen::detect::Detector;
use crate::supervise::action::{Action, Report, What};
use crate::supervise::decide::decide;
use crate::supervise::event::{Event, Outcome, RequestId};
use crate::supervise::outbox::MessageId;
use crate::supervise::state::{self, Fleet, Sight};
use crate::sys::tmux::{Tmux, World};
use crate::sys::{clock, process};

/// At most this often the snapshot is written when nothing but readings changed.
const SNAPSHOT_EVERY: Duration = Duration::from_secs(5);

/// The answer to one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub id: RequestId,
    pub outcomes: BTreeMap<UnitName, Outcome>,
}

pub struct Engine {
    pub config: Config,
    pub store: Store,
    pub fleet: Fleet,
    pub answers: Vec<Answer>,
    tmux: Box<dyn Tmux>,
    journal: Journal,
    notifier: Notifier,
    recorder: Recorder,
    project: String,
    handle: Project,
    kickoffs: BTreeSet<UnitName>,
    /// The starts whose first prompt needs nothing more from us.
    kicked_off: BTreeMap<UnitName, u64>,
    typed: Sender<Typed>,
    typed_pending: Receiver<Typed>,
    ao: PathBuf,
    environment: BTreeMap<String, String>,
    overrides: Overrides,
    /// Of the CLIs: ours, as they get our environment.
    zone: Tz,
    heartbeat: Option<Heartbeat>,
    /// By backend: agents of one backend read alike.
    detectors: BTreeMap<String, Arc<Detector>>,
    captured: BTreeMap<UnitName, Captured>,
    /// The newest message when screens were read last.
    glanced: MessageId,
    hearings: Hearings,
    listener: Option<Listener>,
    dialogs: Dialogs,
    world: Option<Arc<World>>,
    /// When the look that told it began.
    world_at: Mono,
    outcomes: Sender<Event>,
    pending: Receiver<Event>,
    /// Called from other threads when what they do beside the loop is over.
    waker: Arc<dyn Fn() + Send + Sync>,
    stops_under_way: usize,
    lines: Lines,
    handoff: handoff::Work,
    saved_at: Mono,
    unsaved: bool,
    /// Several events are taken at once, and saved once.
    save_waits: bool,
    /// Something was said that the stored fleet does not tell of yet.
    save_owed: bool,
    tmux_answered: bool,
    dry: Option<DryRun>,
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
    /// Decide only; say what would be done.
    pub dry_run: bool,
}

impl Engine {
    /// Goes on from the state folder. Problems with stored files are reported, never fatal.
    pub fn new(parts: Parts) -> Result<Self, StoreError> {
        let now = clock::now();
        let store = parts.project.store.clone();
        let journal = Journal::new(store.events());
        let notify_store = store.clone();
        let recorder = Recorder::new(store.log_dir());
        let loaded = store.snapshot(now);
        let forgotten = loaded.value.is_none();
        let mut fleet = match loaded.value {
            // Monotonic times of another boot mean nothing: what they guard starts over.
            Some(snapshot) if snapshot.boot == process::boot_id() => snapshot.fleet,
            Some(snapshot) => state::after_reboot(snapshot.fleet),
            None => Fleet::default(),
        };
        fleet.sight = Sight::Never;
        // Whoever asked is gone with the process that was to answer.
        fleet.owed.clear();
        state::outcomes_lost(&mut fleet);
        let wanted = store.wanted(now);
        let (outcomes, pending) = std::sync::mpsc::channel();
        let (typed, typed_pending) = std::sync::mpsc::channel();
        let (notifier, notices_problem) = Notifier::new(notify_store, now);
        let lines = Lines::new(parts.project.config.watchdog_session());
        let mut engine = Self {
            project: units::project_id(&parts.project.config),
            config: parts.project.config.clone(),
            handle: parts.project,
            store,
            fleet,
            answers: Vec::new(),
            tmux: parts.tmux,
            journal,
            notifier,
            recorder,
            kickoffs: BTreeSet::new(),
            kicked_off: BTreeMap::new(),
            typed,
            typed_pending,
            ao: parts.ao,
            environment: parts.environment,
            overrides: parts.overrides,
            zone: clock::zone(),
            heartbeat: parts.heartbeat,
            detectors: BTreeMap::new(),
            captured: BTreeMap::new(),
            glanced: MessageId::default(),
            hearings: Hearings::new(),
            listener: None,
            dialogs: Dialogs::default(),
            world: None,
            world_at: now.mono,
            outcomes,
            pending,
            waker: Arc::new(|| {}),
            stops_under_way: 0,
            lines,
            handoff: handoff::Work::new(),
            saved_at: now.mono,
            unsaved: false,
            save_waits: false,
            save_owed: false,
            tmux_answered: false,
            dry: parts.dry_run.then(DryRun::default),
        };
        let own = engine.handle.problem.take();
        let problems = [loaded.problem, wanted.problem, own, notices_problem];
        for problem in problems.into_iter().flatten() {
            engine.report_damage(&problem);
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
        if forgotten {
            engine.recover_phases();
        }
        engine.recover_queue(forgotten);
        engine.recover_handoff(forgotten);
        engine.configure(wanted);
        engine.recall_limits();
        engine.read_sequence_files();
        engine.recover_messages();
        Ok(engine)
    }

    fn configure(&mut self, wanted: BTreeSet<UnitName>) {
        let units = units::specs(&self.config);
        let settings = units::settings(&self.config);
        self.feed(Event::Configured { units, wanted, settings });
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

    /// Called from another thread when something that was begun beside the loop is over.
    pub fn set_waker(&mut self, waker: impl Fn() + Send + Sync + 'static) {
        self.waker = Arc::new(waker);
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
            if self.dry.is_some() {
                queue.extend(self.pretend(&before, actions, now));
                continue;
            }
            let changed = before != self.fleet;
            if changed || !actions.is_empty() {
                self.recorder.step(&before, &event, &actions, now);
            }
            self.unsaved |= changed;
            self.write_down(&actions, now);
            queue.extend(self.perform(actions, now));
        }
        self.save_what_is_owed();
    }

    fn write_down(&mut self, actions: &[Action], now: Now) {
        let reports: Vec<Report> = actions
            .iter()
            .filter_map(|action| match action {
                Action::Report(report) => Some(report.clone()),
                Action::Start { .. }
                | Action::Stop { .. }
                | Action::Type { .. }
                | Action::SaveLimit { .. }
                | Action::ReadWake { .. }
                | Action::Look
                | Action::Sequence { .. }
                | Action::SaveHandoff
                | Action::SaveWanted
                | Action::Answer { .. } => None,
            })
            .collect();
        self.notifier.take(&self.config, &reports, self.tmux.as_mut(), now);
        self.journal.append(&reports, now);
        let due = now.mono.since(self.saved_at) >= SNAPSHOT_EVERY;
        if !actions.iter().all(is_said_only) || (self.unsaved && due && !self.save_waits) {
            self.save(now);
        } else {
            self.save_owed |= !actions.is_empty();
        }
    }

    /// Takes several events and saves once: what a crash keeps from being saved is found out again.
    fn at_once(&mut self, take: impl FnOnce(&mut Self)) {
        let waits = std::mem::replace(&mut self.save_waits, true);
        take(self);
        self.save_waits = waits;
        self.save_what_is_owed();
    }

    fn save_what_is_owed(&mut self) {
        if self.save_owed && !self.save_waits {
            self.save(clock::now());
        }
    }

    /// Writes the fleet down. A full disk is logged; supervision goes on.
    pub fn save(&mut self, now: Now) {
        if self.dry.is_some() {
            return;
        }
        let snapshot = Snapshot {
            version: 1,
            ao: crate::VERSION.to_owned(),
            boot: process::boot_id(),
            saved: now,
            watchdog: self.heartbeat.clone(),
            notify_problem: self.notifier.problem.clone(),
            fleet: self.fleet.clone(),
        };
        if let Err(error) = self.store.save_snapshot(&snapshot) {
            tracing::error!(error = %crate::base::chain::text(&error), "cannot save the fleet");
        }
        self.saved_at = now.mono;
        (self.unsaved, self.save_owed) = (false, false);
    }

    /// Tells people and the journal of a state file that was not what ao wrote.
    pub fn report_damage(&mut self, problem: &str) {
        self.report(None, What::Watchdog, problem, true);
    }

    fn report(&mut self, unit: Option<UnitName>, what: What, why: &str, notify: bool) {
        let report = Report { unit, what, why: why.to_owned(), notify };
        let now = clock::now();
        if self.dry.is_some() {
            self.would(report, now);
            return;
        }
        let reports = [report];
        self.notifier.take(&self.config, &reports, self.tmux.as_mut(), now);
        self.journal.append(&reports, now);
    }

    /// Tells people what was kept for later, and hears how telling them went.
    pub fn notify(&mut self) {
        let now = clock::now();
        let before = self.notifier.problem.clone();
        for why in self.notifier.tick(&self.config, self.tmux.as_mut(), now) {
            // Not to be told by the notifier that has just failed.
            self.report(None, What::Watchdog, &why, false);
        }
        if before != self.notifier.problem {
            self.save(now);
        }
    }

    /// Waits for notifications under way: a process that ends would end them with it.
    pub fn settle_notices(&mut self, limit: Duration) {
        self.notifier.settle(self.tmux.as_mut(), limit);
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
        let mut events = Vec::new();
        for action in actions {
            match action {
                Action::Start { unit, attempt, fresh, cause: _, fallback } => {
                    starts.push(Opening { unit, attempt, fresh, fallback });
                }
                Action::Stop { unit, attempt, cause: _ } => stops.push((unit, attempt)),
                Action::Type {
                    unit,
                    attempt: _,
                    message,
                    text,
                    busy_input,
                    command,
                    past_banner,
                } => {
                    events.extend(self.type_message(Typing {
                        unit,
                        message,
                        text,
                        busy_input,
                        command,
                        past_banner,
                    }));
                }
                Action::SaveLimit { unit, window } => self.save_limit(&unit, window.as_deref()),
                Action::ReadWake { unit } => events.push(self.read_wake(unit)),
                Action::Look => look = true,
                Action::Sequence { step } => events.extend(self.put_down(&step)),
                Action::SaveHandoff => self.save_copies(),
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
        if !stops.is_empty() {
            self.stop_all(&stops);
        }
        if !starts.is_empty() {
            events.extend(self.start_all(&starts, now));
        } else if look {
            events.push(self.look_event(false));
        }
        events
    }

    /// The agent as it was started: on its fallback while it waits a limit out there.
    pub(super) fn agent_in_force(&self, unit: &UnitName) -> Option<Agent> {
        let agent = self.config.agent(unit.as_str())?;
        let away = self.fleet.units.get(unit).is_some_and(|unit| unit.away.is_some());
        Some(if away { agent.on_fallback() } else { agent.clone() })
    }

    pub fn project(&self) -> &str {
        &self.project
    }
}

/// Nothing is done by it that the fleet's state must tell of beforehand.
fn is_said_only(action: &Action) -> bool {
    match action {
        Action::Report(_) | Action::Answer { .. } | Action::Look => true,
        Action::Start { .. }
        | Action::Stop { .. }
        | Action::Type { .. }
        | Action::SaveLimit { .. }
        | Action::ReadWake { .. }
        | Action::Sequence { .. }
        | Action::SaveHandoff
        | Action::SaveWanted => false,
    }
}
