//! The one edge where errors become words: kind, message, causes, hints.

use std::error::Error;

use super::exit;

/// What a verb reports when it did not do what was asked.
#[derive(Debug)]
pub struct Failure {
    pub code: u8,
    pub message: String,
    pub causes: Vec<String>,
    pub hints: Vec<String>,
    /// Already a whole rendering (config diagnostics): printed as it is.
    pub rendered: bool,
}

impl Failure {
    /// Usage or config: exit 2, nothing was touched.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::with_code(exit::USAGE, message)
    }

    /// It failed, and the user can do something about it: exit 1.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::with_code(exit::FAILED, message)
    }

    pub fn with_code(code: u8, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            causes: Vec::new(),
            hints: Vec::new(),
            rendered: false,
        }
    }

    /// A text that is already laid out for people (config errors with carets).
    pub fn rendered(code: u8, text: impl Into<String>) -> Self {
        Self { rendered: true, ..Self::with_code(code, text) }
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Adds the whole chain of an error as causes.
    #[must_use]
    pub fn caused_by(mut self, error: &dyn Error) -> Self {
        let mut next = Some(error);
        while let Some(cause) = next {
            self.causes.push(cause.to_string());
            next = cause.source();
        }
        self
    }

    /// An error as a failure of the given code: its own text first, its sources as causes.
    pub fn from_error(code: u8, error: &dyn Error) -> Self {
        let failure = Self::with_code(code, error.to_string());
        match error.source() {
            Some(source) => failure.caused_by(source),
            None => failure,
        }
    }

    /// As lines for stderr.
    pub fn text(&self) -> String {
        if self.rendered {
            return self.message.clone();
        }
        let mut lines = vec![format!("error: {}", self.message)];
        lines.extend(self.causes.iter().map(|cause| format!("  caused by: {cause}")));
        lines.extend(self.hints.iter().map(|hint| format!("hint: {hint}")));
        lines.join("\n")
    }

    /// As one JSON object for stderr under `--json`.
    pub fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "error": { "code": self.code, "message": self.message, "causes": self.causes, "hints": self.hints }
        })
    }
}
