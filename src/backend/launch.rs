//! How one start looks: the command line and the environment, from a backend and the agent's facts.
//!
//! Pure: nothing runs and no file is written here. The result is separate words (`sh`, `-c`,
//! SCRIPT), because the terminal multiplexer's default shell may not be a POSIX one. Surprising:
//! the working folder is entered by the script, although tmux could do it, since tmux silently
//! falls back to its own folder when the given one is missing; exit code 78 says so instead.

use std::collections::BTreeMap;
use std::path::Path;

use super::Backend;
use super::escape::{self, EscapeError, Value};
use super::resume::ResumePlan;
use crate::base::quote::shell_word;
use crate::config::section::backend::PromptDelivery;

/// What the launch script exits with when the folder or the kickoff file is not there; no restart helps.
pub const EXIT_NO_START: i32 = 78;

/// A longer kickoff is pointed to: Linux takes at most 128 KiB in one argument.
pub const KICKOFF_ARGUMENT_BYTES_MAX: usize = 100 * 1024;

/// The slots of launch templates, for checks and messages.
pub const SLOTS: [&str; 16] = [
    "ao",
    "bin",
    "dir",
    "flags",
    "id",
    "kickoff",
    "model",
    "model_flag",
    "name",
    "remote_control_flag",
    "resume_flag",
    "role",
    "server",
    "session",
    "session_id_flag",
    "settings_flag",
];

/// Variables of the caller that every agent may see. No key, token or harness variable is among them.
const ENVIRONMENT_NAMES: [&str; 25] = [
    "ALL_PROXY",
    "COLORTERM",
    "HOME",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "LANG",
    "LANGUAGE",
    "LOCALE_ARCHIVE",
    "LOGNAME",
    "NIX_SSL_CERT_FILE",
    "NODE_EXTRA_CA_CERTS",
    "NO_PROXY",
    "PATH",
    "SHELL",
    "SSH_AUTH_SOCK",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "TMPDIR",
    "TZ",
    "TZDIR",
    "USER",
    "all_proxy",
    "http_proxy",
    "https_proxy",
    "no_proxy",
];

/// What one start of one agent is made from.
#[derive(Debug, Clone, Copy)]
pub struct LaunchInput<'a> {
    /// The agent's name.
    pub name: &'a str,
    pub session: &'a str,
    pub model: Option<&'a str>,
    /// Absolute.
    pub dir: &'a Path,
    pub role: Option<&'a str>,
    /// Where the exact first prompt was written; `None` starts without one.
    pub kickoff_file: Option<&'a Path>,
    pub kickoff_bytes: usize,
    pub resume: &'a ResumePlan,
    /// A piece of shell that makes the CLI tell about itself; empty for one that cannot.
    pub settings_flag: &'a str,
    /// The running `ao` program.
    pub ao: &'a Path,
    /// A UUID of this very start.
    pub start_id: &'a str,
    /// The recorded environment; passed through [`clean_environment`] again.
    pub base_env: &'a BTreeMap<String, String>,
    /// `env` of the project, over the recorded one and under the backend's.
    pub project_env: &'a BTreeMap<String, String>,
    /// `env` of the agent, over all others.
    pub agent_env: &'a BTreeMap<String, String>,
}

impl<'a> LaunchInput<'a> {
    /// The file of the first prompt; one that holds nothing is none, since an empty argument is not.
    fn prompt(&self) -> Option<&'a Path> {
        self.kickoff_file.filter(|_| self.kickoff_bytes > 0)
    }
}

/// One start, ready to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    pub argv: Vec<String>,
    /// The whole environment. `TERM` and `TMUX` are tmux's to add.
    pub env: BTreeMap<String, String>,
    /// The first prompt is still to be typed once the terminal program is ready.
    pub types_prompt_after_ready: bool,
    /// Something worth a line in the event log.
    pub note: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LaunchError {
    #[error("cannot fill `{field}` of backend `{backend}`")]
    Template {
        backend: String,
        field: &'static str,
        #[source]
        cause: EscapeError,
    },
    #[error("the path of the {what} is not UTF-8: {path}; rename it")]
    NotUtf8 { what: &'static str, path: String },
}

/// The line that sends an agent to a file instead of giving it the text.
pub fn pointer_line(path: &str) -> String {
    format!("Read the file {path} and do what it says.")
}

/// The command line and environment of one start.
pub fn plan(backend: &Backend, input: &LaunchInput<'_>) -> Result<Launch, LaunchError> {
    let slots = Slots::new(backend, input)?;
    let mut script = vec![format!("cd -- {} || exit {EXIT_NO_START}", shell_word(slots.dir))];
    script.extend(backend.preamble.clone().filter(|preamble| !preamble.trim().is_empty()));
    let mut note = None;
    let line = match backend.prompt_delivery {
        PromptDelivery::Arg => {
            let mut parts = slots.command_parts()?;
            if let Some(path) = slots.kickoff {
                if input.kickoff_bytes > KICKOFF_ARGUMENT_BYTES_MAX {
                    script.push(format!("k={}", shell_word(&pointer_line(path))));
                    note = Some(format!(
                        "the first prompt has {} bytes, too many for an argument; the agent is sent to {path}",
                        input.kickoff_bytes
                    ));
                } else {
                    script
                        .push(format!("k=$(cat -- {}) || exit {EXIT_NO_START}", shell_word(path)));
                }
                parts.push("\"$k\"".to_owned());
            }
            joined(&parts)
        }
        PromptDelivery::Ping => match &backend.attach {
            Some(attach) => slots.fill_line("attach", attach)?,
            None => joined(&slots.command_parts()?),
        },
        PromptDelivery::Exec => slots.fill_line("bin", &backend.bin)?,
    };
    script.push(if is_simple_command(&line) { format!("exec {line}") } else { line });
    Ok(Launch {
        argv: vec!["sh".to_owned(), "-c".to_owned(), script.join("\n")],
        env: environment(backend, input),
        types_prompt_after_ready: backend.prompt_delivery == PromptDelivery::Ping
            && input.prompt().is_some(),
        note,
    })
}

/// Only the variables of a caller that an agent may see; nothing that belongs to another agent or harness.
pub fn clean_environment(
    variables: impl IntoIterator<Item = (String, String)>,
) -> BTreeMap<String, String> {
    variables.into_iter().filter(|(name, _)| may_pass(name)).collect()
}

fn may_pass(name: &str) -> bool {
    ENVIRONMENT_NAMES.contains(&name) || name.starts_with("LC_") || name.starts_with("XDG_")
}

fn environment(backend: &Backend, input: &LaunchInput<'_>) -> BTreeMap<String, String> {
    let mut env = clean_environment(input.base_env.clone());
    for layer in [input.project_env, &backend.env, input.agent_env] {
        env.extend(layer.clone());
    }
    if let (true, Some(model)) = (backend.model_env, input.model) {
        let name = "OPENCODE_CONFIG_CONTENT";
        let written = env.get(name).and_then(|text| serde_json::from_str(text).ok());
        let mut content: serde_json::Map<String, serde_json::Value> = written.unwrap_or_default();
        content.insert("model".to_owned(), model.into());
        env.insert(name.to_owned(), serde_json::Value::Object(content).to_string());
    }
    env.insert("AO_START".to_owned(), input.start_id.to_owned());
    env.insert("AO_AGENT".to_owned(), input.name.to_owned());
    env
}

fn joined(parts: &[String]) -> String {
    parts
        .iter()
        .map(|part| part.trim())
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// The values of one start.
struct Slots<'a> {
    backend: &'a Backend,
    input: &'a LaunchInput<'a>,
    dir: &'a str,
    ao: &'a str,
    kickoff: Option<&'a str>,
}

fn utf8<'a>(what: &'static str, path: &'a Path) -> Result<&'a str, LaunchError> {
    path.to_str()
        .ok_or_else(|| LaunchError::NotUtf8 { what, path: path.to_string_lossy().into_owned() })
}

impl<'a> Slots<'a> {
    fn new(backend: &'a Backend, input: &'a LaunchInput<'a>) -> Result<Self, LaunchError> {
        Ok(Self {
            backend,
            input,
            dir: utf8("agent's folder", input.dir)?,
            ao: utf8("ao program", input.ao)?,
            kickoff: input.prompt().map(|path| utf8("kickoff file", path)).transpose()?,
        })
    }

    /// The slots that are plain texts. A field that is not set fills with nothing.
    fn text(&self, slot: &str) -> Option<&'a str> {
        let input = self.input;
        Some(match slot {
            "ao" => self.ao,
            "dir" => self.dir,
            // A stand-in that can be read and holds nothing.
            "kickoff" => self.kickoff.unwrap_or("/dev/null"),
            "model" => input.model.unwrap_or_default(),
            "name" => input.name,
            "role" => input.role.unwrap_or_default(),
            "server" => self.backend.server.as_deref().unwrap_or_default(),
            "session" => input.session,
            "id" => match input.resume {
                ResumePlan::Fresh { id: Some(id) } | ResumePlan::Resume { id } => id,
                ResumePlan::Fresh { id: None } | ResumePlan::Plain => return None,
            },
            _ => return None,
        })
    }

    fn fill(&self, field: &'static str, template: &str) -> Result<String, LaunchError> {
        escape::fill(template, |slot| self.text(slot).map(Value::Text)).map_err(|cause| {
            LaunchError::Template { backend: self.backend.name.clone(), field, cause }
        })
    }

    fn bin(&self) -> Result<String, LaunchError> {
        self.fill("bin", &self.backend.bin)
    }

    fn flags(&self) -> Result<String, LaunchError> {
        self.fill("flags", &self.backend.flags)
    }

    fn model_flag(&self) -> Result<String, LaunchError> {
        match self.input.model {
            Some(_) if !self.backend.model_env => self.fill("model_flag", &self.backend.model_flag),
            Some(_) | None => Ok(String::new()),
        }
    }

    fn remote_control_flag(&self) -> Result<String, LaunchError> {
        if !self.backend.remote_control {
            return Ok(String::new());
        }
        self.fill("remote_control_flag", &self.backend.remote_control_flag)
    }

    /// The flag that resumes a conversation or names a new one.
    fn conversation_flag(&self) -> Result<String, LaunchError> {
        match (self.input.resume, &self.backend.session_id_flag) {
            (ResumePlan::Resume { .. }, _) => self.fill("resume_flag", &self.backend.resume_flag),
            (ResumePlan::Fresh { id: Some(_) }, Some(flag)) => self.fill("session_id_flag", flag),
            (ResumePlan::Fresh { .. } | ResumePlan::Plain, _) => Ok(String::new()),
        }
    }

    fn command_parts(&self) -> Result<Vec<String>, LaunchError> {
        Ok(vec![
            self.bin()?,
            self.flags()?,
            self.input.settings_flag.to_owned(),
            self.model_flag()?,
            self.remote_control_flag()?,
            self.conversation_flag()?,
        ])
    }

    /// A whole command line as the user wrote it; flags are pieces of shell there, all else is text.
    fn fill_line(&self, field: &'static str, template: &str) -> Result<String, LaunchError> {
        // In `bin` itself the slot `{bin}` would stand for itself.
        let bin = if field == "bin" { None } else { Some(self.bin()?) };
        let (flags, model) = (self.flags()?, self.model_flag()?);
        let (remote, conversation) = (self.remote_control_flag()?, self.conversation_flag()?);
        escape::fill(template, |slot| match slot {
            "bin" => bin.as_deref().map(Value::Shell),
            "flags" => Some(Value::Shell(&flags)),
            "model_flag" => Some(Value::Shell(&model)),
            "remote_control_flag" => Some(Value::Shell(&remote)),
            "resume_flag" | "session_id_flag" => Some(Value::Shell(&conversation)),
            "settings_flag" => Some(Value::Shell(self.input.settings_flag)),
            text => self.text(text).map(Value::Text),
        })
        .map(|line| line.trim().to_owned())
        .map_err(|cause| LaunchError::Template {
            backend: self.backend.name.clone(),
            field,
            cause,
        })
    }
}

/// Words that begin something which `exec` cannot replace the shell with.
const NOT_PROGRAMS: [&str; 36] = [
    "!", ".", ":", "alias", "bg", "break", "case", "cd", "command", "continue", "eval", "exec",
    "exit", "export", "fg", "for", "function", "if", "jobs", "local", "read", "readonly", "return",
    "select", "set", "shift", "source", "time", "trap", "type", "ulimit", "umask", "unset",
    "until", "wait", "while",
];

/// Whether `exec LINE` means the same as `LINE`: one program, its arguments, perhaps redirections.
fn is_simple_command(line: &str) -> bool {
    let mut characters = line.chars();
    let mut quote = None;
    let mut before = ' ';
    while let Some(character) = characters.next() {
        match (quote, character) {
            (None | Some('"'), '\\') => {
                characters.next();
            }
            (None, '\'' | '"') => quote = Some(character),
            (Some(open), close) if open == close => quote = None,
            (None, ';' | '&' | '|' | '(' | ')' | '\n' | '`') => return false,
            (None, '#') if before == ' ' => return false,
            (None | Some(_), _) => {}
        }
        before = character;
    }
    let first = line.split_whitespace().next().unwrap_or_default();
    let assigns = first
        .find('=')
        .is_some_and(|at| first[..at].chars().all(|c| c.is_ascii_alphanumeric() || c == '_'));
    !(first.is_empty() || assigns || first.starts_with('{') || NOT_PROGRAMS.contains(&first))
}

#[cfg(test)]
#[path = "launch_tests.rs"]
mod tests;
