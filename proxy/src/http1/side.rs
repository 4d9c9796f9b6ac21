//! One side of an exchange: a socket and what has been read from it.

use std::io;
use std::mem::MaybeUninit;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tokio::net::TcpStream;

use crate::http1::buffer::{Buffers, Inlet};

/// A client or an endpoint.
#[derive(Debug)]
pub(crate) struct Side {
    pub(crate) stream: TcpStream,
    pub(crate) inlet: Inlet,
    /// It sends nothing more.
    pub(crate) ended: bool,
}

impl Side {
    pub(crate) fn new(stream: TcpStream, buffers: &Rc<Buffers>) -> Side {
        Side { stream, inlet: Inlet::new(buffers), ended: false }
    }

    /// Reads more. 0: it has ended.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>, long: bool) -> Poll<io::Result<usize>> {
        let read = ready!(self.inlet.poll_fill(cx, &mut self.stream, long))?;
        self.ended |= read == 0;
        Poll::Ready(Ok(read))
    }

    /// Whether nothing has come that is not read yet, its end included, as far as the kernel knows.
    pub(crate) fn is_quiet(&self) -> bool {
        would_block(SockRef::from(&self.stream).peek(&mut [MaybeUninit::uninit()]))
    }

    /// Whether it begins as HTTP/2 does: no method of HTTP/1 begins as its preface does.
    pub(crate) fn speaks_http2(&self) -> bool {
        self.inlet.bytes().starts_with(b"PRI ")
    }

    /// Makes its end look like what it is, not like the end of a body.
    pub(crate) fn reset(&self) {
        self.stream.set_zero_linger().ok();
    }
}

/// Whether there was nothing to read.
pub(crate) fn would_block(read: io::Result<usize>) -> bool {
    read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}
