//! Connections to endpoints: a pool for each thread, never shared.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::future::Either;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

use crate::body::{Progress, RequestBody, Upload};
use crate::runtime::LocalExecutor;

/// Most idle HTTP/1 connections to one endpoint.
const MAX_IDLE: usize = 256;
/// How long an idle connection is kept.
const IDLE: Duration = Duration::from_secs(30);
/// Most HTTP/2 connections to one endpoint.
const MAX_HTTP2: usize = 16;
/// Most requests on one HTTP/2 connection, as long as another one can be opened.
const MAX_STREAMS: usize = 100;
/// How long a connection may take to open, if another endpoint can be tried.
const HURRY: Duration = Duration::from_millis(500);
/// How long it may take if none can: time for the kernel to repeat a lost packet twice.
const PATIENCE: Duration = Duration::from_millis(3500);
/// After how long a silence the kernel asks whether an endpoint is still there, and how often it repeats that.
pub(crate) const KEEPALIVE: TcpKeepalive =
    TcpKeepalive::new().with_time(Duration::from_secs(10)).with_interval(Duration::from_secs(5));
/// For how long an endpoint's kernel may leave unanswered what was sent to it, before it counts as unreachable.
const UNANSWERED: Duration = Duration::from_secs(5);
/// The same for a connection on which a long body is sent: the kernel counts an endpoint that is there, and does not
/// read, as one that does not answer.
const STALLED: Duration = Duration::from_secs(120);
/// Largest head of a response. It has at most 100 headers, hyper's own limit.
const MAX_HEAD: usize = 64 << 10;

/// How the proxy speaks to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    Http1,
    Http2,
}

/// One thread's connections.
#[derive(Debug, Default)]
pub(crate) struct Pool(RefCell<HashMap<SocketAddr, Host>>);

#[derive(Debug, Default)]
struct Host {
    idle: Vec<Idle>,
    http2: Vec<Http2>,
    /// Held while an HTTP/2 connection is opened, so that requests that come at once share it, or its failure.
    opening: Rc<tokio::sync::Mutex<Option<Failure>>>,
}

/// An attempt to open a connection that failed.
#[derive(Clone, Copy, Debug)]
struct Failure {
    at: Instant,
    kind: io::ErrorKind,
}

#[derive(Debug)]
struct Idle {
    http1: Http1,
    since: Instant,
}

#[derive(Debug)]
struct Http1 {
    sender: http1::SendRequest<RequestBody>,
    /// The same socket, to change its options.
    socket: socket2::Socket,
    /// Whether the endpoint may stall.
    stalls: bool,
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
    pub(crate) wire: Wire,
    /// None that has carried a request before.
    pub(crate) fresh: bool,
    /// Whether it has to open soon or not at all.
    pub(crate) hurry: &'a dyn Fn() -> bool,
}

/// A connection that carries one request.
#[derive(Debug)]
pub(crate) struct Connection {
    address: SocketAddr,
    sender: Sender,
    reused: bool,
}

#[derive(Debug)]
enum Sender {
    Http1(Http1),
    Http2(Http2),
}

/// The right to put a connection back when its response has ended.
#[derive(Debug)]
pub(crate) struct Lease {
    worker: Rc<crate::worker::Worker>,
    connection: Connection,
    progress: Progress,
}

impl Pool {
    /// A connection to `address`: an idle one, unless a fresh one is wanted, or a new one. What is rare is boxed,
    /// to keep the future of a request small.
    pub(crate) async fn connect(&self, address: SocketAddr, ask: Ask<'_>) -> io::Result<Connection> {
        match ask.wire {
            Wire::Http1 => match self.take_idle(address).filter(|_| !ask.fresh) {
                Some(http1) => Ok(Connection { address, sender: Sender::Http1(http1), reused: true }),
                None => Box::pin(open_http1(address, patience(ask.hurry))).await,
            },
            Wire::Http2 => Box::pin(self.share_http2(address, ask)).await,
        }
    }

    fn take_idle(&self, address: SocketAddr) -> Option<Http1> {
        let mut hosts = self.0.borrow_mut();
        let idle = &mut hosts.get_mut(&address)?.idle;
        while idle.last().is_some_and(|i| i.http1.sender.is_closed()) {
            idle.pop();
        }
        let ready = idle.iter().rposition(|i| i.http1.sender.is_ready())?;
        Some(idle.swap_remove(ready).http1)
    }

    async fn share_http2(&self, address: SocketAddr, ask: Ask<'_>) -> io::Result<Connection> {
        if !ask.fresh
            && let Some(connection) = self.find_http2(address)
        {
            return Ok(connection);
        }
        let asked = Instant::now();
        let opening = Rc::clone(&self.0.borrow_mut().entry(address).or_default().opening);
        let mut failure = opening.lock().await;
        if let Some(failure) = failure.filter(|failure| failure.at > asked) {
            return Err(failure.kind.into());
        }
        if let Some(connection) = self.find_http2(address).filter(|_| !ask.fresh) {
            return Ok(connection);
        }
        let opened = self.open_http2(address, patience(ask.hurry)).await;
        *failure = opened.as_ref().err().map(|error| Failure { at: Instant::now(), kind: error.kind() });
        opened
    }

    fn find_http2(&self, address: SocketAddr) -> Option<Connection> {
        let mut hosts = self.0.borrow_mut();
        let open = &mut hosts.get_mut(&address)?.http2;
        open.retain(|h| !h.sender.is_closed());
        let full = open.len() >= MAX_HTTP2;
        let least = open.iter_mut().min_by_key(|h| Rc::strong_count(&h.streams))?;
        let room = Rc::strong_count(&least.streams) <= MAX_STREAMS;
        least.used = Instant::now();
        let sender = Sender::Http2(least.clone());
        (room || full).then_some(Connection { address, sender, reused: true })
    }

    async fn open_http2(&self, address: SocketAddr, patience: Duration) -> io::Result<Connection> {
        let io = TokioIo::new(open(address, patience).await?);
        let mut builder = http2::Builder::new(LocalExecutor);
        builder.timer(TokioTimer::new()).adaptive_window(true).max_header_list_size(MAX_HEAD as u32);
        let (sender, driver) = builder.handshake(io).await.map_err(io::Error::other)?;
        tokio::task::spawn_local(driver);
        let opened = Http2 { sender, streams: Rc::default(), used: Instant::now() };
        self.0.borrow_mut().entry(address).or_default().http2.push(opened.clone());
        Ok(Connection { address, sender: Sender::Http2(opened), reused: false })
    }

    fn put_idle(&self, address: SocketAddr, http1: Http1) {
        let mut hosts = self.0.borrow_mut();
        let idle = &mut hosts.entry(address).or_default().idle;
        if idle.len() < MAX_IDLE {
            idle.push(Idle { http1, since: Instant::now() });
        }
    }

    /// Closes what is idle, and lets no further request share what is not.
    pub(crate) fn forget(&self, address: SocketAddr) {
        if let Some(host) = self.0.borrow_mut().get_mut(&address) {
            (host.idle, host.http2) = (Vec::new(), Vec::new());
        }
    }

    /// Closes connections that have been idle for too long, and forgets endpoints without any.
    pub(crate) fn sweep(&self) {
        self.0.borrow_mut().retain(|_, host| {
            host.idle.retain(|i| !i.http1.sender.is_closed() && i.since.elapsed() < IDLE);
            let in_use = |h: &Http2| Rc::strong_count(&h.streams) > 1 || h.used.elapsed() < IDLE;
            host.http2.retain(|h| !h.sender.is_closed() && in_use(h));
            !host.idle.is_empty() || !host.http2.is_empty() || Rc::strong_count(&host.opening) > 1
        });
    }
}

/// How long a connection may take to open.
pub(crate) fn patience(hurry: &dyn Fn() -> bool) -> Duration {
    if hurry() { HURRY } else { PATIENCE }
}

/// Why `address` takes no connection, if it takes none.
pub(crate) async fn refuses(address: SocketAddr) -> Option<io::Error> {
    open(address, HURRY).await.err()
}

/// Opens a connection.
pub(crate) async fn open(address: SocketAddr, patience: Duration) -> io::Result<TcpStream> {
    let connecting = tokio::time::timeout(patience, TcpStream::connect(address));
    let stream = connecting.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    stream.set_nodelay(true)?;
    let socket = SockRef::from(&stream);
    socket.set_tcp_keepalive(&KEEPALIVE)?;
    expect_stalls(&socket, false)?;
    Ok(stream)
}

/// Says whether what was sent may stay unanswered for long, where the system knows that.
pub(crate) fn expect_stalls(socket: &socket2::Socket, stalls: bool) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    return socket.set_tcp_user_timeout(Some(if stalls { STALLED } else { UNANSWERED }));
    #[cfg(not(target_os = "linux"))]
    return {
        _ = (socket, stalls, STALLED, UNANSWERED);
        Ok(())
    };
}

async fn open_http1(address: SocketAddr, patience: Duration) -> io::Result<Connection> {
    let stream = open(address, patience).await?;
    let socket = SockRef::from(&stream).try_clone()?;
    let mut builder = http1::Builder::new();
    builder.max_buf_size(2 * MAX_HEAD).max_header_size(MAX_HEAD);
    let (sender, driver) = builder.handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    tokio::task::spawn_local(driver);
    let http1 = Http1 { sender, socket, stalls: false };
    Ok(Connection { address, sender: Sender::Http1(http1), reused: false })
}

impl Connection {
    /// Whether it has carried a request before.
    pub(crate) fn is_reused(&self) -> bool {
        self.reused
    }

    /// Says whether the endpoint may take its time to read what is sent to it.
    pub(crate) fn expect_stalls(&mut self, stalls: bool) {
        if let Sender::Http1(http1) = &mut self.sender
            && http1.stalls != stalls
        {
            http1.stalls = stalls;
            expect_stalls(&http1.socket, stalls).ok();
        }
    }

    /// Sends the request and waits for the head of the response. The error holds the request if none of it was sent.
    pub(crate) fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>> + use<> {
        match &mut self.sender {
            Sender::Http1(http1) => Either::Left(http1.sender.try_send_request(request)),
            Sender::Http2(http2) => Either::Right(http2.sender.try_send_request(request)),
        }
    }

    /// Keeps the connection until its response has ended.
    pub(crate) fn lease(self, worker: &Rc<crate::worker::Worker>, progress: Progress) -> Lease {
        Lease { worker: Rc::clone(worker), connection: self, progress }
    }
}

impl Lease {
    /// Where the body of the request stands.
    pub(crate) fn upload(&self) -> Upload {
        self.progress.upload()
    }

    /// The response has ended: the connection can carry another request, if the request's body has ended, too.
    pub(crate) fn give_back(self) {
        if let Sender::Http1(http1) = self.connection.sender
            && self.progress.upload() == Upload::Ended
            && !http1.sender.is_closed()
        {
            self.worker.pool.put_idle(self.connection.address, http1);
        }
    }
}
