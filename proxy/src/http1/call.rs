//! One request of a client of HTTP/1 on its way to an endpoint.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll};

use penstock_proxy_core::balance::Tick;
use penstock_proxy_core::head::Head;
use penstock_proxy_core::http1::Version;
use penstock_proxy_core::http1::framing::Framing;
use penstock_proxy_core::http1::request::{RequestHead, is_idempotent};
use penstock_proxy_core::http1::response::ResponseHead;
use penstock_proxy_core::http1::rewrite::{self, Back, BodyGoes, Onward};
use penstock_proxy_core::table::{Protocol, Revision};

use crate::deliver::{AT_ONCE, Failed, MAX_LOSSES, Standing, is_cut_off};
use crate::exchange::{Call, To};
use crate::http1::alarm::NEVER;
use crate::http1::bridge::{Bridge, Bridged};
use crate::http1::coming::{Coming, bad_answer, ended};
use crate::http1::connection::{Connection, Next};
use crate::http1::pipe::{Body, Broke, Pipe, Waits};
use crate::http1::relay;
use crate::http1::upstream::Upstream;
use crate::reach;
use crate::record::Record;
use crate::refusal::Refusal;
use crate::trace;

/// How long an endpoint that says nothing to `Expect: 100-continue` is waited for, in milliseconds (RFC 9110 section
/// 10.1.1: not for ever).
const CONTINUE: u64 = 1000;
/// How long a client that has ended its side is still answered, in milliseconds: it may have hung up, or just have
/// nothing more to say.
pub(crate) const HALF_CLOSED: u64 = 500;
/// Most interim responses to one request.
const MAX_INTERIM: u32 = 32;

/// What stays of a request's head when it has been written for an endpoint.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    pub(crate) version: Version,
    pub(crate) to_head: bool,
    pub(crate) keeps_alive: bool,
    pub(crate) upgrades: bool,
    pub(crate) idempotent: bool,
    expects: bool,
}

/// One request.
pub(crate) struct RawCall<'c> {
    pub(crate) connection: &'c mut Connection,
    head: &'c RequestHead,
    length: usize,
    pub(crate) facts: Facts,
    /// Towards the endpoint.
    pub(crate) up: Pipe,
    /// Towards the client.
    pub(crate) down: Pipe,
    /// The endpoint takes nothing more of the request.
    pub(crate) up_stopped: bool,
    /// To an endpoint of HTTP/2.
    bridge: Option<Box<Bridge>>,
    /// How often it was sent, and lost.
    losses: u32,
    deadline: Tick,
    gone_at: Tick,
    continue_at: Tick,
    interim: u32,
}

/// The head of a response, and where the rest of it comes from.
pub(crate) enum Answer {
    Raw(RawAnswer),
    Bridged(Box<Bridged>),
}

/// The head of a response of HTTP/1.
pub(crate) struct RawAnswer {
    pub(crate) upstream: Box<Upstream>,
    pub(crate) head: Box<ResponseHead>,
    pub(crate) length: usize,
    pub(crate) framing: Framing,
}

impl<'c> RawCall<'c> {
    /// The request whose head is the first `length` bytes of what the client has sent.
    pub(crate) fn new(connection: &'c mut Connection, head: &'c RequestHead, length: usize) -> RawCall<'c> {
        let bytes = connection.client.inlet.bytes();
        let method = head.method.bytes(bytes);
        let facts = Facts {
            version: head.version,
            to_head: method == b"HEAD",
            keeps_alive: head.keeps_alive(),
            upgrades: head.upgrade(bytes).is_some(),
            idempotent: is_idempotent(method),
            expects: head.expects_continue(bytes),
        };
        let buffers = &connection.worker.buffers;
        let (up, down) = (Pipe::new(Vec::new(), Body::Ended), Pipe::new(buffers.head(), Body::Ended));
        RawCall {
            connection,
            head,
            length,
            facts,
            up,
            down,
            up_stopped: false,
            bridge: None,
            losses: 0,
            deadline: NEVER,
            gone_at: NEVER,
            continue_at: NEVER,
            interim: 0,
        }
    }

    /// The request has not been taken by an endpoint of HTTP/2, and can be offered to another one.
    pub(crate) fn set_bridge(&mut self, bridge: Box<Bridge>) {
        self.bridge = Some(bridge);
    }

    /// Writes the head for an endpoint, and says how the body passes.
    fn write_head(&mut self, framing: Framing, record: &mut Record) {
        let worker = &self.connection.worker;
        let mut out = worker.buffers.head();
        let (id, parent) = (trace::request_id(worker), trace::parent(worker));
        let parent = parent.as_ref().and_then(trace::Hex::text);
        record.name(id.text(), parent);
        let onward = Onward {
            peer: &self.connection.peer.text,
            trusted: self.connection.peer.trusted,
            request_id: id.text(),
            trace_parent: parent,
        };
        rewrite::request(&mut out, self.connection.client.inlet.bytes(), self.head, &onward);
        let body = match framing {
            Framing::None | Framing::UntilClose => Body::Ended,
            Framing::Length(length) => Body::Length(length),
            Framing::Chunked => Body::Chunked(Default::default()),
        };
        self.up = Pipe::new(out, body);
    }

    async fn attempt_raw(&mut self, to: To<'_>) -> Result<RawAnswer, Failed> {
        let mut upstream = self.reach(&to).await?;
        upstream.expect_stalls(self.facts.upgrades || self.up.is_long(AT_ONCE));
        let mut coming = Coming::new(self.connection.worker.take_answer());
        let came = poll_fn(|cx| self.poll_answer(cx, &mut upstream, &mut coming)).await;
        match came {
            Ok((length, framing)) => Ok(RawAnswer { upstream, head: coming.head, length, framing }),
            Err(failed) => {
                self.connection.worker.give_answer(coming.head);
                Err(failed)
            }
        }
    }

    /// A kept connection, or a new one.
    async fn reach(&mut self, to: &To<'_>) -> Result<Box<Upstream>, Failed> {
        let worker = &self.connection.worker;
        let surely = !self.facts.idempotent || !self.up.is_whole();
        if !to.fresh
            && let Some(kept) = worker.kept.take(to.address, surely)
        {
            return Ok(kept);
        }
        let opening = Upstream::open(to.address, reach::patience(to.hurry), worker.buffers.clone());
        Box::pin(self.watched(opening)).await?.map_err(Failed::NotTaken)
    }

    /// Waits for something else than the client's request, but no longer than the client and the time allow.
    pub(crate) async fn watched<T>(&mut self, what: impl Future<Output = T>) -> Result<T, Failed> {
        let mut what = pin!(what);
        poll_fn(|cx| match what.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Ok(done)),
            Poll::Pending => self.poll_watch(cx).map(Err),
        })
        .await
    }

    /// Sends the request and waits for the head of the response: its length, and how long its body is.
    fn poll_answer(
        &mut self,
        cx: &mut Context<'_>,
        upstream: &mut Upstream,
        coming: &mut Coming,
    ) -> Poll<Result<(usize, Framing), Failed>> {
        if let Err(failed) = self.poll_upload(cx, upstream) {
            return Poll::Ready(Err(failed));
        }
        loop {
            match self.look(upstream, coming) {
                Ok(Some(found)) => return Poll::Ready(Ok(found)),
                Ok(None) => {}
                Err(failed) => return Poll::Ready(Err(failed)),
            }
            match coming.poll_fill(cx, upstream) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(self.dead(upstream, ended()))),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(self.dead(upstream, error))),
                Poll::Pending => break,
            }
        }
        if let Poll::Ready(Err(_)) = self.down.poll_write_out(cx, &mut self.connection.client) {
            return Poll::Ready(Err(Failed::Refused(Refusal::Hangup)));
        }
        self.poll_watch(cx).map(Err)
    }

    /// Passes on what the client sends. An endpoint that takes nothing more may still answer.
    fn poll_upload(&mut self, cx: &mut Context<'_>, upstream: &mut Upstream) -> Result<(), Failed> {
        if self.up_stopped {
            return Ok(());
        }
        match self.up.poll(cx, &mut self.connection.client, &mut upstream.side) {
            Poll::Pending | Poll::Ready(Ok(())) => Ok(()),
            Poll::Ready(Err(Broke::Sink(error))) if self.up.is_unsent() => Err(self.dead(upstream, error)),
            Poll::Ready(Err(Broke::Sink(_))) => {
                self.up_stopped = true;
                Ok(())
            }
            Poll::Ready(Err(Broke::Framing(what))) => Err(Failed::Refused(Refusal::BadHead(what))),
            Poll::Ready(Err(Broke::Source | Broke::Cut)) => Err(Failed::Refused(Refusal::GoneClient)),
        }
    }

    /// Looks for the head of the final response in what the endpoint has sent.
    fn look(
        &mut self,
        upstream: &mut Upstream,
        coming: &mut Coming,
    ) -> Result<Option<(usize, Framing)>, Failed> {
        while let Some((length, framing)) = coming.look(upstream, self.facts.to_head)? {
            if coming.head.status == 101 && !self.facts.upgrades {
                return Err(Failed::Refused(Refusal::Unasked));
            }
            if !coming.head.is_interim() {
                return Ok(Some((length, framing)));
            }
            self.pass_interim(upstream, coming, length)?;
        }
        Ok(None)
    }

    /// Passes 100, 103 and the like on to a client that knows them.
    fn pass_interim(
        &mut self,
        upstream: &mut Upstream,
        coming: &mut Coming,
        length: usize,
    ) -> Result<(), Failed> {
        self.interim += 1;
        if self.interim > MAX_INTERIM {
            return Err(bad_answer("too many interim answers"));
        }
        let continues = coming.head.status == 100;
        let told = continues && !self.facts.expects;
        if continues {
            (self.facts.expects, self.continue_at) = (false, NEVER);
        }
        if self.facts.version == Version::Http11 && !told {
            let back = Back { version: Version::Http11, close: false, body: BodyGoes::AsItComes };
            rewrite::response(self.down.push(), upstream.side.inlet.bytes(), &coming.head, back);
        }
        coming.skip(upstream, length);
        Ok(())
    }

    /// What it means that the connection to the endpoint broke before the response.
    fn dead(&mut self, upstream: &Upstream, error: io::Error) -> Failed {
        let unsent = self.up.is_unsent();
        let began = !upstream.side.inlet.is_empty() || self.interim > 0;
        let again = unsent || self.facts.idempotent && self.up.is_whole() && !began;
        self.losses += u32::from(!unsent);
        let again = again && self.losses <= MAX_LOSSES;
        if again {
            self.up.rewind();
            self.up_stopped = false;
        }
        let standing = Standing { again, unsent, reused: upstream.reused, cut_off: is_cut_off(&error) };
        standing.failed(error.into())
    }

    /// Looks after the client and the time.
    pub(crate) fn poll_watch(&mut self, cx: &mut Context<'_>) -> Poll<Failed> {
        self.poll_client(cx);
        if self.gone_at == Tick(0) {
            return Poll::Ready(Failed::Refused(Refusal::Hangup));
        }
        if self.connection.alarm.has_rung() {
            let now = self.connection.worker.now();
            if self.connection.alarm.is_over(now) {
                return self.ring(now);
            }
        }
        Poll::Pending
    }

    /// Reads ahead, which shows whether the client is still there.
    fn poll_client(&mut self, cx: &mut Context<'_>) {
        let client = &mut self.connection.client;
        if !self.up.is_read() && !self.up_stopped && !self.up.is_unsent() {
            return;
        }
        while !client.ended && client.inlet.has_room() {
            match client.poll_fill(cx, false) {
                Poll::Pending => return,
                Poll::Ready(Ok(0)) => {
                    self.gone_at = Tick(self.connection.worker.now().0 + HALF_CLOSED);
                    return self.set_alarm();
                }
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(_)) => {
                    client.ended = true;
                    self.gone_at = Tick(0);
                }
            }
        }
    }

    fn set_alarm(&self) {
        self.connection.alarm.set(self.deadline.min(self.gone_at).min(self.continue_at));
    }

    /// Something is due.
    fn ring(&mut self, now: Tick) -> Poll<Failed> {
        if self.gone_at <= now {
            return Poll::Ready(Failed::Refused(Refusal::Hangup));
        }
        if self.deadline <= now {
            let by_client = !self.up.is_done() && !self.up_stopped && self.up.waits_for() == Waits::Source;
            let refusal =
                if by_client && !self.up.is_unsent() { Refusal::SlowClient } else { Refusal::Timeout };
            return Poll::Ready(Failed::Refused(refusal));
        }
        if self.continue_at <= now {
            (self.facts.expects, self.continue_at) = (false, NEVER);
            self.down.push().extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
            self.connection.alarm.bell().ring();
        }
        self.set_alarm();
        Poll::Pending
    }

    /// Whether the connection to the client ends with the response.
    pub(crate) fn closes(&self) -> bool {
        let read = self.up.is_read() && !self.up_stopped;
        !self.facts.keeps_alive || !read || self.connection.client.ended || self.connection.is_leaving()
    }

    /// What becomes of the connection after a response that `close`s it.
    pub(crate) fn next(&self, close: bool) -> Next {
        let client = &self.connection.client;
        let sends = !client.ended && (!self.up.is_read() || self.up_stopped || !client.inlet.is_empty());
        match (close, sends) {
            (false, _) => Next::Request,
            (true, true) => Next::Goodbye,
            (true, false) => Next::Close,
        }
    }
}

impl Drop for RawCall<'_> {
    /// Gives memory back.
    fn drop(&mut self) {
        let worker = &self.connection.worker;
        worker.buffers.give_head(self.up.take_memory());
        worker.buffers.give_head(self.down.take_memory());
    }
}

impl Call for RawCall<'_> {
    type Answer = Answer;
    type Served = Next;

    fn head(&self) -> impl Head {
        self.head.with(self.connection.client.inlet.bytes())
    }

    fn client(&self) -> &str {
        &self.connection.peer.text
    }

    fn prepare(&mut self, revision: &Revision, record: &mut Record) -> Result<(), Refusal> {
        let framing = self.head.framing().map_err(Refusal::Unreadable)?;
        match revision.protocol {
            Protocol::Http => self.write_head(framing, record),
            Protocol::H2c => {
                let bridge = Bridge::new(self.connection, self.head, framing, record)?;
                self.bridge = Some(Box::new(bridge));
            }
        }
        self.connection.client.inlet.consume(std::mem::take(&mut self.length));
        Ok(())
    }

    async fn attempt(&mut self, to: To<'_>) -> Result<Answer, Failed> {
        if self.deadline == NEVER
            && let Some(deadline) = to.deadline
        {
            self.deadline = deadline;
            if self.facts.expects {
                self.continue_at = Tick(self.connection.worker.clock().0 + CONTINUE);
            }
        }
        self.set_alarm();
        match self.bridge.take() {
            None => self.attempt_raw(to).await.map(Answer::Raw),
            Some(bridge) => Box::pin(bridge.attempt(self, to)).await.map(Answer::Bridged),
        }
    }

    async fn answer(&mut self, answer: Answer, mut record: Record) -> Next {
        let status = match &answer {
            Answer::Raw(raw) => raw.head.status,
            Answer::Bridged(bridged) => bridged.status(),
        };
        record.answered(status);
        match answer {
            Answer::Raw(raw) if raw.head.status == 101 => {
                Box::pin(crate::http1::tunnel::switch(self, raw, record)).await
            }
            Answer::Raw(raw) => relay::relay(self, raw, record).await,
            Answer::Bridged(bridged) => Box::pin(bridged.pass_on(self, record)).await,
        }
    }

    async fn refuse(&mut self, refusal: Refusal, mut record: Record) -> Next {
        if matches!(refusal, Refusal::Hangup | Refusal::GoneClient) {
            return Next::Close;
        }
        self.skip_request();
        let close = self.closes();
        refusal.write(self.down.push(), &mut record, close, self.facts.to_head);
        let out = self.down.take_memory();
        let next = self.next(close);
        let sent = self.connection.send(out).await;
        if sent { next } else { Next::Close }
    }
}

impl RawCall<'_> {
    /// If nothing of the request has been made ready for an endpoint, nothing will be: the connection ends if it has a
    /// body.
    fn skip_request(&mut self) {
        if self.length > 0 {
            self.up_stopped = self.head.framing() != Ok(Framing::None);
            self.connection.client.inlet.consume(std::mem::take(&mut self.length));
        }
    }
}
