//! The routers of a namespace: the pods that divide traffic, and what they need.
//!
//! The ServiceAccount is the anchor. All Rollouts of the namespace own it, and it owns everything else: when the last
//! Rollout goes, garbage collection takes all of it.

mod pod;

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::core::v1::{PodTemplateSpec, ResourceRequirements, ServiceAccount};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::api::rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use penstock_proxy_api::object;

/// The name of all objects of the routers of a namespace.
pub const NAME: &str = "penstock-router";
/// The port of `/metrics`, `/status`, `/healthz` and `/readyz`.
pub const ADMIN: u16 = 9901;
/// The name of that port.
pub const ADMIN_NAME: &str = "admin";
/// Ports on which routers listen for Rollouts.
pub const LISTEN: std::ops::RangeInclusive<u16> = 10_000..=29_999;

/// A new router counts as there after so long without a fall: nodes have heard of its address by then.
const MIN_READY_SECONDS: i32 = 5;

/// The routers of a namespace.
#[derive(Clone, Debug, PartialEq)]
pub struct Router {
    /// The namespace.
    pub namespace: String,
    /// The image of `penstock-proxy`.
    pub image: String,
    /// How many. Two survive the loss of a node.
    pub replicas: u32,
    /// What each may use; [`resources`] when left out.
    pub resources: Option<ResourceRequirements>,
    /// When the image is pulled: `Always`, `IfNotPresent` or `Never`; Kubernetes' own choice when left out.
    pub pull_policy: Option<String>,
    /// Names of Secrets of the namespace to pull the image with.
    pub pull_secrets: Vec<String>,
}

impl Router {
    /// The ServiceAccount. `owners` are all Rollouts of the namespace that go through a router, as [`owner`] makes
    /// them of each.
    pub fn service_account(&self, owners: Vec<OwnerReference>) -> ServiceAccount {
        ServiceAccount { metadata: self.metadata(owners), ..ServiceAccount::default() }
    }

    /// What a router may do: read what it serves, in its own namespace, and no more.
    pub fn role(&self, anchor: &OwnerReference) -> Role {
        // It keeps a table of them all, and has to hear of each change.
        let read = |group: &str, resource: &str| PolicyRule {
            api_groups: Some(vec![group.to_owned()]),
            resources: Some(vec![resource.to_owned()]),
            verbs: ["list", "watch"].map(str::to_owned).into(),
            ..PolicyRule::default()
        };
        Role {
            metadata: self.metadata(vec![anchor.clone()]),
            rules: Some(vec![
                read("gateway.networking.k8s.io", "httproutes"),
                read("", "services"),
                read("discovery.k8s.io", "endpointslices"),
            ]),
        }
    }

    /// Gives the ServiceAccount the Role.
    pub fn role_binding(&self, anchor: &OwnerReference) -> RoleBinding {
        RoleBinding {
            metadata: self.metadata(vec![anchor.clone()]),
            role_ref: RoleRef {
                api_group: Some("rbac.authorization.k8s.io".to_owned()),
                kind: "Role".to_owned(),
                name: NAME.to_owned(),
            },
            subjects: Some(vec![Subject {
                kind: "ServiceAccount".to_owned(),
                name: NAME.to_owned(),
                namespace: Some(self.namespace.clone()),
                ..Subject::default()
            }]),
        }
    }

    /// The pods. A new one is there before an old one goes.
    pub fn deployment(&self, anchor: &OwnerReference) -> Deployment {
        let update = RollingUpdateDeployment {
            max_surge: Some(IntOrString::Int(1)),
            max_unavailable: Some(IntOrString::Int(0)),
        };
        Deployment {
            metadata: self.metadata(vec![anchor.clone()]),
            spec: Some(DeploymentSpec {
                replicas: Some(i32::try_from(self.replicas).unwrap_or(i32::MAX)),
                selector: selector(),
                min_ready_seconds: Some(MIN_READY_SECONDS),
                revision_history_limit: Some(2),
                strategy: Some(DeploymentStrategy {
                    type_: Some("RollingUpdate".to_owned()),
                    rolling_update: Some(update),
                }),
                template: PodTemplateSpec { metadata: Some(pod::metadata()), spec: Some(pod::spec(self)) },
                ..DeploymentSpec::default()
            }),
            status: None,
        }
    }

    /// Keeps evictions from taking more than one router at a time.
    pub fn disruption_budget(&self, anchor: &OwnerReference) -> PodDisruptionBudget {
        PodDisruptionBudget {
            metadata: self.metadata(vec![anchor.clone()]),
            spec: Some(PodDisruptionBudgetSpec {
                // Unlike minAvailable, it lets a node be emptied where there is one router only.
                max_unavailable: Some(IntOrString::Int(1)),
                selector: Some(selector()),
                // A router that serves nobody must not keep a node from being emptied.
                unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
                ..PodDisruptionBudgetSpec::default()
            }),
            status: None,
        }
    }

    fn metadata(&self, owners: Vec<OwnerReference>) -> ObjectMeta {
        ObjectMeta {
            name: Some(NAME.to_owned()),
            namespace: Some(self.namespace.clone()),
            labels: Some(labels()),
            owner_references: Some(owners),
            ..ObjectMeta::default()
        }
    }
}

/// What a router asks for and may use, when nobody says otherwise.
pub fn resources() -> ResourceRequirements {
    pod::resources()
}

/// The labels that the selector of a Service needs to lead to the routers.
pub fn pods() -> BTreeMap<String, String> {
    [(object::COMPONENT.to_owned(), object::ROUTER.to_owned())].into()
}

/// A Rollout as an owner of the ServiceAccount: one of many, none of which is its controller.
pub fn owner(rollout: &OwnerReference) -> OwnerReference {
    OwnerReference { controller: None, block_owner_deletion: None, ..rollout.clone() }
}

/// The ServiceAccount as the owner of everything else. `None`: an API server has not given it a UID yet.
pub fn anchor(account: &ServiceAccount) -> Option<OwnerReference> {
    let metadata = &account.metadata;
    Some(OwnerReference {
        api_version: "v1".to_owned(),
        kind: "ServiceAccount".to_owned(),
        name: metadata.name.clone()?,
        uid: metadata.uid.clone()?,
        controller: Some(true),
        block_owner_deletion: None,
    })
}

fn labels() -> BTreeMap<String, String> {
    let more = [("app.kubernetes.io/name", NAME), ("app.kubernetes.io/managed-by", "penstock")];
    let more = more.map(|(name, value)| (name.to_owned(), value.to_owned()));
    pods().into_iter().chain(more).collect()
}

fn selector() -> LabelSelector {
    LabelSelector { match_labels: Some(pods()), match_expressions: None }
}
