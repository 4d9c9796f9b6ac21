//! One request of a client of HTTP/2 on its way to an endpoint.

use std::rc::Rc;

use penstock_proxy_core::head::Head;
use penstock_proxy_core::http1::framing::Framing;
use penstock_proxy_core::http1::{descend, rewrite};
use penstock_proxy_core::http2::request::RequestHead;
use penstock_proxy_core::table::{Protocol, Revision};

use crate::deliver::Failed;
use crate::exchange::{Call, To};
use crate::http1::alarm::Alarm;
use crate::http1::connection::Peer;
use crate::http1::descending;
use crate::http1::descent::{Answered, Descent};
use crate::http1::pour::Pour;
use crate::http2::ascent::{Ascended, Ascent};
use crate::http2::caller::Caller;
use crate::http2::incoming::{Incoming, Upload};
use crate::http2::link::Stream;
use crate::record::Record;
use crate::refusal::Refusal;
use crate::worker::Worker;
use crate::{grpc, headers, trace};

/// One request.
pub(crate) struct StreamCall<'c> {
    worker: &'c Rc<Worker>,
    peer: &'c Peer,
    caller: Caller<'c>,
    to_head: bool,
    way: Way,
}

/// How far it is.
enum Way {
    /// As it came.
    Came(RequestHead, Option<Incoming>),
    /// To an endpoint of HTTP/1.
    Http1(Descent),
    /// To one of HTTP/2.
    Http2(Ascent),
    /// Nowhere.
    Gone,
}

/// The head of a response, and where the rest of it comes from.
pub(crate) enum Answer {
    Http1(Answered),
    Http2(Box<Ascended>),
}

impl<'c> StreamCall<'c> {
    pub(crate) fn new(
        worker: &'c Rc<Worker>,
        peer: &'c Peer,
        alarm: &'c Alarm,
        request: RequestHead,
        stream: Stream,
    ) -> StreamCall<'c> {
        let to_head = request.method() == "HEAD";
        let incoming = Incoming::new(stream.clone(), worker.shared.limits.body);
        let way = Way::Came(request, incoming);
        StreamCall { worker, peer, caller: Caller::new(worker, alarm, stream), to_head, way }
    }

    /// Writes the head for an endpoint of HTTP/1.
    fn descend(
        &self,
        request: &RequestHead,
        incoming: Option<Incoming>,
        record: &mut Record,
    ) -> Result<Descent, Refusal> {
        let (id, parent) = (trace::request_id(self.worker), trace::parent(self.worker));
        let parent = parent.as_ref().and_then(trace::Hex::text);
        record.name(id.text(), parent);
        let onward = rewrite::Onward {
            peer: &self.peer.text,
            trusted: self.peer.trusted,
            request_id: id.text(),
            trace_parent: parent,
        };
        let mut out = self.worker.buffers.head();
        let framing = descend::request(&mut out, request, incoming.is_some(), &onward);
        let framing = framing.map_err(|bad| Refusal::BadHead(bad.0))?;
        if matches!(framing, Framing::Length(length) if !self.worker.shared.limits.body.allows(length)) {
            return Err(Refusal::TooLong);
        }
        Ok(Descent::new(self.worker, request.method(), Pour::new(out, incoming, framing)))
    }

    fn ascend(
        &self,
        request: &RequestHead,
        incoming: Option<Incoming>,
        record: &mut Record,
    ) -> Result<Ascent, Refusal> {
        if request.length.is_some_and(|length| !self.worker.shared.limits.body.allows(length)) {
            return Err(Refusal::TooLong);
        }
        let mut request = request.to_request().ok_or(Refusal::BadHead("an invalid head"))?;
        let who = headers::Who { peer: &self.peer.text, trusted: self.peer.trusted, worker: self.worker };
        headers::request(&mut request, &who, record).map_err(|bad| Refusal::BadHead(bad.0))?;
        Ok(Ascent::new(self.worker, request, incoming))
    }

    /// Where the body of the request stands.
    fn upload(&self) -> Upload {
        match &self.way {
            Way::Came(..) | Way::Gone => Upload::Held,
            Way::Http1(descent) => descent.upload(),
            Way::Http2(ascent) => ascent.upload(),
        }
    }
}

impl Call for StreamCall<'_> {
    type Answer = Answer;
    type Served = ();

    fn head(&self) -> impl Head {
        let Way::Came(request, _) = &self.way else { return Lines(None) };
        Lines(Some(request))
    }

    fn client(&self) -> &str {
        &self.peer.text
    }

    fn prepare(&mut self, revision: &Revision, record: &mut Record) -> Result<(), Refusal> {
        let Way::Came(request, incoming) = std::mem::replace(&mut self.way, Way::Gone) else { return Ok(()) };
        let grpc = request.values("content-type").next().is_some_and(grpc::is_type);
        self.way = if revision.protocol == Protocol::H2c || grpc {
            Way::Http2(self.ascend(&request, incoming, record)?)
        } else {
            Way::Http1(self.descend(&request, incoming, record)?)
        };
        Ok(())
    }

    async fn attempt(&mut self, to: To<'_>) -> Result<Answer, Failed> {
        self.caller.until(to.deadline);
        let answer = match &mut self.way {
            Way::Http1(descent) => descent.attempt(to, &mut self.caller).await.map(Answer::Http1),
            Way::Http2(ascent) => ascent.attempt(to, &mut self.caller).await.map(Answer::Http2),
            Way::Came(..) | Way::Gone => Err(Failed::Lost("the request is gone".into())),
        };
        answer.map_err(|failed| blame_client(failed, self.upload()))
    }

    async fn answer(&mut self, answer: Answer, record: Record) {
        match (answer, &mut self.way) {
            (Answer::Http1(answered), Way::Http1(descent)) => {
                descending::pass_on(descent, answered, &mut self.caller, record).await;
            }
            (Answer::Http2(ascended), Way::Http2(ascent)) => {
                ascended.pass_on(ascent, &mut self.caller, record).await;
            }
            (Answer::Http1(_) | Answer::Http2(_), _) => {}
        }
    }

    async fn refuse(&mut self, refusal: Refusal, record: Record) {
        if matches!(refusal, Refusal::Hangup | Refusal::GoneClient) {
            return;
        }
        let (response, text) = refusal.answer(record);
        let client = self.caller.answer(&response, self.to_head);
        if let Some(mut client) = client.filter(|_| !self.to_head) {
            client.outlet.give(text, true).ok();
        }
    }
}

/// The head of a request, as long as it is there.
struct Lines<'a>(Option<&'a RequestHead>);

impl Head for Lines<'_> {
    fn method(&self) -> &str {
        self.0.map_or("", Head::method)
    }

    fn path(&self) -> &str {
        self.0.map_or("", Head::path)
    }

    fn query(&self) -> Option<&str> {
        self.0.and_then(Head::query)
    }

    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.0.into_iter().flat_map(move |request| request.values(name))
    }
}

/// A body that the client keeps back, or breaks off, is not the endpoint's fault.
fn blame_client(failed: Failed, upload: Upload) -> Failed {
    match (failed, upload) {
        (Failed::Refused(Refusal::Timeout), Upload::Awaited) => Failed::Refused(Refusal::SlowClient),
        (Failed::Lost(_), Upload::Broken) => Failed::Refused(Refusal::GoneClient),
        (failed, _) => failed,
    }
}
