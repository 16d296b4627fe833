//! What opencode's own server says, event by event: one state of all its conversations together.
//!
//! Pure: the data of its event stream comes in, facts go out. Its answers to `GET /session/status`,
//! `/permission` and `/question` tell what was before the stream began.
//!
//! Surprise: a subagent is a session of its own, and the end of its turn is not the agent's. So the
//! agent works as long as any session does, and waits as long as any question is open. Idle is only
//! told at the end of something: at the beginning the server idles long before its screen is there.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::Cli;
use super::fact::{Class, Fact, Kind, NAME_CHARS_MAX, TEXT_CHARS_MAX, cut};
use crate::base::now::Now;

/// Open questions and busy sessions that are kept; more of them change nothing.
const KEPT_MAX: usize = 1_000;

/// What one server told so far.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Server {
    /// Only those that do something.
    sessions: BTreeMap<String, Status>,
    subagents: BTreeSet<String>,
    /// Requests for a person, by their id.
    asked: BTreeMap<String, String>,
    failed: Option<(Class, String)>,
    interrupted: bool,
    /// The conversation that a person would say this is.
    session_id: Option<String>,
    told: Option<Kind>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Status {
    Busy,
    Retry {
        #[serde(default)]
        message: String,
        /// Milliseconds since 1970.
        #[serde(default)]
        next: Option<f64>,
    },
    #[serde(other)]
    Idle,
}

#[derive(Debug, Deserialize)]
struct Event<'a> {
    r#type: String,
    #[serde(borrow, default)]
    properties: Option<&'a RawValue>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Said {
    id: Option<String>,
    #[serde(rename = "sessionID")]
    session_id: Option<String>,
    #[serde(rename = "requestID")]
    request_id: Option<String>,
    permission: Option<String>,
    status: Option<Status>,
    error: Option<Failure>,
    info: Option<Info>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Info {
    id: Option<String>,
    #[serde(rename = "parentID")]
    parent_id: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Failure {
    name: Option<String>,
    data: FailureData,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct FailureData {
    message: Option<String>,
    status_code: Option<i64>,
}

impl Server {
    /// What stood before the stream began: the bodies of the three answers. One that is not
    /// understood counts as empty.
    pub fn begin(
        &mut self,
        statuses: &[u8],
        permissions: &[u8],
        questions: &[u8],
        at: Now,
    ) -> Option<Fact> {
        let statuses: BTreeMap<String, Status> = lenient(statuses);
        self.sessions.extend(statuses.into_iter().filter(|(_, status)| *status != Status::Idle));
        for (body, word) in [(permissions, "permission"), (questions, "question")] {
            for said in lenient::<Vec<Said>>(body).into_iter().take(KEPT_MAX) {
                self.ask(said, word);
            }
        }
        self.news(at)
    }

    /// The data of one event. `None`: it changes nothing.
    pub fn event(&mut self, data: &[u8], at: Now) -> Option<Fact> {
        let event: Event<'_> = serde_json::from_slice(data).ok()?;
        let said = || -> Said {
            event
                .properties
                .and_then(|raw| serde_json::from_str(raw.get()).ok())
                .unwrap_or_default()
        };
        match event.r#type.as_str() {
            "session.created" | "session.updated" => self.relate(said().info.unwrap_or_default()),
            "session.deleted" => {
                let id = said().info.and_then(|info| info.id)?;
                self.sessions.remove(&id);
                self.subagents.remove(&id);
            }
            "session.status" => {
                let said = said();
                self.status(said.session_id?, said.status?);
            }
            "session.idle" => self.status(said().session_id?, Status::Idle),
            "session.error" => self.fail(&said().error.unwrap_or_default()),
            "permission.asked" => self.ask(said(), "permission"),
            "question.asked" => self.ask(said(), "question"),
            "permission.replied" | "question.replied" | "question.rejected" => {
                self.asked.remove(&said().request_id?);
            }
            // Pieces of messages and much else: most of the stream.
            _ => return None,
        }
        self.news(at)
    }

    fn relate(&mut self, info: Info) {
        let (Some(id), Some(_)) = (info.id, info.parent_id) else { return };
        if self.subagents.len() < KEPT_MAX {
            self.subagents.insert(id);
        }
    }

    fn status(&mut self, id: String, status: Status) {
        if status == Status::Idle {
            self.sessions.remove(&id);
            return;
        }
        if !self.subagents.contains(&id) {
            (self.failed, self.interrupted) = (None, false);
            self.session_id = Some(cut(&id, NAME_CHARS_MAX));
        }
        if self.sessions.len() < KEPT_MAX {
            self.sessions.insert(id, status);
        }
    }

    fn ask(&mut self, said: Said, word: &str) {
        let Some(id) = said.id else { return };
        if self.asked.len() < KEPT_MAX {
            let what = said.permission.unwrap_or_else(|| word.to_owned());
            self.asked.insert(id, cut(&what, NAME_CHARS_MAX));
        }
    }

    fn fail(&mut self, failure: &Failure) {
        if failure.name.as_deref() == Some("MessageAbortedError") {
            (self.failed, self.interrupted) = (None, true);
            return;
        }
        let class = class(failure.name.as_deref(), failure.data.status_code);
        let text = cut(failure.data.message.as_deref().unwrap_or_default(), TEXT_CHARS_MAX);
        self.failed = Some((class, text));
    }

    /// The state of all together, when it is another than was told.
    fn news(&mut self, at: Now) -> Option<Fact> {
        let kind = self.kind();
        let idles = matches!(kind, Kind::TurnEnded { .. });
        if self.told.as_ref() == Some(&kind) || (self.told.is_none() && idles) {
            return None;
        }
        self.told = Some(kind.clone());
        let session_id = self.session_id.clone();
        Some(Fact {
            at,
            cli: Cli::Opencode,
            session_id,
            subagent: None,
            transcript: None,
            order: None,
            kind,
        })
    }

    fn kind(&self) -> Kind {
        if let Some(what) = self.asked.values().next() {
            return Kind::PermissionAsked { what: what.clone() };
        }
        if self.sessions.values().any(|status| *status == Status::Busy) {
            return Kind::TurnStarted;
        }
        for status in self.sessions.values() {
            if let Status::Retry { message, next } = status {
                #[expect(clippy::cast_possible_truncation, reason = "a second more or less")]
                let next_s = next.map(|ms| (ms / 1_000.0) as i64);
                return Kind::Retrying { text: cut(message, TEXT_CHARS_MAX), next_s };
            }
        }
        match &self.failed {
            Some((class, text)) => Kind::TurnFailed { class: *class, text: text.clone() },
            None => Kind::TurnEnded { interrupted: self.interrupted, subagents_left: 0 },
        }
    }
}

/// How a failed turn is classed by the name of the error and the provider's status code.
pub(super) fn class(name: Option<&str>, status: Option<i64>) -> Class {
    match (name, status) {
        (Some("ProviderAuthError"), _) | (_, Some(401 | 403)) => Class::Login,
        (_, Some(402)) => Class::Billing,
        (_, Some(429)) => Class::RateLimit,
        (_, Some(500..=599)) => Class::Server,
        (Some(_) | None, Some(_) | None) => Class::Unknown,
    }
}

fn lenient<T: DeserializeOwned + Default>(body: &[u8]) -> T {
    serde_json::from_slice(body).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use serde_json::{Value, json};

    use super::*;
    use crate::base::now::Mono;

    const NOW: Now = Now { wall: DateTime::UNIX_EPOCH, mono: Mono(0) };

    fn event(kind: &str, properties: &Value) -> Vec<u8> {
        json!({ "id": "evt_1", "type": kind, "properties": properties }).to_string().into_bytes()
    }

    fn status(session: &str, status: &Value) -> Vec<u8> {
        event("session.status", &json!({ "sessionID": session, "status": status }))
    }

    fn busy(session: &str) -> Vec<u8> {
        status(session, &json!({ "type": "busy" }))
    }

    fn idle(session: &str) -> Vec<u8> {
        status(session, &json!({ "type": "idle" }))
    }

    fn ended() -> Kind {
        Kind::TurnEnded { interrupted: false, subagents_left: 0 }
    }

    #[track_caller]
    fn check(events: &[Vec<u8>], expected: &[Kind]) {
        let mut server = Server::default();
        let told = events.iter().filter_map(|data| server.event(data, NOW));
        assert_eq!(told.map(|fact| fact.kind).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_turn_is_told_once_at_its_beginning_and_once_at_its_end() {
        let piece = event("message.part.delta", &json!({ "sessionID": "a", "delta": "word" }));
        let over = event("session.idle", &json!({ "sessionID": "a" }));
        check(
            &[idle("a"), busy("a"), busy("a"), piece, idle("a"), over],
            &[Kind::TurnStarted, ended()],
        );
    }

    #[test]
    fn the_end_of_a_subagent_ends_nothing_and_names_no_conversation() {
        let mut server = Server::default();
        let created =
            event("session.created", &json!({ "info": { "id": "sub", "parentID": "a" } }));
        for data in [created, busy("a"), busy("sub"), idle("sub")] {
            if let Some(fact) = server.event(&data, NOW) {
                assert_eq!((fact.kind, fact.session_id.as_deref()), (Kind::TurnStarted, Some("a")));
            }
        }
        assert_eq!(server.event(&idle("a"), NOW).unwrap().kind, ended());
    }

    #[test]
    fn an_open_question_waits_until_each_is_answered() {
        let asked =
            |id: &str| event("permission.asked", &json!({ "id": id, "permission": "bash" }));
        let replied = |id: &str| event("permission.replied", &json!({ "requestID": id }));
        check(
            &[busy("a"), asked("1"), asked("2"), replied("1"), replied("2")],
            &[Kind::TurnStarted, Kind::PermissionAsked { what: "bash".into() }, Kind::TurnStarted],
        );
    }

    #[test]
    fn an_error_stands_until_the_next_turn_and_an_abort_is_none() {
        let error =
            |error: Value| event("session.error", &json!({ "sessionID": "a", "error": error }));
        let refused =
            error(json!({ "name": "APIError", "data": { "message": "no", "statusCode": 401 } }));
        let failed = Kind::TurnFailed { class: Class::Login, text: "no".into() };
        check(
            &[busy("a"), refused, idle("a"), idle("a"), busy("a")],
            &[Kind::TurnStarted, failed, Kind::TurnStarted],
        );
        check(
            &[busy("a"), error(json!({ "name": "MessageAbortedError" })), idle("a")],
            &[Kind::TurnStarted, Kind::TurnEnded { interrupted: true, subagents_left: 0 }],
        );
    }

    #[test]
    fn a_retry_carries_its_end() {
        let retry = json!({ "type": "retry", "attempt": 1, "message": "later", "next": 1_795_232_398_470_i64 });
        check(
            &[status("a", &retry)],
            &[Kind::Retrying { text: "later".into(), next_s: Some(1_795_232_398) }],
        );
    }

    #[test]
    fn what_stood_before_the_stream_is_told_and_rest_is_not() {
        let mut server = Server::default();
        assert_eq!(server.begin(b"{}", b"[]", b"[]", NOW), None);
        let mut server = Server::default();
        let fact = server.begin(br#"{"a":{"type":"busy"}}"#, b"[]", b"no json", NOW).unwrap();
        assert_eq!(fact.kind, Kind::TurnStarted);
        let mut server = Server::default();
        let asked = br#"[{"id":"que_1","sessionID":"a","questions":[]}]"#;
        let fact = server.begin(br#"{"a":{"type":"busy"}}"#, b"[]", asked, NOW).unwrap();
        assert_eq!(fact.kind, Kind::PermissionAsked { what: "question".into() });
    }
}
