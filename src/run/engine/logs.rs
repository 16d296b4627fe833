//! The logs of the panes: rotated when too long, opened again when their `cat` ended.

use super::Engine;
use crate::supervise::state::Life;
use crate::sys::file;

impl Engine {
    /// Rotates the session logs that grew too long.
    pub fn rotate_logs(&mut self) {
        let bytes_max = self.config.watchdog.log_bytes_max;
        for unit in self.fleet.units.values() {
            let log = self.store.session_log(&unit.spec.session);
            if let Err(error) = file::rotate(&log, bytes_max, 2) {
                tracing::warn!(log = %log.display(), %error, "cannot rotate a session log");
            }
        }
    }

    /// Opens logs again whose `cat` ended (a full disk ends it for good).
    pub fn reopen_logs(&mut self) {
        let Some(world) = self.world.clone() else { return };
        for unit in self.fleet.units.values() {
            let Life::Running { pane, .. } = &unit.life else { continue };
            let closed = world.pane(pane).is_some_and(|facts| !facts.piped && !facts.dead);
            if closed {
                let log = self.store.session_log(&unit.spec.session);
                if let Err(error) = self.tmux.pipe(pane, &log) {
                    tracing::warn!(unit = %unit.spec.name, %error, "cannot reopen the log");
                }
            }
        }
    }
}
