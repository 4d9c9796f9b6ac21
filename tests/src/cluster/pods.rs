//! Pods as the API server tells of them.

use anyhow::Result;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Client};

/// Label of routers.
pub const ROUTERS: &str = "penstock.dev/component=router";

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its name.
    pub name: String,
    /// Its address; empty: it has none yet.
    pub address: String,
    /// Whether it is ready, and not on its way out.
    pub ready: bool,
    /// Restarts of its containers.
    pub restarts: i32,
}

/// The pods of a namespace with these labels, by their names.
pub async fn pods(client: &Client, namespace: &str, labels: &str) -> Result<Vec<Seen>> {
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let list = api.list(&ListParams::default().labels(labels)).await?;
    let mut pods: Vec<Seen> = list.items.into_iter().map(seen).collect();
    pods.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(pods)
}

fn seen(pod: Pod) -> Seen {
    let status = pod.status.unwrap_or_default();
    let is_ready = status.conditions.iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True");
    Seen {
        name: pod.metadata.name.unwrap_or_default(),
        address: status.pod_ip.unwrap_or_default(),
        ready: is_ready && pod.metadata.deletion_timestamp.is_none(),
        restarts: status.container_statuses.iter().flatten().map(|container| container.restart_count).sum(),
    }
}
