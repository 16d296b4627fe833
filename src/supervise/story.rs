//! Tells stories of supervision in tests: what happened, and what the core said and asked for.
//!
//! One line per event, its consequences below it. Left out: long runs with a misbehaving world, which
//! the simulation among the integration tests plays.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use expect_test::Expect;

use super::action::Action;
use super::decide::decide;
use super::event::{Event, Request, RequestId, Seen, Sighting, StartOutcome, StopOutcome};
use super::settings::Settings;
use super::state::{Care, Death, Fleet, Habits, ServerId, UnitKind, UnitSpec};
use super::{invariant, wake};
use crate::base::name::{PaneId, SessionName, UnitName};
use crate::base::now::{Mono, Now};
use crate::config::section::detect::Cure;
use crate::screen::{Composer, Evidence, PaneState, Reading};

const SERVER: ServerId = ServerId { pid: 9, started: 1 };

pub(super) fn name(name: &str) -> UnitName {
    UnitName::new(name).expect("plain")
}

pub(super) fn names(all: &[&str]) -> BTreeSet<UnitName> {
    all.iter().map(|one| name(one)).collect()
}

pub(super) fn spec(unit: &str) -> UnitSpec {
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

pub(super) fn now(mono: u64) -> Now {
    let wall = i64::try_from(mono).expect("small");
    Now { wall: DateTime::<Utc>::from_timestamp_millis(wall).expect("in range"), mono: Mono(mono) }
}

pub(super) fn configured(specs: &[UnitSpec], wanted: &[&str]) -> Event {
    Event::Configured {
        units: specs.to_vec(),
        wanted: names(wanted),
        settings: Settings::default(),
    }
}

pub(super) fn alive(unit: &str, pid: u32) -> (&str, Seen) {
    runs(unit, pid, "agent")
}

pub(super) fn runs<'a>(unit: &'a str, pid: u32, program: &str) -> (&'a str, Seen) {
    let programs = Some(vec![program.to_owned()]);
    (
        unit,
        Seen::Alive {
            pane: PaneId::new(format!("%{pid}")),
            pid,
            programs,
            cpu_ms: None,
            silent_ms: None,
        },
    )
}

pub(super) fn exited(unit: &str, status: i32) -> (&str, Seen) {
    (unit, Seen::Dead { death: Death::Exited { status }, of: None })
}

pub(super) fn looked(panes: Vec<(&str, Seen)>) -> Event {
    let panes = panes.into_iter().map(|(unit, seen)| Sighting { unit: name(unit), seen });
    Event::Looked { server: SERVER, panes: panes.collect() }
}

pub(super) fn opened(unit: &str, attempt: u64, pid: u32) -> Event {
    let outcome = StartOutcome::Opened { pane: PaneId::new(format!("%{pid}")), pid };
    Event::Started { unit: name(unit), attempt, outcome }
}

pub(super) fn gone(unit: &str, attempt: u64) -> Event {
    Event::Stopped { unit: name(unit), attempt, outcome: StopOutcome::Gone { cut: false } }
}

pub(super) fn reading(unit: &str, attempt: u64, state: PaneState, cure: Option<Cure>) -> Event {
    let evidence = vec![Evidence {
        rule: "rule".to_owned(),
        region: "live".to_owned(),
        text: "what it says".to_owned(),
    }];
    let reading =
        Reading { state, evidence, cure, composer: Composer::Empty, live_hash: 1, marker: None };
    Event::Read { unit: name(unit), attempt, reading }
}

pub(super) fn ask(id: &str, request: Request) -> Event {
    Event::Requested { id: RequestId(id.to_owned()), request }
}

pub(super) fn up(id: &str, units: &[&str]) -> Event {
    ask(id, Request::Up { units: names(units), by_name: true })
}

pub(super) fn down(id: &str, units: &[&str]) -> Event {
    ask(id, Request::Down { units: names(units) })
}

pub(super) fn restart(id: &str, units: &[&str]) -> Event {
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

pub(super) fn words(action: &Action) -> String {
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
pub(super) fn tell(fleet: &mut Fleet, events: &[(u64, Event)]) -> String {
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
pub(super) fn running(spec: &UnitSpec) -> Fleet {
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
pub(super) fn check(mut fleet: Fleet, events: &[(u64, Event)], expected: Expect) -> Fleet {
    expected.assert_eq(&tell(&mut fleet, events));
    fleet
}
