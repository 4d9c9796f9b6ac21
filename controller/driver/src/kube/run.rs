//! `penstock controller`: everything that runs for a cluster.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ResourceRequirements;
use kube::Api;
use kube::runtime::watcher;
use penstock_proxy_api::object;
use tokio::net::TcpListener;
use tokio::sync::watch::Receiver;
use tokio::task::JoinSet;

use super::cluster::{Cluster, ROUTER, rollout_kind, route_kind};
use super::connect::connect;
use super::give_back::give_back;
use super::leader::Candidate;
use super::serve::serve;
use super::story::{self, Story};
use super::tend::{tell_bar, tend};
use super::trouble;
use super::view::KubeView;
use super::watches::{Subject, follow};
use crate::ask::SourceError;
use crate::ask::hook::Hooks;
use crate::ask::proxies::Proxies;
use crate::history::record;
use crate::outside::Outside;

/// A router says how it is in this time, or not at all.
const STATUS_TIMEOUT: Duration = Duration::from_millis(500);
/// A router's counters are read in this time, or there is no data.
const SCRAPE_TIMEOUT: Duration = Duration::from_secs(2);

/// How often releases are measured for people.
const MEASURED: Duration = Duration::from_secs(2);

/// What keeps the controller from beginning is told after this.
const TELL_AFTER: Duration = Duration::from_secs(10);

/// How a controller runs.
#[derive(Clone, Debug)]
pub struct Options {
    /// The kubeconfig's context; the current one, or the ServiceAccount within a cluster, when left out.
    pub context: Option<String>,
    /// The kubeconfig; `KUBECONFIG`, `~/.kube/config` or the ServiceAccount when left out.
    pub kubeconfig: Option<PathBuf>,
    /// The only namespace to look after; all when left out.
    pub namespace: Option<String>,
    /// The namespace of the controller itself, which holds its lease.
    pub own_namespace: String,
    /// The name of this controller among several: that of its pod.
    pub name: String,
    /// Image of the routers.
    pub router_image: String,
    /// Routers per namespace.
    pub router_replicas: u32,
    /// What each router may use; a choice of our own when left out.
    pub router_resources: Option<ResourceRequirements>,
    /// When their image is pulled; Kubernetes' own choice when left out.
    pub router_pull_policy: Option<String>,
    /// Secrets of each namespace to pull it with.
    pub router_pull_secrets: Vec<String>,
    /// Address of the Prometheus that judges Rollouts that name no source; the routers themselves when left out.
    pub prometheus: Option<String>,
    /// What holds for all Rollouts.
    pub outside: Outside,
    /// Where metrics and health are served.
    pub metrics: SocketAddr,
    /// Whether somebody looks: releases are measured for people, and a view is handed out.
    pub page: bool,
}

/// Why a controller can't run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// There is no way to a cluster.
    #[error("no way to a cluster: {0}; write --context, set KUBECONFIG, or run it in a pod")]
    Config(String),
    /// The client can't be made.
    #[error("the client of the API server can't be made: {0}")]
    Client(#[from] kube::Error),
    /// No HTTP client could be made.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The listener of metrics can't be opened.
    #[error(
        "can't listen on {address} for metrics and health ({source}); name a free address with --metrics"
    )]
    Listen {
        /// Its address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}

/// Runs until `stop`, then hands over at once. `beside` gets a view of the cluster, and runs as long.
pub async fn run<F: Future<Output = ()> + Send + 'static>(
    options: Options,
    stop: impl Future<Output = ()>,
    beside: impl FnOnce(Arc<KubeView>) -> F,
) -> Result<(), RunError> {
    rustls::crypto::ring::default_provider().install_default().ok();
    let client = connect(&options).await?;
    let address = options.metrics;
    let listener = TcpListener::bind(address).await.map_err(|source| RunError::Listen { address, source })?;
    let (story, waiting) = Story::new(options.name.clone());
    let (status, scrape) = (Proxies::new(STATUS_TIMEOUT)?, Proxies::new(SCRAPE_TIMEOUT)?);
    let candidate = Candidate::new(client.clone(), &options.own_namespace, options.name.clone());
    let hooks = Hooks::new()?;
    let cluster = Arc::new(Cluster::new(client.clone(), options, status, scrape, hooks, story));
    let mut tasks = JoinSet::new();
    tasks.spawn(story::write(client, waiting));
    let serving = Arc::clone(&cluster);
    tasks.spawn(async move {
        if let Err(error) = serve(listener, serving).await {
            tracing::error!(%error, "metrics are not served any more");
        }
    });
    watch(&cluster, &mut tasks);
    let view = Arc::new(KubeView::new(Arc::clone(&cluster)));
    let proxies = Proxies::new(SCRAPE_TIMEOUT)?;
    if cluster.options.page {
        tasks.spawn(record(Arc::clone(&view), proxies, MEASURED));
        tasks.spawn(beside(view));
    } else {
        tasks.spawn(record_while_leading(view, proxies, candidate.leads()));
    }
    tokio::select! {
        () = lead(&cluster, &candidate) => {}
        () = candidate.run() => {}
        () = stop => {}
    }
    tracing::info!("stopping");
    candidate.resign().await;
    Ok(())
}

/// Without a page, what is measured is told in statuses alone, which the one that leads writes.
async fn record_while_leading(view: Arc<KubeView>, proxies: Proxies, mut leads: Receiver<bool>) {
    while leads.wait_for(|leads| *leads).await.is_ok() {
        tokio::select! {
            () = record(Arc::clone(&view), proxies.clone(), MEASURED) => return,
            _ = leads.wait_for(|leads| !*leads) => {}
        }
    }
}

/// Watches what the indices hold.
fn watch(cluster: &Arc<Cluster>, tasks: &mut JoinSet<()>) {
    macro_rules! watched {
        ($index:ident, $api:expr, $config:expr, $resource:expr, $wake:expr) => {{
            let cluster = Arc::clone(cluster);
            tasks.spawn(async move {
                let subject = Subject { api: $api(&cluster), config: $config, resource: $resource };
                let apply = |event: watcher::Event<_>| cluster.$index.apply(event);
                follow(subject, &cluster.outages, &cluster.metrics, apply, |key| $wake(&cluster, key)).await;
            });
        }};
    }
    let ours = || watcher::Config::default().labels(object::ROLLOUT);
    let routers = || watcher::Config::default().labels(&format!("{}={ROUTER}", object::COMPONENT));
    let all = watcher::Config::default();
    watched!(
        rollouts,
        |c: &Cluster| dynamic(c, rollout_kind()),
        all,
        "rollouts.penstock.dev",
        Cluster::rollout_changed
    );
    watched!(routes, |c: &Cluster| dynamic(c, route_kind()), ours(), HTTP_ROUTES, Cluster::changed);
    watched!(replica_sets, typed, ours(), "replicasets.apps", Cluster::changed);
    watched!(pods, typed, ours(), "pods", Cluster::changed);
    watched!(services, typed, ours(), "services", Cluster::changed);
    watched!(routers, typed, routers(), "pods of routers", Cluster::router_changed);
    watched!(deployments, typed, routers(), "deployments.apps", Cluster::routers_changed);
    watched!(accounts, typed, routers(), "serviceaccounts", Cluster::routers_changed);
}

/// The kind without which nothing can be routed.
pub(super) const HTTP_ROUTES: &str = "httproutes.gateway.networking.k8s.io";

fn typed<K>(cluster: &Cluster) -> Api<K>
where
    K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
{
    match &cluster.options.namespace {
        Some(namespace) => Api::namespaced(cluster.client.clone(), namespace),
        None => Api::all(cluster.client.clone()),
    }
}

fn dynamic(cluster: &Cluster, kind: kube::core::ApiResource) -> Api<kube::api::DynamicObject> {
    match &cluster.options.namespace {
        Some(namespace) => Api::namespaced_with(cluster.client.clone(), namespace, &kind),
        None => Api::all_with(cluster.client.clone(), &kind),
    }
}

/// Waits until everything is known. What is in the way of that is told in every Rollout, if it takes long.
async fn synced(cluster: &Cluster) {
    while tokio::time::timeout(TELL_AFTER, cluster.synced()).await.is_err() {
        let outages = cluster.outages.all();
        let Some(trouble) = outages.iter().find_map(|(resource, error)| trouble::bar(resource, error)) else {
            continue;
        };
        for key in cluster.rollouts.keys() {
            tell_bar(cluster, &key, &trouble).await;
        }
    }
}

/// Tends all Rollouts whenever this controller leads.
async fn lead(cluster: &Arc<Cluster>, candidate: &Candidate) {
    let mut leads = candidate.leads();
    let Some(mut begun) = cluster.wakers.begun() else { return };
    loop {
        if leads.wait_for(|leads| *leads).await.is_err() {
            return;
        }
        cluster.metrics.leads(true);
        let mut tended = JoinSet::new();
        while begun.try_recv().is_ok() {}
        cluster.wakers.lead(true);
        tokio::select! {
            () = async {
                synced(cluster).await;
                cluster.rollouts.keys().into_iter().for_each(|key| cluster.wakers.wake(key));
                give_back(cluster).await;
                while let Some((key, bell)) = begun.recv().await {
                    while tended.try_join_next().is_some() {}
                    tended.spawn(tend(Arc::clone(cluster), key, bell));
                }
            } => {}
            _ = leads.wait_for(|leads| !*leads) => {}
        }
        // Whatever was under way is stopped where it is: every action is safe if carried out in part.
        tended.abort_all();
        cluster.post.stop();
        cluster.wakers.lead(false);
        cluster.metrics.leads(false);
    }
}
