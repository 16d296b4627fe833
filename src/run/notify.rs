//! Telling people: `[notify] command` gets the event as JSON on stdin, beside the loop; terminals ring.
//!
//! It never holds anything up. A notifier that fails is tried again, then its event is shown loudly:
//! in the log, in `ao status`, and by the bell of every attached terminal, asked for or not.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use super::store::{self, Store};
use crate::base::now::{Mono, Now};
use crate::config::Config;
use crate::report::notice::{Notice, Notices, Rules};
use crate::supervise::action::Report;
use crate::sys::clock;
use crate::sys::process::Call;
use crate::sys::tmux::Tmux;

/// A notifier that needs longer is ended.
const LIMIT: Duration = Duration::from_secs(30);
/// Pauses before the second and the third try.
const TRY_AGAIN_AFTER: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(60)];

/// Decides what is told, tells it, and hears how that went.
#[derive(Debug)]
pub struct Notifier {
    store: Store,
    notices: Notices,
    /// Not yet told, as the command failed: when, and how often it was tried.
    again: Vec<(Mono, usize, Notice)>,
    sender: Sender<(usize, Notice, Result<(), String>)>,
    told: Receiver<(usize, Notice, Result<(), String>)>,
    under_way: usize,
    /// Why the last notification did not get through; `None` once one did.
    pub problem: Option<String>,
}

impl Notifier {
    /// With what was wrong with the stored notices: the same may then be told once more.
    pub fn new(store: Store, now: Now) -> (Self, Option<String>) {
        let (sender, told) = channel();
        let loaded = store::read(&store.notices(), now);
        let notices = loaded.value.unwrap_or_default();
        let notifier =
            Self { store, notices, again: Vec::new(), sender, told, under_way: 0, problem: None };
        (notifier, loaded.problem)
    }

    /// Takes note of the reports of one step and tells what is to be told at once.
    pub fn take(&mut self, config: &Config, reports: &[Report], tmux: &mut dyn Tmux, now: Now) {
        if reports.is_empty() {
            return;
        }
        let (rules, before) = (rules(config), self.notices.clone());
        let due: Vec<Notice> = reports
            .iter()
            .filter_map(|report| self.notices.take(report, &rules, now.wall))
            .collect();
        self.tell(config, due, tmux);
        self.keep(&before);
    }

    /// Tells what was kept and may be told now. Answers a report when the notifier has given up.
    pub fn tick(&mut self, config: &Config, tmux: &mut dyn Tmux, now: Now) -> Vec<String> {
        let rules = rules(config);
        let before = self.notices.clone();
        let due = self.notices.due(&rules, now.wall);
        self.tell(config, due, tmux);
        self.keep(&before);
        let (ready, later) =
            std::mem::take(&mut self.again).into_iter().partition(|(at, ..)| *at <= now.mono);
        self.again = later;
        for (_, tries, notice) in ready {
            self.run(config, tries, notice);
        }
        self.hear(tmux, now)
    }

    /// Waits until everything under way was told; for a process that ends.
    pub fn settle(&mut self, tmux: &mut dyn Tmux, limit: Duration) {
        let end = clock::now().mono.plus(limit);
        while self.under_way > 0 && clock::now().mono < end {
            drop(self.hear(tmux, clock::now()));
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn hear(&mut self, tmux: &mut dyn Tmux, now: Now) -> Vec<String> {
        let mut given_up = Vec::new();
        while let Ok((tries, notice, outcome)) = self.told.try_recv() {
            self.under_way = self.under_way.saturating_sub(1);
            match outcome {
                Ok(()) => self.problem = None,
                Err(error) => {
                    if let Some(pause) = TRY_AGAIN_AFTER.get(tries) {
                        self.again.push((now.mono.plus(*pause), tries + 1, notice));
                    } else {
                        let why = format!(
                            "nobody was told that {}: the notifier failed {} times: {error}",
                            words(&notice),
                            tries + 1
                        );
                        ring(tmux);
                        given_up.push(why);
                    }
                    self.problem = Some(error);
                }
            }
        }
        given_up
    }

    fn tell(&mut self, config: &Config, due: Vec<Notice>, tmux: &mut dyn Tmux) {
        if config.notify.bell && !due.is_empty() {
            ring(tmux);
        }
        for notice in due {
            self.run(config, 0, notice);
        }
    }

    fn run(&mut self, config: &Config, tries: usize, notice: Notice) {
        let Some(command) = config.notify.command.clone() else { return };
        let text = document(config, &notice);
        let (dir, sender) = (config.project_dir.clone(), self.sender.clone());
        self.under_way += 1;
        std::thread::spawn(move || {
            let call = Call::new("sh").args(["-c", &command]).dir(dir).stdin(text).timeout(LIMIT);
            let outcome = match call.run() {
                Ok(output) if output.success() => Ok(()),
                Ok(output) => Err(failure(output.code, &output.stderr_text())),
                Err(error) => Err(crate::base::chain::text(&error)),
            };
            if let Err(error) = &outcome {
                tracing::error!(%error, "the notifier failed");
            }
            // A closed channel means that the loop has ended.
            drop(sender.send((tries, notice, outcome)));
        });
    }

    fn keep(&self, before: &Notices) {
        if *before != self.notices
            && let Err(error) = store::replace(&self.store.notices(), &self.notices)
        {
            tracing::warn!(%error, "cannot write down what people were told");
        }
    }
}

fn rules(config: &Config) -> Rules {
    Rules {
        quiet_hours: config.notify.quiet_hours,
        repeat_after: config.notify.repeat_after,
        zone: clock::zone(),
    }
}

/// The event line, with the project and how often it came.
fn document(config: &Config, notice: &Notice) -> String {
    let line = super::journal::line(&notice.report, notice.at);
    let mut document = serde_json::to_value(line).expect("a line of strings serialises");
    document["times"] = notice.times.into();
    document["project"] = config.project_dir.display().to_string().into();
    document.to_string()
}

fn words(notice: &Notice) -> String {
    let report = &notice.report;
    let unit = report.unit.as_ref().map_or("the fleet", |unit| unit.as_str());
    format!("{unit}: {}: {}", report.what.word(), report.why)
}

fn failure(code: Option<i32>, stderr: &str) -> String {
    let last = stderr.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("no error text");
    match code {
        Some(code) => format!("exit status {code}: {last}"),
        None => {
            format!("it was ended by a signal or took longer than {} s: {last}", LIMIT.as_secs())
        }
    }
}

/// The bell of every terminal that is attached to this server.
fn ring(tmux: &mut dyn Tmux) {
    let terminals = match tmux.terminals() {
        Ok(terminals) => terminals,
        Err(error) => {
            tracing::warn!(%error, "cannot list the attached terminals");
            return;
        }
    };
    for terminal in terminals {
        let bell = std::fs::OpenOptions::new()
            .write(true)
            // A terminal that was stopped with C-s must not stop the watchdog.
            .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
            .open(&terminal)
            .and_then(|mut file| file.write_all(b"\x07"));
        if let Err(error) = bell {
            tracing::warn!(terminal = %terminal.display(), %error, "cannot ring");
        }
    }
}
