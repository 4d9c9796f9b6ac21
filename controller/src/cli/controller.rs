//! `penstock controller`

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use clap::Args;
use penstock_driver::kube::{Options, run};

use super::Exit;
use super::local::{interrupted, start_log};
use super::outside::OutsideArgs;
use super::place::Where;
use super::routers::RouterArgs;
use crate::page;

/// Where a pod finds its own namespace.
const OWN_NAMESPACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

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
    #[command(flatten)]
    routers: RouterArgs,
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
            router_image: self.routers.router_image,
            router_replicas: self.routers.router_replicas,
            router_resources: self.routers.router_resources,
            router_pull_policy: self.routers.router_pull_policy,
            router_pull_secrets: self.routers.router_pull_secrets,
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

fn own_namespace() -> String {
    let read = std::fs::read_to_string(OWN_NAMESPACE);
    read.map_or_else(|_| "penstock-system".to_owned(), |namespace| namespace.trim().to_owned())
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").or_else(|_| std::env::var("HOSTNAME"));
    name.map_or_else(|_| "penstock".to_owned(), |name| name.trim().to_owned())
}
