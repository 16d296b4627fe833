//! Processes: the one place that starts them, tells them apart and ends them.
//!
//! Leaves out what runs inside tmux panes: tmux starts those. Surprises: a zombie still has its
//! `/proc` entry, so "exists" never means "alive" here; and a pid alone names nobody, so everything
//! that signals compares the start time too.

mod call;
mod pipes;
mod stop;
mod table;

pub use call::{Call, Output, ProcessError};
pub use stop::{Ending, StopReport, kill_tree, kill_trees, stop_tree, stop_trees};
pub use table::{Process, Snapshot, identity, marked_ancestor, name, snapshot, started_epoch_s};

/// Raises this process's soft limit of open files to its hard limit; children inherit it.
///
/// Returns the limit now in force (`None`: unlimited).
pub fn raise_open_files() -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    }
}

/// Raises the soft limit of open files of another process of ours (the tmux server's).
///
/// Returns the limit now in force, or `None` where it cannot be read or has no bound.
#[cfg(target_os = "linux")]
pub fn raise_open_files_of(pid: u32) -> Option<u64> {
    use rustix::process::{Resource, Rlimit, prlimit};
    let file = std::fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let line = file.lines().find(|line| line.starts_with("Max open files"))?;
    let mut words = line.split_whitespace().skip(3);
    let (soft, hard) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let raised = Rlimit { current: Some(hard), maximum: Some(hard) };
    let done = pid_of(pid).map(|target| prlimit(Some(target), Resource::Nofile, raised).is_ok());
    Some(if done == Some(true) { hard } else { soft })
}

/// Raises the soft limit of open files of another process; cannot be done on this system.
#[cfg(not(target_os = "linux"))]
pub fn raise_open_files_of(_pid: u32) -> Option<u64> {
    None
}

/// The pid as the kernel's type; 0 and numbers out of range name no process.
pub(crate) fn pid_of(pid: u32) -> Option<rustix::process::Pid> {
    i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw)
}

/// Names this boot of the machine: monotonic times of another one mean nothing.
#[cfg(target_os = "linux")]
pub fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|text| text.trim().to_owned())
        .unwrap_or_default()
}

/// Names this boot of the machine, by the second it began.
#[cfg(not(target_os = "linux"))]
pub fn boot_id() -> String {
    let call = Call::new("/usr/sbin/sysctl").args(["-n", "kern.boottime"]);
    call.run().map(|output| output.stdout_text().trim().to_owned()).unwrap_or_default()
}
