//! A connection of HTTP/2 as its streams have it in common, and who moves its bytes.

use std::cell::{RefCell, RefMut};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use penstock_proxy_core::http2::request::RequestHead;
use penstock_proxy_core::http2::session::Session;
use penstock_proxy_core::http2::{Broken, Reason};
use tokio::io::AsyncWrite;

use crate::http1::side::Side;

/// A connection.
#[derive(Debug)]
pub(crate) struct Link(RefCell<Session>);

impl Link {
    pub(crate) fn new(session: Session) -> Rc<Link> {
        Rc::new(Link(RefCell::new(session)))
    }

    pub(crate) fn session(&self) -> RefMut<'_, Session> {
        self.0.borrow_mut()
    }

    /// Sends the head of a request; `whole`: that is all of it. Errors: nothing is sent.
    pub(crate) fn open(self: &Rc<Link>, request: &Request<()>, whole: bool) -> Result<Stream, Broken> {
        let id = self.session().open(request, whole)?;
        Ok(Stream { link: Rc::clone(self), id })
    }

    /// The next request of a client.
    pub(crate) fn accept(self: &Rc<Link>) -> Option<(Stream, RequestHead)> {
        let (id, request) = self.session().accept()?;
        Some((Stream { link: Rc::clone(self), id }, request))
    }

    /// Moves bytes in both directions, until there are none or the connection is over. What has come since is for
    /// [`Link::accept`]: then this has to be polled again.
    pub(crate) fn poll(&self, cx: &mut Context<'_>, side: &mut Side) -> Poll<Moved> {
        let mut session = self.session();
        session.drive();
        if !session.is_flushed() && write(&mut session, cx, side).is_err() {
            return Poll::Ready(Moved::Over);
        }
        if session.is_over() && session.is_flushed() {
            return Poll::Ready(Moved::Over);
        }
        if session.wants_more() {
            match read(&mut session, cx, side) {
                Poll::Ready(Ok(())) => return Poll::Ready(Moved::Some),
                Poll::Ready(Err(())) => return Poll::Ready(Moved::Over),
                Poll::Pending => {}
            }
        }
        session.pause(cx);
        Poll::Pending
    }
}

/// What has become of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moved {
    /// Something has come.
    Some,
    /// Nothing comes and goes any more.
    Over,
}

/// Writes what the socket takes. Errors: it takes nothing any more.
fn write(session: &mut Session, cx: &mut Context<'_>, side: &mut Side) -> Result<(), ()> {
    while !session.is_flushed() {
        let stream = Pin::new(&mut side.stream);
        let written = match session.outgoing() {
            Some(bytes) => stream.poll_write(cx, bytes),
            None => stream.poll_write_vectored(cx, &session.slices()),
        };
        match written {
            Poll::Pending => break,
            Poll::Ready(Ok(count)) if count > 0 => session.written(count),
            Poll::Ready(Ok(_)) => return lose(session, io::ErrorKind::WriteZero),
            Poll::Ready(Err(error)) => return lose(session, error.kind()),
        }
    }
    Ok(())
}

/// Reads once. Errors: nothing more can be.
fn read(session: &mut Session, cx: &mut Context<'_>, side: &mut Side) -> Poll<Result<(), ()>> {
    match side.poll_fill(cx, false) {
        Poll::Pending => Poll::Pending,
        Poll::Ready(Ok(0)) => Poll::Ready(lose(session, io::ErrorKind::UnexpectedEof)),
        Poll::Ready(Ok(_)) => {
            let used = session.receive(side.inlet.bytes());
            side.inlet.consume(used);
            Poll::Ready(Ok(()))
        }
        Poll::Ready(Err(error)) => Poll::Ready(lose(session, error.kind())),
    }
}

fn lose(session: &mut Session, kind: io::ErrorKind) -> Result<(), ()> {
    session.lose(kind);
    Err(())
}

/// A stream of a connection. It is ended when nobody has it any more.
#[derive(Debug)]
pub(crate) struct Stream {
    link: Rc<Link>,
    id: u32,
}

impl Clone for Stream {
    fn clone(&self) -> Stream {
        self.link.session().hold(self.id);
        Stream { link: Rc::clone(&self.link), id: self.id }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.link.session().release(self.id);
    }
}

impl Stream {
    /// The next interim answer to a request.
    pub(crate) fn interim(&self) -> Option<Response<()>> {
        self.link.session().interim(self.id)
    }

    /// The answer to a request.
    pub(crate) fn poll_answer(&self, cx: &mut Context<'_>) -> Poll<Result<Response<()>, Broken>> {
        self.link.session().poll_answer(self.id, cx)
    }

    /// Whether nothing of the body is still to be taken.
    pub(crate) fn is_received(&self) -> bool {
        self.link.session().is_received(self.id)
    }

    /// The next piece of the body; `None`: that was all of it.
    pub(crate) fn poll_data(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        self.link.session().poll_data(self.id, cx)
    }

    /// What follows the body, once that has been taken.
    pub(crate) fn trailers(&self) -> Option<HeaderMap> {
        self.link.session().trailers(self.id)
    }

    /// Waits until it is ended before its end.
    pub(crate) fn poll_broken(&self, cx: &mut Context<'_>) -> Poll<Broken> {
        self.link.session().poll_broken(self.id, cx)
    }

    pub(crate) fn send_interim(&self, response: &Response<()>) {
        self.link.session().send_interim(self.id, response);
    }

    /// Sends the head of an answer; `whole`: that is all of it. Whether it can be sent.
    pub(crate) fn send_response(&self, response: &Response<()>, whole: bool) -> bool {
        self.link.session().send_response(self.id, response, whole)
    }

    /// The same, of fields whose names may have large letters.
    pub(crate) fn send_answer<'f>(
        &self,
        status: StatusCode,
        fields: impl Iterator<Item = (&'f [u8], &'f [u8])>,
        whole: bool,
    ) -> bool {
        self.link.session().send_answer(self.id, status, fields, whole)
    }

    /// Waits until there is room for another piece. Errors: the peer takes nothing more.
    pub(crate) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.link.session().poll_room(self.id, cx)
    }

    /// Sends a piece; `last`: that was all. Whether it can be sent.
    pub(crate) fn send_data(&self, data: Bytes, last: bool) -> bool {
        self.link.session().send_data(self.id, data, last)
    }

    /// Sends what follows the body. Whether it can be sent.
    pub(crate) fn send_trailers(&self, trailers: HeaderMap) -> bool {
        self.link.session().send_trailers(self.id, trailers)
    }

    /// Ends it before its end.
    pub(crate) fn reset(&self, reason: Reason) {
        self.link.session().send_reset(self.id, reason);
    }
}
