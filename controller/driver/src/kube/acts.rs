//! Target states brought about: each write is made on the version that was read, and what has heard of a later
//! decision is left as it is.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Service;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use penstock_core::revision::Revision;
use penstock_core::split::{Generation, Split};
use penstock_crds::Facts;
use penstock_proxy_api::object;
use penstock_routers::gateway::{self, Shape};
use serde_json::{Value, json};

use super::call::{CallError, Kind, call};
use super::cluster::Cluster;
use super::furnish::{self, Furniture, is_ours};
use super::replicas::{self, Wanted};

/// How often a write is tried in a row when somebody else was faster.
const ATTEMPTS: usize = 4;

/// Divides the traffic, unless a newer split stands there.
pub(super) async fn route(
    cluster: &Cluster,
    around: &Furniture,
    split: &Split,
    shape: &Shape,
) -> Result<(), CallError> {
    let (api, name) = (cluster.routes_in(&around.key.namespace), around.key.name.as_str());
    let mut known = cluster.routes.get(&around.key, name).map(|route| DynamicObject::clone(&route));
    for _ in 0..ATTEMPTS {
        let written = match known {
            None => {
                let mut route = gateway::new(split, shape);
                route["metadata"]["ownerReferences"] = json!([around.owner]);
                call(&cluster.metrics, api.create(&PostParams::default(), &object_of(route)?)).await
            }
            Some(there) => {
                refuse_others(&there, around)?;
                let before = serde_json::to_value(&there).unwrap_or_default();
                if gateway::read(&before).is_ok_and(|there| there.generation > split.generation) {
                    return Ok(());
                }
                let mut after = before.clone();
                gateway::write(&mut after, split, shape);
                if after == before {
                    return Ok(());
                }
                call(&cluster.metrics, api.replace(name, &PostParams::default(), &object_of(after)?)).await
            }
        };
        match written {
            Ok(written) => {
                cluster.routes.put(written);
                return Ok(());
            }
            Err(error) if matches!(error.kind, Kind::Conflict | Kind::Exists | Kind::Missing) => {
                known = call(&cluster.metrics, api.get_opt(name)).await?;
                if known.is_none() {
                    cluster.routes.remove(&around.key, name);
                    if error.kind == Kind::Missing {
                        return Err(error);
                    }
                }
            }
            Err(error) => return Err(error),
        }
    }
    Err(outrun("HTTPRoute", name))
}

/// An HTTPRoute that something else controls is not ours to write.
fn refuse_others(route: &DynamicObject, around: &Furniture) -> Result<(), CallError> {
    let Some(owner) = route.owner_references().iter().find(|o| o.controller == Some(true)) else {
        return Ok(());
    };
    if owner.uid == around.owner.uid {
        return Ok(());
    }
    let (name, kind, other) = (route.name_any(), &owner.kind, &owner.name);
    let why = format!(
        "HTTPRoute {name} belongs to the {kind} {other}: delete it, or give the Rollout another name"
    );
    Err(CallError { kind: Kind::Invalid, why })
}

fn object_of(value: Value) -> Result<DynamicObject, CallError> {
    serde_json::from_value(value).map_err(|error| CallError { kind: Kind::Invalid, why: error.to_string() })
}

/// What a revision is made from, where it is to be made.
pub(super) struct Template<'a> {
    pub(super) facts: &'a Facts,
    pub(super) min_ready_seconds: u32,
}

/// Asks for so many pods of a revision, unless a later decision has spoken already; makes it where it does not
/// exist and `template` is its.
pub(super) async fn scale(
    cluster: &Cluster,
    around: &Furniture,
    revision: &Revision,
    (replicas, generation): (u32, Generation),
    template: Option<Template<'_>>,
) -> Result<(), CallError> {
    let name = object::backend_of(&around.key.name, revision.as_str());
    let api: Api<ReplicaSet> = Api::namespaced(cluster.client.clone(), &around.key.namespace);
    let mut known = cluster.replica_sets.get(&around.key, &name);
    for _ in 0..ATTEMPTS {
        let written = match &known {
            Some(set) if !is_ours(set.as_ref(), &around.owner.uid) => return Err(others(set)),
            Some(set) if stands(set, replicas, generation) => return Ok(()),
            Some(set) => {
                let patch = json!({
                    "metadata": {
                        "resourceVersion": set.resource_version(),
                        "annotations": {object::GENERATION: generation.to_string()},
                    },
                    "spec": {"replicas": replicas},
                });
                call(&cluster.metrics, api.patch(&name, &PatchParams::default(), &Patch::Merge(patch))).await
            }
            None => {
                let Some(template) = &template else { return Err(lost(revision)) };
                furnish::make_service(cluster, around, revision.clone()).await?;
                let wanted = Wanted {
                    facts: template.facts,
                    revision,
                    replicas,
                    generation,
                    min_ready_seconds: template.min_ready_seconds,
                    owner: around.owner.clone(),
                };
                call(&cluster.metrics, api.create(&PostParams::default(), &replicas::replica_set(&wanted)))
                    .await
            }
        };
        match written {
            Ok(written) => {
                let new = known.is_none();
                cluster.replica_sets.put(written.clone());
                return if new { seal(cluster, &api, written).await } else { Ok(()) };
            }
            Err(error) if matches!(error.kind, Kind::Conflict | Kind::Exists | Kind::Missing) => {
                known = call(&cluster.metrics, api.get_opt(&name)).await?.map(Arc::new);
                if known.is_none() {
                    cluster.replica_sets.remove(&around.key, &name);
                }
            }
            Err(error) => return Err(error),
        }
    }
    Err(outrun("ReplicaSet", &name))
}

/// Notes what the template of a new ReplicaSet is, the API server's defaults included: an edit by hand is seen then.
/// Where it is not noted, since the controller fell right here, nobody notices one.
async fn seal(cluster: &Cluster, api: &Api<ReplicaSet>, set: ReplicaSet) -> Result<(), CallError> {
    let Some(template) = set.spec.as_ref().and_then(|spec| spec.template.as_ref()) else { return Ok(()) };
    let digest = replicas::template_digest(template);
    let patch = json!({"metadata": {"annotations": {replicas::TEMPLATE_DIGEST: digest}}});
    let (name, params) = (set.name_any(), PatchParams::default());
    let sealed = call(&cluster.metrics, api.patch(&name, &params, &Patch::Merge(patch))).await?;
    cluster.replica_sets.put(sealed);
    Ok(())
}

/// Whether a later decision has spoken, or this one.
fn stands(set: &ReplicaSet, replicas: u32, generation: Generation) -> bool {
    let there = replicas::generation(set);
    let scale = set.spec.as_ref().and_then(|spec| spec.replicas);
    there > generation || there == generation && scale == i32::try_from(replicas).ok()
}

/// Deletes a revision with its Service, unless a later decision has spoken already.
pub(super) async fn delete(
    cluster: &Cluster,
    around: &Furniture,
    revision: &Revision,
    generation: Generation,
) -> Result<(), CallError> {
    let name = object::backend_of(&around.key.name, revision.as_str());
    let namespace = around.key.namespace.as_str();
    if let Some(set) = cluster.replica_sets.get(&around.key, &name) {
        if !is_ours(set.as_ref(), &around.owner.uid) || replicas::generation(&set) > generation {
            return Ok(());
        }
        let api: Api<ReplicaSet> = Api::namespaced(cluster.client.clone(), namespace);
        furnish::delete(cluster, &api, set.as_ref()).await?;
        cluster.replica_sets.remove(&around.key, &name);
    }
    if let Some(service) =
        cluster.services.get(&around.key, &name).filter(|s| is_ours(s.as_ref(), &around.owner.uid))
    {
        let api: Api<Service> = Api::namespaced(cluster.client.clone(), namespace);
        furnish::delete(cluster, &api, service.as_ref()).await?;
        cluster.services.remove(&around.key, &name);
    }
    Ok(())
}

fn others(set: &ReplicaSet) -> CallError {
    let name = set.name_any();
    let why = format!(
        "the ReplicaSet {name} is somebody else's, or of a deleted Rollout of the same name: it is waited for until it is gone"
    );
    CallError { kind: Kind::Exists, why }
}

fn lost(revision: &Revision) -> CallError {
    let why = format!("the template of revision {revision} is not kept any more: apply it again");
    CallError { kind: Kind::Missing, why }
}

fn outrun(kind: &str, name: &str) -> CallError {
    let why = format!("somebody else keeps writing the {kind} {name}; it is tried again");
    CallError { kind: Kind::Conflict, why }
}
