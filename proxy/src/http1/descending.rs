//! A response of HTTP/1 on its way to a client of HTTP/2.

use std::future::poll_fn;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use penstock_proxy_api::Culprit;
use penstock_proxy_core::http1::chunked::trailers;
use penstock_proxy_core::http1::framing::Framing;
use penstock_proxy_core::http1::response::ResponseHead;
use penstock_proxy_core::http1::rewrite::passing;
use penstock_proxy_core::http2::Reason;

use crate::grpc;
use crate::http1::descent::{Answered, Descent};
use crate::http1::pipe::{Body, Pipe};
use crate::http1::upstream::Upstream;
use crate::http2::caller::{Caller, Taker};
use crate::http2::incoming::Upload;
use crate::http2::outlet::Shut;
use crate::record::Record;

/// Passes the response on to the client.
pub(crate) async fn pass_on(
    descent: &mut Descent,
    answered: Answered,
    caller: &mut Caller<'_>,
    mut record: Record,
) {
    let Answered { mut upstream, head, length, framing } = answered;
    record.answered(head.status);
    let status = StatusCode::from_u16(head.status).unwrap_or(StatusCode::BAD_GATEWAY);
    let bytes = upstream.side.inlet.bytes();
    let pairs = || passing(bytes, &head).map(|field| (field.name.bytes(bytes), field.value.bytes(bytes)));
    let is_type =
        |(name, value): (&[u8], &[u8])| name.eq_ignore_ascii_case(b"content-type") && grpc::is_type(value);
    let grpc = pairs().any(is_type);
    let bodiless = matches!(framing, Framing::None | Framing::Length(0));
    if grpc && bodiless && grpc::is_failure(Some(&fields(bytes, &head, length))) {
        record.blame(Culprit::Upstream);
    }
    let client = caller.answer_with(status, pairs(), bodiless);
    let reusable = head.keeps_alive() && framing != Framing::UntilClose;
    upstream.side.inlet.consume(length);
    descent.worker.give_answer(head);
    let Some(client) = client else { return record.blame(Culprit::Client) };
    let mut descending =
        Descending { descent, client, pipe: pipe(framing), left: None, last: None, over: false };
    if let Framing::Length(length) = framing {
        descending.left = Some(length);
    }
    let end = if bodiless { Ok(()) } else { poll_fn(|cx| descending.poll(cx, &mut upstream)).await };
    match end {
        Ok(()) => {
            if grpc && !bodiless && descending.last.is_none_or(|failed| failed) {
                record.blame(Culprit::Upstream);
            }
            record.finish();
            let whole = descent.pour.is_done() && !descent.stopped && upstream.side.inlet.is_empty();
            if reusable && whole {
                let worker = &descent.worker;
                worker.kept.put(upstream, worker.clock());
            }
        }
        Err(culprit) => record.blame(culprit),
    }
}

fn pipe(framing: Framing) -> Pipe {
    let body = match framing {
        Framing::None => Body::Ended,
        Framing::Length(length) => Body::Length(length),
        Framing::Chunked => Body::Taken(Default::default()),
        Framing::UntilClose => Body::UntilClose,
    };
    Pipe::new(Vec::new(), body)
}

/// The fields that pass. Their values share one piece of memory.
pub(super) fn fields(bytes: &[u8], head: &ResponseHead, length: usize) -> HeaderMap {
    let shared = Bytes::copy_from_slice(bytes.get(..length).unwrap_or_default());
    let mut fields = HeaderMap::with_capacity(passing(bytes, head).count());
    for field in passing(bytes, head) {
        let name = HeaderName::from_bytes(field.name.bytes(bytes));
        let value = HeaderValue::from_maybe_shared(shared.slice_ref(field.value.bytes(&shared)));
        if let (Ok(name), Ok(value)) = (name, value) {
            fields.append(name, value);
        }
    }
    fields
}

/// The trailers that a pipe has kept, once.
pub(super) fn kept_trailers(pipe: &mut Pipe) -> Option<HeaderMap> {
    let section = pipe.take_memory();
    let lines = trailers(&section).ok()?;
    let read = lines.into_iter().filter_map(|(name, value)| {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        Some((name, HeaderValue::from_bytes(value).ok()?))
    });
    Some(read.collect::<HeaderMap>()).filter(|trailers| !trailers.is_empty())
}

/// The body of a response on its way, and the rest of its request.
struct Descending<'d> {
    descent: &'d mut Descent,
    client: Taker<'d>,
    pipe: Pipe,
    /// Bytes that are still to come, if that is known.
    left: Option<u64>,
    /// Whether the trailers say that a call of gRPC has failed; `None`: there are none.
    last: Option<bool>,
    over: bool,
}

impl Descending<'_> {
    /// Errors: whose fault the end is.
    fn poll(&mut self, cx: &mut Context<'_>, upstream: &mut Upstream) -> Poll<Result<(), Culprit>> {
        if self.descent.poll_upload(cx, upstream).is_err() {
            return Poll::Ready(Err(self.cut()));
        }
        loop {
            match self.client.poll_room(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Culprit::Client)),
                Poll::Ready(Ok(())) => {}
            }
            let given = match self.pipe.poll_take(cx, &mut upstream.side) {
                Poll::Pending => return self.client.outlet.poll_shut(cx).map(|Shut| Err(Culprit::Client)),
                Poll::Ready(Err(_)) => return Poll::Ready(Err(self.cut())),
                Poll::Ready(Ok(Some(data))) => self.give(data),
                Poll::Ready(Ok(None)) => self.end(),
            };
            if self.over || given.is_err() {
                return Poll::Ready(given.map_err(|Shut| Culprit::Client));
            }
        }
    }

    fn give(&mut self, data: Bytes) -> Result<(), Shut> {
        self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
        self.over = self.left == Some(0);
        self.client.outlet.give(data, self.over)
    }

    fn end(&mut self) -> Result<(), Shut> {
        self.over = true;
        let trailers = kept_trailers(&mut self.pipe);
        self.last = trailers.as_ref().map(|trailers| grpc::is_failure(Some(trailers)));
        self.client.outlet.end(trailers)
    }

    /// An answer that breaks off because the client broke off its own body is the client's doing.
    fn cut(&mut self) -> Culprit {
        self.client.outlet.cut(Reason::INTERNAL_ERROR);
        if self.descent.upload() == Upload::Broken { Culprit::Client } else { Culprit::Upstream }
    }
}
