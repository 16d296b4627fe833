//! Running a program to its end, with a time limit.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use super::pipes::{self, Said};
use crate::base::now::millis;
use crate::sys::clock;

/// A program to run: by default with our environment, no input and a limit of 30 s.
#[derive(Debug, Clone)]
pub struct Call {
    program: OsString,
    args: Vec<OsString>,
    clean: bool,
    env: BTreeMap<OsString, Option<OsString>>,
    dir: Option<PathBuf>,
    stdin: Vec<u8>,
    timeout: Duration,
}

/// What a program that ended left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// `None` when a signal ended it.
    pub code: Option<i32>,
    pub signal: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl Output {
    pub fn success(&self) -> bool {
        self.code == Some(0)
    }

    pub fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    pub fn stderr_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).trim_end().to_owned()
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    #[error("cannot start `{program}`")]
    Start {
        program: String,
        #[source]
        cause: std::io::Error,
    },
    #[error("`{program}` did not end within {} ms and was killed", millis(*limit))]
    Timeout { program: String, limit: Duration },
    #[error("cannot wait for `{program}`")]
    Wait {
        program: String,
        #[source]
        cause: std::io::Error,
    },
}

impl Call {
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            clean: false,
            env: BTreeMap::new(),
            dir: None,
            stdin: Vec::new(),
            timeout: Duration::from_secs(30),
        }
    }

    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Nothing of our environment passes; only what [`Self::env`] adds.
    #[must_use]
    pub fn env_clean(mut self) -> Self {
        self.clean = true;
        self
    }

    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.insert(name.as_ref().to_owned(), Some(value.as_ref().to_owned()));
        self
    }

    #[must_use]
    pub fn env_remove(mut self, name: impl AsRef<OsStr>) -> Self {
        self.env.insert(name.as_ref().to_owned(), None);
        self
    }

    #[must_use]
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    #[must_use]
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = limit;
        self
    }

    fn name(&self) -> String {
        self.program.to_string_lossy().into_owned()
    }

    #[expect(clippy::disallowed_methods, reason = "this is where everybody else is sent to")]
    fn command(&self) -> std::process::Command {
        let mut command = std::process::Command::new(&self.program);
        command.args(&self.args);
        if self.clean {
            command.env_clear();
        }
        for (name, value) in &self.env {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        command
    }

    /// Starts it with input and output piped and leaves the rest to the caller, who must reap it.
    pub(crate) fn spawn_piped(&self) -> Result<Child, ProcessError> {
        self.command()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // A person's Ctrl-C is for us, not for it.
            .process_group(0)
            .spawn()
            .map_err(|cause| ProcessError::Start { program: self.name(), cause })
    }

    /// Starts it in a process group of its own with no streams, and does not wait: a thread reaps it.
    pub fn detach(&self) -> Result<u32, ProcessError> {
        let mut child = self
            .command()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(|cause| ProcessError::Start { program: self.name(), cause })?;
        let pid = child.id();
        std::thread::spawn(move || drop(child.wait()));
        Ok(pid)
    }

    /// Replaces this process by the program; returns only the reason why that failed.
    pub fn exec(&self) -> ProcessError {
        ProcessError::Start { program: self.name(), cause: self.command().exec() }
    }

    /// Runs it with our terminal and waits without a limit: for programs a person talks to.
    ///
    /// Returns the exit code, 128 + signal when a signal ended it.
    pub fn run_in_terminal(&self) -> Result<i32, ProcessError> {
        let status = self
            .command()
            .status()
            .map_err(|cause| ProcessError::Start { program: self.name(), cause })?;
        Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)))
    }

    /// Runs it to its end. A process that outlives the limit is killed with its process group.
    pub fn run(&self) -> Result<Output, ProcessError> {
        let mut child = self
            .command()
            .stdin(if self.stdin.is_empty() { Stdio::null() } else { Stdio::piped() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|cause| ProcessError::Start { program: self.name(), cause })?;
        let wait = |cause| ProcessError::Wait { program: self.name(), cause };
        let end = clock::now().mono.plus(self.timeout);
        let said = pipes::serve(&mut child, &self.stdin, end);
        if let Ok(Said { out, err, ended: Some(status) }) = said {
            let (code, signal) = (status.code(), status.signal());
            return Ok(Output { code, signal, stdout: out, stderr: err });
        }
        if let Some(group) = super::pid_of(child.id()) {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        drop(child.wait());
        said.map_err(wait)?;
        Err(ProcessError::Timeout { program: self.name(), limit: self.timeout })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Call {
        Call::new("/bin/sh").args(["-c", script])
    }

    #[test]
    fn output_input_and_exit_code_come_through() {
        let output = sh("cat; echo no >&2; exit 3").stdin("yes").run().unwrap();
        assert_eq!(
            (output.code, output.stdout_text().as_str(), output.stderr_text().as_str()),
            (Some(3), "yes", "no")
        );
    }

    #[test]
    fn much_goes_in_and_out_at_once_and_none_of_it_is_lost() {
        let much = "0123456789abcdef".repeat(100_000);
        let output = sh("tee /dev/stderr").stdin(much.as_bytes()).run().unwrap();
        assert!(output.stdout == much.as_bytes() && output.stderr == much.as_bytes());
    }

    #[test]
    fn a_program_that_reads_nothing_is_not_waited_for() {
        let much = vec![b'x'; 1_000_000];
        assert_eq!(sh("exec <&-; echo done").stdin(much).run().unwrap().stdout_text(), "done\n");
    }

    #[test]
    fn the_end_is_seen_of_a_program_that_closed_its_output_before() {
        let output = sh("exec >&- 2>&-; sleep 0.2; exit 7").run().unwrap();
        assert_eq!(output.code, Some(7));
    }

    #[test]
    fn a_program_that_does_not_end_is_killed_at_its_limit() {
        let error = sh("sleep 100").timeout(Duration::from_millis(100)).run().unwrap_err();
        assert!(matches!(error, ProcessError::Timeout { .. }), "{error}");
    }

    #[test]
    fn a_grandchild_that_keeps_the_output_open_does_not_hold_us_up() {
        let before = clock::now().mono;
        let output = sh("echo done; sleep 5 &").run().unwrap();
        assert_eq!(output.stdout_text(), "done\n");
        assert!(clock::now().mono.since(before) < Duration::from_secs(4));
    }

    #[test]
    fn a_clean_environment_has_only_what_was_given() {
        let output = Call::new("/usr/bin/env").env_clean().env("A", "b c").run().unwrap();
        assert_eq!(output.stdout_text(), "A=b c\n");
    }
}
