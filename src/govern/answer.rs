//! What the hook process answers, in each CLI's own form.
//!
//! An empty or broken output with exit code 0 lets the tool run in every CLI, so a denial carries both:
//! a whole JSON document where the CLI reads one, exit code 2 and a reason on standard error where it does
//! not. Surprise: an allowed act of Claude Code and Codex is answered with silence, not with `allow`,
//! which would also switch off the CLI's own permission rules.

use serde_json::{Value, json};

use super::payload::{Cli, Event};
use super::verdict::{Effect, Verdict};

/// What leaves the process; standard output is written whole before it exits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub stdout: String,
    pub stderr: String,
    pub exit: u8,
}

/// What an act that needs approval has come to when the hook answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// A person agreed to exactly this act.
    Approved,
    /// Nobody has, in the time the hook may wait; or somebody refused.
    Not,
}

/// The answer to a verdict. `held` matters only where approval is required.
pub fn render(cli: Cli, event: Event, verdict: &Verdict, held: Held) -> Answer {
    match (verdict.effect, held) {
        (Effect::Allow | Effect::AllowNotify, _) | (Effect::RequireApproval, Held::Approved) => {
            allow(cli, event)
        }
        (Effect::RequireApproval, Held::Not) | (Effect::Deny, _) => {
            deny(cli, event, &verdict.reason)
        }
    }
}

/// The tool may run, as far as we are concerned.
pub fn allow(cli: Cli, event: Event) -> Answer {
    let stdout = match (cli, event) {
        (Cli::Claude | Cli::Codex, Event::Permission) => json!({
            "hookSpecificOutput": {
                "hookEventName": "PermissionRequest",
                "decision": {"behavior": "allow"},
            }
        })
        .to_string(),
        // The plugin takes anything but this for a denial.
        (Cli::Opencode, Event::Before | Event::Permission) => {
            json!({"decision": "allow"}).to_string()
        }
        (Cli::Claude | Cli::Codex, Event::Before)
        | (Cli::Gemini, Event::Before | Event::Permission) => String::new(),
    };
    Answer { stdout, stderr: String::new(), exit: 0 }
}

/// The tool must not run; `why` is shown to the model.
pub fn deny(cli: Cli, event: Event, why: &str) -> Answer {
    // An empty reason on standard error would let Codex run the tool.
    let why = if why.trim().is_empty() { "denied" } else { why };
    let reason = format!("ao: {why}");
    let whole = |value: Value| Answer { stdout: value.to_string(), stderr: String::new(), exit: 0 };
    match (cli, event) {
        (Cli::Claude | Cli::Codex, Event::Before) => whole(json!({
            "hookSpecificOutput": {
                "hookEventName": "PreToolUse",
                "permissionDecision": "deny",
                "permissionDecisionReason": reason,
            }
        })),
        (Cli::Claude | Cli::Codex, Event::Permission) => whole(json!({
            "hookSpecificOutput": {
                "hookEventName": "PermissionRequest",
                "decision": {"behavior": "deny", "message": reason},
            }
        })),
        (Cli::Gemini, Event::Before | Event::Permission) => {
            whole(json!({"decision": "deny", "reason": reason}))
        }
        (Cli::Opencode, Event::Before | Event::Permission) => {
            Answer { exit: 2, ..whole(json!({"decision": "deny", "reason": reason})) }
        }
    }
}

/// Something failed before there was a verdict: the form that every CLI takes for a denial.
pub fn refuse(why: &str) -> Answer {
    let why = if why.trim().is_empty() { "denied" } else { why };
    Answer { stdout: String::new(), stderr: format!("ao: {why}\n"), exit: 2 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(effect: Effect, reason: &str) -> Verdict {
        Verdict {
            effect,
            reason: reason.into(),
            trace: Vec::new(),
            risk: 0,
            policy_digest: String::new(),
        }
    }

    /// What the four CLIs were seen to do with an answer: does the tool run?
    fn runs(cli: Cli, event: Event, answer: &Answer) -> bool {
        if answer.exit == 2 {
            return answer.stderr.is_empty() && cli == Cli::Codex;
        }
        let Ok(said) = serde_json::from_str::<Value>(&answer.stdout) else {
            return cli != Cli::Opencode;
        };
        match (cli, event) {
            (Cli::Opencode, _) => said["decision"] == "allow",
            (Cli::Gemini, _) => said["decision"] != "deny",
            (Cli::Claude | Cli::Codex, Event::Before) => {
                said["hookSpecificOutput"]["permissionDecision"] != "deny"
            }
            (Cli::Claude | Cli::Codex, Event::Permission) => {
                said["hookSpecificOutput"]["decision"]["behavior"] == "allow"
            }
        }
    }

    #[test]
    fn each_cli_runs_what_is_allowed_and_nothing_else() {
        for cli in Cli::ALL {
            for event in [Event::Before, Event::Permission] {
                for (effect, held, expected) in [
                    (Effect::Allow, Held::Not, true),
                    (Effect::AllowNotify, Held::Not, true),
                    (Effect::RequireApproval, Held::Not, false),
                    (Effect::RequireApproval, Held::Approved, true),
                    (Effect::Deny, Held::Not, false),
                    (Effect::Deny, Held::Approved, false),
                ] {
                    for reason in ["no \"quotes\"\n", ""] {
                        let answer = render(cli, event, &verdict(effect, reason), held);
                        assert_eq!(
                            runs(cli, event, &answer),
                            expected,
                            "{cli:?} {event:?} {effect:?} {held:?}"
                        );
                    }
                }
                assert!(!runs(cli, event, &refuse("")), "{cli:?}");
            }
        }
    }
}
