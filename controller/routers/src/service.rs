//! Services and EndpointSlices for a proxy that reads files instead of an API server.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use penstock_core::revision::Revision;
use penstock_proxy_api::object;
use serde_json::{Value, json};

/// The Service that clients call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Apex {
    /// The Rollout's namespace.
    pub namespace: String,
    /// The Rollout's name.
    pub rollout: String,
    /// The Service's name.
    pub name: String,
    /// The port that clients call.
    pub port: u16,
    /// The port on which the proxy listens for this Rollout.
    pub target_port: u16,
}

/// One revision and where it can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// The Rollout's namespace.
    pub namespace: String,
    /// The Rollout's name.
    pub rollout: String,
    /// The revision.
    pub revision: Revision,
    /// What its pods speak, as a Service's `appProtocol` says it: `kubernetes.io/h2c`. HTTP/1.1 when left out.
    pub app_protocol: Option<String>,
    /// Its pods.
    pub endpoints: Vec<Endpoint>,
}

/// One pod of a revision.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// The pod's name.
    pub pod: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// Whether it is ready for requests.
    pub ready: bool,
    /// Whether it is on its way out.
    pub terminating: bool,
}

/// Most endpoints of one slice: what an API server allows.
const MOST: usize = 1000;

/// The Service that clients call.
pub fn apex(apex: &Apex) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": apex.name,
            "namespace": apex.namespace,
            "labels": {object::ROLLOUT: apex.rollout},
        },
        "spec": {"ports": [{"name": "http", "protocol": "TCP", "port": apex.port, "targetPort": apex.target_port}]},
    })
}

/// The Service of a revision, which an HTTPRoute names as its backend.
pub fn service(backend: &Backend, port: u16) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": object::backend_of(&backend.rollout, backend.revision.as_str()),
            "namespace": backend.namespace,
            "labels": labels(backend),
        },
        "spec": {"ports": [port_of(backend, port)]},
    })
}

/// The EndpointSlices of a revision. The endpoints of a slice share its port, so each port has slices of its own:
/// `<rollout>-<revision>-<port>`, and `-v6` behind it for IPv6, and a number behind that from the second on.
pub fn slices(backend: &Backend) -> Vec<Value> {
    let mut groups: BTreeMap<(u16, bool), Vec<&Endpoint>> = BTreeMap::new();
    for endpoint in &backend.endpoints {
        groups.entry((endpoint.address.port(), endpoint.address.is_ipv6())).or_default().push(endpoint);
    }
    let mut slices = Vec::new();
    for ((port, v6), mut endpoints) in groups {
        endpoints.sort();
        let chunks = endpoints.chunks(MOST).enumerate();
        slices.extend(
            chunks.map(|(n, endpoints)| slice(backend, &slice_name(backend, port, v6, n), port, endpoints)),
        );
    }
    slices
}

fn slice_name(backend: &Backend, port: u16, v6: bool, n: usize) -> String {
    let family = if v6 { "-v6" } else { "" };
    let number = if n == 0 { String::new() } else { format!("-{}", n + 1) };
    format!("{}-{port}{family}{number}", object::backend_of(&backend.rollout, backend.revision.as_str()))
}

fn slice(backend: &Backend, name: &str, port: u16, endpoints: &[&Endpoint]) -> Value {
    let service = object::backend_of(&backend.rollout, backend.revision.as_str());
    let mut labels = labels(backend);
    labels["kubernetes.io/service-name"] = Value::from(service);
    let v6 = endpoints.first().is_some_and(|e| e.address.is_ipv6());
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": name, "namespace": backend.namespace, "labels": labels},
        "addressType": if v6 { "IPv6" } else { "IPv4" },
        "ports": [port_of(backend, port)],
        "endpoints": endpoints.iter().map(|e| endpoint(backend, e)).collect::<Vec<_>>(),
    })
}

fn labels(backend: &Backend) -> Value {
    json!({object::ROLLOUT: backend.rollout, object::REVISION: backend.revision.as_str()})
}

fn port_of(backend: &Backend, port: u16) -> Value {
    let mut fields = json!({"name": "http", "protocol": "TCP", "port": port});
    if let Some(protocol) = &backend.app_protocol {
        fields["appProtocol"] = Value::from(protocol.as_str());
    }
    fields
}

/// As Kubernetes has it: ready means serving and not terminating.
fn endpoint(backend: &Backend, endpoint: &Endpoint) -> Value {
    let address: IpAddr = endpoint.address.ip();
    let Endpoint { pod, ready, terminating, .. } = endpoint;
    json!({
        "addresses": [address.to_string()],
        "conditions": {"ready": *ready && !terminating, "serving": ready, "terminating": terminating},
        "targetRef": {"kind": "Pod", "name": pod, "namespace": backend.namespace},
    })
}
