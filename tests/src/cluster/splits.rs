//! The splits that stood in the HTTPRoutes of a namespace, one after the other, and what is to hold for all of them
//! whatever became of controllers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Result, ensure};
use futures_util::StreamExt;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use penstock_proxy_api::object;
use tokio::task::JoinHandle;

use super::journal::{Seen, Soon};
use crate::traffic::now;

/// A split as it stood in an HTTPRoute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Divided {
    /// When it was told, in milliseconds since the Unix epoch.
    pub at: u64,
    /// The HTTPRoute.
    pub route: String,
    /// Number of the split.
    pub generation: i64,
    /// Share of each revision that has any.
    pub weights: BTreeMap<String, i64>,
}

/// All splits of the HTTPRoutes of a namespace. Ends with its value.
#[derive(Debug)]
pub struct Splits {
    seen: Arc<Mutex<Vec<Divided>>>,
    following: JoinHandle<()>,
}

impl Splits {
    /// Follows them from now on.
    pub fn follow(client: Client, namespace: &str) -> Splits {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kind = GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", "HTTPRoute");
        let api =
            Api::namespaced_with(client, namespace, &ApiResource::from_gvk_with_plural(&kind, "httproutes"));
        let following = tokio::spawn(follow(api, Arc::clone(&seen)));
        Splits { seen, following }
    }

    /// Those of one HTTPRoute so far.
    pub fn of(&self, route: &str) -> Vec<Divided> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().filter(|divided| divided.route == route).cloned().collect()
    }

    /// Checks that splits never went back to an earlier one, neither in the status nor in the HTTPRoute, and that each
    /// number stands for one split and no other. Returns how many there were.
    pub fn check(&self, rollout: &str, states: &[Seen]) -> Result<usize> {
        let routed = self.of(rollout);
        let told = states.iter().filter_map(|seen| split_of(rollout, seen));
        let mut meaning: BTreeMap<i64, BTreeMap<String, i64>> = BTreeMap::new();
        let mut last = (0, 0);
        for divided in &routed {
            ensure!(
                divided.generation >= last.0,
                "the HTTPRoute {rollout} went back from split {}: {divided:?}",
                last.0
            );
            last.0 = divided.generation;
        }
        for divided in told.chain(routed) {
            let Divided { generation, weights, .. } = &divided;
            let first = meaning.entry(*generation).or_insert_with(|| weights.clone());
            ensure!(first == weights, "split {generation} of {rollout} was {first:?} before: {divided:?}");
        }
        for divided in states.iter().filter_map(|seen| split_of(rollout, seen)) {
            ensure!(
                divided.generation >= last.1,
                "the status of {rollout} went back from split {}: {divided:?}",
                last.1
            );
            last.1 = divided.generation;
        }
        Ok(meaning.len())
    }
}

impl Drop for Splits {
    fn drop(&mut self) {
        self.following.abort();
    }
}

/// The split of a status, in the same words.
fn split_of(rollout: &str, seen: &Seen) -> Option<Divided> {
    let split = seen.status().split?;
    let weights = split.weights.into_iter().filter(|(_, weight)| *weight > 0);
    let weights = weights.map(|(revision, weight)| (revision, i64::from(weight))).collect();
    Some(Divided { at: seen.at, route: rollout.to_owned(), generation: split.generation, weights })
}

async fn follow(api: Api<DynamicObject>, seen: Arc<Mutex<Vec<Divided>>>) {
    let mut events = Box::pin(watcher(api, watcher::Config::default()).backoff(Soon));
    while let Some(event) = events.next().await {
        // The watch comes back by itself.
        let Ok(watcher::Event::Apply(route) | watcher::Event::InitApply(route)) = event else { continue };
        let mut all = seen.lock().unwrap_or_else(PoisonError::into_inner);
        all.extend(divided(&route));
    }
}

/// The last rule is the one that takes all requests.
fn divided(route: &DynamicObject) -> Option<Divided> {
    let name = route.name_any();
    let generation = route.annotations().get(object::GENERATION)?.parse().ok()?;
    let backends = route.data.pointer("/spec/rules")?.as_array()?.last()?["backendRefs"].as_array()?;
    let backend = |backend: &serde_json::Value| {
        let revision = object::revision_of(&name, backend["name"].as_str()?).to_owned();
        Some((revision, backend["weight"].as_i64().unwrap_or(1)))
    };
    let weights = backends.iter().filter_map(backend).filter(|(_, weight)| *weight > 0).collect();
    Some(Divided { at: now(), route: name, generation, weights })
}
