//! What streams ask of their connection: to be opened, to have what came, and to send.

use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};

use super::super::frame::{flag, kind};
use super::super::request::RequestHead;
use super::super::{Broken, MAX_FRAME, MAX_OUTGOING, Reason, hpack};
use super::stream::{Ending, Stream};
use super::{MAX_ID, Role, Session};
impl Session {
    /// The next request, with the number of its stream, which has one handle then.
    pub fn accept(&mut self) -> Option<(u32, RequestHead)> {
        while let Some(id) = self.arrived.pop_front() {
            let Some(stream) = self.streams.get_mut(&id) else { continue };
            let request = stream.request.take();
            if stream.broken.is_some() {
                self.remove(id);
                continue;
            }
            let Some(request) = request else { continue };
            stream.handles = 1;
            return Some((id, request));
        }
        None
    }

    /// Whether another stream can be opened, now or later. Errors: why not.
    pub fn check_open(&self) -> Result<(), Broken> {
        match (self.broken, self.leaving) {
            (Some(broken), _) => Err(broken),
            (None, Some(_)) => Err(Broken::Untaken(Reason::NO_ERROR)),
            (None, None) if self.next > MAX_ID => Err(Broken::Untaken(Reason::NO_ERROR)),
            (None, None) => Ok(()),
        }
    }

    /// Most streams that the peer lets us have.
    pub fn max_streams(&self) -> u32 {
        self.max_streams
    }

    /// Sends the head of a request; `whole`: that is all of it. The stream has one handle then. Errors: nothing is
    /// sent, and nothing more can be.
    pub fn open(&mut self, request: &Request<()>, whole: bool) -> Result<u32, Broken> {
        self.check_open()?;
        if self.open >= self.max_streams {
            return Err(Broken::Untaken(Reason::REFUSED_STREAM));
        }
        let id = self.next;
        self.next += 2;
        let mut stream = Stream::new(self.now, self.limits.stream_window, self.initial_window);
        stream.handles = 1;
        stream.to_head = *request.method() == Method::HEAD;
        self.streams.insert(id, stream);
        self.open += 1;
        self.begin_block();
        hpack::request(&mut self.encoded, request.method(), request.uri());
        self.send_fields(id, pairs(request.headers()), whole);
        Ok(id)
    }

    /// One handle more.
    pub fn hold(&mut self, id: u32) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.handles += 1;
        }
    }

    /// One handle less. A stream that nobody holds any more is ended.
    pub fn release(&mut self, id: u32) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        stream.handles = stream.handles.saturating_sub(1);
        if stream.handles == 0 {
            stream.waker = None;
            self.let_go(id);
            self.let_in();
        }
    }

    pub(super) fn let_go(&mut self, id: u32) {
        let Some(stream) = self.streams.get(&id) else { return };
        if stream.closed {
            return self.remove(id);
        }
        if !stream.sent && !matches!(stream.ending, Ending::More) {
            // What has been given whole goes on without its giver.
            return;
        }
        // A client that is answered need not send the rest.
        let reason = if stream.sent && self.role == Role::Server { Reason::NO_ERROR } else { Reason::CANCEL };
        self.break_off(id, reason);
    }

    /// One more user of the connection as a whole.
    pub fn join(&mut self) {
        self.users += 1;
    }

    /// One user less.
    pub fn leave(&mut self) {
        self.users = self.users.saturating_sub(1);
        if self.is_over() {
            self.stir();
        }
    }

    /// The next interim answer to a request.
    pub fn interim(&mut self, id: u32) -> Option<Response<()>> {
        self.streams.get_mut(&id)?.interim.pop_front()
    }

    /// The answer to a request.
    pub fn poll_answer(&mut self, id: u32, cx: &Context<'_>) -> Poll<Result<Response<()>, Broken>> {
        let Some(stream) = self.streams.get_mut(&id) else { return Poll::Ready(Err(GONE)) };
        if let Some(answer) = stream.answer.take() {
            return Poll::Ready(Ok(answer));
        }
        if let Some(broken) = stream.broken {
            return Poll::Ready(Err(broken));
        }
        stream.wait(cx);
        Poll::Pending
    }

    /// Whether nothing is to come of a stream's body, or of what follows it.
    pub fn is_received(&self, id: u32) -> bool {
        let Some(stream) = self.streams.get(&id) else { return true };
        stream.received && stream.kept() == 0 && stream.trailers.is_none()
    }

    /// The next piece of a body; `None`: that was all of it. The peer may send as much more.
    pub fn poll_data(&mut self, id: u32, cx: &Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        let Some(stream) = self.streams.get_mut(&id) else { return Poll::Ready(Some(Err(GONE))) };
        if let Some(data) = stream.next_piece() {
            self.give_window(id, data.len() as u32);
            return Poll::Ready(Some(Ok(data)));
        }
        if stream.received {
            return Poll::Ready(None);
        }
        if let Some(broken) = stream.broken {
            return Poll::Ready(Some(Err(broken)));
        }
        stream.wait(cx);
        Poll::Pending
    }

    /// What follows a body that has come to its end.
    pub fn trailers(&mut self, id: u32) -> Option<HeaderMap> {
        self.streams.get_mut(&id)?.trailers.take()
    }

    /// Whether the peer, or something that it did, has ended a stream before its end. A stream that has come to its end
    /// waits for ever.
    pub fn poll_broken(&mut self, id: u32, cx: &Context<'_>) -> Poll<Broken> {
        let Some(stream) = self.streams.get_mut(&id) else { return Poll::Ready(GONE) };
        match stream.broken {
            Some(broken) => Poll::Ready(broken),
            None => {
                stream.wait(cx);
                Poll::Pending
            }
        }
    }

    /// Sends an interim answer.
    pub fn send_interim(&mut self, id: u32, response: &Response<()>) {
        if self.can_send(id) {
            self.begin_block();
            hpack::status(&mut self.encoded, response.status());
            self.send_fields(id, pairs(response.headers()), false);
        }
    }

    /// Sends an answer; `whole`: that is all of it. Whether it can be sent.
    pub fn send_response(&mut self, id: u32, response: &Response<()>, whole: bool) -> bool {
        self.send_answer(id, response.status(), pairs(response.headers()), whole)
    }

    /// The same, of fields whose names may have large letters.
    pub fn send_answer<'f>(
        &mut self,
        id: u32,
        status: StatusCode,
        fields: impl Iterator<Item = (&'f [u8], &'f [u8])>,
        whole: bool,
    ) -> bool {
        let can = self.can_send(id);
        if can {
            self.begin_block();
            hpack::status(&mut self.encoded, status);
            self.send_fields(id, fields, whole);
        }
        can
    }

    /// Whether there is room for another piece of a body: the one before has gone, and what has gone is being taken.
    /// Errors: the peer takes nothing more.
    pub fn poll_room(&mut self, id: u32, cx: &Context<'_>) -> Poll<Result<(), Broken>> {
        let Some(stream) = self.streams.get_mut(&id) else { return Poll::Ready(Err(GONE)) };
        if let Some(broken) = stream.broken {
            return Poll::Ready(Err(broken));
        }
        if stream.pending.is_empty() && self.out.len() < MAX_OUTGOING {
            self.let_in();
            return Poll::Ready(Ok(()));
        }
        stream.wait(cx);
        if stream.pending.is_empty() && !std::mem::replace(&mut stream.in_crowd, true) {
            self.crowd.push_back(id);
        }
        Poll::Pending
    }

    /// Sends a piece of a body, now or as soon as there is room; `last`: that was all. Whether it can be sent.
    pub fn send_data(&mut self, id: u32, data: Bytes, last: bool) -> bool {
        let can = self.can_send(id);
        if can && let Some(stream) = self.streams.get_mut(&id) {
            if !data.is_empty() {
                stream.pending.push_back(data);
            }
            if last {
                stream.ending = Ending::Nothing;
            }
            self.pump(id);
        }
        can
    }

    /// Sends what follows a body. Whether it can be sent.
    pub fn send_trailers(&mut self, id: u32, trailers: HeaderMap) -> bool {
        let can = self.can_send(id);
        if can && let Some(stream) = self.streams.get_mut(&id) {
            stream.ending = Ending::Trailers(trailers);
            self.pump(id);
        }
        can
    }

    /// Ends a stream before its end.
    pub fn send_reset(&mut self, id: u32, reason: Reason) {
        if self.streams.get(&id).is_some_and(|stream| !stream.closed) {
            self.break_off(id, reason);
        }
    }

    fn can_send(&self, id: u32) -> bool {
        let Some(stream) = self.streams.get(&id) else { return false };
        stream.broken.is_none() && !stream.sent && matches!(stream.ending, Ending::More)
    }

    fn begin_block(&mut self) {
        self.encoded.clear();
        if let Some(size) = self.table_size.take() {
            hpack::table_size(&mut self.encoded, size);
        }
    }

    fn send_fields<'f>(&mut self, id: u32, fields: impl Iterator<Item = (&'f [u8], &'f [u8])>, last: bool) {
        fields.for_each(|(name, value)| hpack::field(&mut self.encoded, name, value));
        self.send_block(id, last);
        if last {
            self.has_sent(id);
        }
    }

    fn send_block(&mut self, id: u32, last: bool) {
        let mut rest = &self.encoded[..];
        let mut head = kind::HEADERS;
        let mut flags = if last { flag::END_STREAM } else { 0 };
        loop {
            let (now, after) = rest.split_at(rest.len().min(MAX_FRAME));
            if after.is_empty() {
                flags |= flag::END_HEADERS;
            }
            self.out.frame(head, flags, id, now);
            if after.is_empty() {
                break;
            }
            (rest, head, flags) = (after, kind::CONTINUATION, 0);
        }
        self.stir();
    }

    pub(super) fn has_sent(&mut self, id: u32) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.sent = true;
            let nobody = stream.handles == 0;
            self.close_if_done(id);
            if nobody && self.streams.contains_key(&id) {
                self.let_go(id);
            }
        }
    }

    /// Sends as much of what is pending as both windows allow.
    pub(super) fn pump(&mut self, id: u32) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        while let Some(front) = stream.pending.front_mut() {
            let room = stream.window.min(self.window).clamp(0, MAX_FRAME as i64) as usize;
            let size = front.len().min(room);
            if size == 0 {
                if self.window <= 0 && !std::mem::replace(&mut stream.is_held, true) {
                    self.held.push_back(id);
                }
                break;
            }
            let piece = front.split_to(size);
            if front.is_empty() {
                stream.pending.pop_front();
            }
            stream.window -= size as i64;
            self.window -= size as i64;
            let last = stream.pending.is_empty() && matches!(stream.ending, Ending::Nothing);
            self.out.data(if last { flag::END_STREAM } else { 0 }, id, piece);
            if last {
                stream.ending = Ending::More;
                stream.sent = true;
            }
        }
        let done = stream.pending.is_empty();
        if done {
            stream.wake();
            match std::mem::replace(&mut stream.ending, Ending::More) {
                Ending::More if stream.sent => self.has_sent(id),
                Ending::More => {}
                Ending::Nothing => {
                    self.out.data(flag::END_STREAM, id, Bytes::new());
                    self.has_sent(id);
                }
                Ending::Trailers(trailers) => {
                    self.begin_block();
                    self.send_fields(id, pairs(&trailers), true);
                }
            }
        }
        self.stir();
    }

    /// The connection's window has opened: those that wait for it take turns.
    pub(super) fn release_held(&mut self) {
        let mut turns = self.held.len();
        while turns > 0 && self.window > 0 {
            turns -= 1;
            let Some(id) = self.held.pop_front() else { return };
            if let Some(stream) = self.streams.get_mut(&id) {
                stream.is_held = false;
                self.pump(id);
            }
        }
    }
}

/// A stream that is not there any more was ended here.
const GONE: Broken = Broken::Here(Reason::CANCEL);

fn pairs(fields: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    fields.iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()))
}
