//! A response on its way to the client, while the rest of the request's body may still be on its way to the endpoint.

use std::future::poll_fn;
use std::task::{Context, Poll};

use penstock_proxy_api::Culprit;
use penstock_proxy_core::balance::Tick;
use penstock_proxy_core::http1::Version;
use penstock_proxy_core::http1::framing::Framing;
use penstock_proxy_core::http1::rewrite::{self, Back, BodyGoes};

use crate::http1::alarm::NEVER;
use crate::http1::call::{RawAnswer, RawCall};
use crate::http1::connection::Next;
use crate::http1::pipe::{Body, Broke, Waits};
use crate::http1::side::Side;
use crate::http1::watch::HALF_CLOSED;
use crate::record::Record;

/// Passes a response on to the client.
pub(crate) async fn relay(call: &mut RawCall<'_>, answer: RawAnswer, record: Record) -> Next {
    let RawAnswer { mut upstream, head, length, framing } = answer;
    let (body, goes) = body(framing, call.facts.version);
    let close = call.closes() || goes == BodyGoes::UntilClose;
    let back = Back { version: call.facts.version, close, body: goes };
    let reusable = head.keeps_alive() && framing != Framing::UntilClose;
    rewrite::response(call.down.push(), upstream.side.inlet.bytes(), &head, back);
    call.connection.worker.give_answer(head);
    upstream.side.inlet.consume(length);
    call.down.begin(body);
    let mut relay = Relay { call, stall_at: NEVER, waited: false };
    relay.call.connection.alarm.set(NEVER);
    let end = poll_fn(|cx| relay.poll(cx, &mut upstream.side)).await;
    if relay.waited {
        call.connection.worker.now();
    }
    match end {
        Ok(()) => {
            record.finish();
            if reusable && call.up.is_done() && !call.up_stopped && upstream.side.inlet.is_empty() {
                let worker = &call.connection.worker;
                worker.kept.put(upstream, worker.clock());
            }
            call.next(close)
        }
        Err(culprit) => {
            blame(record, culprit);
            if goes == BodyGoes::UntilClose {
                call.connection.client.reset();
            }
            Next::Close
        }
    }
}

fn blame(mut record: Record, culprit: Culprit) {
    record.blame(culprit);
}

/// How a body passes to a client of this version.
fn body(framing: Framing, version: Version) -> (Body, BodyGoes) {
    match (framing, version) {
        (Framing::None, _) => (Body::Ended, BodyGoes::AsItComes),
        (Framing::Length(length), _) => (Body::Length(length), BodyGoes::AsItComes),
        (Framing::Chunked, Version::Http11) => (Body::Chunked(Default::default()), BodyGoes::AsItComes),
        (Framing::Chunked, Version::Http10) => (Body::Unchunked(Default::default()), BodyGoes::UntilClose),
        (Framing::UntilClose, Version::Http11) => (Body::InChunks, BodyGoes::InChunks),
        (Framing::UntilClose, Version::Http10) => (Body::UntilClose, BodyGoes::UntilClose),
    }
}

struct Relay<'r, 'c> {
    call: &'r mut RawCall<'c>,
    /// When a client that neither takes nor sends is given up.
    stall_at: Tick,
    /// Time has passed.
    waited: bool,
}

impl Relay<'_, '_> {
    /// Moves both bodies until that of the response has ended. Errors: whose fault the end is.
    fn poll(&mut self, cx: &mut Context<'_>, upstream: &mut Side) -> Poll<Result<(), Culprit>> {
        let call = &mut *self.call;
        if !call.up_stopped {
            match call.up.poll(cx, &mut call.connection.client, upstream) {
                Poll::Pending | Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(Broke::Sink(_))) => call.up_stopped = true,
                Poll::Ready(Err(Broke::Source | Broke::Cut | Broke::Framing(_) | Broke::TooLong)) => {
                    return Poll::Ready(Err(Culprit::Client));
                }
            }
        }
        match call.down.poll(cx, upstream, &mut call.connection.client) {
            Poll::Ready(Ok(())) => return Poll::Ready(Ok(())),
            Poll::Ready(Err(Broke::Sink(_))) => return Poll::Ready(Err(Culprit::Client)),
            Poll::Ready(Err(Broke::Source | Broke::Cut | Broke::Framing(_) | Broke::TooLong)) => {
                return Poll::Ready(Err(Culprit::Upstream));
            }
            Poll::Pending => {}
        }
        self.watch(cx)
    }

    /// Looks after a client that hangs up, or does not move.
    fn watch(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Culprit>> {
        self.waited = true;
        let call = &mut *self.call;
        let client = &mut call.connection.client;
        while (call.up.is_read() || call.up_stopped) && !client.ended && client.inlet.has_room() {
            match client.poll_fill(cx, false) {
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Culprit::Client)),
                Poll::Pending => break,
            }
        }
        let sends = !call.up_stopped && !call.up.is_read() && call.up.waits_for() == Waits::Source;
        let waits = client.ended || sends || call.down.waits_for() == Waits::Sink;
        if waits && self.stall_at == NEVER {
            self.be_patient();
        }
        self.ring(waits)
    }

    fn be_patient(&mut self) {
        let connection = &mut self.call.connection;
        self.stall_at = if connection.client.ended {
            Tick(connection.worker.now().0 + HALF_CLOSED)
        } else {
            connection.worker.stalled_at()
        };
        connection.alarm.set(self.stall_at);
    }

    fn ring(&mut self, waits: bool) -> Poll<Result<(), Culprit>> {
        let connection = &self.call.connection;
        if !connection.alarm.has_rung() || !connection.alarm.is_over(connection.worker.now()) {
            return Poll::Pending;
        }
        let moved = self.call.up.take_progress() | self.call.down.take_progress();
        if waits && !moved {
            return Poll::Ready(Err(Culprit::Client));
        }
        self.stall_at = NEVER;
        if waits {
            self.be_patient();
        }
        Poll::Pending
    }
}
