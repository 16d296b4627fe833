//! `ao status`: one table of everything, most urgent first.

use std::time::Duration;

use super::{Globals, load_config};
use crate::base::human;
use crate::base::money::Micros;
use crate::base::now::Now;
use crate::config::Config;
use crate::report::status::{HandoffStatus, Status, UnitStatus};
use crate::report::usage::UnitUsage;
use crate::run::accepted::UNACCEPTED;
use crate::run::project::Project;
use crate::run::survey::{self, Ask};
use crate::sys::{clock, load};
use crate::ui::failure::Failure;
use crate::ui::print::{self, Tone};
use crate::ui::{exit, table};

/// One table: every agent and service, the phase, the watchdog's health.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Draw again every second until interrupted.
    #[arg(long, conflicts_with = "json")]
    watch: bool,
    /// Ask tmux even when the watchdog looked a moment ago.
    #[arg(long)]
    look: bool,
    /// Exit 3 when something needs a person or does not run as wanted.
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(args: &Args, globals: &Globals) -> Result<u8, Failure> {
    loop {
        let (config, problem) = config(globals)?;
        let project = Project::peek(config);
        let ask = if args.look { Ask::Tmux } else { Ask::Watchdog };
        let mut status = survey::status(&project, ask);
        status.watchdog.config_problem = problem.or(status.watchdog.config_problem);
        if globals.json {
            let text = serde_json::to_string(&status).expect("a document of strings and numbers");
            print::out(&text);
        } else {
            if args.watch {
                print::out("\u{1b}[H\u{1b}[2J");
            }
            for line in render(&status, clock::now(), print::colored(globals)) {
                print::out(&line);
            }
        }
        if !args.watch {
            let well = !args.check || is_well(&status);
            return Ok(if well { exit::DONE } else { exit::NOT_SO });
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// The config; when it does not load, the last one in force with what is wrong with the file.
fn config(globals: &Globals) -> Result<(Config, Option<String>), Failure> {
    match load_config(globals) {
        Ok(config) => Ok((config, None)),
        Err(failure) => match load::last_good(globals.config.as_deref()) {
            Some(config) => Ok((config, Some(failure.text()))),
            None => Err(failure),
        },
    }
}

/// Nothing waits for a person, everything wanted runs, and the watchdog is at work.
fn is_well(status: &Status) -> bool {
    let units = || status.agents.iter().chain(&status.services);
    let runs = |unit: &UnitStatus| {
        !unit.wanted || unit.pid.is_some() || matches!(unit.state.as_str(), "done" | "finished")
    };
    status.watchdog.running
        && status.watchdog.config_problem.is_none()
        && status.watchdog.notify_problem.is_none()
        && status.unknown.is_none()
        && units().all(|unit| !unit.needs_person && runs(unit))
}

fn render(status: &Status, now: Now, colored: bool) -> Vec<String> {
    let mut units: Vec<&UnitStatus> = status.agents.iter().chain(&status.services).collect();
    units.sort_by_key(|unit| urgency(unit));
    let usage = units.iter().any(|unit| unit.usage.is_some());
    let used: &[&str] = if usage { &["TOKENS TODAY", "COST", "CONTEXT"] } else { &[] };
    let known = ["NAME", "KIND", "BACKEND", "MODEL", "WATCH", "STATE", "SINCE", "RESTARTS"];
    let columns = known.iter().chain(used).chain(&["LAST EVENT"]);
    let mut rows = vec![columns.map(|title| ((*title).to_owned(), Tone::Dim)).collect()];
    rows.extend(units.into_iter().map(|unit| row(unit, usage, now)));
    let right: &[usize] = if usage { &[7, 8, 9, 10] } else { &[7] };
    let mut lines = table::render(&rows, right, colored, print::width());
    if let Some(unknown) = &status.unknown {
        let text = format!("tmux did not answer, so what is shown may be old: {unknown}");
        lines.push(print::paint(&text, Tone::Warn, colored));
    }
    if let Some(phase) = &status.phase {
        let end = if phase.complete { ", all finished" } else { "" };
        lines.push(format!("phase {} of {}: {}{end}", phase.index + 1, phase.count, phase.id));
        lines.extend(phase.moving.iter().map(|moving| format!("  moving {moving}")));
        lines.extend(phase.done.iter().map(|done| format!("  done: {done}")));
    }
    lines.extend(status.handoff.iter().flat_map(|handoff| self::handoff(handoff, now, colored)));
    lines.extend(watchdog(status, colored));
    lines
}

/// When the branch was last looked at, what waits, and why looking fails.
pub(crate) fn handoff(handoff: &HandoffStatus, now: Now, colored: bool) -> Vec<String> {
    let looked = match &handoff.looked_at {
        Some(at) => format!("looked at {} ago", since(Some(at), now)),
        None => "not looked at yet".to_owned(),
    };
    let held = match handoff.pings_held {
        0 => String::new(),
        held => format!(", {} held (`ao queue`)", human::count(held, "ping")),
    };
    let mut lines = vec![format!("handoff {}: {looked}{held}", handoff.source)];
    if let Some(problem) = &handoff.problem {
        lines.push(print::paint(&format!("  {problem}"), Tone::Warn, colored));
    }
    lines
}

fn watchdog(status: &Status, colored: bool) -> Vec<String> {
    let watchdog = &status.watchdog;
    let mut lines = Vec::new();
    lines.push(match (watchdog.pid, watchdog.age_s) {
        (Some(pid), Some(age)) => format!(
            "watchdog runs (process {pid}), last wrote its state {} ago",
            human::duration(Duration::from_secs(age))
        ),
        (Some(pid), None) => format!("watchdog runs (process {pid})"),
        (None, _) => {
            let text = "watchdog is not running: nothing is healed; `ao up` starts it";
            print::paint(text, Tone::Warn, colored)
        }
    });
    if let Some(problem) = &watchdog.config_problem {
        let text = if problem.starts_with(UNACCEPTED) {
            "what bounds agents was changed; what was accepted stays in force:"
        } else {
            "the config does not load; the last good one stays in force:"
        };
        lines.push(print::paint(text, Tone::Bad, colored));
        lines.extend(problem.lines().map(|line| format!("  {line}")));
    }
    if let Some(problem) = &watchdog.notify_problem {
        let text = format!("the notifier fails, people are not told: {problem}");
        lines.push(print::paint(&text, Tone::Bad, colored));
    }
    lines
}

fn urgency(unit: &UnitStatus) -> u8 {
    match unit.state.as_str() {
        _ if unit.needs_person => 0,
        "dead" | "unknown" | "overloaded" | "limited" => 1,
        "disabled" | "not started" | "done" | "finished" => 3,
        _ => 2,
    }
}

fn row(unit: &UnitStatus, usage: bool, now: Now) -> Vec<(String, Tone)> {
    let tone = match unit.state.as_str() {
        "failed" | "fatal" | "dead" => Tone::Bad,
        "waiting" | "limited" | "overloaded" | "unknown" => Tone::Warn,
        "working" | "running" | "idle" => Tone::Good,
        _ => Tone::Dim,
    };
    let mut state = unit.state.clone();
    if unit.config_changed {
        state.push_str(" (config changed)");
    }
    if let Some(until) = unit.limited_until.as_deref().and_then(ahead(now)) {
        state.extend([" (", &until, " left)"]);
    }
    if unit.on_fallback {
        state.push_str(" (on its fallback)");
    }
    if unit.kind == "removed" {
        state.push_str(" (not in the config)");
    }
    let plain = |text: &str| (text.to_owned(), Tone::Plain);
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let in_use = unit.usage.as_ref().and_then(|usage| usage.model_in_use.clone());
    let mut cells = vec![
        plain(&unit.name),
        plain(&unit.kind),
        plain(&or_dash(&unit.backend)),
        plain(&or_dash(&in_use.or_else(|| unit.model.clone()))),
        plain(&unit.watch),
        (state, tone),
        plain(&since(unit.since.as_deref(), now)),
        plain(&unit.restarts.to_string()),
    ];
    if usage {
        cells.extend(used(unit.usage.as_ref()).map(|text| (text, Tone::Plain)));
    }
    cells.push((or_dash(&unit.last_event), Tone::Dim));
    cells
}

/// Tokens and money of today, and how full the context is.
fn used(usage: Option<&UnitUsage>) -> [String; 3] {
    let dash = || "-".to_owned();
    let Some(usage) = usage else { return [dash(), dash(), dash()] };
    let mut cost = usage.cost_today_micros.map_or_else(dash, |cost| Micros(cost).dollars());
    if usage.unpriced_tokens_today > 0 && usage.cost_today_micros.is_some() {
        cost.push('+');
    }
    [
        usage.tokens_today.map_or_else(dash, human::rough),
        cost,
        match (usage.context_percent(), usage.context_tokens) {
            (Some(percent), _) => format!("{percent} %"),
            (None, Some(tokens)) => human::rough(tokens),
            (None, None) => dash(),
        },
    ]
}

/// How long until a time that lies ahead.
fn ahead(now: Now) -> impl Fn(&str) -> Option<String> {
    move |at| {
        let at = chrono::DateTime::parse_from_rfc3339(at).ok()?.to_utc();
        (at - now.wall).to_std().ok().map(human::duration)
    }
}

fn since(at: Option<&str>, now: Now) -> String {
    let at = at.and_then(|at| chrono::DateTime::parse_from_rfc3339(at).ok());
    at.map_or_else(
        || "-".to_owned(),
        |at| human::duration((now.wall - at.to_utc()).to_std().unwrap_or_default()),
    )
}
