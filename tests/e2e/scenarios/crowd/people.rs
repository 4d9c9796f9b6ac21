//! Who the crowd is, and the room for it.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use penstock_tests::cluster::kubectl::feed;
use penstock_tests::cluster::release::{Release, steps, steps_that_wait};
use penstock_tests::cluster::{Shop, kubectl};
use penstock_tests::wait_until;
use serde_json::{Value, json};

/// Namespaces beside that of the scenario itself.
pub(super) const NAMESPACES: usize = 49;
/// Of those, such with a Rollout whose pod is one of this node.
pub(super) const WITH_PODS: usize = 9;
/// The node without a kubelet.
pub(super) const NODE: &str = "e2e-no-kubelet";
/// What routers ask for, as an administrator may have it on a node with many of them.
const ROUTER_CPU: &str = "1m";
/// Objects that are applied at once.
const AT_ONCE: usize = 250;

fn namespace(number: usize) -> String {
    format!("crowd-{number:02}")
}

/// The namespaces, in which pods of routers ask for a thousandth of a core.
pub(super) async fn make_room(shop: &Shop) -> Result<()> {
    let labels = json!({"pod-security.kubernetes.io/enforce": "restricted", "penstock-e2e": "crowd"});
    let space = |name: String| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
    let spaces: Vec<Value> = (0..NAMESPACES).map(|number| space(namespace(number))).collect();
    feed(&["create", "-f", "-"], &list(&spaces)).await?;
    feed(&["apply", "--server-side", "-f", "-"], &list(&modest())).await?;
    let mut pod =
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "probe", "namespace": namespace(0)}});
    pod["metadata"]["labels"] = json!({"penstock.dev/component": "router"});
    pod["spec"] = Release::new("v1").template(&shop.place.images)["spec"].clone();
    let probe = ["create", "--dry-run=server", "-f", "-", "-o"];
    let probe = [&probe[..], &["jsonpath={.spec.containers[0].resources.requests.cpu}"]].concat();
    wait_until("routers ask for less", Duration::from_secs(30), async || {
        let asked = feed(&probe, &pod).await?;
        if asked == ROUTER_CPU { Ok(()) } else { bail!("they ask for {asked}") }
    })
    .await
}

fn modest() -> [Value; 2] {
    let (api, meta) = ("admissionregistration.k8s.io/v1", json!({"name": "e2e-modest-routers"}));
    let path = "/spec/containers/0/resources/requests/cpu";
    let patch = format!("[JSONPatch{{op: 'replace', path: '{path}', value: '{ROUTER_CPU}'}}]");
    let pods =
        json!([{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]);
    let policy = json!({"apiVersion": api, "kind": "MutatingAdmissionPolicy", "metadata": meta, "spec": {
        "failurePolicy": "Fail", "reinvocationPolicy": "Never",
        "matchConstraints": {
            "resourceRules": pods,
            "objectSelector": {"matchLabels": {"penstock.dev/component": "router"}},
            "namespaceSelector": {"matchLabels": {"penstock-e2e": "crowd"}},
        },
        "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": patch}}],
    }});
    let binding = json!({"apiVersion": api, "kind": "MutatingAdmissionPolicyBinding", "metadata": meta,
        "spec": {"policyName": "e2e-modest-routers"}});
    [policy, binding]
}

/// The Rollouts, one of them in the scenario's own namespace: by its name it is the last of all.
pub(super) async fn populate(shop: &Shop, crowd: usize) -> Result<()> {
    shop.apply(&last("v1")).await?;
    let others: Vec<Value> = (1..crowd).map(|number| member(shop, number - 1, "v1")).collect();
    for some in others.chunks(AT_ONCE) {
        apply(some).await.context("apply the crowd")?;
    }
    Ok(())
}

/// Each in the namespace that it names.
pub(super) async fn apply(manifests: &[Value]) -> Result<()> {
    feed(&["apply", "--server-side", "--field-manager=shop", "-f", "-"], &list(manifests)).await?;
    Ok(())
}

fn list(items: &[Value]) -> Value {
    json!({"apiVersion": "v1", "kind": "List", "items": items})
}

/// The Rollout that is called, and judged.
pub(super) fn last(version: &str) -> Release {
    let release = Release { replicas: Some(1), ..Release::new(version) };
    release.with_steps(steps_that_wait(&[50])).with_analysis(&json!({"minRequests": 1}))
}

/// One of the others. Nobody calls it, so its steps pass by time alone.
pub(super) fn member(shop: &Shop, number: usize, version: &str) -> Value {
    let release = Release { replicas: Some(1), deadline: 3600, ..Release::new(version) };
    let release = release.with_analysis(&json!({"metrics": []})).with_steps(steps(&[20, 40, 60, 80], "1s"));
    let mut manifest = release.manifest(&shop.place.images);
    let (space, name) = (namespace(number % NAMESPACES), format!("app-{:04}", number / NAMESPACES));
    manifest["metadata"] = json!({"name": name, "namespace": space});
    manifest["spec"]["service"]["name"] = name.clone().into();
    manifest["spec"]["selector"]["matchLabels"] = json!({"app": name});
    manifest["spec"]["template"]["metadata"]["labels"] = json!({"app": name});
    if number >= WITH_PODS {
        manifest["spec"]["template"]["spec"]["nodeName"] = NODE.into();
    }
    manifest
}

pub(super) async fn clear_away() -> Result<()> {
    feed(&["delete", "--ignore-not-found", "-f", "-"], &list(&modest())).await?;
    kubectl(&["delete", "namespace", "-l", "penstock-e2e=crowd", "--wait=false"]).await?;
    Ok(())
}
