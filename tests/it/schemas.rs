//! The committed schemas are what `ao schema` prints, and the compiled table of classes is that of its text.
//! `AO_BLESS=1` writes them anew.

use std::path::Path;
use std::process::Command;

#[track_caller]
fn check(of: &str) {
    let output = Command::new(env!("CARGO_BIN_EXE_ao")).args(["schema", of]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let fresh = String::from_utf8(output.stdout).unwrap();
    let file = if of == "openapi" { "openapi.json" } else { &format!("{of}.schema.json") };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema").join(file);
    if std::env::var_os("AO_BLESS").is_some() {
        std::fs::write(&path, &fresh).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == fresh, "schema/{file} is stale: run the tests with AO_BLESS=1");
}

#[test]
fn the_committed_schemas_are_those_of_the_types() {
    check("status");
    check("event");
    check("usage");
    check("transcript");
    check("audit");
    check("session");
    check("openapi");
}

#[test]
fn the_committed_table_of_classes_is_that_of_its_text() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/govern/classes.postcard");
    let fresh = ao::govern::classes::Table::compiled();
    if std::env::var_os("AO_BLESS").is_some() {
        std::fs::write(&path, &fresh).unwrap();
    }
    let committed = std::fs::read(&path).unwrap_or_default();
    assert!(committed == fresh, "classes.postcard is stale: run the tests with AO_BLESS=1");
}
