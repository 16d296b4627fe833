//! The `./ao` launcher, as a project meets it that pins this repository as `engine/`.
//!
//! Building a release binary takes minutes, so none is built here: either the binary under test
//! stands where the release binary would, or a stand-in for `cargo` writes down that it was asked.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A throw-away project with this repository's launcher and manifest in `engine/`.
struct Project {
    folder: tempfile::TempDir,
}

impl Project {
    fn new() -> Self {
        let project = Self { folder: tempfile::tempdir().unwrap() };
        let engine = project.engine();
        fs::create_dir_all(engine.join("src")).unwrap();
        fs::create_dir_all(project.elsewhere()).unwrap();
        for file in ["ao", "Cargo.toml", "Cargo.lock", "src/main.rs"] {
            fs::copy(Path::new(ROOT).join(file), engine.join(file)).unwrap();
        }
        project.write_tool("cargo", "echo \"$@\" >>\"$CALLS\"\n");
        project
    }

    fn engine(&self) -> PathBuf {
        self.folder.path().join("engine")
    }

    /// Another folder, with a blank in its name.
    fn elsewhere(&self) -> PathBuf {
        self.folder.path().join("some where")
    }

    fn release(&self) -> PathBuf {
        self.engine().join("target/release/ao")
    }

    /// The binary under test, newer than every source.
    fn with_built_binary(self) -> Self {
        fs::create_dir_all(self.release().parent().unwrap()).unwrap();
        fs::copy(env!("CARGO_BIN_EXE_ao"), self.release()).unwrap();
        set_age(&self.release(), 0);
        self.age_sources(100);
        self
    }

    fn age_sources(&self, seconds: u64) {
        for file in ["Cargo.toml", "Cargo.lock", "src/main.rs", "src"] {
            set_age(&self.engine().join(file), seconds);
        }
    }

    fn write_tool(&self, name: &str, script: &str) {
        let tools = self.folder.path().join("tools");
        fs::create_dir_all(&tools).unwrap();
        let tool = tools.join(name);
        fs::write(&tool, format!("#!/bin/sh\n{script}")).unwrap();
        fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn run(&self, program: &Path, args: &[&str]) -> Output {
        let tools = self.folder.path().join("tools");
        let path = std::env::var("PATH").unwrap();
        Command::new(program)
            .args(args)
            .current_dir(self.elsewhere())
            .env("PATH", format!("{}:{path}", tools.display()))
            .env("CALLS", self.folder.path().join("calls"))
            .output()
            .unwrap()
    }

    /// What the stand-in for `cargo` was asked, one line a call.
    fn cargo_calls(&self) -> String {
        fs::read_to_string(self.folder.path().join("calls")).unwrap_or_default()
    }
}

/// So many seconds older than the binary under test, and therefore in the past.
fn set_age(path: &Path, seconds: u64) {
    let built = fs::metadata(env!("CARGO_BIN_EXE_ao")).unwrap().modified().unwrap();
    let then = built - std::time::Duration::from_secs(seconds);
    fs::File::open(path).unwrap().set_modified(then).unwrap();
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn version() -> String {
    text(&Command::new(env!("CARGO_BIN_EXE_ao")).arg("--version").output().unwrap().stdout)
}

#[test]
fn an_up_to_date_binary_is_run_from_another_folder_without_building() {
    let project = Project::new().with_built_binary();
    let output = project.run(&project.engine().join("ao"), &["--version"]);
    assert_eq!(text(&output.stdout), version());
    assert_eq!(text(&output.stderr), "");
    assert_eq!(project.cargo_calls(), "");
}

#[test]
fn a_chain_of_symlinks_leads_to_the_same_binary() {
    let project = Project::new().with_built_binary();
    symlink("../engine/ao", project.elsewhere().join("first link")).unwrap();
    let second = project.folder.path().join("second");
    symlink(project.elsewhere().join("first link"), &second).unwrap();
    let output = project.run(&second, &["--version"]);
    assert_eq!(text(&output.stdout), version(), "{}", text(&output.stderr));
}

#[test]
fn the_binary_learns_the_launchers_folder_and_gets_its_arguments_whole() {
    let project = Project::new().with_built_binary();
    let script = "#!/bin/sh\necho \"$AO_LAUNCHER_ROOT\"\nprintf '<%s>' \"$@\"\n";
    fs::write(project.release(), script).unwrap();
    set_age(&project.release(), 0);
    let output = project.run(&project.engine().join("ao"), &["send", "a b", "", "*"]);
    let root = project.engine().canonicalize().unwrap();
    assert_eq!(text(&output.stdout), format!("{}\n<send><a b><><*>", root.display()));
}

#[test]
fn a_missing_binary_is_built_and_said_so_in_one_line() {
    let project = Project::new();
    let make = "mkdir -p \"$ENGINE/target/release\"; printf '#!/bin/sh\\necho built\\n' \
                >\"$ENGINE/target/release/ao\"; chmod +x \"$ENGINE/target/release/ao\"\n";
    let make = make.replace("$ENGINE", &project.engine().display().to_string());
    project.write_tool("cargo", &format!("echo \"$@\" >>\"$CALLS\"\n{make}"));
    let output = project.run(&project.engine().join("ao"), &["--version"]);
    assert_eq!(text(&output.stdout), "built\n");
    assert_eq!(text(&output.stderr).lines().count(), 1, "{}", text(&output.stderr));
    let calls = project.cargo_calls();
    assert!(calls.starts_with("build --release --locked"), "{calls}");
}

#[test]
fn a_source_newer_than_the_binary_is_named_and_built_once() {
    let project = Project::new().with_built_binary();
    set_age(&project.release(), 50);
    set_age(&project.engine().join("src/main.rs"), 10);
    let output = project.run(&project.engine().join("ao"), &["--version"]);
    assert!(text(&output.stderr).contains("older than src/main.rs"), "{}", text(&output.stderr));
    let again = project.run(&project.engine().join("ao"), &["--version"]);
    assert_eq!(text(&again.stderr), "");
    assert_eq!(project.cargo_calls().lines().count(), 1);
}

#[test]
fn a_failed_build_runs_no_old_binary() {
    let project = Project::new().with_built_binary();
    set_age(&project.release(), 200);
    project.write_tool("cargo", "exit 101\n");
    let output = project.run(&project.engine().join("ao"), &["--version"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout), "");
    assert!(text(&output.stderr).contains("the build failed"), "{}", text(&output.stderr));
}

#[test]
fn a_project_that_pins_this_repository_finds_the_launcher_executable() {
    let mode = fs::metadata(Path::new(ROOT).join("ao")).unwrap().permissions().mode();
    assert_eq!(mode & 0o111, 0o111, "./ao has to be executable in git");
}
