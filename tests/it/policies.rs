//! `ao policy` as people run it, on the policies that ship.

use std::path::Path;
use std::process::{Command, Output};

use expect_test::expect;

const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/policies");

/// In an empty folder, so that no config is found.
fn ao(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ao"));
    command.current_dir(folder).env_remove("AO_CONFIG").env("TZ", "UTC");
    command.arg("policy").args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn explain_shows_each_part_of_a_deploy_policy() {
    let folder = tempfile::tempdir().unwrap();
    let explain = |coverage: &str| {
        let coverage = format!("context.test_coverage={coverage}");
        let output = ao(
            folder.path(),
            &[
                "--policies",
                SHIPPED,
                "explain",
                "deploy.run",
                "--resource",
                "staging",
                "--at",
                "2026-11-20T10:00:00+01:00",
                "--verified",
                &coverage,
                "--verified",
                "context.cost_delta=4.5",
            ],
        );
        assert!(output.status.success(), "{output:?}");
        let said = text(&output.stdout);
        let start = said.find("staging-in-business-hours").unwrap();
        said[start..].to_owned()
    };
    expect![[r"
        staging-in-business-hours [permit]
          scope ✓
          schedule ✓
          context.test_coverage > 80: 85 ✓
          context.cost_delta < 5: $4.5 ✓
          → permit: context.test_coverage > 80: 85 ✓; context.cost_delta < 5: $4.5 ✓
        policies say: permit, where trust leaves it to a policy
    "]]
    .assert_eq(&explain("85"));
    assert!(explain("79").contains("context.test_coverage > 80: 79 ✗"));
}

#[test]
fn check_and_test_pass_on_what_ships_and_refuse_what_is_broken() {
    let folder = tempfile::tempdir().unwrap();
    for verb in ["check", "test"] {
        let output = ao(folder.path(), &["--policies", SHIPPED, verb]);
        assert!(output.status.success(), "{output:?}");
    }
    std::fs::write(folder.path().join("a.yaml"), "policies: [{ name: a, effect: dney }]").unwrap();
    let output = ao(folder.path(), &["--policies", ".", "check"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("a.yaml:1:31"), "{}", text(&output.stderr));
}

#[test]
fn replay_shows_the_answers_that_change() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    };
    write(
        "old/p.yaml",
        "policies: [{ name: a, scope: { actions: [file.write] }, effect: notify }]",
    );
    write("new/p.yaml", "policies: [{ name: a, scope: { actions: ['file.*'] }, effect: deny }]");
    let act = |action: &str| {
        format!(
            r#"{{"at":"2026-11-20T10:00:00Z","trust":"L2","ask":{{"org":"local","agent":"w","action_type":"{action}","resource":"r","context":{{}},"cost":0,"depth":0}}}}"#
        )
    };
    write("acts", &[act("file.write"), act("file.read"), act("x.y")].join("\n"));
    let output =
        ao(folder.path(), &["--policies", "old", "replay", "--from", "acts", "--against", "new"]);
    expect![[r"
        2026-11-20 10:00:00 w file.write `r`: notify → deny
            a: applies
        2026-11-20 10:00:00 w file.read `r`: nothing → deny
            a: applies
        2 of 3 answers change
    "]]
    .assert_eq(&text(&output.stdout));
}
