//! What stands in the cluster: to see what was lost, and what was written without need.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use kube::api::{DynamicObject, ListParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, ResourceExt};
use penstock_crds::{Phase, Rollout};
use penstock_tests::cluster::Shop;
use penstock_tests::wait_until;
use serde_json::{Value, json};
use tokio::time::sleep;

/// Between two looks at what stands.
const QUIET: Duration = Duration::from_secs(3);
const MINUTE: Duration = Duration::from_secs(60);

/// What stands when nothing is written any more but the last Rollout: the pods that were replaced have gone.
pub(super) async fn settled(shop: &Shop) -> Result<BTreeMap<String, Value>> {
    let mut before = standing(shop).await?;
    wait_until("the released ones are idle again", MINUTE, async || {
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
    let rollouts = Api::<Rollout>::all(client.clone()).list(&ListParams::default()).await?.items;
    let idle = |rollout: &&Rollout| rollout.namespace().as_deref() != Some(&shop.name);
    let phase = |rollout: &Rollout| rollout.status.as_ref().map(|status| status.phase);
    let unstable = rollouts.iter().filter(idle).find(|rollout| phase(rollout) != Some(Phase::Stable));
    ensure!(unstable.is_none(), "{:?} is not stable", unstable.map(ResourceExt::name_any));
    let kind = GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", "HTTPRoute");
    let kind = ApiResource::from_gvk_with_plural(&kind, "httproutes");
    let routes = Api::<DynamicObject>::all_with(client.clone(), &kind);
    let routes = routes.list(&ListParams::default()).await?.items;
    ensure!(routes.len() == rollouts.len(), "{} HTTPRoutes of {} Rollouts", routes.len(), rollouts.len());
    let mut all = BTreeMap::new();
    for rollout in &rollouts {
        let standing = json!({
            "version": rollout.resource_version(),
            "annotations": rollout.annotations(),
            "spec": rollout.spec,
            "status": rollout.status,
        });
        all.insert(named("rollout", rollout), standing);
    }
    for route in &routes {
        all.insert(
            named("httproute", route),
            json!({"version": route.resource_version(), "spec": route.data["spec"]}),
        );
    }
    Ok(all)
}

fn named(kind: &str, object: &impl ResourceExt) -> String {
    format!("{kind} {}/{}", object.namespace().unwrap_or_default(), object.name_any())
}
