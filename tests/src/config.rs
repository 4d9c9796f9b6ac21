//! The files that a proxy reads: what a cluster would hold for one Rollout.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Result;
use penstock_proxy_api::object;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Namespace of the Rollout under test.
pub const NAMESPACE: &str = "shop";
/// Name of the Rollout under test.
pub const ROLLOUT: &str = "checkout";

/// A folder with one HTTPRoute and an EndpointSlice for each revision.
#[derive(Debug)]
pub struct Config {
    folder: TempDir,
    port: u16,
    limits: String,
}

impl Config {
    /// An empty folder for a Rollout that clients reach at `port` of the proxy. `limits` are the latency limits
    /// in seconds, comma-separated, that the histogram needs an edge for.
    pub fn new(port: u16, limits: &str) -> Result<Config> {
        Ok(Config { folder: tempfile::tempdir()?, port, limits: limits.to_owned() })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where clients reach the Rollout.
    pub fn apex(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Writes the ready endpoints of a revision.
    pub fn endpoints(&self, revision: &str, addresses: &[SocketAddr]) -> Result<()> {
        for (index, address) in addresses.iter().enumerate() {
            let name = format!("{ROLLOUT}-{revision}-{index}");
            self.write(&format!("{name}.json"), &endpoint_slice(&name, revision, *address))?;
        }
        Ok(())
    }

    /// Writes a split: revisions and their weights.
    pub fn split(&self, generation: u64, weights: &[(&str, u8)]) -> Result<()> {
        let backend = |(revision, weight): &(&str, u8)| json!({"name": object::backend_of(ROLLOUT, revision), "port": 80, "weight": weight});
        let route = json!({
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "HTTPRoute",
            "metadata": {
                "name": ROLLOUT,
                "namespace": NAMESPACE,
                "annotations": {
                    (object::GENERATION): generation.to_string(),
                    (object::LATENCY_LIMITS): self.limits,
                },
            },
            "spec": {
                "parentRefs": [{"group": "", "kind": "Service", "name": ROLLOUT, "port": self.port}],
                "rules": [{"backendRefs": weights.iter().map(backend).collect::<Vec<_>>()}],
            },
        });
        self.write("route.json", &route)
    }

    /// As an editor does: a new file that takes the place of the old one at once.
    fn write(&self, name: &str, object: &Value) -> Result<()> {
        let path: PathBuf = self.folder.path().join(name);
        let new = self.folder.path().join(format!(".{name}.new"));
        fs::write(&new, serde_json::to_vec_pretty(object)?)?;
        fs::rename(new, path)?;
        Ok(())
    }
}

fn endpoint_slice(name: &str, revision: &str, address: SocketAddr) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "labels": {
                "kubernetes.io/service-name": object::backend_of(ROLLOUT, revision),
                (object::REVISION): revision,
            },
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address.ip().to_string()], "conditions": {"ready": true}}],
        "ports": [{"port": address.port(), "protocol": "TCP"}],
    })
}
