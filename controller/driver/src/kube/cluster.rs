//! What all Rollouts of a cluster share: what is known of it, and the ways to it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{Pod, Service, ServiceAccount};
use kube::api::DynamicObject;
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client};
use penstock_crds::{API_VERSION, GROUP, KIND};
use penstock_proxy_api::object;
use penstock_routers::router;
use penstock_signals::RolloutName;
use tokio::sync::Semaphore;

use super::call::Kind;
use super::index::Index;
use super::metrics::Metrics;
use super::rollouts::Rollouts;
use super::run::{HTTP_ROUTES, Options};
use super::story::Story;
use super::strip;
use super::wakers::Wakers;
use super::watches::Outages;
use crate::ask::hook::Hooks;
use crate::ask::proxies::Proxies;
use crate::clock::now;
use crate::history::Histories;
use crate::post::{Post, Tallies};

/// The value of the label of routers.
pub(super) const ROUTER: &str = "router";

/// The rights of routers are written again after this, while a Rollout of theirs is looked at.
const WRITE_AGAIN: Duration = Duration::from_secs(10);

/// Rollouts with nothing under way, or new ones, that are opened at a time. A controller that begins to lead looks at
/// each once, and hundreds may be applied at once: so many are in memory at a time, and those with an order or a
/// release don't share the processor and the API server with all the others.
const CALM: usize = 16;

/// Services that are being made at a time. An API server gives out addresses one after the other: of many requests at
/// once, most wait until they are given up, and have cost as much as if they had been answered.
const SERVICES: usize = 4;

/// What is not known yet is looked for again after this.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A cluster.
pub(super) struct Cluster {
    pub(super) client: Client,
    pub(super) options: Options,
    pub(super) rollouts: Rollouts,
    pub(super) replica_sets: Index<ReplicaSet>,
    pub(super) pods: Index<Pod>,
    pub(super) services: Index<Service>,
    pub(super) routes: Index<DynamicObject>,
    /// Pods of routers, their Deployments and their ServiceAccounts: under the name [`ROUTER`] in each namespace.
    pub(super) routers: Index<Pod>,
    pub(super) deployments: Index<Deployment>,
    pub(super) accounts: Index<ServiceAccount>,
    pub(super) outages: Outages,
    /// Asks proxies for their status.
    pub(super) status: Proxies,
    /// Scrapes proxies.
    pub(super) scrape: Proxies,
    /// Calls webhooks.
    pub(super) hooks: Hooks,
    /// Tells of decisions.
    pub(super) post: Arc<Post>,
    pub(super) metrics: Metrics,
    /// What is measured of releases, for people.
    pub(super) histories: Arc<Histories>,
    pub(super) story: Story,
    pub(super) wakers: Wakers,
    /// Where those wait whose turn may wait.
    pub(super) calm: Semaphore,
    /// Where Services wait to be made.
    pub(super) services_made: Semaphore,
    standing_back: Mutex<BTreeSet<RolloutName>>,
    /// When the rights of the routers of a namespace were written last.
    written: Mutex<BTreeMap<String, Instant>>,
    ports: Mutex<BTreeMap<(String, u16), String>>,
}

impl Cluster {
    pub(super) fn new(
        client: Client,
        options: Options,
        status: Proxies,
        scrape: Proxies,
        hooks: Hooks,
        story: Story,
    ) -> Cluster {
        let tallies = Tallies::default();
        let page = options.outside.page.clone();
        Cluster {
            post: Arc::new(Post::new(hooks.clone(), page.as_deref(), tallies.clone())),
            client,
            options,
            rollouts: Rollouts::default(),
            replica_sets: Index::new(object::ROLLOUT, strip::metadata),
            pods: Index::new(object::ROLLOUT, strip::pod),
            services: Index::new(object::ROLLOUT, strip::metadata),
            routes: Index::new(object::ROLLOUT, strip::metadata),
            routers: Index::new(object::COMPONENT, strip::pod),
            deployments: Index::new(object::COMPONENT, strip::metadata),
            accounts: Index::new(object::COMPONENT, strip::metadata),
            outages: Outages::default(),
            status,
            scrape,
            hooks,
            metrics: Metrics::new(tallies),
            histories: Arc::new(Histories::new(now())),
            story,
            wakers: Wakers::default(),
            calm: Semaphore::new(CALM),
            services_made: Semaphore::new(SERVICES),
            standing_back: Mutex::default(),
            written: Mutex::default(),
            ports: Mutex::default(),
        }
    }

    /// Where the Rollouts of a namespace are.
    pub(super) fn rollouts_in(&self, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), namespace, &rollout_kind())
    }

    /// Where the HTTPRoutes of a namespace are.
    pub(super) fn routes_in(&self, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), namespace, &route_kind())
    }

    /// The key under which the routers of a namespace are found.
    pub(super) fn router_key(namespace: &str) -> RolloutName {
        RolloutName { namespace: namespace.to_owned(), name: ROUTER.to_owned() }
    }

    /// The pods that serve the traffic of a namespace, or may still have some of it.
    pub(super) fn serving(&self, namespace: &str) -> Vec<Router> {
        self.routers.all(&Cluster::router_key(namespace)).iter().filter_map(|pod| Router::of(pod)).collect()
    }

    /// A port for a Rollout on which nobody else of its namespace is served.
    pub(super) fn port(&self, key: &RolloutName, taken: impl Fn(u16) -> bool) -> Option<u16> {
        let mut ports = self.ports.lock().unwrap_or_else(PoisonError::into_inner);
        let mine = |(place, owner): (&(String, u16), &String)| {
            (place.0 == key.namespace && *owner == key.name).then_some(place.1)
        };
        if let Some(port) = ports.iter().find_map(mine).filter(|port| !taken(*port)) {
            return Some(port);
        }
        ports.retain(|place, owner| place.0 != key.namespace || *owner != key.name);
        let free = |port: &u16| !ports.contains_key(&(key.namespace.clone(), *port)) && !taken(*port);
        let port = router::LISTEN.into_iter().find(free)?;
        ports.insert((key.namespace.clone(), port), key.name.clone());
        Some(port)
    }

    /// Whether the rights of the routers of a namespace are to be written again: not more often than [`WRITE_AGAIN`].
    pub(super) fn is_due(&self, namespace: &str) -> bool {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let due = written.get(namespace).is_none_or(|at| at.elapsed() >= WRITE_AGAIN);
        if due {
            written.insert(namespace.to_owned(), Instant::now());
        }
        due
    }

    /// The port of a Rollout that is gone is free.
    pub(super) fn release(&self, key: &RolloutName) {
        let mut ports = self.ports.lock().unwrap_or_else(PoisonError::into_inner);
        ports.retain(|place, owner| place.0 != key.namespace || *owner != key.name);
    }

    /// Who has a port already, of all Rollouts of a namespace but one: as it stands in their HTTPRoutes and Services.
    pub(super) fn has_port(&self, but: &RolloutName, port: u16) -> bool {
        let text = port.to_string();
        let listens = |route: &Arc<DynamicObject>| {
            let annotation = route.metadata.annotations.as_ref().and_then(|a| a.get(object::LISTEN));
            annotation == Some(&text) && owner(&route.metadata) != Some(&but.name)
        };
        self.routes.within(&but.namespace).iter().any(listens)
    }
}

fn owner(metadata: &kube::api::ObjectMeta) -> Option<&String> {
    metadata.labels.as_ref()?.get(object::ROLLOUT)
}

/// A pod that serves traffic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Router {
    /// `host:port` of its admin listener.
    pub(super) admin: String,
    /// Whether traffic may reach it for all that is known, whether it says so itself or not.
    pub(super) counts: bool,
    /// Whether it is to be reached by new connections.
    pub(super) ready: bool,
}

impl Router {
    /// `None`: no traffic can reach the pod.
    pub(super) fn of(pod: &Pod) -> Option<Router> {
        let status = pod.status.as_ref()?;
        let address: IpAddr = status.pod_ip.as_ref()?.parse().ok()?;
        let running = status
            .container_statuses
            .iter()
            .flatten()
            .any(|c| c.state.as_ref().is_some_and(|state| state.running.is_some()));
        if !running || matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")) {
            return None;
        }
        let is =
            |kind: &str| status.conditions.iter().flatten().any(|c| c.type_ == kind && c.status == "True");
        let leaving = pod.metadata.deletion_timestamp.is_some();
        let admin = std::net::SocketAddr::new(address, router::ADMIN).to_string();
        // A pod on a node that is lost stays as it was seen last: its Ready condition turns false in time.
        Some(Router { admin, counts: is("Ready"), ready: is("Ready") && !leaving })
    }
}

pub(super) fn rollout_kind() -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(GROUP, version(), KIND), "rollouts")
}

fn version() -> &'static str {
    API_VERSION.rsplit('/').next().unwrap_or("v1alpha1")
}

pub(super) fn route_kind() -> ApiResource {
    let kind = GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", penstock_routers::gateway::KIND);
    ApiResource::from_gvk_with_plural(&kind, "httproutes")
}

impl Cluster {
    /// Something of a Rollout has changed.
    pub(super) fn changed(&self, key: RolloutName) {
        if self.rollouts.get(&key).is_some() {
            self.wakers.wake(key);
        }
    }

    /// A Rollout has changed, come or gone. Those that stand back for another one may have their turn.
    pub(super) fn rollout_changed(&self, key: RolloutName) {
        if self.rollouts.get(&key).is_none_or(|entry| entry.deleting) {
            let back = std::mem::take(&mut *self.standing_back());
            back.into_iter().for_each(|key| self.wakers.wake(key));
        }
        self.wakers.wake(key);
    }

    /// A Rollout waits until another one is gone.
    pub(super) fn stands_back(&self, key: &RolloutName) {
        self.standing_back().insert(key.clone());
    }

    fn standing_back(&self) -> std::sync::MutexGuard<'_, BTreeSet<RolloutName>> {
        self.standing_back.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A router has changed: who waits for routers is looked at.
    pub(super) fn router_changed(&self, key: RolloutName) {
        self.wakers.ring(&key.namespace);
    }

    /// What the routers of a namespace are made from has changed: one of its Rollouts puts it right.
    pub(super) fn routers_changed(&self, key: RolloutName) {
        if let Some((first, _)) = self.rollouts.within(&key.namespace).into_iter().find(|(_, e)| !e.deleting)
        {
            self.wakers.wake(first);
        }
    }

    /// Whether everything was listed once. HTTPRoutes may be missing altogether.
    pub(super) fn is_synced(&self) -> bool {
        self.rollouts.is_synced()
            && self.replica_sets.is_synced()
            && self.pods.is_synced()
            && self.services.is_synced()
            && self.routers.is_synced()
            && self.deployments.is_synced()
            && self.accounts.is_synced()
            && self.knows_routes()
    }

    /// Waits until everything was listed once.
    pub(super) async fn synced(&self) {
        self.rollouts.synced().await;
        self.replica_sets.synced().await;
        self.pods.synced().await;
        self.services.synced().await;
        self.routers.synced().await;
        self.deployments.synced().await;
        self.accounts.synced().await;
        // The port of a Rollout stands in its HTTPRoute: before they are known none may be chosen. Where the cluster
        // has no such kind, there is nothing to know.
        while !self.knows_routes() {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    fn knows_routes(&self) -> bool {
        let missing = || self.outages.of(HTTP_ROUTES).is_some_and(|outage| outage.kind == Kind::Absent);
        self.routes.is_synced() || missing()
    }
}
