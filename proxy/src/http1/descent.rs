//! A client of HTTP/2 in front of an endpoint of HTTP/1.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, EXPECT, HeaderName, HeaderValue, TRANSFER_ENCODING};
use http::{HeaderMap, Method, Response, StatusCode, request};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use penstock_proxy_api::Culprit;
use penstock_proxy_core::http1::chunked::trailers;
use penstock_proxy_core::http1::framing::Framing;
use penstock_proxy_core::http1::request::is_idempotent;
use penstock_proxy_core::http1::response::ResponseHead;
use penstock_proxy_core::http1::rewrite::{line, passing};

use crate::body::{Body, BodyError, Upload};
use crate::deliver::{AT_ONCE, Failed, MAX_LOSSES, Standing, is_cut_off};
use crate::exchange::To;
use crate::grpc;
use crate::http1::coming::{Coming, bad_answer, ended};
use crate::http1::pipe::{self, Pipe};
use crate::http1::pour::{Pour, Stopped};
use crate::http1::upstream::Upstream;
use crate::reach;
use crate::record::Record;
use crate::refusal::Refusal;
use crate::worker::Worker;

/// Most interim responses to one request.
const MAX_INTERIM: u32 = 32;

/// A request made ready for an endpoint of HTTP/1.
pub(crate) struct Descent {
    worker: Rc<Worker>,
    pour: Pour,
    to_head: bool,
    idempotent: bool,
    /// The endpoint takes nothing more of the request.
    stopped: bool,
    losses: u32,
}

/// The head of a response, and where the rest of it comes from.
pub(crate) struct Descended {
    descent: Box<Descent>,
    upstream: Box<Upstream>,
    head: Box<ResponseHead>,
    length: usize,
    framing: Framing,
}

impl Descent {
    /// The request with this head, which has been made one for an endpoint of HTTP/1.
    pub(crate) fn new(worker: &Rc<Worker>, parts: &request::Parts, incoming: Incoming) -> Box<Descent> {
        let mut out = worker.buffers.head();
        let incoming = (!incoming.is_end_stream()).then_some(incoming);
        let chunked = incoming.is_some() && !parts.headers.contains_key(CONTENT_LENGTH);
        write_head(&mut out, parts, chunked, incoming.is_some());
        Box::new(Descent {
            worker: Rc::clone(worker),
            pour: Pour::new(out, incoming, chunked),
            to_head: parts.method == Method::HEAD,
            idempotent: is_idempotent(parts.method.as_str().as_bytes()),
            stopped: false,
            losses: 0,
        })
    }

    /// Where the body of the request stands.
    pub(crate) fn upload(&self) -> Upload {
        self.pour.upload()
    }

    /// Sends the request to an endpoint and waits for the head of the response.
    pub(crate) async fn attempt(&mut self, to: To<'_>) -> Result<Answered, Failed> {
        let mut upstream = self.reach(&to).await?;
        upstream.expect_stalls(self.pour.is_long(AT_ONCE));
        let mut coming = Coming::new(self.worker.take_answer());
        let mut interim = 0;
        let came = poll_fn(|cx| self.poll_answer(cx, &mut upstream, &mut coming, &mut interim)).await;
        match came {
            Ok((length, framing)) => Ok(Answered { upstream, head: coming.head, length, framing }),
            Err(failed) => {
                self.worker.give_answer(coming.head);
                Err(failed)
            }
        }
    }

    async fn reach(&self, to: &To<'_>) -> Result<Box<Upstream>, Failed> {
        let surely = !self.idempotent || !self.pour.is_whole();
        if !to.fresh
            && let Some(kept) = self.worker.kept.take(to.address, surely)
        {
            return Ok(kept);
        }
        let opening = Upstream::open(to.address, reach::patience(to.hurry), self.worker.buffers.clone());
        Box::pin(opening).await.map_err(Failed::NotTaken)
    }

    fn poll_answer(
        &mut self,
        cx: &mut Context<'_>,
        upstream: &mut Upstream,
        coming: &mut Coming,
        interim: &mut u32,
    ) -> Poll<Result<(usize, Framing), Failed>> {
        if let Err(failed) = self.poll_upload(cx, upstream) {
            return Poll::Ready(Err(failed));
        }
        loop {
            match look(upstream, coming, self.to_head, interim) {
                Ok(Some(found)) => return Poll::Ready(Ok(found)),
                Ok(None) => {}
                Err(failed) => return Poll::Ready(Err(failed)),
            }
            let began = !upstream.side.inlet.is_empty() || *interim > 0;
            match coming.poll_fill(cx, upstream) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(self.dead(upstream, ended(), began))),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(self.dead(upstream, error, began))),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn poll_upload(&mut self, cx: &mut Context<'_>, upstream: &mut Upstream) -> Result<(), Failed> {
        if self.stopped {
            return Ok(());
        }
        match self.pour.poll(cx, &mut upstream.side) {
            Poll::Pending | Poll::Ready(Ok(())) => Ok(()),
            Poll::Ready(Err(Stopped::Client)) => Err(Failed::Refused(Refusal::GoneClient)),
            Poll::Ready(Err(Stopped::Endpoint(error))) if self.pour.is_unsent() => {
                Err(self.dead(upstream, error, false))
            }
            Poll::Ready(Err(Stopped::Endpoint(_))) => {
                self.stopped = true;
                Ok(())
            }
        }
    }

    fn dead(&mut self, upstream: &Upstream, error: io::Error, began: bool) -> Failed {
        let unsent = self.pour.is_unsent();
        self.losses += u32::from(!unsent);
        let again = unsent || self.idempotent && self.pour.is_whole() && !began;
        let again = again && self.losses <= MAX_LOSSES;
        if again {
            self.pour.rewind();
            self.stopped = false;
        }
        let standing = Standing { again, unsent, reused: upstream.reused, cut_off: is_cut_off(&error) };
        standing.failed(error.into())
    }
}

impl Drop for Descent {
    fn drop(&mut self) {
        self.worker.buffers.give_head(self.pour.take_memory());
    }
}

/// Looks for the head of the final response. A client of HTTP/2 is not told of others: hyper can't.
fn look(
    upstream: &mut Upstream,
    coming: &mut Coming,
    to_head: bool,
    interim: &mut u32,
) -> Result<Option<(usize, Framing)>, Failed> {
    while let Some((length, framing)) = coming.look(upstream, to_head)? {
        if coming.head.status == 101 {
            return Err(Failed::Refused(Refusal::Unasked));
        }
        if !coming.head.is_interim() {
            return Ok(Some((length, framing)));
        }
        *interim += 1;
        if *interim > MAX_INTERIM {
            return Err(bad_answer("too many interim answers"));
        }
        coming.skip(upstream, length);
    }
    Ok(None)
}

fn write_head(out: &mut Vec<u8>, parts: &request::Parts, chunked: bool, body: bool) {
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    let target = if target.is_empty() { "/" } else { target };
    out.extend_from_slice(parts.method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    for (name, value) in
        parts.headers.iter().filter(|(name, _)| *name != EXPECT && *name != TRANSFER_ENCODING)
    {
        line(out, name.as_str().as_bytes(), value.as_bytes());
    }
    let means_body = matches!(parts.method, Method::POST | Method::PUT | Method::PATCH);
    if chunked {
        line(out, b"transfer-encoding", b"chunked");
    } else if !body && means_body && !parts.headers.contains_key(CONTENT_LENGTH) {
        line(out, b"content-length", b"0");
    }
    out.extend_from_slice(b"\r\n");
}

/// The head of a response, as it came.
pub(crate) struct Answered {
    upstream: Box<Upstream>,
    head: Box<ResponseHead>,
    length: usize,
    framing: Framing,
}

impl Answered {
    /// With the rest of its request.
    pub(crate) fn of(self, descent: Box<Descent>) -> Descended {
        let Answered { upstream, head, length, framing } = self;
        Descended { descent, upstream, head, length, framing }
    }
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
