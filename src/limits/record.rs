//! A limit window as JSON: `state/limited-<session>.json`.
//!
//! The wire has its own outer type, so that a file of another program or a later version is told
//! apart from ours before its fields are believed. Reading and writing files is not done here.

use serde::{Deserialize, Serialize};

use super::window::Window;

/// What the file says it is.
const KIND: &str = "ao-limit-window";
/// Raised when an older `ao` could misread the fields.
const VERSION: u32 = 1;

/// Why a text is not one of our records.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("the limit record is not JSON; set it aside, the banner is read anew")]
    NotJson(#[source] serde_json::Error),
    #[error("the JSON is no limit record: `kind` is {found}, not `{KIND}`; set it aside")]
    Foreign { found: String },
    #[error("the limit record has version {found}, this ao reads {VERSION}; use the newer ao")]
    Version { found: u64 },
    #[error("the limit record is damaged; set it aside, the banner is read anew")]
    Damaged(#[source] serde_json::Error),
    #[error("the limit record belongs to session `{found}`, not `{expected}`; set it aside")]
    Session { found: String, expected: String },
}

#[derive(Serialize, Deserialize)]
struct Wire {
    kind: String,
    version: u32,
    session: String,
    window: Window,
}

/// The text of the file, with a final newline.
pub fn to_json(session: &str, window: &Window) -> String {
    let (kind, session) = (KIND.to_owned(), session.to_owned());
    let wire = Wire { kind, version: VERSION, session, window: window.clone() };
    let mut text = serde_json::to_string_pretty(&wire).expect("plain data always serialises");
    text.push('\n');
    text
}

/// The window of `session` from the file's text.
pub fn from_json(text: &str, session: &str) -> Result<Window, RecordError> {
    let value: serde_json::Value = serde_json::from_str(text).map_err(RecordError::NotJson)?;
    match value.get("kind") {
        Some(kind) if kind == KIND => {}
        Some(kind) => return Err(RecordError::Foreign { found: kind.to_string() }),
        None => return Err(RecordError::Foreign { found: "absent".to_owned() }),
    }
    if let Some(found) = value.get("version").and_then(serde_json::Value::as_u64)
        && found != u64::from(VERSION)
    {
        return Err(RecordError::Version { found });
    }
    let wire: Wire = serde_json::from_value(value).map_err(RecordError::Damaged)?;
    if wire.session != session {
        let (found, expected) = (wire.session, session.to_owned());
        return Err(RecordError::Session { found, expected });
    }
    Ok(wire.window)
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::limits::banner::Scope;
    use crate::limits::window::{ArmedBy, Phase};

    fn window() -> Window {
        let at =
            |seconds: i64| DateTime::from_timestamp(1_795_000_000 + seconds, 0).expect("small");
        Window {
            since: at(0),
            armed_at: None,
            until: at(600),
            source_line: "You've hit your Fable limit · resets 6:36am".to_owned(),
            key: "resets 6:36am".to_owned(),
            scope: Scope::Model("Fable".to_owned()),
            probes: 1,
            armed_by: ArmedBy::Minute,
            continues_itself: false,
            dead: false,
            phase: Phase::Probed { at: at(700) },
        }
    }

    #[test]
    fn a_window_survives_its_file() {
        let text = to_json("p-writer", &window());
        assert_eq!(from_json(&text, "p-writer").expect("own text"), window());
    }

    #[test]
    fn the_file_keeps_its_shape_because_a_newer_ao_reads_it_after_an_upgrade() {
        expect_test::expect![[r#"
            {
              "kind": "ao-limit-window",
              "version": 1,
              "session": "p-writer",
              "window": {
                "since": "2026-11-18T11:06:40Z",
                "until": "2026-11-18T11:16:40Z",
                "source_line": "You've hit your Fable limit · resets 6:36am",
                "key": "resets 6:36am",
                "scope": {
                  "model": "Fable"
                },
                "probes": 1,
                "armed_by": "minute",
                "continues_itself": false,
                "dead": false,
                "phase": {
                  "probed": {
                    "at": "2026-11-18T11:18:20Z"
                  }
                }
              }
            }
        "#]]
        .assert_eq(&to_json("p-writer", &window()));
    }

    #[test]
    fn a_torn_foreign_newer_or_misplaced_file_is_refused_with_its_reason() {
        let own = to_json("p-writer", &window());
        let refused = |text: &str| from_json(text, "p-writer").expect_err("refused").to_string();
        assert!(refused("").contains("not JSON"));
        assert!(refused(&own[..own.len() / 2]).contains("not JSON"));
        assert!(refused("{}").contains("absent"));
        assert!(refused("[1]").contains("absent"));
        assert!(refused(r#"{"kind":"other"}"#).contains("other"));
        assert!(refused(&own.replace("\"version\": 1", "\"version\": 2")).contains("version 2"));
        assert!(refused(&own.replace("\"probes\": 1,", "")).contains("damaged"));
        assert!(refused(&own.replace("p-writer", "p-other")).contains("`p-other`"));
    }
}
