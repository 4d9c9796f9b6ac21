//! The flow of one request, in the order in which it lives: record, table, route, split, limit, balance, forward.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::header::HeaderValue;
use http::{Method, Request, Response};
use hyper::body::Incoming;
use penstock_proxy_core::balance;

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
    /// Index of the rule that it falls under.
    pub(crate) rule: usize,
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
        Ok(plan) => forward(worker, lane, plan, peer, request, record).await,
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
    let index = table.routes.rule(request).ok_or(Refusal::NoRule)?;
    let rule = table.rules.get(index).ok_or(Refusal::NoRule)?;
    let choice = rule.choose(request, &table.revisions).ok_or(Refusal::NoWeight)?;
    if let Some(without_endpoints) = choice.instead_of {
        series[without_endpoints].fell_over(worker.thread);
    }
    let permit = lane.limit.acquire().ok_or(Refusal::Overload)?;
    record.choose(&series[choice.revision], permit);
    let endpoints = &table.revisions[choice.revision].endpoints;
    let place = balance::choose(endpoints, worker.random(), worker.shared.now(), &[]);
    record.place(place.ok_or(Refusal::NoEndpoint)?);
    let timeout = rule.timeout.unwrap_or(worker.shared.limits.request_timeout);
    let timeout = (!timeout.is_zero()).then_some(timeout);
    Ok(Plan { entry, rule: index, revision: choice.revision, timeout })
}

/// Decides anew for a request that no endpoint of its revision has taken: by the table of now, for the one of then
/// may be gone for good. `None`: there is no other revision. The first one is to blame for it all the same.
pub(crate) fn fall_over(lane: &Lane, worker: &Worker, plan: &Plan, record: &mut Record) -> Option<Plan> {
    let _deciding = worker.shared.epochs.decide(worker.thread);
    let entry = lane.entry.load_full();
    let table = &entry.table;
    let same = Arc::ptr_eq(&entry, &plan.entry);
    let name = &plan.entry.table.revisions.get(plan.revision)?.name;
    let revision = table.revisions.iter().position(|r| r.name == *name)?;
    let rule = if same { plan.rule } else { table.split? };
    let refuge = table.rules.get(rule)?.refuge(revision, &table.revisions)?;
    let place =
        balance::choose(&table.revisions[refuge].endpoints, worker.random(), worker.shared.now(), &[])?;
    record.fall_over(&entry.series[refuge]);
    record.place(place);
    Some(Plan { rule, revision: refuge, timeout: plan.timeout, entry })
}
