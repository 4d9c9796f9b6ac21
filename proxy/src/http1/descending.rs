//! A response of HTTP/1 on its way to a client of HTTP/2.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Response, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use penstock_proxy_api::Culprit;
use penstock_proxy_core::http1::chunked::trailers;
use penstock_proxy_core::http1::framing::Framing;
use penstock_proxy_core::http1::response::ResponseHead;
use penstock_proxy_core::http1::rewrite::passing;

use crate::body::{Body, BodyError, Upload};
use crate::grpc;
use crate::http1::descent::Descent;
use crate::http1::pipe::{self, Pipe};
use crate::http1::upstream::Upstream;
use crate::record::Record;

/// The head of a response, and where the rest of it comes from.
pub(crate) struct Descended {
    pub(super) descent: Box<Descent>,
    pub(super) upstream: Box<Upstream>,
    pub(super) head: Box<ResponseHead>,
    pub(super) length: usize,
    pub(super) framing: Framing,
}

impl Descended {
    /// Makes it the client's response. The record travels in its body.
    pub(crate) fn pass_on(self, mut record: Record) -> Response<Body> {
        let Descended { descent, mut upstream, head, length, framing } = self;
        record.answered(head.status);
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::from_u16(head.status).unwrap_or(StatusCode::BAD_GATEWAY);
        *response.headers_mut() = fields(upstream.side.inlet.bytes(), &head, length);
        upstream.side.inlet.consume(length);
        let reusable = head.keeps_alive() && framing != Framing::UntilClose;
        descent.worker.give_answer(head);
        let grpc = grpc::is_grpc(response.headers());
        let body = match framing {
            Framing::None => pipe::Body::Ended,
            Framing::Length(length) => pipe::Body::Length(length),
            Framing::Chunked => pipe::Body::Taken(Default::default()),
            Framing::UntilClose => pipe::Body::UntilClose,
        };
        let length = if let Framing::Length(length) = framing { Some(length) } else { None };
        let open = Some((record, upstream));
        let pipe = Pipe::new(Vec::new(), body);
        let mut descending = Descending { descent, pipe, open, reusable, grpc, left: length };
        if framing == Framing::None {
            descending.end(Some(response.headers()));
        }
        response.map(|()| Body::Descending(Box::new(descending)))
    }
}

/// The fields that pass. Their values share one piece of memory.
fn fields(bytes: &[u8], head: &ResponseHead, length: usize) -> HeaderMap {
    let shared = Bytes::copy_from_slice(bytes.get(..length).unwrap_or_default());
    let mut fields = HeaderMap::with_capacity(16);
    for field in passing(bytes, head) {
        let name = HeaderName::from_bytes(field.name.bytes(bytes));
        let value = HeaderValue::from_maybe_shared(shared.slice_ref(field.value.bytes(&shared)));
        if let (Ok(name), Ok(value)) = (name, value) {
            fields.append(name, value);
        }
    }
    fields
}

/// The body of a response on its way, and the rest of its request.
pub(crate) struct Descending {
    descent: Box<Descent>,
    pipe: Pipe,
    /// Taken when the body has ended.
    open: Option<(Record, Box<Upstream>)>,
    reusable: bool,
    grpc: bool,
    /// Bytes that are still to come, if that is known.
    left: Option<u64>,
}

impl Descending {
    /// Takes note of the end.
    fn end(&mut self, last: Option<&HeaderMap>) {
        let Some((mut record, upstream)) = self.open.take() else { return };
        if self.grpc && grpc::is_failure(last) {
            record.blame(Culprit::Upstream);
        }
        record.finish();
        let whole = self.descent.pour.is_done() && !self.descent.stopped && upstream.side.inlet.is_empty();
        if self.reusable && whole {
            let worker = &self.descent.worker;
            worker.kept.put(upstream, worker.clock());
        }
    }

    /// An answer that breaks off because the client broke off its own body is the client's doing.
    fn cut(&mut self) -> BodyError {
        if let Some((mut record, _)) = self.open.take() {
            let by_client = self.descent.upload() == Upload::Broken;
            record.blame(if by_client { Culprit::Client } else { Culprit::Upstream });
        }
        "the endpoint broke off".into()
    }

    /// The trailers, once.
    fn last(&mut self) -> Option<HeaderMap> {
        let section = self.pipe.take_memory();
        let lines = trailers(&section).ok()?;
        let read = lines.into_iter().filter_map(|(name, value)| {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            Some((name, HeaderValue::from_bytes(value).ok()?))
        });
        Some(read.collect::<HeaderMap>()).filter(|trailers| !trailers.is_empty())
    }
}

impl HttpBody for Descending {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let Some((_, upstream)) = &mut this.open else { return Poll::Ready(None) };
        if this.descent.poll_upload(cx, upstream).is_err() {
            return Poll::Ready(Some(Err(this.cut())));
        }
        match this.pipe.poll_take(cx, &mut upstream.side) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(_)) => Poll::Ready(Some(Err(this.cut()))),
            Poll::Ready(Ok(Some(data))) => {
                this.left = this.left.map(|left| left.saturating_sub(data.len() as u64));
                if this.left == Some(0) {
                    this.end(None);
                }
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Poll::Ready(Ok(None)) => {
                let last = this.last();
                this.end(last.as_ref());
                Poll::Ready(last.map(|trailers| Ok(Frame::trailers(trailers))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.open.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match self.left {
            Some(left) => SizeHint::with_exact(left),
            None if self.open.is_none() => SizeHint::with_exact(0),
            None => SizeHint::new(),
        }
    }
}
