//! The callers: one thread that carries all their connections, so that the server has the machine.
//!
//! A caller waits for its answer before it sends again. With a rate, acts fall due at even distances;
//! one that was due while no caller was free counts from when it was due, one that this thread was
//! late to send counts from when it was sent. Waits end by a timer of the kernel, whose slack is none.

use std::collections::{BTreeMap, VecDeque};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

const AGENTS: usize = 8;
/// Not a number of a caller.
const TIMER: u64 = u64::MAX;
/// An answer that takes longer is an error.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Load {
    /// Within the measured time.
    pub(crate) latencies: Vec<Duration>,
    pub(crate) took: Duration,
    /// Status 200 with a decision, the warm-up's included.
    pub(crate) decided_in_all: u64,
    pub(crate) errors: BTreeMap<String, u64>,
    /// Seconds of this program.
    pub(crate) cpu: f64,
}

/// When to measure, counted from the beginning.
pub(crate) struct Times {
    pub(crate) from: Duration,
    pub(crate) end: Duration,
    /// Acts a second; `None`: as many as go.
    pub(crate) rate: Option<f64>,
}

pub(crate) fn run(address: SocketAddr, keys: &[&str], times: &Times) -> Load {
    let before = cpu();
    let mut load = Loader::new(address, keys, times).run();
    load.cpu = cpu() - before;
    load.latencies.sort_unstable();
    load
}

/// Seconds of the thread that asks.
fn cpu() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse::<u64>().unwrap() as f64 / 1e9
}

struct Loader {
    epoll: OwnedFd,
    clock: OwnedFd,
    callers: Vec<Caller>,
    /// Those that may send, longest first.
    free: VecDeque<usize>,
    begun: Instant,
    from: Instant,
    end: Instant,
    rate: Option<f64>,
    /// How many fell due.
    due: u64,
    load: Load,
}

struct Caller {
    stream: TcpStream,
    /// Of each request, up to the correlation id.
    head: String,
    number: usize,
    sent: u64,
    request: Vec<u8>,
    buffer: Vec<u8>,
    /// From when the act under way counts.
    start: Instant,
    free_since: Instant,
}

impl Loader {
    fn new(address: SocketAddr, keys: &[&str], times: &Times) -> Self {
        let epoll = epoll::create(CreateFlags::CLOEXEC).unwrap();
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let clock = timerfd_create(TimerfdClockId::Monotonic, flags).unwrap();
        epoll::add(&epoll, &clock, EventData::new_u64(TIMER), EventFlags::IN).unwrap();
        let callers: Vec<Caller> = keys
            .iter()
            .enumerate()
            .map(|(number, key)| Caller::new(address, key, number))
            .collect();
        for caller in &callers {
            let data = EventData::new_u64(caller.number as u64);
            epoll::add(&epoll, &caller.stream, data, EventFlags::IN).unwrap();
        }
        let begun = Instant::now();
        let (from, end) = (begun + times.from, begun + times.end);
        let load = Load {
            latencies: Vec::with_capacity(1 << 20),
            took: end - from,
            decided_in_all: 0,
            errors: BTreeMap::new(),
            cpu: 0.0,
        };
        let free = (0..callers.len()).collect();
        Self { epoll, clock, callers, free, begun, from, end, rate: times.rate, due: 0, load }
    }

    fn run(mut self) -> Load {
        let mut events: Vec<Event> = Vec::with_capacity(self.callers.len() + 1);
        loop {
            let over = self.send();
            if over && self.free.len() == self.callers.len() {
                return self.load;
            }
            events.clear();
            let patience = Timespec { tv_sec: seconds(PATIENCE), tv_nsec: 0 };
            let buffer = rustix::buffer::spare_capacity(&mut events);
            let found = epoll::wait(&self.epoll, buffer, Some(&patience)).unwrap();
            assert!(found > 0, "no answer came for {PATIENCE:?}");
            for event in &events {
                let data = event.data.u64();
                if data == TIMER {
                    let mut count = [0; 8];
                    let _ = rustix::io::read(&self.clock, &mut count);
                } else {
                    self.hear(usize::try_from(data).unwrap());
                }
            }
        }
    }

    /// Sends what is to be sent by now; whether the time is over.
    fn send(&mut self) -> bool {
        let mut now = Instant::now();
        while now < self.end
            && let Some(caller) = self.free.front().copied()
        {
            let mut start = now;
            if let Some(rate) = self.rate {
                let due = self.begun + Duration::from_secs_f64(self.due as f64 / rate);
                if due > now {
                    self.wake_at(due.min(self.end) - now);
                    return false;
                }
                if self.callers[caller].free_since > due {
                    start = due;
                }
                self.due += 1;
            }
            self.free.pop_front();
            self.callers[caller].submit(start);
            now = Instant::now();
        }
        now >= self.end
    }

    fn wake_at(&self, wait: Duration) {
        let it_value =
            Timespec { tv_sec: seconds(wait), tv_nsec: wait.subsec_nanos().max(1).into() };
        let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
        let once = Itimerspec { it_interval, it_value };
        timerfd_settime(&self.clock, TimerfdTimerFlags::empty(), &once).unwrap();
    }

    fn hear(&mut self, number: usize) {
        let caller = &mut self.callers[number];
        let Some((status, allowed)) = caller.answer() else { return };
        let done = Instant::now();
        if status == 200 && allowed {
            self.load.decided_in_all += 1;
            if caller.start >= self.from && done <= self.end {
                self.load.latencies.push(done - caller.start);
            }
        } else {
            *self.load.errors.entry(format!("status {status}")).or_default() += 1;
        }
        caller.free_since = done;
        self.free.push_back(number);
    }
}

impl Caller {
    fn new(address: SocketAddr, key: &str, number: usize) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_nonblocking(true).unwrap();
        let head = format!(
            "POST /api/v1/actions/submit HTTP/1.1\r\nhost: bench\r\nx-api-key: {key}\r\n\
             content-type: application/json\r\nx-correlation-id: "
        );
        let (request, buffer) = (Vec::with_capacity(1 << 10), Vec::with_capacity(8 << 10));
        let now = Instant::now();
        Self { stream, head, number, sent: 0, request, buffer, start: now, free_since: now }
    }

    fn submit(&mut self, start: Instant) {
        self.start = start;
        self.sent += 1;
        let (number, sent, agent) = (self.number, self.sent, self.number % AGENTS);
        let body = format!(
            r#"{{"agent_id":"agent-{agent}","action_type":"database.write","resource":"orders/{number}/{sent}","description":"write one row","context":{{"tool":"sql","rows":{sent}}}}}"#
        );
        self.request.clear();
        self.request.extend_from_slice(self.head.as_bytes());
        let rest = format!("c-{number}-{sent}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        self.request.extend_from_slice(rest.as_bytes());
        self.buffer.clear();
        // Far less than a socket takes at once.
        self.stream.write_all(&self.request).unwrap();
    }

    /// Status, and whether it allows, once the whole answer is there.
    fn answer(&mut self) -> Option<(u16, bool)> {
        let mut chunk = [0; 4096];
        match self.stream.read(&mut chunk) {
            Ok(0) => panic!("the server ended a connection"),
            Ok(got) => self.buffer.extend_from_slice(&chunk[..got]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
            Err(error) => panic!("{error}"),
        }
        let at = find(&self.buffer, b"\r\n\r\n")?;
        let head = std::str::from_utf8(&self.buffer[..at]).unwrap();
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.and_then(|text| text.parse().ok()).unwrap_or(0);
        let body = self.buffer.get(at + 4..at + 4 + length)?;
        Some((status, find(body, br#""decision":"allowed""#).is_some()))
    }
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

fn seconds(length: Duration) -> i64 {
    i64::try_from(length.as_secs()).unwrap()
}
