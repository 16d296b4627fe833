//! Screens composed from the known texts of each CLI: other widths, modes and versions than the recorded ones.
//!
//! Each preset has texts that must read as a state, and texts that quote such words and must not.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use ao::backend::detect_preset;
use ao::screen::capture::Screen;
use ao::screen::detect::{Detector, PaneHints};
use ao::screen::{Composer, PaneState, Reading};
use proptest::prelude::*;

const WIDTHS: [usize; 6] = [40, 60, 80, 120, 160, 220];

fn compile(name: &str) -> Detector {
    let preset = detect_preset::by_name(name).expect("a preset");
    Detector::new(name, &preset.detect, Some(&preset.layout), preset.live_lines)
        .expect("the rules of a preset compile")
}

/// Compiling takes longer than reading, so that is done once.
fn detector(name: &str) -> &'static Detector {
    static ALL: OnceLock<BTreeMap<&str, Detector>> = OnceLock::new();
    let all = ALL.get_or_init(|| detect_preset::NAMES.map(|name| (name, compile(name))).into());
    &all[name]
}

fn read(backend: &str, title: &str, text: &str) -> Reading {
    let hints = PaneHints { title, ..PaneHints::default() };
    detector(backend).read(&Screen::parse(text), &hints)
}

fn check(backend: &str, title: &str, text: &str, expected: PaneState) {
    let reading = read(backend, title, text);
    assert_eq!(reading.state, expected, "{backend} {title:?}: {:?}\n{text}", reading.evidence);
}

/// Wraps as a terminal program does: at spaces, continuation lines indented.
fn wrap(text: &str, width: usize, indent: &str) -> String {
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split_inclusive(' ') {
            if line.chars().count() + word.trim_end().chars().count() > width
                && !line.trim().is_empty()
            {
                lines.push(std::mem::replace(&mut line, indent.to_owned()));
            }
            line.push_str(word);
        }
        lines.push(line);
    }
    lines.join("\n")
}

fn claude(item: &str, draft: &str, footer: &str, width: usize) -> String {
    let rule = "─".repeat(width);
    let item = wrap(item, width, "     ");
    format!(
        "❯ go on with the task\n\n● I'll run that command.\n\n{item}\n\n{rule}\n❯\u{a0}{draft}\n{rule}\n{footer}\n\n"
    )
}

const CLAUDE_FOOTER: &str = "  ⏵⏵ bypass permissions on (shift+tab to cycle)";

#[test]
fn claude_items_above_the_input_box_say_the_state_at_every_width() {
    let cases: &[(&str, PaneState)] = &[
        ("  ⎿  You've hit your 5-hour limit · resets 6:32am (Europe/Berlin)", PaneState::Limited),
        ("  ⎿  You've hit your usage limit · resets 3pm (America/Los_Angeles)", PaneState::Limited),
        ("  ⎿  You've hit your limit", PaneState::Limited),
        (
            "  ⎿  You’ve hit your session limit · resets 12:50am (America/Los_Angeles)",
            PaneState::Limited,
        ),
        ("  ⎿  You're out of usage credits · resets Nov 24, 3pm (UTC)", PaneState::Limited),
        (
            "  ⎿  You've hit your individual spend limit · ask your admin to raise it at https://claude.ai/admin · your 5-hour limit resets 6:39am (Europe/Berlin)",
            PaneState::Limited,
        ),
        ("  ⎿  You've hit your org's monthly spend limit", PaneState::Limited),
        (
            "  ⎿  You've hit your team's pooled group budget · resets Dec 1, 12am (UTC)",
            PaneState::Limited,
        ),
        ("  ⎿  Your seat type doesn't include usage credits", PaneState::Limited),
        (
            "  ⎿  Your usage allocation has been disabled by your admin · ask them",
            PaneState::Limited,
        ),
        ("  ⎿  Your org is out of usage · contact your admin", PaneState::Limited),
        ("  ⎿  5-hour limit reached ∙ resets 3am", PaneState::Limited),
        ("  ⎿  Weekly limit reached ∙ resets Oct 9, 5pm", PaneState::Limited),
        ("  ⎿  Session limit reached ∙ resets 9:30pm", PaneState::Limited),
        (
            "  ⎿  Claude usage limit reached. Your limit will reset at 3pm (America/Bogota).",
            PaneState::Limited,
        ),
        ("  ⎿  Claude AI usage limit reached|1762952400", PaneState::Limited),
        (
            "● API Error: 400 You have reached your specified API usage limits. You will regain access on 2026-12-01 at 00:00 UTC.",
            PaneState::Limited,
        ),
        (
            "● Automatic continue stopped · the new reset is more than 24 hours away",
            PaneState::Limited,
        ),
        ("  ⎿  API Error: spend limit reached · resets Aug 8", PaneState::Limited),
        (
            "● API Error: 529 Overloaded. This is a server-side issue, usually temporary — try again in a moment.",
            PaneState::Overloaded,
        ),
        ("● API Error: 503 Service Unavailable", PaneState::Overloaded),
        (
            "● API Error: Server is temporarily limiting requests (not your usage limit) · Please try again later.",
            PaneState::Overloaded,
        ),
        (
            "● API Error: The response stopped arriving. The response above may be incomplete.",
            PaneState::Overloaded,
        ),
        ("  ⎿  API Error: Connection error.", PaneState::Overloaded),
        (
            "  ⎿  API Error (529 {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}})",
            PaneState::Overloaded,
        ),
        ("● API Error: 400 messages: text content blocks must be non-empty", PaneState::Fatal),
        (
            "● API Error: 400 messages.5.content.0: `thinking` or `redacted_thinking` blocks in the latest assistant message cannot be modified.",
            PaneState::Fatal,
        ),
        ("● Please run /login · API Error: 403 permission", PaneState::Fatal),
        ("  ⎿  Login expired · Please run /login", PaneState::Fatal),
        ("  ⎿  OAuth token revoked · Please run /login", PaneState::Fatal),
        ("  ⎿  Credit balance is too low", PaneState::Fatal),
        ("  ⎿  Context limit reached · /compact or /clear to continue", PaneState::Fatal),
        (
            "  ⎿  Your ANTHROPIC_API_KEY belongs to a disabled organization · unset it",
            PaneState::Fatal,
        ),
        (
            "  ⎿  Your organization has disabled API key authentication · use a login",
            PaneState::Fatal,
        ),
        ("✻ Photosynthesizing… (11s · ↓ 56 tokens · thinking)", PaneState::Working),
        (
            "✶ Running the whole test suite and its fuzzers… (1m 1s · ↓ 3.2k tokens)",
            PaneState::Working,
        ),
        ("· Beboppin'…", PaneState::Working),
        ("* Thinking… (3s · ↑ 12 tokens · esc to interrupt)", PaneState::Working),
        ("✻ 5-hour limit reached · retrying in 2m (4pm) · attempt 1/10", PaneState::Working),
        ("✻ No response from the API after 2m · retrying, waiting up to 10m", PaneState::Working),
        ("✻ Auto mode check unavailable · next try in 4s", PaneState::Working),
        ("✻ Waiting for 3 background agents to finish", PaneState::Working),
        (
            "✢ Germinating… (11s · ↓ 30 tokens)\n  ⎿  Tip: Use /memory to view and manage Claude memory",
            PaneState::Working,
        ),
        (
            "✻ Overloaded · retrying in 8s · attempt 5/10\n  ⎿  If it persists, check your inference gateway (127.0.0.1:8791).",
            PaneState::Working,
        ),
        ("✻ Cooked for 11s · done 4:08 AM", PaneState::Idle),
        ("✻ Worked for 1h 2m 3s · done 4:08 AM · 1 shell sti…", PaneState::Idle),
        ("● Done. The spinner said ✻ Thinking… (3s · esc to interrupt) before.", PaneState::Idle),
        ("● The log says: You've hit your 5-hour limit · resets 3pm (UTC)", PaneState::Idle),
        ("● I fixed the handler of `API Error: 529 Overloaded`.", PaneState::Idle),
        ("● Usage limit reset · Continuing automatically", PaneState::Idle),
        ("  ⎿  Interrupted · What should Claude do instead?", PaneState::Idle),
        ("  ⎿  Compacted (ctrl+o to see full summary)", PaneState::Idle),
    ];
    for (item, expected) in cases {
        for width in WIDTHS {
            check("claude", "", &claude(item, "", CLAUDE_FOOTER, width), *expected);
            check("demo", "", &claude(item, "", "  demo · idle", width), *expected);
        }
    }
}

#[test]
fn claude_footers_say_working_in_every_mode_and_key() {
    for (footer, expected) in [
        (
            "  ⏵⏵ auto mode on (shift+tab to cycle) · esc to interrupt · ← for agents",
            PaneState::Working,
        ),
        ("  ⏵⏵ don't ask on · esc to interrupt", PaneState::Working),
        ("  ⏸ plan mode on · esc to i…", PaneState::Working),
        ("  ⏸ manual mode on · ctrl+c to interrupt", PaneState::Working),
        ("  ⏵⏵ accept edits on · échap to interrupt", PaneState::Working),
        (
            "  SL 12% esc of budget\n  ⏵⏵ accept edits on · esc to interrupt\n        tmux focus-events off",
            PaneState::Working,
        ),
        ("  demo · esc to interrupt", PaneState::Working),
        ("  esc to interrupt", PaneState::Working),
        ("  ? for shortcuts", PaneState::Idle),
        ("  ⏸ manual mode on · ? for shortcuts · ↓ to manage", PaneState::Idle),
        (
            "  ⏵⏵ bypass permissions on     You've used 95% of your 5-hour limit · resets 6:28am (Europe/Berlin)",
            PaneState::Idle,
        ),
        (
            "  ⏵⏵ bypass permissions on     Approaching weekly limit · resets Nov 24, 3pm (UTC)",
            PaneState::Idle,
        ),
        ("  ⏵⏵ bypass permissions on     Not logged in · run /login", PaneState::Idle),
        (
            "  ⏵⏵ bypass permissions on (shift+tab to cycle)\n  Press Ctrl-C again to exit",
            PaneState::Idle,
        ),
        (
            "  ⚠ Usage limit reached · limit resets 6:32am\n    Continuing shortly · Esc to cancel\n  ⏵⏵ auto mode on",
            PaneState::Limited,
        ),
    ] {
        let item = "✻ Cooked for 11s · done 4:08 AM";
        check("claude", "", &claude(item, "", footer, 100), expected);
    }
}

#[test]
fn claude_dialogs_wait_for_a_person_and_a_quoted_dialog_does_not() {
    let rule = "─".repeat(80);
    for dialog in [
        " Bash command\n\n   rm -rf build\n\n Do you want to proceed?\n ❯ 1. Yes\n   2. No\n\n Esc to cancel · Tab to amend",
        " Do you want to allow Claude to fetch this content?\n ❯ 1. Yes\n   2. No\n\n Esc to cancel",
        " Exit plan mode?\n ❯ 1. Yes\n   2. No",
        "  Resume\n\n  This session is 3h old and 120k tokens.\n  ❯ 1. Resume from summary (instant, recommended)\n\n  Enter to confirm · Esc to cancel",
        "Which one?\n\n❯ 1. SQLite\n  2. Other\n\nEnter to select · ↑/↓ to navigate · Esc to cancel",
        "Do you want to proceed?\n❯ 1. Yes\n  2. No\n Esc to cancel",
    ] {
        check("claude", "", &format!("● I'll run that.\n\n{rule}\n{dialog}\n"), PaneState::Waiting);
        check("demo", "", &format!("● I'll run that.\n\n{rule}\n{dialog}\n"), PaneState::Waiting);
        let narrow = wrap(dialog, 40, " ");
        check("claude", "", &format!("{rule}\n{narrow}\n"), PaneState::Waiting);
        let quoted = dialog.replace('\n', "\n  ");
        let text = claude(&format!("● The dialog:\n  {quoted}"), "", CLAUDE_FOOTER, 120);
        check("claude", "", &text, PaneState::Idle);
    }
    let limit = format!(
        "  ⎿  You've hit your weekly limit · resets Nov 25, 10:07am (Europe/Berlin)\n\n❯ /rate-limit-options\n\n{rule}\n  What do you want to do?\n\n  ❯ 1. Upgrade your plan\n    2. Stop and wait for limit to reset\n\n  Enter to confirm · Esc to cancel\n"
    );
    let reading = read("claude", "", &limit);
    assert_eq!(reading.state, PaneState::Limited);
    let text = reading.evidence_text();
    assert!(text.contains("resets Nov 25, 10:07am (Europe/Berlin)"), "{text}");
}

#[test]
fn the_input_box_tells_a_draft_from_a_placeholder() {
    let item = "✻ Cooked for 11s · done 4:08 AM";
    let box_of = |draft: &str| read("claude", "", &claude(item, draft, CLAUDE_FOOTER, 80)).composer;
    assert_eq!(box_of(""), Composer::Empty);
    assert_eq!(box_of("Once fixed, resend your message"), Composer::Empty);
    assert_eq!(box_of("\u{1b}[7mF\u{1b}[0;2mix the bug in the parser\u{1b}[0m"), Composer::Empty);
    assert_eq!(box_of("fix it\u{1b}[7m \u{1b}[0m"), Composer::Draft { text: "fix it".into() });
    assert_eq!(
        box_of("1. first\n  2. second"),
        Composer::Draft { text: "1. first\n  2. second".into() }
    );
    let rule = "─".repeat(80);
    let long = "  a line of a long draft\n".repeat(30);
    let reading = read("claude", "", &format!("{long}{rule}\n{CLAUDE_FOOTER}\n"));
    assert!(matches!(reading.composer, Composer::Draft { .. }), "{:?}", reading.composer);
}

fn codex(turn: &str, width: usize) -> String {
    let turn = wrap(turn, width, "  ");
    format!(
        "╭───────────────╮\n│ >_ OpenAI Codex (v0.169.0) │\n╰───────────────╯\n\n{turn}\n\n› Ask Codex to do anything\n\n  GPT-6 medium · ~/project\n  ← for agents · ? for shortcuts\n"
    )
}

#[test]
fn codex_turns_say_the_state_at_every_width() {
    let cases: &[(&str, PaneState)] = &[
        (
            "› hi\n\n■ You’ve hit your usage limit. Upgrade to Pro (https://chatgpt.com/explore/pro), visit https://chatgpt.com/settings/usage to purchase more credits or try again at Nov 24th, 2026 3:20 AM.",
            PaneState::Limited,
        ),
        (
            "› hi\n\n■ You've hit your usage limit for gpt-6. Switch to another model now, or try again at 5:20 AM.",
            PaneState::Limited,
        ),
        ("› hi\n\n■ You’ve hit your usage limit. Try again later.", PaneState::Limited),
        (
            "› hi\n\n■ Your workspace is out of credits. Ask your workspace owner to refill in order to continue.",
            PaneState::Limited,
        ),
        (
            "› hi\n\n■ You hit your spend cap set by the owner of your workspace. Ask an owner to increase your spend cap to continue.",
            PaneState::Limited,
        ),
        (
            "› hi\n\n■ Usage limit reached. You've reached your usage limit. Increase your limits to continue using codex.",
            PaneState::Limited,
        ),
        ("› hi\n\n■ Quota exceeded. Check your plan and billing details.", PaneState::Limited),
        (
            "› hi\n\n■ exceeded retry limit, last status: 429 Too Many Requests, request id: req-1",
            PaneState::Limited,
        ),
        (
            "› hi\n\n■ rate limit exceeded: Rate limit reached for gpt-6 on tokens per min. Please try again in 20s.",
            PaneState::Limited,
        ),
        (
            "› hi\n\n■ unexpected status 401 Unauthorized: bad key, url: http://127.0.0.1/v1/responses, request id: 1",
            PaneState::Fatal,
        ),
        (
            "› hi\n\n■ unexpected status 503 Service Unavailable: x, url: http://127.0.0.1/v1/responses",
            PaneState::Overloaded,
        ),
        (
            "› hi\n\n■ We’re currently experiencing high demand, which may cause temporary errors.",
            PaneState::Overloaded,
        ),
        (
            "› hi\n\n■ stream disconnected before completion: error sending request",
            PaneState::Overloaded,
        ),
        (
            "› hi\n\n■ Selected model is at capacity. Please try a different model.",
            PaneState::Overloaded,
        ),
        (
            "› hi\n\n■ Codex ran out of room in the model's context window. Start a new thread or clear earlier history before retrying.",
            PaneState::Fatal,
        ),
        ("› hi\n\n■ {\"error\": {\"message\": \"bad request\"}}", PaneState::Fatal),
        ("› hi\n\n■ Missing environment variable: `X`.", PaneState::Fatal),
        (
            "› hi\n\n■ Conversation interrupted - use /feedback if something went wrong",
            PaneState::Idle,
        ),
        ("› hi\n\n• Working (2s • esc to interrupt)", PaneState::Working),
        (
            "› hi\n\n◦ Reading the parser (1m 12s • esc to interrupt) · 1 background terminal running · /ps to view · /stop to close",
            PaneState::Working,
        ),
        ("› hi\n\nWorking (1h 2m 12s • esc to interrupt)", PaneState::Working),
        (
            "› hi\n\n• Reconnecting... 1/5 (4s • esc to interrupt)\n  └ unexpected status 503",
            PaneState::Working,
        ),
        (
            "› hi\n\n• Reconnecting... waiting for network (4s • esc to interrupt)\n  └ Connection failed: error sending request",
            PaneState::Working,
        ),
        ("› hi\n\n• The answer is being writ", PaneState::Working),
        (
            "› hi\n\n• The status said: Working (2s • esc to interrupt)\n\n  Worked for 6s • 03:14",
            PaneState::Idle,
        ),
        (
            "› hi\n\n• Done: the ■ You’ve hit your usage limit text is parsed.\n\n  Worked for <1s • 03:14",
            PaneState::Idle,
        ),
        (
            "› hi\n\n■ You’ve hit your usage limit. Try again later.\n\n› again\n\n• Fine.\n\n  Worked for 6s • 03:14",
            PaneState::Idle,
        ),
        ("⚠ 5h limit: only <1% left · resets at 03:21 on 24 Nov · /status", PaneState::Idle),
    ];
    for (turn, expected) in cases {
        for width in WIDTHS {
            check("codex", "", &codex(turn, width), *expected);
        }
    }
}

#[test]
fn codex_titles_and_dialogs_win_over_the_text() {
    let plain = codex("› hi\n\n• Streaming\n\n  Worked for 1s • 03:14", 80);
    check("codex", "⠋ Working | project", &plain, PaneState::Working);
    check("codex", "⠙ project", &plain, PaneState::Working);
    check("codex", "⠙ Starting | project", &plain, PaneState::Starting);
    check("codex", "[ ! ] Action Required | project", &plain, PaneState::Waiting);
    check("codex", "Ready | project", &codex("› hi\n\n• All done", 80), PaneState::Idle);
    for dialog in [
        "  Would you like to run the following command?\n\n  $ touch x\n\n› 1. Yes, proceed (y)\n  2. Yes, and don't ask again for this (p)\n  3. No, and tell Codex what to do differently (esc)\n\n  Press enter to confirm or esc to cancel",
        "  Would you like to make the following edits?\n\n› 1. Yes, proceed (y)\n  2. No (esc)\n\n  Press enter to confirm or esc to cancel",
        "  Question 1/1 (1 unanswered)\n  Which colour?\n\n› 1. Red\n  2. Blue\n\n  tab to add notes | enter to submit answer | esc to interrupt",
        "  Approaching rate limits\n  Switch to gpt-6-luna for lower credit usage?\n\n› 1. Switch\n  2. Keep\n  3. Keep (never show again)\n\n  Press enter to confirm or esc to go back",
        "  Request a limit increase from your owner to continue using codex.\n  Request increase?\n\n  y yes\n  n no\n  esc\n  more",
        "  Trust this folder?\n\n  Codex can read files\n  here\n› 1. Trust and continue\n  2. Quit\n\n  Press enter to continue",
        "  Hooks need review\n\n  one hook\n  is new\n› 1. Review\n  2. Trust all and continue\n\n  Press enter to confirm",
    ] {
        check(
            "codex",
            "",
            &format!("› do the thing\n\n• Running touch x\n\n{dialog}\n"),
            PaneState::Waiting,
        );
    }
    assert_eq!(read("codex", "", &codex("› hi", 80)).composer, Composer::Empty);
    let draft = "› hi\n\n  Worked for 1s • 03:14\n\n› please do\n\n  GPT-6 medium · ~/project\n";
    assert_eq!(read("codex", "", draft).composer, Composer::Draft { text: "please do".into() });
}

fn gemini(turn: &str, prompt: &str) -> String {
    let bar = "▀".repeat(80);
    format!(
        " ███ GEMINI\n\n{turn}\n\n{bar}\n {prompt}\n{}\n ~/project (main*)      no sandbox      gemini-3-pro\n",
        "▄".repeat(80)
    )
}

#[test]
fn gemini_screens_say_the_state() {
    let prompts =
        [">   Type your message or @path/to/file", "*   Type your message or @path/to/file"];
    let cases: &[(&str, &str, PaneState)] = &[
        ("", " > hi\n\n✦ Done.", PaneState::Idle),
        ("◇  Ready (project)", " > hi\n\n✦ Done.", PaneState::Idle),
        ("", " > hi\n\n ⠦ Thinking... (esc to cancel, 2s)", PaneState::Working),
        (
            "",
            " > hi\n\n ⠧ Reading files (esc to cancel, 2m 8s)            ? for shortcuts",
            PaneState::Working,
        ),
        ("", " > hi\n\n ⠧ Executing Hook: ao", PaneState::Working),
        ("✦  Working… (project)", " > hi", PaneState::Working),
        ("⏲  Working… (project)", " > hi", PaneState::Working),
        ("✋  Action Required (project)", " > hi", PaneState::Waiting),
        (
            "",
            " > hi\n\n✦ It said Thinking... (esc to cancel, 2s) and stopped there.",
            PaneState::Idle,
        ),
        (
            "",
            " > hi\n\n✕ [API Error: {\"error\":{\"code\":401,\"message\":\"API key not valid\"}}]\nℹ This request failed. Press F12 for diagnostics.",
            PaneState::Fatal,
        ),
        (
            "",
            " > hi\n\n✕ [API Error: {\"error\":{\"code\":400,\"message\":\"bad\"}}]",
            PaneState::Fatal,
        ),
        (
            "",
            " > hi\n\n✕ [API Error: {\"error\":{\"code\":503,\"status\":\"UNAVAILABLE\"}}]",
            PaneState::Overloaded,
        ),
        (
            "",
            " > hi\n\n✕ [API Error: {\"error\":{\"code\":400,\"message\":\"bad\"}}]\n\n > again\n\n✦ Good.",
            PaneState::Idle,
        ),
    ];
    for (title, turn, expected) in cases {
        for prompt in prompts {
            check("gemini", title, &gemini(turn, prompt), *expected);
        }
    }
    let limit = " > hi\n\n╭──────────╮\n│ Usage limit reached for gemini-3-pro.\n│ Access resets at 6:01 AM UTC.\n│ /stats model for usage details\n│\n│ ● 1. Keep trying\n│   2. Stop\n╰──────────╯\n";
    check("gemini", "✦  Working… (project)", limit, PaneState::Limited);
    assert!(read("gemini", "", limit).evidence_text().contains("Access resets at 6:01 AM UTC."));
    let ask = " > hi\n\n╭──────────╮\n│ Shell touch x\n│\n│ Allow execution of [Shell]?\n│\n│ ● 1. Allow once\n│   2. Allow for this session\n│   3. No (esc)\n╰──────────╯\n";
    check("gemini", "", ask, PaneState::Waiting);
    let circle = " > hi\n\n✦ word word\n\n╭──────────╮\n│ ?  A potential loop was detected\n│\n│ ● 1. Keep loop detection enabled (esc)\n│   2. Disable loop detection for this session\n╰──────────╯\n";
    check("gemini", "◇  Ready (project)", circle, PaneState::Waiting);
    check(
        "gemini",
        "",
        "Do you trust the files in this folder?\n\n● 1. Trust folder\n  2. Don't trust\n",
        PaneState::Waiting,
    );
    check(
        "gemini",
        "",
        "How would you like to authenticate for this project?\n\n● 1. Login with Google\n",
        PaneState::Waiting,
    );
}

fn opencode(turn: &str, footer: &str) -> String {
    format!(
        "{turn}\n\n  ┃\n  ┃\n  ┃\n  ┃  Build · Stub One Stub\n  ╹{}\n   {footer}\n",
        "▀".repeat(70)
    )
}

#[test]
fn opencode_footers_and_boxes_say_the_state() {
    let idle = "/home/dev/project                               tab agents  ctrl+p commands";
    let asked = "  ┃\n  ┃  do it\n  ┃";
    let over = "     ▣  Build · Model";
    for (turn, footer, expected) in [
        (over.to_owned(), "⬝⬝■■■■  esc interrupt         ctrl+p commands", PaneState::Working),
        (
            over.to_owned(),
            "⬝⬝■■■■  esc again to interrupt         ctrl+p commands",
            PaneState::Working,
        ),
        (
            over.to_owned(),
            "⬝■Provider is overloaded [retrying in 4s attempt #2]  esc interrupt",
            PaneState::Working,
        ),
        (
            over.to_owned(),
            "⬝■Too Many Requests [retrying in ~1 day attempt #1]  esc interrupt",
            PaneState::Limited,
        ),
        (
            over.to_owned(),
            "⬝■Rate■limit reached for x\n     [retrying attempt #5]",
            PaneState::Limited,
        ),
        (
            format!(
                "{asked}\n\n     All done: esc interrupt, rate limit [retrying in 4s attempt #2]\n\n{over} · 1m 3.2s"
            ),
            idle,
            PaneState::Idle,
        ),
        (format!("{asked}\n\n{over}"), idle, PaneState::Idle),
        (
            format!("{asked}\n\n  ┃\n  ┃  Incorrect API key provided\n  ┃\n\n{over}"),
            idle,
            PaneState::Fatal,
        ),
        (
            format!("{asked}\n\n  ┃\n  ┃  Service Unavailable\n  ┃\n\n{over}"),
            idle,
            PaneState::Overloaded,
        ),
        (
            format!(
                "{asked}\n\n  ┃\n  ┃  You exceeded your current quota, please check\n  ┃  your plan\n  ┃\n\n{over}"
            ),
            idle,
            PaneState::Limited,
        ),
        (
            format!("{asked}\n\n  ┃\n  ┃  $ cargo test\n  ┃\n  ┃  ok\n  ┃\n\n{over}"),
            idle,
            PaneState::Idle,
        ),
    ] {
        check("opencode", "", &opencode(&turn, footer), expected);
    }
    let blue = "\u{1b}[38;5;75m┃\u{1b}[39m";
    let red = "\u{1b}[38;2;224;108;117m┃\u{1b}[39m";
    let two = |second: &str| {
        format!(
            "  {blue}\n  {blue}  first\n  {blue}\n\n  {second}\n  {second}  second, bad request\n  {second}\n\n{over}"
        )
    };
    check("opencode", "", &opencode(&two(blue), idle), PaneState::Idle);
    check("opencode", "", &opencode(&two(red), idle), PaneState::Fatal);
    let question = "  ┃\n  ┃  Which colour?\n  ┃\n  ┃  1. Red\n  ┃\n  ┃  ↑↓ select  enter submit  esc dismiss\n  ┃\n";
    check("opencode", "", question, PaneState::Waiting);
}

#[test]
fn a_dead_pane_is_dead_whatever_it_shows_and_an_empty_one_is_unknown() {
    let hints = PaneHints { dead: true, exit_status: Some(1), title: "" };
    for name in detect_preset::NAMES {
        let shown = claude("✻ Thinking… (3s)", "", CLAUDE_FOOTER, 80);
        let reading = detector(name).read(&Screen::parse(&shown), &hints);
        assert_eq!(reading.state, PaneState::Dead);
        check(name, "", "\n\n\n", PaneState::Unknown);
        check(name, "", "$ ls\nREADME.md\n$ ", PaneState::Unknown);
    }
}

#[test]
fn rules_written_by_hand_without_an_idle_rule_read_idle_when_nothing_works() {
    let rule = |id: &str, state: &str, any: &str| {
        let text = format!("id = \"{id}\"\nstate = \"{state}\"\nany = ['{any}']");
        toml::from_str(&text).unwrap()
    };
    let rules =
        [rule("active_re", "working", "esc to stop"), rule("limit_re", "limited", "limit reached")];
    let detector = Detector::new("own", &rules, None, 12).unwrap();
    let state = |text: &str| detector.read(&Screen::parse(text), &PaneHints::default()).state;
    assert_eq!(state("> go\n12s esc to stop"), PaneState::Working);
    assert_eq!(state("limit reached\n> "), PaneState::Limited);
    assert_eq!(state("all done\n> "), PaneState::Idle);
    let quoted = format!("esc to stop\n{}> ", "x\n".repeat(12));
    assert_eq!(state(&quoted), PaneState::Idle);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_screen_can_be_read_and_the_same_screen_reads_the_same(
        picks in proptest::collection::vec((0_usize..24, "[a-z ❯›┃■\u{a0}]{0,12}"), 0..40)
    ) {
        const PIECES: [&str; 24] = [
            "────────────", "❯\u{a0}", "❯ ", "› ", "  ┃", "  ╹▀▀▀▀▀▀", "■ ", "● ", "  ⎿  ", "✻ ", "✕ ", "",
            "\u{1b}[2m", "\u{1b}[38;5;168m┃", "\u{1b}[", "     ▣  Build · x", "  ⏵⏵ on", " > ", "╭──", "│ > ",
            "▀▀▀▀▀▀", "Pane is dead", "Esc to cancel", "                              ┃ toast ┃",
        ];
        let text: String =
            picks.iter().flat_map(|(piece, word)| [PIECES[*piece], word.as_str(), "\n"]).collect();
        for name in detect_preset::NAMES {
            let (first, again) = (read(name, "", &text), read(name, "", &text));
            prop_assert!(!first.evidence.is_empty());
            prop_assert_eq!(first, again);
        }
    }
}
