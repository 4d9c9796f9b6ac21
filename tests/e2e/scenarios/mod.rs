//! All scenarios, in the order in which they run.

mod bad;
mod good;

use penstock_tests::cluster::Scenario;

/// All of them: those that take long first, those that need the cluster for themselves last.
pub(crate) fn all() -> Vec<Scenario> {
    [good::all(), bad::all()].concat()
}
