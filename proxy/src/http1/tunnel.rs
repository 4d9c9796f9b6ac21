//! Bytes in both directions after a change of protocol (RFC 9110 section 7.8).

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::StatusCode;
use penstock_proxy_api::Culprit;
use penstock_proxy_core::balance::Tick;
use penstock_proxy_core::http1::Version;
use penstock_proxy_core::http1::rewrite::{self, Back, BodyGoes};
use tokio::io::AsyncWrite;

use crate::http1::alarm::NEVER;
use crate::http1::call::{RawAnswer, RawCall};
use crate::http1::connection::Next;
use crate::http1::pipe::{Body, Broke, Pipe};
use crate::http1::side::Side;
use crate::record::Record;

/// How long the second direction may stay silent once the first one has ended, in milliseconds.
const LINGER: u64 = 60_000;

/// Tells the client that the protocol changes, and relays until both directions have ended. A peer that never ends its
/// side after the other one has is cut off, and nobody is blamed.
pub(crate) async fn switch(call: &mut RawCall<'_>, answer: RawAnswer, mut record: Record) -> Next {
    let RawAnswer { mut upstream, head, length, .. } = answer;
    record.head(StatusCode::SWITCHING_PROTOCOLS);
    let back = Back { version: Version::Http11, close: false, body: BodyGoes::AsItComes };
    rewrite::response(call.down.push(), upstream.side.inlet.bytes(), &head, back);
    call.connection.worker.give_answer(head);
    upstream.side.inlet.consume(length);
    call.down.begin(Body::UntilClose);
    call.up.begin(Body::UntilClose);
    call.connection.alarm.set(NEVER);
    let mut tunnel = Tunnel { call, up: Way::Open, down: Way::Open, lingers: false };
    match poll_fn(|cx| tunnel.poll(cx, &mut upstream.side)).await {
        Ok(()) => record.finish(),
        Err(culprit) => record.blame(culprit),
    }
    Next::Close
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Open,
    /// Its source has ended, and its sink has to hear of it.
    Ending,
    Ended,
}

struct Tunnel<'t, 'c> {
    call: &'t mut RawCall<'c>,
    up: Way,
    down: Way,
    /// One direction has ended.
    lingers: bool,
}

impl Tunnel<'_, '_> {
    fn poll(&mut self, cx: &mut Context<'_>, upstream: &mut Side) -> Poll<Result<(), Culprit>> {
        let RawCall { connection, up, down, .. } = &mut *self.call;
        if let Err(broke) = one_way(cx, up, &mut connection.client, upstream, &mut self.up) {
            return Poll::Ready(Err(culprit(&broke, [Culprit::Client, Culprit::Upstream])));
        }
        if let Err(broke) = one_way(cx, down, upstream, &mut connection.client, &mut self.down) {
            return Poll::Ready(Err(culprit(&broke, [Culprit::Upstream, Culprit::Client])));
        }
        if (self.up, self.down) == (Way::Ended, Way::Ended) {
            return Poll::Ready(Ok(()));
        }
        let now = || connection.worker.now();
        if !self.lingers && (self.up == Way::Ended || self.down == Way::Ended) {
            self.lingers = true;
            connection.alarm.set(Tick(now().0 + LINGER));
        }
        if !connection.alarm.has_rung() || !connection.alarm.is_over(now()) {
            return Poll::Pending;
        }
        if !(up.take_progress() | down.take_progress()) {
            return Poll::Ready(Ok(()));
        }
        connection.alarm.set(Tick(now().0 + LINGER));
        Poll::Pending
    }
}

/// Moves what can be moved in one direction.
fn one_way(
    cx: &mut Context<'_>,
    pipe: &mut Pipe,
    from: &mut Side,
    to: &mut Side,
    way: &mut Way,
) -> Result<(), Broke> {
    if *way == Way::Open
        && let Poll::Ready(ended) = pipe.poll(cx, from, to)
    {
        ended?;
        *way = Way::Ending;
    }
    if *way == Way::Ending && Pin::new(&mut to.stream).poll_shutdown(cx).is_ready() {
        *way = Way::Ended;
    }
    Ok(())
}

/// Whose side failed, of those for reading and for writing.
fn culprit(broke: &Broke, of: [Culprit; 2]) -> Culprit {
    match broke {
        Broke::Source | Broke::Cut | Broke::Framing(_) | Broke::TooLong => of[0],
        Broke::Sink(_) => of[1],
    }
}
