//! The pods of a Rollout and the Service in front of them.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use penstock_core::revision::Revision;

use super::strategy::DEFAULT_DEADLINE;
use super::{did_you_mean, names_a_service, within};
use crate::facts::Service;
use crate::refusal::{Complaint, Refusals};
use crate::revision::revision_of;
use crate::rollout::{RolloutSpec, ServiceSpec, Template};

pub(super) struct Pods {
    pub(super) replicas: u32,
    pub(super) selector: LabelSelector,
    pub(super) template: PodTemplateSpec,
    pub(super) revision: Revision,
    pub(super) min_ready_seconds: u32,
}

pub(super) fn admit(spec: &RolloutSpec, refusals: &mut Refusals) -> Option<Pods> {
    let replicas = within("spec.replicas", spec.replicas.unwrap_or(1), 0..=i32::MAX.into(), refusals);
    let min_ready_seconds = min_ready_seconds(spec, refusals);
    let selector = admit_selector(spec.selector.as_ref(), refusals);
    let template = admit_template(spec.template.as_ref(), refusals);
    if let (Some(selector), Some((template, _))) = (&selector, &template) {
        check_labels(selector, template, refusals);
    }
    let (template, revision) = template?;
    let (replicas, selector, min_ready_seconds) = (replicas?, selector?, min_ready_seconds?);
    Some(Pods { replicas, selector, template, revision, min_ready_seconds })
}

fn min_ready_seconds(spec: &RolloutSpec, refusals: &mut Refusals) -> Option<u32> {
    let path = "spec.minReadySeconds";
    let seconds = within(path, spec.min_ready_seconds.unwrap_or(0), 0..=i32::MAX.into(), refusals)?;
    let deadline = spec.progress_deadline_seconds.unwrap_or(DEFAULT_DEADLINE);
    if u32::try_from(deadline).is_ok_and(|deadline| deadline > 0 && seconds >= deadline) {
        let problem = format!("{seconds} is not less than progressDeadlineSeconds ({deadline})");
        refusals.add(path, problem, "write less: no pod would count in time");
        return None;
    }
    Some(seconds)
}

pub(super) fn service(spec: &RolloutSpec, refusals: &mut Refusals) -> Option<Service> {
    let path = "spec.service";
    let Some(service) = spec.service.as_ref() else {
        refusals.add(path, "missing", "write `service: {name: NAME, port: 80, targetPort: 8080}`");
        return None;
    };
    let name = match service.name.as_deref() {
        Some(name) => names_a_service("spec.service.name", name, refusals).then(|| name.to_owned()),
        None => {
            refusals.add(
                "spec.service.name",
                "missing",
                "write the name that clients call, for instance checkout",
            );
            None
        }
    };
    let port = match service.port {
        Some(port) => within("spec.service.port", port, 1..=65535, refusals),
        None => {
            refusals.add("spec.service.port", "missing", "write the port that clients call, for instance 80");
            None
        }
    };
    let template = spec.template.as_ref().and_then(|t| t.typed().ok());
    let target_port = target_port(service, port, template.as_ref(), refusals);
    let app_protocol = app_protocol(service.app_protocol.as_deref(), refusals);
    Some(Service { name: name?, port: port?, target_port: target_port?, app_protocol: app_protocol? })
}

const PROTOCOLS: [&str; 3] = ["http", "kubernetes.io/ws", "kubernetes.io/h2c"];

/// `Some(None)`: nothing was written; `None`: refused.
fn app_protocol(protocol: Option<&str>, refusals: &mut Refusals) -> Option<Option<String>> {
    let Some(protocol) = protocol else { return Some(None) };
    if PROTOCOLS.contains(&protocol) {
        return Some(Some(protocol.to_owned()));
    }
    let remedy = match protocol.to_ascii_lowercase().as_str() {
        "grpc" | "h2c" | "http2" | "h2" => "write kubernetes.io/h2c: HTTP/2 without TLS".to_owned(),
        "https" | "tls" | "grpcs" => "write http: pods are spoken to without TLS".to_owned(),
        "ws" | "websocket" => "write kubernetes.io/ws".to_owned(),
        _ => did_you_mean(protocol, &PROTOCOLS),
    };
    refusals.add("spec.service.appProtocol", format!("`{protocol}` can't be spoken to pods"), remedy);
    None
}

fn target_port(
    service: &ServiceSpec,
    port: Option<u16>,
    template: Option<&PodTemplateSpec>,
    refusals: &mut Refusals,
) -> Option<u16> {
    let path = "spec.service.targetPort";
    match service.target_port.as_ref() {
        None => port,
        Some(IntOrString::Int(number)) => within(path, *number, 1..=65535, refusals),
        Some(IntOrString::String(name)) if name.parse::<u16>().is_ok() => {
            refusals.add(
                path,
                format!("`{name}` in quotes is the name of a port"),
                format!("write {name} without quotes"),
            );
            None
        }
        Some(IntOrString::String(name)) => {
            let found = named_port(name, template?);
            if found.is_none() {
                let problem = format!("no container of the template has a port named `{name}`");
                refusals.add(path, problem, "write a port's number, or name the port in the template");
            }
            found
        }
    }
}

fn named_port(name: &str, template: &PodTemplateSpec) -> Option<u16> {
    let containers = template.spec.iter().flat_map(|spec| &spec.containers);
    let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
    let port = ports.find(|port| port.name.as_deref() == Some(name))?;
    u16::try_from(port.container_port).ok().filter(|port| *port > 0)
}

fn admit_template(
    template: Option<&Template>,
    refusals: &mut Refusals,
) -> Option<(PodTemplateSpec, Revision)> {
    let path = "spec.template";
    let remedy = "write a pod template: `metadata: {labels: …}` and `spec: {containers: […]}`";
    let Some(template) = template.filter(|t| t.0.is_object()) else {
        refusals.add(path, "missing", remedy);
        return None;
    };
    let typed = template.typed().map_err(|error| Complaint::new(format!("no pod template: {error}"), remedy));
    let typed = refusals.take(path, typed)?;
    check_containers(&typed, refusals);
    let revision = revision_of(template).map_err(|error| Complaint::new(error.to_string(), remedy));
    Some((typed, refusals.take(path, revision)?))
}

fn check_containers(template: &PodTemplateSpec, refusals: &mut Refusals) {
    let containers = template.spec.as_ref().map_or(&[][..], |spec| &spec.containers);
    if containers.is_empty() {
        refusals.add(
            "spec.template.spec.containers",
            "no container",
            "write one at least: `- {name: web, image: …}`",
        );
    }
    let mut names = BTreeMap::new();
    for (n, container) in containers.iter().enumerate() {
        let path = format!("spec.template.spec.containers[{n}].name");
        if container.name.is_empty() {
            refusals.add(path, "missing", "write a name, for instance web");
        } else if names.insert(&container.name, ()).is_some() {
            refusals.add(
                path,
                format!("a second container `{}`", container.name),
                "give it a name of its own",
            );
        }
    }
    let policy = template.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref());
    if let Some(policy) = policy.filter(|policy| *policy != "Always") {
        let problem = format!("`{policy}` is not for pods that serve for ever");
        refusals.add("spec.template.spec.restartPolicy", problem, "write Always, or leave it out");
    }
}

fn admit_selector(selector: Option<&LabelSelector>, refusals: &mut Refusals) -> Option<LabelSelector> {
    let path = "spec.selector";
    let remedy = "write `matchLabels` as the template's labels have them, for instance {app: checkout}";
    let Some(selector) = selector else {
        refusals.add(path, "missing", remedy);
        return None;
    };
    let labels = selector.match_labels.as_ref().map_or(0, BTreeMap::len);
    if labels + selector.match_expressions.as_ref().map_or(0, Vec::len) == 0 {
        refusals.add(path, "an empty selector would take all pods", remedy);
        return None;
    }
    Some(selector.clone())
}

fn check_labels(selector: &LabelSelector, template: &PodTemplateSpec, refusals: &mut Refusals) {
    let none = BTreeMap::new();
    let labels = template.metadata.as_ref().and_then(|m| m.labels.as_ref()).unwrap_or(&none);
    for (key, value) in selector.match_labels.iter().flatten() {
        if labels.get(key) != Some(value) {
            let path = format!("spec.selector.matchLabels[{key:?}]");
            let problem = format!("the template's labels have no `{key}: {value}`");
            refusals.add(path, problem, format!("write `{key}: {value}` into spec.template.metadata.labels"));
        }
    }
    for (n, requirement) in selector.match_expressions.iter().flatten().enumerate() {
        let path = format!("spec.selector.matchExpressions[{n}]");
        match matches(requirement, labels) {
            Ok(true) => {}
            Ok(false) => {
                let problem = format!("the template's labels do not match it: `{}`", requirement.key);
                refusals.add(path, problem, "change it, or the labels in spec.template.metadata.labels");
            }
            Err(complaint) => refusals.complain(format!("{path}.operator"), complaint),
        }
    }
}

fn matches(
    requirement: &LabelSelectorRequirement,
    labels: &BTreeMap<String, String>,
) -> Result<bool, Complaint> {
    let value = labels.get(&requirement.key);
    let listed = value.is_some_and(|value| requirement.values.iter().flatten().any(|v| v == value));
    match requirement.operator.as_str() {
        "In" => Ok(listed),
        "NotIn" => Ok(!listed),
        "Exists" => Ok(value.is_some()),
        "DoesNotExist" => Ok(value.is_none()),
        other => Err(Complaint::new(
            format!("`{other}` is no operator"),
            "write In, NotIn, Exists or DoesNotExist",
        )),
    }
}
