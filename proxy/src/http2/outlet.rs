//! A body that goes by HTTP/2: no more of it is held than one piece for which the peer has no room.

use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use penstock_proxy_core::http2::Reason;

use crate::http2::link::Stream;

/// Where a body goes.
#[derive(Debug)]
pub(crate) struct Outlet(Stream);

/// The peer takes nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shut;

impl Outlet {
    pub(crate) fn new(stream: Stream) -> Outlet {
        Outlet(stream)
    }

    /// Waits until the peer has room for more than what it has been given.
    pub(crate) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Shut>> {
        self.0.poll_room(cx).map_err(|_| Shut)
    }

    /// Waits until the peer takes nothing more.
    pub(crate) fn poll_shut(&mut self, cx: &mut Context<'_>) -> Poll<Shut> {
        self.0.poll_broken(cx).map(|_| Shut)
    }

    /// Sends a piece, now or when the peer has room.
    pub(crate) fn give(&mut self, data: Bytes, last: bool) -> Result<(), Shut> {
        if data.is_empty() && !last {
            return Ok(());
        }
        sent(self.0.send_data(data, last))
    }

    /// The body has ended.
    pub(crate) fn end(&mut self, trailers: Option<HeaderMap>) -> Result<(), Shut> {
        match trailers {
            Some(trailers) => sent(self.0.send_trailers(trailers)),
            None => self.give(Bytes::new(), true),
        }
    }

    /// It ends here, and is not whole.
    pub(crate) fn cut(&mut self, reason: Reason) {
        self.0.reset(reason);
    }
}

fn sent(sent: bool) -> Result<(), Shut> {
    if sent { Ok(()) } else { Err(Shut) }
}
