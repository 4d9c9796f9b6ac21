//! Sends a request to an endpoint of its revision.

use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use http::header::HeaderValue;
use http::{Extensions, Method, Request, Response, Version};
use http_body::Body as HttpBody;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use penstock_proxy_core::balance::{self, Endpoint};
use penstock_proxy_core::table::{Protocol, Revision};
use tokio::time::timeout_at;

use crate::answer::Answer;
use crate::body::{Body, Progress, RequestBody, Upload};
use crate::exchange::Plan;
use crate::pool::{Connection, Wire};
use crate::record::Record;
use crate::refusal::Refusal;
use crate::worker::Worker;
use crate::{expect, grpc, headers};

/// Most endpoints that one request tries.
const MAX_TRIED: usize = 8;

/// A request made ready for an endpoint. Boxed, because it is handed on often.
struct Outgoing {
    request: Request<RequestBody>,
    wire: Wire,
    progress: Progress,
    /// The client's side of a change of protocol, if it asks for one.
    upgrade: Option<OnUpgrade>,
}

/// Forwards a request as planned. The record ends with the response's body.
pub(crate) async fn forward(
    worker: &Rc<Worker>,
    plan: &Plan,
    peer: &HeaderValue,
    request: Request<Incoming>,
    mut record: Record,
) -> Response<Body> {
    let revision = &plan.entry.table.revisions[plan.revision];
    let answer = match prepare(request, revision, peer) {
        Ok(outgoing) => in_time(worker, plan, outgoing, &mut record).await,
        Err(bad) => Err(Refusal::BadHead(bad.0)),
    };
    match answer {
        Ok(answer) => answer.pass_on(worker, record),
        Err(refusal) => refusal.answer(record),
    }
}

fn prepare(
    request: Request<Incoming>,
    revision: &Revision,
    peer: &HeaderValue,
) -> Result<Box<Outgoing>, headers::BadHead> {
    let wire = wire(&request, revision.protocol);
    let (mut parts, incoming) = request.into_parts();
    let mut extensions = std::mem::replace(&mut parts.extensions, Extensions::new());
    let protocol = headers::upgrade(&parts).filter(|_| wire == Wire::Http1);
    let upgrade = protocol.is_some().then(|| extensions.remove()).flatten();
    headers::request(&mut parts, peer, wire, protocol)?;
    let gate = expect::gate(&mut parts);
    let body = RequestBody::new(incoming, gate);
    let progress = body.progress();
    Ok(Box::new(Outgoing { request: Request::from_parts(parts, body), wire, progress, upgrade }))
}

/// gRPC needs HTTP/2 all the way.
fn wire(request: &Request<Incoming>, protocol: Protocol) -> Wire {
    let grpc = request.version() == Version::HTTP_2 && grpc::is_grpc(request.headers());
    if protocol == Protocol::H2c || grpc { Wire::Http2 } else { Wire::Http1 }
}

async fn in_time(
    worker: &Worker,
    plan: &Plan,
    outgoing: Box<Outgoing>,
    record: &mut Record,
) -> Result<Box<Answer>, Refusal> {
    let (begun, progress) = (record.begun(), outgoing.progress.clone());
    let mut delivery = pin!(deliver(worker, plan, outgoing, record));
    let answer = match plan.timeout {
        Some(timeout) => {
            timeout_at((begun + timeout).into(), &mut delivery).await.unwrap_or(Err(Refusal::Timeout))
        }
        None => delivery.await,
    };
    answer.map_err(|refusal| blame_client(refusal, progress.upload()))
}

/// A body that the client keeps back, or breaks off, is not the endpoint's fault.
fn blame_client(refusal: Refusal, upload: Upload) -> Refusal {
    match (refusal, upload) {
        (Refusal::Timeout, Upload::Awaited) => Refusal::SlowClient,
        (Refusal::Lost(_), Upload::Broken) => Refusal::GoneClient,
        (refusal, _) => refusal,
    }
}

/// Tries connections and endpoints until one has taken the request. What has been sent is sent again only if
/// nobody can notice.
async fn deliver(
    worker: &Worker,
    plan: &Plan,
    mut outgoing: Box<Outgoing>,
    record: &mut Record,
) -> Result<Box<Answer>, Refusal> {
    let mut tried = Vec::new();
    let mut fresh = false;
    loop {
        let endpoint = record.endpoint().ok_or(Refusal::NoEndpoint)?;
        let address = endpoint.address();
        let sent = match worker.pool.connect(address, outgoing.wire, fresh).await {
            Ok(connection) => send(connection, outgoing).await?,
            Err(error) => Sent::NotTaken(outgoing, error),
        };
        match sent {
            Sent::Answered(answer) => {
                endpoint.accepted();
                return Ok(answer);
            }
            Sent::Stale(again) => (outgoing, fresh) = (again, true),
            Sent::NotTaken(again, error) => {
                tried.push(address);
                refuse(worker, &endpoint, error.kind());
                record.place(elsewhere(worker, plan, &tried).ok_or(Refusal::Refused(error))?);
                (outgoing, fresh) = (again, false);
            }
        }
    }
}

/// What became of an attempt.
enum Sent {
    Answered(Box<Answer>),
    /// A connection from the pool was dead; the request can be sent again.
    Stale(Box<Outgoing>),
    /// The endpoint took nothing.
    NotTaken(Box<Outgoing>, io::Error),
}

async fn send(mut connection: Connection, outgoing: Box<Outgoing>) -> Result<Sent, Refusal> {
    let reused = connection.is_reused();
    let replay = if reused { replay(&outgoing.request) } else { None };
    let Outgoing { request, wire, progress, upgrade } = *outgoing;
    let mut error = match connection.send(request).await {
        Ok(response) => {
            return Ok(Sent::Answered(Box::new(Answer { response, connection, progress, upgrade })));
        }
        Err(error) => error,
    };
    let Some(request) = error.take_message().or(replay) else {
        return Err(Refusal::Lost(error.into_error()));
    };
    let outgoing = Box::new(Outgoing { request, wire, progress, upgrade });
    if reused {
        return Ok(Sent::Stale(outgoing));
    }
    Ok(Sent::NotTaken(outgoing, io::Error::other(error.into_error())))
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

fn refuse(worker: &Worker, endpoint: &Arc<Endpoint>, kind: io::ErrorKind) {
    endpoint.refused(worker.shared.now());
    tracing::debug!(address = %endpoint.address(), %kind, "endpoint takes no connection");
}

fn elsewhere(worker: &Worker, plan: &Plan, tried: &[std::net::SocketAddr]) -> Option<balance::Place> {
    let endpoints = &plan.entry.table.revisions[plan.revision].endpoints;
    let more = tried.len() < MAX_TRIED;
    more.then(|| balance::choose(endpoints, worker.random(), worker.shared.now(), tried)).flatten()
}
