//! opencode: every state, by the real program.

use ao::base::zone::Tz;
use ao::run::stub_model::home::Setup;
use ao::run::stub_model::{Answer, Rule, Script};
use ao::screen::PaneState;
use chrono::TimeDelta;
use serde_json::json;

use super::rig::{Rig, Wish, long_kickoff, times_in, wall};
use crate::support::fleet::kill;

fn opencode(wish: Wish<'_>) -> Option<Rig> {
    Rig::new("opencode", wish)
}

#[test]
fn a_long_kickoff_arrives_whole_and_the_end_of_its_turn_is_seen_within_two_seconds() {
    let kickoff = long_kickoff();
    let Some(rig) = opencode(Wish { prompt: &kickoff, ..Wish::default() }) else { return };
    rig.stub.always(Answer::slowly(60, 50));
    rig.up();
    rig.until_state("working");
    let ended = wall(rig.until_answered(1));
    let seen = rig.seen("idle", ended - TimeDelta::milliseconds(200));
    assert!(seen - ended <= TimeDelta::seconds(2), "{ended} {seen}");
    let turns = rig.stub.turns();
    assert_eq!(turns.len(), 1, "one turn, asked once");
    assert_eq!(times_in(&turns[0], &kickoff), 1, "{:#?}", turns[0].ask.user_texts);
}

#[test]
fn a_permission_prompt_waits_for_a_person_and_nothing_is_typed_into_it() {
    let setup = Setup { asks: true, ..Setup::default() };
    let Some(rig) = opencode(Wish { prompt: "make it", setup, ..Wish::default() }) else { return };
    let input = json!({ "command": "touch made", "description": "makes it" });
    rig.stub.always(Answer::UseTool { tool: "bash".into(), input });
    rig.up();
    rig.until_state("waiting");
    let before = rig.stub.requests().len();
    let said = rig.fleet.ao(&["send", "one", "--wait", "3", "1 yes please 1"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("waits for a person"), "{said:?}");
    assert_eq!(rig.stub.requests().len(), before);
    assert!(!rig.fleet.path("work/made").exists());
    // The person says yes, and it goes on.
    rig.fleet.tmux(&["send-keys", "-t", "=fleet-one:", "Enter"]);
    rig.until_state("idle");
    assert!(rig.fleet.path("work/made").exists());
}

#[test]
fn a_limit_that_it_waits_out_is_seen_with_its_end() {
    let Some(rig) = opencode(Wish { prompt: "go on", ..Wish::default() }) else { return };
    rig.stub.always(Answer::openai_error(429, "Rate limit reached for the stub", Some(7_200)));
    rig.up();
    rig.until_state("limited");
    let asked = wall(rig.last_turn().at);
    let told = rig.fleet.status().unit("one")["limited_until"].clone();
    let told: chrono::DateTime<chrono::Utc> = told.as_str().unwrap().parse().unwrap();
    assert!((told - asked - TimeDelta::hours(2)).abs() <= TimeDelta::minutes(2), "{told}");
    // Its hook told first; its screen, drawn piece by piece, says the same.
    let shown = rig.until("its screen tells the end", || {
        let (now, reading) = (ao::sys::clock::now().wall, rig.reading());
        let limited = reading.state == PaneState::Limited;
        let (_, reset) = ao::limits::read(&reading.evidence_text(), now, Tz::UTC)?;
        reset.filter(|_| limited)
    });
    let away = (shown.at - asked - TimeDelta::hours(2)).abs();
    assert!(away <= TimeDelta::minutes(2), "{shown:?}, asked {asked}");
    assert_eq!(rig.fleet.status().unit("one")["restarts"], 0);
}

#[test]
fn a_server_error_is_no_limit_and_no_reason_to_restart() {
    let Some(rig) = opencode(Wish { prompt: "go on", ..Wish::default() }) else { return };
    let refusal = Answer::openai_error(503, "The server had an error", None);
    rig.stub.play(Script {
        rules: vec![
            Rule { when: None, times: Some(2), answer: refusal },
            Rule { when: None, times: None, answer: Answer::say("There it is.") },
        ],
    });
    rig.up();
    rig.until("it came through", || (rig.stub.turns().len() >= 3).then_some(()));
    rig.until_state("idle");
    let events = rig.fleet.events_text();
    assert!(!events.contains("limited: "), "{events}");
    assert_eq!(rig.fleet.status().unit("one")["restarts"], 0);
}

#[test]
fn a_killed_process_goes_on_with_the_same_conversation() {
    let Some(rig) = opencode(Wish { prompt: "the number is 4711", ..Wish::default() }) else {
        return;
    };
    rig.up();
    rig.until_answered(1);
    rig.until_state("idle");
    let pid = rig.fleet.status().pid("one").unwrap();
    kill(pid);
    rig.until("another process runs", || rig.fleet.status().pid("one").filter(|&now| now != pid));
    rig.until("its first prompt came again", || (rig.stub.turns().len() == 2).then_some(()));
    rig.until_state("idle");
    // Once from the conversation it took up, once from this start.
    assert_eq!(times_in(&rig.last_turn(), "the number is 4711"), 2);
}

#[test]
fn a_conversation_that_the_server_refuses_is_begun_anew() {
    let Some(rig) = opencode(Wish { prompt: "begin well", ..Wish::default() }) else { return };
    let refusal = Answer::openai_error(400, "messages.1: invalid content", None);
    rig.stub.play(Script {
        rules: vec![Rule { when: Some("poison".into()), times: None, answer: refusal }],
    });
    rig.up();
    rig.until_answered(1);
    rig.until_state("idle");
    let pid = rig.fleet.status().pid("one").unwrap();
    rig.fleet.well(&["send", "one", "--wait", "60", "poison"]);
    rig.until("another process runs", || rig.fleet.status().pid("one").filter(|&now| now != pid));
    rig.until("its first prompt came again", || {
        let last = rig.last_turn();
        (times_in(&last, "begin well") == 1 && times_in(&last, "poison") == 0).then_some(())
    });
}

#[track_caller]
fn check_twenty_messages(answer: Answer) {
    let Some(rig) = opencode(Wish { prompt: "begin", ..Wish::default() }) else { return };
    rig.stub.always(answer);
    rig.up();
    rig.until_answered(1);
    let texts: Vec<String> =
        (1..=20).map(|number| format!("message <{number}> of twenty")).collect();
    for text in &texts {
        rig.fleet.well(&["send", "one", "--wait", "60", text]);
    }
    rig.until("the last one came", || (times_in(&rig.last_turn(), &texts[19]) == 1).then_some(()));
    rig.until_state("idle");
    let last = rig.last_turn();
    let counts: Vec<usize> = texts.iter().map(|text| times_in(&last, text)).collect();
    assert_eq!(counts, [1; 20], "{:#?}", last.ask.user_texts);
}

#[test]
fn twenty_messages_to_an_idle_agent_are_submitted_exactly_once_each() {
    check_twenty_messages(Answer::say("Yes."));
}

#[test]
fn twenty_messages_to_a_busy_agent_wait_and_are_submitted_exactly_once_each() {
    check_twenty_messages(Answer::slowly(12, 100));
}

#[test]
fn its_own_server_tells_of_turns_and_questions_and_goes_with_its_process() {
    let setup = Setup { asks: true, ..Setup::default() };
    let Some(rig) = opencode(Wish { prompt: "begin", setup, ..Wish::default() }) else { return };
    rig.stub.always(Answer::slowly(5, 100));
    rig.up();
    rig.until_answered(1);
    rig.until("its server tells the end of the turn", || {
        (rig.told_by() == ("api".into(), "turn ended".into())).then_some(())
    });
    let input = json!({ "command": "touch made", "description": "makes it" });
    rig.stub.play(Script {
        rules: vec![Rule {
            when: Some("make it".into()),
            times: None,
            answer: Answer::UseTool { tool: "bash".into(), input },
        }],
    });
    rig.fleet.well(&["send", "one", "--wait", "60", "make it"]);
    rig.until("its server tells the question", || {
        (rig.told_by() == ("api".into(), "permission asked".into())).then_some(())
    });
    assert_eq!(rig.fleet.status().state("one"), "waiting");
    rig.stub.always(Answer::slowly(2_000, 100));
    rig.fleet.tmux(&["send-keys", "-t", "=fleet-one:", "Enter"]);
    rig.until("its server tells that it goes on", || {
        (rig.told_by() == ("api".into(), "turn started".into())).then_some(())
    });
    // The server goes with its process; that of the next start has another port.
    let pid = rig.fleet.status().pid("one").unwrap();
    kill(pid);
    rig.until("another process runs", || rig.fleet.status().pid("one").filter(|&now| now != pid));
    assert_ne!(rig.told_by().0, "api", "nobody speaks for a process that is gone");
    rig.until("the new server is heard", || {
        (rig.told_by() == ("api".into(), "turn started".into())).then_some(())
    });
}
