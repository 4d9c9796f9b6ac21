//! A client's connection of HTTP/2: a task for each of its streams.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Ping, PingPong, RecvStream};
use http::Request;
use penstock_proxy_core::balance::Tick;

use crate::begun::Begun;
use crate::http1::alarm::{Alarm, NEVER};
use crate::http1::connection::Peer;
use crate::http1::porch::{Porch, Seat};
use crate::http2::crew::Job;
use crate::lane::Desk;
use crate::worker::Worker;

/// Largest head of a request.
const MAX_HEAD: u32 = 96 << 10;
const MAX_STREAMS: u32 = 256;
/// How much of one body a client may send before the endpoint takes it, and how much of all of them.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 2 << 20;
/// Most of one answer that is held while the client's connection takes nothing.
const SEND_BUFFER: usize = 64 << 10;
/// How long a client may take to answer a ping, in milliseconds.
const PONG: u64 = 20_000;

/// Serves a client until its connection ends.
pub(crate) async fn serve(stream: Begun, lane: Rc<Desk>, worker: Rc<Worker>, peer: Peer, porch: Rc<Porch>) {
    let limit = worker.shared.limits.head_timeout;
    let Ok(Ok(connection)) = tokio::time::timeout(limit, builder().handshake(stream)).await else { return };
    let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
    let alarm = worker.alarms.alarm(waker);
    let seat = porch.enter(alarm.bell());
    let mut serving = Serving {
        pulse: Pulse::new(limit),
        streams: Streams { lane, worker, peer: Rc::new(peer) },
        connection,
        alarm,
        seat,
        stopping: false,
    };
    serving.begin();
    if let Err(error) = poll_fn(|cx| serving.poll(cx)).await {
        let rollout = &serving.streams.lane.rollout;
        tracing::trace!(%error, rollout, "connection ended");
    }
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder
        .max_header_list_size(MAX_HEAD)
        .max_concurrent_streams(MAX_STREAMS)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER);
    builder
}

struct Serving {
    connection: Connection<Begun, Bytes>,
    streams: Streams,
    pulse: Pulse,
    alarm: Alarm,
    seat: Seat,
    /// The client has been told that the connection ends.
    stopping: bool,
}

impl Serving {
    fn begin(&mut self) {
        self.pulse.ping = self.connection.ping_pong();
        self.alarm.set(Tick(self.streams.worker.now().0.saturating_add(self.pulse.interval)));
    }

    /// Accepts streams until the connection has ended.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.seat.is_stopping() && !self.stopping {
            self.stopping = true;
            self.connection.graceful_shutdown();
        }
        if self.pulse.poll(cx, &self.alarm, &self.streams.worker).is_err() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        loop {
            match self.connection.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, respond)))) => self.streams.serve(request, respond),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(io::Error::other(error))),
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

/// What all streams of a connection need.
struct Streams {
    lane: Rc<Desk>,
    worker: Rc<Worker>,
    peer: Rc<Peer>,
}

impl Streams {
    fn serve(&self, request: Request<RecvStream>, respond: SendResponse<Bytes>) {
        let (lane, peer, token) = (Rc::clone(&self.lane), Rc::clone(&self.peer), self.worker.tasks.token());
        self.worker.crew.serve(&self.worker, Job { lane, peer, request, respond, token });
    }
}

/// Asks a client whether it is still there.
struct Pulse {
    /// How often, in milliseconds.
    interval: u64,
    ping: Option<PingPong>,
    /// An answer is due.
    asked: bool,
}

/// The client has not answered.
struct Silent;

impl Pulse {
    fn new(interval: Duration) -> Pulse {
        Pulse { interval: u64::try_from(interval.as_millis()).unwrap_or(u64::MAX), ping: None, asked: false }
    }

    fn poll(&mut self, cx: &mut Context<'_>, alarm: &Alarm, worker: &Worker) -> Result<(), Silent> {
        let Some(ping) = &mut self.ping else { return Ok(()) };
        let set = |wait: u64| alarm.set(Tick(worker.now().0.saturating_add(wait).min(NEVER.0 - 1)));
        if self.asked && ping.poll_pong(cx).is_ready() {
            self.asked = false;
            set(self.interval);
        }
        if !alarm.has_rung() || !alarm.is_over(worker.now()) {
            return Ok(());
        }
        if self.asked {
            return Err(Silent);
        }
        self.asked = ping.send_ping(Ping::opaque()).is_ok() && ping.poll_pong(cx).is_pending();
        set(if self.asked { PONG } else { self.interval });
        Ok(())
    }
}
