//! What stands in the cluster: to see what was lost, and what was written without need.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use futures_util::StreamExt;
use kube::api::{DynamicObject, ListParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};
use penstock_crds::{Phase, Rollout};
use penstock_tests::cluster::Shop;
use penstock_tests::{PATIENCE, wait_until};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// Between two looks at what stands.
const QUIET: Duration = Duration::from_secs(3);

/// What stands when nothing is written any more but the last Rollout: the pods that were replaced have gone.
pub(super) async fn settled(shop: &Shop) -> Result<BTreeMap<String, Value>> {
    let mut before = standing(shop).await?;
    wait_until("the released ones are idle again", 2 * PATIENCE, async || {
        sleep(QUIET).await;
        let last = std::mem::replace(&mut before, standing(shop).await?);
        let others = |all: &BTreeMap<String, Value>| {
            let mut all = all.clone();
            all.retain(|name, _| !name.contains(&shop.name));
            all
        };
        if others(&last) == others(&before) { Ok(()) } else { bail!("some are written") }
    })
    .await?;
    standing(shop).await
}

/// What is written to Rollouts from now on. Ends with its value.
pub(super) struct Written {
    seen: Arc<Mutex<Vec<(String, Value)>>>,
    following: JoinHandle<()>,
}

impl Written {
    pub(super) fn follow(shop: &Shop) -> Written {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let api = rollouts(shop);
        let keep = Arc::clone(&seen);
        let following = tokio::spawn(async move {
            let mut events = Box::pin(watcher(api, watcher::Config::default()).default_backoff());
            while let Some(event) = events.next().await {
                // The watch comes back by itself.
                let Ok(watcher::Event::Apply(rollout)) = event else { continue };
                let mut seen = keep.lock().unwrap_or_else(PoisonError::into_inner);
                seen.push((named("rollout", &rollout), as_it_stands(&rollout)));
            }
        });
        Written { seen, following }
    }

    /// The first of these that was written, and what each write has changed.
    pub(super) fn needless(
        &self,
        before: &BTreeMap<String, Value>,
        is_idle: impl Fn(&str) -> bool,
    ) -> Option<String> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let (name, _) = seen.iter().find(|(name, _)| is_idle(name))?;
        let all: BTreeSet<&String> = seen.iter().map(|(name, _)| name).filter(|name| is_idle(name)).collect();
        let mut was = before.get(name)?;
        let mut words = format!("{name}, one of {}", all.len());
        for (_, is) in seen.iter().filter(|(other, _)| other == name) {
            words.push_str(&format!("\n{}", differences(was, is)));
            was = is;
        }
        Some(words)
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        self.following.abort();
    }
}

fn rollouts(shop: &Shop) -> Api<DynamicObject> {
    // As they are written: what a type leaves out counts, too.
    Api::all_with(shop.place.client.clone(), &ApiResource::erase::<Rollout>(&()))
}

/// Who has written what does not matter, only what stands there.
fn as_it_stands(rollout: &DynamicObject) -> Value {
    let mut metadata = rollout.metadata.clone();
    metadata.managed_fields = None;
    json!({"metadata": metadata, "status": rollout.data["status"]})
}

/// The fields of two objects that are not the same.
pub(super) fn differences(was: &Value, is: &Value) -> String {
    let (mut fields, mut words) = (BTreeSet::new(), Vec::new());
    for object in [was, is] {
        for (part, value) in object.as_object().into_iter().flatten() {
            let names = value.as_object().into_iter().flatten();
            fields.extend(names.map(|(name, _)| format!("/{part}/{name}")));
        }
    }
    for field in fields {
        let (before, after) = (was.pointer(&field), is.pointer(&field));
        if before != after {
            words.push(format!("{field}: {before:?} is {after:?}"));
        }
    }
    words.join("; ")
}

/// All Rollouts and HTTPRoutes as they stand.
pub(super) async fn standing(shop: &Shop) -> Result<BTreeMap<String, Value>> {
    let client = &shop.place.client;
    let rollouts = rollouts(shop).list(&ListParams::default()).await?.items;
    let idle = |rollout: &&DynamicObject| rollout.namespace().as_deref() != Some(&shop.name);
    let stable = json!(Phase::Stable);
    let unstable = rollouts.iter().filter(idle).find(|rollout| rollout.data["status"]["phase"] != stable);
    ensure!(unstable.is_none(), "{:?} is not stable", unstable.map(ResourceExt::name_any));
    let kind = GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", "HTTPRoute");
    let kind = ApiResource::from_gvk_with_plural(&kind, "httproutes");
    let routes = Api::<DynamicObject>::all_with(client.clone(), &kind);
    let routes = routes.list(&ListParams::default()).await?.items;
    ensure!(routes.len() == rollouts.len(), "{} HTTPRoutes of {} Rollouts", routes.len(), rollouts.len());
    let mut all = BTreeMap::new();
    for rollout in &rollouts {
        all.insert(named("rollout", rollout), as_it_stands(rollout));
    }
    for route in &routes {
        all.insert(
            named("httproute", route),
            json!({"metadata": route.metadata, "spec": route.data["spec"]}),
        );
    }
    Ok(all)
}

fn named(kind: &str, object: &impl ResourceExt) -> String {
    format!("{kind} {}/{}", object.namespace().unwrap_or_default(), object.name_any())
}
