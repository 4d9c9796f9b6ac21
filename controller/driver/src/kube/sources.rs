//! Metric sources with their credentials, made when they are needed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Api;
use penstock_crds::{Auth, Ca, KeyRef, Prometheus, Source};

use super::call::{CallError, Kind, call};
use super::cluster::Cluster;
use super::numbers::Numbers;
use crate::ask::hook::Keys;
use crate::ask::prometheus::PrometheusSource;
use crate::ask::{Access, Credentials};

/// A metric source that the spec does not name answers in this time, or has no data.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Secrets are read again after this: a token that was changed holds from then on.
const READ_AGAIN: Duration = Duration::from_secs(30);

/// The sources of one Rollout.
#[derive(Clone)]
pub(super) struct Sources {
    cluster: Arc<Cluster>,
    namespace: String,
    last: Arc<Mutex<Option<Last>>>,
}

/// The source that was made last.
struct Last {
    of: Source,
    at: Instant,
    numbers: Numbers,
}

impl Sources {
    /// Secrets are read in this namespace, and no other one.
    pub(super) fn new(cluster: Arc<Cluster>, namespace: String) -> Sources {
        Sources { cluster, namespace, last: Arc::default() }
    }

    /// The source that a spec names.
    pub(super) async fn of(&self, source: &Source) -> Numbers {
        let known = self
            .last()
            .as_ref()
            .filter(|l| l.of == *source && l.at.elapsed() < READ_AGAIN)
            .map(|l| l.numbers.clone());
        if let Some(numbers) = known {
            return numbers;
        }
        let numbers = self.make(source).await;
        // What can't be made is tried again with the next question.
        if !matches!(numbers, Numbers::Nobody(_)) {
            *self.last() = Some(Last { of: source.clone(), at: Instant::now(), numbers: numbers.clone() });
        }
        numbers
    }

    async fn make(&self, source: &Source) -> Numbers {
        let access = match (source, &self.cluster.options.prometheus) {
            (Source::Proxy, _) | (Source::Default, None) => return Numbers::Routers,
            (Source::Default, Some(address)) => Ok(Access::open(address, TIMEOUT)),
            (Source::Prometheus(prometheus), _) => self.access(prometheus).await,
        };
        let made =
            access.and_then(|access| PrometheusSource::with(&access).map_err(|error| error.to_string()));
        made.map_or_else(Numbers::Nobody, Numbers::Prometheus)
    }

    async fn access(&self, prometheus: &Prometheus) -> Result<Access, String> {
        let credentials = match &prometheus.auth {
            None => None,
            Some(Auth::Bearer(key)) => Some(Credentials::Bearer(self.secret_text(key).await?)),
            Some(Auth::Basic(name)) => {
                let of = |key: &str| KeyRef { name: name.clone(), key: key.to_owned() };
                let username = self.secret_text(&of("username")).await?;
                Some(Credentials::Basic { username, password: self.secret_text(&of("password")).await? })
            }
        };
        let ca = match &prometheus.ca {
            None => None,
            Some(Ca::Secret(key)) => Some(self.secret(key).await?),
            Some(Ca::ConfigMap(key)) => Some(self.config(key).await?),
        };
        Ok(Access { address: prometheus.address.clone(), timeout: prometheus.timeout, credentials, ca })
    }

    async fn secret_text(&self, key: &KeyRef) -> Result<String, String> {
        let bytes = self.secret(key).await?;
        String::from_utf8(bytes)
            .map_err(|_| format!("key `{}` of the Secret {} is no text", key.key, key.name))
    }

    fn present(&self, kind: &str, key: &KeyRef, value: Option<Option<Vec<u8>>>) -> Result<Vec<u8>, String> {
        let (name, namespace) = (&key.name, &self.namespace);
        match value {
            Some(Some(bytes)) => Ok(bytes),
            Some(None) => Err(format!("the {kind} {name} has no key `{}`: add it", key.key)),
            None => Err(format!(
                "there is no {kind} {name} in the namespace {namespace}: make it, or name another one"
            )),
        }
    }

    fn unread(&self, resource: &str, key: &KeyRef, error: &CallError) -> String {
        let (name, namespace) = (&key.name, &self.namespace);
        if error.kind != Kind::Forbidden {
            return format!("the {resource} {name} can't be read: {}", error.why);
        }
        format!(
            "the controller may not read the {resource} {name}: run `kubectl create role penstock-{name} -n {namespace} --verb=get \
             --resource={resource}s --resource-name={name}` and bind it to the controller's ServiceAccount"
        )
    }

    fn last(&self) -> std::sync::MutexGuard<'_, Option<Last>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Keys for Sources {
    async fn secret(&self, key: &KeyRef) -> Result<Vec<u8>, String> {
        let api: Api<Secret> = Api::namespaced(self.cluster.client.clone(), &self.namespace);
        let there = call(&self.cluster.metrics, api.get_opt(&key.name))
            .await
            .map_err(|e| self.unread("secret", key, &e))?;
        let value = there.map(|secret| secret.data.unwrap_or_default().remove(&key.key).map(|bytes| bytes.0));
        self.present("Secret", key, value)
    }

    async fn config(&self, key: &KeyRef) -> Result<Vec<u8>, String> {
        let api: Api<ConfigMap> = Api::namespaced(self.cluster.client.clone(), &self.namespace);
        let there = call(&self.cluster.metrics, api.get_opt(&key.name))
            .await
            .map_err(|e| self.unread("configmap", key, &e))?;
        let value =
            there.map(|config| config.data.unwrap_or_default().remove(&key.key).map(String::into_bytes));
        self.present("ConfigMap", key, value)
    }
}
