//! Metric sources with their credentials, made when they are needed.

use std::sync::Arc;
use std::time::Duration;

use penstock_crds::Source;

use super::cluster::Cluster;
use super::numbers::Numbers;
use crate::ask::prometheus::PrometheusSource;

/// A metric source answers in this time, or has no data.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The sources of one Rollout.
#[derive(Clone)]
pub(super) struct Sources {
    cluster: Arc<Cluster>,
    namespace: String,
}

impl Sources {
    /// Secrets are read in this namespace, and no other one.
    pub(super) fn new(cluster: Arc<Cluster>, namespace: String) -> Sources {
        Sources { cluster, namespace }
    }

    /// The source that a spec names.
    pub(super) async fn of(&self, source: &Source) -> Numbers {
        let address = match source {
            Source::Proxy => return Numbers::Routers,
            Source::Default => match &self.cluster.options.prometheus {
                Some(address) => address,
                None => return Numbers::Routers,
            },
            Source::Prometheus(prometheus) => &prometheus.address,
        };
        match PrometheusSource::new(address, TIMEOUT) {
            Ok(source) => Numbers::Prometheus(source),
            Err(error) => Numbers::Nobody(error.to_string()),
        }
    }
}
