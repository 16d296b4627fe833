//! Whom to believe, case by case, and what holds in every case.

use chrono::DateTime;
use proptest::prelude::*;

use super::*;
use crate::base::zone::Tz;
use crate::sense::Cli;
use crate::sense::fact::UsageWindow;

const WALL_MS: i64 = 1_795_240_000_000;

fn now(ms: u64) -> Now {
    let wall = DateTime::from_timestamp_millis(WALL_MS + i64::try_from(ms).unwrap()).unwrap();
    Now { wall, mono: Mono(ms) }
}

fn fact(ms: u64, kind: Kind) -> Fact {
    Fact {
        at: now(ms),
        cli: Cli::Claude,
        session_id: Some("conversation".into()),
        subagent: None,
        transcript: None,
        order: None,
        kind,
    }
}

fn by_subagent(ms: u64, kind: Kind) -> Fact {
    Fact { subagent: Some("sub".into()), ..fact(ms, kind) }
}

fn ended() -> Kind {
    Kind::TurnEnded { interrupted: false, subagents_left: 0 }
}

fn failed(class: Class, text: &str) -> Kind {
    Kind::TurnFailed { class, text: text.into() }
}

fn tool() -> Kind {
    Kind::ToolStarted { tool: "Bash".into() }
}

fn asked() -> Kind {
    Kind::PermissionAsked { what: "Bash".into() }
}

fn screen(state: PaneState) -> Reading {
    Reading {
        state,
        evidence: vec![Evidence {
            rule: "of the screen".into(),
            region: "live".into(),
            text: "shown".into(),
        }],
        cure: None,
        composer: Composer::Empty,
        live_hash: 7,
        marker: None,
    }
}

fn file(status: Status, since_ms: u64) -> SessionFile {
    SessionFile {
        pid: 1,
        session_id: Some("conversation".into()),
        status,
        waiting_for: None,
        since_ms: Some(WALL_MS + i64::try_from(since_ms).unwrap()),
        process_start: None,
    }
}

/// One thing that happens, at so many milliseconds.
enum Step {
    Fact(Fact),
    File(u64, SessionFile),
    /// The screen is looked at and this comes out.
    Look(u64, PaneState, PaneState),
    /// No new look at the screen; the last one still counts from its own moment.
    Blind(u64, PaneState),
}

#[track_caller]
fn check(steps: Vec<Step>) -> Reading {
    let mut senses = Senses::default();
    let mut last = None;
    let mut said = nothing();
    for (number, step) in steps.into_iter().enumerate() {
        let (ms, expected) = match step {
            Step::Fact(fact) => {
                senses.note(&fact);
                continue;
            }
            Step::File(ms, file) => {
                senses.note_file(&file, now(ms));
                continue;
            }
            Step::Look(ms, shown, expected) => {
                last = Some((screen(shown), Mono(ms)));
                (ms, expected)
            }
            Step::Blind(ms, expected) => (ms, expected),
        };
        let seen = last.as_ref().map(|(reading, at)| Seen { reading, at: *at });
        said = senses.merge(seen, Mono(ms));
        assert_eq!(said.state, expected, "step {number}: {said:?}\n{senses:?}");
    }
    said
}

use PaneState as P;
use Step::{Blind, File, Look};

fn told(ms: u64, kind: Kind) -> Step {
    Step::Fact(fact(ms, kind))
}

#[test]
fn a_turn_that_a_hook_tells_beats_the_older_screen_at_once() {
    let said = check(vec![
        Look(1_000, P::Idle, P::Idle),
        told(1_500, Kind::TurnStarted),
        Blind(1_510, P::Working),
        Look(2_000, P::Working, P::Working),
        told(9_000, ended()),
        Blind(9_010, P::Idle),
    ]);
    assert_eq!((said.evidence[0].region.as_str(), said.live_hash), ("hook", 7));
}

#[test]
fn an_interrupted_turn_of_which_no_hook_speaks_ends_by_the_quiet_screen() {
    check(vec![
        told(1_000, Kind::TurnStarted),
        Look(2_000, P::Working, P::Working),
        Look(5_000, P::Idle, P::Working),
        Look(24_000, P::Idle, P::Working),
        Look(25_000, P::Idle, P::Idle),
        // It does not get back what it lost.
        Look(26_000, P::Unknown, P::Unknown),
    ]);
}

#[test]
fn a_running_tool_is_not_ended_by_a_minute_of_a_screen_that_looks_idle() {
    check(vec![
        told(1_000, Kind::TurnStarted),
        told(2_000, tool()),
        Look(3_000, P::Idle, P::Working),
        Look(63_000, P::Idle, P::Working),
        Look(700_000, P::Idle, P::Idle),
    ]);
}

#[test]
fn an_error_that_codex_tells_no_hook_of_is_seen_on_the_screen() {
    for shown in [P::Limited, P::Fatal, P::Overloaded] {
        check(vec![
            told(1_000, Kind::TurnStarted),
            Look(2_000, shown, P::Working),
            Look(4_500, shown, shown),
        ]);
    }
}

#[test]
fn idle_of_the_session_file_covers_neither_limit_nor_error_nor_dialog() {
    for shown in [P::Limited, P::Fatal, P::Overloaded, P::Waiting] {
        check(vec![File(1_000, file(Status::Idle, 500)), Look(1_000, shown, shown)]);
    }
    check(vec![
        told(1_000, failed(Class::RateLimit, "You've hit your 5-hour limit · resets 7:07am (UTC)")),
        File(9_000, file(Status::Idle, 1_100)),
        Look(9_000, P::Idle, P::Limited),
    ]);
    check(vec![
        told(1_000, failed(Class::Login, "Invalid API key")),
        File(9_000, file(Status::Idle, 1_100)),
        Look(9_000, P::Idle, P::Fatal),
    ]);
}

#[test]
fn the_classes_of_a_failed_turn_become_states_and_a_busy_server_is_no_limit() {
    let state = |class, text: &str| {
        let mut senses = Senses::default();
        senses.note(&fact(1_000, failed(class, text)));
        let said = senses.merge(None, Mono(1_001));
        (said.state, said.cure)
    };
    assert_eq!(state(Class::Server, "529 Overloaded"), (P::Overloaded, None));
    let busy = "Server is temporarily limiting requests (not your usage limit)";
    assert_eq!(state(Class::RateLimit, busy), (P::Overloaded, None));
    assert_eq!(state(Class::RateLimit, "You've hit your weekly limit"), (P::Limited, None));
    assert_eq!(state(Class::Billing, "low"), (P::Fatal, Some(Cure::Person)));
    assert_eq!(state(Class::Unknown, "API Error: 400"), (P::Idle, None));
}

#[test]
fn waiting_for_a_retry_is_work_unless_the_wait_is_a_limit() {
    let retrying = |text: &str, next_s: i64| {
        let mut senses = Senses::default();
        let next_s = Some(next_s);
        senses.note(&fact(1_000, Kind::Retrying { text: text.into(), next_s }));
        senses.merge(None, Mono(1_001))
    };
    let soon = now(0).wall.timestamp() + 30;
    assert_eq!(retrying("Cannot connect to API", soon).state, P::Working);
    // Two hours of waiting are a limit, whatever the provider calls it.
    assert_eq!(retrying("Too Many Requests", soon + 7_200).state, P::Limited);
    let said =
        retrying("5 hour usage limit reached. It will reset in 2 hours 30 minutes.", 1_795_250_015);
    let (_, reset) = crate::limits::read(&said.evidence_text(), now(0).wall, Tz::UTC).unwrap();
    assert_eq!((said.state, reset.unwrap().at.timestamp()), (P::Limited, 1_795_250_015));
}

#[test]
fn a_limit_names_the_exact_reset_of_the_full_window() {
    let mut senses = Senses::default();
    let window = |name: &str, used_percent, resets_s| UsageWindow {
        name: name.into(),
        used_percent,
        resets_s: Some(resets_s),
    };
    let windows = vec![window("five_hour", 100.0, 1_795_250_015), window("seven_day", 40.0, 9)];
    senses.note(&fact(500, Kind::Usage(Usage { windows, ..Usage::default() })));
    let text = "You've hit your 5-hour limit · resets 9:20pm (UTC)";
    senses.note(&fact(1_000, failed(Class::RateLimit, text)));
    let said = senses.merge(None, Mono(1_001));
    let (_, reset) = crate::limits::read(&said.evidence_text(), now(0).wall, Tz::UTC).unwrap();
    assert_eq!(reset.unwrap().at.timestamp(), 1_795_250_015);
}

#[test]
fn a_limit_ends_when_the_agent_is_seen_to_work() {
    check(vec![
        told(1_000, failed(Class::RateLimit, "You've hit your weekly limit")),
        Look(9_000, P::Idle, P::Limited),
        Look(60_000, P::Working, P::Limited),
        Look(63_000, P::Working, P::Working),
        Look(90_000, P::Idle, P::Idle),
    ]);
}

#[test]
fn an_open_permission_beats_a_screen_that_is_not_understood_and_ends_when_work_goes_on() {
    let said = check(vec![told(1_000, asked()), Look(1_200, P::Idle, P::Waiting)]);
    assert_eq!(said.composer, Composer::Absent, "nothing may be typed");
    check(vec![
        told(1_000, asked()),
        Look(500_000, P::Unknown, P::Waiting),
        Look(502_000, P::Working, P::Waiting),
        Look(505_000, P::Working, P::Working),
    ]);
    check(vec![
        told(1_000, asked()),
        told(3_000, Kind::ToolEnded { tool: "Bash".into(), failed: false }),
        Blind(3_010, P::Working),
    ]);
}

#[test]
fn a_subagent_that_works_on_does_not_close_the_dialog_of_the_agent() {
    check(vec![
        told(1_000, asked()),
        Step::Fact(by_subagent(2_000, tool())),
        Blind(2_010, P::Waiting),
    ]);
}

#[test]
fn background_subagents_keep_an_agent_working_after_its_turn() {
    check(vec![
        told(1_000, Kind::TurnStarted),
        Step::Fact(by_subagent(2_000, Kind::SubagentStarted)),
        told(3_000, Kind::TurnEnded { interrupted: false, subagents_left: 1 }),
        File(4_000, file(Status::Idle, 3_000)),
        Blind(4_000, P::Working),
        Step::Fact(by_subagent(9_000, Kind::SubagentEnded)),
        told(9_500, Kind::TurnEnded { interrupted: false, subagents_left: 0 }),
        Blind(9_510, P::Idle),
    ]);
}

#[test]
fn a_dead_process_is_dead_whatever_anybody_told() {
    for kind in [Kind::TurnStarted, asked(), failed(Class::RateLimit, "usage limit reached")] {
        check(vec![told(1_000, kind), Look(1_001, P::Dead, P::Dead)]);
    }
}

#[test]
fn the_session_file_tells_an_interrupt_at_once_and_is_forgotten_when_it_is_not_read_again() {
    check(vec![
        told(1_000, Kind::TurnStarted),
        Look(2_000, P::Working, P::Working),
        File(3_000, file(Status::Idle, 2_900)),
        Blind(3_000, P::Idle),
    ]);
    check(vec![
        File(1_000, file(Status::Busy, 900)),
        Look(2_000, P::Unknown, P::Working),
        Look(17_000, P::Unknown, P::Unknown),
    ]);
    check(vec![
        File(1_000, file(Status::Waiting, 900)),
        Look(1_000, P::Limited, P::Limited),
        Look(2_000, P::Idle, P::Waiting),
    ]);
}

#[test]
fn clear_gives_the_conversation_another_id_and_a_subagent_does_not() {
    let mut senses = Senses::default();
    senses.note(&fact(1, Kind::TurnStarted));
    let other = |fact: Fact| Fact { session_id: Some("other".into()), ..fact };
    senses.note(&other(by_subagent(2, tool())));
    assert_eq!(senses.session_id(), Some("conversation"));
    senses.note(&other(fact(3, Kind::SessionStarted { source: Beginning::Clear })));
    assert_eq!(senses.session_id(), Some("other"));
    assert_eq!(senses.merge(None, Mono(4)).state, P::Unknown);
}

fn any_kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        Just(Kind::TurnStarted),
        Just(tool()),
        Just(Kind::ToolEnded { tool: "Bash".into(), failed: true }),
        Just(asked()),
        Just(Kind::PermissionAnswered),
        Just(Kind::IdleNoted),
        Just(ended()),
        Just(Kind::TurnEnded { interrupted: true, subagents_left: 2 }),
        Just(failed(Class::RateLimit, "You've hit your weekly limit")),
        Just(failed(Class::Server, "529")),
        Just(failed(Class::Login, "no")),
        Just(Kind::SubagentStarted),
        Just(Kind::SubagentEnded),
        Just(Kind::SessionStarted { source: Beginning::Compact }),
        Just(Kind::SessionEnded { why: "other".into() }),
        Just(Kind::Other { event: "New".into() }),
    ]
}

fn any_state() -> impl Strategy<Value = PaneState> {
    prop_oneof![
        Just(P::Starting),
        Just(P::Working),
        Just(P::Idle),
        Just(P::Waiting),
        Just(P::Limited),
        Just(P::Overloaded),
        Just(P::Fatal),
        Just(P::Unknown),
    ]
}

proptest! {
    #[test]
    fn no_source_that_died_leaves_a_state_standing_for_ever(
        facts in prop::collection::vec((0_u64..100_000, any_kind(), any::<bool>()), 0..12),
        status in prop_oneof![Just(Status::Busy), Just(Status::Idle), Just(Status::Waiting)],
        shown in any_state(),
    ) {
        let mut facts = facts;
        facts.sort_by_key(|(at, _, _)| *at);
        let mut senses = Senses::default();
        for (at, kind, sub) in facts {
            let fact = if sub { by_subagent(at, kind) } else { fact(at, kind) };
            senses.note(&fact);
        }
        senses.note_file(&file(status, 0), now(100_000));
        let reading = screen(shown);
        let late = Mono(100_000).plus(STATE_SILENT);
        let said = senses.merge(Some(Seen { reading: &reading, at: late }), late);
        prop_assert_eq!(said, reading);
    }

    #[test]
    fn idle_never_covers_trouble_on_the_screen(
        facts in prop::collection::vec((0_u64..100_000, any_kind()), 0..12),
        shown in prop_oneof![Just(P::Limited), Just(P::Fatal), Just(P::Waiting)],
    ) {
        let mut facts = facts;
        facts.sort_by_key(|(at, _)| *at);
        let mut senses = Senses::default();
        for (at, kind) in facts {
            senses.note(&fact(at, kind));
        }
        senses.note_file(&file(Status::Idle, 100_000), now(100_000));
        let reading = screen(shown);
        let seen = Seen { reading: &reading, at: Mono(100_000) };
        prop_assert_ne!(senses.merge(Some(seen), Mono(100_000)).state, P::Idle);
    }
}

fn by_server(ms: u64, kind: Kind) -> Fact {
    Fact { cli: Cli::Opencode, ..fact(ms, kind) }
}

#[track_caller]
fn state_of(senses: &mut Senses, shown: PaneState, ms: u64) -> PaneState {
    let reading = screen(shown);
    senses.merge(Some(Seen { reading: &reading, at: Mono(ms) }), Mono(ms)).state
}

#[test]
fn while_a_server_speaks_hooks_that_come_late_say_nothing() {
    let mut senses = Senses::default();
    senses.note(&fact(0, Kind::TurnStarted));
    senses.server_begins(Mono(100));
    senses.note_server(&by_server(100, Kind::TurnStarted));
    senses.note_server(&by_server(5_000, ended()));
    senses.note(&fact(5_010, Kind::TurnStarted));
    assert_eq!(state_of(&mut senses, P::Idle, 6_000), P::Idle);
}

#[test]
fn a_server_that_is_gone_or_silent_leaves_no_state_standing() {
    let working = || {
        let mut senses = Senses::default();
        senses.server_begins(Mono(0));
        senses.note_server(&by_server(0, Kind::TurnStarted));
        senses
    };
    // Its beats keep it believed against a screen that stands idle.
    let mut senses = working();
    for beat in 1..10 {
        senses.server_lives(Mono(beat * 10_000));
        assert_eq!(state_of(&mut senses, P::Idle, beat * 10_000 + 9_000), P::Working);
    }
    assert_eq!(state_of(&mut senses, P::Idle, 130_000), P::Idle, "three beats are missing");
    let mut senses = working();
    senses.server_gone();
    assert_eq!(state_of(&mut senses, P::Idle, 1_000), P::Idle);
    senses.note(&fact(2_000, Kind::TurnStarted));
    assert_eq!(state_of(&mut senses, P::Idle, 2_500), P::Working, "hooks are heard again");
}

#[test]
fn a_servers_idle_covers_no_trouble_on_the_screen() {
    let mut senses = Senses::default();
    senses.server_begins(Mono(0));
    senses.note_server(&by_server(0, Kind::TurnStarted));
    senses.note_server(&by_server(100, ended()));
    for trouble in [P::Limited, P::Overloaded, P::Fatal, P::Waiting] {
        assert_eq!(state_of(&mut senses, trouble, 200), trouble);
    }
}

#[test]
fn a_hook_that_was_overtaken_changes_nothing() {
    let placed = |ms, order, kind| Fact { order: Some(order), ..fact(ms, kind) };
    let mut senses = Senses::default();
    senses.note(&placed(1_000, 7, Kind::TurnStarted));
    // Fired later in the same millisecond, and heard first.
    senses.note(&placed(2_000, 9, ended()));
    senses.note(&placed(2_000, 8, Kind::TurnStarted));
    assert_eq!(state_of(&mut senses, P::Idle, 2_500), P::Idle);
    // A teller that counts anew is heard again after a while.
    senses.note(&placed(30_000, 0, Kind::TurnStarted));
    assert_eq!(state_of(&mut senses, P::Idle, 30_500), P::Working);
}

#[test]
fn the_record_ends_a_turn_that_no_hook_ends_and_no_older_word_of_it_counts() {
    let mut senses = Senses::default();
    senses.note(&fact(1_000, Kind::TurnStarted));
    senses.note_record(&fact(1_010, Kind::TurnStarted));
    senses.note_record(&fact(3_000, failed(Class::Server, "no capacity")));
    assert_eq!(state_of(&mut senses, P::Idle, 3_100), P::Overloaded);
    // The next turn's hook was heard before the end of the last was read.
    senses.note(&fact(5_000, Kind::TurnStarted));
    senses.note_record(&fact(4_900, ended()));
    assert_eq!(state_of(&mut senses, P::Idle, 5_100), P::Working);
}

#[test]
fn the_terminals_output_speaks_where_no_hook_does_and_its_idle_only_ends_a_turn() {
    let mut senses = Senses::default();
    senses.note_output(Some(P::Idle), Mono(0));
    assert_eq!(state_of(&mut senses, P::Unknown, 100), P::Unknown);
    senses.note_output(Some(P::Working), Mono(1_000));
    assert_eq!(state_of(&mut senses, P::Unknown, 1_100), P::Working);
    senses.note_output(Some(P::Waiting), Mono(2_000));
    assert_eq!(state_of(&mut senses, P::Unknown, 2_100), P::Waiting);
    senses.note_output(Some(P::Idle), Mono(3_000));
    assert_eq!(state_of(&mut senses, P::Idle, 3_100), P::Idle);
    // A hook that tells more is not overruled by it, until it says that all is over.
    senses.note(&fact(10_000, asked()));
    senses.note_output(Some(P::Working), Mono(10_100));
    assert_eq!(state_of(&mut senses, P::Unknown, 10_200), P::Waiting);
    senses.note(&fact(11_000, Kind::TurnStarted));
    senses.note_output(Some(P::Idle), Mono(11_500));
    assert_eq!(state_of(&mut senses, P::Unknown, 11_600), P::Working, "it may be the older word");
    senses.note_output(Some(P::Idle), Mono(14_000));
    assert_eq!(state_of(&mut senses, P::Idle, 14_100), P::Idle);
}

#[test]
fn a_terminal_that_prints_nothing_more_leaves_no_turn_standing() {
    let mut senses = Senses::default();
    senses.note_output(Some(P::Working), Mono(0));
    senses.note_output(None, Mono(600_000));
    assert_eq!(state_of(&mut senses, P::Unknown, 1_400_000), P::Working);
    assert_eq!(state_of(&mut senses, P::Unknown, 1_600_000), P::Unknown);
}
