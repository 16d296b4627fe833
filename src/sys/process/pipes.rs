//! Feeding a child and reading what it says until it ends, in one `poll` and no thread.
//!
//! Told of the child's end by a pidfd; where there is none, it is asked every few milliseconds.
//! Surprise: a grandchild that keeps the output open must not hold us up after the child itself
//! ended (a tmux client that starts a server is such a child), so reading ends with the child.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Child, ExitStatus};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::base::now::Mono;
use crate::sys::clock;

/// How long output may still trickle in after the child ended.
const TAIL: Duration = Duration::from_millis(300);
/// Between two looks at a child without a pidfd.
const LOOK_EVERY: Duration = Duration::from_millis(5);
const CHUNK_BYTES: usize = 64 * 1024;

/// A pipe to or from the child; closed when it has no more to give or to take.
struct Pipe(Option<OwnedFd>);

impl Pipe {
    /// We must never wait in a read or a write: only in `poll`.
    fn new(fd: Option<impl Into<OwnedFd>>) -> io::Result<Self> {
        let fd: Option<OwnedFd> = fd.map(Into::into);
        if let Some(fd) = &fd {
            rustix::io::ioctl_fionbio(fd, true)?;
        }
        Ok(Self(fd))
    }

    fn read_into(&mut self, bytes: &mut Vec<u8>, buffer: &mut [u8]) {
        while let Some(fd) = &self.0 {
            match rustix::io::read(fd, &mut *buffer) {
                Ok(count @ 1..) => bytes.extend(&buffer[..count]),
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => {}
                Ok(_) | Err(_) => self.0 = None,
            }
        }
    }

    /// Writes what fits; a child that does not read its input closes it, which is its right.
    fn write_from(&mut self, bytes: &mut &[u8]) {
        while let Some(fd) = &self.0 {
            if bytes.is_empty() {
                self.0 = None;
                return;
            }
            match rustix::io::write(fd, bytes) {
                Ok(count) => *bytes = &bytes[count..],
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => {}
                Err(_) => self.0 = None,
            }
        }
    }
}

/// What a child said, and how it ended; no end when it ran into the limit.
pub(super) struct Said {
    pub out: Vec<u8>,
    pub err: Vec<u8>,
    pub ended: Option<ExitStatus>,
}

/// Serves the pipes of `child` until it ended, at most until `limit`; it is reaped only if it ended.
pub(super) fn serve(child: &mut Child, mut input: &[u8], limit: Mono) -> io::Result<Said> {
    let mut to = Pipe::new(child.stdin.take())?;
    let mut out = Pipe::new(child.stdout.take())?;
    let mut err = Pipe::new(child.stderr.take())?;
    let mut said = Said { out: Vec::new(), err: Vec::new(), ended: None };
    let end = pidfd(child);
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut until = limit;
    loop {
        to.write_from(&mut input);
        out.read_into(&mut said.out, &mut buffer);
        err.read_into(&mut said.err, &mut buffer);
        let open = out.0.is_some() || err.0.is_some();
        let now = clock::now().mono;
        if now >= until || (said.ended.is_some() && !open) {
            return Ok(said);
        }
        let mut left = until.since(now);
        if said.ended.is_none() && end.is_none() {
            left = left.min(LOOK_EVERY);
        }
        let fds = [(&to.0, PollFlags::OUT), (&out.0, PollFlags::IN), (&err.0, PollFlags::IN)];
        let fds = fds.into_iter().filter_map(|(fd, flags)| Some((fd.as_ref()?.as_fd(), flags)));
        let end_fd = end.as_ref().filter(|_| said.ended.is_none()).map(AsFd::as_fd);
        wait(fds.chain(end_fd.map(|fd| (fd, PollFlags::IN))), left)?;
        if said.ended.is_none() {
            said.ended = child.try_wait()?;
            if said.ended.is_some() {
                until = clock::now().mono.plus(TAIL);
            }
        }
    }
}

fn wait<'a>(
    fds: impl Iterator<Item = (BorrowedFd<'a>, PollFlags)>,
    left: Duration,
) -> io::Result<()> {
    let mut polled: Vec<PollFd<'a>> =
        fds.map(|(fd, flags)| PollFd::from_borrowed_fd(fd, flags)).collect();
    let left = Timespec::try_from(left).ok();
    match poll(&mut polled, left.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(target_os = "linux")]
fn pidfd(child: &Child) -> Option<OwnedFd> {
    use rustix::process::{PidfdFlags, pidfd_open};
    pidfd_open(super::pid_of(child.id())?, PidfdFlags::empty()).ok()
}

#[cfg(not(target_os = "linux"))]
fn pidfd(_child: &Child) -> Option<OwnedFd> {
    None
}
