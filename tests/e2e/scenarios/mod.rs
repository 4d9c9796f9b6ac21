//! All scenarios, in the order in which they run.

mod aborts;
mod adopt;
mod bad;
mod busy;
mod change;
mod crowd;
mod good;
mod hands;
mod input;
mod killed;
mod kubelet;
mod leader;
mod leases;
mod missing;
mod outage;
mod rights;
mod routers;
mod sources;

use penstock_tests::cluster::Scenario;

/// What is not settled yet, and runs by name only: not seen to pass, or not often enough. When a lost node comes back, its
/// pods are ready one after the other, and shares are off meanwhile.
const UNSETTLED: [&str; 3] = ["Gateway API missing", "kubelet away", "crowd of Rollouts"];

/// All of them: those that take long first, those that need the cluster for themselves last. Those that are not settled
/// come only when `ONLY` names them.
pub(crate) fn all() -> Vec<Scenario> {
    let releases = [good::all(), aborts::all(), bad::all(), change::all(), hands::all(), adopt::all()];
    let faults = [
        killed::all(),
        sources::all(),
        routers::all(),
        busy::all(),
        leases::all(),
        input::all(),
        rights::all(),
        missing::all(),
        leader::all(),
        outage::all(),
        kubelet::all(),
    ];
    let named = std::env::var("ONLY").is_ok_and(|only| !only.is_empty());
    let is_settled = |scenario: &Scenario| !UNSETTLED.iter().any(|name| scenario.name.starts_with(name));
    let all = [releases.concat(), faults.concat(), crowd::all()].concat();
    all.into_iter().filter(|scenario| named || is_settled(scenario)).collect()
}
