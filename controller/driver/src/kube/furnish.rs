//! What has to stand around a Rollout whatever its machine decides: routers, the Service that clients call, a Service
//! for each revision, and owners of it all. None of it divides traffic, and no decision waits for it.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions};
use kube::core::NamespaceResourceScope;
use kube::{Api, Resource, ResourceExt};
use penstock_core::revision::Revision;
use penstock_crds::Trouble;
use penstock_proxy_api::object;
use penstock_routers::apex::{self, Apex, Standing};
use penstock_routers::revision::{self, Backend};
use penstock_routers::router::{self, Router};
use penstock_signals::RolloutName;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::call::{CallError, Kind, call};
use super::cluster::{Cluster, ROUTER};
use super::trouble::{self, ADOPTING};

/// Who writes, for server-side apply.
pub(super) const MANAGER: &str = "penstock";
/// Annotation of the routers' Deployment: digest of all that was applied with it.
const APPLIED: &str = "penstock.dev/applied";

/// How long a Service waits for its turn to be made; then it is for the next turn of its Rollout.
const CROWD: Duration = Duration::from_secs(5);

/// What is to stand around a Rollout.
#[derive(Clone, Debug)]
pub(super) struct Furniture {
    pub(super) key: RolloutName,
    pub(super) owner: OwnerReference,
    pub(super) apex: Apex,
    pub(super) backend_port: u16,
    pub(super) app_protocol: Option<String>,
    /// Whether every router serves it with all of its pods: then a Service can be taken over.
    pub(super) served: bool,
}

/// Puts right what does not stand. Where all stands, there is no call. Returns what is in the way.
pub(super) async fn furnish(cluster: Arc<Cluster>, wanted: Furniture) -> Vec<Trouble> {
    let mut troubles = Vec::new();
    let routers = routers(&cluster, &wanted).await;
    troubles.extend(routers.err().map(|e| trouble::call("the routers can't be set up", &e)));
    troubles
        .extend(revisions(&cluster, &wanted).await.err().map(|e| trouble::call("a revision's Service", &e)));
    troubles.extend(apex_stands(&cluster, &wanted).await);
    troubles.extend(old_apexes(&cluster, &wanted).await.err().map(|e| trouble::call("a former Service", &e)));
    troubles
        .extend(orphans(&cluster, &wanted).await.err().map(|e| trouble::call("what was left behind", &e)));
    troubles
}

async fn routers(cluster: &Cluster, wanted: &Furniture) -> Result<(), CallError> {
    let namespace = wanted.key.namespace.as_str();
    let router = Router {
        namespace: namespace.to_owned(),
        image: cluster.options.router_image.clone(),
        replicas: cluster.options.router_replicas,
        resources: cluster.options.router_resources.clone(),
        pull_policy: cluster.options.router_pull_policy.clone(),
        pull_secrets: cluster.options.router_pull_secrets.clone(),
    };
    let account = anchor(cluster, wanted, &router).await?;
    let Some(anchor) = router::anchor(&account) else { return Ok(()) };
    let mut deployment = router.deployment(&anchor);
    let objects = (router.role(&anchor), router.role_binding(&anchor), router.disruption_budget(&anchor));
    let digest = digest(&(&objects, &deployment));
    let key = Cluster::router_key(namespace);
    let stands = cluster
        .deployments
        .get(&key, router::NAME)
        .is_some_and(|there| there.annotations().get(APPLIED) == Some(&digest));
    let (role, binding, budget) = objects;
    // They are not watched, so what somebody has deleted or edited comes back from time to time, while there is work.
    if !stands || cluster.is_due(namespace) {
        apply::<Role>(cluster, namespace, &role).await?;
        apply::<RoleBinding>(cluster, namespace, &binding).await?;
        apply::<PodDisruptionBudget>(cluster, namespace, &budget).await?;
    }
    if stands {
        return Ok(());
    }
    deployment.metadata.annotations.get_or_insert_default().insert(APPLIED.to_owned(), digest);
    cluster.deployments.put(apply::<Deployment>(cluster, namespace, &deployment).await?);
    tracing::info!(namespace, image = cluster.options.router_image, "routers are set up");
    Ok(())
}

/// The ServiceAccount of the routers, owned by this Rollout among others: it goes when the last one has gone, and
/// takes the routers along.
async fn anchor(
    cluster: &Cluster,
    wanted: &Furniture,
    router: &Router,
) -> Result<Arc<ServiceAccount>, CallError> {
    let (key, namespace) = (Cluster::router_key(&wanted.key.namespace), wanted.key.namespace.as_str());
    let owners =
        |account: &ServiceAccount| account.owner_references().iter().any(|o| o.uid == wanted.owner.uid);
    if let Some(account) = cluster.accounts.get(&key, router::NAME).filter(|a| owners(a)) {
        return Ok(account);
    }
    let api: Api<ServiceAccount> = Api::namespaced(cluster.client.clone(), namespace);
    for _ in 0..ATTEMPTS {
        let there = call(&cluster.metrics, api.get_opt(router::NAME)).await?;
        let written = match there {
            Some(account) if owners(&account) => Ok(account),
            // Others who own it keep it.
            Some(account) if account.owner_references().is_empty() && !is_kept(cluster, wanted).await? => {
                return Ok(Arc::new(account));
            }
            Some(mut account) => {
                account.labels_mut().insert(object::COMPONENT.to_owned(), ROUTER.to_owned());
                account.owner_references_mut().push(router::owner(&wanted.owner));
                call(&cluster.metrics, api.replace(router::NAME, &PostParams::default(), &account)).await
            }
            None => {
                let account = router.service_account(vec![router::owner(&wanted.owner)]);
                call(&cluster.metrics, api.create(&PostParams::default(), &account)).await
            }
        };
        match written {
            Ok(account) => {
                cluster.accounts.put(account.clone());
                return Ok(Arc::new(account));
            }
            Err(error) if matches!(error.kind, Kind::Conflict | Kind::Exists) => {}
            Err(error) => return Err(error),
        }
    }
    Err(CallError {
        kind: Kind::Conflict,
        why: format!("somebody else keeps writing the ServiceAccount {}", router::NAME),
    })
}

/// How often a conditional write is tried in a row.
const ATTEMPTS: usize = 4;

fn digest(value: &impl Serialize) -> String {
    let text = serde_json::to_vec(value).unwrap_or_default();
    Sha256::digest(text).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

async fn apply<K>(cluster: &Cluster, namespace: &str, object: &K) -> Result<K, CallError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Serialize,
{
    let api: Api<K> = Api::namespaced(cluster.client.clone(), namespace);
    let (name, params) = (object.name_any(), PatchParams::apply(MANAGER).force());
    call(&cluster.metrics, api.patch(&name, &params, &Patch::Apply(object))).await
}

/// Each revision that is kept has its Service.
async fn revisions(cluster: &Cluster, wanted: &Furniture) -> Result<(), CallError> {
    let owned = |set: &Arc<ReplicaSet>| is_ours(set.as_ref(), &wanted.owner.uid);
    for set in cluster.replica_sets.all(&wanted.key).iter().filter(|set| owned(set)) {
        let Some(revision) = set.labels().get(object::REVISION).and_then(|r| Revision::new(r.as_str()).ok())
        else {
            continue;
        };
        match cluster.services.get(&wanted.key, &set.name_any()) {
            None => make_service(cluster, wanted, revision).await?,
            Some(service) => keep_selector(cluster, wanted, &service, &revision).await?,
        }
    }
    Ok(())
}

/// The Service of a revision selects its pods, whoever has edited it. Its port is that of its time, and stays.
async fn keep_selector(
    cluster: &Cluster,
    wanted: &Furniture,
    service: &Service,
    revision: &Revision,
) -> Result<(), CallError> {
    let labels = Some(revision::labels(&wanted.key.name, revision));
    let stands = service.spec.as_ref().is_some_and(|spec| spec.selector == labels);
    if stands || !is_ours(service, &wanted.owner.uid) {
        return Ok(());
    }
    let mut right = service.clone();
    right.spec.get_or_insert_default().selector = labels;
    let api: Api<Service> = Api::namespaced(cluster.client.clone(), &wanted.key.namespace);
    tracing::warn!(rollout = %wanted.key, service = service.name_any(), "its selector was edited: put right");
    match call(&cluster.metrics, api.replace(&service.name_any(), &PostParams::default(), &right)).await {
        Ok(written) => cluster.services.put(written),
        Err(error) if error.kind == Kind::Conflict => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Makes the Service of a revision.
pub(super) async fn make_service(
    cluster: &Cluster,
    wanted: &Furniture,
    revision: Revision,
) -> Result<(), CallError> {
    let backend = Backend {
        namespace: wanted.key.namespace.clone(),
        rollout: wanted.key.name.clone(),
        revision,
        port: wanted.backend_port,
        app_protocol: wanted.app_protocol.clone(),
    };
    match create_service(cluster, &revision::service(&backend, wanted.owner.clone())).await {
        Ok(made) => cluster.services.put(made),
        Err(error) if error.kind == Kind::Exists => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Makes a Service, one of a few at a time.
async fn create_service(cluster: &Cluster, service: &Service) -> Result<Service, CallError> {
    let Ok(_turn) = tokio::time::timeout(CROWD, cluster.services_made.acquire()).await else {
        let why = "more Services are being made than the API server can make at once".to_owned();
        return Err(CallError { kind: Kind::Unavailable, why });
    };
    let namespace = service.namespace().unwrap_or_default();
    let api: Api<Service> = Api::namespaced(cluster.client.clone(), &namespace);
    call(&cluster.metrics, api.create(&PostParams::default(), service)).await
}

/// The Service that clients call: made, put right, or taken over when that fails no request.
async fn apex_stands(cluster: &Cluster, wanted: &Furniture) -> Option<Trouble> {
    let (name, namespace) = (wanted.apex.name.as_str(), wanted.key.namespace.as_str());
    let api: Api<Service> = Api::namespaced(cluster.client.clone(), namespace);
    let failed = |error: CallError| Some(trouble::call(&format!("the Service {name}"), &error));
    let known = match cluster.services.get(&wanted.key, name) {
        Some(known) => Some(Service::clone(&known)),
        None => match call(&cluster.metrics, api.get_opt(name)).await {
            Ok(there) => there,
            Err(error) => return failed(error),
        },
    };
    let Some(mut service) = known else {
        let service = apex::service(&wanted.apex, wanted.owner.clone());
        return match create_service(cluster, &service).await {
            Ok(made) => {
                cluster.services.put(made);
                None
            }
            Err(error) => failed(error),
        };
    };
    let conflict = |conflict: apex::Conflict| {
        Some(Trouble { reason: "ServiceConflict", message: conflict.to_string(), stalls: true })
    };
    match apex::state(&service, &wanted.apex, &wanted.owner.uid) {
        Standing::Foreign(why) => return conflict(why),
        Standing::Adoptable if !wanted.served => {
            let message = format!(
                "the Service {name} is taken over as soon as all routers know of all pods of the stable revision"
            );
            return Some(Trouble { reason: ADOPTING, message, stalls: false });
        }
        Standing::Adoptable | Standing::Adopted => {
            if apex::stands(&service, &wanted.apex) {
                return apex::warning(&service, &wanted.apex).and_then(conflict);
            }
            if let Err(why) = apex::adopt(&mut service, &wanted.apex) {
                return conflict(why);
            }
        }
        Standing::Ours => {
            let owned = service.owner_references().iter().any(|o| o.uid == wanted.owner.uid);
            if !put_right(&mut service, wanted) {
                return None;
            }
            if !owned {
                match is_kept(cluster, wanted).await {
                    Ok(true) => {}
                    Ok(false) => return None,
                    Err(error) => return failed(error),
                }
            }
        }
    }
    match call(&cluster.metrics, api.replace(name, &PostParams::default(), &service)).await {
        Ok(written) => {
            tracing::info!(rollout = %wanted.key, service = name, "the Service leads to the routers");
            cluster.services.put(written);
            None
        }
        // What is there is looked at again with the next event.
        Err(error) if error.kind == Kind::Conflict => None,
        Err(error) => failed(error),
    }
}

/// What of our own Service has to be as it is: where it leads to, and whose it is. Returns whether that has changed.
fn put_right(service: &mut Service, wanted: &Furniture) -> bool {
    let before = service.clone();
    let right = apex::service(&wanted.apex, wanted.owner.clone());
    let (spec, right_spec) = (service.spec.get_or_insert_default(), right.spec.unwrap_or_default());
    spec.selector = right_spec.selector;
    let port = spec.ports.iter_mut().flatten().find(|port| port.port == i32::from(wanted.apex.port));
    match port {
        Some(port) => {
            port.target_port = Some(k8s_openapi::apimachinery::pkg::util::intstr::IntOrString::Int(
                wanted.apex.target_port.into(),
            ))
        }
        None => spec.ports = right_spec.ports,
    }
    service.labels_mut().extend(right.metadata.labels.unwrap_or_default());
    if !service.owner_references().iter().any(|o| o.uid == wanted.owner.uid) {
        service.owner_references_mut().push(wanted.owner.clone());
    }
    *service != before
}

/// Services that clients called under a former name go; those that were taken over are given back.
async fn old_apexes(cluster: &Cluster, wanted: &Furniture) -> Result<(), CallError> {
    let api: Api<Service> = Api::namespaced(cluster.client.clone(), &wanted.key.namespace);
    let old = |service: &Arc<Service>| {
        service.name_any() != wanted.apex.name && !service.labels().contains_key(object::REVISION)
    };
    if !wanted.served {
        return Ok(());
    }
    for service in cluster.services.all(&wanted.key).into_iter().filter(old) {
        if is_ours(service.as_ref(), &wanted.owner.uid) {
            delete(cluster, &api, service.as_ref()).await?;
            cluster.services.remove(&wanted.key, &service.name_any());
        } else if apex::taken_for(&service).as_ref() == Some(&wanted.key.name) {
            let mut given = Service::clone(&service);
            if apex::give_back(&mut given).is_ok() {
                let name = given.name_any();
                cluster
                    .services
                    .put(call(&cluster.metrics, api.replace(&name, &PostParams::default(), &given)).await?);
            }
        }
    }
    Ok(())
}

/// Deletes this very object; one that is gone is gone.
pub(super) async fn delete<K>(cluster: &Cluster, api: &Api<K>, object: &K) -> Result<(), CallError>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let preconditions = Preconditions { uid: object.uid(), resource_version: object.resource_version() };
    let params = DeleteParams::background().preconditions(preconditions);
    match call(&cluster.metrics, api.delete(&object.name_any(), &params)).await {
        Err(error) if error.kind != Kind::Missing => Err(error),
        _ => Ok(()),
    }
}

/// What an earlier Rollout of this name has left behind (`--cascade=orphan`) is this one's.
async fn orphans(cluster: &Cluster, wanted: &Furniture) -> Result<(), CallError> {
    let namespace = wanted.key.namespace.as_str();
    let sets: Api<ReplicaSet> = Api::namespaced(cluster.client.clone(), namespace);
    for set in cluster.replica_sets.all(&wanted.key) {
        take(cluster, &sets, set.as_ref(), wanted)
            .await?
            .into_iter()
            .for_each(|s| cluster.replica_sets.put(s));
    }
    let services: Api<Service> = Api::namespaced(cluster.client.clone(), namespace);
    let of_revisions = |s: &Arc<Service>| s.labels().contains_key(object::REVISION);
    for service in cluster.services.all(&wanted.key).into_iter().filter(of_revisions) {
        let taken = take(cluster, &services, service.as_ref(), wanted).await?;
        taken.into_iter().for_each(|s| cluster.services.put(s));
    }
    let routes = cluster.routes_in(namespace);
    for route in cluster.routes.all(&wanted.key).into_iter().filter(|r| r.name_any() == wanted.key.name) {
        let taken = take(cluster, &routes, route.as_ref(), wanted).await?;
        taken.into_iter().for_each(|r: DynamicObject| cluster.routes.put(r));
    }
    Ok(())
}

async fn take<K>(
    cluster: &Cluster,
    api: &Api<K>,
    object: &K,
    wanted: &Furniture,
) -> Result<Option<K>, CallError>
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    if object.owner_references().iter().any(|o| o.controller == Some(true))
        || object.meta().deletion_timestamp.is_some()
        || !is_kept(cluster, wanted).await?
    {
        return Ok(None);
    }
    let mut owners = object.owner_references().to_vec();
    owners.push(wanted.owner.clone());
    let version = object.resource_version();
    let patch = json!({"metadata": {"resourceVersion": version, "ownerReferences": owners}});
    match call(&cluster.metrics, api.patch(&object.name_any(), &PatchParams::default(), &Patch::Merge(patch)))
        .await
    {
        Ok(taken) => Ok(Some(taken)),
        Err(error) if matches!(error.kind, Kind::Conflict | Kind::Missing) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether the Rollout is there and not on its way out, by what the API server itself says. Who deletes it with
/// `--cascade=orphan` has its name taken off all that it owned, which may be heard of before the deletion is: what it
/// owned again then would go with it, pods under traffic and all.
async fn is_kept(cluster: &Cluster, wanted: &Furniture) -> Result<bool, CallError> {
    let api = cluster.rollouts_in(&wanted.key.namespace);
    let there = call(&cluster.metrics, api.get_opt(&wanted.key.name)).await?;
    let kept = |rollout: DynamicObject| {
        rollout.uid().as_ref() == Some(&wanted.owner.uid) && rollout.metadata.deletion_timestamp.is_none()
    };
    Ok(there.is_some_and(kept))
}

/// Whether an object is controlled by the Rollout with this uid.
pub(super) fn is_ours<K: Resource>(object: &K, uid: &str) -> bool {
    object.meta().owner_references.iter().flatten().any(|o| o.controller == Some(true) && o.uid == uid)
}
