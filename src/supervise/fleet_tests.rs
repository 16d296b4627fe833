//! The fleet as a whole: many deaths at once, lost sight, changed configs, requests and their answers.

#![expect(clippy::needless_raw_string_hashes, reason = "expect-test writes its snapshots so")]

use expect_test::expect;
use proptest::prelude::*;

use super::action::Action;
use super::decide::decide;
use super::event::{Event, Outcome, Request, RequestId, Seen};
use super::invariant;
use super::state::{Death, Fleet, Life, Then, UnitSpec, after_reboot};
use super::story::{
    alive, ask, check, configured, down, exited, gone, looked, name, names, now, opened, reading,
    restart, running, runs, spec, tell, up,
};
use crate::base::now::Mono;
use crate::screen::PaneState;

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
