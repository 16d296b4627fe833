//! `ao doctor`: is everything there that this project needs, and is nothing left over?
//!
//! It changes nothing. Each finding is ok, warn (works, with a drawback) or bad (will not work), with
//! what to do. Without a usable config it still looks at the machine.

use std::collections::BTreeSet;
use std::path::Path;

use chrono::Local;

use super::{Globals, load_config};
use crate::backend::Backend;
use crate::base::human::count;
use crate::config::Config;
use crate::run::governance::{Governance, audit};
use crate::run::project::Project;
use crate::sys::process::Call;
use crate::sys::tmux::{self, Commands, Look, Tmux as _};
use crate::sys::{clock, lock};
use crate::ui::failure::Failure;
use crate::ui::print::Tone;
use crate::ui::{exit, print};

/// Files a tmux server needs for one agent's pane and its log.
const FILES_PER_AGENT: u64 = 2;
/// And for itself, clients and the terminal database.
const FILES_BESIDE: u64 = 64;

/// Check tmux, git, the agents' CLIs, folders, limits and left-overs.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Ok,
    Warn,
    Bad,
}

impl Level {
    const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Bad => "bad",
        }
    }

    const fn tone(self) -> Tone {
        match self {
            Self::Ok => Tone::Good,
            Self::Warn => Tone::Warn,
            Self::Bad => Tone::Bad,
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Finding {
    level: Level,
    about: &'static str,
    says: String,
    /// What to do; empty when nothing is to be done.
    todo: String,
}

impl Finding {
    fn ok(about: &'static str, says: impl Into<String>) -> Self {
        Self { level: Level::Ok, about, says: says.into(), todo: String::new() }
    }

    fn warn(about: &'static str, says: impl Into<String>, todo: impl Into<String>) -> Self {
        Self { level: Level::Warn, about, says: says.into(), todo: todo.into() }
    }

    fn bad(about: &'static str, says: impl Into<String>, todo: impl Into<String>) -> Self {
        Self { level: Level::Bad, about, says: says.into(), todo: todo.into() }
    }
}

#[expect(clippy::unnecessary_wraps, reason = "every verb has this signature")]
pub(crate) fn run(_args: Args, globals: &Globals) -> Result<u8, Failure> {
    let mut findings = vec![tmux_version(), git(), zone()];
    let agents = match load_config(globals) {
        Ok(config) => {
            findings.push(Finding::ok("config", format!("`{}`", config.file.display())));
            findings.extend(backends(&config));
            findings.push(log_dir(&config.log_dir));
            findings.extend(watchdog(&config));
            findings.extend(sessions(&config));
            findings.extend(governance(&config));
            findings.extend(accepted(globals));
            config.agents.len() + config.services.len()
        }
        Err(failure) => {
            findings.push(Finding::bad("config", failure.message, "see `ao check`"));
            0
        }
    };
    findings.push(open_files(agents));

    show(&findings, globals);
    let bad = findings.iter().any(|finding| finding.level == Level::Bad);
    Ok(if bad { exit::FAILED } else { exit::DONE })
}

fn show(findings: &[Finding], globals: &Globals) {
    if globals.json {
        let rows: Vec<_> = findings
            .iter()
            .map(|finding| {
                serde_json::json!({
                    "level": finding.level.word(), "about": finding.about,
                    "says": finding.says, "todo": finding.todo,
                })
            })
            .collect();
        print::out(&serde_json::json!({ "version": 1, "findings": rows }).to_string());
        return;
    }
    let colored = print::colored(globals);
    for finding in findings {
        if globals.quiet && finding.level == Level::Ok {
            continue;
        }
        let level = format!("{:<4}", finding.level.word());
        let level = print::paint(&level, finding.level.tone(), colored);
        print::out(&format!("{level}  {:<9}  {}", finding.about, finding.says));
        if !finding.todo.is_empty() {
            print::out(&print::paint(&format!("      → {}", finding.todo), Tone::Hint, colored));
        }
    }
}

fn tmux_version() -> Finding {
    match tmux::version() {
        Ok(version) => Finding::ok("tmux", version),
        Err(error) => Finding::bad(
            "tmux",
            error.to_string(),
            "install tmux 3.2 or later: `apt-get install tmux`, `brew install tmux`",
        ),
    }
}

fn git() -> Finding {
    match Call::new("git").arg("--version").run() {
        Ok(output) if output.success() => {
            let text = output.stdout_text();
            Finding::ok("git", text.trim().trim_start_matches("git version "))
        }
        Ok(output) => Finding::bad("git", output.stderr_text(), "mend the installation of git"),
        Err(error) => Finding::warn(
            "git",
            error.to_string(),
            "only hand-over through git needs it: `apt-get install git`",
        ),
    }
}

/// Reset times without a zone are read as local time, so a wrong zone wakes agents at the wrong hour.
fn zone() -> Finding {
    let local = clock::now().wall.with_timezone(&Local);
    Finding::ok("clock", format!("{}", local.format("%Y-%m-%d %H:%M:%S, zone %:z")))
}

fn backends(config: &Config) -> Vec<Finding> {
    let used: BTreeSet<&str> =
        config.agents.iter().filter(|agent| agent.enabled).map(|a| a.backend.as_str()).collect();
    used.into_iter()
        .map(|name| {
            let backend = Backend::by_name(config, name);
            found(name, &backend.bin)
        })
        .collect()
}

fn found(name: &str, bin: &str) -> Finding {
    if bin.starts_with("{ao} ") {
        return Finding::ok("backend", format!("`{name}`: built into ao"));
    }
    // `bin` may be a whole shell line; only a plain word can be looked up.
    if bin.chars().any(|c| c.is_whitespace() || "'\"$;|&<>(){}`".contains(c)) {
        return Finding::ok("backend", format!("`{name}`: a shell command (not looked up)"));
    }
    match which::which(bin) {
        Ok(path) => Finding::ok("backend", format!("`{name}`: {}", path.display())),
        Err(_) => Finding::bad(
            "backend",
            format!("`{name}`: `{bin}` is not on PATH"),
            format!("install `{bin}` by its own docs, or set `bin` in `[backend.{name}]`"),
        ),
    }
}

fn log_dir(folder: &Path) -> Finding {
    let mut existing = folder;
    while !existing.exists() {
        let Some(parent) = existing.parent() else { break };
        existing = parent;
    }
    let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
    match rustix::fs::access(existing, access) {
        Ok(()) if existing == folder => Finding::ok("log_dir", format!("`{}`", folder.display())),
        Ok(()) => Finding::ok("log_dir", format!("`{}`, made by `ao up`", folder.display())),
        Err(error) => Finding::bad(
            "log_dir",
            format!("`{}` cannot be written: {error}", existing.display()),
            "change its owner, or `log_dir` in `[defaults]`",
        ),
    }
}

fn watchdog(config: &Config) -> Option<Finding> {
    let file = config.log_dir.join("state/watchdog.lock");
    match lock::holder(&file) {
        Ok(Some(pid)) => Some(Finding::ok("watchdog", format!("running, process {pid}"))),
        Ok(None) if file.exists() => Some(Finding::warn(
            "watchdog",
            "not running: nobody heals the agents",
            "start it with `ao up`",
        )),
        Ok(None) => None,
        Err(error) => {
            Some(Finding::bad("watchdog", error.to_string(), "make the folder readable to you"))
        }
    }
}

/// Sessions that carry this project's prefix and stand in no line of its config.
fn sessions(config: &Config) -> Vec<Finding> {
    let socket = Project::peek(config.clone()).socket;
    if !socket.exists() {
        return vec![Finding::ok("sessions", "no tmux server yet")];
    }
    let look = Commands::new(socket, config.log_dir.join("state"), None).look();
    let world = match look {
        Ok(Look::Seen(world)) => world,
        Ok(Look::NoServer { .. }) => return vec![Finding::ok("sessions", "no tmux server runs")],
        Err(error) => {
            return vec![Finding::bad("sessions", error.to_string(), "see `tmux list-sessions`")];
        }
    };
    let running: BTreeSet<&str> = world.panes.iter().map(|pane| pane.session.as_str()).collect();
    let mut findings: Vec<_> = orphans(config, &running)
        .map(|session| {
            Finding::warn(
                "sessions",
                format!("`{session}` has this project's prefix and is not in its config"),
                format!("look at it, then `tmux kill-session -t '={session}'`"),
            )
        })
        .collect();
    if findings.is_empty() {
        findings.push(Finding::ok("sessions", "none left over"));
    }
    findings
}

fn orphans<'a>(
    config: &'a Config,
    running: &'a BTreeSet<&str>,
) -> impl Iterator<Item = &'a str> + 'a {
    let mut known: BTreeSet<String> =
        config.agents.iter().map(|agent| agent.session.to_string()).collect();
    known.extend(config.services.iter().map(|service| service.session.to_string()));
    known.insert(config.watchdog_session().to_string());
    running.iter().copied().filter(move |session| {
        session.starts_with(&config.session_prefix) && !known.contains(*session)
    })
}

/// How strong governance is here, in words; nothing where nothing is governed.
fn governance(config: &Config) -> Option<Finding> {
    let project = Project::peek(config.clone());
    if !Governance::exists(&project) {
        return None;
    }
    let about = "approvals";
    let opened = Governance::open(&project).and_then(|mut governance| {
        let org = governance.org.clone();
        audit::verify_end(governance.store(), &org)
    });
    Some(match opened {
        Err(error) => {
            let why = crate::base::chain::text(&error);
            Finding::bad(about, format!("every act is denied: {why}"), "see `ao audit verify`")
        }
        Ok(()) => Finding::warn(
            about,
            "advisory: agents run as this user without a sandbox, so they can read the operator's keys",
            "give agents a sandbox without `~/.config/ao/operator` where this matters",
        ),
    })
}

/// Changes of what bounds agents that nobody accepted; nothing where nothing ever was.
fn accepted(globals: &Globals) -> Option<Finding> {
    let found = super::in_force(super::load_config_with_warnings(globals).ok()?).ok()?;
    crate::run::accepted::stamp(&found.config)?;
    Some(match found.waiting {
        None => Finding::ok("accepted", "bounds and policies are as a person accepted them"),
        Some(waiting) => Finding::warn(
            "accepted",
            format!("{} of bounds or policies, not accepted", count(waiting.lines.len(), "change")),
            "look with `ao config show`, then `ao config accept`",
        ),
    })
}

fn open_files(units: usize) -> Finding {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let units = u64::try_from(units).unwrap_or(u64::MAX);
    judge_open_files(limit.current, limit.maximum, units)
}

/// `None` is no limit.
fn judge_open_files(soft: Option<u64>, hard: Option<u64>, units: u64) -> Finding {
    let needed = units.saturating_mul(FILES_PER_AGENT).saturating_add(FILES_BESIDE);
    let say = |limit: Option<u64>| limit.map_or_else(|| "none".to_owned(), |n| n.to_string());
    let says = format!("soft limit {}, hard {}, needed {needed}", say(soft), say(hard));
    if hard.is_some_and(|hard| hard < needed) {
        return Finding::bad("files", says, "raise the hard limit (`ulimit -Hn`, limits.conf)");
    }
    // Below the soft limit nothing is wrong either: `ao up` raises it to the hard one.
    Finding::ok("files", says)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hard_limit_that_is_too_low_for_the_fleet_is_bad_and_a_low_soft_one_is_not() {
        assert_eq!(judge_open_files(Some(256), Some(1_024), 400).level, Level::Ok);
        assert_eq!(judge_open_files(Some(1_024), Some(1_024), 600).level, Level::Bad);
        assert_eq!(judge_open_files(None, None, 600).level, Level::Ok);
    }

    #[test]
    fn a_backend_that_is_not_installed_is_bad_and_says_where_to_change_it() {
        let finding = found("claude", "no-such-program-anywhere");
        assert_eq!(finding.level, Level::Bad);
        assert!(finding.todo.contains("[backend.claude]"), "{}", finding.todo);
        assert_eq!(found("shell", "sh").level, Level::Ok);
        assert_eq!(found("line", "echo hi; exec sleep 1").level, Level::Ok);
        assert_eq!(found("demo", "{ao} demo-agent --name {name}").level, Level::Ok);
    }

    #[test]
    fn a_log_dir_that_does_not_exist_yet_is_fine_where_it_can_be_made() {
        let folder = tempfile::tempdir().unwrap();
        let finding = log_dir(&folder.path().join("deep/.ao-state"));
        assert_eq!(finding.level, Level::Ok);
        assert!(finding.says.ends_with("made by `ao up`"), "{}", finding.says);
    }
}
