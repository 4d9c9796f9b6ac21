//! Where a backend of a route can be reached: Services and EndpointSlices.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;

use k8s_openapi::api::core::v1::{Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use penstock_proxy_core::table::Protocol;

use super::contents::{ByName, Contents, file_name, place};
use super::object::{Id, Object};
use super::route::Backend;
use super::slice::{Condition, Port, SERVICE_NAME, Slice, protocol};

/// Most endpoints of one backend.
const MAX_ENDPOINTS: usize = 10_000;

/// Where a backend can be reached.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Reach {
    pub(crate) endpoints: Vec<SocketAddr>,
    /// How many of the endpoints are ready: all, or none if those that still serve stand in.
    pub(crate) ready: u32,
    /// Endpoints that are neither ready nor on their way out.
    pub(crate) down: Vec<SocketAddr>,
    pub(crate) protocol: Protocol,
}

/// The port of a Service by its number, or the only one.
pub(crate) fn service_port(service: &Service, number: Option<i32>) -> Option<&ServicePort> {
    let ports = service.spec.as_ref()?.ports.as_deref().unwrap_or_default();
    match number {
        Some(number) => ports.iter().find(|p| p.port == number),
        None => ports.first().filter(|_| ports.len() == 1),
    }
}

/// The port that pods of a Service listen on, if it is a number.
pub(crate) fn target_port(port: &ServicePort) -> Option<i32> {
    match &port.target_port {
        None => Some(port.port),
        Some(IntOrString::Int(number)) => Some(*number),
        Some(IntOrString::String(text)) => text.parse().ok(),
    }
}

/// Services and their slices, by the namespace and name of the Service.
#[derive(Debug, Default)]
pub(crate) struct Services<'a> {
    services: ByName<(&'a str, &'a str), &'a Service>,
    slices: ByName<(&'a str, &'a str), Vec<Listed<'a>>>,
}

#[derive(Clone, Copy, Debug)]
struct Listed<'a> {
    file: &'a Path,
    id: &'a Id,
    slice: &'a Slice,
}

impl<'a> Services<'a> {
    /// Sorts slices by their Service. One that belongs to none can't be used.
    pub(crate) fn new(contents: &Contents<'a>, problems: &mut Vec<String>) -> Services<'a> {
        let mut all = Services::default();
        for (id, file, object) in &contents.objects {
            let (slice, namespace) = match object {
                Object::Route(_) => continue,
                Object::Service(service) => {
                    all.services.insert((&id.namespace, &id.name), service);
                    continue;
                }
                Object::Slice(slice) => (slice, id.namespace.as_str()),
            };
            match &slice.service {
                Some(name) => {
                    all.slices.entry((namespace, name)).or_default().push(Listed { file, id, slice });
                }
                None => problems.push(format!(
                    "{}: metadata.labels: {SERVICE_NAME} is missing; name the backend there",
                    place(&file_name(file), id)
                )),
            }
        }
        all
    }

    /// The Service of a namespace by its name.
    pub(crate) fn get(&self, namespace: &str, name: &str) -> Option<&'a Service> {
        self.services.get(&(namespace, name)).copied()
    }
}

/// Finds the endpoints of a backend: those that are ready; for want of any, those that still serve while they
/// terminate (KEP-1669).
pub(crate) fn reach(
    services: &Services<'_>,
    namespace: &str,
    backend: &Backend,
    problems: &mut Vec<String>,
) -> Reach {
    let (name, port) = (backend.name.as_str(), backend.port);
    let service = services.get(namespace, name).and_then(|s| service_port(s, port));
    let mut found =
        Found { protocol: protocol(service.and_then(|p| p.app_protocol.as_deref())), ..Found::default() };
    for Listed { file, id, slice } in services.slices.get(&(namespace, name)).into_iter().flatten() {
        let problem = |what: String| format!("{}: {what}", place(&file_name(file), id));
        problems.extend(found.add(slice, service, port).into_iter().map(problem));
    }
    found.reach()
}

#[derive(Debug, Default)]
struct Found {
    ready: BTreeSet<SocketAddr>,
    serving: BTreeSet<SocketAddr>,
    down: BTreeSet<SocketAddr>,
    protocol: Protocol,
}

impl Found {
    fn add(&mut self, slice: &Slice, service: Option<&ServicePort>, port: Option<i32>) -> Option<String> {
        if slice.is_empty() {
            return None;
        }
        let port = match slice_port(slice, service, port) {
            Ok(port) => port,
            Err(problem) => return Some(problem),
        };
        let Some(number) = port.number.and_then(|p| u16::try_from(p).ok()).filter(|p| *p > 0) else {
            return Some("ports: the port is no number from 1 to 65535; write one".into());
        };
        if self.protocol == Protocol::Http {
            self.protocol = port.protocol;
        }
        for (ip, condition) in &slice.endpoints {
            let address = SocketAddr::new(*ip, number);
            match condition {
                Condition::Ready => self.ready.insert(address),
                Condition::Serving => self.serving.insert(address),
                Condition::Down => self.down.insert(address),
                Condition::Gone => continue,
            };
        }
        slice.wrong.as_ref().map(|address| format!("endpoints: {address:?} is no IP address; write one"))
    }

    fn reach(self) -> Reach {
        let ready = u32::try_from(self.ready.len().min(MAX_ENDPOINTS)).unwrap_or(u32::MAX);
        let chosen = if self.ready.is_empty() { self.serving } else { self.ready };
        let some = |all: BTreeSet<SocketAddr>| all.into_iter().take(MAX_ENDPOINTS).collect();
        Reach { endpoints: some(chosen), ready, down: some(self.down), protocol: self.protocol }
    }
}

/// The port of a slice that a backend means: by the name of the Service's port, the only one, or by number.
fn slice_port<'a>(
    slice: &'a Slice,
    service: Option<&ServicePort>,
    number: Option<i32>,
) -> Result<&'a Port, String> {
    let ports = &slice.ports;
    let named = |port: &&Port| service.is_some_and(|s| s.name.as_deref().unwrap_or_default() == &*port.name);
    let same = |port: &&Port| port.number.is_some() && port.number == number;
    let only = || ports.first().filter(|_| ports.len() == 1);
    let found = ports.iter().find(named).or_else(only).or_else(|| ports.iter().find(same));
    found.ok_or_else(|| {
        "ports: none is the backend's; write one port, or the one that the Service's port names".into()
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::object::parse;

    fn reached(yaml: &str, port: Option<i32>) -> (Reach, Vec<String>) {
        let parsed = parse(yaml).unwrap();
        let objects = parsed.objects.iter().map(|(id, o)| (id, Path::new("f.yaml"), o)).collect();
        let contents = Contents { objects, problems: Vec::new() };
        let mut problems = Vec::new();
        let services = Services::new(&contents, &mut problems);
        let backend = Backend { name: "shop-v1".into(), port, revision: "v1".into() };
        (reach(&services, "default", &backend, &mut problems), problems)
    }

    fn slice(name: &str, ports: &str, endpoints: &str) -> String {
        format!(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\n\
             metadata: {{name: {name}, labels: {{kubernetes.io/service-name: shop-v1}}}}\n\
             ports: [{ports}]\nendpoints: [{endpoints}]\n---\n"
        )
    }

    fn addresses(reach: &Reach) -> Vec<String> {
        reach.endpoints.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn ready_endpoints_of_all_slices_are_taken_once() {
        let yaml = slice(
            "a",
            "{port: 81}",
            "{addresses: [10.0.0.1]}, {addresses: [10.0.0.2], conditions: {ready: false}}",
        ) + &slice("b", "{port: 82}", "{addresses: [10.0.0.3], conditions: {ready: true}}")
            + &slice("c", "{port: 81}", "{addresses: [10.0.0.1]}");
        let (reach, problems) = reached(&yaml, Some(80));
        assert_eq!(addresses(&reach), ["10.0.0.1:81", "10.0.0.3:82"]);
        assert_eq!((reach.ready, problems.len()), (2, 0));
    }

    #[test]
    fn endpoints_that_still_serve_stand_in_for_want_of_a_ready_one() {
        let leaving = "{addresses: [10.0.0.1], conditions: {ready: false, serving: true, terminating: true}}";
        let dead = "{addresses: [10.0.0.2], conditions: {ready: false, serving: false, terminating: true}}";
        let (reach, _) = reached(&slice("a", "{port: 81}", &format!("{leaving}, {dead}")), None);
        assert_eq!((addresses(&reach), reach.ready), (vec!["10.0.0.1:81".to_owned()], 0));
    }

    #[test]
    fn the_services_port_names_the_slices_port_and_its_protocol() {
        let service = "apiVersion: v1\nkind: Service\nmetadata: {name: shop-v1}\nspec:\n  ports:\n\
            \x20 - {name: web, port: 80, targetPort: 81}\n  - {name: grpc, port: 90, appProtocol: kubernetes.io/h2c}\n---\n";
        let ports = "{name: web, port: 8080}, {name: grpc, port: 9090}";
        let yaml = service.to_owned() + &slice("a", ports, "{addresses: [10.0.0.1]}");
        let (reach, _) = reached(&yaml, Some(90));
        assert_eq!((addresses(&reach), reach.protocol), (vec!["10.0.0.1:9090".to_owned()], Protocol::H2c));
        let (reach, _) = reached(&yaml, Some(80));
        assert_eq!((addresses(&reach), reach.protocol), (vec!["10.0.0.1:8080".to_owned()], Protocol::Http));
    }

    #[test]
    fn what_can_not_be_used_is_named() {
        let (_, problems) = reached(&slice("a", "{port: 81}", "{addresses: [shop.example]}"), None);
        assert_eq!(
            problems,
            ["f.yaml: EndpointSlice default/a: endpoints: \"shop.example\" is no IP address; write one"]
        );
        let two = |endpoints| reached(&slice("a", "{port: 81}, {port: 82}", endpoints), Some(80)).1;
        let problems = two("{addresses: [10.0.0.1]}");
        assert!(problems[0].contains("ports: none is the backend's"), "{problems:?}");
        assert_eq!(two("").len(), 0, "a Service without pods has slices without ports");
        let (_, problems) = reached(&slice("a", "", "").replace("kubernetes.io/service-name", "other"), None);
        assert!(problems[0].contains("kubernetes.io/service-name is missing"), "{problems:?}");
    }
}
