//! Every recorded payload, and payloads nobody recorded.

use std::fmt::Write as _;

use chrono::DateTime;
use expect_test::{Expect, expect};

use super::*;
use crate::sense::{session_file, spool, status_line};

fn now() -> Now {
    Now { wall: DateTime::from_timestamp(1_795_240_000, 0).unwrap(), mono: Mono(500_000) }
}

fn recorded(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/corpus/hooks/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// One line a payload of that CLI: file, subagent mark, kind.
#[expect(clippy::needless_pass_by_value, reason = "`check(…, expect![…])` reads better")]
#[track_caller]
fn check(cli: Cli, expected: Expect) {
    let folder = format!("{}/tests/corpus/hooks/{}", env!("CARGO_MANIFEST_DIR"), cli.word());
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let mut shown = String::new();
    for name in names {
        let fact = read(cli, &recorded(&format!("{}/{name}", cli.word())), now()).unwrap();
        assert!(fact.session_id.is_some() && fact.transcript.is_some(), "{name}");
        let line = spool::write("a-start", fact.clone()).unwrap();
        assert_eq!(spool::read(&line, "a-start"), std::slice::from_ref(&fact), "{name}");
        let kind = serde_json::to_string(&fact.kind).unwrap();
        let mark = if fact.subagent.is_some() { " (subagent)" } else { "" };
        writeln!(shown, "{name}{mark}: {kind}").unwrap();
    }
    expected.assert_eq(&shown);
}

#[test]
fn every_recorded_payload_of_claude_code_is_understood() {
    check(
        Cli::Claude,
        expect![[r#"
        MessageDisplay.json: {"kind":"other","event":"MessageDisplay"}
        Notification.idle_prompt.json: {"kind":"idle_noted"}
        Notification.permission_prompt.json: {"kind":"permission_asked","what":"Claude needs your permission"}
        PermissionRequest.AskUserQuestion.json: {"kind":"permission_asked","what":"AskUserQuestion"}
        PermissionRequest.Bash.json: {"kind":"permission_asked","what":"Bash"}
        PostCompact.json: {"kind":"other","event":"PostCompact"}
        PostModelSwitch.json: {"kind":"other","event":"PostModelSwitch"}
        PostToolBatch.json: {"kind":"other","event":"PostToolBatch"}
        PostToolUse.Agent.json: {"kind":"tool_ended","tool":"Agent","failed":false}
        PostToolUse.Bash.in-subagent.json (subagent): {"kind":"tool_ended","tool":"Bash","failed":false}
        PostToolUse.Bash.json: {"kind":"tool_ended","tool":"Bash","failed":false}
        PostToolUse.Edit.json: {"kind":"tool_ended","tool":"Edit","failed":false}
        PostToolUse.Read.json: {"kind":"tool_ended","tool":"Read","failed":false}
        PostToolUse.Write.json: {"kind":"tool_ended","tool":"Write","failed":false}
        PostToolUseFailure.json: {"kind":"tool_ended","tool":"Bash","failed":true}
        PreCompact.json: {"kind":"other","event":"PreCompact"}
        PreModelSwitch.json: {"kind":"other","event":"PreModelSwitch"}
        PreToolUse.Agent.json: {"kind":"tool_started","tool":"Agent"}
        PreToolUse.Bash.in-subagent.json (subagent): {"kind":"tool_started","tool":"Bash"}
        PreToolUse.Bash.json: {"kind":"tool_started","tool":"Bash"}
        PreToolUse.Edit.json: {"kind":"tool_started","tool":"Edit"}
        PreToolUse.Read.json: {"kind":"tool_started","tool":"Read"}
        PreToolUse.Write.json: {"kind":"tool_started","tool":"Write"}
        SessionEnd.clear.json: {"kind":"session_ended","why":"clear"}
        SessionEnd.other.json: {"kind":"session_ended","why":"other"}
        SessionEnd.prompt_input_exit.json: {"kind":"session_ended","why":"prompt_input_exit"}
        SessionStart.clear.json: {"kind":"session_started","source":"clear"}
        SessionStart.compact.json: {"kind":"session_started","source":"compact"}
        SessionStart.startup.json: {"kind":"session_started","source":"startup"}
        Stop.json: {"kind":"turn_ended","interrupted":false,"subagents_left":0}
        Stop.with-background-task.json: {"kind":"turn_ended","interrupted":false,"subagents_left":0}
        StopFailure.authentication_failed.json: {"kind":"turn_failed","class":"login","text":"Invalid API key · Fix external API key"}
        StopFailure.billing_error.json: {"kind":"turn_failed","class":"billing","text":"Credit balance is too low"}
        StopFailure.rate_limit.json: {"kind":"turn_failed","class":"rate_limit","text":"You've hit your 5-hour limit · resets 7:07am (Europe/Berlin)"}
        StopFailure.server_error-529.json: {"kind":"turn_failed","class":"server","text":"API Error: 529 Overloaded. This is a server-side issue, usually temporary — try again in a moment. If it persists, check your inference gateway (127.0.0.1:8791)."}
        StopFailure.unknown.json: {"kind":"turn_failed","class":"unknown","text":"API Error: 400 messages.5.content.0: thinking or redacted_thinking blocks in the latest assistant message cannot be modified."}
        SubagentStart.json (subagent): {"kind":"subagent_started"}
        SubagentStop.json (subagent): {"kind":"subagent_ended"}
        SubagentStop.other.json (subagent): {"kind":"subagent_ended"}
        UserPromptSubmit.json: {"kind":"turn_started"}
    "#]],
    );
}

#[test]
fn every_recorded_payload_of_codex_is_understood() {
    check(
        Cli::Codex,
        expect![[r#"
        Interrupt.stdin.json: {"kind":"turn_ended","interrupted":true,"subagents_left":0}
        PermissionRequest.stdin.json: {"kind":"permission_asked","what":"Bash"}
        PostToolUse.stdin.json: {"kind":"tool_ended","tool":"Bash","failed":false}
        PreToolUse.stdin.json: {"kind":"tool_started","tool":"Bash"}
        SessionEnd.stdin.json: {"kind":"session_ended","why":"other"}
        SessionStart.stdin.json: {"kind":"session_started","source":"startup"}
        Stop.stdin.json: {"kind":"turn_ended","interrupted":false,"subagents_left":0}
        UserPromptSubmit.stdin.json: {"kind":"turn_started"}
    "#]],
    );
}

#[test]
fn every_recorded_payload_of_gemini_is_understood() {
    check(
        Cli::Gemini,
        expect![[r#"
        AfterAgent.stdin.json: {"kind":"turn_ended","interrupted":false,"subagents_left":0}
        AfterTool.stdin.json: {"kind":"tool_ended","tool":"run_shell_command","failed":false}
        BeforeAgent.stdin.json: {"kind":"turn_started"}
        BeforeTool.stdin.json: {"kind":"tool_started","tool":"run_shell_command"}
        Notification.stdin.json: {"kind":"permission_asked","what":"Tool Confirm Shell Command requires execution"}
        PreCompress.stdin.json: {"kind":"other","event":"PreCompress"}
        SessionEnd.stdin.json: {"kind":"session_ended","why":"exit"}
        SessionStart.stdin.json: {"kind":"session_started","source":"startup"}
    "#]],
    );
}

#[test]
fn opencode_speaks_through_the_plugin() {
    let kind = |payload: &str| read(Cli::Opencode, payload.as_bytes(), now()).unwrap().kind;
    assert_eq!(kind(r#"{"hook_event_name":"busy","session_id":"s"}"#), Kind::TurnStarted);
    assert_eq!(
        kind(
            r#"{"hook_event_name":"retry","message":"Rate limit reached","next_ms":1795232398470}"#
        ),
        Kind::Retrying { text: "Rate limit reached".into(), next_s: Some(1_795_232_398) }
    );
    assert_eq!(
        kind(
            r#"{"hook_event_name":"session.error","error":"APIError","status":401,"message":"no"}"#
        ),
        Kind::TurnFailed { class: Class::Login, text: "no".into() }
    );
    assert_eq!(
        kind(r#"{"hook_event_name":"session.error","error":"MessageAbortedError"}"#),
        Kind::TurnEnded { interrupted: true, subagents_left: 0 }
    );
    assert_eq!(kind(r#"{"hook_event_name":"permission.replied"}"#), Kind::PermissionAnswered);
}

#[test]
fn a_call_that_arrives_late_is_dated_back_by_at_most_a_minute() {
    let at = |ms: i64| {
        let payload = format!(r#"{{"hook_event_name":"busy","at_ms":{ms}}}"#);
        read(Cli::Opencode, payload.as_bytes(), now()).unwrap().at.mono
    };
    let wall_ms = now().wall.timestamp_millis();
    assert_eq!(at(wall_ms - 250), Mono(499_750));
    assert_eq!(at(wall_ms + 9_000), Mono(500_000), "a clock that is ahead is not believed");
    assert_eq!(at(0), Mono(440_000));
}

#[test]
fn fields_of_a_wrong_type_count_as_absent_and_garbage_is_an_error() {
    let odd = br#"{"hook_event_name":"PreToolUse","tool_name":7,"session_id":null,"background_tasks":"x"}"#;
    let fact = read(Cli::Claude, odd, now()).unwrap();
    assert_eq!(fact.kind, Kind::ToolStarted { tool: String::new() });
    assert_eq!(fact.session_id, None);
    for garbage in [&b""[..], b"{", b"[]", b"\xff\xfe", b"{\"a\":1}", b"null"] {
        assert!(read(Cli::Claude, garbage, now()).is_err(), "{garbage:?}");
    }
    let later = br#"{"hook_event_name":"SomethingNew","session_id":"s"}"#;
    let kind = read(Cli::Codex, later, now()).unwrap().kind;
    assert_eq!(kind, Kind::Other { event: "SomethingNew".into() });
}

#[test]
fn nothing_of_a_tools_input_reaches_the_spool_and_a_line_stays_short() {
    let long = "S3CRET ".repeat(100_000);
    let payload = serde_json::json!({
        "hook_event_name": "StopFailure", "error": "unknown", "session_id": long,
        "tool_name": "Bash", "tool_input": { "command": "S3CRET-INPUT" },
        "last_assistant_message": long,
    });
    let fact = read(Cli::Claude, payload.to_string().as_bytes(), now()).unwrap();
    let line = spool::write("a-start", fact).unwrap();
    assert!(line.len() < 2_000 && !line.contains("S3CRET-INPUT"), "{line}");
    assert_eq!(line.matches('\n').count(), 1);
}

#[test]
fn a_line_of_another_start_and_a_torn_line_are_skipped() {
    let fact = read(Cli::Claude, &recorded("claude/Stop.json"), now()).unwrap();
    let line = spool::write("mine", fact.clone()).unwrap();
    let text = format!("{}{line}{}\n{{\"version\":1", line.replace("mine", "other"), &line[..40]);
    assert_eq!(spool::read(&text, "mine"), [fact]);
}

#[test]
fn a_session_file_tells_state_and_what_is_waited_for() {
    let waiting = session_file::read(&recorded("session-waiting.json")).unwrap();
    assert_eq!(waiting.status, session_file::Status::Waiting);
    assert_eq!(waiting.waiting_for.as_deref(), Some("permission prompt"));
    assert_eq!(waiting.process_start.as_deref(), Some("468213"));
    let busy = session_file::read(&recorded("session-busy.json")).unwrap();
    assert_eq!(
        (busy.pid, busy.status, busy.since_ms),
        (25669, session_file::Status::Busy, Some(1_795_233_973_856))
    );
    session_file::read(b"{\"pid\":1}").unwrap_err();
}

#[test]
fn the_status_line_tells_model_context_cost_and_windows() {
    let mut value: serde_json::Value =
        serde_json::from_slice(&recorded("statusline.json")).unwrap();
    value["rate_limits"] = serde_json::json!({
        "five_hour": { "used_percentage": 100, "resets_at": 1_795_239_576 },
        "seven_day": { "used_percentage": 41.5 }, "odd": 7,
    });
    let fact = status_line::read(value.to_string().as_bytes(), now()).unwrap();
    let Kind::Usage(usage) = fact.kind else { panic!("{fact:?}") };
    assert_eq!(usage.model.as_deref(), Some("claude-sonnet-5-5"));
    assert_eq!((usage.context_percent, usage.cost_micros), (Some(1.0), Some(3_785)));
    let windows: Vec<(&str, Option<i64>)> =
        usage.windows.iter().map(|window| (window.name.as_str(), window.resets_s)).collect();
    assert_eq!(windows, [("five_hour", Some(1_795_239_576)), ("seven_day", None)]);
    let project = status_line::project_dir(&recorded("statusline.json"));
    assert_eq!(project.as_deref(), Some("/home/dev/project"));
    let own = r#"{"statusLine":{"type":"command","command":"date"}}"#;
    assert_eq!(status_line::command_of(own).as_deref(), Some("date"));
    assert_eq!(status_line::command_of("{}"), None);
}

#[test]
fn titles_and_osc_7501_say_states() {
    use crate::screen::PaneState as P;
    use crate::sense::title::{progress, state};
    assert_eq!(state(Cli::Codex, "⠋ Working | project"), Some(P::Working));
    assert_eq!(state(Cli::Codex, "[ ! ] Action Required | project"), Some(P::Waiting));
    assert_eq!(state(Cli::Codex, "Ready | project"), Some(P::Idle));
    assert_eq!(state(Cli::Gemini, "✦  Working… (dir)    "), Some(P::Working));
    assert_eq!(state(Cli::Gemini, "✋  Action Required (dir)"), Some(P::Waiting));
    assert_eq!(state(Cli::Opencode, "OC | a title"), None);
    let stream = "x\u{1b}]7501;state=working:app=codex\u{1b}\\y\u{1b}]7501;state=blocked:app=codex:kind=permission\u{1b}\\";
    assert_eq!(progress(stream), Some(P::Waiting));
    assert_eq!(progress("plain"), None);
}
