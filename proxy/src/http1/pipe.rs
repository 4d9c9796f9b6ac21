//! One direction of an exchange: a head, and a body that is checked as it passes.

use std::io::{self, IoSlice, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use penstock_proxy_core::http1::chunked::{Chunks, Piece, trailers};
use penstock_proxy_core::http1::rewrite::line;
use penstock_proxy_core::limit::BodyLimit;
use tokio::io::AsyncWrite;

use crate::http1::side::Side;

/// Up to this length, bytes of a body are copied behind those before them, to be written at once.
const SMALL_RUN: usize = 4 << 10;

/// How a body passes.
#[derive(Debug)]
pub(crate) enum Body {
    /// All of it has been read, or there is none.
    Ended,
    /// So many bytes are still to be read.
    Length(u64),
    /// Chunks pass as chunks.
    Chunked(Chunks),
    /// Chunks pass without their framing.
    Unchunked(Chunks),
    /// The same, and trailers are kept to be taken.
    Taken(Chunks),
    /// Everything up to the end passes in chunks.
    InChunks,
    /// Everything up to the end passes as it is.
    UntilClose,
}

/// One direction.
#[derive(Debug)]
pub(crate) struct Pipe {
    /// What comes before the bytes of the inlet, and how much of it has been written. What has been written stays
    /// there as long as nothing else comes.
    outgoing: Vec<u8>,
    written: usize,
    body: Body,
    /// How long a body in chunks may be; one with a length has been looked at before.
    limit: BodyLimit,
    /// So many bytes of the inlet have been checked and are to be written.
    run: usize,
    /// Comes after them.
    after: &'static [u8],
    /// `outgoing` is not all that has been written.
    moved_on: bool,
    /// Something has moved since this was last asked.
    progress: bool,
    waits_for: Waits,
}

/// Whom a direction waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waits {
    Source,
    Sink,
}

/// Why a direction broke.
#[derive(Debug)]
pub(crate) enum Broke {
    /// The source can't be read.
    Source,
    /// The source ended too early.
    Cut,
    /// The source's framing is wrong.
    Framing(&'static str),
    /// The body is longer than it may be.
    TooLong,
    /// The sink takes nothing more.
    Sink(io::Error),
}

impl Pipe {
    /// A direction that begins with these bytes.
    pub(crate) fn new(outgoing: Vec<u8>, body: Body) -> Pipe {
        Pipe {
            outgoing,
            written: 0,
            body,
            limit: BodyLimit::default(),
            run: 0,
            after: b"",
            moved_on: false,
            progress: false,
            waits_for: Waits::Source,
        }
    }

    /// The same with a body of no more than this length.
    pub(crate) fn limited(outgoing: Vec<u8>, body: Body, limit: BodyLimit) -> Pipe {
        Pipe { limit, ..Pipe::new(outgoing, body) }
    }

    /// Whether all of the body has been read and written.
    pub(crate) fn is_done(&self) -> bool {
        matches!(self.body, Body::Ended) && self.is_flushed()
    }

    /// Whether all of the body has been read.
    pub(crate) fn is_read(&self) -> bool {
        matches!(self.body, Body::Ended) && self.run == 0
    }

    /// Whether all that could be written has been.
    pub(crate) fn is_flushed(&self) -> bool {
        self.run == 0 && self.written == self.outgoing.len() && self.after.is_empty()
    }

    /// Whether nothing of it has been written.
    pub(crate) fn is_unsent(&self) -> bool {
        self.written == 0 && !self.moved_on
    }

    /// Whether all that has been read of it can be written once more.
    pub(crate) fn is_whole(&self) -> bool {
        matches!(self.body, Body::Ended) && self.run == 0 && !self.moved_on
    }

    /// Whether nothing comes after what has been taken, trailers included.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.body, Body::Ended) && self.outgoing.is_empty()
    }

    /// Begins anew. Only for one that is whole, or unsent.
    pub(crate) fn rewind(&mut self) {
        self.written = 0;
    }

    /// Whom it waits for.
    pub(crate) fn waits_for(&self) -> Waits {
        self.waits_for
    }

    /// Whether something has moved since this was last asked.
    pub(crate) fn take_progress(&mut self) -> bool {
        std::mem::take(&mut self.progress)
    }

    /// Whether more of the body is to come than every kernel takes in.
    pub(crate) fn is_long(&self, at_once: u64) -> bool {
        match self.body {
            Body::Ended => false,
            Body::Length(left) => left > at_once,
            Body::Chunked(_) | Body::Unchunked(_) | Body::Taken(_) | Body::InChunks | Body::UntilClose => {
                true
            }
        }
    }

    /// More to write before anything else that is read.
    pub(crate) fn push(&mut self) -> &mut Vec<u8> {
        if self.written == self.outgoing.len() && self.written > 0 {
            self.outgoing.clear();
            self.written = 0;
            self.moved_on = true;
        }
        &mut self.outgoing
    }

    /// The body that comes after what has been pushed.
    pub(crate) fn begin(&mut self, body: Body) {
        self.body = body;
    }

    /// The memory of the head.
    pub(crate) fn take_memory(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.outgoing)
    }

    /// Moves as much as it can.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Side,
        to: &mut Side,
    ) -> Poll<Result<(), Broke>> {
        loop {
            while self.looks_for_more(from) && self.look(from)? {}
            if !self.is_flushed() {
                self.waits_for = Waits::Sink;
                ready!(self.poll_write(cx, from, to)).map_err(Broke::Sink)?;
                continue;
            }
            if matches!(self.body, Body::Ended) {
                return Poll::Ready(Ok(()));
            }
            self.waits_for = Waits::Source;
            let long = self.is_long(crate::deliver::AT_ONCE);
            if ready!(from.poll_fill(cx, long)).map_err(|_| Broke::Source)? == 0 {
                self.source_ended()?;
            }
        }
    }

    /// Writes what has been pushed, and nothing else.
    pub(crate) fn poll_write_out(&mut self, cx: &mut Context<'_>, to: &mut Side) -> Poll<io::Result<()>> {
        while self.written < self.outgoing.len() {
            self.waits_for = Waits::Sink;
            let count = ready!(Pin::new(&mut to.stream).poll_write(cx, &self.outgoing[self.written..]))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += count;
            self.progress = true;
        }
        Poll::Ready(Ok(()))
    }

    /// Takes the next bytes of the body instead of writing them. `None`: it has ended.
    pub(crate) fn poll_take(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Side,
    ) -> Poll<Result<Option<Bytes>, Broke>> {
        loop {
            while self.looks_for_more(from) && self.look(from)? {}
            if self.run > 0 {
                let run = std::mem::take(&mut self.run);
                let bytes = Bytes::copy_from_slice(from.inlet.bytes().get(..run).unwrap_or_default());
                from.inlet.consume(run);
                (self.moved_on, self.progress) = (true, true);
                return Poll::Ready(Ok(Some(bytes)));
            }
            if matches!(self.body, Body::Ended) {
                return Poll::Ready(Ok(None));
            }
            self.waits_for = Waits::Source;
            if ready!(from.poll_fill(cx, false)).map_err(|_| Broke::Source)? == 0 {
                self.source_ended()?;
            }
        }
    }

    fn looks_for_more(&self, from: &Side) -> bool {
        !matches!(self.body, Body::Ended) && self.run == 0 && !from.inlet.is_empty()
    }

    /// Looks at what has been read: what of it is to be written. Whether there may be more to look at.
    fn look(&mut self, from: &mut Side) -> Result<bool, Broke> {
        let input = from.inlet.bytes();
        match &mut self.body {
            Body::Ended => {}
            Body::Length(left) => {
                self.run = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                *left -= self.run as u64;
                if *left == 0 {
                    self.body = Body::Ended;
                }
            }
            Body::UntilClose => self.run = input.len(),
            Body::InChunks => {
                self.run = input.len();
                self.after = b"\r\n";
                let size = self.run;
                write!(self.push(), "{size:x}\r\n").ok();
            }
            Body::Chunked(chunks) => {
                self.run = chunks.run(input).map_err(|bad| Broke::Framing(bad.0))?;
                within(self.limit, chunks)?;
                if chunks.is_ended() {
                    self.body = Body::Ended;
                } else if self.run == 0 {
                    return self.look_at_piece(from, true);
                }
            }
            Body::Taken(_) => return self.look_at_piece(from, true),
            Body::Unchunked(_) => return self.look_at_piece(from, false),
        }
        Ok(false)
    }

    /// What of chunks does not pass as it stands. Trailers are written down, or not.
    fn look_at_piece(&mut self, from: &mut Side, with_trailers: bool) -> Result<bool, Broke> {
        let (Body::Chunked(chunks) | Body::Unchunked(chunks) | Body::Taken(chunks)) = &mut self.body else {
            return Ok(false);
        };
        let piece = chunks.next(from.inlet.bytes()).map_err(|bad| Broke::Framing(bad.0))?;
        within(self.limit, chunks)?;
        match piece {
            Piece::Data(count) => self.run = count,
            Piece::Frame(count) | Piece::Extension(count) => {
                from.inlet.consume(count);
                return Ok(true);
            }
            Piece::Trailers(count) => {
                if with_trailers {
                    self.pass_trailers(from, count)?;
                } else {
                    from.inlet.consume(count);
                }
                self.body = Body::Ended;
            }
            Piece::More => {}
            Piece::End => self.body = Body::Ended,
        }
        Ok(false)
    }

    fn pass_trailers(&mut self, from: &mut Side, count: usize) -> Result<(), Broke> {
        let section = from.inlet.bytes().get(..count).unwrap_or_default();
        let kept = trailers(section).map_err(|bad| Broke::Framing(bad.0))?;
        let out = self.push();
        for (name, value) in kept {
            line(out, name.as_bytes(), value);
        }
        out.extend_from_slice(b"\r\n");
        from.inlet.consume(count);
        Ok(())
    }

    fn source_ended(&mut self) -> Result<(), Broke> {
        match self.body {
            Body::Ended | Body::UntilClose => {}
            Body::InChunks => self.push().extend_from_slice(b"0\r\n\r\n"),
            Body::Length(_) | Body::Chunked(_) | Body::Unchunked(_) | Body::Taken(_) => {
                return Err(Broke::Cut);
            }
        }
        self.body = Body::Ended;
        Ok(())
    }

    /// Writes once. Little is written at once with what comes before it.
    fn poll_write(&mut self, cx: &mut Context<'_>, from: &mut Side, to: &mut Side) -> Poll<io::Result<()>> {
        if self.run <= SMALL_RUN && (self.run > 0 || !self.after.is_empty()) {
            let run = std::mem::take(&mut self.run);
            let after = std::mem::take(&mut self.after);
            let bytes = from.inlet.bytes().get(..run).unwrap_or_default();
            let out = self.push();
            out.extend_from_slice(bytes);
            out.extend_from_slice(after);
            from.inlet.consume(run);
        }
        let before = self.outgoing.get(self.written..).unwrap_or_default();
        let run = from.inlet.bytes().get(..self.run).unwrap_or_default();
        let stream = Pin::new(&mut to.stream);
        let count = match (before, run) {
            (before, []) => ready!(stream.poll_write(cx, before))?,
            ([], run) => ready!(stream.poll_write(cx, run))?,
            (before, run) => {
                ready!(stream.poll_write_vectored(cx, &[IoSlice::new(before), IoSlice::new(run)]))?
            }
        };
        if count == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        let of_before = count.min(before.len());
        self.written += of_before;
        self.run -= count - of_before;
        self.moved_on |= count > of_before;
        from.inlet.consume(count - of_before);
        self.progress = true;
        Poll::Ready(Ok(()))
    }
}

fn within(limit: BodyLimit, chunks: &Chunks) -> Result<(), Broke> {
    if limit.allows(chunks.data()) { Ok(()) } else { Err(Broke::TooLong) }
}
