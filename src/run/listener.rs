//! Follows the servers of the CLIs that have one, beside the loop: one thread for all of them.
//!
//! The thread comes with the first server that is to be followed and ends with this. It asks nothing
//! again and again: each server tells by itself, and a connection that ended is tried again at
//! growing distances. What was heard waits until the loop takes it.
//!
//! Surprise: a port on loopback may be anybody's once its owner died, so a server is forgotten with
//! the process that had it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::AbortHandle;

use crate::base::name::UnitName;
use crate::base::now::Mono;
use crate::sense::fact::Fact;
use crate::sense::opencode;
use crate::sys::clock;
use crate::sys::event_stream::{EventStreamError, Server};

/// The first pause before another try; it doubles up to the last.
const PAUSE_FIRST: Duration = Duration::from_millis(250);
const PAUSE_LAST: Duration = Duration::from_secs(4);
/// opencode sends a beat every ten seconds.
const SILENT: Duration = Duration::from_secs(30);

/// Which start of which agent.
pub type Start = (UnitName, u64);

/// What came of a server.
#[derive(Debug, Clone, PartialEq)]
pub enum Heard {
    /// A connection stands; the fact is what stood before it.
    Begun(Mono, Option<Fact>),
    Fact(Fact),
    Lives(Mono),
    Gone,
}

/// The way to all servers.
pub struct Listener {
    waker: Arc<dyn Fn() + Send + Sync>,
    orders: Option<UnboundedSender<Order>>,
    heard_by: mpsc::Sender<(Start, Heard)>,
    heard: mpsc::Receiver<(Start, Heard)>,
    followed: BTreeMap<UnitName, u64>,
}

enum Order {
    Follow(Start, Server),
    Forget(UnitName),
}

impl Listener {
    /// `waker` is called from the thread when something was heard. Starts nothing yet.
    pub fn new(waker: impl Fn() + Send + Sync + 'static) -> Self {
        let (heard_by, heard) = mpsc::channel();
        let waker = Arc::new(waker);
        Self { waker, orders: None, heard_by, heard, followed: BTreeMap::new() }
    }

    /// Follows this server from now on, in place of any other of the agent.
    pub fn follow(&mut self, unit: &UnitName, attempt: u64, server: Server) -> std::io::Result<()> {
        if self.orders.is_none() {
            self.orders = Some(spawn(self.heard_by.clone(), Arc::clone(&self.waker))?);
        }
        self.followed.insert(unit.clone(), attempt);
        self.order(Order::Follow((unit.clone(), attempt), server));
        Ok(())
    }

    /// Forgets the servers of all agents but these.
    pub fn keep(&mut self, running: impl Fn(&UnitName, u64) -> bool) {
        let gone: Vec<UnitName> = self
            .followed
            .iter()
            .filter(|(unit, attempt)| !running(unit, **attempt))
            .map(|(unit, _)| unit.clone())
            .collect();
        for unit in gone {
            self.followed.remove(&unit);
            self.order(Order::Forget(unit));
        }
    }

    fn order(&self, order: Order) {
        if let Some(orders) = &self.orders {
            // A thread that broke down is heard no more; the other sensors are still there.
            drop(orders.send(order));
        }
    }

    /// What was heard since the last time.
    pub fn take(&mut self) -> Vec<(Start, Heard)> {
        self.heard.try_iter().collect()
    }
}

fn spawn(
    heard: mpsc::Sender<(Start, Heard)>,
    waker: Arc<dyn Fn() + Send + Sync>,
) -> std::io::Result<UnboundedSender<Order>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (sender, orders) = unbounded_channel();
    std::thread::Builder::new().name("listener".to_owned()).spawn(move || {
        runtime.block_on(obey(orders, heard, waker));
    })?;
    Ok(sender)
}

async fn obey(
    mut orders: UnboundedReceiver<Order>,
    heard: mpsc::Sender<(Start, Heard)>,
    waker: Arc<dyn Fn() + Send + Sync>,
) {
    let mut tasks: BTreeMap<UnitName, AbortHandle> = BTreeMap::new();
    while let Some(order) = orders.recv().await {
        let (unit, task) = match order {
            Order::Forget(unit) => (unit, None),
            Order::Follow(start, server) => {
                let unit = start.0.clone();
                let (heard, waker) = (heard.clone(), Arc::clone(&waker));
                let tell = move |said: Heard| {
                    // The loop that listened is gone with its receiver.
                    let news = !matches!(said, Heard::Lives(_));
                    drop(heard.send((start.clone(), said)));
                    if news {
                        waker();
                    }
                };
                (unit, Some(tokio::spawn(follow(server, tell)).abort_handle()))
            }
        };
        let former = match task {
            Some(task) => tasks.insert(unit, task),
            None => tasks.remove(&unit),
        };
        if let Some(former) = former {
            former.abort();
        }
    }
}

/// Listens for as long as nobody ends it.
async fn follow(server: Server, tell: impl Fn(Heard)) {
    let mut pause = PAUSE_FIRST;
    loop {
        let mut begun = false;
        let ended = listen(&server, &tell, &mut begun).await;
        if begun {
            tell(Heard::Gone);
            pause = PAUSE_FIRST;
        }
        if let Err(error) = ended {
            let error = crate::base::chain::text(&error);
            tracing::debug!(port = server.port, error, "does not hear its server");
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_LAST);
    }
}

async fn listen(
    server: &Server,
    tell: &impl Fn(Heard),
    begun: &mut bool,
) -> Result<(), EventStreamError> {
    let mut stream = server.events("/event").await?;
    // Asked while the stream stands: what happens meanwhile waits in it.
    let statuses = server.get("/session/status").await?;
    let permissions = server.get("/permission").await?;
    let questions = server.get("/question").await?;
    let mut state = opencode::Server::default();
    let now = clock::now();
    tell(Heard::Begun(now.mono, state.begin(&statuses, &permissions, &questions, now)));
    *begun = true;
    let mut beat = now.mono;
    while let Some(events) = stream.next(SILENT).await? {
        let now = clock::now();
        for data in events {
            if let Some(fact) = state.event(&data, now) {
                beat = now.mono;
                tell(Heard::Fact(fact));
            }
        }
        // A streamed answer is an event a word: no reason to wake anybody.
        if now.mono.since(beat) >= SILENT / 6 {
            beat = now.mono;
            tell(Heard::Lives(now.mono));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::{Ipv4Addr, TcpListener, TcpStream};

    use super::*;
    use crate::sense::Kind;

    /// A server of four paths; answers the stream with these events and keeps it open.
    fn serve(listener: &TcpListener, events: &str, streams: usize) -> Vec<TcpStream> {
        let mut open = Vec::new();
        let mut others = 0;
        while open.len() < streams || others < 3 {
            let (mut stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let first = lines.next().unwrap().unwrap();
            let rest: Vec<String> =
                lines.map(|line| line.unwrap()).take_while(|line| !line.is_empty()).collect();
            assert!(rest.iter().any(|line| line == "authorization: Basic secret"), "{rest:?}");
            if first.contains("/event") {
                write!(
                    stream,
                    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n{events}"
                )
                .unwrap();
                open.push(stream);
            } else {
                let body = if first.contains("/session/status") { "{}" } else { "[]" };
                write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{body}").unwrap();
                others += 1;
            }
        }
        open
    }

    fn next(listener: &mut Listener) -> Heard {
        let (_, heard) = listener.heard.recv_timeout(Duration::from_secs(30)).unwrap();
        heard
    }

    #[test]
    fn a_server_is_heard_missed_when_it_goes_and_found_again() {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = socket.local_addr().unwrap().port();
        let mut listener = Listener::new(|| {});
        let unit = UnitName::new("one").unwrap();
        let server = Server { port, authorization: "Basic secret".to_owned() };
        listener.follow(&unit, 1, server).unwrap();
        let busy = "data: {\"type\":\"session.status\",\"properties\":{\"sessionID\":\"a\",\
                    \"status\":{\"type\":\"busy\"}}}\n\n";
        for _ in 0..2 {
            let open = serve(&socket, busy, 1);
            assert!(matches!(next(&mut listener), Heard::Begun(_, None)));
            let Heard::Fact(fact) = next(&mut listener) else { panic!("a fact comes") };
            assert_eq!(fact.kind, Kind::TurnStarted);
            drop(open);
            assert_eq!(next(&mut listener), Heard::Gone);
        }
    }

    #[test]
    fn what_is_not_running_is_forgotten() {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = socket.local_addr().unwrap().port();
        let mut listener = Listener::new(|| {});
        let unit = UnitName::new("one").unwrap();
        let server = Server { port, authorization: "Basic secret".to_owned() };
        listener.follow(&unit, 1, server).unwrap();
        let mut open = serve(&socket, "", 1);
        assert!(matches!(next(&mut listener), Heard::Begun(_, None)));
        listener.keep(|_, attempt| attempt == 2);
        // The connection is closed from the other side.
        let read = std::io::Read::read(&mut open[0], &mut [0; 8]).unwrap_or(0);
        assert_eq!(read, 0);
    }
}
