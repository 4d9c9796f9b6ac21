//! A client of HTTP/1 in front of an endpoint of HTTP/2.

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll};

use http::header::{HOST, HeaderName, HeaderValue};
use http::uri::Uri;
use http::{Method, Request, Version as HttpVersion, request};
use penstock_proxy_core::http1::Version;
use penstock_proxy_core::http1::framing::Framing;
use penstock_proxy_core::http1::request::RequestHead;

use crate::body::RequestBody;
use crate::deliver::{Failed, MAX_LOSSES};
use crate::exchange::To;
use crate::http1::across::Bridged;
use crate::http1::call::RawCall;
use crate::http1::connection::Connection;
use crate::http1::pipe::{Body, Broke, Pipe};
use crate::pool::Ask;
use crate::reach::Wire;
use crate::record::Record;
use crate::refusal::Refusal;
use crate::slot::{Giver, slot};
use crate::{forward, headers};

/// The head of a request for an endpoint of HTTP/2.
pub(crate) struct Bridge {
    parts: request::Parts,
    framing: Framing,
    losses: u32,
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
            call.up = Pipe::limited(Vec::new(), body, call.connection.worker.shared.limits.body);
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
pub(super) fn pump(
    call: &mut RawCall<'_>,
    cx: &mut Context<'_>,
    giver: &mut Option<Giver>,
) -> Result<(), Failed> {
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
            Poll::Ready(Err(Broke::TooLong)) => return Err(Failed::Refused(Refusal::TooLong)),
            Poll::Ready(Err(_)) => return Err(Failed::Refused(Refusal::GoneClient)),
        }
    }
    Ok(())
}
