//! A client of HTTP/1 in front of an endpoint of HTTP/2.

use std::future::poll_fn;
use std::io::Write;
use std::pin::pin;
use std::task::{Context, Poll};

use http::header::{CONTENT_LENGTH, HOST, HeaderName, HeaderValue};
use http::uri::Uri;
use http::{HeaderMap, Method, Request, Response, Version as HttpVersion, request};
use http_body::Body as HttpBody;
use hyper::body::Incoming;
use penstock_proxy_api::Culprit;
use penstock_proxy_core::balance::Tick;
use penstock_proxy_core::http1::Version;
use penstock_proxy_core::http1::framing::Framing;
use penstock_proxy_core::http1::request::RequestHead;
use penstock_proxy_core::http1::rewrite::line;

use crate::body::{RequestBody, poll_frame};
use crate::deliver::{Failed, MAX_LOSSES};
use crate::exchange::To;
use crate::http1::alarm::NEVER;
use crate::http1::call::RawCall;
use crate::http1::connection::{Connection, Next};
use crate::http1::pipe::{Body, Broke, Pipe, Waits};
use crate::http1::relay::STALL;
use crate::pool::{self, Ask};
use crate::reach::Wire;
use crate::record::Record;
use crate::refusal::Refusal;
use crate::slot::{Giver, slot};
use crate::{forward, grpc, headers};

/// The head of a request for an endpoint of HTTP/2.
pub(crate) struct Bridge {
    parts: request::Parts,
    framing: Framing,
    losses: u32,
}

/// A response of an endpoint of HTTP/2.
pub(crate) struct Bridged {
    response: Response<Incoming>,
    /// Holds the stream.
    _connection: pool::Connection,
    /// Where the body of the request goes.
    giver: Option<Giver>,
}

impl Bridge {
    pub(crate) fn new(
        connection: &Connection,
        head: &RequestHead,
        framing: Framing,
        record: &mut Record,
    ) -> Result<Bridge, Refusal> {
        let mut parts = parts(connection, head).ok_or(Refusal::BadHead("an invalid head"))?;
        let peer = HeaderValue::from_str(&connection.peer.text);
        let peer = peer.map_err(|_| Refusal::BadHead("no address"))?;
        let who = headers::Who { peer: &peer, trusted: connection.peer.trusted, worker: &connection.worker };
        headers::request(&mut parts, &who, Wire::Http2, record).map_err(|bad| Refusal::BadHead(bad.0))?;
        Ok(Bridge { parts, framing, losses: 0 })
    }

    /// Sends the request and waits for the head of the response.
    pub(crate) async fn attempt(
        mut self: Box<Self>,
        call: &mut RawCall<'_>,
        to: To<'_>,
    ) -> Result<Box<Bridged>, Failed> {
        let failed = match self.try_once(call, to).await {
            Ok(bridged) => return Ok(bridged),
            Err(failed) => failed,
        };
        call.set_bridge(self);
        Err(failed)
    }

    async fn try_once(&mut self, call: &mut RawCall<'_>, to: To<'_>) -> Result<Box<Bridged>, Failed> {
        let worker = call.connection.worker.clone();
        let ask = Ask { fresh: to.fresh, hurry: to.hurry };
        let connecting = worker.pool.connect(to.address, ask);
        let mut connection = call.watched(connecting).await?.map_err(Failed::NotTaken)?;
        let (giver, body) = self.body(call);
        let reused = connection.is_reused();
        let request = Request::from_parts(self.parts.clone(), body);
        let mut sending = pin!(connection.send(request));
        let mut giver = giver;
        let sent = poll_fn(|cx| {
            if let Poll::Ready(sent) = sending.as_mut().poll(cx) {
                return Poll::Ready(Ok(sent));
            }
            if let Err(failed) = pump(call, cx, &mut giver) {
                return Poll::Ready(Err(failed));
            }
            call.poll_watch(cx).map(Err)
        });
        match sent.await? {
            Ok(response) => Ok(Box::new(Bridged { response, _connection: connection, giver })),
            Err(mut error) => {
                let unsent = error.take_message().is_some();
                Err(self.dead(call, error.into_error(), unsent, reused))
            }
        }
    }

    fn body(&self, call: &mut RawCall<'_>) -> (Option<Giver>, RequestBody) {
        let body = match self.framing {
            Framing::None | Framing::UntilClose => return (None, RequestBody::empty()),
            Framing::Length(length) => Body::Length(length),
            Framing::Chunked => Body::Unchunked(Default::default()),
        };
        if call.up.is_unsent() {
            call.up = Pipe::new(Vec::new(), body);
        }
        let (giver, taker) = slot();
        (Some(giver), RequestBody::piped(taker, self.framing))
    }

    fn dead(&mut self, call: &RawCall<'_>, error: hyper::Error, unsent: bool, reused: bool) -> Failed {
        let none_taken = call.up.is_unsent();
        self.losses += u32::from(!unsent);
        let again = none_taken
            && (unsent || call.facts.idempotent && self.framing == Framing::None)
            && self.losses <= MAX_LOSSES;
        forward::failed(error, again, unsent, reused)
    }
}

/// The head as hyper has it.
fn parts(connection: &Connection, head: &RequestHead) -> Option<request::Parts> {
    let bytes = connection.client.inlet.bytes();
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.method = Method::from_bytes(head.method.bytes(bytes)).ok()?;
    parts.uri = Uri::try_from(head.line_target.bytes(bytes)).ok()?;
    parts.version = if head.version == Version::Http10 { HttpVersion::HTTP_10 } else { HttpVersion::HTTP_11 };
    for field in head.fields.iter() {
        let name = HeaderName::from_bytes(field.name.bytes(bytes)).ok()?;
        parts.headers.append(name, HeaderValue::from_bytes(field.value.bytes(bytes)).ok()?);
    }
    if let Some(host) = head.host(bytes) {
        parts.headers.insert(HOST, HeaderValue::from_bytes(host).ok()?);
    }
    Some(parts)
}

/// Hands what the client sends to the endpoint's connection.
fn pump(call: &mut RawCall<'_>, cx: &mut Context<'_>, giver: &mut Option<Giver>) -> Result<(), Failed> {
    while let Some(open) = giver {
        match open.poll_room(cx) {
            Poll::Pending => return Ok(()),
            Poll::Ready(false) => {
                call.up_stopped = true;
                *giver = None;
                return Ok(());
            }
            Poll::Ready(true) => {}
        }
        match call.up.poll_take(cx, &mut call.connection.client) {
            Poll::Pending => return Ok(()),
            Poll::Ready(Ok(Some(piece))) => open.give(piece),
            Poll::Ready(Ok(None)) => {
                open.end();
                *giver = None;
            }
            Poll::Ready(Err(Broke::Framing(what))) => return Err(Failed::Refused(Refusal::BadHead(what))),
            Poll::Ready(Err(_)) => return Err(Failed::Refused(Refusal::GoneClient)),
        }
    }
    Ok(())
}

impl Bridged {
    pub(crate) fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// Passes the response on to the client.
    pub(crate) async fn pass_on(self: Box<Self>, call: &mut RawCall<'_>, mut record: Record) -> Next {
        let Bridged { response, giver, _connection } = *self;
        let (mut parts, incoming) = response.into_parts();
        let grpc = grpc::is_grpc(&parts.headers);
        headers::response(&mut parts);
        let goes = goes(&parts, &incoming, call);
        let close = call.closes() || goes == Goes::UntilClose;
        write_head(call.down.push(), &parts, goes, close, call.facts.version);
        call.connection.alarm.set(NEVER);
        let ended = incoming.is_end_stream().then(|| parts.headers.clone());
        let mut passing = Passing { call, incoming, giver, goes, last: ended, over: false };
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

fn goes(parts: &http::response::Parts, incoming: &Incoming, call: &RawCall<'_>) -> Goes {
    let bodiless = call.facts.to_head || matches!(parts.status.as_u16(), 100..=199 | 204 | 304);
    match call.facts.version {
        _ if bodiless => Goes::Nothing,
        _ if parts.headers.contains_key(CONTENT_LENGTH) || incoming.is_end_stream() => Goes::ByLength,
        Version::Http11 => Goes::InChunks,
        Version::Http10 => Goes::UntilClose,
    }
}

fn write_head(out: &mut Vec<u8>, parts: &http::response::Parts, goes: Goes, close: bool, version: Version) {
    let reason = parts.status.canonical_reason().unwrap_or_default();
    write!(out, "HTTP/1.1 {} {reason}\r\n", parts.status.as_u16()).ok();
    for (name, value) in &parts.headers {
        line(out, name.as_str().as_bytes(), value.as_bytes());
    }
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

/// A response on its way, and the rest of its request.
struct Passing<'p, 'c> {
    call: &'p mut RawCall<'c>,
    incoming: Incoming,
    giver: Option<Giver>,
    goes: Goes,
    /// The trailers, or the head of a response without a body.
    last: Option<HeaderMap>,
    over: bool,
}

impl Passing<'_, '_> {
    /// Errors: whose fault the end is.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Culprit>> {
        if pump(self.call, cx, &mut self.giver).is_err() {
            return Poll::Ready(Err(Culprit::Client));
        }
        loop {
            match self.call.down.poll_write_out(cx, &mut self.call.connection.client) {
                Poll::Ready(Ok(())) if self.over => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Culprit::Client)),
                Poll::Pending => return self.watch(cx),
            }
            match poll_frame(&mut self.incoming, cx) {
                Poll::Ready(Some(Ok(frame))) => self.push(frame),
                Poll::Ready(Some(Err(_))) => return Poll::Ready(Err(Culprit::Upstream)),
                Poll::Ready(None) => self.end(),
                Poll::Pending => return self.watch(cx),
            }
        }
    }

    fn push(&mut self, frame: http_body::Frame<bytes::Bytes>) {
        match frame.into_data() {
            Ok(data) if data.is_empty() => {}
            Ok(data) => {
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
            Err(frame) => self.last = frame.into_trailers().ok(),
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
        let alarm = &call.connection.alarm;
        if !blocked {
            alarm.set(NEVER);
        } else if alarm.has_rung() && alarm.is_over(call.connection.worker.now()) {
            if !call.down.take_progress() {
                return Poll::Ready(Err(Culprit::Client));
            }
            alarm.set(Tick(call.connection.worker.now().0 + STALL));
        } else if call.down.take_progress() {
            alarm.set(Tick(call.connection.worker.now().0 + STALL));
        }
        Poll::Pending
    }
}
