//! A request of HTTP/2 as bytes of HTTP/1: its head, and its body as it comes.

use std::io::{self, IoSlice, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use penstock_proxy_core::http1::field::Kind;
use penstock_proxy_core::http1::framing::Framing;
use penstock_proxy_core::http1::rewrite::line;
use tokio::io::AsyncWrite;

use crate::http1::side::Side;
use crate::http2::incoming::{Cut, Incoming, Piece, Upload};

/// Up to this length, data is copied behind what comes before it, to be written at once.
const SMALL: usize = 4 << 10;

/// A request on its way.
#[derive(Debug)]
pub(crate) struct Pour {
    outgoing: Vec<u8>,
    written: usize,
    /// Comes after `outgoing`.
    data: Bytes,
    /// Comes after `data`.
    after: &'static [u8],
    /// What is still to come.
    incoming: Option<Incoming>,
    framing: Framing,
    /// `outgoing` is not all that has been written.
    moved_on: bool,
    upload: Upload,
}

/// Why a request stopped.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// The client broke off.
    Client,
    /// The client sends more than it may.
    TooLong,
    /// The endpoint takes nothing more.
    Endpoint(io::Error),
}

impl Pour {
    /// A request that begins with these bytes, and how its body goes.
    pub(crate) fn new(outgoing: Vec<u8>, incoming: Option<Incoming>, framing: Framing) -> Pour {
        let upload = if incoming.is_none() { Upload::Ended } else { Upload::Held };
        Pour {
            outgoing,
            written: 0,
            data: Bytes::new(),
            after: b"",
            incoming,
            framing,
            moved_on: false,
            upload,
        }
    }

    /// Whether nothing of it has been written.
    pub(crate) fn is_unsent(&self) -> bool {
        self.written == 0 && !self.moved_on
    }

    /// Whether all of it can be written once more.
    pub(crate) fn is_whole(&self) -> bool {
        self.incoming.is_none() && !self.moved_on && self.data.is_empty()
    }

    /// Begins anew. Only for one that is whole, or unsent.
    pub(crate) fn rewind(&mut self) {
        self.written = 0;
    }

    /// Whether all of it has been written.
    pub(crate) fn is_done(&self) -> bool {
        self.incoming.is_none() && self.is_flushed()
    }

    /// Whether more is to come than every kernel takes in.
    pub(crate) fn is_long(&self, at_once: u64) -> bool {
        let long = !matches!(self.framing, Framing::Length(length) if length <= at_once);
        long && self.incoming.is_some()
    }

    /// Where the body stands.
    pub(crate) fn upload(&self) -> Upload {
        self.upload
    }

    /// Moves as much as it can.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, to: &mut Side) -> Poll<Result<(), Stopped>> {
        loop {
            while !self.is_flushed() {
                ready!(self.poll_write(cx, to)).map_err(Stopped::Endpoint)?;
            }
            let Some(incoming) = &mut self.incoming else { return Poll::Ready(Ok(())) };
            let piece = incoming.poll_piece(cx);
            self.upload = Upload::Awaited;
            match ready!(piece) {
                Some(Ok(Piece::Data(data))) => self.push(data),
                Some(Ok(Piece::Trailers(trailers))) => self.end(Some(trailers)),
                None => self.end(None),
                Some(Err(cut)) => {
                    self.upload = Upload::Broken;
                    return Poll::Ready(Err(match cut {
                        Cut::Broken => Stopped::Client,
                        Cut::TooLong => Stopped::TooLong,
                    }));
                }
            }
        }
    }

    fn is_flushed(&self) -> bool {
        self.written == self.outgoing.len() && self.data.is_empty() && self.after.is_empty()
    }

    fn push(&mut self, data: Bytes) {
        self.upload = Upload::Held;
        if !data.is_empty() {
            if self.framing == Framing::Chunked {
                let size = data.len();
                write!(self.room(), "{size:x}\r\n").ok();
                self.after = b"\r\n";
            }
            self.data = data;
        }
        if self.incoming.as_ref().is_some_and(Incoming::is_ended) {
            self.end(None);
        }
    }

    /// The body has ended.
    fn end(&mut self, trailers: Option<HeaderMap>) {
        self.upload = Upload::Ended;
        if self.incoming.take().is_none() || self.framing != Framing::Chunked {
            return;
        }
        self.gather();
        let out = self.room();
        out.extend_from_slice(b"0\r\n");
        for (name, value) in trailers.iter().flatten() {
            if Kind::of(name.as_str().as_bytes()) == Kind::Other {
                line(out, name.as_str().as_bytes(), value.as_bytes());
            }
        }
        out.extend_from_slice(b"\r\n");
    }

    /// Room for more bytes before anything else that comes.
    fn room(&mut self) -> &mut Vec<u8> {
        if self.written == self.outgoing.len() && self.written > 0 {
            self.outgoing.clear();
            self.written = 0;
            self.moved_on = true;
        }
        &mut self.outgoing
    }

    /// Puts all that is to be written into one place.
    fn gather(&mut self) {
        let (data, after) = (std::mem::take(&mut self.data), std::mem::take(&mut self.after));
        let out = self.room();
        out.extend_from_slice(&data);
        out.extend_from_slice(after);
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, to: &mut Side) -> Poll<io::Result<()>> {
        if self.data.len() <= SMALL && !(self.data.is_empty() && self.after.is_empty()) {
            self.gather();
        }
        let before = self.outgoing.get(self.written..).unwrap_or_default();
        let stream = Pin::new(&mut to.stream);
        let count = if self.data.is_empty() {
            ready!(stream.poll_write(cx, before))?
        } else {
            let slices = [IoSlice::new(before), IoSlice::new(&self.data)];
            ready!(stream.poll_write_vectored(cx, &slices))?
        };
        if count == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        let of_before = count.min(before.len());
        self.written += of_before;
        self.moved_on |= count > of_before;
        self.data.advance(count - of_before);
        Poll::Ready(Ok(()))
    }

    /// The memory of the head.
    pub(crate) fn take_memory(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.outgoing)
    }
}
