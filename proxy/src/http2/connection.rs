//! A client's connection of HTTP/2: a task for each of its streams.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use penstock_proxy_core::balance::Tick;
use penstock_proxy_core::http2::Limits;
use penstock_proxy_core::http2::request::RequestHead;
use penstock_proxy_core::http2::session::{Role, Session};

use crate::http1::alarm::{Alarm, NEVER};
use crate::http1::connection::Peer;
use crate::http1::goodbye;
use crate::http1::porch::{Porch, Seat};
use crate::http1::side::Side;
use crate::http2::crew::Job;
use crate::http2::link::{Link, Moved, Stream};
use crate::lane::Desk;
use crate::worker::Worker;

const LIMITS: Limits = Limits {
    head: 96 << 10,
    streams: 256,
    // How much of one body a client may send before the endpoint takes it, and how much of all of them.
    stream_window: 256 << 10,
    connection_window: 2 << 20,
};
/// How long a client may take to answer a ping, in milliseconds.
const PONG: u64 = 20_000;

/// Serves a client until its connection ends. Its first bytes have been read.
pub(crate) async fn serve(side: Side, lane: Rc<Desk>, worker: Rc<Worker>, peer: Peer, porch: Rc<Porch>) {
    let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
    let alarm = worker.alarms.alarm(waker);
    let seat = porch.enter(alarm.bell());
    let link = Link::new(Session::new(Role::Server, LIMITS));
    let pulse = Pulse::new(worker.shared.limits.head_timeout);
    let streams = Streams { link, lane, worker, peer: Rc::new(peer) };
    let mut serving = Serving { side, streams, pulse, alarm, seat };
    serving.begin();
    if poll_fn(|cx| serving.poll(cx)).await.is_err() {
        return;
    }
    let Serving { mut side, streams, alarm, .. } = serving;
    let takes_leave = streams.link.session().takes_leave();
    if takes_leave {
        goodbye::say(&mut side, &alarm, &streams.worker).await;
    }
}

struct Serving {
    side: Side,
    streams: Streams,
    pulse: Pulse,
    alarm: Alarm,
    seat: Seat,
}

impl Serving {
    fn begin(&mut self) {
        let now = self.streams.worker.now();
        self.alarm.set(Tick(now.0.saturating_add(self.pulse.interval)));
        let mut session = self.streams.link.session();
        session.tick(now.0);
        let used = session.receive(self.side.inlet.bytes());
        self.side.inlet.consume(used);
        drop(session);
        self.streams.serve_all();
    }

    /// Serves streams until the connection has ended. Errors: the client is silent.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Silent>> {
        let Streams { link, worker, .. } = &self.streams;
        {
            let mut session = link.session();
            if self.seat.is_stopping() {
                session.shut_down();
            }
            session.tick(worker.now().0);
            if let Err(silent) = self.pulse.poll(&mut session, &self.alarm, worker) {
                session.lose(std::io::ErrorKind::TimedOut);
                return Poll::Ready(Err(silent));
            }
        }
        loop {
            match link.poll(cx, &mut self.side) {
                Poll::Ready(Moved::Some) => self.streams.serve_all(),
                Poll::Ready(Moved::Over) => return Poll::Ready(Ok(())),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

/// What all streams of a connection need.
struct Streams {
    link: Rc<Link>,
    lane: Rc<Desk>,
    worker: Rc<Worker>,
    peer: Rc<Peer>,
}

impl Streams {
    fn serve_all(&self) {
        while let Some((stream, request)) = self.link.accept() {
            self.serve(stream, request);
        }
    }

    fn serve(&self, stream: Stream, request: RequestHead) {
        let (lane, peer, token) = (Rc::clone(&self.lane), Rc::clone(&self.peer), self.worker.tasks.token());
        self.worker.crew.serve(&self.worker, Job { lane, peer, request, stream, token });
    }
}

/// Asks a client whether it is still there.
struct Pulse {
    /// How often, in milliseconds.
    interval: u64,
    /// An answer is due.
    asked: bool,
}

/// The client has not answered.
struct Silent;

impl Pulse {
    fn new(interval: Duration) -> Pulse {
        Pulse { interval: u64::try_from(interval.as_millis()).unwrap_or(u64::MAX), asked: false }
    }

    fn poll(&mut self, session: &mut Session, alarm: &Alarm, worker: &Worker) -> Result<(), Silent> {
        let set = |wait: u64| alarm.set(Tick(worker.now().0.saturating_add(wait).min(NEVER.0 - 1)));
        if self.asked && session.has_answered() {
            self.asked = false;
            set(self.interval);
        }
        if !alarm.has_rung() || !alarm.is_over(worker.now()) {
            return Ok(());
        }
        if self.asked || session.ended_here().is_some() || !session.is_settled() {
            return Err(Silent);
        }
        self.asked = session.ping();
        set(if self.asked { PONG } else { self.interval });
        Ok(())
    }
}
