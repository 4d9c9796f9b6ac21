//! The Rollout as it is written: every field may be missing here, and [`crate::admit`] says what that means.

// The schema derive makes a private copy of each type.
#![allow(unreachable_pub)]

use std::borrow::Cow;

use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::status::RolloutStatus;
use crate::text::{DurationText, NumberText, PercentText, QuantileText};

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
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Step", type_ = "integer", json_path = ".status.step"),
    printcolumn(name = "Weight", type_ = "integer", json_path = ".status.split.weight"),
    printcolumn(name = "Stable", type_ = "string", json_path = ".status.stableRevision"),
    printcolumn(name = "Canary", type_ = "string", json_path = ".status.canaryRevision"),
    printcolumn(name = "Ready", type_ = "integer", json_path = ".status.readyReplicas"),
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

/// The way of a release.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StrategySpec {
    /// Traffic moves to the new revision step by step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary: Option<CanarySpec>,
}

/// Traffic moves to the new revision step by step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct CanarySpec {
    /// The steps. When left out: 10, 25, 50, 75 and 100 %, with 5 minutes after each.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100))]
    #[x_kube(
        validation = Rule::new("self.filter(s, has(s.setWeight)).map(s, s.setWeight).isSorted()")
            .message("weights never fall along the steps: write them in rising order")
    )]
    pub steps: Option<Vec<StepSpec>>,
    /// Requests with this header go to the canary throughout a release.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub marks: Option<MarksSpec>,
    /// Requests with the same key go to the same revision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sticky: Option<StickySpec>,
}

/// One step: `setWeight` or `pause`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.setWeight) != has(self.pause)")
        .message("a step is either setWeight or pause: write each as an item of its own")
)]
pub struct StepSpec {
    /// Share of the traffic in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub set_weight: Option<i32>,
    /// Stays where it is, judged all the while.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause: Option<PauseSpec>,
}

/// A pause.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PauseSpec {
    /// How long. When left out: until a person promotes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<DurationText>,
}

/// Marked requests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MarksSpec {
    /// Name of the header.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required, length(min = 1, max = 256))]
    pub header: Option<String>,
    /// Its whole value. `always` when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096), extend("default" = "always"))]
    pub value: Option<String>,
}

/// What makes requests stick to a revision: a header or a cookie.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.header) != has(self.cookie)")
        .message("write either header or cookie")
)]
pub struct StickySpec {
    /// Name of a header.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub header: Option<String>,
    /// Name of a cookie.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub cookie: Option<String>,
}

/// How a release is judged.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AnalysisSpec {
    /// Where the numbers come from. When left out: from the proxies themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceSpec>,
    /// Time from one measurement to the next. 10s when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "10s"))]
    pub interval: Option<DurationText>,
    /// Requests that a step must have seen before it is passed. 50 when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1), extend("default" = 50))]
    pub min_requests: Option<i64>,
    /// How sure an abort is: with `99.9%`, at most one healthy step in 1,000 is aborted. `99.9%` when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "99.9%"))]
    pub confidence: Option<PercentText>,
    /// Bad measurements in a row that are tolerated, for queries of your own. 0 when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000), extend("default" = 0))]
    pub failure_limit: Option<i32>,
    /// What is measured. When left out: at most 1 % of errors. `[]`: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub metrics: Option<Vec<MetricSpec>>,
}

/// Where the numbers come from: Prometheus or the proxies.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.prometheus) != has(self.proxy)")
        .message("write either prometheus or proxy")
)]
pub struct SourceSpec {
    /// A Prometheus server that scrapes the proxies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prometheus: Option<PrometheusSpec>,
    /// The proxies themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy: Option<ProxySpec>,
}

/// A Prometheus server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PrometheusSpec {
    /// Its address, for instance `http://prometheus.monitoring:9090`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required, length(max = 2048))]
    #[x_kube(
        validation = Rule::new("self.startsWith('http://') || self.startsWith('https://')")
            .message("an address begins with http:// or https://")
    )]
    pub address: Option<String>,
}

/// The proxies themselves. There is nothing to set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProxySpec {}

/// One thing that is measured: `errorRate`, `latency` or `prometheus`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.errorRate), has(self.latency), has(self.prometheus)].exists_one(kind, kind)")
        .message("a metric is exactly one of errorRate, latency and prometheus")
)]
pub struct MetricSpec {
    /// Its name, unique within the Rollout.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required, length(min = 1, max = 63))]
    pub name: Option<String>,
    /// The share of failed requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_rate: Option<ErrorRateSpec>,
    /// The time to the response's head.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<LatencySpec>,
    /// A query of your own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prometheus: Option<QuerySpec>,
}

/// The share of failed requests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ErrorRateSpec {
    /// Largest share allowed: `1%`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required)]
    pub max: Option<PercentText>,
}

/// The time to the response's head.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LatencySpec {
    /// Which request counts: `0.99` for p99.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required)]
    pub quantile: Option<QuantileText>,
    /// The longest that it may take: `500ms`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required)]
    pub max: Option<DurationText>,
}

/// A query of your own. Its value stays between `min` and `max`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.min) || has(self.max)")
        .message("without min and max nothing is judged: write one of them or both")
)]
pub struct QuerySpec {
    /// PromQL. `{{revision}}`, `{{stable}}`, `{{rollout}}` and `{{namespace}}` are filled in.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(required, length(min = 1, max = 8192))]
    pub query: Option<String>,
    /// Smallest value allowed: `0.5`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<NumberText>,
    /// Largest value allowed: `5`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<NumberText>,
}
