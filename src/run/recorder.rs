//! Writes the journal: `<log_dir>/journal/<time>-<pid>.jsonl`, bounded in number and size.
//!
//! A journal that cannot be written is logged once; supervision goes on.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::base::now::Now;
use crate::supervise::action::Action;
use crate::supervise::event::Event;
use crate::supervise::record::{JOURNAL_VERSION, Line};
use crate::supervise::state::Fleet;

/// One file; a new one begins with a snapshot, so that each replays alone.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// All files together stay under 64 MB.
const FILES_MAX: usize = 16;

/// Appends steps to the newest file.
#[derive(Debug)]
pub struct Recorder {
    folder: PathBuf,
    file: Option<File>,
    bytes: u64,
    broken: bool,
}

impl Recorder {
    pub fn new(log_dir: &Path) -> Self {
        Self { folder: log_dir.join("journal"), file: None, bytes: 0, broken: false }
    }

    /// Writes one step; `before` is the fleet it was decided on.
    pub fn step(&mut self, before: &Fleet, event: &Event, actions: &[Action], now: Now) {
        if self.bytes >= FILE_BYTES_MAX {
            self.file = None;
        }
        let result = self.open(before, now).and_then(|()| {
            let line =
                Line::Step { now, event: Box::new(event.clone()), actions: actions.to_vec() };
            self.write(&line)
        });
        if let Err(error) = result {
            if !self.broken {
                tracing::error!(folder = %self.folder.display(), %error, "cannot write the journal");
            }
            // What is missing in the middle would not replay: the next step begins a new file.
            self.file = None;
            self.broken = true;
        } else {
            self.broken = false;
        }
    }

    fn open(&mut self, before: &Fleet, now: Now) -> std::io::Result<()> {
        if self.file.is_some() {
            return Ok(());
        }
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        self.drop_old();
        let name = format!("{}-{}.jsonl", now.wall.format("%Y%m%dT%H%M%S%3fZ"), std::process::id());
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(self.folder.join(name))?;
        self.file = Some(file);
        self.bytes = 0;
        self.write(&Line::Snapshot {
            version: JOURNAL_VERSION,
            ao: crate::VERSION.to_owned(),
            now,
            fleet: Box::new(before.clone()),
        })
    }

    fn write(&mut self, line: &Line) -> std::io::Result<()> {
        let mut text = serde_json::to_string(line)?;
        text.push('\n');
        self.bytes += text.len() as u64;
        match &mut self.file {
            Some(file) => file.write_all(text.as_bytes()),
            None => Ok(()),
        }
    }

    fn drop_old(&self) {
        let Ok(entries) = std::fs::read_dir(&self.folder) else { return };
        let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        files.sort();
        let surplus = (files.len() + 1).saturating_sub(FILES_MAX);
        for file in files.iter().take(surplus) {
            drop(std::fs::remove_file(file));
        }
    }
}
