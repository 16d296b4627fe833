//! One connection, driven by whoever waits for it.
//!
//! The client of this library only queues what it is given; bytes move while somebody waits here. So
//! statements may be sent one behind the other without waiting ([`Link::send`]): the server works them
//! off while the caller does something else, and [`Link::settle`] learns what became of them. Surprise:
//! an answer that nobody takes holds back all behind it, so what was sent is looked at in each wait.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use postgres::tls::{MakeTlsConnect, TlsConnect};
use postgres::types::ToSql;
use postgres::{
    AsyncMessage, Client, Error, NoTls, Row, SimpleQueryMessage, SimpleQueryRow, Socket, Statement,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Runtime;

use super::{Address, failed};
use crate::sys::db::DbError;

/// The next message that is no answer; `None`: the connection is over.
type Messages = dyn FnMut(&mut Context<'_>) -> Poll<Option<Result<AsyncMessage, Error>>> + Send;

type Work = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// What was sent and not waited for.
struct Sent {
    act: &'static str,
    /// `None` once it is done.
    work: Option<Work>,
}

/// A connection with the statements it knows.
pub(super) struct Link {
    runtime: Runtime,
    client: Arc<Client>,
    /// `None` once it is over.
    messages: Option<Box<Messages>>,
    /// Somebody notified us.
    notified: bool,
    statements: BTreeMap<String, Statement>,
    sent: Vec<Sent>,
    /// The first of what was sent that failed.
    failed: Option<(&'static str, Error)>,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Link").field("sent", &self.sent.len()).finish_non_exhaustive()
    }
}

impl Link {
    /// Connects; nothing is set up yet.
    pub(super) fn open(address: &Address) -> Result<Self, DbError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|cause| DbError::Open {
            path: PathBuf::from(&address.shown),
            cause: Box::new(cause),
        })?;
        let unreachable = |cause| DbError::Unreachable { address: address.shown.clone(), cause };
        match address.connector.clone() {
            Some(connector) => Self::to(runtime, &address.config, connector),
            None => Self::to(runtime, &address.config, NoTls),
        }
        .map_err(unreachable)
    }

    fn to<T>(runtime: Runtime, config: &postgres::Config, tls: T) -> Result<Self, Error>
    where
        T: MakeTlsConnect<Socket>,
        T::Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
    {
        let (client, mut connection) = runtime.block_on(config.connect(tls))?;
        Ok(Self {
            runtime,
            client: Arc::new(client),
            messages: Some(Box::new(move |context| connection.poll_message(context))),
            notified: false,
            statements: BTreeMap::new(),
            sent: Vec::new(),
            failed: None,
        })
    }

    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// For what is sent.
    pub(super) fn client(&self) -> Arc<Client> {
        Arc::clone(&self.client)
    }

    /// Waits for this and drives the connection meanwhile.
    fn wait<T>(&mut self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let Self { runtime, messages, notified, sent, failed, .. } = self;
        let mut work = pin!(work);
        runtime.block_on(poll_fn(|context| {
            drive(messages, notified, context)?;
            look(sent, failed, context);
            work.as_mut().poll(context)
        }))
    }

    /// Hands this to the server and does not wait for what becomes of it. What cannot even be sent is
    /// an error here, before anything behind it is.
    pub(super) fn send(
        &mut self,
        act: &'static str,
        work: impl Future<Output = Result<(), Error>> + Send + 'static,
    ) -> Result<(), DbError> {
        self.sent.push(Sent { act, work: Some(Box::pin(work)) });
        let Self { runtime, messages, notified, sent, failed, .. } = self;
        runtime
            .block_on(poll_fn(|context| {
                look(sent, failed, context);
                Poll::Ready(drive(messages, notified, context))
            }))
            .map_err(super::failed(act))?;
        self.found()
    }

    fn found(&mut self) -> Result<(), DbError> {
        self.failed.take().map_or(Ok(()), |(act, cause)| Err(failed(act)(cause)))
    }

    /// Waits until all that was sent is done; the first error of it.
    pub(super) fn settle(&mut self) -> Result<(), DbError> {
        let Self { runtime, messages, notified, sent, failed, .. } = self;
        let over = runtime.block_on(poll_fn(|context| {
            drive(messages, notified, context)?;
            look(sent, failed, context);
            if sent.is_empty() { Poll::Ready(Ok(())) } else { Poll::Pending }
        }));
        self.found()?;
        over.map_err(super::failed("write"))
    }

    /// What was sent counts for nothing any more.
    pub(super) fn forget(&mut self) {
        // In its order all is taken from the server before the next answer; only nobody looks.
        drop(self.settle());
        self.sent.clear();
        self.failed = None;
    }

    pub(super) fn batch_execute(&mut self, text: &str) -> Result<(), Error> {
        let client = Arc::clone(&self.client);
        self.wait(client.batch_execute(text))
    }

    pub(super) fn simple_query(&mut self, text: &str) -> Result<Vec<SimpleQueryMessage>, Error> {
        let client = Arc::clone(&self.client);
        self.wait(client.simple_query(text))
    }

    /// The first row of a text without values.
    pub(super) fn first_row(&mut self, text: &str) -> Result<Option<SimpleQueryRow>, Error> {
        let found = self.simple_query(text)?;
        Ok(found.into_iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            SimpleQueryMessage::CommandComplete(_) | _ => None,
        }))
    }

    pub(super) fn query_one(
        &mut self,
        text: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Row, Error> {
        let client = Arc::clone(&self.client);
        self.wait(client.query_one(text, values))
    }

    /// A statement that is planned for this once.
    pub(super) fn run(&mut self, text: &str, values: &[&(dyn ToSql + Sync)]) -> Result<(), Error> {
        let client = Arc::clone(&self.client);
        self.wait(client.execute(text, values)).map(drop)
    }

    /// A statement that is planned once a connection.
    pub(super) fn statement(&mut self, text: &str) -> Result<Statement, Error> {
        if let Some(known) = self.statements.get(text) {
            return Ok(known.clone());
        }
        let client = Arc::clone(&self.client);
        let made = self.wait(client.prepare(text))?;
        self.statements.insert(text.to_owned(), made.clone());
        Ok(made)
    }

    pub(super) fn execute(
        &mut self,
        statement: &Statement,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, Error> {
        let client = Arc::clone(&self.client);
        self.wait(client.execute(statement, values))
    }

    pub(super) fn query(
        &mut self,
        statement: &Statement,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        let client = Arc::clone(&self.client);
        self.wait(client.query(statement, values))
    }

    /// All of these, one behind the other, by one wait.
    pub(super) fn queries(
        &mut self,
        asked: &[(Statement, Vec<&(dyn ToSql + Sync)>)],
    ) -> Result<Vec<Vec<Row>>, Error> {
        let client = Arc::clone(&self.client);
        let mut under_way: Vec<_> = asked
            .iter()
            .map(|(statement, values)| Some(Box::pin(client.query(statement, values))))
            .collect();
        let mut found: Vec<Option<Result<Vec<Row>, Error>>> = asked.iter().map(|_| None).collect();
        // The first look at each sends it, and they are looked at in their order.
        let all = poll_fn(|context| {
            let mut left = false;
            for (work, found) in under_way.iter_mut().zip(&mut found) {
                let Some(going) = work else { continue };
                match going.as_mut().poll(context) {
                    Poll::Ready(result) => (*work, *found) = (None, Some(result)),
                    Poll::Pending => left = true,
                }
            }
            if left { Poll::Pending } else { Poll::Ready(Ok(())) }
        });
        self.wait(all)?;
        found.into_iter().map(|rows| rows.expect("nothing is left")).collect()
    }

    /// Waits for a notification; whether one came. Several at once are one.
    pub(super) fn heard(&mut self, most: Duration) -> Result<bool, Error> {
        let Self { runtime, messages, notified, .. } = self;
        let hear = poll_fn(|context| {
            drive(messages, notified, context)?;
            let over = std::mem::take(notified) || messages.is_none();
            if over { Poll::Ready(Ok(())) } else { Poll::Pending }
        });
        let heard = runtime.block_on(async { tokio::time::timeout(most, hear).await });
        heard.map_or(Ok(false), |heard| heard.map(|()| true))
    }
}

/// Moves bytes as far as they go now.
fn drive(
    messages: &mut Option<Box<Messages>>,
    notified: &mut bool,
    context: &mut Context<'_>,
) -> Result<(), Error> {
    while let Some(next) = messages {
        match next(context) {
            Poll::Ready(Some(Ok(AsyncMessage::Notification(_)))) => *notified = true,
            Poll::Ready(Some(Ok(AsyncMessage::Notice(notice)))) => {
                tracing::debug!(notice = notice.message(), "the server says");
            }
            Poll::Ready(Some(Ok(_))) => {}
            // With it goes the way to it: who waits for an answer learns that it is over.
            Poll::Ready(None) => *messages = None,
            Poll::Ready(Some(Err(error))) => {
                *messages = None;
                return Err(error);
            }
            Poll::Pending => break,
        }
    }
    Ok(())
}

/// What became of what was sent.
fn look(
    sent: &mut Vec<Sent>,
    failed: &mut Option<(&'static str, Error)>,
    context: &mut Context<'_>,
) {
    for Sent { act, work } in &mut *sent {
        let Some(going) = work else { continue };
        if let Poll::Ready(result) = going.as_mut().poll(context) {
            *work = None;
            if let (Err(error), None) = (result, &failed) {
                *failed = Some((act, error));
            }
        }
    }
    sent.retain(|sent| sent.work.is_some());
}
