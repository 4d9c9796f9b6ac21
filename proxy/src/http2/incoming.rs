//! A body that comes by HTTP/2.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use penstock_proxy_core::limit::BodyLimit;

use crate::http2::link::Stream;

/// A body that comes.
#[derive(Debug)]
pub(crate) struct Incoming {
    stream: Stream,
    limit: BodyLimit,
    taken: u64,
    ended: bool,
}

/// A part of it.
#[derive(Debug)]
pub(crate) enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
}

/// Why it is not whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// It broke off.
    Broken,
    /// It is longer than it may be.
    TooLong,
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

impl Incoming {
    /// The body that comes by this stream; `None`: there is none.
    pub(crate) fn new(stream: Stream, limit: BodyLimit) -> Option<Incoming> {
        (!stream.is_received()).then_some(Incoming { stream, limit, taken: 0, ended: false })
    }

    /// Whether all of it has been taken.
    pub(crate) fn is_ended(&self) -> bool {
        self.ended || self.stream.is_received()
    }

    /// The next piece of it; `None`: it has ended. Its sender may send as much more.
    pub(crate) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, Cut>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if let Some(data) = ready!(self.stream.poll_data(cx)) {
            return Poll::Ready(Some(data.map_err(|_| Cut::Broken).and_then(|data| self.take(data))));
        }
        self.ended = true;
        Poll::Ready(self.stream.trailers().map(|trailers| Ok(Piece::Trailers(trailers))))
    }

    fn take(&mut self, data: Bytes) -> Result<Piece, Cut> {
        self.taken += data.len() as u64;
        if self.limit.allows(self.taken) { Ok(Piece::Data(data)) } else { Err(Cut::TooLong) }
    }
}
