//! Whether a start continues the agent's last conversation, begins one of a known id, or neither.
//!
//! Pure decisions: who reads and writes the stored id is the caller's business.

use std::time::Duration;

/// A CLI that refuses an id leaves at once; one that ran longer died of something else.
pub const QUICK_EXIT: Duration = Duration::from_secs(10);

/// How a start relates to earlier conversations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResumePlan {
    /// A new conversation, under this id where the CLI lets us choose it. The id is to be stored.
    Fresh { id: Option<String> },
    /// The stored conversation goes on.
    Resume { id: String },
    /// The agent does not resume; no id is kept.
    Plain,
}

/// What the next start does.
///
/// `supports`: the agent wants to resume and its backend can. `wants_fresh`: a fatal state, a new
/// phase, or a failed resume forbids the stored conversation. `new_id` is used only where the
/// backend has a `session_id_flag`.
pub fn decide(
    supports: bool,
    session_id_flag: Option<&str>,
    stored_id: Option<&str>,
    wants_fresh: bool,
    new_id: &str,
) -> ResumePlan {
    if !supports {
        return ResumePlan::Plain;
    }
    match stored_id.and_then(usable) {
        Some(id) if !wants_fresh => ResumePlan::Resume { id: id.to_owned() },
        Some(_) | None => ResumePlan::Fresh { id: session_id_flag.map(|_| new_id.to_owned()) },
    }
}

/// Whether the text of an id file is one whole line with an id on it.
pub fn is_whole(stored: &str) -> bool {
    let id = stored.strip_suffix('\n').unwrap_or_default();
    usable(stored) == Some(id) && !id.contains(char::REPLACEMENT_CHARACTER)
}

/// A stored id that a CLI could take for an option, or that a torn write left, is none.
fn usable(stored: &str) -> Option<&str> {
    let id = stored.trim();
    let sound = !id.is_empty() && !id.starts_with('-') && !id.chars().any(char::is_control);
    sound.then_some(id)
}

/// How a resumed start ended, as far as anybody saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResumeOutcome {
    /// `None`: it still runs.
    pub exited_after: Option<Duration>,
    /// `resume_failed_re` matched its screen.
    pub refused: bool,
}

/// The note to give when the resume failed and the one fallback to a fresh start is due.
///
/// `None` when this start did not resume (so a fallback cannot repeat itself) or went well.
pub fn fallback(plan: &ResumePlan, outcome: ResumeOutcome) -> Option<String> {
    let id = match plan {
        ResumePlan::Resume { id } => id,
        ResumePlan::Fresh { .. } | ResumePlan::Plain => return None,
    };
    if outcome.refused {
        return Some(format!("the CLI refused conversation {id}; starting a new one"));
    }
    let ran = outcome.exited_after.filter(|ran| *ran < QUICK_EXIT)?;
    Some(format!("resuming conversation {id} ended after {} s; starting a new one", ran.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_conversation_goes_on_unless_a_fresh_one_is_wanted() {
        let flag = Some("--session-id '{id}'");
        let resume = ResumePlan::Resume { id: "old".into() };
        assert_eq!(decide(true, flag, Some("old\n"), false, "new"), resume);
        let fresh = ResumePlan::Fresh { id: Some("new".into()) };
        assert_eq!(decide(true, flag, Some("old"), true, "new"), fresh);
        assert_eq!(decide(true, flag, None, false, "new"), fresh);
        assert_eq!(decide(true, None, None, false, "new"), ResumePlan::Fresh { id: None });
        assert_eq!(decide(false, flag, Some("old"), false, "new"), ResumePlan::Plain);
    }

    #[test]
    fn a_stored_id_that_looks_like_an_option_or_is_torn_is_not_used() {
        for stored in ["", "  \n", "--dangerous", "a\u{0}b"] {
            assert_eq!(
                decide(true, None, Some(stored), false, "n"),
                ResumePlan::Fresh { id: None }
            );
        }
    }

    #[test]
    fn a_resume_that_ends_at_once_or_is_refused_falls_back_and_a_fresh_start_never_does() {
        let resume = ResumePlan::Resume { id: "old".into() };
        let ended = |seconds| ResumeOutcome {
            exited_after: Some(Duration::from_secs(seconds)),
            refused: false,
        };
        assert!(fallback(&resume, ended(2)).is_some_and(|note| note.contains("old")));
        assert_eq!(fallback(&resume, ended(10)), None);
        let refused = ResumeOutcome { exited_after: None, refused: true };
        assert!(fallback(&resume, refused).is_some());
        assert_eq!(fallback(&ResumePlan::Fresh { id: None }, ended(2)), None);
        assert_eq!(fallback(&ResumePlan::Plain, refused), None);
    }
}
