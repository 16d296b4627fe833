//! From what was written to what holds: defaults, paths, references, and every rule across values.
//!
//! Each step reports its problems and goes on with what it can, so that one run shows them all. A
//! [`Config`] comes out only when there was no error. Files are asked about through two functions of
//! the caller; nothing here touches a disk.

pub(super) mod backend;
mod governance;
pub(super) mod sequence;
mod serve;
mod unit;

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::Diagnostic;
use super::raw::sections::{
    DefaultsSection, NotifySection, RawBackend, Root, TmuxSection, WatchdogSection,
};
use super::raw::{At, Leaf as _, Section, lapse::Lapse, leaf::Named};
use super::section::backend::BackendSection;
use super::{Config, Notify, QuietHours, Starts, Tmux, Watchdog};
use crate::base::name::SessionName;

/// The backends that ship in the binary.
pub const PRESETS: [&str; 5] = ["claude", "opencode", "codex", "gemini", "demo"];

/// Ends a usage-limit window unless the file says otherwise.
pub const LIMIT_PROBE_TEXT: &str = "Continue where you left off.";
/// The first step against a stall unless the file says otherwise.
pub const STALL_NUDGE_TEXT: &str = "You have been idle for a while. Continue with your task, or say \
     in a last line WAITING-UNTIL: TIME (as ISO 8601) that you wait on purpose.";

/// Longest believable cadence or grace; anything longer is a slip of the unit.
const LAPSE_MAX: Duration = Duration::from_secs(366 * 86_400);
/// Shortest cadence: below it the watchdog would only look at itself working.
const INTERVAL_MIN: Duration = Duration::from_millis(10);

/// Reads and checks a whole file. `file` should be absolute; `exists` says whether a path is a file
/// or folder, `read` gives a file's text. The config is there exactly when no diagnostic is an error.
pub fn parse(
    text: &str,
    file: &Path,
    exists: &dyn Fn(&Path) -> bool,
    read: &dyn Fn(&Path) -> Option<String>,
) -> (Option<Config>, Vec<Diagnostic>) {
    let (document, problems) = document(text);
    if !problems.is_empty() {
        return (None, problems);
    }
    let mut problems = Vec::new();
    let Some(root) = Root::read("agents.toml", &document, &mut problems) else {
        return (None, problems);
    };
    let mut resolver = Resolver {
        source: text,
        project_dir: project_dir(file, root.defaults.as_ref().map(|section| &section.value)),
        exists,
        read,
        problems,
    };
    let config = resolver.config(file, &root);
    let problems = resolver.problems;
    let good = !problems.iter().any(Diagnostic::is_error);
    (config.filter(|_| good), problems)
}

/// Reads one backend table by itself, as presets are stored: the fields of `[backend.<name>]` at the top level.
pub fn parse_backend(text: &str) -> Result<BackendSection, Vec<Diagnostic>> {
    let (document, mut problems) = document(text);
    let read = RawBackend::read("backend", &document, &mut problems);
    let section = read.map(|raw| backend::section(text, &raw, &mut problems));
    match section {
        Some(section) if problems.is_empty() => Ok(section),
        Some(_) | None => Err(problems),
    }
}

fn document(text: &str) -> (Spanned<DeValue<'_>>, Vec<Diagnostic>) {
    let (table, errors) = DeTable::parse_recoverable(text);
    let problems = errors
        .into_iter()
        .map(|error| {
            let span = error.span().unwrap_or(0..0);
            Diagnostic::error(error.message().to_owned()).at(&span, "not valid TOML")
        })
        .collect();
    let span = table.span();
    (Spanned::new(span, DeValue::Table(table.into_inner())), problems)
}

fn project_dir(file: &Path, defaults: Option<&DefaultsSection>) -> PathBuf {
    let folder = file.parent().unwrap_or_else(|| Path::new("."));
    let given = defaults.and_then(|section| section.project_dir.as_ref());
    joined(folder, given.map_or(".", |given| &given.value))
}

/// `path` seen from `folder`, without `.` parts; `..` stays, as it may cross a symbolic link.
fn joined(folder: &Path, path: &str) -> PathBuf {
    let whole = folder.join(path);
    whole.components().filter(|part| *part != Component::CurDir).collect()
}

fn or<T: Clone>(field: Option<&At<T>>, default: T) -> T {
    field.map_or(default, |field| field.value.clone())
}

struct Resolver<'a> {
    source: &'a str,
    project_dir: PathBuf,
    exists: &'a dyn Fn(&Path) -> bool,
    read: &'a dyn Fn(&Path) -> Option<String>,
    problems: Vec<Diagnostic>,
}

impl Resolver<'_> {
    fn config(&mut self, file: &Path, root: &Root) -> Option<Config> {
        let empty = DefaultsSection::default();
        let defaults = root.defaults.as_ref().map_or(&empty, |section| &section.value);
        if root.defaults.is_none() && !root.refused().contains(&"defaults") {
            self.problems.push(
                Diagnostic::error("there is no `[defaults]` section")
                    .hint("it must give `session_prefix` and `log_dir`"),
            );
        }
        let prefix = self.session_prefix(root);
        let log_dir = self.log_dir(root);
        if defaults.model.is_some() && defaults.backend.is_none() {
            let span = defaults.model.as_ref().map_or(0..0, |model| model.span.clone());
            self.problems.push(
                Diagnostic::warning(
                    "`[defaults] model` has no effect without `[defaults] backend`",
                )
                .at(&span, "belongs to no backend"),
            );
        }
        let backends = self.backends(root.backend.as_ref());
        let (agents, services) = self.units(root, defaults, prefix.as_deref());
        let sequence = self.sequence(root, &agents);
        let placed: Vec<&super::Agent> = agents.iter().map(|agent| &agent.agent).collect();
        let governance = self.governance(root, &placed);
        let serve = self.serve(root);
        let watchdog = self.watchdog(root.watchdog.as_ref());
        let tmux = self.tmux(root.tmux.as_ref());
        let starts = self.starts(defaults);
        Some(Config {
            file: file.to_path_buf(),
            project_dir: self.project_dir.clone(),
            log_dir: joined(&self.project_dir, &log_dir?),
            session_prefix: prefix?,
            watchdog,
            tmux,
            starts,
            notify: self.notify(root.notify.as_ref()),
            env: self.env(defaults.env.as_ref()),
            agents: agents.into_iter().map(|agent| agent.agent).collect(),
            services,
            backends,
            sequence,
            governance,
            serve,
        })
    }

    fn session_prefix(&mut self, root: &Root) -> Option<String> {
        let prefix =
            self.required(&root.defaults.as_ref()?.value, "session_prefix", |section| {
                &section.session_prefix
            })?;
        if let Err(error) = SessionName::new(&prefix.value) {
            self.problems.push(
                Diagnostic::error("`session_prefix` cannot begin a tmux session's name")
                    .at(&prefix.span, error.to_string())
                    .hint("write something like \"myproject-\""),
            );
            return None;
        }
        Some(prefix.value.clone())
    }

    fn log_dir(&mut self, root: &Root) -> Option<String> {
        let given =
            self.required(&root.defaults.as_ref()?.value, "log_dir", |section| &section.log_dir)?;
        if given.value.is_empty() {
            self.problems.push(
                Diagnostic::error("`log_dir` cannot be empty")
                    .at(&given.span, "write a folder, such as \".ao-state\""),
            );
        }
        Some(given.value.clone())
    }

    /// The field, or a report that it is missing, at the header of its section.
    fn required<'s, S: Section, T>(
        &mut self,
        section: &'s S,
        name: &'static str,
        field: impl FnOnce(&'s S) -> &'s Option<At<T>>,
    ) -> Option<&'s At<T>> {
        let field = field(section).as_ref();
        if field.is_none() && !section.refused().contains(&name) {
            self.problems.push(
                Diagnostic::error(format!("`{}` needs `{name}`", S::PLACE))
                    .at(section.place(), format!("`{name}` is missing here")),
            );
        }
        field
    }

    fn watchdog(&mut self, section: Option<&At<WatchdogSection>>) -> Watchdog {
        let empty = WatchdogSection::default();
        let section = section.map_or(&empty, |section| &section.value);
        let mut lapse = |name, field: &Option<At<Lapse>>, default, least| {
            self.lapse(name, field.as_ref(), default, least)
        };
        let (seconds, hours) =
            (Duration::from_secs, |hours: u64| Duration::from_secs(hours * 3_600));
        let least = INTERVAL_MIN;
        Watchdog {
            signal_interval: lapse("signal_interval", &section.signal_interval, seconds(30), least),
            heavy_interval: lapse("heavy_interval", &section.heavy_interval, seconds(300), least),
            limit_probe_fallback: lapse(
                "limit_probe_fallback",
                &section.limit_probe_fallback,
                seconds(300),
                least,
            ),
            limit_reset_slack: lapse(
                "limit_reset_slack",
                &section.limit_reset_slack,
                seconds(45),
                Duration::ZERO,
            ),
            limit_probe_text: or(section.limit_probe_text.as_ref(), LIMIT_PROBE_TEXT.to_owned()),
            stall_nudge_text: or(section.stall_nudge_text.as_ref(), STALL_NUDGE_TEXT.to_owned()),
            stall_grace: lapse("stall_grace", &section.stall_grace, seconds(180), Duration::ZERO),
            max_wait: lapse("max_wait", &section.max_wait, hours(24), least),
            max_limit_window: lapse(
                "max_limit_window",
                &section.max_limit_window,
                hours(8 * 24),
                least,
            ),
            stop_grace: lapse("stop_grace", &section.stop_grace, seconds(5), Duration::ZERO),
            max_restarts: or(section.max_restarts.as_ref(), 10),
            log_bytes_max: self.log_bytes_max(section),
        }
    }

    fn starts(&mut self, section: &DefaultsSection) -> Starts {
        let bounds = [
            ("max_starting", &section.max_starting, 1..=u32::MAX, "at least 1"),
            ("start_pressure_max", &section.start_pressure_max, 1..=99, "from 1 to 99 percent"),
        ];
        for (name, field, allowed, label) in bounds {
            if let Some(field) = field.as_ref().filter(|field| !allowed.contains(&field.value)) {
                let problem = Diagnostic::error(format!("`{name}` cannot be {}", field.value));
                self.problems.push(problem.at(&field.span, label));
            }
        }
        let mut lapse = |name, field: &Option<At<Lapse>>| {
            self.lapse(name, field.as_ref(), Duration::ZERO, Duration::ZERO)
        };
        Starts {
            max_starting: section.max_starting.as_ref().map(|field| field.value),
            stagger: lapse("start_stagger", &section.start_stagger),
            account_spacing: lapse("account_start_spacing", &section.account_start_spacing),
            pressure_max_percent: section.start_pressure_max.as_ref().map(|field| field.value),
        }
    }

    fn notify(&mut self, section: Option<&At<NotifySection>>) -> Notify {
        let empty = NotifySection::default();
        let section = section.map_or(&empty, |section| &section.value);
        let quiet_hours = section.quiet_hours.as_ref().and_then(|given| {
            let read = hours(&given.value);
            if read.is_none() {
                self.problems.push(
                    Diagnostic::error("`quiet_hours` is not a part of a day")
                        .at(&given.span, "two different times of day with `-` between them")
                        .hint("write it as \"22:00-07:00\""),
                );
            }
            read
        });
        let least = Duration::ZERO;
        let default = Duration::from_secs(300);
        Notify {
            command: section.command.as_ref().map(|command| command.value.clone()),
            bell: or(section.bell.as_ref(), false),
            quiet_hours,
            repeat_after: self.lapse("repeat_after", section.repeat_after.as_ref(), default, least),
        }
    }

    fn log_bytes_max(&mut self, section: &WatchdogSection) -> u64 {
        /// One screen of output must fit, else every write would rotate.
        const LEAST: u64 = 4_096;
        let given = or(section.log_bytes_max.as_ref(), 16 * 1_024 * 1_024);
        if let Some(field) = section.log_bytes_max.as_ref().filter(|_| given < LEAST) {
            self.problems.push(
                Diagnostic::error("`log_bytes_max` is too small")
                    .at(&field.span, format!("bytes; at least {LEAST}")),
            );
        }
        given
    }

    fn tmux(&mut self, section: Option<&At<TmuxSection>>) -> Tmux {
        let empty = TmuxSection::default();
        let section = section.map_or(&empty, |section| &section.value);
        for (name, field, least) in [("width", &section.width, 40), ("height", &section.height, 10)]
        {
            let absurd = field.as_ref().filter(|field| !(least..=1_000).contains(&field.value));
            if let Some(field) = absurd {
                self.problems.push(
                    Diagnostic::error(format!("`{name}` is not a size that a CLI can draw in"))
                        .at(&field.span, format!("expected {least} to 1000")),
                );
            }
        }
        let bad = |name: &str| name.is_empty() || name.contains('/') || name.starts_with('.');
        if let Some(socket) = section.socket.as_ref().filter(|socket| bad(&socket.value)) {
            self.problems.push(
                Diagnostic::error("`socket` must be a plain name")
                    .at(&socket.span, "tmux puts it into its own folder"),
            );
        }
        Tmux {
            socket: section.socket.as_ref().map(|socket| socket.value.clone()),
            width: or(section.width.as_ref(), 200),
            height: or(section.height.as_ref(), 50),
        }
    }

    /// The duration, or its default; reports what is below `least` or beyond belief.
    fn lapse(
        &mut self,
        name: &str,
        field: Option<&At<Lapse>>,
        default: Duration,
        least: Duration,
    ) -> Duration {
        let Some(field) = field else {
            return default;
        };
        let value = field.value.0;
        if value < least {
            let words = if value.is_zero() { "cannot be zero" } else { "is too short" };
            self.problems.push(
                Diagnostic::error(format!("`{name}` {words}"))
                    .at(&field.span, "at least 10 ms; a bare number is seconds"),
            );
        } else if value > LAPSE_MAX {
            self.problems.push(
                Diagnostic::error(format!("`{name}` is longer than a year"))
                    .at(&field.span, "a bare number is seconds"),
            );
        }
        value
    }

    fn env(&mut self, table: Option<&At<Named<String>>>) -> BTreeMap<String, String> {
        env(table, &mut self.problems)
    }

    /// A path of the file, from the project's folder.
    fn path(&self, given: &str) -> PathBuf {
        joined(&self.project_dir, given)
    }

    /// The path of a file that must be there.
    fn existing(&mut self, what: &str, field: &At<String>) -> PathBuf {
        let path = self.path(&field.value);
        if !(self.exists)(&path) {
            self.problems.push(
                Diagnostic::error(format!("the {what} does not exist"))
                    .at(&field.span, "no such file")
                    .hint(format!("looked for `{}`", path.display())),
            );
        }
        path
    }
}

/// `22:00-07:00`; `None` when it does not read as that.
fn hours(text: &str) -> Option<QuietHours> {
    let minute = |text: &str| {
        let (hour, minute) = text.trim().split_once(':')?;
        let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
        (hour < 24 && minute < 60).then_some(hour * 60 + minute)
    };
    let (from, to) = text.split_once('-')?;
    let (from_minute, to_minute) = (minute(from)?, minute(to)?);
    (from_minute != to_minute).then_some(QuietHours { from_minute, to_minute })
}

/// Environment variables, with their names checked.
fn env(
    table: Option<&At<Named<String>>>,
    problems: &mut Vec<Diagnostic>,
) -> BTreeMap<String, String> {
    let entries = table.map_or(&[][..], |table| &table.value.0);
    for (name, _) in entries {
        let letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let good = name.value.chars().all(letter)
            && !name.value.starts_with(|c: char| c.is_ascii_digit())
            && !name.value.is_empty();
        if !good {
            problems.push(
                Diagnostic::error(format!("`{}` cannot name an environment variable", name.value))
                    .at(&name.span, "letters, digits and `_`, not beginning with a digit"),
            );
        }
    }
    entries.iter().map(|(name, value)| (name.value.clone(), value.value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::raw::Absent;
    use crate::config::raw::sections::{HandoffSection, LoopSection, OnCompleteSection};

    fn load(text: &str) -> Config {
        let (config, problems) =
            parse(text, Path::new("/project/agents.toml"), &|_| true, &|_| None);
        assert!(problems.is_empty(), "{problems:?}");
        config.unwrap()
    }

    /// Every documented default, written out.
    fn spelled<S: Section>() -> String {
        S::FIELDS
            .iter()
            .filter_map(|field| match field.absent {
                Absent::Is(value) => Some(format!("{} = {value}\n", field.name)),
                Absent::Required | Absent::Means(_) | Absent::Nothing => None,
            })
            .collect()
    }

    #[test]
    fn the_documented_defaults_are_those_that_hold() {
        let agent = "[[agent]]\nname = \"a\"\nkind = \"task\"\nbackend = \"demo\"\n";
        let phases = "phases = [{ id = \"p1\", plan = \"p\", status = \"s\" }]\n";
        let names = "session_prefix = \"x-\"\nlog_dir = \"log\"\n";
        let silent = format!(
            "[defaults]\n{names}{agent}[loop]\n{phases}handoff = {{}}\n[loop.on_complete]\nrun = \"a\"\n"
        );
        let spoken = format!(
            "[watchdog]\n{}[tmux]\n{}[notify]\n{}[defaults]\n{names}{}{agent}[loop]\n{phases}{}\
             [loop.handoff]\n{}[loop.on_complete]\nrun = \"a\"\n{}",
            spelled::<WatchdogSection>(),
            spelled::<TmuxSection>(),
            spelled::<NotifySection>(),
            spelled::<DefaultsSection>(),
            spelled::<LoopSection>(),
            spelled::<HandoffSection>(),
            spelled::<OnCompleteSection>(),
        );
        assert_eq!(load(&silent), load(&spoken));
    }

    #[test]
    fn a_project_folder_elsewhere_moves_every_relative_path() {
        let config = load(
            "[defaults]\nsession_prefix = \"x-\"\nlog_dir = \"log\"\nproject_dir = \"../p\"\n\
             backend = \"demo\"\ndir = \"sub\"\n[[agent]]\nname = \"a\"\nprompt_file = \"./a.md\"\n",
        );
        assert_eq!(config.log_dir, Path::new("/project/../p/log"));
        assert_eq!(config.agents[0].dir, Path::new("/project/../p/sub"));
        let file = PathBuf::from("/project/../p/a.md");
        assert_eq!(config.agents[0].prompt, crate::config::Prompt::File(file));
    }

    #[test]
    fn one_backend_table_is_read_by_itself() {
        let section =
            parse_backend("bin = \"x\"\nprocess_name = [\"x\", \"node\"]\nstall_idle = \"5m\"\n");
        let section = section.unwrap();
        assert_eq!(section.process_name, Some(vec!["x".to_owned(), "node".to_owned()]));
        assert_eq!(section.stall_idle, Some(Duration::from_secs(300)));
        assert!(parse_backend("bni = \"x\"\n").is_err());
    }
}
