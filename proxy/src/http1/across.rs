//! A response of HTTP/2 on its way to a client of HTTP/1.

use std::future::poll_fn;
use std::io::Write;
use std::task::{Context, Poll};

use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Response, StatusCode};
use penstock_proxy_api::Culprit;
use penstock_proxy_core::http1::Version;
use penstock_proxy_core::http1::rewrite::line;
use penstock_proxy_core::limit::BodyLimit;

use crate::http1::alarm::{NEVER, Stall};
use crate::http1::bridge::pump;
use crate::http1::call::RawCall;
use crate::http1::connection::Next;
use crate::http1::pipe::Waits;
use crate::http2::incoming::{Incoming, Piece};
use crate::http2::link::Stream;
use crate::http2::outlet::Outlet;
use crate::http2::pool;
use crate::record::Record;
use crate::{grpc, headers};

/// A response of an endpoint of HTTP/2.
pub(crate) struct Bridged {
    pub(super) response: Response<()>,
    /// Where its body comes from.
    pub(super) stream: Stream,
    /// Holds the stream.
    pub(super) connection: pool::Connection,
    /// Where the body of the request goes.
    pub(super) outlet: Option<Outlet>,
}

impl Bridged {
    pub(crate) fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// Passes the response on to the client.
    pub(crate) async fn pass_on(self: Box<Self>, call: &mut RawCall<'_>, mut record: Record) -> Next {
        let Bridged { response, stream, outlet, connection: _held } = *self;
        let (mut parts, ()) = response.into_parts();
        let incoming = Incoming::new(stream, BodyLimit::default());
        let grpc = grpc::is_grpc(&parts.headers);
        headers::response(&mut parts);
        let goes = goes(&parts, incoming.as_ref(), call);
        let close = call.closes() || goes == Goes::UntilClose;
        write_head(call.down.push(), &parts, goes, close, call.facts.version);
        call.connection.alarm.set(NEVER);
        let over = incoming.is_none();
        let last = over.then_some(parts.headers);
        let mut passing = Passing { call, incoming, outlet, stall: Stall::default(), goes, last, over };
        let end = poll_fn(|cx| passing.poll(cx)).await;
        let last = passing.last.take();
        call.connection.worker.now();
        if end.is_ok() && grpc && grpc::is_failure(last.as_ref()) {
            record.blame(Culprit::Upstream);
        }
        match end {
            Ok(()) => {
                record.finish();
                call.next(close)
            }
            Err(culprit) => {
                record.blame(culprit);
                drop(record);
                if goes == Goes::UntilClose {
                    call.connection.client.reset();
                }
                Next::Close
            }
        }
    }
}

/// How a body goes to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goes {
    Nothing,
    ByLength,
    InChunks,
    UntilClose,
}

fn goes(parts: &http::response::Parts, incoming: Option<&Incoming>, call: &RawCall<'_>) -> Goes {
    let bodiless = call.facts.to_head || matches!(parts.status.as_u16(), 100..=199 | 204 | 304);
    match call.facts.version {
        _ if bodiless => Goes::Nothing,
        _ if parts.headers.contains_key(CONTENT_LENGTH) || incoming.is_none() => Goes::ByLength,
        Version::Http11 => Goes::InChunks,
        Version::Http10 => Goes::UntilClose,
    }
}

fn write_head(out: &mut Vec<u8>, parts: &http::response::Parts, goes: Goes, close: bool, version: Version) {
    status_line(out, parts.status);
    fields(out, &parts.headers);
    match goes {
        Goes::InChunks => line(out, b"transfer-encoding", b"chunked"),
        Goes::ByLength if !parts.headers.contains_key(CONTENT_LENGTH) => line(out, b"content-length", b"0"),
        Goes::Nothing | Goes::ByLength | Goes::UntilClose => {}
    }
    match (close, version) {
        (true, _) => line(out, b"connection", b"close"),
        (false, Version::Http10) => line(out, b"connection", b"keep-alive"),
        (false, Version::Http11) => {}
    }
    out.extend_from_slice(b"\r\n");
}

pub(super) fn status_line(out: &mut Vec<u8>, status: StatusCode) {
    let reason = status.canonical_reason().unwrap_or_default();
    write!(out, "HTTP/1.1 {} {reason}\r\n", status.as_u16()).ok();
}

pub(super) fn fields(out: &mut Vec<u8>, fields: &HeaderMap) {
    fields.iter().for_each(|(name, value)| line(out, name.as_str().as_bytes(), value.as_bytes()));
}

/// A response on its way, and the rest of its request.
struct Passing<'p, 'c> {
    call: &'p mut RawCall<'c>,
    incoming: Option<Incoming>,
    outlet: Option<Outlet>,
    stall: Stall,
    goes: Goes,
    /// The trailers, or the head of a response without a body.
    last: Option<HeaderMap>,
    over: bool,
}

impl Passing<'_, '_> {
    /// Errors: whose fault the end is.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Culprit>> {
        if pump(self.call, cx, &mut self.outlet).is_err() {
            return Poll::Ready(Err(Culprit::Client));
        }
        loop {
            match self.call.down.poll_write_out(cx, &mut self.call.connection.client) {
                Poll::Ready(Ok(())) if self.over => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Culprit::Client)),
                Poll::Pending => return self.watch(cx),
            }
            let Some(incoming) = &mut self.incoming else { return Poll::Ready(Ok(())) };
            match incoming.poll_piece(cx) {
                Poll::Ready(Some(Ok(piece))) => self.push(piece),
                Poll::Ready(Some(Err(_))) => return Poll::Ready(Err(Culprit::Upstream)),
                Poll::Ready(None) => self.end(),
                Poll::Pending => return self.watch(cx),
            }
        }
    }

    fn push(&mut self, piece: Piece) {
        match piece {
            Piece::Data(data) if data.is_empty() => {}
            Piece::Data(data) => {
                let out = self.call.down.push();
                if self.goes == Goes::InChunks {
                    write!(out, "{:x}\r\n", data.len()).ok();
                }
                if self.goes != Goes::Nothing {
                    out.extend_from_slice(&data);
                }
                if self.goes == Goes::InChunks {
                    out.extend_from_slice(b"\r\n");
                }
            }
            Piece::Trailers(trailers) => self.last = Some(trailers),
        }
    }

    fn end(&mut self) {
        self.over = true;
        if self.goes != Goes::InChunks {
            return;
        }
        let out = self.call.down.push();
        out.extend_from_slice(b"0\r\n");
        for (name, value) in self.last.iter().flatten() {
            line(out, name.as_str().as_bytes(), value.as_bytes());
        }
        out.extend_from_slice(b"\r\n");
    }

    /// Looks after a client that hangs up, or does not move.
    fn watch(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Culprit>> {
        let call = &mut *self.call;
        let client = &mut call.connection.client;
        while (call.up.is_read() || call.up_stopped) && !client.ended && client.inlet.has_room() {
            match client.poll_fill(cx, false) {
                Poll::Ready(Ok(count)) if count > 0 => {}
                Poll::Ready(_) => return Poll::Ready(Err(Culprit::Client)),
                Poll::Pending => break,
            }
        }
        let blocked = !call.down.is_flushed() && call.down.waits_for() == Waits::Sink;
        let (alarm, worker) = (&call.connection.alarm, &call.connection.worker);
        if self.stall.is_over(alarm, worker, blocked, || call.down.take_progress()) {
            return Poll::Ready(Err(Culprit::Client));
        }
        Poll::Pending
    }
}
