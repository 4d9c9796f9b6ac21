//! All scenarios, in the order in which they run.

mod aborts;
mod adopt;
mod bad;
mod change;
mod good;
mod hands;
mod rights;

use penstock_tests::cluster::Scenario;

/// All of them: those that take long first, those that need the cluster for themselves last.
pub(crate) fn all() -> Vec<Scenario> {
    [good::all(), aborts::all(), bad::all(), change::all(), hands::all(), adopt::all(), rights::all()]
        .concat()
}
