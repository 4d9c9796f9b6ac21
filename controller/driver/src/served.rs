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

/// Whether a proxy listens at this port for a Rollout, and knows of so many ready pods of a revision.
pub(crate) fn serves(entry: &RolloutStatus, port: u16, revision: &str, pods: u32) -> bool {
    let listens = entry.listen.as_ref().and_then(|address| address.rsplit(':').next()?.parse().ok());
    listens == Some(port) && entry.endpoints.get(revision).is_some_and(|known| *known >= pods)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_serves_once_it_listens_and_knows_all_pods() {
        let entry = |listen: Option<&str>, pods: &[(&str, u32)]| RolloutStatus {
            listen: listen.map(str::to_owned),
            endpoints: pods.iter().map(|(name, known)| ((*name).to_owned(), *known)).collect(),
            ..RolloutStatus::default()
        };
        let serves = |entry: &RolloutStatus| serves(entry, 8080, "v1", 2);
        assert!(serves(&entry(Some("[::]:8080"), &[("v1", 2)])));
        assert!(serves(&entry(Some("0.0.0.0:8080"), &[("v1", 3), ("v2", 0)])));
        assert!(!serves(&entry(Some("[::]:8080"), &[("v1", 1)])), "a pod is missing");
        assert!(!serves(&entry(Some("[::]:8080"), &[("v2", 2)])), "it knows another revision only");
        assert!(!serves(&entry(Some("[::]:8081"), &[("v1", 2)])), "it listens elsewhere");
        assert!(!serves(&entry(None, &[("v1", 2)])), "it does not listen");
    }
}
