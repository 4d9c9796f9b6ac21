//! All scenarios, in the order in which they run.

mod aborts;
mod adopt;
mod bad;
mod busy;
mod change;
mod check;
mod crowd;
mod gates;
mod good;
mod hands;
mod input;
mod killed;
mod kubelet;
mod leader;
mod leases;
mod missing;
mod outage;
mod page;
mod rights;
mod routers;
mod sources;

use penstock_tests::cluster::Scenario;

/// All of them: those that take long first, those that need the cluster for themselves last.
pub(crate) fn all() -> Vec<Scenario> {
    let releases = [good::all(), aborts::all(), bad::all(), change::all(), hands::all(), adopt::all()];
    let long = [sources::all(), killed::all(), leases::all(), missing::all()];
    let faults = [
        gates::all(),
        routers::all(),
        busy::all(),
        input::all(),
        rights::all(),
        check::all(),
        page::all(),
        leader::all(),
        outage::all(),
        kubelet::all(),
    ];
    [long.concat(), releases.concat(), faults.concat(), crowd::all()].concat()
}
