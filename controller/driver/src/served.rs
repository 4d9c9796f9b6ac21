//! What a proxy says of one Rollout, in the machine's words.

use penstock_core::observation::Report;
use penstock_core::revision::Revision;
use penstock_core::split::{Generation, Split, Weight};
use penstock_proxy_api::{RolloutStatus, Status};

/// What a proxy says of one Rollout. `None`: it does not know it.
pub(crate) fn entry<'a>(status: &'a Status, namespace: &str, name: &str) -> Option<&'a RolloutStatus> {
    status.rollouts.iter().find(|r| r.namespace == namespace && r.name == name)
}

/// What a proxy does for one Rollout; for one that it does not know, that it sends nothing anywhere.
pub(crate) fn report(status: &Status, namespace: &str, name: &str) -> Report {
    let Some(served) = entry(status, namespace, name) else { return Report::default() };
    let revision = |name: &String| Revision::new(name.as_str()).ok();
    let weights = served
        .weights
        .iter()
        .filter_map(|(name, percent)| Some((revision(name)?, Weight::new(*percent).ok()?)));
    let in_flight = served.in_flight.iter().filter_map(|(name, n)| Some((revision(name)?, *n)));
    Report {
        split: Split {
            generation: Generation(served.generation),
            weights: weights.collect(),
            marked: served.marked.as_ref().and_then(revision),
        },
        in_flight: in_flight.collect(),
    }
}
