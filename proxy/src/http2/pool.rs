//! Connections to endpoints of HTTP/2: a pool for each thread, never shared.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::Context;
use std::time::{Duration, Instant};

use http::Request;
use penstock_proxy_core::http2::session::{Role, Session};
use penstock_proxy_core::http2::{Broken, Limits};

use crate::http1::buffer::Buffers;
use crate::http1::side::Side;
use crate::http2::link::{Link, Moved, Stream};
use crate::reach::{open, patience};

/// How long a connection without streams is kept.
const IDLE: Duration = Duration::from_secs(30);
/// Most connections to one endpoint.
const MAX_CONNECTIONS: usize = 16;
/// Most requests on one connection, as long as another one can be opened.
const MAX_STREAMS: usize = 100;
/// Largest head of a response.
const MAX_HEAD: usize = 64 << 10;
/// How much of an answer an endpoint may send before the client takes it.
const STREAM_WINDOW: u32 = 128 << 10;
/// How much of all answers of a connection: no bound of its own, or a few clients that don't read would hold up all the
/// others that share it.
const CONNECTION_WINDOW: u32 = (1 << 31) - 1;

/// One thread's connections.
#[derive(Debug)]
pub(crate) struct Pool {
    hosts: RefCell<HashMap<SocketAddr, Host>>,
    buffers: Rc<Buffers>,
}

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

/// An open connection. It ends when nobody has it any more.
#[derive(Debug)]
struct Http2 {
    link: Rc<Link>,
    state: Rc<State>,
}

impl Clone for Http2 {
    fn clone(&self) -> Http2 {
        Http2::new(Rc::clone(&self.link), Rc::clone(&self.state))
    }
}

impl Drop for Http2 {
    fn drop(&mut self) {
        self.link.session().leave();
    }
}

impl Http2 {
    fn new(link: Rc<Link>, state: Rc<State>) -> Http2 {
        link.session().join();
        Http2 { link, state }
    }

    /// Whether it takes another request: it has not ended, and the endpoint has not said that it will.
    fn is_open(&self) -> bool {
        self.link.session().check_open().is_ok()
    }
}

#[derive(Debug)]
struct State {
    streams: Cell<usize>,
    used: Cell<Instant>,
}

/// What connection is asked for.
#[derive(Clone, Copy)]
pub(crate) struct Ask<'a> {
    /// None that has carried a request before.
    pub(crate) fresh: bool,
    /// Whether it has to open soon or not at all.
    pub(crate) hurry: &'a dyn Fn() -> bool,
}

/// A connection that carries a request, and as a rule others. Counts as a stream.
#[derive(Debug)]
pub(crate) struct Connection {
    http2: Http2,
    reused: bool,
}

impl Pool {
    pub(crate) fn new(buffers: &Rc<Buffers>) -> Pool {
        Pool { hosts: RefCell::default(), buffers: Rc::clone(buffers) }
    }

    /// A connection to `address`: an open one, unless a fresh one is wanted, or a new one.
    pub(crate) async fn connect(&self, address: SocketAddr, ask: Ask<'_>) -> io::Result<Connection> {
        if !ask.fresh
            && let Some(connection) = self.find(address)
        {
            return Ok(connection);
        }
        self.open_one(address, ask).await
    }

    async fn open_one(&self, address: SocketAddr, ask: Ask<'_>) -> io::Result<Connection> {
        let asked = Instant::now();
        let opening = Rc::clone(&self.hosts.borrow_mut().entry(address).or_default().opening);
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

    /// An open connection with room for another stream.
    pub(crate) fn find(&self, address: SocketAddr) -> Option<Connection> {
        let mut hosts = self.hosts.borrow_mut();
        let open = &mut hosts.get_mut(&address)?.open;
        loop {
            let full = open.len() >= MAX_CONNECTIONS;
            let (index, least) = open.iter().enumerate().min_by_key(|(_, h)| h.state.streams.get())?;
            if !least.is_open() {
                open.swap_remove(index);
                continue;
            }
            let most = (least.link.session().max_streams() as usize).min(MAX_STREAMS);
            let room = least.state.streams.get() < most;
            return (room || full).then(|| Connection::new(least.clone(), true));
        }
    }

    async fn open(&self, address: SocketAddr, patience: Duration) -> io::Result<Connection> {
        let stream = open(address, patience).await?;
        let state = State { streams: Cell::new(0), used: Cell::new(Instant::now()) };
        let link = Link::new(Session::new(Role::Client, LIMITS));
        let http2 = Http2::new(Rc::clone(&link), Rc::new(state));
        tokio::task::spawn_local(drive(link, Side::new(stream, &self.buffers)));
        self.hosts.borrow_mut().entry(address).or_default().open.push(http2.clone());
        Ok(Connection::new(http2, false))
    }

    /// Lets no further request share the connections to an endpoint.
    pub(crate) fn forget(&self, address: SocketAddr) {
        if let Some(host) = self.hosts.borrow_mut().get_mut(&address) {
            host.open = Vec::new();
        }
    }

    /// Closes connections that have been idle for too long, and forgets endpoints without any.
    pub(crate) fn sweep(&self) {
        self.hosts.borrow_mut().retain(|_, host| {
            let in_use = |state: &State| state.streams.get() > 0 || state.used.get().elapsed() < IDLE;
            host.open.retain(|h| h.is_open() && in_use(&h.state));
            !host.open.is_empty() || Rc::strong_count(&host.opening) > 1
        });
    }
}

impl Connection {
    fn new(http2: Http2, reused: bool) -> Connection {
        http2.state.streams.set(http2.state.streams.get() + 1);
        Connection { http2, reused }
    }

    /// Whether it has carried a request before.
    pub(crate) fn is_reused(&self) -> bool {
        self.reused
    }

    /// Sends the head of a request; `whole`: that is all of it. The error says that nothing was sent, and the
    /// connection takes nothing more.
    pub(crate) fn send(&self, request: &Request<()>, whole: bool) -> Result<Stream, Broken> {
        self.http2.link.open(request, whole)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let state = &self.http2.state;
        state.streams.set(state.streams.get().saturating_sub(1));
        state.used.set(Instant::now());
    }
}

const LIMITS: Limits =
    Limits { head: MAX_HEAD, streams: 0, stream_window: STREAM_WINDOW, connection_window: CONNECTION_WINDOW };

/// Moves bytes until the connection ends.
async fn drive(link: Rc<Link>, mut side: Side) {
    let begun = Instant::now();
    let mut poll = |cx: &mut Context<'_>| {
        link.session().tick(u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX));
        link.poll(cx, &mut side)
    };
    while poll_fn(&mut poll).await == Moved::Some {}
}
