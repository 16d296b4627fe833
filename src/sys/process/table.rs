//! The process table: who runs, since when, who began whom.
//!
//! Linux reads `/proc`; elsewhere `ps` is asked. Zombies are left out: they are dead already.

use std::collections::{BTreeMap, BTreeSet};

/// One live process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    pub pid: u32,
    pub ppid: u32,
    /// Clock ticks since boot (Linux) or epoch seconds (elsewhere): only ever compared for equality.
    pub start_time: u64,
    /// As the kernel has it, at most 15 bytes on Linux.
    pub name: String,
    /// User and system time used so far, in clock ticks.
    pub cpu_ticks: u64,
}

/// All live processes of one moment, by pid.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    pub processes: BTreeMap<u32, Process>,
}

impl Snapshot {
    pub fn get(&self, pid: u32) -> Option<&Process> {
        self.processes.get(&pid)
    }

    /// All that descend from `root`, without itself, parents before children.
    pub fn descendants(&self, root: u32) -> Vec<u32> {
        let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for process in self.processes.values() {
            children.entry(process.ppid).or_default().push(process.pid);
        }
        let mut seen = BTreeSet::from([root]);
        let mut found = Vec::new();
        let mut next = 0;
        let mut parent = root;
        loop {
            for &child in children.get(&parent).into_iter().flatten() {
                if seen.insert(child) {
                    found.push(child);
                }
            }
            let Some(&following) = found.get(next) else {
                return found;
            };
            parent = following;
            next += 1;
        }
    }

    /// Names of all programs of a tree, the root's first.
    pub fn tree_names(&self, root: u32) -> Vec<String> {
        let tree = std::iter::once(root).chain(self.descendants(root));
        tree.filter_map(|pid| self.get(pid)).map(|process| process.name.clone()).collect()
    }

    /// Milliseconds of CPU that the live processes of a tree have used.
    pub fn tree_cpu_ms(&self, root: u32) -> u64 {
        let tree = std::iter::once(root).chain(self.descendants(root));
        let ticks: u64 =
            tree.filter_map(|pid| self.get(pid)).map(|process| process.cpu_ticks).sum();
        ticks.saturating_mul(1_000) / ticks_per_s()
    }

    /// All that carry `AO_START=<start_id>` in the environment they were started with.
    pub fn carriers(&self, start_id: &str) -> Vec<u32> {
        self.processes
            .keys()
            .copied()
            .filter(|&pid| start_mark(pid).as_deref() == Some(start_id))
            .collect()
    }
}

#[cfg(target_os = "linux")]
fn ticks_per_s() -> u64 {
    rustix::param::clock_ticks_per_second().max(1)
}

/// `ps` was read down to hundredths of a second.
#[cfg(not(target_os = "linux"))]
fn ticks_per_s() -> u64 {
    60
}

/// The nearest `AO_START` in the environment of `pid` or of one of its ancestors.
///
/// An agent cannot wash it off by starting a program with another environment. A tmux server and what
/// is above it are not asked: everything in every pane descends from it.
pub fn marked_ancestor(pid: u32) -> Option<String> {
    let mut next = pid;
    // A process table has no deeper trees than this; a torn reading must not loop.
    for _ in 0..1_000 {
        let process = one(next)?;
        if process.name.starts_with("tmux") {
            return None;
        }
        if let Some(mark) = start_mark(next) {
            return Some(mark);
        }
        next = process.ppid;
    }
    None
}

/// The start time of a live process: with the pid it names the process for good.
///
/// `None`: there is no such process, or it is a zombie.
pub fn identity(pid: u32) -> Option<u64> {
    one(pid).map(|process| process.start_time)
}

/// The name of a live process.
pub fn name(pid: u32) -> Option<String> {
    one(pid).map(|process| process.name)
}

#[cfg(target_os = "linux")]
pub(super) use linux::{one, start_mark};
#[cfg(target_os = "linux")]
pub use linux::{snapshot, started_epoch_s};
#[cfg(not(target_os = "linux"))]
pub(super) use other::{one, start_mark};
#[cfg(not(target_os = "linux"))]
pub use other::{snapshot, started_epoch_s};

#[cfg(target_os = "linux")]
mod linux {
    use super::{Process, Snapshot};

    /// Every live process we may see.
    pub fn snapshot() -> Snapshot {
        let Ok(entries) = std::fs::read_dir("/proc") else {
            return Snapshot::default();
        };
        let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        Snapshot {
            processes: pids.filter_map(|pid: u32| one(pid).map(|process| (pid, process))).collect(),
        }
    }

    pub(in crate::sys::process) fn one(pid: u32) -> Option<Process> {
        parse(pid, &std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// A line of `/proc/PID/stat`. The name may hold blanks and brackets: it ends at the last `)`.
    fn parse(pid: u32, stat: &str) -> Option<Process> {
        let (head, tail) = stat.rsplit_once(')')?;
        let (_, name) = head.split_once('(')?;
        let fields: Vec<&str> = tail.split_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
        if matches!(*fields.first()?, "Z" | "X" | "x") {
            return None;
        }
        Some(Process {
            pid,
            ppid: u32::try_from(number(1)?).ok()?,
            start_time: number(19)?,
            name: name.to_owned(),
            cpu_ticks: number(11)? + number(12)?,
        })
    }

    /// The `AO_START` a process was started with.
    pub(in crate::sys::process) fn start_mark(pid: u32) -> Option<String> {
        let environ = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
        let mut entries = environ.split(|&byte| byte == 0);
        let mark = entries.find_map(|entry| entry.strip_prefix(b"AO_START="))?;
        String::from_utf8(mark.to_vec()).ok()
    }

    /// When a live process began, in epoch seconds; moves by a second or two when the clock is set.
    pub fn started_epoch_s(pid: u32) -> Option<i64> {
        let process = one(pid)?;
        let stat = std::fs::read_to_string("/proc/stat").ok()?;
        let boot: i64 = stat.lines().find_map(|line| line.strip_prefix("btime "))?.parse().ok()?;
        let ticks_per_s = rustix::param::clock_ticks_per_second().max(1);
        Some(boot + i64::try_from(process.start_time / ticks_per_s).ok()?)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_name_with_brackets_and_blanks_does_not_shift_the_fields() {
            let line = "7 (a) b (c) S 3 7 7 0 -1 4194560 1 0 0 0 11 22 0 0 20 0 1 0 9911 0 0";
            let process = parse(7, line).unwrap();
            assert_eq!(
                (process.name.as_str(), process.ppid, process.cpu_ticks, process.start_time),
                ("a) b (c", 3, 33, 9911)
            );
        }

        #[test]
        fn a_zombie_counts_as_gone() {
            assert_eq!(parse(7, "7 (a) Z 3 7 7 0 -1 4 1 0 0 0 1 2 0 0 20 0 1 0 9911 0 0"), None);
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod other {
    use std::time::Duration;

    use super::super::Call;
    use super::{Process, Snapshot};

    /// Every live process we may see.
    pub fn snapshot() -> Snapshot {
        Snapshot {
            processes: ps(&["-axo"]).into_iter().map(|process| (process.pid, process)).collect(),
        }
    }

    pub(in crate::sys::process) fn one(pid: u32) -> Option<Process> {
        ps(&["-p", &pid.to_string(), "-o"]).into_iter().next()
    }

    fn ps(which: &[&str]) -> Vec<Process> {
        let call = Call::new("/bin/ps")
            .args(which)
            .arg("pid=,ppid=,stat=,time=,lstart=,ucomm=")
            .env("LC_ALL", "C")
            .timeout(Duration::from_secs(5));
        let Ok(output) = call.run() else {
            return Vec::new();
        };
        output.stdout_text().lines().filter_map(parse).collect()
    }

    fn parse(line: &str) -> Option<Process> {
        let mut words = line.split_whitespace();
        let (pid, ppid) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        if words.next()?.starts_with('Z') {
            return None;
        }
        let cpu_ticks = words
            .next()?
            .split([':', '.'])
            .try_fold(0u64, |sum, part| part.parse::<u64>().ok().map(|part| sum * 60 + part))?;
        let started: Vec<&str> = words.by_ref().take(5).collect();
        let moment =
            chrono::NaiveDateTime::parse_from_str(&started.join(" "), "%a %b %d %H:%M:%S %Y")
                .ok()?;
        let local = moment.and_local_timezone(chrono::Local).earliest()?;
        Some(Process {
            pid,
            ppid,
            start_time: u64::try_from(local.timestamp()).ok()?,
            name: words.collect::<Vec<_>>().join(" "),
            cpu_ticks,
        })
    }

    pub(in crate::sys::process) fn start_mark(pid: u32) -> Option<String> {
        let call = Call::new("/bin/ps").args(["-Ewwo", "command=", "-p", &pid.to_string()]);
        let text = call.run().ok()?.stdout_text();
        text.split_whitespace().find_map(|word| word.strip_prefix("AO_START=")).map(str::to_owned)
    }

    /// When a live process began, in epoch seconds.
    pub fn started_epoch_s(pid: u32) -> Option<i64> {
        i64::try_from(one(pid)?.start_time).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32, parent: u32) -> (u32, Process) {
        (pid, Process { pid, ppid: parent, start_time: 1, name: "x".into(), cpu_ticks: 0 })
    }

    #[test]
    fn descendants_are_found_at_any_depth_and_a_loop_ends() {
        let snapshot = Snapshot {
            processes: [process(1, 1), process(2, 1), process(3, 2), process(4, 3), process(5, 1)]
                .into(),
        };
        assert_eq!(snapshot.descendants(2), [3, 4]);
        assert_eq!(snapshot.descendants(1), [2, 5, 3, 4]);
        assert!(snapshot.descendants(9).is_empty());
    }

    #[test]
    fn we_find_ourselves() {
        let me = std::process::id();
        let snapshot = snapshot();
        assert_eq!(snapshot.get(me).map(|process| process.start_time), identity(me));
        assert!(started_epoch_s(me).is_some());
    }
}
