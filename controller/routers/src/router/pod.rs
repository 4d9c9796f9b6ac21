//! The pod of a router. It passes the `restricted` profile of the Pod Security Standards:
//! <https://kubernetes.io/docs/concepts/security/pod-security-standards/>.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, EnvVar, EnvVarSource, HTTPGetAction, LocalObjectReference,
    ObjectFieldSelector, PodSecurityContext, PodSpec, Probe, ResourceRequirements, SeccompProfile,
    SecurityContext, TopologySpreadConstraint,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{ADMIN, ADMIN_NAME, NAME, Router, labels, selector};

/// Seconds for which a router that was told to stop goes on as before as long as an EndpointSlice calls it ready: who
/// writes them may be away or late. Namespaces that are deleted wait for half of all the time that pods may take.
const DRAIN_WAIT: i64 = 30;
/// Seconds for which it goes on after that: nodes and the other end of connections hear of its leaving first.
const DRAIN_DELAY: i64 = 5;
/// Seconds that requests in flight get after that.
const DRAIN_TIMEOUT: i64 = 30;
/// Seconds for the process to end after all that.
const MARGIN: i64 = 5;
/// Most connections of clients, and most requests in flight of one Rollout: beyond them clients wait, or are told to
/// come back. Fewer where the memory is limited to less than they take, so that nobody is killed.
const MOST: u64 = 10_000;
/// There is no sense in fewer.
const LEAST: u64 = 100;
/// What a connection with a request in flight takes, in bytes.
const EACH: u64 = 30 << 10;
/// What a router takes beside its connections, in bytes.
const REST: u64 = 64 << 20;
/// What a router is told of its pod.
const VARIABLES: [(&str, &str); 3] =
    [("POD_NAME", "metadata.name"), ("POD_NAMESPACE", "metadata.namespace"), ("POD_IPS", "status.podIPs")];
/// The user of distroless images: neither root nor anybody who owns a file.
const USER: i64 = 65_532;

pub(super) fn metadata() -> ObjectMeta {
    let annotations = [
        ("prometheus.io/scrape", "true".to_owned()),
        ("prometheus.io/port", ADMIN.to_string()),
        ("prometheus.io/path", "/metrics".to_owned()),
    ];
    ObjectMeta {
        labels: Some(labels()),
        annotations: Some(annotations.map(|(name, value)| (name.to_owned(), value)).into()),
        ..ObjectMeta::default()
    }
}

pub(super) fn spec(router: &Router) -> PodSpec {
    let secrets: Vec<_> =
        router.pull_secrets.iter().map(|name| LocalObjectReference { name: name.clone() }).collect();
    PodSpec {
        service_account_name: Some(NAME.to_owned()),
        automount_service_account_token: Some(true),
        // One variable for each Service of the namespace, and it reads none.
        enable_service_links: Some(false),
        node_selector: Some([("kubernetes.io/os".to_owned(), "linux".to_owned())].into()),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(USER),
            run_as_group: Some(USER),
            seccomp_profile: Some(seccomp()),
            ..PodSecurityContext::default()
        }),
        termination_grace_period_seconds: Some(DRAIN_WAIT + DRAIN_DELAY + DRAIN_TIMEOUT + MARGIN),
        topology_spread_constraints: Some(
            ["kubernetes.io/hostname", "topology.kubernetes.io/zone"].map(spread).into(),
        ),
        image_pull_secrets: Some(secrets).filter(|secrets| !secrets.is_empty()),
        containers: vec![container(router)],
        ..PodSpec::default()
    }
}

fn container(router: &Router) -> Container {
    let resources = router.resources.clone().unwrap_or_else(resources);
    Container {
        name: NAME.to_owned(),
        image: Some(router.image.clone()),
        image_pull_policy: router.pull_policy.clone(),
        command: Some(vec!["penstock-proxy".to_owned()]),
        args: Some(arguments(most(&resources))),
        env: Some(VARIABLES.map(variable).into()),
        ports: Some(vec![ContainerPort {
            name: Some(ADMIN_NAME.to_owned()),
            container_port: ADMIN.into(),
            protocol: Some("TCP".to_owned()),
            ..ContainerPort::default()
        }]),
        resources: Some(resources),
        readiness_probe: Some(readiness()),
        liveness_probe: Some(liveness()),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            run_as_non_root: Some(true),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
            seccomp_profile: Some(seccomp()),
            ..SecurityContext::default()
        }),
        ..Container::default()
    }
}

/// How many connections fit into the memory of a router.
fn most(resources: &ResourceRequirements) -> u64 {
    let limit = resources.limits.as_ref().and_then(|limits| bytes(&limits.get("memory")?.0));
    limit.map_or(MOST, |limit| (limit.saturating_sub(REST) / EACH).clamp(LEAST, MOST))
}

/// A quantity of memory in bytes. `None`: it is none, which the API server says to whoever has written it.
fn bytes(quantity: &str) -> Option<u64> {
    const KIB: f64 = 1024.0;
    const UNITS: [(&str, f64); 9] = [
        ("Ki", KIB),
        ("Mi", KIB * KIB),
        ("Gi", KIB * KIB * KIB),
        ("Ti", KIB * KIB * KIB * KIB),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
        ("", 1.0),
    ];
    let (number, unit) = UNITS.iter().find_map(|(name, unit)| Some((quantity.strip_suffix(name)?, *unit)))?;
    let number = number.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0)?;
    Some((number * unit) as u64)
}

fn arguments(most: u64) -> Vec<String> {
    vec![
        "run".to_owned(),
        "--kube".to_owned(),
        "--instance=$(POD_NAME)".to_owned(),
        "--own-addresses=$(POD_IPS)".to_owned(),
        format!("--drain-wait={DRAIN_WAIT}s"),
        format!("--drain-delay={DRAIN_DELAY}s"),
        format!("--drain-timeout={DRAIN_TIMEOUT}s"),
        format!("--max-connections={most}"),
        format!("--max-in-flight={most}"),
    ]
}

fn variable((name, field): (&str, &str)) -> EnvVar {
    let field = ObjectFieldSelector { field_path: field.to_owned(), api_version: None };
    EnvVar {
        name: name.to_owned(),
        value_from: Some(EnvVarSource { field_ref: Some(field), ..EnvVarSource::default() }),
        value: None,
    }
}

/// No limit of the processor: a throttled router makes every request of every Rollout slower.
///
/// A limit of the memory: what clients send must not take a node down with all that runs on it.
pub(super) fn resources() -> ResourceRequirements {
    let quantities = |pairs: &[(&str, &str)]| -> BTreeMap<String, Quantity> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), Quantity((*value).to_owned()))).collect()
    };
    ResourceRequirements {
        requests: Some(quantities(&[("cpu", "50m"), ("memory", "64Mi")])),
        limits: Some(quantities(&[("memory", "512Mi")])),
        claims: None,
    }
}

/// Each second: a router is of use as soon as it has its table, and of none without.
fn readiness() -> Probe {
    Probe {
        http_get: Some(get("/readyz")),
        period_seconds: Some(1),
        timeout_seconds: Some(1),
        failure_threshold: Some(3),
        ..Probe::default()
    }
}

/// Forgiving: to start a busy router again is worse than to wait for it.
fn liveness() -> Probe {
    Probe {
        http_get: Some(get("/healthz")),
        period_seconds: Some(10),
        timeout_seconds: Some(5),
        failure_threshold: Some(6),
        ..Probe::default()
    }
}

fn get(path: &str) -> HTTPGetAction {
    HTTPGetAction {
        path: Some(path.to_owned()),
        port: IntOrString::String(ADMIN_NAME.to_owned()),
        ..HTTPGetAction::default()
    }
}

/// Where it can: routers on one node are better than none.
fn spread(topology: &str) -> TopologySpreadConstraint {
    TopologySpreadConstraint {
        topology_key: topology.to_owned(),
        max_skew: 1,
        when_unsatisfiable: "ScheduleAnyway".to_owned(),
        label_selector: Some(selector()),
        // Each update by itself: pods that are about to go do not count.
        match_label_keys: Some(vec!["pod-template-hash".to_owned()]),
        ..TopologySpreadConstraint::default()
    }
}

fn seccomp() -> SeccompProfile {
    SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }
}
