//! The committed schema and table of fields say what the code reads. `AO_BLESS=1` writes them anew.

use std::path::Path;

use ao::config::reference;

#[track_caller]
fn check(file: &str, fresh: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os("AO_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, fresh).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == fresh,
        "{file} is stale: run `AO_BLESS=1 cargo test --test it config_reference`"
    );
}

#[test]
fn the_committed_schema_is_that_of_the_types() {
    check("schema/config.schema.json", &format!("{:#}\n", reference::schema()));
}

#[test]
fn the_committed_table_of_fields_is_that_of_the_types() {
    check("docs/config.md", &reference::table());
}
