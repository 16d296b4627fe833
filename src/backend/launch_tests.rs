//! What a start looks like, and that a real shell reads every value back unchanged.

use std::path::PathBuf;

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;
use crate::backend::{preset, resolve};
use crate::config::section::backend::BackendSection;

/// One start with everything set; tests change what they are about.
struct Case {
    section: BackendSection,
    preset: Option<&'static str>,
    model: Option<String>,
    dir: PathBuf,
    kickoff: Option<PathBuf>,
    kickoff_bytes: usize,
    resume: ResumePlan,
    base_env: BTreeMap<String, String>,
    agent_env: BTreeMap<String, String>,
    settings_flag: &'static str,
}

impl Case {
    fn of(preset: Option<&'static str>, section: BackendSection) -> Self {
        Self {
            section,
            preset,
            model: Some("m1".into()),
            dir: "/p/it's".into(),
            kickoff: Some("/p/state/kickoff-x.txt".into()),
            kickoff_bytes: 10,
            resume: ResumePlan::Plain,
            base_env: BTreeMap::new(),
            agent_env: BTreeMap::new(),
            settings_flag: "",
        }
    }

    fn plan(&self) -> Result<Launch, LaunchError> {
        let preset = self.preset.and_then(preset::get);
        let nothing = BTreeMap::new();
        plan(
            &resolve("x", &self.section, preset.as_ref()),
            &LaunchInput {
                name: "builder",
                session: "demo-builder",
                model: self.model.as_deref(),
                dir: &self.dir,
                role: Some("builder"),
                kickoff_file: self.kickoff.as_deref(),
                kickoff_bytes: self.kickoff_bytes,
                resume: &self.resume,
                settings_flag: self.settings_flag,
                ao: Path::new("/opt/a o/ao"),
                start_id: "11111111-2222",
                base_env: &self.base_env,
                project_env: &nothing,
                agent_env: &self.agent_env,
            },
        )
    }

    fn script(&self) -> String {
        match self.plan() {
            Ok(launch) => {
                assert_eq!(launch.argv[..2], ["sh", "-c"]);
                launch.argv[2].clone()
            }
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                format!("error: {error}: {}", cause.unwrap_or_default())
            }
        }
    }
}

fn check(case: &Case, expected: &Expect) {
    expected.assert_eq(&case.script());
}

fn section(bin: &str, delivery: PromptDelivery) -> BackendSection {
    BackendSection {
        bin: Some(bin.into()),
        prompt_delivery: Some(delivery),
        ..BackendSection::default()
    }
}

#[test]
fn a_prompt_as_argument_is_read_from_its_file_and_comes_last() {
    let mut case = Case::of(Some("claude"), BackendSection::default());
    case.resume = ResumePlan::Fresh { id: Some("u-1".into()) };
    check(
        &case,
        &expect![[r#"
        cd -- '/p/it'\''s' || exit 78
        k=$(cat -- /p/state/kickoff-x.txt) || exit 78
        exec claude --dangerously-skip-permissions --model 'm1' --session-id 'u-1' "$k""#]],
    );
    case.resume = ResumePlan::Resume { id: "u-0".into() };
    case.model = None;
    case.kickoff = None;
    case.section.remote_control = Some(true);
    case.section.preamble = Some("set -a; . ./.env; set +a".into());
    check(
        &case,
        &expect![[r"
        cd -- '/p/it'\''s' || exit 78
        set -a; . ./.env; set +a
        exec claude --dangerously-skip-permissions --remote-control 'demo-builder' --resume 'u-0'"]],
    );
}

#[test]
fn a_prompt_too_long_for_an_argument_becomes_a_line_that_points_to_its_file() {
    let mut case = Case::of(None, section("tool", PromptDelivery::Arg));
    case.kickoff_bytes = KICKOFF_ARGUMENT_BYTES_MAX + 1;
    check(
        &case,
        &expect![[r#"
        cd -- '/p/it'\''s' || exit 78
        k='Read the file /p/state/kickoff-x.txt and do what it says.'
        exec tool --model 'm1' "$k""#]],
    );
    assert!(case.plan().is_ok_and(|launch| launch.note.is_some()));
}

#[test]
fn an_empty_prompt_is_no_argument() {
    let mut case = Case::of(None, section("tool", PromptDelivery::Arg));
    case.kickoff_bytes = 0;
    check(
        &case,
        &expect![[r"
        cd -- '/p/it'\''s' || exit 78
        exec tool --model 'm1'"]],
    );
}

#[test]
fn a_typed_prompt_leaves_the_line_alone_and_is_announced() {
    let mut case = Case::of(Some("opencode"), BackendSection::default());
    check(
        &case,
        &expect![[r"
        cd -- '/p/it'\''s' || exit 78
        exec opencode"]],
    );
    let launch = case.plan().expect("plans");
    assert!(launch.types_prompt_after_ready);
    assert_eq!(launch.env["OPENCODE_CONFIG_CONTENT"], r#"{"model":"m1"}"#);
    case.agent_env.insert("OPENCODE_CONFIG_CONTENT".into(), r#"{"theme":"x"}"#.into());
    let launch = case.plan().expect("plans");
    assert_eq!(launch.env["OPENCODE_CONFIG_CONTENT"], r#"{"model":"m1","theme":"x"}"#);
    case.section.attach = Some("{bin} attach {server} --dir {dir}".into());
    case.section.server = Some("http://127.0.0.1:4096".into());
    check(
        &case,
        &expect![[r"
        cd -- '/p/it'\''s' || exit 78
        exec opencode attach 'http://127.0.0.1:4096' --dir '/p/it'\''s'"]],
    );
}

#[test]
fn a_plain_command_is_run_as_written() {
    let line = "echo '[demo] {session} up'; exec sleep 1000000";
    check(
        &Case::of(None, section(line, PromptDelivery::Exec)),
        &expect![[r"
        cd -- '/p/it'\''s' || exit 78
        echo '[demo] demo-builder up'; exec sleep 1000000"]],
    );
    check(
        &Case::of(Some("demo"), BackendSection::default()),
        &expect![[r"
        cd -- '/p/it'\''s' || exit 78
        exec '/opt/a o/ao' demo-agent --name 'builder' --kickoff '/p/state/kickoff-x.txt'"]],
    );
    check(
        &Case::of(None, section("run {colour}", PromptDelivery::Exec)),
        &expect![
            "error: cannot fill `bin` of backend `x`: unknown slot `{colour}`; for a literal brace write `{{colour}}`"
        ],
    );
}

#[test]
fn only_a_single_program_is_run_by_exec() {
    for line in ["claude --x 'a;b'", "\"$HOME/bin/t\" \"$k\"", "t --a=b 2>err", "t a#b 'c|d' \\;"] {
        assert!(is_simple_command(line), "{line}");
    }
    for line in ["a; b", "a | b", "A=1 b", "if x", "exec b", "(a)", "a $(b)", "{ a", "a # b", ""] {
        assert!(!is_simple_command(line), "{line}");
    }
}

#[test]
fn nothing_of_another_agent_or_harness_passes_into_the_environment() {
    let mut case = Case::of(None, section("tool", PromptDelivery::Arg));
    for name in [
        "PATH",
        "LC_ALL",
        "XDG_CONFIG_HOME",
        "CLAUDECODE",
        "CODEX_HOME",
        "TMUX",
        "TMUX_PANE",
        "AO_START",
        "AO_CONFIG",
        "ANTHROPIC_API_KEY",
        "TERM",
    ] {
        case.base_env.insert(name.into(), "caller".into());
    }
    case.agent_env.insert("ANTHROPIC_API_KEY".into(), "mine".into());
    case.section.env.insert("PATH".into(), "/backend".into());
    let env = case.plan().expect("plans").env;
    let text: Vec<String> = env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    expect![[r"
        ANTHROPIC_API_KEY=mine
        AO_AGENT=builder
        AO_START=11111111-2222
        LC_ALL=caller
        PATH=/backend
        XDG_CONFIG_HOME=caller"]]
    .assert_eq(&text.join("\n"));
}

/// Runs the start with a program that prints its arguments NUL-separated.
#[expect(clippy::disallowed_methods, reason = "a test that asks a real shell")]
fn arguments(case: &Case) -> Vec<String> {
    let launch = case.plan().expect("plans");
    let output = std::process::Command::new(&launch.argv[0])
        .args(&launch.argv[1..])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("LC_ALL", "C.UTF-8")
        .output()
        .expect("sh runs");
    assert!(output.status.success(), "{} {launch:?}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("UTF-8 went in");
    text.split_terminator('\0').map(str::to_owned).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn any_text_survives_the_shell_in_every_kind_of_quotes(
        hostile in "[ -~\n\té☃]{0,40}", prompt in "[^\0]{0,60}", folder in "[^\0/]{1,20}",
    ) {
        let temporary = tempfile::tempdir().expect("a folder");
        let mut case = Case::of(None, section("printf '%s\\0'", PromptDelivery::Arg));
        case.dir = temporary.path().join(format!("d{folder}"));
        std::fs::create_dir(&case.dir).expect("a hostile folder");
        let file = temporary.path().join("k'$x");
        std::fs::write(&file, &prompt).expect("a prompt");
        case.kickoff = Some(file);
        case.model = Some(hostile.clone());
        case.section.model_flag = Some("{model} '<{model}>' \"<{model}>\" \"$(printf '%sx' {model})\" \"$PWD\"".into());
        let got = arguments(&case);
        prop_assert_eq!(&got[0], &hostile);
        prop_assert_eq!(&got[1], &format!("<{hostile}>"));
        prop_assert_eq!(&got[2], &format!("<{hostile}>"));
        prop_assert_eq!(&got[3], &format!("{hostile}x"));
        prop_assert_eq!(Path::new(&got[4]), case.dir.as_path());
        prop_assert_eq!(&got[5], prompt.trim_end_matches('\n'));
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test that asks a real shell")]
fn a_folder_or_prompt_that_is_missing_ends_the_start_with_its_own_code() {
    let mut case = Case::of(None, section("echo", PromptDelivery::Arg));
    for dir in ["/nowhere/at/all", "/"] {
        case.dir = dir.into();
        let launch = case.plan().expect("plans");
        let output =
            std::process::Command::new("sh").args(&launch.argv[1..]).output().expect("sh runs");
        assert_eq!((output.status.code(), output.stdout.len()), (Some(EXIT_NO_START), 0));
    }
}

/// A shell word as template, beside the text that it must come to when `{model}` is `value`.
fn nested_word(leaf: u8, wrappers: &[u8], value: &str) -> (String, String) {
    let innermost = match leaf {
        0 => ("{model}".to_owned(), value.to_owned()),
        1 => ("'q{model}#'".to_owned(), format!("q{value}#")),
        2 => (r#""'{model}\"""#.to_owned(), format!("'{value}\"")),
        _ => (r"\'a#{model}\\".to_owned(), format!("'a#{value}\\")),
    };
    wrappers.iter().fold(innermost, |(template, text), wrapper| match wrapper {
        0 => (format!("\"$(printf '%sx' {template})\"_"), format!("{text}x_")),
        1 => (
            format!("\"{{model}}$( (printf '%sx' {template}) )\"'{{model}}'"),
            format!("{value}{text}x{value}"),
        ),
        _ => (format!("\"${{NO}}\"{template}"), text),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn a_value_keeps_its_place_however_deep_quotes_and_substitutions_nest(
        hostile in "[ -~\n\té☃]{0,20}", leaf in 0..4_u8,
        wrappers in prop::collection::vec(0..3_u8, 0..4),
    ) {
        let (template, expected) = nested_word(leaf, &wrappers, &hostile);
        let mut case = Case::of(None, section("printf '%s\\0'", PromptDelivery::Arg));
        case.dir = "/".into();
        case.kickoff = None;
        case.model = Some(hostile);
        case.section.model_flag = Some(template);
        prop_assert_eq!(arguments(&case), vec![expected]);
    }
}

#[test]
fn the_settings_flag_stands_beside_the_flags_or_where_a_template_wants_it() {
    let mut case = Case::of(Some("claude"), BackendSection::default());
    case.settings_flag = "--settings '/state dir/s.json'";
    let script = case.script();
    assert!(script.contains("--dangerously-skip-permissions --settings '/state dir/s.json' "));
    let section = BackendSection {
        bin: Some("run {settings_flag} {name}".into()),
        prompt_delivery: Some(PromptDelivery::Exec),
        ..BackendSection::default()
    };
    let mut case = Case::of(None, section);
    case.settings_flag = "--settings s.json";
    assert!(case.script().ends_with("exec run --settings s.json 'builder'"), "{}", case.script());
    case.settings_flag = "";
    assert!(case.script().ends_with("exec run 'builder'"), "{}", case.script());
}
