//! The verb `ao transcript`, and what `ao status` shows of it, by the built program.

use ao::base::zone::Tz;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

const ID: &str = "11111111-2222-4333-8444-555555555555";

struct Project {
    folder: tempfile::TempDir,
}

impl Project {
    /// One Claude agent whose session is the recorded one.
    fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("ao-tr").tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let config = format!(
            "[defaults]\nsession_prefix = \"tr-\"\nlog_dir = \"logs\"\n\n\
             [tmux]\nsocket = \"ao-tr-{}\"\n\n\
             [[agent]]\nname = \"writer\"\nbackend = \"claude\"\nprompt = \"hello\"\n\
             env = {{ CLAUDE_CONFIG_DIR = \"{}/claude\" }}\n",
            std::process::id(),
            root.display()
        );
        std::fs::write(root.join("agents.toml"), config).unwrap();
        let sessions = root.join("claude/projects/anywhere");
        std::fs::create_dir_all(sessions.join(ID).join("subagents")).unwrap();
        let recorded =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/transcripts/claude-code");
        let sub = format!("{ID}/subagents/agent-a7497cc4ebcc9a0ce.jsonl");
        for file in [format!("{ID}.jsonl"), sub] {
            std::fs::copy(recorded.join(&file), sessions.join(&file)).unwrap();
        }
        std::fs::create_dir_all(root.join("logs/state")).unwrap();
        std::fs::write(root.join("logs/state/writer.id"), ID).unwrap();
        Self { folder }
    }

    #[track_caller]
    fn ao(&self, args: &[&str]) -> String {
        let output = Command::new(env!("CARGO_BIN_EXE_ao"))
            .args(args)
            .current_dir(self.folder.path())
            .env("TZ", "Europe/Berlin")
            .env("TMUX_TMPDIR", self.folder.path())
            .env_remove("AO_CONFIG")
            .output()
            .unwrap();
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

#[test]
fn an_agents_session_is_shown_with_its_sub_agents_in_the_order_of_time() {
    let project = Project::new();
    let text = project.ao(&["transcript", "render", "writer"]);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 37 + 5);
    assert!(lines.is_sorted_by_key(|line| &line[..19]), "{text}");
    assert!(lines[0].starts_with("2026-11-21 04:58:17 writer prompt STUB: thinkbash"), "{text}");
    assert_eq!(lines.iter().filter(|line| line.contains(" writer/a7497cc4 ")).count(), 5);
    let file = project.folder.path().join(format!("claude/projects/anywhere/{ID}.jsonl"));
    let by_file = project.ao(&["transcript", "render", file.to_str().unwrap()]);
    assert_eq!(by_file.replace(" 11111111", " writer"), text);
}

#[test]
fn a_session_is_given_to_machines_line_by_line() {
    let text = Project::new().ao(&["transcript", "render", "writer", "--json", "--full"]);
    let entries: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let tool = entries.iter().find(|entry| entry["tool"] == "Write").unwrap();
    assert_eq!(tool["at"], "2026-11-21T03:58:19.965Z");
    assert_eq!(tool["agent"], "writer");
    assert_eq!(
        tool["text"],
        "file_path: /home/dev/project/greeting.txt, content: hello from the stub\\nsecond line\\n"
    );
}

#[test]
fn usage_is_what_the_session_says_and_costs_what_the_cli_says() {
    let project = Project::new();
    let report: Value =
        serde_json::from_str(&project.ao(&["transcript", "usage", "--json"])).unwrap();
    let total = &report["total"];
    assert_eq!(
        [&total["input"], &total["output"], &total["cache_read"], &total["cache_write_5m"]]
            .map(|tokens| tokens.as_u64().unwrap()),
        [39, 257, 175_645, 1_560]
    );
    assert_eq!(total["cost_micros"], 24_113);
    assert_eq!(report["rows"][0]["agent"], "writer");
    assert_eq!(report["rows"][0]["day"], "2026-11-21");
    let table = project.ao(&["transcript", "usage", "--by", "model"]);
    let row = table.lines().nth(1).unwrap();
    assert!(row.starts_with("claude-sonnet-5-5 ") && row.ends_with(" $0.02"), "{table}");
}

#[test]
fn clean_logs_are_written_once_however_often_they_are_asked_for() {
    let project = Project::new();
    let log = project.folder.path().join("logs/clean/writer.log");
    project.ao(&["transcript", "follow-all", "--once"]);
    let first = std::fs::read_to_string(&log).unwrap();
    assert_eq!(first.lines().count(), 37 + 5);
    project.ao(&["transcript", "follow-all", "--once"]);
    assert_eq!(std::fs::read_to_string(&log).unwrap(), first);
}

#[test]
fn status_shows_what_the_follower_summed_and_never_reads_a_transcript() {
    let project = Project::new();
    let status = || -> Value { serde_json::from_str(&project.ao(&["status", "--json"])).unwrap() };
    assert_eq!(status()["agents"][0]["usage"], Value::Null);
    assert!(!project.ao(&["status"]).contains("CONTEXT"));
    let day =
        chrono::Utc::now().with_timezone(&"Europe/Berlin".parse::<Tz>().unwrap()).date_naive();
    let summary = format!(
        "{{\"version\":1,\"day\":\"{day}\",\"agents\":{{\"writer\":{{\"model_in_use\":\"claude-opus-5-5\",\
         \"tokens_today\":12345,\"cost_today_micros\":1234567,\"context_tokens\":250000,\
         \"context_window\":1000000}}}}}}"
    );
    std::fs::write(project.folder.path().join("logs/state/usage.json"), summary).unwrap();
    let usage = &status()["agents"][0]["usage"];
    assert_eq!(
        (&usage["tokens_today"], &usage["context_window"]),
        (&12_345.into(), &1_000_000.into())
    );
    let table = project.ao(&["status"]);
    let row = table.lines().find(|line| line.starts_with("writer")).unwrap();
    for shown in ["claude-opus-5-5", "12.3k", "$1.23", "25 %"] {
        assert!(row.contains(shown), "{shown} in {table}");
    }
}
