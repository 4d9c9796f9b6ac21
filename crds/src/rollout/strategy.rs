//! The way of a release, as it is written.

// The schema derive makes a private copy of each type.
#![allow(unreachable_pub)]

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::GateSpec;
use crate::text::DurationText;

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
#[x_kube(
    validation = Rule::new("!has(self.maxSurge) || !(string(self.maxSurge) in ['0', '0%']) || (has(self.maxUnavailable) && !(string(self.maxUnavailable) in ['0', '0%']))")
        .message("with maxSurge 0 no pod could ever be started: write maxUnavailable: 1")
)]
pub struct CanarySpec {
    /// The steps. When left out: 10, 25, 50, 75 and 100 %, with 5 minutes after each.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100))]
    #[x_kube(
        validation = Rule::new("self.filter(s, has(s.setWeight)).map(s, s.setWeight).isSorted()")
            .message("weights never fall along the steps: write them in rising order")
    )]
    pub steps: Option<Vec<StepSpec>>,
    /// Pods that may exist beyond `spec.replicas`: a number, or a percentage of them, rounded up. When left out: as many
    /// as it takes, and the stable revision keeps all of its pods, so that an abort finds them. Else it lends those that
    /// its share of the traffic does not need, once every proxy applies that share. An abort takes the traffic back at
    /// once all the same, and what was lent after it. A step for which there is no room waits, and says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_surge: Option<IntOrString>,
    /// With `maxSurge`: pods that may be missing of those that the traffic needs, as a number, or as a percentage of
    /// `spec.replicas`, rounded down. 0 when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_unavailable: Option<IntOrString>,
    /// Requests with this header go to the canary throughout a release.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub marks: Option<MarksSpec>,
    /// Requests with the same key go to the same revision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sticky: Option<StickySpec>,
}

/// One step: `setWeight`, `pause`, `setCanaryScale` or `gate`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.setWeight), has(self.pause), has(self.setCanaryScale), has(self.gate)].exists_one(kind, kind)")
        .message("a step is one of setWeight, pause, setCanaryScale and gate: write each as an item of its own")
)]
pub struct StepSpec {
    /// Share of the traffic in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub set_weight: Option<i32>,
    /// Stays where it is, judged all the while.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause: Option<PauseSpec>,
    /// From here on the canary has so many pods, whatever its weight; the step is over when they are ready. With all
    /// traffic it has all pods. The stable revision keeps its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set_canary_scale: Option<CanaryScaleSpec>,
    /// Stays until a webhook says go, judged all the while. Before the first weight and scale not even pods are started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gate: Option<GateSpec>,
}

/// How many pods the canary has: `replicas`, `weight` or `matchTrafficWeight`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.replicas), has(self.weight), has(self.matchTrafficWeight)].exists_one(kind, kind)")
        .message("write one of replicas, weight and matchTrafficWeight"),
    validation = Rule::new("!has(self.matchTrafficWeight) || self.matchTrafficWeight")
        .message("write matchTrafficWeight: true, or replicas or weight instead")
)]
pub struct CanaryScaleSpec {
    /// So many. Fewer than the share of the traffic needs are a risk of your own.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub replicas: Option<i32>,
    /// So many percent of `spec.replicas`: at least the share of the traffic.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub weight: Option<i32>,
    /// `true`: as many as the share of the traffic needs, as without any such step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub match_traffic_weight: Option<bool>,
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
