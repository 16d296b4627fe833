//! A `PostgreSQL` for tests: one server a test process, on a private socket, `fsync` on.
//!
//! It runs as another user where the tests run as root, because it refuses to be root. A shell that
//! waits for the end of the test process takes it down and removes its folder, so nothing is left even
//! when the process is killed. Where `PostgreSQL` is not installed the tests say so and are skipped.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Takes the server down when its input ends. `$1`: the folder.
const GUARD: &str = r#"
cat >/dev/null
pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null)
if [ -n "$pid" ]; then
    kill -QUIT "$pid" 2>/dev/null
    i=0
    while kill -0 "$pid" 2>/dev/null && [ $i -lt 100 ]; do sleep 0.1; i=$((i + 1)); done
fi
rm -rf -- "$1"
"#;

/// A running server.
pub(crate) struct Postgres {
    pub(crate) folder: PathBuf,
    programs: PathBuf,
    guard: Child,
    /// Of TCP on this machine, where it takes that.
    port: Option<u16>,
}

/// The server that most tests share; `None`, with a line that says so, where there is none installed.
pub(crate) fn shared() -> Option<&'static Postgres> {
    static SHARED: OnceLock<Option<Postgres>> = OnceLock::new();
    SHARED.get_or_init(Postgres::start).as_ref()
}

/// A fresh database of the shared server, as an address; `None` where there is no server.
pub(crate) fn database() -> Option<String> {
    shared().map(Postgres::database)
}

/// The newest that is installed as Debian lays it out, else what `PATH` has.
fn programs() -> Option<PathBuf> {
    debians().or_else(|| which::which("initdb").ok()?.parent().map(Path::to_owned))
}

fn debians() -> Option<PathBuf> {
    let entries = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let number = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    let mut found: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    found.sort_by_key(|path| number(path));
    let bin = found.pop()?.join("bin");
    bin.join("initdb").exists().then_some(bin)
}

#[expect(clippy::disallowed_methods, reason = "a test starts programs as it likes")]
fn command(program: &Path) -> Command {
    let root = rustix::process::geteuid().is_root();
    let mut command = Command::new(if root { Path::new("setpriv") } else { program });
    if root {
        command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"]).arg(program);
    }
    command.env_remove("PGDATA").env("LC_ALL", "C.UTF-8").current_dir("/");
    command
}

#[track_caller]
fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

impl Postgres {
    /// A server of its own.
    pub(crate) fn start() -> Option<Self> {
        let server = Self::made(None)?;
        server.begin();
        Some(server)
    }

    /// One that takes TCP on this machine too, but only encrypted and with the password `s3c`; its port.
    pub(crate) fn encrypted(certificate: &str, key: &str) -> Option<(Self, u16)> {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        let server = Self::made(Some(port))?;
        let hba = "local all all trust\nhostssl all all samehost scram-sha-256\n";
        for (name, text) in [("server.crt", certificate), ("server.key", key), ("pg_hba.conf", hba)]
        {
            run(command(Path::new("/bin/sh"))
                .args(["-c", "umask 077; printf %s \"$2\" >\"$1\"", "sh"])
                .arg(server.folder.join("data").join(name))
                .arg(text));
        }
        drop(free);
        server.begin();
        server.sql("postgres", "ALTER USER ao PASSWORD 's3c'");
        Some((server, port))
    }

    #[expect(clippy::print_stderr, reason = "a skipped test must not look like one that ran")]
    fn made(port: Option<u16>) -> Option<Self> {
        let Some(programs) = programs() else {
            eprintln!("SKIPPED on PostgreSQL: it is not installed (with apt-get: postgresql)");
            return None;
        };
        // Short, for a socket's path, and in a folder that another user may walk through.
        let folder = tempfile::Builder::new().prefix("ao-pg").tempdir_in("/tmp").unwrap().keep();
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o777)).unwrap();
        let data = folder.join("data");
        run(command(&programs.join("initdb"))
            .args(["-A", "trust", "-U", "ao", "-E", "UTF8", "--locale=C", "--no-sync", "-D"])
            .arg(&data));
        let guard = guard(&folder);
        Some(Self { folder, programs, guard, port })
    }

    /// Starts it, also after it was killed; it takes connections when this returns.
    pub(crate) fn begin(&self) {
        let folder = self.folder.display();
        let tcp = self.port.map_or("-c listen_addresses=".to_owned(), |port| {
            format!("-c listen_addresses=localhost -c port={port} -c ssl=on")
        });
        let options = format!(
            "-k {folder} {tcp} -c fsync=on -c max_connections=90 \
             -c shared_buffers=32MB -c wal_level=minimal -c max_wal_senders=0"
        );
        // Into a file: a server that inherits a pipe would keep its reader waiting.
        run(command(&self.programs.join("pg_ctl"))
            .args(["-w", "-t", "60", "-o", &options, "-D"])
            .arg(self.folder.join("data"))
            .arg("-l")
            .arg(self.folder.join("log"))
            .arg("start"));
    }

    /// A fresh database, as an address.
    pub(crate) fn database(&self) -> String {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let name = format!("t{}", MADE.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name}"));
        let port = self.port.map(|port| format!("&port={port}")).unwrap_or_default();
        format!("postgres://ao@/{name}?host={}{port}", self.folder.display())
    }

    /// Runs a text as somebody would who has the database and not `ao`; what it answers.
    pub(crate) fn sql(&self, database: &str, text: &str) -> String {
        run(command(&self.programs.join("psql"))
            .args([
                "-X",
                "-q",
                "-A",
                "-t",
                "-v",
                "ON_ERROR_STOP=1",
                "-U",
                "ao",
                "-d",
                database,
                "-h",
            ])
            .arg(&self.folder)
            .args(self.port.iter().flat_map(|port| ["-p".to_owned(), port.to_string()]))
            .args(["-c", text]))
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        drop(self.guard.wait());
    }
}

#[expect(clippy::disallowed_methods, reason = "a test starts programs as it likes")]
fn guard(folder: &Path) -> Child {
    let mut shell = Command::new("sh");
    shell.args(["-c", GUARD, "sh"]).arg(folder).current_dir("/");
    shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    shell.spawn().unwrap()
}
