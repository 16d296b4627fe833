//! `ao serve` with the real, published Python client, at four of its versions.
//!
//! It is there where python3 with `venv` is: the pinned versions are installed once into the tests' cache folder.
//! Without it the test says that it was skipped; `AO_REAL=skip` skips it too.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use ao::sys::clock;
use ao::sys::lock;
use ao::sys::process::Call;

use crate::support::fleet::{Fleet, kill};
use crate::support::postgres;

const VERSIONS: [&str; 4] = ["2.7.1", "2.5.2", "2.3.0", "2.1.1"];
/// Of what the client needs; it names lower bounds only.
const NEEDS: [&str; 2] = ["requests==2.32.5", "python-dotenv==1.1.1"];
const INSTALL_WITHIN: Duration = Duration::from_secs(300);
const RUN_WITHIN: Duration = Duration::from_secs(120);

/// A server of the fleet's project; it ends when this is dropped.
pub(crate) struct Serving {
    pub(crate) child: Child,
    pub(crate) url: String,
}

impl Serving {
    pub(crate) fn begin(fleet: &Fleet) -> Self {
        // Into a file: nobody reads a pipe, and a full one would stop the server.
        let log =
            std::fs::OpenOptions::new().create(true).append(true).open(fleet.path("serve.log"));
        let mut command = fleet.command(&["serve", "--json", "--listen", "127.0.0.1:0"]);
        command.stdout(Stdio::piped()).stderr(log.unwrap());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: serde_json::Value = serde_json::from_str(&line).unwrap();
        Self { child, url: said["url"].as_str().unwrap().to_owned() }
    }

    /// As a person does with Ctrl-C; its exit code.
    pub(crate) fn end(mut self) -> Option<i32> {
        let pid = i32::try_from(self.child.id()).unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            kill(self.child.id());
            drop(self.child.wait());
        }
    }
}

pub(crate) fn key(fleet: &Fleet, arguments: &[&str]) -> String {
    let said = fleet.well(&[&["key", "create"], arguments].concat());
    said.out.trim().to_owned()
}

#[test]
fn the_published_client_works_unmodified() {
    the_client_works("", &VERSIONS);
}

#[test]
fn the_published_client_works_unmodified_with_a_database_server() {
    let Some(database) = postgres::database() else { return };
    the_client_works(&format!("store = \"{database}\"\n"), &VERSIONS[..1]);
}

#[expect(clippy::print_stderr, reason = "a skipped test must not look like one that ran")]
fn the_client_works(store: &str, versions: &[&str]) {
    let folder = match folder() {
        Ok(folder) => folder,
        Err(why) => {
            eprintln!("SKIPPED: the published Python client was not run: {why}");
            return;
        }
    };
    let fleet = Fleet::new(&format!("[governance]\napproval_timeout = 4\n{store}"));
    fleet.well(&["org", "trust", "local", "L3"]);
    fleet.well(&["org", "create", "acme", "--trust", "L3"]);
    let (own, admin) = (key(&fleet, &[]), key(&fleet, &["--scope", "admin"]));
    let foreign = key(&fleet, &["--org", "acme"]);
    let pair = key(&fleet, &["--signed"]);
    let (signed, secret) = pair.split_once('\n').unwrap();
    let serving = Serving::begin(&fleet);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/api/client.py");
    for &version in versions {
        let output = Call::new(folder.join("venv/bin/python"))
            .arg(&script)
            .args([serving.url.as_str(), &own, &foreign, &admin, signed, secret])
            .args([env!("CARGO_BIN_EXE_ao")])
            .env_clean()
            .env("PYTHONPATH", folder.join(version))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", fleet.path("home"))
            .env("TMUX_TMPDIR", fleet.path(""))
            .dir(fleet.path(""))
            .timeout(RUN_WITHIN)
            .run()
            .unwrap();
        let (said, wrong) = (output.stdout_text(), output.stderr_text());
        assert!(output.success(), "{version}:\n{said}\n{wrong}");
        let held = said.lines().filter(|line| !line.starts_with('[')).count();
        let expected = match version {
            "2.1.1" => 14,
            "2.3.0" => 20,
            _ => 22,
        };
        assert_eq!(held, expected, "{version}:\n{said}");
    }
    assert_eq!(serving.end(), Some(0));
    let shown = fleet.well(&["session", "show", "sess-1"]);
    assert!(shown.out.contains("└─ ") && shown.out.contains("worker"), "{shown:?}");
    let listed = fleet.well(&["session", "list", "--json"]);
    let listed: serde_json::Value = serde_json::from_str(&listed.out).unwrap();
    // A root and a child of each version that has sessions.
    let with_sessions = versions.iter().filter(|version| **version != "2.1.1").count();
    assert_eq!(listed["sessions"][0]["action_count"], 2 * with_sessions);
    fleet.well(&["audit", "verify"]);
}

#[test]
fn only_this_machine_is_listened_on() {
    let fleet = Fleet::new("");
    let said = fleet.ao(&["serve", "--listen", "0.0.0.0:0"]);
    assert_eq!(said.code, 2);
    assert!(said.err.contains("proxy that speaks TLS"), "{said:?}");
}

fn folder() -> Result<PathBuf, String> {
    if std::env::var_os("AO_REAL").is_some_and(|value| value == "skip") {
        return Err("AO_REAL=skip is set".to_owned());
    }
    which::which("python3").map_err(|_| "python3 is not installed".to_owned())?;
    let root = cache().ok_or("neither AO_TESTS_CACHE nor XDG_CACHE_HOME nor HOME is set")?;
    let folder = root.join("ascend-1");
    std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let deadline = clock::now().mono.plus(INSTALL_WITHIN);
    let _one_installer = lock::lock_until(&folder.join("lock"), deadline)
        .map_err(|error| format!("another installation does not end: {error}"))?;
    if folder.join("complete").exists() {
        return Ok(folder);
    }
    let text = |path: PathBuf| path.display().to_string();
    let (venv, pip) = (text(folder.join("venv")), text(folder.join("venv/bin/pip")));
    install("python3", &["-m", "venv", "--clear", &venv])?;
    let pip_install = ["install", "--quiet", "--disable-pip-version-check", "--no-deps"];
    let base = ["urllib3==2.5.0", "idna==3.10", "certifi==2025.8.3", "charset-normalizer==3.4.3"];
    install(&pip, &[&pip_install[..], &NEEDS, &base].concat())?;
    for version in VERSIONS {
        let (target, name) = (text(folder.join(version)), format!("ascend-ai-sdk=={version}"));
        install(&pip, &[&pip_install[..], &["--target", &target, &name]].concat())?;
    }
    std::fs::write(folder.join("complete"), "").map_err(|error| error.to_string())?;
    Ok(folder)
}

pub(crate) fn install(program: &str, arguments: &[&str]) -> Result<(), String> {
    let call = Call::new(program).args(arguments).timeout(INSTALL_WITHIN);
    let output = call.run().map_err(|error| format!("{program}: {error}"))?;
    if output.success() {
        return Ok(());
    }
    let said = format!("{program} {arguments:?} failed:\n{}", output.stderr_text());
    assert!(std::env::var_os("CI").is_none(), "in CI: {said}");
    Err(said)
}

pub(crate) fn cache() -> Option<PathBuf> {
    let at =
        |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    at("AO_TESTS_CACHE")
        .or_else(|| at("XDG_CACHE_HOME").map(|cache| cache.join("ao-tests")))
        .or_else(|| at("HOME").map(|home| home.join(".cache/ao-tests")))
}
