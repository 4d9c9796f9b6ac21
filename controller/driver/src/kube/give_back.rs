//! Services that were taken over for a Rollout that is gone are given back.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Service;
use kube::Api;
use kube::ResourceExt;
use kube::api::PostParams;
use penstock_routers::apex;
use penstock_signals::RolloutName;

use super::call::call;
use super::cluster::Cluster;

/// How often a write is tried.
const ATTEMPTS: usize = 5;

/// Gives back what nobody has any more: for the beginning, when a Rollout may have gone while nobody looked.
pub(super) async fn give_back(cluster: &Cluster) {
    for key in cluster.services.keys() {
        if cluster.rollouts.get(&key).is_none() {
            give_back_of(cluster, &key).await;
        }
    }
}

/// Gives back the Services of a Rollout that is gone. Errors are told, and end with the next event or start.
pub(super) async fn give_back_of(cluster: &Cluster, key: &RolloutName) {
    for service in cluster.services.all(key) {
        if apex::taken_for(&service).as_ref() == Some(&key.name) {
            let name = service.name_any();
            match give(cluster, key, service).await {
                Ok(()) => {
                    tracing::info!(rollout = %key, service = name, "given back: it selects what it selected before")
                }
                Err(why) => {
                    tracing::error!(rollout = %key, service = name, why, "the Service can't be given back")
                }
            }
        }
    }
}

async fn give(cluster: &Cluster, key: &RolloutName, known: Arc<Service>) -> Result<(), String> {
    let api: Api<Service> = Api::namespaced(cluster.client.clone(), &key.namespace);
    let name = known.name_any();
    let mut service = Service::clone(&known);
    for _ in 0..ATTEMPTS {
        apex::give_back(&mut service).map_err(|conflict| conflict.to_string())?;
        let written = call(&cluster.metrics, api.replace(&name, &PostParams::default(), &service)).await;
        match written {
            Ok(written) => {
                cluster.services.put(written);
                return Ok(());
            }
            Err(error) if error.kind == super::call::Kind::Conflict => {
                let read = call(&cluster.metrics, api.get_opt(&name)).await.map_err(|e| e.why)?;
                let Some(there) = read else { return Ok(()) };
                service = there;
            }
            Err(error) if error.kind == super::call::Kind::Unavailable => {
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            }
            Err(error) => return Err(error.why),
        }
    }
    Err("somebody else keeps writing it".to_owned())
}
