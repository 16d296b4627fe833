//! Every reset-time form seen or reported, as a table: text, now, zone, the expected instant.

use crate::base::zone::Tz;
use chrono::{DateTime, Utc};
use proptest::prelude::*;

use super::{GRACE, Precision, parse};

/// A Saturday, 04:36:30 UTC, 05:36:30 in Berlin.
const NOW: &str = "2026-11-21T04:36:30Z";
const BERLIN: &str = "Europe/Berlin";

fn at(text: &str) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(text).expect("test time").with_timezone(&Utc)
}

/// `expected` is `none` or an instant such as `2026-11-21 05:36`, with seconds if they are not 0.
#[track_caller]
fn check(text: &str, now: &str, zone: &str, expected: &str) {
    let zone: Tz = zone.parse().expect("test zone");
    let found = parse(text, at(now), zone).map_or("none".to_owned(), |reset| {
        let shown = reset.at.format("%Y-%m-%d %H:%M:%S%.f").to_string();
        shown.strip_suffix(":00").map_or(shown.clone(), str::to_owned)
    });
    assert_eq!(found, expected, "`{text}` at {now} in {zone}");
}

#[track_caller]
fn check_all(now: &str, zone: &str, rows: &[(&str, &str)]) {
    for (text, expected) in rows {
        check(text, now, zone, expected);
    }
}

#[test]
fn claude_code_forms() {
    check_all(
        NOW,
        BERLIN,
        &[
            ("You've hit your 5-hour limit · resets 6:36am (Europe/Berlin)", "2026-11-21 05:36"),
            ("You've hit your 5-hour limit · resets 6:32am (Europe/Berlin)", "2026-11-21 05:32"),
            ("  ⎿  You've hit your 5-hour limit · resets 2pm (Europe/Berlin)", "2026-11-21 13:00"),
            ("You've hit your 5-hour limit · resets 2pm (UTC)", "2026-11-21 14:00"),
            ("You've hit your weekly limit · resets 3:18am (Europe/Berlin)", "2026-11-22 02:18"),
            ("weekly limit · resets Nov 24, 3pm (Europe/Berlin)", "2026-11-24 14:00"),
            ("weekly limit · resets Nov 25, 9:30am (Europe/Berlin)", "2026-11-25 08:30"),
            ("weekly limit · resets Jan 3, 2027, 5pm (Europe/Berlin)", "2027-01-03 16:00"),
            ("weekly limit · resets Nov 25, 10:07am\n     (Europe/Berlin)", "2026-11-25 09:07"),
            (
                "weekly limit · resets\n  Nov 25,\n 10:07am\n     (America/Los_Angeles)",
                "2026-11-25 18:07",
            ),
            ("Opus limit · resets Nov 23, 12:01pm (Europe/Berlin)", "2026-11-23 11:01"),
            ("⚠ Usage limit reached · limit resets 6:32am", "2026-11-21 05:32"),
            (
                "● Usage limit reached · continuing automatically at 6:32am · esc to cancel",
                "2026-11-21 05:32",
            ),
            ("Continuing automatically at Nov 24, 3pm · Esc to cancel", "2026-11-24 14:00"),
            (
                "❯ 1. Stop and wait for limit to reset\n 2. Wait here, then continue automatically at 6:36am\n 3. Upgrade",
                "2026-11-21 05:36",
            ),
            ("resets 6:36am (Etc/GMT-3)", "2026-11-22 03:36"),
            ("resets 6:36am (America/Los_Angeles)", "2026-11-21 14:36"),
            ("limits. You will regain access on 2026-12-01 at 00:00 UTC.", "2026-12-01 00:00"),
            (
                "limits. You will regain access on 2026-12-01 at 00:00\n     UTC.",
                "2026-12-01 00:00",
            ),
            ("spend limit reached · resets Dec 8", "2026-12-07 23:00"),
            ("spend limit reached · resets Aug 8", "2027-08-07 22:00"),
            ("Fast limit reached, fast mode paused · resets in 12m", "2026-11-21 04:48:30"),
            (
                "\"rate_limit_info\":{\"status\":\"rejected\",\"resetsAt\": 1795239576}",
                "2026-11-21 05:39:36",
            ),
            ("five_hour: resets_at: 1795239576", "2026-11-21 05:39:36"),
            ("Claude AI usage limit reached|1795239576", "2026-11-21 05:39:36"),
            ("Claude AI usage limit reached|1762952400", "2026-11-21 04:36:30"),
            (
                "Claude usage limit reached. Your limit will reset at 3pm (America/Bogota).",
                "2026-11-21 20:00",
            ),
            ("5-hour limit reached ∙ resets 3am", "2026-11-22 02:00"),
            ("Session limit reached ∙ resets 9:30pm", "2026-11-21 20:30"),
            ("Weekly limit reached ∙ resets Oct 9, 5pm", "2027-10-09 15:00"),
            ("You've hit your limit · resets 4:50am (Europe/Rome)", "2026-11-22 03:50"),
            (
                "You've hit your session limit · resets 12:50am (America/Los_Angeles)",
                "2026-11-21 08:50",
            ),
            ("resets Feb 7, 11am (Asia/Seoul)", "2027-02-07 02:00"),
            ("5-hour limit reached · retrying in 2m (4pm) · attempt 1/10", "2026-11-21 15:00"),
            (
                "spend limit · ask your admin at https://x.test/a · your 5-hour limit resets 6:39am (Europe/Berlin)",
                "2026-11-21 05:39",
            ),
            ("● Usage limit reset · Continuing automatically", "none"),
            ("Continuing shortly · Esc to cancel", "none"),
            ("Your org is out of usage · contact your admin", "none"),
        ],
    );
}

#[test]
fn codex_forms() {
    check_all(
        NOW,
        BERLIN,
        &[
            ("■ You’ve hit your usage limit. Try again at 6:20 AM.", "2026-11-21 05:20"),
            (
                "to purchase more credits or try again at Nov 24th, 2026 3:20 AM.",
                "2026-11-24 02:20",
            ),
            ("or try again at Nov 24th, 2026\n  3:20 AM.", "2026-11-24 02:20"),
            ("try again at Dec 1st, 2026 12:00 AM.", "2026-11-30 23:00"),
            ("try again at Dec 2nd, 2026 12:05 PM.", "2026-12-02 11:05"),
            ("try again at Dec 3rd, 2026 1:05 PM.", "2026-12-03 12:05"),
            ("Try again later.", "none"),
            ("or try again later.", "none"),
            ("resets at 07:21 on 24 Nov · /status", "2026-11-24 06:21"),
            ("resets at 07:21 · /status", "2026-11-21 06:21"),
            ("resets at 03:21", "2026-11-22 02:21"),
            ("Rate limit reached for x. Please try again in 20s.", "2026-11-21 04:36:50"),
            ("Please try again in 1.5s.", "2026-11-21 04:36:31.500"),
            ("Please try again in 500ms.", "2026-11-21 04:36:30.500"),
            ("try again in 7 seconds", "2026-11-21 04:36:37"),
            ("try again in 1 second", "2026-11-21 04:36:31"),
            ("\"resets_at\":1795240379", "2026-11-21 05:52:59"),
            ("{\"resets_at\":1795240379.5}", "2026-11-21 05:52:59"),
            ("exceeded retry limit, last status: 429 Too Many Requests", "none"),
            (
                "⚠ 5h limit: only <1% left · resets at 09:00 ■ You’ve hit your usage limit. Try again at 7:00 AM.",
                "2026-11-21 06:00",
            ),
        ],
    );
}

#[test]
fn opencode_and_gemini_forms() {
    check_all(
        NOW,
        BERLIN,
        &[
            ("[retrying in 23s attempt #1]", "2026-11-21 04:36:53"),
            ("[retrying in 5m 3s attempt #1]", "2026-11-21 04:41:33"),
            ("[retrying in 5m attempt #1]", "2026-11-21 04:41:30"),
            ("[retrying in 1h 59m attempt #1]", "2026-11-21 06:35:30"),
            ("[retrying in 3h attempt #2]", "2026-11-21 07:36:30"),
            ("[retrying in ~1 day attempt #1]", "2026-11-22 04:36:30"),
            ("[retrying in ~3 days attempt #1]", "2026-11-24 04:36:30"),
            ("[retrying in ~1 week attempt #1]", "2026-11-28 04:36:30"),
            ("[retrying in ~2 weeks attempt #1]", "2026-12-05 04:36:30"),
            ("[retrying attempt #5]", "none"),
            (
                "5 hour usage limit reached. It will reset in 2 hours 30 minutes. To continue",
                "2026-11-21 07:06:30",
            ),
            (
                "⬝5■hour■usage limit reached. It will reset in 2 hours 30 minutes. To\n usi… [retrying in 2h 29m attempt #1]",
                "2026-11-21 07:05:30",
            ),
            ("It will reset in 1 hour 1 minute.", "2026-11-21 05:37:30"),
            ("It will reset in 2 days 4 hours.", "2026-11-23 08:36:30"),
            ("It will reset in less than a minute.", "2026-11-21 04:37:30"),
            ("It will reset in\n ┃ 2 hours\n ┃ 30 minutes", "2026-11-21 07:06:30"),
            ("{\"type\":\"retry\",\"next\":1795240379000}", "2026-11-21 05:52:59"),
            ("Access resets at 6:01 AM UTC.", "2026-11-21 06:01"),
            ("Access resets at 6:01\u{202f}AM UTC.", "2026-11-21 06:01"),
            ("Access resets at 6:01 AM PST.", "2026-11-21 14:01"),
            ("Access resets at 6:01 AM PDT.", "2026-11-21 13:01"),
            ("Access resets at 6:01 AM EST.", "2026-11-21 11:01"),
            ("Access resets at 6:01 AM CET.", "2026-11-21 05:01"),
            ("Access resets at 7:01 AM CEST.", "2026-11-21 05:01"),
            ("Access resets at 6:01 AM GMT+1.", "2026-11-21 05:01"),
            ("Access resets at 11:01 AM GMT+5:30.", "2026-11-21 05:31"),
            ("Access resets at 6:01 AM CST.", "2026-11-21 05:01"),
            ("Limit reached, resets in 1h 30m", "2026-11-21 06:06:30"),
            ("Resets: 6:01 AM (1h 30m)", "2026-11-21 05:01"),
            ("resets in 1 hour 30 minutes at 6:01 AM UTC", "2026-11-21 06:01"),
            ("Your quota will reset after 17h32m10s.", "2026-11-21 22:08:40"),
            ("Please retry in 37.123456s.", "2026-11-21 04:37:07.123"),
        ],
    );
}

#[test]
fn words_for_days_and_other_arrangements() {
    check_all(
        NOW,
        BERLIN,
        &[
            ("resets tomorrow at 3am", "2026-11-22 02:00"),
            ("resets at 3am tomorrow", "2026-11-22 02:00"),
            ("resets today at 6pm", "2026-11-21 17:00"),
            ("resets tomorrow", "2026-11-21 23:00"),
            ("resets Monday 9am", "2026-11-23 08:00"),
            ("resets on Mon, 9:30 AM", "2026-11-23 08:30"),
            ("resets Sat 9am", "2026-11-21 08:00"),
            ("resets Saturday at 3am", "2026-11-28 02:00"),
            ("resets next Tuesday at 10:00", "2026-11-24 09:00"),
            ("resets Mon, Nov 30, 9am", "2026-11-30 08:00"),
            ("resets 24 November 2026 at 15:00 UTC", "2026-11-24 15:00"),
            ("resets on 24th of November, 3 p.m. (UTC)", "2026-11-24 15:00"),
            ("resets at noon", "2026-11-21 11:00"),
            ("resets at midnight (UTC)", "2026-11-22 00:00"),
            ("resets in 3h 20m", "2026-11-21 07:56:30"),
            ("resets in 3h20m", "2026-11-21 07:56:30"),
            ("resets in 2 hours, and 30 minutes", "2026-11-21 07:06:30"),
            ("resets in an hour", "2026-11-21 05:36:30"),
            ("try again in about 2 hrs", "2026-11-21 06:36:30"),
            ("resets at 2026-11-21T09:00:00Z", "2026-11-21 09:00"),
            ("resets at 2026-11-21T09:00:00.250Z", "2026-11-21 09:00"),
            ("resets at 2026-11-21T09:00:07+02:00", "2026-11-21 07:00:07"),
            ("resets at 2026-11-21T09:00:00-0500", "2026-11-21 14:00"),
            ("reset: \"2026-11-21T09:00:00Z\"", "2026-11-21 09:00"),
            ("resets at 2026-11-21T09:00", "2026-11-21 08:00"),
            ("resets at 2026-11-21 09:00 UTC", "2026-11-21 09:00"),
            ("resets 2026-11-23", "2026-11-22 23:00"),
            ("limit reached until 15:00", "2026-11-21 14:00"),
            ("resets 12am", "2026-11-21 23:00"),
            ("resets 12pm", "2026-11-21 11:00"),
            ("resets 12:30am", "2026-11-21 23:30"),
            ("resets 0:30", "2026-11-21 23:30"),
            ("resets 6:36AM", "2026-11-21 05:36"),
            ("RESETS 6:36 A.M. (Europe/Berlin)", "2026-11-21 05:36"),
            ("first resets 6:00am (UTC), later resets 8:00am (UTC)", "2026-11-21 08:00"),
        ],
    );
}

#[test]
fn texts_without_a_time_give_none() {
    check_all(
        NOW,
        BERLIN,
        &[
            ("", "none"),
            ("resets", "none"),
            ("resets soon", "none"),
            ("resets 13pm", "none"),
            ("resets 0pm", "none"),
            ("resets 25:00", "none"),
            ("resets at 5", "none"),
            ("resets Feb 30, 2027, 3pm", "none"),
            ("resets 2026-13-01", "none"),
            ("resets in 3 fortnights", "none"),
            ("resets in 999999999 weeks", "none"),
            ("git reset --hard HEAD~1", "none"),
            ("the meeting is at 3pm", "none"),
            ("usage limit reached|17629524", "none"),
        ],
    );
}

#[test]
fn past_times_and_midnights() {
    // Just past means now; ten minutes later it means tomorrow.
    check("resets 6:36am", "2026-11-21T05:36:30Z", BERLIN, "2026-11-21 05:36");
    check("resets 6:36am", "2026-11-21T05:46:00Z", BERLIN, "2026-11-21 05:36");
    check("resets 6:36am", "2026-11-21T05:46:01Z", BERLIN, "2026-11-22 05:36");
    check("resets 11:58pm", "2026-11-21T23:03:00Z", BERLIN, "2026-11-21 22:58");
    check("resets 12:03am", "2026-11-21T22:58:00Z", BERLIN, "2026-11-21 23:03");
    check("resets Nov 21, 5am", NOW, "UTC", "2026-11-21 05:00");
    check("resets Nov 21, 3am", NOW, "UTC", "2026-11-21 04:36:30");
    check("resets Nov 18, 3am", NOW, "UTC", "2026-11-21 04:36:30");
    check("resets Nov 21", NOW, "UTC", "2026-11-21 04:36:30");
    check("resets Nov 22", NOW, "UTC", "2026-11-22 00:00");
    check("resets Jan 1, 3am", "2026-12-31T20:00:00Z", "UTC", "2027-01-01 03:00");
    check("resets Dec 31, 11pm", "2027-01-01T08:00:00Z", "UTC", "2027-01-01 08:00");
    check("resets Feb 29, 3pm", "2027-06-01T00:00:00Z", "UTC", "2028-02-29 15:00");
    check("resets Jan 3, 2026, 5pm", NOW, "UTC", "2026-11-21 04:36:30");
    check("resets 3pm", NOW, "Pacific/Kiritimati", "2026-11-22 01:00");
    check("resets 3pm", NOW, "Pacific/Niue", "2026-11-22 02:00");
    check("resets 3pm", NOW, "Asia/Kathmandu", "2026-11-21 09:15");
}

#[test]
fn changes_of_the_clock_resolve_forward() {
    // Berlin skips 02:00–03:00 on 2026-03-29 and has 02:00–03:00 twice on 2026-10-25.
    check("resets 2:30am", "2026-03-29T00:10:00Z", BERLIN, "2026-03-29 01:30");
    check("resets 3:30am", "2026-03-29T00:10:00Z", BERLIN, "2026-03-29 01:30");
    check("resets 2:30am", "2026-10-24T22:00:00Z", BERLIN, "2026-10-25 01:30");
    check("resets 2:30am", "2026-10-25T00:31:00Z", BERLIN, "2026-10-25 01:30");
    check("resets 3am", "2026-10-24T22:00:00Z", BERLIN, "2026-10-25 02:00");
    check("resets 1:30am", "2026-11-01T04:00:00Z", "America/New_York", "2026-11-01 06:30");
    check("resets 2:30am", "2026-03-08T05:00:00Z", "America/New_York", "2026-03-08 07:30");
    // A gap of half an hour, one at midnight, and a whole day that an island skipped.
    check("resets 2:15am", "2026-10-03T10:00:00Z", "Australia/Lord_Howe", "2026-10-03 15:45");
    check("resets Sep 6", "2026-09-01T10:00:00Z", "America/Santiago", "2026-09-06 04:00");
    check("resets Dec 30, 2011, 3pm", "2011-12-29T00:00:00Z", "Pacific/Apia", "2011-12-31 01:00");
}

#[test]
fn what_had_to_be_assumed_is_noted() {
    let note = |text: &str, now: &str| {
        let zone: Tz = BERLIN.parse().expect("zone");
        parse(text, at(now), zone).and_then(|reset| reset.note).unwrap_or_default()
    };
    assert_eq!(note("resets 8am (UTC)", NOW), "");
    assert!(note("resets 2:30am", "2026-03-29T00:10:00Z").contains("no 02:30"));
    assert!(note("resets 2:30am", "2026-10-24T22:00:00Z").contains("twice"));
    assert!(note("resets 8am CST", NOW).contains("unknown zone `CST`"));
    assert!(note("resets Nov 18, 3am", NOW).contains("means now"));
    assert!(note("resets Jan 5, 3am", NOW).contains("2027"));
}

#[test]
fn the_precision_is_the_smallest_unit_printed() {
    let precision = |text: &str| parse(text, at(NOW), Tz::UTC).expect("a time").precision;
    let texts = ["try again in 20s", "resets 6:36am", "in 3h: resets in 3h", "resets Dec 8"];
    let expected = [Precision::Second, Precision::Minute, Precision::Hour, Precision::Day];
    assert_eq!(texts.map(precision), expected);
}

fn word() -> impl Strategy<Value = String> {
    let words = [
        "resets",
        "resets at",
        "try again in",
        "retrying in",
        "until",
        "reached|",
        "\"next\":",
        "at",
        "on",
        "in",
        ",",
        "·",
        "6:36am",
        "12am",
        "23:59",
        "2pm",
        "Nov",
        "Feb 29",
        "24 Nov",
        "24th",
        "2027",
        "2026-12-01",
        "T09:00:00Z",
        "tomorrow",
        "Monday",
        "(Europe/Berlin)",
        "(Pacific/Apia)",
        "UTC",
        "CST",
        "GMT+14",
        "+99:99",
        "1795239576",
        "9999999999",
        "9999999999999",
        "3h",
        "20m",
        "~1 week",
        "999999999 weeks",
        "less than a minute",
        "attempt #1",
        "99:99",
        "９",
        "ſ",
        "\u{202f}",
    ];
    prop_oneof![
        4 => prop::sample::select(words.map(str::to_owned).to_vec()),
        1 => "\\PC{0,6}",
    ]
}

fn zone() -> impl Strategy<Value = Tz> {
    prop::sample::select(Tz::names()).prop_map(|name| name.parse().expect("its own name"))
}

proptest! {
    #[test]
    fn no_text_panics_or_gives_a_time_behind_the_grace(
        words in prop::collection::vec(word(), 0..9),
        seconds in 0_i64..4_000_000_000,
        zone in zone(),
    ) {
        let now = DateTime::from_timestamp(seconds, 0).expect("in range");
        if let Some(reset) = parse(&words.join(" "), now, zone) {
            prop_assert!(reset.at >= now - GRACE, "{reset:?} at {now}");
        }
    }

    #[test]
    fn wrapping_a_text_anywhere_changes_nothing(
        words in prop::collection::vec(word(), 0..9),
        breaks in prop::collection::vec(prop::sample::select(vec!["\n", " \n   ", "\u{a0}", "\r\n ┃ "]), 9),
        zone in zone(),
    ) {
        let pieces = words.iter().zip(&breaks).flat_map(|(word, gap)| [word.as_str(), gap]);
        let wrapped: String = pieces.collect();
        prop_assert_eq!(parse(&wrapped, at(NOW), zone), parse(&words.join(" "), at(NOW), zone));
    }

    #[test]
    fn a_printed_clock_time_is_read_back(minute in 0_i64..1_430, zone in zone()) {
        let now = at("2026-06-10T12:00:00Z");
        let then = now + chrono::TimeDelta::minutes(minute);
        let local = then.with_timezone(&zone);
        let text = format!("resets {} ({})", local.format("%-I:%M%P"), zone.name());
        prop_assert_eq!(parse(&text, now, Tz::UTC).map(|reset| reset.at), Some(then));
    }
}
