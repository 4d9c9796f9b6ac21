//! The flow of one request, in the order in which it lives: record, table, route, split, limit, balance, forward.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::header::HeaderValue;
use http::{Method, Request, Response};
use hyper::body::Incoming;
use penstock_proxy_core::balance;
use penstock_proxy_core::route::Ask;

use crate::body::Body;
use crate::forward::forward;
use crate::lane::{Entry, Lane};
use crate::record::Record;
use crate::refusal::Refusal;
use crate::worker::Worker;

/// Where a request goes. Decided once, by one table.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) entry: Arc<Entry>,
    /// Index of the revision.
    pub(crate) revision: usize,
    /// How long the response's head may take; `None`: for ever.
    pub(crate) timeout: Option<Duration>,
}

/// Serves one request of a client at `peer`.
pub(crate) async fn exchange(
    lane: &Lane,
    worker: &Rc<Worker>,
    peer: &HeaderValue,
    request: Request<Incoming>,
) -> Response<Body> {
    let mut record = Record::begin(worker, lane);
    match decide(lane, worker, &request, &mut record) {
        Ok(plan) => forward(worker, &plan, peer, request, record).await,
        Err(refusal) => refusal.answer(record),
    }
}

/// Decides by one table, and counts the request as in flight before anybody can believe that table gone.
fn decide(
    lane: &Lane,
    worker: &Worker,
    request: &Request<Incoming>,
    record: &mut Record,
) -> Result<Plan, Refusal> {
    if request.method() == Method::CONNECT {
        return Err(Refusal::Connect);
    }
    let _deciding = worker.shared.epochs.decide(worker.thread);
    let entry = lane.entry.load_full();
    let (table, series) = (&entry.table, &entry.series);
    let ask = Ask { method: request.method(), uri: request.uri(), headers: request.headers() };
    let rule = table.route(ask).ok_or(Refusal::NoRule)?;
    let choice = rule.choose(request.headers(), &table.revisions).ok_or(Refusal::NoWeight)?;
    if let Some(without_endpoints) = choice.instead_of {
        series[without_endpoints].fell_over(worker.thread);
    }
    let permit = lane.limit.acquire().ok_or(Refusal::Overload)?;
    record.choose(&series[choice.revision], permit);
    let endpoints = &table.revisions[choice.revision].endpoints;
    let place = balance::choose(endpoints, worker.random(), worker.shared.now(), &[]);
    record.place(place.ok_or(Refusal::NoEndpoint)?);
    let timeout = rule.timeout.unwrap_or(worker.shared.limits.request_timeout);
    Ok(Plan { entry, revision: choice.revision, timeout: (!timeout.is_zero()).then_some(timeout) })
}
