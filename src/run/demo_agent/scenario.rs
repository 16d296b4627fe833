//! The scenario language of the demo agent: one step a line, `#` begins a comment line.
//!
//! ```text
//! ready                      draw the input box (implied when a part never says it)
//! work 2s                    be busy, then end the turn
//! idle [2s]                  be idle; with a time: that long, or until a message comes
//! wait_submit                be idle until a message is submitted
//! say "line"                 one item in the transcript
//! ask ["1s"] "text"          a dialog; with a time it closes by itself
//! ask_on_paste 1s "text"     the next paste opens a dialog for that long
//! startup_dialog "Trust?"    a dialog before the input box is there
//! limit "3pm (UTC)" [5s]     usage limit; with a time the agent goes on by itself after it
//! overload                   the server was overloaded, the turn ended
//! retry 3 [500ms]            so many retry lines, one second each unless said
//! fatal "text"               an error item; the agent stays up
//! draft "half typed"         a person's unsent text stands in the input box (`""` removes it)
//! swallow_enters 2           the next Enter keys are lost
//! popup                      a trailing @word opens a popup that eats one Enter
//! change_while_pasted        the transcript moves whenever something is pasted
//! redraw 10                  redraw everything so many times a second, 0 = stop
//! title "T"                  set the terminal's title
//! ignore_sigterm             live on after SIGTERM
//! spawn_child                start a child that ignores SIGHUP and outlives the agent
//! hang                       never read or draw again
//! exit 3                     end with this code
//! loop                       (last in a part) begin the part again
//! next                       what follows is for the next start
//! ```
//!
//! When the steps are used up the agent answers every message as it does without a scenario.

use std::time::Duration;

/// One thing the demo agent does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Ready,
    Work(Duration),
    Idle(Option<Duration>),
    WaitSubmit,
    Say(String),
    Ask { text: String, closes_after: Option<Duration> },
    AskOnPaste { text: String, closes_after: Duration },
    StartupDialog(String),
    Limit { phrase: String, resumes_after: Option<Duration> },
    Overload,
    Retry { attempts: u32, every: Duration },
    Fatal(String),
    Draft(String),
    SwallowEnters(u32),
    Popup,
    ChangeWhilePasted,
    Redraw(u32),
    Title(String),
    IgnoreSigterm,
    SpawnChild,
    Hang,
    Exit(u8),
}

/// What one start of the agent does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Part {
    pub(super) steps: Vec<Step>,
    pub(super) repeats: bool,
}

/// Why a scenario cannot be played.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScenarioError {
    #[error("scenario line {line}: `{step}` is not a step")]
    Unknown { line: usize, step: String },
    #[error("scenario line {line}: `{step}` needs {needs}")]
    Argument { line: usize, step: String, needs: &'static str },
    #[error("scenario line {line}: this loop never waits, it would spin")]
    Spins { line: usize },
}

/// The parts of a scenario, one a start; never empty.
pub(super) fn parse(text: &str) -> Result<Vec<Part>, ScenarioError> {
    let mut parts = vec![Part::default()];
    for (index, line) in text.lines().enumerate() {
        let line_number = index + 1;
        let words = words(line);
        let Some((step, arguments)) = words.split_first() else { continue };
        if step.starts_with('#') {
            continue;
        }
        let part = parts.last_mut().expect("begun with one part and never popped");
        match step.as_str() {
            "next" => parts.push(Part::default()),
            "loop" if part.steps.iter().any(waits) => part.repeats = true,
            "loop" => return Err(ScenarioError::Spins { line: line_number }),
            _ => part.steps.push(parse_step(line_number, step, arguments)?),
        }
    }
    Ok(parts)
}

fn waits(step: &Step) -> bool {
    match step {
        Step::Work(_)
        | Step::WaitSubmit
        | Step::Ask { .. }
        | Step::StartupDialog(_)
        | Step::Retry { .. }
        | Step::Hang
        | Step::Exit(_)
        | Step::Idle(Some(_)) => true,
        Step::Limit { resumes_after, .. } => resumes_after.is_some(),
        Step::Ready
        | Step::Idle(None)
        | Step::Say(_)
        | Step::AskOnPaste { .. }
        | Step::Overload
        | Step::Fatal(_)
        | Step::Draft(_)
        | Step::SwallowEnters(_)
        | Step::Popup
        | Step::ChangeWhilePasted
        | Step::Redraw(_)
        | Step::Title(_)
        | Step::IgnoreSigterm
        | Step::SpawnChild => false,
    }
}

fn parse_step(line: usize, step: &str, arguments: &[String]) -> Result<Step, ScenarioError> {
    let missing = |needs| ScenarioError::Argument { line, step: step.to_owned(), needs };
    let text = || arguments.last().cloned().ok_or_else(|| missing("a text in quotes"));
    let time = |index: usize| arguments.get(index).and_then(|word| duration(word));
    let number = |needs| {
        arguments.first().and_then(|word| word.parse::<u32>().ok()).ok_or_else(|| missing(needs))
    };
    let step = match step {
        "ready" => Step::Ready,
        "work" => Step::Work(time(0).ok_or_else(|| missing("a time such as `2s`"))?),
        "idle" => Step::Idle(time(0)),
        "wait_submit" => Step::WaitSubmit,
        "say" => Step::Say(text()?),
        "ask" => Step::Ask {
            text: text()?,
            closes_after: if arguments.len() > 1 { time(0) } else { None },
        },
        "ask_on_paste" => Step::AskOnPaste {
            text: text()?,
            closes_after: time(0).ok_or_else(|| missing("a time, then a text"))?,
        },
        "startup_dialog" => Step::StartupDialog(text()?),
        "limit" => Step::Limit {
            phrase: arguments.first().cloned().ok_or_else(|| missing("a reset phrase"))?,
            resumes_after: time(1),
        },
        "overload" => Step::Overload,
        "retry" => Step::Retry {
            attempts: number("a number of attempts")?,
            every: time(1).unwrap_or(Duration::from_secs(1)),
        },
        "fatal" => Step::Fatal(text()?),
        "draft" => Step::Draft(text()?),
        "swallow_enters" => Step::SwallowEnters(number("a number of keys")?),
        "popup" => Step::Popup,
        "change_while_pasted" => Step::ChangeWhilePasted,
        "redraw" => Step::Redraw(number("a rate in Hz")?.min(100)),
        "title" => Step::Title(text()?),
        "ignore_sigterm" => Step::IgnoreSigterm,
        "spawn_child" => Step::SpawnChild,
        "hang" => Step::Hang,
        "exit" => Step::Exit(
            u8::try_from(number("an exit code")?).map_err(|_| missing("an exit code up to 255"))?,
        ),
        _ => return Err(ScenarioError::Unknown { line, step: step.to_owned() }),
    };
    Ok(step)
}

/// `500ms`, `2s`, `1m`.
fn duration(word: &str) -> Option<Duration> {
    let split = word.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = word.split_at(split);
    let number: f64 = number.parse().ok()?;
    let seconds = match unit {
        "ms" => number / 1_000.0,
        "s" => number,
        "m" => number * 60.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(seconds).ok()
}

/// Words of a line; `"…"` is one word with `\n`, `\"` and `\\` inside.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut letters = line.chars().peekable();
    loop {
        while letters.next_if(|c| c.is_whitespace()).is_some() {}
        let Some(&first) = letters.peek() else { return words };
        let mut word = String::new();
        if first == '"' {
            letters.next();
            while let Some(letter) = letters.next() {
                match letter {
                    '"' => break,
                    '\\' => match letters.next() {
                        Some('n') => word.push('\n'),
                        Some(other) => word.push(other),
                        None => {}
                    },
                    other => word.push(other),
                }
            }
        } else {
            while let Some(letter) = letters.next_if(|c| !c.is_whitespace()) {
                word.push(letter);
            }
        }
        words.push(word);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenario_is_split_into_parts_by_next() {
        let parts =
            parse("# begins\nready\nwork 1.5s\nlimit \"3pm (UTC)\" 5s\nnext\nexit 3").unwrap();
        assert_eq!(
            parts,
            [
                Part {
                    steps: vec![
                        Step::Ready,
                        Step::Work(Duration::from_millis(1_500)),
                        Step::Limit {
                            phrase: "3pm (UTC)".into(),
                            resumes_after: Some(Duration::from_secs(5))
                        }
                    ],
                    repeats: false
                },
                Part { steps: vec![Step::Exit(3)], repeats: false }
            ]
        );
    }

    #[test]
    fn a_loop_that_never_waits_is_refused() {
        assert_eq!(parse("say \"x\"\nloop"), Err(ScenarioError::Spins { line: 2 }));
    }

    #[test]
    fn a_mistyped_step_is_named_with_its_line() {
        assert_eq!(
            parse("ready\nwrok 2s").unwrap_err().to_string(),
            "scenario line 2: `wrok` is not a step"
        );
        assert!(matches!(parse("work soon"), Err(ScenarioError::Argument { line: 1, .. })));
    }
}
