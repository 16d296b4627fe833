//! Deaths of processes that are not our children, told within milliseconds.
//!
//! One thread polls a pidfd per watched process. Where there are none (other systems, old kernels)
//! it looks at the process table four times a second. A death is only told: what it means, tmux is
//! asked afterwards. Not `kill -0`, nor the entry in `/proc`: a zombie looks alive to both.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::process;

/// How often processes without a pidfd are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// A watched process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Death {
    pub pid: u32,
}

#[derive(Debug)]
enum Order {
    Watch(u32),
    Forget(u32),
}

/// Watches processes; dropped, its thread ends.
#[derive(Debug)]
pub struct DeathWatch {
    orders: Sender<Order>,
    /// A byte here ends the thread's wait; closed, it ends the thread.
    waker: OwnedFd,
}

impl DeathWatch {
    /// Deaths are passed to `tell`, from a thread of its own; it returns false to end the watch.
    pub fn start(tell: impl FnMut(Death) -> bool + Send + 'static) -> std::io::Result<Self> {
        use rustix::pipe::{PipeFlags, pipe_with};
        let (sleeper, waker) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let (orders, inbox) = mpsc::channel();
        std::thread::Builder::new()
            .name("deaths".to_owned())
            .spawn(move || Watcher { inbox, sleeper, watched: BTreeMap::new(), tell }.run())?;
        Ok(Self { orders, waker })
    }

    /// Deaths arrive on a channel.
    pub fn channel() -> std::io::Result<(Self, Receiver<Death>)> {
        let (sender, receiver) = mpsc::channel();
        Ok((Self::start(move |death| sender.send(death).is_ok())?, receiver))
    }

    /// Watches one more; one that is dead already is told at once. Watching twice is watching once.
    pub fn watch(&self, pid: u32) {
        self.order(Order::Watch(pid));
    }

    pub fn forget(&self, pid: u32) {
        self.order(Order::Forget(pid));
    }

    fn order(&self, order: Order) {
        // The thread ends before us only when nobody listens any more.
        drop(self.orders.send(order));
        // A full pipe wakes the thread as well as one more byte would.
        let _ = rustix::io::write(&self.waker, &[1]);
    }
}

#[derive(Debug)]
enum Handle {
    Pidfd(OwnedFd),
    /// Looked at by pid and start time.
    Table(u64),
}

struct Watcher<F> {
    inbox: Receiver<Order>,
    sleeper: OwnedFd,
    watched: BTreeMap<u32, Handle>,
    tell: F,
}

impl<F: FnMut(Death) -> bool> Watcher<F> {
    fn run(mut self) {
        loop {
            let Some(mut dead) = self.take_orders() else {
                return;
            };
            if dead.is_empty() {
                match self.wait() {
                    Wait::Over => return,
                    Wait::Dead(pids) => dead = pids,
                }
            }
            for pid in dead {
                self.watched.remove(&pid);
                if !(self.tell)(Death { pid }) {
                    return;
                }
            }
        }
    }

    /// Those that were dead when asked about; `None` when nobody can ask any more.
    fn take_orders(&mut self) -> Option<Vec<u32>> {
        let mut dead = Vec::new();
        loop {
            match self.inbox.try_recv() {
                Ok(Order::Watch(pid)) => {
                    if self.watched.contains_key(&pid) {
                        continue;
                    }
                    match open(pid) {
                        Some(handle) => drop(self.watched.insert(pid, handle)),
                        None => dead.push(pid),
                    }
                }
                Ok(Order::Forget(pid)) => drop(self.watched.remove(&pid)),
                Err(mpsc::TryRecvError::Empty) => return Some(dead),
                Err(mpsc::TryRecvError::Disconnected) => return None,
            }
        }
    }

    fn wait(&mut self) -> Wait {
        let mut polled = vec![PollFd::new(&self.sleeper, PollFlags::IN)];
        let mut pids = Vec::new();
        let mut look = false;
        for (&pid, handle) in &self.watched {
            match handle {
                Handle::Pidfd(pidfd) => {
                    polled.push(PollFd::new(pidfd, PollFlags::IN));
                    pids.push(pid);
                }
                Handle::Table(_) => look = true,
            }
        }
        let limit = look.then(|| Timespec::try_from(LOOK_EVERY).expect("a quarter second fits"));
        match poll(&mut polled, limit.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return Wait::Over,
        }
        let ended = |(fd, pid): (&PollFd<'_>, &u32)| (!fd.revents().is_empty()).then_some(*pid);
        let mut dead: Vec<u32> = polled[1..].iter().zip(&pids).filter_map(ended).collect();
        dead.extend(self.watched.iter().filter_map(|(&pid, handle)| match handle {
            Handle::Pidfd(_) => None,
            Handle::Table(start) => (process::identity(pid) != Some(*start)).then_some(pid),
        }));
        let woken = polled[0].revents();
        drop(polled);
        if woken.contains(PollFlags::IN) {
            let mut bytes = [0; 256];
            let _ = rustix::io::read(&self.sleeper, &mut bytes);
        } else if !woken.is_empty() {
            return Wait::Over;
        }
        Wait::Dead(dead)
    }
}

enum Wait {
    Dead(Vec<u32>),
    Over,
}

/// A hold on the live process; `None` when it is dead.
fn open(pid: u32) -> Option<Handle> {
    let start = process::identity(pid)?;
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{PidfdFlags, pidfd_open};
        match pidfd_open(process::pid_of(pid)?, PidfdFlags::empty()) {
            Ok(pidfd) => return Some(Handle::Pidfd(pidfd)),
            Err(Errno::SRCH) => return None,
            Err(_) => {}
        }
    }
    Some(Handle::Table(start))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::process::Call;

    #[test]
    fn a_death_is_told_and_only_of_the_one_that_died() {
        let sleeper = || Call::new("/bin/sleep").arg("100").detach().unwrap();
        let (one, other) = (sleeper(), sleeper());
        let (watch, deaths) = DeathWatch::channel().unwrap();
        watch.watch(one);
        watch.watch(other);
        process::kill_tree(&[one], None);
        assert_eq!(deaths.recv_timeout(Duration::from_secs(5)), Ok(Death { pid: one }));
        watch.forget(other);
        process::kill_tree(&[other], None);
        watch.watch(one);
        assert_eq!(
            deaths.recv_timeout(Duration::from_secs(5)),
            Ok(Death { pid: one }),
            "one that is dead already is told at once, a forgotten one never"
        );
    }

    #[test]
    fn a_dropped_watch_ends_its_thread() {
        let (watch, deaths) = DeathWatch::channel().unwrap();
        watch.watch(std::process::id());
        drop(watch);
        assert_eq!(
            deaths.recv_timeout(Duration::from_secs(5)),
            Err(mpsc::RecvTimeoutError::Disconnected)
        );
    }
}
