//! opencode's sessions lie in a database of its own; its own `export` gives them as a document.
//!
//! That starts a program, so it is asked only after the database was written, and seldom.

use std::time::{Duration, SystemTime};

use crate::base::zone::Tz;

use super::Followed;
use crate::base::now::{Mono, Now};
use crate::sys::process::Call;
use crate::transcript::{Event, Format, Reader};

/// An export costs about a second of a core.
const EXPORT_EVERY: Duration = Duration::from_secs(60);
const EXPORT_WITHIN: Duration = Duration::from_secs(20);

/// What was exported last.
#[derive(Debug, Default)]
pub(super) struct Seen {
    written: Option<SystemTime>,
    ask_at: Mono,
}

/// The session as `opencode export` tells it.
pub(in crate::run) fn export(source: &super::find::Source, id: &str) -> Result<String, String> {
    let call = Call::new(&source.bin).args(["export", id]).dir(source.dir()).timeout(EXPORT_WITHIN);
    let call = source.environment.iter().fold(call, |call, (name, value)| call.env(name, value));
    let output = call.run().map_err(|error| crate::base::chain::text(&error))?;
    if output.success() { Ok(output.stdout_text()) } else { Err(output.stderr_text()) }
}

impl Followed {
    /// Reads the session anew when the database changed; how many bytes that were.
    pub(super) fn database(&mut self, text: &mut String, zone: Tz, now: Now) -> u64 {
        let Some(id) = self.source.id() else { return 0 };
        let written = self.source.database_written();
        if written.is_none() || written == self.database.written || now.mono < self.database.ask_at
        {
            return 0;
        }
        self.database.ask_at = now.mono.plus(EXPORT_EVERY);
        let document = match export(&self.source, &id) {
            Ok(document) => document,
            Err(error) => {
                tracing::warn!(error, agent = self.source.agent, "opencode export");
                return 0;
            }
        };
        self.database.written = written;
        let told = self.stored.entries.get(&id).copied().unwrap_or(0);
        let (mut entries, mut new) = (0, 0);
        let (ledger, renderer) = (&mut self.stored.ledger, &mut self.renderer);
        Reader::new(Format::OpencodeExport).line(&document, &mut |event| {
            ledger.take(&id, &event, now.wall, zone);
            if let Event::Entry(entry) = &event {
                entries += 1;
                if entries > told {
                    renderer.line(entry, text);
                    new += 1;
                }
            }
        });
        self.stored.entries.insert(id, entries.max(told));
        // A document that says nothing new is as good as unread.
        new
    }
}
