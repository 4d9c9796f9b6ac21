//! Whether a Service can lead to routers instead of pods, and lose nothing by it.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{Apex, Conflict, selector};
use crate::router;

/// Errors: why a Service can't be taken over that was not before.
pub(super) fn check_fresh(service: &Service, apex: &Apex) -> Result<(), Conflict> {
    if *selector(service) == router::pods() {
        let remedy =
            "write the selector of the pods that it is for, or name another one in spec.service.name";
        return Err(conflict(apex, "leads to routers already, and nobody knows where it led before", remedy));
    }
    check(service, apex)
}

/// Errors: why a Service does not serve all its clients when routers are behind it.
pub(super) fn check(service: &Service, apex: &Apex) -> Result<(), Conflict> {
    let none = ServiceSpec::default();
    let spec = service.spec.as_ref().unwrap_or(&none);
    if service.metadata.deletion_timestamp.is_some() {
        return Err(conflict(apex, "is being deleted", "wait until it is gone"));
    }
    if spec.type_.as_deref() == Some("ExternalName") {
        let remedy =
            "only a Service with pods behind it can be handed over; name another one in spec.service.name";
        return Err(conflict(apex, "is of the type ExternalName", remedy));
    }
    if spec.cluster_ip.as_deref() == Some("None") {
        let remedy = "clients of it hold addresses of pods; make a Service with a clusterIP for them and name it in spec.service.name";
        return Err(conflict(apex, "is headless", remedy));
    }
    if selector(service).is_empty() {
        let remedy = "somebody else writes its endpoints; name another one in spec.service.name";
        return Err(conflict(apex, "has no selector", remedy));
    }
    only_port(service, apex)?;
    whole(spec, apex)
}

/// The port that clients call. Errors: there is none that routers can serve.
pub(super) fn port<'a>(service: &'a Service, apex: &Apex) -> Result<&'a ServicePort, Conflict> {
    let mut ports = ports(service);
    ports.find(|port| is_apex(port, apex)).ok_or_else(|| {
        let why = format!("has no TCP port {}", apex.port);
        conflict(apex, &why, "write the port that clients call into spec.service.port")
    })
}

/// Whether it is the port that clients call.
pub(super) fn is_apex(port: &ServicePort, apex: &Apex) -> bool {
    port.port == i32::from(apex.port) && port.protocol.as_deref().is_none_or(|protocol| protocol == "TCP")
}

/// A selector is for all ports, and routers listen on one.
fn only_port(service: &Service, apex: &Apex) -> Result<(), Conflict> {
    port(service, apex)?;
    let others: Vec<String> =
        ports(service).filter(|port| !is_apex(port, apex)).take(10).map(describe).collect();
    if others.is_empty() {
        return Ok(());
    }
    let why = format!("has further ports, which routers do not serve: {}", others.join(", "));
    Err(conflict(apex, &why, "move them to a Service of their own, and take them out of this one"))
}

/// Nothing in it keeps requests from a router that is ready, or sends them to one that is not.
fn whole(spec: &ServiceSpec, apex: &Apex) -> Result<(), Conflict> {
    let policies = [
        ("internalTrafficPolicy", spec.internal_traffic_policy.as_deref()),
        ("externalTrafficPolicy", spec.external_traffic_policy.as_deref()),
    ];
    if let Some((name, _)) = policies.into_iter().find(|(_, policy)| *policy == Some("Local")) {
        let why = format!("has spec.{name}: Local, and not every node has a router");
        return Err(conflict(apex, &why, &format!("set spec.{name} to Cluster")));
    }
    if spec.publish_not_ready_addresses == Some(true) {
        let why = "has spec.publishNotReadyAddresses, which sends requests to routers that are not ready";
        return Err(conflict(apex, why, "set it to false"));
    }
    Ok(())
}

fn ports(service: &Service) -> impl Iterator<Item = &ServicePort> {
    service.spec.iter().flat_map(|spec| spec.ports.iter().flatten())
}

fn describe(port: &ServicePort) -> String {
    let target = match &port.target_port {
        Some(IntOrString::Int(number)) => format!(" -> {number}"),
        Some(IntOrString::String(name)) => format!(" -> {name}"),
        None => String::new(),
    };
    let name = port.name.as_ref().map(|name| format!("{name} ")).unwrap_or_default();
    format!("{name}{}/{}{target}", port.port, port.protocol.as_deref().unwrap_or("TCP"))
}

fn conflict(apex: &Apex, why: &str, remedy: &str) -> Conflict {
    Conflict { why: format!("the Service `{}` {why}", apex.name), remedy: remedy.to_owned() }
}
