//! `ao explain`: the last decision about an agent and its evidence, or what a saved screen says.
//!
//! `--screen` needs neither config nor tmux: it is what people attach to a report of a bug.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::base::zone::Tz;
use chrono::{DateTime, Utc};

use super::{Globals, explain_unit};
use crate::backend::detect_preset;
use crate::base::suggest;
use crate::limits;
use crate::screen::capture::Screen;
use crate::screen::detect::{Detector, PaneHints};
use crate::screen::{Composer, PaneState, Reading};
use crate::sys::clock;
use crate::ui::exit;
use crate::ui::failure::Failure;
use crate::ui::print::{self, Tone};

/// Longest screen that is read: a 220×50 capture with colours is 12 kB.
const SCREEN_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The last decision about an agent and its evidence, or what a saved screen says.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The agent to explain.
    #[arg(value_name = "NAME", required_unless_present = "screen", conflicts_with = "screen")]
    pub(crate) name: Option<String>,
    /// A saved screen (`tmux capture-pane -p`, best with `-e`); `-` = standard input.
    #[arg(long, value_name = "FILE", requires = "backend")]
    pub(crate) screen: Option<PathBuf>,
    /// The backend whose rules read the screen: a preset's name.
    #[arg(long, value_name = "NAME", requires = "screen")]
    pub(crate) backend: Option<String>,
    #[command(flatten)]
    pub(crate) view: View,
}

/// What is known of a saved screen beside its text.
#[derive(Debug, clap::Args)]
pub(crate) struct View {
    /// The pane's title, where the CLI puts its state there.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(crate) title: String,
    /// The size of the pane when the screen was saved, such as 120x40.
    #[arg(long, value_name = "WxH", value_parser = size)]
    pub(crate) size: Option<(u16, u16)>,
    /// When the screen was saved (RFC 3339); resets are reckoned from here.
    #[arg(long, value_name = "ISO", value_parser = instant)]
    pub(crate) now: Option<DateTime<Utc>>,
    /// The time zone of the machine the screen was saved on, such as Europe/Berlin.
    #[arg(long, value_name = "TZ", value_parser = zone)]
    pub(crate) zone: Option<Tz>,
}

pub(crate) fn run(args: Args, globals: &Globals) -> Result<u8, Failure> {
    let Args { name, screen, backend, view } = args;
    match (screen, backend, name) {
        (Some(file), Some(backend), _) => of_screen(&file, &backend, &view, globals),
        (_, _, Some(name)) => explain_unit::run(&name, globals),
        _ => Err(Failure::usage(
            "name an agent, or a saved screen with `--screen FILE --backend NAME`",
        )),
    }
}

/// When the limit that a reading shows is over, as far as its text says: the printed instant.
///
/// Without `--now` and `--zone` this machine's clock and zone stand in.
fn limit_until(
    reading: &Reading,
    zone: Option<Tz>,
    now: Option<DateTime<Utc>>,
) -> Option<DateTime<Utc>> {
    let now = now.unwrap_or_else(|| clock::now().wall);
    let zone = zone.unwrap_or_else(clock::zone);
    let (_, reset) = limits::read_judged(&reading.evidence_text(), now, zone);
    reset.map(|reset| reset.at)
}

/// The compiled rules of a preset.
pub(crate) fn preset_detector(name: &str) -> Result<Detector, Failure> {
    let Some(preset) = detect_preset::by_name(name) else {
        let failure = Failure::usage(format!("unknown backend `{name}`"));
        let known = format!("presets: {}", detect_preset::NAMES.join(", "));
        return Err(match suggest::nearest(name, detect_preset::NAMES) {
            Some(near) => failure.hint(format!("did you mean `{near}`? {known}")),
            None => failure.hint(known),
        });
    };
    Detector::new(name, &preset.detect, Some(&preset.layout), preset.live_lines)
        .map_err(|error| Failure::from_error(exit::BUG, &error))
}

fn of_screen(file: &Path, backend: &str, view: &View, globals: &Globals) -> Result<u8, Failure> {
    let detector = preset_detector(backend)?;
    let bytes = read(file)?;
    let mut screen = Screen::parse_bytes(&bytes);
    if let Some((_, height)) = view.size {
        // A saved scrollback is longer than the screen it ends with.
        let surplus = screen.lines.len().saturating_sub(usize::from(height));
        screen.lines.drain(..surplus);
    }
    let hints = PaneHints { title: &view.title, ..PaneHints::default() };
    let reading = detector.read(&screen, &hints);
    let until = match reading.state {
        PaneState::Limited => limit_until(&reading, view.zone, view.now),
        PaneState::Starting
        | PaneState::Working
        | PaneState::Idle
        | PaneState::Waiting
        | PaneState::Overloaded
        | PaneState::Fatal
        | PaneState::Dead
        | PaneState::Done
        | PaneState::Unknown => None,
    };
    if globals.json {
        print::out(&json(&reading, backend, until).to_string());
    } else {
        show(&reading, backend, until, print::colored(globals));
    }
    Ok(exit::DONE)
}

fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = if file == Path::new("-") {
        std::io::stdin().lock().take(SCREEN_BYTES_MAX).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(file)
            .and_then(|open| open.take(SCREEN_BYTES_MAX).read_to_end(&mut bytes))
    };
    match read {
        Ok(_) => Ok(bytes),
        Err(error) => Err(Failure::usage(format!("cannot read the screen `{}`", file.display()))
            .caused_by(&error)
            .hint("save one with `tmux capture-pane -e -p -t <session>: > FILE`")),
    }
}

fn show(reading: &Reading, backend: &str, until: Option<DateTime<Utc>>, colored: bool) {
    let tone = match reading.state {
        PaneState::Working | PaneState::Idle | PaneState::Done => Tone::Good,
        PaneState::Waiting | PaneState::Limited | PaneState::Overloaded => Tone::Warn,
        PaneState::Fatal | PaneState::Dead => Tone::Bad,
        PaneState::Starting | PaneState::Unknown => Tone::Plain,
    };
    print::out(&format!("state     {}", print::paint(reading.state.word(), tone, colored)));
    print::out(&format!("backend   {backend}"));
    if let Some(cure) = reading.cure {
        print::out(&format!("cure      {}", cure_word(cure)));
    }
    if let Some(until) = until {
        print::out(&format!("until     {}", until.to_rfc3339()));
    }
    print::out(&match &reading.composer {
        Composer::Absent => "input box absent".to_owned(),
        Composer::Empty => "input box empty".to_owned(),
        Composer::Draft { text } => format!("input box holds unsent text: {}", one_line(text)),
    });
    for evidence in &reading.evidence {
        print::out(&format!("rule      {} (region {})", evidence.rule, evidence.region));
        for line in evidence.text.lines() {
            print::out(&print::paint(&format!("  | {line}"), Tone::Dim, colored));
        }
    }
}

fn one_line(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    words.chars().take(80).collect()
}

const fn cure_word(cure: crate::config::section::detect::Cure) -> &'static str {
    use crate::config::section::detect::Cure;
    match cure {
        Cure::Fresh => "fresh",
        Cure::Person => "person",
        Cure::Wait => "wait",
    }
}

fn json(reading: &Reading, backend: &str, until: Option<DateTime<Utc>>) -> serde_json::Value {
    serde_json::json!({
        "version": 1,
        "state": reading.state,
        "backend": backend,
        "evidence": reading.evidence,
        "composer": match reading.composer {
            Composer::Absent => "absent",
            Composer::Empty => "empty",
            Composer::Draft { .. } => "draft",
        },
        "cure": reading.cure,
        "until": until.map(|until| until.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)),
    })
}

fn size(text: &str) -> Result<(u16, u16), String> {
    let parsed = text.split_once(['x', 'X', '×']).and_then(|(width, height)| {
        Some((width.trim().parse().ok()?, height.trim().parse().ok()?))
    });
    parsed
        .filter(|(width, height)| *width > 0 && *height > 0)
        .ok_or_else(|| "write columns x lines, such as 120x40".to_owned())
}

fn instant(text: &str) -> Result<DateTime<Utc>, String> {
    DateTime::parse_from_rfc3339(text)
        .map(|at| at.with_timezone(&Utc))
        .map_err(|error| format!("write a time such as 2026-11-21T05:00:00+01:00 ({error})"))
}

fn zone(text: &str) -> Result<Tz, String> {
    text.parse().map_err(|_| "write an IANA name such as Europe/Berlin".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_backend_names_the_near_one_and_is_a_usage_error() {
        let failure = preset_detector("claud").expect_err("no such preset");
        assert_eq!(failure.code, exit::USAGE);
        assert!(failure.text().contains("did you mean `claude`?"), "{}", failure.text());
    }

    #[test]
    fn the_json_of_a_screen_keeps_its_keys() {
        let detector = preset_detector("claude").expect("a preset");
        let rule = "─".repeat(30);
        let screen = Screen::parse(&format!(
            "❯ hi\n  ⎿  Not logged in · Please run /login\n\n{rule}\n❯\u{a0}\n{rule}\n"
        ));
        let reading = detector.read(&screen, &PaneHints::default());
        expect_test::expect![[r#"{"backend":"claude","composer":"empty","cure":"person","evidence":[{"region":"last_item","rule":"account","text":"⎿  Not logged in · Please run /login"}],"state":"fatal","until":null,"version":1}"#]]
            .assert_eq(&json(&reading, "claude", None).to_string());
    }
}
