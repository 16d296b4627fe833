//! What `ao serve` decides in a second: a loader of our own, over HTTP, against a server it starts.
//!
//! Each caller has one kept-alive connection on which it submits acts of its organisation's
//! agents, no two alike; one thread carries them all. Without `--rate` it sends the next as soon as the last is answered; with
//! it, acts fall due at even distances and a late one counts from when it was due, so that a server
//! that stalls is charged for all that waited. At the end the answers are counted against the audit
//! logs of a server started anew, and the project's own log is proven. The folder lies in `target/`,
//! on a real disk; `--store memory` puts it in `/dev/shm` and shows what the disk costs.
//!
//! Left out: TLS, and reading back. It knows the program from outside only, so that `AO_BENCH_AO`
//! can name another build of it. Surprise: on a busy machine figures measure the other work; the
//! load is printed beside them.

#![expect(clippy::disallowed_methods, reason = "a bench measures real time and starts programs")]
#![expect(clippy::print_stdout, reason = "the table is the bench's output")]
#![expect(clippy::unwrap_used, reason = "a bench that cannot go on stops")]
#![expect(clippy::cast_precision_loss, reason = "figures are shown with three digits")]

#[path = "serve/load.rs"]
mod load;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use load::{Load, Times};

const AO: &str = env!("CARGO_BIN_EXE_ao");
const USAGE: &str = "cargo bench --bench serve -- [--callers 64] [--seconds 10] [--rate PER_SECOND] [--orgs 4]\n  \
    [--store sqlite|memory|postgres://…] [--json]";
/// Connections are made, caches filled, the log of the database has its size.
const WARM_UP: Duration = Duration::from_secs(2);

struct Options {
    callers: usize,
    orgs: usize,
    seconds: u64,
    rate: Option<f64>,
    store: String,
    json: bool,
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --all-targets` runs this too, without `--bench`: nothing to test here.
    if !words.iter().any(|word| word == "--bench") {
        return;
    }
    let options = match options(&words) {
        Ok(options) => options,
        Err(problem) => {
            println!("{problem}\n{USAGE}");
            std::process::exit(2);
        }
    };
    let place = if options.store == "memory" { "/dev/shm" } else { "target" };
    let folder = tempfile::Builder::new().prefix("ao-bench-").tempdir_in(place).unwrap();
    let keys = prepare(folder.path(), &options);
    let serving = Serving::begin(folder.path());
    let end = WARM_UP + Duration::from_secs(options.seconds);
    let times = Times { from: WARM_UP, end, rate: options.rate };
    let of_callers = keys.iter().map(|keys| keys.agent.as_str()).cycle().take(options.callers);
    let result = load::run(serving.address, &of_callers.collect::<Vec<_>>(), &times);
    let cpu = serving.cpu();
    serving.end();
    let kept = kept(folder.path(), &keys, result.decided_in_all);
    report(&options, &result, &cpu, kept);
}

fn options(words: &[String]) -> Result<Options, String> {
    let mut options = Options {
        callers: 64,
        orgs: 4,
        seconds: 10,
        rate: None,
        store: "sqlite".to_owned(),
        json: false,
    };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("`{word}` needs a value"));
        let number = |text: &String| text.parse().map_err(|_| format!("`{text}` is no number"));
        match word.as_str() {
            "--bench" => {}
            "--json" => options.json = true,
            "--callers" => options.callers = number(value()?)?,
            "--orgs" => options.orgs = number(value()?)?.max(1),
            "--seconds" => options.seconds = number(value()?)? as u64,
            "--rate" => options.rate = Some(number(value()?)? as f64),
            "--store" => options.store.clone_from(value()?),
            other => return Err(format!("unknown option `{other}`")),
        }
    }
    Ok(options)
}

/// One organisation's keys: an agent's, and one that may read the log.
struct Keys {
    agent: String,
    auditor: String,
}

/// Makes a project with its organisations.
fn prepare(folder: &Path, options: &Options) -> Vec<Keys> {
    let operator = folder.canonicalize().unwrap().join("operator");
    let store = match options.store.as_str() {
        "sqlite" | "memory" => String::new(),
        server => format!("store = \"{server}\"\n"),
    };
    let text = format!(
        "[defaults]\nsession_prefix = \"bench-\"\nlog_dir = \"logs\"\nbackend = \"demo\"\n\
         [governance]\noperator = \"{}\"\n{store}",
        operator.display()
    );
    std::fs::write(folder.join("agents.toml"), text).unwrap();
    let organisation = |number: usize| {
        let org = if number == 0 { "local".to_owned() } else { format!("org-{number}") };
        let step = if number == 0 {
            ["org", "trust", &org, "L3"].to_vec()
        } else {
            ["org", "create", &org, "--trust", "L3"].to_vec()
        };
        ao(folder, &step);
        let key = |scope: &str| ao(folder, &["key", "create", "--org", &org, "--scope", scope]);
        Keys { agent: key("agent"), auditor: key("auditor") }
    };
    (0..options.orgs).map(organisation).collect()
}

fn program() -> String {
    std::env::var("AO_BENCH_AO").unwrap_or_else(|_| AO.to_owned())
}

/// What it says; it must end well.
fn ao(folder: &Path, words: &[&str]) -> String {
    let output = Command::new(program()).args(words).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A server of its own; killed and waited for when this is dropped.
struct Serving {
    child: Child,
    address: SocketAddr,
}

impl Serving {
    fn begin(folder: &Path) -> Self {
        let mut child = Command::new(program())
            .args(["--json", "serve", "--listen", "127.0.0.1:0"])
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: serde_json::Value = serde_json::from_str(&line).unwrap();
        let address = said["url"].as_str().unwrap().trim_start_matches("http://").parse().unwrap();
        Self { child, address }
    }

    /// Seconds of CPU by thread, the busiest first.
    fn cpu(&self) -> Vec<f64> {
        let tasks = format!("/proc/{}/task", self.child.id());
        let spent = std::fs::read_dir(tasks).unwrap().map(|task| {
            let text = std::fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap();
            let nanoseconds: u64 = text.split(' ').next().unwrap().parse().unwrap();
            nanoseconds as f64 / 1e9
        });
        let mut spent: Vec<f64> = spent.collect();
        spent.sort_by(|one, other| other.total_cmp(one));
        spent
    }

    fn end(mut self) {
        let pid = i32::try_from(self.child.id()).unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        assert!(self.child.wait().unwrap().success(), "the server did not end well");
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

/// Audit records of all organisations after a restart; every answered decision is one of them.
fn kept(folder: &Path, keys: &[Keys], decided: u64) -> u64 {
    let serving = Serving::begin(folder);
    let mut records = 0;
    for Keys { auditor, .. } in keys {
        let mut stream = TcpStream::connect(serving.address).unwrap();
        let request = format!(
            "GET /audit/logs?limit=1 HTTP/1.1\r\nhost: bench\r\nx-api-key: {auditor}\r\nconnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        let (_, body) = said.split_once("\r\n\r\n").unwrap();
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        records += body["total"].as_u64().unwrap();
    }
    serving.end();
    ao(folder, &["audit", "verify"]);
    assert!(records >= decided, "{decided} answered, {records} kept");
    records
}

fn report(options: &Options, load: &Load, cpu: &[f64], kept: u64) {
    let at = |permille: usize| {
        let last = load.latencies.len().checked_sub(1).expect("something was decided");
        load.latencies[last * permille / 1000].as_secs_f64() * 1e3
    };
    let per_second = load.latencies.len() as f64 / load.took.as_secs_f64();
    let busy: f64 = cpu.iter().sum();
    let each = busy * 1e6 / load.decided_in_all as f64;
    let own = load.cpu * 1e6 / load.decided_in_all as f64;
    let others = std::fs::read_to_string("/proc/loadavg").unwrap();
    let others = others.split(' ').next().unwrap_or_default();
    if options.json {
        let figures = serde_json::json!({
            "version": 1,
            "store": options.store,
            "callers": options.callers,
            "orgs": options.orgs,
            "offered_per_second": options.rate,
            "seconds": load.took.as_secs_f64(),
            "decisions_per_second": per_second,
            "p50_ms": at(500),
            "p99_ms": at(990),
            "max_ms": at(1000),
            "errors": load.errors,
            "server_cpu_us_per_decision": each,
            "loader_cpu_us_per_decision": own,
            "server_cpu_seconds_by_thread": cpu,
            "audit_records": kept,
            "load_average": others,
        });
        println!("{figures}");
        return;
    }
    let offered = options.rate.map_or("as many as go".to_owned(), |rate| format!("{rate}/s"));
    println!(
        "{} callers of {} organisations, {} offered, store {}, {} s, load average {others}",
        options.callers, options.orgs, offered, options.store, options.seconds
    );
    println!("  decisions/s  {per_second:10.0}");
    println!("  p50          {:10.2} ms", at(500));
    println!("  p99          {:10.2} ms", at(990));
    println!("  max          {:10.2} ms", at(1000));
    println!("  errors       {:?}", load.errors);
    let threads: Vec<String> = cpu.iter().take(3).map(|it| format!("{it:.1}")).collect();
    println!("  server CPU   {each:10.0} µs a decision; busiest threads {} s", threads.join(", "));
    println!("  loader CPU   {own:10.0} µs a decision");
    println!(
        "  kept         {kept:10} audit records of {} answered decisions",
        load.decided_in_all
    );
}
