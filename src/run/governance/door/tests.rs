//! The door with recorded payloads, a real store and policies from files.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::*;
use crate::config;
use crate::run::governance::bounds::begin;
use crate::run::governance::decide::Answer as Person;
use crate::run::store::Store;

struct Nobody;

impl Waiting for Nobody {
    fn begins(&mut self, _what: &str) {}
    fn ends(&mut self) {}
}

struct Place {
    root: tempfile::TempDir,
    /// For `[governance]` and the agent.
    extra: (String, String),
}

impl Place {
    fn new(agent: &str) -> Self {
        Self::with("", agent)
    }

    fn with(governance: &str, agent: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        for folder in ["policies", "logs/.ao-state/state", "work"] {
            std::fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        let place = Self { root, extra: (governance.to_owned(), agent.to_owned()) };
        place.begin();
        place
    }

    fn path(&self, below: &str) -> PathBuf {
        self.root.path().canonicalize().unwrap().join(below)
    }

    fn policy(&self, text: &str) {
        std::fs::write(self.path("policies/p.yaml"), text).unwrap();
    }

    fn begin(&self) -> Governed {
        let (governance, agent) = &self.extra;
        let operator = self.path("operator");
        let text = format!(
            "[defaults]\nsession_prefix = \"t-\"\nlog_dir = \"logs\"\n[governance]\noperator = {operator:?}\n\
             hook_wait = \"0s\"\n{governance}\n[[agent]]\nname = \"writer\"\nkind = \"persistent\"\n\
             backend = \"claude\"\nprompt = \"x\"\ngoverned = true\n{agent}\n"
        );
        let file = self.path("agents.toml");
        std::fs::write(&file, &text).unwrap();
        let (config, problems) = config::parse(&text, &file, &|_| true, &|_| None);
        let config = config.unwrap_or_else(|| panic!("{problems:?}"));
        let store = Store::new(&config);
        store.prepare().unwrap();
        let path = begin(&config, &store, &config.agents[0], "start-1", clock::now()).unwrap();
        Governed::read(&path).unwrap()
    }

    fn governed(&self) -> Governed {
        let found = walk(&self.path("logs"))
            .into_iter()
            .find(|path| path.file_name().unwrap().to_str().unwrap().starts_with("governed-"));
        Governed::read(&found.unwrap()).unwrap()
    }

    fn governance(&self) -> Governance {
        let governed = self.governed();
        Governance::open_at(&governed.database, &governed.operator, clock::now()).unwrap()
    }

    fn decide_at(&self, payload: &Value, now: Now) -> Result<Option<Answer>, DoorError> {
        let bytes = serde_json::to_vec(payload).unwrap();
        decide(Cli::Claude, &self.governed(), &bytes, &mut Nobody, now)
    }

    /// `None`: it may be done; else why not.
    #[track_caller]
    fn ask(&self, payload: &Value) -> Option<String> {
        reason(&self.decide_at(payload, clock::now()).unwrap().unwrap())
    }
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

fn reason(answer: &Answer) -> Option<String> {
    if answer.exit == 2 {
        return Some(answer.stderr.clone());
    }
    if answer.stdout.is_empty() {
        return None;
    }
    let said: Value = serde_json::from_str(&answer.stdout).unwrap();
    let said = &said["hookSpecificOutput"];
    assert_eq!(said["permissionDecision"], "deny");
    Some(said["permissionDecisionReason"].as_str().unwrap().to_owned())
}

/// A recorded payload with another input, as a call of its own.
fn call(name: &str, input: Value) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/hooks/claude");
    let text = std::fs::read(path.join(format!("{name}.json"))).unwrap();
    let mut payload: Value = serde_json::from_slice(&text).unwrap();
    payload["tool_use_id"] = uuid::Uuid::new_v4().to_string().into();
    if !input.is_null() {
        payload["tool_input"] = input;
    }
    payload
}

fn bash(command: &str) -> Value {
    call("PreToolUse.Bash", json!({ "command": command, "description": "runs it" }))
}

#[test]
fn an_observer_reads_and_does_not_write() {
    let place = Place::new("trust = \"L0\"");
    assert_eq!(place.ask(&call("PreToolUse.Read", Value::Null)), None);
    let why = place.ask(&call("PreToolUse.Write", Value::Null)).unwrap();
    assert!(why.starts_with("ao: denied: trust L0"), "{why}");
    assert!(place.ask(&bash("touch x")).is_some());
    assert_eq!(place.ask(&bash("ls -la")), None);
    let stop = json!({ "hook_event_name": "Stop" });
    assert_eq!(place.decide_at(&stop, clock::now()).unwrap(), None);
}

#[test]
fn a_held_command_runs_once_when_a_person_said_yes_and_a_changed_one_never_does() {
    let place = Place::new("trust = \"L1\"");
    let why = place.ask(&bash("touch made")).unwrap();
    assert!(why.contains("`ao approve 1`"), "{why}");
    // The same act asks for nothing new.
    assert!(place.ask(&bash("touch made")).unwrap().contains("`ao approve 1`"));
    place.governance().answer(1, &Person::Approve, "operator:me", clock::now()).unwrap();
    assert!(place.ask(&bash("touch made other")).unwrap().contains("`ao approve 2`"));
    assert_eq!(place.ask(&bash("touch made")), None);
    assert!(place.ask(&bash("touch made")).unwrap().contains("`ao approve 3`"));
}

#[test]
fn leave_to_write_a_file_is_bound_to_what_is_written() {
    let place = Place::new("trust = \"L1\"");
    let write = |content: &str| {
        let path = place.path("work/a").to_str().unwrap().to_owned();
        call("PreToolUse.Write", json!({ "file_path": path, "content": content }))
    };
    place.ask(&write("one")).unwrap();
    place.governance().answer(1, &Person::Approve, "operator:me", clock::now()).unwrap();
    assert!(place.ask(&write("two")).unwrap().contains("`ao approve 2`"));
    assert_eq!(place.ask(&write("one")), None);
}

#[test]
fn a_refusal_is_told_with_its_reason() {
    let place = Place::new("trust = \"L1\"");
    place.ask(&bash("touch made")).unwrap();
    let answer = Person::Deny { why: "not today".to_owned() };
    place.governance().answer(1, &answer, "operator:me", clock::now()).unwrap();
    assert!(place.ask(&bash("touch made")).unwrap().contains("not today"));
}

#[test]
fn a_rule_lets_a_trusted_agent_act_only_within_its_hours() {
    let place = Place::new("trust = \"L2\"");
    place.policy(
        "policies:\n- name: hours\n  effect: permit\n  scope: { actions: [file.write] }\n  \
         when:\n    schedule: { zone: Europe/Berlin, windows: [{ days: [mon-fri], from: \"09:00\", to: \
         \"17:00\" }] }\n",
    );
    let path = place.path("work/a").to_str().unwrap().to_owned();
    let write = || call("PreToolUse.Write", json!({ "file_path": path, "content": "x" }));
    let at = |text: &str| Now { wall: text.parse().unwrap(), mono: clock::now().mono };
    let inside = place.decide_at(&write(), at("2031-06-04T10:00:00Z")).unwrap().unwrap();
    assert_eq!(reason(&inside), None);
    let outside = place.decide_at(&write(), at("2031-06-04T20:00:00Z")).unwrap().unwrap();
    assert!(reason(&outside).is_some());
}

#[test]
fn a_rate_holds_over_processes_and_is_not_used_by_what_is_denied() {
    let place = Place::new("trust = \"L3\"");
    place.policy(
        "policies:\n- name: few\n  scope: { actions: [file.read] }\n  constraints:\n    rate: { count: 2, per: 1h }\n",
    );
    let read = || call("PreToolUse.Read", Value::Null);
    assert_eq!((place.ask(&read()), place.ask(&read())), (None, None));
    let why = place.ask(&read()).unwrap();
    assert!(why.contains("`few`"), "{why}");
}

#[test]
fn an_act_under_way_counts_until_its_end_is_told() {
    let place = Place::new("trust = \"L3\"");
    place.policy(
        "policies:\n- name: alone\n  scope: { actions: [file.read] }\n  constraints:\n    concurrency: { count: 1 }\n",
    );
    let first = call("PreToolUse.Read", Value::Null);
    assert_eq!(place.ask(&first), None);
    assert!(place.ask(&call("PreToolUse.Read", Value::Null)).is_some());
    let mut end = call("PostToolUse.Read", Value::Null);
    end["tool_use_id"] = first["tool_use_id"].clone();
    assert_eq!(place.decide_at(&end, clock::now()).unwrap(), None);
    assert_eq!(place.ask(&call("PreToolUse.Read", Value::Null)), None);
}

#[test]
fn policies_that_never_loaded_deny_all_but_reading() {
    let place = Place::new("trust = \"L4\"");
    place.policy("policies: [{ name: a, efect: deny }]");
    assert_eq!(place.ask(&call("PreToolUse.Read", Value::Null)), None);
    assert!(place.ask(&bash("touch x")).is_some());
}

#[test]
fn what_bounds_the_agent_is_out_of_its_reach() {
    let place = Place::new("trust = \"L2\"");
    for (name, path) in [
        ("PreToolUse.Write", place.path("agents.toml")),
        ("PreToolUse.Write", place.path("policies/x.yaml")),
        ("PreToolUse.Write", place.path("operator/operator.key")),
        ("PreToolUse.Read", place.path("operator/operator.key")),
        ("PreToolUse.Write", place.governed().database.into()),
    ] {
        let input = json!({ "file_path": path, "content": "x" });
        assert!(place.ask(&call(name, input)).unwrap().contains("denied"), "{path:?}");
    }
}

#[test]
fn what_is_not_declared_is_denied_at_every_level() {
    let place = Place::new("trust = \"L4\"\ncapabilities = [\"file.*\"]");
    assert_eq!(place.ask(&call("PreToolUse.Read", Value::Null)), None);
    let why = place.ask(&call("PreToolUse.Agent", Value::Null)).unwrap();
    assert!(why.contains("capabilities"), "{why}");
}

#[test]
fn an_edit_of_the_config_lifts_nobody_and_a_lower_level_lowers() {
    let mut place = Place::new("trust = \"L0\"");
    let write = || call("PreToolUse.Write", Value::Null);
    assert!(place.ask(&write()).unwrap().contains("L0"));
    place.extra.1 = "trust = \"L3\"".to_owned();
    place.begin();
    assert!(place.ask(&write()).unwrap().contains("L0"));
    let place = Place::new("trust = \"L3\"");
    let mut place = place;
    let path = place.path("work/a").to_str().unwrap().to_owned();
    let inside = || call("PreToolUse.Write", json!({ "file_path": path, "content": "x" }));
    assert_eq!(place.ask(&inside()), None);
    place.extra.1 = "trust = \"L0\"".to_owned();
    place.begin();
    assert!(place.ask(&inside()).is_some());
}

#[test]
fn a_killed_agent_does_nothing_more() {
    let place = Place::new("trust = \"L4\"");
    place.governance().kill(&["writer".to_owned()], "operator:me", "drill", clock::now()).unwrap();
    assert!(place.ask(&call("PreToolUse.Read", Value::Null)).unwrap().contains("kill switch"));
}

#[test]
fn every_decision_is_on_record_with_the_start() {
    let place = Place::new("trust = \"L0\"");
    place.ask(&call("PreToolUse.Read", Value::Null));
    place.ask(&call("PreToolUse.Write", Value::Null));
    let mut governance = place.governance();
    let query = crate::sys::db::rows::AuditQuery::default();
    let records = super::super::audit::records(governance.store(), "local", &query).unwrap();
    let kinds: Vec<String> = records.iter().map(|record| record.kind.clone()).collect();
    assert_eq!(kinds, ["trust.changed", "started", "decided", "decided"]);
}
