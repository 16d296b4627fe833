//! The supervisor's loop: wait, decide, write down, act.
//!
//! Ends only when told to (SIGTERM, SIGINT) or to hand over after the tmux server died under it.
//! SIGHUP is taken note of and ignored: it comes with the death of the pane the loop runs in.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use super::accepted;
use super::engine::{self, Engine, Spools};
use super::governance::{Governance, sources};
use super::prepare::Overrides;
use super::project::{self, Project, ProjectError};
use super::request;
use super::store::Heartbeat;
use super::transcripts;
use super::units::{self, Tag};
use crate::base::now::Mono;
use crate::config::{Config, guarded};
use crate::supervise::action::What;
use crate::supervise::event::{Event, Request};
use crate::supervise::{stall, wake};
use crate::sys::death::DeathWatch;
use crate::sys::load::{self, LoadError};
use crate::sys::lock::{self, Lock, LockError};
use crate::sys::tmux::{Look, ServerId, Tmux};
use crate::sys::watch::FileWatch;
use crate::sys::{clock, memory, process};

/// Between two looks at tmux: one round trip, and screens only where something was printed.
const GLANCE: Duration = Duration::from_secs(1);
/// The same while every agent has been quiet for a while; deaths and requests wake the loop anyway.
const GLANCE_QUIET: Duration = Duration::from_secs(3);
/// The start of a fleet is over by then; no two are closer.
const TRIM_APART: Duration = Duration::from_secs(10);
/// How long what the watchdog saw stands for what tmux would say. Deaths come by pidfd, at once.
pub(super) const LOOK_HOLDS: Duration = GLANCE_QUIET.saturating_add(GLANCE);
/// A predecessor that hands over, or an `up` that still acts, is waited for this long.
const TAKE_OVER_WITHIN: Duration = Duration::from_secs(60);
/// A watchdog that did not take its lock within this time is not coming.
const BEGUN_WITHIN: Duration = Duration::from_secs(10);
/// Between two looks for requests where the file watch does not work.
const REQUESTS_UNWATCHED: Duration = Duration::from_millis(500);
/// Where it works, only a lost notification is made up for.
const REQUESTS_WATCHED: Duration = Duration::from_secs(5);

/// One that runs, one that waits to take over, and a look that finds neither.
const END_ROUNDS: u32 = 3;

/// What wakes the loop besides time.
enum Wake {
    Died(u32),
    Config,
    Request,
    /// A server of a CLI told something.
    Heard,
    /// A hook wrote to this file; `None`: to any.
    Spooled(Option<PathBuf>),
    /// The branch, an inbox or a status file may have changed.
    Handoff,
    /// A look at them is over.
    Looked,
    Stopped,
}

#[derive(Debug, thiserror::Error)]
pub enum WatchdogError {
    #[error("a watchdog runs already (process {})", pid.map_or_else(|| "?".to_owned(), |pid| pid.to_string()))]
    Running { pid: Option<u32> },
    #[error(transparent)]
    Lock(LockError),
    #[error(transparent)]
    Project(#[from] ProjectError),
    #[error("cannot watch processes")]
    Deaths(#[source] std::io::Error),
    #[error("cannot take signals")]
    Signals(#[source] std::io::Error),
}

/// Why the loop ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Told,
    /// A new watchdog was opened in a new session.
    HandedOver,
}

/// Runs until told to end.
pub fn run(project: Project, wait_for_lock: bool) -> Result<Ended, WatchdogError> {
    project::raise_limits();
    memory::share_one_heap();
    let watchdog_lock = take_watchdog_lock(&project, wait_for_lock)?;
    let deadline = clock::now().mono.plus(TAKE_OVER_WITHIN);
    let _act_lock =
        lock::lock_until(&project.store.act_lock(), deadline).map_err(WatchdogError::Lock)?;
    let now = clock::now();
    let heartbeat = Heartbeat { pid: std::process::id(), started: now.wall };
    let environment = project::caller_environment();
    let session = project.config.watchdog_session();
    let engine =
        project.engine(Some(&session), Some(heartbeat), environment, Overrides::default())?;
    project.drop_old_pins(&project.pin()?);
    Loop::new(project, engine, watchdog_lock)?.run()
}

fn take_watchdog_lock(project: &Project, wait: bool) -> Result<Lock, WatchdogError> {
    let path = project.store.watchdog_lock();
    let patience = if wait { TAKE_OVER_WITHIN } else { Duration::ZERO };
    match lock::lock_until(&path, clock::now().mono.plus(patience)) {
        Ok(lock) => Ok(lock),
        Err(LockError::Held { by, .. }) => Err(WatchdogError::Running { pid: by }),
        Err(error @ LockError::Io { .. }) => Err(WatchdogError::Lock(error)),
    }
}

struct Loop {
    project: Project,
    /// Ours for as long as the loop runs; signed after each look that tmux answered.
    lock: Lock,
    engine: Engine,
    wakes: mpsc::Receiver<Wake>,
    deaths: DeathWatch,
    watched: BTreeSet<u32>,
    /// Kept for their drop: they end the watching.
    _files: Vec<FileWatch>,
    /// Kept open: a hook that is alone with the store's file has to prove its whole log first.
    held: Option<Governance>,
    /// Of the branch and the files that agents hand work over with.
    handoff_watches: Vec<FileWatch>,
    handoff_folders: Vec<(PathBuf, bool)>,
    sender: mpsc::Sender<Wake>,
    told: Arc<AtomicBool>,
    /// Follows the transcripts beside the loop, for as long as this stands.
    transcripts: mpsc::Sender<Config>,
    sources: mpsc::Sender<Config>,
    config_text: Option<String>,
    /// When a person last accepted something of this config.
    accepted_at: Option<std::time::SystemTime>,
    /// The problem in force is only that nobody accepted a change.
    waits: bool,
    server_seen: bool,
    /// The server that `state/server.json` is known to name.
    recorded: Option<ServerId>,
    requests_every: Duration,
    /// Where hooks wrote since they were heard last.
    spools: Spools,
    spools_watched: bool,
    glance_at: Mono,
    requests_at: Mono,
    signal_at: Mono,
    heavy_at: Mono,
    trim_at: Mono,
}

impl Loop {
    fn new(project: Project, mut engine: Engine, lock: Lock) -> Result<Self, WatchdogError> {
        let (sender, wakes) = mpsc::channel();
        let died = sender.clone();
        let deaths = DeathWatch::start(move |death| died.send(Wake::Died(death.pid)).is_ok())
            .map_err(WatchdogError::Deaths)?;
        let told = Arc::new(AtomicBool::new(false));
        signals(&told, &sender)?;
        let mut files = Vec::new();
        let (loop_sender, looked) = (sender.clone(), sender.clone());
        let told_by_server = sender.clone();
        engine.listen(move || drop(told_by_server.send(Wake::Heard)));
        engine.set_waker(move || drop(looked.send(Wake::Looked)));
        // Without these the same is found by looking now and then.
        let config = sender.clone();
        match FileWatch::start(&project.config.file, move || drop(config.send(Wake::Config))) {
            Ok(watch) => files.push(watch),
            Err(error) => tracing::warn!(%error, "the config is looked at each signal tick only"),
        }
        let heard = sender.clone();
        let spooled = move |file: Option<&Path>| {
            drop(heard.send(Wake::Spooled(file.map(Path::to_owned))));
        };
        let spools_watched = match FileWatch::files(&project.store.spool(), spooled) {
            Ok(watch) => {
                files.push(watch);
                true
            }
            Err(error) => {
                tracing::warn!(%error, "hooks are heard at each glance only");
                false
            }
        };
        let mut requests_every = REQUESTS_UNWATCHED;
        match FileWatch::folder(&project.store.requests(), move || drop(sender.send(Wake::Request)))
        {
            Ok(watch) => {
                files.push(watch);
                requests_every = REQUESTS_WATCHED;
            }
            Err(error) => tracing::warn!(%error, "requests are polled"),
        }
        let now = clock::now().mono;
        Ok(Self {
            requests_every,
            spools: Spools::All,
            spools_watched,
            recorded: None,
            transcripts: transcripts::spawn(&project.config),
            sources: sources::spawn(&project.config),
            // Taken in at the first tick: what waits to be accepted is told of then.
            config_text: None,
            accepted_at: None,
            waits: false,
            project,
            lock,
            engine,
            wakes,
            deaths,
            watched: BTreeSet::new(),
            _files: files,
            held: None,
            handoff_watches: Vec::new(),
            handoff_folders: Vec::new(),
            sender: loop_sender,
            told,
            server_seen: false,
            glance_at: now,
            requests_at: now,
            signal_at: now,
            trim_at: now.plus(TRIM_APART),
            heavy_at: now,
        })
    }

    fn run(mut self) -> Result<Ended, WatchdogError> {
        let why = format!("watchdog started, process {}", std::process::id());
        self.engine.log(What::Watchdog, &why);
        self.keep_good_config();
        self.watch_handoff();
        loop {
            if self.told.load(Ordering::Relaxed) {
                self.engine.log(What::Watchdog, "watchdog told to end");
                self.engine.save(clock::now());
                return Ok(Ended::Told);
            }
            self.tick();
            if self.must_hand_over() {
                return self.hand_over();
            }
            self.wait();
        }
    }

    /// Everything that is due now.
    fn tick(&mut self) {
        let now = clock::now().mono;
        self.engine.take_outcomes();
        self.engine.take_kickoffs();
        let nothing = if self.spools_watched { Spools::default() } else { Spools::All };
        self.engine.hear(&std::mem::replace(&mut self.spools, nothing));
        self.engine.take_handoff();
        if now >= self.signal_at {
            self.signal_at = now.plus(self.engine.config.watchdog.signal_interval);
            // Only a lost notification is made up for.
            self.spools = Spools::All;
            self.reload();
            self.engine.read_sequence_files();
            self.engine.look_at_handoff();
            self.engine.rotate_logs();
            self.engine.reopen_logs();
            if stall::suspects(&self.engine.fleet) && now < self.heavy_at {
                self.engine.look_deep();
            }
        }
        if now >= self.heavy_at {
            self.heavy_at = now.plus(self.engine.config.watchdog.heavy_interval);
            // A person may have removed the file.
            self.recorded = None;
            self.hold_store();
            self.engine.look_deep();
        }
        if now >= self.trim_at {
            // Right behind a light check, which touches more of the program than all looks in between.
            self.trim_at = self.signal_at.max(now.plus(TRIM_APART));
            memory::let_go();
        }
        if now >= self.glance_at {
            self.engine.glance();
            if self.engine.tmux_answered() {
                // Without it `status` asks tmux itself.
                drop(self.lock.sign());
            }
            let pause = if self.engine.is_quiet(now) { GLANCE_QUIET } else { GLANCE };
            self.glance_at = now.plus(pause);
            self.engine.type_kickoffs();
            self.engine.notify();
        }
        if now >= self.requests_at {
            self.requests_at = now.plus(self.requests_every);
            self.requests();
        }
        self.engine.feed(Event::Tick);
        self.answer();
        self.record_server();
        self.watch_pids();
    }

    /// Opened anew now and then, as the file may have been put in another's place.
    fn hold_store(&mut self) {
        let governed = guarded::is_governed(&self.project.config);
        if !governed || !Governance::exists(&self.project) {
            self.held = None;
            return;
        }
        match Governance::open(&self.project) {
            // The new one is there before the old one goes.
            Ok(store) => drop(self.held.replace(store)),
            Err(error) => tracing::warn!(%error, "the governance store is not held open"),
        }
    }

    /// Waits for the next deadline or whatever comes before it.
    fn wait(&mut self) {
        if self.engine.is_behind() {
            self.glance_at = clock::now().mono;
        }
        let deadlines = [self.glance_at, self.requests_at, self.signal_at, self.heavy_at];
        let handoff = self.engine.handoff_due();
        let next = wake::next(&self.engine.fleet, clock::now());
        let next = deadlines.into_iter().chain(next).chain(handoff).min();
        let now = clock::now().mono;
        let mut left = next.map_or(GLANCE, |next| next.since(now));
        if self.engine.work_under_way() {
            left = left.min(Duration::from_millis(20));
        }
        let first = self.wakes.recv_timeout(left.max(Duration::from_millis(1)));
        let mut wake = first.ok();
        let now = clock::now().mono;
        while let Some(found) = wake {
            match found {
                Wake::Died(pid) => {
                    self.watched.remove(&pid);
                    self.glance_at = now;
                    // tmux may not have read its child's end yet.
                    drop(self.engine.tmux().nudge());
                }
                Wake::Config => self.reload(),
                Wake::Request => self.requests_at = now,
                Wake::Handoff => self.engine.look_at_handoff(),
                Wake::Spooled(file) => self.spools.add(file.as_deref()),
                Wake::Heard | Wake::Looked | Wake::Stopped => {}
            }
            wake = self.wakes.try_recv().ok();
        }
    }

    /// Reads the config again when its text changed.
    fn reload(&mut self) {
        let path = self.project.config.file.clone();
        let text = std::fs::read_to_string(&path).ok();
        let accepted_at = accepted::stamp(&self.project.config);
        let broken = self.engine.fleet.config_problem.is_some() && !self.waits;
        if text == self.config_text && accepted_at == self.accepted_at && !broken {
            return;
        }
        (self.config_text, self.accepted_at, self.waits) = (text, accepted_at, false);
        let loaded = load::load_with_warnings(Some(&path)).map_err(|error| match &error {
            LoadError::Bad { problems } => problems.render(false).trim_end().to_owned(),
            LoadError::NotFound(_) | LoadError::Read { .. } | LoadError::NotText { .. } => {
                crate::base::chain::text(&error)
            }
        });
        let found = loaded.and_then(|loaded| {
            accepted::in_force(loaded.config, &loaded.warnings.source)
                .map_err(|error| crate::base::chain::text(&error))
        });
        match found {
            Ok(found) => {
                let config = found.config;
                self.project.config = config.clone();
                // The threads live as long as we do.
                drop(self.transcripts.send(config.clone()));
                drop(self.sources.send(config.clone()));
                self.engine.adopt_config(config);
                self.keep_good_config();
                self.watch_handoff();
                self.engine.look_at_handoff();
                if let Some(waiting) = found.waiting {
                    self.waits = true;
                    self.engine.feed(Event::ConfigBroken { problem: waiting.problem() });
                }
            }
            Err(problem) => self.engine.feed(Event::ConfigBroken { problem }),
        }
    }

    /// Hears at once of a moved branch or a changed file; without a watch each signal tick looks.
    fn watch_handoff(&mut self) {
        let folders = engine::watched_folders(&self.project.config);
        if folders == self.handoff_folders {
            return;
        }
        self.handoff_watches = folders
            .iter()
            .filter_map(|(folder, all_below)| {
                let sender = self.sender.clone();
                let changed = move || drop(sender.send(Wake::Handoff));
                let watch = if *all_below {
                    FileWatch::tree(folder, changed)
                } else {
                    FileWatch::folder(folder, changed)
                };
                watch
                    .inspect_err(|error| tracing::warn!(%error, "it is looked at now and then"))
                    .ok()
            })
            .collect();
        self.handoff_folders = folders;
    }

    /// Kept beside the state, so that `status` can show the fleet while the file is broken.
    fn keep_good_config(&self) {
        let Some(text) = &self.config_text else { return };
        let path = self.project.store.state().join(load::LAST_GOOD);
        if let Err(error) = crate::sys::file::replace(&path, text.as_bytes(), 0o600) {
            tracing::warn!(%error, "cannot keep the config in force");
        }
    }

    fn requests(&mut self) {
        let now = clock::now();
        let (taken, problems) = request::take(&self.project.store.requests(), now);
        for problem in problems {
            self.engine.log(What::Watchdog, &problem);
        }
        for asked in taken {
            // The newest wish is made against the newest config.
            self.reload();
            // A message is queued in any case, and the glance that finds it waiting looks anyway.
            if !matches!(asked.request, Request::Send { .. }) {
                self.engine.look();
            }
            self.engine.set_environment(asked.environment);
            self.engine.set_overrides(Overrides { models: asked.models, backends: asked.backends });
            self.engine.feed(Event::Requested { id: asked.id, request: asked.request });
            self.engine.set_overrides(Overrides::default());
        }
    }

    fn answer(&mut self) {
        for answer in std::mem::take(&mut self.engine.answers) {
            request::answer(&self.project.store.requests(), &answer.id, &answer.outcomes);
        }
    }

    fn record_server(&mut self) {
        let server = self.engine.world().map(|world| world.server);
        if server.is_none() {
            return;
        }
        self.server_seen = true;
        if self.recorded == server {
            return;
        }
        let loaded = self.project.store.server(clock::now());
        if let Some(problem) = loaded.problem {
            self.engine.report_damage(&problem);
        }
        let known = loaded.value.and_then(|record| record.server);
        let seen = server.map(|server| (server.pid, server.started));
        if known.map(|known| (known.pid, known.started)) != seen
            && let Err(error) = self.project.record_server(server)
        {
            tracing::warn!(%error, "cannot record the tmux server");
            return;
        }
        self.recorded = server;
    }

    fn watch_pids(&mut self) {
        let pids = self.engine.pids();
        for pid in pids.difference(&self.watched) {
            self.deaths.watch(*pid);
        }
        for pid in self.watched.difference(&pids) {
            self.deaths.forget(*pid);
        }
        self.watched = pids;
    }

    /// Our own session is gone with its server, and the fleet was started on a new one.
    fn must_hand_over(&self) -> bool {
        let Some(world) = self.engine.world() else { return false };
        let session = self.project.config.watchdog_session();
        let ours = world.panes.iter().any(|pane| pane.session == session.as_str());
        self.server_seen && !ours && std::env::var_os("TMUX").is_some()
    }

    /// Opens a new watchdog where people can find it; it waits for our lock.
    fn hand_over(mut self) -> Result<Ended, WatchdogError> {
        let spec = self.project.watchdog_spec(&project::caller_environment())?;
        match self.engine.tmux().open(&spec) {
            Ok(_) => {
                self.engine.log(What::Watchdog, "its session was gone: handing over to a new one");
                self.engine.save(clock::now());
                Ok(Ended::HandedOver)
            }
            Err(error) => {
                let why = format!("cannot open its session: {}", crate::base::chain::text(&error));
                self.engine.log(What::Watchdog, &why);
                std::thread::sleep(GLANCE);
                self.run()
            }
        }
    }
}

/// TERM and INT end the loop; HUP is swallowed, as it only says that our pane went.
fn signals(told: &Arc<AtomicBool>, sender: &mpsc::Sender<Wake>) -> Result<(), WatchdogError> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGHUP, SIGINT, SIGTERM])
        .map_err(WatchdogError::Signals)?;
    let (told, sender) = (Arc::clone(told), sender.clone());
    std::thread::spawn(move || {
        for signal in signals.forever() {
            if signal != SIGHUP {
                told.store(true, Ordering::Relaxed);
                drop(sender.send(Wake::Stopped));
            }
        }
    });
    Ok(())
}

/// Opens the watchdog's session unless a watchdog runs; waits until it is at work. Says whether it did.
pub fn begin(project: &Project) -> Result<bool, ProjectError> {
    if project.watchdog().is_some() {
        return Ok(false);
    }
    let mut tmux = project.tmux(None);
    let spec = project.watchdog_spec(&project::caller_environment())?;
    // A session without a watchdog in it is what a killed one left behind.
    if session_is_ours(project, tmux.as_mut())? {
        tmux.close(&spec.session)?;
    }
    tmux.open(&spec)?;
    let end = clock::now().mono.plus(BEGUN_WITHIN);
    while project.watchdog().is_none() {
        if clock::now().mono >= end {
            return Err(ProjectError::NoWatchdog { log: project.store.session_log(&spec.session) });
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(true)
}

fn session_is_ours(project: &Project, tmux: &mut dyn Tmux) -> Result<bool, ProjectError> {
    let session = project.config.watchdog_session();
    let id = units::project_id(&project.config);
    Ok(match tmux.look()? {
        Look::Seen(world) => world.panes.iter().any(|pane| {
            pane.session == session.as_str()
                && Tag::parse(&pane.tag).is_some_and(|tag| tag.project == id)
        }),
        Look::NoServer { .. } => false,
    })
}

/// Ends the watchdog of a project, if one runs. Says whether there was anything to end.
///
/// The process goes before its session: one that loses its session opens another and hands over.
pub fn end(project: &Project, limit: Duration) -> Result<bool, ProjectError> {
    let mut tmux = project.tmux(None);
    let mut ended = false;
    // The next round finds one that waited for the lock of the last.
    for _ in 0..END_ROUNDS {
        let pid = project.watchdog();
        if let Some(pid) = pid
            && !process::stop_tree(&[pid], None, limit).survivors.is_empty()
        {
            return Err(ProjectError::Busy { pid, waited_s: limit.as_secs() });
        }
        let ours = session_is_ours(project, tmux.as_mut())?;
        if ours {
            tmux.close(&project.config.watchdog_session())?;
        }
        if pid.is_none() && !ours {
            break;
        }
        ended = true;
    }
    Ok(ended)
}
