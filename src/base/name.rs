//! Checked names. A value of one of these types is known to be usable where its name says. Copies share their text.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The name of an agent or service: letters, digits, `_` and `-`, beginning with a letter or digit.
///
/// tmux rewrites `.` and `:` in session names, so they are not allowed here.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnitName(#[serde(with = "super::shared::text")] Arc<str>);

/// The name of a tmux session, prefix included. Same alphabet as [`UnitName`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionName(#[serde(with = "super::shared::text")] Arc<str>);

/// A tmux pane id such as `%7`: unique for the life of one server.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PaneId(#[serde(with = "super::shared::text")] Arc<str>);

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("a name cannot be empty")]
    Empty,
    #[error("`{name}` begins with `{found}`; a name begins with a letter or a digit")]
    Start { name: String, found: char },
    #[error("`{name}` contains `{found}`; only letters, digits, `_` and `-` are allowed")]
    Character { name: String, found: char },
}

fn check(text: &str) -> Result<(), NameError> {
    let Some(first) = text.chars().next() else {
        return Err(NameError::Empty);
    };
    if !first.is_ascii_alphanumeric() {
        return Err(NameError::Start { name: text.to_owned(), found: first });
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    match text.chars().find(|&c| !allowed(c)) {
        Some(found) => Err(NameError::Character { name: text.to_owned(), found }),
        None => Ok(()),
    }
}

impl UnitName {
    pub fn new(text: &str) -> Result<Self, NameError> {
        check(text).map(|()| Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl SessionName {
    pub fn new(text: &str) -> Result<Self, NameError> {
        check(text).map(|()| Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PaneId {
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UnitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for SessionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for PaneId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_a_dot_is_refused_because_tmux_would_rewrite_it() {
        assert_eq!(
            UnitName::new("a.b"),
            Err(NameError::Character { name: "a.b".into(), found: '.' })
        );
        assert!(UnitName::new("builder-2").is_ok());
        assert_eq!(UnitName::new(""), Err(NameError::Empty));
        assert!(matches!(UnitName::new("-x"), Err(NameError::Start { .. })));
    }
}
