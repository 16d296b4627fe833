//! The real terminal of the demo agent: raw mode, signals, waiting. Restored when dropped.

use std::io::{self, Read as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::stdio::{stdin, stdout};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGWINCH};

/// What ended a wait.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wake {
    Bytes(Vec<u8>),
    EndOfInput,
    Signal(i32),
    Deadline,
}

/// Bracketed paste on, cursor hidden: the agent draws its own.
const ENTER: &str = "\x1b[?2004h\x1b[?25l";
const LEAVE: &str = "\x1b[?2004l\x1b[?25h\x1b]0;\x07\r\n";

pub(super) struct Terminal {
    saved: Termios,
    fullscreen: bool,
    signals: Vec<(i32, UnixStream)>,
}

impl Terminal {
    pub(super) fn open(fullscreen: bool) -> io::Result<Self> {
        let saved = tcgetattr(stdin())?;
        let mut raw = saved.clone();
        raw.make_raw();
        let mut signals = Vec::new();
        for signal in [SIGWINCH, SIGTERM, SIGHUP, SIGINT] {
            let (read, write) = UnixStream::pair()?;
            signal_hook::low_level::pipe::register(signal, write)?;
            read.set_nonblocking(true)?;
            signals.push((signal, read));
        }
        tcsetattr(stdin(), OptionalActions::Now, &raw)?;
        let terminal = Self { saved, fullscreen, signals };
        Self::write(if fullscreen { "\x1b[?1049h\x1b[H" } else { "" })?;
        Self::write(ENTER)?;
        Ok(terminal)
    }

    /// Columns and rows.
    pub(super) fn size() -> (usize, usize) {
        let size = tcgetwinsize(stdout()).ok();
        let size = size.filter(|size| size.ws_col > 0 && size.ws_row > 0);
        size.map_or((80, 24), |size| (usize::from(size.ws_col), usize::from(size.ws_row)))
    }

    pub(super) fn write(text: &str) -> io::Result<()> {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            match rustix::io::write(stdout(), rest) {
                Ok(written) => rest = &rest[written..],
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Waits for input (unless deaf), a signal or the timeout; without a timeout nothing wakes it in vain.
    pub(super) fn wait(&mut self, timeout: Option<Duration>, deaf: bool) -> io::Result<Wake> {
        let timeout = timeout.map(|time| Timespec {
            tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(time.subsec_nanos()),
        });
        let (input_ready, signal_ready) = {
            let stdin = stdin();
            let mut polled: Vec<PollFd<'_>> = Vec::new();
            for (_, pipe) in &self.signals {
                polled.push(PollFd::from_borrowed_fd(pipe.as_fd(), PollFlags::IN));
            }
            if !deaf {
                polled.push(PollFd::from_borrowed_fd(stdin, PollFlags::IN));
            }
            match poll(&mut polled, timeout.as_ref()) {
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => return Ok(Wake::Deadline),
                Err(error) => return Err(error.into()),
            }
            let ready: Vec<bool> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();
            let count = self.signals.len();
            (ready.get(count) == Some(&true), ready.iter().take(count).position(|ready| *ready))
        };
        if let Some(index) = signal_ready {
            let (signal, pipe) = &mut self.signals[index];
            let mut sink = [0; 64];
            drop(pipe.read(&mut sink));
            return Ok(Wake::Signal(*signal));
        }
        if !input_ready {
            return Ok(Wake::Deadline);
        }
        let mut buffer = [0; 16_384];
        match rustix::io::read(stdin(), &mut buffer) {
            // EIO: the terminal is gone.
            Ok(0) | Err(rustix::io::Errno::IO) => Ok(Wake::EndOfInput),
            Ok(length) => Ok(Wake::Bytes(buffer[..length].to_vec())),
            Err(rustix::io::Errno::INTR) => Ok(Wake::Deadline),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        drop(Self::write(if self.fullscreen { "\x1b[?1049l" } else { "" }));
        drop(Self::write(LEAVE));
        let _ = tcsetattr(stdin(), OptionalActions::Now, &self.saved);
    }
}
