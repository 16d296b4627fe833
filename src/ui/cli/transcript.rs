//! `ao transcript`: what agents were told, said, did and used, from their CLIs' own session files.
//!
//! Needs no tmux and no watchdog. `usage` goes on from the watchdog's sums, so it reads only what is new.

use chrono::{DateTime, Utc};

use super::{Globals, load_config};
use crate::base::human;
use crate::base::money::Micros;
use crate::base::suggest;
use crate::config::Config;
use crate::report::usage::{self, By, UsageReport, UsageRow};
use crate::run::store::Store;
use crate::run::transcripts::{self, Follower, Purpose, STEP_EVERY, SessionError};
use crate::sys::clock;
use crate::sys::lock::{self, LockError};
use crate::transcript::price::Prices;
use crate::transcript::render::Renderer;
use crate::transcript::{Event, Format, Reader};
use crate::ui::failure::Failure;
use crate::ui::print::Tone;
use crate::ui::{exit, print, table};

/// As many characters of a file's name as tell sessions apart.
const FILE_NAME_CHARS_MAX: usize = 8;

/// Show what agents said, did and used, from their CLIs' own session files.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, clap::Subcommand)]
enum Act {
    /// Show a session as clean text, one event a line.
    Render {
        /// A session file, or an agent for the session it is in.
        #[arg(value_name = "FILE|NAME")]
        what: String,
        /// Cut nothing.
        #[arg(long)]
        full: bool,
    },
    /// Write `<log_dir>/clean/<agent>.log` for all agents, and go on as they work.
    FollowAll {
        /// Take in what there is and end.
        #[arg(long)]
        once: bool,
    },
    /// Show tokens and money by agent, day and model.
    Usage {
        /// One row for each of these only.
        #[arg(long, value_name = "WHAT")]
        by: Option<ByArg>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum ByArg {
    Agent,
    Model,
    Day,
}

pub(crate) fn run(args: Args, globals: &Globals) -> Result<u8, Failure> {
    match args.act {
        Act::Render { what, full } => render(&what, full, globals),
        Act::FollowAll { once } => follow_all(once, globals),
        Act::Usage { by } => usage(by, globals),
    }
}

fn render(what: &str, full: bool, globals: &Globals) -> Result<u8, Failure> {
    let (agent, texts) = sessions(what, globals)?;
    let mut renderer = Renderer::new(&agent, clock::zone(), full);
    let mut lines: Vec<(Option<DateTime<Utc>>, String)> = Vec::new();
    let mut unreadable = 0;
    let several = texts.len() > 1;
    for (format, text) in &texts {
        let mut last = None;
        Reader::new(*format).whole(text, &mut |event| match event {
            Event::Entry(entry) => {
                last = entry.at.or(last);
                let mut line = String::new();
                if globals.json {
                    line = serde_json::to_string(&renderer.json(&entry)).expect("plain fields");
                } else {
                    renderer.line(&entry, &mut line);
                    line.pop();
                }
                lines.push((last, line));
            }
            Event::Unreadable => unreadable += 1,
            Event::Used(_) | Event::Total { .. } | Event::Window { .. } | Event::Model { .. } => {}
        });
    }
    if several {
        lines.sort_by_key(|(at, _)| *at);
    }
    let mut out = String::new();
    for (_, line) in &lines {
        out.push_str(line);
        out.push('\n');
    }
    print::try_out_bytes(out.as_bytes());
    if unreadable > 0 && !globals.quiet {
        print::err(&format!("{} could not be read", human::count(unreadable, "line")));
    }
    Ok(exit::DONE)
}

/// The name to show, and the text of each file.
fn sessions(what: &str, globals: &Globals) -> Result<(String, Vec<(Format, String)>), Failure> {
    let path = std::path::Path::new(what);
    // A name has neither dots nor slashes.
    if what.contains(['.', '/']) || (path.is_file() && load_config(globals).is_err()) {
        let stem = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy();
        let name = stem.chars().take(FILE_NAME_CHARS_MAX).collect();
        return Ok((name, transcripts::file_texts(path).map_err(|error| failure(&error))?));
    }
    let config = load_config(globals)?;
    if config.agent(what).is_none() {
        return Err(unknown(what, &config));
    }
    let texts = transcripts::session_texts(&config, what).map_err(|error| failure(&error))?;
    Ok((what.to_owned(), texts))
}

fn failure(error: &SessionError) -> Failure {
    let failure = Failure::from_error(exit::FAILED, error);
    match error {
        SessionError::NoSession { agent } => failure.hint(format!(
            "a session is found by the id in `state/{agent}.id`, else by the agent's folder; where \
             several agents share one, give each a `log_signature`"
        )),
        SessionError::NoReader { .. } => {
            failure.hint("transcripts are read of the presets `claude`, `codex` and `opencode`")
        }
        SessionError::Read { .. } | SessionError::Foreign { .. } | SessionError::Export { .. } => {
            failure
        }
    }
}

fn unknown(name: &str, config: &Config) -> Failure {
    let known: Vec<&str> = config.agents.iter().map(|agent| agent.name.as_str()).collect();
    let failure = Failure::usage(format!(
        "`{name}` is neither a file nor an agent in `{}`",
        config.file.display()
    ));
    failure.hint(suggest::advice(name, &known))
}

fn follow_all(once: bool, globals: &Globals) -> Result<u8, Failure> {
    let config = load_config(globals)?;
    let store = Store::new(&config);
    store.prepare().map_err(|error| Failure::from_error(exit::FAILED, &error))?;
    let lock = store.state().join("follow-all.lock");
    let _only_one = lock::try_lock(&lock).map_err(|error| match &error {
        LockError::Held { .. } => {
            Failure::from_error(exit::FAILED, &error).hint("another `follow-all` runs already")
        }
        LockError::Io { .. } => Failure::from_error(exit::FAILED, &error),
    })?;
    if !once && !globals.quiet {
        let folder = store.log_dir().join("clean");
        let agents = human::count(config.agents.len(), "agent");
        print::err(&format!("writing the transcripts of {agents} to `{}`", folder.display()));
    }
    let mut follower = Follower::new(&config, Purpose::Clean);
    if once {
        follower.catch_up();
        follower.save();
        return Ok(exit::DONE);
    }
    loop {
        follower.step(clock::now());
        std::thread::sleep(STEP_EVERY);
    }
}

fn usage(by: Option<ByArg>, globals: &Globals) -> Result<u8, Failure> {
    let config = load_config(globals)?;
    let by = by.map(|by| match by {
        ByArg::Agent => By::Agent,
        ByArg::Model => By::Model,
        ByArg::Day => By::Day,
    });
    let mut follower = Follower::new(&config, Purpose::Look);
    follower.catch_up();
    let (prices, now, zone) = (Prices::shipped(), clock::now(), clock::zone());
    let report = usage::report(follower.ledgers(), by, prices, now, zone);
    if globals.json {
        print::out(&serde_json::to_string(&report).expect("a document of strings and numbers"));
        return Ok(exit::DONE);
    }
    for line in render_usage(&report, print::colored(globals), print::width()) {
        print::out(&line);
    }
    Ok(exit::DONE)
}

fn render_usage(report: &UsageReport, colored: bool, width: Option<usize>) -> Vec<String> {
    let shown = |word: &str| report.by.as_deref().is_none_or(|by| by == word);
    let keys: Vec<&str> = ["day", "agent", "model"].into_iter().filter(|key| shown(key)).collect();
    let figures = ["INPUT", "OUTPUT", "CACHE READ", "CACHE WRITE", "TOTAL", "COST"];
    let titles = keys.iter().map(|key| key.to_uppercase());
    let titles = titles.chain(figures.map(str::to_owned));
    let mut rows = vec![titles.map(|title| (title, Tone::Dim)).collect::<Vec<_>>()];
    for (index, row) in report.rows.iter().chain([&report.total]).enumerate() {
        let total = index == report.rows.len();
        let key = |(place, key): (usize, &&str)| match (*key, total) {
            (_, true) => if place == 0 { "total" } else { "" }.to_owned(),
            ("day", false) => row.day.clone().unwrap_or_default(),
            ("agent", false) => row.agent.clone().unwrap_or_default(),
            (_, false) => row.model.clone().unwrap_or_default(),
        };
        let cells = keys.iter().enumerate().map(key).chain(figures_of(row));
        rows.push(cells.map(|text| (text, Tone::Plain)).collect());
    }
    let right: Vec<usize> = (keys.len()..keys.len() + figures.len()).collect();
    let mut lines = table::render(&rows, &right, colored, width);
    if !report.unpriced_models.is_empty() {
        let models = report.unpriced_models.join(", ");
        let text = format!("no price is known of {models}: those tokens are not in the cost");
        lines.push(print::paint(&text, Tone::Warn, colored));
    }
    lines
        .push(format!("cost at list prices of {}; days in {}", report.prices_checked, report.zone));
    lines
}

fn figures_of(row: &UsageRow) -> [String; 6] {
    let written = row.cache_write_5m.saturating_add(row.cache_write_1h);
    let mut cost = Micros(row.cost_micros).dollars();
    if row.unpriced_tokens > 0 {
        cost = if row.cost_micros == 0 { "?".to_owned() } else { cost + "+" };
    }
    let [input, output, read, written, total] =
        [row.input, row.output, row.cache_read, written, row.total]
            .map(|tokens| tokens.to_string());
    [input, output, read, written, total, cost]
}
