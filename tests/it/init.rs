//! `ao init`: what it writes, what it leaves alone, and that the example is sound.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

#[expect(clippy::disallowed_methods, reason = "a test that runs the program itself")]
fn init(dir: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ao"))
        .arg("init")
        .args(arguments)
        .current_dir(dir)
        .env_clear()
        .env("HOME", dir)
        .output()
        .expect("ao runs")
}

/// Every file below the folder with its text.
fn tree(dir: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry")) {
            if entry.path().is_dir() {
                open.push(entry.path());
            } else {
                let name = entry.path().strip_prefix(dir).expect("below").display().to_string();
                found.insert(name, fs::read_to_string(entry.path()).expect("text"));
            }
        }
    }
    found
}

#[test]
fn a_new_project_gets_a_config_prompts_and_an_ignore_line_and_a_second_run_changes_nothing() {
    let temporary = tempfile::tempdir().expect("a folder");
    let first = init(temporary.path(), &["my.project"]);
    assert!(first.status.success(), "{first:?}");
    let project = temporary.path().join("my.project");
    let files = tree(&project);
    assert_eq!(
        files.keys().map(String::as_str).collect::<Vec<_>>(),
        [
            ".gitignore",
            "agents.toml",
            "prompts/adversary.md",
            "prompts/builder.md",
            "prompts/kickoff.md",
            "prompts/supervise.md"
        ]
    );
    assert_eq!(files[".gitignore"], ".ao-state/\n");
    let config: toml::Table = files["agents.toml"].parse().expect("TOML");
    assert_eq!(config["defaults"]["session_prefix"].as_str(), Some("my-project-"));

    let second = init(&project, &["--json"]);
    assert!(second.status.success(), "{second:?}");
    let report: serde_json::Value = serde_json::from_slice(&second.stdout).expect("JSON");
    let outcomes = report["files"].as_array().expect("a list");
    assert_eq!(outcomes.len(), 6);
    assert!(outcomes.iter().all(|file| file["outcome"] == "kept"), "{report}");
    assert_eq!(tree(&project), files);
}

#[test]
fn files_that_are_there_already_are_kept_and_an_ignore_file_is_only_appended_to() {
    let temporary = tempfile::tempdir().expect("a folder");
    fs::write(temporary.path().join("agents.toml"), "mine").expect("write");
    fs::write(temporary.path().join(".gitignore"), "target").expect("write");
    let output = init(temporary.path(), &[]);
    assert!(output.status.success(), "{output:?}");
    let files = tree(temporary.path());
    assert_eq!(files["agents.toml"], "mine");
    assert_eq!(files[".gitignore"], "target\n.ao-state/\n");
    let said = String::from_utf8(output.stdout).expect("text");
    assert!(said.contains("kept   ./agents.toml"), "{said}");
    assert!(said.contains("wrote  ./.gitignore"), "{said}");
}

#[test]
fn a_folder_that_cannot_be_made_is_said_and_nothing_is_written() {
    let temporary = tempfile::tempdir().expect("a folder");
    fs::write(temporary.path().join("file"), "").expect("write");
    let output = init(temporary.path(), &["file/project"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).expect("text");
    assert!(said.contains("cannot make the folder file/project"), "{said}");
}

#[test]
fn every_setting_that_the_example_offers_to_switch_on_is_sound_toml() {
    let example = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/agents.example.toml"))
        .expect("the example");
    let switched_on: Vec<&str> = example
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(setting) if !setting.starts_with(' ') => setting,
            Some(_) | None => line,
        })
        .collect();
    let config: toml::Table = switched_on.join("\n").parse().expect("TOML");
    let sections: Vec<&str> = config.keys().map(String::as_str).collect();
    assert_eq!(sections, ["agent", "backend", "defaults", "loop", "service"]);
    assert_eq!(config["loop"]["phases"].as_array().map(Vec::len), Some(2));
}
