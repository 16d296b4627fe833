//! The one place that writes to stdout and stderr. A reader that went away (`| head`) is no error.

use std::io::{IsTerminal as _, Write as _};

use super::cli::{Color, Globals};

/// A line of data to stdout.
pub(crate) fn out(line: &str) {
    drop(writeln!(std::io::stdout().lock(), "{line}"));
}

/// A line of data to stdout; `false` when nobody reads it any more. For output that has no end of its own.
pub(crate) fn try_out(line: &str) -> bool {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}").and_then(|()| stdout.flush()).is_ok()
}

/// Bytes to stdout as they are; `false` when nobody reads them any more.
pub(crate) fn try_out_bytes(bytes: &[u8]) -> bool {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).is_ok()
}

/// What a hook says, on both streams as it is.
pub(crate) fn answer(stdout: &[u8], stderr: &[u8]) {
    if !stdout.is_empty() {
        let mut to = std::io::stdout().lock();
        drop(to.write_all(stdout).and_then(|()| to.flush()));
    }
    if !stderr.is_empty() {
        drop(std::io::stderr().lock().write_all(stderr));
    }
}

/// The same; whether all of it was taken.
pub(crate) fn answer_whole(stdout: &[u8], stderr: &[u8]) -> bool {
    let mut to = std::io::stdout().lock();
    let written = to.write_all(stdout).and_then(|()| to.flush());
    written.and_then(|()| std::io::stderr().lock().write_all(stderr)).is_ok()
}

/// A line about what happens to stderr.
pub(crate) fn err(line: &str) {
    drop(writeln!(std::io::stderr().lock(), "{line}"));
}

/// How a piece of text is meant; colour only underlines what the words say already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Good,
    Bad,
    Warn,
    Hint,
    Dim,
}

/// Whether stdout may carry colour under these settings.
pub(crate) fn colored(globals: &Globals) -> bool {
    may_color(globals, std::io::stdout().is_terminal())
}

/// Whether stderr may carry colour under these settings.
pub(crate) fn err_colored(globals: &Globals) -> bool {
    may_color(globals, std::io::stderr().is_terminal())
}

fn may_color(globals: &Globals, terminal: bool) -> bool {
    match globals.color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => {
            terminal
                && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
                && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
        }
    }
}

/// The text in its tone, when colour is on.
pub(crate) fn paint(text: &str, tone: Tone, colored: bool) -> String {
    let code = match tone {
        Tone::Plain => return text.to_owned(),
        Tone::Good => "32",
        Tone::Bad => "31",
        Tone::Warn => "33",
        Tone::Hint => "36",
        Tone::Dim => "2",
    };
    if colored { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
}

/// The terminal's width, when stdout is one.
pub(crate) fn width() -> Option<usize> {
    let stdout = std::io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    rustix::termios::tcgetwinsize(&stdout)
        .ok()
        .map(|size| usize::from(size.ws_col))
        .filter(|width| *width > 0)
}
