//! A stream of server-sent events from a server on this machine, and single answers beside it.
//!
//! One connection a stream, moved only while it is polled. What the events mean is the caller's
//! business. A connection that says nothing for too long counts as broken: a server that hangs
//! leaves its sockets open.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

/// A longer line than this is skipped: it holds somebody's file, not a state.
const LINE_BYTES_MAX: usize = 1 << 20;
const ANSWER_BYTES_MAX: usize = 4 << 20;
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum EventStreamError {
    #[error("cannot connect")]
    Connect(#[source] std::io::Error),
    #[error("the request cannot be written")]
    Request(#[source] hyper::http::Error),
    #[error("the connection broke off")]
    Broken(#[source] hyper::Error),
    #[error("the answer is too long or broke off")]
    Body,
    #[error("the server answers {0}")]
    Status(u16),
    #[error("nothing came in time")]
    Silent,
}

/// A server on the loopback address, and what opens it.
#[derive(Debug, Clone)]
pub struct Server {
    pub port: u16,
    /// The value of the `authorization` header.
    pub authorization: String,
}

/// An open stream; its connection ends when this is dropped.
#[derive(Debug)]
pub struct EventStream {
    body: Incoming,
    lines: Lines,
    carrier: AbortHandle,
}

impl Drop for EventStream {
    fn drop(&mut self) {
        self.carrier.abort();
    }
}

impl Server {
    async fn ask(&self, path: &str) -> Result<(Response<Incoming>, AbortHandle), EventStreamError> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let stream = tokio::time::timeout(CONNECT_WITHIN, TcpStream::connect(address)).await;
        let stream = stream.map_err(|_| EventStreamError::Silent)?;
        let stream = stream.map_err(EventStreamError::Connect)?;
        let opened = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = opened.map_err(EventStreamError::Broken)?;
        let carrier = tokio::spawn(async move { drop(connection.await) }).abort_handle();
        let request = Request::builder()
            .uri(path)
            .header("host", format!("127.0.0.1:{}", self.port))
            .header("user-agent", concat!("ao/", env!("CARGO_PKG_VERSION")))
            .header("authorization", &self.authorization)
            .body(Empty::<Bytes>::new())
            .map_err(EventStreamError::Request)?;
        let answer = tokio::time::timeout(ANSWER_WITHIN, sender.send_request(request)).await;
        let answer = answer
            .map_err(|_| EventStreamError::Silent)
            .and_then(|answer| answer.map_err(EventStreamError::Broken));
        match answer {
            Ok(answer) if answer.status().is_success() => Ok((answer, carrier)),
            Ok(answer) => {
                carrier.abort();
                Err(EventStreamError::Status(answer.status().as_u16()))
            }
            Err(error) => {
                carrier.abort();
                Err(error)
            }
        }
    }

    /// The whole answer to one `GET`.
    pub async fn get(&self, path: &str) -> Result<Vec<u8>, EventStreamError> {
        let (answer, carrier) = self.ask(path).await?;
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect();
        let body = tokio::time::timeout(ANSWER_WITHIN, body).await;
        carrier.abort();
        let body = body.map_err(|_| EventStreamError::Silent)?;
        Ok(body.map_err(|_| EventStreamError::Body)?.to_bytes().to_vec())
    }

    /// Opens a stream of events.
    pub async fn events(&self, path: &str) -> Result<EventStream, EventStreamError> {
        let (answer, carrier) = self.ask(path).await?;
        Ok(EventStream { body: answer.into_body(), lines: Lines::default(), carrier })
    }
}

impl EventStream {
    /// The data of the events that came next; `None` at the end of the stream.
    pub async fn next(
        &mut self,
        silent: Duration,
    ) -> Result<Option<Vec<Vec<u8>>>, EventStreamError> {
        let frame = tokio::time::timeout(silent, self.body.frame()).await;
        match frame.map_err(|_| EventStreamError::Silent)? {
            None => Ok(None),
            Some(Err(error)) => Err(EventStreamError::Broken(error)),
            Some(Ok(frame)) => {
                let bytes = frame.into_data().unwrap_or_default();
                Ok(Some(self.lines.data(&bytes)))
            }
        }
    }
}

/// Puts lines together out of pieces.
#[derive(Debug, Default)]
struct Lines {
    begun: Vec<u8>,
    too_long: bool,
}

impl Lines {
    /// The data lines that are whole now, one an event: the servers we follow write JSON on one line.
    fn data(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            let whole = piece.ends_with(b"\n");
            if self.begun.len() + piece.len() > LINE_BYTES_MAX {
                self.too_long = true;
                self.begun.clear();
            }
            if !self.too_long {
                self.begun.extend_from_slice(piece);
            }
            if !whole {
                continue;
            }
            if let Some(data) = self.begun.strip_prefix(b"data:") {
                found.push(data.trim_ascii().to_vec());
            }
            self.begun.clear();
            self.too_long = false;
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_put_together_out_of_any_pieces_and_too_long_ones_are_skipped() {
        let long = "x".repeat(LINE_BYTES_MAX);
        let text = format!("event: a\ndata: one\r\n\ndata:{long}\n: beat\ndata: two\n\ndata: thr");
        for size in [1, 7, 4_096, text.len()] {
            let mut lines = Lines::default();
            let found: Vec<Vec<u8>> =
                text.as_bytes().chunks(size).flat_map(|piece| lines.data(piece)).collect();
            assert_eq!(found, [b"one".to_vec(), b"two".to_vec()], "{size}");
        }
    }
}
