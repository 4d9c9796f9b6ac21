//! A body that goes by HTTP/2: no more of it is held than one piece for which the peer has no room.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http::HeaderMap;

/// Where a body goes.
#[derive(Debug)]
pub(crate) struct Outlet {
    stream: SendStream<Bytes>,
    /// Some of it has been sent.
    begun: bool,
}

/// The peer takes nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shut;

impl Outlet {
    pub(crate) fn new(stream: SendStream<Bytes>) -> Outlet {
        Outlet { stream, begun: false }
    }

    /// Waits until the peer has room for more than what it has been given. Claims no more of the window than one byte
    /// beforehand: a stream that has a claim on all of it holds the others up.
    pub(crate) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Shut>> {
        if !self.begun {
            return Poll::Ready(Ok(()));
        }
        self.stream.reserve_capacity(1);
        while self.stream.capacity() == 0 {
            match ready!(self.stream.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Poll::Ready(Err(Shut)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Waits until the peer takes nothing more.
    pub(crate) fn poll_shut(&mut self, cx: &mut Context<'_>) -> Poll<Shut> {
        self.stream.poll_reset(cx).map(|_| Shut)
    }

    /// Sends a piece, now or when the peer has room.
    pub(crate) fn give(&mut self, data: Bytes, last: bool) -> Result<(), Shut> {
        if data.is_empty() && !last {
            return Ok(());
        }
        self.begun = true;
        self.stream.send_data(data, last).map_err(|_| Shut)
    }

    /// The body has ended.
    pub(crate) fn end(&mut self, trailers: Option<HeaderMap>) -> Result<(), Shut> {
        match trailers {
            Some(trailers) => self.stream.send_trailers(trailers).map_err(|_| Shut),
            None => self.give(Bytes::new(), true),
        }
    }

    /// It ends here, and is not whole.
    pub(crate) fn cut(&mut self, reason: Reason) {
        self.stream.send_reset(reason);
    }
}
