//! A folder of bad configs, each with the rendering it must get beside it. `AO_BLESS=1` writes them anew.
//!
//! Files are faked: every path is there unless `missing` stands in it, and `odd-kickoff.md` has slots
//! that do not exist.

use std::path::{Path, PathBuf};

use ao::config::diagnostic::{self, Diagnostic};
use ao::config::{self, Config};
use ao::sys::load::{self, LoadError};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/config_errors")
}

fn parse(text: &str) -> (Option<Config>, Vec<Diagnostic>) {
    let exists = |path: &Path| !path.to_string_lossy().contains("missing");
    let read = |path: &Path| {
        path.ends_with("odd-kickoff.md")
            .then(|| "Phase {phase_id}\nread {paln}, {{plan}}\n".to_owned())
    };
    config::parse(text, Path::new("/project/agents.toml"), &exists, &read)
}

fn cases() -> Vec<PathBuf> {
    let mut cases: Vec<PathBuf> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    cases.sort();
    cases
}

#[test]
fn each_bad_file_is_explained_as_the_text_beside_it_says() {
    let bless = std::env::var_os("AO_BLESS").is_some();
    let mut wrong = Vec::new();
    let cases = cases();
    assert!(cases.len() >= 25, "only {} cases", cases.len());
    for path in cases {
        let text = std::fs::read_to_string(&path).unwrap();
        let (config, problems) = parse(&text);
        let has_error = problems.iter().any(Diagnostic::is_error);
        assert_eq!(config.is_some(), !has_error, "{}", path.display());
        assert!(!problems.is_empty(), "{} has no problem", path.display());
        let rendered = diagnostic::render(&problems, &text, Path::new("agents.toml"), false);
        let beside = path.with_extension("txt");
        if bless {
            std::fs::write(&beside, &rendered).unwrap();
        }
        let expected = std::fs::read_to_string(&beside).unwrap_or_default();
        if rendered != expected {
            wrong.push(format!("--- {}\n{rendered}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "these differ from the text beside them:\n{}", wrong.join("\n"));
}

#[test]
fn the_documented_example_loads_without_a_word() {
    let text = std::fs::read_to_string(folder().join("good/example.toml")).unwrap();
    let (config, problems) = parse(&text);
    let shown = diagnostic::render(&problems, &text, Path::new("example.toml"), false);
    assert!(problems.is_empty(), "{shown}");
    let config = config.expect("no problems");
    let builder = config.agent("builder").unwrap();
    assert_eq!(builder.session.as_str(), "myproj-builder");
    assert_eq!(builder.model.as_deref(), Some("claude-opus-4-8"));
    let adversary = config.agent("adversary").unwrap();
    assert_eq!(adversary.model, None, "the default model is not for another backend");
    assert_eq!(config.agent("reporter").unwrap().model.as_deref(), Some("claude-sonnet-4-6"));
    assert_eq!(config.log_dir, Path::new("/project/.ao-state"));
    assert_eq!(config.sequence.unwrap().phases.len(), 2);
    assert_eq!(config.watchdog.signal_interval.as_secs(), 30);
}

#[test]
fn a_file_that_is_no_text_says_at_which_byte() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agents.toml");
    std::fs::write(&path, b"[defaults]\nlog_dir = \"\xff\"\n").unwrap();
    let error = load::load(Some(&path)).unwrap_err();
    assert!(matches!(&error, LoadError::NotText { offset: 22, line: 2, .. }), "{error}");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nothing.toml");
    let error = load::load(Some(&path)).unwrap_err();
    assert!(error.to_string().contains("nothing.toml"), "{error}");
    assert!(matches!(error, LoadError::Read { .. }));
}

#[test]
fn files_on_disk_are_looked_for_beside_the_config() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agents.toml");
    let text = "[defaults]\nsession_prefix = \"x-\"\nlog_dir = \"log\"\nbackend = \"demo\"\n\
                [[agent]]\nname = \"a\"\nprompt_file = \"first.md\"\n";
    std::fs::write(&path, text).unwrap();
    assert!(matches!(load::load(Some(&path)), Err(LoadError::Bad { .. })));
    std::fs::write(folder.path().join("first.md"), "go").unwrap();
    let config = load::load(Some(&path)).unwrap();
    assert_eq!(config.log_dir, folder.path().join("log"));
}
