//! What of an EndpointSlice counts. Translated once, when it is read: tables are made of all slices far more often.

use std::net::IpAddr;

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use penstock_proxy_core::table::Protocol;

/// The label that names the Service of a slice.
pub(crate) const SERVICE_NAME: &str = "kubernetes.io/service-name";
const H2C: &str = "kubernetes.io/h2c";

/// Endpoints of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Slice {
    /// The Service that it belongs to, if it says so.
    pub(crate) service: Option<Box<str>>,
    pub(crate) ports: Box<[Port]>,
    pub(crate) endpoints: Box<[(IpAddr, Condition)]>,
    /// The first address that is none.
    pub(crate) wrong: Option<Box<str>>,
}

/// A port of all endpoints of a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Port {
    /// Empty if it has none.
    pub(crate) name: Box<str>,
    pub(crate) number: Option<i32>,
    pub(crate) protocol: Protocol,
}

/// What is said of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    Ready,
    /// On its way out, and still serving.
    Serving,
    /// On its way out, and serving no more.
    Gone,
    /// Neither ready nor on its way out.
    Down,
}

impl Slice {
    /// Whether one of these addresses is ready by this slice: new connections are led there.
    pub(crate) fn leads_to(&self, addresses: &[IpAddr]) -> bool {
        let ready =
            |(ip, condition): &(IpAddr, Condition)| *condition == Condition::Ready && addresses.contains(ip);
        self.endpoints.iter().any(ready)
    }

    /// Whether there is nothing in it. A Service without pods has slices without ports.
    pub(crate) fn is_empty(&self) -> bool {
        self.endpoints.is_empty() && self.wrong.is_none()
    }
}

impl From<EndpointSlice> for Slice {
    fn from(slice: EndpointSlice) -> Slice {
        let labels = slice.metadata.labels.unwrap_or_default();
        let (mut endpoints, mut wrong) = (Vec::new(), None);
        for endpoint in slice.endpoints.iter().flatten() {
            let Some(address) = endpoint.addresses.first() else { continue };
            match address.parse() {
                Ok(ip) => endpoints.push((ip, condition(endpoint))),
                Err(_) => drop(wrong.get_or_insert_with(|| address.as_str().into())),
            }
        }
        Slice {
            service: labels.get(SERVICE_NAME).map(|name| name.as_str().into()),
            ports: slice.ports.unwrap_or_default().into_iter().map(Port::from).collect(),
            endpoints: endpoints.into(),
            wrong,
        }
    }
}

impl From<EndpointPort> for Port {
    fn from(port: EndpointPort) -> Port {
        let protocol = protocol(port.app_protocol.as_deref());
        Port { name: port.name.unwrap_or_default().into(), number: port.port, protocol }
    }
}

/// What an `appProtocol` stands for.
pub(crate) fn protocol(app_protocol: Option<&str>) -> Protocol {
    if app_protocol == Some(H2C) { Protocol::H2c } else { Protocol::Http }
}

fn condition(endpoint: &Endpoint) -> Condition {
    let conditions = endpoint.conditions.as_ref();
    let is = |condition: fn(&EndpointConditions) -> Option<bool>| conditions.and_then(condition);
    let ready = is(|c| c.ready).unwrap_or(true);
    // Of a Service with publishNotReadyAddresses all endpoints are ready, those on their way out, too.
    match (ready, is(|c| c.terminating).unwrap_or(false)) {
        (true, false) => Condition::Ready,
        (false, false) => Condition::Down,
        (_, true) if is(|c| c.serving).unwrap_or(ready) => Condition::Serving,
        (_, true) => Condition::Gone,
    }
}
