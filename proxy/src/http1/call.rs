//! One request of a client of HTTP/1 on its way to an endpoint.

use penstock_proxy_core::balance::Tick;
use penstock_proxy_core::head::Head;
use penstock_proxy_core::http1::Version;
use penstock_proxy_core::http1::framing::Framing;
use penstock_proxy_core::http1::request::{RequestHead, is_idempotent};
use penstock_proxy_core::http1::response::ResponseHead;
use penstock_proxy_core::http1::rewrite::{self, Onward};
use penstock_proxy_core::table::{Protocol, Revision};

use crate::deliver::Failed;
use crate::exchange::{Call, To};
use crate::http1::across::Bridged;
use crate::http1::alarm::NEVER;
use crate::http1::bridge::Bridge;
use crate::http1::connection::{Connection, Next};
use crate::http1::pipe::{Body, Pipe};
use crate::http1::relay;
use crate::http1::upstream::Upstream;
use crate::record::Record;
use crate::refusal::Refusal;
use crate::trace;

/// How long an endpoint that says nothing to `Expect: 100-continue` is waited for, in milliseconds (RFC 9110 section
/// 10.1.1: not for ever).
const CONTINUE: u64 = 1000;

/// What stays of a request's head when it has been written for an endpoint.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    pub(crate) version: Version,
    pub(crate) to_head: bool,
    pub(crate) keeps_alive: bool,
    pub(crate) upgrades: bool,
    pub(crate) idempotent: bool,
    pub(super) expects: bool,
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
    pub(super) bridge: Option<Box<Bridge>>,
    /// How often it was sent, and lost.
    pub(super) losses: u32,
    pub(super) deadline: Tick,
    pub(super) gone_at: Tick,
    pub(super) continue_at: Tick,
    pub(super) interim: u32,
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
        self.up = Pipe::limited(out, body, worker.shared.limits.body);
    }

    /// If nothing of the request has been made ready for an endpoint, nothing will be: the connection ends if it has a
    /// body.
    fn skip_request(&mut self) {
        if self.length > 0 {
            self.up_stopped = self.head.framing() != Ok(Framing::None);
            self.connection.client.inlet.consume(std::mem::take(&mut self.length));
        }
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
        let limit = self.connection.worker.shared.limits.body;
        if matches!(framing, Framing::Length(length) if !limit.allows(length)) {
            return Err(Refusal::TooLong);
        }
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
