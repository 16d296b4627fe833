//! Claude Code: every state, by the real program.

use ao::base::zone::Tz;
use ao::limits;
use ao::run::stub_model::home::Setup;
use ao::run::stub_model::{Answer, Rule, Script};
use ao::screen::PaneState;
use ao::sys::clock;
use chrono::{DurationRound as _, TimeDelta};
use serde_json::json;

use super::rig::{Rig, Wish, long_kickoff, times_in, wall};
use crate::support::fleet::kill;

fn claude(wish: Wish<'_>) -> Option<Rig> {
    Rig::new("claude", wish)
}

/// The conversation a request belongs to.
fn conversation(request: &ao::run::stub_model::Request) -> String {
    let user = request.body["metadata"]["user_id"].as_str().unwrap_or_default();
    let id =
        user.split(|c: char| !(c.is_ascii_hexdigit() || c == '-')).rfind(|part| part.len() == 36);
    id.unwrap_or_else(|| panic!("a conversation's id is in {user}")).to_owned()
}

/// Whether the answer of this conversation stands in its session file.
fn is_written(rig: &Rig, id: &str) -> bool {
    let folders = std::fs::read_dir(rig.fleet.path("home/.claude/projects"));
    let mut folders = folders.into_iter().flatten().flatten();
    folders.any(|folder| {
        let text = std::fs::read_to_string(folder.path().join(format!("{id}.jsonl")));
        text.is_ok_and(|text| text.contains("\"type\":\"assistant\""))
    })
}

#[test]
fn a_long_kickoff_arrives_whole_and_the_end_of_its_turn_is_seen_within_two_seconds() {
    let kickoff = long_kickoff();
    let Some(rig) = claude(Wish { prompt: &kickoff, ..Wish::default() }) else { return };
    rig.stub.always(Answer::slowly(60, 50));
    rig.up();
    rig.until_state("working");
    let ended = wall(rig.until_answered(1));
    let seen = rig.seen("idle", ended - TimeDelta::milliseconds(200));
    assert!(seen - ended <= TimeDelta::seconds(2), "{ended} {seen}");
    let turns = rig.stub.turns();
    assert_eq!(turns.len(), 1, "one turn, asked once");
    assert_eq!(times_in(&turns[0], &kickoff), 1, "{:#?}", turns[0].ask.user_texts);
    assert!(!turns[0].ask.user_texts.join("").contains("<pasted_content"));
}

#[test]
fn a_permission_prompt_waits_for_a_person_and_nothing_is_typed_into_it() {
    let wish =
        Wish { prompt: "make it", flags: Some("--permission-mode default"), ..Wish::default() };
    let Some(rig) = claude(wish) else { return };
    let input = json!({ "command": "touch made", "description": "makes it" });
    rig.stub.always(Answer::UseTool { tool: "Bash".into(), input });
    rig.up();
    rig.until_state("waiting");
    let before = rig.stub.requests().len();
    // A digit would choose an option of the dialog.
    let said = rig.fleet.ao(&["send", "one", "--wait", "3", "1 yes please 1"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("waits for a person"), "{said:?}");
    assert_eq!(rig.stub.requests().len(), before);
    assert!(!rig.fleet.path("work/made").exists());
    assert_eq!(rig.fleet.status().state("one"), "waiting");
    // The person says yes, and it goes on.
    rig.fleet.tmux(&["send-keys", "-t", "=fleet-one:", "1"]);
    rig.until_state("idle");
    assert!(rig.fleet.path("work/made").exists());
}

#[track_caller]
fn check_limit(claim: &str, away: TimeDelta, zone: &str, words: &str) {
    let setup = Setup { subscription: true, ..Setup::default() };
    let wish = Wish { prompt: "go on", setup, env: &[("TZ", zone)], ..Wish::default() };
    let Some(rig) = claude(wish) else { return };
    let now = clock::now().wall;
    let resets = (now + away).duration_trunc(TimeDelta::minutes(1)).unwrap();
    rig.stub.always(Answer::usage_limit(claim, resets.timestamp()));
    rig.up();
    rig.until_state("limited");
    // Its hook told first; its screen is drawn a moment later.
    let text = rig.until("its screen says so too", || {
        let reading = rig.reading();
        (reading.state == PaneState::Limited).then(|| reading.evidence_text())
    });
    assert!(text.contains(words), "{text}");
    // The reader's own zone must not matter: the text names the agent's.
    let (banner, reset) = limits::read(&text, now, Tz::UTC).expect(&text);
    let reset = reset.expect(&text);
    assert_eq!(reset.at, resets, "{text}");
    assert_eq!(banner.scope.words(), words);
    if away < TimeDelta::hours(24) {
        // The CLI announces that it goes on by itself: known, and left alone.
        rig.until("it says that it continues automatically", || {
            let text = rig.reading().evidence_text();
            limits::read(&text, now, Tz::UTC)?.0.continues_itself.then_some(())
        });
    }
    let asked = rig.stub.turns().len();
    let said = rig.fleet.ao(&["send", "one", "--wait", "1", "are you there?"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert_eq!(rig.stub.turns().len(), asked);
    assert_eq!(rig.fleet.status().unit("one")["restarts"], 0);
}

#[test]
fn a_five_hour_limit_is_seen_with_its_instant_in_the_zone_of_the_agent() {
    check_limit("five_hour", TimeDelta::minutes(137), "Asia/Kolkata", "5-hour limit");
}

#[test]
fn a_weekly_limit_days_away_is_seen_with_its_instant() {
    check_limit("seven_day", TimeDelta::hours(75), "America/Los_Angeles", "weekly limit");
}

#[test]
fn an_overloaded_server_is_no_limit_and_no_reason_to_restart() {
    let wish =
        Wish { prompt: "go on", env: &[("CLAUDE_CODE_MAX_RETRIES", "2")], ..Wish::default() };
    let Some(rig) = claude(wish) else { return };
    rig.stub.always(Answer::overloaded());
    rig.up();
    rig.until_state("overloaded");
    rig.stub.always(Answer::say("There it is."));
    // A person does not wait for the next try of the watchdog, two minutes away.
    rig.fleet.tmux(&["send-keys", "-t", "=fleet-one:", "-l", "try again"]);
    rig.until("the text stands in the box", || rig.screen().contains("try again").then_some(()));
    rig.fleet.tmux(&["send-keys", "-t", "=fleet-one:", "Enter"]);
    rig.until_state("idle");
    let events = rig.fleet.events_text();
    assert!(!events.contains("limited: "), "{events}");
    assert_eq!(rig.fleet.status().unit("one")["restarts"], 0);
    assert_eq!(times_in(&rig.last_turn(), "try again"), 1);
}

#[test]
fn a_conversation_that_the_server_refuses_for_ever_is_begun_anew() {
    let Some(rig) = claude(Wish { prompt: "begin well", ..Wish::default() }) else { return };
    rig.stub.play(Script {
        rules: vec![
            Rule { when: Some("poison".into()), times: None, answer: Answer::redacted_thinking() },
            Rule { when: None, times: None, answer: Answer::slowly(5, 10) },
        ],
    });
    rig.up();
    rig.until_answered(1);
    rig.until_state("idle");
    let first = conversation(&rig.last_turn());
    let pid = rig.fleet.status().pid("one").unwrap();
    rig.fleet.well(&["send", "one", "--wait", "60", "poison"]);
    rig.until("another process runs", || rig.fleet.status().pid("one").filter(|&now| now != pid));
    let next = rig.until("a turn of another conversation", || {
        rig.stub.turns().into_iter().find(|turn| conversation(turn) != first)
    });
    assert_eq!(times_in(&next, "begin well"), 1, "the first prompt comes again");
    assert_eq!(times_in(&next, "poison"), 0, "nothing of the old conversation");
    let fatal = rig.fleet.events_text();
    assert!(fatal.contains("its conversation cannot go on"), "{fatal}");
}

#[test]
fn a_killed_process_takes_up_the_same_conversation() {
    let Some(rig) = claude(Wish { prompt: "the number is 4711", ..Wish::default() }) else {
        return;
    };
    rig.stub.always(Answer::slowly(5, 10));
    rig.up();
    rig.until_answered(1);
    rig.until_state("idle");
    let before = rig.stub.turns();
    let first = conversation(&before[0]);
    // Killed before it wrote its session down, it rightly finds no conversation to take up.
    rig.until("the conversation is on the disk", || is_written(&rig, &first).then_some(()));
    let pid = rig.fleet.status().pid("one").unwrap();
    kill(pid);
    rig.until("another process runs", || rig.fleet.status().pid("one").filter(|&now| now != pid));
    rig.until("it is idle again", || (rig.reading().state == PaneState::Idle).then_some(()));
    rig.fleet.well(&["send", "one", "--wait", "30", "which number was it?"]);
    let turn = rig.until("the question came", || {
        rig.stub.turns().into_iter().find(|turn| times_in(turn, "which number was it?") == 1)
    });
    assert_eq!(conversation(&turn), first);
    assert!(times_in(&turn, "the number is 4711") >= 1, "{:#?}", turn.ask.user_texts);
}

#[test]
fn a_conversation_that_is_not_there_any_more_is_begun_anew() {
    let Some(rig) = claude(Wish { prompt: "begin well", ..Wish::default() }) else { return };
    rig.up();
    rig.until_answered(1);
    rig.until_state("idle");
    let first = conversation(&rig.last_turn());
    // It writes its session down in the background, and would lay the file anew.
    rig.until("the conversation is on the disk", || is_written(&rig, &first).then_some(()));
    let pid = rig.fleet.status().pid("one").unwrap();
    std::fs::remove_dir_all(rig.fleet.path("home/.claude/projects")).unwrap();
    kill(pid);
    let next = rig.until("a turn of another conversation", || {
        rig.stub.turns().into_iter().find(|turn| conversation(turn) != first)
    });
    assert_eq!(times_in(&next, "begin well"), 1);
    let whys = rig.fleet.whys("one", "starting").join("\n");
    assert!(whys.contains("refused conversation"), "{whys}");
}

#[track_caller]
fn check_twenty_messages(answer: Answer) {
    let Some(rig) = claude(Wish { prompt: "begin", ..Wish::default() }) else { return };
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
fn the_dialogs_of_a_first_start_are_answered_and_written_down() {
    let setup = Setup { bare: true, ..Setup::default() };
    let Some(rig) = claude(Wish { prompt: "after the dialogs", setup, ..Wish::default() }) else {
        return;
    };
    rig.up();
    rig.until_answered(1);
    rig.until_state("idle");
    assert_eq!(times_in(&rig.last_turn(), "after the dialogs"), 1);
    let whys = rig.fleet.whys("one", "starting").join("\n");
    for dialog in ["trust-folder", "api-key", "bypass-permissions"] {
        assert!(whys.contains(&format!("dialog `{dialog}`: Enter")), "{whys}");
    }
    let events = rig.fleet.events_text();
    assert!(!events.contains("waiting: "), "nobody was called: {events}");
}

#[test]
fn a_dialog_that_nobody_answered_in_the_config_waits_for_a_person() {
    let wish = Wish { prompt: "go", flags: Some("--permission-mode default"), ..Wish::default() };
    let Some(rig) = claude(wish) else { return };
    let servers = json!({ "mcpServers": { "strange": { "command": "strange-server" } } });
    rig.fleet.write("work/.mcp.json", servers.to_string());
    rig.up();
    rig.until_state("waiting");
    let screen = rig.screen();
    let said = rig.fleet.ao(&["send", "one", "--wait", "3", "1"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert_eq!(rig.screen(), screen, "no key was pressed");
    assert_eq!(rig.stub.turns().len(), 0);
}
