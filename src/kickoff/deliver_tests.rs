//! The delivery against scripted looks: what is typed, when, and what is concluded.

use proptest::prelude::*;

use super::*;

fn reading(state: PaneState, composer: Composer) -> Reading {
    Reading { state, evidence: Vec::new(), cure: None, composer, live_hash: 0, marker: None }
}

fn draft(text: &str) -> Composer {
    Composer::Draft { text: text.to_owned() }
}

/// One thing a scripted pane shows at a step.
#[derive(Debug, Clone)]
struct Sight {
    reading: Option<Reading>,
    dead: bool,
    in_mode: bool,
    person_active_ago: Option<Duration>,
}

fn shows(state: PaneState, composer: Composer) -> Sight {
    Sight {
        reading: Some(reading(state, composer)),
        dead: false,
        in_mode: false,
        person_active_ago: None,
    }
}

fn idle(composer: Composer) -> Sight {
    shows(PaneState::Idle, composer)
}

/// Plays sights one after the other (the last one for ever) and tells what was done.
fn play(delivery: &mut Delivery, sights: &[Sight]) -> Vec<String> {
    let mut now = Mono(1_000_000);
    let mut acted = None;
    let mut done = Vec::new();
    for step in 0..2_000 {
        let sight = &sights[step.min(sights.len() - 1)];
        let observed = Observed {
            reading: sight.reading.as_ref(),
            dead: sight.dead,
            in_mode: sight.in_mode,
            person_active_ago: sight.person_active_ago,
            acted: acted.take(),
        };
        match delivery.step(&observed, now) {
            DeliveryAct::Look => now = now.plus(Duration::from_millis(5)),
            DeliveryAct::Wait(until) => now = Mono(until.0.max(now.0 + 1)),
            DeliveryAct::Paste(_) => {
                done.push("paste".to_owned());
                acted = Some(ActResult::Done);
            }
            DeliveryAct::Submit => {
                done.push("submit".to_owned());
                acted = Some(ActResult::Done);
            }
            DeliveryAct::Done => {
                done.push("done".to_owned());
                return done;
            }
            DeliveryAct::Held { why } => {
                done.push(format!("held: {why}"));
                return done;
            }
            DeliveryAct::NotDelivered { why } => {
                done.push(format!("not delivered: {why}"));
                return done;
            }
            DeliveryAct::Unknown { why } => {
                done.push(format!("unknown: {why}"));
                return done;
            }
        }
    }
    done.push("never ends".to_owned());
    done
}

#[track_caller]
fn check(sights: &[Sight], expected: &[&str]) {
    assert_eq!(play(&mut Delivery::new("hello ", Plan::default()), sights), expected);
}

#[test]
fn a_message_is_pasted_seen_submitted_and_gone() {
    let empty = || idle(Composer::Empty);
    let ours = || idle(draft("hello"));
    // Two clear looks, the paste's answer, our text, the submit's answer, an empty box.
    check(
        &[empty(), empty(), ours(), ours(), ours(), shows(PaneState::Working, Composer::Empty)],
        &["paste", "submit", "done"],
    );
}

#[test]
fn nothing_is_typed_where_a_person_or_the_agent_is_in_the_way() {
    let held = |sight: Sight, why: &str| check(&[sight], &[&format!("held: {why}")]);
    held(idle(draft("half typed")), "somebody's unsent text stands in the input box");
    held(idle(Composer::Absent), "the input box is not on the screen");
    held(shows(PaneState::Waiting, Composer::Empty), "the agent waits for a person");
    held(shows(PaneState::Limited, Composer::Empty), "the agent has reached a usage limit");
    held(shows(PaneState::Starting, Composer::Empty), "the agent is starting");
    held(shows(PaneState::Working, Composer::Empty), "the agent is working");
    held(Sight { in_mode: true, ..idle(Composer::Empty) }, "a person is in copy mode");
    let typing = Some(Duration::from_secs(9));
    held(
        Sight { person_active_ago: typing, ..idle(Composer::Empty) },
        "a person typed in this terminal a moment ago",
    );
    check(&[Sight { dead: true, ..idle(Composer::Empty) }], &["not delivered: the pane is dead"]);
}

#[test]
fn swallowed_submit_keys_are_repeated_up_to_the_bound() {
    let empty = || idle(Composer::Empty);
    let mut expected = vec!["paste"];
    expected.extend(["submit"; 5]);
    expected.push("not delivered: the text still stands in the input box after 5 submit keys");
    check(&[empty(), empty(), idle(draft("hello"))], &expected);
}

#[test]
fn a_dialog_over_the_pasted_text_gets_no_key() {
    let empty = || idle(Composer::Empty);
    let dialog = || shows(PaneState::Waiting, Composer::Absent);
    check(
        &[empty(), empty(), dialog()],
        &["paste", "unknown: pasted but not submitted: the agent waits for a person"],
    );
    let mut sights = vec![empty(), empty(), dialog(), dialog(), dialog()];
    sights.extend([idle(draft("hello")), idle(draft("hello")), empty()]);
    check(&sights, &["paste", "submit", "done"]);
}

#[test]
fn text_that_a_person_added_to_is_not_submitted() {
    let empty = || idle(Composer::Empty);
    check(
        &[empty(), empty(), idle(draft("hello wor"))],
        &["paste", "unknown: pasted but not submitted: the input box holds more than our text"],
    );
}

#[test]
fn after_a_crash_the_text_is_submitted_if_it_stands_and_never_typed_again() {
    let resume = |sights: &[Sight]| {
        play(&mut Delivery::resume("hello ", Plan::default(), Mono(999_000)), sights)
    };
    assert_eq!(resume(&[idle(draft("hello")), idle(Composer::Empty)]), ["submit", "done"]);
    assert_eq!(
        resume(&[idle(Composer::Empty)]),
        ["unknown: the text was pasted and is not to be seen in the input box"]
    );
}

#[test]
fn a_paste_marker_is_ours_only_when_its_count_is() {
    assert!(is_ours("[Pasted text #3 +3 lines]", "a\nb\nc\nd "));
    assert!(!is_ours("[Pasted text #3 +9 lines]", "a\nb\nc\nd "));
    assert!(is_ours("[Pasted Content 9859 chars]", "long"));
    assert!(!is_ours("half typed[Pasted text #1 +3 lines]", "a\nb\nc\nd "));
    assert!(is_ours(
        "one long line that\n  was wrapped by the box",
        "one long line that was wrapped by the box "
    ));
}

#[test]
fn a_safe_text_runs_no_command_and_ends_with_a_space() {
    assert_eq!(safe_text("/clear", Opening::Speech), "Message: /clear ");
    assert_eq!(safe_text("/clear", Opening::Command), "/clear ");
    assert_eq!(safe_text("a\u{1b}[201~b\r\nc\u{9b}d\n\n", Opening::Speech), "a[201~b\ncd ");
}

fn any_sight() -> impl Strategy<Value = Sight> {
    let state = prop::sample::select(vec![
        PaneState::Idle,
        PaneState::Idle,
        PaneState::Working,
        PaneState::Waiting,
        PaneState::Limited,
        PaneState::Starting,
        PaneState::Unknown,
        PaneState::Dead,
    ]);
    let composer = prop::sample::select(vec![
        Composer::Empty,
        Composer::Empty,
        Composer::Absent,
        draft("hello"),
        draft("hello"),
        draft("hello there"),
        draft("foreign"),
    ]);
    (state, composer, prop::bool::weighted(0.02), prop::bool::weighted(0.05)).prop_map(
        |(state, composer, dead, in_mode)| Sight { dead, in_mode, ..shows(state, composer) },
    )
}

proptest! {
    #[test]
    fn whatever_is_seen_the_text_is_pasted_once_and_every_delivery_ends(
        sights in prop::collection::vec(any_sight(), 1..60)
    ) {
        let plan = Plan { hold_max: Duration::from_secs(5), ..Plan::default() };
        let done = play(&mut Delivery::new("hello ", plan), &sights);
        prop_assert!(done.iter().filter(|act| *act == "paste").count() <= 1);
        prop_assert!(done.iter().filter(|act| *act == "submit").count() <= 5);
        prop_assert_ne!(done.last().map(String::as_str), Some("never ends"));
    }
}
