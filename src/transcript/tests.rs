//! The parsers, sums and lines on recorded sessions.

use chrono::NaiveDate;
use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::feed::Feed;
use super::price::Prices;
use super::render::Renderer;
use super::usage::{Ledger, Usage};
use super::*;
use crate::base::zone::{Tz, zone};

macro_rules! recorded {
    ($file:literal) => {
        include_str!(concat!("../../tests/corpus/transcripts/", $file))
    };
}

const SESSION: &str = recorded!("claude-code/11111111-2222-4333-8444-555555555555.jsonl");
const SUB: &str = recorded!(
    "claude-code/11111111-2222-4333-8444-555555555555/subagents/agent-a7497cc4ebcc9a0ce.jsonl"
);
const STREAM: &str = recorded!("claude-code/print-stream-json.jsonl");
const ROLLOUT: &str = recorded!("codex/rollout-exec-tool-call.jsonl");
const ROLLOUT_LIMIT: &str = recorded!("codex/rollout-exec-usage-limit.jsonl");
const ROLLOUT_TUI: &str = recorded!("codex/rollout-tui-hooks-interrupt-limit-401.jsonl");
const EXEC: &str = recorded!("codex/exec-json-stdout-tool-call.jsonl");
const EXEC_LIMIT: &str = recorded!("codex/exec-json-stdout-usage-limit.jsonl");
const EXPORT: &str = recorded!("opencode/export-session.json");
const RUN: &str = recorded!("opencode/run-format-json-tool-call.jsonl");
const RUN_DENIED: &str = recorded!("opencode/run-format-json-plugin-deny.jsonl");
const RUN_LIMIT: &str = recorded!("opencode/run-format-json-usage-limit.jsonl");

const ALL: [&str; 12] = [
    SESSION,
    SUB,
    STREAM,
    ROLLOUT,
    ROLLOUT_LIMIT,
    ROLLOUT_TUI,
    EXEC,
    EXEC_LIMIT,
    EXPORT,
    RUN,
    RUN_DENIED,
    RUN_LIMIT,
];

fn day() -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 11, 21).unwrap()
}

fn noon() -> DateTime<Utc> {
    day().and_hms_opt(12, 0, 0).unwrap().and_utc()
}

fn render(text: &str, full: bool) -> String {
    let mut renderer = Renderer::new("demo", Tz::UTC, full);
    let mut out = String::new();
    Reader::new(Format::detect(text).unwrap()).whole(text, &mut |event| match event {
        Event::Entry(entry) => renderer.line(&entry, &mut out),
        Event::Unreadable => out.push_str("UNREADABLE\n"),
        Event::Used(_) | Event::Total { .. } | Event::Window { .. } | Event::Model { .. } => {}
    });
    out
}

#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "reads better without `&` at each call")]
fn check(text: &str, expected: Expect) {
    expected.assert_eq(&render(text, false));
}

fn ledger(texts: &[&str]) -> Ledger {
    let mut ledger = Ledger::default();
    for text in texts {
        Reader::new(Format::detect(text).unwrap()).whole(text, &mut |event| {
            ledger.take("session", &event, noon(), Tz::UTC);
        });
    }
    ledger
}

/// The one model's name and tokens of that day.
#[track_caller]
fn only(ledger: &Ledger) -> (String, Usage) {
    let [cell] = &ledger.cells()[..] else { panic!("{:?}", ledger.cells()) };
    assert_eq!(cell.day, day());
    (cell.model.clone(), cell.usage)
}

#[test]
fn the_writer_of_a_file_is_told_by_its_beginning() {
    use Format::{Claude, Codex, OpencodeExport, OpencodeRun};
    let formats = ALL.map(|text| Format::detect(text).unwrap());
    let (c, x) = (Claude, Codex);
    let expected = [c, c, c, x, x, x, x, x, OpencodeExport, OpencodeRun, OpencodeRun, OpencodeRun];
    assert_eq!(formats, expected);
    assert_eq!(Format::detect("a log of something else"), None);
    assert_eq!(Format::detect("{\"level\":30,\"msg\":\"hello\"}"), None);
    let compact = serde_json::from_str::<serde_json::Value>(EXPORT).unwrap().to_string();
    assert_eq!(Format::detect(&compact), Some(OpencodeExport));
}

#[test]
fn a_claude_session_is_told_line_by_line() {
    check(
        SESSION,
        expect![[r#"
        2026-11-21 03:58:17 demo prompt STUB: thinkbash 2 ls README.md main.rs ;; write /home/dev/project/greeting.txt ;; edit /home/dev/project/greeting.txt ;; text 2 12
        2026-11-21 03:58:19 demo think  The user wants a command run. I should run it and look at what it prints.
        2026-11-21 03:58:19 demo text   I'll run that command now.
        2026-11-21 03:58:19 demo tool   Bash(command: ls README.md main.rs, description: Run the requested command)
        2026-11-21 03:58:19 demo result README.md main.rs
        2026-11-21 03:58:19 demo text   I'll create the file.
        2026-11-21 03:58:19 demo tool   Write(file_path: /home/dev/project/greeting.txt, content: hello from the stub second line)
        2026-11-21 03:58:20 demo result File created successfully at: /home/dev/project/greeting.txt (file state is current in your context — no need to Read it back)
        2026-11-21 03:58:20 demo tool   Edit(replace_all: false, file_path: /home/dev/project/greeting.txt, old_string: hello, new_string: bye)
        2026-11-21 03:58:20 demo result The file /home/dev/project/greeting.txt has been updated successfully. (file state is current in your context — no need to Read it back)
        2026-11-21 03:58:22 demo text   The quick brown fox jumps over the lazy dog while the build.
        2026-11-21 03:58:22 demo turn   turn over after 5.2 s
        2026-11-21 03:58:23 demo prompt STUB: bash ls /nonexistent ;; say That failed, as expected.
        2026-11-21 03:58:23 demo text   I'll run that command.
        2026-11-21 03:58:23 demo tool   Bash(command: ls /nonexistent, description: Run the requested command)
        2026-11-21 03:58:23 demo failed Exit code 2 ls: cannot access '/nonexistent': No such file or directory
        2026-11-21 03:58:23 demo text   That failed, as expected.
        2026-11-21 03:58:23 demo turn   turn over after 0.4 s
        2026-11-21 03:58:24 demo prompt STUB: task SUB: bash ls README.md ,, say subagent done ;; say main done
        2026-11-21 03:58:24 demo text   I'll hand this to a subagent.
        2026-11-21 03:58:24 demo tool   Agent(description: Look around, prompt: STUB: bash ls README.md ;; say subagent done, subagent_type: general-purpose)
        2026-11-21 03:58:24 demo result Async agent launched successfully. (This tool result is internal metadata — never quote or paste any part of it, including the agentId below, into a user-facing reply.) agentId: a7497cc4ebcc9a0ce (int…
        2026-11-21 03:58:24 demo text   main done
        2026-11-21 03:58:24 demo turn   turn over after 0.2 s
        2026-11-21 03:58:25 demo note   <task-notification> <task-id>a7497cc4ebcc9a0ce</task-id> <tool-use-id>toolu_stub_48441d2197eb417fa68f</tool-use-id> <output-file><tmpdir>/claude-<uid>/-home-dev-project/11111111-2222-4333-8444-555555555555/tasks/a7497cc4ebcc9a0ce.output</output-file> <status>completed</status> <summary>Agent "Look around" finished</summary> <note>A task-notification fires each time this agent stops with no live background… [+288 chars cut from this sample]
        2026-11-21 03:58:25 demo text   ok
        2026-11-21 03:58:25 demo turn   turn over after 0.6 s
        2026-11-21 03:58:28 demo prompt STUB: text 20
        2026-11-21 03:58:31 demo text   The quick brown fox jumps over the lazy dog while the build is running and the tests are
        2026-11-21 03:58:31 demo note   [Request interrupted by user]
        2026-11-21 03:58:33 demo prompt STUB: x1 err 529 overloaded_error Overloaded ;; say recovered after one retry
        2026-11-21 03:58:33 demo text   recovered after one retry
        2026-11-21 03:58:33 demo turn   turn over after 0.7 s
        2026-11-21 03:58:37 demo prompt STUB: err 400 invalid_request_error messages.5.content.0: thinking or redacted_thinking blocks in the latest assistant message cannot be modified.
        2026-11-21 03:58:37 demo error  API Error: 400 messages.5.content.0: thinking or redacted_thinking blocks in the latest assistant message cannot be modified.
        2026-11-21 03:58:39 demo prompt STUB: limit five_hour 7800
        2026-11-21 03:58:40 demo error  You've hit your 5-hour limit · resets 7:08am (Europe/Berlin)
    "#]],
    );
}

#[test]
fn a_sub_agent_is_named_beside_its_agent() {
    check(
        SUB,
        expect![[r"
        2026-11-21 03:58:24 demo/a7497cc4 prompt STUB: bash ls README.md ;; say subagent done
        2026-11-21 03:58:24 demo/a7497cc4 text   I'll run that command.
        2026-11-21 03:58:24 demo/a7497cc4 tool   Bash(command: ls README.md, description: Run the requested command)
        2026-11-21 03:58:24 demo/a7497cc4 result README.md
        2026-11-21 03:58:24 demo/a7497cc4 text   subagent done
    "]],
    );
}

#[test]
fn a_claude_stream_reads_like_a_session() {
    check(
        STREAM,
        expect![[r"
        2026-11-21 04:06:39 demo think  The user wants a command run. I should run it and look at what it prints.
        2026-11-21 04:06:39 demo text   I'll run that command now.
        2026-11-21 04:06:39 demo tool   Bash(command: ls README.md, description: Run the requested command)
        2026-11-21 04:06:39 demo result README.md
        2026-11-21 04:06:39 demo text   done
        ------------------- demo turn   turn over
    "]],
    );
}

#[test]
fn a_codex_rollout_shows_what_was_typed_and_leaves_out_what_the_cli_added() {
    check(
        ROLLOUT,
        expect![[r#"
        2026-11-21 03:52:58 demo prompt STUB:tool echo hi
        2026-11-21 03:52:58 demo tool   exec(const r = await tools.exec_command({"cmd": "echo hi"}); text(r.output);)
        2026-11-21 03:52:58 demo result Script completed Wall time 0.1 seconds Output: hi
        2026-11-21 03:52:58 demo text   Stub answer: done.
        2026-11-21 03:52:58 demo turn   turn over after 0.3 s
        2026-11-21 03:52:59 demo prompt again
        2026-11-21 03:52:59 demo text   Stub answer: done.
        2026-11-21 03:52:59 demo turn   turn over after 0.1 s
    "#]],
    );
}

#[test]
fn codex_limits_questions_and_interrupts_are_told() {
    check(
        &[ROLLOUT_LIMIT.trim_end(), ROLLOUT_TUI].join("\n"),
        expect![[r#"
        2026-11-21 03:52:59 demo prompt STUB:limit=7200 STUB:plan=plus
        2026-11-21 03:52:59 demo error  You’ve hit your usage limit. Upgrade to Pro (https://chatgpt.com/explore/pro), visit https://chatgpt.com/settings/usage to purchase more credits or try again at 5:52 AM.
        2026-11-21 03:52:59 demo turn   turn over after 0.1 s
        2026-11-21 04:19:28 demo prompt STUB:ask
        2026-11-21 04:19:28 demo tool   request_user_input(questions: [{"id": "q1", "header": "Colour", "question": "Which colour?", "options": [{"label": "Red (Recommended)", "description"…)
        2026-11-21 04:19:31 demo result aborted by user after 3.0s
        2026-11-21 04:19:31 demo note   interrupted
    "#]],
    );
}

#[test]
fn the_output_of_codex_exec_has_no_times() {
    check(
        &[EXEC.trim_end(), EXEC_LIMIT].join("\n"),
        expect![[r"
        ------------------- demo tool   command_execution(/bin/bash -lc 'echo hi')
        ------------------- demo result hi
        ------------------- demo text   Stub answer: done.
        ------------------- demo turn   turn over
        ------------------- demo error  You’ve hit your usage limit. Upgrade to Pro (https://chatgpt.com/explore/pro), visit https://chatgpt.com/settings/usage to purchase more credits or try again at 5:52 AM.
        ------------------- demo error  You’ve hit your usage limit. Upgrade to Pro (https://chatgpt.com/explore/pro), visit https://chatgpt.com/settings/usage to purchase more credits or try again at 5:52 AM.
    "]],
    );
}

#[test]
fn an_opencode_export_and_its_run_say_the_same() {
    check(
        EXPORT,
        expect![[r#"
        2026-11-21 04:03:44 demo prompt "STUB:tool echo sample-tool-output"
        2026-11-21 04:03:53 demo tool   bash(command: echo sample-tool-output", description: stub call)
        2026-11-21 04:03:54 demo result /bin/bash: -c: line 1: unexpected EOF while looking for matching `"'
        2026-11-21 04:03:55 demo text   Stub answer: done.
    "#]],
    );
    check(
        &[RUN.trim_end(), RUN_DENIED.trim_end(), RUN_LIMIT].join("\n"),
        expect![[r#"
        2026-11-21 04:03:53 demo tool   bash(command: echo sample-tool-output", description: stub call)
        2026-11-21 04:03:54 demo result /bin/bash: -c: line 1: unexpected EOF while looking for matching `"'
        2026-11-21 04:03:55 demo text   Stub answer: done.
        2026-11-21 03:39:21 demo tool   bash(command: echo DENYME", description: stub call)
        2026-11-21 03:39:21 demo failed ao: denied by policy (DENYME)
        2026-11-21 03:39:22 demo text   Stub answer: done.
        2026-11-21 04:06:57 demo error  The usage limit has been reached
    "#]],
    );
}

#[test]
fn a_claude_session_with_its_sub_agent_costs_what_the_cli_says_it_cost() {
    let (model, usage) = only(&ledger(&[SESSION, SUB]));
    assert_eq!(model, "claude-sonnet-5-5");
    // `cost-state` in the file: 39, 257, 175645, 1560, and 0.0241125 dollars.
    let expected = Usage {
        input: 39,
        output: 257,
        cache_read: 175_645,
        cache_write_5m: 1_560,
        ..Usage::default()
    };
    assert_eq!(usage, expected);
    assert_eq!(Prices::shipped().cost(&model, day(), &usage).unwrap().0, 24_113);
}

#[test]
fn the_order_in_which_a_session_and_its_sub_agents_are_read_does_not_matter() {
    assert_eq!(ledger(&[SESSION, SUB]).cells(), ledger(&[SUB, SESSION]).cells());
}

#[test]
fn while_a_session_runs_its_answers_are_counted_once_each() {
    let running = SESSION.lines().filter(|line| !line.contains("cost-state"));
    let (_, usage) = only(&ledger(&[&running.collect::<Vec<_>>().join("\n"), SUB]));
    // 13 answers; the interrupted one is written with the one token it had begun with.
    assert_eq!((usage.input, usage.output, usage.cache_read), (39, 228, 175_645));
    assert_eq!(usage.cache_write_5m, 1_560);
}

#[test]
fn a_session_copied_into_another_file_is_not_counted_twice() {
    let once = ledger(&[SESSION]);
    let mut twice = once.clone();
    let answers: Vec<&str> = SESSION.lines().filter(|line| !line.contains("cost-state")).collect();
    Reader::new(Format::Claude).whole(&answers.join("\n"), &mut |event| {
        twice.take("a fork", &event, noon(), Tz::UTC);
    });
    assert_eq!(twice.cells(), once.cells());
}

#[test]
fn a_claude_stream_counts_what_its_result_says() {
    let ledger = ledger(&[STREAM]);
    let (model, usage) = only(&ledger);
    assert_eq!((usage.input, usage.output, usage.cache_read), (6, 46, 25_163));
    assert_eq!(Prices::shipped().cost(&model, day(), &usage).unwrap().0, 7_177);
    assert_eq!(ledger.context.window, Some(1_000_000));
}

#[test]
fn codex_totals_are_counted_once_however_often_they_are_written() {
    let ledger = ledger(&[ROLLOUT]);
    let (model, usage) = only(&ledger);
    assert_eq!(model, "gpt-6.1-sol");
    // The file's last total: 3627 in of which 900 cached, 102 out of which 15 reasoning.
    let expected =
        Usage { input: 2_727, cache_read: 900, output: 102, reasoning: 15, ..Usage::default() };
    assert_eq!((usage, usage.total()), (expected, 3_729));
    assert_eq!(ledger.context.tokens, Some(1_245));
    assert_eq!(ledger.context.window, Some(258_400));
}

#[test]
fn codex_without_usage_records_is_counted_by_its_token_counts() {
    let older = ROLLOUT.lines().filter(|line| !line.contains("token_usage_record"));
    let older = older.collect::<Vec<_>>().join("\n");
    assert_eq!(ledger(&[&older]).cells(), ledger(&[ROLLOUT]).cells());
}

#[test]
fn the_output_of_codex_exec_is_counted_under_an_unknown_model() {
    let (model, usage) = only(&ledger(&[EXEC]));
    assert_eq!((model.as_str(), usage.total()), ("unknown", 2_416 + 68));
    assert_eq!(Prices::shipped().cost(&model, day(), &usage), None);
}

#[test]
fn opencode_counts_agree_with_its_session_record() {
    let (model, export) = only(&ledger(&[EXPORT]));
    // 1806 in, 600 cached, 58 out and 10 reasoning beside it.
    let expected =
        Usage { input: 1_806, cache_read: 600, output: 68, reasoning: 10, ..Usage::default() };
    assert_eq!((model.as_str(), export, export.total()), ("stub-1", expected, 1_236 + 1_238));
    assert_eq!(only(&ledger(&[RUN])).1, export);
}

#[test]
fn a_day_is_a_day_of_the_zone_asked_for() {
    let mut ledger = Ledger::default();
    Reader::new(Format::Claude).whole(SUB, &mut |event| {
        ledger.take("s", &event, noon(), zone("America/Los_Angeles"));
    });
    assert_eq!(ledger.cells()[0].day, day().pred_opt().unwrap());
}

#[test]
fn a_stored_ledger_goes_on_where_it_stood() {
    let lines: Vec<&str> = SESSION.lines().collect();
    for cut in 0..lines.len() {
        let mut ledger = Ledger::default();
        let mut reader = Reader::new(Format::Claude);
        for (index, line) in lines.iter().enumerate() {
            if index == cut {
                ledger = serde_json::from_str(&serde_json::to_string(&ledger).unwrap()).unwrap();
                reader = serde_json::from_str(&serde_json::to_string(&reader).unwrap()).unwrap();
            }
            reader.line(line, &mut |event| ledger.take("s", &event, noon(), Tz::UTC));
        }
        assert_eq!(ledger.cells(), super::tests::ledger(&[SESSION]).cells(), "cut at {cut}");
    }
}

#[test]
fn prices_are_found_by_the_names_that_clis_use() {
    let prices = Prices::shipped();
    let row = |model: &str| prices.find(model, day()).map(|price| price.model.clone());
    for name in [
        "claude-sonnet-4-5",
        "claude-sonnet-4-5-20250929",
        "claude-sonnet-4-5[1m]",
        "anthropic/claude-sonnet-4-5",
        "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "claude-sonnet-4-5@20250929",
    ] {
        assert_eq!(row(name).as_deref(), Some("claude-sonnet-4-5"), "{name}");
    }
    assert_eq!(row("gpt-5.4-2026-03-05").as_deref(), Some("gpt-5.4"));
    for name in ["", "unknown", "claude-sonnet", "gpt-5.4-x", "<synthetic>", "é-2025100"] {
        assert_eq!(row(name), None, "{name}");
    }
}

#[test]
fn a_later_price_holds_from_its_day_on() {
    let row = |extra: &str| {
        format!("[[price]]\nmodel = \"m\"\noutput = 0.0\ncache_read = 0.0\n{extra}\n")
    };
    let table = "checked = \"2026-01-01\"\nsources = []\n".to_owned()
        + &row("input = 1.0")
        + &row("input = 2.0\nsince = \"2026-11-21\"");
    let prices: Prices = toml::from_str(&table).unwrap();
    let usage = Usage { input: 3, ..Usage::default() };
    let cost = |day| prices.cost("m", day, &usage).unwrap().0;
    assert_eq!((cost(day().pred_opt().unwrap()), cost(day())), (3, 6));
}

#[test]
fn no_control_byte_and_no_line_break_gets_through() {
    let nasty = r#"{"type":"user","sessionId":"s","timestamp":"2026-11-21T03:00:00Z","message":{"content":"a\u001b[31mred\u001b[0m\r\nb\u0000\u0007\u009b1mc \u001b]0;title\u0007d \ud83d\ude00 \ud800 \u2028 e\tf"}}"#;
    check(
        nasty,
        expect![[r"
        2026-11-21 03:00:00 demo prompt ared bc d 😀 � e f
    "]],
    );
    expect![[r"
        2026-11-21 03:00:00 demo prompt ared\nbc d 😀 � \n e f
    "]]
    .assert_eq(&render(nasty, true));
}

#[test]
fn lines_that_are_damaged_or_of_another_kind_do_no_harm() {
    for text in ALL.into_iter().filter(|text| *text != EXPORT) {
        let format = Format::detect(text).unwrap();
        let tells = |line: &&str| {
            let mut entries = 0;
            Reader::new(format).line(line, &mut |event| {
                entries += usize::from(matches!(event, Event::Entry(_)));
            });
            entries > 0
        };
        let line = text.lines().filter(tells).max_by_key(|line| line.len()).unwrap();
        for cut in (0..line.len()).filter(|&cut| line.is_char_boundary(cut)) {
            let mut unreadable = 0;
            Reader::new(format).line(&line[..cut], &mut |event| {
                unreadable += usize::from(event == Event::Unreadable);
            });
            assert_eq!(unreadable, usize::from(cut > 0), "{cut} bytes of {line}");
        }
    }
    for line in ["[]", "null", "3", "{}", r#"{"type":7}"#, r#"{"type":"assistant","message":"x"}"#]
    {
        for format in [Format::Claude, Format::Codex, Format::OpencodeRun, Format::OpencodeExport] {
            Reader::new(format).line(line, &mut |event| {
                assert!(!matches!(event, Event::Entry(_) | Event::Used(_)), "{line}: {event:?}");
            });
        }
    }
}

#[test]
fn a_field_is_found_early_only_in_the_outermost_object() {
    let find = |line: &'static str| json::outer_text(line, "type");
    assert_eq!(find(r#"{"a": null, "n": 3, "type": "x", "b": {}}"#), Some("x"));
    assert_eq!(find(r#"{"type":"x"}"#), Some("x"));
    assert_eq!(find(r#"{"a":"type","type":"x"}"#), Some("x"));
    for line in
        [r#"{"a":{"type":"x"}}"#, r#"{"a":["type"],"type":"x"}"#, r#"{"a":"type"}"#, "{", ""]
    {
        assert_eq!(find(line), None, "{line}");
    }
    assert_eq!(find(r#"{"a":"\"type\":","type":"x"}"#), None);
}

/// What a reader says, in words that outlive the line.
fn told(text: &str, cuts: &[usize]) -> (Vec<String>, Ledger) {
    let mut ledger = Ledger::default();
    let mut feed = Feed::new(Reader::new(Format::detect(text).unwrap()));
    let mut said = Vec::new();
    let mut from = 0;
    for to in cuts.iter().copied().chain([text.len()]) {
        feed.push(&text.as_bytes()[from..to], &mut |event| {
            ledger.take("s", &event, noon(), Tz::UTC);
            said.push(format!("{event:?}"));
        });
        from = to;
    }
    assert_eq!(feed.waiting_bytes(), text.len() - text.rfind('\n').map_or(0, |at| at + 1));
    (said, ledger)
}

#[test]
fn a_file_torn_at_any_byte_is_read_as_the_whole_one() {
    for text in [SUB, RUN, EXEC, ROLLOUT_TUI] {
        let whole = told(text, &[]);
        let last = text.trim_end().rfind('\n').map_or(0, |at| at + 1);
        // Every byte of the last lines, and a spread over the rest.
        for cut in (0..last).step_by(97).chain(last..text.len()) {
            assert_eq!(told(text, &[cut]), whole, "torn at {cut}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn pieces_say_what_the_whole_says(
        which in 0..ALL.len(),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let text = ALL[which];
        prop_assume!(text != EXPORT);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len())).collect();
        cuts.sort_unstable();
        prop_assert_eq!(told(text, &cuts), told(text, &[]));
    }

    #[test]
    fn any_text_becomes_one_clean_line(text in any::<String>(), full in any::<bool>()) {
        let quoted = serde_json::to_string(&text).unwrap();
        let entry = Entry { at: None, sub: None, kind: Kind::Text, tool: None, text: Text::Quoted(&quoted) };
        let mut out = String::new();
        Renderer::new("a", Tz::UTC, full).line(&entry, &mut out);
        prop_assert_eq!(out.matches('\n').count(), 1);
        prop_assert!(!out.trim_end_matches('\n').contains(char::is_control), "{:?}", out);
        let plain = Entry { text: Text::Plain(text.as_str().into()), ..entry.clone() };
        let mut same = String::new();
        Renderer::new("a", Tz::UTC, full).line(&plain, &mut same);
        prop_assert_eq!(out, same);
    }
}
