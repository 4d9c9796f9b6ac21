//! A request that came by HTTP/2, on its way to an endpoint.

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
use crate::deliver::{Failed, MAX_LOSSES, Standing, is_cut_off};
use crate::exchange::{Call, To};
use crate::http1::connection::Peer;
use crate::http1::descending::Descended;
use crate::http1::descent::Descent;
use crate::pool::{Ask, Connection};
use crate::reach::Wire;
use crate::record::Record;
use crate::refusal::Refusal;
use crate::worker::Worker;
use crate::{grpc, headers};

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
    /// Made ready for an endpoint of HTTP/2.
    Ready(Box<Outgoing>),
    /// Made ready for an endpoint of HTTP/1.
    Descends(Box<Descent>),
    /// On its way, or lost.
    Sent(Progress),
}

/// A request made ready for an endpoint of HTTP/2.
pub(crate) struct Outgoing {
    request: Request<RequestBody>,
    progress: Progress,
}

/// The head of a response, and what is needed for the rest of it.
pub(crate) enum Answers {
    Http1(Box<Descended>),
    Http2(Box<Answer>),
}

impl Call for Forward<'_> {
    type Answer = Answers;
    type Served = Response<Body>;

    fn head(&self) -> impl Head {
        let Stage::Came(request) = &self.request else { return Lines::Gone };
        Lines::Came(request)
    }

    fn client(&self) -> &str {
        &self.peer.text
    }

    fn prepare(&mut self, revision: &Revision, record: &mut Record) -> Result<(), Refusal> {
        let sent = Stage::Sent(RequestBody::empty().progress());
        let Stage::Came(request) = std::mem::replace(&mut self.request, sent) else { return Ok(()) };
        let wire = wire(&request, revision.protocol);
        let (mut parts, incoming) = request.into_parts();
        parts.extensions.clear();
        let peer = HeaderValue::from_str(&self.peer.text).map_err(|_| Refusal::BadHead("no address"))?;
        let who = headers::Who { peer: &peer, trusted: self.peer.trusted, worker: self.worker };
        headers::request(&mut parts, &who, wire, record).map_err(|bad| Refusal::BadHead(bad.0))?;
        self.request = match wire {
            Wire::Http1 => Stage::Descends(Descent::new(self.worker, &parts, incoming)),
            Wire::Http2 => {
                let body = RequestBody::new(incoming);
                let progress = body.progress();
                let request = Request::from_parts(parts, body);
                Stage::Ready(Box::new(Outgoing { request, progress }))
            }
        };
        Ok(())
    }

    async fn attempt(&mut self, to: To<'_>) -> Result<Answers, Failed> {
        let deadline = to.deadline.map(|tick| self.worker.shared.moment(tick).into());
        let attempt = self.try_once(to);
        let answer = match deadline {
            Some(deadline) => {
                let in_time = timeout_at(deadline, attempt).await;
                in_time.unwrap_or(Err(Failed::Refused(Refusal::Timeout)))
            }
            None => attempt.await,
        };
        answer.map_err(|failed| blame_client(failed, self.upload()))
    }

    async fn answer(&mut self, answer: Answers, record: Record) -> Response<Body> {
        match answer {
            Answers::Http1(descended) => descended.pass_on(record),
            Answers::Http2(answer) => answer.pass_on(record),
        }
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
    /// Where the body of the request stands.
    fn upload(&self) -> Upload {
        match &self.request {
            Stage::Came(_) => Upload::Held,
            Stage::Ready(outgoing) => outgoing.progress.upload(),
            Stage::Descends(descent) => descent.upload(),
            Stage::Sent(progress) => progress.upload(),
        }
    }

    async fn try_once(&mut self, to: To<'_>) -> Result<Answers, Failed> {
        if let Stage::Descends(descent) = &mut self.request {
            let answered = descent.attempt(to).await?;
            let sent = Stage::Sent(RequestBody::empty().progress());
            let Stage::Descends(descent) = std::mem::replace(&mut self.request, sent) else {
                return Err(gone());
            };
            return Ok(Answers::Http1(Box::new(answered.of(descent))));
        }
        let Stage::Ready(outgoing) = &self.request else { return Err(gone()) };
        let sent = Stage::Sent(outgoing.progress.clone());
        let ask = Ask { fresh: to.fresh, hurry: to.hurry };
        let connection = self.worker.pool.connect(to.address, ask).await.map_err(Failed::NotTaken)?;
        let Stage::Ready(outgoing) = std::mem::replace(&mut self.request, sent) else { return Err(gone()) };
        self.send(connection, *outgoing).await.map(Answers::Http2)
    }

    async fn send(&mut self, mut connection: Connection, outgoing: Outgoing) -> Result<Box<Answer>, Failed> {
        let (reused, replay) = (connection.is_reused(), replay(&outgoing.request));
        let Outgoing { request, progress } = outgoing;
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
            self.request = Stage::Ready(Box::new(Outgoing { request, progress }));
        }
        Err(failed)
    }
}

/// What it means that a request to an endpoint of HTTP/2 has failed. `again`: it can be sent again.
pub(crate) fn failed(error: hyper::Error, again: bool, unsent: bool, reused: bool) -> Failed {
    Standing { again, unsent, reused, cut_off: is_cut_off(&error) }.failed(error.into())
}

fn gone() -> Failed {
    Failed::Lost("the request is gone".into())
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
