//! `ao serve` against its own `OpenAPI` document, by schemathesis: no undocumented answer, no failure inside.
//!
//! Opt-in: `AO_SCHEMATHESIS=1` runs it for five minutes (`AO_SCHEMATHESIS_SECONDS` says otherwise), with the pinned version
//! of schemathesis installed once into the tests' cache folder. Endpoints that are documented as 501 are left out.

use std::path::PathBuf;
use std::time::Duration;

use ao::sys::clock;
use ao::sys::lock;
use ao::sys::process::Call;

use crate::api::{Serving, cache, install, key};
use crate::support::fleet::Fleet;

const VERSION: &str = "schemathesis==4.32.5";
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_schema_conformance,response_headers_conformance,unsupported_method,\
                      ignored_auth";

#[test]
#[expect(clippy::print_stderr, reason = "a skipped test must not look like one that ran")]
fn no_request_of_a_fuzzer_gets_an_undocumented_answer() {
    if std::env::var_os("AO_SCHEMATHESIS").is_none_or(|value| value != "1") {
        eprintln!("SKIPPED: schemathesis was not run: AO_SCHEMATHESIS=1 is not set");
        return;
    }
    let seconds = std::env::var("AO_SCHEMATHESIS_SECONDS").ok();
    let seconds: u64 = seconds.and_then(|text| text.parse().ok()).unwrap_or(300);
    let program = program().unwrap();
    let fleet = Fleet::new("");
    fleet.well(&["org", "trust", "local", "L3"]);
    let admin = key(&fleet, &["--scope", "admin"]);
    let serving = Serving::begin(&fleet);
    let document = std::fs::read_to_string(
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("schema/openapi.json"),
    );
    let document: serde_json::Value = serde_json::from_str(&document.unwrap()).unwrap();
    let paths = document["paths"].as_object().unwrap();
    let absent = paths.iter().filter(|(_, item)| {
        item.as_object().unwrap().values().any(|it| !it["responses"]["501"].is_null())
    });
    let mut arguments = vec!["run".to_owned(), format!("{}/openapi.json", serving.url)];
    arguments.extend(["-H".to_owned(), format!("X-API-Key: {admin}")]);
    arguments.extend(["--checks".to_owned(), CHECKS.to_owned()]);
    arguments.extend(["--max-time".to_owned(), seconds.to_string()]);
    arguments.extend(["--continue-on-failure".to_owned(), "--warnings=off".to_owned()]);
    for (path, _) in absent {
        arguments.extend(["--exclude-path".to_owned(), path.clone()]);
    }
    let output = Call::new(&program)
        .args(&arguments)
        .env_clean()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("HOME", fleet.path("home"))
        .dir(fleet.path(""))
        .timeout(Duration::from_secs(seconds + 300))
        .run()
        .unwrap();
    let said = format!("{}\n{}", output.stdout_text(), output.stderr_text());
    assert!(output.success(), "{said}");
    eprintln!("{said}");
    assert_eq!(serving.end(), Some(0));
    fleet.well(&["audit", "verify"]);
}

fn program() -> Result<PathBuf, String> {
    let root = cache().ok_or("neither AO_TESTS_CACHE nor XDG_CACHE_HOME nor HOME is set")?;
    let folder = root.join(VERSION.replace("==", "-"));
    std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let deadline = clock::now().mono.plus(Duration::from_secs(600));
    let _one_installer = lock::lock_until(&folder.join("lock"), deadline)
        .map_err(|error| format!("another installation does not end: {error}"))?;
    let program = folder.join("venv/bin/st");
    if !folder.join("complete").exists() {
        let text = |path: PathBuf| path.display().to_string();
        install("python3", &["-m", "venv", "--clear", &text(folder.join("venv"))])?;
        let pip = text(folder.join("venv/bin/pip"));
        install(&pip, &["install", "--quiet", "--disable-pip-version-check", VERSION])?;
        std::fs::write(folder.join("complete"), "").map_err(|error| error.to_string())?;
    }
    Ok(program)
}
