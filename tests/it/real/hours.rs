//! A deploy by the real Claude Code: let through inside the hours of a policy, denied outside them.
//!
//! The hours are laid around the present one, so that nothing has to pretend about the time.

use ao::run::stub_model::{Answer, Rule, Script};
use ao::screen::PaneState;
use ao::sys::clock;
use chrono::TimeDelta;
use serde_json::json;

use super::rig::{Rig, Wish};

/// Deploys of this project reach no other one.
const CLASSES: &str = "[[type]]\nnames = [\"deploy.run\"]\nclass = \"act\"\nrisk = 65\n";

/// Hours that begin so far from now and last two hours.
fn hours(begin: TimeDelta) -> String {
    let from = clock::now().wall + begin;
    let (from, to) = (from.format("%H:%M"), (from + TimeDelta::hours(2)).format("%H:%M"));
    let schedule = |only: &str| {
        format!("{{ zone: UTC, windows: [{{ from: \"{from}\", to: \"{to}\" }}]{only} }}")
    };
    format!(
        "policies:\n  - name: deploys-in-hours\n    scope: {{ actions: [\"deploy.*\"] }}\n    when: {{ schedule: {} }}\n    effect: permit\n\
         \x20 - name: no-deploys-after-hours\n    scope: {{ actions: [\"deploy.*\"] }}\n    when: {{ schedule: {} }}\n    effect: deny\n",
        schedule(""),
        schedule(", only: outside")
    )
}

/// `asks`: beside our hook, the CLI has a dialog of its own before it runs a command.
#[track_caller]
fn check(flags: &str, asks: bool) {
    let wish = Wish {
        prompt: "ship it",
        flags: Some(flags),
        agent: "governed = true\ntrust = \"L2\"",
        blocks: "[governance]\nclasses = \"classes.toml\"\nhook_wait = \"1s\"\n",
        ..Wish::default()
    };
    let Some(rig) = Rig::new("claude", wish) else { return };
    rig.fleet.write("classes.toml", CLASSES);
    std::fs::create_dir(rig.fleet.path("policies")).unwrap();
    rig.fleet.write("policies/deploys.yaml", hours(TimeDelta::hours(3)));
    let run = |when: &str| Rule {
        when: Some(when.to_owned()),
        times: None,
        answer: Answer::UseTool {
            tool: "Bash".to_owned(),
            input: json!({ "command": "make deploy", "description": "deploys to staging" }),
        },
    };
    rig.fleet.write("work/Makefile", "deploy:\n\ttouch deployed\n");
    rig.stub.play(Script { rules: vec![run("ship it"), run("once more")] });
    rig.up();
    rig.until("the model is told why not", || {
        let told = |body: &serde_json::Value| {
            body.to_string().contains("ao: denied by the policy `no-deploys-after-hours`")
        };
        rig.stub.turns().iter().any(|turn| told(&turn.body)).then_some(())
    });
    assert!(!rig.fleet.path("work/deployed").exists());
    rig.until_state("idle");

    rig.fleet.write("policies/deploys.yaml", hours(-TimeDelta::hours(1)));
    // Other hours are none until a person accepts them.
    let shown = rig.fleet.well(&["config", "show"]).out;
    assert!(shown.contains("policy file deploys.yaml"), "{shown}");
    rig.fleet.well(&["config", "accept"]);
    rig.fleet.well(&["send", "one", "once more"]);
    if asks {
        // The policy lets it through; what the CLI asks by itself is still asked.
        rig.until_state("waiting");
        assert!(!rig.fleet.path("work/deployed").exists());
    }
    rig.until("it is deployed", || {
        if rig.fleet.path("work/deployed").exists() {
            return Some(());
        }
        // A dialog takes no key in its first moments.
        if asks && rig.reading().state == PaneState::Waiting {
            rig.fleet.tmux(&["send-keys", "-t", "=fleet-one:", "1"]);
        }
        None
    });
    let log = rig.fleet.well(&["audit", "search", "make deploy", "--json"]).out;
    assert!(log.contains("\"deny\"") && log.contains("\"allow_notify\""), "{log}");
    rig.fleet.well(&["audit", "verify"]);
}

#[test]
fn claude_deploys_inside_the_hours_only_although_it_was_told_to_skip_permissions() {
    check("--dangerously-skip-permissions", false);
}

#[test]
fn claude_deploys_inside_the_hours_only_and_still_asks_what_it_asks_by_itself() {
    check("--permission-mode default", true);
}
