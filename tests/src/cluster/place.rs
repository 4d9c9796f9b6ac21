//! The cluster that scenarios run on.

use std::path::PathBuf;

use anyhow::{Context, Result};
use kube::Client;

use super::node::Node;

/// Names of the images of pods.
#[derive(Clone, Debug)]
pub struct Images {
    /// `penstock`, the controller.
    pub penstock: String,
    /// `penstock-proxy`, the router.
    pub proxy: String,
    /// The application to release, and the client beside it.
    pub test: String,
    /// Prometheus.
    pub prometheus: String,
}

impl Images {
    /// What `PENSTOCK_IMAGE` and its like say, or else what `tests/cluster/images` has made.
    pub fn from_environment() -> Images {
        let image = |variable: &str, name: &str| {
            std::env::var(variable).unwrap_or_else(|_| format!("localhost/{name}:e2e"))
        };
        Images {
            penstock: image("PENSTOCK_IMAGE", "penstock"),
            proxy: image("PENSTOCK_PROXY_IMAGE", "penstock-proxy"),
            test: image("PENSTOCK_TEST_IMAGE", "penstock-test-app"),
            prometheus: image("PENSTOCK_PROMETHEUS_IMAGE", "prometheus"),
        }
    }
}

/// A cluster, and where what happens on it is kept.
#[derive(Clone)]
pub struct Place {
    /// To its API server, as an administrator.
    pub client: Client,
    /// What its pods are made from.
    pub images: Images,
    /// The folder of logs: one folder for each scenario.
    pub logs: PathBuf,
    /// The node itself, where this runs on it.
    pub node: Option<Node>,
    /// Whether everything is left as it is at the end.
    pub keep: bool,
}

impl std::fmt::Debug for Place {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Place { images, logs, node, keep, .. } = self;
        let mut debug = formatter.debug_struct("Place");
        debug
            .field("images", images)
            .field("logs", logs)
            .field("node", node)
            .field("keep", keep)
            .finish_non_exhaustive()
    }
}

impl Place {
    /// The cluster of `KUBECONFIG`.
    pub async fn from_environment() -> Result<Place> {
        rustls::crypto::ring::default_provider().install_default().ok();
        let client = Client::try_default().await.context("no way to a cluster: set KUBECONFIG")?;
        let logs = std::env::var_os("PENSTOCK_E2E_LOGS")
            .map_or_else(|| tree().join("target/test-logs/e2e"), PathBuf::from);
        std::fs::create_dir_all(&logs).with_context(|| logs.display().to_string())?;
        let keep = std::env::var_os("KEEP").is_some();
        Ok(Place { client, images: Images::from_environment(), logs, node: Node::from_environment(), keep })
    }
}

/// The folder of the sources.
pub fn tree() -> PathBuf {
    let package = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    package.parent().map_or(package.clone(), PathBuf::from)
}
