//! Stories of supervision: what happened, and what the core said and asked for.
//!
//! One line per event, its consequences below it. Left out: long runs with a misbehaving world, which
//! the simulation among the integration tests plays.

#![expect(clippy::needless_raw_string_hashes, reason = "expect-test writes its snapshots so")]

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::action::Action;
use super::decide::decide;
use super::event::{Event, Outcome, Request, RequestId, Seen, Sighting, StartOutcome, StopOutcome};
use super::settings::Settings;
use super::state::{
    Care, Death, Fleet, Habits, Life, ServerId, Then, UnitKind, UnitSpec, after_reboot,
};
use super::{invariant, wake};
use crate::base::name::{PaneId, SessionName, UnitName};
use crate::base::now::{Mono, Now};
use crate::config::section::detect::Cure;
use crate::screen::{Composer, Evidence, PaneState, Reading};

const SERVER: ServerId = ServerId { pid: 9, started: 1 };

fn name(name: &str) -> UnitName {
    UnitName::new(name).expect("plain")
}

fn names(all: &[&str]) -> BTreeSet<UnitName> {
    all.iter().map(|one| name(one)).collect()
}

fn spec(unit: &str) -> UnitSpec {
    UnitSpec {
        name: name(unit),
        session: SessionName::new(unit).expect("plain"),
        kind: UnitKind::Agent,
        care: Care::Heal,
        enabled: true,
        process_names: vec!["agent".to_owned()],
        max_restarts: 3,
        stall_idle: Duration::from_secs(600),
        launch_digest: 1,
        habits: Habits::default(),
    }
}

fn now(mono: u64) -> Now {
    let wall = i64::try_from(mono).expect("small");
    Now { wall: DateTime::<Utc>::from_timestamp_millis(wall).expect("in range"), mono: Mono(mono) }
}

fn configured(specs: &[UnitSpec], wanted: &[&str]) -> Event {
    Event::Configured {
        units: specs.to_vec(),
        wanted: names(wanted),
        settings: Settings::default(),
    }
}

fn alive(unit: &str, pid: u32) -> (&str, Seen) {
    runs(unit, pid, "agent")
}

fn runs<'a>(unit: &'a str, pid: u32, program: &str) -> (&'a str, Seen) {
    let programs = Some(vec![program.to_owned()]);
    (
        unit,
        Seen::Alive {
            pane: PaneId(format!("%{pid}")),
            pid,
            programs,
            cpu_ms: None,
            silent_ms: None,
        },
    )
}

fn exited(unit: &str, status: i32) -> (&str, Seen) {
    (unit, Seen::Dead { death: Death::Exited { status }, of: None })
}

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

fn looked(panes: Vec<(&str, Seen)>) -> Event {
    let panes = panes.into_iter().map(|(unit, seen)| Sighting { unit: name(unit), seen });
    Event::Looked { server: SERVER, panes: panes.collect() }
}

fn opened(unit: &str, attempt: u64, pid: u32) -> Event {
    let outcome = StartOutcome::Opened { pane: PaneId(format!("%{pid}")), pid };
    Event::Started { unit: name(unit), attempt, outcome }
}

fn gone(unit: &str, attempt: u64) -> Event {
    Event::Stopped { unit: name(unit), attempt, outcome: StopOutcome::Gone { cut: false } }
}

fn reading(unit: &str, attempt: u64, state: PaneState, cure: Option<Cure>) -> Event {
    let evidence = vec![Evidence {
        rule: "rule".to_owned(),
        region: "live".to_owned(),
        text: "what it says".to_owned(),
    }];
    let reading =
        Reading { state, evidence, cure, composer: Composer::Empty, live_hash: 1, marker: None };
    Event::Read { unit: name(unit), attempt, reading }
}

fn ask(id: &str, request: Request) -> Event {
    Event::Requested { id: RequestId(id.to_owned()), request }
}

fn up(id: &str, units: &[&str]) -> Event {
    ask(id, Request::Up { units: names(units), by_name: true })
}

fn down(id: &str, units: &[&str]) -> Event {
    ask(id, Request::Down { units: names(units) })
}

fn restart(id: &str, units: &[&str]) -> Event {
    ask(id, Request::Restart { units: names(units), fresh: false })
}

/// The short name of an event, for the left margin.
fn title(event: &Event) -> &'static str {
    match event {
        Event::Configured { .. } => "configured",
        Event::ConfigBroken { .. } => "config broken",
        Event::Looked { .. } => "looked",
        Event::ServerGone { .. } => "server gone",
        Event::LookFailed { .. } => "look failed",
        Event::Read { .. } => "read",
        Event::Started { .. } => "started",
        Event::Stopped { .. } => "stopped",
        Event::Requested { .. } => "requested",
        Event::Typed { .. } => "typed",
        Event::Sequence { .. } => "sequence",
        Event::Handoff { .. } => "handoff",
        Event::Pressure { .. } => "pressure",
        Event::LimitRecalled { .. } => "limit recalled",
        Event::WakeText { .. } => "wake text",
        Event::Tick => "tick",
    }
}

fn words(action: &Action) -> String {
    match action {
        Action::Start { unit, attempt, fresh, .. } => {
            format!("START {unit} {attempt}{}", if *fresh { " fresh" } else { "" })
        }
        Action::Stop { unit, attempt, cause: _ } => format!("STOP {unit} {attempt}"),
        Action::Type { unit, message, text, .. } => format!("TYPE {unit} {}: {text}", message.0),
        Action::Look => "LOOK".to_owned(),
        Action::Sequence { step } => format!("{step:?}"),
        Action::SaveHandoff => "SAVE HANDOFF".to_owned(),
        Action::SaveWanted => "SAVE WANTED".to_owned(),
        Action::SaveLimit { unit, window } => {
            format!("{} LIMIT {unit}", if window.is_some() { "SAVE" } else { "DROP" })
        }
        Action::ReadWake { unit } => format!("READ WAKE {unit}"),
        Action::Report(report) => {
            let unit = report.unit.as_ref().map_or("fleet", UnitName::as_str);
            let loud = if report.notify { " (!)" } else { "" };
            format!("{unit}: {}: {}{loud}", report.what.word(), report.why)
        }
        Action::Answer { id, outcomes } => {
            let outcomes: Vec<String> =
                outcomes.iter().map(|(unit, outcome)| format!("{unit} {outcome:?}")).collect();
            format!("ANSWER {}: {}", id.0, outcomes.join(", "))
        }
    }
}

/// Tells events at their seconds; the next deadline stands at the end of what follows from each.
fn tell(fleet: &mut Fleet, events: &[(u64, Event)]) -> String {
    let mut story = Vec::new();
    for (second, event) in events {
        let actions = decide(fleet, event, now(second * 1_000));
        assert_eq!(invariant::broken(fleet), Vec::<String>::new());
        story.push(format!("{second} s {}\n", title(event)));
        story.extend(actions.iter().map(|action| format!("    {}\n", words(action))));
        story.extend(
            wake::next(fleet, now(second * 1_000)).map(|Mono(at)| format!("    next at {at} ms\n")),
        );
    }
    story.concat()
}

/// `a` runs as pid 1 since second 0, by attempt 1.
fn running(spec: &UnitSpec) -> Fleet {
    let mut fleet = Fleet::default();
    let unit = spec.name.as_str();
    let begin = [
        (0, configured(std::slice::from_ref(spec), &[])),
        (0, looked(vec![])),
        (0, up("begin", &[unit])),
        (0, opened(unit, 1, 1)),
    ];
    tell(&mut fleet, &begin);
    fleet
}

#[expect(clippy::needless_pass_by_value, reason = "`expect![…]` reads best in place")]
fn check(mut fleet: Fleet, events: &[(u64, Event)], expected: Expect) -> Fleet {
    expected.assert_eq(&tell(&mut fleet, events));
    fleet
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

fn five() -> (Fleet, Vec<&'static str>) {
    let units = vec!["a", "b", "c", "d", "e"];
    let specs: Vec<UnitSpec> = units.iter().map(|unit| spec(unit)).collect();
    let mut fleet = Fleet::default();
    let all = (1..).zip(&units).map(|(pid, unit)| alive(unit, pid)).collect();
    tell(&mut fleet, &[(0, configured(&specs, &units)), (0, looked(all))]);
    (fleet, units)
}

#[test]
fn a_mass_death_is_believed_at_the_second_look_and_healed_one_by_one() {
    let (fleet, _) = five();
    check(
        fleet,
        &[
            (10, looked(vec![])),
            (12, looked(vec![])),
            (15, Event::Tick),
            (16, Event::Tick),
            (16, looked(vec![])),
            (17, Event::Tick),
        ],
        expect![[r#"
            10 s looked
                fleet: mass death: 5 of 5 units look dead at once on a living server: looking again in 5 s
                next at 15000 ms
            12 s looked
                next at 15000 ms
            15 s tick
                LOOK
            16 s tick
            16 s looked
                fleet: mass death: 5 of 5 units are dead in two looks 5 s apart; the tmux server (pid 9) lives; restarting them one by one (!)
                a: died: its session is gone after 16 s
                b: died: its session is gone after 16 s
                b: restart planned: its session is gone; next start in 200 ms
                c: died: its session is gone after 16 s
                c: restart planned: its session is gone; next start in 400 ms
                d: died: its session is gone after 16 s
                d: restart planned: its session is gone; next start in 600 ms
                e: died: its session is gone after 16 s
                e: restart planned: its session is gone; next start in 800 ms
                a: starting: its session is gone
                START a 1
                next at 16200 ms
            17 s tick
                b: starting: its session is gone
                START b 1
                c: starting: its session is gone
                START c 1
                d: starting: its session is gone
                START d 1
                e: starting: its session is gone
                START e 1
        "#]],
    );
}

#[test]
fn a_mass_death_that_was_a_bad_look_costs_nothing() {
    let (fleet, units) = five();
    let all = (1..).zip(&units).map(|(pid, unit)| alive(unit, pid)).collect();
    let after = check(
        fleet,
        &[(10, looked(vec![])), (15, looked(all))],
        expect![[r#"
        10 s looked
            fleet: mass death: 5 of 5 units look dead at once on a living server: looking again in 5 s
            next at 15000 ms
        15 s looked
    "#]],
    );
    assert_eq!(after.brake, None);
}

#[test]
fn without_sight_nothing_is_started_or_stopped() {
    let error = || Event::LookFailed { error: "tmux: lost server".to_owned() };
    let mut fleet = running(&spec("a"));
    tell(&mut fleet, &[(1, looked(vec![exited("a", 1)])), (1, opened("a", 2, 2))]);
    tell(&mut fleet, &[(2, looked(vec![exited("a", 1)]))]);
    check(
        fleet,
        &[
            (3, error()),
            (4, error()),
            (100, Event::Tick),
            (101, reading("a", 2, PaneState::Fatal, None)),
            (102, looked(vec![])),
        ],
        expect![[r#"
            3 s look failed
                fleet: look failed: tmux: lost server
            4 s look failed
            100 s tick
            101 s read
            102 s looked
                fleet: look recovered: tmux answers again
                a: starting: exited with status 1
                START a 3
        "#]],
    );
}

#[test]
fn a_disabled_agent_runs_when_named_but_is_not_healed() {
    let disabled = UnitSpec { enabled: false, ..spec("a") };
    check(
        running(&disabled),
        &[
            (1, looked(vec![exited("a", 1)])),
            (100, Event::Tick),
            (101, ask("bare", Request::Up { units: names(&["a"]), by_name: false })),
        ],
        expect![[r#"
            1 s looked
                a: died: exited with status 1 after 1 s
            100 s tick
            101 s requested
                ANSWER bare: a Disabled
        "#]],
    );
}

#[test]
fn a_unit_taken_out_of_the_config_runs_on_unhealed_and_is_healed_when_it_returns() {
    let after = check(
        running(&spec("a")),
        &[
            (1, configured(&[], &["a"])),
            (2, looked(vec![exited("a", 1)])),
            (60, Event::Tick),
            (61, configured(&[spec("a")], &["a"])),
            (62, looked(vec![exited("a", 1)])),
        ],
        expect![[r#"
            1 s configured
            2 s looked
                a: died: exited with status 1 after 2 s
            60 s tick
            61 s configured
            62 s looked
                a: starting: exited with status 1
                START a 2
        "#]],
    );
    let mut after = after;
    tell(
        &mut after,
        &[
            (63, opened("a", 2, 2)),
            (64, configured(&[], &[])),
            (65, down("d", &["a"])),
            (66, gone("a", 2)),
            (67, configured(&[], &[])),
        ],
    );
    assert!(after.units.is_empty(), "once it is gone, nothing of it is left");
}

#[test]
fn every_request_is_answered_exactly_once() {
    check(
        running(&spec("a")),
        &[
            (1, up("r1", &["a", "nobody"])),
            (2, restart("r2", &["a"])),
            (3, restart("r3", &["a"])),
            (4, gone("a", 1)),
            (5, opened("a", 2, 2)),
            (6, opened("a", 2, 2)),
            (7, down("r4", &["a"])),
            (8, gone("a", 2)),
            (9, gone("a", 2)),
        ],
        expect![[r#"
            1 s requested
                ANSWER r1: a AlreadyRunning, nobody Failed { why: "it is neither in the config nor running" }
            2 s requested
                a: stopping: asked for by `ao restart`
                STOP a 1
            3 s requested
            4 s stopped
                a: stopped: asked for by `ao restart`; it left
                a: starting: asked for by `ao restart`
                START a 2
            5 s started
                a: started: pane %2, pid 2
                ANSWER r2: a Started
                ANSWER r3: a Started
            6 s started
            7 s requested
                SAVE WANTED
                a: stopping: asked for by `ao down`
                STOP a 2
            8 s stopped
                a: stopped: asked for by `ao down`; it left
                ANSWER r4: a Stopped { cut: false }
            9 s stopped
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

#[test]
fn after_a_reboot_wanted_units_return_and_verdicts_stay() {
    let (mut fleet, _) = five();
    let mut lives = vec![
        Life::Starting { since: Mono(90_000_000) },
        Life::Stopping { since: Mono(90_000_000), then: Then::Restart, cause: "x".to_owned() },
        Life::Dead {
            evidence: Death::Unexplained,
            since: now(0).wall,
            restart_at: Some(Mono(90_000_000)),
        },
        Life::Failed { why: "too often".to_owned(), since: now(0).wall },
    ];
    for unit in fleet.units.values_mut() {
        if let Some(life) = lives.pop() {
            unit.life = life;
            unit.reading = None;
        }
        unit.restarts.record(Mono(90_000_000));
    }
    check(
        after_reboot(fleet),
        &[(1, looked(vec![]))],
        expect![[r#"
        1 s looked
            b: starting: its session is gone
            START b 1
            c: starting: its session is gone
            START c 1
            d: starting: its session is gone
            START d 1
            e: starting: its session is gone
            START e 1
    "#]],
    );
}

fn every_life() -> Vec<(&'static str, Life)> {
    let (since, wall) = (Mono(100_000), now(0).wall);
    vec![
        ("not started", Life::NotStarted),
        ("starting", Life::Starting { since }),
        (
            "running",
            Life::Running { pane: PaneId("%1".to_owned()), pid: 1, since, since_wall: wall },
        ),
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
        running 1 s + nothing -> starting START a 2
        running 40 s + nothing -> starting START a 2
        running 1 s + foreign -> dead
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

fn any_event() -> impl Strategy<Value = Event> {
    let unit = prop::sample::select(vec!["a", "b", "c", "d", "e", "f"]);
    let seen = |unit: &'static str| {
        (0_u32..3, 0_u8..5).prop_map(move |(pid, kind)| match kind {
            0 => exited(unit, i32::try_from(pid).expect("small") * 39),
            1 => (unit, Seen::Foreign),
            2 => runs(unit, pid * 10 + u32::from(unit.as_bytes()[0]), "vim"),
            _ => alive(unit, pid * 10 + u32::from(unit.as_bytes()[0]) * 100),
        })
    };
    let look = unit.clone().prop_flat_map(seen);
    let looks = prop::collection::vec(look, 0..7).prop_map(|mut panes| {
        panes.sort_by_key(|(unit, _)| *unit);
        panes.dedup_by_key(|(unit, _)| *unit);
        looked(panes)
    });
    let pane = |unit: &str, pid: u32| u32::from(unit.as_bytes()[0]) * 100 + pid * 10;
    prop_oneof![
        4 => looks,
        1 => Just(Event::Tick),
        1 => Just(Event::LookFailed { error: "x".to_owned() }),
        1 => Just(Event::ServerGone { evidence: "x".to_owned() }),
        1 => prop::collection::btree_set(unit.clone(), 0..7).prop_map(|units| {
            let specs: Vec<UnitSpec> = units.iter().map(|unit| spec(unit)).collect();
            let wanted: Vec<&str> = units.iter().copied().skip(1).collect();
            configured(&specs, &wanted)
        }),
        2 => (unit.clone(), 0_u8..4, 0_u32..99).prop_map(|(unit, kind, id)| match kind {
            0 => up(&format!("r{id}"), &[unit]),
            1 => down(&format!("r{id}"), &[unit, "a"]),
            _ => restart(&format!("r{id}"), &[unit]),
        }),
        3 => (unit.clone(), 1_u64..5, 0_u32..3)
            .prop_map(move |(unit, attempt, pid)| opened(unit, attempt, pane(unit, pid))),
        2 => (unit.clone(), 1_u64..5).prop_map(|(unit, attempt)| gone(unit, attempt)),
        2 => (unit, 1_u64..5, any::<bool>()).prop_map(|(unit, attempt, fatal)| {
            let state = if fatal { PaneState::Fatal } else { PaneState::Idle };
            reading(unit, attempt, state, None)
        }),
    ]
}

proptest! {
    #[test]
    fn no_sequence_of_events_breaks_a_rule(
        events in prop::collection::vec((any_event(), 0_u64..60_000), 0..80),
    ) {
        let mut fleet = Fleet::default();
        let mut at = 0;
        let (mut asked, mut answered) = (Vec::new(), Vec::new());
        for (event, pause) in events {
            at += pause;
            if let Event::Requested { id, .. } = &event {
                asked.push(id.clone());
            }
            for action in decide(&mut fleet, &event, now(at)) {
                if let Action::Answer { id, outcomes } = action {
                    prop_assert!(!outcomes.is_empty());
                    answered.push(id);
                }
            }
            prop_assert_eq!(invariant::broken(&fleet), Vec::<String>::new());
        }
        let owed = fleet.owed.iter().map(|debt| debt.request.clone());
        let mut known: Vec<RequestId> = owed.chain(answered).collect();
        known.sort();
        asked.sort();
        prop_assert_eq!(known, asked, "each is owed or was answered, once");
    }
}

#[test]
fn an_answer_names_what_became_of_each_unit() {
    let mut fleet = running(&spec("a"));
    let actions = decide(&mut fleet, &down("d", &["a"]), now(1_000));
    assert!(matches!(actions.first(), Some(Action::SaveWanted)), "written before the first signal");
    let actions = decide(&mut fleet, &gone("a", 1), now(2_000));
    let answer = actions.iter().find_map(|action| match action {
        Action::Answer { outcomes, .. } => outcomes.get(&name("a")),
        Action::Start { .. }
        | Action::Stop { .. }
        | Action::Type { .. }
        | Action::Look
        | Action::Sequence { .. }
        | Action::SaveHandoff
        | Action::Report(_)
        | Action::SaveLimit { .. }
        | Action::ReadWake { .. }
        | Action::SaveWanted => None,
    });
    assert_eq!(answer, Some(&Outcome::Stopped { cut: false }));
}
