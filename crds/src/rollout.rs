//! The Rollout as it is written: every field may be missing here, and [`crate::admit`] says what that means.

// The schema derive makes a private copy of each type.
#![allow(unreachable_pub)]

mod analysis;
mod outside;
mod strategy;

use std::borrow::Cow;

use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::status::RolloutStatus;
use crate::text::DurationText;

pub use analysis::*;
pub use outside::*;
pub use strategy::*;

/// Desired state of a Rollout.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "penstock.dev",
    version = "v1alpha1",
    kind = "Rollout",
    plural = "rollouts",
    singular = "rollout",
    shortname = "ro",
    category = "all",
    namespaced,
    status = "RolloutStatus",
    derive = "PartialEq",
    doc = "Releases each new pod template step by step, judges it, and goes back when it is worse.",
    validation = Rule::new("size(self.metadata.name) <= 52")
        .message("a Rollout's name has at most 52 characters: its Services add a revision to it"),
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message("a Rollout's name is made of a-z, 0-9 and -, begins with a letter and does not end with -: its Services are named after it"),
    validation = Rule::new("!has(self.spec.minReadySeconds) || !has(self.spec.progressDeadlineSeconds) || self.spec.minReadySeconds < self.spec.progressDeadlineSeconds")
        .message("minReadySeconds must be less than progressDeadlineSeconds: no pod would count in time")
        .field_path(".spec.minReadySeconds"),
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Step", type_ = "string", json_path = ".status.columns.step"),
    printcolumn(name = "Weight", type_ = "string", json_path = ".status.columns.weight"),
    printcolumn(name = "Stable", type_ = "string", json_path = ".status.stableRevision"),
    printcolumn(name = "Canary", type_ = "string", json_path = ".status.canaryRevision"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.columns.ready"),
    printcolumn(name = "Up-to-date", type_ = "integer", json_path = ".status.updatedReplicas"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message", priority = 1)
)]
#[serde(rename_all = "camelCase")]
pub struct RolloutSpec {
    /// Pods of the stable revision; a HorizontalPodAutoscaler may own it. 1 when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0), extend("default" = 1))]
    pub replicas: Option<i32>,
    /// Which pods are the Rollout's. The labels of the template must match it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required)]
    #[x_kube(
        validation = Rule::new("(has(self.matchLabels) && size(self.matchLabels) > 0) || (has(self.matchExpressions) && size(self.matchExpressions) > 0)")
            .message("an empty selector would take all pods: write matchLabels as the template's labels have them")
    )]
    pub selector: Option<LabelSelector>,
    /// The pod template. Each one is a revision of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required)]
    pub template: Option<Template>,
    /// The Service that clients call.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required)]
    pub service: Option<ServiceSpec>,
    /// What divides the traffic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub router: Option<RouterSpec>,
    /// The way of a release.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strategy: Option<StrategySpec>,
    /// How a release is judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub analysis: Option<AnalysisSpec>,
    /// Freezes a release where it is. Traffic goes on as divided, and a bad verdict still aborts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,
    /// Times in which nothing is promoted: no release begins, none goes on. An abort and all that takes traffic from the
    /// canary work at any time, and an order of a person (`promote`, `promote-full`, `undo`) goes before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 20))]
    pub freeze: Option<Vec<FreezeSpec>>,
    /// Who is told of what becomes of a release. No release waits for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 10))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub notify: Option<Vec<NotifySpec>>,
    /// A pod counts only when it has been ready for so many seconds without a break. 0 when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0), extend("default" = 0))]
    pub min_ready_seconds: Option<i32>,
    /// A release that makes no progress for so many seconds is aborted. 600 when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1), extend("default" = 600))]
    pub progress_deadline_seconds: Option<i32>,
    /// How many old revisions are kept for `undo`. 5 when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100), extend("default" = 5))]
    pub revision_history_limit: Option<i32>,
}

/// A pod template as it was written, fields included that this version does not know.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Template(pub Value);

impl Template {
    /// The template with the types of Kubernetes. Errors: serde's, for a field of a wrong type.
    pub fn typed(&self) -> Result<PodTemplateSpec, serde_json::Error> {
        PodTemplateSpec::deserialize(&self.0)
    }
}

/// Opaque: the whole schema of a pod would make the definition larger than `kubectl apply` can carry.
impl JsonSchema for Template {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Template".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
    }
}

/// The Service that clients call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceSpec {
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required, length(min = 1, max = 63))]
    pub name: Option<String>,
    /// The port that clients call.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required, range(min = 1, max = 65535))]
    pub port: Option<i32>,
    /// The port of the pods: its number, or the name that a container gives it. The same as `port` when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_port: Option<IntOrString>,
    /// What the pods speak: `http` (HTTP/1.1), `kubernetes.io/ws` (HTTP/1.1 with WebSockets) or `kubernetes.io/h2c`
    /// (HTTP/2 without TLS, which gRPC needs). `http` when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["http", "kubernetes.io/ws", "kubernetes.io/h2c"]))]
    pub app_protocol: Option<String>,
}

/// What divides the traffic.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RouterSpec {
    /// `Penstock`: the proxy that comes with it.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["Penstock"], "default" = "Penstock"))]
    pub kind: Option<String>,
    /// A request that has no answer after so long fails. No limit when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<DurationText>,
}
