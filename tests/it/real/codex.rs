//! Codex: its states, by the real program.

use ao::base::zone::Tz;
use ao::limits;
use ao::run::stub_model::home::{self, Setup};
use ao::run::stub_model::{Answer, Rule, Script};
use ao::screen::PaneState;
use ao::sys::clock;
use chrono::{DurationRound as _, TimeDelta};

use super::rig::{Rig, Wish, long_kickoff, times_in, wall};
use crate::support::fleet::kill;

fn codex(wish: Wish<'_>) -> Option<Rig> {
    Rig::new("codex", wish)
}

#[test]
fn a_long_kickoff_arrives_whole_and_the_end_of_its_turn_is_seen_within_two_seconds() {
    let kickoff = long_kickoff();
    let Some(rig) = codex(Wish { prompt: &kickoff, ..Wish::default() }) else { return };
    rig.stub.always(Answer::slowly(60, 50));
    rig.up();
    rig.until_state("working");
    let ended = wall(rig.until_answered(1));
    let seen = rig.seen("idle", ended - TimeDelta::milliseconds(200));
    assert!(seen - ended <= TimeDelta::seconds(2), "{ended} {seen}");
    let turns = rig.stub.turns();
    assert_eq!(times_in(&turns[0], &kickoff), 1, "{:#?}", turns[0].ask.user_texts);
}

#[test]
fn a_permission_prompt_waits_for_a_person_and_nothing_is_typed_into_it() {
    let wish = Wish {
        prompt: "make it",
        flags: home::asking_flags("codex"),
        setup: Setup { asks: true, ..Setup::default() },
        ..Wish::default()
    };
    let Some(rig) = codex(wish) else { return };
    rig.stub.always(home::command_call("codex"));
    rig.up();
    rig.until_state("waiting");
    let before = rig.stub.turns().len();
    // Its letters choose: "p" would allow the command for ever.
    let said = rig.fleet.ao(&["send", "one", "--wait", "3", "please try again"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("waits for a person"), "{said:?}");
    assert_eq!(rig.stub.turns().len(), before);
    assert!(!rig.fleet.path("work/asked").exists());
    // The person says yes, and it goes on.
    rig.fleet.tmux(&["send-keys", "-t", "=fleet-one:", "y"]);
    rig.until_state("idle");
    assert!(rig.fleet.path("work/asked").exists());
}

#[test]
fn a_usage_limit_is_seen_with_its_instant() {
    let wish = Wish { prompt: "go on", env: &[("TZ", "UTC")], ..Wish::default() };
    let Some(rig) = codex(wish) else { return };
    let now = clock::now().wall;
    let resets = (now + TimeDelta::minutes(137)).duration_trunc(TimeDelta::minutes(1)).unwrap();
    rig.stub.always(Answer::plan_limit(resets.timestamp()));
    rig.up();
    rig.until_state("limited");
    let text = rig.until("its screen says so", || {
        let reading = rig.reading();
        (reading.state == PaneState::Limited).then(|| reading.evidence_text())
    });
    let (_, reset) = limits::read(&text, now, Tz::UTC).expect(&text);
    assert_eq!(reset.expect(&text).at, resets, "{text}");
    let asked = rig.stub.turns().len();
    assert_eq!(rig.fleet.ao(&["send", "one", "--wait", "1", "are you there?"]).code, 1);
    assert_eq!(rig.stub.turns().len(), asked);
    assert_eq!(rig.fleet.status().unit("one")["restarts"], 0);
}

#[test]
fn ten_messages_arrive_once_each() {
    let Some(rig) = codex(Wish { prompt: "begin well", ..Wish::default() }) else { return };
    rig.stub.play(Script {
        rules: vec![Rule { when: None, times: None, answer: Answer::slowly(5, 10) }],
    });
    rig.up();
    rig.until_answered(1);
    rig.until_state("idle");
    for number in 0..10 {
        rig.fleet.well(&["send", "one", "--wait", "60", &format!("message-{number} for you")]);
    }
    let last = rig.until("the last message is asked about", || {
        rig.stub.turns().into_iter().find(|turn| times_in(turn, "message-9 for you") > 0)
    });
    for number in 0..10 {
        assert_eq!(times_in(&last, &format!("message-{number} for you")), 1, "{number}");
    }
}

#[test]
fn a_killed_process_takes_up_the_same_conversation() {
    let wish = Wish { prompt: "the number is 4711", ..Wish::default() };
    let Some(rig) = codex(wish) else { return };
    rig.stub.always(Answer::slowly(5, 10));
    rig.up();
    rig.until_answered(1);
    rig.until_state("idle");
    let pid = rig.fleet.status().pid("one").unwrap();
    kill(pid);
    rig.until("another process runs", || rig.fleet.status().pid("one").filter(|&now| now != pid));
    rig.until("it is idle again", || (rig.reading().state == PaneState::Idle).then_some(()));
    rig.fleet.well(&["send", "one", "--wait", "60", "which number was it?"]);
    let turn = rig.until("the question came", || {
        rig.stub.turns().into_iter().find(|turn| times_in(turn, "which number was it?") == 1)
    });
    // Once of old, and once more as the kickoff of the new start.
    assert_eq!(times_in(&turn, "the number is 4711"), 2, "{:#?}", turn.ask.user_texts);
}

#[test]
fn its_record_tells_the_end_of_turns_and_of_a_limit_to_the_second() {
    let wish = Wish { prompt: "begin", env: &[("TZ", "UTC")], ..Wish::default() };
    let Some(rig) = codex(wish) else { return };
    rig.stub.always(Answer::slowly(5, 10));
    rig.up();
    rig.until_answered(1);
    rig.until("its record tells the end of the turn", || {
        (rig.told_by() == ("rollout".into(), "turn ended".into())).then_some(())
    });
    let resets = clock::now().wall.timestamp() + 8_237;
    let Answer::Refuse { status, mut headers, body } = Answer::plan_limit(resets) else {
        unreachable!("a limit is a refusal");
    };
    for (name, value) in [
        ("x-codex-primary-used-percent", "100".to_owned()),
        ("x-codex-primary-window-minutes", "300".to_owned()),
        ("x-codex-primary-reset-at", resets.to_string()),
    ] {
        headers.insert(name.to_owned(), value);
    }
    rig.stub.always(Answer::Refuse { status, headers, body });
    rig.fleet.well(&["send", "one", "--wait", "60", "go on"]);
    rig.until("its record tells the limit", || {
        (rig.told_by() == ("rollout".into(), "limit hit".into())).then_some(())
    });
    let text = rig.evidence()["text"].as_str().unwrap().to_owned();
    assert!(text.ends_with(&format!("usage limit reached|{resets}")), "{text}");
    assert_eq!(rig.fleet.status().state("one"), "limited");
}

#[test]
fn a_turn_that_fails_without_a_hook_does_not_stay_working() {
    let Some(rig) = codex(Wish { prompt: "go on", ..Wish::default() }) else { return };
    rig.stub.always(Answer::openai_error(503, "The server had an error", None));
    rig.up();
    rig.until_state("working");
    rig.until("its record tells the failure", || {
        (rig.told_by() == ("rollout".into(), "turn failed".into())).then_some(())
    });
    assert_eq!(rig.fleet.status().state("one"), "overloaded");
    assert_eq!(rig.fleet.status().unit("one")["restarts"], 0);
}

#[test]
fn without_hooks_its_output_tells_that_it_works_and_that_it_asks() {
    let wish = Wish {
        prompt: "make it",
        flags: home::asking_flags("codex"),
        setup: Setup { asks: true, ..Setup::default() },
        agent: "hooks = false",
        ..Wish::default()
    };
    let Some(rig) = codex(wish) else { return };
    rig.stub.play(Script {
        rules: vec![
            Rule { when: Some("again".into()), times: None, answer: home::command_call("codex") },
            Rule { when: None, times: None, answer: Answer::slowly(40, 100) },
        ],
    });
    rig.up();
    let told = |state: &str| {
        let state = state.to_owned();
        let rig = &rig;
        move || {
            let evidence = rig.evidence();
            let said = (evidence["region"] == "osc_7501", evidence["text"] == state.as_str());
            (said == (true, true)).then_some(())
        }
    };
    rig.until("its output tells that it works", told("working"));
    rig.until_state("idle");
    rig.fleet.well(&["send", "one", "--wait", "60", "again"]);
    rig.until("its output tells that it asks", told("waiting"));
    assert_eq!(rig.fleet.status().state("one"), "waiting");
}
