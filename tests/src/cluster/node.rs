//! The one node of a cluster of `tests/cluster/with-cluster`: its pieces, its network, and who has called.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::process::Command;

use super::place::tree;

/// The node on which this runs.
#[derive(Clone, Debug)]
pub struct Node {
    dir: PathBuf,
}

/// One call to the API server, as its audit log tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Who: `system:serviceaccount:NAMESPACE:NAME` for a pod.
    pub who: String,
    /// `get`, `patch` and so on.
    pub verb: String,
    /// `httproutes`, `rollouts/status` and so on.
    pub resource: String,
    /// Of what.
    pub namespace: String,
    /// Of what.
    pub name: String,
    /// The status of the answer.
    pub code: u64,
    /// When it was received, in microseconds since the Unix epoch.
    pub at: i64,
}

impl Call {
    /// Whether it changes anything.
    pub fn writes(&self) -> bool {
        !matches!(self.verb.as_str(), "get" | "list" | "watch")
    }
}

impl Node {
    /// The node whose cluster is in `CLUSTER_DIR`. `None`: any other cluster is meant.
    pub fn from_environment() -> Option<Node> {
        let existing = std::env::var("PENSTOCK_E2E_CLUSTER").is_ok_and(|which| which == "existing");
        let dir = std::env::var_os("CLUSTER_DIR").filter(|_| !existing)?;
        Some(Node { dir: dir.into() })
    }

    /// Starts, stops, kills, pauses or resumes a piece, as `tests/cluster/piece` has them.
    pub async fn piece(&self, action: &str, name: &str) -> Result<()> {
        let dir = self.dir.to_str().context("the cluster's folder")?;
        self.tool("piece", &[dir, action, name]).await
    }

    /// Drops all packets of a pod, or only those between two.
    pub async fn cut(&self, addresses: &[&str]) -> Result<()> {
        self.tool("cut", addresses).await
    }

    /// Undoes a cut.
    pub async fn restore(&self, addresses: &[&str]) -> Result<()> {
        self.tool("cut", &[&["restore"], addresses].concat()).await
    }

    async fn tool(&self, name: &str, arguments: &[&str]) -> Result<()> {
        let program = tree().join("tests/cluster").join(name);
        let output = Command::new(&program).args(arguments).kill_on_drop(true).output().await?;
        if !output.status.success() {
            bail!("{name} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }

    /// All calls that have ended in a namespace, as far as they are written down.
    pub fn calls(&self, namespace: &str) -> Result<Vec<Call>> {
        let file = self.dir.join("log/audit.json");
        let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let needle = format!("\"namespace\":\"{namespace}\"");
        let lines = text.lines().filter(|line| line.contains(&needle));
        Ok(lines.filter_map(call).filter(|call| call.namespace == namespace).collect())
    }

    /// All calls of somebody that were received since, as far as they are written down: those that have ended, and
    /// watches from their beginning. `since` is in microseconds since the Unix epoch.
    pub fn calls_of(&self, who: &str, since: i64) -> Result<Vec<Call>> {
        let file = self.dir.join("log/audit.json");
        let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let needle = format!("\"username\":\"{who}\"");
        let lines = text.lines().filter(|line| line.contains(&needle));
        let all = lines.filter_map(|line| call_at(line, &["ResponseComplete", "ResponseStarted"]));
        let mut calls: Vec<Call> = all.filter(|call| call.who == who && call.at >= since).collect();
        // A watch that has begun and ended is written down twice.
        calls.dedup();
        Ok(calls)
    }
}

fn call(line: &str) -> Option<Call> {
    call_at(line, &["ResponseComplete"])
}

fn call_at(line: &str, stages: &[&str]) -> Option<Call> {
    let event: Value = serde_json::from_str(line).ok()?;
    if !stages.iter().any(|stage| event["stage"] == *stage) {
        return None;
    }
    let (text, object) = (|value: &Value| value.as_str().unwrap_or_default().to_owned(), &event["objectRef"]);
    let resource = match object["subresource"].as_str() {
        Some(sub) => format!("{}/{sub}", text(&object["resource"])),
        None => text(&object["resource"]),
    };
    let at: k8s_openapi::jiff::Timestamp = event["requestReceivedTimestamp"].as_str()?.parse().ok()?;
    Some(Call {
        who: text(&event["user"]["username"]),
        verb: text(&event["verb"]),
        resource,
        namespace: text(&object["namespace"]),
        name: text(&object["name"]),
        code: event["responseStatus"]["code"].as_u64().unwrap_or(0),
        at: at.as_microsecond(),
    })
}
