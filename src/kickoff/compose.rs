//! The text of a prompt: templates filled, first words made safe, control bytes taken out.
//!
//! Where the text goes (argument, keystrokes, file) is decided elsewhere. Surprising: many CLIs give
//! the first character of a prompt a meaning of its own (a leading `/` runs a command, `!` a shell
//! line, `-` is an option), so a text that begins with one gets a leading word.

/// The values of a kickoff template's slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KickoffSlots<'a> {
    pub phase_id: &'a str,
    pub plan: &'a str,
    pub status: &'a str,
    pub role: &'a str,
}

/// The slots that a kickoff template may use.
pub const KICKOFF_SLOTS: [&str; 4] = ["phase_id", "plan", "status", "role"];

/// Why a kickoff cannot be composed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ComposeError {
    #[error(
        "line {line} of the kickoff template has the unknown slot `{{{slot}}}`; known are {{phase_id}}, {{plan}}, {{status}} and {{role}}, and `{{{{{slot}}}}}` is a literal"
    )]
    UnknownSlot { slot: String, line: usize },
}

/// The first prompt of a loop agent: the template filled, a blank line, the role's own text as it is.
pub fn loop_prompt(
    template: &str,
    role_text: &str,
    slots: &KickoffSlots<'_>,
) -> Result<String, ComposeError> {
    let preamble = fill(template, slots)?;
    let (preamble, role_text) = (preamble.trim_end(), role_text.trim_end());
    Ok(match (preamble.is_empty(), role_text.is_empty()) {
        (true, _) => role_text.to_owned(),
        (false, true) => preamble.to_owned(),
        (false, false) => format!("{preamble}\n\n{role_text}"),
    })
}

/// Fills `{[a-z_]+}`; `{{` and `}}` are braces, and so is every other single one.
fn fill(template: &str, slots: &KickoffSlots<'_>) -> Result<String, ComposeError> {
    let mut out = String::with_capacity(template.len() + 64);
    let mut rest = template;
    while let Some(at) = rest.find(['{', '}']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if rest.starts_with("{{") || rest.starts_with("}}") {
            out.push_str(&rest[..1]);
            rest = &rest[2..];
        } else if let Some(name) = slot_at(rest) {
            out.push_str(match name {
                "phase_id" => slots.phase_id,
                "plan" => slots.plan,
                "status" => slots.status,
                "role" => slots.role,
                _ => {
                    let line = 1 + template[..template.len() - rest.len()].matches('\n').count();
                    return Err(ComposeError::UnknownSlot { slot: name.to_owned(), line });
                }
            });
            rest = &rest[name.len() + 2..];
        } else {
            out.push_str(&rest[..1]);
            rest = &rest[1..];
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// The name, when the text begins with `{[a-z_]+}`.
fn slot_at(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('{')?;
    let name = &inner[..inner.find('}')?];
    let sound = !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    sound.then_some(name)
}

/// The text without trailing newlines, and with a leading word where its first visible character
/// would be taken for a command, an option, a file or a memory note.
pub fn safe_start(text: &str) -> String {
    let text = text.trim_end_matches(['\n', '\r']);
    if text.trim_start().starts_with(['/', '!', '#', '$', '@', '-']) {
        format!("Task: {text}")
    } else {
        text.to_owned()
    }
}

/// The text as it may be typed into a terminal: no control characters but LF and TAB, and one space
/// at the end, so that no completion popup takes the submit key.
pub fn typed(text: &str) -> String {
    let unified = text.replace("\r\n", "\n");
    let clean: String =
        unified.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect();
    format!("{} ", clean.trim_end())
}

/// The line that sends an agent to a file instead of giving it the text.
pub fn pointer_line(path: &str) -> String {
    crate::backend::launch::pointer_line(path)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SLOTS: KickoffSlots<'_> =
        KickoffSlots { phase_id: "p1", plan: "plans/{role}.md", status: "S.md", role: "builder" };

    #[test]
    fn a_kickoff_is_the_filled_template_a_blank_line_and_the_role_file_as_it_is() {
        let prompt =
            loop_prompt("{phase_id}: {plan}, {status} {{x}} { a }\n\n", "{any} text\n", &SLOTS);
        assert_eq!(prompt.as_deref(), Ok("p1: plans/{role}.md, S.md {x} { a }\n\n{any} text"));
        assert_eq!(loop_prompt("\n", "role", &SLOTS).as_deref(), Ok("role"));
    }

    #[test]
    fn an_unknown_slot_is_an_error_that_names_its_line() {
        assert_eq!(
            loop_prompt("a\nb {phase}", "", &SLOTS),
            Err(ComposeError::UnknownSlot { slot: "phase".into(), line: 2 })
        );
    }

    #[test]
    fn a_text_that_begins_like_a_command_gets_a_leading_word() {
        assert_eq!(safe_start("# Title\nbody\n\n"), "Task: # Title\nbody");
        assert_eq!(safe_start(" \n/clear"), "Task:  \n/clear");
        assert_eq!(safe_start("plain\n"), "plain");
    }

    #[test]
    fn typed_text_cannot_leave_a_bracketed_paste() {
        assert_eq!(typed("a\u{1b}[201~b\u{9b}c\r\nd\te\u{7f}\n"), "a[201~bc\nd\te ");
    }

    proptest! {
        #[test]
        fn safe_texts_stay_safe_whatever_they_were(text in any::<String>()) {
            let start = safe_start(&text);
            prop_assert!(!start.trim_start().starts_with(['/', '!', '#', '$', '@', '-']));
            prop_assert!(start.ends_with(text.trim_end_matches(['\n', '\r'])));
            let line = typed(&text);
            prop_assert!(line.ends_with(' ') && !line.ends_with("  "));
            prop_assert!(line.chars().all(|c| !c.is_control() || c == '\n' || c == '\t'));
            prop_assert_eq!(typed(&line), line.clone());
        }
    }
}
