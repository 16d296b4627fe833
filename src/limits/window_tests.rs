//! The window through whole stories: one line per event, with what it made us do.

use crate::base::zone::Tz;
use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;
use crate::limits::read_judged;

const SETTINGS: Settings = Settings {
    fallback: Duration::from_secs(300),
    slack: Duration::from_secs(45),
    max_window: Duration::from_secs(8 * 86_400),
};

fn at(time: &str) -> DateTime<Utc> {
    let full = if time.contains('T') { time.to_owned() } else { format!("2026-11-21T{time}") };
    DateTime::parse_from_rfc3339(&format!("{full}Z")).expect("test time").with_timezone(&Utc)
}

fn event(words: &str, now: DateTime<Utc>) -> Event {
    match words {
        "working" => Event::Working,
        "clear" => Event::Clear,
        "deadline" => Event::Deadline,
        "freed" => Event::AccountFreed,
        "died" => Event::Died,
        "started" => Event::Started,
        "jump" => Event::ClockJump,
        text => {
            let (banner, reset) = read_judged(text, now, Tz::UTC);
            Event::Banner { text: text.to_owned(), banner, reset }
        }
    }
}

fn show(action: &Action) -> String {
    let time = |at: &DateTime<Utc>| at.format("%d %H:%M:%S").to_string();
    match action {
        Action::Quiet => "quiet".to_owned(),
        Action::WakeAt(at) => format!("wake {}", time(at)),
        Action::Probe { attempt } => format!("PROBE {attempt}"),
        Action::Restart { attempt } => format!("RESTART {attempt}"),
        Action::Rearm { until } => format!("rearm {}", time(until)),
        Action::Release(cause) => format!("release {cause:?}"),
        Action::ReportClamped { printed, until } => {
            format!("clamped {} to {}", printed.format("%Y-%m-%d"), time(until))
        }
        Action::ReportStillArmed => "still armed".to_owned(),
        Action::Look => "look".to_owned(),
    }
}

/// Plays `HH:MM:SS event` lines and compares the actions of each.
#[track_caller]
fn check(story: &str, expected: &Expect) {
    let mut window = None;
    let mut told = String::new();
    for line in story.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (time, words) = line.split_once(' ').expect("time and event");
        let now = at(time);
        let (next, actions) = step(window, event(words, now), now, &SETTINGS);
        window = next;
        let actions: Vec<String> = actions.iter().map(show).collect();
        told.extend([time, " ", &actions.join(", "), "\n"]);
    }
    expected.assert_eq(&told);
}

#[test]
fn one_probe_after_the_printed_minute_and_the_slack_ends_the_window() {
    check(
        "04:36:00 You've hit your 5-hour limit · resets 6:36am (UTC)
         04:36:30 You've hit your 5-hour limit · resets 6:36am (UTC)
         06:37:00 deadline
         06:37:45 deadline
         06:37:50 working",
        &expect![[r"
            04:36:00 quiet, wake 21 06:37:45
            04:36:30 
            06:37:00 wake 21 06:37:45
            06:37:45 PROBE 1, wake 21 06:38:45
            06:37:50 release ProbeAnswered
        "]],
    );
}

#[test]
fn a_new_banner_after_the_probe_re_arms() {
    check(
        "04:36:00 5-hour limit reached · resets 6:36am
         06:37:45 deadline
         06:37:50 5-hour limit reached · resets 11:36am
         11:37:45 deadline
         11:37:48 working",
        &expect![[r"
            04:36:00 quiet, wake 21 06:37:45
            06:37:45 PROBE 1, wake 21 06:38:45
            06:37:50 rearm 21 11:36:00, wake 21 11:37:45
            11:37:45 PROBE 2, wake 21 11:38:45
            11:37:48 release ProbeAnswered
        "]],
    );
}

#[test]
fn the_old_banner_left_on_screen_never_re_arms_even_a_day_of_looks_later() {
    check(
        "04:36:00 5-hour limit reached · resets 6:36am
         06:37:45 deadline
         06:37:50 5-hour limit reached · resets 6:36am
         06:38:50 5-hour limit reached · resets 6:36am
         07:00:00 5-hour limit reached · resets 6:36am
         07:10:00 working
         07:20:00 5-hour limit reached · resets 6:36am
         2026-11-22T04:00:00 5-hour limit reached · resets 6:36am",
        &expect![[r"
            04:36:00 quiet, wake 21 06:37:45
            06:37:45 PROBE 1, wake 21 06:38:45
            06:37:50 
            06:38:50 release OnlyOldBanner
            07:00:00 
            07:10:00 
            07:20:00 
            2026-11-22T04:00:00 quiet, wake 22 06:37:45
        "]],
    );
}

#[test]
fn the_same_words_right_after_work_are_a_new_occurrence_and_wait_the_fallback() {
    check(
        "04:36:00 5-hour limit reached · resets 6:36am
         06:37:45 deadline
         06:37:46 working
         06:38:00 5-hour limit reached · resets 6:36am",
        &expect![[r"
            04:36:00 quiet, wake 21 06:37:45
            06:37:45 PROBE 1, wake 21 06:38:45
            06:37:46 release ProbeAnswered
            06:38:00 quiet, wake 21 06:43:00
        "]],
    );
}

#[test]
fn a_banner_without_a_time_is_probed_at_the_fallback_cadence() {
    check(
        "04:00:00 Usage limit reached.
         04:05:00 deadline
         04:05:30 Usage limit reached.
         04:06:00 deadline
         04:06:01 Usage limit reached.
         04:11:01 deadline
         04:12:05 clear",
        &expect![[r"
            04:00:00 quiet, wake 21 04:05:00
            04:05:00 PROBE 1, wake 21 04:06:00
            04:05:30 
            04:06:00 look, wake 21 04:07:00
            04:06:01 rearm 21 04:11:01, wake 21 04:11:01
            04:11:01 PROBE 2, wake 21 04:12:01
            04:12:05 release ProbeAnswered
        "]],
    );
}

#[test]
fn a_cli_that_goes_on_by_itself_is_not_probed_while_it_is_armed() {
    check(
        "04:36:00 Usage limit reached · continuing automatically at 6:32am · esc to cancel
         06:34:00 deadline
         06:34:48 working",
        &expect![[r"
            04:36:00 quiet, wake 21 06:43:00
            06:34:00 wake 21 06:43:00
            06:34:48 release WorksAgain
        "]],
    );
    check(
        "04:36:00 Usage limit reached · continuing automatically at 6:32am · esc to cancel
         06:43:00 deadline
         06:50:00 deadline
         07:33:00 deadline",
        &expect![[r"
            04:36:00 quiet, wake 21 06:43:00
            06:43:00 still armed, wake 21 07:33:00
            06:50:00 still armed, wake 21 07:33:00
            07:33:00 PROBE 1, wake 21 07:34:00
        "]],
    );
}

#[test]
fn a_cli_whose_own_continuation_was_cancelled_is_probed_like_any_other() {
    check(
        "04:36:00 Usage limit reached · continuing automatically at 6:32am · esc to cancel
         05:00:00 You've hit your 5-hour limit · resets 6:32am (UTC) Automatic continue cancelled · /rate-limit-options to re-arm
         06:33:45 deadline",
        &expect![[r"
            04:36:00 quiet, wake 21 06:43:00
            05:00:00 wake 21 06:33:45
            06:33:45 PROBE 1, wake 21 06:34:45
        "]],
    );
}

#[test]
fn a_past_end_after_sleep_is_probed_now() {
    check(
        "04:36:00 You've hit your 5-hour limit · resets 6:36am (UTC)
         2026-11-22T09:00:00 jump",
        &expect![[r"
            04:36:00 quiet, wake 21 06:37:45
            2026-11-22T09:00:00 PROBE 1, wake 22 09:01:00
        "]],
    );
    check(
        "04:36:00 Weekly limit reached · resets Nov 19, 3pm
         04:36:00 deadline",
        &expect![[r"
            04:36:00 quiet, wake 21 04:36:00
            04:36:00 PROBE 1, wake 21 04:37:00
        "]],
    );
}

#[test]
fn a_window_too_long_to_believe_is_clamped_and_reported_also_after_a_jump_back() {
    check(
        "04:00:00 weekly limit reached · resets Jan 3, 2027, 5pm (UTC)
         2026-11-20T04:00:00 jump",
        &expect![[r"
            04:00:00 quiet, clamped 2027-01-03 to 29 04:00:00, wake 29 04:01:45
            2026-11-20T04:00:00 clamped 2026-11-29 to 28 04:00:00, wake 28 04:01:45
        "]],
    );
}

#[test]
fn an_agent_that_died_in_its_window_is_started_again_instead_of_probed() {
    check(
        "04:36:00 5-hour limit reached · resets 6:36am
         05:00:00 died
         06:37:45 deadline
         06:37:46 started
         06:37:50 working",
        &expect![[r"
            04:36:00 quiet, wake 21 06:37:45
            05:00:00 
            06:37:45 RESTART 1, wake 21 06:38:45
            06:37:46 
            06:37:50 release ProbeAnswered
        "]],
    );
}

#[test]
fn an_agent_freed_by_its_account_is_probed_before_its_own_time_and_only_once() {
    check(
        "04:36:00 5-hour limit reached · resets 6:36am
         05:00:00 freed
         05:00:01 freed
         05:00:02 working
         05:00:03 freed",
        &expect![[r"
            04:36:00 quiet, wake 21 06:37:45
            05:00:00 PROBE 1, wake 21 05:01:00
            05:00:01 
            05:00:02 release ProbeAnswered
            05:00:03 
        "]],
    );
}

#[test]
fn the_same_end_in_other_words_and_a_countdown_change_nothing() {
    check(
        "04:36:00 5-hour limit reached · resets 6:36am (UTC)
         04:36:30 ⚠ Usage limit reached · limit resets 6:36am
         04:37:00 5-hour limit reached · resets 6:36am (UTC)",
        &expect![[r"
            04:36:00 quiet, wake 21 06:37:45
            04:36:30 
            04:37:00 
        "]],
    );
    check(
        "04:00:00 Rate limit reached [retrying in 1h 59m attempt #1]
         04:01:10 Rate limit reached [retrying in 1h 58m attempt #1]
         04:30:00 Rate limit reached [retrying in 1h 29m attempt #1]",
        &expect![[r"
            04:00:00 quiet, wake 21 06:10:00
            04:01:10 
            04:30:00 
        "]],
    );
}

#[test]
fn a_warning_opens_no_window() {
    check(
        "04:00:00 You've used 95% of your 5-hour limit · resets 6:28am (Europe/Berlin)",
        &expect![[r"
            04:00:00 
        "]],
    );
}

fn any_event() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "working",
        "clear",
        "deadline",
        "freed",
        "died",
        "started",
        "jump",
        "Usage limit reached.",
        "5-hour limit reached · resets 6:36am",
        "weekly limit reached · resets Nov 25, 3pm",
        "weekly limit reached · resets Jan 3, 2027, 5pm",
        "Usage limit reached · continuing automatically at 6:32am · esc to cancel",
        "Rate limit reached. Please try again in 20s.",
    ])
}

proptest! {
    #[test]
    fn no_story_probes_early_twice_or_lies_too_far_ahead(
        story in prop::collection::vec((any_event(), -90_000_i64..90_000), 1..60),
    ) {
        let mut now = at("04:00:00");
        let mut window: Option<Window> = None;
        for (words, later) in story {
            now += TimeDelta::seconds(later);
            let before = window.clone();
            let (next, actions) = step(window, event(words, now), now, &SETTINGS);
            let probed = actions.iter().any(|action| {
                matches!(action, Action::Probe { .. } | Action::Restart { .. })
            });
            if probed {
                let before = before.as_ref().expect("no probe without a window");
                prop_assert_eq!(before.phase, Phase::Quiet);
                prop_assert!(words == "freed" || now >= before.due(&SETTINGS));
            }
            if let Some(open) = next.as_ref().filter(|open| open.phase == Phase::Quiet)
                && words == "jump"
            {
                let believed = now + TimeDelta::from_std(SETTINGS.max_window).expect("small");
                prop_assert!(open.until <= believed);
            }
            let released = actions.iter().any(|action| matches!(action, Action::Release(_)));
            let was_open = before.is_some_and(|window| window.is_open());
            let is_open = next.as_ref().is_some_and(Window::is_open);
            prop_assert_eq!(released, was_open && !is_open, "held messages are delivered exactly then");
            window = next;
        }
    }
}
