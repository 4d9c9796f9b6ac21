//! Takes a request to an endpoint of its revision: to the next one as long as none has taken it, at last to those of
//! another revision.

use std::error::Error;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use penstock_proxy_core::balance;

use crate::exchange::{Call, Plan, To, fall_over};
use crate::lane::Desk;
use crate::reach::refuses;
use crate::record::Record;
use crate::refusal::Refusal;
use crate::worker::Worker;

/// Most endpoints that one request tries.
const MAX_TRIED: usize = 8;
/// How often a request is sent again after it was lost. One that brings endpoints down does so to a few only.
pub(crate) const MAX_LOSSES: u32 = 3;
/// Longest body that every kernel takes in, whether or not anybody reads it.
pub(crate) const AT_ONCE: u64 = 16 << 10;

/// Why a connection broke, in words.
pub(crate) type Cause = Box<dyn Error>;

/// Why an attempt has brought no response.
#[derive(Debug)]
pub(crate) enum Failed {
    /// A connection from the pool was dead; the request can be sent again.
    Stale,
    /// A connection opened for the request broke off; it can be sent again.
    Broken(Cause),
    /// The endpoint took nothing.
    NotTaken(io::Error),
    /// Nobody knows what the endpoint took, and sending it again could be noticed.
    Lost(Cause),
    /// The same, and the endpoint can't be reached any more.
    CutOff(Cause),
    /// It need not be tried again.
    Refused(Refusal),
}

/// Waits for something, unless what else is looked after ends the wait first.
pub(crate) async fn unless<T>(
    what: impl Future<Output = T>,
    mut watch: impl FnMut(&mut Context<'_>) -> Poll<Failed>,
) -> Result<T, Failed> {
    let mut what = pin!(what);
    poll_fn(|cx| match what.as_mut().poll(cx) {
        Poll::Ready(done) => Poll::Ready(Ok(done)),
        Poll::Pending => watch(cx).map(Err),
    })
    .await
}

/// How a request stood with an endpoint when the connection broke before the response.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    /// It can be sent again, and nobody would notice.
    pub(crate) again: bool,
    /// Nothing of it had been sent.
    pub(crate) unsent: bool,
    /// The connection had carried a request before.
    pub(crate) reused: bool,
    /// Nothing that is sent arrives any more.
    pub(crate) cut_off: bool,
}

impl Standing {
    /// What it means.
    pub(crate) fn failed(self, cause: Cause) -> Failed {
        match self {
            Standing { again: false, cut_off: true, .. } => Failed::CutOff(cause),
            Standing { again: false, .. } => Failed::Lost(cause),
            Standing { cut_off: true, .. } => Failed::NotTaken(io::ErrorKind::TimedOut.into()),
            Standing { reused: true, .. } => Failed::Stale,
            Standing { unsent: true, .. } => Failed::NotTaken(io::Error::other(cause.to_string())),
            Standing { .. } => Failed::Broken(cause),
        }
    }
}

/// Tries connections and endpoints until one has taken the request. What has been sent is sent again only if nobody
/// can notice.
pub(crate) async fn deliver<C: Call>(
    lane: &Rc<Desk>,
    worker: &Rc<Worker>,
    mut plan: Plan,
    call: &mut C,
    record: &mut Record,
) -> Result<C::Answer, Refusal> {
    let mut tried = Vec::new();
    let (mut stale, mut fell_over) = (false, false);
    loop {
        let (address, trial) = record.endpoint().ok_or(Refusal::NoEndpoint)?;
        let hurry = || !fell_over && has_refuge(&plan) || hurry(worker, &plan, &tried, address);
        let to = To { address, fresh: stale || trial, hurry: &hurry, deadline: plan.deadline };
        let failed = match call.attempt(to).await {
            Ok(answer) => {
                record.taken();
                return Ok(answer);
            }
            Err(failed) => settle(address, failed).await,
        };
        match failed {
            Failed::Stale => stale = true,
            Failed::Refused(refusal) => return Err(refusal),
            Failed::Broken(cause) | Failed::Lost(cause) => return Err(Refusal::Lost(cause)),
            Failed::CutOff(cause) => {
                pass_over(worker, record, address, io::ErrorKind::TimedOut);
                return Err(Refusal::Lost(cause));
            }
            Failed::NotTaken(error) if is_ours(&error) => {
                worker.shed();
                return Err(Refusal::Overload);
            }
            Failed::NotTaken(error) => {
                tried.push(address);
                pass_over(worker, record, address, error.kind());
                stale = false;
                if let Some(place) = elsewhere(worker, &plan, &tried) {
                    record.place(place);
                    continue;
                }
                let tried = std::mem::take(&mut tried);
                let other = if fell_over { None } else { fall_over(lane, worker, &plan, tried, record) };
                plan = other.ok_or(Refusal::Refused(error))?;
                fell_over = true;
            }
        }
    }
}

/// A request that a living endpoint broke off has failed. That a dying one broke it off says nothing about it.
async fn settle(address: SocketAddr, failed: Failed) -> Failed {
    let Failed::Broken(cause) = failed else { return failed };
    match Box::pin(refuses(address)).await {
        Some(refused) => Failed::NotTaken(refused),
        None => Failed::Lost(cause),
    }
}

/// Leaves an endpoint alone for a while. The connections to one that can't be reached are of no more use either.
fn pass_over(worker: &Worker, record: &Record, address: SocketAddr, kind: io::ErrorKind) {
    record.not_taken();
    if kind != io::ErrorKind::ConnectionRefused {
        worker.forget(address);
    }
    tracing::debug!(%address, %kind, "endpoint can't be reached");
}

/// Whether nothing that was sent has arrived.
pub(crate) fn is_cut_off(error: &(dyn Error + 'static)) -> bool {
    let Some(error) = error.downcast_ref::<io::Error>() else {
        return error.source().is_some_and(is_cut_off);
    };
    let kind = error.kind();
    matches!(
        kind,
        io::ErrorKind::TimedOut | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable
    )
}

/// Whether this machine has no room for another connection: too many open files (24, or 23 in the whole system), no
/// memory, no free port. That says nothing about the endpoint.
fn is_ours(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(23 | 24))
        || matches!(error.kind(), io::ErrorKind::OutOfMemory | io::ErrorKind::AddrNotAvailable)
}

/// Whether not to wait long for a connection, because there is another endpoint to try.
fn hurry(worker: &Worker, plan: &Plan, tried: &[SocketAddr], address: SocketAddr) -> bool {
    let endpoints = &plan.entry.table.revisions[plan.revision].endpoints;
    tried.len() + 1 < MAX_TRIED && balance::has_other(endpoints, worker.shared.now(), tried, address)
}

/// Whether another revision can take what no endpoint of this one takes.
fn has_refuge(plan: &Plan) -> bool {
    let table = &plan.entry.table;
    let (rule, from) = (table.rules.get(plan.rule), table.revisions.get(plan.revision));
    rule.zip(from).is_some_and(|(rule, from)| rule.refuge(from, &table.revisions).is_some())
}

fn elsewhere(worker: &Worker, plan: &Plan, tried: &[SocketAddr]) -> Option<balance::Place> {
    let endpoints = &plan.entry.table.revisions[plan.revision].endpoints;
    let more = tried.len() < MAX_TRIED;
    more.then(|| balance::choose(endpoints, worker.random(), worker.shared.now(), tried)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn what(standing: Standing) -> &'static str {
        match standing.failed("broken".into()) {
            Failed::Stale => "try another connection",
            Failed::Broken(_) => "ask whether it lives",
            Failed::NotTaken(_) => "try another endpoint",
            Failed::Lost(_) => "fail",
            Failed::CutOff(_) => "fail and pass it over",
            Failed::Refused(_) => "refuse",
        }
    }

    #[test]
    fn what_can_not_be_sent_again_fails() {
        let standing = Standing { again: false, unsent: false, reused: true, cut_off: false };
        assert_eq!(what(standing), "fail");
        assert_eq!(what(Standing { cut_off: true, ..standing }), "fail and pass it over");
    }

    #[test]
    fn what_can_be_sent_again_goes_where_it_may_arrive() {
        let standing = Standing { again: true, unsent: false, reused: false, cut_off: false };
        assert_eq!(what(standing), "ask whether it lives");
        assert_eq!(what(Standing { unsent: true, ..standing }), "try another endpoint");
        assert_eq!(what(Standing { reused: true, ..standing }), "try another connection");
        assert_eq!(what(Standing { reused: true, cut_off: true, ..standing }), "try another endpoint");
    }

    #[test]
    fn a_lack_of_descriptors_is_not_the_endpoints() {
        assert!(is_ours(&io::Error::from_raw_os_error(24)) && is_ours(&io::Error::from_raw_os_error(23)));
        assert!(
            !is_ours(&io::ErrorKind::ConnectionRefused.into()) && !is_ours(&io::ErrorKind::TimedOut.into())
        );
    }

    #[test]
    fn what_does_not_arrive_is_a_cut_and_what_is_reset_is_none() {
        assert!(is_cut_off(&io::Error::from(io::ErrorKind::TimedOut)));
        assert!(is_cut_off(&io::Error::from(io::ErrorKind::HostUnreachable)));
        assert!(!is_cut_off(&io::Error::from(io::ErrorKind::ConnectionReset)));
    }
}
