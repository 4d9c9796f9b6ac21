//! `penstock controller`

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use clap::Args;
use k8s_openapi::api::core::v1::ResourceRequirements;
use penstock_driver::kube::{Options, run};

use super::Exit;
use super::local::{interrupted, start_log};
use super::outside::OutsideArgs;
use super::place::Where;
use crate::page;

/// Where a pod finds its own namespace.
const OWN_NAMESPACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// The image of the routers when nobody names one: as old as this command.
pub(super) const ROUTER_IMAGE: &str = concat!("ghcr.io/penstock/penstock-proxy:", env!("CARGO_PKG_VERSION"));

#[derive(Debug, Args)]
#[command(
    after_help = "Several of them may run: one leads, by the Lease penstock-controller in its namespace, the others stand by. \
`penstock install` prints all that it needs on a cluster.

Examples:
  penstock controller                                        in a pod, or with the present kubeconfig
  penstock --context kind controller --watch-namespace shop  for one namespace only
  penstock controller --prometheus http://prometheus.monitoring:9090

RUST_LOG sets how much is said, for instance RUST_LOG=debug."
)]
pub(super) struct Controller {
    /// The only namespace to look after; all of them when left out
    #[arg(long, value_name = "NAMESPACE", env = "PENSTOCK_WATCH_NAMESPACE")]
    watch_namespace: Option<String>,
    /// The namespace of its own lease; that of its pod, or penstock-system, when left out
    #[arg(long, value_name = "NAMESPACE", env = "PENSTOCK_OWN_NAMESPACE")]
    own_namespace: Option<String>,
    /// Its name among several; the host's when left out
    #[arg(long, env = "PENSTOCK_NAME")]
    name: Option<String>,
    /// The image of the routers
    #[arg(long, value_name = "IMAGE", env = "PENSTOCK_ROUTER_IMAGE", default_value = ROUTER_IMAGE)]
    router_image: String,
    /// Routers of each namespace
    #[arg(long, value_name = "N", env = "PENSTOCK_ROUTER_REPLICAS", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=1000))]
    router_replicas: u32,
    /// What each router may use, as `resources` of a container: {requests: {cpu: 100m}, limits: {memory: 1Gi}}; requests
    /// of 50m and 64Mi and a limit of 512Mi when left out. Memory sets how many connections one takes
    #[arg(long, value_name = "YAML", env = "PENSTOCK_ROUTER_RESOURCES", value_parser = resources)]
    router_resources: Option<ResourceRequirements>,
    /// When the image of the routers is pulled: Always, IfNotPresent or Never; as Kubernetes does when left out
    #[arg(long, value_name = "POLICY", env = "PENSTOCK_ROUTER_PULL_POLICY", value_parser = ["Always", "IfNotPresent", "Never"])]
    router_pull_policy: Option<String>,
    /// A Secret to pull the image of the routers with, in each namespace with a Rollout; may be repeated
    #[arg(
        long = "router-pull-secret",
        value_name = "NAME",
        env = "PENSTOCK_ROUTER_PULL_SECRETS",
        value_delimiter = ','
    )]
    router_pull_secrets: Vec<String>,
    /// The Prometheus that judges Rollouts that name no source; the routers themselves when left out
    #[arg(long, value_name = "URL", env = "PENSTOCK_PROMETHEUS")]
    prometheus: Option<String>,
    #[command(flatten)]
    outside: OutsideArgs,
    /// Where to serve /metrics, /healthz and /readyz
    #[arg(long, value_name = "ADDRESS", env = "PENSTOCK_METRICS", default_value = "0.0.0.0:9902")]
    metrics: SocketAddr,
    /// Where to serve the page, for instance 0.0.0.0:9903; nowhere when left out. Visitors bring a token of the cluster
    #[arg(long, value_name = "ADDRESS", env = "PENSTOCK_PAGE")]
    page: Option<SocketAddr>,
}

impl Controller {
    pub(super) fn run(self, place: &Where) -> Result<Exit> {
        start_log();
        let options = Options {
            context: place.context.clone(),
            kubeconfig: place.kubeconfig.clone(),
            namespace: self.watch_namespace,
            own_namespace: self.own_namespace.unwrap_or_else(own_namespace),
            name: self.name.unwrap_or_else(host_name),
            router_image: self.router_image,
            router_replicas: self.router_replicas,
            router_resources: self.router_resources,
            router_pull_policy: self.router_pull_policy,
            router_pull_secrets: self.router_pull_secrets,
            prometheus: self.prometheus,
            outside: self.outside.into(),
            metrics: self.metrics,
            page: self.page.is_some(),
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .context("start the runtime")?;
        let at = self.page.map(page::Place::At);
        runtime.block_on(async {
            let listener = page::listen(at.or(Some(page::Place::Off))).await?;
            if let Some(listener) = &listener {
                tracing::info!(page = page::address(listener)?, "see it in a browser, with a token");
            }
            Ok::<_, anyhow::Error>(
                run(options, interrupted(), |view| page::of_cluster(listener, view)).await?,
            )
        })?;
        Ok(Exit::Good)
    }
}

/// Fields that no container has are refused here: an API server would drop them in silence.
fn resources(text: &str) -> Result<ResourceRequirements, String> {
    let mut unknown = Vec::new();
    let value: serde_json::Value = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    let read = serde_ignored::deserialize(value, |path| unknown.push(path.to_string()));
    let read: ResourceRequirements = read.map_err(|error| error.to_string())?;
    if let Some(field) = unknown.first() {
        return Err(format!("there is no field `{field}`: write requests and limits"));
    }
    Ok(read)
}

fn own_namespace() -> String {
    let read = std::fs::read_to_string(OWN_NAMESPACE);
    read.map_or_else(|_| "penstock-system".to_owned(), |namespace| namespace.trim().to_owned())
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").or_else(|_| std::env::var("HOSTNAME"));
    name.map_or_else(|_| "penstock".to_owned(), |name| name.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_of_routers_are_those_of_a_container_and_nothing_else() {
        let read = resources("{requests: {cpu: 100m}, limits: {memory: 1Gi}}").unwrap();
        assert_eq!(read.limits.unwrap()["memory"].0, "1Gi");
        assert_eq!(read.requests.unwrap()["cpu"].0, "100m");
        assert_eq!(resources("{}").unwrap(), ResourceRequirements::default());
        let why = resources("{limit: {memory: 1Gi}}").unwrap_err();
        assert_eq!(why, "there is no field `limit`: write requests and limits");
        assert!(resources("1Gi").is_err() && resources("{limits: [").is_err());
    }
}
