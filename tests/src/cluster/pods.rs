//! Pods as the API server tells of them.

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;

use super::kubectl::kubectl;

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
pub async fn pods(namespace: &str, labels: &str) -> Result<Vec<Seen>> {
    let text = kubectl(&["-n", namespace, "get", "pods", "-l", labels, "-o", "json"]).await?;
    let list: Value = serde_json::from_str(&text)?;
    let items = list["items"].as_array().context("a list of pods")?.iter();
    let mut pods =
        items.map(|pod| Ok(seen(&serde_json::from_value(pod.clone())?))).collect::<Result<Vec<_>>>()?;
    pods.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(pods)
}

fn seen(pod: &Pod) -> Seen {
    let status = pod.status.clone().unwrap_or_default();
    let is_ready = status.conditions.iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True");
    Seen {
        name: pod.metadata.name.clone().unwrap_or_default(),
        address: status.pod_ip.unwrap_or_default(),
        ready: is_ready && pod.metadata.deletion_timestamp.is_none(),
        restarts: status.container_statuses.iter().flatten().map(|container| container.restart_count).sum(),
    }
}
