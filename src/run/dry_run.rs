//! The watchdog that only says what it would do: looks, decides, and lays no hand on anything.
//!
//! It may run beside a real one. It takes no lock and answers no requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::engine::{Engine, Parts};
use super::prepare::Overrides;
use super::project::{self, Project};
use super::store::StoreError;
use crate::supervise::event::Event;
use crate::sys::clock;

/// Between two looks.
const GLANCE: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum DryRunError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot take signals, or find this program")]
    Setup(#[source] std::io::Error),
}

/// Runs until told to end; each line of what would be done is given to `say` once.
pub fn run(project: &Project, say: &mut dyn FnMut(&str)) -> Result<(), DryRunError> {
    let told = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(&told)).map_err(DryRunError::Setup)?;
    }
    let mut engine = Engine::new(Parts {
        project: project.clone(),
        tmux: project.tmux(None),
        ao: std::env::current_exe().map_err(DryRunError::Setup)?,
        environment: project::caller_environment(),
        overrides: Overrides::default(),
        heartbeat: None,
        dry_run: true,
    })?;
    let mut deep_at = clock::now().mono;
    while !told.load(Ordering::Relaxed) {
        let now = clock::now().mono;
        if now >= deep_at {
            deep_at = now.plus(engine.config.watchdog.signal_interval);
            engine.look_deep();
        }
        engine.glance();
        engine.feed(Event::Tick);
        for line in engine.take_lines() {
            say(&line);
        }
        std::thread::sleep(GLANCE);
    }
    Ok(())
}
