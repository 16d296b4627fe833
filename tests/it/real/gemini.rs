//! Gemini CLI: its states, by the real program.

use ao::run::stub_model::home::{self, Setup};
use ao::run::stub_model::{Answer, Rule, Script};
use ao::screen::PaneState;
use chrono::TimeDelta;

use super::rig::{Rig, Wish, long_kickoff, times_in, wall};
use crate::support::fleet::kill;

fn gemini(wish: Wish<'_>) -> Option<Rig> {
    Rig::new("gemini", wish)
}

#[test]
fn a_long_kickoff_arrives_whole_and_the_end_of_its_turn_is_seen_within_three_seconds() {
    let kickoff = long_kickoff();
    let Some(rig) = gemini(Wish { prompt: &kickoff, ..Wish::default() }) else { return };
    rig.stub.always(Answer::slowly(60, 50));
    rig.up();
    rig.until_state("working");
    let ended = wall(rig.until_answered(1));
    let seen = rig.seen("idle", ended - TimeDelta::milliseconds(200));
    assert!(seen - ended <= TimeDelta::seconds(3), "{ended} {seen}");
    let turns = rig.stub.turns();
    assert_eq!(turns.len(), 1, "one turn, asked once");
    assert_eq!(times_in(&turns[0], &kickoff), 1, "{:#?}", turns[0].ask.user_texts);
}

#[test]
fn a_permission_prompt_waits_for_a_person_and_nothing_is_typed_into_it() {
    let wish = Wish {
        prompt: "make it",
        flags: home::asking_flags("gemini"),
        setup: Setup { asks: true, ..Setup::default() },
        ..Wish::default()
    };
    let Some(rig) = gemini(wish) else { return };
    rig.stub.always(home::command_call("gemini"));
    rig.up();
    rig.until_state("waiting");
    let before = rig.stub.turns().len();
    // A digit would choose, Enter would allow.
    let said = rig.fleet.ao(&["send", "one", "--wait", "3", "1 yes please 1"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("waits for a person"), "{said:?}");
    assert_eq!(rig.stub.turns().len(), before);
    assert!(!rig.fleet.path("work/asked").exists());
    // The person says yes, and it goes on.
    rig.fleet.tmux(&["send-keys", "-t", "=fleet-one:", "Enter"]);
    rig.until_state("idle");
    assert!(rig.fleet.path("work/asked").exists());
}

#[test]
fn a_usage_limit_is_seen_with_its_end() {
    let wish = Wish { prompt: "go on", env: &[("TZ", "UTC")], ..Wish::default() };
    let Some(rig) = gemini(wish) else { return };
    let away = TimeDelta::minutes(137);
    let secs = u64::try_from(away.num_seconds()).unwrap();
    rig.stub.always(Answer::google_error(429, "RESOURCE_EXHAUSTED", "Quota exceeded.", Some(secs)));
    rig.up();
    rig.until_state("limited");
    let asked = wall(rig.last_turn().at);
    let told = rig.fleet.status().unit("one")["limited_until"].clone();
    let told: chrono::DateTime<chrono::Utc> = told.as_str().unwrap().parse().unwrap();
    assert!((told - asked - away).abs() <= TimeDelta::minutes(2), "{told}, asked {asked}");
    let turns = rig.stub.turns().len();
    assert_eq!(rig.fleet.ao(&["send", "one", "--wait", "1", "are you there?"]).code, 1);
    assert_eq!(rig.stub.turns().len(), turns);
    assert_eq!(rig.fleet.status().unit("one")["restarts"], 0);
}

#[test]
fn ten_messages_arrive_once_each() {
    let Some(rig) = gemini(Wish { prompt: "begin well", ..Wish::default() }) else { return };
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
fn a_killed_process_comes_back_with_its_first_prompt() {
    let Some(rig) = gemini(Wish { prompt: "begin well", ..Wish::default() }) else { return };
    rig.up();
    rig.until_answered(1);
    rig.until_state("idle");
    let pid = rig.fleet.status().pid("one").unwrap();
    kill(pid);
    rig.until("another process runs", || rig.fleet.status().pid("one").filter(|&now| now != pid));
    rig.until("its first prompt came again", || (rig.stub.turns().len() == 2).then_some(()));
    rig.until("it is idle", || (rig.reading().state == PaneState::Idle).then_some(()));
    assert_eq!(times_in(&rig.last_turn(), "begin well"), 1);
}

#[test]
fn a_question_about_running_in_circles_waits_although_the_title_says_ready() {
    let Some(rig) = gemini(Wish { prompt: "go on", ..Wish::default() }) else { return };
    let answer = Answer::Say { text: "word ".repeat(60), thinking: None, pause_ms: 20 };
    rig.stub.always(answer);
    rig.up();
    rig.until("it asks", || rig.screen().contains("A potential loop was detected").then_some(()));
    rig.until_state("waiting");
    let said = rig.fleet.ao(&["send", "one", "--wait", "3", "2"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(rig.screen().contains("A potential loop was detected"), "nobody chose");
}
