//! The Service of a revision on a cluster: its EndpointSlices say where the revision can be reached.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use penstock_core::revision::Revision;
use penstock_proxy_api::object;

/// The port's name in the Service and in its EndpointSlices.
pub const PORT: &str = "http";

/// A revision, as an HTTPRoute names it as a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// The Rollout's namespace.
    pub namespace: String,
    /// The Rollout's name.
    pub rollout: String,
    /// The revision.
    pub revision: Revision,
    /// The port of its pods, which is the Service's, too.
    pub port: u16,
    /// What its pods speak: `kubernetes.io/h2c`. HTTP/1.1 when left out.
    pub app_protocol: Option<String>,
}

impl Backend {
    /// The labels of everything that belongs to the revision, its pods included.
    pub fn labels(&self) -> BTreeMap<String, String> {
        labels(&self.rollout, &self.revision)
    }
}

/// The labels of everything that belongs to a revision, its pods included.
pub fn labels(rollout: &str, revision: &Revision) -> BTreeMap<String, String> {
    let pairs = [(object::ROLLOUT, rollout), (object::REVISION, revision.as_str())];
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

/// The Service of a revision, named `<rollout>-<revision>`. It never changes.
///
/// It is headless: nobody calls it, so it takes no address out of the cluster's range and no rule on the nodes. Its
/// slices hold the pods all the same.
pub fn service(backend: &Backend, owner: OwnerReference) -> Service {
    let port = ServicePort {
        name: Some(PORT.to_owned()),
        protocol: Some("TCP".to_owned()),
        port: backend.port.into(),
        target_port: Some(IntOrString::Int(backend.port.into())),
        app_protocol: backend.app_protocol.clone(),
        ..ServicePort::default()
    };
    Service {
        metadata: ObjectMeta {
            name: Some(object::backend_of(&backend.rollout, backend.revision.as_str())),
            namespace: Some(backend.namespace.clone()),
            labels: Some(backend.labels()),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            ports: Some(vec![port]),
            selector: Some(backend.labels()),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}
