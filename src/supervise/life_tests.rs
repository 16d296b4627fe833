//! One unit's life: what each look, reading, outcome and wish means for it.

#![expect(clippy::needless_raw_string_hashes, reason = "expect-test writes its snapshots so")]

use expect_test::expect;

use super::action::Action;
use super::decide::decide;
use super::event::{Event, Seen, StopOutcome};
use super::state::{Death, Fleet, Life, Then, UnitKind, UnitSpec};
use super::story::{
    alive, check, configured, exited, gone, looked, name, now, opened, reading, restart, running,
    runs, spec, tell, up, words,
};
use crate::base::name::PaneId;
use crate::base::now::Mono;
use crate::config::section::detect::Cure;
use crate::screen::{Evidence, PaneState};

#[test]
fn a_start_that_ended_before_anybody_heard_of_it_is_not_taken_for_lost() {
    let mut fleet = Fleet::default();
    decide(&mut fleet, &configured(&[spec("a")], &[]), now(0));
    decide(&mut fleet, &looked(Vec::new()), now(0));
    decide(&mut fleet, &up("r", &["a"]), now(1));
    let attempt = fleet.units[&name("a")].attempt;
    let death = Death::Exited { status: 78 };
    let of = |of| vec![("a", Seen::Dead { death: death.clone(), of })];
    decide(&mut fleet, &looked(of(Some(attempt - 1))), now(2));
    assert!(
        matches!(fleet.units[&name("a")].life, Life::Starting { .. }),
        "what an older one left"
    );
    decide(&mut fleet, &looked(of(Some(attempt))), now(3));
    assert!(matches!(fleet.units[&name("a")].life, Life::Failed { .. }));
}

#[test]
fn what_an_older_attempt_says_is_ignored() {
    let mut fleet = running(&spec("a"));
    tell(&mut fleet, &[(1, looked(vec![exited("a", 1)]))]);
    let attempt = fleet.units[&name("a")].attempt;
    assert_eq!(attempt, 2, "it was started again");
    let before = fleet.clone();
    tell(&mut fleet, &[(2, opened("a", 1, 5))]);
    assert_eq!(fleet, before);
    tell(&mut fleet, &[(3, opened("a", 2, 6))]);
    let before = fleet.clone();
    tell(&mut fleet, &[(4, reading("a", 1, PaneState::Fatal, None))]);
    assert_eq!(fleet, before);
    tell(&mut fleet, &[(5, restart("r", &["a"]))]);
    let before = fleet.clone();
    tell(&mut fleet, &[(6, gone("a", 1))]);
    assert_eq!(fleet, before);
}

#[test]
fn a_start_given_up_as_lost_that_opens_late_is_taken() {
    check(
        running(&spec("a")),
        &[
            (1, looked(vec![exited("a", 1)])),
            (29, looked(vec![])),
            (31, looked(vec![])),
            (32, opened("a", 2, 7)),
        ],
        expect![[r#"
            1 s looked
                a: died: exited with status 1 after 1 s
                a: starting: exited with status 1
                START a 2
            29 s looked
            31 s looked
                a: died: its start was interrupted
                a: restart planned: its start was interrupted; next start in 4 s
                next at 35235 ms
            32 s started
                a: started: pane %7, pid 7
        "#]],
    );
}

#[test]
fn a_foreign_session_is_left_alone_and_the_unit_returns_when_the_name_is_free() {
    check(
        running(&spec("a")),
        &[
            (10, looked(vec![("a", Seen::Foreign)])),
            (20, Event::Tick),
            (21, up("u", &["a"])),
            (22, restart("r", &["a"])),
            (30, looked(vec![("a", Seen::Foreign)])),
            (40, looked(vec![])),
        ],
        expect![[r#"
            10 s looked
                a: foreign session: a session named `a` exists that ao did not start; it is left alone (!)
                a: died: its session is gone after 10 s
            20 s tick
            21 s requested
                ANSWER u: a Failed { why: "a session named `a` exists that ao did not start" }
            22 s requested
                ANSWER r: a Failed { why: "a session named `a` exists that ao did not start" }
            30 s looked
            40 s looked
                a: starting: its session is gone
                START a 2
        "#]],
    );
}

#[test]
fn restarts_wait_longer_each_time_and_end_after_the_allowed_number() {
    check(
        running(&spec("a")),
        &[
            (10, looked(vec![exited("a", 1)])),
            (11, opened("a", 2, 2)),
            (12, looked(vec![exited("a", 1)])),
            (13, Event::Tick),
            (20, Event::Tick),
            (21, opened("a", 3, 3)),
            (22, looked(vec![exited("a", 1)])),
            (30, Event::Tick),
            (40, Event::Tick),
            (41, opened("a", 4, 4)),
            (42, looked(vec![exited("a", 1)])),
            (43, restart("r", &["a"])),
            (44, opened("a", 5, 5)),
        ],
        expect![[r#"
            10 s looked
                a: died: exited with status 1 after 10 s
                a: starting: exited with status 1
                START a 2
            11 s started
                a: started: pane %2, pid 2
            12 s looked
                a: died: exited with status 1 after 1 s
                a: restart planned: exited with status 1; next start in 4 s
                next at 16235 ms
            13 s tick
                next at 16235 ms
            20 s tick
                a: starting: exited with status 1
                START a 3
            21 s started
                a: started: pane %3, pid 3
            22 s looked
                a: died: exited with status 1 after 1 s
                a: restart planned: exited with status 1; next start in 9 s
                next at 31770 ms
            30 s tick
                next at 31770 ms
            40 s tick
                a: starting: exited with status 1
                START a 4
            41 s started
                a: started: pane %4, pid 4
            42 s looked
                a: died: exited with status 1 after 1 s
                a: failed: restarted 3 times within an hour, last: exited with status 1; `ao restart a` tries again (!)
            43 s requested
                a: starting: asked for by `ao restart`
                START a 5
            44 s started
                a: started: pane %5, pid 5
                ANSWER r: a Started
        "#]],
    );
}

#[test]
fn a_fatal_screen_needs_two_looks_and_five_seconds_and_then_starts_fresh() {
    let fatal = |cure| reading("a", 1, PaneState::Fatal, cure);
    check(
        running(&spec("a")),
        &[
            (10, fatal(Some(Cure::Fresh))),
            (14, fatal(Some(Cure::Fresh))),
            (15, fatal(Some(Cure::Fresh))),
            (16, gone("a", 1)),
        ],
        expect![[r#"
            10 s read
                a: state: fatal: what it says
            14 s read
            15 s read
                a: stopping: its conversation cannot go on: what it says
                STOP a 1
            16 s stopped
                a: stopped: its conversation cannot go on: what it says; it left
                a: starting: its conversation cannot go on: what it says
                START a 2 fresh
        "#]],
    );
    check(
        running(&spec("a")),
        &[
            (10, fatal(Some(Cure::Fresh))),
            (11, reading("a", 1, PaneState::Idle, None)),
            (30, fatal(None)),
        ],
        expect![[r#"
            10 s read
                a: state: fatal: what it says
            11 s read
                a: state: idle: what it says
            30 s read
                a: state: fatal: what it says
        "#]],
    );
}

#[test]
fn what_only_a_person_or_time_can_cure_is_not_killed() {
    for cure in [Cure::Person, Cure::Wait] {
        let mut fleet = running(&spec("a"));
        let looks: Vec<(u64, Event)> =
            (0..5).map(|look| (look * 60, reading("a", 1, PaneState::Fatal, Some(cure)))).collect();
        assert!(!tell(&mut fleet, &looks).contains("STOP"), "{cure:?}");
    }
}

#[test]
fn a_wrong_program_is_healed_after_two_looks_but_not_while_it_waits_for_a_person() {
    let wrong = || looked(vec![runs("a", 1, "vim")]);
    check(
        running(&spec("a")),
        &[
            (10, wrong()),
            (11, looked(vec![alive("a", 1)])),
            (12, wrong()),
            (13, wrong()),
            (14, gone("a", 1)),
        ],
        expect![[r#"
            10 s looked
            11 s looked
            12 s looked
            13 s looked
                a: stopping: no `agent` runs in its pane (found vim) in two looks
                STOP a 1
            14 s stopped
                a: stopped: no `agent` runs in its pane (found vim) in two looks; it left
                a: starting: no `agent` runs in its pane (found vim) in two looks
                START a 2
        "#]],
    );
    check(
        running(&spec("a")),
        &[
            (9, reading("a", 1, PaneState::Waiting, None)),
            (10, wrong()),
            (11, wrong()),
            (12, wrong()),
        ],
        expect![[r#"
            9 s read
                a: state: waiting: what it says (!)
            10 s looked
            11 s looked
            12 s looked
        "#]],
    );
}

#[test]
fn a_task_that_exits_with_0_is_done_and_an_agent_is_not() {
    let task = UnitSpec { kind: UnitKind::Task, ..spec("a") };
    check(
        running(&task),
        &[(60, looked(vec![exited("a", 0)])), (70, looked(vec![]))],
        expect![[r#"
            60 s looked
                a: died: exited with status 0 after 1 min
                a: done: the task exited with status 0 (!)
            70 s looked
        "#]],
    );
    check(
        running(&spec("a")),
        &[(60, looked(vec![exited("a", 0)]))],
        expect![[r#"
        60 s looked
            a: died: exited with status 0 after 1 min
            a: starting: exited with status 0
            START a 2
    "#]],
    );
}

#[test]
fn a_launch_line_that_cannot_start_its_agent_is_not_tried_again() {
    check(
        running(&spec("a")),
        &[(1, looked(vec![exited("a", 78)])), (600, looked(vec![])), (601, restart("r", &["a"]))],
        expect![[r#"
            1 s looked
                a: died: exited with status 78 after 1 s
                a: failed: it could not enter its folder or read its prompt (exit status 78); see `ao logs` (!)
            600 s looked
            601 s requested
                a: starting: asked for by `ao restart`
                START a 2
        "#]],
    );
}

#[test]
fn a_wanted_unit_that_goes_missing_again_and_again_meets_the_restart_limit() {
    let mut fleet = running(&spec("a"));
    let failed = || StopOutcome::Failed { why: "tmux did not answer".to_owned() };
    let unit = name("a");
    for at in 0..3 {
        fleet.units.get_mut(&unit).expect("listed").restarts.record(Mono(at));
    }
    let found = fleet.units.get_mut(&unit).expect("listed");
    found.life = Life::Stopping {
        since: Mono(0),
        then: Then::RestartAt { at: Mono(9) },
        cause: "x".to_owned(),
    };
    check(
        fleet,
        &[(5, Event::Stopped { unit, attempt: 1, outcome: failed() }), (6, looked(vec![]))],
        expect![[r#"
            5 s stopped
                a: stop failed: tmux did not answer (!)
                LOOK
            6 s looked
                a: failed: restarted 3 times within an hour, last: its session is gone; `ao restart a` tries again (!)
        "#]],
    );
}

fn every_life() -> Vec<(&'static str, Life)> {
    let (since, wall) = (Mono(100_000), now(0).wall);
    vec![
        ("not started", Life::NotStarted),
        ("starting", Life::Starting { since }),
        ("running", Life::Running { pane: PaneId::new("%1"), pid: 1, since, since_wall: wall }),
        ("stopping", Life::Stopping { since, then: Then::Rest, cause: "x".to_owned() }),
        (
            "dead",
            Life::Dead {
                evidence: Death::Unexplained,
                since: wall,
                restart_at: Some(Mono(u64::MAX)),
            },
        ),
        (
            "dead for good",
            Life::Dead { evidence: Death::Unexplained, since: wall, restart_at: None },
        ),
        ("failed", Life::Failed { why: "x".to_owned(), since: wall }),
        ("done", Life::Done { since: wall }),
    ]
}

fn life_word(life: &Life) -> &'static str {
    match life {
        Life::NotStarted => "not started",
        Life::Starting { .. } => "starting",
        Life::Running { .. } => "running",
        Life::Stopping { .. } => "stopping",
        Life::Dead { restart_at: Some(_), .. } => "dead",
        Life::Dead { restart_at: None, .. } => "dead for good",
        Life::Failed { .. } => "failed",
        Life::Done { .. } => "done",
    }
}

#[test]
fn the_table_of_lives_and_sightings_has_no_empty_cell() {
    let mut table = String::new();
    for (row, life) in every_life() {
        let seen = [
            ("same", Some(alive("a", 1))),
            ("other", Some(alive("a", 2))),
            ("exit 1", Some(exited("a", 1))),
            ("nothing", None),
            ("foreign", Some(("a", Seen::Foreign))),
        ];
        for (column, seen) in seen {
            for late in [false, true] {
                let mut fleet = running(&spec("a"));
                let unit = fleet.units.get_mut(&name("a")).expect("listed");
                unit.life = life.clone();
                let at = now(if late { 140_000 } else { 101_000 });
                let panes = seen.clone().into_iter().collect();
                let actions = decide(&mut fleet, &looked(panes), at);
                let asked: Vec<String> = actions
                    .iter()
                    .filter(|action| !matches!(action, Action::Report(_)))
                    .map(words)
                    .collect();
                let after = life_word(&fleet.units[&name("a")].life);
                let when = if late { "40 s" } else { "1 s" };
                let line = format!("{row} {when} + {column} -> {after} {}", asked.join(", "));
                table.push_str(line.trim_end());
                table.push('\n');
            }
        }
    }
    expect![[r#"
        not started 1 s + same -> running
        not started 40 s + same -> running
        not started 1 s + other -> running
        not started 40 s + other -> running
        not started 1 s + exit 1 -> starting START a 2
        not started 40 s + exit 1 -> starting START a 2
        not started 1 s + nothing -> starting START a 2
        not started 40 s + nothing -> starting START a 2
        not started 1 s + foreign -> not started
        not started 40 s + foreign -> not started
        starting 1 s + same -> running
        starting 40 s + same -> running
        starting 1 s + other -> running
        starting 40 s + other -> running
        starting 1 s + exit 1 -> starting
        starting 40 s + exit 1 -> starting START a 2
        starting 1 s + nothing -> starting
        starting 40 s + nothing -> starting START a 2
        starting 1 s + foreign -> starting
        starting 40 s + foreign -> dead
        running 1 s + same -> running
        running 40 s + same -> running
        running 1 s + other -> running
        running 40 s + other -> running
        running 1 s + exit 1 -> starting START a 2
        running 40 s + exit 1 -> starting START a 2
        running 1 s + nothing -> running LOOK
        running 40 s + nothing -> starting START a 2
        running 1 s + foreign -> running LOOK
        running 40 s + foreign -> dead
        stopping 1 s + same -> stopping
        stopping 40 s + same -> stopping STOP a 1
        stopping 1 s + other -> stopping
        stopping 40 s + other -> stopping STOP a 1
        stopping 1 s + exit 1 -> stopping
        stopping 40 s + exit 1 -> stopping STOP a 1
        stopping 1 s + nothing -> stopping
        stopping 40 s + nothing -> stopping STOP a 1
        stopping 1 s + foreign -> stopping
        stopping 40 s + foreign -> stopping STOP a 1
        dead 1 s + same -> running
        dead 40 s + same -> running
        dead 1 s + other -> running
        dead 40 s + other -> running
        dead 1 s + exit 1 -> dead
        dead 40 s + exit 1 -> dead
        dead 1 s + nothing -> dead
        dead 40 s + nothing -> dead
        dead 1 s + foreign -> dead
        dead 40 s + foreign -> dead
        dead for good 1 s + same -> running
        dead for good 40 s + same -> running
        dead for good 1 s + other -> running
        dead for good 40 s + other -> running
        dead for good 1 s + exit 1 -> starting START a 2
        dead for good 40 s + exit 1 -> starting START a 2
        dead for good 1 s + nothing -> starting START a 2
        dead for good 40 s + nothing -> starting START a 2
        dead for good 1 s + foreign -> dead
        dead for good 40 s + foreign -> dead
        failed 1 s + same -> running
        failed 40 s + same -> running
        failed 1 s + other -> running
        failed 40 s + other -> running
        failed 1 s + exit 1 -> failed
        failed 40 s + exit 1 -> failed
        failed 1 s + nothing -> failed
        failed 40 s + nothing -> failed
        failed 1 s + foreign -> failed
        failed 40 s + foreign -> failed
        done 1 s + same -> running
        done 40 s + same -> running
        done 1 s + other -> running
        done 40 s + other -> running
        done 1 s + exit 1 -> done
        done 40 s + exit 1 -> done
        done 1 s + nothing -> done
        done 40 s + nothing -> done
        done 1 s + foreign -> done
        done 40 s + foreign -> done
    "#]]
    .assert_eq(&table);
}

#[test]
fn a_look_that_was_made_before_its_start_is_not_taken_for_its_end() {
    check(
        running(&spec("a")),
        &[
            (3, looked(vec![])),
            (3, looked(vec![alive("a", 1)])),
            (4, looked(vec![])),
            (4, looked(vec![])),
        ],
        expect![[r#"
            3 s looked
                LOOK
            3 s looked
            4 s looked
                LOOK
            4 s looked
                a: died: its session is gone after 4 s
                a: starting: its session is gone
                START a 2
        "#]],
    );
    let mut fleet = running(&spec("a"));
    let looks = [(4, looked(vec![])), (4, restart("r", &["a"])), (5, gone("a", 1))];
    tell(&mut fleet, &looks);
    tell(&mut fleet, &[(6, opened("a", 2, 2)), (7, looked(vec![]))]);
    assert!(fleet.units[&name("a")].is_running(), "each start is doubted anew");
}

#[test]
fn one_fatal_look_within_a_limit_does_not_give_its_conversation_up() {
    let mut fleet = running(&spec("a"));
    let banner = "You've hit your 5-hour limit · resets 1970-01-01T03:00:00Z";
    let evidence =
        Evidence { rule: "rule".to_owned(), region: "live".to_owned(), text: banner.to_owned() };
    let Event::Read { unit, attempt, reading: mut limited } =
        reading("a", 1, PaneState::Limited, None)
    else {
        unreachable!("it is a reading")
    };
    limited.evidence = vec![evidence];
    tell(&mut fleet, &[(10, Event::Read { unit, attempt, reading: limited })]);
    let given_up =
        |fleet: &Fleet| fleet.units[&name("a")].window.as_ref().expect("it is limited").dead;
    let fatal = || reading("a", 1, PaneState::Fatal, None);
    tell(&mut fleet, &[(20, fatal()), (30, reading("a", 1, PaneState::Idle, None))]);
    assert!(!given_up(&fleet), "a line that went by");
    tell(&mut fleet, &[(40, fatal()), (44, fatal())]);
    assert!(!given_up(&fleet), "it does not stand long enough yet");
    tell(&mut fleet, &[(45, fatal())]);
    assert!(given_up(&fleet));
    assert!(fleet.units[&name("a")].fresh_next);
}

#[test]
fn a_name_that_was_taken_while_it_stopped_is_not_started_on() {
    let fleet = check(
        running(&spec("a")),
        &[
            (10, restart("r", &["a"])),
            (11, looked(vec![("a", Seen::Foreign)])),
            (12, gone("a", 1)),
            (20, looked(vec![])),
        ],
        expect![[r#"
            10 s requested
                a: stopping: asked for by `ao restart`
                STOP a 1
            11 s looked
                a: foreign session: a session named `a` exists that ao did not start; it is left alone (!)
            12 s stopped
                a: stopped: asked for by `ao restart`; it left
                a: died: its session's name was taken
                ANSWER r: a Failed { why: "a session named `a` exists that ao did not start" }
            20 s looked
                a: starting: its session's name was taken
                START a 2
        "#]],
    );
    assert!(matches!(fleet.units[&name("a")].life, Life::Starting { .. }));
}

#[test]
fn a_server_that_was_not_there_before_its_start_is_looked_for_once_more() {
    let gone = || Event::ServerGone { evidence: "its pid is gone".to_owned() };
    let mut fleet = running(&spec("a"));
    assert!(tell(&mut fleet, &[(3, gone())]).contains("LOOK"));
    tell(&mut fleet, &[(3, looked(vec![alive("a", 1)]))]);
    assert!(fleet.units[&name("a")].is_running());
    assert!(tell(&mut fleet, &[(3, gone()), (3, gone())]).contains("START a 2"));
    let mut fleet = running(&spec("a"));
    assert!(tell(&mut fleet, &[(30, gone())]).contains("START a 2"), "an older one is believed");
}
