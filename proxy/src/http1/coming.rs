//! The head of a response on its way from an endpoint.

use std::io;
use std::task::{Context, Poll};

use penstock_proxy_core::http1::framing::Framing;
use penstock_proxy_core::http1::response::{MAX_HEAD, ResponseHead};
use penstock_proxy_core::http1::{Parsed, may_be_complete};

use crate::deliver::Failed;
use crate::http1::upstream::Upstream;
use crate::refusal::Refusal;

/// Most interim responses to one request.
pub(crate) const MAX_INTERIM: u32 = 32;

/// The head of a response that is coming.
pub(crate) struct Coming {
    pub(crate) head: Box<ResponseHead>,
    /// So many bytes have been looked at and are no head.
    seen: usize,
}

impl Coming {
    /// Reads into this.
    pub(crate) fn new(head: Box<ResponseHead>) -> Coming {
        Coming { head, seen: 0 }
    }

    /// Looks for a head in what has come: its length, and how long its body is.
    pub(crate) fn look(
        &mut self,
        upstream: &Upstream,
        to_head: bool,
    ) -> Result<Option<(usize, Framing)>, Failed> {
        let bytes = upstream.side.inlet.bytes();
        let worth = bytes.len() > self.seen
            && (self.seen == 0 || bytes.len() >= MAX_HEAD || may_be_complete(bytes, self.seen));
        self.seen = bytes.len();
        if !worth {
            return Ok(None);
        }
        match self.head.parse(bytes).map_err(|bad| bad_answer(bad.0))? {
            Parsed::Partial => Ok(None),
            Parsed::Complete(length) => {
                let framing = self.head.framing(to_head).map_err(|bad| bad_answer(bad.0))?;
                Ok(Some((length, framing)))
            }
        }
    }

    /// This head was not the last one.
    pub(crate) fn skip(&mut self, upstream: &mut Upstream, length: usize) {
        upstream.side.inlet.consume(length);
        self.seen = 0;
    }

    /// Reads more. 0: the endpoint has ended.
    pub(crate) fn poll_fill(&self, cx: &mut Context<'_>, upstream: &mut Upstream) -> Poll<io::Result<usize>> {
        if !upstream.side.inlet.has_room() {
            upstream.side.inlet.grow();
        }
        upstream.side.poll_fill(cx, false)
    }
}

/// A response that can't be passed on.
pub(crate) fn bad_answer(what: &'static str) -> Failed {
    Failed::Refused(Refusal::BadAnswer(what))
}

/// An endpoint that ended instead of answering.
pub(crate) fn ended() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "connection closed")
}
