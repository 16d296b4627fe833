//! Messages that wait for their agent, and people who are told: through the built program and a real tmux.

use std::path::PathBuf;

use expect_test::expect;

use crate::support::fleet::{Fleet, Status, kill};
use crate::support::tmux::{eventually, file_when};

/// A demo agent that plays the scenario and writes down what it truly received.
fn playing(fleet: &Fleet, name: &str, scenario: &str) -> String {
    fleet.write(&format!("{name}.scenario"), scenario);
    format!(
        "[backend.{name}]\npreset = \"demo\"\n\
         bin = \"{{ao}} demo-agent --name {{name}} --scenario DIR/{name}.scenario \
         --truth DIR/{name}.truth\"\n\n\
         [[agent]]\nname = \"{name}\"\nbackend = \"{name}\"\n\n"
    )
}

/// What was submitted to it, oldest first.
fn submitted(fleet: &Fleet, name: &str) -> Vec<String> {
    let path: PathBuf = fleet.path(&format!("{name}.truth"));
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let facts = text.lines().filter_map(|line| serde_json::from_str(line).ok());
    facts
        .filter(|fact: &serde_json::Value| fact["event"] == "submit")
        .map(|fact| fact["text"].as_str().unwrap().trim_end().to_owned())
        .collect()
}

#[test]
fn a_message_waits_until_its_agent_is_idle_and_is_then_typed_once() {
    let fleet = Fleet::new("");
    let blocks = playing(&fleet, "one", "ready\nask 3s \"Do you want to proceed?\"\nwait_submit");
    fleet.configure(&blocks);
    fleet.well(&["up"]);
    fleet.until("it asks", |status| (status.state("one") == "waiting").then_some(()));
    assert_eq!(fleet.well(&["send", "one", "--when-idle", "first; one"]).out, "one  queued\n");
    fleet.well(&["send", "one", "--when-idle", "--replaces", "k", "old"]);
    fleet.well(&["send", "one", "--when-idle", "--replaces", "k", "new"]);
    let queue = fleet.well(&["queue", "--json"]).out;
    let queue: serde_json::Value = serde_json::from_str(&queue).unwrap();
    let lines: Vec<String> = queue["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| format!("{} | {} | {}", line["id"], line["waits_for"], line["text"]))
        .collect();
    assert_eq!(
        lines,
        [r#"1 | "it waits for a person" | "first; one""#, r#"3 | "it waits for a person" | "new""#]
    );
    eventually("both are submitted", || {
        (submitted(&fleet, "one") == ["first; one", "new"]).then_some(())
    });
    eventually("nothing waits any more", || {
        (fleet.well(&["queue"]).out == "no message waits\n").then_some(())
    });
    assert_eq!(fleet.whys("one", "sent").len(), 2);
}

#[test]
fn a_held_message_survives_the_watchdog_and_is_not_typed_twice() {
    let fleet = Fleet::new("");
    let blocks = playing(&fleet, "one", "ready\nask 4s \"Do you want to proceed?\"\nwait_submit");
    fleet.configure(&blocks);
    fleet.well(&["up"]);
    fleet.until("it asks", |status| (status.state("one") == "waiting").then_some(()));
    fleet.well(&["send", "one", "--when-idle", "stays"]);
    kill(fleet.status().watchdog().unwrap());
    eventually("it is submitted", || (submitted(&fleet, "one") == ["stays"]).then_some(()));
    fleet.until("the watchdog is back", Status::watchdog);
    fleet.until("it is done", |_| {
        (fleet.well(&["queue"]).out == "no message waits\n").then_some(())
    });
    assert_eq!(submitted(&fleet, "one"), ["stays"]);
}

#[test]
fn a_message_that_cannot_be_typed_in_time_is_refused_with_the_reason() {
    let fleet = Fleet::new("");
    let blocks = playing(&fleet, "one", "ready\nask \"Do you want to proceed?\"");
    fleet.configure(&blocks);
    fleet.well(&["up"]);
    fleet.until("it asks", |status| (status.state("one") == "waiting").then_some(()));
    let said = fleet.ao(&["send", "one", "--wait", "1", "no"]);
    assert_eq!(said.code, 1);
    expect![[r"
        error: `one` did not get the message: it waits for a person, until the message expired
        hint: nothing was submitted; it is safe to send it again
    "]]
    .assert_eq(&said.err);
    assert_eq!(submitted(&fleet, "one"), [""; 0]);
}

#[test]
fn people_are_told_once_and_a_notifier_that_fails_is_shown() {
    let fleet = Fleet::new("");
    let agent = playing(&fleet, "one", "ready\nask \"Do you want to proceed?\"");
    fleet.configure(&format!("{agent}[notify]\ncommand = \"cat >> DIR/told; echo >> DIR/told\"\n"));
    fleet.well(&["up"]);
    let told = file_when(&fleet.path("told"), |text| text.contains('\n'));
    let told: serde_json::Value = serde_json::from_str(told.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&told["unit"], &told["event"], &told["times"]),
        (&"one".into(), &"state".into(), &1.into())
    );
    assert_eq!(told["why"], "waiting: Do you want to proceed?");
    assert!(fleet.status().0["watchdog"]["notify_problem"].is_null());

    fleet.configure(&format!(
        "{agent}[notify]\ncommand = \"echo no mail today >&2; exit 7\"\nrepeat_after = 0\n"
    ));
    fleet.well(&["restart", "one"]);
    let problem = fleet.until("it is shown", |status| {
        status.0["watchdog"]["notify_problem"].as_str().map(str::to_owned)
    });
    assert_eq!(problem, "exit status 7: no mail today");
    assert_eq!(fleet.ao(&["status", "--check"]).code, 3);
}
