//! Frames of the demo agent: what stands below the transcript, in the manner of two CLIs.
//!
//! Texts, columns and the no-break space after the prompt are those of the real programs, since the
//! detectors are proven on them.

use std::time::Duration;

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::Persona;
use super::composer::Composer;

/// Everything a frame shows.
pub(super) struct Scene<'a> {
    pub(super) persona: Persona,
    pub(super) ready: bool,
    pub(super) composer: &'a Composer,
    /// Dim text in an empty box.
    pub(super) placeholder: Option<&'a str>,
    pub(super) queue: &'a [String],
    pub(super) busy: Option<Busy>,
    pub(super) dialog: Option<&'a str>,
    /// A standing note under the footer.
    pub(super) notice: &'a [String],
}

/// The line above the input box while a turn runs.
pub(super) struct Busy {
    pub(super) elapsed: Duration,
    pub(super) frame: u64,
    /// Instead of the verb: what is being retried.
    pub(super) retry: Option<String>,
}

const DIM: &str = "\x1b[2m";
const PLAIN: &str = "\x1b[0m";
const SPINNER: [char; 6] = ['·', '✢', '✳', '✶', '✻', '✽'];

/// The rows below the transcript, each at most `width` wide, at most `rows_max` of them.
pub(super) fn live(scene: &Scene<'_>, width: usize, rows_max: usize) -> Vec<String> {
    let rows = match scene.persona {
        Persona::Claude => claude(scene, width, rows_max),
        Persona::Opencode => opencode(scene, width, rows_max),
    };
    let surplus = rows.len().saturating_sub(rows_max);
    rows.into_iter().skip(surplus).collect()
}

fn claude(scene: &Scene<'_>, width: usize, rows_max: usize) -> Vec<String> {
    let rule = "─".repeat(width);
    let mut rows = vec![String::new()];
    if let Some(text) = scene.dialog {
        rows.push(rule);
        rows.extend(wrap(text, width, ""));
        rows.extend(
            ["❯ 1. Yes", "  2. No", "", " Esc to cancel · Tab to amend"].map(str::to_owned),
        );
        return rows;
    }
    if !scene.ready {
        return Vec::new();
    }
    for message in scene.queue {
        rows.extend(message_rows(scene.persona, message, width));
    }
    if !scene.queue.is_empty() {
        rows.push("  ⎿  Queued · ctrl+x ctrl+s to send now".to_owned());
        rows.push(String::new());
    }
    if let Some(busy) = &scene.busy {
        rows.push(cut(&spinner(busy), width));
        rows.push(String::new());
    }
    rows.push(rule.clone());
    rows.extend(composer_rows(scene, "❯\u{a0}", "  ", width, rows_max.saturating_sub(8).max(3)));
    rows.push(rule);
    rows.push(cut(&claude_footer(scene), width));
    rows.extend(scene.notice.iter().map(|line| cut(line, width)));
    rows
}

fn spinner(busy: &Busy) -> String {
    let glyph = SPINNER[usize::try_from(busy.frame % 6).expect("below 6")];
    let seconds = busy.elapsed.as_secs();
    match &busy.retry {
        Some(retry) => format!("✻ {retry}"),
        None if seconds == 0 => format!("{glyph} Working…"),
        None => format!("{glyph} Working… ({seconds}s · ↓ {} tokens)", seconds * 7),
    }
}

fn claude_footer(scene: &Scene<'_>) -> String {
    let mut footer = "  ⏵⏵ bypass permissions on (shift+tab to cycle)".to_owned();
    // With unsent text in the box the real one says nothing of escape either.
    if scene.busy.is_some() && scene.composer.is_empty() {
        footer.push_str(" · esc to interrupt");
    }
    footer
}

fn opencode(scene: &Scene<'_>, width: usize, rows_max: usize) -> Vec<String> {
    if let Some(text) = scene.dialog {
        let mut rows = vec!["  ┃".to_owned(), "  ┃  △ Permission required".to_owned()];
        rows.extend(
            wrap(text, width.saturating_sub(5), "").iter().map(|row| format!("  ┃    {row}")),
        );
        rows.push("  ┃".to_owned());
        rows.push("  ┃   Allow once   Allow always   Reject".to_owned());
        rows.push(cut("  ┃                         ⇆ select  enter confirm", width));
        return rows;
    }
    if !scene.ready {
        return Vec::new();
    }
    let mut rows = vec![String::new(), "  ┃".to_owned()];
    rows.extend(composer_rows(scene, "  ┃  ", "  ┃  ", width, rows_max.saturating_sub(8).max(3)));
    rows.push("  ┃".to_owned());
    rows.push("  ┃  Build · Demo Model".to_owned());
    rows.push(format!("  ╹{}", "▀".repeat(width.saturating_sub(3))));
    rows.push(cut(&opencode_footer(scene, width), width));
    rows
}

fn opencode_footer(scene: &Scene<'_>, width: usize) -> String {
    let left = match &scene.busy {
        Some(busy) if busy.frame.is_multiple_of(2) => "   ■■⬝⬝⬝⬝⬝⬝  esc interrupt",
        Some(_) => "   ⬝■■⬝⬝⬝⬝⬝  esc interrupt",
        None => "",
    };
    let right = "tab agents  ctrl+p commands";
    let gap = width.saturating_sub(left.width() + right.width() + 2);
    format!("{left}{}{right}", " ".repeat(gap))
}

fn composer_rows(
    scene: &Scene<'_>,
    first: &str,
    other: &str,
    width: usize,
    rows_max: usize,
) -> Vec<String> {
    if scene.composer.is_empty() {
        let hint = scene.placeholder.map(|hint| format!("{DIM}{hint}{PLAIN}"));
        return vec![format!("{first}{}", hint.unwrap_or_default())];
    }
    let inner = width.saturating_sub(first.width() + 1).max(1);
    let shown = scene.composer.shown();
    let rows: Vec<String> = wrap(&shown, inner, "")
        .iter()
        .enumerate()
        .map(|(index, row)| format!("{}{row}", if index == 0 { first } else { other }))
        .collect();
    // A long text pushes its beginning, prompt and all, out of the box, as in the real one.
    let surplus = rows.len().saturating_sub(rows_max);
    rows.into_iter().skip(surplus).collect()
}

/// A message of the user as the transcript shows it.
pub(super) fn message_rows(persona: Persona, message: &str, width: usize) -> Vec<String> {
    match persona {
        Persona::Claude => wrap(&format!("❯ {message}"), width, "  "),
        Persona::Opencode => {
            let inner = width.saturating_sub(6).max(1);
            let mut rows = vec!["  ┃".to_owned()];
            rows.extend(wrap(message, inner, "").iter().map(|row| format!("  ┃  {row}")));
            rows.push("  ┃".to_owned());
            rows
        }
    }
}

/// Lines of at most `width` columns; what is carried over begins with `indent`.
pub(super) fn wrap(text: &str, width: usize, indent: &str) -> Vec<String> {
    let mut rows = Vec::new();
    for (index, line) in text.split('\n').enumerate() {
        let mut row = if index == 0 { String::new() } else { indent.to_owned() };
        let mut used = row.width();
        for letter in line.chars() {
            let letter = if letter == '\t' { ' ' } else { letter };
            let wide = letter.width().unwrap_or(0);
            if used + wide > width && used > indent.width() {
                rows.push(std::mem::replace(&mut row, indent.to_owned()));
                used = row.width();
            }
            row.push(letter);
            used += wide;
        }
        rows.push(row);
    }
    rows
}

fn cut(text: &str, width: usize) -> String {
    wrap(text, width, "").into_iter().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(busy: bool, dialog: Option<&str>, typed: &str, expected: &Expect) {
        let mut composer = Composer::default();
        if !typed.is_empty() {
            composer.insert(typed);
        }
        let scene = Scene {
            persona: Persona::Claude,
            ready: true,
            composer: &composer,
            placeholder: None,
            queue: &[],
            busy: busy.then(|| Busy { elapsed: Duration::from_secs(3), frame: 4, retry: None }),
            dialog,
            notice: &[],
        };
        let rows = live(&scene, 70, 20).join("\n").replace('\u{a0}', "~");
        expected.assert_eq(&rows.replace(&"─".repeat(70), "(rule)"));
    }

    #[test]
    fn a_working_agent_offers_to_be_interrupted() {
        check(
            true,
            None,
            "",
            &expect![[r"

            ✻ Working… (3s · ↓ 21 tokens)

            (rule)
            ❯~
            (rule)
              ⏵⏵ bypass permissions on (shift+tab to cycle) · esc to interrupt"]],
        );
    }

    #[test]
    fn unsent_text_takes_the_offer_away() {
        check(
            true,
            None,
            "half",
            &expect![[r"

            ✻ Working… (3s · ↓ 21 tokens)

            (rule)
            ❯~half
            (rule)
              ⏵⏵ bypass permissions on (shift+tab to cycle)"]],
        );
    }

    #[test]
    fn an_open_dialog_hides_the_input_box() {
        check(
            false,
            Some("Do you want to proceed?"),
            "half",
            &expect![[r"

            (rule)
            Do you want to proceed?
            ❯ 1. Yes
              2. No

             Esc to cancel · Tab to amend"]],
        );
    }
}
