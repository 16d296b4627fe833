//! Ending a whole tree of processes, and proving that it ended.
//!
//! A tree is what descends from the roots at any look plus whatever carries the start's own mark in
//! its environment, because tools leave their tree by forking twice. tmux servers and `ao` itself
//! are never touched, even when an agent began them. No process group is signalled: shells give
//! each job its own.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rustix::process::Signal;

use super::table::{self, Snapshot};
use crate::sys::clock;

/// How long a killed process may take to vanish: only one stuck in the kernel needs longer.
const VANISH: Duration = Duration::from_secs(5);

/// What became of a tree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StopReport {
    /// Asked to end (SIGTERM).
    pub asked: Vec<u32>,
    /// Ended by force (SIGKILL).
    pub killed: Vec<u32>,
    /// Still there in spite of SIGKILL.
    pub survivors: Vec<u32>,
}

/// What is to be ended together: the roots of a tree and the marks its members carry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ending {
    pub roots: Vec<u32>,
    /// Values of `AO_START`.
    pub start_ids: Vec<String>,
}

/// Asks the whole tree to end, waits up to `grace`, kills the rest and proves each gone.
pub fn stop_tree(roots: &[u32], start_id: Option<&str>, grace: Duration) -> StopReport {
    let ending = Ending {
        roots: roots.to_vec(),
        start_ids: start_id.map(str::to_owned).into_iter().collect(),
    };
    stop_trees(&[ending], Duration::ZERO, grace).pop().unwrap_or_default()
}

/// The same for many trees at once, one report each: the process table is read for all together.
///
/// `leave` is what they get to end by themselves before they are asked.
pub fn stop_trees(endings: &[Ending], leave: Duration, grace: Duration) -> Vec<StopReport> {
    let mut tree = Tree::new(endings);
    tree.wait(leave);
    let asked = tree.signal_until(Signal::TERM, grace);
    let killed = tree.signal_until(Signal::KILL, VANISH);
    tree.reports(endings.len(), asked, killed)
}

/// Kills the whole tree at once and proves each gone.
pub fn kill_tree(roots: &[u32], start_id: Option<&str>) -> StopReport {
    let ending = Ending {
        roots: roots.to_vec(),
        start_ids: start_id.map(str::to_owned).into_iter().collect(),
    };
    kill_trees(&[ending]).pop().unwrap_or_default()
}

/// Kills many trees at once and proves each gone, one report each.
pub fn kill_trees(endings: &[Ending]) -> Vec<StopReport> {
    let mut tree = Tree::new(endings);
    let killed = tree.signal_until(Signal::KILL, VANISH);
    tree.reports(endings.len(), Vec::new(), killed)
}

/// Which of the endings a process belongs to.
type Owner = usize;

struct Tree {
    marks: BTreeMap<String, Owner>,
    /// pid → start time and owner. A member stays one when its parent dies and it is inherited by init.
    members: BTreeMap<u32, (u64, Owner)>,
    /// Looked at for a mark already, by pid and start time.
    examined: BTreeSet<(u32, u64)>,
}

impl Tree {
    fn new(endings: &[Ending]) -> Self {
        let snapshot = table::snapshot();
        let mut tree =
            Self { marks: BTreeMap::new(), members: BTreeMap::new(), examined: BTreeSet::new() };
        for (owner, ending) in endings.iter().enumerate() {
            for start_id in &ending.start_ids {
                tree.marks.insert(start_id.clone(), owner);
            }
            for &root in &ending.roots {
                tree.admit(&snapshot, root, owner);
            }
        }
        tree.grow(&snapshot);
        tree
    }

    fn admit(&mut self, snapshot: &Snapshot, pid: u32, owner: Owner) {
        if let Some(process) = snapshot.get(pid)
            && pid > 1
            && pid != std::process::id()
            && !process.name.starts_with("tmux")
        {
            self.members.entry(pid).or_insert((process.start_time, owner));
        }
    }

    fn grow(&mut self, snapshot: &Snapshot) {
        self.members.retain(|pid, (start, _)| {
            snapshot.get(*pid).is_some_and(|process| process.start_time == *start)
        });
        if !self.marks.is_empty() {
            for process in snapshot.processes.values() {
                let new = self.examined.insert((process.pid, process.start_time));
                if new
                    && let Some(mark) = table::start_mark(process.pid)
                    && let Some(&owner) = self.marks.get(&mark)
                {
                    self.admit(snapshot, process.pid, owner);
                }
            }
        }
        let roots: Vec<(u32, Owner)> =
            self.members.iter().map(|(&pid, &(_, owner))| (pid, owner)).collect();
        for (root, owner) in roots {
            for pid in snapshot.descendants(root) {
                self.admit(snapshot, pid, owner);
            }
        }
    }

    /// Lets them go by themselves.
    fn wait(&mut self, limit: Duration) {
        let end = clock::now().mono.plus(limit);
        while !self.members.is_empty() && clock::now().mono < end {
            std::thread::sleep(Duration::from_millis(20));
            self.grow(&table::snapshot());
        }
    }

    fn reports(
        &self,
        count: usize,
        asked: Vec<(u32, Owner)>,
        killed: Vec<(u32, Owner)>,
    ) -> Vec<StopReport> {
        let mut reports = vec![StopReport::default(); count];
        for (pid, owner) in asked {
            reports[owner].asked.push(pid);
        }
        for (pid, owner) in killed {
            reports[owner].killed.push(pid);
        }
        for (&pid, &(start, owner)) in &self.members {
            if table::identity(pid) == Some(start) {
                reports[owner].survivors.push(pid);
            }
        }
        reports
    }

    /// Signals every member once, newcomers too, until none is left or the time is over.
    fn signal_until(&mut self, signal: Signal, limit: Duration) -> Vec<(u32, Owner)> {
        let end = clock::now().mono.plus(limit);
        let mut signalled = Vec::new();
        let mut done: BTreeSet<(u32, u64)> = BTreeSet::new();
        let mut pause_ms = 2;
        while !self.members.is_empty() {
            for (&pid, &(start, owner)) in &self.members {
                if done.insert((pid, start)) {
                    send(pid, start, signal);
                    signalled.push((pid, owner));
                }
            }
            if clock::now().mono >= end {
                break;
            }
            std::thread::sleep(Duration::from_millis(pause_ms));
            pause_ms = (pause_ms * 2).min(50);
            self.grow(&table::snapshot());
        }
        signalled
    }
}

/// Signals the process of exactly this start time. A stopped process is woken, or it could not obey.
fn send(pid: u32, start: u64, signal: Signal) {
    let Some(target) = super::pid_of(pid) else {
        return;
    };
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{PidfdFlags, pidfd_open, pidfd_send_signal};
        // The descriptor pins the process, so that checking and signalling cannot be split by a reuse.
        if let Ok(pidfd) = pidfd_open(target, PidfdFlags::empty()) {
            if table::identity(pid) == Some(start) {
                let _ = pidfd_send_signal(&pidfd, signal);
                let _ = pidfd_send_signal(&pidfd, Signal::CONT);
            }
            return;
        }
    }
    if table::identity(pid) == Some(start) {
        let _ = rustix::process::kill_process(target, signal);
        let _ = rustix::process::kill_process(target, Signal::CONT);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Call;
    use super::*;

    /// Starts a script and waits until it says that it is ready; its pid.
    fn start(script: &str, mark: Option<&str>) -> u32 {
        let dir = tempfile::tempdir().unwrap();
        let ready = dir.path().join("ready");
        let mut call = Call::new("/bin/sh").args([
            "-c",
            &format!("{script}\n: > '{}'; while :; do sleep 1; done", ready.display()),
        ]);
        if let Some(mark) = mark {
            call = call.env("AO_START", mark);
        }
        let pid = call.detach().unwrap();
        let end = clock::now().mono.plus(Duration::from_secs(10));
        while !ready.exists() {
            assert!(clock::now().mono < end, "the script did not begin");
            std::thread::yield_now();
        }
        pid
    }

    #[test]
    fn a_tree_that_obeys_is_asked_and_gone() {
        let pid = start("sleep 100 & sleep 100 &", None);
        let report = stop_tree(&[pid], None, Duration::from_secs(5));
        assert!(report.asked.len() >= 3, "{report:?}");
        assert!(report.killed.is_empty() && report.survivors.is_empty(), "{report:?}");
        assert_eq!(identity_of_all(&report.asked), Vec::<u32>::new());
    }

    fn identity_of_all(pids: &[u32]) -> Vec<u32> {
        pids.iter().copied().filter(|&pid| table::identity(pid).is_some()).collect()
    }

    #[test]
    fn a_process_that_ignores_the_request_is_killed_after_the_grace() {
        let pid = start("trap '' TERM", None);
        let report = stop_tree(&[pid], None, Duration::from_millis(200));
        assert!(report.killed.contains(&pid), "{report:?}");
        assert_eq!(report.survivors, Vec::<u32>::new());
    }

    #[test]
    fn a_process_that_left_the_tree_is_found_by_its_mark() {
        let mark = "4a1e-left-the-tree";
        let pid = start("(setsid sleep 97 &) ", Some(mark));
        let carriers = table::snapshot().carriers(mark);
        assert!(carriers.len() >= 2, "{carriers:?}");
        let report = kill_tree(&[pid], Some(mark));
        assert_eq!(report.survivors, Vec::<u32>::new());
        assert_eq!(table::snapshot().carriers(mark), Vec::<u32>::new());
    }

    #[test]
    fn a_root_that_does_not_exist_is_nothing_to_stop() {
        assert_eq!(stop_tree(&[u32::MAX], None, Duration::from_secs(5)), StopReport::default());
    }
}
