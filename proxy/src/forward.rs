//! Sends a request to an endpoint of its revision.

use std::io;
use std::net::SocketAddr;
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
use crate::exchange::{Plan, fall_over};
use crate::lane::Lane;
use crate::pool::{Ask, Connection, Wire};
use crate::record::Record;
use crate::refusal::Refusal;
use crate::worker::Worker;
use crate::{expect, grpc, headers};

/// Most endpoints that one request tries.
const MAX_TRIED: usize = 8;

/// How often a request is sent again after it was lost. One that brings endpoints down does so to a few only.
const MAX_LOSSES: u32 = 3;
/// Longest body that every kernel takes in, whether or not anybody reads it.
const AT_ONCE: u64 = 16 << 10;

/// A request made ready for an endpoint. Boxed, because it is handed on often.
struct Outgoing {
    request: Request<RequestBody>,
    wire: Wire,
    progress: Progress,
    /// The client's side of a change of protocol, if it asks for one.
    upgrade: Option<OnUpgrade>,
    /// How often it was sent, and lost.
    losses: u32,
}

/// Forwards a request as planned. The record ends with the response's body.
pub(crate) async fn forward(
    worker: &Rc<Worker>,
    lane: &Lane,
    plan: Plan,
    peer: &HeaderValue,
    request: Request<Incoming>,
    mut record: Record,
) -> Response<Body> {
    let revision = &plan.entry.table.revisions[plan.revision];
    let answer = match prepare(request, revision, peer) {
        Ok(outgoing) => in_time(worker, lane, plan, outgoing, &mut record).await,
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
    Ok(Box::new(Outgoing { request: Request::from_parts(parts, body), wire, progress, upgrade, losses: 0 }))
}

/// gRPC needs HTTP/2 all the way.
fn wire(request: &Request<Incoming>, protocol: Protocol) -> Wire {
    let grpc = request.version() == Version::HTTP_2 && grpc::is_grpc(request.headers());
    if protocol == Protocol::H2c || grpc { Wire::Http2 } else { Wire::Http1 }
}

async fn in_time(
    worker: &Worker,
    lane: &Lane,
    plan: Plan,
    outgoing: Box<Outgoing>,
    record: &mut Record,
) -> Result<Box<Answer>, Refusal> {
    let (begun, progress) = (record.begun(), outgoing.progress.clone());
    let timeout = plan.timeout;
    let mut delivery = pin!(deliver(worker, lane, plan, outgoing, record));
    let answer = match timeout {
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

/// Tries connections and endpoints until one has taken the request, at last those of another revision. What has been
/// sent is sent again only if nobody can notice.
async fn deliver(
    worker: &Worker,
    lane: &Lane,
    mut plan: Plan,
    mut outgoing: Box<Outgoing>,
    record: &mut Record,
) -> Result<Box<Answer>, Refusal> {
    let mut tried = Vec::new();
    let (mut stale, mut fell_over) = (false, false);
    loop {
        let (endpoint, trial) = record.endpoint().ok_or(Refusal::NoEndpoint)?;
        let address = endpoint.address();
        let ask = Ask {
            wire: outgoing.wire,
            fresh: stale || trial,
            hurry: || !fell_over && has_refuge(&plan) || hurry(worker, &plan, &tried, address),
        };
        let sent = match worker.pool.connect(address, ask).await {
            Ok(connection) => send(connection, outgoing).await,
            Err(error) => Sent::NotTaken(outgoing, error),
        };
        match settle(worker, address, sent).await {
            Sent::Answered(answer) => {
                endpoint.answered();
                return Ok(answer);
            }
            Sent::Stale(again) => (outgoing, stale) = (again, true),
            Sent::Broken(_, error) | Sent::Lost(error) => {
                if is_cut_off(&error) {
                    pass_over(worker, record, &endpoint, io::ErrorKind::TimedOut);
                }
                return Err(Refusal::Lost(error));
            }
            Sent::NotTaken(again, error) => {
                tried.push(address);
                pass_over(worker, record, &endpoint, error.kind());
                (outgoing, stale) = (again, false);
                if let Some(place) = elsewhere(worker, &plan, &tried) {
                    record.place(place);
                    continue;
                }
                let other = if fell_over { None } else { fall_over(lane, worker, &plan, record) };
                plan = other.ok_or(Refusal::Refused(error))?;
                fell_over = true;
                tried.clear();
            }
        }
    }
}

/// What became of an attempt.
enum Sent {
    Answered(Box<Answer>),
    /// A connection from the pool was dead; the request can be sent again.
    Stale(Box<Outgoing>),
    /// A connection opened for the request broke off; it can be sent again.
    Broken(Box<Outgoing>, hyper::Error),
    /// The endpoint took nothing.
    NotTaken(Box<Outgoing>, io::Error),
    /// Nobody knows what the endpoint took, and sending it again could be noticed.
    Lost(hyper::Error),
}

async fn send(mut connection: Connection, outgoing: Box<Outgoing>) -> Sent {
    let (reused, replay) = (connection.is_reused(), replay(&outgoing.request));
    let Outgoing { request, wire, progress, upgrade, losses } = *outgoing;
    connection.expect_stalls(upgrade.is_some() || is_long(request.body()));
    let mut error = match connection.send(request).await {
        Ok(response) => {
            return Sent::Answered(Box::new(Answer { response, connection, progress, upgrade }));
        }
        Err(error) => error,
    };
    let unsent = error.take_message();
    let error = error.into_error();
    let cut_off = is_cut_off(&error);
    let was_sent = unsent.is_none();
    let losses = losses + u32::from(was_sent);
    let Some(request) = unsent.or(replay).filter(|_| losses <= MAX_LOSSES) else { return Sent::Lost(error) };
    let outgoing = Box::new(Outgoing { request, wire, progress, upgrade, losses });
    if cut_off {
        Sent::NotTaken(outgoing, io::ErrorKind::TimedOut.into())
    } else if reused {
        Sent::Stale(outgoing)
    } else if was_sent {
        Sent::Broken(outgoing, error)
    } else {
        Sent::NotTaken(outgoing, io::Error::other(error))
    }
}

/// A request that a living endpoint broke off has failed. That a dying one broke it off says nothing about it.
async fn settle(worker: &Worker, address: SocketAddr, sent: Sent) -> Sent {
    let Sent::Broken(again, error) = sent else { return sent };
    match Box::pin(worker.pool.refuses(address)).await {
        Some(refused) => Sent::NotTaken(again, refused),
        None => Sent::Lost(error),
    }
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

/// Leaves an endpoint alone for a while. The connections to one that can't be reached are of no more use either.
fn pass_over(worker: &Worker, record: &Record, endpoint: &Arc<Endpoint>, kind: io::ErrorKind) {
    let address = endpoint.address();
    endpoint.failed(worker.shared.tick(record.begun()), worker.shared.now());
    if kind != io::ErrorKind::ConnectionRefused {
        worker.pool.forget(address);
    }
    tracing::debug!(%address, %kind, "endpoint can't be reached");
}

/// Whether nothing that was sent has arrived.
fn is_cut_off(error: &hyper::Error) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>());
    source.is_some_and(|source| {
        matches!(
            source.kind(),
            io::ErrorKind::TimedOut | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable
        )
    })
}

/// Whether not to wait long for a connection, because there is another endpoint to try.
fn hurry(worker: &Worker, plan: &Plan, tried: &[SocketAddr], address: SocketAddr) -> bool {
    let endpoints = &plan.entry.table.revisions[plan.revision].endpoints;
    tried.len() + 1 < MAX_TRIED && balance::has_other(endpoints, worker.shared.now(), tried, address)
}

/// Whether another revision can take what no endpoint of this one takes.
fn has_refuge(plan: &Plan) -> bool {
    let table = &plan.entry.table;
    table.rules.get(plan.rule).is_some_and(|rule| rule.refuge(plan.revision, &table.revisions).is_some())
}

fn elsewhere(worker: &Worker, plan: &Plan, tried: &[SocketAddr]) -> Option<balance::Place> {
    let endpoints = &plan.entry.table.revisions[plan.revision].endpoints;
    let more = tried.len() < MAX_TRIED;
    more.then(|| balance::choose(endpoints, worker.random(), worker.shared.now(), tried)).flatten()
}
