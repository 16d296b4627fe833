//! Sources of verified facts: commands of the config, asked now and then beside the watchdog's loop.
//!
//! What they say stands in the store, so that every door sees the same. A source that fails keeps what it
//! said until that is too old; then whoever asks for it finds it missing, and the rule denies.
//!
//! How strong this is: the commands run as the user. Files of the project that a command names count as
//! bounds, which agents may not write; what those call in turn is not seen.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use chrono::TimeDelta;

use super::{Governance, GovernanceError};
use crate::base::chain;
use crate::base::now::Mono;
use crate::config::Config;
use crate::config::governance::Source;
use crate::govern::policy::facts::Told;
use crate::run::store::Store;
use crate::sys::clock;
use crate::sys::db::{self, DbError, Tx};
use crate::sys::process::Call;

/// The kind of their facts in the store.
const KIND: &str = "source";
/// What a command may print.
const OUTPUT_BYTES_MAX: usize = 64 << 10;
/// A source that fails is asked again after this, or earlier when it is asked more often anyway.
const RETRY: Duration = Duration::from_secs(60);

/// What all sources said last, by name.
pub fn all(tx: &mut dyn Tx) -> Result<Vec<(String, Told)>, DbError> {
    let damaged = |_| DbError::Damaged { what: "a source's facts".to_owned() };
    let rows = tx.facts(KIND)?.into_iter();
    rows.map(|(name, body)| Ok((name, serde_json::from_value(body).map_err(damaged)?))).collect()
}

/// Files of the project that a source's command names.
pub fn files(config: &Config) -> impl Iterator<Item = PathBuf> {
    let words = config.governance.sources.iter().flat_map(|source| {
        source.command.split(|c: char| c.is_whitespace() || "'\";|&()<>=".contains(c))
    });
    let paths = words.filter(|word| !word.is_empty()).map(|word| config.project_dir.join(word));
    paths.filter(|path| path.is_file())
}

/// Asks one source. A run that tells nothing leaves what it said before, with the problem beside it.
fn ask(source: &Source, folder: &Path, before: Told) -> Told {
    let call = Call::new("sh").args(["-c", &source.command]).dir(folder).timeout(source.timeout);
    // It speaks of the moment before it looked.
    let at = clock::now().wall;
    let facts = match call.run() {
        Ok(output) if !output.success() => {
            let said = output.stderr_text();
            let said = said.lines().next_back().unwrap_or_default();
            Err(format!("it failed: {said}"))
        }
        Ok(output) if output.stdout.len() > OUTPUT_BYTES_MAX => {
            Err("it printed too much".to_owned())
        }
        Ok(output) => Told::read(&output.stdout_text()),
        Err(error) => Err(chain::text(&error)),
    };
    match facts {
        Ok(facts) => {
            let valid = TimeDelta::from_std(source.valid).unwrap_or(TimeDelta::MAX);
            let until = at.checked_add_signed(valid);
            Told { at: Some(at), until, facts, problem: None }
        }
        Err(problem) => Told { problem: Some(crate::base::redact::text(&problem)), ..before },
    }
}

/// Asks one source and keeps what it says; answers whether it spoke.
fn refresh(config: &Config, source: &Source) -> Result<bool, GovernanceError> {
    let mut governance = Governance::open_for(config, &Store::new(config).state())?;
    let org = governance.org.clone();
    let before = db::read(governance.store(), &org, all)?;
    let before = before.into_iter().find(|(name, _)| *name == source.name);
    let told = ask(source, &config.project_dir, before.map(|(_, told)| told).unwrap_or_default());
    if let Some(problem) = &told.problem {
        tracing::warn!(source = source.name, problem, "a source of facts told nothing");
    }
    let body = serde_json::to_value(&told).expect("facts are JSON");
    db::write(governance.store(), &org, clock::now(), |tx| tx.fact_put(KIND, &source.name, &body))?;
    Ok(told.problem.is_none())
}

/// Asks in a thread of its own until what this answers is dropped; sent a config, it goes on under that.
pub fn spawn(config: &Config) -> mpsc::Sender<Config> {
    let (sender, configs) = mpsc::channel();
    let mut config = config.clone();
    std::thread::spawn(move || {
        let mut due: BTreeMap<String, (Source, Mono)> = BTreeMap::new();
        loop {
            let now = clock::now().mono;
            let sources = &config.governance.sources;
            // One that was changed is asked at once.
            due.retain(|_, (asked, _)| sources.contains(asked));
            for source in sources {
                if due.get(&source.name).is_some_and(|(_, due)| *due > now) {
                    continue;
                }
                let well = refresh(&config, source).unwrap_or_else(|error| {
                    tracing::warn!(error = %chain::text(&error), "facts cannot be kept");
                    false
                });
                let pause = if well { source.every } else { source.every.min(RETRY) };
                let next = clock::now().mono.plus(pause);
                due.insert(source.name.clone(), (source.clone(), next));
            }
            let next = due.values().map(|(_, due)| due.since(clock::now().mono)).min();
            let received = match next {
                Some(pause) => configs.recv_timeout(pause),
                None => configs.recv().map_err(|_| mpsc::RecvTimeoutError::Disconnected),
            };
            match received {
                Ok(newer) => config = newer,
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            }
        }
    });
    sender
}
