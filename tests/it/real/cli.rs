//! Where the CLIs come from: npm, at the versions of `tests/real`, once, into a cache folder.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use ao::sys::clock;
use ao::sys::lock;
use ao::sys::process::Call;

/// About a gigabyte is fetched; a slow line may take its time.
const INSTALL_WITHIN: Duration = Duration::from_secs(600);

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
static FOLDER: OnceLock<Result<PathBuf, String>> = OnceLock::new();

/// A CLI that may be run, alone.
pub(super) struct Cli {
    pub(super) program: PathBuf,
    _alone: MutexGuard<'static, ()>,
}

/// The program of that name; `None`, with a line that says why, where it cannot be had.
#[expect(clippy::print_stderr, reason = "a skipped test must not look like one that ran")]
pub(super) fn get(name: &str) -> Option<Cli> {
    let alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    match FOLDER.get_or_init(folder) {
        Ok(folder) => Some(Cli { program: program(folder, name), _alone: alone }),
        Err(why) => {
            eprintln!("SKIPPED: the real `{name}` was not run: {why}");
            None
        }
    }
}

/// The native program inside the platform's package: what the launchers of npm start in the end.
fn program(folder: &Path, name: &str) -> PathBuf {
    let cpu = if cfg!(target_arch = "aarch64") { "arm64" } else { "x64" };
    let os = if cfg!(target_os = "macos") { "darwin" } else { "linux" };
    let path = match name {
        "claude" => format!("@anthropic-ai/claude-code-{os}-{cpu}/claude"),
        "codex" => {
            let machine = std::env::consts::ARCH;
            let triple = if os == "darwin" { "apple-darwin" } else { "unknown-linux-musl" };
            format!("@openai/codex-{os}-{cpu}/vendor/{machine}-{triple}/bin/codex")
        }
        // A script for node, made executable by npm.
        "gemini" => ".bin/gemini".to_owned(),
        _ => format!("{name}-{os}-{cpu}/bin/{name}"),
    };
    let program = folder.join("node_modules").join(path);
    assert!(program.is_file(), "npm has no `{name}` for this platform: `{}`", program.display());
    program
}

fn folder() -> Result<PathBuf, String> {
    if std::env::var_os("AO_REAL").is_some_and(|value| value == "skip") {
        return Err("AO_REAL=skip is set".to_owned());
    }
    for tool in ["node", "npm"] {
        which::which(tool).map_err(|_| format!("{tool} is not installed"))?;
    }
    let lists = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real");
    let lock_text = std::fs::read(lists.join("package-lock.json")).unwrap();
    let root = cache().ok_or("neither AO_TESTS_CACHE nor XDG_CACHE_HOME nor HOME is set")?;
    let folder = root.join(format!("clis-{:016x}", fnv(&lock_text)));
    std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let deadline = clock::now().mono.plus(INSTALL_WITHIN);
    let _one_installer = lock::lock_until(&folder.join("lock"), deadline)
        .map_err(|error| format!("another installation does not end: {error}"))?;
    if folder.join("complete").exists() {
        return Ok(folder);
    }
    for name in ["package.json", "package-lock.json"] {
        std::fs::copy(lists.join(name), folder.join(name)).map_err(|error| error.to_string())?;
    }
    install(&folder)?;
    std::fs::write(folder.join("complete"), "").map_err(|error| error.to_string())?;
    Ok(folder)
}

/// No script of a package runs: the programs are complete without.
fn install(folder: &Path) -> Result<(), String> {
    let output = Call::new("npm")
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"])
        .dir(folder)
        .timeout(INSTALL_WITHIN)
        .run()
        .map_err(|error| format!("npm ci: {error}"))?;
    if output.success() {
        return Ok(());
    }
    let said = output.stderr_text();
    let tail = said.lines().rev().take(20).collect::<Vec<_>>();
    let said = tail.into_iter().rev().collect::<Vec<_>>().join("\n");
    assert!(std::env::var_os("CI").is_none(), "npm ci failed in CI:\n{said}");
    Err(format!("npm ci failed:\n{said}"))
}

fn cache() -> Option<PathBuf> {
    let at =
        |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    at("AO_TESTS_CACHE")
        .or_else(|| at("XDG_CACHE_HOME").map(|cache| cache.join("ao-tests")))
        .or_else(|| at("HOME").map(|home| home.join(".cache/ao-tests")))
}

/// Names the folder after what is in it: other versions get another.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
