//! `<config folder>/sessions/<pid>.json`: what a running Claude Code says it does.
//!
//! Whether the process still lives is the caller's to check: a killed CLI leaves its file behind.

use serde::Deserialize;

/// One session file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionFile {
    pub pid: u32,
    pub session_id: Option<String>,
    pub status: Status,
    /// What is waited for: `permission prompt`, `input needed`, `dialog open`, …
    pub waiting_for: Option<String>,
    /// When the status was taken up, in epoch milliseconds.
    pub since_ms: Option<i64>,
    /// The process's start in kernel ticks, to tell a reused pid.
    pub process_start: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Busy,
    Idle,
    Waiting,
    /// Idle, but a background shell runs.
    Shell,
    /// A word of a later release.
    Unknown,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    pid: u32,
    #[serde(default)]
    session_id: Option<String>,
    status: String,
    #[serde(default)]
    waiting_for: Option<String>,
    #[serde(default)]
    status_updated_at: Option<i64>,
    #[serde(default)]
    proc_start: Option<String>,
}

#[derive(Debug, thiserror::Error)]
#[error("not a session file of Claude Code")]
pub struct SessionFileError(#[source] pub serde_json::Error);

pub fn read(bytes: &[u8]) -> Result<SessionFile, SessionFileError> {
    let raw: Raw = serde_json::from_slice(bytes).map_err(SessionFileError)?;
    Ok(SessionFile {
        pid: raw.pid,
        session_id: raw.session_id,
        status: match raw.status.as_str() {
            "busy" => Status::Busy,
            "idle" => Status::Idle,
            "waiting" => Status::Waiting,
            "shell" => Status::Shell,
            _ => Status::Unknown,
        },
        waiting_for: raw.waiting_for,
        since_ms: raw.status_updated_at,
        process_start: raw.proc_start,
    })
}
