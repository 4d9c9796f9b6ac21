//! A cluster for who looks at it and gives orders. Every replica has it: it needs watches, and no lead.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Patch, PatchParams};
use penstock_core::observation::OrderKind;
use penstock_signals::RolloutName;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::sleep;

use super::call::{CallError, Kind, call};
use super::cluster::Cluster;
use super::orders::{give, given};
use super::people;
use crate::history::{Histories, Recorded};
use crate::view::{OrderError, Person, Right, Stranger, View, Wish};

/// The name under which orders of the page are booked.
const MANAGER: &str = "penstock-page";
/// How often somebody else may be faster.
const TRIES: u32 = 10;

/// A cluster.
pub struct KubeView {
    cluster: Arc<Cluster>,
}

impl KubeView {
    pub(super) fn new(cluster: Arc<Cluster>) -> KubeView {
        KubeView { cluster }
    }

    /// Writes the annotation, as the command line does.
    async fn write(&self, name: &RolloutName, wish: &Wish) -> Result<(), OrderError> {
        let api = self.cluster.rollouts_in(&name.namespace);
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        for attempt in 1..=TRIES {
            let present = self.metadata(name, attempt).await?;
            if let Some(given) = given(&present, &wish.kind) {
                let text =
                    format!("the same order waits already, given {given}: no controller has taken it yet");
                return Err(OrderError::Refused(text));
            }
            // An abort is never refused for the others' haste.
            let anyhow = attempt == TRIES && wish.kind == OrderKind::Abort;
            let patch = Patch::Merge(give(&present, &wish.kind, &wish.who, &wish.reason, anyhow));
            match call(&self.cluster.metrics, api.patch(&name.name, &params, &patch)).await {
                Ok(written) => {
                    self.cluster.rollouts.put(written);
                    self.cluster.rollout_changed(name.clone());
                    return Ok(());
                }
                Err(CallError { kind: Kind::Conflict, .. }) => {}
                Err(error) => return Err(refused(name, error)),
            }
            sleep(Duration::from_millis(fastrand::u64(5..50))).await;
        }
        Err(OrderError::Unwritten("others write this Rollout all the time".to_owned()))
    }

    /// As the watch has told it; after a conflict, as the API server has it.
    async fn metadata(&self, name: &RolloutName, attempt: u32) -> Result<ObjectMeta, OrderError> {
        if attempt > 1 {
            let api = self.cluster.rollouts_in(&name.namespace);
            let read = call(&self.cluster.metrics, api.get(&name.name)).await;
            return read.map(|object| object.metadata).map_err(|error| refused(name, error));
        }
        let object = self.get(name).ok_or_else(|| OrderError::Missing(name.clone()))?;
        Ok(serde_json::from_value(object["metadata"].clone()).unwrap_or_default())
    }
}

fn refused(name: &RolloutName, error: CallError) -> OrderError {
    match error.kind {
        Kind::Missing => OrderError::Missing(name.clone()),
        Kind::Invalid | Kind::Forbidden => OrderError::Refused(error.why),
        Kind::Conflict | Kind::Absent | Kind::Exists | Kind::Unavailable => OrderError::Unwritten(error.why),
    }
}

impl View for KubeView {
    fn place(&self) -> String {
        match &self.cluster.options.namespace {
            Some(namespace) => format!("namespace {namespace}"),
            None => "all namespaces".to_owned(),
        }
    }

    fn is_ready(&self) -> bool {
        self.cluster.rollouts.is_synced()
    }

    fn list(&self) -> Vec<(RolloutName, String)> {
        self.cluster.rollouts.versions()
    }

    fn get(&self, name: &RolloutName) -> Option<Value> {
        self.cluster.rollouts.get(name).map(|entry| entry.object())
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.cluster.rollouts.changes()
    }

    fn histories(&self) -> &Arc<Histories> {
        &self.cluster.histories
    }

    fn order<'a>(
        &'a self,
        name: &'a RolloutName,
        wish: Wish,
    ) -> BoxFuture<'a, Result<Option<String>, OrderError>> {
        async move { self.write(name, &wish).await.map(|()| None) }.boxed()
    }

    fn admit<'a>(&'a self, token: Option<&'a str>) -> BoxFuture<'a, Result<Person, Stranger>> {
        people::admit(&self.cluster, token).boxed()
    }

    fn may<'a>(&'a self, person: &'a Person, right: Right<'a>) -> BoxFuture<'a, Result<bool, Stranger>> {
        people::may(&self.cluster, person, right).boxed()
    }
}

impl Recorded for KubeView {
    fn proxies(&self, namespace: &str) -> Vec<String> {
        self.cluster.serving(namespace).into_iter().map(|router| router.admin).collect()
    }
}
