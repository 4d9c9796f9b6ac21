//! A request that came by HTTP/2, on its way to an endpoint.

use std::io;
use std::rc::Rc;

use http::header::HeaderValue;
use http::{Method, Request, Response};
use http_body::Body as HttpBody;
use hyper::body::Incoming;
use penstock_proxy_core::head::Head;
use penstock_proxy_core::table::{Protocol, Revision};
use tokio::time::timeout_at;

use crate::answer::Answer;
use crate::body::{Body, Progress, RequestBody, Upload};
use crate::deliver::{AT_ONCE, Failed, MAX_LOSSES, is_cut_off};
use crate::exchange::{Call, To};
use crate::http1::connection::Peer;
use crate::pool::{Ask, Connection, Wire};
use crate::record::Record;
use crate::refusal::Refusal;
use crate::worker::Worker;
use crate::{expect, grpc, headers};

/// A request that came by HTTP/2.
pub(crate) struct Forward<'f> {
    pub(crate) worker: &'f Rc<Worker>,
    pub(crate) peer: &'f Peer,
    pub(crate) request: Stage,
    /// How often it was sent, and lost.
    pub(crate) losses: u32,
}

/// How far a request is.
pub(crate) enum Stage {
    /// As it came.
    Came(Box<Request<Incoming>>),
    /// Made ready for an endpoint.
    Ready(Box<Outgoing>),
    /// On its way, or lost.
    Sent(Progress),
}

/// A request made ready for an endpoint.
pub(crate) struct Outgoing {
    request: Request<RequestBody>,
    wire: Wire,
    progress: Progress,
}

impl Call for Forward<'_> {
    type Answer = Box<Answer>;
    type Served = Response<Body>;

    fn head(&self) -> impl Head {
        let Stage::Came(request) = &self.request else { return Lines::Gone };
        Lines::Came(request)
    }

    fn prepare(&mut self, revision: &Revision) -> Result<(), Refusal> {
        let sent = Stage::Sent(RequestBody::empty().progress());
        let Stage::Came(request) = std::mem::replace(&mut self.request, sent) else { return Ok(()) };
        let wire = wire(&request, revision.protocol);
        let (mut parts, incoming) = request.into_parts();
        parts.extensions.clear();
        let peer = HeaderValue::from_str(&self.peer.text).map_err(|_| Refusal::BadHead("no address"))?;
        let who = headers::Who { peer: &peer, trusted: self.peer.trusted, worker: self.worker };
        headers::request(&mut parts, &who, wire).map_err(|bad| Refusal::BadHead(bad.0))?;
        let gate = expect::gate(&mut parts);
        let body = RequestBody::new(incoming, gate);
        let progress = body.progress();
        let request = Request::from_parts(parts, body);
        self.request = Stage::Ready(Box::new(Outgoing { request, wire, progress }));
        Ok(())
    }

    async fn attempt(&mut self, to: To<'_>) -> Result<Box<Answer>, Failed> {
        let progress = self.progress();
        let deadline = to.deadline.map(|tick| self.worker.shared.moment(tick).into());
        let attempt = self.try_once(to);
        let answer = match deadline {
            Some(deadline) => {
                let in_time = timeout_at(deadline, attempt).await;
                in_time.unwrap_or(Err(Failed::Refused(Refusal::Timeout)))
            }
            None => attempt.await,
        };
        answer.map_err(|failed| blame_client(failed, progress.upload()))
    }

    async fn answer(&mut self, answer: Box<Answer>, record: Record) -> Response<Body> {
        answer.pass_on(self.worker, record)
    }

    async fn refuse(&mut self, refusal: Refusal, record: Record) -> Response<Body> {
        refusal.answer(record)
    }
}

/// The head of a request, as long as it is there.
enum Lines<'a> {
    Came(&'a Request<Incoming>),
    Gone,
}

impl Head for Lines<'_> {
    fn method(&self) -> &str {
        match self {
            Lines::Came(request) => Head::method(*request),
            Lines::Gone => "",
        }
    }

    fn path(&self) -> &str {
        match self {
            Lines::Came(request) => request.path(),
            Lines::Gone => "",
        }
    }

    fn query(&self) -> Option<&str> {
        match self {
            Lines::Came(request) => request.query(),
            Lines::Gone => None,
        }
    }

    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let request = match self {
            Lines::Came(request) => Some(request),
            Lines::Gone => None,
        };
        request.into_iter().flat_map(move |request| request.values(name))
    }
}

impl Forward<'_> {
    fn progress(&self) -> Progress {
        match &self.request {
            Stage::Came(_) => RequestBody::empty().progress(),
            Stage::Ready(outgoing) => outgoing.progress.clone(),
            Stage::Sent(progress) => progress.clone(),
        }
    }

    async fn try_once(&mut self, to: To<'_>) -> Result<Box<Answer>, Failed> {
        let sent = Stage::Sent(self.progress());
        let Stage::Ready(outgoing) = std::mem::replace(&mut self.request, sent) else {
            return Err(Failed::Lost("the request is gone".into()));
        };
        let ask = Ask { wire: outgoing.wire, fresh: to.fresh, hurry: to.hurry };
        match self.worker.pool.connect(to.address, ask).await {
            Ok(connection) => self.send(connection, *outgoing).await,
            Err(error) => {
                self.request = Stage::Ready(outgoing);
                Err(Failed::NotTaken(error))
            }
        }
    }

    async fn send(&mut self, mut connection: Connection, outgoing: Outgoing) -> Result<Box<Answer>, Failed> {
        let (reused, replay) = (connection.is_reused(), replay(&outgoing.request));
        let Outgoing { request, wire, progress } = outgoing;
        connection.expect_stalls(is_long(request.body()));
        let mut error = match connection.send(request).await {
            Ok(response) => return Ok(Box::new(Answer { response, connection, progress })),
            Err(error) => error,
        };
        let unsent = error.take_message();
        let was_sent = unsent.is_none();
        self.losses += u32::from(was_sent);
        let again = unsent.or(replay).filter(|_| self.losses <= MAX_LOSSES);
        let failed = failed(error.into_error(), again.is_some(), !was_sent, reused);
        if let Some(request) = again {
            self.request = Stage::Ready(Box::new(Outgoing { request, wire, progress }));
        }
        Err(failed)
    }
}

/// What it means that a request to an endpoint has failed. `again`: it can be sent again.
pub(crate) fn failed(error: hyper::Error, again: bool, unsent: bool, reused: bool) -> Failed {
    let source = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<io::Error>());
    let cut_off = source.is_some_and(|source| is_cut_off(source.kind()));
    match (again, cut_off) {
        (false, true) => Failed::CutOff(error.into()),
        (false, false) => Failed::Lost(error.into()),
        (true, true) => Failed::NotTaken(io::ErrorKind::TimedOut.into()),
        (true, false) if reused => Failed::Stale,
        (true, false) if unsent => Failed::NotTaken(io::Error::other(error)),
        (true, false) => Failed::Broken(error.into()),
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

/// gRPC needs HTTP/2 all the way.
fn wire(request: &Request<Incoming>, protocol: Protocol) -> Wire {
    if protocol == Protocol::H2c || grpc::is_grpc(request.headers()) { Wire::Http2 } else { Wire::Http1 }
}

/// Whether an endpoint that does not read the body would keep some of it from being sent.
fn is_long(body: &RequestBody) -> bool {
    body.size_hint().upper().is_none_or(|length| length > AT_ONCE)
}

/// A copy to send again: for idempotent methods without a body (RFC 9110 section 9.2.2).
fn replay(request: &Request<RequestBody>) -> Option<Request<RequestBody>> {
    let idempotent = request.method().is_safe() || matches!(*request.method(), Method::PUT | Method::DELETE);
    if !idempotent || !request.body().is_end_stream() {
        return None;
    }
    let mut copy = Request::new(RequestBody::empty());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    Some(copy)
}
