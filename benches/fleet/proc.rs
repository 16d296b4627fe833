//! What the kernel tells of a process, and figures out of samples.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

/// The fields of `/proc/PID/stat` behind the name, the state first; `None` when the pid is gone.
pub(crate) fn stat(pid: u32) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(text.rsplit_once(')')?.1.split_whitespace().map(str::to_owned).collect())
}

pub(crate) fn is_alive(pid: u32) -> bool {
    stat(pid).is_some_and(|fields| fields[0] != "Z" && fields[0] != "X")
}

pub(crate) fn tasks(pid: u32) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    entries.flatten().map(|entry| entry.path()).collect()
}

pub(crate) fn first_number(path: &Path) -> f64 {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0.0)
}

/// CPU time of all threads so far.
pub(crate) fn cpu_ms(pid: u32) -> f64 {
    tasks(pid).iter().map(|task| first_number(&task.join("schedstat"))).sum::<f64>() / 1e6
}

/// Of a process and of its children that ended, by the clock ticks of `stat` (10 ms).
pub(crate) fn family_cpu_ms(pid: u32) -> f64 {
    let fields = stat(pid).unwrap();
    let ticks: f64 = fields[11..15].iter().map(|field| field.parse::<f64>().unwrap()).sum();
    ticks * 10.0
}

/// Page faults of children that ended and were waited for: no child, no fault.
pub(crate) fn child_faults(pid: u32) -> f64 {
    stat(pid).unwrap()[8].parse().unwrap()
}

pub(crate) fn children(pid: u32) -> BTreeSet<u32> {
    let lists = tasks(pid);
    let lists = lists.iter().filter_map(|task| std::fs::read_to_string(task.join("children")).ok());
    lists.flat_map(|text| numbers(&text)).collect()
}

pub(crate) fn numbers(text: &str) -> Vec<u32> {
    text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

pub(crate) fn field(path: &Path, key: &str) -> f64 {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0.0)
}

pub(crate) fn memory_mb(pid: u32, key: &str) -> f64 {
    field(Path::new(&format!("/proc/{pid}/status")), key) / 1024.0
}

/// Times any thread went to sleep so far.
pub(crate) fn wakeups(pid: u32) -> f64 {
    let tasks = tasks(pid);
    tasks.iter().map(|task| field(&task.join("status"), "voluntary_ctxt_switches:")).sum()
}

/// Without those that stand for a process: one for each agent that lives just then.
pub(crate) fn open_files(pid: u32) -> usize {
    let Ok(files) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return 0 };
    let targets = files.flatten().map(|file| std::fs::read_link(file.path()).unwrap_or_default());
    targets.filter(|target| target.as_os_str() != "anon_inode:[pidfd]").count()
}

pub(crate) fn threads(pid: u32) -> usize {
    tasks(pid).len()
}

pub(crate) fn median(samples: &[f64]) -> f64 {
    quantile(samples, 0.5)
}

/// The smallest sample that so many of all do not exceed.
pub(crate) fn quantile(samples: &[f64], share: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let below = sorted.iter().enumerate();
    let found = below.map(|(index, sample)| ((index + 1) as f64, *sample));
    let rank = share * sorted.len() as f64;
    found.into_iter().find(|(count, _)| *count >= rank).map_or(0.0, |(_, sample)| sample)
}

#[track_caller]
pub(crate) fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "not within {} s: {what}", PATIENCE.as_secs());
        std::thread::sleep(Duration::from_millis(5));
    }
}
