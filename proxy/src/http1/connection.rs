//! A client's connection: one request after the other.

use std::future::poll_fn;
use std::net::IpAddr;
use std::rc::Rc;
use std::task::{Context, Poll};

use penstock_proxy_api::Culprit;
use penstock_proxy_core::balance::Tick;
use penstock_proxy_core::head::Head;
use penstock_proxy_core::http1::request::{BadRequest, MAX_HEAD, RequestHead};
use penstock_proxy_core::http1::{Parsed, may_be_complete};

use crate::exchange::exchange;
use crate::http1::alarm::{Alarm, NEVER};
use crate::http1::call::RawCall;
use crate::http1::goodbye;
use crate::http1::pipe::{Body, Pipe};
use crate::http1::porch::{Porch, Seat};
use crate::http1::side::Side;
use crate::lane::Desk;
use crate::record::Record;
use crate::refusal::Refusal;
use crate::worker::Worker;

/// The same for a connection that was accepted before the end and has sent nothing before it.
const LATECOMERS: u64 = 1000;

/// A client's connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) worker: Rc<Worker>,
    pub(crate) lane: Rc<Desk>,
    pub(crate) client: Side,
    pub(crate) peer: Peer,
    pub(crate) alarm: Alarm,
    seat: Seat,
    /// Whether it has carried a request.
    served: bool,
}

/// Who the client is.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Its address in words.
    pub(crate) text: Box<str>,
    /// Whether it is believed what it says of others.
    pub(crate) trusted: bool,
}

impl Peer {
    pub(crate) fn new(address: IpAddr, worker: &Worker) -> Peer {
        let address = address.to_canonical();
        Peer { text: address.to_string().into(), trusted: worker.shared.limits.trust.covers(address) }
    }
}

/// What becomes of a connection after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// It can carry another one.
    Request,
    /// It ends.
    Close,
    /// It ends, and the client may still be sending.
    Goodbye,
}

/// Of what can't be read nothing is known.
struct NoHead;

impl Head for NoHead {
    fn method(&self) -> &str {
        ""
    }

    fn path(&self) -> &str {
        ""
    }

    fn query(&self) -> Option<&str> {
        None
    }

    fn values<'a>(&'a self, _: &'a str) -> impl Iterator<Item = &'a [u8]> {
        std::iter::empty()
    }
}

/// What a client sends.
enum Heard {
    /// A request whose head has so many bytes.
    Request(Box<RequestHead>, usize),
    /// What can't be read.
    Bad(BadRequest),
    /// A head that takes too long.
    Slow,
    /// No further request.
    Nothing,
}

/// Serves a client until its connection ends.
pub(crate) async fn serve(client: Side, lane: Rc<Desk>, worker: Rc<Worker>, peer: Peer, porch: Rc<Porch>) {
    Connection::new(client, lane, worker, peer, porch).await.run().await;
}

/// Tells a client that there is no place for it.
pub(crate) async fn turn_away(
    client: Side,
    lane: Rc<Desk>,
    worker: Rc<Worker>,
    peer: Peer,
    porch: Rc<Porch>,
) {
    let mut connection = Connection::new(client, lane, worker, peer, porch).await;
    if connection.client.speaks_http2() {
        let mut record = Record::begin(&connection.worker, &connection.lane);
        record.describe(&NoHead, &connection.peer.text);
        record.blame(Culprit::Proxy);
        connection.send(NO_STREAMS.to_vec()).await;
    } else {
        connection.turn_away(&Refusal::Crowd).await;
    }
    goodbye::say(&mut connection.client, &connection.alarm, &connection.worker).await;
}

/// What a client of HTTP/2 is told for whom there is no place (RFC 9113 section 6.8): SETTINGS, and a GOAWAY with
/// ENHANCE_YOUR_CALM. It says that no stream has been taken, and so all can be sent to somebody else.
const NO_STREAMS: &[u8; 26] = b"\0\0\0\x04\0\0\0\0\0\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\x0b";

impl Connection {
    async fn new(
        client: Side,
        lane: Rc<Desk>,
        worker: Rc<Worker>,
        peer: Peer,
        porch: Rc<Porch>,
    ) -> Connection {
        let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
        let alarm = worker.alarms.alarm(waker);
        let seat = porch.enter(alarm.bell());
        worker.now();
        Connection { worker, lane, client, peer, alarm, seat, served: false }
    }

    async fn run(mut self) {
        loop {
            let next = match self.hear().await {
                Heard::Request(head, length) => {
                    self.served = true;
                    let (lane, worker) = (Rc::clone(&self.lane), Rc::clone(&self.worker));
                    let mut call = RawCall::new(&mut self, &head, length);
                    let next = exchange(&lane, &worker, &mut call).await;
                    drop(call);
                    worker.give_head(head);
                    next
                }
                Heard::Bad(bad) => self.turn_away(&Refusal::Unreadable(bad)).await,
                Heard::Slow => self.turn_away(&Refusal::SlowHead).await,
                Heard::Nothing => Next::Close,
            };
            match next {
                Next::Request => {}
                Next::Close => return,
                Next::Goodbye => return goodbye::say(&mut self.client, &self.alarm, &self.worker).await,
            }
        }
    }

    /// Whether clients are to open their next connection elsewhere.
    pub(crate) fn is_leaving(&self) -> bool {
        self.seat.is_stopping() || self.worker.shared.is_leaving()
    }

    /// Waits for the head of a request.
    async fn hear(&mut self) -> Heard {
        let mut hearing = Hearing { head: self.worker.take_head(), seen: 0, stop_at: NEVER };
        let patience = u64::try_from(self.worker.shared.limits.head_timeout.as_millis()).unwrap_or(u64::MAX);
        self.alarm.set(Tick(self.worker.clock().0.saturating_add(patience)));
        let heard = poll_fn(|cx| hearing.poll(self, cx)).await;
        match heard {
            Ok(length) => Heard::Request(hearing.head, length),
            Err(other) => {
                self.worker.give_head(hearing.head);
                other
            }
        }
    }

    /// Answers what is no request.
    async fn turn_away(&mut self, refusal: &Refusal) -> Next {
        let mut record = Record::begin(&self.worker, &self.lane);
        record.describe(&NoHead, &self.peer.text);
        let mut out = self.worker.buffers.head();
        refusal.write(&mut out, &mut record, true, false);
        self.send(out).await;
        Next::Goodbye
    }

    /// Sends these bytes to the client, or not, if it is gone.
    pub(crate) async fn send(&mut self, bytes: Vec<u8>) -> bool {
        let mut pipe = Pipe::new(bytes, Body::Ended);
        self.alarm.set(self.worker.stalled_at());
        let sent = poll_fn(|cx| {
            if self.alarm.has_rung() && self.alarm.is_over(self.worker.now()) {
                return Poll::Ready(false);
            }
            pipe.poll_write_out(cx, &mut self.client).map(|written| written.is_ok())
        });
        let sent = sent.await;
        self.worker.buffers.give_head(pipe.take_memory());
        sent
    }
}

/// A head that is coming.
struct Hearing {
    head: Box<RequestHead>,
    /// So many bytes have been looked at and are no head.
    seen: usize,
    /// When not to wait any more, because the listener has stopped.
    stop_at: Tick,
}

impl Hearing {
    fn poll(&mut self, connection: &mut Connection, cx: &mut Context<'_>) -> Poll<Result<usize, Heard>> {
        loop {
            if let Some(heard) = self.look(connection) {
                return Poll::Ready(heard);
            }
            if !connection.client.inlet.has_room() {
                connection.client.inlet.grow();
            }
            match connection.client.poll_fill(cx, false) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(Heard::Nothing)),
                Poll::Ready(Ok(_)) => {}
                Poll::Pending => {
                    return self.end(connection).map_or(Poll::Pending, |end| Poll::Ready(Err(end)));
                }
            }
        }
    }

    /// Looks for a head in what is there.
    fn look(&mut self, connection: &Connection) -> Option<Result<usize, Heard>> {
        let bytes = connection.client.inlet.bytes();
        let fresh = bytes.len() > self.seen;
        if !fresh || self.seen > 0 && bytes.len() < MAX_HEAD && !may_be_complete(bytes, self.seen) {
            self.seen = bytes.len();
            return None;
        }
        self.seen = bytes.len();
        match self.head.parse(bytes) {
            Ok(Parsed::Complete(length)) => Some(Ok(length)),
            Ok(Parsed::Partial) => None,
            Err(bad) => Some(Err(Heard::Bad(bad))),
        }
    }

    /// What it ends with if there is nothing to wait for any longer. A request that has come and that this thread has not
    /// been told of is waited for.
    fn end(&mut self, connection: &Connection) -> Option<Heard> {
        let at_rest = connection.client.inlet.is_empty();
        let is_idle = || at_rest && connection.client.is_quiet();
        if connection.seat.is_stopping() {
            if connection.served && is_idle() {
                return Some(Heard::Nothing);
            }
            if self.stop_at == NEVER {
                self.stop_at = Tick(connection.worker.now().0 + LATECOMERS);
                connection.alarm.set(self.stop_at);
            }
        }
        let over = connection.alarm.has_rung() && connection.alarm.is_over(connection.worker.now());
        match over {
            true if !at_rest => Some(Heard::Slow),
            true if is_idle() => Some(Heard::Nothing),
            _ => None,
        }
    }
}
