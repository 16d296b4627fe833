//! What a hook says back to its CLI.
//!
//! One place between reading a payload and answering it, where a decision can stand. Without one
//! the answer is neutral: nothing on standard output and exit code 0, which each of the CLIs takes
//! as "no opinion". Surprise: text on standard output of some events becomes part of the prompt,
//! so neutral has to be silent.

use super::Cli;

/// What the hook process leaves with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub code: u8,
}

/// What came on standard input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Payload<'a> {
    pub bytes: &'a [u8],
    /// There was more than is ever read.
    pub truncated: bool,
}

/// No opinion: the CLI goes on as if there were no hook.
pub const fn neutral() -> Answer {
    Answer { stdout: Vec::new(), stderr: Vec::new(), code: 0 }
}

/// The answer to one hook call.
pub const fn answer(cli: Cli, _payload: Payload<'_>) -> Answer {
    match cli {
        Cli::Claude | Cli::Codex | Cli::Gemini | Cli::Opencode => neutral(),
    }
}
