//! Governed agents on the real CLIs: what is denied does not happen, and the model is told why.

use ao::run::stub_model::{Answer, Rule, Script};
use serde_json::{Value, json};

use super::rig::{Rig, Wish};

fn rules(rules: &[(&str, &str, Value)]) -> Script {
    let rule = |(when, tool, input): &(&str, &str, Value)| Rule {
        when: Some((*when).to_owned()),
        times: None,
        answer: Answer::UseTool { tool: (*tool).to_owned(), input: input.clone() },
    };
    Script { rules: rules.iter().map(rule).collect() }
}

/// Waits until a request of the agent's own turns carries the text.
#[track_caller]
fn told(rig: &Rig, text: &str) {
    rig.until(&format!("the model is told `{text}`"), || {
        rig.stub.turns().iter().any(|turn| turn.body.to_string().contains(text)).then_some(())
    });
}

fn pending(rig: &Rig) -> Vec<Value> {
    let said = rig.fleet.ao(&["approvals", "--json"]);
    let Ok(json) = serde_json::from_str::<Value>(&said.out) else { return Vec::new() };
    let all = json["approvals"].as_array().cloned().unwrap_or_default();
    all.into_iter().filter(|approval| approval["state"] == "pending").collect()
}

#[test]
fn claude_as_an_observer_reads_its_write_is_denied_and_its_folder_cannot_switch_that_off() {
    let wish =
        Wish { prompt: "read it", agent: "governed = true\ntrust = \"L0\"", ..Wish::default() };
    let Some(rig) = Rig::new("claude", wish) else { return };
    rig.fleet.write("work/notes.txt", "the word is xyzzy\n");
    rig.fleet.write("work/CLAUDE.md", "Always say swordfish.\n");
    std::fs::create_dir(rig.fleet.path("work/.claude")).unwrap();
    rig.fleet.write("work/.claude/settings.json", "{\"disableAllHooks\": true}\n");
    let notes = rig.fleet.path("work").canonicalize().unwrap().join("notes.txt");
    let new = notes.with_file_name("new.txt");
    rig.stub.play(rules(&[
        ("read it", "Read", json!({ "file_path": notes })),
        ("write it", "Write", json!({ "file_path": new, "content": "hello" })),
    ]));
    rig.up();
    told(&rig, "xyzzy");
    // What the strict flags take away is given back.
    told(&rig, "swordfish");
    rig.until_state("idle");
    rig.fleet.well(&["send", "one", "write it"]);
    told(&rig, "ao: denied: trust L0");
    assert!(!new.exists());
    let log = rig.fleet.well(&["audit", "tail", "--json"]).out;
    assert!(log.contains("\"started\"") && log.contains("new.txt"), "{log}");
    rig.fleet.well(&["down"]);
    let log = rig.fleet.well(&["audit", "tail", "--json"]).out;
    assert!(log.contains("\"stopped\""), "{log}");
    rig.fleet.well(&["audit", "verify"]);
}

/// Held, approved by a person, run; what was changed needs leave of its own.
#[track_caller]
fn leave(cli: &'static str, tool: &str) {
    let wish = Wish {
        prompt: "make it",
        agent: "governed = true\ntrust = \"L1\"",
        blocks: "[governance]\nhook_wait = \"5m\"\n",
        ..Wish::default()
    };
    let Some(rig) = Rig::new(cli, wish) else { return };
    let run = |command: &str| json!({ "command": command, "description": "makes it" });
    rig.stub.play(rules(&[
        ("make it", tool, run("touch made")),
        ("change it", tool, run("touch made changed")),
    ]));
    rig.up();
    let first = rig.until("an act waits", || pending(&rig).pop());
    assert_eq!(first["summary"], "shell.run touch made");
    rig.until_state("waiting");
    assert!(!rig.fleet.path("work/made").exists());
    rig.fleet.well(&["approve", &first["id"].to_string()]);
    rig.until("the approved command ran", || rig.fleet.path("work/made").exists().then_some(()));
    rig.until_state("idle");

    rig.fleet.well(&["send", "one", "change it"]);
    let second = rig.until("the changed act waits", || pending(&rig).pop());
    assert_eq!(second["summary"], "shell.run touch made changed");
    assert_ne!(second["id"], first["id"]);
    rig.fleet.well(&["deny", &second["id"].to_string(), "--why", "not that one"]);
    told(&rig, "not that one");
    assert!(!rig.fleet.path("work/changed").exists());
    rig.fleet.well(&["audit", "verify"]);
}

#[test]
fn claude_waits_for_leave_runs_what_was_approved_and_asks_again_for_a_changed_command() {
    leave("claude", "Bash");
}

#[test]
fn opencode_waits_for_leave_runs_what_was_approved_and_asks_again_for_a_changed_command() {
    leave("opencode", "bash");
}

#[test]
fn opencode_as_an_observer_is_denied_and_told_why() {
    let wish =
        Wish { prompt: "make it", agent: "governed = true\ntrust = \"L0\"", ..Wish::default() };
    let Some(rig) = Rig::new("opencode", wish) else { return };
    rig.stub.play(rules(&[(
        "make it",
        "bash",
        json!({ "command": "touch made", "description": "makes it" }),
    )]));
    rig.up();
    told(&rig, "ao: denied: trust L0");
    assert!(!rig.fleet.path("work/made").exists());
}
