//! Connections to endpoints of HTTP/2: a pool for each thread, never shared.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http2};
use hyper_util::rt::{TokioIo, TokioTimer};

use crate::body::RequestBody;
use crate::reach::{open, patience};
use crate::runtime::LocalExecutor;

/// How long a connection without streams is kept.
const IDLE: Duration = Duration::from_secs(30);
/// Most connections to one endpoint.
const MAX_CONNECTIONS: usize = 16;
/// Most requests on one connection, as long as another one can be opened.
const MAX_STREAMS: usize = 100;
/// Largest head of a response.
const MAX_HEAD: u32 = 64 << 10;

/// One thread's connections.
#[derive(Debug, Default)]
pub(crate) struct Pool(RefCell<HashMap<SocketAddr, Host>>);

#[derive(Debug, Default)]
struct Host {
    open: Vec<Http2>,
    /// Held while a connection is opened, so that requests that come at once share it, or its failure.
    opening: Rc<tokio::sync::Mutex<Option<Failure>>>,
}

/// An attempt to open a connection that failed.
#[derive(Clone, Copy, Debug)]
struct Failure {
    at: Instant,
    kind: io::ErrorKind,
}

#[derive(Clone, Debug)]
struct Http2 {
    sender: http2::SendRequest<RequestBody>,
    /// As many references as streams, and one more.
    streams: Rc<()>,
    used: Instant,
}

/// What connection is asked for.
#[derive(Clone, Copy)]
pub(crate) struct Ask<'a> {
    /// None that has carried a request before.
    pub(crate) fresh: bool,
    /// Whether it has to open soon or not at all.
    pub(crate) hurry: &'a dyn Fn() -> bool,
}

/// A connection that carries a request, and as a rule others.
#[derive(Debug)]
pub(crate) struct Connection {
    http2: Http2,
    reused: bool,
}

impl Pool {
    /// A connection to `address`: an open one, unless a fresh one is wanted, or a new one.
    pub(crate) async fn connect(&self, address: SocketAddr, ask: Ask<'_>) -> io::Result<Connection> {
        if !ask.fresh
            && let Some(connection) = self.find(address)
        {
            return Ok(connection);
        }
        Box::pin(self.open_one(address, ask)).await
    }

    async fn open_one(&self, address: SocketAddr, ask: Ask<'_>) -> io::Result<Connection> {
        let asked = Instant::now();
        let opening = Rc::clone(&self.0.borrow_mut().entry(address).or_default().opening);
        let mut failure = opening.lock().await;
        if let Some(failure) = failure.filter(|failure| failure.at > asked) {
            return Err(failure.kind.into());
        }
        if let Some(connection) = self.find(address).filter(|_| !ask.fresh) {
            return Ok(connection);
        }
        let opened = self.open(address, patience(ask.hurry)).await;
        *failure = opened.as_ref().err().map(|error| Failure { at: Instant::now(), kind: error.kind() });
        opened
    }

    fn find(&self, address: SocketAddr) -> Option<Connection> {
        let mut hosts = self.0.borrow_mut();
        let open = &mut hosts.get_mut(&address)?.open;
        open.retain(|h| !h.sender.is_closed());
        let full = open.len() >= MAX_CONNECTIONS;
        let least = open.iter_mut().min_by_key(|h| Rc::strong_count(&h.streams))?;
        let room = Rc::strong_count(&least.streams) <= MAX_STREAMS;
        least.used = Instant::now();
        let http2 = least.clone();
        (room || full).then_some(Connection { http2, reused: true })
    }

    async fn open(&self, address: SocketAddr, patience: Duration) -> io::Result<Connection> {
        let io = TokioIo::new(open(address, patience).await?);
        let mut builder = http2::Builder::new(LocalExecutor);
        builder.timer(TokioTimer::new()).adaptive_window(true).max_header_list_size(MAX_HEAD);
        let (sender, driver) = builder.handshake(io).await.map_err(io::Error::other)?;
        tokio::task::spawn_local(driver);
        let http2 = Http2 { sender, streams: Rc::default(), used: Instant::now() };
        self.0.borrow_mut().entry(address).or_default().open.push(http2.clone());
        Ok(Connection { http2, reused: false })
    }

    /// Lets no further request share the connections to an endpoint.
    pub(crate) fn forget(&self, address: SocketAddr) {
        if let Some(host) = self.0.borrow_mut().get_mut(&address) {
            host.open = Vec::new();
        }
    }

    /// Closes connections that have been idle for too long, and forgets endpoints without any.
    pub(crate) fn sweep(&self) {
        self.0.borrow_mut().retain(|_, host| {
            let in_use = |h: &Http2| Rc::strong_count(&h.streams) > 1 || h.used.elapsed() < IDLE;
            host.open.retain(|h| !h.sender.is_closed() && in_use(h));
            !host.open.is_empty() || Rc::strong_count(&host.opening) > 1
        });
    }
}

impl Connection {
    /// Whether it has carried a request before.
    pub(crate) fn is_reused(&self) -> bool {
        self.reused
    }

    /// Sends the request and waits for the head of the response. The error holds the request if none of it was sent.
    pub(crate) fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>> + use<> {
        self.http2.sender.try_send_request(request)
    }
}
