//! Bodies on their way: the request's to the endpoint, the response's to the client.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use penstock_proxy_api::Culprit;
use penstock_proxy_core::http1::framing::Framing;

use crate::grpc;
use crate::http1::descending::Descending;
use crate::pool::Connection;
use crate::record::Record;
use crate::slot::Taker;

/// The body of a response to a client.
pub(crate) enum Body {
    /// The proxy's own words.
    Text(Option<Bytes>),
    /// What an endpoint of HTTP/2 sends.
    Streamed(Box<Streamed>),
    /// What an endpoint of HTTP/1 sends.
    Descending(Box<Descending>),
}

/// A body from an endpoint. Carries the record of its request, and the connection until its end.
pub(crate) struct Streamed {
    pub(crate) incoming: Incoming,
    pub(crate) grpc: bool,
    /// Taken when the body has ended.
    pub(crate) open: Option<(Record, Lease)>,
}

/// What an answer has of its connection until it ends.
pub(crate) struct Lease {
    /// Counts as a stream.
    pub(crate) _connection: Connection,
    /// Where the body of the request stands.
    pub(crate) progress: Progress,
}

impl Streamed {
    /// Takes note of trailers and of the end.
    pub(crate) fn end(&mut self, trailers: Option<&HeaderMap>) {
        let Some((mut record, _)) = self.open.take() else { return };
        if self.grpc && grpc::is_failure(trailers) {
            record.blame(Culprit::Upstream);
        }
        record.finish();
    }

    /// An answer that breaks off because the client broke off its own body is the client's doing.
    fn cut(&mut self) {
        if let Some((mut record, lease)) = self.open.take() {
            let by_client = lease.progress.upload() == Upload::Broken;
            record.blame(if by_client { Culprit::Client } else { Culprit::Upstream });
        }
    }
}

impl HttpBody for Streamed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(poll_frame(&mut self.incoming, cx));
        match &frame {
            None => self.end(None),
            Some(Err(_)) => self.cut(),
            Some(Ok(frame)) if frame.is_trailers() => self.end(frame.trailers_ref()),
            Some(Ok(_)) if self.incoming.is_end_stream() => self.end(None),
            Some(Ok(_)) => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Body::Text(text) => Poll::Ready(text.take().map(|t| Ok(Frame::data(t)))),
            Body::Streamed(streamed) => Pin::new(streamed).poll_frame(cx),
            Body::Descending(descending) => Pin::new(descending).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Text(text) => text.is_none(),
            Body::Streamed(streamed) => streamed.is_end_stream(),
            Body::Descending(descending) => descending.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Text(text) => SizeHint::with_exact(text.as_ref().map_or(0, |t| t.len() as u64)),
            Body::Streamed(streamed) => streamed.size_hint(),
            Body::Descending(descending) => descending.size_hint(),
        }
    }
}

/// Where the body of a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Upload {
    /// The endpoint has not asked for more.
    Held,
    /// The endpoint wants more and the client has not sent it.
    Awaited,
    /// All of it has been passed on.
    Ended,
    /// The client broke off.
    Broken,
}

/// Tells the exchange where the body of its request stands.
#[derive(Clone, Debug)]
pub(crate) struct Progress(Rc<Cell<Upload>>);

impl Progress {
    pub(crate) fn upload(&self) -> Upload {
        self.0.get()
    }
}

/// The body of a request on its way to an endpoint.
pub(crate) struct RequestBody {
    source: Source,
    progress: Progress,
}

/// Where a body comes from.
enum Source {
    /// There is none.
    Empty,
    /// From a client of HTTP/2.
    Incoming(Incoming),
    /// From a client of HTTP/1, with what is known of its length.
    Piped(Taker, Framing),
}

/// Why a body is not whole.
pub(crate) type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// The next frame of a body of HTTP/2. A reset that names no error is an end for hyper; it is none of a body that has
/// not been whole before (RFC 9113 section 8.1).
pub(crate) fn poll_frame(
    incoming: &mut Incoming,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
    match ready!(Pin::new(&mut *incoming).poll_frame(cx)) {
        None if !incoming.is_end_stream() => Poll::Ready(Some(Err("a reset before its end".into()))),
        frame => Poll::Ready(frame.map(|frame| frame.map_err(Into::into))),
    }
}

impl RequestBody {
    pub(crate) fn new(incoming: Incoming) -> RequestBody {
        if incoming.is_end_stream() {
            return RequestBody::empty();
        }
        let progress = Progress(Rc::new(Cell::new(Upload::Held)));
        RequestBody { source: Source::Incoming(incoming), progress }
    }

    pub(crate) fn empty() -> RequestBody {
        let progress = Progress(Rc::new(Cell::new(Upload::Ended)));
        RequestBody { source: Source::Empty, progress }
    }

    /// What is given at the other end of a slot.
    pub(crate) fn piped(taker: Taker, framing: Framing) -> RequestBody {
        let progress = Progress(Rc::new(Cell::new(Upload::Held)));
        RequestBody { source: Source::Piped(taker, framing), progress }
    }

    pub(crate) fn progress(&self) -> Progress {
        self.progress.clone()
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let incoming = match &mut this.source {
            Source::Empty => return Poll::Ready(None),
            Source::Piped(taker, _) => {
                let polled = taker.poll_take(cx);
                return polled.map(|piece| piece.map(|piece| piece.map(Frame::data).map_err(Into::into)));
            }
            Source::Incoming(incoming) => incoming,
        };
        let polled = poll_frame(incoming, cx);
        this.progress.0.set(match &polled {
            Poll::Pending => Upload::Awaited,
            Poll::Ready(None) => Upload::Ended,
            Poll::Ready(Some(Err(_))) => Upload::Broken,
            Poll::Ready(Some(Ok(_))) if incoming.is_end_stream() => Upload::Ended,
            Poll::Ready(Some(Ok(_))) => Upload::Held,
        });
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Empty => true,
            Source::Incoming(incoming) => incoming.is_end_stream(),
            Source::Piped(..) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Empty => SizeHint::with_exact(0),
            Source::Incoming(incoming) => incoming.size_hint(),
            Source::Piped(_, Framing::Length(length)) => SizeHint::with_exact(*length),
            Source::Piped(..) => SizeHint::new(),
        }
    }
}
