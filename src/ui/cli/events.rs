//! `ao events`: what the watchdog did and why, from `<log_dir>/events.jsonl`.
//!
//! `--json` passes the recorded lines on as they are; the human form shows local time, the unit, the
//! event and the reason. A line that is no JSON (a crash tore it) is said and skipped.

use std::fmt::Write as _;
use std::time::Duration;

use chrono::{DateTime, Local, NaiveDate, TimeZone};
use serde_json::Value;

use super::{Globals, load_config};
use crate::sys::tail::Tail;
use crate::ui::failure::Failure;
use crate::ui::{exit, print};

/// About fifty thousand events.
const BACK_BYTES_MAX: u64 = 8 << 20;
const FOLLOW_EVERY: Duration = Duration::from_millis(200);

/// Show what the watchdog did, and why.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Go on as events come.
    #[arg(short, long)]
    follow: bool,
    /// How many of the last events to begin with.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 50)]
    lines: usize,
}

#[expect(clippy::needless_pass_by_value, reason = "every verb has this signature")]
pub(crate) fn run(args: Args, globals: &Globals) -> Result<u8, Failure> {
    let Args { follow, lines } = args;
    let config = load_config(globals)?;
    let file = config.log_dir.join("events.jsonl");
    let unreadable = |error: std::io::Error| {
        Failure::failed(format!("cannot read `{}`", file.display())).caused_by(&error)
    };
    let (bytes, mut tail) = Tail::from_end(&file, BACK_BYTES_MAX).map_err(unreadable)?;
    let mut partial = Vec::new();
    let begin = complete_lines(&mut partial, &bytes);
    if begin.is_empty() && !follow && !globals.quiet {
        print::err(&format!("no events yet in `{}`; `ao up` starts the watchdog", file.display()));
    }
    let mut writer = Writer { json: globals.json, day: None };
    let from = begin.len().saturating_sub(lines);
    let mut read = begin[from..].iter().all(|line| writer.print(line));
    while follow && read {
        let more = complete_lines(&mut partial, &tail.look().map_err(unreadable)?);
        read = more.iter().all(|line| writer.print(line));
        std::thread::sleep(FOLLOW_EVERY);
    }
    Ok(exit::DONE)
}

/// The lines that these bytes complete; the rest waits in `partial`.
fn complete_lines(partial: &mut Vec<u8>, bytes: &[u8]) -> Vec<String> {
    partial.extend_from_slice(bytes);
    let Some(end) = partial.iter().rposition(|&byte| byte == b'\n') else {
        return Vec::new();
    };
    let rest = partial.split_off(end + 1);
    let whole = std::mem::replace(partial, rest);
    let text = String::from_utf8_lossy(&whole);
    text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect()
}

struct Writer {
    json: bool,
    /// Of the event shown last: a new day gets a line of its own.
    day: Option<NaiveDate>,
}

impl Writer {
    /// Whether anybody still reads.
    fn print(&mut self, line: &str) -> bool {
        match serde_json::from_str::<Value>(line) {
            Ok(_) if self.json => print::try_out(line),
            Ok(event) => {
                let (text, day) = human(&event, &Local, self.day);
                self.day = day;
                print::try_out(&text)
            }
            Err(_) => {
                print::err(&format!("skipped a damaged line: {}", line.escape_debug()));
                true
            }
        }
    }
}

/// `HH:MM:SS  unit  event  why`, after a line with the date when the day is another than before.
fn human<Zone: TimeZone>(
    event: &Value,
    zone: &Zone,
    day_before: Option<NaiveDate>,
) -> (String, Option<NaiveDate>) {
    let field = |name: &str| event.get(name).and_then(Value::as_str).unwrap_or("-");
    let at = DateTime::parse_from_rfc3339(field("at")).ok();
    let local = at.map(|at| at.with_timezone(zone).naive_local());
    let day = local.map(|local| local.date());
    let mut text = String::new();
    if let Some(day) = day.filter(|&day| Some(day) != day_before) {
        writeln!(text, "{day}").expect("writing to memory does not fail");
    }
    let time =
        local.map_or_else(|| "--:--:--".to_owned(), |local| local.format("%H:%M:%S").to_string());
    let why: String = field("why").chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let (unit, event) = (field("unit"), field("event"));
    write!(text, "{time}  {unit:<16}  {event:<16}  {why}")
        .expect("writing to memory does not fail");
    (text.trim_end().to_owned(), day.or(day_before))
}

#[cfg(test)]
mod tests {
    use chrono::FixedOffset;
    use expect_test::{Expect, expect};

    use super::*;

    #[track_caller]
    #[expect(clippy::needless_pass_by_value, reason = "reads better without `&` at each call")]
    fn check(lines: &[&str], expected: Expect) {
        let zone = FixedOffset::east_opt(3_600).unwrap();
        let mut day = None;
        let mut shown = Vec::new();
        for line in lines {
            let (text, next) = human(&serde_json::from_str(line).unwrap(), &zone, day);
            day = next;
            shown.push(text);
        }
        expected.assert_eq(&shown.join("\n"));
    }

    #[test]
    fn events_carry_local_time_and_a_new_day_is_announced_once() {
        check(
            &[
                r#"{"version":1,"at":"2026-03-01T22:58:00Z","event":"started","unit":"builder","why":"`ao up`"}"#,
                r#"{"version":1,"at":"2026-03-01T22:59:30Z","event":"pinged","unit":"adversary","why":"two\nlines"}"#,
                r#"{"version":1,"at":"2026-03-01T23:00:01Z","event":"phase_advanced"}"#,
            ],
            expect![[r"
                2026-03-01
                23:58:00  builder           started           `ao up`
                23:59:30  adversary         pinged            two lines
                2026-03-02
                00:00:01  -                 phase_advanced    -"]],
        );
    }

    #[test]
    fn an_event_without_a_readable_time_is_shown_all_the_same() {
        check(
            &[r#"{"event":"odd","unit":"x","why":"y","at":"soon"}"#],
            expect!["--:--:--  x                 odd               y"],
        );
    }

    #[test]
    fn a_half_written_line_waits_for_its_end() {
        let mut partial = Vec::new();
        assert_eq!(complete_lines(&mut partial, b"{\"a\":1}\n{\"b\""), ["{\"a\":1}"]);
        assert_eq!(complete_lines(&mut partial, b":2}\n"), ["{\"b\":2}"]);
    }
}
