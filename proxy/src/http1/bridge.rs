//! A client of HTTP/1 in front of an endpoint of HTTP/2.

use std::future::poll_fn;
use std::task::{Context, Poll};

use http::header::{CONTENT_LENGTH, HOST, HeaderName, HeaderValue};
use http::uri::Uri;
use http::{Method, Request, Response, Version as HttpVersion};
use penstock_proxy_core::http1::Version;
use penstock_proxy_core::http1::framing::Framing;
use penstock_proxy_core::http1::request::RequestHead;
use penstock_proxy_core::http2::{Broken, Reason};

use crate::deliver::{Failed, MAX_LOSSES};
use crate::exchange::To;
use crate::headers;
use crate::http1::across::{Bridged, fields, status_line};
use crate::http1::call::RawCall;
use crate::http1::coming::{MAX_INTERIM, bad_answer};
use crate::http1::connection as http1;
use crate::http1::descending::kept_trailers;
use crate::http1::pipe::{Body, Broke, Pipe};
use crate::http2::ascent::{self, is_untaken};
use crate::http2::link::Stream;
use crate::http2::outlet::{Outlet, Shut};
use crate::http2::pool::{Ask, Connection};
use crate::record::Record;
use crate::refusal::Refusal;

/// The head of a request for an endpoint of HTTP/2.
pub(crate) struct Bridge {
    request: Request<()>,
    framing: Framing,
    losses: u32,
}

impl Bridge {
    pub(crate) fn new(
        connection: &http1::Connection,
        head: &RequestHead,
        framing: Framing,
        record: &mut Record,
    ) -> Result<Bridge, Refusal> {
        let request = request(connection, head, framing);
        let mut request = request.ok_or(Refusal::BadHead("an invalid head"))?;
        let peer = &connection.peer;
        let who = headers::Who { peer: &peer.text, trusted: peer.trusted, worker: &connection.worker };
        headers::request(&mut request, &who, record).map_err(|bad| Refusal::BadHead(bad.0))?;
        Ok(Bridge { request, framing, losses: 0 })
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
        let connection = call.watched(connecting).await?.map_err(Failed::NotTaken)?;
        let body = self.body(call);
        let sent = connection.send(&self.request, !body);
        let stream = sent.map_err(|broken| self.dead(call, broken, true, &connection))?;
        let mut outlet = body.then(|| Outlet::new(stream.clone()));
        let came = poll_fn(|cx| self.poll_answer(cx, call, &stream, &mut outlet, &connection)).await;
        came.map(|response| Box::new(Bridged { response, stream, connection, outlet }))
    }

    fn poll_answer(
        &mut self,
        cx: &mut Context<'_>,
        call: &mut RawCall<'_>,
        stream: &Stream,
        outlet: &mut Option<Outlet>,
        connection: &Connection,
    ) -> Poll<Result<Response<()>, Failed>> {
        if let Err(failed) = pump(call, cx, outlet) {
            return Poll::Ready(Err(failed));
        }
        while let Some(interim) = stream.interim() {
            call.interim += 1;
            if call.interim > MAX_INTERIM {
                return Poll::Ready(Err(bad_answer("too many interim answers")));
            }
            pass_interim(call, &interim);
        }
        match stream.poll_answer(cx) {
            Poll::Ready(Ok(response)) => return Poll::Ready(Ok(response)),
            Poll::Ready(Err(broken)) => {
                return Poll::Ready(Err(self.dead(call, broken, is_untaken(broken), connection)));
            }
            Poll::Pending => {}
        }
        if let Poll::Ready(Err(_)) = call.down.poll_write_out(cx, &mut call.connection.client) {
            return Poll::Ready(Err(Failed::Refused(Refusal::Hangup)));
        }
        call.poll_watch(cx).map(Err)
    }

    /// Makes the body ready, if there is one.
    fn body(&self, call: &mut RawCall<'_>) -> bool {
        let body = match self.framing {
            Framing::None | Framing::UntilClose => return false,
            Framing::Length(length) => Body::Length(length),
            Framing::Chunked => Body::Taken(Default::default()),
        };
        if call.up.is_unsent() {
            call.up = Pipe::limited(Vec::new(), body, call.connection.worker.shared.limits.body);
        }
        true
    }

    fn dead(&mut self, call: &RawCall<'_>, broken: Broken, untaken: bool, connection: &Connection) -> Failed {
        let none_taken = call.up.is_unsent();
        self.losses += 1;
        let again = none_taken
            && (untaken || call.facts.idempotent && self.framing == Framing::None)
            && self.losses <= MAX_LOSSES;
        ascent::failed(broken, again, untaken, connection)
    }
}

/// Passes 103 and the like on to a client that knows them.
fn pass_interim(call: &mut RawCall<'_>, interim: &Response<()>) {
    let status = interim.status();
    if call.facts.version == Version::Http11 && !matches!(status.as_u16(), 100 | 101) {
        let out = call.down.push();
        status_line(out, status);
        fields(out, interim.headers());
        out.extend_from_slice(b"\r\n");
    }
}

/// The head as HTTP/2 has it.
fn request(connection: &http1::Connection, head: &RequestHead, framing: Framing) -> Option<Request<()>> {
    let bytes = connection.client.inlet.bytes();
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(head.method.bytes(bytes)).ok()?;
    *request.uri_mut() = Uri::try_from(head.line_target.bytes(bytes)).ok()?;
    let old = head.version == Version::Http10;
    *request.version_mut() = if old { HttpVersion::HTTP_10 } else { HttpVersion::HTTP_11 };
    let headers = request.headers_mut();
    for field in head.fields.iter() {
        let name = HeaderName::from_bytes(field.name.bytes(bytes)).ok()?;
        headers.append(name, HeaderValue::from_bytes(field.value.bytes(bytes)).ok()?);
    }
    if framing == Framing::Chunked {
        headers.remove(CONTENT_LENGTH);
    }
    if let Some(host) = head.host(bytes) {
        headers.insert(HOST, HeaderValue::from_bytes(host).ok()?);
    }
    Some(request)
}

/// Hands what the client sends to the endpoint's connection.
pub(super) fn pump(
    call: &mut RawCall<'_>,
    cx: &mut Context<'_>,
    outlet: &mut Option<Outlet>,
) -> Result<(), Failed> {
    while let Some(open) = outlet {
        match open.poll_room(cx) {
            Poll::Pending => return Ok(()),
            Poll::Ready(Ok(())) if call.up.is_read() => {
                *outlet = None;
                return Ok(());
            }
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(Shut)) => {
                call.up_stopped |= !call.up.is_read();
                *outlet = None;
                return Ok(());
            }
        }
        let given = match call.up.poll_take(cx, &mut call.connection.client) {
            Poll::Pending => return Ok(()),
            Poll::Ready(Ok(Some(piece))) => open.give(piece, call.up.is_over()),
            Poll::Ready(Ok(None)) => open.end(kept_trailers(&mut call.up)),
            Poll::Ready(Err(broke)) => {
                open.cut(Reason::CANCEL);
                return Err(Failed::Refused(refusal(&broke)));
            }
        };
        if given.is_err() {
            call.up_stopped |= !call.up.is_read();
            *outlet = None;
        }
    }
    Ok(())
}

fn refusal(broke: &Broke) -> Refusal {
    match broke {
        Broke::Framing(what) => Refusal::BadHead(what),
        Broke::TooLong => Refusal::TooLong,
        Broke::Source | Broke::Cut | Broke::Sink(_) => Refusal::GoneClient,
    }
}
