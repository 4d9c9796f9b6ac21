//! The flow of one request, in the order in which it lives: record, table, route, split, limit, balance, forward. The
//! same for all versions of HTTP.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use penstock_proxy_core::balance::{self, Tick};
use penstock_proxy_core::head::Head;
use penstock_proxy_core::table::Revision;

use crate::deliver::{Failed, deliver};
use crate::lane::{Current, Desk};
use crate::record::Record;
use crate::refusal::Refusal;
use crate::worker::Worker;

/// Where a request goes. Decided once, by one table.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) entry: Current,
    /// Index of the rule that it falls under.
    pub(crate) rule: usize,
    /// Index of the revision.
    pub(crate) revision: usize,
    /// When the response's head must be there; `None`: some time.
    pub(crate) deadline: Option<Tick>,
}

/// A request and its client, in some version of HTTP.
pub(crate) trait Call {
    /// The head of a response, and what is needed for the rest of it.
    type Answer;
    /// What is left when the client has been served.
    type Served;

    /// What decides where it goes.
    fn head(&self) -> impl Head;

    /// The client's address.
    fn client(&self) -> &str;

    /// Makes the request one for an endpoint of this revision.
    fn prepare(&mut self, revision: &Revision, record: &mut Record) -> Result<(), Refusal>;

    /// Sends it to an endpoint and waits for the head of the response.
    async fn attempt(&mut self, to: To<'_>) -> Result<Self::Answer, Failed>;

    /// Passes the response on to the client.
    async fn answer(&mut self, answer: Self::Answer, record: Record) -> Self::Served;

    /// Answers the client instead.
    async fn refuse(&mut self, refusal: Refusal, record: Record) -> Self::Served;
}

/// Where to send a request, and how.
pub(crate) struct To<'a> {
    pub(crate) address: SocketAddr,
    /// Not by a connection that has carried a request before.
    pub(crate) fresh: bool,
    /// Whether a connection has to open soon or not at all.
    pub(crate) hurry: &'a dyn Fn() -> bool,
    pub(crate) deadline: Option<Tick>,
}

/// Serves one request.
pub(crate) async fn exchange<C: Call>(lane: &Rc<Desk>, worker: &Rc<Worker>, call: &mut C) -> C::Served {
    let mut record = Record::begin(worker, lane);
    match ask(lane, worker, call, &mut record).await {
        Ok(answer) => call.answer(answer, record).await,
        Err(refusal) => call.refuse(refusal, record).await,
    }
}

async fn ask<C: Call>(
    lane: &Rc<Desk>,
    worker: &Rc<Worker>,
    call: &mut C,
    record: &mut Record,
) -> Result<C::Answer, Refusal> {
    record.describe(&call.head(), call.client());
    let plan = decide(lane, worker, &call.head(), record)?;
    call.prepare(&plan.entry.table.revisions[plan.revision], record)?;
    deliver(lane, worker, plan, call, record).await
}

/// Decides by one table, and counts the request as in flight before anybody can believe that table gone.
fn decide(lane: &Rc<Desk>, worker: &Worker, head: &impl Head, record: &mut Record) -> Result<Plan, Refusal> {
    if head.method() == "CONNECT" {
        return Err(Refusal::Connect);
    }
    let _deciding = worker.shared.epochs.decide(worker.thread);
    let entry = lane.entry();
    let (table, series) = (&entry.table, &entry.series);
    let index = table.routes.rule(head).ok_or(Refusal::NoRule)?;
    let rule = table.rules.get(index).ok_or(Refusal::NoRule)?;
    let choice = rule.choose(head, &table.revisions).ok_or(Refusal::NoWeight)?;
    if let Some(without_endpoints) = choice.instead_of {
        series[without_endpoints].fell_over(worker.thread);
    }
    let permit = lane.limit.acquire().ok_or(Refusal::Overload)?;
    record.choose(&series[choice.revision], permit);
    let endpoints = &table.revisions[choice.revision].endpoints;
    let now = worker.clock();
    let place = balance::choose_first(endpoints, lane.turn(choice.revision), worker.random(), now);
    record.place(place.ok_or(Refusal::NoEndpoint)?);
    let deadline = deadline(rule.timeout.unwrap_or(worker.shared.limits.request_timeout), now);
    Ok(Plan { entry, rule: index, revision: choice.revision, deadline })
}

fn deadline(timeout: Duration, now: Tick) -> Option<Tick> {
    let timeout = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
    (timeout > 0).then(|| Tick(now.0.saturating_add(timeout)))
}

/// Decides anew for a request that no endpoint of its revision has taken: by the table of now, for the one of then
/// may be gone for good. `None`: there is no other revision. The first one is to blame for it all the same, unless all
/// endpoints that were `tried` are on their way out.
pub(crate) fn fall_over(
    lane: &Rc<Desk>,
    worker: &Worker,
    plan: &Plan,
    tried: Vec<SocketAddr>,
    record: &mut Record,
) -> Option<Plan> {
    let _deciding = worker.shared.epochs.decide(worker.thread);
    let entry = lane.entry();
    let table = &entry.table;
    let same = Arc::ptr_eq(&entry, &plan.entry);
    let from = plan.entry.table.revisions.get(plan.revision)?;
    let rule = if same { plan.rule } else { table.split? };
    let refuge = table.rules.get(rule)?.refuge(from, &table.revisions)?;
    let place =
        balance::choose(&table.revisions[refuge].endpoints, worker.random(), worker.shared.now(), &[])?;
    record.fall_over(&entry.series[refuge], tried);
    record.place(place);
    Some(Plan { rule, revision: refuge, deadline: plan.deadline, entry })
}
