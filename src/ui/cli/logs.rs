//! `ao logs`: what a session printed, as clean text.
//!
//! Reads the file that `pipe-pane` fills, so it works for agents that are long gone, and needs no
//! tmux. It does not reach back further than [`BACK_BYTES_MAX`].

use std::path::PathBuf;
use std::time::Duration;

use super::{Globals, load_config};
use crate::base::name::SessionName;
use crate::base::suggest;
use crate::config::Config;
use crate::report::log_text::Cleaner;
use crate::sys::tail::Tail;
use crate::ui::failure::Failure;
use crate::ui::{exit, print};

/// Far more than anybody reads, and read in well under a second.
const BACK_BYTES_MAX: u64 = 8 << 20;
/// Between two looks at a followed file: at once for a person, next to nothing for the machine.
const FOLLOW_EVERY: Duration = Duration::from_millis(200);

/// Show what an agent, a service or the watchdog printed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// An agent, a service, or `watchdog`.
    name: String,
    /// Go on as it grows, across restarts and rotation.
    #[arg(short, long)]
    follow: bool,
    /// How many of the last lines to begin with.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100)]
    lines: usize,
    /// As recorded, escape sequences included.
    #[arg(long)]
    raw: bool,
}

pub(crate) fn run(args: Args, globals: &Globals) -> Result<u8, Failure> {
    let Args { name, follow, lines, raw } = args;
    let config = load_config(globals)?;
    let file = log_file(&config, &name)?;
    let unreadable = |error: std::io::Error| {
        Failure::failed(format!("cannot read `{}`", file.display())).caused_by(&error)
    };
    let (bytes, mut tail) = Tail::from_end(&file, BACK_BYTES_MAX).map_err(unreadable)?;
    if bytes.is_empty() && !follow && !file.exists() {
        return Err(Failure::failed(format!(
            "`{}` has no log yet: `{}` does not exist",
            name,
            file.display()
        ))
        .hint(format!("start it with `ao up {name}`")));
    }
    let mut writer = Writer { raw, json: globals.json, cleaner: Cleaner::default() };
    if !writer.begin(&bytes, lines) || !follow {
        return Ok(exit::DONE);
    }
    while writer.more(&tail.look().map_err(unreadable)?) {
        std::thread::sleep(FOLLOW_EVERY);
    }
    Ok(exit::DONE)
}

/// Prints lines in the form asked for; answers whether anybody still reads them.
struct Writer {
    raw: bool,
    json: bool,
    cleaner: Cleaner,
}

impl Writer {
    fn begin(&mut self, bytes: &[u8], lines_max: usize) -> bool {
        if self.raw {
            return print::try_out_bytes(last_lines(bytes, lines_max));
        }
        let lines = self.cleaner.push(bytes);
        let from = lines.len().saturating_sub(lines_max);
        self.print(&lines[from..])
    }

    fn more(&mut self, bytes: &[u8]) -> bool {
        if self.raw {
            return print::try_out_bytes(bytes);
        }
        let lines = self.cleaner.push(bytes);
        self.print(&lines)
    }

    fn print(&self, lines: &[String]) -> bool {
        lines.iter().all(|line| {
            if self.json {
                print::try_out(&serde_json::json!({ "version": 1, "line": line }).to_string())
            } else {
                print::try_out(line)
            }
        })
    }
}

/// The tail that holds the last `lines_max` lines; an unfinished one counts.
fn last_lines(bytes: &[u8], lines_max: usize) -> &[u8] {
    let Some(skip) = lines_max.checked_sub(1) else {
        return &[];
    };
    let body = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let breaks = body.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n');
    let from = breaks.map(|(offset, _)| offset + 1).nth(skip).unwrap_or(0);
    &bytes[from..]
}

fn log_file(config: &Config, name: &str) -> Result<PathBuf, Failure> {
    let session = session_of(config, name)?;
    let file = config.log_dir.join(format!("{session}.log"));
    if name == "watchdog" && !file.exists() {
        return Ok(config.log_dir.join("watchdog.log"));
    }
    Ok(file)
}

/// The session of an agent, a service or the watchdog, by its name in the config.
pub(super) fn session_of(config: &Config, name: &str) -> Result<SessionName, Failure> {
    if let Some(agent) = config.agent(name) {
        return Ok(agent.session.clone());
    }
    if let Some(service) = config.service(name) {
        return Ok(service.session.clone());
    }
    if name == "watchdog" {
        return Ok(config.watchdog_session());
    }
    let agents = config.agents.iter().map(|agent| agent.name.as_str());
    let services = config.services.iter().map(|service| service.name.as_str());
    let known: Vec<&str> = agents.chain(services).chain(["watchdog"]).collect();
    let failure = Failure::usage(format!(
        "no agent or service is called `{name}` in `{}`",
        config.file.display()
    ));
    Err(failure.hint(suggest::advice(name, &known)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_counted_with_and_without_a_final_line_break() {
        let say =
            |bytes: &'static [u8], lines| std::str::from_utf8(last_lines(bytes, lines)).unwrap();
        assert_eq!(say(b"a\nb\nc\n", 2), "b\nc\n");
        assert_eq!(say(b"a\nb\nc", 2), "b\nc");
        assert_eq!(say(b"a\n\nc\n", 2), "\nc\n");
        assert_eq!(say(b"a\nb\n", 9), "a\nb\n");
        assert_eq!(say(b"a\nb\n", 0), "");
        assert_eq!(say(b"", 3), "");
    }
}
