//! A node without a kubelet, whose pods are said to be ready: hundreds of pods for whom the control plane and routers do
//! all that they do for others, and which cost the machine nothing.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::StreamExt;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::journal::Soon;

/// A node that is not heard of for 50 s is lost, with its pods.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Writes beside each other.
const BESIDE: usize = 16;
/// Addresses of its pods, of which none leads anywhere: the first and how many there are.
const ADDRESSES: (Ipv4Addr, u32) = (Ipv4Addr::new(198, 18, 128, 0), 0x7fff);

/// The node. It is no longer heard of when its value is gone.
pub struct StandIn {
    client: Client,
    name: String,
    tasks: Vec<JoinHandle<()>>,
}

impl std::fmt::Debug for StandIn {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "StandIn({})", self.name)
    }
}

impl StandIn {
    /// Adds one to the cluster. Pods come to it by `nodeName` only.
    pub async fn start(client: Client, name: &str) -> Result<StandIn> {
        let nodes: Api<Node> = Api::all(client.clone());
        let taints = json!([{"key": "penstock.dev/no-kubelet", "effect": "NoSchedule"}]);
        let node = json!({"metadata": {"name": name, "labels": {"penstock-e2e": "node"}}, "spec": {"taints": taints}});
        nodes.create(&PostParams::default(), &serde_json::from_value(node)?).await.context("add a node")?;
        let ready = json!({"status": {
            "allocatable": {"pods": "10000"}, "capacity": {"pods": "10000"},
            "conditions": [{"type": "Ready", "status": "True", "reason": "StandIn", "message": "has no kubelet"}],
        }});
        nodes.patch_status(name, &PatchParams::default(), &Patch::Merge(ready)).await.context("the node")?;
        let beats = tokio::spawn(beat(client.clone(), name.to_owned()));
        let pods = tokio::spawn(tell(client.clone(), name.to_owned()));
        Ok(StandIn { client, name: name.to_owned(), tasks: vec![beats, pods] })
    }

    /// Takes it away; its pods go with it.
    pub async fn end(self) -> Result<()> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        nodes.delete(&self.name, &DeleteParams::default()).await.context("take the node away")?;
        Ok(())
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Says again and again that the node is there.
async fn beat(client: Client, name: String) {
    let leases: Api<Lease> = Api::namespaced(client, "kube-node-lease");
    loop {
        let spec = LeaseSpec {
            holder_identity: Some(name.clone()),
            lease_duration_seconds: Some(40),
            renew_time: Some(MicroTime(Timestamp::now())),
            ..LeaseSpec::default()
        };
        let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name}, "spec": spec});
        let params = PatchParams::apply("stand-in").force();
        // One that fails is followed by the next one.
        leases.patch(&name, &params, &Patch::Apply(lease)).await.ok();
        tokio::time::sleep(HEARTBEAT).await;
    }
}

/// Tells of each pod that it is ready, and of one that is to go that it has gone.
async fn tell(client: Client, node: String) {
    let all: Api<Pod> = Api::all(client.clone());
    let config = watcher::Config::default().fields(&format!("spec.nodeName={node}"));
    let events = watcher(all, config).backoff(Soon).filter_map(async |event| match event {
        Ok(watcher::Event::Apply(pod) | watcher::Event::InitApply(pod)) => Some(pod),
        // The watch comes back by itself.
        Ok(watcher::Event::Delete(_) | watcher::Event::Init | watcher::Event::InitDone) | Err(_) => None,
    });
    let (mut told, mut number) = (BTreeSet::new(), 0_u32);
    let writes = events.filter_map(|pod| {
        let leaves = pod.metadata.deletion_timestamp.is_some();
        let new = leaves || told.insert(pod.uid());
        number += u32::from(new && !leaves);
        let (client, address) = (client.clone(), address(number));
        std::future::ready(new.then(|| answer(client, pod, address)))
    });
    writes.buffer_unordered(BESIDE).collect::<()>().await;
}

fn address(number: u32) -> Ipv4Addr {
    let (first, count) = ADDRESSES;
    Ipv4Addr::from(u32::from(first) + 1 + number % (count - 1))
}

async fn answer(client: Client, pod: Pod, address: Ipv4Addr) {
    let pods: Api<Pod> = Api::namespaced(client, &pod.namespace().unwrap_or_default());
    let name = pod.name_any();
    if pod.metadata.deletion_timestamp.is_some() {
        pods.delete(&name, &DeleteParams::default().grace_period(0)).await.ok();
        return;
    }
    let status = json!({"status": status(&pod, address)});
    pods.patch_status(&name, &PatchParams::default(), &Patch::Strategic(status)).await.ok();
}

fn status(pod: &Pod, address: Ipv4Addr) -> Value {
    let at = Timestamp::now().to_string();
    let condition = |kind: &str| json!({"type": kind, "status": "True", "lastTransitionTime": at});
    let conditions: Vec<Value> =
        ["Initialized", "PodScheduled", "ContainersReady", "Ready"].map(condition).into();
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let containers: Vec<Value> = containers
        .map(|container| {
            json!({
                "name": container.name, "image": container.image, "imageID": "", "ready": true, "started": true,
                "restartCount": 0, "state": {"running": {"startedAt": at}},
            })
        })
        .collect();
    json!({
        "phase": "Running", "podIP": address.to_string(), "podIPs": [{"ip": address.to_string()}],
        "startTime": at, "conditions": conditions, "containerStatuses": containers,
    })
}
