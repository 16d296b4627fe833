//! Who counts as stalled: each of the two kinds of evidence alone is not enough.

use std::time::Duration;

use chrono::DateTime;

use super::outbox::{self, Draft, MessageId, Origin};
use super::stall::{self, Cpu, Verdict};
use super::state::{Care, Habits, Known, Life, Unit, UnitKind, UnitSpec};
use crate::base::name::{PaneId, SessionName, UnitName};
use crate::base::now::{Mono, Now};
use crate::screen::{Composer, PaneState, Reading};

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;

fn now(mono: u64) -> Now {
    let wall = i64::try_from(mono).expect("small") + 1_767_225_600_000;
    Now { wall: DateTime::from_timestamp_millis(wall).expect("in range"), mono: Mono(mono) }
}

/// It was read in that state at 0 and not since; its processes have rested for half an hour.
fn resting(state: PaneState, printed_at: Option<u64>, at: u64) -> Unit {
    let mut unit = Unit::new(UnitSpec {
        name: UnitName::new("api").expect("plain"),
        session: SessionName::new("p-api").expect("plain"),
        kind: UnitKind::Agent,
        care: Care::HealStall,
        enabled: true,
        process_names: Vec::new(),
        max_restarts: 3,
        stall_idle: Duration::from_secs(600),
        launch_digest: 1,
        habits: Habits::default(),
    });
    let start = now(0);
    unit.wanted = true;
    unit.life = Life::Running {
        pane: PaneId::new("%1"),
        pid: 1,
        since: start.mono,
        since_wall: start.wall,
    };
    unit.reading = Some(Known {
        state,
        since: start.wall,
        since_mono: start.mono,
        looks: 1,
        evidence: [].into(),
        active_at: start.mono,
        live_hash: 1,
    });
    unit.stall.cpu = Some(Cpu {
        ms: 1,
        at: Mono(at),
        quiet_since: Some(Mono(at - HOUR / 2)),
        printed_at: printed_at.map(Mono),
    });
    unit
}

#[track_caller]
fn check(unit: &Unit, at: u64, stalled: bool) {
    let verdict = stall::verdict(unit, Duration::ZERO, now(at));
    assert_eq!(matches!(verdict, Verdict::Stalled { .. }), stalled, "{verdict:?}");
}

#[test]
fn a_working_screen_that_stood_still_without_cpu_is_stalled() {
    check(&resting(PaneState::Working, Some(0), 2 * HOUR), 2 * HOUR, true);
    check(&resting(PaneState::Working, None, 2 * HOUR), 2 * HOUR, true);
}

#[test]
fn a_working_screen_that_printed_lately_has_not_stood_still_though_it_was_not_read() {
    let unit = resting(PaneState::Working, Some(2 * HOUR - 10 * MINUTE), 2 * HOUR);
    check(&unit, 2 * HOUR, false);
}

#[test]
fn an_idle_agent_is_stalled_after_its_patience_and_not_before() {
    check(&resting(PaneState::Idle, Some(0), 9 * MINUTE + HOUR), 9 * MINUTE, false);
    check(&resting(PaneState::Idle, Some(0), 11 * MINUTE + HOUR), 11 * MINUTE + HOUR, true);
}

#[test]
fn what_redraws_an_idle_screen_does_not_hide_its_stall() {
    check(&resting(PaneState::Idle, Some(HOUR - 1_000), HOUR), HOUR, true);
}

#[test]
fn without_cpu_figures_that_are_new_and_quiet_for_long_nobody_is_stalled() {
    let mut unit = resting(PaneState::Idle, Some(0), HOUR);
    check(&unit, 2 * HOUR, false);
    unit.stall.cpu = None;
    check(&unit, HOUR, false);
    let mut unit = resting(PaneState::Idle, Some(0), HOUR);
    unit.stall.cpu.as_mut().expect("set").quiet_since = None;
    check(&unit, HOUR, false);
}

#[test]
fn a_nudge_that_waits_is_taken_back_when_its_agent_works_or_is_begun_anew() {
    for works in [true, false] {
        let mut unit = resting(PaneState::Idle, Some(0), HOUR);
        let mut newest = MessageId::default();
        for origin in [Origin::Nudge, Origin::Person] {
            let draft = Draft {
                text: "go on".to_owned(),
                origin,
                key: None,
                expires_at: None,
                busy_input: false,
                command: false,
            };
            outbox::push(&mut unit, &mut newest, draft, None, now(HOUR), &mut Vec::new());
        }
        if works {
            let reading = Reading {
                state: PaneState::Working,
                evidence: Vec::new(),
                cure: None,
                composer: Composer::Empty,
                live_hash: 2,
                marker: None,
            };
            stall::read(&mut unit, &reading, now(HOUR), &mut Vec::new());
        } else {
            stall::begun(&mut unit);
        }
        let left: Vec<Origin> = unit.outbox.iter().map(|message| message.draft.origin).collect();
        assert_eq!(left, [Origin::Person], "works: {works}");
    }
}
